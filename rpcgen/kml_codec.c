/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rpcgen/kml_codec.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/*
 * XDR is libtirpc's; what it cannot know (which numbers and names make sense) is checked after
 * it, before anybody sees the value.  The most that a hostile length makes it allocate before it finds the
 * bytes missing is the declared maximum of one field: 8 MiB.
 */

#define NSEC_PER_SEC 1000000000u

/* ---- encoding ---- */

static int encode(struct buf *buf, xdrproc_t proc, const void *value)
{
	size_t old = buf->len;
	unsigned long size = xdr_sizeof(proc, (void *)value);
	XDR xdr;
	void *to;
	bool ok;

	if (!size || size > UINT_MAX)
		return -EMSGSIZE;
	to = buf_extend(buf, size);
	if (!to)
		return buf_error(buf);
	xdrmem_create(&xdr, to, (u_int)size, XDR_ENCODE);
	ok = proc(&xdr, (void *)value);
	xdr_destroy(&xdr);
	if (!ok) {
		buf->len = old;
		return -EMSGSIZE;	/* a field above its declared maximum */
	}
	return 0;
}

int kml_record_encode(struct buf *buf, const struct kml_record *record)
{
	return encode(buf, (xdrproc_t)xdr_kml_record, record);
}

int kml_entry_encode(struct buf *buf, const struct kml_entry *entry)
{
	return encode(buf, (xdrproc_t)xdr_kml_entry, entry);
}

int kml_listed_encode(struct buf *buf, const struct kml_listed *listed)
{
	return encode(buf, (xdrproc_t)xdr_kml_listed, listed);
}

int kml_object_encode(struct buf *buf, const struct kml_object *object)
{
	return encode(buf, (xdrproc_t)xdr_kml_object, object);
}

int kml_acls_encode(struct buf *buf, const struct kml_acls *acls)
{
	return encode(buf, (xdrproc_t)xdr_kml_acls, acls);
}

int kml_batch_encode(struct buf *buf, const struct kml_batch *batch)
{
	return encode(buf, (xdrproc_t)xdr_kml_batch, batch);
}

int kml_answers_encode(struct buf *buf, const struct kml_answers *answers)
{
	return encode(buf, (xdrproc_t)xdr_kml_answers, answers);
}

int kml_wishes_encode(struct buf *buf, const struct kml_wishes *wishes)
{
	return encode(buf, (xdrproc_t)xdr_kml_wishes, wishes);
}

int kml_given_encode(struct buf *buf, const struct kml_given *given)
{
	return encode(buf, (xdrproc_t)xdr_kml_given, given);
}

int kml_file_head_encode(struct buf *buf, const struct kml_file_head *head)
{
	return encode(buf, (xdrproc_t)xdr_kml_file_head, head);
}

int kml_saved_encode(struct buf *buf, const struct kml_saved *saved)
{
	return encode(buf, (xdrproc_t)xdr_kml_saved, saved);
}

/* ---- what XDR cannot check ---- */

static int check_time(struct kml_time t)
{
	return t.nsec < NSEC_PER_SEC ? 0 : -EBADMSG;
}

static int check_name(const kml_name *name)
{
	const char *s = name->kml_name_val;
	size_t len = name->kml_name_len;

	if (!len || memchr(s, '\0', len) || memchr(s, '/', len))
		return -EBADMSG;
	if (s[0] == '.' && (len == 1 || (len == 2 && s[1] == '.')))
		return -EBADMSG;
	return 0;
}

static int check_target(const kml_target *target)
{
	size_t len = target->kml_target_len;

	return len && memchr(target->kml_target_val, '\0', len) ? -EBADMSG : 0;
}

static int check_ace(const struct kml_ace *ace, bool is_access)
{
	if (ace->perm & ~7u)
		return -EBADMSG;
	switch (ace->tag) {
	case KML_ACL_USER:
	case KML_ACL_GROUP:
		return ace->id == UINT32_MAX ? -EBADMSG : 0;
	case KML_ACL_USER_OBJ:
	case KML_ACL_MASK:
	case KML_ACL_OTHER:
		if (is_access && ace->perm)
			return -EBADMSG;
		/* fallthrough */
	case KML_ACL_GROUP_OBJ:
		return ace->id ? -EBADMSG : 0;
	}
	return -EBADMSG;
}

