/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/histogram.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/cache.h"
#include "cache/cml.h"
#include "cmd/daemon.h"
#include "cmd/key.h"
#include "nfsd/server.h"
#include "replicate/replicate.h"

static json_int_t number(uint64_t n)
{
	return (json_int_t)n;
}

/*
 * Text that others chose: JSON has only UTF-8, names may be any bytes.  A byte that does not fit becomes
 * U+FFFD.
 */
json_t *status_text(const char *s)
{
	json_t *whole = json_string(s), *mended;
	size_t len = strlen(s), at = 0;
	AUTO_FREE char *out = NULL;

	if (whole)
		return whole;
	out = malloc(3 * len + 1);
	if (!out)
		return NULL;
	while (*s) {
		size_t n = 1;
		json_t *fits = NULL;

		for (; n <= 4 && strnlen(s, n) == n && !(fits = json_stringn(s, n)); n++)
			;
		json_decref(fits);
		memcpy(out + at, fits ? s : "\xef\xbf\xbd", fits ? n : 3);
		at += fits ? n : 3;
		s += fits ? n : 1;
	}
	mended = json_stringn(out, at);
	return mended;
}

/* Without a name and password in it: the status is for everybody's eyes. */
static json_t *url(const char *from)
{
	const char *host = strstr(from, "://"), *at;
	AUTO_FREE char *shown = NULL;

	at = host ? memchr(host + 3, '@', strcspn(host + 3, "/")) : NULL;
	if (!at)
		return status_text(from);
	if (asprintf(&shown, "%.*s%s", (int)(host + 3 - from), from, at + 1) < 0)
		shown = NULL;
	return shown ? status_text(shown) : NULL;
}

/* What the user is asked about, if anything. */
static json_t *doubt_json(const struct replicate_doubt *doubt)
{
	AUTO_FREE char *accept = NULL;

	if (asprintf(&accept, "%s@%llu", doubt->id, (unsigned long long)doubt->position) < 0) {
		accept = NULL;
		return NULL;
	}
	return json_pack("{s:s, s:o, s:I, s:o, s:I, s:o}", "kind", doubt_name(doubt->kind), "known_id", status_text(doubt->known_id),
			 "known_position", number(doubt->known_position), "id", status_text(doubt->id), "position",
			 number(doubt->position), "accept", status_text(doubt->kind == DOUBT_NONE ? "" : accept));
}

/* adopt: what the tree was opened with last. */
static json_t *tree_json(const struct daemon_tree *tree, unsigned opened, const struct cache_adopt *adopt)
{
	const struct config_tree *config = tree->config;
	struct replicate_status link = { 0 };
	struct cache_status cache;
	json_t *json;

	/* The link first: what it has replayed by then is not counted as waiting. */
	replicate_get_status(tree->replicate, &link);
	cache_status(tree->cache, &cache);
	json = json_pack("{s:s, s:s, s:o, s:s, s:b, s:s, s:s}",
			 "name", config->name, "export", config->export, "upstream", url(config->upstream),
			 "cache", config->cache, "read_only", config->is_read_only,
			 "squash", key_squash_names[config->squash],
			 "durability", config->durability == DURABILITY_SYNC ? "sync" : "async");
	if (!json)
		return NULL;
	if (json_object_update_new(json, json_pack("{s:s, s:I, s:o, s:o, s:I, s:b, s:I, s:I, s:I, s:I, s:I}",
			"state", link_state_name(link.state), "since_s", number(link.since_s),
			"reason", status_text(link.reason), "held", status_text(link.held),
			"probe_in_s", number(link.probe_in_s), "replaying", link.is_replaying,
			"replayed_records", number(link.replay_records),
			"replayed_bytes", number(link.replay_bytes), "fetched_bytes", number(link.fetch_bytes),
			"requests", number(link.requests), "failures", number(link.failures))) ||
	    json_object_update_new(json, json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			"link", key_link_names[link.kind], "waits_for", status_text(link.waits),
			"round_trip_us", number(link.round_trip_us), "up_rate", number(link.up_rate),
			"down_rate", number(link.down_rate), "up_limit", number(link.up_limit),
			"down_limit", number(link.down_limit), "sent_bytes", number(link.sent_bytes), "aging_window_s", (json_int_t)config->aging_window_s)) ||
	    json_object_update_new(json, json_pack("{s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
			"position", number(cache.position), "upstream_position", number(link.upstream_position),
			"upstream_id", status_text(cache.upstream_id),
			"records", number(cache.cml.records), "bytes", number(cache.cml.bytes),
			"oldest_s", number(cache.cml.oldest_s), "conflicts", number(cache.cml.conflicts),
			"objects", number(cache.inodes), "contents", number(cache.objects),
			"content_bytes", number(cache.content_bytes),
			"failure", cache.is_failed ? status_text(cache.failure) : status_text(""))) ||
	    json_object_update_new(json, json_pack("{s:o, s:o}", "space", status_space_json(tree),
			"hoard", status_hoard_json(tree))) ||
	    json_object_update_new(json, json_pack("{s:o, s:i, s:b}", "asks", doubt_json(&link.doubt), "opened", (int)opened,
			"adopt_failed", adopt->err != 0))) {
		json_decref(json);
		return NULL;
	}
	return json;
}

