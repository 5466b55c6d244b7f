/* SPDX-License-Identifier: GPL-2.0-or-later */
/* data PORT [TEST]: READ, WRITE, COMMIT. */
#include "tests/nfs/client.h"

#define GIB (1ull << 30)

static char block[IO_MAX + 3000];	/* and more than WRITE takes */

static void read_what_is_there(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);

	put(c, &fh, "0123456789");
	want_is(nfs3_read(c, &fh, 0, 10), NFS3_OK);
	want(c->got.has_attr);
	want_is(c->got.count, 10);
	want(c->got.is_eof);
	want_is(nfs3_read(c, &fh, 2, 5), NFS3_OK);
	want_is(c->got.count, 5);
	want(!c->got.is_eof);
	want(!memcmp(c->got.data, "23456", 5));
	want_is(nfs3_read(c, &fh, 7, 100), NFS3_OK);
	want_is(c->got.count, 3);
	want(c->got.is_eof);
	want_is(nfs3_read(c, &fh, 10, 1), NFS3_OK);
	want_is(c->got.count, 0);
	want(c->got.is_eof);
	want_is(nfs3_read(c, &fh, 0, 0), NFS3_OK);
	want_is(c->got.count, 0);
	want(!c->got.is_eof);
	want_is(nfs3_read(c, &fh, 1ull << 62, 10), NFS3_OK);
	want(c->got.count == 0 && c->got.is_eof);
	want_is(nfs3_read(c, &fh, UINT64_MAX, 10), NFS3_OK);
	want(c->got.count == 0 && c->got.is_eof);
	want_is(nfs3_read(c, &fh, 10, 0), NFS3_OK);
	want(c->got.count == 0 && c->got.is_eof);
	fh = made_file(c, &c->dir, "empty", 0644);
	want_is(nfs3_read(c, &fh, 0, 0), NFS3_OK);
	want(c->got.count == 0 && c->got.is_eof);
}

/* RFC 1813 3.3.6, 3.3.7 and 3.3.21 are for regular files, and of everything else, directories too, INVAL. */
static void what_is_no_file(struct client *c)
{
	static const enum ftype3 types[] = { NF3DIR, NF3LNK, NF3FIFO, NF3SOCK, NF3CHR, NF3BLK };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		bool is_ok = true;
		struct fh fh;

		if (types[i] == NF3DIR)
			want_is(nfs3_mkdir(c, &c->dir, "x", 0755), NFS3_OK);
		else if (types[i] == NF3LNK)
			want_is(nfs3_symlink(c, &c->dir, "x", "to"), NFS3_OK);
		else
			want_is(nfs3_mknod(c, &c->dir, "x", types[i], 1, 3), NFS3_OK);
		fh = c->got.fh;
		is_ok &= want_is(nfs3_read(c, &fh, 0, 10), NFS3ERR_INVAL) && want(c->got.has_attr);
		is_ok &= want_is(nfs3_read(c, &fh, 0, 0), NFS3ERR_INVAL);
		is_ok &= want_is(nfs3_write(c, &fh, 0, "x", 1, UNSTABLE), NFS3ERR_INVAL) && want_wcc(c->got.wcc[0]);
		is_ok &= want_is(nfs3_write(c, &fh, 0, "", 0, FILE_SYNC), NFS3ERR_INVAL);
		is_ok &= want_is(nfs3_commit(c, &fh), NFS3ERR_INVAL) && want_wcc(c->got.wcc[0]);
		is_ok &= want_is(nfs3_setattr(c, &fh, sattr_size(0), NULL), NFS3ERR_INVAL) && want_wcc(c->got.wcc[0]);
		if (!is_ok)
			printf("# of type %d\n", types[i]);
		if (types[i] == NF3DIR)
			want_is(nfs3_rmdir(c, &c->dir, "x"), NFS3_OK);
		else
			want_is(nfs3_remove(c, &c->dir, "x"), NFS3_OK);
	}
}

static void write_how(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);
	char verifier[8];
	struct nfstime3 last;

	want_is(nfs3_write(c, &fh, 0, "hello", 5, UNSTABLE), NFS3_OK);
	want_wcc(c->got.wcc[0]);
	want_is(c->got.wcc[0].before.size, 0);
	want_is(c->got.wcc[0].after.size, 5);
	want(is_later(c->got.wcc[0].after.mtime, c->got.wcc[0].before.mtime));
	want_is(c->got.count, 5);
	memcpy(verifier, c->got.verifier, 8);
	last = c->got.wcc[0].after.ctime;
	want_is(nfs3_commit(c, &fh), NFS3_OK);
	want_wcc(c->got.wcc[0]);
	want(!memcmp(verifier, c->got.verifier, 8));
	want(!is_later(last, c->got.wcc[0].after.ctime));
	want_is(nfs3_write(c, &fh, 5, " world", 6, DATA_SYNC), NFS3_OK);
	want(c->got.committed >= DATA_SYNC);
	want(!memcmp(verifier, c->got.verifier, 8));
	want_is(nfs3_write(c, &fh, 11, "!", 1, FILE_SYNC), NFS3_OK);
	want_is(c->got.committed, FILE_SYNC);
	want(holds(c, &fh, "hello world!"));
	want_is(nfs3_write(c, &fh, 0, "J", 1, FILE_SYNC), NFS3_OK);
	want(holds(c, &fh, "Jello world!"));
}

