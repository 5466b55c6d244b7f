/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * client: NFS and MOUNT calls over libnfs, each as a function that waits for its answer.
 *
 * Functions give the status; everything else an answer holds is in c->got. A call that is not
 * answered within 30 s, or with an RPC error, ends the program; with may_be_lost set, one whose connection ended gives
 * CALL_LOST instead, and then the connection is of no use any more. Tests are functions that say what they want
 * with want() and want_is(); run_tests() prints TAP. Each gets a new directory in the export, c->dir.
 */
#ifndef TESTS_NFS_CLIENT_H
#define TESTS_NFS_CLIENT_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include "base/mem.h"

#define UNUSED __attribute__((unused))
#define WAIT_S 30
#define IO_MAX (1024u * 1024)
#define CALL_LOST (-1)

struct fh {
	unsigned len;
	char data[NFS3_FHSIZE];
};

struct wcc_got {
	bool has_before, has_after;
	struct wcc_attr before;
	struct fattr3 after;
};

struct got {
	bool is_answered;
	int rpc_status;
	int status;
	bool has_fh, has_attr, has_dir_attr;
	struct fh fh;
	struct fattr3 attr, dir_attr;
	struct wcc_got wcc[2];
	uint32_t access, count;
	bool is_eof;
	int committed;
	char verifier[8];
	char *data;			/* room for IO_MAX: of READ, READLINK */
	struct FSINFO3resok fsinfo;
	struct FSSTAT3resok fsstat;
	struct PATHCONF3resok pathconf;
};

struct client {
	struct rpc_context *rpc;
	struct fh root, dir;
	struct got got;
	bool may_be_lost, is_lost;
	/* called for each entry of a listing; handle and attributes only where there are any */
	void (*entry)(struct client *c, const char *name, uint64_t fileid, uint64_t cookie, const struct fh *fh,
		      const struct fattr3 *attr);
	void *entry_arg;
	uint64_t last_cookie;
	unsigned n_entries;
	/* for each of DUMP and EXPORT */
	void (*mount_entry)(struct client *c, const char *host, const char *path);
	void *mount_arg;
};

static UNUSED void __attribute__((noreturn)) die(const char *what, const char *why)
{
	printf("not ok - %s: %s\n", what, why);
	fflush(stdout);
	exit(1);
}

static UNUSED int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* One round of serving the connection.  False: nothing came for so long. */
static UNUSED bool client_serve(struct client *c, int wait_ms)
{
	struct pollfd p = { rpc_get_fd(c->rpc), (short)rpc_which_events(c->rpc), 0 };
	int n = poll(&p, 1, wait_ms);

	if (n < 0 && errno != EINTR)
		die("poll", "failed");
	if (rpc_service(c->rpc, n > 0 ? p.revents : 0) < 0) {
		if (!c->may_be_lost)
			die("connection", rpc_get_error(c->rpc));
		c->is_lost = true;
	}
	return n;
}

/* Until no more than so many calls are under way, as their callbacks count; silence_s without an answer ends the program. */
static UNUSED void client_wait_for(struct client *c, const unsigned *under_way, unsigned most, int silence_s)
{
	while (*under_way > most)
		if (!client_serve(c, silence_s * 1000))
			die("call", "no answer");
}

/* Until *done, or the connection is lost. */
static UNUSED void client_wait(struct client *c, const bool *done)
{
	int64_t end = now_ms() + WAIT_S * 1000;

	while (!*done && !c->is_lost) {
		if (now_ms() > end)
			die("call", "no answer");
		(void)client_serve(c, 100);
	}
}

static UNUSED struct nfs_fh3 fh_arg(const struct fh *fh)
{
	struct nfs_fh3 arg;

	arg.data.data_len = fh->len;
	arg.data.data_val = (char *)fh->data;
	return arg;
}

static UNUSED struct diropargs3 name_arg(const struct fh *dir, const char *name)
{
	return (struct diropargs3){ fh_arg(dir), (char *)name };
}

/* ---- keeping what an answer holds: it is freed after the callback ---- */

/*
 * Whatever the answer is about, its attributes must be such as an object can have: clients take no links for a file that is
 * gone, and number 0 for no file (RFC 1813 3.3.16).
 */
