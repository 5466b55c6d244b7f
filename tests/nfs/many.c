/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * many PORT FROM TO: makes the directories FROM up to TO, without that, MOST_OUT calls at a time.  Number N is /aM/bN, where M is
 * N / MOST_IN.
 */
#include "tests/nfs/client.h"

#define MOST_IN 30000u	/* a directory takes 32,000 */
#define MOST_OUT 16

static unsigned left;

static void made_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	const struct MKDIR3res *res = data;

	(void)rpc, (void)arg;
	left--;
	if (status != RPC_STATUS_SUCCESS)
		die("MKDIR", "no answer");
	if (res->status != NFS3_OK)
		die("MKDIR", nfsstat3_to_str(res->status));
}

/* The directory above that number: made, if it is not there. */
static void above(struct client *c, unsigned number, struct fh *ret)
{
	char name[16];
	int status;

	(void)snprintf(name, sizeof(name), "a%u", number / MOST_IN);
	status = nfs3_mkdir(c, &c->root, name, 0755);
	if (status == NFS3ERR_EXIST)
		status = nfs3_lookup(c, &c->root, name);
	if (status)
		die(name, nfsstat3_to_str(status));
	*ret = c->got.fh;
}

int main(int argc, char **argv)
{
	unsigned from, to;
	struct client c;
	struct fh dir;

	if (argc != 4) {
		(void)fprintf(stderr, "usage: %s PORT FROM TO\n", argv[0]);
		return 2;
	}
	client_open(&c, atoi(argv[1]));
	from = (unsigned)strtoul(argv[2], NULL, 10);
	to = (unsigned)strtoul(argv[3], NULL, 10);
	for (unsigned n = from; n < to; n++) {
		char name[16];
		struct MKDIR3args args;

		if (n == from || n % MOST_IN == 0) {
			client_wait_for(&c, &left, 0, WAIT_S);
			above(&c, n, &dir);
		}
		(void)snprintf(name, sizeof(name), "b%u", n);
		args = (struct MKDIR3args){ name_arg(&dir, name), sattr_mode(0755) };
		left++;
		if (rpc_nfs3_mkdir_async(c.rpc, made_cb, &args, NULL))
			die("MKDIR", "cannot be sent");
		client_wait_for(&c, &left, MOST_OUT - 1, WAIT_S);
	}
	client_wait_for(&c, &left, 0, WAIT_S);
	client_close(&c);
	return 0;
}
