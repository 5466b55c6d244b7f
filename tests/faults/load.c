/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * load: one client at work on an export, who knows what must be there in the end.
 *
 *   load run PORT EXPORT DIR SEED MAX_OPS STOP MODEL
 *       Makes directory DIR in the export and works in it: at most MAX_OPS operations chosen by SEED, or until
 *       the file STOP exists.  Waits for the server whenever it is away, as a hard mount does.  Every operation must succeed: one that was
 *       done twice does not.  What must be there then is written to MODEL.  Prints the number of operations.
 *   load scan ROOT DIR
 *       What is there in the local directory ROOT/DIR, in the same form.
 *   load scan-nfs PORT EXPORT DIR
 *       The same through NFS.
 *
 * The form, a line each, sorted by path: TYPE MODE NLINK SIZE HASH-OR-TARGET PATH.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <nfsc/libnfs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#include <xxhash.h>

#define OBJECTS 400
#define NAMES 600
#define SIZE_MAX_FILE 200000

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fputs("load: ", stderr);
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* ---- the form ---- */

struct lines {
	char **v;
	size_t n, cap;
};

static void line_add(struct lines *lines, char type, unsigned mode, unsigned nlink, uint64_t size, const char *what, const char *path)
{
	if (lines->n == lines->cap) {
		lines->cap = lines->cap ? 2 * lines->cap : 256;
		lines->v = realloc(lines->v, lines->cap * sizeof(*lines->v));
	}
	/* The path first, to be sorted by; it is put last when written. */
	if (!lines->v || asprintf(&lines->v[lines->n], "%s%c%c %04o %u %" PRIu64 " %s", path, '\t', type, mode, nlink, size, what) < 0)
		die("no memory");
	lines->n++;
}

static int line_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Nothing is left of them then. */
static void lines_write(struct lines *lines, FILE *to)
{
	if (lines->n)
		qsort(lines->v, lines->n, sizeof(*lines->v), line_cmp);
	for (size_t i = 0; i < lines->n; i++) {
		char *tab = strchr(lines->v[i], '\t');

		*tab = 0;
		(void)fprintf(to, "%s %s\n", tab + 1, lines->v[i]);
		free(lines->v[i]);
	}
	if (fflush(to))
		die("cannot write: %s", strerror(errno));
	free(lines->v);
	*lines = (struct lines){ 0 };
}

static void hash_text(const void *data, size_t len, char ret[20])
{
	(void)snprintf(ret, 20, "%016" PRIx64, (uint64_t)XXH64(data, len, 0));
}

/* ---- the model ---- */

enum kind { NONE, FILE_, DIR_, LINK_ };

static struct object {
	enum kind kind;
	unsigned mode, nlink;
	unsigned char *data;
	size_t size;
	char target[64];
} objects[OBJECTS];

/* names[i].dir: the object of its directory; object 0 is DIR itself. */
static struct entry {
	bool is_used;
	int dir, object;
	char name[40];
} names[NAMES];

static struct nfs_context *nfs;
static const char *port, *export, *top;
static uint64_t rng;
static unsigned long next_name;

static uint64_t rnd(uint64_t below)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (rng >> 33) % below;
}

static int object_new(enum kind kind, unsigned mode)
{
	for (int i = 1; i < OBJECTS; i++)
		if (objects[i].kind == NONE) {
			objects[i] = (struct object){ .kind = kind, .mode = mode, .nlink = 1 };
			return i;
		}
	return -1;
}

static void object_lost(int object)
{
	if (--objects[object].nlink)
		return;
	free(objects[object].data);
	objects[object] = (struct object){ .kind = NONE };
}

static int name_new(int dir, int object)
{
	for (int i = 0; i < NAMES; i++)
		if (!names[i].is_used) {
			names[i] = (struct entry){ .is_used = true, .dir = dir, .object = object };
			(void)snprintf(names[i].name, sizeof(names[i].name), "n%lu", next_name++);
			return i;
		}
	return -1;
}

