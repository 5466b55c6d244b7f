/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/checks.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <limits.h>
#include <xxhash.h>
#include "base/clock.h"
#include "tests/torture/acts.h"
#include "tests/torture/ledger.h"
#include "tests/torture/private.h"
#include "tests/torture/trace.h"
#include "tests/torture/tree.h"
#include "tests/torture/world.h"

#define SETTLE_MOST 4		/* of each client, in one round */

static const char *const sides[CLIENTS] = { "ann sees", "bob sees", "cat sees" };

/* ---- 1: all come to the same ---- */

struct states {
	json_int_t position, records;
	bool is_busy;
};

static struct states states_of(int c)
{
	json_t *status = world_ask(c, "--status"), *tree = json_array_get(json_object_get(status, "trees"), 0);
	struct states states = {
		.position = json_integer_value(json_object_get(tree, "position")),
		.records = json_integer_value(json_object_get(tree, "records")),
		.is_busy = json_is_true(json_object_get(tree, "replaying")),
	};

	trace("%d: %s, position %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " records, held: %s", c,
	      json_string_value(json_object_get(tree, "state")), states.position,
	      json_integer_value(json_object_get(tree, "upstream_position")), states.records,
	      json_string_value(json_object_get(tree, "held")));
	json_decref(status);
	return states;
}

static bool are_drained(void)
{
	struct states first = { 0 };

	for (int c = 0; c < CLIENTS; c++)
		if (!world_sync(c))
			return false;
	for (int c = 0; c < CLIENTS; c++) {
		struct states states = states_of(c);

		if (!c)
			first = states;
		if (states.records || states.is_busy || states.position != first.position)
			return false;
	}
	return true;
}

/* is_last: what differs is told. */
static bool are_equal(struct tree *up, bool is_last)
{
	bool is_equal = true;

	tree_release(up);
	tree_scan_local(world_export(), up);
	for (int c = 0; c < CLIENTS && (is_equal || is_last); c++) {
		struct tree mount = { 0 };
		char path[PATH_MAX];
		int status = tree_scan_nfs(world_nfs(c), &mount, path);

		if (status) {
			trace("%d: cannot read all: %s: %s", c, path, nfsstat3_to_str(status));
			is_equal = false;
		} else if (!tree_is_equal(up, &mount, "", is_last ? (const char *[2]){ "export has", sides[c] } : NULL)) {
			is_equal = false;
		}
		tree_release(&mount);
	}
	return is_equal;
}

static void converge(struct tree *up)
{
	uint64_t end_us = clock_us() + CHECKS_CONVERGE_S * US_PER_S;

	world_mend();
	for (int c = 0; c < CLIENTS; c++)
		if (world_was_killed(c))
			private_recovered(c);
	while (!are_drained() || !are_equal(up, false)) {
		if (clock_us() > end_us) {
			(void)are_equal(up, true);
			trace_fail("not all come to the same in %d s", CHECKS_CONVERGE_S);
		}
		(void)usleep(100000);
	}
	for (int c = 0; c < CLIENTS; c++)
		private_committed(c);
}

/* ---- 2: what is one's own ---- */

static void check_private(const struct tree *up)
{
	bool is_equal = true;

	for (int c = 0; c < CLIENTS; c++) {
		struct tree model = { 0 };
		char prefix[16];

		(void)snprintf(prefix, sizeof(prefix), "p%d/", c);
		private_tree(c, &model);
		is_equal &= tree_is_equal(&model, up, prefix, (const char *[2]){ "should be", "export has" });
		tree_release(&model);
	}
	if (!is_equal)
		trace_fail("what a client alone has done is not there as he was told");
}

/* ---- 3: the ledger ---- */

