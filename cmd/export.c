/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/log.h"
#include "base/mem.h"
#include "cmd/progress.h"
#include "cmd/report.h"
#include "rpcgen/kml_file.h"

#define CHUNK (1u << 20)
#define TRIES_MAX 5		/* for a file that is written while it is read */

struct export {
	struct export_source *source;
	struct kml_file_writer *writer;
	unsigned char *chunk;		/* CHUNK bytes */
	struct progress progress;
	struct progress_at at;
	uint64_t unreadable;		/* records */
	char *why;
};

/* ---- the file: under another name until it is whole ---- */

struct target {
	const char *path;
	char *partial;			/* owned */
	int fd;
};

static int target_make(struct target *target, const char *path)
{
	struct stat st;
	int err;

	*target = (struct target){ .path = path, .fd = -1 };
	if (lstat(path, &st) == 0) {
		log_error("%s exists already, and is not written over: give another name", path);
		return -EEXIST;
	}
	if (asprintf(&target->partial, "%s.partial", path) < 0) {
		target->partial = NULL;
		return -ENOMEM;
	}
	target->fd = open(target->partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (target->fd >= 0)
		return 0;
	err = -errno;
	if (err == -EEXIST)
		log_error("%s is in the way: it is left from an export that broke off, or of one that is under way; remove it",
			  target->partial);
	else
		log_error("%s: cannot be made: %s", target->partial, strerror(-err));
	free(target->partial);
	target->partial = NULL;
	return err;
}

static int sync_dir_of(const char *path)
{
	AUTO_FREE char *copy = strdup(path);
	AUTO_CLOSE int fd = -1;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Some file systems have no sync for directories. */
	return fd < 0 || (fsync(fd) < 0 && errno != EINVAL) ? -errno : 0;
}

/* Durable, and then under its own name, where still nobody else has that. */
static int target_finish(struct target *target)
{
	struct stat st;
	int err = fsync(target->fd) < 0 ? -errno : 0;

	if (!err && renameat2(AT_FDCWD, target->partial, AT_FDCWD, target->path, RENAME_NOREPLACE) < 0)
		err = -errno;
	/* A file system that knows no such rename. */
	if (err == -EINVAL)
		err = lstat(target->path, &st) == 0 ? -EEXIST : rename(target->partial, target->path) < 0 ? -errno : 0;
	if (err) {
		log_error("%s: cannot be completed: %s", target->path, strerror(-err));
		return err;
	}
	free(target->partial);
	target->partial = NULL;
	err = sync_dir_of(target->path);
	if (err)
		log_error("%s: is written, but its directory could not be synced: %s", target->path, strerror(-err));
	return err;
}

static void target_release(struct target *target)
{
	mem_close_fd(&target->fd);
	if (target->partial)
		(void)unlink(target->partial);	/* who made it can remove it */
	free(target->partial);
}

/* ---- one record ---- */

static int copy_ranges(struct export *export, const struct cml_exported *exported, const struct kml_range *ranges, u_int n)
{
	for (u_int i = 0; i < n; i++) {
		for (uint64_t at = 0; at < ranges[i].length; at += CHUNK) {
			size_t len = (size_t)MIN((uint64_t)CHUNK, ranges[i].length - at);
			int err = export->source->read(export->source, exported, export->chunk, len, ranges[i].offset + at);

			if (!err)
				err = kml_file_write(export->writer, export->chunk, len);
			if (err)
				return err;
			progress_show(&export->progress, &export->at);
		}
	}
	return 0;
}

static int put_once(struct export *export, const struct cml_exported *exported)
{
	const struct kml_saved *saved = &exported->saved;
	const struct kml_store *store = &saved->record.body.kml_body_u.store;
	int err = kml_file_put(export->writer, saved);

	if (err || saved->record.body.op != KML_STORE)
		return err;
	err = copy_ranges(export, exported, store->ranges.ranges_val, store->ranges.ranges_len);
	return err ? err : copy_ranges(export, exported, saved->rest.rest_val, saved->rest.rest_len);
}

static void count_done(struct export *export, const struct cml_exported *exported)
{
	uint64_t bytes = kml_saved_bytes(&exported->saved);

	export->at.records_done++;
	export->at.bytes_done += bytes;
	export->at.records_left -= MIN(export->at.records_left, 1u);
	export->at.bytes_left -= MIN(export->at.bytes_left, bytes);
	progress_show(&export->progress, &export->at);
}

/* A store is read until it was one state of its file. */
static int put(struct export *export, struct cml_exported *exported)
{
	bool is_store = exported->saved.record.body.op == KML_STORE;
	int err, got = 1;

	for (unsigned tries = 1; got == 1; tries++) {
		err = put_once(export, exported);
		if (err)
			return err;
		if (is_store && tries == TRIES_MAX) {
			log_warn("%s: is written all the time: what the file has of it may be of more than one moment", exported->saved.path);
			break;
		}
		got = is_store ? export->source->look(export->source, exported, &export->why) : 0;
		if (got)
			kml_file_take_back(export->writer);
	}
	if (!got || got == 1)
		count_done(export, exported);
	/* Its file is gone, and so says a later record; or the upstream has it. */
	return got == -ESTALE || got == 1 ? 0 : got;
}

static int put_all(struct export *export)
{
	for (;;) {
		struct cml_exported exported;
		int got = export->source->next(export->source, &exported, &export->why);

		if (got == -EBADMSG) {
			export->unreadable++;
			continue;
		}
		if (got <= 0)
			return got;
		got = put(export, &exported);
		cml_exported_release(&exported);
		if (got)
			return got;
	}
}

/* ---- */

static int begin(struct export *export, const char *tree, int fd)
{
	struct cml_export_head head;
	int err = export->source->begin(export->source, &head, &export->why);

	if (err)
		return err;
	free(head.head.tree);
	head.head.tree = strdup(tree);
	err = head.head.tree ? kml_file_writer_new(fd, &head.head, &export->writer) : -ENOMEM;
	export->at.records_left = head.records;
	export->at.bytes_left = head.bytes;
	cml_export_head_release(&head);
	return err;
}

static int say_result(const struct export *export, const char *path, const struct kml_file_totals *totals)
{
	char bytes[REPORT_TEXT];

	printf("%s: %" PRIu64 " records, %s of content; any machine that reaches the server replays it with izo-nfsd --replay-log %s\n",
	       path, totals->records, report_bytes(bytes, totals->bytes), path);
	if (!export->unreadable)
		return EXIT_SUCCESS;
	fprintf(stderr, "izo-nfsd: %" PRIu64 " records of the log are damaged and are not in the file; izo-nfsd --check tells more\n",
		export->unreadable);
	return EXIT_FAILURE;
}

static int export_to(struct export *export, const char *tree, const char *path)
{
	struct kml_file_totals totals = { 0 };
	struct target target;
	int err;

	if (target_make(&target, path))
		return EXIT_FAILURE;
	progress_begin(&export->progress, stderr);
	err = begin(export, tree, target.fd);
	if (!err)
		err = put_all(export);
	if (!err)
		err = kml_file_finish(export->writer, &totals);
	if (!err && export->source->mark)
		err = export->source->mark(export->source);
	progress_end(&export->progress);
	if (err)
		log_error("tree %s: the log cannot be exported: %s", tree, export->why ? export->why : strerror(-err));
	else
		err = target_finish(&target);
	target_release(&target);
	return err ? EXIT_FAILURE : say_result(export, path, &totals);
}

int command_export(struct ctl *ctl, const struct config_tree *tree, const char *path)
{
	struct export export = { 0 };
	int err = 0, status = EXIT_FAILURE;

	export.chunk = malloc(CHUNK);
	if (ctl)
		export.source = export_live(ctl, tree->name);
	else
		err = export_dead(tree->cache, &export.source, &export.why);
	if (!export.chunk || (!err && !export.source))
		err = -ENOMEM;
	if (err)
		log_error("tree %s: %s%s", tree->name, export.why ? export.why : strerror(-err),
			  err == -EBUSY ? "; ask that: without --cache, with its --control where it has one of its own" : "");
	else
		status = export_to(&export, tree->name, path);
	if (export.source)
		export.source->free(export.source);
	kml_file_writer_free(export.writer);
	free(export.chunk);
	free(export.why);
	return status;
}