/* Some name whose object is of that kind (NONE: any); -1: none. */
static int pick(enum kind kind)
{
	int start = (int)rnd(NAMES);

	for (int i = 0; i < NAMES; i++) {
		int n = (start + i) % NAMES;

		if (names[n].is_used && (kind == NONE || objects[names[n].object].kind == kind))
			return n;
	}
	return -1;
}

static int name_of_dir(int object)
{
	for (int i = 0; i < NAMES; i++)
		if (names[i].is_used && names[i].object == object)
			return i;
	die("a directory has no name");
}

static void path_of_dir(int dir, char *path, size_t size)
{
	char above[PATH_MAX];
	int n;

	if (!dir) {
		(void)snprintf(path, size, "/%s", top);
		return;
	}
	n = name_of_dir(dir);
	path_of_dir(names[n].dir, above, sizeof(above));
	if ((size_t)snprintf(path, size, "%s/%s", above, names[n].name) >= size)
		die("path too long");
}

static void path_of(int n, char *path, size_t size)
{
	char above[PATH_MAX];

	path_of_dir(names[n].dir, above, sizeof(above));
	if ((size_t)snprintf(path, size, "%s/%s", above, names[n].name) >= size)
		die("path too long");
}

static int depth_of(int dir)
{
	int depth = 0;

	for (; dir; dir = names[name_of_dir(dir)].dir)
		depth++;
	return depth;
}

static int pick_dir(void)
{
	int n = rnd(4) ? pick(DIR_) : -1;

	return n < 0 ? 0 : names[n].object;
}

static bool dir_is_below(int dir, int above)
{
	for (; dir; dir = names[name_of_dir(dir)].dir)
		if (dir == above)
			return true;
	return false;
}

static bool dir_is_empty(int dir)
{
	for (int i = 0; i < NAMES; i++)
		if (names[i].is_used && names[i].dir == dir)
			return false;
	return true;
}

static void must(int err, const char *what, const char *path)
{
	if (err < 0)
		die("%s %s: %s (%s)", what, path, strerror(-err), nfs_get_error(nfs));
}

static bool mount_once(void)
{
	char text[300];
	struct nfs_url *url;
	bool is_mounted;

	nfs = nfs_init_context();
	if (!nfs)
		die("no memory");
	(void)snprintf(text, sizeof(text), "nfs://127.0.0.1%s?nfsport=%s&mountport=%s&version=3&uid=0&gid=0&autoreconnect=-1",
		       export, port, port);
	url = nfs_parse_url_dir(nfs, text);
	if (!url)
		die("%s: %s", text, nfs_get_error(nfs));
	is_mounted = !nfs_mount(nfs, url->server, url->path);
	nfs_destroy_url(url);
	if (!is_mounted)
		return false;
	nfs_set_autoreconnect(nfs, -1);
	nfs_umask(nfs, 0);
	return true;
}

/* Each try with a context of its own: one that has failed once cannot connect any more. */
static void mount_export(void)
{
	for (int tries = 0; !mount_once(); tries++) {
		if (tries == 100)
			die("mount: %s", nfs_get_error(nfs));
		nfs_destroy_context(nfs);
		(void)usleep(100000);
	}
}

static bool is_there(const char *path);

/*
 * Was it done?  libnfs reconnects and sends again, but gives up now and then when the server is killed at the wrong
 * moment ("nfs_service failed"); nobody knows then.  What made a name, or took one away, is looked for; what
 * may be done twice is done again: false.  Any other error is the server's.
 */
static bool settled(int err, const char *what, const char *path, const char *made, const char *gone)
{
	if (err >= 0)
		return true;
	if (err != -EIO || !strstr(nfs_get_error(nfs), "nfs_service failed"))
		must(err, what, path);
	nfs_destroy_context(nfs);
	mount_export();
	return (made && is_there(made)) || (gone && !is_there(gone));
}