static void find_content(const struct tree_entry *entry, const char *where)
{
	char place[PATH_MAX];
	unsigned content;
	AUTO_FREE char *bytes = NULL;

	(void)snprintf(place, sizeof(place), "%s: %s", where, entry->path);
	content = ledger_read(entry->head, MIN(entry->size, (uint64_t)TREE_HEAD), place);
	if (content == LEDGER_NONE)
		return;
	bytes = ledger_bytes(content);
	if (entry->size > ledger_size(content) || XXH64(bytes, entry->size, 0) != entry->hash)
		trace_fail("%s is a mixture, or longer than what was written, #%06u", place, content);
	if (entry->size == ledger_size(content))
		ledger_found(content);
}

static void check_ledger(const struct tree *up, const json_t *journal)
{
	ledger_forget_found();
	for (size_t i = 0; i < up->n; i++)
		if (up->v[i].type == 'f' && !strncmp(up->v[i].path, "s/", 2))
			find_content(&up->v[i], "export");
	for (int c = 0; c < CLIENTS; c++) {
		struct tree kept = { 0 };
		char path[PATH_MAX];

		(void)snprintf(path, sizeof(path), "%s/conflicts", world_cache(c));
		tree_scan_local(path, &kept);
		for (size_t i = 0; i < kept.n; i++) {
			const char *name = strrchr(kept.v[i].path, '/');

			if (kept.v[i].type == 'f' && name && strcmp(name, "/about"))
				find_content(&kept.v[i], "kept");
		}
		tree_release(&kept);
	}
	acts_explain(journal);
	if (ledger_missing())
		trace_fail("what was acknowledged is lost");
}

/* ---- 4: the record of conflicts ---- */

static struct tree settled;	/* paths of conflict copies that need not be on record any more */

static bool is_listed(const char *name)
{
	bool is_found = false;

	for (int c = 0; c < CLIENTS && !is_found; c++) {
		json_t *conflicts = world_ask(c, "--conflicts"), *one;
		size_t i;

		/* Of a file with several names the path may be another, and the sentence has this one. */
		json_array_foreach(conflicts, i, one)
			is_found |= strstr(json_string_value(json_object_get(one, "path")), name) ||
				    strstr(json_string_value(json_object_get(one, "what")), name);
		json_decref(conflicts);
	}
	return is_found;
}

static bool is_settled(const char *name)
{
	for (size_t i = 0; i < settled.n; i++)
		if (!strcmp(settled.v[i].path, name))
			return true;
	return false;
}

static void check_conflicts(const struct tree *up)
{
	for (int c = 0; c < CLIENTS; c++) {
		json_t *conflicts = world_ask(c, "--conflicts"), *one;
		size_t i;

		json_array_foreach(conflicts, i, one) {
			const char *path = json_string_value(json_object_get(one, "path"));

			trace("%d: conflict about %s: %s", c, path, json_string_value(json_object_get(one, "what")));
			/* Or it has lost the name by which it was changed here to another, upstream it has more. */
			if (strncmp(path, "/s", 2) && strcmp(path, "(a file that has no name here)"))
				trace_fail("%d is in conflict about %s, where nobody else changes anything", c, path);
		}
		json_decref(conflicts);
	}
	for (size_t i = 0; i < up->n; i++) {
		const struct tree_entry *entry = &up->v[i];
		const char *slash = strrchr(entry->path, '/'), *name = slash ? slash + 1 : entry->path;

		if (entry->type != 'd' && strstr(name, ".conflict-") && !is_settled(name) && !is_listed(name))
			trace_fail("%s is on nobody's record", up->v[i].path);
	}
}

/* ---- 5: once ---- */

static size_t take(char *bytes, size_t one, size_t n, void *arg)
{
	struct { char *text; size_t len; } *to = arg;

	to->text = realloc(to->text, to->len + one * n + 1);
	if (!to->text)
		trace_fail("no memory");
	memcpy(to->text + to->len, bytes, one * n);
	to->len += one * n;
	to->text[to->len] = '\0';
	return one * n;
}

