/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/vfs.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/thread.h"
#include "httpd/reconcile.h"
#include "httpd/watch_dirs.h"

/*
 * Two threads: one reads events and notes which names they are about, so that the kernel's queue
 * stays short; the other looks at these names when they are due.
 *
 * Numbers in the code:
 *  (1) A name that came or went is due soon, and all such names are looked at together: so that
 *      both ends of a rename are seen at once.
 *  (2) Content that is being written is due when it is quiet, or after LATEST_US; when it was
 *      closed, soon, but the same file not more often than every EACH_US.
 *  (3) An event from a directory that is not known here is none of our business.  It may be one
 *      that is new: then it is entered and read after its name was looked at, and whatever happened
 *      in it before is seen by that.
 *  (4) After whatever may have lost an event, everything is looked at.  And now and then without a
 *      reason: writes by mmap, over a hard link from outside, or by another machine on a shared
 *      file system make no events.
 */
#define SOON_US RECONCILE_EVENTS_US	/* so that nobody has to wait for the events of a name that is due */
#define QUIET_US 300000
#define LATEST_US (3 * US_PER_S)
#define EACH_US 700000
/* how long a file that was looked at is remembered, for (2) */
#define KEPT_US (2 * US_PER_S)
#define PENDING_MAX 65536		/* names; more: everything is looked at */
#define DRAIN_READS 1000		/* of about a hundred events each */

#define FULL_S 600			/* from one look at everything to the next */
#define FULL_REMOTE_S 60		/* where others may change files without an event */
#define FULL_GAPS_S 5			/* where not all directories could be watched */
/* looking at everything is to take no more than one part in that of the time */
#define FULL_SHARE 20
#define RETRY_S 5			/* after a look that failed */

struct pending {
	struct hash_node by_name;
	struct list node;
	int64_t dir;
	bool is_name;			/* (1) */
	uint64_t first_us;		/* of the writes since the last look; 0: none */
	uint64_t due_us;		/* CLOCK_NEVER: looked at, and remembered */
	uint64_t looked_us;		/* 0: never */
	uint64_t told_us;		/* by the last event */
	struct name name;
};

struct watch {
	/* constant after start */
	struct tree *tree;
	struct reconcile_hooks hooks;
	struct watch_source *source;
	int stop_fd;			/* eventfd, wakes the reader */
	pthread_t reader, worker;
	unsigned full_s;

	pthread_mutex_t lock;		/* below the tree's */
	pthread_cond_t cond;
	/* under lock */
	struct watch_dirs dirs;
	struct hash_table by_name;
	struct list pending;
	size_t n_pending;
	uint64_t full_us;		/* when everything is due to be looked at */
	bool is_settled, is_stopping;
	bool has_gaps;			/* some directory could not be watched */
	bool is_deaf;			/* there will be no more events; everything is looked at now and then */
	uint64_t wake_us;		/* when the worker is going to look by itself */

	/* worker */
	bool has_told_limit;
	struct log_gate failed;
};

/* ---- what is to be looked at; with the lock ---- */

static uint64_t name_hash(int64_t dir, struct slice name)
{
	return hash_bytes(name.data, name.len, hash_u64((uint64_t)dir));
}

static struct pending *find(struct watch *watch, int64_t dir, struct slice name)
{
	struct hash_node *node = hash_first(&watch->by_name, name_hash(dir, name));

	for (; node; node = hash_next(node)) {
		struct pending *pending = container_of(node, struct pending, by_name);

		if (pending->dir == dir && pending->name.len == name.len &&
		    !memcmp(pending->name.text, name.data, name.len))
			return pending;
	}
	return NULL;
}

static void drop(struct watch *watch, struct pending *pending)
{
	hash_remove(&watch->by_name, &pending->by_name);
	list_del(&pending->node);
	watch->n_pending--;
	free(pending);
}

static void drop_all(struct watch *watch)
{
	struct pending *pending;

	while ((pending = list_first(&watch->pending, struct pending, node)))
		drop(watch, pending);
}

/* What was looked at before then is not remembered any more. */
static void drop_remembered(struct watch *watch, uint64_t before_us)
{
	struct pending *pending, *next;

	list_each_safe(pending, next, &watch->pending, node)
		if (pending->due_us == CLOCK_NEVER && pending->looked_us < before_us)
			drop(watch, pending);
}