static bool is_there(const char *path)
{
	struct nfs_stat_64 st;
	int err;

	do {
		err = nfs_lstat64(nfs, path, &st);
	} while (err != -ENOENT && !settled(err, "stat", path, NULL, NULL));
	return !err;
}

/* ---- the operations; each gives false when it found nothing to work on ---- */

static int store(const char *path, int flags, int mode, const unsigned char *bytes, size_t offset, size_t len,
		 bool is_synced)
{
	struct nfsfh *fh;
	int n = 0, err = nfs_open2(nfs, path, flags | O_WRONLY | O_SYNC, mode, &fh);

	if (err)
		return err;
	for (size_t done = 0; done < len && n >= 0; done += (size_t)MAX(n, 0))
		n = nfs_pwrite(nfs, fh, offset + done, len - done, (void *)(bytes + done));
	if (n >= 0 && is_synced)
		n = nfs_fsync(nfs, fh);
	if (n < 0)
		return n;	/* the open file goes with the context */
	return nfs_close(nfs, fh);
}

static void write_file(int object, const char *path, int flags, size_t offset, size_t len)
{
	struct object *o = &objects[object];
	unsigned char *bytes;
	bool is_synced = rnd(3) == 0;
	size_t end = offset + len;
	int err;

	if (end > o->size) {
		o->data = realloc(o->data, end);
		if (!o->data)
			die("no memory");
		memset(o->data + o->size, 0, end - o->size);
		o->size = end;
	}
	bytes = o->data + offset;
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = rnd(UINT64_MAX);

		memcpy(bytes + i, &word, len - i < 8 ? len - i : 8);
	}
	do {
		err = store(path, flags, (int)o->mode, bytes, offset, len, is_synced);
	} while (!settled(err, "write", path, NULL, NULL));
}

static bool do_create(void)
{
	int dir = pick_dir(), object = object_new(FILE_, 0600 + (unsigned)rnd(64)), n;
	char path[PATH_MAX];

	if (object < 0)
		return false;
	n = name_new(dir, object);
	if (n < 0) {
		object_lost(object);
		return false;
	}
	path_of(n, path, sizeof(path));
	write_file(object, path, O_CREAT, 0, rnd(5) ? rnd(8000) : rnd(SIZE_MAX_FILE));
	return true;
}

static bool do_write(void)
{
	int n = pick(FILE_);
	char path[PATH_MAX];
	size_t size, offset;

	if (n < 0)
		return false;
	path_of(n, path, sizeof(path));
	size = objects[names[n].object].size;
	offset = rnd(3) ? rnd(size + 1) : size + rnd(20000);
	write_file(names[n].object, path, 0, MIN(offset, (size_t)SIZE_MAX_FILE), rnd(9000) + 1);
	return true;
}

static bool do_truncate(void)
{
	int n = pick(FILE_);
	struct object *o;
	char path[PATH_MAX];
	size_t size;

	if (n < 0)
		return false;
	o = &objects[names[n].object];
	path_of(n, path, sizeof(path));
	size = rnd(2) ? rnd(o->size + 1) : rnd(30000);
	while (!settled(nfs_truncate(nfs, path, size), "truncate", path, NULL, NULL))
		;
	if (size > o->size) {
		o->data = realloc(o->data, size);
		if (!o->data)
			die("no memory");
		memset(o->data + o->size, 0, size - o->size);
	}
	o->size = size;
	return true;
}

static bool do_rename(void)
{
	int n = pick(NONE), to_dir = pick_dir(), new;
	char from[PATH_MAX], to[PATH_MAX];

	if (n < 0)
		return false;
	if (objects[names[n].object].kind == DIR_ && (dir_is_below(to_dir, names[n].object) || depth_of(to_dir) > 6))
		return false;
	new = name_new(to_dir, names[n].object);
	if (new < 0)
		return false;
	path_of_dir(to_dir, to, sizeof(to));
	(void)snprintf(to + strlen(to), sizeof(to) - strlen(to), "/%s", names[new].name);
	names[new].is_used = false;
	path_of(n, from, sizeof(from));
	while (!settled(nfs_rename(nfs, from, to), "rename", from, to, NULL))
		;
	names[n].is_used = false;
	names[new].is_used = true;
	return true;
}