static UNUSED struct fattr3 sane(const struct fattr3 *attr)
{
	if (!attr->fileid || !attr->nlink || attr->type < NF3REG || attr->type > NF3FIFO || attr->mode & ~07777u ||
	    attr->atime.nseconds > 999999999 || attr->mtime.nseconds > 999999999 || attr->ctime.nseconds > 999999999) {
		char text[200];

		snprintf(text, sizeof(text), "fileid %llu, type %d, mode %o, nlink %u", (unsigned long long)attr->fileid,
			 attr->type, attr->mode, attr->nlink);
		die("attributes that no object has", text);
	}
	return *attr;
}

static UNUSED void keep_attr(struct got *got, const struct post_op_attr *attr)
{
	got->has_attr = attr->attributes_follow;
	if (got->has_attr)
		got->attr = sane(&attr->post_op_attr_u.attributes);
}

static UNUSED void keep_dir_attr(struct got *got, const struct post_op_attr *attr)
{
	got->has_dir_attr = attr->attributes_follow;
	if (got->has_dir_attr)
		got->dir_attr = sane(&attr->post_op_attr_u.attributes);
}

static UNUSED void keep_wcc(struct wcc_got *to, const struct wcc_data *wcc)
{
	to->has_before = wcc->before.attributes_follow;
	to->has_after = wcc->after.attributes_follow;
	if (to->has_before)
		to->before = wcc->before.pre_op_attr_u.attributes;
	if (to->has_after)
		to->after = sane(&wcc->after.post_op_attr_u.attributes);
}

static UNUSED void keep_handle(struct got *got, unsigned len, const char *data)
{
	got->has_fh = true;
	got->fh.len = len;
	memcpy(got->fh.data, data, len);
}

static UNUSED void keep_fh(struct got *got, const struct post_op_fh3 *fh)
{
	if (fh->handle_follows)
		keep_handle(got, fh->post_op_fh3_u.handle.data.data_len,
			    fh->post_op_fh3_u.handle.data.data_val);
}

static UNUSED void keep_made(struct got *got, const struct post_op_fh3 *fh, const struct post_op_attr *attr,
			     const struct wcc_data *wcc)
{
	keep_fh(got, fh);
	keep_attr(got, attr);
	keep_wcc(&got->wcc[0], wcc);
}

static UNUSED void client_begin(struct client *c)
{
	char *data = c->got.data;

	memset(&c->got, 0, sizeof(c->got));
	c->got.data = data ? data : malloc(IO_MAX);
	if (!c->got.data)
		die("memory", "none");
}

static UNUSED int client_end(struct client *c, const char *what, int queued)
{
	if (c->is_lost)
		return CALL_LOST;
	if (queued)
		die(what, "cannot be sent");
	client_wait(c, &c->got.is_answered);
	if (c->may_be_lost && (!c->got.is_answered || c->got.rpc_status == RPC_STATUS_ERROR)) {
		c->is_lost = true;
		return CALL_LOST;
	}
	if (c->got.rpc_status != RPC_STATUS_SUCCESS)
		die(what, c->got.data);
	return c->got.status;
}

/* Common to all callbacks: false when there is no result. */
static UNUSED bool answered(struct client *c, int status, const void *data)
{
	c->got.is_answered = true;
	c->got.rpc_status = status;
	if (status == RPC_STATUS_SUCCESS)
		return true;
	snprintf(c->got.data, IO_MAX, "%s", status == RPC_STATUS_ERROR ? (const char *)data : "cancelled");
	return false;
}

/*
 * Defines nfs3_NAME_args(c, args).  KEEP_OK and KEEP_FAIL are what is kept of the two arms, as statements over
 * got, ok and fail.
 */
