/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

uint32_t log_traced;

static const char *log_name = "izo";
static bool is_syslog;
static enum log_level least = LOG_LEVEL_INFO;
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const subsystem_names[LOG_SUBSYSTEMS] = {
	[LOG_RPC] = "rpc", [LOG_NFS] = "nfs", [LOG_CACHE] = "cache", [LOG_CML] = "cml",
	[LOG_LINK] = "link", [LOG_REPLAY] = "replay", [LOG_PULL] = "pull", [LOG_FETCH] = "fetch",
	[LOG_HTTP] = "http", [LOG_APPLY] = "apply", [LOG_WATCH] = "watch",
};

static const int priorities[] = {
	[LOG_LEVEL_ERROR] = LOG_ERR, [LOG_LEVEL_WARN] = LOG_WARNING,
	[LOG_LEVEL_INFO] = LOG_INFO, [LOG_LEVEL_DEBUG] = LOG_DEBUG,
};

void log_set_name(const char *name)
{
	log_name = name;
}

void log_set_level(enum log_level level)
{
	least = level;
}

void log_to_syslog(void)
{
	openlog(log_name, LOG_PID, LOG_DAEMON);
	is_syslog = true;
}

/* A message holds names that others chose: no control character of theirs reaches a terminal. */
static void make_printable(char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = '?';
	}
}

void log_write(enum log_level level, const char *format, ...)
{
	static const char *const words[] = { "error: ", "warning: ", "", "debug: " };
	int saved = errno;
	char message[1024], line[1200];
	va_list args;
	int n;

	if (level > least && level != LOG_LEVEL_DEBUG)
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	make_printable(message);

	if (is_syslog) {
		syslog(priorities[level], "%s%s", words[level], message);
	} else if (getenv("JOURNAL_STREAM")) {
		n = snprintf(line, sizeof(line), "<%d>%s%s\n", priorities[level], words[level], message);
		(void)!write(STDERR_FILENO, line, (size_t)n);	/* nowhere left to complain */
	} else {
		struct timespec now = clock_wall();
		struct tm tm;

		localtime_r(&now.tv_sec, &tm);
		n = snprintf(line, sizeof(line), "%02d:%02d:%02d.%03ld %s: %s%s\n", tm.tm_hour, tm.tm_min,
			     tm.tm_sec, now.tv_nsec / 1000000, log_name, words[level], message);
		(void)!write(STDERR_FILENO, line, (size_t)n);
	}
	errno = saved;
}

static int parse_trace(const char *names, uint32_t *ret_traced)
{
	uint32_t traced = 0;

	while (*names) {
		size_t len = strcspn(names, ",");
		size_t i;

		if (len == 3 && !strncmp(names, "all", 3)) {
			traced = (1u << LOG_SUBSYSTEMS) - 1;
		} else if (len == 4 && !strncmp(names, "none", 4)) {
			traced = 0;
		} else if (len) {
			for (i = 0; i < LOG_SUBSYSTEMS; i++)
				if (strlen(subsystem_names[i]) == len && !strncmp(subsystem_names[i], names, len))
					break;
			if (i == LOG_SUBSYSTEMS)
				return -EINVAL;
			traced |= 1u << i;
		}
		names += len;
		if (*names == ',')
			names++;
	}
	*ret_traced = traced;
	return 0;
}

int log_trace(const char *names)
{
	uint32_t traced;
	int err = parse_trace(names, &traced);

	if (!err)
		__atomic_store_n(&log_traced, traced, __ATOMIC_RELAXED);
	return err;
}

int log_trace_check(const char *names)
{
	uint32_t traced;

	return parse_trace(names, &traced);
}

const char *log_trace_text(char text[LOG_TRACE_TEXT])
{
	uint32_t traced = __atomic_load_n(&log_traced, __ATOMIC_RELAXED);
	size_t at = 0;

	if (!traced || traced == (1u << LOG_SUBSYSTEMS) - 1)
		return strcpy(text, traced ? "all" : "none");
	for (size_t i = 0; i < LOG_SUBSYSTEMS; i++)
		if (traced & (1u << i))
			at += (size_t)snprintf(text + at, LOG_TRACE_TEXT - at, "%s%s", at ? "," : "",
					       subsystem_names[i]);
	return text;
}

bool log_gate_open_n(struct log_gate *gate, unsigned interval_s, unsigned n, unsigned *ret_held)
{
	uint64_t now = clock_us();
	bool is_open;

	pthread_mutex_lock(&gate_lock);
	if (now >= gate->next_us) {
		gate->next_us = now + interval_s * US_PER_S;
		gate->passed = 0;
	}
	is_open = gate->passed < n;
	if (is_open) {
		gate->passed++;
		*ret_held = gate->held;
		gate->held = 0;
	} else {
		gate->held++;
	}
	pthread_mutex_unlock(&gate_lock);
	return is_open;
}

bool log_gate_open(struct log_gate *gate, unsigned interval_s, unsigned *ret_held)
{
	return log_gate_open_n(gate, interval_s, 1, ret_held);
}