/* One file over another, as an editor saves. */
static bool do_replace(void)
{
	int n = pick(FILE_), over = pick(FILE_);
	char from[PATH_MAX], to[PATH_MAX];

	if (n < 0 || over < 0 || names[n].object == names[over].object)
		return false;
	path_of(n, from, sizeof(from));
	path_of(over, to, sizeof(to));
	while (!settled(nfs_rename(nfs, from, to), "rename over", to, NULL, from))
		;
	object_lost(names[over].object);
	names[over].object = names[n].object;
	names[n].is_used = false;
	return true;
}

static bool do_link(void)
{
	int n = pick(FILE_), dir = pick_dir(), new;
	char from[PATH_MAX], to[PATH_MAX];

	if (n < 0)
		return false;
	new = name_new(dir, names[n].object);
	if (new < 0)
		return false;
	path_of(n, from, sizeof(from));
	path_of(new, to, sizeof(to));
	while (!settled(nfs_link(nfs, from, to), "link", to, to, NULL))
		;
	objects[names[n].object].nlink++;
	return true;
}

static bool do_unlink(void)
{
	int n = pick(rnd(4) ? FILE_ : LINK_);
	char path[PATH_MAX];

	if (n < 0)
		return false;
	path_of(n, path, sizeof(path));
	while (!settled(nfs_unlink(nfs, path), "unlink", path, NULL, path))
		;
	object_lost(names[n].object);
	names[n].is_used = false;
	return true;
}

static bool do_mkdir(void)
{
	int dir = pick_dir(), object, n;
	char path[PATH_MAX];

	if (depth_of(dir) > 6)
		return false;
	object = object_new(DIR_, 0700 + (unsigned)rnd(64));
	if (object < 0)
		return false;
	n = name_new(dir, object);
	if (n < 0) {
		object_lost(object);
		return false;
	}
	path_of(n, path, sizeof(path));
	while (!settled(nfs_mkdir2(nfs, path, (int)objects[object].mode), "mkdir", path, path, NULL))
		;
	return true;
}

static bool do_rmdir(void)
{
	int n = pick(DIR_);
	char path[PATH_MAX];

	if (n < 0 || !dir_is_empty(names[n].object))
		return false;
	path_of(n, path, sizeof(path));
	while (!settled(nfs_rmdir(nfs, path), "rmdir", path, NULL, path))
		;
	object_lost(names[n].object);
	names[n].is_used = false;
	return true;
}

static bool do_symlink(void)
{
	int dir = pick_dir(), object = object_new(LINK_, 0777), n;
	char path[PATH_MAX];

	if (object < 0)
		return false;
	n = name_new(dir, object);
	if (n < 0) {
		object_lost(object);
		return false;
	}
	(void)snprintf(objects[object].target, sizeof(objects[object].target), "to-%lu", (unsigned long)rnd(1000000));
	path_of(n, path, sizeof(path));
	while (!settled(nfs_symlink(nfs, objects[object].target, path), "symlink", path, path, NULL))
		;
	return true;
}

static bool do_chmod(void)
{
	int n = pick(rnd(3) ? FILE_ : DIR_);
	char path[PATH_MAX];
	unsigned mode;

	if (n < 0)
		return false;
	path_of(n, path, sizeof(path));
	mode = (objects[names[n].object].kind == DIR_ ? 0700 : 0600) + (unsigned)rnd(64);
	while (!settled(nfs_chmod(nfs, path, (int)mode), "chmod", path, NULL, NULL))
		;
	objects[names[n].object].mode = mode;
	return true;
}

