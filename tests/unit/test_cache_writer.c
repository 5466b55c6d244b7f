/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Group commit: what shares a transaction, what does not harm the others, and when things are told.
 */
#include "tests/unit/cache_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "cache/content_log.h"
#include "cache/dentry.h"
#include "cache/flusher.h"
#include "cache/internal.h"
#include "cache/record.h"
#include "cache/writer.h"
#include "tests/unit/until.h"

/* A change that waits until it is let go, so that others gather behind it. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t opened;
	bool is_open, is_reached;
};

#define GATE { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false }
static struct gate gate = GATE;

static int gate_run(struct change *change)
{
	struct gate *g = change->arg;

	pthread_mutex_lock(&g->lock);
	g->is_reached = true;
	pthread_cond_broadcast(&g->opened);
	while (!g->is_open)
		pthread_cond_wait(&g->opened, &g->lock);
	pthread_mutex_unlock(&g->lock);
	return 0;
}

static void gate_done(struct change *change, int err)
{
	(void)change;
	(void)err;
}

static void gate_submit(struct fixture *f, struct gate *g, struct change *change)
{
	g->is_open = g->is_reached = false;
	*change = (struct change){ .run = gate_run, .done = gate_done, .arg = g };
	writer_submit(f->cache, change);
}

static void gate_wait(struct gate *g)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += patient_s(30);
	pthread_mutex_lock(&g->lock);
	while (!g->is_reached && !err)
		err = pthread_cond_timedwait(&g->opened, &g->lock, &until);
	pthread_mutex_unlock(&g->lock);
	assert_int_equal(err, 0);	/* nobody has come */
}

static void gate_close(struct fixture *f, struct change *change)
{
	gate_submit(f, &gate, change);
	gate_wait(&gate);
}

static void gate_open(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->is_open = true;
	pthread_cond_broadcast(&g->opened);
	pthread_mutex_unlock(&g->lock);
}

/* ---- changes that tell what became of them ---- */

#define MANY 42
#define FIRST_THAT_FAILS 3

struct probe {
	struct change change;
	struct fixture *f;
	unsigned index;
	int fails;		/* what run() gives */
	unsigned runs, order;
	uint64_t ino;
	int64_t now;
	int err;
	bool is_done;
};

static pthread_mutex_t probe_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t probe_over = PTHREAD_COND_INITIALIZER;
static unsigned probes_done, probes_after;
static int64_t names_when_told;

static void probe_after(struct cache *cache, void *arg)
{
	(void)cache;
	(void)arg;
	probes_after++;
}

static int probe_run(struct change *change)
{
	struct probe *probe = change->arg;
	struct inode_values v = { .type = TYPE_FIFO, .mode = 0644, .nlink = 1, .links_up = 1 };
	struct inode_edit *edit;
	char name[16];
	int err;

	probe->runs++;
	probe->now = change->now;
	edit = inode_make(change, &v, &err);
	if (!edit)
		return err;
	probe->ino = edit->inode->ino;
	snprintf(name, sizeof(name), "p%u", probe->index);
	err = name_bind(change, ROOT, text(name), probe->ino, 0);
	if (!err)
		err = writer_after_commit(change, probe_after, NULL);
	return err ? err : probe->fails;
}

static void probe_done(struct change *change, int err)
{
	struct probe *probe = change->arg;

	/* What another connection sees is what has been committed. */
	if (!probes_done)
		names_when_told = query(probe->f, "SELECT count(*) FROM name");
	pthread_mutex_lock(&probe_lock);
	probe->err = err;
	probe->is_done = true;
	probe->order = probes_done++;
	pthread_cond_signal(&probe_over);
	pthread_mutex_unlock(&probe_lock);
}

static void probe_submit(struct fixture *f, struct probe *probe, unsigned index, int fails)
{
	*probe = (struct probe){
		.change = { .run = probe_run, .done = probe_done }, .f = f, .index = index,
		.fails = fails,
	};
	probe->change.arg = probe;
	writer_submit(f->cache, &probe->change);
}

static void probes_wait(unsigned n)
{
	pthread_mutex_lock(&probe_lock);
	while (probes_done < n)
		pthread_cond_wait(&probe_over, &probe_lock);
	pthread_mutex_unlock(&probe_lock);
}

