/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * spelling PORT: names as they may come over the wire, in each procedure that takes one (RFC 1813 3.2): of no bytes, with NUL
 * and slash, ".", "..", and as long as may be and longer.  Prints TAP, a test for each name; after each the directory is as
 * it was.
 */
#include <stdbool.h>
#include "tests/nfs/raw.h"

enum {
	OK = 0,
	NOENT = 2,
	ACCES = 13,
	EXIST = 17,
	INVAL = 22,
	NAMETOOLONG = 63
};

static struct slice name;		/* the one that is tried */
static struct fh dir, other, file;	/* file: dir's only entry, "f" */
static const struct slice f = { "f", 1 };

/* ---- the calls ---- */

static void put(struct xdr_out *out, const struct fh *fh, struct slice s)
{
	xdr_out_opaque(out, fh->data, fh->len);
	xdr_out_opaque(out, s.data, s.len);
}

static uint32_t send_call(struct record *r, const struct xdr_out *out)
{
	struct xdr_in in;

	end(r, out);
	in = ask(r);
	return xdr_in_u32(&in);
}

/* Procedures of one name, and what else it takes. */
static uint32_t call(enum proc proc, uint32_t how)
{
	struct record r;
	struct xdr_out out = begin(&r, NFS, proc);

	if (proc == LINK)
		xdr_out_opaque(&out, file.data, file.len);
	put(&out, &dir, name);
	switch (proc) {
	case CREATE:
		xdr_out_u32(&out, how);
		if (how == EXCLUSIVE)
			xdr_out_u64(&out, 1);
		else
			put_sattr(&out, 0644);
		break;
	case MKNOD:
		xdr_out_u32(&out, 7);		/* NF3FIFO */
		put_sattr(&out, 0644);
		break;
	case SYMLINK:
		put_sattr(&out, 0777);
		xdr_out_opaque(&out, "to", 2);
		break;
	case MKDIR:
		put_sattr(&out, 0755);
		break;
	default:
		break;
	}
	return send_call(&r, &out);
}

static uint32_t rename_call(const struct fh *from_dir, struct slice from, const struct fh *to_dir, struct slice to)
{
	struct record r;
	struct xdr_out out = begin(&r, NFS, RENAME);

	put(&out, from_dir, from);
	put(&out, to_dir, to);
	return send_call(&r, &out);
}

/* ---- what is to come of them ---- */

static bool is_ok;

static void want(const char *what, uint32_t got, uint32_t wanted)
{
	if (got != wanted)
		printf("# %s: got %u, want %u\n", what, got, wanted);
	is_ok = is_ok && got == wanted;
}

/* dir has "." and ".." and "f", and nothing else. */
static void want_nothing_new(void)
{
	struct record r;
	struct xdr_out out = begin(&r, NFS, READDIR);
	struct xdr_in in;
	unsigned n = 0;

	xdr_out_opaque(&out, dir.data, dir.len);
	xdr_out_u64(&out, 0);
	xdr_out_u64(&out, 0);
	xdr_out_u32(&out, 4096);
	end(&r, &out);
	in = ask(&r);
	if (xdr_in_u32(&in) || !xdr_in_u32(&in))
		die("READDIR");
	(void)xdr_in_fixed(&in, ATTR + 8);
	while (xdr_in_bool(&in)) {
		struct slice entry;

		(void)xdr_in_u64(&in);
		entry = xdr_in_opaque(&in, 255);
		(void)xdr_in_u64(&in);
		n++;
		if (n == 3)
			want("the third entry is f", entry.len != 1 || *(const char *)entry.data != 'f', 0);
	}
	want("the end of the listing", xdr_in_u32(&in), 1);
	want("entries", n, 3);
}

static const struct make_row {
	const char *what;
	enum proc proc;
	uint32_t how;
} makes[] = {
	{ "CREATE, unchecked", CREATE, UNCHECKED }, { "CREATE, guarded", CREATE, GUARDED },
	{ "CREATE, exclusive", CREATE, EXCLUSIVE }, { "MKDIR", MKDIR, 0 }, { "SYMLINK", SYMLINK, 0 },
	{ "MKNOD", MKNOD, 0 }, { "LINK", LINK, 0 },
};

struct answers {
	uint32_t lookup, make, remove, rmdir, rename_from, rename_to;
};

