/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opened in this order, closed in the reverse:
 *
 *	control socket	a second daemon learns of the first before it touches a cache
 *	caches		each recovers what a crash left
 *	links		before the first operation on their cache
 *	NFS server	now the mount is answered
 *	control thread	now --status is answered
 */
#include "cmd/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "cache/cache.h"
#include "cache/hoard.h"
#include "cmd/answer.h"
#include "cmd/control.h"
#include "cmd/key.h"
#include "cmd/listener.h"
#include "nfsd/server.h"
#include "replicate/replicate.h"

#define FILES_MAX 65536
#define MOUNTS_EVERY_US (60 * US_PER_S)
#define MOUNTS_AGAIN_S 600	/* a mount that stays unsafe is complained of so often */

/* ---- what the process needs of the kernel ---- */

static void raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = MAX(limit.rlim_max, FILES_MAX);
	limit.rlim_max = limit.rlim_cur;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);	/* then with fewer files kept open */
	}
}

/*
 * Our own pages swapped out would be a deadlock: to bring them back memory must be freed, by writing to us.
 * Only with no limit: with one, MCL_FUTURE makes allocations fail once it is reached.
 */
static bool lock_memory(void)
{
	const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	int err;

	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 ||
	    mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0) {
		err = errno;
		log_warn(
			"memory may be swapped out (mlockall: %s): the mount may hang when there is little memory",
			strerror(err));
		return false;
	}
	return true;
}

/* ---- mounts ---- */

static int find_mounts(const struct config *config, uint16_t port, struct mounts *mounts)
{
	AUTO_FREE const char **exports = calloc(config->n_trees, sizeof(*exports));

	*mounts = (struct mounts){ 0 };
	if (!exports)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_trees; i++)
		exports[i] = config->trees[i].export;
	return mounts_find(mounts, MOUNTS_INFO, port, exports, config->n_trees);
}

static bool was_unsafe(const struct mounts *mounts, const char *point)
{
	for (size_t i = 0; i < mounts->n; i++)
		if (!mounts->v[i].is_local_lock && !strcmp(mounts->v[i].point, point))
			return true;
	return false;
}

void daemon_look_at_mounts(struct daemon *daemon)
{
	static struct log_gate gate;
	struct mounts now, before;
	bool is_time = false;
	unsigned held;

	if (find_mounts(daemon->config, nfsd_port(daemon->nfsd), &now) < 0) {
		mounts_release(&now);
		return;		/* the next look may do better */
	}
	pthread_mutex_lock(&daemon->lock);
	before = daemon->mounts;
	daemon->mounts = now;
	for (size_t i = 0; i < now.n; i++) {
		const struct mount *mount = &now.v[i];

		if (mount->is_local_lock)
			continue;
		is_time = is_time || log_gate_open(&gate, MOUNTS_AGAIN_S, &held);
		if (is_time || !was_unsafe(&before, mount->point))
			log_warn("%s is mounted without nolock: programs that lock files there HANG "
				 "FOR EVER; unmount it, then mount it with -o nolock or install "
				 "nfsmount.conf.d/izo.conf: export=%s", mount->point, mount->export);
	}
	pthread_mutex_unlock(&daemon->lock);
	mounts_release(&before);
}

static void mounts_fire(struct loop_timer *timer)
{
	struct daemon *daemon = container_of(timer, struct daemon, mounts_timer);

	daemon_look_at_mounts(daemon);
	loop_timer_set(daemon->loop, timer, clock_us() + MOUNTS_EVERY_US);
}

static int refuse_if_held(const struct mounts *mounts, const char *what, const char *path)
{
	const struct mount *mount = path ? mounts_holding(mounts, path) : NULL;

	if (!mount)
		return 0;
	log_error(
		"%s %s lies on %s, a mount of the daemon's own export %s: it would wait for itself for ever; "
		"put it elsewhere",
		what, path, mount->point, mount->export);
	return -ELOOP;
}

/* Before anything of ours is opened: opening it there would hang already. */
static int check_places(const struct config *config, const char *pid_file)
{
	struct mounts mounts;
	int err;

	err = find_mounts(config, config->port, &mounts);
	if (err) {
		log_warn(
			"cannot see what is mounted, so not whether the cache lies on a mount of its own: %s",
			strerror(-err));
		mounts_release(&mounts);
		return 0;
	}
	for (size_t i = 0; !err && i < config->n_trees; i++)
		err = refuse_if_held(&mounts, "cache", config->trees[i].cache);
	if (!err)
		err = refuse_if_held(&mounts, "control socket", config->control);
	if (!err)
		err = refuse_if_held(&mounts, "pid file", pid_file);
	if (!err)
		err = refuse_if_held(&mounts, "configuration file", config->path);
	mounts_release(&mounts);
	return err;
}

