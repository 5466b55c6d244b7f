/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include "tests/torture/acts.h"
#include "tests/torture/ledger.h"
#include "tests/torture/private.h"
#include "tests/torture/trace.h"
#include "tests/torture/world.h"

#define FILES 3			/* f0 to f2 in each directory: few, so that all meet there */
#define DAWDLE_US 60000		/* a program takes its time between two calls */
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

static unsigned content_upstream(const char *path)
{
	char whole[PATH_MAX], block[LEDGER_BLOCK];
	AUTO_CLOSE int fd = -1;
	struct stat st;
	ssize_t n;

	(void)snprintf(whole, sizeof(whole), "%s/%s", world_export(), path);
	if (lstat(whole, &st) || !S_ISREG(st.st_mode))
		return LEDGER_NONE;
	fd = open(whole, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = fd < 0 ? -1 : read(fd, block, sizeof(block));
	return n > 0 ? ledger_read(block, (size_t)n, path) : LEDGER_NONE;
}

/* What others do may come just now, between looking, or cutting, and doing. */
static void dawdle(const struct work *w)
{
	if (chance_one_in(w->chance, 4))
		(void)usleep(chance_below(w->chance, DAWDLE_US));
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

/* Makes it; the name must be free. */
static bool make(const struct work *w, const char *name)
{
	unsigned content;
	struct fh fh;

	if (judged(w, nfs3_create(w->nfs, &w->dir_fh, name, GUARDED, sattr_mode(0644)), "CREATE"))
		return false;
	fh = w->nfs->got.fh;
	dawdle(w);
	content = new_content(w);
	trace("%d: create %s/%s, #%06u, %zu bytes", w->c, w->dir, name, content, ledger_size(content));
	return write_content(w, &fh, content);
}

static void do_store(const struct work *w)
{
	struct seen seen;
	unsigned content;
	int status;

	if (see(w, &w->dir_fh, w->name, &seen))
		return;
	if (!seen.is_there) {
		(void)make(w, w->name);
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
	dawdle(w);
	content = new_content(w);
	trace("%d: write %s, #%06u, %zu bytes, over #%06u", w->c, w->path, content, ledger_size(content), seen.content);
	(void)write_content(w, &seen.fh, content);
}

/* ---- names ---- */

/* Renames onto a place whose content is looked at first. */
static int rename_over(const struct work *w, const struct fh *from_dir, const char *from, const struct fh *to_dir, const char *to,
		       const char *to_path)
{
	int64_t began_ns = act_begin();
	struct seen seen;
	int status = see(w, to_dir, to, &seen);

	if (status)
		return status;
	dawdle(w);
	status = judged(w, nfs3_rename(w->nfs, from_dir, from, to_dir, to), "RENAME");
	if (status && status != CALL_LOST)
		return status;
	trace("%d: rename %s to %s, over #%06u", w->c, from, to_path, seen.content);
	ledger_superseded(seen.content, w->c, "renamed over");
	act_end(w->c, began_ns, seen.content);
	return status;
}

static void do_save(const struct work *w)
{
	char temp[32];

	(void)snprintf(temp, sizeof(temp), ".%s.%d.%u", w->name, w->c, trace_now());
	if (make(w, temp))
		(void)rename_over(w, &w->dir_fh, temp, &w->dir_fh, w->name, w->path);
}

static void some_place(struct chance *chance, char dir[64], char name[16], char path[PATH_MAX])
{
	(void)snprintf(dir, 64, "%s", dirs[chance_below(chance, ARRAY_SIZE(dirs))]);
	(void)snprintf(name, 16, "f%u", chance_below(chance, FILES));
	(void)snprintf(path, PATH_MAX, "%s/%s", dir, name);
}

static void do_rename(const struct work *w)
{
	char dir[64], name[16], path[PATH_MAX];
	struct seen from, to;
	struct fh to_dir;

	some_place(w->chance, dir, name, path);
	if (walk(w, dir, &to_dir) || see(w, &w->dir_fh, w->name, &from) || !from.is_there || see(w, &to_dir, name, &to))
		return;
	/* Two names of one file: it is not replaced. */
	if (to.is_there && same_fh(&from.fh, &to.fh))
		return;
	(void)rename_over(w, &w->dir_fh, w->name, &to_dir, name, path);
}

static void do_remove(const struct work *w)
{
	int64_t began_ns = act_begin();
	struct seen seen;
	int status;

	if (see(w, &w->dir_fh, w->name, &seen) || !seen.is_there)
		return;
	dawdle(w);
	status = judged(w, nfs3_remove(w->nfs, &w->dir_fh, w->name), "REMOVE");
	if (status && status != CALL_LOST)
		return;
	trace("%d: remove %s, #%06u", w->c, w->path, seen.content);
	ledger_superseded(seen.content, w->c, "removed");
	act_end(w->c, began_ns, seen.content);
}

static void do_link(const struct work *w)
{
	char dir[64], name[16], path[PATH_MAX];
	struct seen seen;
	struct fh to_dir;

	some_place(w->chance, dir, name, path);
	if (walk(w, dir, &to_dir) || see(w, &w->dir_fh, w->name, &seen) || !seen.is_file)
		return;
	if (!judged(w, nfs3_link(w->nfs, &seen.fh, &to_dir, name), "LINK"))
		trace("%d: link %s to %s, #%06u", w->c, w->path, path, seen.content);
}

static void do_symlink(const struct work *w)
{
	if (!judged(w, nfs3_symlink(w->nfs, &w->dir_fh, w->name, w->path), "SYMLINK"))
		trace("%d: symlink %s", w->c, w->path);
}

static void set_mode(const struct work *w, const struct fh *fh, unsigned mode, const char *path)
{
	if (!judged(w, nfs3_setattr(w->nfs, fh, sattr_mode(mode), NULL), "SETATTR"))
		trace("%d: chmod %o %s", w->c, mode, path);
}

static void do_chmod(const struct work *w)
{
	unsigned mode = 0600 + chance_below(w->chance, 64);
	struct seen seen;

	if (!see(w, &w->dir_fh, w->name, &seen) && seen.is_file)
		set_mode(w, &seen.fh, mode, w->path);
}

static void set_time(const struct work *w, const struct fh *fh, const char *path)
{
	struct timespec time = chance_time(w->chance);

	if (!judged(w, nfs3_setattr(w->nfs, fh, sattr_mtime(time), NULL), "SETATTR"))
		trace("%d: mtime %ld.%09ld %s", w->c, (long)time.tv_sec, time.tv_nsec, path);
}

static void do_time(const struct work *w)
{
	struct seen seen;

	if (!see(w, &w->dir_fh, w->name, &seen) && seen.is_file)
		set_time(w, &seen.fh, w->path);
}

/* ---- directories ---- */

static void do_time_dir(const struct work *w)
{
	set_time(w, &w->dir_fh, w->dir);
}

static void do_chmod_dir(const struct work *w)
{
	set_mode(w, &w->dir_fh, 0700 + chance_below(w->chance, 64), w->dir);
}

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
				   do_remove, do_link, do_symlink, do_chmod, do_time, do_time_dir, do_chmod_dir, do_mkdir, do_mkdir,
				   do_rmdir, do_rename_dir, do_read, do_read, do_read };

void shared_step(int c, struct chance *chance)
{
	struct work w = { .c = c, .nfs = world_nfs(c), .chance = chance };

	some_place(chance, w.dir, w.name, w.path);
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

static void write_local(const char *path)
{
	unsigned content = ledger_new(SHARED_LOCAL, 1 + (unsigned)strlen(path));
	AUTO_FREE char *bytes = ledger_bytes(content);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return;
	if (write(fd, bytes, ledger_size(content)) != (ssize_t)ledger_size(content) || close(fd))
		trace_fail("%s: %s", path, strerror(errno));
	trace("local: create %s, #%06u", path, content);
	ledger_acknowledged(content);
}

static void some_file(struct chance *chance, char whole[PATH_MAX])
{
	char dir[64], name[16], path[PATH_MAX];

	some_place(chance, dir, name, path);
	(void)snprintf(whole, PATH_MAX, "%s/%s/%s", world_export(), dir, name);
}

/* The path becomes its directory's. */
static void cut_name(char *path)
{
	*strrchr(path, '/') = '\0';
}

static void set_local_time(struct chance *chance, const char *path)
{
	const struct timespec to[2] = { { .tv_nsec = UTIME_OMIT }, chance_time(chance) };

	if (!utimensat(AT_FDCWD, path, to, AT_SYMLINK_NOFOLLOW))
		trace("local: mtime %ld.%09ld %s", (long)to[1].tv_sec, to[1].tv_nsec, path);
}

/* Attributes, and names that take nothing away. */
static void change_local(struct chance *chance)
{
	char path[PATH_MAX], other[PATH_MAX];
	unsigned mode;
	struct stat st;

	some_file(chance, path);
	if (chance_one_in(chance, 2))
		cut_name(path);
	some_file(chance, other);
	mode = 0700 + chance_below(chance, 64);
	switch (chance_below(chance, 6)) {
	case 0:
	case 1:
		set_local_time(chance, path);
		break;
	case 2:
		if (!lstat(path, &st) && !S_ISLNK(st.st_mode) && !chmod(path, mode))
			trace("local: chmod %o %s", mode, path);
		break;
	case 3:
		if (!link(path, other))
			trace("local: link %s to %s", path, other);
		break;
	case 4:
		if (!lstat(path, &st) && S_ISDIR(st.st_mode))
			cut_name(other);
		if (!renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_NOREPLACE))
			trace("local: rename %s to %s", path, other);
		break;
	default:
		if (!rmdir(path))
			trace("local: rmdir %s", path);
		break;
	}
	/* A copy that keeps times ends with its directory's. */
	if (chance_one_in(chance, 3)) {
		cut_name(other);
		set_local_time(chance, other);
	}
}

void shared_local_step(struct chance *chance)
{
	char whole[PATH_MAX], temp[PATH_MAX + 16];
	struct stat st;

	some_file(chance, whole);
	switch (chance_below(chance, 8)) {
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
		write_local(temp);
		if (renameat2(AT_FDCWD, temp, AT_FDCWD, whole, RENAME_EXCHANGE)) {
			trace("local: save %s: %s", whole, strerror(errno));
			ledger_superseded(content_upstream("../aside/new"), SHARED_LOCAL, "never went in");
			break;
		}
		trace("local: saved %s", whole);
		take_out(temp, "saved over");
		break;
	case 3:
	case 4:
	case 5:
		change_local(chance);
		break;
	default:
		write_local(whole);
		break;
	}
}

void shared_begin(const char *export)
{
	char path[PATH_MAX];

	(void)snprintf(aside, sizeof(aside), "%s/../aside", export);
	if (mkdir(aside, 0700))
		trace_fail("%s: %s", aside, strerror(errno));
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", export, dirs[i]);
		if (mkdir(path, 0755))
			trace_fail("%s: %s", path, strerror(errno));
		(void)snprintf(path, sizeof(path), "%s/%s/f0", export, dirs[i]);
		write_local(path);
	}
}
