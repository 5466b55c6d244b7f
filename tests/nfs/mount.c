/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount PORT [TEST]: the MOUNT protocol. */
#include "tests/nfs/client.h"

struct mounts {
	const char *path;
	unsigned n, of_path;
	bool has_host;
};

static void count(struct client *c, const char *host, const char *path)
{
	struct mounts *m = c->mount_arg;

	m->n++;
	m->of_path += !strcmp(path, m->path);
	m->has_host = host && *host;
}

static struct mounts dumped(struct client *c, const char *path)
{
	struct mounts m = { .path = path };

	c->mount_entry = count;
	c->mount_arg = &m;
	mount_dump(c);
	return m;
}

static void null(struct client *c)
{
	mount_null(c);
	want(c->got.is_answered);
}

static void mnt(struct client *c)
{
	struct fh sub = made_dir(c, &c->dir, "sub", 0700);
	char path[256];

	made_file(c, &c->dir, "file", 0644);
	want_is(nfs3_symlink(c, &c->dir, "link", "sub"), NFS3_OK);
	want_is(mount_mnt(c, "/imports"), MNT3_OK);
	want(same_fh(&c->got.fh, &c->root));
	want(c->got.access & 1u << 1);		/* AUTH_SYS */
	want_is(mount_mnt(c, "/imports/"), MNT3_OK);
	want(same_fh(&c->got.fh, &c->root));
	want_is(mount_mnt(c, "/imports/mount-1"), MNT3_OK);
	want(same_fh(&c->got.fh, &c->dir));
	want_is(mount_mnt(c, "/imports//mount-1/./sub/"), MNT3_OK);
	want(same_fh(&c->got.fh, &sub));
	/* Who mounts is root; what may be done there is checked later. */
	client_as_user(c, 1000);
	want_is(mount_mnt(c, "/imports/mount-1/sub"), MNT3_OK);

	want_is(mount_mnt(c, "/imports/mount-1/file"), MNT3ERR_NOTDIR);
	want_is(mount_mnt(c, "/imports/mount-1/link"), MNT3ERR_NOTDIR);
	want_is(mount_mnt(c, "/imports/mount-1/file/x"), MNT3ERR_NOTDIR);
	want_is(mount_mnt(c, "/imports/mount-1/none"), MNT3ERR_NOENT);
	want_is(mount_mnt(c, "/"), MNT3ERR_NOENT);
	want_is(mount_mnt(c, ""), MNT3ERR_NOENT);
	want_is(mount_mnt(c, "/etc"), MNT3ERR_NOENT);
	want_is(mount_mnt(c, "/importsX"), MNT3ERR_NOENT);
	want_is(mount_mnt(c, "imports"), MNT3ERR_NOENT);
	want(mount_mnt(c, "/imports/..") != MNT3_OK);
	want(mount_mnt(c, "/imports/mount-1/../..") != MNT3_OK);
	snprintf(path, sizeof(path), "/imports/%0230d", 0);
	want_is(mount_mnt(c, path), MNT3ERR_NOENT);
}

static void dump_and_umnt(struct client *c)
{
	struct mounts m;

	made_dir(c, &c->dir, "a", 0755);
	made_dir(c, &c->dir, "b", 0755);
	want_is(mount_mnt(c, "/imports/mount-2/a"), MNT3_OK);
	want_is(mount_mnt(c, "/imports/mount-2/a"), MNT3_OK);
	want_is(mount_mnt(c, "/imports/mount-2/b"), MNT3_OK);
	m = dumped(c, "/imports/mount-2/a");
	want_is(m.of_path, 1);
	want(m.has_host);
	mount_umnt(c, "/imports/mount-2/a");
	want_is(dumped(c, "/imports/mount-2/a").of_path, 0);
	want_is(dumped(c, "/imports/mount-2/b").of_path, 1);
	mount_umnt(c, "/imports/mount-2/never");
	mount_umntall(c);
	want_is(dumped(c, "").n, 0);
	/* It was a hint: the mount goes on. */
	want_is(nfs3_getattr(c, &c->root), NFS3_OK);
}

static void more_mounts_than_are_noted(struct client *c)
{
	for (unsigned i = 0; i < 200; i++) {
		char name[16], path[64];

		snprintf(name, sizeof(name), "%u", i);
		snprintf(path, sizeof(path), "/imports/mount-3/%u", i);
		made_dir(c, &c->dir, name, 0755);
		if (!want_is(mount_mnt(c, path), MNT3_OK))
			break;
	}
	want_is(dumped(c, "/imports/mount-3/199").of_path, 1);
	want(dumped(c, "").n < 200);
	mount_umntall(c);
}

static void export(struct client *c)
{
	struct mounts m = { .path = "/imports" };

	c->mount_entry = count;
	c->mount_arg = &m;
	mount_export(c);
	want_is(m.n, 1);
	want_is(m.of_path, 1);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "NULL", null },
		{ "MNT", mnt },
		{ "DUMP, UMNT, UMNTALL", dump_and_umnt },
		{ "more mounts than are noted", more_mounts_than_are_noted },
		{ "EXPORT", export },
	};

	return run_tests(argc, argv, "mount", tests, ARRAY_SIZE(tests));
}
