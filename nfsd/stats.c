/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nfsd/stats.h"

#include <errno.h>
#include <inttypes.h>
#include "base/clock.h"
#include "nfsd/internal.h"
#include "nfsd/nfs3.h"
#include "rpcgen/nfs3.h"

#define SLOW_LINES 10			/* of slow calls, a minute */

static const char *const where_names[NFSD_WHERES] = {
	[NFSD_RECEIVE] = "receive", [NFSD_QUEUE] = "queue", [NFSD_RUN] = "run",
	[NFSD_COMMIT] = "commit", [NFSD_FETCH] = "fetch", [NFSD_SEND] = "send",
};

static const char *const error_names[NFSD_ERRORS] = {
	[NFSD_ERROR_MISSING] = "missing", [NFSD_ERROR_DENIED] = "denied", [NFSD_ERROR_REFUSED] = "refused",
	[NFSD_ERROR_SPACE] = "space", [NFSD_ERROR_IO] = "io",
};

const char *nfsd_where_name(enum nfsd_where where)
{
	return where_names[where];
}

const char *nfsd_error_name(enum nfsd_error error)
{
	return error_names[error];
}

enum nfsd_error stats_error_kind(int err)
{
	switch (nfs3_status(err)) {
	case NFS3ERR_NOENT:
	case NFS3ERR_STALE:
	case NFS3ERR_BADHANDLE:
		return NFSD_ERROR_MISSING;
	case NFS3ERR_PERM:
	case NFS3ERR_ACCES:
	case NFS3ERR_ROFS:
		return NFSD_ERROR_DENIED;
	case NFS3ERR_NOSPC:
	case NFS3ERR_DQUOT:
	case NFS3ERR_FBIG:
		return NFSD_ERROR_SPACE;
	case NFS3ERR_IO:
	case NFS3ERR_SERVERFAULT:
		return NFSD_ERROR_IO;
	default:
		return NFSD_ERROR_REFUSED;
	}
}

/* ---- counting: the loop's thread ---- */

void stats_init(struct nfsd_stats *stats)
{
	for (size_t i = 0; i < RPC_PROGRAMS; i++) {
		const struct rpc_program *program = rpc_programs[i];

		for (uint32_t k = 0; k < program->n_procs; k++) {
			stats->proc[program->first_stats + k].program = program->name;
			stats->proc[program->first_stats + k].name = program->procs[k].name;
		}
	}
}

static void count_recent(struct stats_recent *recent, uint64_t second)
{
	unsigned i = second % STATS_SECONDS;

	if (recent->second[i] != second) {
		stat_set(&recent->calls[i], 0);
		stat_set(&recent->second[i], second);
	}
	stat_add(&recent->calls[i], 1);
}

void stats_call(struct nfsd *nfsd, const struct call_figures *call, uint32_t bytes_in, uint32_t bytes_out, bool is_ok)
{
	struct nfsd_proc_stats *proc = &nfsd->stats.proc[call->row];
	uint64_t us = call->where_us[NFSD_QUEUE] + call->where_us[NFSD_RUN] + call->where_us[NFSD_COMMIT] +
		      call->where_us[NFSD_FETCH];

	stat_add(&proc->calls, 1);
	stat_add(&proc->bytes_in, bytes_in);
	stat_add(&proc->bytes_out, bytes_out);
	if (!is_ok) {
		stat_add(&proc->errors, 1);
		stat_add(&proc->error[stats_error_kind(call->err)], 1);
	}
	stat_add(&proc->total_us, us);
	stat_add(&proc->latency[histogram_bucket(us)], 1);
	/* RUN is what remains: nfsd_get_stats() */
	for (unsigned i = 0; i < NFSD_WHERES; i++)
		if (i != NFSD_RUN && call->where_us[i])
			stat_add(&proc->where_us[i], call->where_us[i]);
	if (us > proc->max_us) {
		stat_set(&proc->max_us, us);
		if (us > nfsd->stats.slowest_us) {
			stat_set(&nfsd->stats.slowest_us, us);
			stat_set(&nfsd->stats.slowest_at_us, call->ready_us);
			stat_set(&nfsd->stats.slowest_row, call->row);
		}
	}
	count_recent(&nfsd->recent, call->ready_us / US_PER_S);
}

static uint64_t ms(uint64_t us)
{
	return (us + US_PER_MS / 2) / US_PER_MS;
}

