/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attr PORT [TEST]: NULL, GETATTR, SETATTR, ACCESS, FSSTAT, FSINFO, PATHCONF. */
#include "tests/nfs/client.h"

static void null(struct client *c)
{
	nfs3_null(c);
	want(c->got.is_answered);
}

static void getattr_of_every_type(struct client *c)
{
	static const struct {
		enum ftype3 type;
		const char *name;
	} types[] = {
		{ NF3REG, "file" }, { NF3DIR, "dir" }, { NF3LNK, "link" }, { NF3FIFO, "fifo" },
		{ NF3SOCK, "sock" }, { NF3CHR, "chr" }, { NF3BLK, "blk" },
	};
	uint64_t fsid;

	want_is(nfs3_getattr(c, &c->root), NFS3_OK);
	want_is(c->got.attr.type, NF3DIR);
	fsid = c->got.attr.fsid;
	made_file(c, &c->dir, "file", 0640);
	made_dir(c, &c->dir, "dir", 0750);
	want_is(nfs3_symlink(c, &c->dir, "link", "target"), NFS3_OK);
	for (size_t i = 3; i < ARRAY_SIZE(types); i++)
		want_is(nfs3_mknod(c, &c->dir, types[i].name, types[i].type, 7, 300), NFS3_OK);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct fh fh;

		want_is(nfs3_lookup(c, &c->dir, types[i].name), NFS3_OK);
		fh = c->got.fh;
		want_is(nfs3_getattr(c, &fh), NFS3_OK);
		want_is(c->got.attr.type, types[i].type);
		want_is(c->got.attr.fsid, fsid);
		want(c->got.attr.fileid > 1);
		want_is(c->got.attr.nlink, types[i].type == NF3DIR ? 2 : 1);
		if (types[i].type == NF3CHR || types[i].type == NF3BLK) {
			want_is(c->got.attr.rdev.specdata1, 7);
			want_is(c->got.attr.rdev.specdata2, 300);
		}
		if (types[i].type == NF3LNK)
			want_is(c->got.attr.size, 6);
	}
}

/* One attribute at a time; what was not asked for stays. */
static void setattr_each(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);
	struct fattr3 before;

	put(c, &fh, "hello");
	want_is(nfs3_getattr(c, &fh), NFS3_OK);
	before = c->got.attr;

	want_is(nfs3_setattr(c, &fh, sattr_mode(04711), NULL), NFS3_OK);
	want_wcc(c->got.wcc[0]);
	want_is(c->got.wcc[0].after.mode, 04711);
	want_is(c->got.wcc[0].before.size, 5);
	want(same_time(c->got.wcc[0].before.ctime, before.ctime));
	want(same_time(c->got.wcc[0].after.mtime, before.mtime));
	want(is_later(c->got.wcc[0].after.ctime, before.ctime));

	want_is(nfs3_setattr(c, &fh, sattr_owner(1000, -1), NULL), NFS3_OK);
	want_is(c->got.wcc[0].after.uid, 1000);
	want_is(c->got.wcc[0].after.gid, before.gid);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, 2000), NULL), NFS3_OK);
	want_is(c->got.wcc[0].after.uid, 1000);
	want_is(c->got.wcc[0].after.gid, 2000);
	want_is(nfs3_setattr(c, &fh, sattr_owner(UINT32_MAX, -1), NULL), NFS3ERR_INVAL);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, UINT32_MAX), NULL), NFS3ERR_INVAL);
	want_is(nfs3_setattr(c, &fh, (struct sattr3){ 0 }, NULL), NFS3_OK);
	want_is(c->got.wcc[0].after.uid, 1000);
	want_is(c->got.wcc[0].after.size, 5);
	want_is(nfs3_setattr(c, &fh, sattr_mode(0xfffff1a4), NULL), NFS3_OK);
	want_is(c->got.wcc[0].after.mode, 0644);
}

