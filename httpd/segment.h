/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * segment: the part of a batch that is applied in one go (private to apply.c and what it is made
 * of).
 *
 * A segment is all of a batch, unless something was not as expected ("surprise": a local program
 * was quicker) or a record needs what an earlier one of the batch makes on disk: then it ends
 * before that record, and the rest is another segment, looked at anew.
 */
#ifndef HTTPD_SEGMENT_H
#define HTTPD_SEGMENT_H

#include "httpd/certify.h"
#include "httpd/reconcile.h"
#include "httpd/tree.h"

/*
 * What was made ready for a record before anything was changed.  Kept in the intent as it is in
 * memory.
 */
struct plan {
	uint64_t base;		/* STORE: the data version that the staged file was made from */
	struct file_stat staged;	/* valid with is_staged */
	/*
	 * STORE with is_into: the CREATE (index in the segment's records) whose file has the
	 * content
	 */
	uint32_t into;
	int32_t refused;	/* errno: the file system would not have it */
	bool is_staged;		/* .intermezzo/stage/new-CLIENT-SEQ is there */
	/* and was the uploaded file itself: goes back there when it is not used */
	bool is_upload;
	bool is_into;
};

/* An object whose file or times were touched; its row gets what is then on disk. */
struct touched {
	struct hash_node node;
	int64_t id;
	bool is_dir_time;	/* its mtime is to be set to the row's */
	bool is_file;		/* its row is to know the file as it then is */
};

struct segment {
	struct tree *tree;
	uint64_t client;
	const char *host;
	uint64_t acked;
	const struct kml_record *records;
	struct plan *plan;	/* one per record */
	uint32_t n;		/* records in it; prepare_stage() may lower it */
	/* errno: why the record behind the last must be sent again; 0: it goes on */
	int32_t cut_error;

	/* after a crash: the first 'done' records are done on disk, the next one maybe */
	bool is_redo;
	uint32_t done;
	uint64_t mark;		/* of its progress file */
	uint32_t progress;	/* what that says */
	/*
	 * A step failed for good.  That is no fact that going through the records again would come
	 * to by itself, so it must be the last of a segment, and is not counted as progress: after
	 * a crash it is tried again.
	 */
	bool must_end;

	struct hash_table touched;
	bool needs_syncfs;	/* more than directories has to be synced */
	bool has_revived;	/* there are files revived-MARK-... in stage/ */
	struct {
		struct reconcile_item *v;
		size_t n, cap;
	} look;			/* what was not as expected */
};

int segment_init(struct segment *segment, struct tree *tree, uint64_t client, const char *host);
void segment_release(struct segment *segment);

void segment_stage_name(uint64_t client, uint64_t seq, char ret_name[64]);
void segment_trash_name(uint64_t client, uint64_t seq, char ret_name[64]);
/* What the record has moved to the trash, if it has; where that fails the next start does it. */
void segment_delete_trash(const struct segment *segment, uint64_t seq);
/* 0 or -ENOMEM. */
int segment_touch(struct segment *segment, int64_t id, bool is_dir_time, bool is_file);
bool segment_is_touched(const struct segment *segment, int64_t id);
int segment_look(struct segment *segment, int64_t dir, struct slice name);
/* At each of its names. */
int segment_look_object(struct segment *segment, int64_t id);
void segment_forget_touched(struct segment *segment);
/* What the record makes, or NULL. */
const struct kml_make *segment_make_of(const struct kml_body *body);

/* How far it is: the name of a file in stage/ says how many records are done on disk. */
int segment_progress_begin(struct segment *segment);
/* Record i is done.  One for which nothing is to be done on disk is not noted. */
int segment_progress(struct segment *segment, uint32_t i);
void segment_progress_end(const struct segment *segment);
/* After a crash: sets done and progress. */
int segment_progress_find(struct segment *segment);

/* Commit A. */
int segment_write_intent(struct segment *segment);
/* 1: there is one, to be released with kml_batch_release() and free(); 0: none; or -errno. */
int segment_read_intent(struct tree *tree, struct kml_batch *ret_batch, struct plan **ret_plan,
			uint64_t *ret_mark);

/* look.c: see what local programs did to what the records are about. */
int prepare_look(struct segment *segment);
/* prepare.c: make new files and contents in stage/, and sync them.  May cut the segment. */
int prepare_stage(struct segment *segment);
/* prepare.c: take a staged file away that is not going to be used, if there is one. */
void prepare_undo(struct segment *segment, uint32_t i);

/*
 * step.c: certify and do record i.  0: *ret_answer is filled in (for xdr_free), not kept yet.
 * STEP_SURPRISE: not done, something is not as the tables say, which segment->look tells.
 * STEP_RETRY: not done, *ret_error (errno) says what stands in the way.
 * -errno: the tables could not be read or written, or it was done by half.
 */
#define STEP_SURPRISE 1
#define STEP_RETRY 2
int step_record(struct segment *segment, uint32_t i, struct kml_answer *ret_answer, int *ret_error);
/*
 * step_object.c: record i, a DETACH, cannot be done, so the store behind it must not be either, for it would reach the other names: the content
 * counts as changed by somebody else, and the store is in conflict with that.
 */
int step_stand_back(struct segment *segment, uint32_t i);
/* finish.c: the directories' times; what the files are now; all of it to the disk. */
int step_finish(struct segment *segment);

#endif