/* ---- trees ---- */

static int configure_hoard(struct cache *cache, const struct config_tree *config)
{
	size_t n = config->hoards.n;
	AUTO_FREE struct hoard_entry *entries = calloc(n + 1, sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct config_hoard *hoard = &config->hoards.v[i];

		entries[i].depth = hoard->depth;
		entries[i].priority = hoard->priority;
		(void)snprintf(entries[i].path, sizeof(entries[i].path), "%s", hoard->path);	/* fits: a line is shorter */
	}
	return hoard_configure(cache, entries, n);
}

static int open_tree(struct daemon_tree *tree, const struct config_tree *config, struct cache_adopt *adopt)
{
	AUTO_FREE const char **patterns = calloc(config->merges.n + 1, sizeof(*patterns));
	const struct cache_config cache = { .dir = config->cache,
					    .durability = config->durability,
					    .no_fold = config->keeps_records,
					    .content_limit = config->cache_limit,
					    .floor_bytes = config->disk_floor.bytes,
					    .floor_percent = config->disk_floor.percent,
					    .base_patterns = patterns,
					    .n_base_patterns = config->merges.n,
					    .base_limit = config->base_limit,
					    .adopt = adopt->listing_fd < 0 ? NULL : adopt };
	struct replicate_config link = { .url = config->upstream,
					 .host = config->host,
					 .kind = config->link,
					 .window_s = config->aging_window_s,
					 .limits = config->limits.v,
					 .n_limits = config->limits.n };
	AUTO_FREE char *why = NULL;
	int err;

	if (!patterns)
		return -ENOMEM;
	for (size_t i = 0; i < config->merges.n; i++)
		patterns[i] = config->merges.v[i].pattern;
	tree->config = config;
	err = cache_open(&cache, &tree->cache, &why);
	mem_close_fd(&adopt->listing_fd);
	if (err) {
		log_error("tree %s: the cache cannot be opened: %s", config->name,
			  why ? why : strerror(-err));
		return err;
	}
	err = configure_hoard(tree->cache, config);
	if (err) {
		log_error("tree %s: what the configuration hoards cannot be noted in the cache: %s", config->name, strerror(-err));
		return err;
	}
	link.cache = tree->cache;
	err = replicate_start(&link, &tree->replicate, &why);
	if (err)
		log_error("tree %s: the link to %s cannot be started: %s", config->name,
			  config->upstream, why ? why : strerror(-err));
	else
		err = merger_new(tree->cache, config, &tree->merger);
	return err ? err : policy_start(tree->cache, config->conflicts, tree->merger, &tree->policy);
}

static int open_trees(struct daemon *daemon)
{
	int err;

	daemon->trees = calloc(daemon->config->n_trees, sizeof(*daemon->trees));
	if (!daemon->trees)
		return -ENOMEM;
	for (size_t i = 0; i < daemon->config->n_trees; i++) {
		/* A cache with a long log to recover from takes its time. */
		service_status("opening the cache of tree %s", daemon->config->trees[i].name);
		err = open_tree(&daemon->trees[i], &daemon->config->trees[i], &daemon->adopts[i]);
		if (err)
			return err;
	}
	return 0;
}

static void close_trees(struct daemon *daemon)
{
	if (!daemon->trees)
		return;
	for (size_t i = 0; i < daemon->config->n_trees; i++) {
		policy_stop(daemon->trees[i].policy);
		merger_free(daemon->trees[i].merger);
	}
	for (size_t i = 0; i < daemon->config->n_trees; i++)
		if (daemon->trees[i].replicate)
			replicate_stop(daemon->trees[i].replicate);
	for (size_t i = 0; i < daemon->config->n_trees; i++)
		if (daemon->trees[i].cache)
			cache_close(daemon->trees[i].cache);
	free(daemon->trees);
}

/* ---- the server ---- */

