/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static json_t *of_oid(struct kml_oid oid)
{
	char text[KML_OID_TEXT];

	kml_oid_print(oid, text);
	return json_string(text);
}

static json_t *of_client(uint64_t client)
{
	return json_sprintf("%016llx", (unsigned long long)client);
}

static json_t *of_number(uint64_t number)
{
	return json_integer((json_int_t)number);
}

static json_t *of_mode(unsigned mode)
{
	return json_sprintf("%04o", mode);
}

static json_t *of_time(struct kml_time time)
{
	time_t sec = (time_t)time.sec;
	char text[40];
	struct tm tm;

	if (!gmtime_r(&sec, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm))
		return json_sprintf("%lld.%09u", (long long)time.sec, time.nsec);
	return json_sprintf("%s.%09uZ", text, time.nsec);
}

static json_t *of_hex(struct slice bytes)
{
	struct buf buf;
	json_t *json;

	buf_init(&buf, 0);
	for (size_t i = 0; i < bytes.len; i++)
		buf_printf(&buf, "%02x", ((const unsigned char *)bytes.data)[i]);
	json = buf_error(&buf) ? NULL : json_stringn((const char *)buf.data, buf.len);
	buf_release(&buf);
	return json;
}

/* Sets key, and key_hex where the bytes are not text.  0 or -1, as jansson's. */
static int set_bytes(json_t *to, const char *key, struct slice bytes)
{
	json_t *text = json_stringn(bytes.len ? bytes.data : "", bytes.len);
	char hex_key[32], *plain;
	int err;

	if (text)
		return json_object_set_new(to, key, text);
	plain = malloc(bytes.len);
	if (!plain)
		return -1;
	for (size_t i = 0; i < bytes.len; i++) {
		unsigned char c = ((const unsigned char *)bytes.data)[i];

		plain[i] = c < 0x80 ? (char)c : '?';
	}
	err = json_object_set_new(to, key, json_stringn(plain, bytes.len));
	free(plain);
	snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	return err ? err : json_object_set_new(to, hex_key, of_hex(bytes));
}

static int set_name(json_t *to, const char *key, const kml_name *name)
{
	return set_bytes(to, key, kml_name_get(name));
}

/* The value, or NULL when something of it could not be made. */
static json_t *checked(json_t *json, int err)
{
	if (!err)
		return json;
	json_decref(json);
	return NULL;
}

static const char *type_name(enum kml_type type)
{
	static const char *const names[] = {
		[KML_REG] = "file",	 [KML_DIR] = "directory", [KML_BLK] = "block",
		[KML_CHR] = "character", [KML_LNK] = "symlink",	  [KML_SOCK] = "socket",
		[KML_FIFO] = "fifo",
	};

	return (size_t)type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "?";
}

static json_t *of_ace(const struct kml_ace *ace, unsigned perm)
{
	static const struct {
		unsigned tag;
		const char *name;
	} names[] = {
		{ KML_ACL_USER_OBJ, "user" },	{ KML_ACL_USER, "user" },
		{ KML_ACL_GROUP_OBJ, "group" }, { KML_ACL_GROUP, "group" },
		{ KML_ACL_MASK, "mask" },	{ KML_ACL_OTHER, "other" },
	};
	const char *name = "?";
	char id[16] = "";

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (names[i].tag == ace->tag)
			name = names[i].name;
	}
	if (ace->tag == KML_ACL_USER || ace->tag == KML_ACL_GROUP)
		snprintf(id, sizeof(id), "%u", ace->id);
	return json_sprintf("%s:%s:%c%c%c", name, id, perm & 4 ? 'r' : '-', perm & 2 ? 'w' : '-',
			    perm & 1 ? 'x' : '-');
}

/* As setfacl takes it; with what the mode says of it.  Only where there is one. */
static int set_acl(json_t *to, const char *key, const kml_acl *acl, const unsigned *mode)
{
	json_t *list;
	int err = 0;

	if (!acl->kml_acl_len)
		return 0;
	list = json_array();
	for (u_int i = 0; i < acl->kml_acl_len; i++) {
		const struct kml_ace *ace = &acl->kml_acl_val[i];
		unsigned perm = ace->perm;

		if (mode && ace->tag == KML_ACL_USER_OBJ)
			perm = *mode >> 6;
		else if (mode && ace->tag == KML_ACL_MASK)
			perm = *mode >> 3;
		else if (mode && ace->tag == KML_ACL_OTHER)
			perm = *mode;
		err |= json_array_append_new(list, of_ace(ace, perm));
	}
	return err | json_object_set_new(to, key, list);
}

