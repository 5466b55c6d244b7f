/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aging: what of a recorded log would be sent over a weak link, by the aging window.
 *
 *   aging NAME DATABASE DIRECTORY
 *
 * DATABASE is that of an upstream (docs/PROTOCOL.md 4): its journal has what a client sent that sends at once, record by record
 * with their times.  That is done again in a cache made in DIRECTORY, once for each window, while the clock is put forward from one
 * record to the next (clock_advance()).  Whenever 50 ms pass without a change, what is of age is taken and answered, as
 * replay does; sending takes no time.  What the journal speaks of and does not make is made, and sent, beforehand.  Prints a row
 * of a table: for each window records, KiB of these and their contents, and what that saves.
 */
#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bench/bench.h"
#include "cache/cache.h"
#include "cache/call.h"
#include "cache/cml.h"

#define GATHER_US (50 * US_PER_MS)	/* as replicate/replay.h has it */
#define NEVER_S (1000ull * 86400)
#define OBJECTS_MAX 100000

static const uint64_t windows[] = { 0, 30, 60, 300, 600, 3600, NEVER_S };

/* What the log speaks of. */
struct thing {
	struct kml_oid oid, parent;
	char name[KML_NAME_MAX + 1];	/* with parent: where it was first; "": not said */
	bool is_made;			/* by the log */
	bool is_dir;
	uint64_t ino;			/* in the present run; 0: not made */
};

struct trace {
	struct kml_record *records;
	size_t n;
	struct thing *things;
	size_t n_things;
};

struct run {
	struct trace *trace;
	struct cache *cache;
	struct call call;
	uint64_t window_s;
	uint64_t position;
	bool is_counted;
	uint64_t records, bytes;
	unsigned odd;			/* changes that could not be done again */
};

/* ---- the trace ---- */

static struct thing *thing_of(struct trace *trace, struct kml_oid oid)
{
	/* From the end: what is spoken of is mostly new. */
	for (size_t i = trace->n_things; i; i--)
		if (kml_oid_equal(trace->things[i - 1].oid, oid))
			return &trace->things[i - 1];
	if (trace->n_things == OBJECTS_MAX)
		die("the trace speaks of more than %d objects", OBJECTS_MAX);
	trace->things[trace->n_things] = (struct thing){ .oid = oid, .is_dir = kml_oid_equal(oid, KML_ROOT) };
	return &trace->things[trace->n_things++];
}

static void made(struct trace *trace, const struct kml_make *make)
{
	thing_of(trace, make->parent)->is_dir = true;
	thing_of(trace, make->oid)->is_made = true;
}

/* Unless the log makes it, or it has had another place before. */
static void seen_at(struct trace *trace, struct kml_oid oid, struct kml_oid parent, const kml_name *name)
{
	struct thing *thing = thing_of(trace, oid);

	thing_of(trace, parent)->is_dir = true;
	thing = thing_of(trace, oid);
	if (thing->is_made || thing->name[0])
		return;
	thing->parent = parent;
	(void)snprintf(thing->name, sizeof(thing->name), "%.*s", (int)name->kml_name_len, name->kml_name_val);
}

static void look(struct trace *trace, const struct kml_record *record)
{
	const struct kml_rename *rename = &record->body.kml_body_u.rename;

	switch (record->body.op) {
	case KML_CREATE:
	case KML_MKDIR:
		made(trace, &record->body.kml_body_u.make);
		break;
	case KML_SYMLINK:
		made(trace, &record->body.kml_body_u.symlink.make);
		break;
	case KML_MKNOD:
		made(trace, &record->body.kml_body_u.mknod.make);
		break;
	case KML_REMOVE:
	case KML_RMDIR:
		seen_at(trace, record->body.kml_body_u.unlink.oid, record->body.kml_body_u.unlink.parent,
			&record->body.kml_body_u.unlink.name);
		thing_of(trace, record->body.kml_body_u.unlink.oid)->is_dir |= record->body.op == KML_RMDIR;
		break;
	case KML_RENAME:
		seen_at(trace, rename->oid, rename->from_parent, &rename->from_name);
		if (rename->replaced.number)
			seen_at(trace, rename->replaced, rename->to_parent, &rename->to_name);
		thing_of(trace, rename->to_parent)->is_dir = true;
		break;
	case KML_LINK:
		thing_of(trace, record->body.kml_body_u.link.parent)->is_dir = true;
		(void)thing_of(trace, record->body.kml_body_u.link.oid);
		break;
	case KML_STORE:
		(void)thing_of(trace, record->body.kml_body_u.store.oid);
		break;
	case KML_SETATTR:
		(void)thing_of(trace, record->body.kml_body_u.setattr.oid);
		break;
	case KML_SETACL:
	case KML_DETACH:
		break;
	}
}

