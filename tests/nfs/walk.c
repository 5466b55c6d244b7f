/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * walk: everything about a tree as sorted lines, to be compared with diff.
 *
 *	walk nfs PORT		of the export, over NFS
 *	walk dir DIR		of a local directory, without .intermezzo
 *
 * A line: path, type, mode, owner, links, time, and size and a hash of the content, the target, or the device. Of files
 * above 64 MiB the first and the last MiB are hashed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "base/hash.h"
#include "tests/nfs/client.h"

#define WHOLE_MAX (64ull << 20)

static char **lines;
static size_t n_lines, cap_lines;

static void add_line(char *line)
{
	if (n_lines == cap_lines) {
		cap_lines = cap_lines * 2 + 256;
		lines = realloc(lines, cap_lines * sizeof(lines[0]));
	}
	if (!lines || !line)
		die("memory", "none");
	lines[n_lines++] = line;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_lines(void)
{
	qsort(lines, n_lines, sizeof(lines[0]), compare);
	for (size_t i = 0; i < n_lines; i++)
		puts(lines[i]);
}

/* Anything but plain characters as \ooo. */
static void escape(const char *from, char *to, size_t size)
{
	size_t n = 0;

	for (; *from && n + 5 < size; from++) {
		unsigned char b = (unsigned char)*from;

		if (b > ' ' && b < 127 && b != '\\')
			to[n++] = (char)b;
		else
			n += (size_t)snprintf(to + n, size - n, "\\%03o", b);
	}
	to[n] = 0;
}

struct facts {
	char type;
	unsigned mode, uid, gid, nlink;
	long long sec, nsec;
	char what[9000];	/* size and hash, target, device */
};

static void note(const char *path, const struct facts *f)
{
	char name[9000], *line;

	escape(path, name, sizeof(name));
	if (asprintf(&line, "%s %c %04o %u:%u links=%u %lld.%09lld %s", *name ? name : "/", f->type,
		     f->mode, f->uid, f->gid, f->nlink, f->sec, f->nsec, f->what) < 0)
		line = NULL;
	add_line(line);
}

static char *join(const char *path, const char *name)
{
	char *joined;

	if (asprintf(&joined, "%s%s%s", path, *path ? "/" : "", name) < 0)
		die("memory", "none");
	return joined;
}

/* The ranges of a file that are hashed: true and the next one. */
static bool next_range(uint64_t size, uint64_t *offset, uint32_t *len)
{
	if (size > WHOLE_MAX && *offset >= IO_MAX && *offset < size - IO_MAX)
		*offset = size - IO_MAX;
	if (*offset >= size)
		return false;
	*len = (uint32_t)MIN(size - *offset, (uint64_t)IO_MAX);
	return true;
}

/* ---- over NFS ---- */

struct entries {
	struct entry {
		char *name;
		struct fh fh;
		struct fattr3 attr;
	} *v;
	size_t n, cap;
};

static void collect(struct client *c, const char *name, uint64_t fileid, uint64_t cookie,
		    const struct fh *fh, const struct fattr3 *attr)
{
	struct entries *e = c->entry_arg;

	(void)fileid, (void)cookie;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return;
	if (!fh || !attr)
		die(name, "no handle or attributes");
	if (e->n == e->cap) {
		e->cap = e->cap * 2 + 64;
		e->v = realloc(e->v, e->cap * sizeof(e->v[0]));
		if (!e->v)
			die("memory", "none");
	}
	e->v[e->n++] = (struct entry){ strdup(name), *fh, *attr };
}

static void nfs_what(struct client *c, const char *path, const struct entry *e, struct facts *f)
{
	uint64_t hash = 0, offset = 0;
	char target[8200];
	uint32_t len;

	switch (e->attr.type) {
	case NF3REG:
		while (next_range(e->attr.size, &offset, &len)) {
			if (nfs3_read(c, &e->fh, offset, len) || !c->got.count)
				die(path, "cannot be read");
			hash = hash_bytes(c->got.data, c->got.count, hash);
			offset += c->got.count;
		}
		snprintf(f->what, sizeof(f->what), "%llu %016llx", (unsigned long long)e->attr.size,
			 (unsigned long long)hash);
		break;
	case NF3LNK:
		if (nfs3_readlink(c, &e->fh))
			die(path, "cannot be read");
		escape(c->got.data, target, sizeof(target));
		snprintf(f->what, sizeof(f->what), "-> %s", target);
		break;
	case NF3CHR:
	case NF3BLK:
		snprintf(f->what, sizeof(f->what), "%u,%u", e->attr.rdev.specdata1,
			 e->attr.rdev.specdata2);
		break;
	default:
		f->what[0] = 0;
	}
}

static void walk_nfs(struct client *c, const char *path, const struct entry *e)
{
	static struct facts f;
	struct entries entries = { 0 };

	f.type = "?-dbclsp"[e->attr.type];
	f.mode = e->attr.mode;
	f.uid = e->attr.uid;
	f.gid = e->attr.gid;
	f.nlink = e->attr.nlink;
	f.sec = e->attr.mtime.seconds;
	f.nsec = e->attr.mtime.nseconds;
	nfs_what(c, path, e, &f);
	note(path, &f);
	if (e->attr.type != NF3DIR)
		return;
	c->entry = collect;
	c->entry_arg = &entries;
	c->last_cookie = 0;
	do {
		if (nfs3_readdirplus(c, &e->fh, c->last_cookie, 65536, 65536))
			die(path, "cannot be listed");
	} while (!c->got.is_eof);
	for (size_t i = 0; i < entries.n; i++) {
		char *below = join(path, entries.v[i].name);

		walk_nfs(c, below, &entries.v[i]);
		free(below);
		free(entries.v[i].name);
	}
	free(entries.v);
}

/* ---- locally ---- */

static char type_char(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:	return '-';
	case S_IFDIR:	return 'd';
	case S_IFBLK:	return 'b';
	case S_IFCHR:	return 'c';
	case S_IFLNK:	return 'l';
	case S_IFSOCK:	return 's';
	default:	return 'p';
	}
}