/* The worker is to wake up by then. */
static void wake_by(struct watch *watch, uint64_t at_us)
{
	if (at_us < watch->wake_us)
		pthread_cond_signal(&watch->cond);
}

static void look_at_all(struct watch *watch, uint64_t at_us)
{
	watch->full_us = MIN(watch->full_us, at_us);
	wake_by(watch, watch->full_us);
}

/* NULL: everything is going to be looked at. */
static struct pending *note(struct watch *watch, int64_t dir, struct slice name)
{
	struct pending *pending = find(watch, dir, name);

	if (pending) {
		/* To the end: a directory's names stay together in the order of what happened. */
		list_del(&pending->node);
		list_append(&watch->pending, &pending->node);
		return pending;
	}
	if (watch->n_pending >= PENDING_MAX)
		drop_remembered(watch, CLOCK_NEVER);
	if (watch->n_pending < PENDING_MAX)
		pending = calloc(1, sizeof(*pending));
	if (!pending) {
		drop_all(watch);
		look_at_all(watch, clock_us() + SOON_US);
		return NULL;
	}
	pending->dir = dir;
	pending->due_us = CLOCK_NEVER;
	name_set(&pending->name, name);
	hash_insert(&watch->by_name, &pending->by_name, name_hash(dir, name));
	list_append(&watch->pending, &pending->node);
	watch->n_pending++;
	return pending;
}

static void happened(void *arg, struct slice key, const char *name, unsigned events)
{
	struct watch *watch = arg;
	uint64_t now = clock_us(), due;
	struct pending *pending;
	int64_t dir;

	dir = watch_dirs_find(&watch->dirs, key);
	if (!dir) {		/* (3) */
		if (watch->source->kind->ignore)
			watch->source->kind->ignore(watch->source, key);
		return;
	}
	if (events & EVENT_ENDED) {
		watch_dirs_remove(&watch->dirs, key);
		return;
	}
	if (strlen(name) > KML_NAME_MAX)
		return;
	pending = note(watch, dir, (struct slice){ name, strlen(name) });
	if (!pending)
		return;
	pending->told_us = now;
	if (events & (EVENT_WRITTEN | EVENT_CLOSED) && !pending->first_us)
		pending->first_us = now;
	if (events & EVENT_NAME) {
		pending->is_name = true;
		due = now + SOON_US;
	} else if (events & EVENT_CLOSED) {
		due = MAX(now + SOON_US, pending->looked_us + EACH_US);
	} else {
		due = MIN(now + QUIET_US, pending->first_us + LATEST_US);
		/* One that was closed before is due all the same. */
		pending->due_us = CLOCK_NEVER;
	}
	pending->due_us = MIN(pending->due_us, due);
	wake_by(watch, pending->due_us);
}

/* ---- the reader ---- */

/* Some of the events that are there.  With the lock.  -EOVERFLOW: some were lost; others: there will be no more. */
static int read_some(struct watch *watch)
{
	int err = watch->source->kind->read(watch->source, happened, watch);

	if (FAULT("watch.overflow"))
		err = -EOVERFLOW;
	if (err) {
		drop_all(watch);
		look_at_all(watch, clock_us() + SOON_US);
		log_info("watch: events were lost, looking at everything: %s", strerror(-err));
	}
	watch->is_deaf = err && err != -EOVERFLOW;
	return err;
}

static void *read_events(void *arg)
{
	struct watch *watch = arg;
	struct pollfd fds[2] = { { .fd = watch->source->fd, .events = POLLIN },
				 { .fd = watch->stop_fd, .events = POLLIN } };
	bool is_stopping = false;

	while (!is_stopping) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			break;
		pthread_mutex_lock(&watch->lock);
		if (!watch->is_deaf)
			(void)read_some(watch);	/* whatever was lost is looked for */
		is_stopping = watch->is_stopping || watch->is_deaf;
		pthread_mutex_unlock(&watch->lock);
	}
	return NULL;
}

/* ---- the worker's hooks: with the tree's lock ---- */

