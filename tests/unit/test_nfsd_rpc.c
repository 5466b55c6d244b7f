/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RPC headers, credentials, refusals; retransmissions (invariant 2) within one life of the server and across. */
#include "base/log.h"
#include "tests/unit/fixed.h"
#include "tests/unit/nfsd_fixture.h"
#include "rpcgen/mount3.h"
#include "rpcgen/nfsacl3.h"

/* ---- programs, versions, procedures ---- */

static const struct header_case {
	const char *name;
	uint32_t program, version, proc;
	uint32_t accept_stat;
	uint32_t versions;	/* of PROG_MISMATCH: low and high */
} header_cases[] = {
	{ "NFS v3", NFS_PROGRAM, 3, 0, SUCCESS, 0 },
	{ "MOUNT v3", MOUNT_PROGRAM, 3, 0, SUCCESS, 0 },
	{ "NFS v2", NFS_PROGRAM, 2, 0, PROG_MISMATCH, 3 },
	{ "NFS v4", NFS_PROGRAM, 4, 0, PROG_MISMATCH, 3 },
	{ "NFS v4, COMPOUND", NFS_PROGRAM, 4, 1, PROG_MISMATCH, 3 },
	{ "MOUNT v1", MOUNT_PROGRAM, 1, 1, PROG_MISMATCH, 3 },
	{ "NFSACL v3, NULL", NFS_ACL_PROGRAM, 3, 0, SUCCESS, 0 },
	{ "NFSACL v2", NFS_ACL_PROGRAM, 2, 0, PROG_MISMATCH, 3 },
	{ "NFSACL procedure 3", NFS_ACL_PROGRAM, 3, 3, PROC_UNAVAIL, 0 },
	{ "NLM", 100021, 4, 0, PROG_UNAVAIL, 0 },
	{ "NFS procedure 22", NFS_PROGRAM, 3, 22, PROC_UNAVAIL, 0 },
	{ "NFS procedure 2^32-1", NFS_PROGRAM, 3, UINT32_MAX, PROC_UNAVAIL, 0 },
	{ "MOUNT procedure 6", MOUNT_PROGRAM, 3, 6, PROC_UNAVAIL, 0 },
};

static void header(void **state)
{
	struct nfsd_fixture *n = *state;
	const struct header_case *c = n->arg;
	struct call_buf call = call_begin(5, c->program, c->version, c->proc, 0);
	int fd = n_connect(n);
	struct reply r;

	call_send(fd, &call);
	r = n_reply(fd);
	assert_int_equal(r.xid, 5);
	assert_int_equal(r.reply_stat, MSG_ACCEPTED);
	assert_int_equal(r.accept_stat, c->accept_stat);
	if (c->versions) {
		assert_int_equal(xdr_in_u32(&r.in), c->versions);
		assert_int_equal(xdr_in_u32(&r.in), c->versions);
	}
	assert_true(xdr_in_done(&r.in));
	assert_int_equal(n_stats(n).bad_calls, c->accept_stat != SUCCESS);
	reply_free(&r);
	assert_served(fd);
	close(fd);
}

static void another_rpc_version(void **state)
{
	struct call_buf call = nfs_call(5, 0);
	int fd = n_connect(*state);
	struct reply r;

	xdr_store_u32(call.record + 12, 3);
	call_send(fd, &call);
	r = n_reply(fd);
	assert_int_equal(r.reply_stat, MSG_DENIED);
	assert_int_equal(xdr_in_u32(&r.in), RPC_MISMATCH);
	assert_int_equal(xdr_in_u32(&r.in), 2);
	assert_int_equal(xdr_in_u32(&r.in), 2);
	assert_true(xdr_in_done(&r.in));
	reply_free(&r);
	assert_served(fd);
	close(fd);
}

/* ---- credentials ---- */