/*
 * All that waits goes into one transaction, in order; one that fails takes nothing of the others
 * with it.  The first one that fails having written something makes all begin anew, with savepoints.
 */
static void group(void **state)
{
	static struct probe probes[MANY];
	struct fixture *f = *state;
	struct change closed;
	char name[16];

	/* The other durability makes more than one of them, to keep the disk busy. */
	f_close(f);
	f->config.durability = DURABILITY_ASYNC;
	f_open(f);
	probes_done = probes_after = 0;
	gate_close(f, &closed);
	for (unsigned i = 0; i < MANY; i++)
		probe_submit(f, &probes[i], i, i % 7 == FIRST_THAT_FAILS ? -EXDEV : 0);
	gate_open(&gate);
	probes_wait(MANY);
	assert_int_equal(names_when_told, MANY - MANY / 7);
	assert_int_equal(probes_after, MANY - MANY / 7);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(probes[i].err, probes[i].fails);
		assert_int_equal(probes[i].order, i);
		assert_int_equal(probes[i].runs, i <= FIRST_THAT_FAILS ? 2 : 1);
		if (i)
			assert_true(probes[i].now > probes[i - 1].now);
		snprintf(name, sizeof(name), "p%u", i);
		assert_int_equal(f_lookup(f, ROOT, name), probes[i].fails ? -ENOENT : 0);
	}
	/* One that is alone is not run twice. */
	probes_done = 0;
	probe_submit(f, &probes[0], MANY, -EXDEV);
	probes_wait(1);
	assert_int_equal(probes[0].err, -EXDEV);
	assert_int_equal(probes[0].runs, 1);
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE type = 7"), MANY - MANY / 7);
}

/* ---- nobody is told before it is on the disk ---- */

static struct gate disk = GATE;
static bool has_disk_gate;
static int disk_errno;

