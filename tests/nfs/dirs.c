/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dirs PORT [TEST]: READDIR and READDIRPLUS. */
#include "tests/nfs/client.h"

#define MANY 3000

/* The names of a big directory are numbers. */
struct listing {
	unsigned seen[2 * MANY];	/* how often */
	unsigned dots, others;
	uint64_t dir_id, parent_id;
	bool cookies_rise;
	uint64_t last_cookie;
	bool is_plus;
	unsigned without;		/* attributes or handle */
	size_t size, max_size;		/* of one answer in XDR: the entries alone */
	struct fh one;			/* the handle of "17" */
	char names[600][8];		/* of the last answer */
	unsigned n_names;
};

static void list_entry_cb(struct client *c, const char *name, uint64_t fileid, uint64_t cookie,
			  const struct fh *fh, const struct fattr3 *attr)
{
	struct listing *l = c->entry_arg;
	char *end;
	unsigned long n = strtoul(name, &end, 10);

	l->cookies_rise = l->cookies_rise && cookie > l->last_cookie;
	l->last_cookie = cookie;
	l->size += 4 + 8 + 4 + (strlen(name) + 3) / 4 * 4 + 8;
	if (l->is_plus)
		l->size += 4 + (attr ? 84 : 0) + 4 + (fh ? 4 + fh->len : 0);
	l->max_size = MAX(l->max_size, l->size);
	if (l->is_plus && (!fh || !attr || attr->fileid != fileid))
		l->without++;
	if (!strcmp(name, ".")) {
		l->dots++;
		l->dir_id = fileid;
	} else if (!strcmp(name, "..")) {
		l->dots++;
		l->parent_id = fileid;
	} else if (*end || n >= ARRAY_SIZE(l->seen)) {
		l->others++;
	} else {
		l->seen[n]++;
		if (n == 17 && fh)
			l->one = *fh;
		if (l->n_names < ARRAY_SIZE(l->names))
			snprintf(l->names[l->n_names++], sizeof(l->names[0]), "%s", name);
	}
}

static struct listing *list_begin(struct client *c, bool is_plus)
{
	struct listing *l = calloc(1, sizeof(*l));

	if (!l)
		die("memory", "none");
	l->cookies_rise = true;
	l->is_plus = is_plus;
	c->entry = list_entry_cb;
	c->entry_arg = l;
	c->last_cookie = 0;
	c->n_entries = 0;
	return l;
}

/* The next piece. */
static int list_more(struct client *c, struct listing *l, const struct fh *dir, uint32_t count)
{
	l->size = 0;
	l->n_names = 0;
	if (l->is_plus)
		return nfs3_readdirplus(c, dir, c->last_cookie, count, count);
	return nfs3_readdir(c, dir, c->last_cookie, count);
}

static void list_all(struct client *c, struct listing *l, const struct fh *dir, uint32_t count)
{
	do {
		unsigned before = c->n_entries;

		if (!want_is(list_more(c, l, dir, count), NFS3_OK))
			return;
		want(c->got.has_dir_attr);
		if (!want(c->got.is_eof || c->n_entries > before))
			return;
	} while (!c->got.is_eof);
}

static void want_seen(const struct listing *l, unsigned from, unsigned to, unsigned times)
{
	for (unsigned i = from; i < to; i++) {
		if (!want_is(l->seen[i], times)) {
			printf("# the name %u\n", i);
			return;
		}
	}
}

static void fill(struct client *c, const struct fh *dir, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		made_file(c, dir, name, 0644);
	}
}

static void an_empty_directory(struct client *c)
{
	for (int is_plus = 0; is_plus < 2; is_plus++) {
		struct listing *l = list_begin(c, is_plus);

		list_all(c, l, &c->dir, 4096);
		want_is(l->dots, 2);
		want_is(c->n_entries, 2);
		want_is(nfs3_getattr(c, &c->dir), NFS3_OK);
		want_is(l->dir_id, c->got.attr.fileid);
		want_is(nfs3_getattr(c, &c->root), NFS3_OK);
		want_is(l->parent_id, c->got.attr.fileid);
		free(l);
	}
}

static void the_root_is_its_own_parent(struct client *c)
{
	struct listing *l = list_begin(c, false);

	list_all(c, l, &c->root, 65536);
	want_is(l->dots, 2);
	want_is(l->dir_id, l->parent_id);
	free(l);
}

static void refusals(struct client *c)
{
	struct listing *l = list_begin(c, false);
	struct fh file = made_file(c, &c->dir, "1", 0644);

	want_is(nfs3_readdir(c, &file, 0, 4096), NFS3ERR_NOTDIR);
	want_is(nfs3_readdirplus(c, &file, 0, 4096, 4096), NFS3ERR_NOTDIR);
	want_is(nfs3_readdir(c, &c->dir, 0, 0), NFS3ERR_TOOSMALL);
	want_is(nfs3_readdir(c, &c->dir, 0, 110), NFS3ERR_TOOSMALL);
	want_is(nfs3_readdirplus(c, &c->dir, 0, 200, 200), NFS3ERR_TOOSMALL);
	want_is(c->n_entries, 0);
	free(l);
}

