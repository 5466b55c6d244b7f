/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seeds: first inputs for the targets of this folder, put together from what the programs say to each other:
 * one of each procedure, record, answer.
 *
 *	seeds DIR	writes DIR/TARGET/NAME
 *
 * The corpus grew from these (docs/TESTING.md); they are needed again when a layout changes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/rdiff.h"
#include "rpcgen/kml_codec.h"
#include "rpcgen/mount3.h"
#include "rpcgen/nfs3.h"
#include "tests/fuzz/rdiff_old.h"

static const char *top;
static struct buf b;		/* what is being put together */

static void put(const char *target, const char *name)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", top, target);
	(void)mkdir(path, 0755);	/* may be there; else fopen() tells */
	snprintf(path, sizeof(path), "%s/%s/%s", top, target, name);
	file = fopen(path, "w");
	if (buf_error(&b) || !file || fwrite(b.data, 1, b.len, file) != b.len || fclose(file)) {
		fprintf(stderr, "seeds: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	buf_reset(&b);
}

static void u8(unsigned v)
{
	unsigned char byte = (unsigned char)v;

	buf_append(&b, &byte, 1);
}

static void u16(unsigned v)
{
	u8(v >> 8);
	u8(v);
}

static void u32(uint32_t v)
{
	buf_u32be(&b, v);
}

static void text(const char *s)
{
	buf_append(&b, s, strlen(s));
}

static void words(const uint32_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		u32(v[i]);
}

/* ---- calls ---- */

#define FH(n) (0xf0f0f000u | (n))
#define FILL(n) (0xf0f0f100u | (n))
#define NAME(c) 1, (uint32_t)(c) << 24
#define ROOT FH(0)
#define DIR FH(1)
#define FILE_ FH(2)
#define LINK FH(3)
#define NO_SATTR 0, 0, 0, 0, 0, 0
#define SATTR 1, 0755, 1, 0, 1, 0, 1, 0, 100, 2, 1000, 5, 2, 1000, 6
#define MODE 1, 0644, 0, 0, 0, 0, 0

struct call {
	const char *name;
	unsigned kind, who;
	size_t n;
	uint32_t args[24];
};

#define ARGS(...) sizeof((uint32_t[]){ __VA_ARGS__ }) / 4, { __VA_ARGS__ }
#define MOUNT 0x20
static const struct call calls[] = {
	{ "null", NFSPROC3_NULL, 0, 0, { 0 } },
	{ "getattr", NFSPROC3_GETATTR, 0, ARGS(FILE_) },
	{ "setattr", NFSPROC3_SETATTR, 0, ARGS(FILE_, SATTR, 0) },
	{ "setattr_guard", NFSPROC3_SETATTR, 0, ARGS(FILE_, MODE, 1, 1, 1) },
	{ "lookup", NFSPROC3_LOOKUP, 0, ARGS(ROOT, NAME('f')) },
	{ "access", NFSPROC3_ACCESS, 1, ARGS(FILE_, 0x3f) },
	{ "readlink", NFSPROC3_READLINK, 0, ARGS(LINK) },
	{ "read", NFSPROC3_READ, 0, ARGS(FILE_, 0, 0, 4096) },
	{ "write", NFSPROC3_WRITE, 0, ARGS(FILE_, 0, 5, 4, UNSTABLE3, 4, 0x61626364) },
	{ "write_large", NFSPROC3_WRITE, 0, ARGS(FILE_, 0, 0, 40000, FILE_SYNC3, FILL(10)) },
	{ "create", NFSPROC3_CREATE, 0, ARGS(DIR, NAME('x'), GUARDED, SATTR) },
	{ "create_exclusive", NFSPROC3_CREATE, 0, ARGS(DIR, NAME('y'), EXCLUSIVE, 1, 2) },
	{ "mkdir", NFSPROC3_MKDIR, 0, ARGS(ROOT, NAME('m'), MODE) },
	{ "symlink", NFSPROC3_SYMLINK, 0, ARGS(ROOT, NAME('s'), NO_SATTR, 3, 0x612f6200) },
	{ "mknod", NFSPROC3_MKNOD, 0, ARGS(ROOT, NAME('n'), NF3CHR, MODE, 1, 3) },
	{ "mknod_fifo", NFSPROC3_MKNOD, 0, ARGS(ROOT, NAME('o'), NF3FIFO, MODE) },
	{ "remove", NFSPROC3_REMOVE, 0, ARGS(DIR, NAME('g')) },
	{ "rmdir", NFSPROC3_RMDIR, 0, ARGS(ROOT, NAME('d')) },
	{ "rename", NFSPROC3_RENAME, 0, ARGS(ROOT, NAME('f'), DIR, NAME('h')) },
	{ "link", NFSPROC3_LINK, 0, ARGS(FILE_, DIR, NAME('i')) },
	{ "readdir", NFSPROC3_READDIR, 0, ARGS(ROOT, 0, 0, 0, 0, 1024) },
	{ "readdirplus", NFSPROC3_READDIRPLUS, 2, ARGS(ROOT, 0, 0, 0, 0, 1024, 8192) },
	{ "fsstat", NFSPROC3_FSSTAT, 0, ARGS(ROOT) },
	{ "fsinfo", NFSPROC3_FSINFO, 7, ARGS(ROOT) },
	{ "pathconf", NFSPROC3_PATHCONF, 0, ARGS(ROOT) },
	{ "commit", NFSPROC3_COMMIT, 0, ARGS(FILE_, 0, 0, 0) },
	{ "mnt", MOUNT | MOUNTPROC3_MNT, 0, ARGS(8, 0x2f696d70, 0x6f727473) },
	{ "mnt_below", MOUNT | MOUNTPROC3_MNT, 0, ARGS(10, 0x2f696d70, 0x6f727473, 0x2f640000) },
	{ "dump", MOUNT | MOUNTPROC3_DUMP, 0, 0, { 0 } },
	{ "umnt", MOUNT | MOUNTPROC3_UMNT, 0, ARGS(8, 0x2f696d70, 0x6f727473) },
	{ "umntall", MOUNT | MOUNTPROC3_UMNTALL, 0, 0, { 0 } },
	{ "export", MOUNT | MOUNTPROC3_EXPORT, 0, 0, { 0 } },
	{ "again", 0x40, 0, 0, { 0 } },
	{ "stale", NFSPROC3_GETATTR, 0, ARGS(FH(0xf0)) },
	{ "forged", NFSPROC3_GETATTR, 0, ARGS(FH(0xfe)) },
	{ "other_tree", NFSPROC3_GETATTR, 0, ARGS(FH(0xff)) },
	{ "bad_rpc_version", 0, 0x08, 0, { 0 } },
	{ "bad_cred", 0, 0x10, 0, { 0 } },
	{ "bad_verf", 0, 0x20, 0, { 0 } },
	{ "nfs4", 0, 0x40, 0, { 0 } },
	{ "nlm", 0, 0x80, 0, { 0 } },
	{ "raw", 0x80, 0, ARGS(7, 0, 2, 100003, 3, 0, 0, 0, 0, 0) },
};

static void put_call(const struct call *call)
{
	u8(call->kind);
	u8(call->who);
	u16((unsigned)call->n * 4);
	words(call->args, call->n);
}

static void put_calls(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		put_call(&calls[i]);
		put("calls", calls[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		put_call(&calls[i]);
	put("calls", "all");
}

/* ---- record ---- */

static void put_record(void)
{
	static const unsigned char plan[] = { 0, 1, 2, 3, 200, 255, 7, 0x43, 0xe2, 0x13 };

	for (size_t n = 0; n <= ARRAY_SIZE(plan); n++) {
		char name[24];

		u8((unsigned)n);
		buf_append(&b, plan, n);
		for (unsigned len = 0; len < 70000; len = len * 9 + 3) {
			u8(0x82 | (len & 1) | (n & 3) << 2);
			u8(len >> 16);
			u16(len);
		}
		u8(7);
		text("abcdefgh");
		u8(0x83);
		u8(0x10);
		u16(0x1000);	/* the longest */
		snprintf(name, sizeof(name), "plan%zu", n);
		put("record", name);
	}
	u8(0);
	u8(0x81);
	u8(0x10);
	u16(0x1001);
	put("record", "too_long");
}

/* ---- records ---- */

/* A client that is new at each input, or the same one, with seqs that are (requests.c). */
#define NEW_CLIENT 0xc1c1c1c1c1c1c1c1ull
#define OLD_CLIENT 0xaaaaaaaaaaaaaaaaull
static uint64_t client = NEW_CLIENT, seqs;
static const struct kml_time when = { 1700000000, 5 };

/* XDR's types have no const. */
#define TEXT(s) { sizeof(s) - 1, (char *)(s) }

static struct kml_make make(const char *name, uint64_t number)
{
	return (struct kml_make){ KML_ROOT, { (u_int)strlen(name), (char *)name }, { client, number },
				  0755, 0, 0, when, when };
}

static struct kml_record record(unsigned n)
{
	static struct kml_range ranges[] = { { 0, 3 }, { 5, 2 } };
	struct kml_record r = { .format = KML_VERSION, .seq = seqs + n + 1, .time = when, .uid = 1000 };
	struct kml_body *body = &r.body;

	switch (n) {
	case 0:
		r.body = (struct kml_body){ KML_CREATE, { .make = make("x", 10) } };
		break;
	case 1:
		body->op = KML_STORE;
		body->kml_body_u.store = (struct kml_store){ .oid = { client, 10 }, .size = 10, .mtime = when,
			.ranges = { 2, ranges },
			.content = { KML_INLINE, { .bytes = TEXT("hello") } } };
		break;
	case 2:
		r.body = (struct kml_body){ KML_MKDIR, { .make = make("y", 11) } };
		break;
	case 3:
		r.body = (struct kml_body){ KML_SYMLINK, { .symlink = { make("z", 12), TEXT("a/b") } } };
		break;
	case 4:
		r.body = (struct kml_body){ KML_MKNOD, { .mknod = { make("p", 13), KML_FIFO, 0, 0 } } };
		break;
	case 5:
		r.body = (struct kml_body){ KML_LINK, { .link = { { client, 10 }, { client, 11 }, TEXT("l") } } };
		break;
	case 6:
		r.body = (struct kml_body){ KML_SETATTR, { .setattr = { .oid = { client, 11 }, .set = 31,
			.mode = 0700, .uid = 0, .gid = 0, .atime = when, .mtime = when } } };
		break;
	case 7:
		r.body = (struct kml_body){ KML_RENAME, { .rename = { KML_ROOT, TEXT("x"), { client, 11 },
			TEXT("w"), { client, 10 }, KML_NO_OID, 0 } } };
		break;
	case 8:
		r.body = (struct kml_body){ KML_REMOVE, { .unlink = { KML_ROOT, TEXT("z"), { client, 12 }, 0 } } };
		break;
	case 9:
		r.body = (struct kml_body){ KML_RMDIR, { .unlink = { KML_ROOT, TEXT("d"), { 0, 2 }, 0 } } };
		break;
	case 10:
		body->op = KML_STORE;
		body->kml_body_u.store = (struct kml_store){ .oid = { 0, 3 }, .data_base = 1, .size = 3, .keep_size = 3,
			.mtime = when, .content = { KML_STAGED, { .key = (char *)"key0" } } };
		break;
	case 11:
		r.body = (struct kml_body){ KML_DETACH, { .detach = { { client, 10 }, KML_ROOT, TEXT("x"), 0 } } };
		break;
	}
	return r;
}

#define RECORDS 12

static struct kml_object object(uint64_t number, enum kml_type type)
{
	struct kml_object o = { .oid = { 0, number }, .data_version = 2, .attr_version = 2,
				.attr = { .type = type, .mode = 0755, .nlink = 1, .size = 10,
					  .atime = when, .mtime = when } };

	if (type == KML_LNK)
		o.extra = (kml_extra)TEXT("a/b");
	return o;
}

static struct kml_entry entry(unsigned n, struct kml_object *after)
{
	struct kml_entry e = { .position = n + 1, .client = n % 2 ? 0 : 77, .record = record(n),
			       .after = { 2, after } };

	if (e.record.body.op == KML_STORE)
		memset(&e.record.body.kml_body_u.store.content, 0, sizeof(struct kml_content));
	after[0] = object(1, KML_DIR);
	after[1] = object(2 + n, n == 3 ? KML_LNK : n == 2 || n == 9 ? KML_DIR : KML_REG);
	return e;
}

static struct kml_answers answers(struct kml_answer *v, struct kml_object *there)
{
	*there = object(20, KML_DIR);
	for (unsigned i = 0; i < 8; i++)
		v[i] = (struct kml_answer){ .seq = i + 1, .status = (enum kml_status)((i + 1) % 8), .made_version = i };
	v[1].object = v[3].object = there;
	v[2].name = (kml_name)TEXT("new");
	v[5].error = EACCES;
	return (struct kml_answers){ 50, { 8, v } };
}

static struct kml_batch batch(struct kml_record *records, unsigned first, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		records[i] = record(first + i);
	return (struct kml_batch){ KML_VERSION, client, (char *)"host", 0, { n, records } };
}

/* Of the files that the targets have. */
static void encode_wishes(unsigned n)
{
	struct kml_wish list[8];
	struct kml_wishes wishes = { { n, list } };

	for (unsigned i = 0; i < n; i++)
		list[i] = (struct kml_wish){ { 0, 2 + i }, 1 + i };
	kml_wishes_encode(&b, &wishes);
}

static void encode_given(unsigned i)
{
	struct kml_given given = { { 0, 2 + i }, 1, { 10, (char *)"0123456789" } };

	kml_given_encode(&b, &given);
}

static void put_kml(void)
{
	struct kml_record records[RECORDS];
	struct kml_answer v[8];
	struct kml_object there, after[2];
	struct kml_batch all = batch(records, 0, RECORDS);
	struct kml_answers a = answers(v, &there);
	struct kml_listed listed = { KML_ROOT, TEXT("\xffx"), object(5, KML_LNK) };
	char name[24];

	for (unsigned i = 0; i < RECORDS; i++) {
		struct kml_entry e = entry(i, after);
		struct kml_record r = record(i);

		snprintf(name, sizeof(name), "record%u", i);
		u8(0);
		kml_record_encode(&b, &r);
		put("kml", name);
		snprintf(name, sizeof(name), "entry%u", i);
		u8(1);
		kml_entry_encode(&b, &e);
		put("kml", name);
	}
	u8(2);
	kml_listed_encode(&b, &listed);
	put("kml", "listed");
	u8(3);
	kml_object_encode(&b, &listed.object);
	put("kml", "object");
	u8(4);
	kml_batch_encode(&b, &all);
	put("kml", "batch");
	u8(5);
	kml_answers_encode(&b, &a);
	put("kml", "answers");
	u8(6);
	encode_wishes(3);
	put("kml", "wishes");
	u8(7);
	encode_given(3);
	put("kml", "given");
}

/* ---- requests ---- */

static void put_query(const char *name, unsigned flags, const char *path, const char *range, const char *match)
{
	u8(2);
	u8(flags);
	u8((unsigned)strlen(path));
	u8((unsigned)strlen(range));
	text(path);
	text(range);
	text(match);
	put("requests", name);
}

/* what: as in requests.c, packed(). */
static void put_packed(const char *name, unsigned what, struct kml_batch *some)
{
	u8(4);
	u8(what);
	if (what & 4)
		u8(0);
	if (some)
		kml_batch_encode(&b, some);
	else
		text("(\265/\375$ stands at the start of a frame, and some text, some text, some text behind it");
	put("requests", name);
}

static void put_requests(void)
{
	struct kml_record records[RECORDS];
	char name[24];
	struct kml_batch all = batch(records, 0, RECORDS);

	put_packed("packed_batch", 2, &all);
	put_packed("packed_batch_behind", 6, &all);
	put_packed("packed_put", 3, &all);
	put_packed("packed_not", 0, NULL);
	put_packed("packed_put_not", 1, NULL);

	for (unsigned n = 1; n <= RECORDS; n++) {
		struct kml_batch some = batch(records, 0, n);

		u8(1);
		kml_batch_encode(&b, &some);
		snprintf(name, sizeof(name), "batch%u", n);
		put("requests", name);
	}
	client = OLD_CLIENT;
	seqs = 0xc2c2c2c2ull << 32;
	for (unsigned n = 0; n < RECORDS; n++) {
		struct kml_batch one = batch(records, n, 1);

		u8(1);
		kml_batch_encode(&b, &one);
		snprintf(name, sizeof(name), "again%u", n);
		put("requests", name);
	}
	client = NEW_CLIENT;
	seqs = 0;
	put_query("hello", 0, "hello?client=00000000000000c1", "", "");
	put_query("journal", 0, "journal?from=0&wait=1&max=2", "", "");
	put_query("journal_json", 1, "journal?from=1", "", "");
	put_query("object", 1, "object/0000000000000000-0000000000000001", "", "");
	put_query("object_xdr", 0, "object/0000000000000000-0000000000000002", "", "");
	put_query("list", 0, "list/0000000000000000-0000000000000001?depth=1&max=3", "", "");
	put_query("list_all", 1, "list/0000000000000000-0000000000000001?depth=all", "", "");
	put_query("content", 2, "content/0000000000000000-0000000000000002", "2-5", "1");
	put_query("stage", 0, "stage/f000000000000001/key0", "", "");
	u8(3);
	u8(0);
	u8(8);
	text("offset=0staged bytes");
	put("requests", "upload");
	for (unsigned n = 0; n < 8; n += 3) {
		u8(4);
		encode_wishes(n);
		snprintf(name, sizeof(name), "wishes%u", n);
		put("requests", name);
	}
	u8(0);
	text("GET /izo/v1/hello HTTP/1.0\r\n\r\n");
	put("requests", "raw");
	u8(0);
	text("DELETE /izo/v1/stage/f000000000000001/key0 HTTP/1.1\r\nHost: x\r\n\r\n");
	put("requests", "raw_delete");
	u8(0);
	text("PUT /izo/v1/stage/f000000000000001/key1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	     "3\r\nabc\r\n0\r\n\r\n");
	put("requests", "raw_chunked");
}

/* ---- answers ---- */

static void put_frames(void (*encode)(unsigned i), unsigned n)
{
	u16(100);
	for (unsigned i = 0; i < n; i++) {
		size_t mark = kml_frame_begin(&b);

		encode(i);
		kml_frame_end(&b, mark);
	}
	u32(0);
}

static void encode_entry(unsigned i)
{
	struct kml_object after[2];
	struct kml_entry e = entry(i, after);

	kml_entry_encode(&b, &e);
}

static void encode_line(unsigned i)
{
	char name[2] = { (char)('a' + i), 0 };
	enum kml_type type = i == 1 ? KML_DIR : i == 2 ? KML_LNK : KML_REG;
	struct kml_listed line = { KML_ROOT, { 1, name }, object(1 + i, type) };

	if (!i)
		line = (struct kml_listed){ .object = object(1, KML_DIR) };
	kml_listed_encode(&b, &line);
}

static void put_answers(void)
{
	struct kml_answer v[8];
	struct kml_object there, one = object(3, KML_REG);
	struct kml_answers a;
	char name[24];

	u8(0);
	text("{\"izo\":1,\"id\":\"00000000-0000-0000-0000-000000000001\",\"position\":5,\"oldest\":1,\"last_seq\":3}");
	put("answers", "hello");
	u8(0);
	text("{\"izo\":1,\"position\":5,\"oldest\":1,"
	     "\"id\":\"a longer one than there is room for: 00000000-0000-0000\"}");
	put("answers", "hello_long");
	for (unsigned n = 1; n <= RECORDS; n++) {
		u8(1);
		put_frames(encode_entry, n);
		snprintf(name, sizeof(name), "journal%u", n);
		put("answers", name);
	}
	for (unsigned deep = 0; deep < 2; deep++) {
		u8(2);
		u8(deep);
		if (!deep)
			u8(0);
		u16(0x0100);
		put_frames(encode_line, 5);
		snprintf(name, sizeof(name), "listing%u", deep);
		put("answers", name);
	}
	u8(3);
	u8(2);
	kml_object_encode(&b, &one);
	put("answers", "object");
	u8(3);
	u8(3);
	put("answers", "object_gone");
	for (unsigned what = 0; what < 64; what += 9) {
		for (unsigned first = 0; first < 8; first++) {
			a = answers(v, &there);
			v[0] = v[first];
			a.answers.answers_len = first == 7 ? 8 : 1;
			u8(4);
			u8(what);
			kml_answers_encode(&b, &a);
			snprintf(name, sizeof(name), "replay%u_%u", what, first);
			put("answers", name);
		}
	}
	u8(6);
	u8(0);
	put_frames(encode_given, 5);
	put("answers", "contents");
	u8(5);
	u8(1);
	text("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nIzo-Position: 5\r\nETag: \"7\"\r\n"
	     "Content-Type: application/x-izo-kml\r\n\r\n");
	u32(0);
	put("answers", "http");
	u8(5);
	u8(0);
	text("HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-3/10\r\n"
	     "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n");
	put("answers", "http_chunked");
	u8(5);
	u8(0);
	text("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\ntry again\n");
	put("answers", "http_busy");
}

/* ---- settings ---- */

static const struct {
	const char *name;
	unsigned kind;
	const char *text;
} texts[] = {
	{ "config", 0, "# comment\n[daemon]\nlisten = 127.0.0.1:2049\nrpcbind = yes\ndurability = sync\n"
		       "lookup_wait_s = 2\ntrace = rpc,cml\n\n[tree imports]\nupstream = http://127.0.0.1:8642/\n"
		       "cache = /var/cache/izo/imports\nexport = /imports\nread_only = no\nhost = h\n" },
	{ "config_two", 0, "\xef\xbb\xbf[tree a]\nupstream=http://x/\n; c\n[tree b]\n"
			   "upstream = https://y:1/z\n  export = /b\n" },
	{ "config_six", 0, "[daemon]\nlisten = [::1]:2049\nallow_remote = on\n"
			   "control = /run/x.sock\npid_file = /run/p\n" },
	{ "options", 1, "listen=127.0.0.1\nupstream=http://x/\ncontrol=/run/s\ncache=/c\n"
			"max_connections=5\nhost=a-b\n" },
	{ "request", 2, "{\"command\":\"status\"}\n{\"command\":\"sync\",\"wait\":5}\nnonsense\n" },
	{ "answer", 3, "{\"ok\":true,\"version\":\"0.1\",\"trees\":[{\"name\":\"imports\",\"state\":\"connected\","
		       "\"records\":2,\"bytes\":10,\"conflicts\":1,\"held\":\"x\",\"upstream\":\"http://x/\"}]}\n" },
	{ "refusal", 3, "{\"ok\":false,\"error\":\"no such tree\"}\n" },
	{ "conflicts", 3, "{\"ok\":true,\"conflicts\":[{\"when\":5,\"path\":\"/a\",\"what\":\"both\"}]}\n" },
	{ "mounts", 4, "36 25 0:45 / /mnt/a\\040b rw,relatime shared:9 - nfs localhost:/imports "
		       "rw,vers=3,port=2049,addr=127.0.0.1,local_lock=all\n"
		       "1 2 0:1 / / rw - ext4 /dev/sda1 rw\n" },
};

static void put_settings(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		u8(texts[i].kind);
		text(texts[i].text);
		put("settings", texts[i].name);
	}
}

/* ---- blobs ---- */

static void put_blobs(void)
{
	static const unsigned char pairs[] = { 5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
					       16, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0 };
	static const unsigned char changes[] = { 40, 3, 81, 5, 3, 0, 84, 60, 2, 50 };
	char name[24];

	u8(0);
	u8(5);
	buf_append(&b, changes, sizeof(changes));
	buf_append(&b, pairs, sizeof(pairs));
	put("blobs", "ranges");
	u8(1);
	words((const uint32_t[]){ 0x01000000, 7, 0, 2, 1, 2, 3, 4 }, 8);
	put("blobs", "handle");
	for (unsigned column = 0; column < 9; column++) {
		for (unsigned row = 0; row < 8; row++) {
			u8(2);
			u8(column);
			u8(row);
			if (column < 3) {
				buf_append(&b, pairs, sizeof(pairs));
			} else if (column == 6 || column == 7) {
				struct kml_record r = record(row);

				kml_record_encode(&b, &r);
			} else {
				text("abcdefgh");
			}
			snprintf(name, sizeof(name), "column%u_%u", column, row);
			put("blobs", name);
		}
	}
}

/* ---- rdiff ---- */

static ssize_t old_bytes(void *arg, void *data, size_t len)
{
	size_t *at = arg, n = MIN(len, RDIFF_OLD - *at);

	for (size_t i = 0; i < n; i++)
		((unsigned char *)data)[i] = rdiff_old_byte((*at)++);
	return (ssize_t)n;
}

static void put_rdiff(void)
{
	static const struct {
		const char *name;
		unsigned size, len;
		unsigned char bytes[24];
	} deltas[] = {
		{ "nothing", 0, 1, { 0 } },
		{ "literal", 3, 5, { 3, 'a', 'b', 'c', 0 } },
		{ "long_literal", 3, 7, { 0x42, 0, 3, 'a', 'b', 'c', 0 } },
		{ "copy", 16, 4, { 0x45, 8, 16, 0 } },
		{ "far_copy", 512, 6, { 0x4a, 0x40, 0, 2, 0, 0 } },
		{ "both", 20, 9, { 0x45, 8, 16, 4, 'a', 'b', 'c', 'd', 0 } },
		{ "behind_the_end", 16, 6, { 0x4a, 0xff, 0, 0, 16, 0 } },
	};
	struct rdiff_job *job;
	unsigned char signature[4096];
	size_t at = 0, n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(deltas); i++) {
		u8(0);
		u16(deltas[i].size);
		u32(0x72730236);
		buf_append(&b, deltas[i].bytes, deltas[i].len);
		put("rdiff", deltas[i].name);
	}
	if (rdiff_sign(512, old_bytes, &at, &job) || rdiff_pull(job, signature, sizeof(signature), &n) != 1)
		exit(1);
	rdiff_free(job);
	u8(1);
	u16(RDIFF_OLD);
	buf_append(&b, signature, n);
	put("rdiff", "signature");
	u8(2);
	u16(RDIFF_OLD);
	buf_append(&b, signature + 12, n - 12);
	put("rdiff", "sums");
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: seeds DIR\n");
		return 2;
	}
	top = argv[1];
	(void)mkdir(top, 0755);	/* as in put() */
	buf_init(&b, 0);
	put_record();
	put_calls();
	put_kml();
	put_requests();
	put_answers();
	put_settings();
	put_blobs();
	put_rdiff();
	buf_release(&b);
	return 0;
}