static int check_acl(const kml_acl *acl, bool is_access)
{
	unsigned need = KML_ACL_USER_OBJ | KML_ACL_GROUP_OBJ | KML_ACL_OTHER;
	unsigned tags = 0;

	for (u_int i = 0; i < acl->kml_acl_len; i++) {
		const struct kml_ace *ace = &acl->kml_acl_val[i], *last = ace - 1;

		if (check_ace(ace, is_access))
			return -EBADMSG;
		if (i && (ace->tag < last->tag || (ace->tag == last->tag && ace->id <= last->id)))
			return -EBADMSG;
		tags |= ace->tag;
	}
	if (is_access || tags & (KML_ACL_USER | KML_ACL_GROUP))
		need |= KML_ACL_MASK;
	return acl->kml_acl_len && (tags & need) != need ? -EBADMSG : 0;
}

static int check_acls(const void *value)
{
	const struct kml_acls *acls = value;
	int err = check_acl(&acls->access, true);

	return err ? err : check_acl(&acls->def, false);
}

static int check_mode(unsigned mode)
{
	return mode & ~07777u ? -EBADMSG : 0;
}

static int check_make(const struct kml_make *make)
{
	if (kml_oid_is_none(make->oid) || kml_oid_is_none(make->parent))
		return -EBADMSG;
	if (check_name(&make->name) || check_mode(make->mode) || check_time(make->atime))
		return -EBADMSG;
	return check_time(make->mtime);
}

/* Ascending, apart, below size; *ret_sum: their bytes. */
static int check_ranges(const struct kml_range *ranges, u_int n, uint64_t size, uint64_t *ret_sum)
{
	uint64_t end = 0, sum = 0;

	for (u_int i = 0; i < n; i++) {
		const struct kml_range *r = &ranges[i];

		if (!r->length || r->offset < end || (i && r->offset == end))
			return -EBADMSG;
		if (r->length > size || r->offset > size - r->length)
			return -EBADMSG;
		end = r->offset + r->length;
		sum += r->length;
	}
	*ret_sum = sum;
	return 0;
}

static int check_store(const struct kml_store *store)
{
	uint64_t sum;

	if (store->size > INT64_MAX || check_time(store->mtime))
		return -EBADMSG;
	if (check_ranges(store->ranges.ranges_val, store->ranges.ranges_len, store->size, &sum))
		return -EBADMSG;
	switch (store->content.where) {
	case KML_NOWHERE:
		return 0;
	case KML_INLINE:
		return store->content.kml_content_u.bytes.bytes_len == sum ? 0 : -EBADMSG;
	case KML_STAGED:
		return store->content.kml_content_u.key[0] ? 0 : -EBADMSG;
	}
	return -EBADMSG;
}

static int check_body(const struct kml_body *body)
{
	switch (body->op) {
	case KML_CREATE:
	case KML_MKDIR:
		return check_make(&body->kml_body_u.make);
	case KML_SYMLINK:
		if (!body->kml_body_u.symlink.target.kml_target_len)
			return -EBADMSG;
		if (check_target(&body->kml_body_u.symlink.target))
			return -EBADMSG;
		return check_make(&body->kml_body_u.symlink.make);
	case KML_MKNOD:
		switch (body->kml_body_u.mknod.type) {
		case KML_BLK:
		case KML_CHR:
		case KML_SOCK:
		case KML_FIFO:
			return check_make(&body->kml_body_u.mknod.make);
		default:
			return -EBADMSG;
		}
	case KML_LINK:
		if (kml_oid_is_none(body->kml_body_u.link.oid) ||
		    kml_oid_is_none(body->kml_body_u.link.parent))
			return -EBADMSG;
		return check_name(&body->kml_body_u.link.name);
	case KML_REMOVE:
	case KML_RMDIR:
		if (kml_oid_is_none(body->kml_body_u.unlink.oid) ||
		    kml_oid_is_none(body->kml_body_u.unlink.parent))
			return -EBADMSG;
		return check_name(&body->kml_body_u.unlink.name);
	case KML_RENAME:
		if (kml_oid_is_none(body->kml_body_u.rename.oid) ||
		    kml_oid_is_none(body->kml_body_u.rename.from_parent) ||
		    kml_oid_is_none(body->kml_body_u.rename.to_parent) ||
		    check_name(&body->kml_body_u.rename.from_name))
			return -EBADMSG;
		return check_name(&body->kml_body_u.rename.to_name);
	case KML_SETATTR:
		if (kml_oid_is_none(body->kml_body_u.setattr.oid) ||
		    check_mode(body->kml_body_u.setattr.mode) ||
		    check_time(body->kml_body_u.setattr.atime))
			return -EBADMSG;
		return check_time(body->kml_body_u.setattr.mtime);
	case KML_STORE:
		if (kml_oid_is_none(body->kml_body_u.store.oid))
			return -EBADMSG;
		return check_store(&body->kml_body_u.store);
	case KML_SETACL:
		if (kml_oid_is_none(body->kml_body_u.setacl.oid) ||
		    check_mode(body->kml_body_u.setacl.mode))
			return -EBADMSG;
		return check_acls(&body->kml_body_u.setacl.acls);
	case KML_DETACH:
		if (kml_oid_is_none(body->kml_body_u.detach.oid) ||
		    kml_oid_is_none(body->kml_body_u.detach.parent))
			return -EBADMSG;
		return check_name(&body->kml_body_u.detach.name);
	}
	return -EPROTONOSUPPORT;
}

