/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfs_do: one thing done through NFS, for test scripts.
 *
 *   nfs_do PORT EXPORT COMMAND ARGUMENT...
 *
 *   put PATH            new content, from the standard input: made or cut, written, committed
 *   at PATH OFFSET      write the standard input there, and commit
 *   loose PATH OFFSET   write the standard input there, and leave it at that
 *   cat PATH            its content
 *   ls PATH             names, sorted
 *   stat PATH           TYPE MODE NLINK SIZE MTIME
 *   readlink PATH
 *   mkdir PATH | rmdir PATH | rm PATH | mv FROM TO | ln FROM TO | symlink TEXT PATH
 *   chmod MODE PATH | truncate SIZE PATH
 *   getacl PATH         lists as in tests/nfs/acl.h
 *   setacl LIST PATH | setdefault LIST PATH
 *
 * As root.  Each call is sent once; one that is not answered within 30 s, or by no NFS server, ends it all.  On an
 * error the standard error has "nfs_do: PROCEDURE: NFS3ERR_..." and the exit status is 1.
 */
#include <errno.h>
#include <inttypes.h>
#include "tests/nfs/acl.h"

#define PIECE (256u << 10)

static struct client c;

static void need(int status, const char *what)
{
	if (!status)
		return;
	(void)fprintf(stderr, "nfs_do: %s: %s\n", what, nfsstat3_to_str(status));
	exit(1);
}

/* The directory of the path, and the last name in it; "/" has the name ".". */
static struct fh parent_of(const char *path, const char **ret_name)
{
	struct fh dir = c.root;
	const char *slash;
	char name[256];

	while (*path == '/')
		path++;
	while ((slash = strchr(path, '/'))) {
		(void)snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
		need(nfs3_lookup(&c, &dir, name), "LOOKUP");
		dir = c.got.fh;
		path = slash + 1;
	}
	*ret_name = *path ? path : ".";
	return dir;
}

static struct fh find(const char *path)
{
	const char *name;
	struct fh dir = parent_of(path, &name);

	if (!strcmp(name, "."))
		return dir;
	need(nfs3_lookup(&c, &dir, name), "LOOKUP");
	return c.got.fh;
}

/* ---- the commands ---- */

static void write_loose(const struct fh *file, uint64_t offset)
{
	static char bytes[PIECE];
	size_t len;

	while ((len = fread(bytes, 1, PIECE, stdin)) > 0)
		for (size_t done = 0; done < len; done += c.got.count, offset += c.got.count) {
			need(nfs3_write(&c, file, offset, bytes + done, (uint32_t)(len - done), UNSTABLE), "WRITE");
			if (!c.got.count)
				die("WRITE", "nothing was written");
		}
}

static void write_all(const struct fh *file, uint64_t offset)
{
	write_loose(file, offset);
	need(nfs3_commit(&c, file), "COMMIT");
}

static void do_put(char **arg)
{
	struct sattr3 sattr = sattr_size(0);
	const char *name;
	struct fh dir = parent_of(arg[0], &name), file;

	sattr.mode.set_it = 1;
	sattr.mode.set_mode3_u.mode = 0644;
	need(nfs3_create(&c, &dir, name, UNCHECKED, sattr), "CREATE");
	file = c.got.fh;
	write_all(&file, 0);
}

static void do_at(char **arg)
{
	struct fh file = find(arg[0]);

	write_all(&file, strtoull(arg[1], NULL, 10));
}

static void do_loose(char **arg)
{
	struct fh file = find(arg[0]);

	write_loose(&file, strtoull(arg[1], NULL, 10));
}

static void do_cat(char **arg)
{
	struct fh file = find(arg[0]);
	uint64_t offset = 0;

	do {
		need(nfs3_read(&c, &file, offset, PIECE), "READ");
		(void)fwrite(c.got.data, 1, c.got.count, stdout);	/* main() looks */
		offset += c.got.count;
		if (!c.got.count && !c.got.is_eof)
			die("READ", "nothing was read");
	} while (!c.got.is_eof);
}

struct names {
	char **v;
	size_t n;
};

static int name_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_name(struct client *client, const char *name, uint64_t fileid, uint64_t cookie, const struct fh *fh,
		     const struct fattr3 *attr)
{
	struct names *names = client->entry_arg;

	(void)fileid, (void)cookie, (void)fh, (void)attr;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return;
	names->v = realloc(names->v, (names->n + 1) * sizeof(*names->v));
	if (!names->v || !(names->v[names->n++] = strdup(name)))
		die("memory", "none");
}

