/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests of httpd/: an export in a directory of its own, records, batches, and the check that
 * tables, journal and disk say the same.
 */
#ifndef TESTS_UNIT_HTTPD_FIXTURE_H
#define TESTS_UNIT_HTTPD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "httpd/apply.h"
#include "httpd/change.h"
#include "httpd/facl.h"
#include "httpd/journal.h"
#include "httpd/reconcile.h"
#include "httpd/tree.h"
#include "tests/unit/httpd_follower.h"
#include "tests/unit/where.h"

#define UNUSED __attribute__((unused))
#define CLIENT 0xc1ull
#define OTHER 0xc2ull

struct fixture {
	char top[128];		/* holds the export */
	char path[160];		/* the export */
	int fd;			/* of it */
	struct tree *tree;
	uint64_t seq;		/* the last record's */
};

/* ---- an export ---- */

static UNUSED void f_open(struct fixture *f)
{
	char *why = NULL;

	assert_int_equal(tree_open(f->path, &f->tree, &why), 0);
	free(why);
	assert_int_equal(apply_recover(f->tree), 0);
}

static UNUSED void f_close(struct fixture *f)
{
	tree_close(f->tree);
	f->tree = NULL;
}

static UNUSED void f_make_in(struct fixture *f, const char *where)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->top, sizeof(f->top), "%s/izo-httpd-test-XXXXXX", where);
	assert_non_null(mkdtemp(f->top));
	snprintf(f->path, sizeof(f->path), "%s/export", f->top);
	assert_int_equal(mkdir(f->path, 0755), 0);
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	f->seq = 0;
}

static UNUSED void f_make(struct fixture *f)
{
	f_make_in(f, test_disk_dir());
}

static UNUSED void f_remove(struct fixture *f)
{
	f_close(f);
	(void)close(f->fd);
	assert_int_equal(file_delete(AT_FDCWD, f->top), 0);
}

static UNUSED int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f_make(f);
	f_open(f);
	*state = f;
	return 0;
}

static UNUSED int teardown(void **state)
{
	f_remove(*state);
	free(*state);
	return 0;
}

/* The same for a server that is not root's: setup and teardown. */
#define NOBODY_UID 65534

static UNUSED int setup_user(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f_make(f);
	if (!geteuid()) {
		if (chown(f->top, NOBODY_UID, NOBODY_UID) ||
		    chown(f->path, NOBODY_UID, NOBODY_UID) || setegid(NOBODY_UID) ||
		    seteuid(NOBODY_UID))
			return -1;
	}
	f_open(f);
	*state = f;
	return 0;
}

static UNUSED int teardown_user(void **state)
{
	struct fixture *f = *state;

	f_close(f);
	if (!getuid() && (seteuid(0) || setegid(0)))
		return -1;
	return teardown(state);
}

/* ---- files, as a local program makes them ---- */

static UNUSED void put_file(struct fixture *f, const char *name, const char *content)
{
	int fd = openat(f->fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	assert_int_equal(close(fd), 0);
}

static UNUSED bool is_there(struct fixture *f, const char *name)
{
	struct stat st;

	return fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* NULL when there is none; one at a time. */
static UNUSED const char *content_of(struct fixture *f, const char *name)
{
	static char text[4096];
	int fd = openat(f->fd, name, O_RDONLY | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return NULL;
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	(void)close(fd);
	return text;
}

static UNUSED struct stat stat_of(struct fixture *f, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), 0);
	return st;
}

/* What was written is older than a file's coarse clock can hide. */
static UNUSED void settle(void)
{
	usleep(25000);
}

/* ---- rows ---- */

/* A path's object; false: the tables have none. */
static UNUSED bool find(struct fixture *f, const char *path, struct object *ret_object)
{
	char copy[512], *save = NULL;
	int64_t id = ROOT_ID;
	struct name_row row;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		if (name_get(f->tree->sql, id, (struct slice){ name, strlen(name) }, &row) != 1)
			return false;
		id = row.object;
	}
	return object_by_id(f->tree->sql, id, ret_object) == 1;
}

