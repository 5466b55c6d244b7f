/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records and what is in them as text, for people. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "rpcgen/kml_codec.h"

void kml_oid_print(struct kml_oid oid, char ret_text[KML_OID_TEXT])
{
	snprintf(ret_text, KML_OID_TEXT, "%016llx-%016llx", (unsigned long long)oid.origin,
		 (unsigned long long)oid.number);
}

static int parse_hex16(const char *text, uint64_t *ret)
{
	uint64_t value = 0;

	for (int i = 0; i < 16; i++) {
		char c = text[i];

		if (c >= '0' && c <= '9')
			value = value << 4 | (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (unsigned)(c - 'a' + 10);
		else
			return -EINVAL;
	}
	*ret = value;
	return 0;
}

int kml_oid_parse(const char *text, struct kml_oid *ret_oid)
{
	uint64_t origin, number;

	if (strlen(text) != KML_OID_TEXT - 1 || text[16] != '-')
		return -EINVAL;
	if (parse_hex16(text, &origin) || parse_hex16(text + 17, &number))
		return -EINVAL;
	ret_oid->origin = origin;
	ret_oid->number = number;
	return 0;
}

const char *kml_op_name(enum kml_op op)
{
	static const char *const names[] = {
		[KML_CREATE] = "CREATE", [KML_MKDIR] = "MKDIR", [KML_SYMLINK] = "SYMLINK",
		[KML_MKNOD] = "MKNOD", [KML_LINK] = "LINK", [KML_REMOVE] = "REMOVE",
		[KML_RMDIR] = "RMDIR", [KML_RENAME] = "RENAME", [KML_SETATTR] = "SETATTR",
		[KML_STORE] = "STORE", [KML_SETACL] = "SETACL", [KML_DETACH] = "DETACH",
	};

	return (size_t)op < ARRAY_SIZE(names) && names[op] ? names[op] : "?";
}

const char *kml_status_name(enum kml_status status)
{
	static const char *const names[] = {
		[KML_OK] = "OK", [KML_ALREADY] = "ALREADY", [KML_MERGED] = "MERGED",
		[KML_RENAMED] = "RENAMED", [KML_CONFLICT] = "CONFLICT", [KML_GONE] = "GONE",
		[KML_REFUSED] = "REFUSED", [KML_RETRY] = "RETRY",
	};

	return (size_t)status < ARRAY_SIZE(names) ? names[status] : "?";
}

static void print_bytes(struct buf *buf, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c <= ' ' || c == '\\' || c >= 0x7f)
			buf_printf(buf, "\\x%02x", c);
		else
			buf_append(buf, &c, 1);
	}
}

static void print_at(struct buf *buf, struct kml_oid parent, const kml_name *name)
{
	char text[KML_OID_TEXT];

	kml_oid_print(parent, text);
	buf_printf(buf, " %s/", text);
	print_bytes(buf, name->kml_name_val, name->kml_name_len);
}

static void print_oid(struct buf *buf, struct kml_oid oid)
{
	char text[KML_OID_TEXT];

	kml_oid_print(oid, text);
	buf_printf(buf, " %s", text);
}

static void print_make(struct buf *buf, const struct kml_make *make)
{
	print_at(buf, make->parent, &make->name);
	print_oid(buf, make->oid);
	buf_printf(buf, " mode=%o uid=%u gid=%u", make->mode, make->uid, make->gid);
}

static void print_setattr(struct buf *buf, const struct kml_setattr *s)
{
	print_oid(buf, s->oid);
	if (s->set & KML_SET_MODE)
		buf_printf(buf, " mode=%o", s->mode);
	if (s->set & KML_SET_UID)
		buf_printf(buf, " uid=%u", s->uid);
	if (s->set & KML_SET_GID)
		buf_printf(buf, " gid=%u", s->gid);
	if (s->set & KML_SET_ATIME)
		buf_printf(buf, " atime=%lld.%09u", (long long)s->atime.sec, s->atime.nsec);
	if (s->set & KML_SET_MTIME)
		buf_printf(buf, " mtime=%lld.%09u", (long long)s->mtime.sec, s->mtime.nsec);
	if (s->set & KML_SET_FORWARD)
		buf_printf(buf, " mtime>=%lld.%09u", (long long)s->mtime.sec, s->mtime.nsec);
}

static void print_acl(struct buf *buf, const char *what, const kml_acl *acl)
{
	for (u_int i = 0; i < acl->kml_acl_len; i++)
		buf_printf(buf, "%s%x:%u:%o", i ? "," : what, acl->kml_acl_val[i].tag,
			   acl->kml_acl_val[i].id, acl->kml_acl_val[i].perm);
}

static void print_setacl(struct buf *buf, const struct kml_setacl *s)
{
	print_oid(buf, s->oid);
	buf_printf(buf, " mode=%o", s->mode);
	print_acl(buf, " access=", &s->acls.access);
	print_acl(buf, " default=", &s->acls.def);
}

static void print_store(struct buf *buf, const struct kml_store *store)
{
	uint64_t bytes = 0;

	for (u_int i = 0; i < store->ranges.ranges_len; i++)
		bytes += store->ranges.ranges_val[i].length;
	print_oid(buf, store->oid);
	buf_printf(buf, " size=%llu bytes=%llu ranges=%u base=%llu", (unsigned long long)store->size,
		   (unsigned long long)bytes, store->ranges.ranges_len,
		   (unsigned long long)store->data_base);
}

int kml_record_print(struct buf *buf, const struct kml_record *record)
{
	const struct kml_body *body = &record->body;

	buf_printf(buf, "%llu %s", (unsigned long long)record->seq, kml_op_name(body->op));
	switch (body->op) {
	case KML_CREATE:
	case KML_MKDIR:
		print_make(buf, &body->kml_body_u.make);
		break;
	case KML_SYMLINK:
		print_make(buf, &body->kml_body_u.symlink.make);
		buf_printf(buf, " -> ");
		print_bytes(buf, body->kml_body_u.symlink.target.kml_target_val,
			    body->kml_body_u.symlink.target.kml_target_len);
		break;
	case KML_MKNOD:
		print_make(buf, &body->kml_body_u.mknod.make);
		buf_printf(buf, " type=%d dev=%u:%u", body->kml_body_u.mknod.type,
			   body->kml_body_u.mknod.major, body->kml_body_u.mknod.minor);
		break;
	case KML_LINK:
		print_at(buf, body->kml_body_u.link.parent, &body->kml_body_u.link.name);
		print_oid(buf, body->kml_body_u.link.oid);
		break;
	case KML_REMOVE:
	case KML_RMDIR:
		print_at(buf, body->kml_body_u.unlink.parent, &body->kml_body_u.unlink.name);
		print_oid(buf, body->kml_body_u.unlink.oid);
		break;
	case KML_RENAME:
		print_at(buf, body->kml_body_u.rename.from_parent, &body->kml_body_u.rename.from_name);
		print_at(buf, body->kml_body_u.rename.to_parent, &body->kml_body_u.rename.to_name);
		print_oid(buf, body->kml_body_u.rename.oid);
		break;
	case KML_SETATTR:
		print_setattr(buf, &body->kml_body_u.setattr);
		break;
	case KML_STORE:
		print_store(buf, &body->kml_body_u.store);
		break;
	case KML_SETACL:
		print_setacl(buf, &body->kml_body_u.setacl);
		break;
	case KML_DETACH:
		print_at(buf, body->kml_body_u.detach.parent, &body->kml_body_u.detach.name);
		print_oid(buf, body->kml_body_u.detach.oid);
		break;
	}
	return buf_error(buf);
}