static void dir_what(const char *full, const struct stat *st, struct facts *f)
{
	static char buf[IO_MAX];
	char target[8200];
	uint64_t hash = 0, offset = 0;
	uint32_t len;
	ssize_t got;
	int fd;

	f->what[0] = 0;
	if (S_ISREG(st->st_mode)) {
		fd = open(full, O_RDONLY | O_CLOEXEC);
		while (next_range((uint64_t)st->st_size, &offset, &len)) {
			got = pread(fd, buf, len, (off_t)offset);
			if (got <= 0)
				die(full, "cannot be read");
			hash = hash_bytes(buf, (size_t)got, hash);
			offset += (uint64_t)got;
		}
		if (fd >= 0)
			close(fd);
		snprintf(f->what, sizeof(f->what), "%llu %016llx", (unsigned long long)st->st_size,
			 (unsigned long long)hash);
	} else if (S_ISLNK(st->st_mode)) {
		got = readlink(full, buf, sizeof(buf) - 1);
		buf[MAX(got, 0)] = 0;
		escape(buf, target, sizeof(target));
		snprintf(f->what, sizeof(f->what), "-> %s", target);
	} else if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		snprintf(f->what, sizeof(f->what), "%u,%u", major(st->st_rdev), minor(st->st_rdev));
	}
}

static void walk_dir(const char *full, const char *path)
{
	static struct facts f;
	struct dirent *d;
	struct stat st;
	DIR *dir;

	if (lstat(full, &st) < 0)
		die(full, strerror(errno));
	f.type = type_char(st.st_mode);
	f.mode = st.st_mode & 07777;
	f.uid = st.st_uid;
	f.gid = st.st_gid;
	/* The upstream's own directory is one of the root's. */
	f.nlink = (unsigned)st.st_nlink - (!*path ? 1 : 0);
	f.sec = st.st_mtim.tv_sec;
	f.nsec = st.st_mtim.tv_nsec;
	dir_what(full, &st, &f);
	note(path, &f);
	if (!S_ISDIR(st.st_mode))
		return;
	dir = opendir(full);
	if (!dir)
		die(full, strerror(errno));
	while ((d = readdir(dir)) != NULL) {
		char *below_full, *below;

		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") ||
		    (!*path && !strcmp(d->d_name, ".intermezzo")))
			continue;
		below_full = join(full, d->d_name);
		below = join(path, d->d_name);
		walk_dir(below_full, below);
		free(below_full);
		free(below);
	}
	closedir(dir);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "nfs")) {
		struct entry root = { 0 };
		struct client c;

		client_open(&c, atoi(argv[2]));
		root.fh = c.root;
		if (nfs3_getattr(&c, &c.root))
			die("root", "no attributes");
		root.attr = c.got.attr;
		walk_nfs(&c, "", &root);
		client_close(&c);
	} else if (argc == 3 && !strcmp(argv[1], "dir")) {
		walk_dir(argv[2], "");
	} else {
		fprintf(stderr, "usage: %s nfs PORT | dir DIR\n", argv[0]);
		return 2;
	}
	print_lines();
	return 0;
}