static void trace_load(struct trace *trace, const char *path)
{
	size_t cap = 0;
	sqlite3_stmt *stmt;
	sqlite3 *db;

	trace->things = calloc(OBJECTS_MAX, sizeof(*trace->things));
	if (!trace->things || sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) ||
	    sqlite3_prepare_v2(db, "SELECT entry FROM journal ORDER BY position", -1, &stmt, NULL))
		die("%s: cannot be read", path);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		struct kml_entry entry;

		if (trace->n == cap) {
			cap = cap ? 2 * cap : 1024;
			trace->records = realloc(trace->records, cap * sizeof(*trace->records));
			if (!trace->records)
				die("no memory");
		}
		if (kml_entry_decode(sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0), &entry))
			die("%s: an entry does not decode", path);
		trace->records[trace->n] = entry.record;	/* the rest of it stays where it is: the program ends soon */
		look(trace, &trace->records[trace->n++]);
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	if (!trace->n)
		die("%s: its journal is empty", path);
}

/* ---- operations ---- */

static void ended(struct cache_op *op)
{
	struct call *call = container_of(op, struct call, op);

	call->is_done = true;
	loop_stop(op->loop);
}

static struct cache_op *begin(struct run *run)
{
	run->call.op = (struct cache_op){ .loop = run->call.op.loop, .done = ended, .deadline_us = clock_us() + US_PER_S };
	run->call.is_done = false;
	return &run->call.op;
}

static int end(struct run *run, int got)
{
	if (got != CACHE_WAITS)
		return got;
	while (!run->call.is_done)
		if (loop_run(run->call.op.loop))
			die("the loop failed");
	return run->call.op.err;
}

static struct slice name_of(const kml_name *name)
{
	return (struct slice){ name->kml_name_val, name->kml_name_len };
}

static uint64_t ino_of(struct run *run, struct kml_oid oid)
{
	return thing_of(run->trace, oid)->ino;
}

static struct attr_change mode_of(uint32_t mode)
{
	return (struct attr_change){ .set = SET_MODE, .mode = mode & 07777 };
}

static int write_range(struct run *run, uint64_t ino, uint64_t from, uint64_t to)
{
	static unsigned char data[64 << 10];
	int err = 0;

	for (; !err && from < to; from += sizeof(data))
		err = end(run, cache_write(run->cache, begin(run), ino, from, data, (uint32_t)MIN(to - from, sizeof(data)), UNSTABLE));
	return err;
}

static int store(struct run *run, uint64_t ino, const struct kml_range *ranges, size_t n, uint64_t size)
{
	struct attr_change cut = { .set = SET_SIZE, .size = size };
	int err = 0;

	for (size_t i = 0; !err && i < n; i++)
		err = write_range(run, ino, ranges[i].offset, ranges[i].offset + ranges[i].length);
	if (!err)
		err = end(run, cache_getattr(run->cache, begin(run), ino));
	if (!err && run->call.op.attr.size != size)
		err = end(run, cache_setattr(run->cache, begin(run), ino, &cut, NULL));
	return err ? err : end(run, cache_commit(run->cache, begin(run), ino));
}

static int setattr(struct run *run, const struct kml_setattr *set)
{
	struct attr_change change = {
		/* The bits are the same but for the size's. */
		.set = (set->set & KML_SET_MODE ? SET_MODE : 0u) | (set->set & KML_SET_ATIME ? SET_ATIME : 0u) |
		       (set->set & KML_SET_MTIME ? SET_MTIME : 0u),
		.mode = set->mode & 07777,
		.atime = { set->atime.sec, set->atime.nsec }, .mtime = { set->mtime.sec, set->mtime.nsec },
	};

	if (!change.set || set->set & KML_SET_FORWARD)
		return 0;
	return end(run, cache_setattr(run->cache, begin(run), ino_of(run, set->oid), &change, NULL));
}