/* In place of the system's: it waits for the gate, and may fail. */
int fdatasync(int fd)
{
	if (!__atomic_load_n(&has_disk_gate, __ATOMIC_ACQUIRE))
		return (int)syscall(SYS_fdatasync, fd);
	pthread_mutex_lock(&disk.lock);
	disk.is_reached = true;
	pthread_cond_broadcast(&disk.opened);
	while (!disk.is_open)
		pthread_cond_wait(&disk.opened, &disk.lock);
	pthread_mutex_unlock(&disk.lock);
	errno = disk_errno;
	return disk_errno ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static void disk_close(int fails)
{
	disk.is_open = disk.is_reached = false;
	disk_errno = fails;
	__atomic_store_n(&has_disk_gate, true, __ATOMIC_RELEASE);
}

static void disk_open(void)
{
	__atomic_store_n(&has_disk_gate, false, __ATOMIC_RELEASE);
	gate_open(&disk);
}

/* Each sync fails, at once. */
static void disk_fail(void)
{
	disk_close(EIO);
	gate_open(&disk);
}

static void open_on_disk(struct fixture *f, enum durability durability)
{
	f_init(f);
	f->config.durability = durability;
	f->config.no_sync = false;
	f_open(f);
	probes_done = probes_after = 0;
}

static void close_on_disk(struct fixture *f)
{
	f_close(f);
	f_remove_dir(f);
}

static unsigned told(void)
{
	unsigned n;

	pthread_mutex_lock(&probe_lock);
	n = probes_done;
	pthread_mutex_unlock(&probe_lock);
	return n;
}

/* Until so many names can be read: they are committed. */
static void wait_for_names(struct fixture *f, int64_t n)
{
	for (unsigned i = 0; i < 2000 && query(f, "SELECT count(*) FROM name") != n; i++)
		usleep(1000);
	assert_int_equal(query(f, "SELECT count(*) FROM name"), n);
}

/* The second transaction is carried out while the first one is on its way to the disk; neither is told of before. */
static void told_when_on_the_disk(void **state)
{
	struct probe probes[3];
	struct fixture f;

	(void)state;
	open_on_disk(&f, DURABILITY_SYNC);
	disk_close(0);
	probe_submit(&f, &probes[0], 0, 0);
	gate_wait(&disk);
	wait_for_names(&f, 1);
	for (unsigned i = 1; i < 3; i++)
		probe_submit(&f, &probes[i], i, 0);
	usleep(20000);
	assert_int_equal(told(), 0);
	assert_int_equal(probes_after, 0);
	disk_open();
	probes_wait(3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(probes[i].err, 0);
		assert_int_equal(probes[i].order, i);
	}
	assert_int_equal(probes_after, 3);
	close_on_disk(&f);
}

/* More than one commit is worth: the second is carried out while the first is on its way to the disk. */
static void next_while_on_its_way(void **state)
{
	static struct probe probes[MANY];
	struct change closed;
	struct fixture f;

	(void)state;
	open_on_disk(&f, DURABILITY_SYNC);
	gate_close(&f, &closed);
	for (unsigned i = 0; i < MANY; i++)
		probe_submit(&f, &probes[i], i, 0);
	disk_close(0);
	gate_open(&gate);
	gate_wait(&disk);
	wait_for_names(&f, MANY);
	assert_int_equal(told(), 0);
	disk_open();
	probes_wait(MANY);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(probes[i].order, i);
	close_on_disk(&f);
}

/* Once bytes of the log are lost, what comes after them is, even when the next sync succeeds. */
static void sync_fails_for_the_next_too(void **state)
{
	static struct probe probes[MANY];
	struct change closed;
	struct fixture f;

	(void)state;
	open_on_disk(&f, DURABILITY_SYNC);
	gate_close(&f, &closed);
	for (unsigned i = 0; i < MANY; i++)
		probe_submit(&f, &probes[i], i, 0);
	disk_close(EIO);
	gate_open(&gate);
	gate_wait(&disk);
	wait_for_names(&f, MANY);
	disk_open();
	probes_wait(MANY);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(probes[i].err, -EIO);
	assert_int_equal(probes_after, 0);
	close_on_disk(&f);
}

/*
 * A file is removed, and whether the disk knows is not known: it may come back, so its content stays until a start has seen what
 * the disk has.
 */
static void sync_fails_and_content_stays(void **state)
{
	struct fixture f;

	(void)state;
	open_on_disk(&f, DURABILITY_SYNC);
	made(&f, ROOT, "a", "content");
	assert_int_equal(f_content_files(&f, false), 1);
	disk_fail();
	assert_int_equal(f_remove(&f, ROOT, "a"), -EIO);
	assert_int_equal(f_content_files(&f, false), 1);
	disk_open();
	close_on_disk(&f);
}

/* Nobody may rely on it; the next start shows what the disk has. */
static void sync_fails(void **state)
{
	struct probe probe;
	struct fixture f;

	(void)state;
	open_on_disk(&f, DURABILITY_SYNC);
	disk_close(EIO);
	probe_submit(&f, &probe, 0, 0);
	gate_wait(&disk);
	disk_open();
	probes_wait(1);
	assert_int_equal(probe.err, -EIO);
	probe_submit(&f, &probe, 1, 0);
	probes_wait(2);
	assert_int_equal(probe.err, -EIO);
	assert_int_equal(probe.runs, 0);
	f_reopen(&f);
	assert_int_equal(f_lookup(&f, ROOT, "p1"), -ENOENT);
	probe_submit(&f, &probe, 2, 0);
	probes_wait(3);
	assert_int_equal(probe.err, 0);
	close_on_disk(&f);
}

/* Only who asks for it waits for the disk. */
static void async_waits_for_the_disk_on_demand(void **state)
{
	struct probe fast, slow;
	struct fixture f;

	(void)state;
	open_on_disk(&f, DURABILITY_ASYNC);
	disk_close(0);
	probe_submit(&f, &fast, 0, 0);
	probes_wait(1);
	slow = (struct probe){ .change = { .run = probe_run, .done = probe_done, .wants_sync = true }, .f = &f, .index = 1 };
	slow.change.arg = &slow;
	writer_submit(f.cache, &slow.change);
	gate_wait(&disk);
	wait_for_names(&f, 2);
	probe_submit(&f, &fast, 2, 0);
	probes_wait(2);
	assert_false(slow.is_done);
	disk_open();
	probes_wait(3);
	assert_int_equal(slow.err, 0);
	close_on_disk(&f);
}

struct taking {
	struct fixture *f;
	struct cml_batch *batch;
	bool is_done;
};

static void *take_thread(void *arg)
{
	struct taking *taking = arg;

	if (cml_take(taking->f->cache, 10, UINT64_MAX, &taking->batch))
		taking->batch = NULL;
	__atomic_store_n(&taking->is_done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* What is sent must not be folded after a power cut: that it is taken is on the disk before. */
static void async_takes_after_the_sync(void **state)
{
	struct taking taking = { 0 };
	struct fixture f;
	pthread_t thread;
	bool was_done;

	(void)state;
	open_on_disk(&f, DURABILITY_ASYNC);
	taking.f = &f;
	made(&f, ROOT, "a", NULL);
	disk_close(0);
	assert_int_equal(pthread_create(&thread, NULL, take_thread, &taking), 0);
	for (unsigned i = 0; i < 100 && !__atomic_load_n(&taking.is_done, __ATOMIC_ACQUIRE); i++)
		usleep(2000);	/* time to be wrong */
	was_done = __atomic_load_n(&taking.is_done, __ATOMIC_ACQUIRE);
	disk_open();
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(was_done);
	assert_non_null(taking.batch);
	assert_int_equal(taking.batch->n, 1);
	cml_give_back(f.cache, taking.batch);
	close_on_disk(&f);
}

/* A power cut may bring back a file that was replaced a moment ago: its content stays until it cannot. */
static void async_removes_content_after_the_sync(void **state)
{
	struct fixture f;
	unsigned n;

	(void)state;
	open_on_disk(&f, DURABILITY_ASYNC);
	made(&f, ROOT, "old", "content");
	made(&f, ROOT, "new", "newer");
	disk_close(0);
	assert_int_equal(f_rename(&f, ROOT, "new", ROOT, "old"), 0);
	gate_wait(&disk);
	n = f_content_files(&f, false);
	disk_open();
	assert_int_equal(n, 2);
	assert_content(&f, found(&f, ROOT, "old"), "newer");
	for (unsigned i = 0; i < 1000 && f_content_files(&f, false) > 1; i++)
		usleep(10000);
	assert_int_equal(f_content_files(&f, false), 1);
	close_on_disk(&f);
}

/* And for good when the disk fails; a start then finds whose it is. */
static void async_removes_no_content_when_the_sync_fails(void **state)
{
	struct fixture f;

	(void)state;
	open_on_disk(&f, DURABILITY_ASYNC);
	made(&f, ROOT, "old", "content");
	disk_fail();
	assert_int_equal(f_remove(&f, ROOT, "old"), 0);
	gate_wait(&disk);
	f_close(&f);
	assert_int_equal(f_content_files(&f, false), 1);
	disk_open();
	f_open(&f);
	assert_int_equal(f_content_files(&f, false), 0);
	close_on_disk(&f);
}

/* A stable WRITE waits for no disk, but "a second later it is there" holds for its bytes as for its record. */
static void async_writes_a_little_with_the_log(void **state)
{
	struct fixture f;
	uint64_t ino;

	(void)state;
	open_on_disk(&f, DURABILITY_ASYNC);
	ino = made(&f, ROOT, "a", NULL);
	disk_close(0);
	assert_int_equal(f_write_as(&f, ino, 0, "content", 7, FILE_SYNC), 0);
	disk_open();
	assert_int_equal(query(&f, "SELECT count(*) FROM content_log WHERE bytes = x'636f6e74656e74'"), 1);
	close_on_disk(&f);
}

static bool is_durable(struct fixture *f, uint64_t ino)
{
	struct inode *inode;
	bool is;
	int err;

	pthread_mutex_lock(&f->cache->lock);
	inode = inode_get(f->cache, ino, &err);
	assert_non_null(inode);
	is = inode_is_durable(inode);
	inode_put(f->cache, inode);
	pthread_mutex_unlock(&f->cache->lock);
	return is;
}

static void async_writes_much_soon_after(void **state)
{
	static char much[CONTENT_LOG_WRITE_MAX + 1];
	struct fixture f;
	uint64_t ino;

	(void)state;
	open_on_disk(&f, DURABILITY_ASYNC);
	ino = made(&f, ROOT, "a", NULL);
	disk_close(0);
	assert_int_equal(f_write_as(&f, ino, 0, much, sizeof(much), FILE_SYNC), 0);
	assert_false(is_durable(&f, ino));
	disk_open();
	for (unsigned i = 0; i < 1000 && !is_durable(&f, ino); i++)
		usleep(10000);
	assert_true(is_durable(&f, ino));
	assert_int_equal(query(&f, "SELECT count(*) FROM content_log"), 0);
	close_on_disk(&f);
}

static int64_t content_length(struct fixture *f, uint64_t ino)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s/objects/%02x/%llu.1", f->dir, (unsigned)(ino % 256), (unsigned long long)ino);
	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* A power cut that brings the old row back finds the old file: one cut short would have zeros for its end. */
static void async_cuts_content_after_the_sync(void **state)
{
	struct fixture f;
	uint64_t ino;

	(void)state;
	open_on_disk(&f, DURABILITY_ASYNC);
	ino = made(&f, ROOT, "a", "content");
	assert_int_equal(f_truncate(&f, ino, 3), 0);
	assert_int_equal(content_length(&f, ino), 3);
	disk_fail();
	(void)f_truncate(&f, ino, 0);
	gate_wait(&disk);
	f_close(&f);
	assert_int_equal(content_length(&f, ino), 3);
	disk_open();
	f_remove_dir(&f);
}

/* Ending waits for no second. */
static void async_removes_content_when_it_ends(void **state)
{
	struct fixture f;

	(void)state;
	open_on_disk(&f, DURABILITY_ASYNC);
	made(&f, ROOT, "old", "content");
	assert_int_equal(f_remove(&f, ROOT, "old"), 0);
	f_close(&f);
	assert_int_equal(f_content_files(&f, false), 0);
	f_remove_dir(&f);
}

/* ---- one that has to wait for another of its transaction ---- */

struct resize {
	struct change change;
	uint64_t ino, size;
	unsigned runs;
	int err;
};

static int resize_run(struct change *change)
{
	struct resize *resize = change->arg;
	struct inode_edit *edit;
	int err;

	resize->runs++;
	edit = inode_edit(change, resize->ino, &err);
	if (!edit)
		return err;
	err = EDIT_MAPS(edit);
	return err ? err : inode_edit_size(edit, resize->size);
}

static void resize_done(struct change *change, int err)
{
	struct resize *resize = change->arg;

	pthread_mutex_lock(&probe_lock);
	resize->err = err;
	probes_done++;
	pthread_cond_signal(&probe_over);
	pthread_mutex_unlock(&probe_lock);
}

/*
 * Cut and grown within one group: the bytes between must be zeros, so the file has to be cut on the
 * disk in between, which is after a commit.
 */
static void cut_and_grown(void **state)
{
	struct fixture *f = *state;
	struct resize a = { .size = 2 }, b = { .size = 8 };
	uint64_t ino = made(f, ROOT, "a", "01234567");
	struct change closed;
	char got[8];

	probes_done = 0;
	a.ino = b.ino = ino;
	a.change = (struct change){ .run = resize_run, .done = resize_done, .arg = &a };
	b.change = (struct change){ .run = resize_run, .done = resize_done, .arg = &b };
	gate_close(f, &closed);
	writer_submit(f->cache, &a.change);
	writer_submit(f->cache, &b.change);
	gate_open(&gate);
	probes_wait(2);
	assert_int_equal(a.err, 0);
	assert_int_equal(b.err, 0);
	assert_int_equal(a.runs, 1);
	assert_int_equal(b.runs, 2);
	assert_int_equal(f_read(f, ino, 0, got, 8), 0);
	assert_int_equal(f->op.count, 8);
	assert_memory_equal(got, "01\0\0\0\0\0\0", 8);
}

/* ---- rolled back ---- */

static int half_run(struct change *change)
{
	struct inode_edit *edit;
	struct kml_record record = { .body.op = KML_RMDIR };
	uint64_t ino = *(uint64_t *)change->arg, seq;
	int err;

	record.body.kml_body_u.unlink.name =
		(kml_name){ .kml_name_val = (char *)"a", .kml_name_len = 1 };
	edit = inode_edit(change, ino, &err);
	assert_non_null(edit);
	EDIT(edit, mode, 0777);
	assert_int_equal(cml_append(change, ino, &record, NULL, &seq), 0);
	assert_int_equal(name_unbind(change, ROOT, text("a"), seq), 0);
	assert_int_equal(name_bind(change, ROOT, text("b"), ino, seq), 0);
	inode_drop(edit);
	return -EXDEV;
}

static void rolled_back(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "content");
	int64_t records = query(f, "SELECT count(*) FROM cml");

	assert_int_equal(writer_call(f->cache, half_run, &ino), -EXDEV);
	assert_int_equal(found(f, ROOT, "a"), ino);
	assert_int_equal(f_lookup(f, ROOT, "b"), -ENOENT);
	assert_int_equal(f_getattr(f, ino), 0);
	assert_int_equal(f->op.attr.mode, 0644);
	assert_content(f, ino, "content");
	assert_int_equal(query(f, "SELECT count(*) FROM cml"), records);
}

/* ---- inside one change ---- */

static int own_view_run(struct change *change)
{
	struct cache *cache = change->cache;
	struct inode_edit *edit, *again;
	struct inode_values v = {
		.type = TYPE_DIR, .mode = 0755, .nlink = 2, .parent = ROOT, .is_listed = true
	};
	struct kml_oid oid;
	struct name_info info;
	int err;

	assert_true(writer_is_self(cache));
	assert_ptr_equal(writer_current(cache), change);
	edit = inode_make(change, &v, &err);
	assert_non_null(edit);
	assert_true(edit->v.oid.origin == cml_client_id(cache));
	again = inode_edit(change, edit->inode->ino, &err);
	assert_ptr_equal(edit, again);
	assert_int_equal(inode_find_oid(cache, &edit->v.oid), edit->inode->ino);
	assert_int_equal(inode_new_oid(change, &oid), 0);
	assert_true(oid.number == edit->v.oid.number + 1);
	assert_int_equal(name_bind(change, ROOT, text("new"), edit->inode->ino, 5), 0);
	pthread_mutex_lock(&cache->lock);
	assert_int_equal(name_get(cache, ROOT, text("new"), &info), 1);
	pthread_mutex_unlock(&cache->lock);
	assert_int_equal(info.seq, 5);
	assert_int_equal(name_any_in(cache, ROOT), 1);
	assert_int_equal(name_count_of(cache, edit->inode->ino), 1);
	assert_int_equal(name_unbind(change, ROOT, text("new"), 6), 0);
	pthread_mutex_lock(&cache->lock);
	assert_int_equal(name_get(cache, ROOT, text("new"), &info), 1);
	pthread_mutex_unlock(&cache->lock);
	assert_int_equal(info.ino, 0);
	assert_int_equal(name_any_in(cache, ROOT), 0);
	assert_int_equal(name_retire(change, ROOT, text("new"), 5), 0);
	assert_int_equal(name_retire(change, ROOT, text("new"), 6), 0);
	pthread_mutex_lock(&cache->lock);
	assert_int_equal(name_get(cache, ROOT, text("new"), &info), 0);
	pthread_mutex_unlock(&cache->lock);
	inode_drop(edit);
	assert_null(inode_edit(change, edit->inode->ino, &err));
	assert_int_equal(err, -ESTALE);
	return 0;
}

static void a_change_sees_itself(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(writer_call(f->cache, own_view_run, NULL), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM inode"), 1);
	assert_int_equal(query(f, "SELECT count(*) FROM name"), 0);
	/* The number is not given out again. */
	assert_true(made(f, ROOT, "a", NULL) > 3);
}

/* ---- async ---- */

static void async_is_committed_too(void **state)
{
	struct fixture f;
	uint64_t ino;

	(void)state;
	f_init(&f);
	f.config.durability = DURABILITY_ASYNC;
	f.config.no_sync = false;
	f_open(&f);
	ino = made(&f, ROOT, "a", "content");
	assert_int_equal(f_write_as(&f, ino, 0, "CONTENT", 7, FILE_SYNC), 0);
	assert_int_equal(query(&f, "SELECT count(*) FROM name"), 1);
	clock_advance(2 * US_PER_S);
	made(&f, ROOT, "b", NULL);
	f_reopen(&f);
	assert_content(&f, ino, "CONTENT");
	f_close(&f);
	f_remove_dir(&f);
}

/* ---- memory is bounded ---- */

static void evicted_and_read_again(void **state)
{
	struct fixture *f = *state;
	uint64_t inos[300];
	char name[16];

	f->cache->max_inodes = 20;
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		inos[i] = made(f, ROOT, name, name);
	}
	/* Those that are noted as being written to stay until they are quiet. */
	assert_int_equal(cml_flush(f->cache), 0);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 300; i++) {
			snprintf(name, sizeof(name), "n%u", i);
			assert_int_equal(found(f, ROOT, name), inos[i]);
			assert_content(f, inos[i], name);
		}
	}
	assert_true(f->cache->n_inodes < 60);
	assert_true(f->cache->n_dentries < 120);
}

