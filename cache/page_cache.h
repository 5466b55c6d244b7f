/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * page_cache: SQLite's memory for pages, without a flaw of its.
 *
 * At the end of each transaction SQLite tells its page cache to forget pages beyond the database's end.  The cache looks for some
 * only if one has ever had such a number; but balancing a tree gives pages a number beyond any end for a moment (SQLite 3.39
 * and later, balance_nonroot()), after which each commit goes through all of the cache: a quarter of the writer's time.
 * This passes every call on to SQLite's own page cache, but for the ones that find nothing.
 */
#ifndef CACHE_PAGE_CACHE_H
#define CACHE_PAGE_CACHE_H

/* Before SQLite is used for the first time in this process; later it does nothing, and things are slower.  Any thread. */
void page_cache_install(void);

#endif