static json_t *journal_from(json_int_t position)
{
	struct { char *text; size_t len; } got = { 0 };
	struct curl_slist *accept = curl_slist_append(NULL, "Accept: application/json");
	CURL *curl = curl_easy_init();
	json_t *page;
	char url[200];

	(void)snprintf(url, sizeof(url), "%sizo/v1/journal?from=%" JSON_INTEGER_FORMAT "&wait=0&max=5000", world_url(), position);
	if (!curl || curl_easy_setopt(curl, CURLOPT_URL, url) || curl_easy_setopt(curl, CURLOPT_HTTPHEADER, accept) ||
	    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take) || curl_easy_setopt(curl, CURLOPT_WRITEDATA, &got) ||
	    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L) || curl_easy_perform(curl))
		trace_fail("the journal cannot be read");
	page = json_loads(got.text ? got.text : "", 0, NULL);
	if (!json_is_array(page))
		trace_fail("the journal is no list: %.200s", got.text);
	curl_easy_cleanup(curl);
	curl_slist_free_all(accept);
	free(got.text);
	return page;
}

static int text_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The journal, all of it, a new reference. */
static json_t *whole_journal(void)
{
	json_t *all = json_array(), *page = NULL;
	json_int_t position = 0;
	size_t n;

	do {
		json_decref(page);
		page = journal_from(position);
		n = json_array_size(page);
		if (n)
			position = json_integer_value(json_object_get(json_array_get(page, n - 1), "position"));
		if (json_array_extend(all, page))
			trace_fail("no memory");
	} while (n);
	json_decref(page);
	return all;
}

static void check_journal(const json_t *journal)
{
	const json_t *one;
	char **ids = NULL;
	size_t n = 0, i;

	json_array_foreach(journal, i, one) {
		AUTO_FREE char *seq = json_dumps(json_object_get(one, "seq"), JSON_ENCODE_ANY);
		AUTO_FREE char *client = json_dumps(json_object_get(one, "client"), JSON_ENCODE_ANY);

		if (!strcmp(seq, "0") || !strcmp(seq, "\"0\""))
			continue;	/* of a local program */
		ids = realloc(ids, (n + 1) * sizeof(*ids));
		if (!ids || asprintf(&ids[n++], "%s %s", client, seq) < 0)
			trace_fail("no memory");
	}
	if (n)
		qsort(ids, n, sizeof(*ids), text_cmp);
	for (i = 1; i < n; i++)
		if (!strcmp(ids[i - 1], ids[i]))
			trace_fail("record %s is twice in the journal", ids[i]);
	trace("the journal has %zu records of clients", n);
	for (i = 0; i < n; i++)
		free(ids[i]);
	free(ids);
}

/* ---- all of it ---- */

static void run(void)
{
	struct tree up = { 0 };
	json_t *journal;

	converge(&up);
	journal = whole_journal();
	check_private(&up);
	check_conflicts(&up);
	check_ledger(&up, journal);
	check_journal(journal);
	json_decref(journal);
	tree_release(&up);
}

void checks_run(void)
{
	run();
	for (int c = 0; c < CLIENTS; c++)
		world_check_cache(c);
}

void checks_settle(struct chance *chance)
{
	static const char *const keeps[] = { "mine", "theirs", "both" };
	unsigned done = 0;
	struct tree up = { 0 };

	for (int c = 0; c < CLIENTS; c++) {
		json_t *conflicts = world_ask(c, "--conflicts"), *one;
		size_t i;

		json_array_foreach(conflicts, i, one) {
			char id[32];

			if (i == SETTLE_MOST)
				break;
			(void)snprintf(id, sizeof(id), "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(one, "id")));
			world_resolve(c, id, keeps[chance_below(chance, ARRAY_SIZE(keeps))]);
			done++;
		}
		json_decref(conflicts);
	}
	/* What is there now and on nobody's record stays so. */
	tree_scan_local(world_export(), &up);
	for (size_t i = 0; i < up.n; i++) {
		const char *slash = strrchr(up.v[i].path, '/'), *name = slash ? slash + 1 : up.v[i].path;

		if (strstr(name, ".conflict-") && !is_settled(name) && !is_listed(name))
			(void)tree_add(&settled, name);
	}
	tree_release(&up);
	if (done)
		run();
}