static void setattr_size(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644), dir = made_dir(c, &c->dir, "d", 0755);
	struct nfstime3 mtime;

	put(c, &fh, "hello world");
	want_is(nfs3_getattr(c, &fh), NFS3_OK);
	mtime = c->got.attr.mtime;
	want_is(nfs3_setattr(c, &fh, sattr_size(5), NULL), NFS3_OK);
	want_is(c->got.wcc[0].before.size, 11);
	want_is(c->got.wcc[0].after.size, 5);
	want(is_later(c->got.wcc[0].after.mtime, mtime));
	want(holds(c, &fh, "hello"));
	want_is(nfs3_setattr(c, &fh, sattr_size(9), NULL), NFS3_OK);
	want_is(nfs3_read(c, &fh, 0, 100), NFS3_OK);
	want_is(c->got.count, 9);
	want(!memcmp(c->got.data, "hello\0\0\0\0", 9));
	want_is(nfs3_setattr(c, &fh, sattr_size(0), NULL), NFS3_OK);
	want(holds(c, &fh, ""));
	want_is(nfs3_setattr(c, &fh, sattr_size(1ull << 40), NULL), NFS3_OK);
	want_is(c->got.wcc[0].after.size, 1ull << 40);
	want_is(nfs3_setattr(c, &fh, sattr_size(UINT64_MAX), NULL), NFS3ERR_FBIG);
	want_is(nfs3_setattr(c, &fh, sattr_size(1ull << 63), NULL), NFS3ERR_FBIG);
	want(c->got.wcc[0].has_after);
	want_is(c->got.wcc[0].after.size, 1ull << 40);
	want_is(nfs3_setattr(c, &dir, sattr_size(0), NULL), NFS3ERR_INVAL);
	want_is(nfs3_symlink(c, &c->dir, "l", "t"), NFS3_OK);
	fh = c->got.fh;
	want_is(nfs3_setattr(c, &fh, sattr_size(0), NULL), NFS3ERR_INVAL);
}

static struct sattr3 sattr_times(struct nfstime3 atime, struct nfstime3 mtime)
{
	struct sattr3 s = { 0 };

	s.atime.set_it = SET_TO_CLIENT_TIME;
	s.atime.set_atime_u.atime = atime;
	s.mtime.set_it = SET_TO_CLIENT_TIME;
	s.mtime.set_mtime_u.mtime = mtime;
	return s;
}

static void setattr_times(struct client *c)
{
	static const struct nfstime3 times[] = {
		{ 0, 0 },	   { 0, 1 }, { 1000000000, 123456789 }, { 2147483648u, 999999999 },
		{ UINT32_MAX, 7 },
	};
	struct fh fh = made_file(c, &c->dir, "f", 0644);
	struct sattr3 now = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		struct nfstime3 other = times[(i + 1) % ARRAY_SIZE(times)];

		want_is(nfs3_setattr(c, &fh, sattr_times(times[i], other), NULL), NFS3_OK);
		want(same_time(c->got.wcc[0].after.atime, times[i]));
		want(same_time(c->got.wcc[0].after.mtime, other));
	}
	now.mtime.set_it = SET_TO_SERVER_TIME;
	want_is(nfs3_setattr(c, &fh, now, NULL), NFS3_OK);
	want(c->got.wcc[0].after.mtime.seconds - (uint32_t)time(NULL) + 60 < 120);
	want(same_time(c->got.wcc[0].after.atime, times[4]));
	now.atime.set_it = SET_TO_SERVER_TIME;
	want_is(nfs3_setattr(c, &fh, now, NULL), NFS3_OK);
	want(c->got.wcc[0].after.atime.seconds - (uint32_t)time(NULL) + 60 < 120);
	want_is(nfs3_setattr(c, &fh, sattr_times((struct nfstime3){ 1, 1000000000 }, times[0]),
			     NULL),
		NFS3ERR_INVAL);
	want_is(nfs3_setattr(c, &fh, sattr_times(times[0], (struct nfstime3){ 1, UINT32_MAX }),
			     NULL),
		NFS3ERR_INVAL);
}

static void setattr_guarded(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);
	struct nfstime3 ctime, other;

	want_is(nfs3_getattr(c, &fh), NFS3_OK);
	ctime = other = c->got.attr.ctime;
	other.nseconds ^= 1;
	want_is(nfs3_setattr(c, &fh, sattr_mode(0600), &other), NFS3ERR_NOT_SYNC);
	want_wcc(c->got.wcc[0]);
	want_is(c->got.wcc[0].after.mode, 0644);
	want_is(nfs3_setattr(c, &fh, sattr_mode(0600), &ctime), NFS3_OK);
	want_is(c->got.wcc[0].after.mode, 0600);
	want_is(nfs3_setattr(c, &fh, sattr_mode(0640), &ctime), NFS3ERR_NOT_SYNC);
	want_is(nfs3_getattr(c, &fh), NFS3_OK);
	want_is(c->got.attr.mode, 0600);
}

