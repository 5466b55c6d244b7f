/* SPDX-License-Identifier: GPL-2.0-or-later */
/* digest_fixture: a cache whose contents come to rest, are altered behind its back, and are checked. */
#ifndef TESTS_DIGEST_FIXTURE_H
#define TESTS_DIGEST_FIXTURE_H

#include "tests/unit/fetch_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "cache/check.h"
#include "cache/digester.h"
#include "cache/evict.h"

struct told {
	char text[20000];
	unsigned n[3];
};

static UNUSED void take_text(void *arg, enum check_kind kind, const char *text)
{
	struct told *told = arg;
	size_t len = strlen(told->text);

	told->n[kind]++;
	snprintf(told->text + len, sizeof(told->text) - len, "%s\n", text);
}

/* Of a cache that is closed. */
static UNUSED struct check_result checked(struct fixture *f, bool repair, struct told *told)
{
	struct check_config config = { .dir = f->dir, .repair = repair, .found = take_text, .arg = told };
	struct check_result result;
	char *why;

	memset(told, 0, sizeof(*told));
	if (cache_check(&config, &result, &why))
		fail_msg("not checked: %s", why ? why : "");
	return result;
}

static UNUSED void assert_sound(struct fixture *f)
{
	struct told told;
	struct check_result result = checked(f, false, &told);

	if (result.damage)
		fail_msg("not sound:\n%s", told.text);
}

static UNUSED void object_path(struct fixture *f, uint64_t ino, char path[160])
{
	snprintf(path, 160, "%s/objects/%02x/%llu.%lld", f->dir, (unsigned)(ino % 256), (unsigned long long)ino,
		 (long long)inode_column(f, ino, "gen"));
}

static const bool not_stopping;

static UNUSED void evict_all(struct test *t)
{
	struct evict evict_args = { .cache = t->f.cache, .need = 1ull << 40, .priority = 1, .is_stopping = &not_stopping };
	char path[128];

	snprintf(path, sizeof(path), "%s/cache.db", t->f.dir);
	assert_int_equal(db_open(path, DB_READER, false, &evict_args.db), 0);
	assert_int_equal(evict(&evict_args), 0);
	db_close(evict_args.db);
}

#endif
