/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes from upstream, and what is done here, all at once and by chance: in the end both trees are the same. */
#include "tests/unit/apply_fixture.h"
#include "tests/unit/often.h"

struct world {
	struct test *t;
	uint64_t client;
	struct kml_oid dirs[3];		/* stay where they are */
	unsigned seed;
	struct m_listing listing;
	uint64_t listing_ino;
	unsigned n_local, n_theirs;
};

static unsigned pick(struct world *w, unsigned n)
{
	w->seed = w->seed * 1103515245 + 12345;
	return (w->seed >> 16) % n;
}

static struct kml_oid pick_dir(struct world *w)
{
	return w->dirs[pick(w, 3)];
}

static bool is_below(struct model *m, struct kml_oid oid, struct kml_oid above)
{
	while (!kml_oid_equal(oid, KML_ROOT)) {
		if (kml_oid_equal(oid, above))
			return true;
		for (unsigned i = 0; i < m->n_names; i++) {
			if (kml_oid_equal(m->names[i].oid, oid)) {
				oid = m->names[i].dir;
				break;
			}
		}
	}
	return false;
}

/* Others change names f0..f5, in the three directories and in those that they make there. */
static void theirs(struct world *w)
{
	struct model *m = w->t->m;
	struct kml_oid dir = pick_dir(w), to = pick_dir(w), oid, there;
	char name[8], to_name[8], deep[8];

	snprintf(name, sizeof(name), "f%u", pick(w, 6));
	snprintf(to_name, sizeof(to_name), "f%u", pick(w, 6));
	snprintf(deep, sizeof(deep), "f%u", pick(w, 3));
	oid = m_oid(m, to, to_name);
	if (!kml_oid_is_none(oid) && m_object_of(m, oid)->attr.type == KML_DIR && pick(w, 2))
		to = oid;	/* one level deeper */
	oid = m_oid(m, dir, name);
	there = m_oid(m, to, to_name);
	w->n_theirs++;
	if (kml_oid_is_none(oid)) {
		(void)m_make(m, OTHERS, pick(w, 3) ? KML_REG : KML_DIR, dir, name, KML_NO_OID);
		return;
	}
	switch (pick(w, 6)) {
	case 0:
		if (m_object_of(m, oid)->attr.type != KML_DIR || !m_count(m, oid))
			m_remove(m, pick(w, 2) ? OTHERS : 0, dir, name);
		break;
	case 1:
	case 2:
		if (kml_oid_equal(oid, there) || is_below(m, to, oid))
			break;
		if (!kml_oid_is_none(there) &&
		    ((m_object_of(m, there)->attr.type == KML_DIR) != (m_object_of(m, oid)->attr.type == KML_DIR) ||
		     m_count(m, there)))
			break;
		m_rename(m, OTHERS, dir, name, to, to_name);
		break;
	case 3:
		if (kml_oid_is_none(there) && m_object_of(m, oid)->attr.type == KML_REG)
			m_link(m, OTHERS, oid, to, to_name);
		break;
	case 4:
		m_chmod(m, OTHERS, oid, 0600 + pick(w, 64));
		break;
	case 5:
		if (m_object_of(m, oid)->attr.type == KML_REG)
			m_store(m, OTHERS, oid, pick(w, 1000));
		else if (kml_oid_is_none(m_oid(m, oid, deep)))
			(void)m_file(m, oid, deep);
		break;
	}
}

/* Ours are l0..l5. */
static void ours(struct world *w)
{
	struct fixture *f = &w->t->f;
	uint64_t dir = ino_of(f, pick_dir(w)), to = ino_of(f, pick_dir(w)), ino;
	char name[8], to_name[8];

	snprintf(name, sizeof(name), "l%u", pick(w, 6));
	snprintf(to_name, sizeof(to_name), "l%u", pick(w, 6));
	w->n_local++;
	ino = found(f, dir, name);
	if (!ino) {
		(void)made(f, dir, name, pick(w, 2) ? "content" : NULL);
		return;
	}
	switch (pick(w, 5)) {
	case 0:
		assert_int_equal(f_remove(f, dir, name), 0);
		break;
	case 1:
		assert_int_equal(f_rename(f, dir, name, to, to_name), 0);
		break;
	case 2:
		(void)f_link(f, ino, to, to_name);	/* it may be there */
		break;
	case 3:
		assert_int_equal(f_chmod(f, ino, 0600 + pick(w, 64)), 0);
		break;
	case 4:
		assert_int_equal(f_write(f, ino, pick(w, 100), "more"), 0);
		assert_int_equal(f_commit(f, ino), 0);
		break;
	}
}

static const char *cut(const kml_name *name)
{
	static char text_of[2][40];
	static unsigned i;

	i = !i;
	snprintf(text_of[i], sizeof(text_of[i]), "%.*s", (int)name->kml_name_len, name->kml_name_val);
	return text_of[i];
}