static json_t *procedures_json(const struct nfsd_stats *stats)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < NFSD_PROCS; i++) {
		const struct nfsd_proc_stats *proc = &stats->proc[i];

		if (!proc->name || !proc->calls)
			continue;
		(void)json_array_append_new(array, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}",	/* or it is missing */
				"program", proc->program, "name", proc->name, "calls", number(proc->calls),
				"errors", number(proc->errors), "total_us", number(proc->total_us),
				"max_us", number(proc->max_us)));
	}
	return array;
}

/* [the largest latency of the bucket, how many], for those that are not empty. */
static json_t *latency_json(const uint64_t *buckets)
{
	json_t *array = json_array();

	for (unsigned i = 0; array && i < HISTOGRAM_BUCKETS; i++)
		if (buckets[i])
			(void)json_array_append_new(array, json_pack("[I, I]",	/* or it is missing */
					number(histogram_top(i)), number(buckets[i])));
	return array;
}

static json_t *figures_json(const uint64_t *figures, size_t n, const char *(*name)(size_t i))
{
	json_t *object = json_object();

	for (size_t i = 0; object && i < n; i++)
		/* or it is missing */
		(void)json_object_set_new(object, name(i), json_integer(number(figures[i])));
	return object;
}

static const char *where_name(size_t i)
{
	return nfsd_where_name((enum nfsd_where)i);
}

static const char *error_name(size_t i)
{
	return nfsd_error_name((enum nfsd_error)i);
}

static json_t *call_json(const struct nfsd_proc_stats *proc)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
			 "program", proc->program, "name", proc->name, "calls", number(proc->calls),
			 "errors", number(proc->errors),
			 "error_kinds", figures_json(proc->error, NFSD_ERRORS, error_name),
			 "bytes_in", number(proc->bytes_in), "bytes_out", number(proc->bytes_out),
			 "total_us", number(proc->total_us),
			 "p50_us", number(histogram_percentile(proc->latency, 500, proc->max_us)),
			 "p90_us", number(histogram_percentile(proc->latency, 900, proc->max_us)),
			 "p99_us", number(histogram_percentile(proc->latency, 990, proc->max_us)),
			 "max_us", number(proc->max_us),
			 "where_us", figures_json(proc->where_us, NFSD_WHERES, where_name),
			 "latency", latency_json(proc->latency));
}

