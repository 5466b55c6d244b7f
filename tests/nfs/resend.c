/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resend: calls that are not idempotent, and a WRITE, sent again byte by byte after the server was killed (invariant 2).
 *
 *	resend PORT NAME FILE wait [no-acls]	in a new directory NAME: the calls; waits for the answers
 *	resend PORT NAME FILE leave [no-acls]	the same, but does not wait
 *	resend PORT NAME FILE again [no-acls]	the same bytes once more; prints TAP: all OK, the answers are those of the
 *						first time, and things are as the calls have made them; what was answered
 *						first is kept in FILE for the next time
 *	resend PORT NAME FILE full [no-acls]	the same while the server's disk is full: a WRITE and what is another call get
 *						NOSPC, and nothing else does
 *
 * Each call has a directory of its own, so that no other changes what an answer tells of it.  Then an answer is the
 * first one byte for byte, but for these:
 *
 *	wcc_data.before		what was before is not kept; afterwards there is none
 *	WRITE			is carried out again, being idempotent: mtime and ctime of the file, and the verifier, which must
 *				be another
 *
 * SETACL, done twice, would leave nothing to be seen, so another change of the file follows it: sent again it must not undo
 * that, and tells of the file as it is.
 *
 * no-acls: the upstream's file system has no access control lists, SETACL is left out.
 */
#include <unistd.h>
#include "tests/nfs/resend_calls.h"

#define CALLS_MAX 16

_Static_assert(ARRAY_SIZE(rows) <= CALLS_MAX, "room for all");

/* What FILE holds. */
struct saved {
	struct fh dir;
	struct record call[CALLS_MAX], reply[CALLS_MAX];
};

static unsigned n_calls = ARRAY_SIZE(rows);	/* SETACL is the last one */

static unsigned row_of(const char *name)
{
	unsigned i = 0;

	while (strcmp(rows[i].name, name))
		i++;
	return i;
}

static void prepare(struct saved *s)
{
	for (unsigned i = 0; i < n_calls; i++) {
		struct fh dir = make(MKDIR, &s->dir, rows[i].name);

		rows[i].put(&s->call[i], &dir);
	}
}

/* Sends all; with replies: waits for them, which come in any order. */
static void send_all(struct saved *s, bool with_replies)
{
	for (unsigned i = 0; i < n_calls; i++)
		send_record(&s->call[i]);
	for (unsigned k = 0; with_replies && k < n_calls; k++) {
		struct record reply;
		unsigned i;

		recv_record(&reply);
		for (i = 0; i < n_calls && memcmp(reply.data, s->call[i].data, 4); i++)
			;
		if (i == n_calls)
			die("an answer to another call");
		s->reply[i] = reply;
	}
}

/* ---- what must be as it was ---- */

static unsigned tests, failed;

static void verdict(bool is_ok, const char *what, const char *more)
{
	printf("%sok %u - %s%s\n", is_ok ? "" : "not ", ++tests, what, more);
	failed += !is_ok;
}

static bool is_full;

static uint32_t status_of(const struct record *reply)
{
	struct xdr_in in = results(reply);

	return xdr_in_u32(&in);
}

static void keep(struct xdr_out *out, struct slice s)
{
	if (s.data)
		memcpy(xdr_out_extend(out, s.len), s.data, s.len);
}

static void keep_attr(struct xdr_out *out, struct xdr_in *in, bool is_written)
{
	uint32_t follows = xdr_in_u32(in);

	xdr_out_u32(out, follows);
	if (!follows)
		return;
	keep(out, xdr_in_fixed(in, is_written ? ATTR_MTIME : ATTR));
	if (is_written)
		(void)xdr_in_fixed(in, ATTR - ATTR_MTIME);
}

/* Of an answer, what must not differ. */
static struct record determined(const struct record *reply, const enum part *parts)
{
	struct record r;
	struct xdr_out out = xdr_out_of(r.data, sizeof(r.data));
	struct xdr_in in = results(reply);

