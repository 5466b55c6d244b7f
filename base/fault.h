/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault: named points where tests make things go wrong.  Empty in release builds.
 *
 *	err = FAULT("replace.rename");
 *	if (!err && renameat(...) < 0) ...
 *
 * FAULT(name) gives 0 or a negative errno.  Steered by the environment, read at the first point that is hit:
 *   IZO_FAULT=NAME[:NTH][:ACTION],...   at the NTH hit (default 1; 0: each one) of NAME do ACTION:
 *       an errno's name (ENOSPC, EIO, default EIO) is returned; "kill" sends SIGKILL to this
 *       process; "hang" sleeps 3600 s; "slow" sleeps 100 ms and goes on
 *   IZO_FAULT_LIST=FILE                 each point that is passed is appended to FILE once
 * A test may also have something happen there: fault_call(), fault_fail().
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#ifdef IZO_FAULTS
int fault_hit(const char *name);
/* fn(arg) is called when that point is passed the nth time from now on, once, by who passes it.  One at a time; fn NULL: none. */
void fault_call(const char *name, unsigned nth, void (*fn)(void *arg), void *arg);
/* The same in its place: that point gives err, a negative errno. */
void fault_fail(const char *name, unsigned nth, int err);
#define FAULT(name) fault_hit(name)
#else
#define FAULT(name) 0
#endif

#endif
