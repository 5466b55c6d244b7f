/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/turn.h"

#include <errno.h>
#include "base/clock.h"

#define WAIT_US (60 * US_PER_S)
#define TURNS_MAX 60u
#define LOOK_US (US_PER_S / 2)		/* between two looks whether the peer is still there */

int turn_last_seq(struct sql *sql, uint64_t client, uint64_t *ret_seq)
{
	sqlite3_stmt *stmt;
	int got = sql_query(sql, &stmt, "SELECT last_seq FROM client WHERE client = ?1", "i",
			    (int64_t)client);

	if (got < 0)
		return got;
	*ret_seq = got ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
	if (got)
		sql_done(stmt);
	return 0;
}

static int read_last_seq(struct tree *tree, uint64_t client, uint64_t *ret_seq)
{
	struct sql *sql;
	int err = tree_reader_get(tree, &sql);

	if (err)
		return err;
	err = turn_last_seq(sql, client, ret_seq);
	tree_reader_put(tree, sql);
	return err;
}

static int too_early(struct request *request)
{
	return request_refuse(request, MHD_HTTP_PRECONDITION_FAILED,
			      "the records before these have not been applied; send all of them again");
}

static int wait_for(struct request *request, uint64_t client, uint64_t after)
{
	uint64_t deadline_us = clock_us() + WAIT_US;
	struct tree *tree = request->tree;

	for (;;) {
		/* Before the tables are read: a commit after that look is never missed. */
		uint64_t commits = tree_commits(tree), last, now;
		int err = read_last_seq(tree, client, &last);

		if (err)
			return err;
		/* Who has given up is going to send these records again, perhaps in other batches. */
		now = clock_us();
		if (now >= deadline_us || request_is_left(request))
			return too_early(request);
		if (last >= after)
			return 0;
		if (tree_is_stopping(tree))
			return -ESHUTDOWN;
		tree_wait_commit(tree, commits, MIN(deadline_us, now + LOOK_US));
	}
}

int turn_wait(struct request *request, uint64_t client, uint64_t after)
{
	uint64_t last;
	int err = read_last_seq(request->tree, client, &last);

	if (err || last >= after)
		return err;
	/* Too many would keep connections from those who have work to do. */
	if (!request_enter(request->shared, &request->shared->turns, TURNS_MAX))
		return too_early(request);
	err = wait_for(request, client, after);
	request_leave(request->shared, &request->shared->turns);
	return err;
}