#define PROC(name, TYPE, KEEP_OK, KEEP_FAIL) \
	static UNUSED void name##_cb(struct rpc_context *rpc, int status, void *data, void *arg) \
	{ \
		struct client *c = arg; \
		struct got *got = &c->got; \
		struct TYPE##3res *res = data; \
		\
		(void)rpc, (void)got; \
		if (!answered(c, status, data)) \
			return; \
		c->got.status = res->status; \
		if (res->status == NFS3_OK) { \
			__typeof__(res->TYPE##3res_u .resok) *ok = &res->TYPE##3res_u .resok; \
			KEEP_OK; \
		} else { \
			KEEP_FAIL; \
		} \
	} \
	static UNUSED int nfs3_##name##_args(struct client *c, struct TYPE##3args *args) \
	{ \
		client_begin(c); \
		return client_end(c, #TYPE, rpc_nfs3_##name##_async(c->rpc, name##_cb, args, c)); \
	}

#define RESFAIL(TYPE) (&res->TYPE##3res_u .resfail)
#define MADE(name, TYPE) \
	PROC(name, TYPE, keep_made(got, &ok->obj, &ok->obj_attributes, &ok->dir_wcc), \
	     keep_wcc(&got->wcc[0], &RESFAIL(TYPE)->dir_wcc))

PROC(getattr, GETATTR, { got->has_attr = true; got->attr = sane(&ok->obj_attributes); }, { })
PROC(setattr, SETATTR, keep_wcc(&got->wcc[0], &ok->obj_wcc), keep_wcc(&got->wcc[0], &RESFAIL(SETATTR)->obj_wcc))
PROC(lookup, LOOKUP, {
	keep_handle(got, ok->object.data.data_len, ok->object.data.data_val);
	keep_attr(got, &ok->obj_attributes);
	keep_dir_attr(got, &ok->dir_attributes);
}, keep_dir_attr(got, &RESFAIL(LOOKUP)->dir_attributes))
PROC(access, ACCESS, { got->access = ok->access; keep_attr(got, &ok->obj_attributes); },
     keep_attr(got, &RESFAIL(ACCESS)->obj_attributes))
PROC(readlink, READLINK, {
	keep_attr(got, &ok->symlink_attributes);
	snprintf(got->data, IO_MAX, "%s", ok->data);
}, keep_attr(got, &RESFAIL(READLINK)->symlink_attributes))
PROC(read, READ, {
	keep_attr(got, &ok->file_attributes);
	got->count = ok->count;
	got->is_eof = ok->eof;
	if (ok->data.data_len != ok->count)
		die("READ", "count and length of data differ");
	memcpy(got->data, ok->data.data_val, ok->data.data_len);
}, keep_attr(got, &RESFAIL(READ)->file_attributes))
PROC(write, WRITE, {
	keep_wcc(&got->wcc[0], &ok->file_wcc);
	got->count = ok->count;
	got->committed = ok->committed;
	memcpy(got->verifier, ok->verf, 8);
}, keep_wcc(&got->wcc[0], &RESFAIL(WRITE)->file_wcc))
MADE(create, CREATE)
MADE(mkdir, MKDIR)
MADE(symlink, SYMLINK)
MADE(mknod, MKNOD)
PROC(remove, REMOVE, keep_wcc(&got->wcc[0], &ok->dir_wcc), keep_wcc(&got->wcc[0], &RESFAIL(REMOVE)->dir_wcc))
PROC(rmdir, RMDIR, keep_wcc(&got->wcc[0], &ok->dir_wcc), keep_wcc(&got->wcc[0], &RESFAIL(RMDIR)->dir_wcc))
PROC(rename, RENAME, {
	keep_wcc(&got->wcc[0], &ok->fromdir_wcc);
	keep_wcc(&got->wcc[1], &ok->todir_wcc);
}, {
	keep_wcc(&got->wcc[0], &RESFAIL(RENAME)->fromdir_wcc);
	keep_wcc(&got->wcc[1], &RESFAIL(RENAME)->todir_wcc);
})
PROC(link, LINK, {
	keep_attr(got, &ok->file_attributes);
	keep_wcc(&got->wcc[0], &ok->linkdir_wcc);
}, {
	keep_attr(got, &RESFAIL(LINK)->file_attributes);
	keep_wcc(&got->wcc[0], &RESFAIL(LINK)->linkdir_wcc);
})
PROC(readdir, READDIR, {
	keep_dir_attr(got, &ok->dir_attributes);
	memcpy(got->verifier, ok->cookieverf, 8);
	got->is_eof = ok->reply.eof;
	for (struct entry3 *e = ok->reply.entries; e; e = e->nextentry) {
		if (!e->fileid)
			die("READDIR: an entry with the number 0", e->name);
		c->n_entries++;
		c->last_cookie = e->cookie;
		c->entry(c, e->name, e->fileid, e->cookie, NULL, NULL);
	}
}, keep_dir_attr(got, &RESFAIL(READDIR)->dir_attributes))
PROC(readdirplus, READDIRPLUS, {
	keep_dir_attr(got, &ok->dir_attributes);
	memcpy(got->verifier, ok->cookieverf, 8);
	got->is_eof = ok->reply.eof;
	for (struct entryplus3 *e = ok->reply.entries; e; e = e->nextentry) {
		struct got entry = { 0 };

		keep_fh(&entry, &e->name_handle);
		keep_attr(&entry, &e->name_attributes);
		if (!e->fileid || (entry.has_attr && entry.attr.fileid != e->fileid))
			die("READDIRPLUS: an entry with a number that is not its object's", e->name);
		c->n_entries++;
		c->last_cookie = e->cookie;
		c->entry(c, e->name, e->fileid, e->cookie, entry.has_fh ? &entry.fh : NULL,
			 entry.has_attr ? &entry.attr : NULL);
	}
}, keep_dir_attr(got, &RESFAIL(READDIRPLUS)->dir_attributes))
PROC(fsstat, FSSTAT, { got->fsstat = *ok; keep_attr(got, &ok->obj_attributes); },
     keep_attr(got, &RESFAIL(FSSTAT)->obj_attributes))
PROC(fsinfo, FSINFO, { got->fsinfo = *ok; keep_attr(got, &ok->obj_attributes); },
     keep_attr(got, &RESFAIL(FSINFO)->obj_attributes))
PROC(pathconf, PATHCONF, { got->pathconf = *ok; keep_attr(got, &ok->obj_attributes); },
     keep_attr(got, &RESFAIL(PATHCONF)->obj_attributes))
PROC(commit, COMMIT, {
	keep_wcc(&got->wcc[0], &ok->file_wcc);
	memcpy(got->verifier, ok->verf, 8);
}, keep_wcc(&got->wcc[0], &RESFAIL(COMMIT)->file_wcc))

/* ---- the calls, with plain arguments ---- */

static UNUSED struct sattr3 sattr_mode(uint32_t mode)
{
	struct sattr3 s = { 0 };

	s.mode.set_it = 1;
	s.mode.set_mode3_u.mode = mode;
	return s;
}

static UNUSED struct sattr3 sattr_mtime(struct timespec mtime)
{
	struct sattr3 s = { 0 };

	s.mtime.set_it = SET_TO_CLIENT_TIME;
	s.mtime.set_mtime_u.mtime = (struct nfstime3){ (uint32_t)mtime.tv_sec, (uint32_t)mtime.tv_nsec };
	return s;
}

static UNUSED struct sattr3 sattr_size(uint64_t size)
{
	struct sattr3 s = { 0 };

	s.size.set_it = 1;
	s.size.set_size3_u.size = size;
	return s;
}

static UNUSED struct sattr3 sattr_owner(int64_t uid, int64_t gid)
{
	struct sattr3 s = { 0 };

	s.uid.set_it = uid >= 0;
	s.uid.set_uid3_u.uid = (uint32_t)uid;
	s.gid.set_it = gid >= 0;
	s.gid.set_gid3_u.gid = (uint32_t)gid;
	return s;
}

static UNUSED int nfs3_getattr(struct client *c, const struct fh *fh)
{
	return nfs3_getattr_args(c, &(struct GETATTR3args){ fh_arg(fh) });
}

/* guard: NULL, or the ctime that is to be checked. */
static UNUSED int nfs3_setattr(struct client *c, const struct fh *fh, struct sattr3 sattr,
			      const struct nfstime3 *guard)
{
	struct SETATTR3args args = { .object = fh_arg(fh), .new_attributes = sattr };

	if (guard) {
		args.guard.check = 1;
		args.guard.sattrguard3_u.obj_ctime = *guard;
	}
	return nfs3_setattr_args(c, &args);
}

static UNUSED int nfs3_lookup(struct client *c, const struct fh *dir, const char *name)
{
	return nfs3_lookup_args(c, &(struct LOOKUP3args){ name_arg(dir, name) });
}

static UNUSED int nfs3_access(struct client *c, const struct fh *fh, uint32_t want)
{
	return nfs3_access_args(c, &(struct ACCESS3args){ fh_arg(fh), want });
}

static UNUSED int nfs3_readlink(struct client *c, const struct fh *fh)
{
	return nfs3_readlink_args(c, &(struct READLINK3args){ fh_arg(fh) });
}

static UNUSED int nfs3_read(struct client *c, const struct fh *fh, uint64_t offset, uint32_t count)
{
	return nfs3_read_args(c, &(struct READ3args){ fh_arg(fh), offset, count });
}

static UNUSED int nfs3_write(struct client *c, const struct fh *fh, uint64_t offset, const void *data,
			    uint32_t count, enum stable_how how)
{
	struct WRITE3args args = { .file = fh_arg(fh), .offset = offset, .count = count, .stable = how };

	args.data.data_len = count;
	args.data.data_val = (char *)data;
	return nfs3_write_args(c, &args);
}

static UNUSED int nfs3_commit(struct client *c, const struct fh *fh)
{
	return nfs3_commit_args(c, &(struct COMMIT3args){ fh_arg(fh), 0, 0 });
}

static UNUSED int nfs3_create(struct client *c, const struct fh *dir, const char *name, enum createmode3 how,
			     struct sattr3 sattr)
{
	struct CREATE3args args = { .where = name_arg(dir, name), .how = { .mode = how } };

	args.how.createhow3_u.obj_attributes = sattr;
	return nfs3_create_args(c, &args);
}

static UNUSED int nfs3_create_exclusive(struct client *c, const struct fh *dir, const char *name,
				       const char verifier[8])
{
	struct CREATE3args args = { .where = name_arg(dir, name), .how = { .mode = EXCLUSIVE } };

	memcpy(args.how.createhow3_u.verf, verifier, 8);
	return nfs3_create_args(c, &args);
}

static UNUSED int nfs3_mkdir(struct client *c, const struct fh *dir, const char *name, uint32_t mode)
{
	return nfs3_mkdir_args(c, &(struct MKDIR3args){ name_arg(dir, name), sattr_mode(mode) });
}

static UNUSED int nfs3_symlink(struct client *c, const struct fh *dir, const char *name, const char *target)
{
	return nfs3_symlink_args(c, &(struct SYMLINK3args){ name_arg(dir, name),
							    { sattr_mode(0777), (char *)target } });
}

static UNUSED int nfs3_mknod(struct client *c, const struct fh *dir, const char *name, enum ftype3 type,
			    uint32_t major, uint32_t minor)
{
	struct MKNOD3args args = { .where = name_arg(dir, name), .what = { .type = type } };

	if (type == NF3CHR || type == NF3BLK)
		args.what.mknoddata3_u.chr_device =
			(struct devicedata3){ sattr_mode(0640), { major, minor } };
	else
		args.what.mknoddata3_u.pipe_attributes = sattr_mode(0640);
	return nfs3_mknod_args(c, &args);
}

static UNUSED int nfs3_remove(struct client *c, const struct fh *dir, const char *name)
{
	return nfs3_remove_args(c, &(struct REMOVE3args){ name_arg(dir, name) });
}

static UNUSED int nfs3_rmdir(struct client *c, const struct fh *dir, const char *name)
{
	return nfs3_rmdir_args(c, &(struct RMDIR3args){ name_arg(dir, name) });
}

static UNUSED int nfs3_rename(struct client *c, const struct fh *from_dir, const char *from,
			     const struct fh *to_dir, const char *to)
{
	return nfs3_rename_args(c, &(struct RENAME3args){ name_arg(from_dir, from), name_arg(to_dir, to) });
}

static UNUSED int nfs3_link(struct client *c, const struct fh *fh, const struct fh *dir, const char *name)
{
	return nfs3_link_args(c, &(struct LINK3args){ fh_arg(fh), name_arg(dir, name) });
}

static UNUSED int nfs3_readdir(struct client *c, const struct fh *dir, uint64_t cookie, uint32_t count)
{
	return nfs3_readdir_args(c, &(struct READDIR3args){ .dir = fh_arg(dir), .cookie = cookie, .count = count });
}

static UNUSED int nfs3_readdirplus(struct client *c, const struct fh *dir, uint64_t cookie, uint32_t dircount,
				  uint32_t count)
{
	return nfs3_readdirplus_args(c, &(struct READDIRPLUS3args){
		.dir = fh_arg(dir), .cookie = cookie, .dircount = dircount, .maxcount = count });
}

static UNUSED int nfs3_fsstat(struct client *c, const struct fh *fh)
{
	return nfs3_fsstat_args(c, &(struct FSSTAT3args){ fh_arg(fh) });
}

static UNUSED int nfs3_fsinfo(struct client *c, const struct fh *fh)
{
	return nfs3_fsinfo_args(c, &(struct FSINFO3args){ fh_arg(fh) });
}

static UNUSED int nfs3_pathconf(struct client *c, const struct fh *fh)
{
	return nfs3_pathconf_args(c, &(struct PATHCONF3args){ fh_arg(fh) });
}

static UNUSED void plain_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	(void)rpc;
	(void)answered(arg, status, data);
}

static UNUSED void nfs3_null(struct client *c)
{
	client_begin(c);
	(void)client_end(c, "NULL", rpc_nfs3_null_async(c->rpc, plain_cb, c));
}

/* ---- MOUNT ---- */

static UNUSED void mnt_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct client *c = arg;
	struct mountres3 *res = data;

	(void)rpc;
	if (!answered(c, status, data))
		return;
	c->got.status = (int)res->fhs_status;
	if (res->fhs_status != MNT3_OK)
		return;
	keep_handle(&c->got, res->mountres3_u.mountinfo.fhandle.fhandle3_len,
		    res->mountres3_u.mountinfo.fhandle.fhandle3_val);
	for (unsigned i = 0; i < res->mountres3_u.mountinfo.auth_flavors.auth_flavors_len; i++)
		c->got.access |= 1u << res->mountres3_u.mountinfo.auth_flavors.auth_flavors_val[i];
}