static int serve_exports(struct daemon *daemon)
{
	const struct config *config = daemon->config;
	AUTO_FREE struct nfsd_export *exports = calloc(config->n_trees, sizeof(*exports));
	const struct nfsd_config nfsd = {
		.listen_addr = config->listen_addr,
		.port = daemon->port ? daemon->port : config->port,
		.allow_unprivileged_ports = config->allow_unprivileged_ports,
		.no_rpcbind = !config->rpcbind,
		.exports = exports,
		.n_exports = config->n_trees,
		.lookup_wait_us = config->lookup_wait_s * US_PER_S,
		.read_wait_us = config->read_wait_s * US_PER_S,
		.max_connections = config->max_connections,
		.max_calls = config->max_calls,
		.max_calls_all = config->max_calls_all,
		.slow_call_us = config->slow_call_ms * US_PER_MS,
	};
	AUTO_FREE char *why = NULL;
	int err;

	if (!exports)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_trees; i++)
		exports[i] = (struct nfsd_export){
			.path = config->trees[i].export,
			.cache = daemon->trees[i].cache,
			.is_read_only = config->trees[i].is_read_only,
			.squash = config->trees[i].squash,
			.anon_uid = config->trees[i].anon_uid,
			.anon_gid = config->trees[i].anon_gid,
		};
	/* Its own, for it closes it, and it may be wanted once more. */
	err = nfsd_start(daemon->loop, &nfsd, daemon->listen_fd < 0 ? -1 : fcntl(daemon->listen_fd, F_DUPFD_CLOEXEC, 0), &daemon->nfsd,
			 &why);
	if (err)
		log_error("NFS cannot be served: %s", why ? why : strerror(-err));
	else
		daemon->port = nfsd_port(daemon->nfsd);
	return err;
}

static void say_ready(struct daemon *daemon)
{
	const struct config *config = daemon->config;
	bool is_six = strchr(config->listen_addr, ':');
	char line[256];

	for (size_t i = 0; i < config->n_trees; i++)
		log_info("serving %s from %s: tree=%s cache=%s durability=%s%s%s%s on %s%s%s:%u",
			 config->trees[i].export, config->trees[i].upstream, config->trees[i].name,
			 config->trees[i].cache,
			 config->trees[i].durability == DURABILITY_SYNC ? "sync" : "async",
			 config->trees[i].is_read_only ? " read_only=yes" : "",
			 config->trees[i].squash ? " squash=" : "",
			 config->trees[i].squash ? key_squash_names[config->trees[i].squash] : "", is_six ? "[" : "",
			 config->listen_addr, is_six ? "]" : "", nfsd_port(daemon->nfsd));
	(void)snprintf(line, sizeof(line),
		       config->n_trees == 1 ? "serving %s" : "serving %s and %zu more",
		       config->trees[0].export, config->n_trees - 1);
	service_ready(&daemon->service, line);
}

/* ---- stopping ---- */

bool daemon_is_stopping(const struct daemon *daemon)
{
	return __atomic_load_n(&daemon->is_stopping, __ATOMIC_RELAXED);
}

static void stopped(void *arg)
{
	struct daemon *daemon = arg;

	loop_stop(daemon->loop);
}

static void begin_to_stop(struct daemon *daemon)
{
	__atomic_store_n(&daemon->is_stopping, true, __ATOMIC_RELAXED);
	nfsd_stop(daemon->nfsd, stopped, daemon);
}

static void reopen_run(struct loop_job *job)
{
	struct daemon *daemon = container_of(job, struct daemon, reopen_job);

	if (daemon->is_stopping)
		return;
	log_info("all trees are closed, and opened again");
	daemon->is_reopening = true;
	begin_to_stop(daemon);
}

void daemon_reopen(struct daemon *daemon, const struct daemon_tree *tree, const struct cache_adopt *adopt)
{
	struct cache_adopt *into = &daemon->adopts[tree - daemon->trees];

	mem_close_fd(&into->listing_fd);
	*into = *adopt;
	if (!daemon->is_reopen_posted)
		loop_post(daemon->loop, &daemon->reopen_job);
	daemon->is_reopen_posted = true;
}

/* SIGHUP: what is debugged, anew from the file; everything else needs a restart. */
static void reload_debug(struct daemon *daemon)
{
	struct config config;
	struct buf errors;

	if (!daemon->config->path) {
		log_info("SIGHUP: there is no configuration file to read again");
		return;
	}
	buf_init(&errors, 0);
	if (config_init(&config) == 0) {
		if (config_load(&config, daemon->config->path, true, &errors) == 0) {
			(void)log_trace(config.debug ? config.debug : "none");	/* was checked when it was read */
			log_info("SIGHUP: debugged from now on: %s",
				 config.debug ? config.debug : "none");
		} else {
			log_warn("SIGHUP: nothing is changed: %.*s", (int)errors.len,
				 (const char *)errors.data);
		}
		config_release(&config);
	}
	buf_release(&errors);
}

static void signal_ready(struct loop_fd *lfd, uint32_t events)
{
	struct daemon *daemon = container_of(lfd, struct daemon, signals);
	int signal = service_signal(&daemon->service);

	(void)events;
	if (signal == SIGHUP) {
		reload_debug(daemon);
	} else if ((signal == SIGTERM || signal == SIGINT) && (!daemon->is_stopping || daemon->is_reopening)) {
		log_info("stopping on %s", signal == SIGTERM ? "SIGTERM" : "SIGINT");
		service_stopping();
		daemon->is_reopening = false;
		if (!daemon->is_stopping)
			begin_to_stop(daemon);
	}
}