/* ---- names that are about to be committed ---- */

static uint64_t listed_dir;

static int unlist_run(struct change *change)
{
	struct inode_edit *edit;
	int err;

	edit = inode_edit(change, listed_dir, &err);
	if (!edit)
		return err;
	EDIT(edit, is_listed, false);
	return 0;
}

/* As a listing does it: the name, and that it is the last one. */
static int list_run(struct change *change)
{
	static const struct inode_values v = { .type = TYPE_REG, .mode = 0644, .nlink = 1 };
	struct inode_edit *dir, *file;
	int err;

	file = inode_make(change, &v, &err);
	if (!file)
		return err;
	err = name_bind(change, listed_dir, (struct slice){ "there", 5 }, file->inode->ino, 0);
	if (err)
		return err;
	dir = inode_edit(change, listed_dir, &err);
	if (!dir)
		return err;
	EDIT(dir, is_listed, true);
	return 0;
}

static bool count_entry(void *arg, const struct cache_dirent *entry)
{
	(void)entry;
	++*(unsigned *)arg;
	return true;
}

/*
 * A directory that becomes listed in a transaction that has not committed: its names cannot be read yet, and what
 * lists it waits for them.  It never sees an empty one.
 */
static void listed_but_not_committed(void **state)
{
	struct fixture *f = *state;
	struct gate after = GATE;
	struct change closed, list, before_commit;
	unsigned n = 0;
	int got;

	assert_int_equal(f_mkdir(f, ROOT, "d", 0755), 0);
	listed_dir = f->op.ino;
	assert_int_equal(writer_call(f->cache, unlist_run, NULL), 0);
	gate_close(f, &closed);
	list = (struct change){ .run = list_run, .done = gate_done };
	writer_submit(f->cache, &list);
	gate_submit(f, &after, &before_commit);
	gate_open(&gate);
	gate_wait(&after);
	got = cache_readdir(f->cache, f_begin(f), listed_dir, 0, true, count_entry, &n);
	gate_open(&after);
	assert_int_equal(got, CACHE_WAITS);
	assert_int_equal(f_wait(f, got), 0);
	assert_int_equal(n, 3);
	/* The writer may not have done with the changes above. */
	assert_int_equal(writer_call(f->cache, unlist_run, NULL), 0);
}

