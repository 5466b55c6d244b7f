/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hello: who is there, and may we talk to it?  (docs/PROTOCOL.md 3)
 *
 * A probe asks for the upstream's identity, and at the first contact for its root object: coming back costs one request.
 */
#ifndef REPLICATE_HELLO_H
#define REPLICATE_HELLO_H

#include "replicate/http.h"
#include "rpcgen/kml_codec.h"

struct cache;

struct hello {
	char id[40];
	uint64_t position, oldest;
	uint64_t last_seq;		/* 0: none */
	struct kml_mark mark;		/* of the entry at position; position 0: it says nothing of it */
	struct kml_mark known_mark;	/* of the one that was asked for, likewise */
	bool has_acls;			/* its file system has access control lists */
	bool has_deltas;		/* it puts differences together */
	bool has_zstd;			/* it takes bodies that are packed */
	bool has_detach;		/* it knows the record of that name */
	bool may_wait;			/* batches may be sent behind others that are not answered */
};

/* known: as probe.known.  -EPROTO: that is not what an izo-httpd says; *ret_why, a constant, says in what way. */
int hello_parse(const void *data, size_t len, uint64_t known, struct hello *ret_hello, const char **ret_why);

struct probe {
	/* the caller's, before probe_start() */
	struct http *http;
	uint64_t client;
	uint64_t known;			/* a position of which the mark is asked for; 0: of none */
	bool wants_root;
	/*
	 * err 0: hello (and root) are filled in.  -EPROTO: whoever answers is not an izo-httpd of
	 * ours.
	 */
	void (*done)(struct probe *probe, int err);

	/* results */
	struct hello hello;
	struct kml_object root;
	char trouble[200];		/* with err: a piece of sentence */

	/* the module's */
	struct http_request request;
	bool is_running;
};

/* Who asks, and by which position: as that cache is, and knows, now. */
void probe_of_cache(struct probe *probe, struct cache *cache);
/* Nothing happens when one is under way. */
void probe_start(struct probe *probe);
/* done() is not called. */
void probe_cancel(struct probe *probe);
void probe_release(struct probe *probe);

#endif