static void say_slow(struct nfsd *nfsd, const struct call_figures *call, uint64_t us, const char *peer)
{
	const struct nfsd_proc_stats *proc = &nfsd->stats.proc[call->row];
	const uint64_t *where_us = call->where_us;
	unsigned held;

	if (!log_gate_open_n(&nfsd->slow_gate, 60, SLOW_LINES, &held))
		return;
	log_warn("slow call: %s %s took %" PRIu64 " ms: receive=%" PRIu64 " queue=%" PRIu64 " run=%" PRIu64
		 " commit=%" PRIu64 " fetch=%" PRIu64 " send=%" PRIu64 " ino=%" PRIu64
		 " err=%d xid=%08x peer=%s held_back=%u", proc->program, proc->name, ms(us),
		 ms(where_us[NFSD_RECEIVE]), ms(where_us[NFSD_QUEUE]), ms(where_us[NFSD_RUN]),
		 ms(where_us[NFSD_COMMIT]), ms(where_us[NFSD_FETCH]), ms(where_us[NFSD_SEND]), call->ino,
		 call->err, call->xid, peer, held);
}

void stats_sent(struct nfsd *nfsd, struct call_figures *call, uint64_t now_us, const char *peer)
{
	struct nfsd_proc_stats *proc = &nfsd->stats.proc[call->row];
	uint64_t us = 0;

	if (now_us > call->ready_us) {
		call->where_us[NFSD_SEND] = now_us - call->ready_us;
		stat_add(&proc->where_us[NFSD_SEND], call->where_us[NFSD_SEND]);
	}
	if (!nfsd->slow_call_us)
		return;
	for (unsigned i = 0; i < NFSD_WHERES; i++)
		us += call->where_us[i];
	if (us < nfsd->slow_call_us)
		return;
	say_slow(nfsd, call, us, peer);
	stat_add(&nfsd->stats.slow, 1);		/* behind it: who sees the figure finds the line */
}

/* ---- reading: any thread ---- */

static uint64_t stat_get(const uint64_t *figure)
{
	return __atomic_load_n(figure, __ATOMIC_RELAXED);
}

static void get_all(const uint64_t *from, uint64_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = stat_get(&from[i]);
}

static void get_proc(const struct nfsd_proc_stats *from, struct nfsd_proc_stats *to)
{
	uint64_t waited_us;

	to->program = from->program;
	to->name = from->name;
	to->calls = stat_get(&from->calls);
	to->errors = stat_get(&from->errors);
	get_all(from->error, to->error, NFSD_ERRORS);
	to->bytes_in = stat_get(&from->bytes_in);
	to->bytes_out = stat_get(&from->bytes_out);
	get_all(from->where_us, to->where_us, NFSD_WHERES);
	to->total_us = stat_get(&from->total_us);
	to->max_us = stat_get(&from->max_us);
	get_all(from->latency, to->latency, HISTOGRAM_BUCKETS);
	waited_us = to->where_us[NFSD_QUEUE] + to->where_us[NFSD_COMMIT] + to->where_us[NFSD_FETCH];
	to->where_us[NFSD_RUN] = to->total_us - MIN(waited_us, to->total_us);
}

static uint64_t get_recent(const struct stats_recent *recent, uint64_t now_s)
{
	uint64_t calls = 0;

	for (unsigned i = 0; i < STATS_SECONDS; i++) {
		uint64_t second = stat_get(&recent->second[i]);

		if (second < now_s && second + NFSD_RECENT_S >= now_s)
			calls += stat_get(&recent->calls[i]);
	}
	return calls;
}

void nfsd_get_stats(const struct nfsd *nfsd, struct nfsd_stats *ret)
{
	const struct nfsd_stats *stats = &nfsd->stats;

	ret->connections = stat_get(&stats->connections);
	ret->calls_under_way = stat_get(&stats->calls_under_way);
	ret->accepted = stat_get(&stats->accepted);
	ret->refused = stat_get(&stats->refused);
	ret->dropped = stat_get(&stats->dropped);
	ret->bytes_in = stat_get(&stats->bytes_in);
	ret->bytes_out = stat_get(&stats->bytes_out);
	ret->duplicates = stat_get(&stats->duplicates);
	ret->bad_calls = stat_get(&stats->bad_calls);
	ret->pauses = stat_get(&stats->pauses);
	ret->put_off = stat_get(&stats->put_off);
	ret->slow = stat_get(&stats->slow);
	ret->recent = get_recent(&nfsd->recent, clock_us() / US_PER_S);
	ret->slowest_us = stat_get(&stats->slowest_us);
	ret->slowest_at_us = stat_get(&stats->slowest_at_us);
	ret->slowest_row = stat_get(&stats->slowest_row);
	for (size_t i = 0; i < NFSD_PROCS; i++)
		get_proc(&stats->proc[i], &ret->proc[i]);
}
