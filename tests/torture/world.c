/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/world.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "tests/torture/trace.h"

#define ARGS_MAX 24
#define START_S 60
#define STOP_S 60
#define COMMAND_S 60
#define KICK_MS 100

struct process {
	const char *name;
	pid_t pid;		/* 0: it does not run */
	char log[PATH_MAX];
	int port;		/* 0: not known yet */
};

static struct client_world {
	struct process daemon, proxy;
	char cache[PATH_MAX], control[PATH_MAX], config[PATH_MAX], fifo[PATH_MAX], url[64];
	int proxy_out, proxy_in;
	struct client nfs;
	bool is_open;		/* nfs */
	bool is_offline, is_cut, was_killed;
	bool is_deaf;		/* nothing of what the upstream says arrives */
} clients[CLIENTS];

static struct process upstream = { .name = "izo-httpd" };
static volatile sig_atomic_t strike_pid;	/* 0: none is to come */
static int strike_victim = -1;
static char export[PATH_MAX], programs[PATH_MAX], upstream_url[64];
static const char *proxy_program;
static const char *const hosts[CLIENTS] = { "ann", "bob", "cat" };

/* ---- processes ---- */

static void path_in(char path[PATH_MAX], const char *dir, const char *name)
{
	if (snprintf(path, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
		trace_fail("%s/%s: the path is too long", dir, name);
}

/* Output goes to that descriptor. The child ends when we do. */
static pid_t spawn(int out, const char *const argv[])
{
	pid_t parent = getpid(), pid = fork();
	struct sigaction plain = { .sa_handler = SIG_DFL };

	if (pid < 0)
		trace_fail("fork: %s", strerror(errno));
	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	(void)sigaction(SIGPIPE, &plain, NULL);
	if (dup2(open("/dev/null", O_RDONLY), 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(127);
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

static bool has_ended(struct process *p, int *ret_status)
{
	if (waitpid(p->pid, ret_status, WNOHANG) != p->pid)
		return false;
	p->pid = 0;
	return true;
}

static void pause_ms(unsigned ms)
{
	(void)usleep(ms * 1000);
}

/* The port in the line with "serving" that came after that many bytes; 0: none yet. */
static int served_port(const struct process *p, off_t from)
{
	AUTO_CLOSE int fd = open(p->log, O_RDONLY | O_CLOEXEC);
	char text[16384], *line, *end, *colon = NULL;
	ssize_t n = pread(fd, text, sizeof(text) - 1, from);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	line = strstr(text, "serving");
	end = line ? strchr(line, '\n') : NULL;
	if (!end)
		return 0;
	*end = '\0';
	for (char *s = strstr(line, "127.0.0.1:"); s; s = strstr(s + 1, "127.0.0.1:"))
		colon = s + strlen("127.0.0.1:");
	return colon ? atoi(colon) : 0;
}

static void start(struct process *p, const char *const argv[])
{
	AUTO_CLOSE int log = open(p->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	uint64_t end_us = clock_us() + START_S * US_PER_S;
	off_t from = lseek(log, 0, SEEK_END);
	int status;

	if (log < 0)
		trace_fail("%s: %s", p->log, strerror(errno));
	p->pid = spawn(log, argv);
	while (!(p->port = served_port(p, from))) {
		if (has_ended(p, &status))
			trace_fail("%s ends at its start, status %x; see %s", p->name, (unsigned)status, p->log);
		if (clock_us() > end_us)
			trace_fail("%s does not serve after %d s; see %s", p->name, START_S, p->log);
		pause_ms(2);
	}
}

static void stop(struct process *p)
{
	uint64_t end_us = clock_us() + STOP_S * US_PER_S;
	int status;

	if (!p->pid)
		return;
	(void)kill(p->pid, SIGTERM);
	while (!has_ended(p, &status)) {
		if (clock_us() > end_us)
			trace_fail("%s does not stop in %d s", p->name, STOP_S);
		pause_ms(2);
	}
	if (status)
		trace_fail("%s, told to stop, ends with status %x; see %s", p->name, (unsigned)status, p->log);
}

static void start_upstream(void)
{
	char program[PATH_MAX], listen[32];

	path_in(program, programs, "izo-httpd");
	(void)snprintf(listen, sizeof(listen), "127.0.0.1:%d", upstream.port);
	start(&upstream, (const char *[]){ program, "--foreground", "--listen", listen, export, NULL });
	(void)snprintf(upstream_url, sizeof(upstream_url), "http://127.0.0.1:%d/", upstream.port);
}

static void start_daemon(struct client_world *w)
{
	char program[PATH_MAX], listen[32];

	path_in(program, programs, "izo-nfsd");
	(void)snprintf(listen, sizeof(listen), "127.0.0.1:%d", w->daemon.port);
	start(&w->daemon, (const char *[]){ program, "--foreground", "--upstream", w->url, "--cache", w->cache, "--export", "/imports",
				      "--listen", listen, "--no-rpcbind", "--allow-unprivileged-ports", "--control", w->control,
				      "--config", w->config, NULL });
}

/* ---- links ---- */

/* A line of the proxy's output. */
static void proxy_line(struct client_world *w, char *line, size_t size)
{
	struct pollfd p = { w->proxy_out, POLLIN, 0 };
	size_t n = 0;

	do {
		if (poll(&p, 1, START_S * 1000) != 1 || read(w->proxy_out, line + n, 1) != 1) {
			if (errno == EINTR)
				continue;
			trace_fail("the proxy says nothing");
		}
		n++;
	} while (line[n - 1] != '\n' && n + 1 < size);
	line[n - 1] = '\0';
}

static void start_proxy(struct client_world *w)
{
	char to[32], line[300];
	int out[2];

	(void)snprintf(to, sizeof(to), "127.0.0.1:%d", upstream.port);
	if (pipe2(out, O_CLOEXEC))
		trace_fail("pipe: %s", strerror(errno));
	w->proxy.pid = spawn(out[1], (const char *[]){ proxy_program, "--listen", "127.0.0.1:0", "--to", to, "--control",
						 w->fifo, NULL });
	(void)close(out[1]);
	w->proxy_out = out[0];
	proxy_line(w, line, sizeof(line));
	if (sscanf(line, "serving on 127.0.0.1:%d", &w->proxy.port) != 1)
		trace_fail("the proxy says %s", line);
	(void)snprintf(w->url, sizeof(w->url), "http://127.0.0.1:%d/", w->proxy.port);
	w->proxy_in = open(w->fifo, O_WRONLY | O_CLOEXEC);
	if (w->proxy_in < 0)
		trace_fail("%s: %s", w->fifo, strerror(errno));
}

static void proxy_command(struct client_world *w, const char *command)
{
	char line[300];

	if (dprintf(w->proxy_in, "%s\n", command) < 0)
		trace_fail("the proxy is gone");
	proxy_line(w, line, sizeof(line));
	if (strncmp(line, "done ", 5))
		trace_fail("the proxy did not take \"%s\"", command);
}

/* Where a link is cut for some requests only, or behind some bytes, what is short may well arrive. */
static bool makes_deaf(const char *command)
{
	static const char *const modes[] = { "blackhole", "refuse", "reset", "stall", "drop-answer", "500", "garbage", "empty" };

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(command, modes[i]))
			return true;
	return false;
}

void world_link(int c, const char *command)
{
	trace("%s's link: %s", hosts[c], command);
	proxy_command(&clients[c], command);
	if (!strncmp(command, "delay", 5) || !strncmp(command, "once", 4))
		return;
	clients[c].is_cut = strcmp(command, "pass") != 0;
	clients[c].is_deaf = makes_deaf(command);
}

bool world_may_hear(int c)
{
	return !clients[c].is_deaf && !clients[c].is_offline;
}

/* ---- commands ---- */

/* Runs izo-nfsd with these; its output, to be freed, and exit status; killed after that time: -1. */
static int run(struct client_world *w, char **ret_out, unsigned limit_ms, const char *const args[])
{
	const char *argv[ARGS_MAX] = { NULL, "--control", w->control };
	char program[PATH_MAX];
	uint64_t end_us = clock_us() + limit_ms * US_PER_MS;
	struct process p = { .name = "command" };
	size_t n = 3, len = 0, cap = 65536;
	int out[2], status = -1;
	bool is_late = false;
	char *text = malloc(cap);

	path_in(program, programs, "izo-nfsd");
	argv[0] = program;
	while (*args && n + 1 < ARGS_MAX)
		argv[n++] = *args++;
	if (!text || pipe2(out, O_CLOEXEC))
		trace_fail("no memory, or no descriptors");
	p.pid = spawn(out[1], argv);
	(void)close(out[1]);
	for (;;) {
		struct pollfd poll_out = { out[0], POLLIN, 0 };
		ssize_t got;

		if (clock_us() > end_us && !is_late) {
			is_late = true;
			(void)kill(p.pid, SIGKILL);
		}
		if (poll(&poll_out, 1, 20) <= 0)
			continue;
		got = read(out[0], text + len, cap - len - 1);
		if (got <= 0)
			break;
		len += (size_t)got;
		if (len + 1 == cap) {
			text = realloc(text, cap *= 2);
			if (!text)
				trace_fail("no memory");
		}
	}
	(void)close(out[0]);
	(void)waitpid(p.pid, &status, 0);
	text[len] = '\0';
	if (ret_out)
		*ret_out = text;
	else
		free(text);
	return is_late ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : -2;
}

json_t *world_ask(int c, const char *command)
{
	AUTO_FREE char *text = NULL;
	int status = run(&clients[c], &text, COMMAND_S * 1000, (const char *[]){ command, "--json", NULL });
	json_t *json = json_loads(text, 0, NULL);

	/* --status says by its own that all is not well. */
	if (status < 0 || !json)
		trace_fail("%s of %s: status %d: %s", command, hosts[c], status, text);
	return json;
}

bool world_sync(int c)
{
	AUTO_FREE char *text = NULL;
	int status = run(&clients[c], &text, COMMAND_S * 1000, (const char *[]){ "--sync", NULL });

	trace("%s: --sync: %d %.150s", hosts[c], status, status ? text : "");
	return !status;
}

void world_resolve(int c, const char *path, const char *keep)
{
	AUTO_FREE char *text = NULL;
	int status = run(&clients[c], &text, COMMAND_S * 1000, (const char *[]){ "--resolve", path, "--keep", keep, NULL });

	trace("%s: --resolve %s --keep %s: %d %.150s", hosts[c], path, keep, status, text);
}

void world_offline(int c, bool is_offline)
{
	int status = run(&clients[c], NULL, COMMAND_S * 1000, (const char *[]){ is_offline ? "--offline" : "--online", NULL });

	trace("%s: %s", hosts[c], is_offline ? "--offline" : "--online");
	if (status)
		trace_fail("%s of %s gives %d", is_offline ? "--offline" : "--online", hosts[c], status);
	clients[c].is_offline = is_offline;
}

void world_kick(int c)
{
	(void)run(&clients[c], NULL, KICK_MS, (const char *[]){ "--sync", NULL });
}

bool world_is_connected(int c)
{
	json_t *status;
	bool is_connected;

	if (clients[c].is_cut || clients[c].is_offline || !upstream.pid || strike_victim >= 0)
		return false;
	status = world_ask(c, "--status");
	is_connected = !strcmp("connected", json_string_value(json_object_get(
					json_array_get(json_object_get(status, "trees"), 0), "state")));
	json_decref(status);
	return is_connected;
}

/* ---- strikes ---- */

static void strike(int signal)
{
	(void)signal;
	if (strike_pid)
		(void)kill(strike_pid, SIGKILL);
	strike_pid = 0;
}

static struct process *process_of(int victim)
{
	return victim == UPSTREAM ? &upstream : &clients[victim].daemon;
}

void world_strike(int victim, unsigned delay_us)
{
	struct itimerval at = { .it_value = { delay_us / 1000000, delay_us % 1000000 + 1 } };
	struct process *p = process_of(victim);

	if (strike_victim >= 0 || !p->pid)
		return;
	trace("kill -9 of %s%s in %u us", p->name, victim == UPSTREAM ? "" : hosts[victim], delay_us);
	strike_victim = victim;
	strike_pid = p->pid;
	(void)setitimer(ITIMER_REAL, &at, NULL);
}

static void open_nfs(struct client_world *w)
{
	if (w->is_open)
		client_close(&w->nfs);
	client_open(&w->nfs, w->daemon.port);
	w->nfs.may_be_lost = true;
	w->is_open = true;
}

/* Who is dead and was not killed by us has ended by himself. */
static void look_for_dead(struct process *p, bool is_expected)
{
	int status;

	if (!p->pid || !has_ended(p, &status))
		return;
	if (!is_expected)
		trace_fail("%s has ended, status %x; see %s", p->name, (unsigned)status, p->log);
}

static bool upstream_rests;

void world_rest_upstream(bool rests)
{
	upstream_rests = rests;
}

void world_settle(void)
{
	if (strike_victim >= 0) {
		struct process *p = process_of(strike_victim);
		uint64_t end_us = clock_us() + STOP_S * US_PER_S;

		while (strike_pid || p->pid) {
			look_for_dead(p, true);
			if (clock_us() > end_us)
				trace_fail("%s is not to be killed", p->name);
			pause_ms(1);
		}
		strike_victim = -1;
	}
	look_for_dead(&upstream, false);
	if (!upstream.pid && !upstream_rests) {
		start_upstream();
		trace("izo-httpd is started again");
	}
	for (int c = 0; c < CLIENTS; c++) {
		struct client_world *w = &clients[c];

		look_for_dead(&w->daemon, false);
		if (!w->daemon.pid) {
			w->was_killed = true;
			start_daemon(w);
			trace("izo-nfsd of %s is started again", hosts[c]);
			open_nfs(w);
		}
		if (w->nfs.is_lost)
			open_nfs(w);
	}
}

bool world_was_killed(int c)
{
	bool was_killed = clients[c].was_killed;

	clients[c].was_killed = false;
	return was_killed;
}

void world_mend(void)
{
	upstream_rests = false;
	world_settle();
	for (int c = 0; c < CLIENTS; c++) {
		if (clients[c].is_cut)
			world_link(c, "pass");
		proxy_command(&clients[c], "delay 0");
		if (clients[c].is_offline)
			world_offline(c, false);
	}
}

/* ---- begin and end ---- */

const char *world_export(void) { return export; }
const char *world_url(void) { return upstream_url; }
const char *world_cache(int c) { return clients[c].cache; }
struct client *world_nfs(int c) { return &clients[c].nfs; }

static void client_begin_world(int c, const char *dir)
{
	struct client_world *w = &clients[c];
	char name[64];
	FILE *config;

	w->daemon.name = "izo-nfsd";
	(void)snprintf(name, sizeof(name), "%s.log", hosts[c]);
	path_in(w->daemon.log, dir, name);
	(void)snprintf(name, sizeof(name), "%s.sock", hosts[c]);
	path_in(w->control, dir, name);
	(void)snprintf(name, sizeof(name), "%s.fifo", hosts[c]);
	path_in(w->fifo, dir, name);
	(void)snprintf(name, sizeof(name), "%s.cache", hosts[c]);
	path_in(w->cache, dir, name);
	(void)snprintf(name, sizeof(name), "%s.conf", hosts[c]);
	path_in(w->config, dir, name);
	config = fopen(w->config, "w");
	if (!config)
		trace_fail("%s: %s", w->config, strerror(errno));
	/* kill -9 takes nothing of either from the disk. */
	(void)fprintf(config, "[daemon]\nlookup_wait_s = 1\nread_wait_s = 3\ndurability = %s\n[tree imports]\nhost = %s\n",
		      c == CLIENTS - 1 ? "async" : "sync", hosts[c]);
	if (fclose(config))
		trace_fail("%s: %s", w->config, strerror(errno));
	start_proxy(w);
	start_daemon(w);
	open_nfs(w);
}

void world_begin(const char *of_programs, const char *proxy, const char *dir)
{
	struct sigaction on_alarm = { .sa_handler = strike, .sa_flags = SA_RESTART }, ignore = { .sa_handler = SIG_IGN };

	/* A daemon that was killed resets the connection in the middle of a write. */
	if (sigaction(SIGALRM, &on_alarm, NULL) || sigaction(SIGPIPE, &ignore, NULL))
		trace_fail("sigaction: %s", strerror(errno));
	(void)snprintf(programs, sizeof(programs), "%s", of_programs);
	proxy_program = proxy;
	path_in(export, dir, "export");
	path_in(upstream.log, dir, "up.log");
	start_upstream();
	for (int c = 0; c < CLIENTS; c++)
		client_begin_world(c, dir);
}

void world_check_cache(int c)
{
	struct client_world *w = &clients[c];
	AUTO_FREE char *text = NULL;
	int status;

	stop(&w->daemon);
	status = run(w, &text, COMMAND_S * 1000, (const char *[]){ "--cache", w->cache, "--check", NULL });
	if (status)
		trace_fail("the cache of %s is damaged: --check gives %d: %s", hosts[c], status, text);
	start_daemon(w);
	open_nfs(w);
}

void world_end(void)
{
	for (int c = 0; c < CLIENTS; c++) {
		struct client_world *w = &clients[c];

		client_close(&w->nfs);
		stop(&w->daemon);
		(void)kill(w->proxy.pid, SIGKILL);
		(void)waitpid(w->proxy.pid, NULL, 0);
	}
	stop(&upstream);
}