static json_t *calls_json(const struct nfsd_stats *stats, unsigned slow_call_ms)
{
	uint64_t now_us = clock_us();
	json_t *array = json_array(), *slowest = NULL;

	for (size_t i = 0; array && i < NFSD_PROCS; i++)
		if (stats->proc[i].calls)
			(void)json_array_append_new(array, call_json(&stats->proc[i]));	/* or it is missing */
	if (stats->slowest_us)
		slowest = json_pack("{s:s, s:s, s:I, s:I}",
				    "program", stats->proc[stats->slowest_row].program,
				    "name", stats->proc[stats->slowest_row].name,
				    "us", number(stats->slowest_us),
				    "ago_s", number((now_us - MIN(stats->slowest_at_us, now_us)) / US_PER_S));
	return json_pack("{s:I, s:f, s:I, s:i, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
			 "at_us", number(now_us), "per_s", (double)stats->recent / NFSD_RECENT_S,
			 "slow", number(stats->slow), "slow_call_ms", (int)slow_call_ms,
			 "under_way", number(stats->calls_under_way), "pauses", number(stats->pauses),
			 "put_off", number(stats->put_off), "duplicates", number(stats->duplicates),
			 "bad", number(stats->bad_calls), "slowest", slowest ? slowest : json_null(),
			 "procedures", array);
}

static json_t *nfs_json(const struct nfsd_stats *stats)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
			 "connections", number(stats->connections),
			 "calls_under_way", number(stats->calls_under_way),
			 "accepted", number(stats->accepted), "refused", number(stats->refused),
			 "dropped", number(stats->dropped), "bytes_in", number(stats->bytes_in),
			 "bytes_out", number(stats->bytes_out), "duplicates", number(stats->duplicates),
			 "bad_calls", number(stats->bad_calls), "procedures", procedures_json(stats));
}

static void warn(json_t *warnings, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void warn(json_t *warnings, const char *format, ...)
{
	AUTO_FREE char *line = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&line, format, args) < 0)
		line = NULL;
	va_end(args);
	if (line)
		(void)json_array_append_new(warnings, status_text(line));	/* or it is missing */
}

static json_t *mounts_json(struct daemon *daemon, json_t *warnings)
{
	json_t *mounts = json_array();

	pthread_mutex_lock(&daemon->lock);
	for (size_t i = 0; i < daemon->mounts.n; i++) {
		const struct mount *mount = &daemon->mounts.v[i];

		(void)json_array_append_new(mounts, json_pack("{s:o, s:o, s:b}", "point", status_text(mount->point),
				"export", status_text(mount->export), "local_lock", mount->is_local_lock));
		if (!mount->is_local_lock)
			warn(warnings, "%s is mounted without nolock: programs that lock files there "
			     "hang for ever; unmount it and mount it again with -o nolock "
			     "(nfsmount.conf.d/izo.conf does that)", mount->point);
	}
	pthread_mutex_unlock(&daemon->lock);
	return mounts;
}

json_t *status_json(struct daemon *daemon, const struct daemon_tree *only)
{
	const struct config *config = daemon->config;
	json_t *trees = json_array(), *warnings = json_array(), *mounts;
	char listen[64], debug[LOG_TRACE_TEXT];
	struct nfsd_stats stats;

	(void)snprintf(listen, sizeof(listen), strchr(config->listen_addr, ':') ? "[%s]:%u" : "%s:%u",
		       config->listen_addr, nfsd_port(daemon->nfsd));
	for (size_t i = 0; i < config->n_trees; i++)
		if (!only || only == &daemon->trees[i])
			(void)json_array_append_new(trees, tree_json(&daemon->trees[i], daemon->opened, &daemon->adopts[i]));
	if (json_array_size(trees) != (only ? 1 : config->n_trees)) {
		json_decref(trees);
		json_decref(warnings);
		return NULL;
	}
	mounts = mounts_json(daemon, warnings);
	if (!daemon->is_io_flusher)
		warn(warnings, "the kernel did not take the daemon for one that writes pages out "
		     "(PR_SET_IO_FLUSHER, needs CAP_SYS_RESOURCE): with little memory and much "
		     "writing the mount may hang");
	if (!daemon->is_locked)
		warn(warnings, "the daemon's memory may be swapped out (mlockall, needs CAP_IPC_LOCK and "
		     "RLIMIT_MEMLOCK): with little memory the mount may hang");
	nfsd_get_stats(daemon->nfsd, &stats);
	return json_pack("{s:i, s:s, s:I, s:I, s:s, s:b, s:b, s:s, s:o, s:o, s:o, s:o, s:o}",
			 "format", STATUS_FORMAT, "version", IZO_VERSION, "pid", (json_int_t)getpid(),
			 "uptime_s", number((clock_us() - daemon->started_us) / US_PER_S), "listen", listen,
			 "io_flusher", daemon->is_io_flusher, "memory_locked", daemon->is_locked,
			 "debug", log_trace_text(debug), "trees", trees, "mounts", mounts, "nfs", nfs_json(&stats),
			 "calls", calls_json(&stats, config->slow_call_ms), "warnings", warnings);
}

