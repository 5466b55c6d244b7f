/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names: making, finding, removing, renaming, linking; local names; permissions; listing. */
#include "tests/unit/cache_fixture.h"

#include "cache/access.h"
#include "rpcgen/kml_codec.h"

#define LOCAL ".nfs0123456789abcdef01234567"
#define LOCAL2 ".nfs0123456789abcdef01234568"

static int64_t records(struct fixture *f)
{
	return query(f, "SELECT count(*) FROM cml");
}

static int64_t last_op(struct fixture *f)
{
	return query(f, "SELECT op FROM cml ORDER BY seq DESC LIMIT 1");
}

/* ---- names as such ---- */

static const struct {
	const char *name;
	size_t len;		/* 0: strlen */
	int want;
} name_cases[] = {
	{ "plain", 0, 0 },
	{ "\xff\xfe odd bytes \n", 0, 0 },
	{ "", 0, -EACCES },
	{ "a/b", 0, -EACCES },
	{ "a\0b", 3, -EACCES },
	{ ".", 0, -EEXIST },
	{ "..", 0, -EEXIST },
	{ "...", 0, 0 },
};

static void names_checked(void **state)
{
	struct fixture *f = *state;
	char longest[257];

	for (size_t i = 0; i < ARRAY_SIZE(name_cases); i++) {
		struct slice name = { name_cases[i].name, name_cases[i].len };

		if (!name.len)
			name.len = strlen(name_cases[i].name);
		assert_int_equal(f_wait(f, cache_mkdir(f->cache, f_begin(f), ROOT, name, NULL)),
				 name_cases[i].want);
	}
	memset(longest, 'x', 256);
	longest[256] = '\0';
	assert_int_equal(f_create(f, ROOT, longest, 0644), -ENAMETOOLONG);
	longest[255] = '\0';
	assert_int_equal(f_create(f, ROOT, longest, 0644), 0);
}

static void lookup_finds(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "d"), file = made(f, dir, "file", NULL);

	assert_int_equal(found(f, ROOT, "d"), dir);
	assert_int_equal(found(f, dir, "file"), file);
	assert_true(f->op.wcc[0].has_after);
	assert_int_equal(found(f, dir, "."), dir);
	assert_int_equal(found(f, dir, ".."), ROOT);
	assert_int_equal(found(f, ROOT, ".."), ROOT);
	assert_int_equal(f_lookup(f, dir, "none"), -ENOENT);
	assert_int_equal(f_lookup(f, file, "none"), -ENOTDIR);
	assert_int_equal(f_lookup(f, 99999, "none"), -ESTALE);
	f_reopen(f);
	assert_int_equal(found(f, dir, "file"), file);
}