static int check_record(const void *value)
{
	const struct kml_record *record = value;

	if (record->format != KML_VERSION)
		return -EPROTONOSUPPORT;
	if (check_time(record->time))
		return -EBADMSG;
	return check_body(&record->body);
}

static int check_extra(const struct kml_object *object)
{
	const kml_extra *extra = &object->extra;
	struct kml_acls acls;
	int err;

	if (!extra->kml_extra_len)
		return 0;
	if (object->attr.type == KML_LNK)
		return extra->kml_extra_len > KML_TARGET_MAX ||
		       memchr(extra->kml_extra_val, '\0', extra->kml_extra_len) ? -EBADMSG : 0;
	err = kml_acls_decode(extra->kml_extra_val, extra->kml_extra_len, &acls);
	if (err)
		return err;
	/* Nothing is said by leaving it out. */
	if (!acls.access.kml_acl_len && (!acls.def.kml_acl_len || object->attr.type != KML_DIR))
		err = -EBADMSG;
	kml_acls_release(&acls);
	return err;
}

static int check_object(const void *value)
{
	const struct kml_object *object = value;

	if (object->attr.type < KML_REG || object->attr.type > KML_FIFO)
		return -EBADMSG;
	if (kml_oid_is_none(object->oid) || check_mode(object->attr.mode))
		return -EBADMSG;
	if (object->attr.size > INT64_MAX)
		return -EBADMSG;
	if (check_time(object->attr.atime) || check_time(object->attr.mtime))
		return -EBADMSG;
	return check_extra(object);
}

static int check_entry(const void *value)
{
	const struct kml_entry *entry = value;
	int err = check_record(&entry->record);

	for (u_int i = 0; !err && i < entry->after.after_len; i++)
		err = check_object(&entry->after.after_val[i]);
	return err;
}

static int check_listed(const void *value)
{
	const struct kml_listed *listed = value;

	/* The line of the object asked for has no name; every other one has. */
	if (listed->name.kml_name_len ? check_name(&listed->name) : !kml_oid_is_none(listed->parent))
		return -EBADMSG;
	return check_object(&listed->object);
}

static int check_batch(const void *value)
{
	const struct kml_batch *batch = value;
	uint64_t seq = 0;
	int err;

	if (batch->format != KML_VERSION)
		return -EPROTONOSUPPORT;
	if (!batch->client)
		return -EBADMSG;
	for (u_int i = 0; i < batch->records.records_len; i++) {
		const struct kml_record *record = &batch->records.records_val[i];

		err = check_record(record);
		if (err)
			return err;
		if (record->seq <= seq)
			return -EBADMSG;
		seq = record->seq;
	}
	return 0;
}

static int check_answers(const void *value)
{
	const struct kml_answers *answers = value;

	for (u_int i = 0; i < answers->answers.answers_len; i++) {
		const struct kml_answer *a = &answers->answers.answers_val[i];

		if (a->status > KML_RETRY || (a->object && check_object(a->object)))
			return -EBADMSG;
		if (a->status == KML_RENAMED ? check_name(&a->name) : a->name.kml_name_len != 0)
			return -EBADMSG;
		if (a->status == KML_MERGED && !a->object)
			return -EBADMSG;
	}
	return 0;
}

