/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay_file: a log that was exported to a file goes upstream, in place of the client whose it is (docs/LOG-FILE.md).
 *
 * Records are sent as that client would send them, with its id and their own seqs, so the upstream does each of them once,
 * whoever sends it first and however often.  'acked' is what the client had taken in when the file was written: answers it
 * may still ask for are kept for it.
 *
 *	PROBE --> TAKE --> STAGE --> READ --> POST --> (a copy: STAGE --> READ --> POST) ... --> TAKE ... end
 *
 * The upstream has done some of them already?  Those are sent without their contents, for their answers.  Where it does
 * not have these any more (409), the client has taken them in itself, and the record is settled.
 *
 * A store that was not done because the file was changed or removed there: ours is made a new file with the same name,
 * which the upstream calls NAME.conflict-HOST-DATE where that is taken.  These records belong to a client of
 * their own whose id and seqs are made from the first one's, so that they are done once, too.
 *
 * Threads: replay_file_run() blocks, and uses threads of its own.
 */
#ifndef REPLICATE_REPLAY_FILE_H
#define REPLICATE_REPLAY_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include "rpcgen/kml_file.h"

/* A record that was not simply done. */
struct replay_file_note {
	uint64_t seq;
	enum kml_op op;
	const char *path;
	enum kml_status status;		/* RENAMED, CONFLICT, GONE, REFUSED */
	int error;			/* of REFUSED: errno */
	bool is_kept;			/* of a STORE that met CONFLICT or GONE: ours is there as well */
	const char *name;		/* of RENAMED, and where is_kept: the name that it got; else "" */
};

struct replay_file_config {
	struct kml_file *file;		/* just opened */
	int fd;				/* its */
	const char *url;
	void (*note)(void *arg, const struct replay_file_note *note);
	/* So many of the file's records are settled, with so many bytes of content. */
	void (*moved)(void *arg, uint64_t records, uint64_t bytes);
	void *arg;
};

struct replay_file_result {
	uint64_t records;		/* settled; also when it failed */
	uint64_t before;		/* of them so many the upstream had already */
	uint64_t notes;
	uint64_t lost;			/* of these so many whose content the upstream does not have */
};

/*
 * 0: all of them are settled.  -EXDEV: another upstream than the log is for; -ESTALE: that one, put back to an older state; as
 * http_errno(); -EAGAIN: it cannot take them now.  *ret_why: a sentence, to be freed.  What was settled until then stays so.
 */
int replay_file_run(const struct replay_file_config *config, struct replay_file_result *ret_result, char **ret_why);

#endif