static void create_modes(void **state)
{
	struct fixture *f = *state;
	struct attr_change change = { .set = SET_MODE | SET_SIZE, .mode = 0640 };
	uint8_t verifier[8] = "verify1", other[8] = "verify2";
	uint64_t ino = made(f, ROOT, "a", "content");

	assert_int_equal(f_create(f, ROOT, "a", 0644), -EEXIST);
	/* UNCHECKED cuts an existing file, and sets nothing else of it. */
	assert_int_equal(f_wait(f, cache_create(f->cache, f_begin(f), ROOT, text("a"),
						CREATE_UNCHECKED, &change, NULL)),
			 0);
	assert_int_equal(f->op.ino, ino);
	assert_int_equal(f->op.attr.size, 0);
	assert_int_equal(f->op.attr.mode, 0644);
	/* EXCLUSIVE with the same verifier is the same call. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(f_wait(f, cache_create(f->cache, f_begin(f), ROOT, text("x"),
							CREATE_EXCLUSIVE, NULL, verifier)),
				 0);
		f_reopen(f);
	}
	assert_int_equal(f_wait(f, cache_create(f->cache, f_begin(f), ROOT, text("x"),
						CREATE_EXCLUSIVE, NULL, other)),
			 -EEXIST);
	made_dir(f, ROOT, "d");
	assert_int_equal(f_wait(f, cache_create(f->cache, f_begin(f), ROOT, text("d"),
						CREATE_UNCHECKED, &change, NULL)),
			 -EEXIST);
}

static void kinds(void **state)
{
	struct fixture *f = *state;
	char target[CACHE_TARGET_MAX];
	uint64_t link;

	assert_int_equal(f_symlink(f, ROOT, "l", "../some/where"), 0);
	link = f->op.ino;
	assert_int_equal(f->op.attr.size, 13);
	f_reopen(f);
	assert_int_equal(f_wait(f, cache_readlink(f->cache, f_begin(f), link, target)), 0);
	assert_int_equal(f->op.count, 13);
	assert_memory_equal(target, "../some/where", 13);
	assert_int_equal(f_wait(f, cache_readlink(f->cache, f_begin(f), ROOT, target)), -EINVAL);
	assert_int_equal(f_wait(f, cache_mknod(f->cache, f_begin(f), ROOT, text("dev"), TYPE_CHR, 5,
					       1, NULL)),
			 0);
	assert_int_equal(f->op.attr.major, 5);
	assert_int_equal(f->op.attr.minor, 1);
	assert_int_equal(f_wait(f, cache_mknod(f->cache, f_begin(f), ROOT, text("fifo"), TYPE_FIFO,
					       0, 0, NULL)),
			 0);
	assert_int_equal(f->op.attr.type, TYPE_FIFO);
	f->cred.uid = 5;
	assert_int_equal(f_wait(f, cache_mknod(f->cache, f_begin(f), ROOT, text("dev2"), TYPE_BLK,
					       5, 1, NULL)),
			 -EPERM);
}

/* ---- removing ---- */

static void removing(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "d"), file = made(f, dir, "file", "x");

	assert_int_equal(f_remove(f, ROOT, "d"), -EISDIR);
	assert_int_equal(f_rmdir(f, dir, "file"), -ENOTDIR);
	assert_int_equal(f_rmdir(f, ROOT, "d"), -ENOTEMPTY);
	assert_int_equal(f_rmdir(f, ROOT, "."), -EINVAL);
	assert_int_equal(f_remove(f, dir, "none"), -ENOENT);
	assert_int_equal(f_remove(f, dir, "file"), 0);
	assert_true(f->op.wcc[0].before.is_known && f->op.wcc[0].has_after);
	assert_true(clock_cmp(f->op.wcc[0].after.mtime, f->op.wcc[0].before.mtime) > 0);
	assert_int_equal(f_getattr(f, file), -ESTALE);
	assert_int_equal(f_lookup(f, dir, "file"), -ENOENT);
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	assert_int_equal(f_getattr(f, dir), -ESTALE);
	assert_int_equal(f_getattr(f, ROOT), 0);
	assert_int_equal(f->op.attr.nlink, 2);
	assert_int_equal(query(f, "SELECT count(*) FROM inode"), 1);
}

static void hard_links(void **state)
{
	struct fixture *f = *state;
	uint64_t a = made(f, ROOT, "a", "shared"), dir = made_dir(f, ROOT, "d");

	assert_int_equal(f_link(f, a, dir, "b"), 0);
	assert_int_equal(f->op.attr.nlink, 2);
	assert_true(f->op.wcc[1].has_after);
	assert_int_equal(f_link(f, a, dir, "b"), -EEXIST);
	assert_int_equal(f_link(f, dir, ROOT, "e"), -EPERM);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_content(f, a, "shared");
	assert_int_equal(f_getattr(f, a), 0);
	assert_int_equal(f->op.attr.nlink, 1);
	/* Two names of one object: rename does nothing. */
	assert_int_equal(f_link(f, a, ROOT, "c"), 0);
	assert_int_equal(f_rename(f, ROOT, "c", dir, "b"), 0);
	assert_int_equal(found(f, ROOT, "c"), a);
	assert_int_equal(f_remove(f, ROOT, "c"), 0);
	assert_int_equal(f_remove(f, dir, "b"), 0);
	assert_int_equal(f_getattr(f, a), -ESTALE);
}

