/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/merger.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/run.h"
#include "base/why.h"
#include "cache/base.h"
#include "cache/merged.h"
#include "cache/settle.h"
#include "cmd/config.h"

/* For those that could not be begun, for the server was not to be reached, or a side was changing: twice as long each time. */
#define AGAIN_US (2 * US_PER_S)
#define AGAIN_MOST_US (16 * US_PER_S)
#define LOCK_WAIT_S 5
#define OUTPUT_ROOM 4096
#define OUTPUT_LINES 10
#define DIR_PATH "/proc/self/fd/9/"	/* RUN_DIR_FD */

_Static_assert(RUN_DIR_FD == 9, "DIR_PATH");

struct merger {
	struct cache *cache;
	const struct config_tree *config;
	int stop_fd;			/* an eventfd; readable: it is to end */
	/* the policy's thread */
	uint64_t look_at_us;		/* not before that for those that could not be begun */
	uint64_t again_us;		/* and after that so long later */
	uint64_t new_after;		/* conflicts above that have not been looked at at all */
	pthread_mutex_t lock;		/* held while a command runs */
};

/* The first that is for the path; NULL: none. */
static const char *command_for(const struct merger *merger, const char *path)
{
	const struct config_merges *merges = &merger->config->merges;

	for (size_t i = 0; i < merges->n; i++)
		if (base_pattern_matches(merges->v[i].pattern, path))
			return merges->v[i].command;
	return NULL;
}

static bool is_stopping(const struct merger *merger)
{
	struct pollfd stop = { .fd = merger->stop_fd, .events = POLLIN };

	return poll(&stop, 1, 0) > 0;
}

/* ---- the command ---- */

static void log_output(const struct merged *m, char *output)
{
	char *rest = output, *line;

	for (unsigned n = 0; n < OUTPUT_LINES && (line = strsep(&rest, "\n")); n++) {
		for (char *c = line; *c; c++)
			if ((unsigned char)*c < ' ' || *c == 0x7f)
				*c = ' ';
		if (*line)
			log_info("merge: %s: the command says: %s", m->path, line);
	}
}

static int add_env(char **env, size_t at, const char *name, const char *value)
{
	if (asprintf(&env[at], "%s=%s", name, value) >= 0)
		return 0;
	env[at] = NULL;
	return -ENOMEM;
}

