/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * answer: what the running daemon does when it is asked over the control socket.
 *
 *	command		more members		in the answer
 *	status		tree			status: see status.h
 *	conflicts	tree			conflicts: an array
 *	offline, online	tree			trees: how many were told
 *	sync		tree			trees: how many were told
 *
 * tree: the name of one; without it all are meant.
 */
#ifndef CMD_ANSWER_H
#define CMD_ANSWER_H

#include <jansson.h>

/* A control_answer_fn; arg is the struct daemon. */
json_t *answer_request(void *arg, const json_t *request);

#endif