/*
 * Cookies are good for ever, so the verifier is zero, which RFC 1813 3.3.16 allows, and another one matters no more than
 * the directory's changes do.  Beyond the last one there is nothing; one that is never given out is BAD_COOKIE.
 */
static void cookies_and_verifiers(struct client *c)
{
	static const uint64_t none[] = { 1ull << 63, UINT64_MAX };
	struct listing *l = list_begin(c, false);
	struct READDIR3args again = { .dir = fh_arg(&c->dir), .count = 4096 };
	struct READDIRPLUS3args again_plus = { .dir = fh_arg(&c->dir), .dircount = 4096, .maxcount = 4096 };

	fill(c, &c->dir, 0, 2);
	want_is(nfs3_readdir(c, &c->dir, 0, 4096), NFS3_OK);
	want(!memcmp(c->got.verifier, "\0\0\0\0\0\0\0", 8));
	want_is(c->n_entries, 4);
	want_is(nfs3_readdirplus(c, &c->dir, 0, 4096, 4096), NFS3_OK);
	want(!memcmp(c->got.verifier, "\0\0\0\0\0\0\0", 8));
	want_is(c->n_entries, 8);
	again.cookie = again_plus.cookie = 2;
	memset(again.cookieverf, 0xa5, 8);
	memset(again_plus.cookieverf, 0xa5, 8);
	want_is(nfs3_readdir_args(c, &again), NFS3_OK);
	want_is(c->n_entries, 10);
	want_is(nfs3_readdirplus_args(c, &again_plus), NFS3_OK);
	want_is(c->n_entries, 12);

	want_is(nfs3_readdir(c, &c->dir, 1ull << 60, 4096), NFS3_OK);
	want(c->got.is_eof && c->got.has_dir_attr);
	want_is(nfs3_readdirplus(c, &c->dir, INT64_MAX, 4096, 4096), NFS3_OK);
	want(c->got.is_eof && c->got.has_dir_attr);
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		want_is(nfs3_readdir(c, &c->dir, none[i], 4096), NFS3ERR_BAD_COOKIE);
		want(c->got.has_dir_attr);
		want_is(nfs3_readdirplus(c, &c->dir, none[i], 4096, 4096), NFS3ERR_BAD_COOKIE);
		want(c->got.has_dir_attr);
	}
	want_is(c->n_entries, 12);
	free(l);
}

/* What the handle is comes first, whatever else is wrong. */
static void which_refusal(struct client *c)
{
	struct listing *l = list_begin(c, false);
	struct fh file = made_file(c, &c->dir, "1", 0644), gone = made_dir(c, &c->dir, "2", 0755);
	struct fh closed = made_dir(c, &c->dir, "3", 0700);

	want_is(nfs3_rmdir(c, &c->dir, "2"), NFS3_OK);
	want_is(nfs3_readdir(c, &file, UINT64_MAX, 0), NFS3ERR_NOTDIR);
	want_is(nfs3_readdirplus(c, &file, UINT64_MAX, 0, 0), NFS3ERR_NOTDIR);
	want(c->got.has_dir_attr);
	want_is(nfs3_readdir(c, &gone, UINT64_MAX, 0), NFS3ERR_STALE);
	want_is(nfs3_readdirplus(c, &gone, UINT64_MAX, 0, 0), NFS3ERR_STALE);
	want(!c->got.has_dir_attr);
	client_as_user(c, 1000);
	want_is(nfs3_readdir(c, &closed, UINT64_MAX, 0), NFS3ERR_ACCES);
	want_is(nfs3_readdirplus(c, &closed, UINT64_MAX, 0, 0), NFS3ERR_ACCES);
	want(c->got.has_dir_attr);
	free(l);
}

/*
 * maxcount is the size of all of READDIRPLUS3resok: with one byte less than "." needs there is no room, with exactly that
 * there is, and likewise READDIR.
 */
static void the_least_count(struct client *c)
{
	const uint32_t around = 88 + 8 + 4 + 4, dot = 4 + 8 + 8 + 8, plus = 4 + 84 + 4 + 4 + c->dir.len;
	struct listing *l = list_begin(c, false);

	want_is(nfs3_readdir(c, &c->dir, 0, around + dot - 1), NFS3ERR_TOOSMALL);
	want_is(c->n_entries, 0);
	want_is(nfs3_readdir(c, &c->dir, 0, around + dot), NFS3_OK);
	want_is(c->n_entries, 1);
	want_is(nfs3_readdirplus(c, &c->dir, 0, 4096, around + dot + plus - 1), NFS3ERR_TOOSMALL);
	want_is(c->n_entries, 1);
	want_is(nfs3_readdirplus(c, &c->dir, 0, 4096, around + dot + plus), NFS3_OK);
	want_is(c->n_entries, 2);
	want(!c->got.is_eof);
	/* At the end nothing is left that needs room. */
	want_is(nfs3_readdir(c, &c->dir, INT64_MAX, around), NFS3_OK);
	want(c->got.is_eof);
	want_is(nfs3_readdir(c, &c->dir, INT64_MAX, around - 1), NFS3ERR_TOOSMALL);
	free(l);
}

