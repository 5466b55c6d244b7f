/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replicate: the link between one cache and its upstream: replay, pull, fetch.
 *
 * One thread per cache does all of it on a loop of its own, with libcurl's multi interface; it
 * never blocks on the network.  It implements the cache's fetcher (cache/fetcher.h) and plugs
 * itself in. docs/PROTOCOL.md is what it speaks; docs/ARCHITECTURE.md "The link" has the states.
 *
 * Threads: any may call; replicate_start() and replicate_stop() the program's main one.
 */
#ifndef REPLICATE_REPLICATE_H
#define REPLICATE_REPLICATE_H

#include <stdbool.h>
#include <stdint.h>

struct cache;
struct replicate;

enum link_state {
	LINK_OFFLINE,		/* the user said so; sticky over restarts */
	LINK_DISCONNECTED,	/* found out by failure; probed with back-off */
	LINK_CONNECTED
};

/* "offline", "disconnected", "connected" */
const char *link_state_name(enum link_state state);

struct replicate_config {
	struct cache *cache;
	const char *url;	/* of the upstream: "http://HOST:PORT/", with or without a path */
	const char *host;	/* for the names of conflict copies; NULL: this machine's name */
};

/*
 * Start the thread; before the first operation on the cache.  An upstream that does not answer is
 * no error.
 * -EINVAL: not a URL of ours.  *ret_why (may be NULL) gets one sentence for the user, to be freed.
 */
int replicate_start(const struct replicate_config *config, struct replicate **ret_replicate,
		    char **ret_why);
/*
 * Ends within about a second, whatever the network does: what is under way is given up, and stays
 * in the log.
 */
void replicate_stop(struct replicate *replicate);

/*
 * The user's word.  Durable (cml_set_offline()) when this returns 0; the link follows at once.
 * May block for a transaction of the cache.
 */
int replicate_set_offline(struct replicate *replicate, bool is_offline);
/*
 * Replay now, with what no COMMIT has followed yet (cml_flush()), and probe now when disconnected.
 * Returns without waiting for it; watch the status.
 */
int replicate_sync(struct replicate *replicate);

struct replicate_status {
	enum link_state state;
	uint64_t since_s;		/* seconds in this state */
	char reason[256];		/* why it is so, for people; "" when connected */
	char held[256]; /* why the log does not drain though there is a link; "": nothing holds it
			 */
	uint64_t probe_in_s;		/* disconnected: until the next try */
	uint64_t upstream_position;	/* as last heard; the cache's own: cml.h cache_status() */
	bool is_replaying;
	uint64_t replay_records, replay_bytes;	/* acknowledged since start */
	uint64_t fetch_bytes;
	uint64_t requests, failures;
};
void replicate_get_status(struct replicate *replicate, struct replicate_status *ret);

#endif
