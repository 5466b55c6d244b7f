/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random batches of two clients and random deeds of local programs, by seed.  After each round: a
 * batch sent again gets the same answers and does nothing; tables, journal and disk say the same;
 * what a store was answered OK for is in the file; and nothing that was refused or in conflict has
 * been done.
 *
 * IZO_SEED=N runs that seed only, IZO_SEEDS=N the first N; V=1 shows the records.
 */
#include "tests/unit/httpd_batch.h"

#include <signal.h>
#include <sys/prctl.h>
#include "base/hash.h"
#include "httpd/watch.h"
#include "tests/unit/often.h"

#define SEEDS often(60)
#define ROUNDS 25
#define OIDS 24		/* numbers per client that records are about */

struct random {
	struct fixture *f;
	uint64_t state;
	unsigned n_local;
};

static uint64_t next(struct random *r)
{
	return r->state = hash_u64(r->state + 0x9e3779b97f4a7c15ull);
}

static unsigned pick(struct random *r, unsigned n)
{
	return (unsigned)(next(r) % n);
}

static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g" };

static const char *any_name(struct random *r)
{
	return names[pick(r, ARRAY_SIZE(names))];
}

/* ---- rows that are there ---- */

struct rows {
	struct name_row v[512];
	size_t n;
};

static void collect(struct random *r, int64_t dir, struct rows *rows)
{
	struct name_row *in = calloc(64, sizeof(*in));
	struct object object;
	size_t n;

	assert_int_equal(names_after(r->f->tree->sql, dir, (struct slice){ NULL, 0 }, in, 64, &n),
			 0);
	for (size_t i = 0; i < n && rows->n < ARRAY_SIZE(rows->v); i++) {
		rows->v[rows->n++] = in[i];
		assert_int_equal(object_by_id(r->f->tree->sql, in[i].object, &object), 1);
		if (object.attr.type == KML_DIR)
			collect(r, object.id, rows);
	}
	free(in);
}

static struct object object_of(struct random *r, int64_t id)
{
	struct object object;

	assert_int_equal(object_by_id(r->f->tree->sql, id, &object), 1);
	return object;
}

/* Some directory; mostly one that is there, now and then one that is gone or was never heard of. */
static struct kml_oid any_dir(struct random *r, const struct rows *rows, uint64_t client)
{
	struct object object;

	if (!pick(r, 12))
		return (struct kml_oid){ client, pick(r, OIDS) + 1 };
	for (int i = 0; rows->n && i < 10; i++) {
		object = object_of(r, rows->v[pick(r, (unsigned)rows->n)].object);
		if (object.attr.type == KML_DIR && pick(r, 4))
			return object.oid;
	}
	return KML_ROOT;
}

static uint64_t any_base(struct random *r, uint64_t version)
{
	return pick(r, 4) ? version : pick(r, 2) ? 0 : version - MIN(version, 1);
}

/* ---- a batch ---- */

static char contents[64][32];