/* Up to size bytes: how many there are, or -errno. */
static int fetch(const char *path, unsigned char *bytes, size_t size)
{
	size_t done = 0;
	struct nfsfh *fh;
	int n, err = nfs_open(nfs, path, O_RDONLY, &fh);

	if (err)
		return err;
	do {
		n = nfs_pread(nfs, fh, done, size - done, bytes + done);
		if (n < 0)
			return n;
		done += (size_t)n;
	} while (n && done < size);
	err = nfs_close(nfs, fh);
	return err ? err : (int)done;
}

static bool do_check(void)
{
	int n = pick(FILE_), got;
	struct object *o;
	char path[PATH_MAX];
	unsigned char *bytes;

	if (n < 0)
		return false;
	o = &objects[names[n].object];
	path_of(n, path, sizeof(path));
	bytes = malloc(o->size + 1);
	if (!bytes)
		die("no memory");
	do {
		got = fetch(path, bytes, o->size + 1);
	} while (!settled(got, "read", path, NULL, NULL));
	if ((size_t)got != o->size || (o->size && memcmp(bytes, o->data, o->size)))
		die("%s does not read as it was written (%d bytes, should be %zu)", path, got, o->size);
	free(bytes);
	return true;
}

static bool (*const ops[])(void) = {
	do_create, do_create, do_create, do_create, do_write, do_write, do_write, do_truncate, do_rename, do_rename,
	do_replace, do_link, do_unlink, do_unlink, do_mkdir, do_rmdir, do_symlink, do_chmod, do_check,
};

static void model_write(const char *file)
{
	struct lines lines = { 0 };
	FILE *to = fopen(file, "w");

	if (!to)
		die("%s: %s", file, strerror(errno));
	for (int i = 0; i < NAMES; i++) {
		const struct object *o = &objects[names[i].object];
		char path[PATH_MAX], hash[20];

		if (!names[i].is_used)
			continue;
		path_of(i, path, sizeof(path));
		if (o->kind == DIR_) {
			line_add(&lines, 'd', o->mode, 0, 0, "-", path);
		} else if (o->kind == LINK_) {
			line_add(&lines, 'l', 0777, o->nlink, strlen(o->target), o->target, path);
		} else {
			hash_text(o->data ? (const void *)o->data : "", o->size, hash);
			line_add(&lines, 'f', o->mode, o->nlink, o->size, hash, path);
		}
	}
	lines_write(&lines, to);
	if (fclose(to))
		die("%s: %s", file, strerror(errno));
}

static int run(char **argv)
{
	unsigned long max = strtoul(argv[4], NULL, 10), done = 0;
	char path[PATH_MAX];

	port = argv[0];
	export = argv[1];
	mount_export();
	top = argv[2];
	rng = strtoull(argv[3], NULL, 10) * 2654435761u + 1;
	objects[0] = (struct object){ .kind = DIR_, .mode = 0755, .nlink = 1 };
	path_of_dir(0, path, sizeof(path));
	while (!settled(nfs_mkdir2(nfs, path, 0755), "mkdir", path, path, NULL))
		;
	while (done < max && access(argv[5], F_OK))
		if (ops[rnd(sizeof(ops) / sizeof(ops[0]))]())
			done++;
	model_write(argv[6]);
	nfs_destroy_context(nfs);
	(void)printf("%lu\n", done);
	return 0;
}

/* ---- what is there ---- */

