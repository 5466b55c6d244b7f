/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay_copy: our content of a file that the upstream would not store, as a new file beside it (replay_file.h).
 *
 * Three records: CREATE under the name it had (taken: the upstream makes that NAME.conflict-HOST-DATE), a STORE of what its client
 * had besides (kml_saved.rest), a STORE of what it wrote.  A later store of the same file in the log says only what changed
 * since, so it goes to that copy too.
 *
 * They are a client's of its own; its id is a hash of the first client's, the seqs and the oid are made from the
 * store's seq: whoever replays the same log, or another that was exported later, makes the same ones.
 */
#ifndef REPLICATE_REPLAY_COPY_H
#define REPLICATE_REPLAY_COPY_H

#include "cache/cml.h"

struct replay_copied;

struct replay_copies {
	uint64_t client;
	int fd;				/* of the file with the contents; borrowed */
	struct replay_copied *list;	/* of this log */
	struct cml_batch batch;		/* the last one made */
	struct cml_item items[3];
};

void replay_copies_init(struct replay_copies *copies, uint64_t client, int fd);
void replay_copies_release(struct replay_copies *copies);

/*
 * Fills copies->batch with the records for this store, which lie in it until the next call.  saved: what the file has
 * with it.  -ENOENT: it does not say where it was; -ENOMEM.
 */
int replay_copy_make(struct replay_copies *copies, const struct cml_item *store, const struct kml_saved *saved);

/* Of the answers to that batch: were they to be sent again, and why (errno)? */
bool replay_copy_retry(const struct kml_answers *answers, int *ret_error);
/* Is the content there? */
bool replay_copy_is_kept(const struct kml_answers *answers);
/* The name that it got, in name; "" where it had one already. */
const char *replay_copy_name(const struct replay_copies *copies, const struct kml_answers *answers, char name[KML_NAME_MAX + 1]);

#endif