static int check_wishes(const void *value)
{
	const struct kml_wishes *wishes = value;

	for (u_int i = 0; i < wishes->wishes.wishes_len; i++)
		if (kml_oid_is_none(wishes->wishes.wishes_val[i].oid) || !wishes->wishes.wishes_val[i].data_version)
			return -EBADMSG;
	return 0;
}

static int check_given(const void *value)
{
	const struct kml_given *given = value;

	return kml_oid_is_none(given->oid) || !given->data_version ? -EBADMSG : 0;
}

static int check_file_head(const void *value)
{
	const struct kml_file_head *head = value;

	return head->client ? check_time(head->made) : -EBADMSG;
}

static int check_saved(const void *value)
{
	const struct kml_saved *saved = value;
	const struct kml_store *store = &saved->record.body.kml_body_u.store;
	int err = check_record(&saved->record);
	uint64_t sum;

	if (!err && saved->about)
		err = check_listed(saved->about);
	if (err)
		return err;
	if (saved->record.body.op != KML_STORE)
		return saved->about || saved->rest.rest_len ? -EBADMSG : 0;
	if (store->content.where != KML_NOWHERE || (saved->about && !saved->about->name.kml_name_len))
		return -EBADMSG;
	return check_ranges(saved->rest.rest_val, saved->rest.rest_len, store->size, &sum);
}

/* ---- decoding ---- */

/*
 * Does the union arm of an operation we do not know make XDR fail?  Then the caller should hear "another
 * version", not "malformed"; so the operation is looked at before the rest: it stands at a fixed
 * place of a record (format 4, seq 8, time 12, uid 4 bytes before it).
 */
#define OP_OFFSET 28

static uint32_t get_u32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int peek_record(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint32_t op;

	if (len < OP_OFFSET + 4)
		return -EBADMSG;
	if (get_u32(p) != KML_VERSION)
		return -EPROTONOSUPPORT;
	op = get_u32(p + OP_OFFSET);
	return op >= KML_CREATE && op <= KML_DETACH ? 0 : -EPROTONOSUPPORT;
}

/* value: zeroed storage of 'size' bytes; zeroed again on failure. */
static int decode(const void *data, size_t len, xdrproc_t proc, int (*check)(const void *value),
		  void *value, size_t size)
{
	XDR xdr;
	int err = 0;

	memset(value, 0, size);
	if (!len || len > UINT_MAX)
		return -EBADMSG;
	xdrmem_create(&xdr, (char *)data, (u_int)len, XDR_DECODE);
	if (!proc(&xdr, value))
		err = -EBADMSG;
	else if (xdr_getpos(&xdr) != len || xdr_sizeof(proc, value) != len)
		err = -EBADMSG;	/* the latter: a string with a NUL in it is not as long as it says */
	else
		err = check(value);
	xdr_destroy(&xdr);
	if (err) {
		xdr_free(proc, value);
		memset(value, 0, size);
	}
	return err;
}

int kml_record_decode(const void *data, size_t len, struct kml_record *ret_record)
{
	struct kml_record record;
	int err = peek_record(data, len);

	if (!err)
		err = decode(data, len, (xdrproc_t)xdr_kml_record, check_record, &record, sizeof(record));
	if (!err)
		*ret_record = record;
	return err;
}

int kml_entry_decode(const void *data, size_t len, struct kml_entry *ret_entry)
{
	const size_t before = 16;	/* position and client */
	struct kml_entry entry;
	int err = len < before ? -EBADMSG : peek_record((const char *)data + before, len - before);

	if (!err)
		err = decode(data, len, (xdrproc_t)xdr_kml_entry, check_entry, &entry, sizeof(entry));
	if (!err)
		*ret_entry = entry;
	return err;
}

uint64_t kml_entry_mark(struct slice entry)
{
	return XXH3_64bits(entry.data, entry.len);
}

int kml_listed_decode(const void *data, size_t len, struct kml_listed *ret_listed)
{
	struct kml_listed listed;
	int err = decode(data, len, (xdrproc_t)xdr_kml_listed, check_listed, &listed, sizeof(listed));

	if (!err)
		*ret_listed = listed;
	return err;
}

int kml_object_decode(const void *data, size_t len, struct kml_object *ret_object)
{
	struct kml_object object;
	int err = decode(data, len, (xdrproc_t)xdr_kml_object, check_object, &object, sizeof(object));

	if (!err)
		*ret_object = object;
	return err;
}

