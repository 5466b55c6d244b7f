/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifdef IZO_FAULTS

#include "base/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define MAX_POINTS 256
#define MAX_RULES 16

enum action { ACT_ERROR, ACT_KILL, ACT_HANG, ACT_SLOW };

struct rule {
	char name[64];
	unsigned long nth;	/* 0: every hit */
	enum action action;
	int err;
};

/* All under lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool is_read;
static struct rule rules[MAX_RULES];
static size_t n_rules;
static struct {
	const char *name;	/* the literal at the point */
	unsigned long hits;
} points[MAX_POINTS];
static size_t n_points;
static struct {
	const char *name;
	unsigned nth;		/* 0: nothing is to happen */
	void (*fn)(void *arg);
	void *arg;
	int err;
} once;

static const struct {
	const char *name;
	int err;
} errors[] = {
	{ "EIO", EIO }, { "ENOSPC", ENOSPC }, { "ENOMEM", ENOMEM }, { "EDQUOT", EDQUOT },
	{ "EACCES", EACCES }, { "EPERM", EPERM }, { "EAGAIN", EAGAIN }, { "ENOENT", ENOENT },
	{ "EEXIST", EEXIST }, { "EINTR", EINTR }, { "ETIMEDOUT", ETIMEDOUT }, { "EROFS", EROFS },
	{ "ENAMETOOLONG", ENAMETOOLONG },
};

static void read_rule(char *text)
{
	struct rule *rule = &rules[n_rules];
	char *save = NULL, *word = strtok_r(text, ":", &save);

	if (!word || n_rules == MAX_RULES)
		return;
	snprintf(rule->name, sizeof(rule->name), "%s", word);
	rule->nth = 1;
	rule->err = EIO;
	while ((word = strtok_r(NULL, ":", &save))) {
		if (word[0] >= '0' && word[0] <= '9') {
			rule->nth = strtoul(word, NULL, 10);
		} else if (!strcmp(word, "kill")) {
			rule->action = ACT_KILL;
		} else if (!strcmp(word, "hang")) {
			rule->action = ACT_HANG;
		} else if (!strcmp(word, "slow")) {
			rule->action = ACT_SLOW;
		} else {
			size_t i;

			for (i = 0; i < ARRAY_SIZE(errors) && strcmp(word, errors[i].name); i++)
				;
			if (i == ARRAY_SIZE(errors)) {
				/* A test with a misspelt fault would pass for nothing. */
				fprintf(stderr, "IZO_FAULT: unknown action '%s'\n", word);
				abort();
			}
			rule->err = errors[i].err;
		}
	}
	n_rules++;
}

static void read_rules(void)
{
	const char *text = getenv("IZO_FAULT");
	char *copy, *save = NULL, *one;

	is_read = true;
	if (!text || !(copy = strdup(text)))
		return;
	/* The rules of strtok_r nest: each level has its own place. */
	for (one = strtok_r(copy, ",", &save); one; one = strtok_r(NULL, ",", &save))
		read_rule(one);
	free(copy);
}

static void list_point(const char *name)
{
	const char *path = getenv("IZO_FAULT_LIST");
	FILE *file = path ? fopen(path, "a") : NULL;

	if (!file)
		return;
	fprintf(file, "%s\n", name);
	fclose(file);
}

static unsigned long count_hit(const char *name)
{
	size_t i;

	for (i = 0; i < n_points && strcmp(points[i].name, name); i++)
		;
	if (i == n_points) {
		if (n_points == MAX_POINTS)
			abort();
		points[n_points++].name = name;
		list_point(name);
	}
	return ++points[i].hits;
}

static void set_once(const char *name, unsigned nth, void (*fn)(void *arg), void *arg, int err)
{
	pthread_mutex_lock(&lock);
	once.name = name;
	once.nth = nth;
	once.fn = fn;
	once.arg = arg;
	once.err = err;
	pthread_mutex_unlock(&lock);
}

void fault_call(const char *name, unsigned nth, void (*fn)(void *arg), void *arg)
{
	set_once(name, fn ? nth : 0, fn, arg, 0);
}

void fault_fail(const char *name, unsigned nth, int err)
{
	set_once(name, nth, NULL, NULL, err);
}

int fault_hit(const char *name)
{
	const struct rule *found = NULL;
	void (*fn)(void *arg) = NULL;
	void *arg = NULL;
	unsigned long hits;
	int err = 0;

	pthread_mutex_lock(&lock);
	if (!is_read)
		read_rules();
	hits = count_hit(name);
	for (size_t i = 0; i < n_rules; i++)
		if (!strcmp(rules[i].name, name) && (!rules[i].nth || rules[i].nth == hits))
			found = &rules[i];
	if (once.nth && !strcmp(once.name, name) && !--once.nth) {
		fn = once.fn;
		arg = once.arg;
		err = once.err;
	}
	pthread_mutex_unlock(&lock);
	if (fn)
		fn(arg);
	if (!found || err)
		return err;

	switch (found->action) {
	case ACT_ERROR:
		return -found->err;
	case ACT_KILL:
		kill(getpid(), SIGKILL);
		pause();
		break;
	case ACT_HANG:
		sleep(3600);
		break;
	case ACT_SLOW:
		usleep(100000);
		break;
	}
	return 0;
}

#else

/* ISO C wants something in every file. */
typedef int fault_is_empty;

#endif
