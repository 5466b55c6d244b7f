/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New objects in stage/: a file with the content that comes right behind it, and all others. */
#include "httpd/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "base/fault.h"

/* ---- others than files ---- */

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

int prepare_node(struct segment *segment, uint32_t i)
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

/* ---- files ---- */

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
		err = prepare_put_ranges(segment, store, 0, fd);
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

int prepare_file(struct segment *segment, uint32_t i, bool *ret_has_content)
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