/* Changes nothing, not even a time; and says what was asked for, not less. */
static void a_write_of_no_bytes(struct client *c)
{
	static const enum stable_how hows[] = { UNSTABLE, DATA_SYNC, FILE_SYNC };
	struct fh fh = made_file(c, &c->dir, "f", 0644);
	struct fattr3 before;

	put(c, &fh, "hello");
	want_is(nfs3_getattr(c, &fh), NFS3_OK);
	before = c->got.attr;
	for (size_t i = 0; i < ARRAY_SIZE(hows); i++) {
		want_is(nfs3_write(c, &fh, 100, "", 0, hows[i]), NFS3_OK);
		want_is(c->got.count, 0);
		want(c->got.committed >= (int)hows[i]);
		want_wcc(c->got.wcc[0]);
		want_is(c->got.wcc[0].after.size, 5);
		want(same_time(c->got.wcc[0].after.mtime, before.mtime));
		want(same_time(c->got.wcc[0].after.ctime, before.ctime));
	}
	want(holds(c, &fh, "hello"));
	client_as_user(c, 1000);
	want_is(nfs3_write(c, &fh, 0, "", 0, UNSTABLE), NFS3ERR_ACCES);
}

/* RFC 1813 3.3.21: the whole file goes, whatever part was asked for; nothing to commit is no error. */
static void commit_of_any_part(struct client *c)
{
	static const struct {
		uint64_t offset;
		uint32_t count;
	} parts[] = { { 0, 0 }, { 0, 5 }, { 3, 1 }, { 4096, 4096 }, { UINT64_MAX, UINT32_MAX }, { UINT64_MAX, 0 } };
	struct fh fh = made_file(c, &c->dir, "f", 0644);

	for (size_t i = 0; i < 2 * ARRAY_SIZE(parts); i++) {
		struct COMMIT3args args = { fh_arg(&fh), parts[i / 2].offset, parts[i / 2].count };
		char verifier[8];

		want_is(nfs3_write(c, &fh, 0, "hello", 5, UNSTABLE), NFS3_OK);
		memcpy(verifier, c->got.verifier, 8);
		want_is(nfs3_commit_args(c, &args), NFS3_OK);
		want_wcc(c->got.wcc[0]);
		want(!memcmp(verifier, c->got.verifier, 8));
		want_is(nfs3_commit_args(c, &args), NFS3_OK);
		want(!memcmp(verifier, c->got.verifier, 8));
	}
}

static void offsets_of_64_bits(struct client *c)
{
	static const uint64_t at[] = { 2 * GIB - 3, 4 * GIB - 3, 5 * GIB, 100 * GIB, 1024 * GIB };
	struct fh fh = made_file(c, &c->dir, "f", 0644);

	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		want_is(nfs3_write(c, &fh, at[i], "across", 6, UNSTABLE), NFS3_OK);
		want_is(c->got.wcc[0].after.size, at[i] + 6);
	}
	want_is(nfs3_commit(c, &fh), NFS3_OK);
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		want_is(nfs3_read(c, &fh, at[i] - 2, 8), NFS3_OK);
		want_is(c->got.count, 8);
		want(!memcmp(c->got.data, "\0\0across", 8));
	}
	want_is(nfs3_getattr(c, &fh), NFS3_OK);
	want(c->got.attr.used < 1 << 20);
	want_is(nfs3_write(c, &fh, INT64_MAX, "x", 1, UNSTABLE), NFS3ERR_FBIG);
	want_is(nfs3_write(c, &fh, UINT64_MAX, "x", 1, UNSTABLE), NFS3ERR_FBIG);
	want_is(nfs3_getattr(c, &fh), NFS3_OK);
	want_is(c->got.attr.size, 1024 * GIB + 6);
}

