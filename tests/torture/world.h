/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * world: one izo-httpd and several izo-nfsd, each with a cache of its own and a link of its own (tests/lib/proxy); and what can
 * be done to them.
 *
 * Clients are numbered from 0.  Whatever is not as it should be for reasons that nobody gave ends the program (trace_fail()):
 * a program that does not start, that ends by itself, a command that does not end in time.
 *
 * Strikes: kill -9 of a program while a call is out.  world_strike() sets the time, a signal does it, and the
 * caller finds out by CALL_LOST, or not at all when his call was answered before; world_settle() then puts things right.
 */
#ifndef TESTS_TORTURE_WORLD_H
#define TESTS_TORTURE_WORLD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "tests/nfs/client.h"

#define CLIENTS 3
#define UPSTREAM CLIENTS	/* as a victim */

/* programs: directory of izo-nfsd, izo-httpd; dir: an empty one, for all there is. */
void world_begin(const char *programs, const char *proxy, const char *dir);
/* Everything ends as it should. */
void world_end(void);

const char *world_export(void);
const char *world_url(void);	/* of izo-httpd itself */
const char *world_cache(int c);

/* The client's connection, which may be lost. */
struct client *world_nfs(int c);

/* Kill it in so many microseconds. */
void world_strike(int victim, unsigned delay_us);
/* What was to be struck has been; all run again, but the upstream while it is to rest, and every client has a connection. */
void world_settle(void);
void world_rest_upstream(bool rests);
/* The daemon was, since this was asked last. */
bool world_was_killed(int c);

/* A command of tests/lib/proxy.c. */
void world_link(int c, const char *command);
/* Nobody has cut anything, and it says that it is connected. */
bool world_is_connected(int c);
void world_offline(int c, bool is_offline);
/* Try the link now. */
void world_kick(int c);
/* Links, programs, the user's word: as on a good day. */
void world_mend(void);

/* All that --status, --conflicts, --kept say of that client; new references. */
json_t *world_ask(int c, const char *command);
/* --sync; false: it says why not, which is in the trace. */
bool world_sync(int c);
/* --resolve PATH --keep WHAT */
void world_resolve(int c, const char *path, const char *keep);

/* Stop the daemon, look with --check, start it again. */
void world_check_cache(int c);

#endif