static void enter(void *arg, int64_t dir, int fd)
{
	struct watch *watch = arg;
	unsigned char key[WATCH_KEY_MAX];
	struct file_stat st;
	int got;

	/* Under the lock, so that the reader knows the key when its first event comes. */
	pthread_mutex_lock(&watch->lock);
	got = file_stat(fd, "", &st);
	if (!got)
		got = watch->source->kind->enter(watch->source, fd, key);
	if (got > 0)
		got = watch_dirs_add(&watch->dirs, dir, st.id, (struct slice){ key, (size_t)got });
	if (got < 0)
		watch->has_gaps = true;
	pthread_mutex_unlock(&watch->lock);
	if (got >= 0 || watch->has_told_limit)
		return;
	watch->has_told_limit = true;
	if (got == -ENOSPC)
		log_warn("watch: not all directories can be watched, so everything is looked at "
			 "every %u s instead; "
			 "raise the sysctl fs.inotify.max_user_watches above their number",
			 FULL_GAPS_S);
	else
		log_warn("watch: a directory cannot be watched, so everything is looked at every "
			 "%u s instead: %s",
			 FULL_GAPS_S, strerror(-got));
}

static bool is_entered(void *arg, int64_t dir, struct file_id file)
{
	struct watch *watch = arg;
	bool has;

	pthread_mutex_lock(&watch->lock);
	has = watch_dirs_has(&watch->dirs, dir, file);
	pthread_mutex_unlock(&watch->lock);
	return has;
}

static int copy_names(struct watch *watch, struct reconcile_item **ret_items, size_t *ret_n)
{
	struct reconcile_item *items = malloc((watch->n_pending + 1) * sizeof(*items));
	struct pending *pending;
	size_t n = 0;

	if (!items)
		return -ENOMEM;
	list_each(pending, &watch->pending, node)
		if (pending->is_name)
			items[n++] = (struct reconcile_item){ pending->dir, pending->name, pending->told_us };
	*ret_items = items;
	*ret_n = n;
	return 0;
}

static int told(void *arg, struct reconcile_item **ret_items, size_t *ret_n)
{
	struct watch *watch = arg;
	struct pollfd queue = { .fd = watch->source->fd, .events = POLLIN };
	int err = 0;

	pthread_mutex_lock(&watch->lock);
	/* Who makes events is slower than this.  A bound, all the same: a lock is held. */
	for (int i = 0; !err && !watch->is_deaf && i < DRAIN_READS && poll(&queue, 1, 0) > 0; i++)
		err = read_some(watch);
	err = err ? -EOVERFLOW : copy_names(watch, ret_items, ret_n);
	pthread_mutex_unlock(&watch->lock);
	return err;
}

static void again(void *arg, const struct reconcile_item *item)
{
	struct watch *watch = arg;
	struct pending *pending;

	pthread_mutex_lock(&watch->lock);
	pending = note(watch, item->dir, name_slice(&item->name));
	if (pending) {
		pending->is_name = true;
		pending->due_us = MIN(pending->due_us, clock_us() + SOON_US);
	}
	pthread_mutex_unlock(&watch->lock);
}

static bool is_stopping(void *arg)
{
	struct watch *watch = arg;
	bool stop;

	pthread_mutex_lock(&watch->lock);
	stop = watch->is_stopping;
	pthread_mutex_unlock(&watch->lock);
	return stop || tree_is_stopping(watch->tree);
}

/* ---- the worker ---- */

/* Everything, once.  Without the lock. */
static int look_everywhere(struct watch *watch)
{
	uint64_t started = clock_us(), changes = 0, took, pause;
	bool is_first;
	int err;

	pthread_mutex_lock(&watch->lock);
	/* All that is pending is part of it.  What comes from now on is not. */
	drop_all(watch);
	watch->full_us = CLOCK_NEVER;
	watch->has_gaps = false;
	is_first = !watch->is_settled;
	pthread_mutex_unlock(&watch->lock);
	err = FAULT("watch.full");
	if (!err)
		err = reconcile_all(watch->tree, &watch->hooks, &changes);
	took = clock_us() - started;
	pthread_mutex_lock(&watch->lock);
	if (err) {
		watch->full_us = MIN(watch->full_us, clock_us() + RETRY_S * US_PER_S);
	} else {
		watch_dirs_sweep(&watch->dirs, watch->source);
		pause = (watch->has_gaps ? FULL_GAPS_S : watch->full_s) * US_PER_S;
		watch->full_us = MIN(watch->full_us, clock_us() + MAX(pause, FULL_SHARE * took));
		watch->is_settled = true;
		pthread_cond_broadcast(&watch->cond);
	}
	pthread_mutex_unlock(&watch->lock);
	if (!err && is_first)
		log_info("watch: looked at everything, changes are noticed as they happen (%s): %s "
			 "changes=%llu seconds=%.1f",
			 watch->source->kind->name, watch->tree->path, (unsigned long long)changes,
			 (double)took / 1e6);
	else if (!err && changes)
		log_info("watch: looked at everything and found what made no event: changes=%llu",
			 (unsigned long long)changes);
	return err;
}

