/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Invariant 2 (exactly once) at the upstream: batches are applied in a process that is killed, or
 * whose disk fails, at the nth passing of each fault point.  After a restart, and sending them
 * again, the tree, the tables, the journal and the answers must be those of a run that nothing
 * disturbed.
 *
 * The parent passes no fault point itself: all is done in children, which tell by files and exit
 * statuses.
 */
#include "tests/unit/httpd_batch.h"

#include <signal.h>
#include "base/fs.h"
#include "httpd/upload.h"
#include "tests/unit/often.h"

#ifndef IZO_FAULTS

#include "tests/unit/no_fault_points.h"

#else

#define BATCHES 3
#define TRIES 5		/* of sending a batch */

/* ---- exit statuses of children ---- */

#define DONE 0
#define NOT_APPLIED 3	/* the tree is broken: a restart is needed */
#define BAD 4
#define MET 5		/* done, but not at the first try */

static const struct kml_oid other1 = { OTHER, 1 };

/* ---- what is there before ---- */

static void age(struct fixture *f, const char *name)
{
	const struct timespec old[2] = { { 1000000000, 5 }, { 1000000000, 5 } };

	assert_int_equal(utimensat(f->fd, name, old, 0), 0);
}

static void send_plain(struct batch *b)
{
	struct buf answers;

	buf_init(&answers, 0);
	assert_int_equal(send_raw(b, 0, &answers), 0);
	buf_release(&answers);
	free(b);
}

static void prepare(struct fixture *f)
{
	struct batch *b;

	f_open(f);
	put_file(f, "theirs", "theirs");
	assert_int_equal(mkdirat(f->fd, "both", 0755), 0);
	age(f, "theirs");
	age(f, "both");
	f_age(f);
	(void)look(f);
	b = batch_new(f, CLIENT);
	add_mkdir(b, KML_ROOT, "d", oid(1));
	add_create(b, oid(1), "a", oid(2));
	add_store(b, oid(2), 0, "first");
	add_link(b, oid(2), KML_ROOT, "hard");
	add_mkdir(b, oid(1), "gone", oid(3));
	add_mkdir(b, oid(3), "gone too", oid(8));
	add_create(b, KML_ROOT, "victim", oid(4));
	add_store(b, oid(4), 0, "to be replaced");
	add_mkdir(b, KML_ROOT, "empty", oid(5));
	add_create(b, KML_ROOT, "f", oid(6));
	add_store(b, oid(6), 0, "f's");
	add_symlink(b, KML_ROOT, "s", oid(7), "f");
	send_plain(b);
	b = batch_new(f, OTHER);
	add_unlink(b, KML_RMDIR, oid(3), "gone too", oid(8), 0);
	add_unlink(b, KML_RMDIR, oid(1), "gone", oid(3), 0);
	add_create(b, KML_ROOT, "other's", other1);
	send_plain(b);
	/* Snapshots of a file, by links. */
	b = batch_new(f, CLIENT);
	add_create(b, oid(1), "saved", oid(9));
	add_store(b, oid(9), 0, "before it was saved");
	send_plain(b);
	assert_int_equal(linkat(f->fd, "d/saved", f->fd, "both/saved.1", 0), 0);
	assert_int_equal(linkat(f->fd, "d/saved", f->fd, "both/saved.2", 0), 0);
	age(f, "both");
	(void)look(f);
	/* What a local program made, and nobody has looked at yet. */
	put_file(f, "both/x", "local");
	age(f, "both/x");
	age(f, "both");
	f_close(f);
}

/* ---- what is disturbed ---- */

static bool was_met;	/* something had to be tried again */

static void upload(struct fixture *f, const char *key, const char *content)
{
	struct upload *u;

	/* As a client does: until it is there. */
	for (int i = 0; i < TRIES; i++) {
		was_met |= i > 0;
		if (upload_open(f->tree, CLIENT, key, 0, &u))
			continue;
		if (!upload_write(u, content, strlen(content)) && !upload_sync(u))
			i = TRIES;
		upload_close(u);
	}
}

static struct batch *first_batch(struct fixture *f)
{
	struct batch *b = batch_new(f, CLIENT);
	struct kml_setattr *set;