int kml_acls_decode(const void *data, size_t len, struct kml_acls *ret_acls)
{
	struct kml_acls acls;
	int err = decode(data, len, (xdrproc_t)xdr_kml_acls, check_acls, &acls, sizeof(acls));

	if (!err)
		*ret_acls = acls;
	return err;
}

int kml_batch_decode(const void *data, size_t len, struct kml_batch *ret_batch)
{
	struct kml_batch batch;
	int err;

	if (len >= 4 && get_u32(data) != KML_VERSION)
		return -EPROTONOSUPPORT;
	err = decode(data, len, (xdrproc_t)xdr_kml_batch, check_batch, &batch, sizeof(batch));
	if (!err)
		*ret_batch = batch;
	return err;
}

int kml_answers_decode(const void *data, size_t len, struct kml_answers *ret_answers)
{
	struct kml_answers answers;
	int err = decode(data, len, (xdrproc_t)xdr_kml_answers, check_answers, &answers, sizeof(answers));

	if (!err)
		*ret_answers = answers;
	return err;
}

int kml_wishes_decode(const void *data, size_t len, struct kml_wishes *ret_wishes)
{
	struct kml_wishes wishes;
	int err = decode(data, len, (xdrproc_t)xdr_kml_wishes, check_wishes, &wishes, sizeof(wishes));

	if (!err)
		*ret_wishes = wishes;
	return err;
}

int kml_given_decode(const void *data, size_t len, struct kml_given *ret_given)
{
	struct kml_given given;
	int err = decode(data, len, (xdrproc_t)xdr_kml_given, check_given, &given, sizeof(given));

	if (!err)
		*ret_given = given;
	return err;
}

int kml_file_head_decode(const void *data, size_t len, struct kml_file_head *ret_head)
{
	struct kml_file_head head;
	int err = decode(data, len, (xdrproc_t)xdr_kml_file_head, check_file_head, &head, sizeof(head));

	if (!err)
		*ret_head = head;
	return err;
}

int kml_saved_decode(const void *data, size_t len, struct kml_saved *ret_saved)
{
	struct kml_saved saved;
	int err = peek_record(data, len);

	if (!err)
		err = decode(data, len, (xdrproc_t)xdr_kml_saved, check_saved, &saved, sizeof(saved));
	if (!err)
		*ret_saved = saved;
	return err;
}

void kml_record_release(struct kml_record *record)
{
	xdr_free((xdrproc_t)xdr_kml_record, record);
	memset(record, 0, sizeof(*record));
}

void kml_entry_release(struct kml_entry *entry)
{
	xdr_free((xdrproc_t)xdr_kml_entry, entry);
	memset(entry, 0, sizeof(*entry));
}

void kml_listed_release(struct kml_listed *listed)
{
	xdr_free((xdrproc_t)xdr_kml_listed, listed);
	memset(listed, 0, sizeof(*listed));
}

void kml_object_release(struct kml_object *object)
{
	xdr_free((xdrproc_t)xdr_kml_object, object);
	memset(object, 0, sizeof(*object));
}

void kml_acls_release(struct kml_acls *acls)
{
	xdr_free((xdrproc_t)xdr_kml_acls, acls);
	memset(acls, 0, sizeof(*acls));
}

void kml_batch_release(struct kml_batch *batch)
{
	xdr_free((xdrproc_t)xdr_kml_batch, batch);
	memset(batch, 0, sizeof(*batch));
}

void kml_answers_release(struct kml_answers *answers)
{
	xdr_free((xdrproc_t)xdr_kml_answers, answers);
	memset(answers, 0, sizeof(*answers));
}

void kml_wishes_release(struct kml_wishes *wishes)
{
	xdr_free((xdrproc_t)xdr_kml_wishes, wishes);
	memset(wishes, 0, sizeof(*wishes));
}

void kml_given_release(struct kml_given *given)
{
	xdr_free((xdrproc_t)xdr_kml_given, given);
	memset(given, 0, sizeof(*given));
}

void kml_file_head_release(struct kml_file_head *head)
{
	xdr_free((xdrproc_t)xdr_kml_file_head, head);
	memset(head, 0, sizeof(*head));
}

void kml_saved_release(struct kml_saved *saved)
{
	xdr_free((xdrproc_t)xdr_kml_saved, saved);
	memset(saved, 0, sizeof(*saved));
}