/* A client that sees the same ctime twice thinks that nothing has changed. */
static void ctime_never_repeats(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);
	struct nfstime3 last = { 0, 0 };

	for (int i = 0; i < 50; i++) {
		want_is(nfs3_setattr(c, &fh, sattr_mode(0600 + (i & 077)), NULL), NFS3_OK);
		if (!want(is_later(c->got.wcc[0].after.ctime, last)))
			break;
		last = c->got.wcc[0].after.ctime;
	}
	for (int i = 0; i < 50; i++) {
		want_is(nfs3_write(c, &fh, 0, "x", 1, UNSTABLE), NFS3_OK);
		if (!want(is_later(c->got.wcc[0].after.ctime, last)))
			break;
		last = c->got.wcc[0].after.ctime;
	}
}

/* Of many changes of one directory at once, each says what was before it and is after it: together they are a row. */
struct changes {
	unsigned left, n;
	struct nfstime3 before[64], after[64];
};

static void created_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct changes *changes = arg;
	struct CREATE3res *res = data;
	struct wcc_data *wcc = &res->CREATE3res_u.resok.dir_wcc;

	(void)rpc;
	changes->left--;
	if (status != RPC_STATUS_SUCCESS || res->status != NFS3_OK || !wcc->before.attributes_follow ||
	    !wcc->after.attributes_follow)
		return;
	changes->before[changes->n] = wcc->before.pre_op_attr_u.attributes.ctime;
	changes->after[changes->n++] = wcc->after.post_op_attr_u.attributes.ctime;
}

static void a_directory_never_goes_back(struct client *c)
{
	struct changes changes = { .left = ARRAY_SIZE(changes.before) };
	struct nfstime3 at;
	unsigned steps = 0;

	want_is(nfs3_getattr(c, &c->dir), NFS3_OK);
	at = c->got.attr.ctime;
	for (unsigned i = 0; i < ARRAY_SIZE(changes.before); i++) {
		char name[16];
		struct CREATE3args args = { .where = name_arg(&c->dir, name), .how = { .mode = GUARDED } };

		snprintf(name, sizeof(name), "%u", i);
		want_is(rpc_nfs3_create_async(c->rpc, created_cb, &args, &changes), 0);
	}
	client_wait_for(c, &changes.left, 0, WAIT_S);
	want_is(changes.n, ARRAY_SIZE(changes.before));
	for (unsigned i = 0; i < changes.n; i++) {
		if (!same_time(changes.before[i], at))
			continue;
		want(is_later(changes.after[i], at));
		at = changes.after[i];
		i = (unsigned)-1;	/* look for the one that came behind it */
		if (++steps > changes.n)
			break;
	}
	want_is(steps, changes.n);
	want_is(nfs3_getattr(c, &c->dir), NFS3_OK);
	want(same_time(c->got.attr.ctime, at));
	want(same_time(c->got.attr.mtime, at));
}

#define R ACCESS3_READ
#define L ACCESS3_LOOKUP
#define M ACCESS3_MODIFY
#define E ACCESS3_EXTEND
#define D ACCESS3_DELETE
#define X ACCESS3_EXECUTE

/* Of an object of user 1000 and group 2000. */
static const struct access_case {
	bool is_dir;
	uint32_t mode, uid, group, granted;
} access_cases[] = {
	{ false, 0640, 1000, 0, R | M | E },
	{ false, 0640, 1001, 2000, R },
	{ false, 0640, 1001, 0, 0 },
	{ false, 0000, 0, 0, R | M | E },
	{ false, 0100, 0, 0, R | M | E | X },
	{ false, 0711, 1001, 0, X },
	{ false, 0070, 1000, 2000, 0 },	/* the owner's bits count, not the group's */
	{ false, 0007, 1001, 2000, 0 },
	{ false, 0006, 1001, 0, R | M | E },
	{ true, 0755, 1000, 0, R | L | M | E | D },
	{ true, 0755, 1001, 0, R | L },
	{ true, 0711, 1001, 0, L },
	{ true, 0000, 0, 0, R | L | M | E | D },
	{ true, 0750, 1001, 0, 0 },
	{ true, 0770, 1001, 2000, R | L | M | E | D },
};

