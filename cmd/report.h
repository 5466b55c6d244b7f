/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * report: what the daemon told (status.h), as text for people and as an exit status for scripts.
 */
#ifndef CMD_REPORT_H
#define CMD_REPORT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#define REPORT_TEXT 32

/* "12.3 MiB"; "5 min"; into text, which they give. */
const char *report_bytes(char text[REPORT_TEXT], uint64_t bytes);
const char *report_age(char text[REPORT_TEXT], uint64_t seconds);
/* "12 us", "3.4 ms", "5.67 s"; likewise. */
const char *report_us(char text[REPORT_TEXT], uint64_t us);

/* "2026-11-29 09:30:00", in this machine's time zone; likewise. */
const char *report_date(char text[REPORT_TEXT], int64_t s);

/* The number NAME of an object; 0 when there is none. */
uint64_t report_number(const json_t *object, const char *name);
/* The text NAME of an object; "" when there is none. */
const char *report_text(const json_t *object, const char *name);

void report_status(FILE *out, const json_t *status);
void report_conflicts(FILE *out, const json_t *conflicts);

/* report_space.c: lines of a tree's status: how full it is, and what is hoarded. */
void report_space(FILE *out, const json_t *tree);
/* What --hoard-list says of an entry, in a line. */
void report_hoard_entry(FILE *out, const json_t *entry);
/* How --hoard-list exits. */
int report_hoard_exit(const json_t *entries);

/* Text that others chose (names, reasons): none of its control characters reaches the terminal. */
void report_clean(FILE *out, const char *s);

/* How --status exits; the worst of all trees counts, in this order. */
enum report_exit {
	REPORT_FAILED = 1,		/* a cache is in its error state (also: no daemon) */
	REPORT_CONFLICTS = 4,		/* conflicts wait for somebody to look at them */
	REPORT_WAITING = 3,		/* records wait to be replayed */
	REPORT_UNLINKED = 5,		/* nothing waits, but there is no link, or the user's word is offline */
	REPORT_MISSING = 6,		/* all is well, but something that is hoarded is not here */
	REPORT_FINE = 0,		/* connected, everything replayed, all that is hoarded here */
};
int report_exit(const json_t *status);

#endif
