/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * settings: what cmd/ reads: the configuration, values of options, the control socket from both ends, the list of
 * mounts.
 *
 *	u8 kind		which, see below
 *	rest		its text
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "cmd/config.h"
#include "cmd/control.h"
#include "cmd/ctl.h"
#include "cmd/key.h"
#include "cmd/mounts.h"
#include "cmd/report.h"
#include "tests/fuzz/fuzz.h"

#define PATIENCE_S (PATIENCE_MS / 1000)

static FILE *nowhere;
static struct sockaddr_un server_addr = { .sun_family = AF_UNIX }, daemon_addr = { .sun_family = AF_UNIX };
static struct control *control;
static int daemon_fd;

/* A file with that text; its path. */
static int file_of(struct slice text, char path[32])
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	MUST(fd >= 0 && write(fd, text.data, text.len) == (ssize_t)text.len);
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

/* ---- the configuration ---- */

static void check_tree(const struct config_tree *tree)
{
	MUST(tree->name && tree->upstream && tree->cache && tree->export);
	MUST(tree->cache[0] == '/' && tree->export[0] == '/');
	MUST(tree->durability == DURABILITY_SYNC || tree->durability == DURABILITY_ASYNC);
}

static void check_config(struct config *config, struct buf *errors)
{
	if (config_check(config, errors)) {
		MUST(errors->len);	/* with a reason */
		return;
	}
	MUST(config->n_trees && config->n_trees <= CONFIG_TREES_MAX);
	for (size_t i = 0; i < config->n_trees; i++) {
		check_tree(&config->trees[i]);
		MUST(config_tree(config, config->trees[i].name) == &config->trees[i]);
	}
}

static void config_file(struct input *in)
{
	struct config config;
	struct buf errors;
	char path[32];
	int fd = file_of(input_rest(in), path), err;

	buf_init(&errors, 0);
	MUST(!config_init(&config));
	err = config_load(&config, path, true, &errors);
	MUST(err == 0 || err == -EINVAL);
	MUST(err ? errors.len > 0 : !errors.len);
	if (!err)
		check_config(&config, &errors);
	config_release(&config);
	buf_release(&errors);
	close(fd);
}

/* Lines of KEY=VALUE; by turns for the daemon and for the tree. */
static void options(struct input *in)
{
	AUTO_FREE char *text = input_text(input_rest(in));
	bool of_tree = false;
	struct config config;
	struct buf errors;
	char *save, *line;

	buf_init(&errors, 0);
	MUST(!config_init(&config));
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, '=');

		if (value)
			*value++ = '\0';
		if (of_tree)
			(void)config_set_tree(&config, line, value ? value : "", "--option", &errors);
		else
			(void)config_set(&config, line, value ? value : "", "--option", &errors);
		of_tree = !of_tree;
	}
	check_config(&config, &errors);
	config_release(&config);
	buf_release(&errors);
}

/* ---- the control socket ---- */

static json_t *answer(void *arg, enum control_right right, const json_t *request)
{
	const char *command = json_string_value(json_object_get(request, "command"));

	(void)arg;
	MUST(right == CONTROL_ALL);	/* we are root */
	MUST(json_is_object(request));
	return json_pack("{s:b, s:s*}", "ok", 1, "command", command);
}

/* What a client says: each line gets one, until it is too much. */
static void requests(struct input *in)
{
	struct slice text = input_rest(in);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t lines = 0, answers = 0;
	char data[4096];
	ssize_t n;

	MUST(fd >= 0 && !connect(fd, (struct sockaddr *)&server_addr, sizeof(server_addr)));
	MUST(text.len < 65536 && send(fd, text.data, text.len, MSG_NOSIGNAL) == (ssize_t)text.len);
	MUST(!shutdown(fd, SHUT_WR));
	for (size_t i = 0; i < text.len; i++)
		lines += ((const char *)text.data)[i] == '\n';
	for (;;) {
		(void)await(fd, POLLIN);
		n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			answers += data[i] == '\n';
	}
	MUST(answers == lines);
	close(fd);
}

/* What a daemon says, to one that asks for the status, and for the conflicts. */
static void answers(struct input *in)
{
	struct slice text = input_rest(in);
	struct ctl *ctl;
	json_t *got = NULL;
	char *why = NULL;
	int fd, err;

	MUST(!ctl_open(daemon_addr.sun_path, &ctl, &why));
	fd = accept(daemon_fd, NULL, NULL);
	MUST(fd >= 0 && send(fd, text.data, text.len, MSG_NOSIGNAL) == (ssize_t)text.len);
	MUST(!shutdown(fd, SHUT_WR));
	err = ctl_ask(ctl, json_pack("{s:s}", "command", "status"), PATIENCE_S, &got, &why);
	MUST(err != -ETIMEDOUT && (err ? !got && why : got && !why));
	if (!err) {
		report_status(nowhere, got);
		report_conflicts(nowhere, got);
		(void)report_exit(got);
		json_decref(got);
	}
	free(why);
	ctl_close(ctl);
	close(fd);
}

/* ---- the list of mounts ---- */

static void mounts(struct input *in)
{
	static const char *const exports[] = { "/imports", "/other" };
	struct mounts found;
	char path[32];
	int fd = file_of(input_rest(in), path);

	MUST(!mounts_find(&found, path, 2049, exports, ARRAY_SIZE(exports)));
	for (size_t i = 0; i < found.n; i++)
		MUST(found.v[i].export[0] == '/');
	(void)mounts_holding(&found, "/usr/bin/../lib/x");
	(void)mounts_holding(&found, "/imports/a");
	mounts_release(&found);
	close(fd);
}

/* ---- */

static void (*const kinds[])(struct input *in) = { config_file, options, requests, answers, mounts };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char *why;

	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	nowhere = fopen("/dev/null", "w");
	MUST(nowhere);
	snprintf(server_addr.sun_path, sizeof(server_addr.sun_path), "%s/server", fuzz_dir_make());
	snprintf(daemon_addr.sun_path, sizeof(daemon_addr.sun_path), "%s/daemon", fuzz_dir);
	MUST(!control_new(server_addr.sun_path, CONTROL_NO_GROUP, &control, &why));
	MUST(!control_start(control, answer, NULL));
	daemon_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(daemon_fd >= 0 && !bind(daemon_fd, (struct sockaddr *)&daemon_addr, sizeof(daemon_addr)));
	MUST(!listen(daemon_fd, 4));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);

	kinds[input_u8(&in) % ARRAY_SIZE(kinds)](&in);
	return 0;
}
