/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * answer: what the running daemon does when it is asked over the control socket.
 *
 *	command		for whom	more members	in the answer
 *	status		anybody		tree		status: see status.h
 *	top		the group	tree		status: likewise
 *	conflicts	the group	tree		conflicts: an array
 *	offline, online	root		tree		trees: how many were told
 *	sync		root		tree		trees: how many were told
 *	debug		root		names		debug: what is debugged now
 *	export		root		tree		head, last_seq, records, bytes, objects: see answer_export.h
 *	export-records	root		tree, after, last_seq, most	records, after, has_skipped, newest_seq
 *	export-look	root		tree, ino, write_gen	has_changed
 *	resolve, sides	root		see settle.h
 *
 * tree: the name of one; without it all are meant.
 */
#ifndef CMD_ANSWER_H
#define CMD_ANSWER_H

#include <jansson.h>
#include "cmd/control.h"

/* A control_answer_fn; arg is the struct daemon. */
json_t *answer_request(void *arg, enum control_right right, const json_t *request);

/* A refusal, with its reason: for the files that answer. */
json_t *answer_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
