/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kml_tool: batches from text, and what the upstream answers as text; for tests and for people with curl.
 *
 *	kml_tool batch   < TEXT > BATCH.xdr		a body for POST /izo/v1/replay
 *	kml_tool answers < ANSWERS.xdr			what that gave
 *	kml_tool journal < FRAMES			GET /izo/v1/journal
 *	kml_tool list    < FRAMES			GET /izo/v1/list/OID
 *	kml_tool object  < OBJECT.xdr			GET /izo/v1/object/OID
 *	kml_tool wishes  < TEXT > WISHES.xdr		a body for POST /izo/v1/contents: lines of "OID VERSION"
 *	kml_tool contents < FRAMES			what that gave
 *	kml_tool pack    < BODY > PACKED		for Content-Encoding: zstd
 *
 * A batch is written as lines; '#' begins a comment, fields may come in any order and most may be left out:
 *
 *	client aa				hex
 *	host laptop
 *	acked 0
 *	format 1				of the batch
 *	1 CREATE  parent=root name=a oid=aa-1 mode=0644 uid=0 gid=0 mtime=1700000000.5
 *	2 MKDIR   parent=root name=d oid=aa-2 mode=0755
 *	3 SYMLINK parent=aa-2 name=l oid=aa-3 target=../a
 *	4 MKNOD   parent=root name=p oid=aa-4 type=7 major=0 minor=0
 *	5 LINK    parent=aa-2 name=a2 oid=aa-1
 *	6 STORE   oid=aa-1 base=0 text=hello		all of the content; or file=PATH
 *	7 STORE   oid=aa-1 base=6 size=8 keep=5 ranges=5+3 text=abc
 *	8 STORE   oid=aa-1 base=7 size=3000000 key=s1	staged; ranges=0+SIZE
 *	9 SETATTR oid=aa-1 base=6 mode=0600 uid=1 gid=1 atime=1 mtime=2
 *	10 RENAME from=root from_name=a to=aa-2 to_name=b oid=aa-1 replaced=aa-9 base=5
 *	11 REMOVE parent=root name=a oid=aa-1 base=6
 *	12 RMDIR  parent=root name=d oid=aa-2
 *
 * An oid is root, none, or two hex numbers with a dash. Names and texts have \xNN for any byte, blanks included.
 * Exit status: 0; 1: the input broke off or is malformed; 2: usage.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/compress.h"
#include "base/fs.h"
#include "rpcgen/kml_codec.h"

#define FIELDS_MAX 32

static unsigned line_number;

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "kml_tool: ");
	if (line_number)
		fprintf(stderr, "line %u: ", line_number);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

/* Memory that records point into until the end. */
static void **kept;
static size_t n_kept;

static void free_kept(void)
{
	for (size_t i = 0; i < n_kept; i++)
		free(kept[i]);
	free(kept);
}

/* Takes over p; NULL: there was no memory for it. */
static void *keep(void *p)
{
	void **more = p ? realloc(kept, (n_kept + 1) * sizeof(*kept)) : NULL;

	if (!more)
		die("no memory");
	kept = more;
	kept[n_kept++] = p;
	return p;
}

/* ---- text to records ---- */

struct fields {
	char *key[FIELDS_MAX], *value[FIELDS_MAX];
	bool is_used[FIELDS_MAX];
	size_t n;
};

static const char *field(struct fields *fields, const char *key)
{
	for (size_t i = 0; i < fields->n; i++) {
		if (!strcmp(fields->key[i], key)) {
			fields->is_used[i] = true;
			return fields->value[i];
		}
	}
	return NULL;
}

static uint64_t number(struct fields *fields, const char *key, uint64_t otherwise)
{
	const char *text = field(fields, key);
	uint64_t value;
	char *end;

	if (!text)
		return otherwise;
	value = strtoull(text, &end, 0);	/* 0644 is octal */
	if (!*text || *end)
		die("%s=%s: not a number", key, text);
	return value;
}

