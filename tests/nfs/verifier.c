/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verifier: what was not committed is told to be so (RFC 1813 3.3.7 and 3.3.21), so that a client sends it again.
 *
 *	verifier PORT NAME FILE write	make the file NAME, with content that is committed, write over it and beyond it, not
 *					committed; the handle and the verifier go to FILE
 *	verifier PORT NAME FILE fail	the same where no content file can be synced: COMMIT gives IO, once more too, and so does
 *					every change; what asks goes on
 *	verifier PORT NAME FILE stable	a WRITE that is to be stable gives IO where no content file can be synced
 *	verifier PORT NAME FILE again	after another start: the verifier is another one, in WRITE and in COMMIT; what the file
 *					holds was written once; all is sent again, and holds
 *
 * Each prints TAP.
 */
#include "tests/nfs/client.h"

#define OLD_SIZE 100000u
#define NEW_SIZE 150000u	/* from the middle of the old to beyond its end */
#define NEW_AT 50000u
#define ALL (NEW_AT + NEW_SIZE)

static struct kept {
	struct fh fh;
	char verifier[8];
} kept;
static const char *file_name, *path;
static char block[ALL];

static bool is_kept(const struct client *c)
{
	return !memcmp(c->got.verifier, kept.verifier, 8);
}

static void begin(struct client *c)
{
	kept.fh = made_file(c, &c->root, file_name, 0644);
	memset(block, 'o', OLD_SIZE);
}

static void end(void)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(&kept, sizeof(kept), 1, f) != 1 || fclose(f))
		die(path, "cannot be written");
}

static void write_new(struct client *c)
{
	memset(block, 'n', NEW_SIZE);
	want_is(nfs3_write(c, &kept.fh, NEW_AT, block, NEW_SIZE, UNSTABLE), NFS3_OK);
	want_is(c->got.count, NEW_SIZE);
	want_is(c->got.committed, UNSTABLE);
}

static void not_committed(struct client *c)
{
	begin(c);
	want_is(nfs3_write(c, &kept.fh, 0, block, OLD_SIZE, UNSTABLE), NFS3_OK);
	memcpy(kept.verifier, c->got.verifier, 8);
	want_is(nfs3_commit(c, &kept.fh), NFS3_OK);
	want(is_kept(c));
	want_is(nfs3_write(c, &kept.fh, 0, block, 1, FILE_SYNC), NFS3_OK);
	want(is_kept(c));
	write_new(c);
	want(is_kept(c));
	end();
}

/* Never is a sync repeated and believed: what it was that did not reach the disk nobody knows. */
static void want_failed(struct client *c)
{
	want_is(nfs3_commit(c, &kept.fh), NFS3ERR_IO);
	want_wcc(c->got.wcc[0]);
	want_is(nfs3_write(c, &kept.fh, 0, "x", 1, UNSTABLE), NFS3ERR_IO);
	want_wcc(c->got.wcc[0]);
	want_is(nfs3_write(c, &kept.fh, 0, "x", 1, FILE_SYNC), NFS3ERR_IO);
	want_is(nfs3_setattr(c, &kept.fh, sattr_size(0), NULL), NFS3ERR_IO);
	want_is(nfs3_create(c, &c->root, "never", UNCHECKED, sattr_mode(0644)), NFS3ERR_IO);
	want_is(nfs3_getattr(c, &kept.fh), NFS3_OK);
	want_is(nfs3_lookup(c, &c->root, file_name), NFS3_OK);
	want_is(nfs3_lookup(c, &c->root, "never"), NFS3ERR_NOENT);
}

static void commit_fails(struct client *c)
{
	begin(c);
	write_new(c);
	memcpy(kept.verifier, c->got.verifier, 8);
	want_is(nfs3_commit(c, &kept.fh), NFS3ERR_IO);
	want_wcc(c->got.wcc[0]);
	want_failed(c);
	want_is(nfs3_read(c, &kept.fh, NEW_AT, NEW_SIZE), NFS3_OK);
	want(c->got.count == NEW_SIZE && c->got.data[0] == 'n' && c->got.data[NEW_SIZE - 1] == 'n');
	end();
}

static void stable_write_fails(struct client *c)
{
	begin(c);
	/* One of no bytes has nothing to be synced, and tells the verifier. */
	want_is(nfs3_write(c, &kept.fh, 0, "", 0, UNSTABLE), NFS3_OK);
	memcpy(kept.verifier, c->got.verifier, 8);
	want_is(nfs3_write(c, &kept.fh, 0, block, OLD_SIZE, FILE_SYNC), NFS3ERR_IO);
	want_wcc(c->got.wcc[0]);
	want_failed(c);
	end();
}

/* Before it is sent again: each byte is the old one, the new one, or one that was never written. */
static void want_once_written(struct client *c)
{
	want_is(nfs3_read(c, &kept.fh, 0, ALL), NFS3_OK);
	for (uint32_t i = 0; i < c->got.count; i++) {
		char b = c->got.data[i];

		if (!want(b == 'o' || (b == 'n' && i >= NEW_AT) || !b))
			break;
	}
}

static void sent_again(struct client *c)
{
	char now[8];

	want_is(nfs3_lookup(c, &c->root, file_name), NFS3_OK);
	want(same_fh(&c->got.fh, &kept.fh));
	want_once_written(c);
	want_is(nfs3_commit(c, &kept.fh), NFS3_OK);
	want(!is_kept(c));
	memcpy(now, c->got.verifier, 8);
	memset(block, 'o', NEW_AT);
	want_is(nfs3_write(c, &kept.fh, 0, block, NEW_AT, UNSTABLE), NFS3_OK);
	want(!memcmp(c->got.verifier, now, 8));
	write_new(c);
	want(!memcmp(c->got.verifier, now, 8));
	want_is(nfs3_commit(c, &kept.fh), NFS3_OK);
	want(!memcmp(c->got.verifier, now, 8));
	want_is(nfs3_read(c, &kept.fh, 0, ALL), NFS3_OK);
	want_is(c->got.count, ALL);
	for (uint32_t i = 0; i < ALL; i++)
		if (!want(c->got.data[i] == (i < NEW_AT ? 'o' : 'n')))
			break;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *word, *what;
		void (*run)(struct client *c);
		bool reads;
	} words[] = {
		{ "write", "one verifier for all that was written by one start", not_committed, false },
		{ "fail", "a sync that fails: COMMIT and all changes give IO", commit_fails, false },
		{ "stable", "a sync that fails: a stable WRITE gives IO", stable_write_fails, false },
		{ "again", "another verifier after another start, and all is sent again", sent_again, true },
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc == 5 && i < ARRAY_SIZE(words); i++) {
		struct client c;

		if (strcmp(argv[4], words[i].word))
			continue;
		file_name = argv[2];
		path = argv[3];
		if (words[i].reads) {
			FILE *f = fopen(path, "r");

			if (!f || fread(&kept, sizeof(kept), 1, f) != 1)
				die(path, "cannot be read");
			fclose(f);
		}
		client_open(&c, atoi(argv[1]));
		words[i].run(&c);
		client_close(&c);
		printf("%sok 1 - %s\n1..1\n", test_failed ? "not " : "", words[i].what);
		return test_failed;
	}
	fprintf(stderr, "usage: %s PORT NAME FILE write|fail|stable|again\n", argv[0]);
	return 2;
}