static int make(struct run *run, const struct kml_record *record, const struct kml_make *new)
{
	const kml_target *target = &record->body.kml_body_u.symlink.target;
	struct attr_change change = mode_of(new->mode);
	uint64_t dir = ino_of(run, new->parent);
	struct slice name = name_of(&new->name);
	int err;

	if (record->body.op == KML_CREATE)
		err = end(run, cache_create(run->cache, begin(run), dir, name, CREATE_GUARDED, &change, NULL));
	else if (record->body.op == KML_MKDIR)
		err = end(run, cache_mkdir(run->cache, begin(run), dir, name, &change));
	else if (record->body.op == KML_SYMLINK)
		err = end(run, cache_symlink(run->cache, begin(run), dir, name,
					     (struct slice){ target->kml_target_val, target->kml_target_len }, NULL));
	else
		err = end(run, cache_mknod(run->cache, begin(run), dir, name, TYPE_FIFO, 0, 0, &change));
	if (!err)
		thing_of(run->trace, new->oid)->ino = run->call.op.ino;
	return err;
}

static int do_again(struct run *run, const struct kml_record *record)
{
	const __typeof__(record->body.kml_body_u) *u = &record->body.kml_body_u;

	switch (record->body.op) {
	case KML_CREATE:
	case KML_MKDIR:
		return make(run, record, &u->make);
	case KML_SYMLINK:
		return make(run, record, &u->symlink.make);
	case KML_MKNOD:
		return make(run, record, &u->mknod.make);
	case KML_LINK:
		return end(run, cache_link(run->cache, begin(run), ino_of(run, u->link.oid), ino_of(run, u->link.parent),
					   name_of(&u->link.name)));
	case KML_REMOVE:
		return end(run, cache_remove(run->cache, begin(run), ino_of(run, u->unlink.parent), name_of(&u->unlink.name)));
	case KML_RMDIR:
		return end(run, cache_rmdir(run->cache, begin(run), ino_of(run, u->unlink.parent), name_of(&u->unlink.name)));
	case KML_RENAME:
		return end(run, cache_rename(run->cache, begin(run), ino_of(run, u->rename.from_parent), name_of(&u->rename.from_name),
					     ino_of(run, u->rename.to_parent), name_of(&u->rename.to_name)));
	case KML_SETATTR:
		return setattr(run, &u->setattr);
	case KML_STORE:
		return store(run, ino_of(run, u->store.oid), u->store.ranges.ranges_val, u->store.ranges.ranges_len, u->store.size);
	case KML_SETACL:
	case KML_DETACH:
		break;
	}
	return 0;
}

/* ---- sending ---- */

static void count(struct run *run, const struct cml_item *item)
{
	struct buf buf;

	if (!run->is_counted)
		return;
	buf_init(&buf, 0);
	if (kml_record_encode(&buf, &item->record))
		die("a record does not encode");
	run->records++;
	run->bytes += buf.len + item->bytes;
	buf_release(&buf);
}

/* What is of age goes.  Gives how long until more is; 0: there is nothing. */
static uint64_t trickle(struct run *run, uint64_t age_s)
{
	static struct kml_answer answers[KML_BATCH_MAX];
	struct cml_batch *batch;
	uint64_t young_us = 0;

	for (;;) {
		if (cml_take_aged(run->cache, KML_BATCH_MAX, UINT64_MAX, age_s, &batch, &young_us))
			die("the log cannot be taken");
		if (!batch)
			return young_us;
		for (size_t i = 0; i < batch->n; i++) {
			count(run, &batch->items[i]);
			answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq, .made_version = ++run->position };
		}
		if (cml_retire(run->cache, batch, answers, batch->n))
			die("answers are not taken in");
	}
}

/* So much time passes, in which nothing is changed. */
static void pass(struct run *run, uint64_t us)
{
	while (us >= GATHER_US) {
		uint64_t young_us = trickle(run, run->window_s), step = young_us ? MIN(us, young_us) : us;

		clock_advance(step);
		us -= step;
	}
	clock_advance(us);
}