static struct kml_oid oid_of(struct fields *fields, const char *key)
{
	const char *text = field(fields, key);
	struct kml_oid oid;
	char *end;

	if (!text || !strcmp(text, "none"))
		return KML_NO_OID;
	if (!strcmp(text, "root"))
		return KML_ROOT;
	oid.origin = strtoull(text, &end, 16);
	if (*end != '-' || !end[1])
		die("%s=%s: not an oid", key, text);
	oid.number = strtoull(end + 1, &end, 16);
	if (*end)
		die("%s=%s: not an oid", key, text);
	return oid;
}

static struct kml_time time_of(struct fields *fields, const char *key, struct kml_time otherwise)
{
	const char *text = field(fields, key);
	struct kml_time time = { 0 };
	char *end;

	if (!text)
		return otherwise;
	time.sec = strtoll(text, &end, 10);
	if (*end == '.') {
		unsigned scale = 100000000;

		for (end++; isdigit((unsigned char)*end) && scale; end++, scale /= 10)
			time.nsec += (unsigned)(*end - '0') * scale;
	}
	if (*end)
		die("%s=%s: not a time", key, text);
	return time;
}

/* In place: \xNN and \\ become bytes.  What it gives lies in text. */
static struct slice bytes_of(char *text)
{
	char *to = text, *from = text;
	unsigned byte;

	while (*from) {
		if (from[0] == '\\' && from[1] == 'x' && sscanf(from + 2, "%2x", &byte) == 1) {
			*to++ = (char)byte;
			from += 4;
		} else {
			from += from[0] == '\\' && from[1] == '\\';
			*to++ = *from++;
		}
	}
	return (struct slice){ text, (size_t)(to - text) };
}

static kml_name name_of(struct fields *fields, const char *key)
{
	struct slice name = { "", 0 };
	char *text = (char *)field(fields, key);
	kml_name result;

	if (text)
		name = bytes_of(text);
	result.kml_name_val = (char *)name.data;
	result.kml_name_len = (u_int)name.len;
	return result;
}

static void make_of(struct fields *fields, struct kml_make *make, unsigned mode,
		    struct kml_time now)
{
	make->parent = oid_of(fields, "parent");
	make->name = name_of(fields, "name");
	make->oid = oid_of(fields, "oid");
	make->mode = (unsigned)number(fields, "mode", mode);
	make->uid = (unsigned)number(fields, "uid", 0);
	make->gid = (unsigned)number(fields, "gid", 0);
	make->mtime = time_of(fields, "mtime", now);
	make->atime = time_of(fields, "atime", make->mtime);
}

static void target_of(struct fields *fields, kml_target *target)
{
	char *text = (char *)field(fields, "target");
	struct slice bytes = { "", 0 };

	if (text)
		bytes = bytes_of(text);
	target->kml_target_val = (char *)bytes.data;
	target->kml_target_len = (u_int)bytes.len;
}

static void setattr_of(struct fields *fields, struct kml_setattr *set)
{
	const struct kml_time zero = { 0 };

	set->oid = oid_of(fields, "oid");
	set->attr_base = number(fields, "base", 0);
	set->set = (field(fields, "mode") ? KML_SET_MODE : 0) |
		   (field(fields, "uid") ? KML_SET_UID : 0) |
		   (field(fields, "gid") ? KML_SET_GID : 0) |
		   (field(fields, "atime") ? KML_SET_ATIME : 0) |
		   (field(fields, "mtime") ? KML_SET_MTIME : 0);
	set->mode = (unsigned)number(fields, "mode", 0);
	set->uid = (unsigned)number(fields, "uid", 0);
	set->gid = (unsigned)number(fields, "gid", 0);
	set->atime = time_of(fields, "atime", zero);
	set->mtime = time_of(fields, "mtime", zero);
}