static int set_acls(json_t *to, const struct kml_acls *acls, unsigned mode)
{
	int err = set_acl(to, "acl", &acls->access, &mode);

	return err | set_acl(to, "default_acl", &acls->def, NULL);
}

static int set_extra(json_t *to, const struct kml_object *object)
{
	struct slice extra = kml_extra_get(&object->extra);
	struct kml_acls acls;
	int err;

	if (object->attr.type == KML_LNK)
		return set_bytes(to, "target", extra);
	if (!extra.len)
		return 0;
	if (kml_acls_decode(extra.data, extra.len, &acls))
		return -1;
	err = set_acls(to, &acls, object->attr.mode);
	kml_acls_release(&acls);
	return err;
}

static int set_object(json_t *to, const struct kml_object *object)
{
	const struct kml_attr *attr = &object->attr;
	int err = 0;

	err |= json_object_set_new(to, "oid", of_oid(object->oid));
	err |= json_object_set_new(to, "type", json_string(type_name(attr->type)));
	err |= json_object_set_new(to, "mode", of_mode(attr->mode));
	err |= json_object_set_new(to, "uid", of_number(attr->uid));
	err |= json_object_set_new(to, "gid", of_number(attr->gid));
	err |= json_object_set_new(to, "nlink", of_number(attr->nlink));
	if (attr->type == KML_BLK || attr->type == KML_CHR) {
		err |= json_object_set_new(to, "major", of_number(attr->major));
		err |= json_object_set_new(to, "minor", of_number(attr->minor));
	}
	err |= json_object_set_new(to, "size", of_number(attr->size));
	err |= json_object_set_new(to, "atime", of_time(attr->atime));
	err |= json_object_set_new(to, "mtime", of_time(attr->mtime));
	err |= json_object_set_new(to, "data_version", of_number(object->data_version));
	err |= json_object_set_new(to, "attr_version", of_number(object->attr_version));
	return err | set_extra(to, object);
}

json_t *json_of_object(const struct kml_object *object)
{
	json_t *json = json_object();

	return checked(json, set_object(json, object));
}

json_t *json_of_listed(const struct kml_listed *listed)
{
	json_t *json = json_object();
	int err = 0;

	err |= json_object_set_new(json, "parent", of_oid(listed->parent));
	err |= set_name(json, "name", &listed->name);
	err |= set_object(json, &listed->object);
	return checked(json, err);
}

/* ---- records ---- */

static int set_make(json_t *to, const struct kml_make *make)
{
	int err = 0;

	err |= json_object_set_new(to, "parent", of_oid(make->parent));
	err |= set_name(to, "name", &make->name);
	err |= json_object_set_new(to, "oid", of_oid(make->oid));
	err |= json_object_set_new(to, "mode", of_mode(make->mode));
	err |= json_object_set_new(to, "owner", of_number(make->uid));
	err |= json_object_set_new(to, "group", of_number(make->gid));
	err |= json_object_set_new(to, "mtime", of_time(make->mtime));
	return err;
}

static int set_setattr(json_t *to, const struct kml_setattr *setattr)
{
	int err = json_object_set_new(to, "oid", of_oid(setattr->oid));

	if (setattr->set & KML_SET_MODE)
		err |= json_object_set_new(to, "mode", of_mode(setattr->mode));
	if (setattr->set & KML_SET_UID)
		err |= json_object_set_new(to, "owner", of_number(setattr->uid));
	if (setattr->set & KML_SET_GID)
		err |= json_object_set_new(to, "group", of_number(setattr->gid));
	if (setattr->set & KML_SET_ATIME)
		err |= json_object_set_new(to, "atime", of_time(setattr->atime));
	if (setattr->set & (KML_SET_MTIME | KML_SET_FORWARD))
		err |= json_object_set_new(to, "mtime", of_time(setattr->mtime));
	err |= json_object_set_new(to, "attr_base", of_number(setattr->attr_base));
	return err;
}

static int set_store(json_t *to, const struct kml_store *store)
{
	json_t *ranges = json_array();
	int err = 0;

	err |= json_object_set_new(to, "oid", of_oid(store->oid));
	err |= json_object_set_new(to, "data_base", of_number(store->data_base));
	err |= json_object_set_new(to, "size", of_number(store->size));
	err |= json_object_set_new(to, "keep_size", of_number(store->keep_size));
	err |= json_object_set_new(to, "mtime", of_time(store->mtime));
	for (u_int i = 0; i < store->ranges.ranges_len; i++) {
		const struct kml_range *range = &store->ranges.ranges_val[i];
		json_t *pair = json_array();

		err |= json_array_append_new(pair, of_number(range->offset));
		err |= json_array_append_new(pair, of_number(range->length));
		err |= json_array_append_new(ranges, pair);
	}
	err |= json_object_set_new(to, "ranges", ranges);
	return err;
}

