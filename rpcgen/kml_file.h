/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kml_file: a log with its contents in one file, for another machine to replay (docs/LOG-FILE.md).
 *
 * Written and read in one go and in bounded memory, however long the log is and however large its contents are.  A
 * file is read only when all of it has been found to be as it was written: its checksum is looked at first.
 *
 * Errors: 0 or -errno of the file; where *ret_why is given, -EBADMSG or -EPROTONOSUPPORT with a sentence for people.
 */
#ifndef RPCGEN_KML_FILE_H
#define RPCGEN_KML_FILE_H

#include <stddef.h>
#include <stdint.h>
#include "rpcgen/kml_codec.h"

#define KML_FILE_VERSION 2	/* 2: DETACH.  A file of version 1 has none, and is read likewise */

struct kml_file_totals {
	uint64_t records;
	uint64_t bytes;			/* of content that is to be sent: without what kml_saved.rest has */
};

/* Bytes of content that follow the record: its ranges', which are to be sent; those of 'rest'. */
uint64_t kml_saved_bytes(const struct kml_saved *saved);
uint64_t kml_saved_rest_bytes(const struct kml_saved *saved);

/* ---- writing ---- */

struct kml_file_writer;

/* fd: an empty file, the caller's. */
int kml_file_writer_new(int fd, const struct kml_file_head *head, struct kml_file_writer **ret_writer);
/*
 * The next record, seqs ascend.  Of a store, kml_file_write() is then given the bytes of its ranges and those of 'rest',
 * one after the other: exactly as many as they are.
 */
int kml_file_put(struct kml_file_writer *writer, const struct kml_saved *saved);
int kml_file_write(struct kml_file_writer *writer, const void *data, size_t len);
/* As if the last kml_file_put() had never been. */
int kml_file_take_back(struct kml_file_writer *writer);
/* -EINVAL: content of the last store is missing.  The file is complete, but not synced. */
int kml_file_finish(struct kml_file_writer *writer, struct kml_file_totals *ret_totals);
void kml_file_writer_free(struct kml_file_writer *writer);

/* ---- reading ---- */

struct kml_file;

/* Looks at all of it.  fd stays the caller's, open as long as the struct is used. */
int kml_file_open(int fd, struct kml_file **ret_file, const char **ret_why);
const struct kml_file_head *kml_file_get_head(const struct kml_file *file);
struct kml_file_totals kml_file_get_totals(const struct kml_file *file);
/* From the first record on: 1 and the record, whose content begins in fd at *ret_at; 0: there are no more. */
int kml_file_next(struct kml_file *file, struct kml_saved *ret_saved, uint64_t *ret_at);
void kml_file_free(struct kml_file *file);

#endif
