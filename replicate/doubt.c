/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/doubt.h"

#include <stdio.h>
#include <string.h>
#include "cache/apply.h"
#include "cache/cml.h"

const char *doubt_name(enum doubt_kind kind)
{
	switch (kind) {
	case DOUBT_OTHER:
		return "other";
	case DOUBT_PUT_BACK:
		return "put back";
	case DOUBT_CACHE_PUT_BACK:
		return "cache put back";
	case DOUBT_SENT_BY_OTHERS:
		return "sent by others";
	case DOUBT_NONE:
		break;
	}
	return "none";
}

/* Sentences for --status; so they say what a person can do. */
const char *doubt_holds(enum doubt_kind kind)
{
	if (kind == DOUBT_CACHE_PUT_BACK)
		return "this cache was put back to an older state: the upstream has later changes of it; nothing of its log is replayed";
	if (kind == DOUBT_SENT_BY_OTHERS)
		return "another machine has sent changes of this cache, from a file that was made of its disk without marking it; nothing of "
		       "its log is replayed: save what was changed here since";
	return NULL;
}

static enum doubt_kind kind_of(struct cache *cache, const struct hello *hello, const struct replicate_doubt *known)
{
	struct cml_totals totals;
	struct kml_mark mark;

	if (!known->known_id[0])
		return DOUBT_NONE;
	if (strcmp(known->known_id, hello->id))
		return DOUBT_OTHER;
	/*
	 * Put back, and gone on with: that may have brought it past our position, but what we sent it is not known there any more, or
	 * another change has the number of the last one that we know of.
	 */
	apply_mark(cache, &mark);
	if (hello->position < known->known_position || hello->last_seq < cml_acked(cache) ||
	    (mark.position && hello->known_mark.position == mark.position && hello->known_mark.value != mark.value))
		return DOUBT_PUT_BACK;
	cml_totals(cache, &totals);
	if (totals.last_seq < hello->last_seq)
		return DOUBT_CACHE_PUT_BACK;
	return totals.frozen_seq < hello->last_seq ? DOUBT_SENT_BY_OTHERS : DOUBT_NONE;
}

void doubt_look(struct cache *cache, const struct hello *hello, struct replicate_doubt *ret)
{
	struct replicate_doubt doubt = { .position = hello->position };

	apply_known(cache, doubt.known_id, &doubt.known_position);
	(void)snprintf(doubt.id, sizeof(doubt.id), "%s", hello->id);	/* as long as it is */
	doubt.kind = kind_of(cache, hello, &doubt);
	*ret = doubt;
}