	memcpy(xdr_out_extend(&out, HEADER), reply->data, HEADER);
	for (; *parts != END && !in.is_bad; parts++) {
		switch (*parts) {
		case WCC:
		case WRITTEN_WCC:
			if (xdr_in_u32(&in))
				(void)xdr_in_fixed(&in, 24);
			keep_attr(&out, &in, *parts == WRITTEN_WCC);
			break;
		case POST_FH:
			if (xdr_in_u32(&in)) {
				struct slice fh = xdr_in_opaque(&in, 64);

				xdr_out_opaque(&out, fh.data, fh.len);
			}
			break;
		case POST_ATTR:
			keep_attr(&out, &in, false);
			break;
		case VERIFIER:
			(void)xdr_in_u64(&in);
			break;
		default:
			xdr_out_u32(&out, xdr_in_u32(&in));
		}
	}
	if (!xdr_in_done(&in))
		die("an answer that does not decode");
	end(&r, &out);
	return r;
}

/* Two answers to one call, of before a restart and of after it. */
static bool same_answer(unsigned i, const struct record *was, const struct record *is)
{
	struct record a = determined(was, rows[i].results), b = determined(is, rows[i].results);

	for (uint32_t at = 0; at < a.len && a.len == b.len; at += 4) {
		if (!memcmp(a.data + at, b.data + at, 4))
			continue;
		printf("# %s sent again: byte %u of what is compared was %08x, is %08x\n", rows[i].name, at,
		       xdr_load_u32(a.data + at), xdr_load_u32(b.data + at));
		return false;
	}
	if (a.len != b.len)
		printf("# %s sent again: %u bytes that are compared, were %u\n", rows[i].name, b.len, a.len);
	return a.len == b.len;
}

/* first: the answers of the first time, if there were any. */
static void compare(const struct saved *first, const struct saved *again)
{
	for (unsigned i = 0; i < n_calls; i++) {
		const struct record *was = &first->reply[i], *is = &again->reply[i];
		uint32_t status = status_of(is);

		if (is_full && i == row_of("WRITE")) {
			verdict(status == NFS3ERR_NOSPC, "WRITE", " sent again on a full disk: no space");
			continue;
		}
		if (status)
			printf("# %s sent again: status %u\n", rows[i].name, status);
		verdict(!status && (!was->len || same_answer(i, was, is)), rows[i].name,
			was->len ? " sent again: the first answer" : " whose answer was lost, sent again");
	}
}

/* WRITE: what was UNSTABLE before the restart may be lost, which the client sees by this. */
static void compare_verifiers(const struct saved *first, const struct saved *again)
{
	unsigned i = row_of("WRITE");
	const struct record *was = &first->reply[i], *is = &again->reply[i];

	if (was->len && !is_full)
		verdict(memcmp(was->data + was->len - 8, is->data + is->len - 8, 8) != 0, "WRITE", ": another verifier");
}

/* Once more, with no restart between: to the last byte. */
static void compare_whole(const struct saved *again, const struct saved *once_more)
{
	for (unsigned i = 0; i < n_calls; i++) {
		const struct record *was = &again->reply[i], *is = &once_more->reply[i];

		if (i != row_of("WRITE"))
			verdict(was->len == is->len && !memcmp(was->data, is->data, was->len), rows[i].name,
				" sent once more: the same bytes");
	}
}

static uint32_t status_now(const struct record *call)
{
	struct record reply;

	send_record(call);
	recv_record(&reply);
	return status_of(&reply);
}

/* What differs in anything is another call: it is carried out, and finds what the first one left. */
static void others(const struct saved *s)
{
	const struct record *guarded = &s->call[row_of("CREATE, guarded")];
	struct record call = *guarded;
	uint32_t want = is_full ? NFS3ERR_NOSPC : NFS3ERR_EXIST;

	xdr_store_u32(call.data, next_xid++);
	verdict(status_now(&call) == want, "CREATE, guarded", " with another xid: another answer");
	call = *guarded;
	xdr_store_u32(call.data + UID_AT, 1000);
	verdict(status_now(&call) == want, "CREATE, guarded", " with other credentials: another answer");
	call = *guarded;
	call.data[call.len - 21] ^= 1;		/* of the mode */
	verdict(status_now(&call) == want, "CREATE, guarded", " with other arguments: another answer");
}

