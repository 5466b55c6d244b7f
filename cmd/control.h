/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control: the daemon's end of the control socket (ctl.h is the other).
 *
 * A unix stream socket of mode 0600, for root and the daemon's own user alone.  A request is one line of
 * JSON, {"command": "status", ...}; its answer is one line, {"ok": true, ...} or {"ok": false, "error":
 * "one sentence"}.  A connection may carry several, one after another.
 *
 * Threads: requests are read and answered on a thread of the socket's own.  A client that says nothing or takes
 * nothing is dropped after CONTROL_IDLE_S and keeps nobody waiting.
 */
#ifndef CMD_CONTROL_H
#define CMD_CONTROL_H

#include <jansson.h>

#define CONTROL_IDLE_S 30
#define CONTROL_REQUEST_MAX 65536

struct control;

/* Answers one request; a new reference, or NULL when memory is out.  On the control thread; may block. */
typedef json_t *control_answer_fn(void *arg, const json_t *request);

/*
 * Take the socket's place, so that a second daemon learns that there is one; nothing is answered yet.
 * -EADDRINUSE: a daemon answers there.  *ret_why: one sentence, to be freed.  A stale socket is replaced.
 */
int control_new(const char *path, struct control **ret_control, char **ret_why);
int control_start(struct control *control, control_answer_fn *answer, void *arg);
/* Ends the thread, removes the socket. */
void control_free(struct control *control);

#endif
