/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control: the daemon's end of the control socket (ctl.h is the other).
 *
 * A unix stream socket that every user of the machine can connect to; what he may ask depends on who he is, which
 * the kernel says (enum control_right).  A request is one line of JSON, {"command": "status", ...}; its answer is one
 * line, {"ok": true, ...} or {"ok": false, "error": "one sentence"}.  A connection may carry several, one after
 * another.
 *
 * There are CONTROL_CLIENTS_MAX at most.  Then the oldest makes room, but one of root's never for somebody else's.
 *
 * Threads: requests are read and answered on a thread of the socket's own.  A client that says nothing or takes
 * nothing is dropped after CONTROL_IDLE_S and keeps nobody waiting.
 */
#ifndef CMD_CONTROL_H
#define CMD_CONTROL_H

#include <jansson.h>
#include <sys/types.h>

#define CONTROL_IDLE_S 30
#define CONTROL_REQUEST_MAX 65536
#define CONTROL_CLIENTS_MAX 32

/* What a peer may ask for; each includes those before it. */
enum control_right {
	CONTROL_LOOK,			/* anybody: how things are, with no name of any file */
	CONTROL_LIST,			/* the group that the configuration names: all that changes nothing */
	CONTROL_ALL,			/* root, and the user that the daemon runs as */
};
#define CONTROL_NO_GROUP ((gid_t)-1)

struct control;

/* Answers one request; a new reference, or NULL when memory is out.  On the control thread; may block. */
typedef json_t *control_answer_fn(void *arg, enum control_right right, const json_t *request);

/*
 * Take the socket's place, so that a second daemon learns that there is one; nothing is answered yet.
 * group: its members have CONTROL_LIST; or CONTROL_NO_GROUP.
 * -EADDRINUSE: a daemon answers there.  *ret_why: one sentence, to be freed.  A stale socket is replaced.
 */
int control_new(const char *path, gid_t group, struct control **ret_control, char **ret_why);
int control_start(struct control *control, control_answer_fn *answer, void *arg);
/* Ends the thread, removes the socket. */
void control_free(struct control *control);

#endif