/* ---- life ---- */

static int daemon_open(struct daemon *daemon)
{
	AUTO_FREE char *why = NULL;
	int err;

	daemon->opened++;
	daemon->is_stopping = daemon->is_reopening = daemon->is_reopen_posted = false;
	err = control_new(daemon->config->control, daemon->config->control_group, &daemon->control, &why);
	if (err) {
		log_error("%s", why ? why : strerror(-err));
		return err;
	}
	err = open_trees(daemon);
	if (!err)
		err = loop_new(&daemon->loop);
	if (!err)
		err = serve_exports(daemon);
	if (err)
		return err;
	loop_stay_awake(daemon->loop);
	daemon->signals = (struct loop_fd){ .fd = service_signal_fd(&daemon->service),
					    .ready = signal_ready };
	err = loop_add(daemon->loop, &daemon->signals, EPOLLIN);
	if (!err)
		err = control_start(daemon->control, answer_request, daemon);
	if (err)
		log_error("cannot start: %s", strerror(-err));
	return err;
}

static void daemon_close(struct daemon *daemon)
{
	/* First: the control thread may wait for one. */
	for (size_t i = 0; daemon->trees && i < daemon->config->n_trees; i++)
		merger_stop(daemon->trees[i].merger);
	control_free(daemon->control);
	nfsd_free(daemon->nfsd);
	close_trees(daemon);
	loop_free(daemon->loop);
	daemon->control = NULL;
	daemon->nfsd = NULL;
	daemon->trees = NULL;
	daemon->loop = NULL;
	daemon->mounts_timer = (struct loop_timer){ .fire = mounts_fire };
}

/* Until it is told to stop, or to open everything again. */
static int daemon_serve(struct daemon *daemon)
{
	int err = daemon_open(daemon);

	if (!err) {
		say_ready(daemon);
		daemon_look_at_mounts(daemon);
		loop_timer_set(daemon->loop, &daemon->mounts_timer, clock_us() + MOUNTS_EVERY_US);
		err = loop_run(daemon->loop);
		if (err)
			log_error("the event loop failed: %s", strerror(-err));
	}
	daemon_close(daemon);
	return err;
}

static int make_adopts(struct daemon *daemon)
{
	daemon->adopts = calloc(daemon->config->n_trees, sizeof(*daemon->adopts));
	if (!daemon->adopts)
		return -ENOMEM;
	for (size_t i = 0; i < daemon->config->n_trees; i++)
		daemon->adopts[i].listing_fd = -1;
	return 0;
}

static void free_adopts(struct daemon *daemon)
{
	for (size_t i = 0; daemon->adopts && i < daemon->config->n_trees; i++)
		mem_close_fd(&daemon->adopts[i].listing_fd);
	free(daemon->adopts);
}

int daemon_run(const struct config *config, bool is_foreground)
{
	struct daemon daemon = {
		.config = config,
		.started_us = clock_us(),
		.service = { .name = "izo-nfsd",
			     .is_foreground = is_foreground,
			     .pid_file = config->pid_file },
		.mounts_timer.fire = mounts_fire,
		.reopen_job.run = reopen_run,
		.listen_fd = -1,
	};
	int err, flusher;

	err = check_places(config, config->pid_file);
	if (err)
		return EXIT_FAILURE;
	flusher = thread_become_io_flusher();	/* threads and children made from now on have it from us */
	err = service_begin(&daemon.service);
	if (err)
		return EXIT_FAILURE;
	(void)pthread_mutex_init(&daemon.lock, NULL);	/* cannot fail with default attributes */
	daemon.is_io_flusher = flusher == 0;
	if (flusher)
		log_warn(
			"the kernel does not take us for one that writes pages out (PR_SET_IO_FLUSHER: %s): with "
			"little memory and much writing the mount may hang",
			strerror(-flusher));
	raise_files();
	daemon.is_locked = lock_memory();

	err = make_adopts(&daemon);
	if (!err)
		daemon.listen_fd = listener_take(config);
	do {
		if (!err)
			err = daemon_serve(&daemon);
	} while (!err && daemon.is_reopening);
	free_adopts(&daemon);
	mem_close_fd(&daemon.listen_fd);
	mounts_release(&daemon.mounts);
	pthread_mutex_destroy(&daemon.lock);
	service_end(&daemon.service);
	if (!err)
		log_info("stopped");
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
