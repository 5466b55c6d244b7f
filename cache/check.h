/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * check: is a cache that nobody has open as it should be?  And mending it.
 *
 * What a crash leaves and the next start mends (recover.h) is no damage.  Damage is what no program of ours leaves: a database that
 * SQLite cannot read through, rows that contradict each other or do not decode, a log with records that nobody knows, changed
 * content that no record speaks of, content files that are missing or too short, or whose bytes are not what they were when the content had
 * been at rest for a minute (digest.h).
 *
 * Mending loses nothing that there still is: a content file that nothing names any more, and whatever else has to leave its
 * place, goes to DIR/lost+found; a database that has to be made anew stays beside the new one as cache.db.damaged.
 *
 * Errors: 0 or -errno; *ret_why: a sentence, to be freed.
 */
#ifndef CACHE_CHECK_H
#define CACHE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

enum check_kind {
	CHECK_DAMAGE,			/* found, and left as it is */
	CHECK_MENDED,			/* found and mended */
	CHECK_NOTE,			/* good to know; no damage */
};

/* How far the comparing of contents has come, which is what takes long. */
struct check_progress {
	uint64_t files, files_done;
	uint64_t bytes, bytes_done;	/* those of holes are in the sum only */
};

struct check_config {
	const char *dir;
	bool repair;
	/* text: one line for people, without a newline */
	void (*found)(void *arg, enum check_kind kind, const char *text);
	void *arg;
	/* Called between pieces of contents, very often; may be NULL. */
	void (*compared)(void *arg, const struct check_progress *at);
};

struct check_result {
	uint64_t damage, mended;
	uint64_t kept;			/* files put into lost+found */
};

/*
 * Without 'repair' nothing is changed.  -EBUSY: a daemon has it; -ENOENT: no cache there; -EPROTO: of another format; other
 * -errno: it could not be looked at.  What was found until then has been told.
 */
int cache_check(const struct check_config *config, struct check_result *ret_result, char **ret_why);

#endif
