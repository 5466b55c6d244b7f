/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crowd PORT NAME CALLS: sends so many READs of a file in the export's root at once, and waits until all of them are
 * answered; each must give a byte.
 */
#include "tests/nfs/client.h"

static unsigned left, failed;

static void one_read_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	const struct READ3res *res = data;

	(void)rpc, (void)arg;
	left--;
	if (status != RPC_STATUS_SUCCESS || res->status != NFS3_OK || res->READ3res_u.resok.count != 1)
		failed++;
}

int main(int argc, char **argv)
{
	struct client c;
	struct fh fh;

	if (argc != 4) {
		fprintf(stderr, "usage: %s PORT NAME CALLS\n", argv[0]);
		return 2;
	}
	client_open(&c, atoi(argv[1]));
	if (nfs3_lookup(&c, &c.root, argv[2]))
		die(argv[2], "is not there");
	fh = c.got.fh;
	left = (unsigned)atoi(argv[3]);
	for (unsigned i = 0, n = left; i < n; i++)
		if (rpc_nfs3_read_async(c.rpc, one_read_cb, &(struct READ3args){ fh_arg(&fh), i, 1 }, NULL))
			die("READ", "cannot be sent");
	client_wait_for(&c, &left, 0, 2 * WAIT_S);
	client_close(&c);
	printf("failed: %u\n", failed);
	return failed != 0;
}