/* c->got.access: a bit per flavor. */
static UNUSED int mount_mnt(struct client *c, const char *path)
{
	client_begin(c);
	return client_end(c, "MNT", rpc_mount3_mnt_async(c->rpc, mnt_cb, (char *)path, c));
}

static UNUSED void mount_null(struct client *c)
{
	client_begin(c);
	(void)client_end(c, "MOUNT NULL", rpc_mount3_null_async(c->rpc, plain_cb, c));
}

static UNUSED void mount_umnt(struct client *c, const char *path)
{
	client_begin(c);
	(void)client_end(c, "UMNT", rpc_mount3_umnt_async(c->rpc, plain_cb, (char *)path, c));
}

static UNUSED void mount_umntall(struct client *c)
{
	client_begin(c);
	(void)client_end(c, "UMNTALL", rpc_mount3_umntall_async(c->rpc, plain_cb, c));
}

static UNUSED void dump_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct client *c = arg;

	(void)rpc;
	if (!answered(c, status, data))
		return;
	for (mountlist e = *(mountlist *)data; e; e = e->ml_next)
		c->mount_entry(c, e->ml_hostname, e->ml_directory);
}

static UNUSED void mount_dump(struct client *c)
{
	client_begin(c);
	(void)client_end(c, "DUMP", rpc_mount3_dump_async(c->rpc, dump_cb, c));
}