	f->seq = 100;
	add_create(b, KML_ROOT, "new", oid(20));
	add_store(b, oid(20), 0, "new content");
	add_mkdir(b, KML_ROOT, "n", oid(21));
	add_mkdir(b, KML_ROOT, "both", oid(22));
	add_create(b, oid(22), "x", oid(23));		/* a surprise, and then another name */
	add_create(b, KML_ROOT, "theirs", oid(24));
	add_store(b, oid(2), 0, "under two names");
	add_range(b, add_staged(b, oid(4), 10, "whole"), 0, 10);
	set = add_setattr(b, oid(2), KML_SET_MODE | KML_SET_MTIME, 0);
	set->mode = 0600;
	set->mtime = (struct kml_time){ 1234567890, 12345 };
	add_create(b, oid(8), "in what came back", oid(25));
	add_rename(b, oid(6), KML_ROOT, "f", KML_ROOT, "victim")->replaced = oid(4);
	add_rename(b, oid(1), KML_ROOT, "d", oid(21), "d");
	add_link(b, oid(20), oid(1), "new too");
	add_unlink(b, KML_REMOVE, KML_ROOT, "s", oid(7), 0);
	add_unlink(b, KML_REMOVE, KML_ROOT, "theirs", oid(24), 0);
	add_create(b, KML_ROOT, STATE_DIR, oid(26));
	add_unlink(b, KML_RMDIR, KML_ROOT, "empty", oid(5), 0);
	add_mknod(b, KML_ROOT, "fifo", oid(27), KML_FIFO);
	add_unlink(b, KML_REMOVE, KML_ROOT, "hard", oid(2), 0);
	add_setacl(b, oid(2), 0660, 1001, 0);
	add_setacl(b, oid(21), 0750, 1003, 0);
	return b;
}

static struct batch *second_batch(struct fixture *f)
{
	struct batch *b = batch_new(f, CLIENT);
	struct kml_store *s;

	f->seq = 200;
	add_store(b, oid(20), 0, "next");
	add_setacl(b, oid(20), 0640, 1002, 0);
	add_setacl(b, oid(2), 0600, 0, 0);
	add_store(b, oid(20), 0, "and next");
	s = add_staged(b, oid(6), 3, "parts");
	s->keep_size = 3;
	add_range(b, s, 1, 1);
	add_mkdir(b, KML_ROOT, "m", oid(30));
	add_mkdir(b, oid(30), "m", oid(31));
	/* A chain that leaves no trace of what was in between. */
	add_create(b, oid(31), "one", oid(32));
	add_rename(b, oid(32), oid(31), "one", oid(31), "two");
	add_create(b, oid(31), "one", oid(33));
	add_rename(b, oid(33), oid(31), "one", oid(31), "three");
	add_rename(b, oid(30), KML_ROOT, "m", oid(21), "m");
	add_unlink(b, KML_REMOVE, oid(31), "three", oid(33), 0);
	add_create(b, oid(31), "three", oid(34));
	add_symlink(b, oid(31), "s", oid(35), "three");
	add_setattr(b, oid(21), KML_SET_MODE, 0)->mode = 0700;
	add_setacl(b, oid(35), 0750, 1003, 0);		/* a symlink */
	add_setattr(b, oid(9), KML_SET_MTIME, 0)->mtime = (struct kml_time){ 1111111111, 5 };
	add_detach(b, oid(9), oid(1), "saved", 0);
	add_setattr(b, oid(9), KML_SET_MODE, 0)->mode = 0600;
	add_detach(b, oid(9), oid(1), "saved", 0);
	add_store(b, oid(9), 0, "saved");
	add_detach(b, oid(20), KML_ROOT, "new", 0);	/* its names are this client's */
	return b;
}

static struct batch *third_batch(struct fixture *f)
{
	struct batch *b = batch_new(f, OTHER);

	f->seq = 300;
	add_store(b, oid(20), 1, "not to be applied");
	add_store(b, other1, 0, "other's");
	add_rename(b, oid(31), oid(30), "m", KML_ROOT, "up");
	add_unlink(b, KML_RMDIR, oid(21), "m", oid(30), 0);
	add_rename(b, other1, KML_ROOT, "other's", oid(31), "three");
	return b;
}