/* TAG:ID:PERM,... as kml_record_print() has it; tags are hexadecimal. */
static void acl_of(struct fields *fields, const char *key, kml_acl *acl)
{
	const char *text = field(fields, key);
	struct kml_ace *ace;
	char *end;

	if (!text)
		return;
	ace = keep(calloc(KML_ACL_MAX + 1, sizeof(*ace)));
	for (; *text; text = *end ? end + 1 : end) {
		struct kml_ace *to = &ace[acl->kml_acl_len++];

		if (acl->kml_acl_len > KML_ACL_MAX + 1)
			die("too many entries");
		to->tag = (unsigned)strtoul(text, &end, 16);
		to->id = *end == ':' ? (unsigned)strtoul(end + 1, &end, 10) : 0;
		to->perm = *end == ':' ? (unsigned)strtoul(end + 1, &end, 8) : 0;
		if (*end && *end != ',')
			die("%s: not TAG:ID:PERM,...", text);
	}
	acl->kml_acl_val = ace;
}

static void ranges_of(struct fields *fields, struct kml_store *store)
{
	const char *text = field(fields, "ranges");
	struct kml_range *range = keep(calloc(KML_RANGES_MAX, sizeof(*range)));
	u_int n = 0;
	char *end;

	if (!text && store->size)
		range[n++] = (struct kml_range){ 0, store->size };
	while (text && *text) {
		if (n == KML_RANGES_MAX)
			die("too many ranges");
		range[n].offset = strtoull(text, &end, 0);
		if (*end != '+')
			die("ranges=%s: not OFFSET+LENGTH,...", text);
		range[n++].length = strtoull(end + 1, &end, 0);
		if (*end && *end != ',')
			die("ranges=%s: not OFFSET+LENGTH,...", text);
		text = *end ? end + 1 : end;
	}
	store->ranges.ranges_val = range;
	store->ranges.ranges_len = n;
}

static void store_of(struct fields *fields, struct kml_store *store, struct kml_time now)
{
	char *text = (char *)field(fields, "text"), *data;
	const char *file = field(fields, "file"), *key = field(fields, "key");
	struct slice bytes = { "", 0 };
	size_t len;

	store->oid = oid_of(fields, "oid");
	store->data_base = number(fields, "base", 0);
	store->keep_size = number(fields, "keep", 0);
	store->mtime = time_of(fields, "mtime", now);
	if (text)
		bytes = bytes_of(text);
	if (file) {
		if (fs_read_file(AT_FDCWD, file, KML_INLINE_MAX, &data, &len))
			die("%s: cannot be read", file);
		bytes = (struct slice){ keep(data), len };
	}
	store->size = number(fields, "size", bytes.len);
	ranges_of(fields, store);
	if (key) {
		store->content.where = KML_STAGED;
		store->content.kml_content_u.key = (char *)key;
	} else {
		store->content.where = KML_INLINE;
		store->content.kml_content_u.bytes.bytes_val = (char *)bytes.data;
		store->content.kml_content_u.bytes.bytes_len = (u_int)bytes.len;
	}
}