static UNUSED void export_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct client *c = arg;

	(void)rpc;
	if (!answered(c, status, data))
		return;
	for (exports e = *(exports *)data; e; e = e->ex_next)
		c->mount_entry(c, NULL, e->ex_dir);
}

static UNUSED void mount_export(struct client *c)
{
	client_begin(c);
	(void)client_end(c, "EXPORT", rpc_mount3_export_async(c->rpc, export_cb, c));
}

/* ---- connections ---- */

/* The caller of what follows. */
static UNUSED void client_as(struct client *c, uint32_t uid, uint32_t gid, uint32_t n, const uint32_t *groups)
{
	rpc_set_auth(c->rpc, libnfs_authunix_create("test", uid, gid, n, (uint32_t *)groups));
}

static UNUSED void client_as_root(struct client *c)
{
	client_as(c, 0, 0, 0, NULL);
}

/* A member of the group of the same number only. */
static UNUSED void client_as_user(struct client *c, uint32_t uid)
{
	client_as(c, uid, uid, 0, NULL);
}

static UNUSED void client_connect(struct client *c, int port)
{
	memset(c, 0, sizeof(*c));
	c->rpc = rpc_init_context();
	if (!c->rpc)
		die("libnfs", "no context");
	client_as_root(c);
	client_begin(c);
	(void)client_end(c, "connect", rpc_connect_async(c->rpc, "127.0.0.1", port, plain_cb, c));
}

