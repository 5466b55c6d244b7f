/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/page_cache.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include "base/mem.h"

/* What SQLite sees as its sqlite3_pcache. */
struct page_cache {
	sqlite3_pcache *inner;
	unsigned last;			/* the highest number that a page was fetched by; what xRekey gives is taken back, or lower */
};

static sqlite3_pcache_methods2 own;	/* SQLite's */

static struct page_cache *cache_of(sqlite3_pcache *cache)
{
	return (struct page_cache *)cache;
}

static sqlite3_pcache *inner_of(sqlite3_pcache *cache)
{
	return cache_of(cache)->inner;
}

static sqlite3_pcache *page_cache_create(int page_size, int extra_size, int is_purgeable)
{
	struct page_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	cache->inner = own.xCreate(page_size, extra_size, is_purgeable);
	if (cache->inner)
		return (sqlite3_pcache *)cache;
	free(cache);
	return NULL;
}

static void page_cache_destroy(sqlite3_pcache *cache)
{
	own.xDestroy(inner_of(cache));
	free(cache);
}

static void page_cache_size(sqlite3_pcache *cache, int n_pages)
{
	own.xCachesize(inner_of(cache), n_pages);
}

static int page_cache_count(sqlite3_pcache *cache)
{
	return own.xPagecount(inner_of(cache));
}

static sqlite3_pcache_page *page_cache_fetch(sqlite3_pcache *cache, unsigned key, int create)
{
	if (create)
		cache_of(cache)->last = MAX(cache_of(cache)->last, key);
	return own.xFetch(inner_of(cache), key, create);
}

static void page_cache_unpin(sqlite3_pcache *cache, sqlite3_pcache_page *page, int discard)
{
	own.xUnpin(inner_of(cache), page, discard);
}

static void page_cache_rekey(sqlite3_pcache *cache, sqlite3_pcache_page *page, unsigned from, unsigned to)
{
	own.xRekey(inner_of(cache), page, from, to);
}

static void page_cache_truncate(sqlite3_pcache *cache, unsigned limit)
{
	if (cache_of(cache)->last < limit)
		return;
	own.xTruncate(inner_of(cache), limit);
	cache_of(cache)->last = limit ? limit - 1 : 0;
}

static void page_cache_shrink(sqlite3_pcache *cache)
{
	own.xShrink(inner_of(cache));
}

static void install(void)
{
	sqlite3_pcache_methods2 methods;

	if (sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &own) != SQLITE_OK)
		return;
	methods = own;
	methods.xCreate = page_cache_create;
	methods.xDestroy = page_cache_destroy;
	methods.xCachesize = page_cache_size;
	methods.xPagecount = page_cache_count;
	methods.xFetch = page_cache_fetch;
	methods.xUnpin = page_cache_unpin;
	methods.xRekey = page_cache_rekey;
	methods.xTruncate = page_cache_truncate;
	methods.xShrink = page_cache_shrink;
	(void)sqlite3_config(SQLITE_CONFIG_PCACHE2, &methods);	/* fails when SQLite is in use already */
}

void page_cache_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, install);	/* cannot fail */
}