static void add_one(struct random *r, struct batch *b, const struct rows *rows)
{
	struct kml_oid fresh = { b->client, b->f->seq * 2 + 1000 },
		       some = { b->client, pick(r, OIDS) + 1 };
	const struct name_row *row = rows->n ? &rows->v[pick(r, (unsigned)rows->n)] : NULL;
	struct object object = { 0 }, dir = { .oid = KML_ROOT }, other = { 0 };
	const struct name_row *over;
	struct kml_setattr *s;
	struct kml_rename *rename;
	char *text;

	if (row) {
		object = object_of(r, row->object);
		dir = object_of(r, row->dir);
	} else {
		object.oid = some;
	}
	switch (pick(r, 15)) {
	case 0:
	case 1:
		add_create(b, any_dir(r, rows, b->client), any_name(r), pick(r, 2) ? fresh : some);
		break;
	case 2:
		add_mkdir(b, any_dir(r, rows, b->client), any_name(r), pick(r, 2) ? fresh : some);
		break;
	case 3:
		add_symlink(b, any_dir(r, rows, b->client), any_name(r), fresh, "target");
		break;
	case 4:
		add_link(b, object.oid, any_dir(r, rows, b->client), any_name(r));
		break;
	case 5:
		if (row)
			add_unlink(b, KML_REMOVE, dir.oid, row->name.text, object.oid,
				   any_base(r, object.data_version));
		break;
	case 6:
		if (row)
			add_unlink(b, KML_RMDIR, dir.oid, row->name.text, object.oid, 0);
		break;
	case 7:
	case 8:
		if (!row)
			break;
		rename = add_rename(b, object.oid, dir.oid, row->name.text,
				    any_dir(r, rows, b->client), any_name(r));
		if (pick(r, 2)) {
			over = &rows->v[pick(r, (unsigned)rows->n)];
			other = object_of(r, over->object);
			rename->to_parent = object_of(r, over->dir).oid;
			rename->to_name = name_of_text(over->name.text);
			rename->replaced = other.oid;
			rename->replaced_base = any_base(r, other.data_version);
		}
		break;
	case 9:
		s = add_setattr(b, object.oid, KML_SET_MODE | (pick(r, 2) ? KML_SET_MTIME : 0),
				any_base(r, object.attr_version));
		s->mode = 0600 + pick(r, 0200);
		s->mtime = (struct kml_time){ 1300000000 + pick(r, 1000), pick(r, 1000000000) };
		break;
	case 14:
		if (b->n_acls + 1u < ARRAY_SIZE(b->aces))
			add_setacl(b, object.oid, 0600 + pick(r, 0200), pick(r, 3), any_base(r, object.attr_version));
		break;
	case 13:
		if (row)
			add_detach(b, object.oid, dir.oid, row->name.text, any_base(r, object.data_version));
		if (!row || !pick(r, 4))
			break;
		/* fall through */
	default:
		text = contents[b->n % 64];
		snprintf(text, 32, "by %llx %llu", (unsigned long long)b->client,
			 (unsigned long long)b->f->seq);
		add_store(b, pick(r, 6) ? object.oid : fresh, any_base(r, object.data_version),
			  text);
	}
	/* What is new is used at once, too. */
	if (b->n && b->v[b->n - 1].body.op == KML_CREATE && pick(r, 3)) {
		struct kml_oid made = b->v[b->n - 1].body.kml_body_u.make.oid;

		for (unsigned i = pick(r, 3); i > 0; i--) {
			text = contents[b->n % 64];
			snprintf(text, 32, "first %llu", (unsigned long long)b->f->seq);
			add_store(b, made, 0, text);
		}
	}
}

/* What the last record about the content of an object has made of it. */
static void check_stores(struct batch *b, const struct kml_answers *answers)
{
	AUTO_FREE struct name_row *rows = NULL;
	struct object object;
	char got[64];
	ssize_t len;
	size_t n;
	int fd;

	for (u_int i = 0; i < b->n; i++) {
		const struct kml_store *s = &b->v[i].body.kml_body_u.store;
		bool is_last = true;

		if (b->v[i].body.op != KML_STORE ||
		    answers->answers.answers_val[i].status != KML_OK)
			continue;
		assert_true(answers->answers.answers_val[i].made_version > 0);
		for (u_int j = i + 1; j < b->n; j++)
			is_last &= b->v[j].body.op != KML_STORE ||
				   !kml_oid_equal(b->v[j].body.kml_body_u.store.oid, s->oid) ||
				   answers->answers.answers_val[j].status != KML_OK;
		assert_int_equal(object_by_oid(b->f->tree->sql, s->oid, &object), 1);
		if (!is_last || object.gone)
			continue;
		assert_int_equal(object.data_version, answers->answers.answers_val[i].made_version);
		free(rows);
		assert_int_equal(names_of(b->f->tree->sql, object.id, &rows, &n), 0);
		for (size_t j = 0; j < n; j++) {
			int dirfd = tree_open_dir(b->f->tree, b->f->tree->sql, rows[j].dir);

			assert_true(dirfd >= 0);
			fd = openat(dirfd, rows[j].name.text, O_RDONLY);
			assert_true(fd >= 0);
			len = read(fd, got, sizeof(got));
			if (len != (ssize_t)s->size ||
			    memcmp(got, s->content.kml_content_u.bytes.bytes_val, s->size))
				fail_msg("%s: holds \"%.*s\", not what seq %llu stored",
					 rows[j].name.text, (int)len, got,
					 (unsigned long long)b->v[i].seq);
			(void)close(fd);
			(void)close(dirfd);
		}
	}
}

