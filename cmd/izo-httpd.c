/* SPDX-License-Identifier: GPL-2.0-or-later */
/* izo-httpd: the upstream.  Exports an ordinary directory over HTTP and journals every change in it. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/reserve.h"
#include "base/sockaddr.h"
#include "cmd/options.h"
#include "cmd/service.h"
#include "httpd/apply.h"
#include "httpd/journal.h"
#include "httpd/server.h"
#include "httpd/upload.h"
#include "httpd/watch.h"

#define DEFAULT_DIR "/exports/server"
#define DEFAULT_LISTEN "127.0.0.1:8642"
#define FILES_MAX 8192		/* descriptors: a connection takes some */
#define UPKEEP_MS (10 * 60 * 1000)
#define PROGRESS_US (200 * US_PER_MS)
#define STOP_S 60		/* a large batch that is being applied is finished */

struct config {
	const char *dir;
	const char *listen;	/* as it was given */
	struct sockaddr_storage addr;
	socklen_t addr_len;
	bool allow_remote;
	struct service service;
};

/* ---- options ---- */

static const char *set_listen(void *target, const char *value)
{
	struct config *config = target;

	if (options_address(value, &config->addr, &config->addr_len))
		return "is not ADDR:PORT with an address in numbers, like 127.0.0.1:8642 or [::1]:8642";
	config->listen = value;
	return NULL;
}

static const char *set_allow_remote(void *target, const char *value)
{
	(void)value;
	((struct config *)target)->allow_remote = true;
	return NULL;
}

static const char *set_foreground(void *target, const char *value)
{
	(void)value;
	((struct config *)target)->service.is_foreground = true;
	return NULL;
}

static const char *set_pid_file(void *target, const char *value)
{
	((struct config *)target)->service.pid_file = value;
	return NULL;
}

static const char *set_trace(void *target, const char *value)
{
	(void)target;
	return log_trace(value) ? "is not a list of subsystems (http,apply,watch; all; none)" :
				  NULL;
}

static const struct option_row rows[] = {
	{ "listen", 'l', "ADDR:PORT",
	  "where to serve (default " DEFAULT_LISTEN ");\nport 0: any free one, which is told",
	  set_listen },
	{ "allow-remote", 0, NULL,
	  "listen on other addresses than loopback ones, although\n"
	  "there is no TLS: whoever reaches the port may read and\nchange everything",
	  set_allow_remote },
	{ "foreground", 'f', NULL, "stay in the foreground and log to stderr", set_foreground },
	{ "pid-file", 0, "FILE", "write the process id there while it serves", set_pid_file },
	{ "trace", 0, "SUBSYSTEMS",
	  "log details of http, apply, watch (a list with commas),\nor all", set_trace },
};

static const struct options options = {
	.program = "izo-httpd",
	.usage = "[OPTION]... [DIR]",
	.about = "Exports DIR (default " DEFAULT_DIR
		 ") over HTTP to izo-nfsd, and journals every change in it.",
	.rows = rows,
	.n = ARRAY_SIZE(rows),
	.max_args = 1,
};

static int check(const struct config *config)
{
	if (sockaddr_is_loopback(&config->addr) || config->allow_remote)
		return 0;
	fprintf(stderr,
		"izo-httpd: --listen %s: is not a loopback address, and there is no TLS: whoever reaches the port could\n"
		"read and change everything in %s. Use a loopback address with a tunnel (ssh -L, WireGuard, a proxy\n"
		"with TLS), or give --allow-remote if the network is trusted\n",
		config->listen, config->dir);
	return -EINVAL;
}

/* ---- serving ---- */

static void allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FILES_MAX)
		return;
	limit.rlim_cur = MIN(limit.rlim_max, FILES_MAX);
	(void)setrlimit(RLIMIT_NOFILE, &limit);	/* refused: fewer connections at a time, then */
}

/* A signal came that ends the program. */
static bool must_stop(struct service *service)
{
	int got;

	while ((got = service_signal(service)) != 0) {
		if (got != SIGHUP) {
			log_info("stopping: %s", got == SIGTERM ? "SIGTERM" : "SIGINT");
			return true;
		}
	}
	return false;
}

/*
 * A new export serves nothing before its files have been looked at once: clients would take the part
 * that is there for all of it.  0; -EINTR: told to stop.
 */
