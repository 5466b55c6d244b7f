/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests of httpd/: records and batches of two clients.
 *
 * Names and contents are borrowed: string literals, or what lives as long as the batch.
 */
#ifndef TESTS_UNIT_HTTPD_BATCH_H
#define TESTS_UNIT_HTTPD_BATCH_H

#include "tests/unit/httpd_fixture.h"

#include "httpd/upload.h"

#define RECORDS 256

struct batch {
	struct fixture *f;
	uint64_t client;
	struct kml_record v[RECORDS];
	u_int n;
	struct kml_range ranges[RECORDS];
	u_int n_ranges;
	struct kml_ace aces[16][5];
	u_int n_acls;
};

static UNUSED struct batch *batch_new(struct fixture *f, uint64_t client)
{
	struct batch *b = calloc(1, sizeof(*b));

	b->f = f;
	b->client = client;
	return b;
}

static UNUSED struct kml_oid oid(uint64_t number)
{
	return (struct kml_oid){ CLIENT, number };
}

/* Later than any directory of the export was made (f_age()), and the same at each run. */
static UNUSED struct kml_time time_of(uint64_t seq)
{
	return (struct kml_time){ 1262304000 + (int64_t)seq, 123456789 };
}

/* Make the export's root old, so that its time is what records make of it. */
static UNUSED void f_age(struct fixture *f)
{
	const struct timespec old[2] = { { 1000000000, 5 }, { 1000000000, 5 } };

	assert_int_equal(futimens(f->fd, old), 0);
}

static UNUSED struct kml_record *add(struct batch *b, enum kml_op op)
{
	struct kml_record *record = &b->v[b->n++];

	assert_true(b->n <= RECORDS);
	record->format = KML_VERSION;
	record->seq = ++b->f->seq;
	record->time = time_of(record->seq);
	record->uid = 1000;
	record->body.op = op;
	return record;
}

static UNUSED kml_name name_of_text(const char *text)
{
	return (kml_name){ (u_int)strlen(text), (char *)text };
}

static UNUSED struct kml_make *fill_make(struct kml_record *record, struct kml_make *make,
					 struct kml_oid parent, const char *name,
					 struct kml_oid object)
{
	*make = (struct kml_make){
		.parent = parent,
		.name = name_of_text(name),
		.oid = object,
		.mode = record->body.op == KML_MKDIR ? 0755 : 0644,
		.uid = geteuid(),
		.gid = getegid(),
		.atime = record->time,
		.mtime = record->time,
	};
	return make;
}

static UNUSED struct kml_make *add_create(struct batch *b, struct kml_oid parent, const char *name,
					  struct kml_oid object)
{
	struct kml_record *record = add(b, KML_CREATE);

	return fill_make(record, &record->body.kml_body_u.make, parent, name, object);
}

static UNUSED struct kml_make *add_mkdir(struct batch *b, struct kml_oid parent, const char *name,
					 struct kml_oid object)
{
	struct kml_record *record = add(b, KML_MKDIR);

	return fill_make(record, &record->body.kml_body_u.make, parent, name, object);
}

static UNUSED void add_symlink(struct batch *b, struct kml_oid parent, const char *name,
			       struct kml_oid object, const char *target)
{
	struct kml_record *record = add(b, KML_SYMLINK);

	fill_make(record, &record->body.kml_body_u.symlink.make, parent, name, object);
	record->body.kml_body_u.symlink.target =
		(kml_target){ (u_int)strlen(target), (char *)target };
}

static UNUSED struct kml_mknod *add_mknod(struct batch *b, struct kml_oid parent, const char *name,
					  struct kml_oid object, enum kml_type type)
{
	struct kml_record *record = add(b, KML_MKNOD);

	fill_make(record, &record->body.kml_body_u.mknod.make, parent, name, object);
	record->body.kml_body_u.mknod.type = type;
	return &record->body.kml_body_u.mknod;
}

static UNUSED void add_link(struct batch *b, struct kml_oid object, struct kml_oid parent,
			    const char *name)
{
	add(b, KML_LINK)->body.kml_body_u.link =
		(struct kml_link){ object, parent, name_of_text(name) };
}