/* PATHCONF's linkmax, without as many calls as that takes. */
static void too_many_links(void **state)
{
	struct fixture *f = *state;
	uint64_t file = made(f, ROOT, "file", NULL), full = made_dir(f, ROOT, "full"), other = made_dir(f, ROOT, "other");
	char sql[128];

	snprintf(sql, sizeof(sql), "UPDATE inode SET nlink = %u WHERE ino IN (%llu, %llu) RETURNING 1", CACHE_LINK_MAX - 1,
		 (unsigned long long)file, (unsigned long long)full);
	assert_int_equal(query(f, sql), 1);
	f_reopen(f);
	assert_int_equal(f_link(f, file, ROOT, "last"), 0);
	assert_int_equal(f->op.attr.nlink, CACHE_LINK_MAX);
	assert_int_equal(f_link(f, file, ROOT, "more"), -EMLINK);
	assert_int_equal(f->op.attr.nlink, CACHE_LINK_MAX);
	assert_int_equal(found(f, ROOT, "more"), 0);
	made_dir(f, full, "last");
	assert_int_equal(f_mkdir(f, full, "more", 0755), -EMLINK);
	made_dir(f, other, "moved");
	made_dir(f, other, "moved too");
	assert_int_equal(f_rename(f, other, "moved", full, "more"), -EMLINK);
	assert_int_equal(found(f, full, "more"), 0);
	/* What makes it no more of them goes on: a directory in place of another, another name, a file. */
	assert_int_equal(f_rename(f, other, "moved", full, "last"), 0);
	assert_int_equal(f_rename(f, full, "last", full, "renamed"), 0);
	made(f, full, "a file", NULL);
	assert_int_equal(f_rename(f, ROOT, "last", full, "a file"), 0);
	assert_int_equal(f_getattr(f, full), 0);
	assert_int_equal(f->op.attr.nlink, CACHE_LINK_MAX);
	assert_int_equal(f_rmdir(f, full, "renamed"), 0);
	assert_int_equal(f_rename(f, other, "moved too", full, "more"), 0);
}

/* ---- rename ---- */

enum what { NOTHING, FILE_, EMPTY, FULL };

static const struct rename_case {
	const char *name;
	enum what from, to;
	int want;
} rename_cases[] = {
	{ "nothing", NOTHING, NOTHING, -ENOENT },
	{ "file", FILE_, NOTHING, 0 },
	{ "file over file", FILE_, FILE_, 0 },
	{ "file over directory", FILE_, EMPTY, -EISDIR },
	{ "directory", FULL, NOTHING, 0 },
	{ "directory over file", EMPTY, FILE_, -ENOTDIR },
	{ "directory over empty one", FULL, EMPTY, 0 },
	{ "directory over full one", EMPTY, FULL, -ENOTEMPTY },
};

static uint64_t make_what(struct fixture *f, uint64_t dir, const char *name, enum what what)
{
	uint64_t ino;

	switch (what) {
	case NOTHING:
		return 0;
	case FILE_:
		return made(f, dir, name, name);
	default:
		ino = made_dir(f, dir, name);
		if (what == FULL)
			made(f, ino, "inside", NULL);
		return ino;
	}
}

static void rename_matrix(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rename_cases); i++) {
		const struct rename_case *c = &rename_cases[i];
		uint64_t dir = made_dir(f, ROOT, c->name), x = made_dir(f, dir, "x"),
			 y = made_dir(f, dir, "y");
		uint64_t a = make_what(f, x, "a", c->from), b = make_what(f, y, "b", c->to);

		if (f_rename(f, x, "a", y, "b") != c->want)
			fail_msg("%s: %d", c->name, f->op.err);
		assert_int_equal(found(f, x, "a"), c->want ? a : 0);
		assert_int_equal(found(f, y, "b"), c->want ? b : a);
		if (!c->want && b)
			assert_int_equal(f_getattr(f, b), -ESTALE);
		assert_int_equal(f_getattr(f, x), 0);
		assert_int_equal(f->op.attr.nlink, 2 + (c->from >= EMPTY && c->want));
		assert_int_equal(f_getattr(f, y), 0);
		assert_int_equal(f->op.attr.nlink,
				 2 + (c->want ? c->to >= EMPTY : c->from >= EMPTY));
		if (!c->want && c->from >= EMPTY)
			assert_int_equal(found(f, a, ".."), y);
	}
}

static void rename_no_circle(void **state)
{
	struct fixture *f = *state;
	uint64_t a = made_dir(f, ROOT, "a"), b = made_dir(f, a, "b"), c = made_dir(f, b, "c");

	assert_int_equal(f_rename(f, ROOT, "a", c, "d"), -EINVAL);
	assert_int_equal(f_rename(f, ROOT, "a", a, "d"), -EINVAL);
	assert_int_equal(f_rename(f, a, "b", ROOT, "b"), 0);
	assert_int_equal(f_rename(f, ROOT, "a", c, "d"), 0);
	assert_int_equal(f_rename(f, ROOT, ".", c, "d"), -EINVAL);
}