static void scan_local(const char *dir, const char *shown, struct lines *lines)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	if (!d)
		die("%s: %s", dir, strerror(errno));
	while ((entry = readdir(d))) {
		char path[PATH_MAX], show[PATH_MAX], what[PATH_MAX];
		struct stat st;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) >= sizeof(path) ||
		    (size_t)snprintf(show, sizeof(show), "%s/%s", shown, entry->d_name) >= sizeof(show) || lstat(path, &st))
			die("%s: %s", path, strerror(errno));
		if (S_ISDIR(st.st_mode)) {
			line_add(lines, 'd', st.st_mode & 07777, 0, 0, "-", show);
			scan_local(path, show, lines);
		} else if (S_ISLNK(st.st_mode)) {
			ssize_t n = readlink(path, what, sizeof(what) - 1);

			what[n > 0 ? n : 0] = 0;
			line_add(lines, 'l', 0777, (unsigned)st.st_nlink, (uint64_t)st.st_size, what, show);
		} else {
			int fd = open(path, O_RDONLY | O_CLOEXEC);
			size_t size = (size_t)st.st_size;
			char *bytes = malloc(size + 1), hash[20];

			if (fd < 0 || !bytes || read(fd, bytes, size + 1) != (ssize_t)size)
				die("%s: cannot read it: %s", path, strerror(errno));
			hash_text(bytes, size, hash);
			line_add(lines, 'f', st.st_mode & 07777, (unsigned)st.st_nlink, size, hash, show);
			free(bytes);
			(void)close(fd);
		}
	}
	(void)closedir(d);
}

static void scan_nfs(const char *dir, struct lines *lines)
{
	struct nfsdir *d;
	struct nfsdirent *entry;

	must(nfs_opendir(nfs, dir, &d), "opendir", dir);
	while ((entry = nfs_readdir(nfs, d))) {
		char path[PATH_MAX], what[PATH_MAX];
		struct nfs_stat_64 st;

		if (!strcmp(entry->name, ".") || !strcmp(entry->name, ".."))
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, entry->name) >= sizeof(path))
			die("path too long");
		must(nfs_lstat64(nfs, path, &st), "stat", path);
		if (S_ISDIR(st.nfs_mode)) {
			line_add(lines, 'd', st.nfs_mode & 07777, 0, 0, "-", path);
			scan_nfs(path, lines);
		} else if (S_ISLNK(st.nfs_mode)) {
			must(nfs_readlink(nfs, path, what, sizeof(what)), "readlink", path);
			line_add(lines, 'l', 0777, (unsigned)st.nfs_nlink, st.nfs_size, what, path);
		} else {
			struct nfsfh *fh;
			size_t size = st.nfs_size, done = 0;
			char *bytes = malloc(size + 1), hash[20];

			if (!bytes)
				die("no memory");
			must(nfs_open(nfs, path, O_RDONLY, &fh), "open", path);
			while (done < size) {
				int got = nfs_pread(nfs, fh, done, size - done, bytes + done);

				must(got, "read", path);
				if (!got)
					die("%s: ends early", path);
				done += (size_t)got;
			}
			must(nfs_close(nfs, fh), "close", path);
			hash_text(bytes, size, hash);
			line_add(lines, 'f', st.nfs_mode & 07777, (unsigned)st.nfs_nlink, size, hash, path);
			free(bytes);
		}
	}
	nfs_closedir(nfs, d);
}

int main(int argc, char **argv)
{
	struct lines lines = { 0 };
	char path[PATH_MAX], show[PATH_MAX];

	/* A server that was killed resets the connection in the middle of a write. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc == 9 && !strcmp(argv[1], "run"))
		return run(argv + 2);
	if (argc == 4 && !strcmp(argv[1], "scan")) {
		(void)snprintf(path, sizeof(path), "%s/%s", argv[2], argv[3]);
		(void)snprintf(show, sizeof(show), "/%s", argv[3]);
		scan_local(path, show, &lines);
	} else if (argc == 5 && !strcmp(argv[1], "scan-nfs")) {
		port = argv[2];
		export = argv[3];
		mount_export();
		(void)snprintf(path, sizeof(path), "/%s", argv[4]);
		scan_nfs(path, &lines);
		nfs_destroy_context(nfs);
	} else {
		die("usage: load run PORT EXPORT DIR SEED MAX_OPS STOP MODEL | scan ROOT DIR | scan-nfs PORT EXPORT DIR");
	}
	lines_write(&lines, stdout);
	return 0;
}
