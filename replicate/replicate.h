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
#include <stddef.h>
#include <stdint.h>

struct bandwidth;
struct cache;
struct replicate;

enum link_state {
	LINK_OFFLINE,		/* the user said so; sticky over restarts */
	LINK_DISCONNECTED,	/* found out by failure; probed with back-off */
	LINK_WEAK,		/* there is one, but it is slow: the log trickles */
	LINK_CONNECTED
};

/* "offline", "disconnected", "weak", "connected" */
const char *link_state_name(enum link_state state);

/* Is there a link? */
static inline bool link_is_up(enum link_state state)
{
	return state >= LINK_WEAK;
}

/* What the user says of the link. */
enum link_kind {
	LINK_KIND_AUTO,		/* nothing: whether it is weak is measured */
	LINK_KIND_WEAK,
	LINK_KIND_STRONG,
	LINK_KIND_PAID		/* it costs by the byte: only what is asked for goes over it */
};
#define LINK_KINDS (LINK_KIND_PAID + 1)

/* The default aging window of a weak link, from docs/BENCHMARKS.md "the aging window". */
#define LINK_WINDOW_S 600

struct replicate_config {
	struct cache *cache;
	const char *url;	/* of the upstream: "http://HOST:PORT/", with or without a path */
	const char *host;	/* for the names of conflict copies; NULL: this machine's name */
	enum link_kind kind;	/* unless the user has said otherwise */
	uint64_t window_s;	/* on a weak link only what is older goes by itself; 0: all of it */
	const struct bandwidth *limits;	/* copied */
	size_t n_limits;
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
/* Likewise, of the link; NULL: what the configuration says. */
int replicate_set_kind(struct replicate *replicate, const enum link_kind *kind);
/*
 * Replay now, with what no COMMIT has followed yet (cml_flush()), and probe now when disconnected.
 * Returns without waiting for it; watch the status.
 */
int replicate_sync(struct replicate *replicate);

/* In what way who answers is not what the cache knows as its upstream. */
enum doubt_kind {
	DOUBT_NONE,
	DOUBT_OTHER,			/* another one */
	DOUBT_PUT_BACK,			/* that one, in an older state than has been seen */
	DOUBT_CACHE_PUT_BACK,		/* that one, which has later changes of this cache: the cache is in an older state */
	DOUBT_SENT_BY_OTHERS		/* that one, which got changes of this cache from another machine */
};

/* "none", "other", "put back", "cache put back", "sent by others" */
const char *doubt_name(enum doubt_kind kind);

/* What somebody is to be asked about: accept.h takes his answer. */
struct replicate_doubt {
	enum doubt_kind kind;
	char known_id[40], id[40];		/* what the cache knows; what is there */
	uint64_t known_position, position;	/* likewise */
};

struct replicate_status {
	enum link_state state;
	uint64_t since_s;		/* seconds in this state */
	char reason[256];		/* why it is so, for people; "" when connected */
	enum link_kind kind;
	uint64_t round_trip_us;		/* as measured; 0: not known */
	uint64_t up_rate, down_rate;	/* likewise; bytes a second */
	uint64_t up_limit, down_limit;	/* that hold now; bytes a second, 0: none */
	char waits[160];		/* why what waits is not sent yet, by intention; "": it is */
	char held[256]; /* why the log does not drain though there is a link; "": nothing holds it
			 */
	uint64_t probe_in_s;		/* disconnected: until the next try */
	uint64_t upstream_position;	/* as last heard; the cache's own: cml.h cache_status() */
	bool is_replaying;
	uint64_t replay_records, replay_bytes;	/* acknowledged since start */
	uint64_t fetch_bytes;
	uint64_t sent_bytes;		/* bodies of requests, what is not acknowledged too */
	uint64_t requests, failures;
	struct replicate_doubt doubt;	/* as of the last time that the upstream was asked who it is */
};
void replicate_get_status(struct replicate *replicate, struct replicate_status *ret);

#endif