/* ---- local names ---- */

static void local_names(void **state)
{
	struct fixture *f = *state;
	int64_t before;
	uint64_t ino;

	f_keep_records(f);
	ino = made(f, ROOT, "open", "still read");
	/*
	 * What the kernel does to an open file that is removed: a REMOVE, and nothing more after
	 * that.
	 */
	assert_int_equal(f_rename(f, ROOT, "open", ROOT, LOCAL), 0);
	assert_int_equal(last_op(f), KML_REMOVE);
	before = records(f);
	assert_content(f, ino, "still read");
	assert_int_equal(f_write(f, ino, 0, "STILL"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	assert_int_equal(f_rename(f, ROOT, LOCAL, ROOT, LOCAL2), 0);
	assert_int_equal(records(f), before);
	f_reopen(f);
	assert_content(f, ino, "STILL read");
	/* Back to a real name: a new object upstream. */
	assert_int_equal(f_rename(f, ROOT, LOCAL2, ROOT, "back"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM cml WHERE op = 1"), 2);
	assert_int_equal(last_op(f), KML_STORE);
	assert_content(f, ino, "STILL read");
	assert_int_equal(query(f, "SELECT links_up FROM inode WHERE ino > 2"), 1);
	/* And away for good. */
	assert_int_equal(f_rename(f, ROOT, "back", ROOT, LOCAL), 0);
	before = records(f);
	assert_int_equal(f_remove(f, ROOT, LOCAL), 0);
	assert_int_equal(records(f), before);
	assert_int_equal(f_getattr(f, ino), -ESTALE);
}

static void local_directory_is_logged(void **state)
{
	struct fixture *f = *state;

	made_dir(f, ROOT, LOCAL);
	assert_int_equal(last_op(f), KML_MKDIR);
}

static void local_names_of_linked(void **state)
{
	struct fixture *f = *state;
	uint64_t ino;

	f_keep_records(f);
	ino = made(f, ROOT, "a", "x");
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, LOCAL), 0);
	assert_int_equal(last_op(f), KML_REMOVE);
	assert_int_equal(query(f, "SELECT links_up FROM inode WHERE ino > 2"), 1);
	assert_int_equal(f_rename(f, ROOT, LOCAL, ROOT, "c"), 0);
	assert_int_equal(last_op(f), KML_LINK);
	assert_int_equal(f_getattr(f, ino), 0);
	assert_int_equal(f->op.attr.nlink, 2);
}

/* ---- permission ---- */

static const struct access_case {
	uint32_t uid, gid, extra;
	uint32_t mode;		/* of a file of 10:20 */
	unsigned want;
	int result;
} access_cases[] = {
	{ 10, 1, 0, 0400, WANT_READ, 0 },
	{ 10, 1, 0, 0400, WANT_WRITE, -EACCES },
	{ 10, 20, 0, 0070, WANT_READ, -EACCES },	/* the owner's bits count, and only those */
	{ 11, 20, 0, 0040, WANT_READ, 0 },
	{ 11, 1, 20, 0040, WANT_READ, 0 },
	{ 11, 1, 0, 0040, WANT_READ, -EACCES },
	{ 11, 1, 0, 0004, WANT_READ, 0 },
	{ 11, 20, 0, 0004, WANT_READ, -EACCES },
	{ 0, 0, 0, 0000, WANT_READ | WANT_WRITE, 0 },
	{ 0, 0, 0, 0666, WANT_EXEC, -EACCES },
	{ 0, 0, 0, 0001, WANT_EXEC, 0 },
};

static void access_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(access_cases); i++) {
		const struct access_case *c = &access_cases[i];
		struct cred cred = { c->uid, c->gid, 1, { c->extra ? c->extra : c->gid } };
		struct inode_values v = { .type = TYPE_REG, .mode = c->mode, .uid = 10, .gid = 20 };

		if (access_check(&cred, &v, c->want) != c->result)
			fail_msg("row %zu", i);
	}
}