/* Connects and gets the export's root. */
static UNUSED void client_open(struct client *c, int port)
{
	client_connect(c, port);
	if (mount_mnt(c, "/imports"))
		die("MNT", "refused");
	c->root = c->dir = c->got.fh;
}

static UNUSED void client_close(struct client *c)
{
	rpc_destroy_context(c->rpc);	/* calls that are still out are told, into got.data */
	free(c->got.data);
}

/* ---- tests ---- */

static bool test_failed UNUSED;

static UNUSED bool want_at(const char *file, int line, const char *what, bool is_true)
{
	if (!is_true) {
		printf("# %s:%d: not so: %s\n", file, line, what);
		test_failed = true;
	}
	return is_true;
}

static UNUSED bool want_is_at(const char *file, int line, const char *what, int64_t got, int64_t want)
{
	if (got != want) {
		printf("# %s:%d: %s: got %lld, want %lld\n", file, line, what, (long long)got, (long long)want);
		test_failed = true;
	}
	return got == want;
}

/* Each gives whether it is so; the test goes on. */
#define want(what) want_at(__FILE__, __LINE__, #what, what)
#define want_is(got, wanted) want_is_at(__FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(wanted))
/* A change tells what its directory was like before and is like after. */
#define want_wcc(w) want((w).has_before && (w).has_after)

