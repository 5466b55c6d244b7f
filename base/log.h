/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log: diagnostics for people.  (The client's modification log is cache/cml.h.)
 *
 * error: someone must act.  warn: we go on, and how.  info: state changes.  debug: per component,
 * off until log_trace() names it, at any time.  One line each: what failed, on what, why, what happens next;
 * then key=value.  A function logs an error or returns it, never both.
 *
 * Threads: any.  Goes to stderr; with <3>-style prefixes where JOURNAL_STREAM says that a service
 * manager listens, to syslog after log_to_syslog().
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)

enum log_subsystem { LOG_RPC, LOG_NFS, LOG_CACHE, LOG_CML, LOG_LINK, LOG_REPLAY, LOG_PULL, LOG_FETCH,
		     LOG_HTTP, LOG_APPLY, LOG_WATCH, LOG_SUBSYSTEMS };

extern uint32_t log_traced;	/* bit per component; read without a lock */

/* Are debugging messages of this component written?  For what has to be found out only then. */
static inline bool log_is_traced(enum log_subsystem subsystem)
{
	return __builtin_expect(__atomic_load_n(&log_traced, __ATOMIC_RELAXED) & (1u << subsystem), 0);
}

/* The arguments are evaluated only when the component is traced: off, it costs one load. */
#define log_debug(subsystem, ...) \
	do { \
		if (log_is_traced(subsystem)) \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__); \
	} while (0)

/*
 * Set what is traced: names separated by commas ("rpc,cml"), "all" or "none".  -EINVAL: unknown name, nothing is
 * changed.  log_trace_check() only says whether it would be taken.
 */
int log_trace(const char *names);
int log_trace_check(const char *names);
/* What is traced now, as log_trace() takes it. */
#define LOG_TRACE_TEXT 128
const char *log_trace_text(char text[LOG_TRACE_TEXT]);

/* The name that stands before each line, e.g. "izo-nfsd"; must live for ever. */
void log_set_name(const char *name);
void log_to_syslog(void);
/* Nothing below this level is written (default LOG_LEVEL_INFO; traced debug lines always are). */
void log_set_level(enum log_level level);

/*
 * A gate for lines that a peer can cause: at most one line per interval passes per gate.  Gives
 * true when the line may be written, and the number of lines held back since in *ret_held.
 * log_gate_open_n(): at most n lines per interval; the first of an interval tells what the one before held back.
 */
struct log_gate {
	uint64_t next_us;
	unsigned passed, held;
};
bool log_gate_open(struct log_gate *gate, unsigned interval_s, unsigned *ret_held);
bool log_gate_open_n(struct log_gate *gate, unsigned interval_s, unsigned n, unsigned *ret_held);

#endif