/* Whatever the size of the pieces: all names, each once, in pieces no larger than asked for. */
static void a_big_directory(struct client *c)
{
	static const uint32_t counts[] = { 300, 512, 4096, 65536, 1u << 20 };

	fill(c, &c->dir, 0, MANY);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		for (int is_plus = 0; is_plus < 2; is_plus++) {
			struct listing *l = list_begin(c, is_plus);

			list_all(c, l, &c->dir, counts[i]);
			want_seen(l, 0, MANY, 1);
			want_is(l->dots, 2);
			want_is(l->others, 0);
			want_is(l->without, 0);
			want(l->cookies_rise);
			want(88 + 8 + l->max_size + 8 <= counts[i]);
			if (is_plus) {
				want_is(nfs3_lookup(c, &c->dir, "17"), NFS3_OK);
				want(same_fh(&c->got.fh, &l->one));
			}
			free(l);
		}
	}
}

/* dircount limits names, ids and cookies alone. */
static void a_small_dircount(struct client *c)
{
	struct listing *l;

	fill(c, &c->dir, 100, 200);
	l = list_begin(c, true);
	want_is(nfs3_readdirplus(c, &c->dir, 0, 240, 65536), NFS3_OK);
	want_is(c->n_entries, 10);	/* of 24 bytes each */
	free(l);
	l = list_begin(c, true);
	want_is(nfs3_readdirplus(c, &c->dir, 0, 0, 65536), NFS3_OK);
	want_is(c->n_entries, 1);
	free(l);
}

/* rm -r: what was listed is removed before the next piece is asked for. */
static void removed_while_it_is_listed(struct client *c)
{
	struct listing *l;
	unsigned removed = 0;

	fill(c, &c->dir, 0, MANY);
	l = list_begin(c, false);
	do {
		if (!want_is(list_more(c, l, &c->dir, 2048), NFS3_OK))
			break;
		bool is_eof = c->got.is_eof;

		for (unsigned i = 0; i < l->n_names; i++, removed++)
			want_is(nfs3_remove(c, &c->dir, l->names[i]), NFS3_OK);
		c->got.is_eof = is_eof;
	} while (!c->got.is_eof);
	want_is(removed, MANY);
	want_seen(l, 0, MANY, 1);
	free(l);
	l = list_begin(c, false);
	list_all(c, l, &c->dir, 4096);
	want_is(c->n_entries, 2);
	free(l);
}

/* Others come and go, are renamed; what stays is seen once. */
static void changed_while_it_is_listed(struct client *c)
{
	struct listing *l;
	unsigned next = MANY;
	bool is_eof;

	fill(c, &c->dir, 0, 1000);
	l = list_begin(c, true);
	do {
		char a[16], b[16];

		if (!want_is(list_more(c, l, &c->dir, 3000), NFS3_OK))
			break;
		is_eof = c->got.is_eof;
		snprintf(a, sizeof(a), "%u", next);
		snprintf(b, sizeof(b), "%u", next + 1000);
		made_file(c, &c->dir, a, 0644);
		want_is(nfs3_rename(c, &c->dir, a, &c->dir, b), NFS3_OK);
		if (next % 2)
			want_is(nfs3_remove(c, &c->dir, b), NFS3_OK);
		next++;
	} while (!is_eof && next < MANY + 900);
	want(is_eof);
	want_seen(l, 0, 1000, 1);
	for (unsigned i = MANY; i < 2 * MANY; i++)
		want(l->seen[i] <= 1);
	free(l);
}

/* Made anew a name has another cookie: an old one never shows it twice. */
static void a_cookie_is_never_used_again(struct client *c)
{
	struct listing *l;
	uint64_t cookie;

	fill(c, &c->dir, 1, 4);
	l = list_begin(c, false);
	list_all(c, l, &c->dir, 4096);
	cookie = c->last_cookie;
	free(l);
	want_is(nfs3_remove(c, &c->dir, "3"), NFS3_OK);
	made_file(c, &c->dir, "3", 0644);
	l = list_begin(c, false);
	list_all(c, l, &c->dir, 4096);
	want(c->last_cookie > cookie);
	free(l);
	/* And goes on after one whose name is gone. */
	l = list_begin(c, false);
	want_is(nfs3_readdir(c, &c->dir, cookie, 4096), NFS3_OK);
	want_is(c->n_entries, 1);
	want_is(l->seen[3], 1);
	free(l);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "an empty directory", an_empty_directory },
		{ "the root is its own parent", the_root_is_its_own_parent },
		{ "READDIR refused", refusals },
		{ "cookies and verifiers", cookies_and_verifiers },
		{ "which refusal comes first", which_refusal },
		{ "the least count", the_least_count },
		{ "a big directory, in pieces of any size", a_big_directory },
		{ "a small dircount", a_small_dircount },
		{ "removed while it is listed", removed_while_it_is_listed },
		{ "changed while it is listed", changed_while_it_is_listed },
		{ "a cookie is never used again", a_cookie_is_never_used_again },
	};

	return run_tests(argc, argv, "dirs", tests, ARRAY_SIZE(tests));
}
