/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nfsd/internal.h"
#include "nfsd/mount3.h"
#include "nfsd/nfs3.h"
#include "nfsd/nfsacl3.h"

static void name_procs(struct nfsd_stats *stats, const struct rpc_program *program)
{
	for (uint32_t i = 0; i < program->n_procs; i++) {
		struct nfsd_proc_stats *proc = &stats->proc[program->first_stats + i];

		proc->program = program->name;
		proc->name = program->procs[i].name;
	}
}

void stats_init(struct nfsd_stats *stats)
{
	name_procs(stats, &nfs3_program);
	name_procs(stats, &mount3_program);
	name_procs(stats, &nfsacl3_program);
}

static unsigned bucket_of(uint64_t us)
{
	unsigned bucket = us < 2 ? 0 : 63 - (unsigned)__builtin_clzll(us);

	return MIN(bucket, NFSD_LATENCY_BUCKETS - 1);
}

void stats_call(struct nfsd_proc_stats *proc, uint64_t us, bool is_ok)
{
	stat_add(&proc->calls, 1);
	if (!is_ok)
		stat_add(&proc->errors, 1);
	stat_add(&proc->total_us, us);
	if (us > proc->max_us)
		stat_set(&proc->max_us, us);
	stat_add(&proc->latency[bucket_of(us)], 1);
}

static uint64_t stat_get(const uint64_t *figure)
{
	return __atomic_load_n(figure, __ATOMIC_RELAXED);
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
	for (size_t i = 0; i < NFSD_PROCS; i++) {
		const struct nfsd_proc_stats *from = &stats->proc[i];
		struct nfsd_proc_stats *to = &ret->proc[i];

		to->program = from->program;	/* constant after start */
		to->name = from->name;
		to->calls = stat_get(&from->calls);
		to->errors = stat_get(&from->errors);
		to->total_us = stat_get(&from->total_us);
		to->max_us = stat_get(&from->max_us);
		for (size_t b = 0; b < NFSD_LATENCY_BUCKETS; b++)
			to->latency[b] = stat_get(&from->latency[b]);
	}
}