static void try(const struct answers *a)
{
	want("LOOKUP", call(LOOKUP, 0), a->lookup);
	want("REMOVE", call(REMOVE, 0), a->remove);
	want("RMDIR", call(RMDIR, 0), a->rmdir);
	for (size_t i = 0; i < ARRAY_SIZE(makes); i++) {
		want(makes[i].what, call(makes[i].proc, makes[i].how), a->make);
		if (a->make)
			continue;
		want("LOOKUP of it", call(LOOKUP, 0), OK);
		want("and it goes", call(makes[i].proc == MKDIR ? RMDIR : REMOVE, 0), OK);
	}
	want("RENAME from it", rename_call(&dir, name, &other, f), a->rename_from);
	want("RENAME to it", rename_call(&dir, f, &dir, name), a->rename_to);
	if (!a->rename_to)
		want("and back", rename_call(&dir, name, &dir, f), OK);
	want("RENAME to it elsewhere", rename_call(&dir, f, &other, name), a->rename_to);
	if (!a->rename_to)
		want("and back", rename_call(&other, name, &dir, f), OK);
	want_nothing_new();
}

static const struct answers good = { NOENT, OK, NOENT, NOENT, NOENT, OK },
			    bad = { ACCES, ACCES, ACCES, ACCES, ACCES, ACCES },
			    too_long = { NAMETOOLONG, NAMETOOLONG, NAMETOOLONG, NAMETOOLONG, NAMETOOLONG, NAMETOOLONG },
			    dot = { OK, EXIST, ACCES, INVAL, INVAL, INVAL },
			    dot_dot = { OK, EXIST, ACCES, EXIST, INVAL, INVAL };

#define BYTES(text) { text, sizeof(text) - 1 }
#define TIMES(n) { NULL, n }		/* of one byte */

static const struct name_row {
	const char *what;
	struct slice name;
	const struct answers *answers;
	char byte;
} rows[] = {
	{ "no bytes", BYTES(""), &bad, 0 },
	{ "NUL", BYTES("\0"), &bad, 0 },
	{ "NUL first", BYTES("\0a"), &bad, 0 },
	{ "NUL within", BYTES("a\0b"), &bad, 0 },
	{ "NUL last: it is not the name without it", BYTES("f\0"), &bad, 0 },
	{ "a slash", BYTES("/"), &bad, 0 },
	{ "a slash first", BYTES("/f"), &bad, 0 },
	{ "a slash within", BYTES("a/b"), &bad, 0 },
	{ "a slash last", BYTES("f/"), &bad, 0 },
	{ "a way out", BYTES("../f"), &bad, 0 },
	{ "a dot", BYTES("."), &dot, 0 },
	{ "two dots", BYTES(".."), &dot_dot, 0 },
	{ "a dot and NUL", BYTES(".\0"), &bad, 0 },
	{ "three dots", BYTES("..."), &good, 0 },
	{ "two dots and more", BYTES("..f"), &good, 0 },
	{ "a space", BYTES(" "), &good, 0 },
	{ "a newline", BYTES("\n"), &good, 0 },
	{ "bytes that are no text", BYTES("\xff\xc0\x80"), &good, 0 },
	{ "253 bytes", TIMES(253), &good, 'n' },	/* each length of padding */
	{ "254 bytes", TIMES(254), &good, 'n' },
	{ "255 bytes", TIMES(255), &good, 'n' },
	{ "255 bytes, all bits set", TIMES(255), &good, '\xff' },
	{ "255 dots", TIMES(255), &good, '.' },
	{ "256 bytes", TIMES(256), &too_long, 'n' },
	{ "256 dots", TIMES(256), &too_long, '.' },
	{ "4000 bytes", TIMES(4000), &too_long, 'n' },
	{ "255 NULs", TIMES(255), &bad, '\0' },
	{ "256 slashes", TIMES(256), &bad, '/' },
};

int main(int argc, char **argv)
{
	static char many[4000];
	struct fh root;
	unsigned failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 2) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	next_xid = (uint32_t)getpid() << 16;
	connect_to(argv[1]);
	root = mount_root();
	dir = make(MKDIR, &root, "spelling");
	other = make(MKDIR, &root, "spelling, elsewhere");
	file = make(CREATE, &dir, "f");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		name = rows[i].name;
		if (!name.data) {
			memset(many, rows[i].byte, name.len);
			name.data = many;
		}
		is_ok = true;
		try(rows[i].answers);
		printf("%sok %zu - names: %s\n", is_ok ? "" : "not ", i + 1, rows[i].what);
		failed += !is_ok;
	}
	printf("1..%zu\n", ARRAY_SIZE(rows));
	return failed != 0;
}