static const struct auth_case {
	const char *name;
	uint32_t flavor;
	const char *body;
	size_t len;
	uint32_t verf_flavor, verf_len;
	uint32_t auth_stat;	/* AUTH_OK: accepted */
} auth_cases[] = {
	{ "AUTH_NONE", AUTH_NONE, "", 0, AUTH_NONE, 0, AUTH_OK },
	{ "AUTH_SYS without groups", AUTH_SYS, "\0\0\0\0\0\0\0\1h\0\0\0\0\0\0\1\0\0\0\1\0\0\0\0",
	  24, 0, 0, AUTH_OK },
	{ "AUTH_SYS, a stamp", AUTH_SYS, "\1\2\3\4\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\7", 24, 0,
	  0, AUTH_OK },
	{ "AUTH_SYS, more groups than there are", AUTH_SYS,
	  "\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\2\0\0\0\7", 24, 0, 0, AUTH_BADCRED },
	{ "AUTH_SYS, 17 groups", AUTH_SYS,
	  "\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\21"
	  "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5\0\0\0\6\0\0\0\7\0\0\0\10\0\0\0\11\0\0\0\12"
	  "\0\0\0\13\0\0\0\14\0\0\0\15\0\0\0\16\0\0\0\17\0\0\0\20\0\0\0\21",
	  88, 0, 0, AUTH_BADCRED },
	{ "AUTH_SYS, something left over", AUTH_SYS,
	  "\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\0", 24, 0, 0, AUTH_BADCRED },
	{ "AUTH_SYS, empty", AUTH_SYS, "", 0, 0, 0, AUTH_BADCRED },
	{ "AUTH_NONE with a body", AUTH_NONE, "abcd", 4, 0, 0, AUTH_BADCRED },
	{ "AUTH_SHORT", 2, "abcd", 4, 0, 0, AUTH_BADCRED },
	{ "RPCSEC_GSS", 6, "abcd", 4, 0, 0, AUTH_BADCRED },
	{ "an unknown flavor", 12345, "", 0, 0, 0, AUTH_BADCRED },
	{ "a verifier of another flavor", AUTH_NONE, "", 0, AUTH_SYS, 0, AUTH_BADVERF },
	{ "a verifier with a body", AUTH_NONE, "", 0, AUTH_NONE, 4, AUTH_BADVERF },
};

static void credential(void **state)
{
	struct nfsd_fixture *n = *state;
	const struct auth_case *c = n->arg;
	struct call_buf call = nfs_call(5, NFSPROC3_NULL);
	int fd = n_connect(n);
	struct reply r;

	call.out.p = call.record + 4 + 6 * 4;
	xdr_out_u32(&call.out, c->flavor);
	xdr_out_opaque(&call.out, c->body, c->len);
	xdr_out_u32(&call.out, c->verf_flavor);
	xdr_out_opaque(&call.out, "verf", c->verf_len);
	call_send(fd, &call);
	r = n_reply(fd);
	if (c->auth_stat == AUTH_OK) {
		assert_int_equal(r.reply_stat, MSG_ACCEPTED);
		assert_int_equal(r.accept_stat, SUCCESS);
	} else {
		assert_int_equal(r.reply_stat, MSG_DENIED);
		assert_int_equal(xdr_in_u32(&r.in), AUTH_ERROR);
		assert_int_equal(xdr_in_u32(&r.in), c->auth_stat);
	}
	assert_true(xdr_in_done(&r.in));
	reply_free(&r);
	assert_served(fd);
	close(fd);
}

/* ---- arguments ---- */