static UNUSED struct kml_unlink *add_unlink(struct batch *b, enum kml_op op, struct kml_oid parent,
					    const char *name, struct kml_oid object, uint64_t base)
{
	struct kml_unlink *u = &add(b, op)->body.kml_body_u.unlink;

	*u = (struct kml_unlink){ parent, name_of_text(name), object, base };
	return u;
}

static UNUSED struct kml_rename *add_rename(struct batch *b, struct kml_oid object,
					    struct kml_oid from, const char *from_name,
					    struct kml_oid to, const char *to_name)
{
	struct kml_rename *r = &add(b, KML_RENAME)->body.kml_body_u.rename;

	*r = (struct kml_rename){ .oid = object,
				  .from_parent = from,
				  .from_name = name_of_text(from_name),
				  .to_parent = to,
				  .to_name = name_of_text(to_name) };
	return r;
}

static UNUSED struct kml_setattr *add_setattr(struct batch *b, struct kml_oid object, unsigned set,
					      uint64_t base)
{
	struct kml_setattr *s = &add(b, KML_SETATTR)->body.kml_body_u.setattr;

	*s = (struct kml_setattr){ .oid = object, .set = set, .attr_base = base };
	return s;
}

/*
 * A named user's entry beside the usual three and the mask; uid 0: no list at all.
 */
static UNUSED struct kml_setacl *add_setacl(struct batch *b, struct kml_oid object, unsigned mode, unsigned uid,
					    uint64_t base)
{
	struct kml_setacl *s = &add(b, KML_SETACL)->body.kml_body_u.setacl;
	struct kml_ace *v = b->aces[b->n_acls++];

	*s = (struct kml_setacl){ .oid = object, .mode = mode, .attr_base = base };
	assert_true(b->n_acls < ARRAY_SIZE(b->aces));
	v[0] = (struct kml_ace){ KML_ACL_USER_OBJ, 0, 0 };
	v[1] = (struct kml_ace){ KML_ACL_USER, 6, uid };
	v[2] = (struct kml_ace){ KML_ACL_GROUP_OBJ, 4, 0 };
	v[3] = (struct kml_ace){ KML_ACL_MASK, 0, 0 };
	v[4] = (struct kml_ace){ KML_ACL_OTHER, 0, 0 };
	if (uid)
		s->acls.access = (kml_acl){ 5, v };
	return s;
}

/* What has that name is to part from other names of it. */
static UNUSED void add_detach(struct batch *b, struct kml_oid object, struct kml_oid parent, const char *name, uint64_t base)
{
	add(b, KML_DETACH)->body.kml_body_u.detach = (struct kml_detach){ object, parent, name_of_text(name), base };
}

/* All of a file's content, inline. */
static UNUSED struct kml_store *add_store(struct batch *b, struct kml_oid object, uint64_t base,
					  const char *content)
{
	struct kml_record *record = add(b, KML_STORE);
	struct kml_store *s = &record->body.kml_body_u.store;
	size_t len = strlen(content);

	*s = (struct kml_store){
		.oid = object, .data_base = base, .size = len, .mtime = record->time
	};
	if (!len)
		return s;
	b->ranges[b->n_ranges] = (struct kml_range){ 0, len };
	s->ranges.ranges_val = &b->ranges[b->n_ranges++];
	s->ranges.ranges_len = 1;
	s->content.where = KML_INLINE;
	s->content.kml_content_u.bytes.bytes_val = (char *)content;
	s->content.kml_content_u.bytes.bytes_len = (u_int)len;
	return s;
}

/* One more range of a store, behind the ones it has; of the last record that was added. */
static UNUSED void add_range(struct batch *b, struct kml_store *s, uint64_t offset, uint64_t length)
{
	if (!s->ranges.ranges_len)
		s->ranges.ranges_val = &b->ranges[b->n_ranges];
	b->ranges[b->n_ranges++] = (struct kml_range){ offset, length };
	s->ranges.ranges_len++;
}