static void permissions(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "d"), file = made(f, dir, "file", "x");
	struct attr_change owner = { .set = SET_UID | SET_GID, .uid = 10, .gid = 20 };

	f->cred = (struct cred){ 10, 20, 0, { 0 } };
	assert_int_equal(f_create(f, dir, "new", 0644), -EACCES);
	assert_true(f->op.wcc[0].before.is_known && f->op.wcc[0].has_after);
	assert_int_equal(f_remove(f, dir, "file"), -EACCES);
	assert_int_equal(f_chmod(f, file, 0600), -EPERM);
	assert_int_equal(f_write(f, file, 0, "y"), -EACCES);
	assert_int_equal(f_setattr(f, file, &owner), -EPERM);
	f->cred = (struct cred){ 0 };
	assert_int_equal(f_setattr(f, file, &owner), 0);
	assert_int_equal(f_chmod(f, file, 04755), 0);
	assert_int_equal(f_setattr(f, file, &owner), 0);
	assert_int_equal(f->op.attr.mode, 0755);
	/* The owner may write to a file that is read-only, as having opened it when it was not. */
	assert_int_equal(f_chmod(f, file, 0400), 0);
	f->cred = (struct cred){ 10, 20, 1, { 30 } };
	assert_int_equal(f_write(f, file, 0, "y"), 0);
	owner = (struct attr_change){ .set = SET_GID, .gid = 30 };
	assert_int_equal(f_setattr(f, file, &owner), 0);
	owner.gid = 31;
	assert_int_equal(f_setattr(f, file, &owner), -EPERM);
}

static void sticky_and_setgid(void **state)
{
	struct fixture *f = *state;
	uint64_t tmp, group, mine;
	struct attr_change owner = { .set = SET_GID, .gid = 77 };

	assert_int_equal(f_mkdir(f, ROOT, "tmp", 01777), 0);
	tmp = f->op.ino;
	f->cred = (struct cred){ 10, 20, 0, { 0 } };
	mine = made(f, tmp, "mine", NULL);
	f->cred.uid = 11;
	assert_int_equal(f_remove(f, tmp, "mine"), -EPERM);
	assert_int_equal(f_rename(f, tmp, "mine", tmp, "yours"), -EPERM);
	f->cred.uid = 10;
	assert_int_equal(f_rename(f, tmp, "mine", tmp, "still mine"), 0);
	assert_int_equal(found(f, tmp, "still mine"), mine);

	f->cred.uid = 0;
	assert_int_equal(f_mkdir(f, ROOT, "group", 02777), 0);
	group = f->op.ino;
	assert_int_equal(f_setattr(f, group, &owner), 0);
	assert_int_equal(f->op.attr.mode, 02777);
	f->cred.uid = 10;
	assert_int_equal(f_create(f, group, "file", 0644), 0);
	assert_int_equal(f->op.attr.gid, 77);
	assert_int_equal(f_mkdir(f, group, "dir", 0755), 0);
	assert_int_equal(f->op.attr.gid, 77);
	assert_int_equal(f->op.attr.mode, 02755);
}

/* ---- times ---- */

static void times(void **state)
{
	struct fixture *f = *state;
	struct attr_change change = { .set = SET_MTIME | SET_ATIME,
				      .mtime = { 1000, 999999999 },
				      .atime = { -5, 1 } };
	struct timespec ctime, guard;
	uint64_t ino = made(f, ROOT, "a", "x");

	assert_int_equal(f_getattr(f, ino), 0);
	ctime = f->op.attr.ctime;
	assert_int_equal(f_setattr(f, ino, &change), 0);
	assert_int_equal(f->op.attr.mtime.tv_nsec, 999999999);
	assert_int_equal(f->op.attr.atime.tv_sec, -5);
	assert_int_equal(f->op.attr.atime.tv_nsec, 1);
	assert_true(clock_cmp(f->op.attr.ctime, ctime) > 0);
	guard = f->op.attr.ctime;
	assert_int_equal(f_wait(f, cache_setattr(f->cache, f_begin(f), ino, &change, &guard)), 0);
	assert_int_equal(f_wait(f, cache_setattr(f->cache, f_begin(f), ino, &change, &guard)),
			 -ECANCELED);
	f_reopen(f);
	assert_int_equal(f_getattr(f, ino), 0);
	assert_int_equal(f->op.attr.mtime.tv_sec, 1000);
	assert_int_equal(f->op.attr.atime.tv_sec, -5);
}