static void access_bits(struct client *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(access_cases); i++) {
		const struct access_case *a = &access_cases[i];
		char name[16];
		struct fh fh;

		snprintf(name, sizeof(name), "%zu", i);
		client_as_root(c);
		fh = a->is_dir ? made_dir(c, &c->dir, name, 0) : made_file(c, &c->dir, name, 0);
		want_is(nfs3_setattr(c, &fh, sattr_owner(1000, 2000), NULL), NFS3_OK);
		want_is(nfs3_setattr(c, &fh, sattr_mode(a->mode), NULL), NFS3_OK);
		client_as(c, a->uid, 3000, a->group != 0, &a->group);
		/* Bits that mean nothing for its type, or at all, are not granted: RFC 1813 3.3.4. */
		want_is(nfs3_access(c, &fh, UINT32_MAX), NFS3_OK);
		want(c->got.has_attr);
		if (!want_is(c->got.access, a->granted))
			printf("# in row %zu\n", i);
		want_is(nfs3_access(c, &fh, R), NFS3_OK);
		want_is(c->got.access, a->granted & R);	/* nothing that was not asked for */
	}
}

static void fsstat(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);

	want_is(nfs3_fsstat(c, &c->root), NFS3_OK);
	want_is(c->got.attr.type, NF3DIR);
	want_is(c->got.fsstat.invarsec, 0);
	want_is(nfs3_fsstat(c, &fh), NFS3_OK);		/* any handle of the file system will do */
	want_is(c->got.attr.type, NF3REG);
	want(c->got.has_attr);
	want(c->got.fsstat.tbytes > 0);
	want(c->got.fsstat.fbytes <= c->got.fsstat.tbytes);
	want(c->got.fsstat.abytes <= c->got.fsstat.fbytes);
	want(c->got.fsstat.tfiles > 0);
	want(c->got.fsstat.ffiles <= c->got.fsstat.tfiles);
	want(c->got.fsstat.afiles <= c->got.fsstat.ffiles);
}

static void fsinfo(struct client *c)
{
	const struct FSINFO3resok *info = &c->got.fsinfo;

	want_is(nfs3_fsinfo(c, &c->root), NFS3_OK);
	want(c->got.has_attr);
	want_is(info->rtmax, IO_MAX);
	want_is(info->wtmax, IO_MAX);
	want(info->rtpref <= info->rtmax && info->rtpref % 4096 == 0);
	want(info->wtpref <= info->wtmax && info->wtpref % 4096 == 0);
	want(info->rtmult && info->wtmult);
	want(info->rtmax % info->rtmult == 0 && info->wtmax % info->wtmult == 0);
	want(info->dtpref >= 4096 && info->dtpref % 4096 == 0);
	want_is(info->maxfilesize, INT64_MAX);
	want_is(info->time_delta.seconds, 0);
	want_is(info->time_delta.nseconds, 1);
	want_is(info->properties, FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME);
}

static void pathconf_values(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);

	want_is(nfs3_pathconf(c, &fh), NFS3_OK);
	want(c->got.has_attr);
	want(c->got.pathconf.linkmax > 1);
	want_is(c->got.pathconf.name_max, 255);
	want(c->got.pathconf.no_trunc);
	want(c->got.pathconf.chown_restricted);
	want(!c->got.pathconf.case_insensitive);
	want(c->got.pathconf.case_preserving);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "NULL", null },
		{ "GETATTR of every type", getattr_of_every_type },
		{ "SETATTR of each attribute", setattr_each },
		{ "SETATTR of the size", setattr_size },
		{ "SETATTR of times", setattr_times },
		{ "SETATTR, guarded", setattr_guarded },
		{ "ctime goes up with every change", ctime_never_repeats },
		{ "a directory that many change at once", a_directory_never_goes_back },
		{ "ACCESS", access_bits },
		{ "FSSTAT", fsstat },
		{ "FSINFO", fsinfo },
		{ "PATHCONF", pathconf_values },
	};

	return run_tests(argc, argv, "attr", tests, ARRAY_SIZE(tests));
}