static const struct {
	struct batch *(*make)(struct fixture *f);
	const char *key, *content;
} batches[BATCHES] = {
	{ first_batch, "whole", "0123456789" },
	{ second_batch, "parts", "-" },
	{ third_batch },
};

static bool is_retry(const struct buf *buf, struct kml_answers *ret_answers)
{
	assert_int_equal(kml_answers_decode(buf->data, buf->len, ret_answers), 0);
	return ret_answers->answers.answers_val[ret_answers->answers.answers_len - 1].status ==
	       KML_RETRY;
}

/* Send all, as often as need be; the answers are written to 'out' if there is one. */
static int send_all(struct fixture *f, FILE *out)
{
	for (size_t i = 0; i < BATCHES; i++) {
		struct batch *b = batches[i].make(f);
		struct kml_answers answers;
		struct buf buf;
		int err = 0, tries;

		buf_init(&buf, 0);
		for (tries = 0; tries < TRIES; tries++) {
			bool again;

			was_met |= tries > 0;
			if (batches[i].key)
				upload(f, batches[i].key, batches[i].content);
			buf_reset(&buf);
			err = send_raw(b, 0, &buf);
			if (err)
				continue;
			again = is_retry(&buf, &answers);
			if (!again)
				break;
			kml_answers_release(&answers);
		}
		if (tries == TRIES)
			return NOT_APPLIED;
		for (u_int j = 0; out && j < answers.answers.answers_len; j++) {
			const struct kml_answer *a = &answers.answers.answers_val[j];

			fprintf(out, "answer %llu %s error=%u version=%llu name=%.*s object=%d\n",
				(unsigned long long)a->seq, kml_status_name(a->status), a->error,
				(unsigned long long)a->made_version, (int)a->name.kml_name_len,
				a->name.kml_name_val, a->object != NULL);
		}
		kml_answers_release(&answers);
		buf_release(&buf);
		free(b);
	}
	return DONE;
}

/* ---- what is there after ---- */

static void tell_object(FILE *out, const struct kml_object *o)
{
	fprintf(out, " [%llx-%llu %d %o nlink=%u size=%llu mtime=%lld.%u data=%llu attr=%llu]",
		(unsigned long long)o->oid.origin, (unsigned long long)o->oid.number, o->attr.type,
		o->attr.mode, o->attr.nlink, (unsigned long long)o->attr.size,
		(long long)o->attr.mtime.sec, o->attr.mtime.nsec,
		(unsigned long long)o->data_version, (unsigned long long)o->attr_version);
	for (u_int i = 0; i < o->extra.kml_extra_len; i++)
		fprintf(out, "%02x", (unsigned char)o->extra.kml_extra_val[i]);
}

static void tell_dir(struct fixture *f, FILE *out, int64_t dir, int fd, const char *path)
{
	struct name_row *rows = calloc(1000, sizeof(*rows));
	struct kml_object kml;
	struct object o;
	char below[1000];
	size_t n;

	assert_int_equal(names_after(f->tree->sql, dir, (struct slice){ NULL, 0 }, rows, 1000, &n),
			 0);
	for (size_t i = 0; i < n; i++) {
		snprintf(below, sizeof(below), "%s/%s", path, rows[i].name.text);
		assert_int_equal(object_by_id(f->tree->sql, rows[i].object, &o), 1);
		assert_int_equal(object_to_kml(f->tree->sql, &o, &kml), 0);
		fprintf(out, "%s by=%llx wanted=%s", below, (unsigned long long)rows[i].by,
			rows[i].wanted.text);
		tell_object(out, &kml);
		kml_object_release(&kml);
		if (o.attr.type == KML_REG) {
			AUTO_FREE char *text = NULL;
			size_t len;

			assert_int_equal(fs_read_file(fd, rows[i].name.text, 1 << 20, &text, &len),
					 0);
			fprintf(out, " \"%s\"", text);
		}
		fprintf(out, "\n");
		if (o.attr.type == KML_DIR) {
			int sub = openat(fd, rows[i].name.text, O_RDONLY | O_DIRECTORY);

			tell_dir(f, out, o.id, sub, below);
			(void)close(sub);
		}
	}
	free(rows);
}