static const struct args_case {
	const char *name;
	uint32_t program, proc;
	const char *args;
	size_t len;
} args_cases[] = {
	{ "NULL with arguments", NFS_PROGRAM, NFSPROC3_NULL, "\0\0\0\0", 4 },
	{ "GETATTR without", NFS_PROGRAM, NFSPROC3_GETATTR, "", 0 },
	{ "GETATTR, handle of 65 bytes", NFS_PROGRAM, NFSPROC3_GETATTR,
	  "\0\0\0\101aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 72 },
	{ "GETATTR, handle cut short", NFS_PROGRAM, NFSPROC3_GETATTR, "\0\0\0\40abcd", 8 },
	{ "GETATTR, something left over", NFS_PROGRAM, NFSPROC3_GETATTR, "\0\0\0\4abcd\0\0\0\0", 12 },
	{ "SETATTR, a bool of 2", NFS_PROGRAM, NFSPROC3_SETATTR,
	  "\0\0\0\4abcd\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 36 },
	{ "SETATTR, a time_how of 3", NFS_PROGRAM, NFSPROC3_SETATTR,
	  "\0\0\0\4abcd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\0", 36 },
	{ "CREATE, a createmode of 3", NFS_PROGRAM, NFSPROC3_CREATE,
	  "\0\0\0\4abcd\0\0\0\1a\0\0\0\0\0\0\3\0\0\0\0\0\0\0\0", 28 },
	{ "WRITE, count and data differ", NFS_PROGRAM, NFSPROC3_WRITE,
	  "\0\0\0\4abcd\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\4data", 32 },
	{ "WRITE, a stable_how of 3", NFS_PROGRAM, NFSPROC3_WRITE,
	  "\0\0\0\4abcd\0\0\0\0\0\0\0\0\0\0\0\4\0\0\0\3\0\0\0\4data", 32 },
	{ "RENAME with one name", NFS_PROGRAM, NFSPROC3_RENAME, "\0\0\0\4abcd\0\0\0\1a\0\0\0", 16 },
	{ "LOOKUP, name of 2^32-1 bytes", NFS_PROGRAM, NFSPROC3_LOOKUP, "\0\0\0\4abcd\xff\xff\xff\xff""aaaa", 16 },
	{ "READDIR, cookie cut short", NFS_PROGRAM, NFSPROC3_READDIR, "\0\0\0\4abcd\0\0\0\0", 12 },
	{ "MNT without a path", MOUNT_PROGRAM, MOUNTPROC3_MNT, "", 0 },
	{ "DUMP with arguments", MOUNT_PROGRAM, MOUNTPROC3_DUMP, "\0\0\0\0", 4 },
};

static void garbage_args(void **state)
{
	struct nfsd_fixture *n = *state;
	const struct args_case *c = n->arg;
	struct call_buf call = call_begin(5, c->program, 3, c->proc, 0);
	int fd = n_connect(n);
	struct reply r;

	memcpy(xdr_out_extend(&call.out, c->len), c->args, c->len);
	call_send(fd, &call);
	r = n_reply(fd);
	assert_int_equal(r.reply_stat, MSG_ACCEPTED);
	assert_int_equal(r.accept_stat, GARBAGE_ARGS);
	assert_true(xdr_in_done(&r.in));
	reply_free(&r);
	assert_served(fd);
	close(fd);
	assert_int_equal(n_stats(n).bad_calls, 1);
}

/* More than any call of the procedure can have. */
static void arguments_without_end(void **state)
{
	struct nfsd_fixture *n = *state;
	struct call_buf call = nfs_call(5, NFSPROC3_GETATTR);
	int fd = n_connect(n);
	struct reply r;

	memset(xdr_out_extend(&call.out, 1000000), 0, 1000000);
	call_send(fd, &call);
	r = n_reply(fd);
	assert_int_equal(r.accept_stat, GARBAGE_ARGS);
	reply_free(&r);
	assert_served(fd);
	close(fd);
}

/* ---- retransmissions ---- */

static void put_sattr(struct xdr_out *out)
{
	for (int i = 0; i < 6; i++)
		xdr_out_u32(out, 0);
}

static struct call_buf mkdir_call(struct nfsd_fixture *n, uint32_t xid, const char *name,
				  uint32_t uid)
{
	struct call_buf c = call_begin(xid, NFS_PROGRAM, NFS_V3, NFSPROC3_MKDIR, uid);

	xdr_out_opaque(&c.out, n->root, FH_LEN);
	xdr_out_opaque(&c.out, name, strlen(name));
	put_sattr(&c.out);
	return c;
}

static struct call_buf rmdir_call(struct nfsd_fixture *n, uint32_t xid, const char *name)
{
	struct call_buf c = nfs_call(xid, NFSPROC3_RMDIR);

	xdr_out_opaque(&c.out, n->root, FH_LEN);
	xdr_out_opaque(&c.out, name, strlen(name));
	return c;
}

/* Send it, keep it; the whole reply. */
static struct reply ask(int fd, struct call_buf *c)
{
	n_send(fd, c->record, call_seal(c));
	return n_reply(fd);
}

static uint32_t status_of(struct reply *r)
{
	struct xdr_in in = r->in;

	assert_int_equal(r->reply_stat, MSG_ACCEPTED);
	assert_int_equal(r->accept_stat, SUCCESS);
	return xdr_in_u32(&in);
}

static uint32_t ask_status(int fd, struct call_buf *c)
{
	struct reply r = ask(fd, c);
	uint32_t status = status_of(&r);

	reply_free(&r);
	return status;
}

static void assert_same(int fd, struct call_buf *c, const struct reply *first)
{
	struct reply again = ask(fd, c);

	assert_int_equal(again.len, first->len);
	assert_memory_equal(again.data, first->data, first->len);
	reply_free(&again);
}

static void a_retransmission_gets_the_first_answer(void **state)
{
	struct nfsd_fixture *n = *state;
	struct call_buf make = mkdir_call(n, 1, "d", 0), drop = rmdir_call(n, 2, "d");
	int fd = n_connect(n), other;
	struct reply made = ask(fd, &make), dropped;

	assert_int_equal(status_of(&made), NFS3_OK);
	assert_same(fd, &make, &made);
	dropped = ask(fd, &drop);
	assert_int_equal(status_of(&dropped), NFS3_OK);
	close(fd);
	other = n_connect(n);	/* a client that lost its connection */
	assert_same(other, &drop, &dropped);
	assert_same(other, &make, &made);
	assert_int_equal(n_stats(n).duplicates, 3);
	assert_int_equal(n_stats(n).proc[NFSPROC3_MKDIR].calls, 1);
	close(other);
	reply_free(&made);
	reply_free(&dropped);
	free(make.record);
	free(drop.record);
}

/* The Linux client put the time of encoding there once. */
static void another_stamp_is_the_same_call(void **state)
{
	struct nfsd_fixture *n = *state;
	struct call_buf c = mkdir_call(n, 1, "d", 0);
	int fd = n_connect(n);
	struct reply r = ask(fd, &c);

	assert_int_equal(status_of(&r), NFS3_OK);
	xdr_store_u32(c.record + 4 + 8 * 4, 12345);
	assert_same(fd, &c, &r);
	close(fd);
	reply_free(&r);
	free(c.record);
}

/* Same xid, yet another call: somebody else's, or the same client's after 2^32 calls. */
static void other_calls_are_no_retransmissions(void **state)
{
	struct nfsd_fixture *n = *state;
	struct call_buf calls[] = {
		mkdir_call(n, 1, "d", 0), mkdir_call(n, 1, "d", 1000), mkdir_call(n, 2, "d", 0),
		mkdir_call(n, 1, "e", 0), rmdir_call(n, 1, "d"), rmdir_call(n, 1, "e"),
	};
	static const uint32_t want[] = { NFS3_OK, NFS3ERR_EXIST, NFS3ERR_EXIST,
					 NFS3_OK, NFS3_OK,	 NFS3_OK };
	int fd = n_connect(n);

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		assert_int_equal(ask_status(fd, &calls[i]), want[i]);
		free(calls[i].record);
	}
	assert_int_equal(n_stats(n).duplicates, 0);
	close(fd);
}

/* Both are sent before the first one is done; it is done and answered once. */
static void a_retransmission_of_a_call_under_way(void **state)
{
	struct nfsd_fixture *n = *state;
	struct call_buf c = mkdir_call(n, 1, "d", 0);
	size_t len = call_seal(&c);
	unsigned char twice[2048];
	int fd = n_connect(n);
	struct reply r;

	memcpy(twice, c.record, len);
	memcpy(twice + len, c.record, len);
	n_send(fd, twice, 2 * len);
	r = n_reply(fd);
	assert_int_equal(status_of(&r), NFS3_OK);
	reply_free(&r);
	send_null(fd, 7);
	r = n_reply(fd);
	if (r.xid == 1) {	/* it was fast: both were answered, the second from the cache */
		assert_int_equal(status_of(&r), NFS3_OK);
		reply_free(&r);
		r = n_reply(fd);
	}
	assert_int_equal(r.xid, 7);
	reply_free(&r);
	assert_int_equal(n_stats(n).duplicates, 1);
	assert_int_equal(n_stats(n).proc[NFSPROC3_MKDIR].calls, 1);
	close(fd);
	free(c.record);
}

static void garbage_is_not_remembered(void **state)
{
	struct nfsd_fixture *n = *state;
	struct call_buf c = rmdir_call(n, 1, "d");
	int fd = n_connect(n);

	xdr_out_u32(&c.out, 0);
	for (int i = 0; i < 3; i++) {
		struct reply r = ask(fd, &c);

		assert_int_equal(r.accept_stat, GARBAGE_ARGS);
		reply_free(&r);
	}
	assert_int_equal(n_stats(n).duplicates, 0);
	close(fd);
	free(c.record);
}

/* The replies are gone with the process; that the change was made is known to the cache. */
static void retransmissions_after_a_restart(void **state)
{
	struct nfsd_fixture *n = *state;
	struct call_buf make = mkdir_call(n, 1, "d", 0), drop = rmdir_call(n, 2, "old"),
			old = mkdir_call(n, 3, "old", 0), lost = rmdir_call(n, 4, "none");
	int fd = n_connect(n);
	struct reply first, again;
	struct slice fh_first, fh_again;

	assert_int_equal(ask_status(fd, &old), NFS3_OK);
	first = ask(fd, &make);
	assert_int_equal(status_of(&first), NFS3_OK);
	assert_int_equal(ask_status(fd, &drop), NFS3_OK);
	assert_int_equal(ask_status(fd, &lost), NFS3ERR_NOENT);
	close(fd);
	n_restart(n);

	fd = n_connect(n);
	again = ask(fd, &make);
	assert_int_equal(status_of(&again), NFS3_OK);	/* not EXIST */
	(void)xdr_in_fixed(&first.in, 8);
	(void)xdr_in_fixed(&again.in, 8);
	fh_first = xdr_in_opaque(&first.in, FH_LEN);
	fh_again = xdr_in_opaque(&again.in, FH_LEN);
	assert_int_equal(fh_first.len, FH_LEN);
	assert_memory_equal(fh_again.data, fh_first.data, FH_LEN);
	assert_int_equal(ask_status(fd, &drop), NFS3_OK);	/* not NOENT */
	assert_int_equal(ask_status(fd, &lost), NFS3ERR_NOENT);
	close(fd);
	reply_free(&first);
	reply_free(&again);
	free(make.record);
	free(drop.record);
	free(old.record);
	free(lost.record);
}

/* ---- exports ---- */

static void a_read_only_export(void **state)
{
	struct nfsd_fixture *n = *state;
	struct call_buf c;
	struct reply r;
	int fd;

	n->export.is_read_only = true;
	n_start(n);
	fd = n_connect(n);
	c = mkdir_call(n, 1, "d", 0);
	assert_int_equal(ask_status(fd, &c), NFS3ERR_ROFS);
	free(c.record);

	c = nfs_call(2, NFSPROC3_ACCESS);
	xdr_out_opaque(&c.out, n->root, FH_LEN);
	xdr_out_u32(&c.out, 0x3f);
	r = ask(fd, &c);
	assert_int_equal(status_of(&r), NFS3_OK);
	(void)xdr_in_fixed(&r.in, 4 + 4 + 84);
	assert_int_equal(xdr_in_u32(&r.in) & (ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE), 0);
	assert_true(xdr_in_done(&r.in));
	reply_free(&r);
	free(c.record);
	close(fd);
}

/* ---- */

#define TEST(f) cmocka_unit_test_setup_teardown(f, n_setup, n_teardown)
#define TEST_STOPPED(f) cmocka_unit_test_setup_teardown(f, n_setup_stopped, n_teardown)

static int setup_case(void **state)
{
	void *arg = *state;

	(void)n_setup(state);
	((struct nfsd_fixture *)*state)->arg = arg;
	return 0;
}

#define CASES(cases, function) \
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) \
		tests[n++] = (struct CMUnitTest){ cases[i].name, function, setup_case, n_teardown, \
						  (void *)&cases[i] }

int main(void)
{
	struct CMUnitTest tests[64] = {
		TEST(another_rpc_version),
		TEST(arguments_without_end),
		TEST(a_retransmission_gets_the_first_answer),
		TEST(another_stamp_is_the_same_call),
		TEST(other_calls_are_no_retransmissions),
		TEST(a_retransmission_of_a_call_under_way),
		TEST(garbage_is_not_remembered),
		TEST(retransmissions_after_a_restart),
		TEST_STOPPED(a_read_only_export),
	};
	size_t n = fixed_tests(tests);

	log_set_level(LOG_LEVEL_ERROR);
	CASES(header_cases, header);
	CASES(auth_cases, credential);
	CASES(args_cases, garbage_args);
	return _cmocka_run_group_tests("rpc", tests, n, NULL, NULL);
}
