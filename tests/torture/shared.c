/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "tests/torture/ledger.h"
#include "tests/torture/private.h"
#include "tests/torture/trace.h"
#include "tests/torture/world.h"

#define FILES 3			/* f0 to f2 in each directory: few, so that all meet there */
#define WINDOW_SHORT_US 5000	/* less than it takes a change to get from one client to another, and one of that to the upstream */
#define BLOCKS_LARGE 50000	/* 1.6 MB: does not go inline in a batch (replicate/batch.h) */

/* Where things are; the first is the directory of all. */
static const char *const dirs[] = { "s", "s/d0", "s/d1", "s/d0/e0" };

static char aside[PATH_MAX];	/* beside the export: what local programs have taken out of it */

/* What one step works on. */
struct work {
	int c;
	struct client *nfs;
	struct chance *chance;
	char dir[64], name[16], path[PATH_MAX];
	struct fh dir_fh;
};

/* ---- calls ---- */

static bool is_one_of(int status, const int *allowed, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (status == allowed[i])
			return true;
	return false;
}

/*
 * What others do, and a link that is not there, may make of a call: these.  An error that is explained by neither ends the program.
 */
static int judged(const struct work *w, int status, const char *what)
{
	static const int fair[] = { NFS3_OK, NFS3ERR_NOENT, NFS3ERR_EXIST, NFS3ERR_NOTEMPTY, NFS3ERR_NOTDIR, NFS3ERR_ISDIR,
				    NFS3ERR_STALE, NFS3ERR_INVAL, NFS3ERR_NOT_SYNC, CALL_LOST };

	if (status == CALL_LOST) {
		trace("%d: %s %s: no answer", w->c, what, w->path);
		world_settle();
		if (!world_was_killed(w->c))
			trace_fail("a connection ended, and nobody had killed that daemon");
		private_recovered(w->c);
	} else if (status == NFS3ERR_IO) {
		if (world_is_connected(w->c))
			trace("%d: %s %s: an error, though there is a link", w->c, what, w->path);
	} else if (!is_one_of(status, fair, ARRAY_SIZE(fair))) {
		trace_fail("%s %s by %d: %s", what, w->path, w->c, nfsstat3_to_str(status));
	}
	return status;
}