static void tell_journal(struct fixture *f, FILE *out)
{
	struct history history = history_after(f, 0);

	for (size_t i = 0; i < history.n; i++) {
		struct kml_entry *e = &history.v[i];
		struct buf line;

		if (!e->client)		/* it says when it was noticed */
			e->record.time = (struct kml_time){ 0, 0 };
		buf_init(&line, 0);
		assert_int_equal(kml_record_print(&line, &e->record), 0);
		fprintf(out, "%llu %llx %.*s", (unsigned long long)e->position,
			(unsigned long long)e->client, (int)line.len, (const char *)line.data);
		buf_release(&line);
		for (u_int j = 0; j < e->after.after_len; j++)
			tell_object(out, &e->after.after_val[j]);
		fprintf(out, "\n");
	}
	history_release(&history);
}

/* ---- children ---- */

enum part { PREPARE, DISTURB, RECOVER, SETTLE };

static int disturb(struct fixture *f)
{
	int got;

	f_open(f);
	got = send_all(f, NULL);
	f_close(f);
	return got == DONE && was_met ? MET : got;
}

/* Only the start; it may be disturbed, too. */
static int recover(struct fixture *f)
{
	char *why = NULL;
	int err = tree_open(f->path, &f->tree, &why);

	free(why);
	if (!err)
		err = apply_recover(f->tree);
	f_close(f);
	return err ? NOT_APPLIED : DONE;
}

static int settle_and_tell(struct fixture *f, const char *path)
{
	FILE *out = fopen(path, "w");
	int got;

	assert_non_null(out);
	f_open(f);
	got = send_all(f, out);
	if (got)
		return got;
	check_all(f);
	if (look(f))
		return BAD;
	tell_dir(f, out, ROOT_ID, f->fd, "");
	tell_journal(f, out);
	f_close(f);
	return fclose(out) ? BAD : DONE;
}

static int run(struct fixture *f, enum part part, const char *fault, const char *path)
{
	pid_t pid;
	int status;

	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		/* What a disturbed one logs was asked for. */
		if (fault && !getenv("V"))
			(void)!freopen("/dev/null", "w", stderr);
		if (fault)
			setenv("IZO_FAULT", fault, 1);
		else
			unsetenv("IZO_FAULT");
		switch (part) {
		case PREPARE:
			prepare(f);
			_exit(DONE);
		case DISTURB:
			_exit(disturb(f));
		case RECOVER:
			_exit(recover(f));
		case SETTLE:
			_exit(settle_and_tell(f, path));
		}
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return -WTERMSIG(status);
	return WEXITSTATUS(status);
}

/* ---- the tests ---- */

static char wanted_path[140], points_path[140], top[64];

/* fs_read_file() passes a fault point, and the children are to be the first to do so. */
static char *text_of(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	assert_non_null(file);
	assert_non_null(text);
	assert_in_range(fread(text, 1, 1 << 20, file), 1, (1 << 20) - 1);
	(void)fclose(file);
	return text;
}

static bool is_same(const char *a, const char *b)
{
	AUTO_FREE char *x = text_of(a);
	AUTO_FREE char *y = text_of(b);

	char *in_x = x, *in_y = y;

	if (!strcmp(x, y))
		return true;
	while (in_x && in_y) {
		char *line_x = strsep(&in_x, "\n"), *line_y = strsep(&in_y, "\n");

		if (strcmp(line_x, line_y))
			print_message("undisturbed: %s\ndisturbed:   %s\n", line_x, line_y);
	}
	return false;
}

