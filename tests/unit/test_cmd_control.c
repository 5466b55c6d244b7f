/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Both ends of the control socket, with answers made up here. */
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "cmd/control.h"
#include "cmd/ctl.h"
#include "tests/unit/fixed.h"

static char dir[] = "/tmp/izo-test_cmd_control-XXXXXX";
static char path[64];

/* {"command": "echo", "text": T} gives T; "right" what the peer may; "long" a MiB; anything else is refused. */
static json_t *answer(void *arg, enum control_right right, const json_t *request)
{
	const char *command = json_string_value(json_object_get(request, "command"));
	AUTO_FREE char *text = NULL;

	(*(int *)arg)++;
	if (command && !strcmp(command, "echo"))
		return json_pack("{s:b, s:O}", "ok", 1, "text", json_object_get(request, "text"));
	if (command && !strcmp(command, "right"))
		return json_pack("{s:b, s:i}", "ok", 1, "right", (int)right);
	if (command && !strcmp(command, "long")) {
		text = malloc((1 << 20) + 1);
		if (!text)
			return NULL;
		memset(text, 'x', 1 << 20);
		text[1 << 20] = '\0';
		return json_pack("{s:b, s:s}", "ok", 1, "text", text);
	}
	return json_pack("{s:b, s:s}", "ok", 0, "error", "no such command");
}

#define NOBODY 65534
#define GROUP 54321			/* that the control socket knows */

static int asked;
static struct control *control;

static int set_up(void **state)
{
	char *why;

	(void)state;
	asked = 0;
	assert_int_equal(control_new(path, GROUP, &control, &why), 0);
	return control_start(control, answer, &asked);
}

static int tear_down(void **state)
{
	(void)state;
	control_free(control);
	control = NULL;
	return access(path, F_OK) == 0;		/* the socket is gone */
}

static int connect_to(const char *where)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)strcpy(addr.sun_path, where);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void echo(struct ctl *ctl, const char *text)
{
	json_t *got;
	char *why;

	assert_int_equal(ctl_ask(ctl, json_pack("{s:s, s:s}", "command", "echo", "text", text), 30,
				 &got, &why),
			 0);
	assert_string_equal(json_string_value(json_object_get(got, "text")), text);
	json_decref(got);
}

static void answers(void **state)
{
	struct ctl *ctl;
	json_t *got;
	char *why;

	(void)state;
	assert_int_equal(ctl_open(path, &ctl, &why), 0);
	echo(ctl, "one");
	echo(ctl, "two\nlines");
	assert_int_equal(ctl_ask(ctl, json_pack("{s:s}", "command", "long"), 30, &got, &why), 0);
	assert_int_equal(json_string_length(json_object_get(got, "text")), 1 << 20);
	json_decref(got);
	ctl_close(ctl);
	assert_int_equal(asked, 3);
}

static void refuses(void **state)
{
	struct ctl *ctl;
	json_t *got;
	char *why;

	(void)state;
	assert_int_equal(ctl_open(path, &ctl, &why), 0);
	assert_int_equal(ctl_ask(ctl, json_pack("{s:s}", "command", "dance"), 30, &got, &why),
			 -EREMOTEIO);
	assert_string_equal(why, "no such command");
	free(why);
	ctl_close(ctl);
}

/* Several requests in one packet, the last line in two pieces, and the end of sending at once. */
static void takes_lines_as_they_come(void **state)
{
	static const char first[] = "{\"command\":\"long\"}\nnonsense\n{\"command\":\"ec",
			  second[] = "ho\",\"text\":\"x\"}\n";
	size_t lines = 0, total = 0;
	static char data[65536];
	ssize_t n;
	int fd;

	(void)state;
	fd = connect_to(path);
	assert_int_equal(write(fd, first, sizeof(first) - 1), sizeof(first) - 1);
	assert_int_equal(write(fd, second, sizeof(second) - 1), sizeof(second) - 1);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	while ((n = read(fd, data, sizeof(data))) > 0) {
		total += (size_t)n;
		for (ssize_t i = 0; i < n; i++)
			lines += data[i] == '\n';
	}
	assert_int_equal(n, 0);
	assert_int_equal(lines, 3);
	assert_true(total > 1 << 20);
	close(fd);
}

/* Clients that say nothing, say half a line, or take no answers: others are answered all the same. */
static void hung_clients_cost_nothing(void **state)
{
	static const char want[] =
		"{\"command\":\"long\"}\n{\"command\":\"long\"}\n{\"command\":\"long\"}\n";
	int fds[40];
	struct ctl *ctl;
	char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_to(path);
		if (i % 3 == 1)
			assert_int_equal(write(fds[i], "{\"comm", 6), 6);
		if (i % 3 == 2)
			(void)!write(fds[i], want, sizeof(want) - 1);	/* it may have been dropped for a newer one */
	}
	assert_int_equal(ctl_open(path, &ctl, &why), 0);
	echo(ctl, "still here");
	ctl_close(ctl);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

static void too_much_is_dropped(void **state)
{
	static char data[CONTROL_REQUEST_MAX + 1];
	char byte;
	int fd;

	(void)state;
	memset(data, 'x', sizeof(data));
	fd = connect_to(path);
	(void)!send(fd, data, sizeof(data), MSG_NOSIGNAL);	/* cut short when it is dropped meanwhile */
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
}