static void the_largest_transfers(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)(i * 13 + i / 5003);
	for (unsigned i = 0; i < 4; i++) {
		want_is(nfs3_write(c, &fh, i * (uint64_t)IO_MAX + 1, block, IO_MAX, UNSTABLE),
			NFS3_OK);
		want_is(c->got.count, IO_MAX);
	}
	want_is(nfs3_commit(c, &fh), NFS3_OK);
	for (unsigned i = 0; i < 4; i++) {
		want_is(nfs3_read(c, &fh, i * (uint64_t)IO_MAX + 1, IO_MAX), NFS3_OK);
		want_is(c->got.count, IO_MAX);
		want(!memcmp(c->got.data, block, IO_MAX));
		want_is(c->got.is_eof, i == 3);
	}
	/* More than the most is cut. */
	want_is(nfs3_read(c, &fh, 0, 3 * IO_MAX), NFS3_OK);
	want_is(c->got.count, IO_MAX);
	want(!c->got.is_eof);
	want_is(nfs3_setattr(c, &fh, sattr_size(0), NULL), NFS3_OK);
	want_is(nfs3_write(c, &fh, 0, block, IO_MAX + 3000, FILE_SYNC), NFS3_OK);
	want_is(c->got.count, IO_MAX);
	want_is(c->got.wcc[0].after.size, IO_MAX);
}

/* Random writes, cuts and reads against the same done in memory. */
static void like_a_file_in_memory(struct client *c)
{
	enum { MAX = 300000 };
	static char model[MAX];
	struct fh fh = made_file(c, &c->dir, "f", 0644);
	unsigned seed = (unsigned)getpid();
	size_t size = 0;

	printf("# seed %u\n", seed);
	srand(seed);
	for (int i = 0; i < 600; i++) {
		size_t offset = (size_t)rand() % MAX, len = (size_t)rand() % 20000;

		len = MIN(len, MAX - offset);
		switch (rand() % 8) {
		case 0:
			if (!want_is(nfs3_setattr(c, &fh, sattr_size(offset), NULL), NFS3_OK))
				return;
			if (offset < size)
				memset(model + offset, 0, size - offset);
			size = offset;
			break;
		case 1:
			if (!want_is(nfs3_commit(c, &fh), NFS3_OK))
				return;
			break;
		case 2:
		case 3:
			if (!want_is(nfs3_read(c, &fh, offset, (uint32_t)len), NFS3_OK) ||
			    !want_is(c->got.count, offset < size ? MIN(len, size - offset) : 0) ||
			    !want(!memcmp(c->got.data, model + offset, c->got.count)))
				return;
			break;
		default:
			memset(model + offset, 1 + i % 255, len);
			if (!want_is(nfs3_write(c, &fh, offset, model + offset, (uint32_t)len,
						rand() % 8 ? UNSTABLE : FILE_SYNC), NFS3_OK))
				return;
			if (len)
				size = MAX(size, offset + len);
		}
		if (i % 20 == 0) {
			want_is(nfs3_getattr(c, &fh), NFS3_OK);
			if (!want_is(c->got.attr.size, size))
				return;
		}
	}
	want_is(nfs3_read(c, &fh, 0, MAX), NFS3_OK);
	want_is(c->got.count, size);
	want(!memcmp(c->got.data, model, size));
}

/* As many under way as libnfs sends. */
struct burst {
	unsigned left;
	unsigned failed;
};

static void burst_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct burst *burst = arg;
	struct WRITE3res *res = data;

	(void)rpc;
	burst->left--;
	if (status != RPC_STATUS_SUCCESS || res->status != NFS3_OK ||
	    res->WRITE3res_u.resok.count != 8192)
		burst->failed++;
}

static void many_writes_at_once(struct client *c)
{
	enum { N = 256 };
	struct fh fh = made_file(c, &c->dir, "f", 0644);
	struct burst burst = { N, 0 };

	for (unsigned i = 0; i < N; i++) {
		struct WRITE3args args = { .file = fh_arg(&fh),
					   .offset = i * 8192ull,
					   .count = 8192,
					   .stable = i % 16 ? UNSTABLE : FILE_SYNC };

		memset(block, (int)i, 8192);
		args.data.data_len = 8192;
		args.data.data_val = block;
		want_is(rpc_nfs3_write_async(c->rpc, burst_cb, &args, &burst), 0);
	}
	client_wait_for(c, &burst.left, 0, WAIT_S);
	want_is(burst.failed, 0);
	for (unsigned i = 0; i < N; i++) {
		memset(block, (int)i, 8192);
		want_is(nfs3_read(c, &fh, i * 8192ull, 8192), NFS3_OK);
		if (!want(!memcmp(c->got.data, block, 8192)))
			break;
	}
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "READ", read_what_is_there },
		{ "READ, WRITE and COMMIT of what is no file", what_is_no_file },
		{ "WRITE and COMMIT", write_how },
		{ "WRITE of no bytes", a_write_of_no_bytes },
		{ "COMMIT of any part", commit_of_any_part },
		{ "offsets of 64 bits", offsets_of_64_bits },
		{ "transfers of the largest size", the_largest_transfers },
		{ "random changes, like a file in memory", like_a_file_in_memory },
		{ "many WRITEs at once", many_writes_at_once },
	};

	return run_tests(argc, argv, "data", tests, ARRAY_SIZE(tests));
}
