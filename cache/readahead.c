/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/readahead.h"

#include <stdbool.h>
#include <stddef.h>
#include "base/mem.h"

#define IDLE_MOST 4	/* of one file */

static bool is_near(const struct readahead *ra, uint64_t start, uint64_t end)
{
	return start <= ra->next + READAHEAD_NEAR && end + READAHEAD_NEAR >= ra->next;
}

uint64_t readahead_step(struct readahead *ra, uint64_t start, uint64_t end)
{
	if (!is_near(ra, start, end)) {
		*ra = (struct readahead){ .next = end, .asked = end };
		return end;
	}
	if (end <= ra->next)
		return end;	/* one of several came late */
	ra->next = end;
	if (!ra->window)
		ra->window = MIN(MAX(READAHEAD_MIN, 2 * (end - start)), READAHEAD_MAX);
	else if (ra->asked < end + ra->window / 2)
		ra->window = MIN((ra->window < READAHEAD_FAST ? 4 : 2) * ra->window, READAHEAD_MAX);
	else
		return end;
	ra->asked = MAX(ra->asked, end + ra->window);
	return ra->asked;
}

/*
 * One that is near; else one of that file that does not read on, if there are some: one of them may be about to; else the one
 * that was used longest ago.
 */
static struct readahead_reader *reader_of(struct readahead_readers *readers, uint64_t ino, uint64_t start, uint64_t end)
{
	struct readahead_reader *oldest = &readers->v[0], *idle = NULL;
	unsigned n_idle = 0;

	for (size_t i = 0; i < READAHEAD_READERS; i++) {
		struct readahead_reader *reader = &readers->v[i];

		if (reader->ino == ino && is_near(&reader->ra, start, end))
			return reader;
		if (reader->ino == ino && !reader->ra.window) {
			n_idle++;
			if (!idle || reader->used < idle->used)
				idle = reader;
		}
		if (reader->used < oldest->used)
			oldest = reader;
	}
	return n_idle < IDLE_MOST ? oldest : idle;
}

uint64_t readahead_read(struct readahead_readers *readers, uint64_t ino, uint64_t start, uint64_t end)
{
	struct readahead_reader *reader = reader_of(readers, ino, start, end);

	if (reader->ino != ino)
		*reader = (struct readahead_reader){ .ino = ino };
	reader->used = ++readers->clock;
	return readahead_step(&reader->ra, start, end);
}