/* The directory that the path names; relative to the root. */
static int walk(const struct work *w, const char *path, struct fh *ret_fh)
{
	char names[64], *save = NULL;

	(void)snprintf(names, sizeof(names), "%s", path);
	*ret_fh = w->nfs->root;
	for (char *name = strtok_r(names, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		int status = judged(w, nfs3_lookup(w->nfs, ret_fh, name), "LOOKUP");

		if (status)
			return status;
		*ret_fh = w->nfs->got.fh;
	}
	return 0;
}

/* ---- what is there ---- */

struct seen {
	bool is_there;
	unsigned content;	/* LEDGER_NONE: it is no file, or empty */
	struct nfstime3 ctime;
	struct fh fh;
	bool is_file;
};

/* A file, in a directory, as this client sees it; NFS3ERR_NOENT is no error.  An error: it cannot be seen what it is. */
static int see(const struct work *w, const struct fh *dir, const char *name, struct seen *ret_seen)
{
	struct seen seen = { 0 };
	int status = judged(w, nfs3_lookup(w->nfs, dir, name), "LOOKUP");

	*ret_seen = seen;
	if (status == NFS3ERR_NOENT)
		return 0;
	if (status)
		return status;
	seen.is_there = true;
	seen.fh = w->nfs->got.fh;
	seen.is_file = w->nfs->got.attr.type == NF3REG;
	if (seen.is_file) {
		status = judged(w, nfs3_read(w->nfs, &seen.fh, 0, LEDGER_BLOCK), "READ");
		if (status)
			return status;
		seen.content = ledger_read(w->nfs->got.data, w->nfs->got.count, w->path);
		seen.ctime = w->nfs->got.attr.ctime;
	}
	*ret_seen = seen;
	return 0;
}

/* What the path holds on the upstream's disk. */
struct upstream_file {
	ino_t ino;		/* 0: there is nothing */
	unsigned content;	/* LEDGER_NONE: it is no file, or empty */
};

static struct upstream_file look_upstream(const char *path)
{
	char whole[PATH_MAX], block[LEDGER_BLOCK];
	struct upstream_file file = { 0 };
	AUTO_CLOSE int fd = -1;
	struct stat st;
	ssize_t n;

	(void)snprintf(whole, sizeof(whole), "%s/%s", world_export(), path);
	if (lstat(whole, &st))
		return file;
	file.ino = st.st_ino;
	if (!S_ISREG(st.st_mode))
		return file;
	fd = open(whole, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = fd < 0 ? -1 : read(fd, block, sizeof(block));
	file.content = n > 0 ? ledger_read(block, (size_t)n, path) : LEDGER_NONE;
	return file;
}

static unsigned content_upstream(const char *path)
{
	return look_upstream(path).content;
}

/*
 * What could have arrived between our looking and our doing; never what we wrote ourselves.  Was that long enough for something to come, for
 * our doing to be replayed, and for both to be over, then what was there in between is not to be seen: see ledger_superseded_at().
 */
struct window {
	bool is_open;
	uint64_t opened_us;
	struct upstream_file before;
};

static struct window window_open(const struct work *w, const char *path)
{
	struct window window = { .is_open = world_may_hear(w->c), .opened_us = clock_us() };

	if (window.is_open)
		window.before = look_upstream(path);
	return window;
}

static void window_close(const struct work *w, const struct window *window, const char *path)
{
	struct upstream_file after;

	if (!window->is_open)
		return;
	after = look_upstream(path);
	if (window->before.content && ledger_writer(window->before.content) != w->c)
		ledger_superseded(window->before.content, w->c, "came just then");
	if (after.content && ledger_writer(after.content) != w->c)
		ledger_superseded(after.content, w->c, "came just then");
	if (after.ino != window->before.ino && clock_us() - window->opened_us >= WINDOW_SHORT_US)
		ledger_superseded_at(path, w->c, "may have come just then");
}

/* ---- writing ---- */

static unsigned new_content(const struct work *w)
{
	unsigned blocks = chance_one_in(w->chance, 30) ? BLOCKS_LARGE + chance_below(w->chance, 10000) :
							 1 + chance_below(w->chance, 200);

	return ledger_new(w->c, blocks);
}

/* False: not all of it is known to be there. */
static bool write_content(const struct work *w, const struct fh *fh, unsigned content)
{
	AUTO_FREE char *bytes = ledger_bytes(content);
	size_t size = ledger_size(content);

	for (size_t done = 0; done < size; done += w->nfs->got.count)
		if (judged(w, nfs3_write(w->nfs, fh, done, bytes + done, (uint32_t)MIN(size - done, (size_t)IO_MAX), UNSTABLE), "WRITE"))
			return false;
	if (judged(w, nfs3_commit(w->nfs, fh), "COMMIT"))
		return false;
	ledger_acknowledged(content);
	return true;
}

/* Makes it; the name must be free.  LEDGER_NONE: not all of it is known to be there. */
static unsigned make(const struct work *w, const char *name, const char *path)
{
	unsigned content;
	struct fh fh;

	if (judged(w, nfs3_create(w->nfs, &w->dir_fh, name, GUARDED, sattr_mode(0644)), "CREATE"))
		return LEDGER_NONE;
	fh = w->nfs->got.fh;
	content = new_content(w);
	ledger_placed(content, path);
	trace("%d: create %s/%s, #%06u, %zu bytes", w->c, w->dir, name, content, ledger_size(content));
	return write_content(w, &fh, content) ? content : LEDGER_NONE;
}

static void do_store(const struct work *w)
{
	struct seen seen;
	unsigned content;
	int status;

	if (see(w, &w->dir_fh, w->name, &seen))
		return;
	if (!seen.is_there) {
		(void)make(w, w->name, w->path);
		return;
	}
	if (!seen.is_file)
		return;
	status = judged(w, nfs3_setattr(w->nfs, &seen.fh, sattr_size(0), &seen.ctime), "SETATTR");
	if (status && status != CALL_LOST)
		return;
	ledger_superseded(seen.content, w->c, "written over");
	if (status)
		return;
	content = new_content(w);
	ledger_placed(content, w->path);
	trace("%d: write %s, #%06u, %zu bytes, over #%06u", w->c, w->path, content, ledger_size(content), seen.content);
	(void)write_content(w, &seen.fh, content);
}

/* ---- names ---- */

/* Renames that content onto a place whose content is looked at first. */
static int rename_over(const struct work *w, unsigned content, const struct fh *from_dir, const char *from, const struct fh *to_dir,
		       const char *to, const char *to_path)
{
	struct window window = window_open(w, to_path);
	struct seen seen;
	int status = see(w, to_dir, to, &seen);

	if (status)
		return status;
	status = judged(w, nfs3_rename(w->nfs, from_dir, from, to_dir, to), "RENAME");
	if (status && status != CALL_LOST)
		return status;
	trace("%d: rename %s to %s, over #%06u", w->c, from, to_path, seen.content);
	ledger_superseded(seen.content, w->c, "renamed over");
	ledger_placed(content, to_path);
	window_close(w, &window, to_path);
	return status;
}

static void do_save(const struct work *w)
{
	unsigned content;
	char temp[32];

	(void)snprintf(temp, sizeof(temp), ".%s.%d.%u", w->name, w->c, trace_now());
	content = make(w, temp, w->path);
	if (content != LEDGER_NONE)
		(void)rename_over(w, content, &w->dir_fh, temp, &w->dir_fh, w->name, w->path);
}

static void some_place(const struct work *w, char dir[64], char name[16], char path[PATH_MAX])
{
	(void)snprintf(dir, 64, "%s", dirs[chance_below(w->chance, ARRAY_SIZE(dirs))]);
	(void)snprintf(name, 16, "f%u", chance_below(w->chance, FILES));
	(void)snprintf(path, PATH_MAX, "%s/%s", dir, name);
}

static void do_rename(const struct work *w)
{
	char dir[64], name[16], path[PATH_MAX];
	struct seen from, to;
	struct fh to_dir;

	some_place(w, dir, name, path);
	if (walk(w, dir, &to_dir) || see(w, &w->dir_fh, w->name, &from) || !from.is_there || see(w, &to_dir, name, &to))
		return;
	/* Two names of one file: it is not replaced. */
	if (to.is_there && same_fh(&from.fh, &to.fh))
		return;
	(void)rename_over(w, from.content, &w->dir_fh, w->name, &to_dir, name, path);
}

static void do_remove(const struct work *w)
{
	struct window window = window_open(w, w->path);
	struct seen seen;
	int status;

	if (see(w, &w->dir_fh, w->name, &seen) || !seen.is_there)
		return;
	status = judged(w, nfs3_remove(w->nfs, &w->dir_fh, w->name), "REMOVE");
	if (status && status != CALL_LOST)
		return;
	trace("%d: remove %s, #%06u", w->c, w->path, seen.content);
	ledger_superseded(seen.content, w->c, "removed");
	window_close(w, &window, w->path);
}

static void do_link(const struct work *w)
{
	char dir[64], name[16], path[PATH_MAX];
	struct seen seen;
	struct fh to_dir;

	some_place(w, dir, name, path);
	if (walk(w, dir, &to_dir) || see(w, &w->dir_fh, w->name, &seen) || !seen.is_file)
		return;
	if (judged(w, nfs3_link(w->nfs, &seen.fh, &to_dir, name), "LINK"))
		return;
	ledger_placed(seen.content, path);
	trace("%d: link %s to %s, #%06u", w->c, w->path, path, seen.content);
}

static void do_symlink(const struct work *w)
{
	if (!judged(w, nfs3_symlink(w->nfs, &w->dir_fh, w->name, w->path), "SYMLINK"))
		trace("%d: symlink %s", w->c, w->path);
}

static void do_chmod(const struct work *w)
{
	unsigned mode = 0600 + chance_below(w->chance, 64);
	struct seen seen;

	if (see(w, &w->dir_fh, w->name, &seen) || !seen.is_file)
		return;
	if (!judged(w, nfs3_setattr(w->nfs, &seen.fh, sattr_mode(mode), NULL), "SETATTR"))
		trace("%d: chmod %o %s", w->c, mode, w->path);
}

/* ---- directories ---- */

/* The directory above, and its last name. */
static const char *above(const char *dir, char ret_above[64])
{
	const char *slash = strrchr(dir, '/');

	(void)snprintf(ret_above, 64, "%.*s", (int)(slash ? slash - dir : 0), dir);
	return slash ? slash + 1 : dir;
}

static const char *some_dir(struct chance *chance)
{
	return dirs[1 + chance_below(chance, ARRAY_SIZE(dirs) - 1)];
}

static void do_mkdir(const struct work *w)
{
	const char *dir = some_dir(w->chance), *name;
	char parent[64];
	struct fh fh;

	name = above(dir, parent);
	if (!walk(w, parent, &fh) && !judged(w, nfs3_mkdir(w->nfs, &fh, name, 0755), "MKDIR"))
		trace("%d: mkdir %s", w->c, dir);
}

static void do_rmdir(const struct work *w)
{
	const char *dir = some_dir(w->chance), *name;
	char parent[64];
	struct fh fh;

	name = above(dir, parent);
	if (!walk(w, parent, &fh) && !judged(w, nfs3_rmdir(w->nfs, &fh, name), "RMDIR"))
		trace("%d: rmdir %s", w->c, dir);
}

static void do_rename_dir(const struct work *w)
{
	const char *from = some_dir(w->chance), *to = some_dir(w->chance), *from_name, *to_name;
	char from_above[64], to_above[64];
	struct fh from_fh, to_fh;

	from_name = above(from, from_above);
	to_name = above(to, to_above);
	/* Not into itself: that is INVAL, and nothing happens. */
	if (!walk(w, from_above, &from_fh) && !walk(w, to_above, &to_fh) &&
	    !judged(w, nfs3_rename(w->nfs, &from_fh, from_name, &to_fh, to_name), "RENAME"))
		trace("%d: rename directory %s to %s", w->c, from, to);
}

/* ---- looking ---- */

static void do_read(const struct work *w)
{
	unsigned content = LEDGER_NONE;
	struct seen seen;

	if (see(w, &w->dir_fh, w->name, &seen) || !seen.is_file)
		return;
	for (size_t done = 0;;) {
		if (judged(w, nfs3_read(w->nfs, &seen.fh, done, IO_MAX), "READ"))
			return;
		/* Each call sees one version, the next one perhaps another. */
		if (!w->nfs->got.count)
			return;
		content = ledger_read(w->nfs->got.data, w->nfs->got.count, w->path);
		if (!ledger_is_piece(content, w->nfs->got.data, w->nfs->got.count))
			trace_fail("%s, read by %d at %zu, is a mixture, or longer than what was written, #%06u", w->path, w->c, done,
				   content);
		done += w->nfs->got.count;
		if (w->nfs->got.is_eof)
			return;
	}
}

/* ---- a step ---- */

typedef void action(const struct work *w);

static action *const actions[] = { do_store, do_store, do_store, do_store, do_store, do_save, do_save, do_rename, do_rename, do_remove,
				   do_remove, do_link, do_symlink, do_chmod, do_mkdir, do_mkdir, do_rmdir, do_rename_dir, do_read,
				   do_read, do_read };

void shared_step(int c, struct chance *chance)
{
	struct work w = { .c = c, .nfs = world_nfs(c), .chance = chance };

	some_place(&w, w.dir, w.name, w.path);
	if (walk(&w, w.dir, &w.dir_fh)) {
		do_mkdir(&w);
		return;
	}
	actions[chance_below(chance, ARRAY_SIZE(actions))](&w);
}

/* ---- local programs ---- */

/* Whatever is at the path is taken out of the export at once, so that it can be seen what that was. */
static void take_out(const char *whole, const char *how)
{
	char to[PATH_MAX + 32], block[LEDGER_BLOCK];
	AUTO_CLOSE int fd = -1;
	struct stat st;
	ssize_t n;

	(void)snprintf(to, sizeof(to), "%s/out", aside);
	if (lstat(whole, &st) || !S_ISREG(st.st_mode) || rename(whole, to))
		return;
	fd = open(to, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, block, sizeof(block));
	/* Other names that it has in there must not have one more outside. */
	if (unlink(to))
		trace_fail("%s: %s", to, strerror(errno));
	if (n <= 0)
		return;
	trace("local: %s %s, #%06u", how, whole, ledger_read(block, (size_t)n, whole));
	ledger_superseded(ledger_read(block, (size_t)n, whole), SHARED_LOCAL, how);
}

/* place: the path in the export at which it is, or will be. */
static void write_local(const char *path, const char *place)
{
	unsigned content = ledger_new(SHARED_LOCAL, 1 + (unsigned)strlen(path));
	AUTO_FREE char *bytes = ledger_bytes(content);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return;
	if (write(fd, bytes, ledger_size(content)) != (ssize_t)ledger_size(content) || close(fd))
		trace_fail("%s: %s", path, strerror(errno));
	trace("local: create %s, #%06u", path, content);
	ledger_placed(content, place);
	ledger_acknowledged(content);
}

void shared_local_step(struct chance *chance)
{
	char whole[PATH_MAX], temp[PATH_MAX + 16], path[64];
	const char *dir = dirs[chance_below(chance, ARRAY_SIZE(dirs))];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/f%u", dir, chance_below(chance, FILES));
	(void)snprintf(whole, sizeof(whole), "%s/%s", world_export(), path);
	switch (chance_below(chance, 5)) {
	case 0:
		take_out(whole, "removed");
		break;
	case 1:
		(void)snprintf(whole, sizeof(whole), "%s/%s", world_export(), some_dir(chance));
		if (!mkdir(whole, 0755))
			trace("local: mkdir %s", whole);
		break;
	case 2:		/* a save: the two change places, and what was there before is taken out */
		(void)snprintf(temp, sizeof(temp), "%s/new", aside);
		(void)unlink(temp);
		if (lstat(whole, &st) || !S_ISREG(st.st_mode))
			break;
		write_local(temp, path);
		if (renameat2(AT_FDCWD, temp, AT_FDCWD, whole, RENAME_EXCHANGE)) {
			trace("local: save %s: %s", whole, strerror(errno));
			ledger_superseded(content_upstream("../aside/new"), SHARED_LOCAL, "never went in");
			break;
		}
		trace("local: saved %s", whole);
		take_out(temp, "saved over");
		break;
	default:
		write_local(whole, path);
		break;
	}
}

void shared_begin(const char *export)
{
	char path[PATH_MAX], place[64];

	(void)snprintf(aside, sizeof(aside), "%s/../aside", export);
	if (mkdir(aside, 0700))
		trace_fail("%s: %s", aside, strerror(errno));
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", export, dirs[i]);
		if (mkdir(path, 0755))
			trace_fail("%s: %s", path, strerror(errno));
		(void)snprintf(place, sizeof(place), "%s/f0", dirs[i]);
		(void)snprintf(path, sizeof(path), "%s/%s", export, place);
		write_local(path, place);
	}
}