static void body_of(struct fields *fields, struct kml_body *body, struct kml_time now)
{
	struct kml_rename *rename = &body->kml_body_u.rename;

	switch (body->op) {
	case KML_CREATE:
		make_of(fields, &body->kml_body_u.make, 0644, now);
		break;
	case KML_MKDIR:
		make_of(fields, &body->kml_body_u.make, 0755, now);
		break;
	case KML_SYMLINK:
		make_of(fields, &body->kml_body_u.symlink.make, 0777, now);
		target_of(fields, &body->kml_body_u.symlink.target);
		break;
	case KML_MKNOD:
		make_of(fields, &body->kml_body_u.mknod.make, 0644, now);
		body->kml_body_u.mknod.type = (enum kml_type)number(fields, "type", KML_FIFO);
		body->kml_body_u.mknod.major = (unsigned)number(fields, "major", 0);
		body->kml_body_u.mknod.minor = (unsigned)number(fields, "minor", 0);
		break;
	case KML_LINK:
		body->kml_body_u.link.oid = oid_of(fields, "oid");
		body->kml_body_u.link.parent = oid_of(fields, "parent");
		body->kml_body_u.link.name = name_of(fields, "name");
		break;
	case KML_REMOVE:
	case KML_RMDIR:
		body->kml_body_u.unlink.parent = oid_of(fields, "parent");
		body->kml_body_u.unlink.name = name_of(fields, "name");
		body->kml_body_u.unlink.oid = oid_of(fields, "oid");
		body->kml_body_u.unlink.data_base = number(fields, "base", 0);
		break;
	case KML_RENAME:
		rename->from_parent = oid_of(fields, "from");
		rename->from_name = name_of(fields, "from_name");
		rename->to_parent = oid_of(fields, "to");
		rename->to_name = name_of(fields, "to_name");
		rename->oid = oid_of(fields, "oid");
		rename->replaced = oid_of(fields, "replaced");
		rename->replaced_base = number(fields, "base", 0);
		break;
	case KML_SETATTR:
		setattr_of(fields, &body->kml_body_u.setattr);
		break;
	case KML_STORE:
		store_of(fields, &body->kml_body_u.store, now);
		break;
	case KML_SETACL:
		body->kml_body_u.setacl.oid = oid_of(fields, "oid");
		body->kml_body_u.setacl.mode = (unsigned)number(fields, "mode", 0);
		body->kml_body_u.setacl.attr_base = number(fields, "base", 0);
		acl_of(fields, "acl", &body->kml_body_u.setacl.acls.access);
		acl_of(fields, "default", &body->kml_body_u.setacl.acls.def);
		break;
	case KML_DETACH:
		body->kml_body_u.detach.oid = oid_of(fields, "oid");
		body->kml_body_u.detach.parent = oid_of(fields, "parent");
		body->kml_body_u.detach.data_base = number(fields, "base", 0);
		body->kml_body_u.detach.name = name_of(fields, "name");
		break;
	}
}

static enum kml_op op_of(const char *name)
{
	for (int op = KML_CREATE; op <= KML_DETACH; op++)
		if (!strcmp(kml_op_name(op), name))
			return op;
	die("%s: no such operation", name);
}

static void read_record(char *rest, uint64_t seq, struct kml_record *record)
{
	const struct kml_time start = { 1700000000, 0 };
	struct fields fields = { .n = 0 };
	char *save = NULL, *word = strtok_r(rest, " \t", &save);

	if (!word)
		die("no operation");
	record->format = KML_VERSION;
	record->seq = seq;
	record->body.op = op_of(word);
	while ((word = strtok_r(NULL, " \t", &save))) {
		char *equals = strchr(word, '=');

		if (!equals || fields.n == FIELDS_MAX)
			die("%s: not KEY=VALUE, or too many", word);
		*equals = '\0';
		fields.key[fields.n] = word;
		fields.value[fields.n++] = equals + 1;
	}
	record->time = time_of(&fields, "time", start);
	record->uid = (unsigned)number(&fields, "by", 0);
	record->format = (unsigned)number(&fields, "format", KML_VERSION);
	body_of(&fields, &record->body, record->time);
	for (size_t i = 0; i < fields.n; i++)
		if (!fields.is_used[i])
			die("%s: means nothing here", fields.key[i]);
}

static int batch_from_text(void)
{
	struct kml_batch batch = { .format = KML_VERSION, .host = (char *)"laptop" };
	struct kml_record *records = keep(calloc(KML_BATCH_MAX, sizeof(*records)));
	char *line = NULL, *text, *rest;
	size_t cap = 0;
	struct buf buf;
	int err;

	for (; getline(&line, &cap, stdin) >= 0; line = NULL, cap = 0) {
		keep(line);
		line_number++;
		line[strcspn(line, "#\n")] = '\0';
		text = line + strspn(line, " \t");
		rest = text + strcspn(text, " \t");
		if (*rest)
			*rest++ = '\0';
		if (!*text)
			continue;
		if (!strcmp(text, "client"))
			batch.client = strtoull(rest, NULL, 16);
		else if (!strcmp(text, "host"))
			batch.host = rest;
		else if (!strcmp(text, "acked"))
			batch.acked = strtoull(rest, NULL, 10);
		else if (!strcmp(text, "format"))
			batch.format = (unsigned)strtoul(rest, NULL, 10);
		else if (!isdigit((unsigned char)*text))
			die("%s: neither a record nor client, host, acked, format", text);
		else if (batch.records.records_len == KML_BATCH_MAX)
			die("too many records");
		else
			read_record(rest, strtoull(text, NULL, 10),
				    &records[batch.records.records_len++]);
	}
	free(line);
	line_number = 0;
	batch.records.records_val = records;
	buf_init(&buf, 0);
	if (kml_batch_encode(&buf, &batch))
		die("the batch cannot be encoded");
	err = fs_write_all(STDOUT_FILENO, buf.data, buf.len);
	buf_release(&buf);
	return err ? 1 : 0;
}