/* The directory's mtime is the record's time, so that upstream gets the very same. */
static void directory_time_is_the_records(void **state)
{
	struct fixture *f = *state;

	f_keep_records(f);
	made(f, ROOT, "a", NULL);
	assert_int_equal(
		query(f,
		      "SELECT (SELECT mtime FROM inode WHERE ino = 2) = (SELECT max(time) FROM"
		      " cml)"),
		1);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_int_equal(
		query(f,
		      "SELECT (SELECT mtime FROM inode WHERE ino = 2) = (SELECT max(time) FROM"
		      " cml)"),
		1);
}

/* The clock was set back while the cache was closed: a client must see each change all the same. */
static void times_never_go_back(void **state)
{
	struct fixture *f = *state;
	struct timespec ctime, mtime;
	uint64_t ino = made(f, ROOT, "a", "content");

	f_close(f);
	assert_int_equal(query(f, "UPDATE inode SET ctime = ctime + 3600000000000, mtime = mtime + 3600000000000"
				  " RETURNING 1"), 1);
	f_open(f);
	assert_int_equal(f_getattr(f, ROOT), 0);
	ctime = f->op.attr.ctime;
	mtime = f->op.attr.mtime;
	assert_int_equal(f_create(f, ROOT, "b", 0644), 0);
	assert_true(clock_cmp(f->op.wcc[0].after.ctime, ctime) > 0);
	assert_true(clock_cmp(f->op.wcc[0].after.mtime, mtime) >= 0);
	assert_int_equal(f_getattr(f, ino), 0);
	ctime = f->op.attr.ctime;
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	assert_true(clock_cmp(f->op.attr.ctime, ctime) > 0);
	ctime = f->op.attr.ctime;
	assert_int_equal(f_write(f, ino, 0, "C"), 0);
	assert_true(clock_cmp(f->op.attr.ctime, ctime) > 0);
}

/* ---- the duplicate request cache ---- */

static void token_gives_first_result(void **state)
{
	struct fixture *f = *state;
	uint64_t ino;

	f->has_token = true;
	memset(f->token, 7, sizeof(f->token));
	assert_int_equal(f_create(f, ROOT, "once", 0644), 0);
	ino = f->op.ino;
	assert_int_equal(f_create(f, ROOT, "once", 0644), 0);
	assert_int_equal(f->op.ino, ino);
	assert_true(f->op.has_attr);
	assert_false(f->op.wcc[0].before.is_known);
	assert_true(f->op.wcc[0].has_after);
	f_reopen(f);
	assert_int_equal(f_create(f, ROOT, "once", 0644), 0);
	assert_int_equal(f->op.ino, ino);
	f->token[3] = 8;
	assert_int_equal(f_create(f, ROOT, "once", 0644), -EEXIST);
	assert_int_equal(records(f), 1);
}