static void do_ls(char **arg)
{
	struct fh dir = find(arg[0]);
	struct names names = { 0 };

	c.entry = add_name;
	c.entry_arg = &names;
	c.last_cookie = 0;
	do {
		need(nfs3_readdir(&c, &dir, c.last_cookie, 32768), "READDIR");
	} while (!c.got.is_eof);
	if (names.n)
		qsort(names.v, names.n, sizeof(*names.v), name_cmp);
	for (size_t i = 0; i < names.n; i++) {
		(void)puts(names.v[i]);
		free(names.v[i]);
	}
	free(names.v);
}

static void do_stat(char **arg)
{
	static const char types[] = "?fdbclsp";		/* ftype3 */
	struct fh fh = find(arg[0]);
	const struct fattr3 *attr = &c.got.attr;

	need(nfs3_getattr(&c, &fh), "GETATTR");
	(void)printf("%c %04o %u %" PRIu64 " %u.%09u\n", types[attr->type % 8], attr->mode, attr->nlink, attr->size,
		     attr->mtime.seconds, attr->mtime.nseconds);
}

static void do_readlink(char **arg)
{
	struct fh fh = find(arg[0]);

	need(nfs3_readlink(&c, &fh), "READLINK");
	(void)puts(c.got.data);
}

static void do_mkdir(char **arg)
{
	const char *name;
	struct fh dir = parent_of(arg[0], &name);

	need(nfs3_mkdir(&c, &dir, name, 0755), "MKDIR");
}

static void do_rmdir(char **arg)
{
	const char *name;
	struct fh dir = parent_of(arg[0], &name);

	need(nfs3_rmdir(&c, &dir, name), "RMDIR");
}

static void do_rm(char **arg)
{
	const char *name;
	struct fh dir = parent_of(arg[0], &name);

	need(nfs3_remove(&c, &dir, name), "REMOVE");
}

static void do_mv(char **arg)
{
	const char *from, *to;
	struct fh from_dir = parent_of(arg[0], &from), to_dir = parent_of(arg[1], &to);

	need(nfs3_rename(&c, &from_dir, from, &to_dir, to), "RENAME");
}

static void do_ln(char **arg)
{
	const char *name;
	struct fh file = find(arg[0]), dir = parent_of(arg[1], &name);

	need(nfs3_link(&c, &file, &dir, name), "LINK");
}

static void do_symlink(char **arg)
{
	const char *name;
	struct fh dir = parent_of(arg[1], &name);

	need(nfs3_symlink(&c, &dir, name, arg[0]), "SYMLINK");
}

static void do_getacl(char **args)
{
	struct fh fh = find(args[0]);

	need(nfsacl_get(&c, &fh, 15), "GETACL");
	printf("%s\n", acl_got.text);
}

static void do_setacl(char **args)
{
	struct fh fh = find(args[1]);

	need(nfsacl_set(&c, &fh, 1, args[0]), "SETACL");
}

static void do_setdefault(char **args)
{
	struct fh fh = find(args[1]);

	need(nfsacl_set(&c, &fh, 4, args[0]), "SETACL");
}

static void do_chmod(char **arg)
{
	struct fh fh = find(arg[1]);

	need(nfs3_setattr(&c, &fh, sattr_mode((uint32_t)strtoul(arg[0], NULL, 8)), NULL), "SETATTR");
}

static void do_truncate(char **arg)
{
	struct fh fh = find(arg[1]);

	need(nfs3_setattr(&c, &fh, sattr_size(strtoull(arg[0], NULL, 10)), NULL), "SETATTR");
}

static const struct verb {
	const char *name;
	int n_args;
	void (*run)(char **arg);
} verbs[] = {
	{ "put", 1, do_put },		{ "at", 2, do_at },
	{ "loose", 2, do_loose },
	{ "cat", 1, do_cat },		{ "ls", 1, do_ls },
	{ "stat", 1, do_stat },		{ "readlink", 1, do_readlink },
	{ "mkdir", 1, do_mkdir },	{ "rmdir", 1, do_rmdir },
	{ "rm", 1, do_rm },		{ "mv", 2, do_mv },
	{ "ln", 2, do_ln },		{ "symlink", 2, do_symlink },
	{ "chmod", 2, do_chmod },	{ "truncate", 2, do_truncate },
	{ "getacl", 1, do_getacl },	{ "setacl", 2, do_setacl },
	{ "setdefault", 2, do_setdefault },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 3 && i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(verbs[i].name, argv[3]) || argc - 4 != verbs[i].n_args)
			continue;
		client_connect(&c, atoi(argv[1]));
		client_as_root(&c);
		need(mount_mnt(&c, argv[2]), "MNT");
		c.root = c.got.fh;
		verbs[i].run(argv + 4);
		return fflush(stdout) || ferror(stdout) ? 1 : 0;
	}
	(void)fprintf(stderr, "usage: nfs_do PORT EXPORT COMMAND ARGUMENT...\n");
	return 2;
}
