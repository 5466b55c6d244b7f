/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <xxhash.h>
#include "base/clock.h"
#include "tests/torture/trace.h"

#define TOLD_MAX 10

void tree_release(struct tree *tree)
{
	for (size_t i = 0; i < tree->n; i++)
		free(tree->v[i].path);
	free(tree->v);
	*tree = (struct tree){ 0 };
}

struct tree_entry *tree_add(struct tree *tree, const char *path)
{
	struct tree_entry *entry;

	if (tree->n == tree->cap) {
		tree->cap = tree->cap ? 2 * tree->cap : 128;
		tree->v = realloc(tree->v, tree->cap * sizeof(*tree->v));
		if (!tree->v)
			trace_fail("no memory");
	}
	entry = &tree->v[tree->n++];
	*entry = (struct tree_entry){ .path = strdup(path), .mtime_ns = TREE_ANY_TIME };
	if (!entry->path)
		trace_fail("no memory");
	return entry;
}

void tree_set_content(struct tree_entry *entry, const void *bytes, size_t size)
{
	entry->size = size;
	entry->hash = XXH64(bytes, size, 0);
	memcpy(entry->head, bytes, MIN(size, (size_t)TREE_HEAD));
}

static int entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct tree_entry *)a)->path, ((const struct tree_entry *)b)->path);
}

void tree_sort(struct tree *tree)
{
	if (tree->n)
		qsort(tree->v, tree->n, sizeof(*tree->v), entry_cmp);
}

/* ---- the upstream's disk ---- */

static void read_local(const char *path, struct tree_entry *entry, size_t size)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *bytes = malloc(size + 1);
	ssize_t n = fd < 0 || !bytes ? -1 : read(fd, bytes, size + 1);

	if (n >= 0)
		tree_set_content(entry, bytes, (size_t)n);
}

/* Things may go while we look: then the trees differ, and are looked at again. */
static void scan_local(const char *dir, const char *shown, struct tree *tree)
{
	DIR *d = opendir(dir);
	struct dirent *one;

	while (d && (one = readdir(d))) {
		char path[PATH_MAX], show[PATH_MAX], target[PATH_MAX];
		struct tree_entry *entry;
		struct stat st;

		if (!strcmp(one->d_name, ".") || !strcmp(one->d_name, "..") || !strcmp(one->d_name, ".intermezzo"))
			continue;
		if (snprintf(path, PATH_MAX, "%s/%s", dir, one->d_name) >= PATH_MAX ||
		    snprintf(show, PATH_MAX, "%s%s%s", shown, *shown ? "/" : "", one->d_name) >= PATH_MAX)
			trace_fail("%s/%s: the path is too long", dir, one->d_name);
		if (lstat(path, &st))
			continue;
		entry = tree_add(tree, show);
		entry->type = S_ISDIR(st.st_mode) ? 'd' : S_ISLNK(st.st_mode) ? 'l' : 'f';
		entry->mode = st.st_mode & 07777;
		entry->nlink = entry->type == 'd' ? 0 : (unsigned)st.st_nlink;
		entry->mtime_ns = clock_ns(st.st_mtim);
		entry->fileid = st.st_ino;
		if (entry->type == 'f') {
			read_local(path, entry, (size_t)st.st_size);
		} else if (entry->type == 'l') {
			ssize_t n = readlink(path, target, sizeof(target));

			tree_set_content(entry, target, n > 0 ? (size_t)n : 0);
		} else {
			scan_local(path, show, tree);
		}
	}
	if (d)
		(void)closedir(d);
}

void tree_scan_local(const char *dir, struct tree *tree)
{
	scan_local(dir, "", tree);
	tree_sort(tree);
}

/* ---- a mount ---- */

struct listed {
	char name[NAME_MAX + 1];
};

struct listing {
	struct listed *v;
	size_t n;
};

static void note_name(struct client *nfs, const char *name, uint64_t fileid, uint64_t cookie, const struct fh *fh,
		      const struct fattr3 *attr)
{
	struct listing *listing = nfs->entry_arg;

	(void)fileid, (void)cookie, (void)fh, (void)attr;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return;
	listing->v = realloc(listing->v, (listing->n + 1) * sizeof(*listing->v));
	if (!listing->v)
		trace_fail("no memory");
	(void)snprintf(listing->v[listing->n++].name, sizeof(listing->v->name), "%s", name);
}

static int read_nfs(struct client *nfs, const struct fh *fh, struct tree_entry *entry)
{
	AUTO_FREE unsigned char *bytes = NULL;
	size_t done = 0;
	int status;

	do {
		status = nfs3_read(nfs, fh, done, IO_MAX);
		if (status)
			return status;
		bytes = realloc(bytes, done + nfs->got.count + 1);
		if (!bytes)
			trace_fail("no memory");
		memcpy(bytes + done, nfs->got.data, nfs->got.count);
		done += nfs->got.count;
	} while (!nfs->got.is_eof && nfs->got.count);
	tree_set_content(entry, bytes, done);
	return 0;
}