static int wishes_from_text(void)
{
	static struct kml_wish list[KML_WISHES_MAX];
	struct kml_wishes wishes = { { 0, list } };
	unsigned long long origin, number, version;
	struct buf buf;
	int err;

	while (scanf("%16llx-%16llx %llu", &origin, &number, &version) == 3) {
		if (wishes.wishes.wishes_len == KML_WISHES_MAX)
			die("too many wishes");
		list[wishes.wishes.wishes_len++] = (struct kml_wish){ { origin, number }, version };
	}
	buf_init(&buf, 0);
	if (kml_wishes_encode(&buf, &wishes))
		die("the wishes cannot be encoded");
	err = fs_write_all(STDOUT_FILENO, buf.data, buf.len);
	buf_release(&buf);
	return err ? 1 : 0;
}

/* ---- to text ---- */

static void print_bytes(struct slice bytes)
{
	const unsigned char *c = bytes.data;

	for (size_t i = 0; i < bytes.len; i++) {
		if (c[i] > ' ' && c[i] < 0x7f && c[i] != '\\')
			putchar(c[i]);
		else
			printf("\\x%02x", c[i]);
	}
}

static void print_oid(struct kml_oid oid)
{
	if (kml_oid_equal(oid, KML_ROOT))
		printf("root");
	else if (kml_oid_is_none(oid))
		printf("none");
	else
		printf("%llx-%llx", (unsigned long long)oid.origin, (unsigned long long)oid.number);
}

static void print_object(const struct kml_object *object)
{
	const struct kml_attr *attr = &object->attr;

	printf("oid=");
	print_oid(object->oid);
	printf(" type=%d mode=%04o uid=%u gid=%u nlink=%u size=%llu mtime=%lld.%09u data=%llu attr=%llu",
	       attr->type, attr->mode, attr->uid, attr->gid, attr->nlink,
	       (unsigned long long)attr->size, (long long)attr->mtime.sec, attr->mtime.nsec,
	       (unsigned long long)object->data_version, (unsigned long long)object->attr_version);
	if (object->extra.kml_extra_len) {
		printf(object->attr.type == KML_LNK ? " target=" : " acls=");
		print_bytes(kml_extra_get(&object->extra));
	}
}

static int print_answers(struct slice input)
{
	struct kml_answers answers;

	if (kml_answers_decode(input.data, input.len, &answers))
		die("malformed answers");
	for (u_int i = 0; i < answers.answers.answers_len; i++) {
		const struct kml_answer *answer = &answers.answers.answers_val[i];

		printf("%llu %s made=%llu", (unsigned long long)answer->seq,
		       kml_status_name(answer->status), (unsigned long long)answer->made_version);
		if (answer->error)
			printf(" error=%s", strerrorname_np((int)answer->error));
		if (answer->name.kml_name_len) {
			printf(" name=");
			print_bytes(kml_name_get(&answer->name));
		}
		if (answer->object) {
			printf(" object: ");
			print_object(answer->object);
		}
		printf("\n");
	}
	printf("position %llu\n", (unsigned long long)answers.position);
	kml_answers_release(&answers);
	return 0;
}