/* ---- conflicts ---- */

struct listing {
	json_t *array;
	const char *tree;
};

static void add_conflict(void *arg, const struct cml_conflict *conflict)
{
	struct listing *listing = arg;

	(void)json_array_append_new(listing->array, json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}",	/* or it is missing */
			"tree", listing->tree, "id", number(conflict->id), "when_s", (json_int_t)conflict->when_s,
			"path", status_text(conflict->path), "what", status_text(conflict->what), "merge", status_text(conflict->merge)));
}

json_t *status_conflicts_json(const struct daemon *daemon, const struct daemon_tree *only)
{
	struct listing listing = { .array = json_array() };

	for (size_t i = 0; listing.array && i < daemon->config->n_trees; i++) {
		const struct daemon_tree *tree = &daemon->trees[i];

		if (only && only != tree)
			continue;
		listing.tree = tree->config->name;
		if (cml_conflicts(tree->cache, add_conflict, &listing)) {
			json_decref(listing.array);
			return NULL;
		}
	}
	return listing.array;
}

/* ---- the log ---- */

static const char *stage_name(enum cml_stage stage)
{
	switch (stage) {
	case CML_IS_OUT:
		return "being sent";
	case CML_IS_FIXED:
		return "sent, not answered";
	case CML_STANDS_ASIDE:
		return "its content goes ahead, others pass it";
	case CML_WAITS:
		break;
	}
	return "waiting";
}

static json_t *set_json(uint32_t set)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {
		{ KML_SET_MODE, "mode" }, { KML_SET_UID, "uid" }, { KML_SET_GID, "gid" },
		{ KML_SET_ATIME, "atime" }, { KML_SET_MTIME, "mtime" }, { KML_SET_FORWARD, "mtime, of names that are gone" },
	};
	json_t *array = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (set & names[i].bit)
			(void)json_array_append_new(array, json_string(names[i].name));	/* or it is missing */
	return array;
}

static void add_entry(void *arg, const struct cml_entry *entry)
{
	json_t *one = json_pack("{s:I, s:s, s:I, s:I, s:o, s:s}", "seq", number(entry->seq), "op", kml_op_name(entry->op),
				"when_s", (json_int_t)entry->when_s, "uid", (json_int_t)entry->uid,
				"path", status_text(entry->path), "stage", stage_name(entry->stage));

	/* What cannot be set, for want of memory, is missing. */
	if (entry->op == KML_STORE)
		(void)json_object_set_new(one, "bytes", json_integer((json_int_t)entry->bytes));
	if (entry->op == KML_SETATTR)
		(void)json_object_set_new(one, "set", set_json(entry->set));
	if (*entry->to)
		(void)json_object_set_new(one, "to", status_text(entry->to));
	(void)json_array_append_new(arg, one);
}

json_t *status_log_json(const struct daemon_tree *tree, uint64_t after, unsigned most)
{
	json_t *array = json_array();

	if (!array || !cml_list(tree->cache, after, most, add_entry, array))
		return array;
	json_decref(array);
	return NULL;
}
