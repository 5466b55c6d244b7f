/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "base/fault.h"
#include "base/fs.h"
#include "httpd/detach.h"
#include "httpd/upload.h"

#define FSYNC_MAX 8	/* files that are synced one by one; more: the whole file system at once */

/* EDQUOT is none: one user who has used up what is his would hold up everybody's log. */
static bool is_transient(int err)
{
	return err == -ENOSPC || err == -EIO || err == -ENOMEM ||
	       err == -EMFILE || err == -ENFILE;
}

/* ---- new objects other than files ---- */

#define SET_ALL (KML_SET_MODE | KML_SET_UID | KML_SET_GID | KML_SET_ATIME | KML_SET_MTIME)

static int make_node(struct tree *tree, const char *name, const struct kml_body *body)
{
	static const mode_t formats[] = { [KML_BLK] = S_IFBLK,
					  [KML_CHR] = S_IFCHR,
					  [KML_SOCK] = S_IFSOCK,
					  [KML_FIFO] = S_IFIFO };
	const struct kml_mknod *node = &body->kml_body_u.mknod;
	char target[KML_TARGET_MAX + 1];
	struct slice text;
	int done;

	switch (body->op) {
	case KML_MKDIR:
		done = mkdirat(tree->stage_fd, name, 0700);
		break;
	case KML_SYMLINK:
		text = kml_target_get(&body->kml_body_u.symlink.target);
		memcpy(target, text.data, text.len);
		target[text.len] = '\0';
		done = symlinkat(target, tree->stage_fd, name);
		break;
	default:
		done = mknodat(tree->stage_fd, name, formats[node->type] | 0600,
			       makedev(node->major, node->minor));
	}
	return done < 0 ? -errno : 0;
}

static struct kml_attr attr_of(const struct kml_make *make)
{
	return (struct kml_attr){ .mode = make->mode, .uid = make->uid, .gid = make->gid, .atime = make->atime, .mtime = make->mtime };
}

static int stage_node(struct segment *segment, uint32_t i)
{
	const struct kml_record *record = &segment->records[i];
	struct kml_attr attr = attr_of(segment_make_of(&record->body));
	struct plan *plan = &segment->plan[i];
	int dirfd = segment->tree->stage_fd;
	char name[64];
	int err;

	segment_stage_name(segment->client, record->seq, name);
	(void)file_delete(dirfd, name);		/* left by a crash; making it tells if it stays */
	err = FAULT("prepare.make");
	if (!err)
		err = make_node(segment->tree, name, &record->body);
	if (!err)
		err = file_stat(dirfd, name, &plan->staged);
	if (!err)
		err = file_set(dirfd, name, plan->staged.id, &attr, SET_ALL);
	if (!err)
		err = file_stat(dirfd, name, &plan->staged);
	if (err) {
		(void)file_delete(dirfd, name);	/* at the next start then */
		return err;
	}
	plan->is_staged = true;
	return 0;
}

/* ---- contents ---- */

static uint64_t bytes_of(const struct kml_store *store)
{
	uint64_t sum = 0;

	for (u_int i = 0; i < store->ranges.ranges_len; i++)
		sum += store->ranges.ranges_val[i].length;
	return sum;
}

static bool is_whole(const struct kml_store *store)
{
	return store->ranges.ranges_len == 1 && !store->ranges.ranges_val[0].offset &&
	       store->ranges.ranges_val[0].length == store->size;
}