static int scan_nfs(struct client *nfs, const struct fh *dir, const char *shown, struct tree *tree, char *ret_path);

static int scan_one(struct client *nfs, const struct fh *dir, const char *name, const char *show, struct tree *tree,
		    char *ret_path)
{
	int status = nfs3_lookup(nfs, dir, name);
	struct fh fh = nfs->got.fh;
	struct tree_entry *entry;
	struct fattr3 attr;

	/* Taken away by what was replayed meanwhile. */
	if (status == NFS3ERR_NOENT)
		return 0;
	if (!status)
		status = nfs3_getattr(nfs, &fh);
	if (status)
		return status;
	attr = nfs->got.attr;
	entry = tree_add(tree, show);
	entry->type = attr.type == NF3DIR ? 'd' : attr.type == NF3LNK ? 'l' : 'f';
	entry->mode = attr.mode;
	entry->nlink = entry->type == 'd' ? 0 : attr.nlink;
	entry->mtime_ns = (int64_t)attr.mtime.seconds * 1000000000 + attr.mtime.nseconds;
	entry->fileid = attr.fileid;
	if (entry->type == 'd')
		return scan_nfs(nfs, &fh, show, tree, ret_path);
	if (entry->type == 'f')
		return read_nfs(nfs, &fh, entry);
	status = nfs3_readlink(nfs, &fh);
	if (!status)
		tree_set_content(entry, nfs->got.data, strlen(nfs->got.data));
	return status;
}

static int scan_nfs(struct client *nfs, const struct fh *dir, const char *shown, struct tree *tree, char *ret_path)
{
	struct listing listing = { 0 };
	int status;

	nfs->entry = note_name;
	nfs->entry_arg = &listing;
	nfs->last_cookie = 0;
	(void)snprintf(ret_path, PATH_MAX, "%s", shown);
	do {
		status = nfs3_readdirplus(nfs, dir, nfs->last_cookie, 8192, 32768);
	} while (!status && !nfs->got.is_eof);
	for (size_t i = 0; i < listing.n && !status; i++) {
		char show[PATH_MAX];

		if (snprintf(show, PATH_MAX, "%s%s%s", shown, *shown ? "/" : "", listing.v[i].name) >= PATH_MAX)
			trace_fail("%s: the path is too long", shown);
		(void)snprintf(ret_path, PATH_MAX, "%s", show);
		status = scan_one(nfs, dir, listing.v[i].name, show, tree, ret_path);
	}
	free(listing.v);
	return status;
}

int tree_scan_nfs(struct client *nfs, struct tree *tree, char *ret_path)
{
	int status = scan_nfs(nfs, &nfs->root, "", tree, ret_path);

	tree_sort(tree);
	return status;
}

/* ---- comparing ---- */

static void tell(const struct tree_entry *entry, const char *whose)
{
	trace_found("%-10s %c %04o links=%u size=%" PRIu64 " hash=%016" PRIx64 " mtime=%" PRId64 " %s \"%.24s\"", whose, entry->type,
		    entry->mode, entry->nlink, entry->size, entry->hash, entry->mtime_ns, entry->path,
		    entry->type == 'd' ? "" : (const char *)entry->head);
}

static bool is_same(const struct tree_entry *a, const struct tree_entry *b)
{
	return a->type == b->type && a->mode == b->mode && a->nlink == b->nlink && a->size == b->size && a->hash == b->hash &&
	       (a->mtime_ns == b->mtime_ns || a->mtime_ns == TREE_ANY_TIME || b->mtime_ns == TREE_ANY_TIME);
}

bool tree_is_equal(const struct tree *a, const struct tree *b, const char *prefix, const char *const says[2])
{
	size_t i = 0, k = 0, len = strlen(prefix);
	unsigned differ = 0;

	while (i < a->n || k < b->n) {
		const struct tree_entry *x = i < a->n ? &a->v[i] : NULL, *y = k < b->n ? &b->v[k] : NULL;
		int cmp = !x ? 1 : !y ? -1 : strcmp(x->path, y->path);
		const char *path = cmp <= 0 ? x->path : y->path;

		i += cmp <= 0;
		k += cmp >= 0;
		if (strncmp(path, prefix, len) || (!cmp && is_same(x, y)))
			continue;
		if (says && differ < TOLD_MAX) {
			if (cmp <= 0)
				tell(x, says[0]);
			if (cmp >= 0)
				tell(y, says[1]);
			if (cmp)
				trace_found("           ... and the other has none");
		}
		differ++;
	}
	return !differ;
}