static int print_entry(struct slice body)
{
	struct kml_entry entry;
	struct buf buf;

	if (kml_entry_decode(body.data, body.len, &entry))
		return -EBADMSG;
	buf_init(&buf, 0);
	if (kml_record_print(&buf, &entry.record))
		die("no memory");
	printf("%llu client=%llx %.*s\n", (unsigned long long)entry.position,
	       (unsigned long long)entry.client, (int)buf.len, (char *)buf.data);
	for (u_int i = 0; i < entry.after.after_len; i++) {
		printf("\t");
		print_object(&entry.after.after_val[i]);
		printf("\n");
	}
	buf_release(&buf);
	kml_entry_release(&entry);
	return 0;
}

static int print_listed(struct slice body)
{
	struct kml_listed listed;

	if (kml_listed_decode(body.data, body.len, &listed))
		return -EBADMSG;
	print_oid(listed.parent);
	printf(" ");
	print_bytes(kml_name_get(&listed.name));
	printf("%s ", listed.name.kml_name_len ? "" : ".");
	print_object(&listed.object);
	printf("\n");
	kml_listed_release(&listed);
	return 0;
}

static int print_given(struct slice body)
{
	struct kml_given given;

	if (kml_given_decode(body.data, body.len, &given))
		return -EBADMSG;
	print_oid(given.oid);
	printf(" %llu ", (unsigned long long)given.data_version);
	print_bytes((struct slice){ given.bytes.bytes_val, given.bytes.bytes_len });
	printf("\n");
	kml_given_release(&given);
	return 0;
}

static int print_frames(struct slice input, int (*print)(struct slice body))
{
	const char *at = input.data;
	struct slice body;
	size_t used;

	while (kml_frame_next(at, input.len, 16u << 20, &body, &used) == 1) {
		at += used;
		input.len -= used;
		if (!body.len) {
			if (input.len)
				die("%zu bytes behind the end", input.len);
			return 0;
		}
		if (print(body))
			die("malformed frame");
	}
	fflush(stdout);
	die("broke off");
}

static int print_one_object(struct slice input)
{
	struct kml_object object;

	if (kml_object_decode(input.data, input.len, &object))
		die("malformed object");
	print_object(&object);
	printf("\n");
	kml_object_release(&object);
	return 0;
}

static int print_journal(struct slice input)
{
	return print_frames(input, print_entry);
}

static int print_list(struct slice input)
{
	return print_frames(input, print_listed);
}

static int print_contents(struct slice input)
{
	return print_frames(input, print_given);
}

static int print_packed(struct slice input)
{
	struct buf packed;

	buf_init(&packed, 0);
	if (compress_append(&packed, input.data, input.len) || fwrite(packed.data, 1, packed.len, stdout) != packed.len)
		die("it cannot be packed");
	buf_release(&packed);
	return 0;
}

static void read_input(struct buf *buf)
{
	ssize_t n;
	char *to;

	do {
		if (buf_reserve(buf, 1 << 16))
			die("no memory");
		to = (char *)buf->data + buf->len;
		n = read(STDIN_FILENO, to, 1 << 16);
		if (n > 0)
			buf->len += (size_t)n;
	} while (n > 0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*print)(struct slice input);
	} printers[] = {
		{ "answers", print_answers },
		{ "journal", print_journal },
		{ "list", print_list },
		{ "object", print_one_object },
		{ "contents", print_contents },
		{ "pack", print_packed },
	};
	struct buf buf;

	atexit(free_kept);
	if (argc == 2 && !strcmp(argv[1], "batch"))
		return batch_from_text();
	if (argc == 2 && !strcmp(argv[1], "wishes"))
		return wishes_from_text();
	for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(printers); i++) {
		if (strcmp(argv[1], printers[i].name))
			continue;
		buf_init(&buf, 0);
		read_input(&buf);
		return printers[i].print((struct slice){ keep(buf.data), buf.len });
	}
	fprintf(stderr, "usage: kml_tool batch|answers|journal|list|object|wishes|contents|pack\n");
	return 2;
}