/* What is due, in the order of what happened; and when the rest will be.  With the lock. */
static int take_due(struct watch *watch, struct reconcile_item **ret_items, size_t *ret_n,
		    uint64_t *ret_next_us)
{
	struct pending *pending, *next;
	struct reconcile_item *items;
	uint64_t now = clock_us(), next_us = CLOCK_NEVER;
	bool is_any = false;
	size_t n = 0;

	list_each(pending, &watch->pending, node)
		is_any |= pending->due_us <= now;
	items = is_any ? malloc(watch->n_pending * sizeof(*items)) : NULL;
	if (is_any && !items)
		return -ENOMEM;
	list_each_safe(pending, next, &watch->pending, node) {
		if (is_any && pending->due_us != CLOCK_NEVER &&
		    (pending->due_us <= now || pending->is_name)) {
			items[n++] = (struct reconcile_item){ pending->dir, pending->name, pending->told_us };
			pending->due_us = CLOCK_NEVER;
			pending->looked_us = now;
			pending->is_name = false;
			if (!pending->first_us)
				drop(watch, pending);
			else
				pending->first_us = 0;
		} else if (pending->due_us != CLOCK_NEVER) {
			next_us = MIN(next_us, pending->due_us);
		}
	}
	drop_remembered(watch, now - KEPT_US);
	*ret_items = items;
	*ret_n = n;
	*ret_next_us = MIN(next_us, watch->full_us);
	return 0;
}

static void wait_until(struct watch *watch, uint64_t at_us)
{
	watch->wake_us = at_us;
	cond_wait(&watch->cond, &watch->lock, MIN(at_us, clock_us() + 3600 * US_PER_S));	/* the caller looks why it woke */
	watch->wake_us = 0;
}

static void tell_failed(struct watch *watch, int err)
{
	unsigned held;

	if (err == -EINTR || !log_gate_open(&watch->failed, 60, &held))
		return;
	log_warn("watch: cannot look at what local programs changed, trying again in %u s: %s",
		 RETRY_S, strerror(-err));
}

static void *look_at_events(void *arg)
{
	struct watch *watch = arg;
	struct reconcile_item *items;
	uint64_t next_us;
	bool is_full;
	size_t n;
	int err;

	pthread_mutex_lock(&watch->lock);
	while (!watch->is_stopping) {
		items = NULL;
		n = 0;
		err = 0;
		is_full = watch->full_us <= clock_us();
		if (!is_full)
			err = take_due(watch, &items, &n, &next_us);
		if (!is_full && !err && !n) {
			free(items);
			wait_until(watch, next_us);
			continue;
		}
		pthread_mutex_unlock(&watch->lock);
		if (is_full)
			err = look_everywhere(watch);
		else if (!err)
			err = reconcile_names(watch->tree, items, n, &watch->hooks, NULL);
		free(items);
		if (err)
			tell_failed(watch, err);
		pthread_mutex_lock(&watch->lock);
		/*
		 * What these names had to tell is to be found some other way; full_us of a full
		 * look is set already.
		 */
		if (err && !is_full)
			look_at_all(watch, clock_us() + RETRY_S * US_PER_S);
		if (err == -EINTR && !watch->is_stopping)
			break;	/* the whole server stops */
		if (!is_full && watch->has_gaps)
			look_at_all(watch, clock_us() + FULL_GAPS_S * US_PER_S);
	}
	pthread_mutex_unlock(&watch->lock);
	return NULL;
}

/* ---- starting and stopping ---- */

