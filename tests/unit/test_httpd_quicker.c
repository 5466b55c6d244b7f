/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local programs that are quicker: between the look at a file and what a record does to it, they save over it, write to it, or take its other
 * name away.  Whatever they made is there afterwards, also when the server is killed right then.
 */
#include "tests/unit/httpd_batch.h"

#include <signal.h>
#include "base/fault.h"

#ifndef IZO_FAULTS

#include "tests/unit/no_fault_points.h"

#else

/* ---- what local programs do ---- */

static int aside = -1;		/* beside the export: nothing in there is seen */

static void write_aside(const char *content)
{
	int fd = openat(aside, "saved", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	assert_int_equal(close(fd), 0);
}

/* What was there before is gone with that. */
static void save(struct fixture *f, const char *name, const char *content)
{
	write_aside(content);
	assert_int_equal(renameat2(aside, "saved", f->fd, name, RENAME_EXCHANGE), 0);
	assert_int_equal(unlinkat(aside, "saved", 0), 0);
}

static void save_a(void *arg)
{
	save(arg, "a", "local");
}

static void save_b(void *arg)
{
	save(arg, "b", "local");
}

static void write_a(void *arg)
{
	put_file(arg, "a", "written in place");
}

static void remove_b(void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(unlinkat(f->fd, "b", 0), 0);
}

static void make_a(void *arg)
{
	put_file(arg, "a", "made just then");
}

/* The second half of what two programs do, one right after the other. */
static void save_a_then_make_a(void *arg)
{
	save_a(arg);
	fault_call("step.removed", 1, make_a, arg);
}

static void save_a_again(void *arg)
{
	save(arg, "a", "local again");
}

static void save_a_twice(void *arg)
{
	save_a(arg);
	fault_call("step.stored", 1, save_a_again, arg);
}

/* ---- what a client does meanwhile ---- */

static void send_it(struct batch *b)
{
	struct buf answers;

	buf_init(&answers, 0);
	(void)send_raw(b, 0, &answers);		/* what became of it is seen when it is sent again */
	buf_release(&answers);
}

static void store(struct batch *b)
{
	add_store(b, oid(1), 0, "the client's");
}

static void detach_and_store(struct batch *b)
{
	add_detach(b, oid(1), KML_ROOT, "a", 0);
	add_store(b, oid(1), 0, "the client's");
}

static void rename_over_a(struct batch *b)
{
	add_rename(b, oid(2), KML_ROOT, "c", KML_ROOT, "a")->replaced = oid(1);
}

static void remove_a(struct batch *b)
{
	add_unlink(b, KML_REMOVE, KML_ROOT, "a", oid(1), 0);
}

/* Of a content that the client has never seen, which may lose this name, for it has another. */
static void remove_a_of_others(struct batch *b)
{
	struct batch *other = batch_new(b->f, OTHER);
	uint64_t seq = b->f->seq;

	add_store(other, oid(1), 1, "the other's");
	other->v[0].body.kml_body_u.store.data_base = version_of(b->f, "a");
	send_it(other);
	free(other);
	b->f->seq = seq + 1;
	remove_a(b);
	b->v[b->n - 1].body.kml_body_u.unlink.data_base = 1;
}

static void chmod_and_remove_a_of_others(struct batch *b)
{
	remove_a_of_others(b);
	/* What the batch itself has touched has another ctime for that. */
	b->v[b->n] = b->v[b->n - 1];
	b->v[b->n].seq = ++b->f->seq;
	memset(&b->v[b->n - 1].body, 0, sizeof(b->v[0].body));
	b->v[b->n - 1].body.op = KML_SETATTR;
	b->v[b->n - 1].body.kml_body_u.setattr = (struct kml_setattr){ .oid = oid(1), .set = KML_SET_MODE, .mode = 0600 };
	b->n++;
}

/* ---- the cases ---- */

static const struct quicker_case {
	const char *name;
	void (*client)(struct batch *b);
	const char *point;		/* where the local program comes in, when it is passed the nth time */
	unsigned nth;
	void (*local)(void *arg);
	bool has_b;			/* a second name of the file */
	const char *want;		/* answers */
	const char *a, *b;		/* contents then; NULL: there is none */
	const char *beside;		/* what is beside a, under another name; NULL: nothing */
	const char *kill;		/* where the server can be killed right after that; NULL: that is no such case */
} cases[] = {
	{ "store, saved", store, "step.store", 1, save_a, false, "CONFLICT", "local", NULL, NULL, "step.stored" },
	{ "store, written to", store, "step.store", 1, write_a, false, "CONFLICT", "written in place", NULL, NULL, "step.stored" },
	{ "store, the second name is saved", store, "step.store", 2, save_b, true, "OK", "the client's", "local", NULL, "step.stored" },
	{ "store, the first name is saved", store, "step.store", 1, save_a, true, "OK", "local", "the client's", NULL, "step.stored" },
	{ "store, saved twice", store, "step.store", 1, save_a_twice, false, "CONFLICT", "local", NULL, "local again", NULL },
	{ "detach, saved", detach_and_store, "step.store", 1, save_a, true, "ALREADY OK", "local", "the client's", NULL, "step.stored" },
	{ "rename over it, saved", rename_over_a, "step.over", 1, save_a, false, "RENAMED", "local", NULL, "renamed", "step.exchanged" },
	{ "rename over it, written to", rename_over_a, "step.over", 1, write_a, false, "RENAMED", "written in place", NULL, "renamed", "step.exchanged" },
	{ "rename over it, its other name is gone", rename_over_a, "step.over", 1, remove_b, true, "OK", "renamed", NULL, NULL, "step.exchanged" },
	{ "remove, saved", remove_a, "step.remove", 1, save_a, false, "CONFLICT", "local", NULL, NULL, "step.removed" },
	{ "remove, written to", remove_a, "step.remove", 1, write_a, false, "CONFLICT", "written in place", NULL, NULL, "step.removed" },
	{ "remove, saved, and made once more", remove_a, "step.remove", 1, save_a_then_make_a, false, "CONFLICT", "made just then", NULL,
	  "local", NULL },
	{ "remove, its other name is gone", remove_a_of_others, "step.remove", 1, remove_b, true, "CONFLICT", "the other's", NULL, NULL, "step.removed" },
	{ "remove what was touched, its other name is gone", chmod_and_remove_a_of_others, "step.remove", 1, remove_b, true, "OK CONFLICT",
	  "the other's", NULL, NULL, "step.removed" },
};

static void before(struct fixture *f, const struct quicker_case *c)
{
	bool is_detach = c->client == detach_and_store;
	struct batch *b = batch_new(f, CLIENT);

	aside = open(f->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(aside >= 0);
	add_create(b, KML_ROOT, "a", oid(1));
	add_store(b, oid(1), 0, "before");
	add_create(b, KML_ROOT, "c", oid(2));
	add_store(b, oid(2), 0, "renamed");
	if (c->has_b && !is_detach)
		add_link(b, oid(1), KML_ROOT, "b");
	expect(b, c->has_b && !is_detach ? "OK OK OK OK OK" : "OK OK OK OK");
	/* Only from a name that somebody else has made there is something to part. */
	if (is_detach)
		assert_int_equal(linkat(f->fd, "a", f->fd, "b", 0), 0);
	(void)look(f);
}

struct beside {
	struct fixture *f;
	const char *want;
	unsigned n;
};

static int count_beside(void *arg, const char *name)
{
	struct beside *beside = arg;

	if (!strncmp(name, "a.conflict-", 11)) {
		beside->n++;
		assert_non_null(beside->want);
		assert_string_equal(content_of(beside->f, name), beside->want);
	}
	return 0;
}

static void assert_content(struct fixture *f, const char *name, const char *want)
{
	if (want && !is_there(f, name))
		fail_msg("%s is gone, which had \"%s\"", name, want);
	else if (want)
		assert_string_equal(content_of(f, name), want);
	else
		assert_false(is_there(f, name));
}

static void kept(void **state)
{
	const struct quicker_case *c = *state;
	struct beside beside = { .want = c->beside };
	struct fixture f;
	struct batch *b;

	f_make(&f);
	f_open(&f);
	before(&f, c);
	b = batch_new(&f, CLIENT);
	c->client(b);
	fault_call(c->point, c->nth, c->local, &f);
	send_it(b);
	settle();
	(void)look(&f);
	expect(b, c->want);
	assert_content(&f, "a", c->a);
	assert_content(&f, "b", c->b);
	beside.f = &f;
	assert_int_equal(file_each(f.fd, count_beside, &beside), 0);
	assert_int_equal(beside.n, c->beside != NULL);
	(void)close(aside);
	f_remove(&f);
}

/* ---- and the server is killed right then ---- */

static const struct quicker_case *killed_case;

static void die(void *arg)
{
	(void)arg;
	(void)kill(getpid(), SIGKILL);
	(void)pause();
}

static void local_then_die(void *arg)
{
	killed_case->local(arg);
	fault_call(killed_case->kill, 1, die, NULL);
}

struct search {
	struct fixture *f;
	const char *text;
	bool is_found;
};

static int find_text(void *arg, const char *name)
{
	struct search *search = arg;
	const char *text = strcmp(name, STATE_DIR) ? content_of(search->f, name) : NULL;

	search->is_found |= text && search->text && !strcmp(text, search->text);
	return 0;
}

/* NULL: nothing is to be found. */
static void assert_somewhere(struct fixture *f, const char *text)
{
	struct search search = { f, text, !text };

	assert_int_equal(file_each(f->fd, find_text, &search), 0);
	if (!search.is_found)
		fail_msg("\"%s\" is nowhere", text);
}

static void killed(void **state)
{
	const struct quicker_case *c = *state;
	struct fixture f;
	int status;
	pid_t pid;

	f_make(&f);
	f_open(&f);
	before(&f, c);
	f_close(&f);
	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct batch *b = batch_new(&f, CLIENT);

		killed_case = c;
		f_open(&f);
		c->client(b);
		fault_call(c->point, c->nth, local_then_die, &f);
		send_it(b);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	f_open(&f);
	settle();
	(void)look(&f);
	check_all(&f);
	assert_somewhere(&f, c->a && strcmp(c->a, "the client's") && strcmp(c->a, "renamed") ? c->a : NULL);
	assert_somewhere(&f, c->b && strcmp(c->b, "the client's") ? c->b : NULL);
	(void)close(aside);
	f_remove(&f);
}

int main(void)
{
	static char names[ARRAY_SIZE(cases)][80];
	struct CMUnitTest tests[2 * ARRAY_SIZE(cases)];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		tests[n++] = (struct CMUnitTest){ cases[i].name, kept, NULL, NULL, (void *)&cases[i] };
		if (!cases[i].kill)
			continue;
		(void)snprintf(names[i], sizeof(names[i]), "%s, killed", cases[i].name);
		tests[n++] = (struct CMUnitTest){ names[i], killed, NULL, NULL, (void *)&cases[i] };
	}
	return _cmocka_run_group_tests("httpd_quicker", tests, n, NULL, NULL);
}

#endif