static UNUSED struct object row_of(struct fixture *f, const char *path)
{
	struct object object;

	if (!find(f, path, &object))
		fail_msg("the tables have no %s", path);
	return object;
}

static UNUSED struct kml_oid oid_of(struct fixture *f, const char *path)
{
	return row_of(f, path).oid;
}

static UNUSED uint64_t version_of(struct fixture *f, const char *path)
{
	return row_of(f, path).data_version;
}

/* ---- the journal ---- */

struct history {
	struct kml_entry *v;
	size_t n;
};

static UNUSED struct history history_after(struct fixture *f, uint64_t position)
{
	struct history history = { 0 };
	struct slice body;
	struct buf buf;
	uint64_t last;
	size_t at = 0, used;

	buf_init(&buf, 0);
	assert_int_equal(journal_read(f->tree->sql, position, 1000000, &buf, &last), 0);
	while (kml_frame_next(buf.data + at, buf.len - at, 16 << 20, &body, &used) == 1) {
		history.v = realloc(history.v, (history.n + 1) * sizeof(*history.v));
		assert_int_equal(kml_entry_decode(body.data, body.len, &history.v[history.n++]), 0);
		at += used;
	}
	assert_int_equal(at, buf.len);
	buf_release(&buf);
	return history;
}

static UNUSED void history_release(struct history *history)
{
	for (size_t i = 0; i < history->n; i++)
		kml_entry_release(&history->v[i]);
	free(history->v);
}

/* The operations of the entries above a position, as "CREATE STORE". */
static UNUSED const char *ops_after(struct fixture *f, uint64_t position)
{
	static char text[4096];
	struct history history = history_after(f, position);

	text[0] = '\0';
	for (size_t i = 0; i < history.n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "",
			 kml_op_name(history.v[i].record.body.op));
	history_release(&history);
	return text;
}

/* ---- what must be so at any time ---- */

static UNUSED void check_dir(struct fixture *f, int64_t dir, int fd);

static UNUSED void check_acls(struct fixture *f, int fd, const char *name, const struct object *o)
{
	struct buf table, disk;

	buf_init(&table, 0);
	buf_init(&disk, 0);
	assert_int_equal(object_acls(f->tree->sql, o, &table), 0);
	assert_int_equal(facl_read(fd, name, o->attr.type, &disk), 0);
	if (table.len != disk.len || (table.len && memcmp(table.data, disk.data, table.len)))
		fail_msg("%s: other access control lists than in the tables", name);
	buf_release(&table);
	buf_release(&disk);
}

