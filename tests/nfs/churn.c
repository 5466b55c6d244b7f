/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * churn PORT [TEST]: a directory of 100,000 entries (of a daemon under a sanitizer, IZO_VARIANT, and on a slow machine, IZO_SLOW, 20,000):
 * listed by small pieces while names come and go, then removed as rm -r does it, each piece of the listing before the next one is asked for.
 */
#include "tests/lib/slow.h"
#include "tests/nfs/client.h"

/* Even ones stay, odd ones may go. */
#define ENTRIES_MAX 100000u
static unsigned entries = ENTRIES_MAX;
#define AT_ONCE 64u
#define PAGE 4096u

static unsigned under_way, failed;

/* Every result begins with its status. */
static void ended_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	(void)rpc, (void)arg;
	under_way--;
	failed += status != RPC_STATUS_SUCCESS || *(const nfsstat3 *)data != NFS3_OK;
}

static void begin_make(struct client *c, const char *name)
{
	struct CREATE3args args = { .where = name_arg(&c->dir, name), .how = { .mode = GUARDED } };

	args.how.createhow3_u.obj_attributes = sattr_mode(0644);
	if (rpc_nfs3_create_async(c->rpc, ended_cb, &args, NULL))
		die("CREATE", "cannot be sent");
	under_way++;
	client_wait_for(c, &under_way, AT_ONCE - 1, WAIT_S);
}

static void begin_remove(struct client *c, const char *name)
{
	if (rpc_nfs3_remove_async(c->rpc, ended_cb, &(struct REMOVE3args){ name_arg(&c->dir, name) }, NULL))
		die("REMOVE", "cannot be sent");
	under_way++;
	client_wait_for(c, &under_way, AT_ONCE - 1, WAIT_S);
}

struct seen {
	uint8_t times[ENTRIES_MAX];
	uint64_t last_cookie;
	unsigned n, out_of_order;
	char names[PAGE][32];	/* of the last piece, but for "." and ".." */
};

static void see(struct client *c, const char *name, uint64_t fileid, uint64_t cookie, const struct fh *fh,
		const struct fattr3 *attr)
{
	struct seen *seen = c->entry_arg;
	unsigned i;

	(void)fileid, (void)fh, (void)attr;
	if (cookie <= seen->last_cookie)
		seen->out_of_order++;
	seen->last_cookie = cookie;
	if (sscanf(name, "old-%u", &i) == 1 && i < entries)
		seen->times[i]++;
	if (*name != '.' && seen->n < PAGE)
		snprintf(seen->names[seen->n++], sizeof(seen->names[0]), "%s", name);
}

static struct seen seen;

static void names_come_and_go(struct client *c)
{
	unsigned twice = 0, missing = 0, next = 0, made = 0;
	char name[32];

	for (unsigned i = 0; i < entries; i++) {
		snprintf(name, sizeof(name), "old-%u", i);
		begin_make(c, name);
	}
	client_wait_for(c, &under_way, 0, WAIT_S);
	want_is(failed, 0);
	c->entry = see;
	c->entry_arg = &seen;
	do {
		seen.n = 0;
		if (!want_is(nfs3_readdirplus(c, &c->dir, c->last_cookie, PAGE, PAGE), NFS3_OK))
			return;
		/* One that the listing has passed, soon, and one that is still to come; and a new one. */
		for (int k = 0; k < 2 && next < entries / 2; k++, next++) {
			snprintf(name, sizeof(name), "old-%u", next % 2 ? entries - next / 2 * 2 - 1 : next / 2 * 2 + 1);
			begin_remove(c, name);
		}
		/* As many as there are pieces at first: else it would never end. */
		if (made < 1000) {
			snprintf(name, sizeof(name), "new-%u", made++);
			begin_make(c, name);
		}
		client_wait_for(c, &under_way, 0, WAIT_S);
	} while (!c->got.is_eof);
	want_is(failed, 0);
	for (unsigned i = 0; i < entries; i++) {
		twice += seen.times[i] > 1;
		missing += i % 2 == 0 && !seen.times[i];
	}
	want_is(twice, 0);
	want_is(missing, 0);
	want_is(seen.out_of_order, 0);
	want(made > 100 && next > 200);

	/* rm -r */
	c->last_cookie = seen.last_cookie = 0;
	do {
		seen.n = 0;
		if (!want_is(nfs3_readdirplus(c, &c->dir, c->last_cookie, 65536, 65536), NFS3_OK))
			return;
		for (unsigned i = 0; i < seen.n; i++)
			begin_remove(c, seen.names[i]);
		client_wait_for(c, &under_way, 0, WAIT_S);
	} while (!c->got.is_eof);
	want_is(failed, 0);
	want_is(seen.out_of_order, 0);
	want_is(nfs3_rmdir(c, &c->root, "churn-0"), NFS3_OK);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "a large directory listed while names come and go, then removed while listed", names_come_and_go },
	};

	if (getenv("IZO_VARIANT") || times_slow() > 1)
		entries = ENTRIES_MAX / 5;
	return run_tests(argc, argv, "churn", tests, ARRAY_SIZE(tests));
}