static bool find(const struct fh *dir, const char *name, struct fh *ret_fh)
{
	struct record r;
	struct xdr_out out = begin(&r, NFS, LOOKUP);
	struct xdr_in in;

	put_name(&out, dir, name);
	end(&r, &out);
	in = ask(&r);
	if (xdr_in_u32(&in))
		return false;
	*ret_fh = in_fh(&in);
	return true;
}

static void look(const struct fh *top)
{
	bool is_ok = true;

	for (unsigned i = 0; i < n_calls; i++) {
		const struct call_row *row = &rows[i];
		struct fh dir, there_in, fh;

		is_ok &= find(top, row->name, &dir);
		there_in = dir;
		if (row->there_in)
			is_ok &= find(&dir, row->there_in, &there_in);
		for (size_t k = 0; k < ARRAY_SIZE(row->there) && row->there[k]; k++)
			is_ok &= find(&there_in, row->there[k], &fh);
		if (row->gone)
			is_ok &= !find(&dir, row->gone, &fh);
	}
	verdict(is_ok, "each was done once", "");
}

/* ---- */

static void save(const char *path, const struct saved *s)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(s, sizeof(*s), 1, f) != 1 || fclose(f))
		die("cannot write the file");
}

static void load(const char *path, struct saved *s)
{
	FILE *f = fopen(path, "r");

	if (!f || fread(s, sizeof(*s), 1, f) != 1 || fclose(f))
		die("cannot read the file");
}

/* The mode is set after the SETACL; what its answer must tell of the file from then on. */
static void overtake(struct saved *s)
{
	unsigned i = row_of("SETACL");
	struct record r;
	struct xdr_out out;
	struct xdr_in in;
	struct fh dir, fh;

	if (i >= n_calls)
		return;
	if (!find(&s->dir, "SETACL", &dir) || !find(&dir, "to be changed", &fh))
		die("the file of the SETACL");
	out = begin(&r, NFS, SETATTR);
	xdr_out_opaque(&out, fh.data, fh.len);
	put_sattr(&out, 0600);
	xdr_out_u32(&out, false);
	end(&r, &out);
	if (status_now(&r))
		die("SETATTR");
	in = ask_attr(&fh);
	memcpy(s->reply[i].data + HEADER + 8, xdr_in_fixed(&in, ATTR).data, ATTR);
}

static int again_main(const char *path)
{
	static struct saved first, again, once_more;

	load(path, &first);
	again = once_more = first;
	send_all(&again, true);
	compare(&first, &again);
	compare_verifiers(&first, &again);
	send_all(&once_more, true);
	compare_whole(&again, &once_more);
	others(&first);
	look(&first.dir);
	if (!first.reply[0].len) {
		overtake(&again);
		save(path, &again);
	}
	printf("1..%u\n", tests);
	return failed != 0;
}

static int first_main(const char *name, const char *path, bool waits)
{
	static struct saved first;
	struct fh root = mount_root();

	first.dir = make(MKDIR, &root, name);
	prepare(&first);
	save(path, &first);	/* it may be killed as well */
	send_all(&first, waits);
	for (unsigned i = 0; waits && i < n_calls; i++) {
		if (!status_of(&first.reply[i]))
			continue;
		printf("# %s: status %u\n", rows[i].name, status_of(&first.reply[i]));
		return 1;
	}
	if (waits)
		overtake(&first);
	save(path, &first);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 5 || argc > 6) {
		fprintf(stderr, "usage: %s PORT NAME FILE wait|leave|again|full [no-acls]\n", argv[0]);
		return 2;
	}
	next_xid = (uint32_t)getpid() << 8;
	if (argc == 6)
		n_calls = row_of("SETACL");
	connect_to(argv[1]);
	is_full = !strcmp(argv[4], "full");
	if (is_full || !strcmp(argv[4], "again"))
		return again_main(argv[3]);
	return first_main(argv[2], argv[3], !strcmp(argv[4], "wait"));
}