/* Makes a file and gives its handle. */
static UNUSED struct fh made_file(struct client *c, const struct fh *dir, const char *name, uint32_t mode)
{
	want_is(nfs3_create(c, dir, name, GUARDED, sattr_mode(mode)), NFS3_OK);
	want(c->got.has_fh);
	return c->got.fh;
}

static UNUSED struct fh made_dir(struct client *c, const struct fh *dir, const char *name, uint32_t mode)
{
	want_is(nfs3_mkdir(c, dir, name, mode), NFS3_OK);
	want(c->got.has_fh);
	return c->got.fh;
}

static UNUSED void put(struct client *c, const struct fh *fh, const char *text)
{
	want_is(nfs3_write(c, fh, 0, text, (uint32_t)strlen(text), FILE_SYNC), NFS3_OK);
}

static UNUSED bool holds(struct client *c, const struct fh *fh, const char *text)
{
	return nfs3_read(c, fh, 0, IO_MAX) == NFS3_OK && c->got.count == strlen(text) &&
	       !memcmp(c->got.data, text, c->got.count);
}

static UNUSED bool same_fh(const struct fh *a, const struct fh *b)
{
	return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

static UNUSED bool same_time(struct nfstime3 a, struct nfstime3 b)
{
	return a.seconds == b.seconds && a.nseconds == b.nseconds;
}

static UNUSED bool is_later(struct nfstime3 a, struct nfstime3 b)
{
	return a.seconds > b.seconds || (a.seconds == b.seconds && a.nseconds > b.nseconds);
}

struct test {
	const char *name;
	void (*run)(struct client *c);
};

/* usage: PROGRAM PORT [TEST].  program: a word for the directories made. */
static UNUSED int run_tests(int argc, char **argv, const char *program, const struct test *tests, size_t n)
{
	int failed = 0, done = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2) {
		fprintf(stderr, "usage: %s PORT [TEST]\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < n; i++) {
		struct client c;
		char name[128];

		if (argc > 2 && strcmp(argv[2], tests[i].name))
			continue;
		client_open(&c, atoi(argv[1]));
		snprintf(name, sizeof(name), "%s-%zu", program, i);
		test_failed = false;
		c.dir = made_dir(&c, &c.root, name, 0755);
		tests[i].run(&c);
		client_close(&c);
		printf("%sok %d - %s\n", test_failed ? "not " : "", ++done, tests[i].name);
		failed += test_failed;
	}
	printf("1..%d\n", done);
	return failed != 0;
}

#endif