/* Upstream does what the record says; nothing of it meets with others' changes. */
static void replay_one(struct world *w, const struct kml_record *record)
{
	const struct kml_make *make = &record->body.kml_body_u.make;
	const struct kml_link *link = &record->body.kml_body_u.link;
	const struct kml_unlink *gone = &record->body.kml_body_u.unlink;
	const struct kml_rename *rename = &record->body.kml_body_u.rename;
	const struct kml_setattr *setattr = &record->body.kml_body_u.setattr;
	const struct kml_store *store = &record->body.kml_body_u.store;
	struct model *m = w->t->m;
	int64_t now = m->now;

	/* Its time is the record's. */
	m->now = record->time.sec * 1000000000ll + record->time.nsec - 1000;
	switch (record->body.op) {
	case KML_CREATE:
		(void)m_make(m, w->client, KML_REG, make->parent, cut(&make->name), make->oid);
		m_object_of(m, make->oid)->attr.mode = make->mode;
		break;
	case KML_LINK:
		m_link(m, w->client, link->oid, link->parent, cut(&link->name));
		break;
	case KML_REMOVE:
		m_remove(m, w->client, gone->parent, cut(&gone->name));
		break;
	case KML_RENAME:
		m_rename(m, w->client, rename->from_parent, cut(&rename->from_name), rename->to_parent,
			 cut(&rename->to_name));
		break;
	case KML_SETATTR:
		if (setattr->set == KML_SET_FORWARD) {
			m_forward(m, w->client, setattr->oid, setattr->mtime);
			break;
		}
		/* Of a file that is made anew all of these, but it is root's in any case. */
		assert_true(setattr->set == KML_SET_MODE || setattr->set == (KML_SET_MODE | KML_SET_UID | KML_SET_GID));
		assert_true(setattr->set == KML_SET_MODE || (!setattr->uid && !setattr->gid));
		m_chmod(m, w->client, setattr->oid, setattr->mode);
		break;
	case KML_STORE:
		m_store_at(m, w->client, store->oid, store->size, store->mtime);
		break;
	default:
		fail();
	}
	m->now = MAX(now, m->now);
}

static void replay(struct world *w, size_t most)
{
	struct kml_answer answers[64] = { 0 };
	struct cml_batch *batch;

	assert_int_equal(cml_take(w->t->f.cache, most, UINT64_MAX, &batch), 0);
	if (!batch)
		return;
	for (size_t i = 0; i < batch->n; i++) {
		replay_one(w, &batch->items[i].record);
		answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq,
						  .made_version = w->t->m->position };
	}
	/* What upstream has done may be pulled before its answer is taken in. */
	if (pick(w, 2))
		m_pull(w->t->m, &w->t->f);
	assert_int_equal(cml_retire(w->t->f.cache, batch, answers, batch->n), 0);
}

static void step(struct world *w)
{
	struct test *t = w->t;
	struct kml_oid dir;
	int err;

	switch (pick(w, 16)) {
	case 0:
		replay(w, 1 + pick(w, 10));
		break;
	case 1:
	case 2:
		if (apply_position(t->f.cache) < t->m->position)
			m_pull_to(t->m, &t->f, apply_position(t->f.cache) + 1 +
				  pick(w, t->m->position - apply_position(t->f.cache)));
		break;
	case 3:		/* a listing is made, and comes later */
		if (w->listing.n)
			break;
		dir = pick_dir(w);
		m_snapshot(t->m, dir, &w->listing);
		w->listing_ino = ino_of(&t->f, dir);
		break;
	case 4:
		if (!w->listing.n)
			break;
		err = m_deliver(&t->f, w->listing_ino, &w->listing);
		assert_true(!err || err == -EAGAIN);
		break;
	case 5:
		(void)m_answer(t->m, &t->f);
		break;
	case 6:
		if (!pick(w, 20))
			reopen(t);
		break;
	case 7:
		if (!pick(w, 40))
			assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		ours(w);
		break;
	default:
		theirs(w);
	}
}

/* What can be looked at: directories that are not listed yet. */
static void list_rest(struct world *w)
{
	struct test *t = w->t;

	for (unsigned i = 0; i < t->m->n_objects; i++) {
		const struct kml_object *o = &t->m->objects[i];
		uint64_t ino;

		if (o->attr.type != KML_DIR || !o->attr.nlink)
			continue;
		ino = ino_of(&t->f, o->oid);
		if (ino && !inode_column(&t->f, ino, "is_listed"))
			assert_int_equal(m_list(t->m, &t->f, o->oid, ino), 0);
	}
}

static void converge(struct world *w)
{
	struct test *t = w->t;

	while (count(&t->f, "cml"))
		replay(w, 64);
	m_pull(t->m, &t->f);
	reopen(t);	/* forgets how long something was held up */
	for (unsigned round = 0; round < 20; round++) {
		while (m_answer(t->m, &t->f))
			;
		list_rest(w);
	}
	no_stale(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* Nothing is left over. */
	assert_int_equal(count(&t->f, "name WHERE seq OR NOT ino"), 0);
	assert_int_equal(count(&t->f, "name WHERE dir NOT IN (SELECT ino FROM inode)"), 0);
	assert_int_equal(count(&t->f, "inode WHERE ino <> 2 AND ino NOT IN (SELECT ino FROM name)"), 0);
	assert_int_equal(count(&t->f, "inode WHERE data_seq OR attr_seq"), 0);
}

static void random_run(unsigned seed, unsigned steps)
{
	struct world w = { .seed = seed };
	void *state;

	assert_int_equal(setup(&state), 0);
	w.t = state;
	w.client = cml_client_id(w.t->f.cache);
	for (unsigned i = 0; i < 3; i++) {
		char name[8];

		snprintf(name, sizeof(name), "d%u", i);
		w.dirs[i] = m_dir(w.t->m, KML_ROOT, name);
	}
	m_pull(w.t->m, &w.t->f);
	for (unsigned i = 0; i < steps; i++) {
		step(&w);
		if (i % 500 == 499)
			converge(&w);
	}
	converge(&w);
	assert_true(w.n_local && w.n_theirs);
	for (size_t i = 0; i < w.listing.n; i++)
		kml_listed_release(&w.listing.v[i]);
	free(w.listing.v);
	assert_int_equal(teardown(&state), 0);
}

static void everything_at_once(void **state)
{
	const char *given = getenv("IZO_SEED");
	unsigned seed = given ? (unsigned)atoi(given) : 1;

	(void)state;
	for (unsigned i = 0; i < (given ? 1 : often(12)); i++) {
		print_message("# IZO_SEED=%u\n", seed + i);
		random_run(seed + i, 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