static UNUSED void check_name(struct fixture *f, int fd, const struct name_row *row)
{
	char target[KML_TARGET_MAX + 1];
	struct kml_object kml;
	struct file_stat st;
	struct object o;
	int sub;

	assert_int_equal(object_by_id(f->tree->sql, row->object, &o), 1);
	if (file_stat(fd, row->name.text, &st))
		fail_msg("%s: in the tables, not on disk", row->name.text);
	if (o.gone || o.attr.type != st.attr.type || !file_id_equal(o.file, st.id))
		fail_msg("%s: another file than in the tables", row->name.text);
	if ((o.attr.type != KML_LNK && o.attr.mode != st.attr.mode) || o.attr.uid != st.attr.uid ||
	    o.attr.gid != st.attr.gid || o.attr.major != st.attr.major ||
	    o.attr.minor != st.attr.minor)
		fail_msg("%s: other attributes than in the tables", row->name.text);
	if (o.attr.size != st.attr.size || file_time_cmp(o.attr.mtime, st.attr.mtime))
		fail_msg("%s: other size or time than in the tables: %llu %lld.%09u, on disk %llu "
			 "%lld.%09u",
			 row->name.text, (unsigned long long)o.attr.size,
			 (long long)o.attr.mtime.sec, o.attr.mtime.nsec,
			 (unsigned long long)st.attr.size, (long long)st.attr.mtime.sec,
			 st.attr.mtime.nsec);
	if (o.attr.type != KML_DIR && o.attr.nlink != st.attr.nlink)
		fail_msg("%s: has %u names in the tables, %u on disk", row->name.text, o.attr.nlink,
			 st.attr.nlink);
	if (o.attr.type == KML_LNK) {
		assert_int_equal(object_to_kml(f->tree->sql, &o, &kml), 0);
		assert_true(file_readlink(fd, row->name.text, target) >= 0);
		assert_int_equal(kml.extra.kml_extra_len, strlen(target));
		assert_memory_equal(kml.extra.kml_extra_val, target, strlen(target));
		kml_object_release(&kml);
	}
	check_acls(f, fd, row->name.text, &o);
	if (o.attr.type == KML_DIR) {
		sub = openat(fd, row->name.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(sub >= 0);
		check_dir(f, o.id, sub);
		(void)close(sub);
	}
}

struct counting {
	bool is_root;
	size_t n;
};

static UNUSED int count_one(void *arg, const char *name)
{
	struct counting *counting = arg;

	counting->n += !(counting->is_root && !strcmp(name, STATE_DIR));
	return 0;
}

static UNUSED void check_dir(struct fixture *f, int64_t dir, int fd)
{
	struct counting counting = { .is_root = dir == ROOT_ID };
	struct name_row *rows = calloc(4096, sizeof(*rows));
	struct object object, child;
	unsigned dirs = 0;
	size_t n;

	assert_int_equal(names_after(f->tree->sql, dir, (struct slice){ NULL, 0 }, rows, 4096, &n),
			 0);
	assert_int_equal(file_each(fd, count_one, &counting), 0);
	assert_int_equal(counting.n, n);
	for (size_t i = 0; i < n; i++) {
		check_name(f, fd, &rows[i]);
		assert_int_equal(object_by_id(f->tree->sql, rows[i].object, &child), 1);
		dirs += child.attr.type == KML_DIR;
	}
	assert_int_equal(object_by_id(f->tree->sql, dir, &object), 1);
	assert_int_equal(object.attr.nlink, 2 + dirs);
	free(rows);
}

static UNUSED int count_stage(void *arg, const char *name)
{
	*(size_t *)arg += strncmp(name, "up-", 3) != 0;
	return 0;
}

/* The journal, replayed by somebody who believes all of it, must give the tables. */
static UNUSED void check_journal(struct fixture *f)
{
	struct history history = history_after(f, 0);
	struct follower follower;

	follower_begin(&follower, history.n);
	for (size_t i = 0; i < history.n; i++) {
		const struct kml_entry *e = &history.v[i];

		assert_int_equal(e->position, i + 1);
		assert_int_equal(e->client ? 1 : 0, e->record.seq ? 1 : 0);
		follower_hear(&follower, e);
	}
	assert_int_equal(f->tree->position, history.n);
	follower_check(&follower, f->tree->sql);
	follower_end(&follower);
	history_release(&history);
}

/* Tables, disk and journal say the same, and nothing is left in stage/ and trash/. */
static UNUSED void check_all(struct fixture *f)
{
	int64_t orphans;
	size_t left = 0;

	check_dir(f, ROOT_ID, f->fd);
	assert_int_equal(sql_int(f->tree->sql,
				 "SELECT count(*) FROM object o WHERE o.gone = 0 AND o.id <> 1 AND "
				 "NOT EXISTS "
				 "(SELECT 1 FROM name n WHERE n.object = o.id)",
				 &orphans),
			 0);
	assert_int_equal(orphans, 0);
	check_journal(f);
	assert_int_equal(file_each(f->tree->stage_fd, count_stage, &left), 0);
	assert_int_equal(file_each(f->tree->trash_fd, count_stage, &left), 0);
	assert_int_equal(left, 0);
}

/* Files that were seen so soon after a write that the next look has to take them as changed. */
static UNUSED uint64_t racy(struct fixture *f)
{
	int64_t n;

	assert_int_equal(sql_int(f->tree->sql,
				 "SELECT count(*) FROM object WHERE is_racy <> 0 AND gone = 0", &n),
			 0);
	return (uint64_t)n;
}

/* A look at everything: the journal entries it makes. */
static UNUSED uint64_t look(struct fixture *f)
{
	uint64_t changes;

	assert_int_equal(reconcile_all(f->tree, NULL, &changes), 0);
	return changes;
}

#endif