static UNUSED int send_raw(struct batch *b, uint64_t acked, struct buf *answers)
{
	struct kml_batch batch = {
		.format = KML_VERSION,
		.client = b->client,
		.host = b->client == CLIENT ? (char *)"laptop" : (char *)"other",
		.acked = acked,
		.records = { b->n, b->v },
	};

	return apply_batch(b->f->tree, &batch, answers);
}

/*
 * Apply the batch; send it once more, and see that nothing is done again; see that tables and disk
 * agree.  The answers are the caller's to release; the batch is used up.
 */
static UNUSED struct kml_answers send_batch(struct batch *b)
{
	struct kml_answers answers;
	struct buf first, second;
	uint64_t position, n_racy;
	bool is_retry;

	buf_init(&first, 0);
	buf_init(&second, 0);
	assert_int_equal(send_raw(b, 0, &first), 0);
	assert_int_equal(kml_answers_decode(first.data, first.len, &answers), 0);
	assert_int_equal(answers.answers.answers_len, b->n);
	is_retry = b->n && answers.answers.answers_val[b->n - 1].status == KML_RETRY;
	position = b->f->tree->position;
	assert_int_equal(answers.position, position);
	if (!is_retry) {
		assert_int_equal(send_raw(b, 0, &second), 0);
		assert_int_equal(first.len, second.len);
		assert_memory_equal(first.data, second.data, first.len);
		assert_int_equal(b->f->tree->position, position);
	}
	for (u_int i = 0; i < b->n; i++)
		assert_int_equal(answers.answers.answers_val[i].seq, b->v[i].seq);
	check_all(b->f);
	n_racy = racy(b->f);
	assert_int_equal(look(b->f), n_racy);
	buf_release(&first);
	buf_release(&second);
	free(b);
	return answers;
}

/*
 * Send, and see that the answers' states are as said: "OK RENAMED CONFLICT"; REFUSED and RETRY with
 * the errno, "REFUSED:1".
 */
#define send_for(b, want) send_and_expect(b, want, __FILE__, __LINE__)
static UNUSED struct kml_answers send_and_expect(struct batch *b, const char *want,
						 const char *file, int line)
{
	struct kml_answers answers = send_batch(b);
	char got[4096] = "";

	for (u_int i = 0; i < answers.answers.answers_len; i++) {
		const struct kml_answer *a = &answers.answers.answers_val[i];

		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? " " : "",
			 kml_status_name(a->status));
		if (a->status == KML_REFUSED || a->status == KML_RETRY)
			snprintf(got + strlen(got), sizeof(got) - strlen(got), ":%u", a->error);
	}
	if (strcmp(got, want))
		fail_msg("%s:%d: answers are \"%s\", not \"%s\"", file, line, got, want);
	return answers;
}

#define expect(b, want) \
	do { \
		struct kml_answers expect_answers_ = send_for(b, want); \
		kml_answers_release(&expect_answers_); \
	} while (0)

static UNUSED void check_time(struct fixture *f, const char *name, struct kml_time want)
{
	struct stat st = stat_of(f, name);

	assert_int_equal(st.st_mtim.tv_sec, want.sec);
	assert_int_equal(st.st_mtim.tv_nsec, want.nsec);
}

static UNUSED void check_content(struct fixture *f, const char *name, const char *want)
{
	const char *got = content_of(f, name);

	if (!got)
		fail_msg("there is no %s", name);
	assert_string_equal(got, want);
}

/* ---- content that is sent ahead ---- */

static UNUSED void send_ahead(struct fixture *f, const char *key, const char *content)
{
	struct upload *upload;

	assert_int_equal(upload_open(f->tree, CLIENT, key, 0, &upload), 0);
	assert_int_equal(upload_write(upload, content, strlen(content)), 0);
	assert_int_equal(upload_sync(upload), 0);
	upload_close(upload);
}

static UNUSED struct kml_store *add_staged(struct batch *b, struct kml_oid object, uint64_t size,
					   const char *key)
{
	struct kml_store *s = add_store(b, object, 0, "");

	s->size = size;
	s->content.where = KML_STAGED;
	s->content.kml_content_u.key = (char *)key;
	return s;
}

#endif