/* ---- a run ---- */

/* What the log does not make: at its place, where that is known and not in something that the log makes. */
static void make_seed(struct run *run, struct thing *thing)
{
	static unsigned n;
	struct attr_change change = mode_of(0755);
	struct thing *parent;
	uint64_t dir = cache_root(run->cache);
	char name[KML_NAME_MAX + 1];
	int err;

	if (kml_oid_equal(thing->oid, KML_ROOT))
		thing->ino = dir;
	if (thing->is_made || thing->ino)
		return;
	(void)snprintf(name, sizeof(name), "seed-%u", n++);
	parent = thing->name[0] ? thing_of(run->trace, thing->parent) : NULL;
	if (parent && !parent->is_made) {
		make_seed(run, parent);
		dir = parent->ino;
		(void)snprintf(name, sizeof(name), "%s", thing->name);
	}
	if (thing->is_dir)
		err = end(run, cache_mkdir(run->cache, begin(run), dir, (struct slice){ name, strlen(name) }, &change));
	else
		err = end(run, cache_create(run->cache, begin(run), dir, (struct slice){ name, strlen(name) }, CREATE_GUARDED, &change,
					    NULL));
	if (err)
		die("%s cannot be made: %s", name, strerror(-err));
	thing->ino = run->call.op.ino;
	if (!thing->is_dir && store(run, thing->ino, &(struct kml_range){ 0, 1000 }, 1, 1000))
		die("%s cannot be written", name);
}

static void run_trace(struct run *run, const char *dir)
{
	struct trace *trace = run->trace;
	struct cache_config config = { .dir = dir, .durability = DURABILITY_ASYNC, .no_sync = true, .starts_empty = true };
	int64_t before_ns = 0;
	char *why = NULL;

	if (cache_open(&config, &run->cache, &why) || call_init(&run->call, run->cache))
		die("%s: %s", dir, why ? why : "no cache");
	for (size_t i = 0; i < trace->n_things; i++)
		trace->things[i].ino = 0;
	for (size_t i = 0; i < trace->n_things; i++)
		make_seed(run, &trace->things[i]);
	(void)trickle(run, 0);
	run->is_counted = true;
	for (size_t i = 0; i < trace->n; i++) {
		const struct kml_record *record = &trace->records[i];
		int64_t now_ns = record->time.sec * 1000000000 + record->time.nsec;

		if (before_ns && now_ns > before_ns)
			pass(run, (uint64_t)(now_ns - before_ns) / 1000);
		before_ns = now_ns;
		run->odd += do_again(run, record) != 0;
	}
	/* Then nobody does anything any more. */
	(void)trickle(run, run->window_s);
	clock_advance((run->window_s + 1) * US_PER_S);
	(void)trickle(run, 0);
	call_release(&run->call);
	cache_close(run->cache);
}

int main(int argc, char **argv)
{
	struct trace trace = { 0 };
	uint64_t first = 0;
	double hours;

	if (argc != 4)
		die("usage: aging NAME DATABASE DIRECTORY");
	log_set_level(LOG_LEVEL_ERROR);
	trace_load(&trace, argv[2]);
	hours = (double)(trace.records[trace.n - 1].time.sec - trace.records[0].time.sec) / 3600;
	printf("| %s, %.1f h | %zu |", argv[1], hours, trace.n);
	for (size_t i = 0; i < ARRAY_SIZE(windows); i++) {
		struct run run = { .trace = &trace, .window_s = windows[i] };
		char dir[4096];

		if (snprintf(dir, sizeof(dir), "%s/%s-%zu", argv[3], argv[1], i) >= (int)sizeof(dir))
			die("%s: too long", argv[3]);
		run_trace(&run, dir);
		if (!i)
			first = run.bytes;
		printf(" %" PRIu64 ", %.0f KiB, %.0f %% |", run.records, (double)run.bytes / 1024,
		       100 - 100 * (double)run.bytes / (double)first);
		(void)fflush(stdout);
		if (run.odd)
			(void)fprintf(stderr, "aging: %s: %u changes could not be done again\n", argv[1], run.odd);
	}
	printf("\n");
	return 0;
}