static void tell(const struct batch *b, const struct kml_answers *answers)
{
	struct buf line;

	for (u_int i = 0; i < b->n; i++) {
		const struct kml_answer *a = &answers->answers.answers_val[i];

		buf_init(&line, 0);
		(void)kml_record_print(&line, &b->v[i]);
		print_message("%llx %.*s: %s error=%u version=%llu\n",
			      (unsigned long long)b->client, (int)line.len, line.data,
			      kml_status_name(a->status), a->error,
			      (unsigned long long)a->made_version);
		buf_release(&line);
	}
}

static bool has_retry(const struct kml_answers *answers)
{
	const u_int n = answers->answers.answers_len;

	return n && answers->answers.answers_val[n - 1].status == KML_RETRY;
}

/* Which record could not be carried out, though nobody else is at work? */
static void fail_for(const struct batch *b, const struct kml_answers *answers)
{
	struct buf line;
	u_int i = 0;

	while (answers->answers.answers_val[i].status != KML_RETRY)
		i++;
	buf_init(&line, 0);
	(void)kml_record_print(&line, &b->v[i]);
	fail_msg("%.*s: not carried out: %s", (int)line.len, line.data, strerror((int)answers->answers.answers_val[i].error));
}

/* Until each is carried out: what others change all the time may have to be tried again. */
static void send_until_done(struct batch *b, bool is_alone, struct buf *ret_bytes, struct kml_answers *ret_answers)
{
	for (unsigned tries = 0;; tries++) {
		buf_init(ret_bytes, 0);
		assert_int_equal(send_raw(b, 0, ret_bytes), 0);
		assert_int_equal(kml_answers_decode(ret_bytes->data, ret_bytes->len, ret_answers), 0);
		if (!has_retry(ret_answers))
			return;
		if (is_alone || tries >= 100)
			fail_for(b, ret_answers);
		kml_answers_release(ret_answers);
		buf_release(ret_bytes);
	}
}

static void one_batch(struct random *r, bool is_alone)
{
	struct batch *b = batch_new(r->f, pick(r, 3) ? CLIENT : OTHER);
	struct rows *rows = calloc(1, sizeof(*rows));
	struct kml_answers answers;
	struct buf first, second;
	uint64_t position;

	tree_lock(r->f->tree);
	collect(r, ROOT_ID, rows);
	for (unsigned n = 1 + pick(r, 12); n > 0; n--)
		add_one(r, b, rows);
	tree_unlock(r->f->tree);
	send_until_done(b, is_alone, &first, &answers);
	buf_init(&second, 0);
	position = answers.position;
	if (getenv("V"))
		tell(b, &answers);
	if (is_alone)
		check_stores(b, &answers);
	for (u_int i = 0; i < answers.answers.answers_len; i++) {
		assert_int_not_equal(answers.answers.answers_val[i].status, KML_RETRY);
		if (answers.answers.answers_val[i].made_version)
			assert_true(answers.answers.answers_val[i].made_version <= position);
	}
	assert_int_equal(send_raw(b, 0, &second), 0);
	assert_int_equal(first.len, second.len);
	/* The position is where the journal is by now. */
	assert_memory_equal(first.data + 8, second.data + 8, first.len - 8);
	if (is_alone)
		assert_int_equal(r->f->tree->position, position);
	kml_answers_release(&answers);
	buf_release(&first);
	buf_release(&second);
	free(rows);
	free(b);
}

/* ---- local programs ---- */

static void any_path(struct random *r, char *ret, size_t size)
{
	unsigned depth = pick(r, 3);

	ret[0] = '\0';
	for (unsigned i = 0; i <= depth; i++)
		snprintf(ret + strlen(ret), size - strlen(ret), "%s%s", i ? "/" : "", any_name(r));
}

/* As a copy that keeps times sets them. */
static void set_time(struct random *r, const char *path)
{
	const struct timespec old = { 1200000000 + pick(r, 1000), pick(r, 1000000000) };

	(void)utimensat(r->f->fd, path, (const struct timespec[2]){ old, old }, AT_SYMLINK_NOFOLLOW);
}