static int set_body(json_t *to, const struct kml_body *body)
{
	const struct kml_rename *rename = &body->kml_body_u.rename;
	const struct kml_unlink *unlinked = &body->kml_body_u.unlink;
	const struct kml_link *linked = &body->kml_body_u.link;
	int err = 0;

	switch (body->op) {
	case KML_CREATE:
	case KML_MKDIR:
		return set_make(to, &body->kml_body_u.make);
	case KML_SYMLINK:
		err = set_make(to, &body->kml_body_u.symlink.make);
		return err |
		       set_bytes(to, "target", kml_target_get(&body->kml_body_u.symlink.target));
	case KML_MKNOD:
		err |= set_make(to, &body->kml_body_u.mknod.make);
		err |= json_object_set_new(to, "type",
					   json_string(type_name(body->kml_body_u.mknod.type)));
		err |= json_object_set_new(to, "major", of_number(body->kml_body_u.mknod.major));
		err |= json_object_set_new(to, "minor", of_number(body->kml_body_u.mknod.minor));
		return err;
	case KML_LINK:
		err |= json_object_set_new(to, "oid", of_oid(linked->oid));
		err |= json_object_set_new(to, "parent", of_oid(linked->parent));
		return err | set_name(to, "name", &linked->name);
	case KML_REMOVE:
	case KML_RMDIR:
		err |= json_object_set_new(to, "parent", of_oid(unlinked->parent));
		err |= set_name(to, "name", &unlinked->name);
		err |= json_object_set_new(to, "oid", of_oid(unlinked->oid));
		return err | json_object_set_new(to, "data_base", of_number(unlinked->data_base));
	case KML_RENAME:
		err |= json_object_set_new(to, "from_parent", of_oid(rename->from_parent));
		err |= set_name(to, "from_name", &rename->from_name);
		err |= json_object_set_new(to, "to_parent", of_oid(rename->to_parent));
		err |= set_name(to, "to_name", &rename->to_name);
		err |= json_object_set_new(to, "oid", of_oid(rename->oid));
		err |= json_object_set_new(to, "replaced", of_oid(rename->replaced));
		return err |
		       json_object_set_new(to, "replaced_base", of_number(rename->replaced_base));
	case KML_SETATTR:
		return set_setattr(to, &body->kml_body_u.setattr);
	case KML_STORE:
		return set_store(to, &body->kml_body_u.store);
	case KML_SETACL:
		err |= json_object_set_new(to, "oid", of_oid(body->kml_body_u.setacl.oid));
		err |= json_object_set_new(to, "mode", of_mode(body->kml_body_u.setacl.mode));
		err |= set_acls(to, &body->kml_body_u.setacl.acls, body->kml_body_u.setacl.mode);
		return err | json_object_set_new(
				     to, "attr_base",
				     of_number(body->kml_body_u.setacl.attr_base));
	case KML_DETACH:
		break;	/* none is journalled */
	}
	return 0;	/* no other is decoded */
}

json_t *json_of_entry(const struct kml_entry *entry)
{
	json_t *json = json_object(), *after = json_array();
	const struct kml_record *record = &entry->record;
	int err = 0;

	err |= json_object_set_new(json, "position", of_number(entry->position));
	err |= json_object_set_new(json, "client", of_client(entry->client));
	err |= json_object_set_new(json, "seq", of_number(record->seq));
	err |= json_object_set_new(json, "time", of_time(record->time));
	err |= json_object_set_new(json, "by_uid", of_number(record->uid));
	err |= json_object_set_new(json, "op", json_string(kml_op_name(record->body.op)));
	err |= set_body(json, &record->body);
	for (u_int i = 0; i < entry->after.after_len; i++)
		err |= json_array_append_new(after, json_of_object(&entry->after.after_val[i]));
	err |= json_object_set_new(json, "after", after);
	return checked(json, err);
}

int json_write(struct buf *buf, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int err = -ENOMEM;

	if (text)
		err = buf_append(buf, text, strlen(text));
	free(text);
	json_decref(json);
	return err;
}