/* What the call was about may be gone meanwhile: it was carried out all the same. */
static void token_outlives_its_objects(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "d"), ino;

	(void)made(f, dir, "moved", NULL);
	f->has_token = true;
	f->token[0] = 1;
	assert_int_equal(f_create(f, dir, "once", 0644), 0);
	ino = f->op.ino;
	f->token[0] = 2;
	assert_int_equal(f_rename(f, dir, "moved", ROOT, "moved"), 0);
	f->token[0] = 3;
	assert_int_equal(f_link(f, ino, dir, "linked"), 0);
	f->token[0] = 4;
	assert_int_equal(f_remove(f, dir, "linked"), 0);
	f->has_token = false;
	assert_int_equal(f_remove(f, dir, "once"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	f->has_token = true;
	for (int restart = 0; restart < 2; restart++) {
		f->token[0] = 1;
		assert_int_equal(f_create(f, dir, "once", 0644), 0);
		assert_int_equal(f->op.ino, ino);
		assert_false(f->op.has_attr);
		assert_false(f->op.wcc[0].has_after);
		f->token[0] = 2;
		assert_int_equal(f_rename(f, dir, "moved", ROOT, "moved"), 0);
		assert_true(f->op.wcc[1].has_after);
		f->token[0] = 3;
		assert_int_equal(f_link(f, ino, dir, "linked"), 0);
		f->token[0] = 4;
		assert_int_equal(f_remove(f, dir, "linked"), 0);
		f->token[0] = 5;
		assert_int_equal(f_create(f, dir, "once", 0644), -ESTALE);
		assert_int_equal(f_remove(f, dir, "linked"), -ESTALE);
		assert_int_equal(f_rename(f, dir, "moved", ROOT, "moved"), -ESTALE);
		f_reopen(f);
	}
}

/* ---- listing ---- */

struct seen {
	unsigned n, limit;
	uint64_t cookie;	/* of the last one taken */
	uint64_t sum;		/* of inode numbers */
	bool has_dots;
	char last[256];
	uint64_t cookies[2048];
};

static bool see(void *arg, const struct cache_dirent *entry)
{
	struct seen *seen = arg;

	if (seen->limit && seen->n == seen->limit)
		return false;
	if (entry->cookie <= 2) {
		seen->has_dots = true;
	} else {
		assert_true(entry->cookie > seen->cookie);
		assert_in_range(seen->n, 0, 2047);
		seen->cookies[seen->n] = entry->cookie;
	}
	seen->cookie = entry->cookie;
	seen->sum += entry->ino;
	if (entry->attr)
		assert_int_equal(entry->attr->ino, entry->ino);
	memcpy(seen->last, entry->name.data, entry->name.len);
	seen->last[entry->name.len] = '\0';
	seen->n++;
	return true;
}

static void list_whole(struct fixture *f, uint64_t dir, unsigned at_once, struct seen *ret)
{
	memset(ret, 0, sizeof(*ret));
	do {
		ret->limit = ret->n + at_once;
		assert_int_equal(f_wait(f, cache_readdir(f->cache, f_begin(f), dir, ret->cookie,
							 true, see, ret)),
				 0);
	} while (!f->op.is_eof);
}

static void listing(void **state)
{
	static struct seen all, some;
	struct fixture *f = *state;
	char name[16];

	list_whole(f, ROOT, 10, &all);
	assert_int_equal(all.n, 2);
	assert_true(all.has_dots);
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		made(f, ROOT, name, NULL);
	}
	list_whole(f, ROOT, 1000, &all);
	assert_int_equal(all.n, 202);
	for (unsigned at_once = 1; at_once < 80; at_once += 13) {
		list_whole(f, ROOT, at_once, &some);
		assert_int_equal(some.n, 202);
		assert_int_equal(some.sum, all.sum);
	}
	f->cred.uid = 5;
	assert_int_equal(f_chmod(f, ROOT, 0711), -EPERM);
	f->cred.uid = 0;
	assert_int_equal(f_chmod(f, ROOT, 0711), 0);
	f->cred.uid = 5;
	assert_int_equal(f_wait(f, cache_readdir(f->cache, f_begin(f), ROOT, 0, true, see, &some)),
			 -EACCES);
}

/* rm -r and a listing at once: each entry that stays is seen once, new ones have new cookies. */
static void listing_while_changing(void **state)
{
	static struct seen seen;
	struct fixture *f = *state;
	uint64_t highest;
	char name[16];

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		made(f, ROOT, name, NULL);
	}
	memset(&seen, 0, sizeof(seen));
	for (int i = 0; i < 100; i += 10) {
		seen.limit = seen.n + 10;
		assert_int_equal(f_wait(f, cache_readdir(f->cache, f_begin(f), ROOT, seen.cookie,
							 false, see, &seen)),
				 0);
		/* What was seen goes; what comes must not be taken for it. */
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(f_remove(f, ROOT, name), 0);
	}
	seen.limit = 0;
	assert_int_equal(f_wait(f, cache_readdir(f->cache, f_begin(f), ROOT, seen.cookie, false,
						 see, &seen)),
			 0);
	assert_int_equal(seen.n, 102);
	highest = seen.cookie;
	assert_int_equal(f_remove(f, ROOT, "n99"), 0);
	f_reopen(f);
	made(f, ROOT, "n99", NULL);
	list_whole(f, ROOT, 1000, &seen);
	assert_true(seen.cookie > highest);
	assert_string_equal(seen.last, "n99");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, f_setup, f_teardown)
	const struct CMUnitTest tests[] = {
		T(names_checked),
		T(lookup_finds),
		T(create_modes),
		T(kinds),
		T(removing),
		T(hard_links),
		T(too_many_links),
		T(rename_matrix),
		T(rename_no_circle),
		T(local_names),
		T(local_directory_is_logged),
		T(local_names_of_linked),
		cmocka_unit_test(access_table),
		T(permissions),
		T(sticky_and_setgid),
		T(times),
		T(directory_time_is_the_records),
		T(times_never_go_back),
		T(token_gives_first_result),
		T(token_outlives_its_objects),
		T(listing),
		T(listing_while_changing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