/* Whatever does not work is fine. */
static void local_deed(struct random *r)
{
	char path[64], other[64], *slash;
	int fd;

	any_path(r, path, sizeof(path));
	any_path(r, other, sizeof(other));
	switch (pick(r, 10)) {
	case 0:
	case 1:
		fd = openat(r->f->fd, path, O_WRONLY | O_CREAT | (pick(r, 2) ? O_TRUNC : O_APPEND),
			    0644);
		if (fd < 0)
			break;
		assert_true(dprintf(fd, "local %u", r->n_local++) > 0);
		(void)close(fd);
		break;
	case 2:
		(void)mkdirat(r->f->fd, path, 0755);
		break;
	case 3:
	case 4:
		(void)renameat(r->f->fd, path, r->f->fd, other);
		break;
	case 5:
		(void)linkat(r->f->fd, path, r->f->fd, other, 0);
		break;
	case 6:
		(void)unlinkat(r->f->fd, path, pick(r, 2) ? AT_REMOVEDIR : 0);
		break;
	case 7:
		(void)fchmodat(r->f->fd, path, 0600 + pick(r, 0200), 0);
		break;
	case 8:
		(void)file_delete(r->f->fd, path);
		break;
	case 9:
		set_time(r, path);
		break;
	}
	/* And its directory's, which that deed has changed. */
	slash = strrchr(path, '/');
	if (slash && !pick(r, 3)) {
		*slash = '\0';
		set_time(r, path);
	}
}

/* ---- */

static void one_seed(uint64_t seed)
{
	struct fixture f;
	struct random r = { &f, seed, 0 };
	uint64_t n;

	f_make_in(&f, test_dir());
	f_open(&f);
	for (unsigned round = 0; round < ROUNDS; round++) {
		bool is_quiet = pick(&r, 2);

		for (unsigned i = pick(&r, 6); i > 0; i--)
			local_deed(&r);
		if (is_quiet)
			(void)look(&f);
		one_batch(&r, true);
		/*
		 * Whatever local programs did is found by one look, but for what was seen too soon.
		 */
		(void)look(&f);
		check_all(&f);
		n = racy(&f);
		if (n)
			settle();
		assert_in_range(look(&f), 0, n);
		check_all(&f);
		if (!pick(&r, 8)) {
			f_close(&f);
			f_open(&f);
		}
	}
	f_remove(&f);
}

static void seeds(void **state)
{
	const char *only = getenv("IZO_SEED"), *many = getenv("IZO_SEEDS");
	uint64_t first = only ? strtoull(only, NULL, 10) : 1,
		 last = only   ? first
			: many ? strtoull(many, NULL, 10)
			       : SEEDS;

	(void)state;
	for (uint64_t seed = first; seed <= last; seed++) {
		/* Shown when it fails: the last one that was begun. */
		print_message("seed %llu\n", (unsigned long long)seed);
		one_seed(seed);
	}
}

/* A process that does what it likes until it is killed. */
static pid_t start_vandal(struct fixture *f, uint64_t seed)
{
	struct random r = { f, seed, 0 };
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);	/* should a check fail meanwhile */
	for (;;) {
		local_deed(&r);
		usleep(pick(&r, 300));
	}
}

/*
 * Batches while a local program is at work and the watch looks: whatever comes in between two steps
 * is noticed, nothing hangs, and in the end tables and disk agree.
 */
static void not_alone(void **state)
{
	enum watch_kind kind = *(const enum watch_kind *)*state;
	struct fixture f;
	struct random r = { &f, 4711, 0 };
	struct watch *watch;
	uint64_t n;
	pid_t pid;

	f_make_in(&f, test_dir());
	f_open(&f);
	assert_int_equal(watch_start(f.tree, kind, &watch), 0);
	pid = start_vandal(&f, 815);
	for (unsigned i = 0; i < often(300); i++)
		one_batch(&r, false);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	watch_stop(watch);
	settle();
	(void)look(&f);
	check_all(&f);
	n = racy(&f);
	assert_in_range(look(&f), 0, n);
	check_all(&f);
	f_remove(&f);
}

static const enum watch_kind best = WATCH_BEST, inotify = WATCH_INOTIFY;

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seeds),
		{ "not alone, whatever notices", not_alone, NULL, NULL, (void *)&best },
		{ "not alone, inotify", not_alone, NULL, NULL, (void *)&inotify },
	};

	log_set_level(getenv("V") ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