static int run(struct merger *merger, const struct merged *m, const char *command, char **ret_why)
{
	char *env[10] = { (char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", (char *)"HOME=/", (char *)"LANG=C.UTF-8",
			  (char *)(m->has_base ? "BASE=" DIR_PATH "base" : "BASE="), (char *)"MINE=" DIR_PATH "mine",
			  (char *)"THEIRS=" DIR_PATH "theirs", (char *)"RESULT=" DIR_PATH "result" };
	AUTO_FREE char *output = malloc(OUTPUT_ROOM);
	struct run args = {
		.command = command, .env = env, .dirfd = m->dirfd, .uid = m->uid, .gid = m->gid, .limit_s = merger->config->merge_time_s,
		.stop_fd = merger->stop_fd, .output = output, .output_room = OUTPUT_ROOM,
	};
	int err = output ? 0 : -ENOMEM, status = 0;

	if (!err)
		err = add_env(env, 7, "NAME", m->path);
	if (!err)
		err = add_env(env, 8, "TREE", merger->config->name);
	if (!err) {
		err = run_command(&args, &status);
		log_output(m, output);
	}
	free(env[7]);
	free(env[8]);
	if (err == -ETIMEDOUT)
		return why_fail(ret_why, err, "the command took longer than %u s, and was ended", args.limit_s);
	if (err == -ECANCELED)
		return why_fail(ret_why, err, "the daemon ends");
	if (err)
		return why_fail(ret_why, err, "the command cannot be run as user %u: %s", m->uid, strerror(-err));
	if (status > 128)
		return why_fail(ret_why, -EIO, "the command was ended by signal %d (%s)", status - 128, strsignal(status - 128));
	return status ? why_fail(ret_why, -EIO, "the command ended with %d", status) : 0;
}

/* Under the lock. */
static int merge(struct merger *merger, uint64_t id, const char *command, char **ret_why)
{
	struct merged *m = malloc(sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	err = merged_begin(merger->cache, id, strstr(command, "BASE") != NULL, m, ret_why);
	if (!err) {
		/* A daemon that is killed meanwhile does not try it again by itself. */
		err = merged_note(merger->cache, id, "the daemon ended while the command ran; --resolve with --keep merged runs it again");
		if (!err)
			err = run(merger, m, command, ret_why);
		if (!err)
			err = merged_take(m, ret_why);
		merged_end(m);
	}
	free(m);
	return err;
}

static int merge_and_note(struct merger *merger, uint64_t id, const char *path, const char *command, char **ret_why)
{
	int err, noted;

	err = merge(merger, id, command, ret_why);
	if (!err)
		return 0;
	if (!*ret_why)
		(void)why_fail(ret_why, err, "%s", strerror(-err));
	/* What was not to be done now is tried again. */
	noted = merged_note(merger->cache, id, err == -EAGAIN || err == -ECANCELED ? NULL : *ret_why ? *ret_why : strerror(-err));
	if (err == -EAGAIN || err == -ECANCELED)
		log_debug(LOG_CACHE, "merge: %s: later: %s", path, *ret_why ? *ret_why : "");
	else
		log_info("merge: %s: not merged, both versions stay: %s", path, *ret_why ? *ret_why : strerror(-err));
	return noted ? noted : err;
}

int merger_merge(struct merger *merger, uint64_t id, char **ret_why)
{
	AUTO_FREE struct settle_paths *paths = malloc(sizeof(*paths));
	struct timespec until;
	const char *command;
	int err;

	*ret_why = NULL;
	err = paths ? settle_paths(merger->cache, id, paths) : -ENOMEM;
	if (err)
		return err;
	command = command_for(merger, paths->name);
	if (!command)
		return why_fail(ret_why, -ENOENT, "no line merge of tree %s in the configuration is for it", merger->config->name);
	/* Whoever asks is answered soon: the one that runs may take its whole time. */
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += LOCK_WAIT_S;
	if (pthread_mutex_clocklock(&merger->lock, CLOCK_MONOTONIC, &until))
		return why_fail(ret_why, -EBUSY, "another file of tree %s is being merged: try again when that is over", merger->config->name);
	err = merge_and_note(merger, id, paths->name, command, ret_why);
	pthread_mutex_unlock(&merger->lock);
	return err;
}

/* ---- by itself ---- */

bool merger_has_work(const struct merger *merger)
{
	return merger->config->merges.n != 0;
}

bool merger_waits_for(struct merger *merger, uint64_t id)
{
	AUTO_FREE char *path = malloc(CML_PATH_MAX);
	uint64_t next;

	return merger_has_work(merger) && path && merged_next(merger->cache, id - 1, &next, path) > 0 && next == id &&
	       command_for(merger, path);
}

/* has_some: there are some that could not be begun, of all there are, or of the new ones, which may be so only for a moment. */
static void look_later(struct merger *merger, bool of_all, bool has_some)
{
	uint64_t at_us;

	merger->again_us = of_all && has_some ? MIN(MAX(2 * merger->again_us, AGAIN_US), AGAIN_MOST_US) : AGAIN_US;
	at_us = clock_us() + merger->again_us;
	merger->look_at_us = of_all ? at_us : MIN(merger->look_at_us, at_us);
}

int merger_round(struct merger *merger)
{
	AUTO_FREE char *path = malloc(CML_PATH_MAX);
	bool looks_again = clock_us() >= merger->look_at_us, has_some = false;
	uint64_t id = looks_again ? 0 : merger->new_after;
	int got = path ? 0 : -ENOMEM;

	if (!merger_has_work(merger))
		return 0;
	while (!got && !is_stopping(merger) && (got = merged_next(merger->cache, id, &id, path)) > 0) {
		const char *command = command_for(merger, path);
		AUTO_FREE char *why = NULL;

		got = 0;
		merger->new_after = MAX(merger->new_after, id);
		if (!command)
			continue;
		pthread_mutex_lock(&merger->lock);
		has_some |= merge_and_note(merger, id, path, command, &why) == -EAGAIN;
		pthread_mutex_unlock(&merger->lock);
	}
	if (looks_again || has_some)
		look_later(merger, looks_again, has_some);
	return got;
}

/* ---- life ---- */

int merger_new(struct cache *cache, const struct config_tree *config, struct merger **ret_merger)
{
	struct merger *merger = calloc(1, sizeof(*merger));

	if (!merger)
		return -ENOMEM;
	merger->cache = cache;
	merger->config = config;
	merger->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (merger->stop_fd < 0) {
		int err = -errno;

		free(merger);
		return err;
	}
	(void)pthread_mutex_init(&merger->lock, NULL);	/* cannot fail with default attributes */
	merged_clean(config->cache);
	*ret_merger = merger;
	return 0;
}

void merger_stop(struct merger *merger)
{
	const uint64_t one = 1;

	if (merger)
		(void)!write(merger->stop_fd, &one, sizeof(one));
}

void merger_free(struct merger *merger)
{
	if (!merger)
		return;
	mem_close_fd(&merger->stop_fd);
	(void)pthread_mutex_destroy(&merger->lock);
	free(merger);
}
