/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/torture/trace.h"

#define PLACES 3		/* the last ones */
#define PLACE_LEN 32

static struct content {
	int by;
	unsigned blocks, written_at, superseded_at;	/* steps */
	int superseded_by;
	bool is_acknowledged, is_superseded, is_found;
	char how[48];					/* it was superseded */
	char places[PLACES][PLACE_LEN];
	unsigned n_places;				/* ever */
} *contents;
static unsigned n_contents = 1, cap;			/* number 0 is none */

unsigned ledger_new(int by, unsigned blocks)
{
	if (n_contents >= cap) {
		cap = cap ? 2 * cap : 1024;
		contents = realloc(contents, cap * sizeof(*contents));
		if (!contents)
			trace_fail("no memory");
	}
	contents[n_contents] = (struct content){ .by = by, .blocks = blocks, .written_at = trace_now() };
	return n_contents++;
}

size_t ledger_size(unsigned content)
{
	return (size_t)contents[content].blocks * LEDGER_BLOCK;
}

int ledger_writer(unsigned content)
{
	return contents[content].by;
}

static void block_of(unsigned content, char block[LEDGER_BLOCK + 1])
{
	char text[64];
	int n = snprintf(text, sizeof(text), "#%06u by %d, %7u blocks   \n", content, contents[content].by, contents[content].blocks);

	if (n != LEDGER_BLOCK)
		trace_fail("too many contents");
	memcpy(block, text, LEDGER_BLOCK + 1);
}

char *ledger_bytes(unsigned content)
{
	size_t size = ledger_size(content);
	char *bytes = malloc(size + 1), block[LEDGER_BLOCK + 1];

	if (!bytes)
		trace_fail("no memory");
	block_of(content, block);
	for (size_t i = 0; i < size; i += LEDGER_BLOCK)
		memcpy(bytes + i, block, LEDGER_BLOCK);
	return bytes;
}

void ledger_acknowledged(unsigned content)
{
	contents[content].is_acknowledged = true;
}

void ledger_superseded(unsigned content, int by, const char *how)
{
	struct content *c = &contents[content];

	if (content == LEDGER_NONE || c->is_superseded)
		return;
	c->is_superseded = true;
	c->superseded_by = by;
	c->superseded_at = trace_now();
	(void)snprintf(c->how, sizeof(c->how), "%s", how);
}

void ledger_placed(unsigned content, const char *path)
{
	struct content *c = &contents[content];

	if (content == LEDGER_NONE)
		return;
	if (strlen(path) >= PLACE_LEN)
		trace_fail("%s: the path is too long", path);
	(void)strcpy(c->places[c->n_places++ % PLACES], path);
}

static bool is_at(const struct content *c, const char *path)
{
	for (unsigned i = 0; i < PLACES; i++)
		if (!strcmp(c->places[i], path))
			return true;
	return false;
}

void ledger_superseded_at(const char *path, int by, const char *how)
{
	for (unsigned i = 1; i < n_contents; i++) {
		const struct content *c = &contents[i];

		if (c->is_superseded || c->by == by || !is_at(c, path))
			continue;
		trace("%d: #%06u %s", by, i, how);
		ledger_superseded(i, by, how);
	}
}

unsigned ledger_read(const void *bytes, size_t len, const char *where)
{
	char block[LEDGER_BLOCK + 1];
	unsigned content;

	if (!len)
		return LEDGER_NONE;
	if (len < LEDGER_BLOCK || sscanf(bytes, "#%6u by", &content) != 1 || !content || content >= n_contents)
		trace_fail("%s begins with what nobody has written: \"%.*s\"", where, LEDGER_BLOCK, (const char *)bytes);
	block_of(content, block);
	if (memcmp(bytes, block, LEDGER_BLOCK))
		trace_fail("%s begins with what nobody has written: \"%.*s\"", where, LEDGER_BLOCK, (const char *)bytes);
	return content;
}

bool ledger_is_piece(unsigned content, const void *bytes, size_t len)
{
	char block[LEDGER_BLOCK + 1];

	if (len > ledger_size(content))
		return false;
	block_of(content, block);
	for (size_t i = 0; i < len; i++)
		if (((const char *)bytes)[i] != block[i % LEDGER_BLOCK])
			return false;
	return true;
}

void ledger_found(unsigned content)
{
	contents[content].is_found = true;
}

unsigned ledger_missing(void)
{
	unsigned missing = 0;

	for (unsigned i = 1; i < n_contents; i++) {
		const struct content *c = &contents[i];

		if (!c->is_acknowledged || c->is_superseded || c->is_found)
			continue;
		trace_found("content #%06u, written by %d in step %u, is nowhere, and nobody who had seen it has replaced or removed it", i,
			    c->by, c->written_at);
		missing++;
	}
	return missing;
}

void ledger_forget_found(void)
{
	for (unsigned i = 1; i < n_contents; i++)
		contents[i].is_found = false;
}