/* Old bytes up to keep, then zeros up to size; gaps are not written. */
static int cut_and_extend(int fd, uint64_t keep, uint64_t size)
{
	uint64_t has;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	has = (uint64_t)st.st_size;
	/* Too large for this file system shows before anything is lost. */
	if (size > has && ftruncate(fd, (off_t)size) < 0)
		return -errno;
	if (keep < has && ftruncate(fd, (off_t)keep) < 0)
		return -errno;
	return (keep < has || size < has) && ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

/* The file that was sent ahead.  -ENOENT: it is not (all) there. */
static int open_upload(struct segment *segment, const struct kml_store *store)
{
	char name[KML_KEY_MAX + 32];
	struct stat st;
	int fd;

	upload_seal(segment->tree, segment->client, store->content.kml_content_u.key, name);
	fd = openat(segment->tree->stage_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes_of(store)) {
		(void)close(fd);
		return -ENOENT;
	}
	return fd;
}

/*
 * The ranges' bytes, into a file: first cut to keep and extended to the record's size.
 * What the record lacks shows before the file is touched.
 */
static int put_ranges(struct segment *segment, const struct kml_store *store, uint64_t keep, int to)
{
	AUTO_CLOSE int from = -1;
	uint64_t at = 0;
	int err;

	if (store->content.where == KML_NOWHERE && store->ranges.ranges_len)
		return -EBADMSG;
	if (store->content.where == KML_STAGED) {
		from = open_upload(segment, store);
		if (from < 0)
			return from;
	}
	err = cut_and_extend(to, keep, store->size);
	for (u_int i = 0; !err && i < store->ranges.ranges_len; i++) {
		const struct kml_range *r = &store->ranges.ranges_val[i];

		if (from < 0)
			err = fs_pwrite_all(to, store->content.kml_content_u.bytes.bytes_val + at,
					    r->length, r->offset);
		else
			err = file_copy(from, at, to, r->offset, r->length);
		at += r->length;
	}
	return err;
}

/* The object's present file, which must be what the tables say.  -EAGAIN: it is not. */
static int open_present(struct segment *segment, const struct object *object, int *ret_dirfd,
			struct name_row *ret_row)
{
	struct tree *tree = segment->tree;
	struct file_stat st;
	int got, fd;

	got = name_of(tree->sql, object->id, ret_row);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	*ret_dirfd = tree_dir(tree, ret_row->dir);
	if (*ret_dirfd < 0)
		return is_transient(*ret_dirfd) ? *ret_dirfd : -EAGAIN;
	fd = openat(*ret_dirfd, ret_row->name.text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == EACCES || is_transient(-errno) ? -errno : -EAGAIN;
	got = file_stat(fd, "", &st);
	if (!got && (!file_id_equal(st.id, object->file) || st.attr.size != object->attr.size ||
		     file_time_cmp(st.attr.mtime, object->attr.mtime)))
		got = -EAGAIN;
	if (got) {
		(void)close(fd);
		return got;
	}
	return fd;
}

/* Bytes below keep that the ranges do not cover come from the old version. */
static int copy_old(int from, int to, const struct kml_store *store, uint64_t old_size)
{
	uint64_t keep = MIN(MIN(store->keep_size, old_size), store->size), at = 0;
	int err = 0;

	for (u_int i = 0; !err && i <= store->ranges.ranges_len && at < keep; i++) {
		const struct kml_range *r =
			i < store->ranges.ranges_len ? &store->ranges.ranges_val[i] : NULL;
		uint64_t end = r ? MIN(r->offset, keep) : keep;

		if (end > at)
			err = fs_copy_range(from, to, at, end - at);
		if (r)
			at = r->offset + r->length;
	}
	return err;
}

/* Where the new version is made: an empty file, or the upload itself when it is all of it. */
static int open_new(struct segment *segment, uint32_t i, const struct kml_store *store, const char *name)
{
	int dirfd = segment->tree->stage_fd;
	char upload[KML_KEY_MAX + 32];
	struct stat st;
	int fd;

	(void)file_delete(dirfd, name);		/* left by a crash; making it tells if it stays */
	if (store->content.where == KML_STAGED && is_whole(store)) {
		upload_seal(segment->tree, segment->client, store->content.kml_content_u.key,
			    upload);
		if (fstatat(dirfd, upload, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != store->size)
			return -ENOENT;
		if (renameat(dirfd, upload, dirfd, name) < 0)
			return -errno;
		segment->plan[i].is_upload = true;
		segment->plan[i].is_staged = true;	/* to be put back, whatever happens */
		fd = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	} else {
		fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	}
	return fd < 0 ? -errno : fd;
}

static int make_content(struct segment *segment, uint32_t i, const struct object *object,
			const struct kml_store *store, const char *name)
{
	struct plan *plan = &segment->plan[i];
	AUTO_CLOSE int old = -1;
	AUTO_CLOSE int fd = -1;
	struct kml_attr attr = object->attr;
	struct file_stat before, after;
	struct name_row row;
	int dirfd, err;

	old = open_present(segment, object, &dirfd, &row);
	if (old == -EAGAIN) {
		err = segment_look(segment, row.dir, name_slice(&row.name));
		return err ? err : -EAGAIN;
	}
	if (old < 0)
		return old;
	fd = open_new(segment, i, store, name);
	if (fd < 0)
		return fd;
	plan->is_staged = true;
	err = file_stat(old, "", &before);
	if (!err && !plan->is_upload)
		err = copy_old(old, fd, store, object->attr.size);
	if (!err && !plan->is_upload)
		err = put_ranges(segment, store, store->size, fd);
	if (!err)
		err = FAULT("prepare.content");
	if (err)
		return err;
	/* A version is never a mixture: whoever wrote while we copied has made another one. */
	err = file_stat(old, "", &after);
	if (!err && (before.ctime != after.ctime || before.attr.size != after.attr.size)) {
		err = segment_look(segment, row.dir, name_slice(&row.name));
		return err ? err : -EAGAIN;
	}
	file_copy_xattrs(old, fd);
	attr.mtime = store->mtime;
	err = file_set_fd(fd, &attr, SET_ALL);
	return err ? err : file_stat(fd, "", &plan->staged);
}

/* ---- new files ---- */

/*
 * A new file, with the content that store has for it, or none.  Made with its mode, open, and closed when it is all that it is to be: of ten
 * thousand small files this is most of the work.  *ret_is_content: it was the content that failed.
 */
static int make_file(struct segment *segment, uint32_t i, const struct kml_store *store, bool *ret_is_content)
{
	const struct kml_record *record = &segment->records[i];
	struct kml_attr attr = attr_of(&record->body.kml_body_u.make);
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int dirfd = segment->tree->stage_fd;
	AUTO_CLOSE int fd = -1;
	char name[64];
	int err;

	*ret_is_content = false;
	segment_stage_name(segment->client, record->seq, name);
	err = FAULT("prepare.make");
	if (err)
		return err;
	fd = openat(dirfd, name, flags, attr.mode & 0777);
	if (fd < 0 && errno == EEXIST) {
		(void)file_delete(dirfd, name);	/* left by a crash; making it tells if it stays */
		fd = openat(dirfd, name, flags, attr.mode & 0777);
	}
	if (fd < 0)
		return -errno;
	if (store) {
		attr.mtime = store->mtime;
		err = put_ranges(segment, store, 0, fd);
		if (!err)
			err = FAULT("prepare.fill");
		*ret_is_content = err != 0;
	}
	if (!err)
		err = file_set_new(fd, &attr, &segment->plan[i].staged);
	if (err)
		(void)file_delete(dirfd, name);	/* at the next start then */
	else
		segment->plan[i].is_staged = true;
	return err;
}

/* What a CREATE makes, if the record behind it has the content for it and that is here. */
static const struct kml_store *content_behind(const struct segment *segment, uint32_t i)
{
	const struct kml_body *next = &segment->records[i + 1].body;
	const struct kml_store *store = &next->kml_body_u.store;

	if (i + 1 >= segment->n || next->op != KML_STORE || segment->plan[i + 1].is_staged || segment->plan[i + 1].refused)
		return NULL;
	return kml_oid_equal(store->oid, segment->records[i].body.kml_body_u.make.oid) && store->content.where == KML_INLINE ? store : NULL;
}

/* *ret_has_content: that of the next record is in it. */
static int stage_file(struct segment *segment, uint32_t i, bool *ret_has_content)
{
	const struct kml_store *store = content_behind(segment, i);
	struct plan *next = &segment->plan[i + 1];
	bool is_content;
	int err;

	err = make_file(segment, i, store, &is_content);
	/* What is wrong with the content is the next record's trouble alone. */
	if (err && is_content)
		return make_file(segment, i, NULL, &is_content);
	if (err || !store)
		return err;
	next->is_into = true;
	next->into = i;
	next->staged = segment->plan[i].staged;
	*ret_has_content = true;
	return 0;
}

/*
 * The object is made by an earlier record of this segment: its content goes right into that file.
 */
static int fill_created(struct segment *segment, uint32_t i, uint32_t create)
{
	const struct kml_store *store = &segment->records[i].body.kml_body_u.store;
	struct plan *made = &segment->plan[create];
	struct kml_attr attr = { .mode = made->staged.attr.mode, .mtime = store->mtime };
	AUTO_CLOSE int fd = -1;
	char name[64];
	int err;

	segment_stage_name(segment->client, segment->records[create].seq, name);
	fd = openat(segment->tree->stage_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EACCES) {
		/* A read-only file of our own, and we are not root. */
		err = file_set(segment->tree->stage_fd, name, made->staged.id,
			       &(struct kml_attr){ .mode = 0600 }, KML_SET_MODE);
		if (err)
			return err;
		fd = openat(segment->tree->stage_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0)
		return -errno;
	/* keep 0: what may be in it already was put there for an attempt that was cut short. */
	err = put_ranges(segment, store, 0, fd);
	if (!err)
		err = file_set_fd(fd, &attr, KML_SET_MODE | KML_SET_MTIME);
	if (!err)
		err = file_stat(fd, "", &made->staged);
	if (err)
		return err;
	segment->plan[i].is_into = true;
	segment->plan[i].into = create;
	segment->plan[i].staged = made->staged;
	return 0;
}

void prepare_undo(struct segment *segment, uint32_t i)
{
	const struct kml_record *record = &segment->records[i];
	struct plan *plan = &segment->plan[i];
	int dirfd = segment->tree->stage_fd;
	char name[64], upload[KML_KEY_MAX + 32];

	if (!plan->is_staged)
		return;
	segment_stage_name(segment->client, record->seq, name);
	if (plan->is_upload) {
		upload_seal(segment->tree, segment->client,
			    record->body.kml_body_u.store.content.kml_content_u.key, upload);
		(void)renameat(dirfd, name, dirfd, upload);	/* the client then sends it again */
	} else {
		(void)file_delete(dirfd, name);			/* at the next start then */
	}
	plan->is_staged = plan->is_upload = false;
}

/* ---- what is made by the segment itself ---- */

struct made {
	struct hash_node node;
	struct kml_oid oid;
	uint32_t record;	/* a CREATE, or a STORE of something that was there */
	bool is_store;
	bool has_content;	/* a CREATE with the content of a later STORE */
};

static uint64_t hash_oid(struct kml_oid oid)
{
	return hash_u64(oid.origin ^ hash_u64(oid.number));
}

static struct made *find_made(const struct hash_table *table, struct kml_oid oid)
{
	for (struct hash_node *n = hash_first(table, hash_oid(oid)); n; n = hash_next(n)) {
		struct made *made = container_of(n, struct made, node);

		if (kml_oid_equal(made->oid, oid))
			return made;
	}
	return NULL;
}

static int note_made(struct hash_table *table, struct kml_oid oid, uint32_t record, bool is_store)
{
	struct made *made;

	if (find_made(table, oid))
		return 0;
	made = malloc(sizeof(*made));
	if (!made)
		return -ENOMEM;
	*made = (struct made){ .oid = oid, .record = record, .is_store = is_store };
	hash_insert(table, &made->node, hash_oid(oid));
	return 0;
}

static void free_made(struct hash_node *node, void *arg)
{
	(void)arg;
	free(container_of(node, struct made, node));
}

/* ---- all of it ---- */

#define CUT_HERE 1	/* the segment ends before this record */

/* What the store makes of the object as it is. */
static int stage_content(struct segment *segment, uint32_t i, const struct object *object, const struct kml_store *store,
			 struct hash_table *table)
{
	struct plan *plan = &segment->plan[i];
	char name[64];
	int err;

	if (plan->is_staged && plan->base == object->data_version)
		return note_made(table, store->oid, i, true);
	prepare_undo(segment, i);
	segment_stage_name(segment->client, segment->records[i].seq, name);
	err = make_content(segment, i, object, store, name);
	if (err) {
		prepare_undo(segment, i);
		return err == -EAGAIN ? CUT_HERE : err;
	}
	plan->base = object->data_version;
	return note_made(table, store->oid, i, true);
}

static int stage_store(struct segment *segment, uint32_t i, struct hash_table *table)
{
	const struct kml_store *store = &segment->records[i].body.kml_body_u.store;
	struct made *made = find_made(table, store->oid);
	struct object object;
	int got;

	if (segment->plan[i].is_into)
		return 0;	/* it came with its CREATE */
	if (made && (made->is_store || made->has_content))
		return CUT_HERE;	/* it needs the version that the earlier one makes */
	if (made) {
		made->has_content = true;
		return segment->plan[made->record].is_staged
			       ? fill_created(segment, i, made->record)
			       : 0;
	}
	got = object_by_oid(segment->tree->sql, store->oid, &object);
	if (got <= 0 || object.gone || object.attr.type != KML_REG)
		return got < 0 ? got : 0;	/* certify() has the answer */
	if (object.data_version != store->data_base && object.data_by != segment->client) {
		prepare_undo(segment, i);
		return 0;
	}
	return stage_content(segment, i, &object, store, table);
}

/* The content as it is, once more; where the object has other names to part from. */
static int stage_detach(struct segment *segment, uint32_t i, struct hash_table *table)
{
	const struct kml_detach *detach = &segment->records[i].body.kml_body_u.detach;
	struct kml_store same = { .oid = detach->oid };
	struct detach_names names;
	struct object object;
	int got;

	got = object_by_oid(segment->tree->sql, detach->oid, &object);
	if (got <= 0 || object.gone || object.attr.type != KML_REG ||
	    (object.data_version != detach->data_base && object.data_by != segment->client))
		return got < 0 ? got : 0;	/* certify() has the answer */
	got = detach_names_get(segment->tree->sql, &object, segment->client, detach, &names);
	detach_names_release(&names);
	if (got || names.n == names.n_kept)
		return got;
	if (find_made(table, detach->oid))
		return CUT_HERE;	/* as for a store */
	same.size = same.keep_size = object.attr.size;
	same.mtime = object.attr.mtime;
	return stage_content(segment, i, &object, &same, table);
}

static int stage_one(struct segment *segment, uint32_t i, struct hash_table *table)
{
	const struct kml_body *body = &segment->records[i].body;
	const struct kml_make *make = segment_make_of(body);
	bool has_content = false;
	int err;

	if (segment->plan[i].refused)
		return 0;
	if (body->op == KML_STORE)
		return stage_store(segment, i, table);
	if (body->op == KML_DETACH)
		return stage_detach(segment, i, table);
	if (!make || (segment->plan[i].is_staged && body->op != KML_CREATE))
		return 0;
	if (body->op != KML_CREATE)
		return stage_node(segment, i);
	err = segment->plan[i].is_staged ? 0 : stage_file(segment, i, &has_content);
	if (!err)
		err = note_made(table, make->oid, i, false);
	if (!err && has_content)
		find_made(table, make->oid)->has_content = true;
	return err;
}

/*
 * End the segment before record i.  A store that was to fill a file made by an earlier record may
 * have left a part of it there: then the segment ends before that one already, and the file is made
 * anew.
 */
static void cut(struct segment *segment, uint32_t i, int error, const struct hash_table *table)
{
	const struct kml_body *body = &segment->records[i].body;
	struct made *made =
		body->op == KML_STORE ? find_made(table, body->kml_body_u.store.oid) : NULL;

	if (made && !made->is_store && error) {
		prepare_undo(segment, made->record);
		i = made->record;
	}
	segment->n = i;
}

static int sync_staged(struct segment *segment)
{
	uint32_t staged = 0;
	char name[64];

	for (uint32_t i = 0; i < segment->n; i++)
		staged += segment->plan[i].is_staged;
	if (!staged)
		return 0;
	if (FAULT("prepare.sync"))
		return -EIO;
	if (staged > FSYNC_MAX)
		return syncfs(segment->tree->stage_fd) < 0 ? -errno : 0;
	for (uint32_t i = 0; i < segment->n; i++) {
		AUTO_CLOSE int fd = -1;
		enum kml_op op = segment->records[i].body.op;

		if (!segment->plan[i].is_staged ||
		    (op != KML_CREATE && op != KML_MKDIR && op != KML_STORE && op != KML_DETACH))
			continue;
		segment_stage_name(segment->client, segment->records[i].seq, name);
		fd = openat(segment->tree->stage_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 ? fsync(fd) < 0 : errno != EACCES)
			return -errno;
		if (fd < 0)	/* its mode is not for us: we are not root */
			return syncfs(segment->tree->stage_fd) < 0 ? -errno : 0;
	}
	return fsync(segment->tree->stage_fd) < 0 ? -errno : 0;
}

static int stage_all(struct segment *segment, struct hash_table *table)
{
	int err = tree_read_begin(segment->tree);

	if (err)
		return err;
	for (uint32_t i = 0; i < segment->n; i++) {
		err = stage_one(segment, i, table);
		if (!err)
			continue;
		if (err == -EBADMSG || (err < 0 && !is_transient(err) && err != -ENOENT)) {
			segment->plan[i].refused = -err;
			continue;
		}
		/* -ENOENT: what was sent ahead is not here (any more); it has to be sent again. */
		if (err < 0)
			segment->cut_error = -err;
		cut(segment, i, segment->cut_error, table);
		break;
	}
	tree_read_end(segment->tree);
	return 0;
}

int prepare_stage(struct segment *segment)
{
	struct hash_table table;
	int err;

	err = hash_init(&table);
	if (!err)
		err = stage_all(segment, &table);
	hash_drain(&table, free_made, NULL);
	hash_release(&table);
	if (err)
		return err;
	return segment->n ? sync_staged(segment) : 0;
}