/* Once more with a fault; true: it was met. */
static bool disturbed(const char *point, unsigned nth, const char *action)
{
	struct fixture f;
	char fault[128], path[140];
	int got, again;

	snprintf(fault, sizeof(fault), "%s:%u:%s", point, nth, action);
	f_make_in(&f, top);
	snprintf(path, sizeof(path), "%s/after", f.top);
	assert_int_equal(run(&f, PREPARE, NULL, NULL), DONE);
	got = run(&f, DISTURB, fault, NULL);
	if (got != DONE && got != MET && got != NOT_APPLIED && got != -SIGKILL)
		fail_msg("%s: the disturbed run ended with %d", fault, got);
	/* Starts that are disturbed in the same way, and then one that is not. */
	for (int i = 1; got == -SIGKILL && i <= 3; i++) {
		snprintf(fault, sizeof(fault), "%s:%d:%s", point, i, action);
		again = run(&f, RECOVER, fault, NULL);
		if (again != DONE && again != NOT_APPLIED && again != -SIGKILL)
			fail_msg("%s: the start after it ended with %d", fault, again);
	}
	again = run(&f, SETTLE, NULL, path);
	if (again != DONE)
		fail_msg("%s:%u:%s: after it, sending again ended with %d; see %s", point, nth,
			 action, again, f.path);
	if (!is_same(wanted_path, path))
		fail_msg("%s:%u:%s: the outcome is another one; see %s", point, nth, action,
			 f.path);
	f_remove(&f);
	return got != DONE;
}

static int setup_once(void **state)
{
	struct fixture f;
	const char *dir = test_dir();

	(void)state;
	snprintf(top, sizeof(top), "%s/izo-httpd-crash-XXXXXX", dir);
	if (!mkdtemp(top))
		return -1;
	snprintf(wanted_path, sizeof(wanted_path), "%s/wanted", top);
	snprintf(points_path, sizeof(points_path), "%s/points", top);
	f_make_in(&f, top);
	if (run(&f, PREPARE, NULL, NULL) != DONE)
		return -1;
	setenv("IZO_FAULT_LIST", points_path, 1);
	if (run(&f, DISTURB, NULL, NULL) != DONE)
		return -1;
	unsetenv("IZO_FAULT_LIST");
	if (run(&f, SETTLE, NULL, wanted_path) != DONE)
		return -1;
	f_remove(&f);
	return 0;
}

static int teardown_once(void **state)
{
	(void)state;
	return file_delete(AT_FDCWD, top);
}

static void each_point(const char *action, bool is_kill)
{
	FILE *points = fopen(points_path, "r");
	unsigned n_points = 0, n_runs = 0;
	char point[64];

	assert_non_null(points);
	while (fscanf(points, "%63s", point) == 1) {
		unsigned nth = 1;

		n_points++;
		if (is_kill)
			assert_true(disturbed(point, nth++, action));
		while (nth < 60 && disturbed(point, nth, action))
			nth += each();
		n_runs += nth;
	}
	(void)fclose(points);
	print_message("%u points, %u runs\n", n_points, n_runs);
	assert_in_range(n_points, 10, 100);
	assert_true(n_runs > 2 * n_points);
}

static void killed(void **state)
{
	(void)state;
	each_point("kill", true);
}

static void disk_fails(void **state)
{
	(void)state;
	each_point("EIO", false);
}

static void disk_full(void **state)
{
	(void)state;
	each_point("ENOSPC", false);
}

/* The undisturbed run itself is what it should be. */
static void answers_are_right(void **state)
{
	AUTO_FREE char *text = text_of(wanted_path);

	(void)state;
	for (unsigned seq = 101; seq <= 119; seq++) {
		const char *want = seq == 104 ? "MERGED" : seq == 105 || seq == 106 ? "RENAMED" :
				   seq == 116 ? "REFUSED" : "OK";
		char line[40];

		snprintf(line, sizeof(line), "answer %u %s ", seq, want);
		if (!strstr(text, line))
			fail_msg("no \"%s\" in\n%s", line, text);
	}
	assert_non_null(strstr(text, "answer 219 OK "));
	assert_non_null(strstr(text, "answer 221 ALREADY "));
	assert_non_null(strstr(text, "answer 222 OK "));
	assert_non_null(strstr(text, "answer 223 ALREADY "));
	assert_non_null(strstr(text, "answer 301 CONFLICT "));
	assert_non_null(strstr(text, "answer 305 RENAMED "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_right),
		cmocka_unit_test(killed),
		cmocka_unit_test(disk_fails),
		cmocka_unit_test(disk_full),
	};

	log_set_level(getenv("V") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, setup_once, teardown_once);
}

#endif