/* File systems that others may change too: other machines, or the host of this one. */
static bool is_remote(int fd)
{
	static const uint32_t types[] = {
		0x00c0ffee /* hostfs */, 0x01021997 /* 9p */,	  0x6969 /* nfs */,
		0xff534d42 /* cifs */,	 0xfe534d42 /* smb2 */,	  0x65735546 /* fuse, virtiofs */,
		0x00c36400 /* ceph */,	 0x01161970 /* gfs2 */,	  0x7461636f /* ocfs2 */,
		0x5346414f /* afs */,	 0x0bd00bd0 /* lustre */,
	};
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((uint32_t)st.f_type == types[i])
			return true;
	return false;
}

static int open_source(struct tree *tree, enum watch_kind kind, struct watch_source **ret_source)
{
	int err = -ENOTSUP;

	if (kind != WATCH_INOTIFY)
		err = watch_fanotify.open(tree, ret_source);
	if (err == -ENOTSUP && kind != WATCH_FANOTIFY)
		err = watch_inotify.open(tree, ret_source);
	return err;
}

static void release(struct watch *watch)
{
	drop_all(watch);
	hash_release(&watch->by_name);
	watch_dirs_release(&watch->dirs);
	if (watch->source)
		watch->source->kind->close(watch->source);
	mem_close_fd(&watch->stop_fd);
	pthread_cond_destroy(&watch->cond);
	pthread_mutex_destroy(&watch->lock);
	free(watch);
}

/* For who looks at names by himself (reconcile_locked()). */
static void register_hooks(struct watch *watch, const struct reconcile_hooks *hooks)
{
	tree_lock(watch->tree);
	watch->tree->watching = hooks;
	tree_unlock(watch->tree);
}

static void tell_to_stop(struct watch *watch)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&watch->lock);
	watch->is_stopping = true;
	pthread_cond_broadcast(&watch->cond);
	pthread_mutex_unlock(&watch->lock);
	(void)!write(watch->stop_fd, &one, sizeof(one));	/* cannot be full */
}

int watch_start(struct tree *tree, enum watch_kind kind, struct watch **ret_watch)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	int err;

	if (!watch)
		return -ENOMEM;
	watch->tree = tree;
	watch->hooks = (struct reconcile_hooks){ .enter = enter, .is_entered = is_entered, .told = told, .again = again,
						 .is_stopping = is_stopping, .arg = watch };
	watch->full_s = is_remote(tree->root_fd) ? FULL_REMOTE_S : FULL_S;
	list_init(&watch->pending);
	pthread_mutex_init(&watch->lock, NULL);
	(void)cond_init(&watch->cond);	/* cannot fail */
	watch->stop_fd = eventfd(0, EFD_CLOEXEC);
	err = watch->stop_fd < 0 ? -errno : 0;
	if (!err)
		err = hash_init(&watch->by_name);
	if (!err)
		err = watch_dirs_init(&watch->dirs);
	if (!err)
		err = open_source(tree, kind, &watch->source);
	if (!err)
		err = thread_start(&watch->reader, "watch-read", read_events, watch);
	if (err) {
		release(watch);
		return err;
	}
	err = thread_start(&watch->worker, "watch", look_at_events, watch);
	if (err) {
		tell_to_stop(watch);
		pthread_join(watch->reader, NULL);
		release(watch);
		return err;
	}
	register_hooks(watch, &watch->hooks);
	*ret_watch = watch;
	return 0;
}

void watch_stop(struct watch *watch)
{
	if (!watch)
		return;
	register_hooks(watch, NULL);
	tell_to_stop(watch);
	pthread_join(watch->worker, NULL);
	pthread_join(watch->reader, NULL);
	release(watch);
}

bool watch_wait_settled(struct watch *watch, uint64_t deadline_us)
{
	bool is_settled;

	pthread_mutex_lock(&watch->lock);
	while (!watch->is_settled && !watch->is_stopping && clock_us() < deadline_us &&
	       !tree_is_stopping(watch->tree))
		/* Nobody tells this condition that the tree is stopping, so look now and then. */
		cond_wait(&watch->cond, &watch->lock, clock_us() + 50 * US_PER_MS);
	is_settled = watch->is_settled;
	pthread_mutex_unlock(&watch->lock);
	return is_settled;
}

const char *watch_kind_name(const struct watch *watch)
{
	return watch->source->kind->name;
}