static void a_second_daemon_is_refused(void **state)
{
	struct control *second;
	struct ctl *ctl;
	char *why;

	(void)state;
	assert_int_equal(control_new(path, GROUP, &second, &why), -EADDRINUSE);
	assert_non_null(strstr(why, "running already"));
	free(why);
	assert_int_equal(ctl_open(path, &ctl, &why), 0);
	echo(ctl, "the first one");
	ctl_close(ctl);
}

static void can_be_reached_by_all(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
}

static const struct peer_case {
	const char *name;
	uid_t uid;
	gid_t gid, other;		/* other: a supplementary group; 0: none */
	enum control_right want;
} peer_cases[] = {
	{ "root may everything", 0, 0, 0, CONTROL_ALL },
	{ "root of whatever group too", 0, NOBODY, 0, CONTROL_ALL },
	{ "another user may look", NOBODY, NOBODY, 0, CONTROL_LOOK },
	{ "root's group does not help him", NOBODY, 0, 0, CONTROL_LOOK },
	{ "nor does any other", NOBODY, NOBODY, GROUP + 1, CONTROL_LOOK },
	{ "the group's members may list", NOBODY, GROUP, 0, CONTROL_LIST },
	{ "also when it is not their first one", NOBODY, NOBODY, GROUP, CONTROL_LIST },
};

/* The child: becomes him and asks what he may; ends with that, or above 9 when it fails. */
static void ask_as(const struct peer_case *c)
{
	struct ctl *ctl;
	json_t *got;
	char *why;

	if (setgroups(c->other ? 1 : 0, &c->other) < 0 || setgid(c->gid) < 0 || setuid(c->uid) < 0)
		_exit(10);
	if (ctl_open(path, &ctl, &why))
		_exit(11);
	if (ctl_ask(ctl, json_pack("{s:s}", "command", "right"), 30, &got, &why))
		_exit(12);
	_exit((int)json_integer_value(json_object_get(got, "right")));
}

static void peer(void **state)
{
	const struct peer_case *c = *state;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(set_up(NULL), 0);
	assert_int_equal(chmod(dir, 0755), 0);
	pid = fork();
	if (pid == 0)
		ask_as(c);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), c->want);
	assert_int_equal(tear_down(NULL), 0);
}

/* As many connections of another user as he can have: root's stay, and new ones of root are taken. */
static void others_do_not_crowd_out_root(void **state)
{
	struct ctl *ctl;
	int ready[2], status;
	char *why, byte;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(ctl_open(path, &ctl, &why), 0);
	echo(ctl, "before");
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
			_exit(2);
		for (int i = 0; i < 100; i++)
			(void)connect_to(path);
		(void)!write(ready[1], "x", 1);
		alarm(60);	/* should the test fail */
		pause();
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	echo(ctl, "the old one");
	ctl_close(ctl);
	assert_int_equal(ctl_open(path, &ctl, &why), 0);
	echo(ctl, "a new one");
	ctl_close(ctl);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(ready[0]);
	close(ready[1]);
}

/* Where root has all there are, another user is turned away. */
static void root_does_not_make_room(void **state)
{
	const struct peer_case nobody = { .uid = NOBODY, .gid = NOBODY };
	struct ctl *ctls[CONTROL_CLIENTS_MAX];
	int status;
	char *why;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(dir, 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ctls); i++) {
		assert_int_equal(ctl_open(path, &ctls[i], &why), 0);
		echo(ctls[i], "taken in");
	}
	pid = fork();
	if (pid == 0)
		ask_as(&nobody);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 12);
	for (size_t i = 0; i < ARRAY_SIZE(ctls); i++) {
		echo(ctls[i], "still there");
		ctl_close(ctls[i]);
	}
}

static void no_daemon(void **state)
{
	struct ctl *ctl;
	char *why;

	(void)state;
	assert_int_equal(ctl_open(path, &ctl, &why), -ECONNREFUSED);
	assert_non_null(strstr(why, "no daemon is running"));
	free(why);
}

/* What a killed daemon left. */
static void a_stale_socket_is_replaced(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct control *fresh;
	struct ctl *ctl;
	char *why;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	(void)strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(ctl_open(path, &ctl, &why), -ECONNREFUSED);
	free(why);
	assert_int_equal(control_new(path, GROUP, &fresh, &why), 0);
	control_free(fresh);
	assert_int_not_equal(access(path, F_OK), 0);
}

static void a_file_in_the_way_stays(void **state)
{
	struct control *fresh;
	FILE *file = fopen(path, "w");
	char *why;

	(void)state;
	assert_non_null(file);
	fclose(file);
	assert_int_equal(control_new(path, GROUP, &fresh, &why), -ENOTSOCK);
	free(why);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(unlink(path), 0);
}

static int make_dir(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

#define WITH(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	struct CMUnitTest tests[32] = {
		WITH(answers),
		WITH(refuses),
		WITH(takes_lines_as_they_come),
		WITH(hung_clients_cost_nothing),
		WITH(too_much_is_dropped),
		WITH(a_second_daemon_is_refused),
		WITH(can_be_reached_by_all),
		WITH(others_do_not_crowd_out_root),
		WITH(root_does_not_make_room),
		cmocka_unit_test(no_daemon),
		cmocka_unit_test(a_stale_socket_is_replaced),
		cmocka_unit_test(a_file_in_the_way_stays),
	};
	size_t n = fixed_tests(tests);

	for (size_t i = 0; i < ARRAY_SIZE(peer_cases); i++)
		tests[n++] = (struct CMUnitTest){ peer_cases[i].name, peer, NULL, NULL, (void *)&peer_cases[i] };
	return _cmocka_run_group_tests("control", tests, n, make_dir, remove_dir);
}