static int settle(struct config *config, struct tree *tree, struct watch *watch)
{
	bool is_terminal = isatty(STDERR_FILENO), is_settled;
	uint64_t next_extend_us = 0;
	int err = 0;

	if (tree_wait(tree, UINT64_MAX, 0) > 0)
		return 0;
	do {
		is_settled = watch_wait_settled(watch, clock_us() + PROGRESS_US);
		if (is_terminal)
			fprintf(stderr, "\rizo-httpd: %s is new, looking at its files: %llu ",
				config->dir, (unsigned long long)tree_wait(tree, UINT64_MAX, 0));
		if (clock_us() >= next_extend_us) {
			service_extend(60);
			service_status("looking at the files of a new export: %llu so far",
				       (unsigned long long)tree_wait(tree, UINT64_MAX, 0));
			next_extend_us = clock_us() + 20 * US_PER_S;
		}
		if (!is_settled && must_stop(&config->service))
			err = -EINTR;
	} while (!is_settled && !err);
	if (is_terminal)
		fprintf(stderr, "\n");
	return err;
}

static void upkeep(struct tree *tree)
{
	int err;

	upload_expire(tree);
	reserve_fill(tree->reserve);
	err = apply_lock(tree);
	if (!err) {
		err = journal_prune(tree, JOURNAL_KEPT);
		tree_unlock(tree);
	}
	if (err)
		log_warn("%s: old journal entries stay, trying again in %d min: %s", tree->path,
			 UPKEEP_MS / 60000, strerror(-err));
}

static void wait_for_stop(struct config *config, struct tree *tree)
{
	struct pollfd poller = { .fd = service_signal_fd(&config->service), .events = POLLIN };
	uint64_t next_us = clock_us() + UPKEEP_MS * US_PER_MS, now;

	while (!must_stop(&config->service)) {
		now = clock_us();
		if (now >= next_us) {
			upkeep(tree);
			next_us = clock_us() + UPKEEP_MS * US_PER_MS;
			continue;
		}
		/* The loop looks why it returned. */
		(void)poll(&poller, 1, (int)((next_us - now) / US_PER_MS) + 1);
	}
}

static int fail(char *why, const char *what, int err)
{
	if (why)
		log_error("%s", why);
	else
		log_error("%s: %s", what, strerror(-err));
	free(why);
	return err;
}

static int serve(struct config *config, struct tree *tree, struct watch *watch)
{
	AUTO_FREE char *status = NULL;
	struct server *server;
	char *why;
	int err;

	err = settle(config, tree, watch);
	if (err)
		return 0;
	err = server_start(tree, (struct sockaddr *)&config->addr, config->addr_len, &server, &why);
	if (err)
		return fail(why, config->listen, err);
	if (asprintf(&status, "serving %s on %s", config->dir, server_url(server)) < 0)
		status = NULL;
	log_info("%s", status ? status : "serving");
	log_info("changes by local programs are noticed through %s", watch_kind_name(watch));
	service_ready(&config->service, status ? status : "serving");
	wait_for_stop(config, tree);
	service_stopping();
	service_extend(STOP_S);
	server_stop(server);
	return 0;
}

static int run(struct config *config)
{
	struct watch *watch;
	struct tree *tree;
	char *why;
	int err;

	allow_files();
	err = tree_open(config->dir, &tree, &why);
	if (err)
		return fail(why, config->dir, err);
	service_extend(60);
	err = apply_recover(tree);
	if (err) {
		fail(NULL, "cannot finish what a crash interrupted; make room or mend the disk, start again",
		     err);
		tree_close(tree);
		return err;
	}
	err = watch_start(tree, WATCH_BEST, &watch);
	if (err) {
		fail(NULL, "cannot watch for changes by local programs", err);
		tree_close(tree);
		return err;
	}
	err = serve(config, tree, watch);
	tree_stop_waiting(tree);
	watch_stop(watch);
	tree_close(tree);
	return err;
}

int main(int argc, char **argv)
{
	struct config config = { .dir = DEFAULT_DIR, .service = { .name = "izo-httpd" } };
	int first, got;

	(void)set_listen(&config, DEFAULT_LISTEN);	/* is good */
	got = options_parse(&options, argc, argv, &config, &first);
	if (got)
		return got == OPTIONS_DONE ? 0 : OPTIONS_EXIT_USAGE;
	if (first < argc)
		config.dir = argv[first];
	if (check(&config))
		return OPTIONS_EXIT_USAGE;
	got = service_begin(&config.service);
	if (!got)
		got = run(&config);
	if (!got)
		log_info("stopped");
	service_end(&config.service);
	return got ? 1 : 0;
}
