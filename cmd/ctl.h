/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl: the other end of the control socket: asks the running daemon (control.h has the language).
 *
 * Errors: 0 or -errno; *ret_why: one sentence for the user, to be freed.
 */
#ifndef CMD_CTL_H
#define CMD_CTL_H

#include <jansson.h>

struct ctl;

/* -ECONNREFUSED: no daemon is running there. */
int ctl_open(const char *path, struct ctl **ret_ctl, char **ret_why);
void ctl_close(struct ctl *ctl);

/*
 * Send one request and wait for its answer, at most wait_s.  Takes over request.  -ETIMEDOUT: none came;
 * -EPIPE: the daemon went away; -EREMOTEIO: it refused, and why.
 */
int ctl_ask(struct ctl *ctl, json_t *request, unsigned wait_s, json_t **ret_answer, char **ret_why);

#endif
