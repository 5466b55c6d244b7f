/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * accept: the user has said that who answers now is the cache's upstream: what the cache needs to go on with it (cache/adopt.h).
 *
 * What he has seen, identity and position, is looked at once more, so that it is not some third one that is accepted.  Then the whole
 * tree is listed, into a file.
 *
 * Threads: any that may block; it has a loop of its own.
 */
#ifndef REPLICATE_ACCEPT_H
#define REPLICATE_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

struct cache;

struct accept_config {
	struct cache *cache;		/* the one that is in doubt */
	const char *url;
	const char *id;			/* what was seen */
	uint64_t position;
	int fd;				/* of an empty file: gets frames of kml_listed */
	/* Asked about five times a second: is it to be given up? */
	bool (*is_cancelled)(void *arg);
	void *arg;
};

struct accept_result {
	uint64_t position;		/* of the listing */
	bool has_acls;
};

/*
 * 0; or -errno, and one sentence in *ret_why, to be freed (NULL: no memory).  -EALREADY: there is nothing in doubt; -ESTALE: what is there is
 * not what was seen; -ECANCELED.
 */
int accept_fetch(const struct accept_config *config, struct accept_result *ret_result, char **ret_why);

#endif