/* Reading goes on in the error state: who lists a directory whose names were not synced does not wait for ever. */
static void listed_though_the_sync_fails(void **state)
{
	struct fixture f;
	unsigned n = 0;

	(void)state;
	open_on_disk(&f, DURABILITY_SYNC);
	assert_int_equal(f_mkdir(&f, ROOT, "d", 0755), 0);
	listed_dir = f.op.ino;
	assert_int_equal(writer_call(f.cache, unlist_run, NULL), 0);
	disk_fail();
	assert_int_equal(writer_call(f.cache, list_run, NULL), -EIO);
	disk_open();
	assert_int_equal(cache_readdir(f.cache, f_begin(&f), listed_dir, 0, true, count_entry, &n), 0);
	assert_int_equal(n, 3);
	close_on_disk(&f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, f_setup, f_teardown)
	const struct CMUnitTest tests[] = {
		T(group), cmocka_unit_test(told_when_on_the_disk), cmocka_unit_test(next_while_on_its_way),
		cmocka_unit_test(sync_fails), cmocka_unit_test(sync_fails_and_content_stays), cmocka_unit_test(sync_fails_for_the_next_too),
		cmocka_unit_test(async_waits_for_the_disk_on_demand),
		cmocka_unit_test(async_takes_after_the_sync),
		cmocka_unit_test(async_removes_content_after_the_sync),
		cmocka_unit_test(async_removes_no_content_when_the_sync_fails),
		cmocka_unit_test(async_writes_a_little_with_the_log), cmocka_unit_test(async_writes_much_soon_after),
		cmocka_unit_test(async_cuts_content_after_the_sync), cmocka_unit_test(async_removes_content_when_it_ends), T(cut_and_grown), T(rolled_back), T(a_change_sees_itself), T(listed_but_not_committed),
		cmocka_unit_test(listed_though_the_sync_fails),
		cmocka_unit_test(async_is_committed_too), T(evicted_and_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
