/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A cache goes on with another upstream than it knew: what becomes of each thing that is in it; and of trees by chance. */
#include "tests/unit/cml_upstream.h"

#include <fcntl.h>
#include "base/log.h"
#include "cache/check.h"
#include "cache/internal.h"
#include "cache/kept.h"
#include "tests/unit/often.h"

#define THERE "upstream-two"
#define POSITION 500

/* ---- the listing ---- */

struct listing {
	int fd;
	unsigned n;
	uint64_t next_oid;
};

static void list_begin(struct fixture *f, struct listing *l)
{
	(void)f;
	*l = (struct listing){ .fd = open(test_dir(), O_TMPFILE | O_RDWR, 0600), .next_oid = 1000 };
	assert_true(l->fd >= 0);
}

static void list_frame(struct listing *l, const struct kml_listed *listed)
{
	struct buf buf;
	size_t mark;

	buf_init(&buf, 0);
	mark = kml_frame_begin(&buf);
	if (listed)
		assert_int_equal(kml_listed_encode(&buf, listed), 0);
	kml_frame_end(&buf, mark);
	assert_int_equal(write(l->fd, buf.data, buf.len), buf.len);
	buf_release(&buf);
	l->n++;
}

struct line {
	struct kml_oid parent, oid;	/* oid {0,0}: a new one */
	const char *name;
	enum kml_type type;
	uint64_t size;
	struct timespec mtime;
	const char *target;
	uint32_t mode, nlink;
};

static struct kml_oid list_add(struct listing *l, const struct line *line)
{
	struct kml_oid oid = kml_oid_is_none(line->oid) ? (struct kml_oid){ 0, l->next_oid++ } : line->oid;
	struct kml_listed listed = {
		.parent = line->parent,
		.object = {
			.oid = oid,
			.attr = { .type = line->type, .mode = line->mode ? line->mode : 0644, .nlink = line->nlink ? line->nlink : 1,
				  .size = line->size, .mtime = { line->mtime.tv_sec, (unsigned)line->mtime.tv_nsec } },
			.data_version = 7, .attr_version = 8,
		},
	};

	listed.name = (kml_name){ .kml_name_val = (char *)line->name, .kml_name_len = (u_int)strlen(line->name) };
	if (line->target)
		listed.object.extra = (kml_extra){ .kml_extra_val = (char *)line->target, .kml_extra_len = (u_int)strlen(line->target) };
	list_frame(l, &listed);
	return oid;
}

static void list_root(struct listing *l)
{
	(void)list_add(l, &(struct line){ .oid = KML_ROOT, .name = "", .type = KML_DIR, .mode = 0755 });
}

static struct kml_oid list_dir(struct listing *l, struct kml_oid parent, const char *name)
{
	return list_add(l, &(struct line){ .parent = parent, .name = name, .type = KML_DIR, .mode = 0755 });
}

/* As the file is here; or younger, which makes it another content. */
static struct kml_oid list_file(struct fixture *f, struct listing *l, struct kml_oid parent, const char *name, uint64_t ino, int64_t younger_s)
{
	struct line line = { .parent = parent, .name = name, .type = KML_REG };

	assert_int_equal(f_getattr(f, ino), 0);
	line.size = f->op.attr.size;
	line.mtime = f->op.attr.mtime;
	line.mtime.tv_sec += younger_s;
	return list_add(l, &line);
}

/* Close, and open as a daemon that was told to adopt it.  Gives what cache_open() says of that. */
static int adopt(struct fixture *f, struct listing *l, bool is_ended)
{
	struct cache_adopt given = { .listing_fd = l->fd, .id = THERE, .position = POSITION };

	if (is_ended)
		list_frame(l, NULL);
	f_close(f);
	f->config.adopt = &given;
	f_open(f);
	f->config.adopt = NULL;
	assert_int_equal(close(l->fd), 0);
	return given.err;
}

/* ---- what is there afterwards ---- */

static void found_damage(void *arg, enum check_kind kind, const char *line)
{
	if (kind == CHECK_DAMAGE)
		print_error("%s: %s\n", (const char *)arg, line);
}

static void assert_sound(struct fixture *f)
{
	struct check_config config = { f->dir, false, found_damage, f->dir };
	struct check_result result;
	char *why;

	f_close(f);
	assert_int_equal(cache_check(&config, &result, &why), 0);
	assert_int_equal(result.damage, 0);
	f_open(f);
}

static char kept_dir[200];

static void take_kept(void *arg, uint64_t id, const char *about, const char *path)
{
	(void)arg;
	(void)id;
	assert_non_null(strstr(about, THERE));
	snprintf(kept_dir, sizeof(kept_dir), "%s", path);
}

/* The content that is kept of that path; "" : none. */
static const char *kept_of(struct fixture *f, const char *path)
{
	static char content[4096];
	char name[500];
	ssize_t len;
	int fd;

	kept_dir[0] = '\0';
	assert_int_equal(kept_each(f->dir, take_kept, NULL), 0);
	snprintf(name, sizeof(name), "%s/%s", kept_dir, path);
	fd = kept_dir[0] ? open(name, O_RDONLY) : -1;
	if (fd < 0)
		return "";
	len = read(fd, content, sizeof(content) - 1);
	assert_true(len >= 0);
	content[len] = '\0';
	close(fd);
	return content;
}

/* The log, as one line of text: OP NAME, with the oid of its directory by name. */
static const char *log_text(struct fixture *f)
{
	static char out[4000];
	struct cml_batch *batch;
	size_t at = 0;

	out[0] = '\0';
	assert_int_equal(cml_take(f->cache, 200, UINT64_MAX, &batch), 0);
	for (size_t i = 0; batch && i < batch->n; i++) {
		const struct kml_record *record = &batch->items[i].record;
		const struct kml_make *make = record->body.op == KML_CREATE || record->body.op == KML_MKDIR ? &record->body.kml_body_u.make : NULL;

		at += snprintf(out + at, sizeof(out) - at, "%s%s", at ? " " : "", kml_op_name(record->body.op));
		if (make) {
			assert_true(make->oid.origin == cml_client_id(f->cache));
			at += snprintf(out + at, sizeof(out) - at, " %.*s", (int)make->name.kml_name_len, make->name.kml_name_val);
		}
		if (record->body.op == KML_STORE)
			at += snprintf(out + at, sizeof(out) - at, " %llu", (unsigned long long)batch->items[i].bytes);
	}
	if (batch)
		cml_give_back(f->cache, batch);
	return out;
}

static bool is_here(struct fixture *f, uint64_t ino)
{
	char sql[128];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM inode WHERE ino = %llu AND length(present) > 0", (unsigned long long)ino);
	return query(f, sql);
}

/* Everything that is here is the upstream's, too. */
static struct upstream *drained(struct fixture *f)
{
	struct upstream *up = up_new();

	up_drain(up, f->cache);
	return up;
}

/* ---- each thing ---- */

static void clean(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "dir"), same = made(f, dir, "same", "the same"), other = made(f, dir, "other", "what it was"),
		 gone = made(f, dir, "gone", "the only copy"), client = cml_client_id(f->cache);
	AUTO_FREE struct upstream *up = drained(f);
	struct kml_oid there, oid;
	struct cache_status status;
	struct listing l;

	list_begin(f, &l);
	list_root(&l);
	there = list_dir(&l, KML_ROOT, "dir");
	(void)list_dir(&l, KML_ROOT, "new dir");
	oid = list_file(f, &l, there, "same", same, 0);
	(void)list_file(f, &l, there, "other", other, 5);
	assert_int_equal(adopt(f, &l, true), 0);
	cache_status(f->cache, &status);
	assert_string_equal(status.upstream_id, THERE);
	assert_int_equal(status.position, POSITION);
	assert_int_equal(status.cml.records, 0);
	assert_true(cml_client_id(f->cache) != client);
	/* The handles are the same ones. */
	assert_int_equal(found(f, ROOT, "dir"), dir);
	assert_int_equal(found(f, dir, "same"), same);
	assert_int_equal(found(f, dir, "other"), other);
	assert_content(f, same, "the same");
	assert_int_equal(inode_find_oid(f->cache, &oid), same);
	assert_false(is_here(f, other));
	assert_string_equal(kept_of(f, "dir/other"), "what it was");
	assert_int_equal(f_lookup(f, dir, "gone"), -ENOENT);
	assert_int_equal(f_getattr(f, gone), -ESTALE);
	assert_string_equal(kept_of(f, "dir/gone"), "the only copy");
	assert_string_equal(kept_of(f, "dir/same"), "");
	assert_int_equal(f_lookup(f, ROOT, "new dir"), 0);
	assert_sound(f);
}

/* Of what is here in part nothing is kept, and it is never mixed with what is there. */
static void in_part(void **state)
{
	struct fixture *f = *state;
	uint64_t part = made(f, ROOT, "part", "0123456789");
	AUTO_FREE struct upstream *up = drained(f);
	struct listing l;

	list_begin(f, &l);
	list_root(&l);
	(void)list_file(f, &l, KML_ROOT, "part", part, 0);
	exec_sql(f, "UPDATE inode SET present = x'00000000000000000500000000000000' WHERE ino > 2");
	assert_int_equal(adopt(f, &l, true), 0);
	assert_false(is_here(f, part));
	assert_string_equal(kept_of(f, "part"), "");
	assert_sound(f);
}

/* Under new oids, directories first, whole; what is above it, and is not there, is made. */
static void ours(void **state)
{
	struct fixture *f = *state;
	uint64_t old = made_dir(f, ROOT, "old"), edited = made(f, old, "edited", "content"), dir;
	AUTO_FREE struct upstream *up = drained(f);
	uint64_t last_seq;
	struct cml_totals totals;
	struct listing l;

	dir = made_dir(f, old, "dir");
	(void)made(f, dir, "made", "made here");
	assert_int_equal(f_write(f, edited, 0, "CON"), 0);
	assert_int_equal(f_commit(f, edited), 0);
	cml_totals(f->cache, &totals);
	last_seq = totals.last_seq;
	list_begin(f, &l);
	list_root(&l);
	assert_int_equal(adopt(f, &l, true), 0);
	assert_string_equal(log_text(f), "MKDIR old MKDIR dir CREATE edited STORE 7 CREATE made STORE 9");
	cml_totals(f->cache, &totals);
	assert_int_equal(totals.records, 6);
	assert_true(totals.last_seq > last_seq);
	assert_content(f, edited, "CONtent");
	assert_int_equal(found(f, old, "dir"), dir);
	assert_string_equal(kept_of(f, "old/edited"), "");
	assert_sound(f);
}

/* What was never here of it is zeros, whatever a fetch that broke off has left in the file. */
static void ours_in_part(void **state)
{
	struct fixture *f = *state;
	uint64_t part = made(f, ROOT, "part", "0123456789"), end = made(f, ROOT, "end", "0123456789");
	AUTO_FREE struct upstream *up = drained(f);
	char got[11] = "";
	struct listing l;

	f_reopen(f);
	exec_sql(f, "UPDATE inode SET present = x'05000000000000000a00000000000000' WHERE ino = (SELECT ino FROM name WHERE name = x'70617274');"
		    "UPDATE inode SET present = x'00000000000000000500000000000000' WHERE ino = (SELECT ino FROM name WHERE name = x'656e64')");
	f_reopen(f);
	assert_int_equal(f_write(f, part, 8, "XY"), 0);
	assert_int_equal(f_commit(f, part), 0);
	assert_int_equal(f_write(f, end, 0, "XY"), 0);
	assert_int_equal(f_commit(f, end), 0);
	list_begin(f, &l);
	list_root(&l);
	assert_int_equal(adopt(f, &l, true), 0);
	assert_string_equal(log_text(f), "CREATE part STORE 10 CREATE end STORE 10");
	assert_int_equal(f_read(f, part, 0, got, 10), 0);
	assert_memory_equal(got, "\0\0\0\0\000567XY", 10);
	assert_int_equal(f_read(f, end, 0, got, 10), 0);
	assert_memory_equal(got, "XY234\0\0\0\0\0", 10);
	assert_sound(f);
}

/* Its name is taken there: it keeps it here until it is sent; nothing of theirs is put over it, and the directory is theirs. */
static void ours_and_theirs(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "dir"), edited = made(f, dir, "edited", "content");
	AUTO_FREE struct upstream *up = drained(f);
	struct kml_oid there, file;
	struct listing l;

	assert_int_equal(f_write(f, edited, 0, "CON"), 0);
	assert_int_equal(f_commit(f, edited), 0);
	(void)made(f, ROOT, "file here", "a file");
	list_begin(f, &l);
	list_root(&l);
	there = list_dir(&l, KML_ROOT, "dir");
	file = list_dir(&l, KML_ROOT, "file here");
	(void)list_file(f, &l, there, "edited", edited, 5);
	(void)list_file(f, &l, file, "below", edited, 5);
	assert_int_equal(adopt(f, &l, true), 0);
	assert_string_equal(log_text(f), "CREATE edited STORE 7 CREATE file here STORE 6");
	assert_int_equal(inode_find_oid(f->cache, &there), dir);
	assert_content(f, edited, "CONtent");
	assert_sound(f);
}

/* The very same is there: an answer was lost.  It is not sent, but kept, for who knows. */
static void ours_is_there(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "dir"), sent = made(f, dir, "sent", "sent before");
	struct kml_oid there;
	struct listing l;

	list_begin(f, &l);
	list_root(&l);
	there = list_dir(&l, KML_ROOT, "dir");
	(void)list_file(f, &l, there, "sent", sent, 0);
	assert_int_equal(adopt(f, &l, true), 0);
	assert_string_equal(log_text(f), "");
	assert_int_equal(found(f, dir, "sent"), sent);
	assert_false(is_here(f, sent));
	assert_string_equal(kept_of(f, "dir/sent"), "sent before");
	assert_sound(f);
}

static int64_t conflicts(struct fixture *f, const char *path)
{
	char sql[256];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM conflict JOIN conflict_side USING (id) WHERE CAST(path AS TEXT) = '%s'", path);
	return query(f, sql);
}

/* Done nowhere, and told of where that is seen. */
static void undone(void **state)
{
	struct fixture *f = *state;
	uint64_t mode = made(f, ROOT, "mode", "m"), name = made(f, ROOT, "name", "n"), gone = made(f, ROOT, "gone", "g"),
		 linked = made(f, ROOT, "linked", "l"), link = made(f, ROOT, "link", "k"), both = made(f, ROOT, "both", "b");
	AUTO_FREE struct upstream *up = drained(f);
	struct kml_oid again;
	struct listing l;

	(void)made(f, ROOT, "removed", "r");
	(void)made(f, ROOT, "removed there too", "r");
	up_drain(up, f->cache);
	list_begin(f, &l);
	list_root(&l);
	(void)list_file(f, &l, KML_ROOT, "mode", mode, 0);
	(void)list_file(f, &l, KML_ROOT, "name", name, 0);
	again = list_file(f, &l, KML_ROOT, "link", link, 0);
	/* Somebody has made that link there, too. */
	(void)list_add(&l, &(struct line){ .parent = KML_ROOT, .oid = again, .name = "same link", .type = KML_REG, .size = 1, .nlink = 2 });
	(void)list_file(f, &l, KML_ROOT, "renamed", linked, 0);
	(void)list_file(f, &l, KML_ROOT, "both", both, 0);
	(void)list_add(&l, &(struct line){ .parent = KML_ROOT, .name = "removed", .type = KML_REG, .size = 3 });
	assert_int_equal(f_chmod(f, mode, 0600), 0);
	assert_int_equal(f_chmod(f, both, 0644), 0);
	assert_int_equal(f_chmod(f, gone, 0600), 0);
	assert_int_equal(f_rename(f, ROOT, "name", ROOT, "new name"), 0);
	assert_int_equal(f_rename(f, ROOT, "linked", ROOT, "renamed"), 0);
	assert_int_equal(f_link(f, link, ROOT, "second"), 0);
	assert_int_equal(f_link(f, link, ROOT, "same link"), 0);
	assert_int_equal(f_remove(f, ROOT, "removed"), 0);
	assert_int_equal(f_remove(f, ROOT, "removed there too"), 0);
	assert_int_equal(adopt(f, &l, true), 0);
	assert_string_equal(log_text(f), "");
	assert_int_equal(query(f, "SELECT count(*) FROM conflict"), 4);
	assert_int_equal(conflicts(f, "/mode"), 1);
	assert_int_equal(conflicts(f, "/new name"), 1);
	assert_int_equal(conflicts(f, "/second"), 1);
	assert_int_equal(conflicts(f, "/removed"), 1);
	assert_int_equal(f_lookup(f, ROOT, "removed"), 0);
	assert_int_equal(f_lookup(f, ROOT, "new name"), -ENOENT);
	assert_int_equal(f_lookup(f, ROOT, "second"), -ENOENT);
	assert_int_equal(found(f, ROOT, "renamed"), linked);
	/* What it stood for under its new name is all that there is of it, for all that is known. */
	assert_string_equal(kept_of(f, "new name"), "n");
	assert_string_equal(kept_of(f, "gone"), "g");
	assert_sound(f);
}

/* A name is another kind of thing there; what was below a directory is kept by where it was. */
static void other_kinds(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "dir"), sub = made_dir(f, dir, "sub"), link, file;
	AUTO_FREE struct upstream *up = NULL;
	struct listing l;

	(void)made(f, sub, "deep", "deep content");
	file = made(f, ROOT, "file", "file content");
	assert_int_equal(f_symlink(f, ROOT, "link", "old target"), 0);
	link = f->op.ino;
	up = drained(f);
	list_begin(f, &l);
	list_root(&l);
	(void)list_file(f, &l, KML_ROOT, "dir", file, 0);
	(void)list_dir(&l, KML_ROOT, "file");
	(void)list_add(&l, &(struct line){ .parent = KML_ROOT, .name = "link", .type = KML_LNK, .target = "new target" });
	assert_int_equal(adopt(f, &l, true), 0);
	assert_string_equal(kept_of(f, "dir/sub/deep"), "deep content");
	assert_string_equal(kept_of(f, "file"), "file content");
	assert_int_equal(f_lookup(f, ROOT, "dir"), 0);
	assert_int_equal(f->op.attr.type, TYPE_REG);
	assert_int_equal(f_lookup(f, ROOT, "file"), 0);
	assert_int_equal(f->op.attr.type, TYPE_DIR);
	assert_int_equal(found(f, ROOT, "link"), link);
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE target = x'6e657720746172676574'"), 1);
	assert_sound(f);
}

static void links(void **state)
{
	struct fixture *f = *state;
	uint64_t one = made(f, ROOT, "one", "content"), two = made(f, ROOT, "two", "content of two");
	AUTO_FREE struct upstream *up = NULL;
	struct kml_oid oid;
	struct listing l;

	assert_int_equal(f_link(f, one, ROOT, "one, too"), 0);
	up = drained(f);
	list_begin(f, &l);
	list_root(&l);
	assert_int_equal(f_getattr(f, one), 0);
	/* There "two" is a link of "one", and "one, too" a file of its own. */
	oid = list_add(&l, &(struct line){ .parent = KML_ROOT, .name = "one", .type = KML_REG, .size = 7, .mtime = f->op.attr.mtime, .nlink = 2 });
	(void)list_add(&l, &(struct line){ .parent = KML_ROOT, .name = "one, too", .type = KML_REG, .size = 9 });
	(void)list_add(&l, &(struct line){ .parent = KML_ROOT, .oid = oid, .name = "two", .type = KML_REG, .size = 7,
					   .mtime = f->op.attr.mtime, .nlink = 2 });
	assert_int_equal(adopt(f, &l, true), 0);
	assert_int_equal(found(f, ROOT, "one"), one);
	assert_int_equal(found(f, ROOT, "two"), one);
	assert_int_equal(f->op.attr.nlink, 2);
	assert_true(found(f, ROOT, "one, too") != one);
	assert_int_equal(f->op.attr.nlink, 1);
	assert_int_equal(f_getattr(f, two), -ESTALE);
	assert_string_equal(kept_of(f, "two"), "content of two");
	assert_content(f, one, "content");
	assert_sound(f);
}

/* A file that was removed while a program has it open lives on. */
static void open_files(void **state)
{
	static const char name[] = ".nfs000000000000000000000001";
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "file", "content");
	AUTO_FREE struct upstream *up = drained(f);
	struct listing l;

	assert_int_equal(f_rename(f, ROOT, "file", ROOT, name), 0);
	up_drain(up, f->cache);
	list_begin(f, &l);
	list_root(&l);
	assert_int_equal(adopt(f, &l, true), 0);
	assert_int_equal(found(f, ROOT, name), ino);
	assert_content(f, ino, "content");
	assert_string_equal(log_text(f), "");
	/* And comes back as a new one, if it is given a name. */
	assert_int_equal(f_rename(f, ROOT, name, ROOT, "back"), 0);
	assert_string_equal(log_text(f), "CREATE back STORE 7");
	assert_sound(f);
}

/* A listing that broke off, or is none: nothing has changed. */
static void no_listing(void **state)
{
	struct fixture *f = *state;
	uint64_t file = made(f, ROOT, "file", "content"), client = cml_client_id(f->cache);
	AUTO_FREE struct upstream *up = drained(f);
	struct listing l;

	(void)made(f, ROOT, "ours", "ours");
	for (unsigned i = 0; i < 4; i++) {
		list_begin(f, &l);
		if (i == 1)
			list_root(&l);
		if (i == 2)
			(void)list_file(f, &l, KML_ROOT, "file", file, 5);
		if (i == 3)
			assert_int_equal(write(l.fd, "nonsense, not frames", 20), 20);
		assert_true(adopt(f, &l, i == 2) < 0);
		assert_true(cml_client_id(f->cache) == client);
		assert_content(f, file, "content");
		assert_string_equal(log_text(f), "CREATE ours STORE 4");
		assert_string_equal(kept_of(f, "file"), "");
		assert_sound(f);
	}
}

/* ---- by chance ---- */

#define NAMES 5

static uint64_t dirs[4];

static char *path_name(unsigned i)
{
	static char name[8];

	snprintf(name, sizeof(name), "n%u", i);
	return name;
}

/* Something is done; most of it comes to nothing, for the name is free, or taken. */
static void do_something(struct fixture *f)
{
	uint64_t dir = dirs[rand() % 4], ino;
	char *name = path_name((unsigned)rand() % NAMES), content[32];

	snprintf(content, sizeof(content), "content %d", rand() % 100000);
	switch (rand() % 8) {
	case 0:
	case 1:
	case 2:
		if (f_create(f, dir, name, 0644))
			break;
		ino = f->op.ino;
		assert_int_equal(f_write(f, ino, 0, content), 0);
		assert_int_equal(f_commit(f, ino), 0);
		break;
	case 3:
		if (f_lookup(f, dir, name) || f->op.attr.type != TYPE_REG)
			break;
		ino = f->op.ino;
		assert_int_equal(f_write(f, ino, 0, content), 0);
		assert_int_equal(f_commit(f, ino), 0);
		break;
	case 4:
		(void)f_remove(f, dir, name);
		break;
	case 5:
		(void)f_mkdir(f, dir, name, 0755);
		break;
	case 6:
		(void)f_rename(f, dir, name, dirs[rand() % 4], "moved");
		break;
	case 7:
		if (!f_lookup(f, dir, name) && f->op.attr.type == TYPE_REG)
			(void)f_link(f, f->op.ino, dirs[rand() % 4], "linked");
		break;
	}
}

struct content {
	char text[64];
	bool is_found;
};

static struct content contents[1000];
static unsigned n_contents;

/* What is in each file that is here. */
static void gather(struct fixture *f)
{
	char text[64];

	n_contents = 0;
	for (uint64_t ino = 3; ino < 400; ino++) {
		if (f_getattr(f, ino) || f->op.attr.type != TYPE_REG || !f->op.attr.size)
			continue;
		memset(text, 0, sizeof(text));
		assert_int_equal(f_read(f, ino, 0, text, sizeof(text) - 1), 0);
		snprintf(contents[n_contents].text, sizeof(text), "%s", text);
		contents[n_contents++].is_found = false;
	}
}

static void found_content(const char *text)
{
	for (unsigned i = 0; i < n_contents; i++)
		contents[i].is_found |= !strcmp(contents[i].text, text);
}

static void look_for_contents(struct fixture *f)
{
	char command[300], text[64];
	FILE *all;

	for (uint64_t ino = 3; ino < 400; ino++) {
		memset(text, 0, sizeof(text));
		if (!f_getattr(f, ino) && f->op.attr.type == TYPE_REG && !f_read(f, ino, 0, text, sizeof(text) - 1))
			found_content(text);
	}
	snprintf(command, sizeof(command), "cd '%s' && if [ -d conflicts ]; then "
		 "find conflicts -type f -path '*/files/*' -exec sh -c 'cat \"$1\"; echo' sh {} \\; 2> /dev/null; fi", f->dir);
	all = popen(command, "r");
	assert_non_null(all);
	while (fgets(text, sizeof(text), all)) {
		text[strcspn(text, "\n")] = '\0';
		found_content(text);
	}
	assert_int_equal(pclose(all), 0);
}

/* What is there: the same names, some of them with the same in them. */
static void list_by_chance(struct fixture *f, struct listing *l)
{
	struct kml_oid oids[4] = { KML_ROOT };

	list_root(l);
	for (unsigned d = 0; d < 4; d++) {
		if (d && rand() % 4)
			oids[d] = list_dir(l, KML_ROOT, (const char *[]){ "", "d1", "d2", "d3" }[d]);
		if (!d)
			for (unsigned i = 0; i < NAMES; i++)
				if (rand() % 2)
					(void)list_add(l, &(struct line){ .parent = KML_ROOT, .name = path_name(i), .type = rand() % 4 ? KML_REG : KML_DIR,
									  .size = (uint64_t)rand() % 20 });
	}
	for (unsigned d = 1; d < 4; d++)
		for (unsigned i = 0; i < NAMES && !kml_oid_is_none(oids[d]); i++) {
			if (rand() % 2)
				continue;
			if (!f_lookup(f, dirs[d], path_name(i)) && f->op.attr.type == TYPE_REG && rand() % 2)
				(void)list_file(f, l, oids[d], path_name(i), f->op.ino, 0);
			else
				(void)list_add(l, &(struct line){ .parent = oids[d], .name = path_name(i), .type = KML_REG, .size = 5 });
		}
}

static void by_chance(void **state)
{
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)atoi(given) : (unsigned)getpid();

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (unsigned round = 0; round < often(60); round++) {
		AUTO_FREE struct upstream *up = NULL;
		struct fixture f;
		struct listing l;

		f_init(&f);
		f_open(&f);
		dirs[0] = ROOT;
		for (unsigned d = 1; d < 4; d++)
			dirs[d] = made_dir(&f, ROOT, (const char *[]){ "", "d1", "d2", "d3" }[d]);
		for (unsigned i = 0; i < 40; i++)
			do_something(&f);
		up = drained(&f);
		for (unsigned i = (unsigned)rand() % 15; i; i--)
			do_something(&f);
		gather(&f);
		list_begin(&f, &l);
		list_by_chance(&f, &l);
		assert_int_equal(adopt(&f, &l, true), 0);
		look_for_contents(&f);
		for (unsigned i = 0; i < n_contents; i++)
			if (!contents[i].is_found)
				fail_msg("round %u: lost: %s", round, contents[i].text);
		assert_int_equal(query(&f, "SELECT count(*) FROM name WHERE dir NOT IN (SELECT ino FROM inode WHERE type = 2 AND is_listed)"), 0);
		assert_sound(&f);
		f_close(&f);
		f_remove_dir(&f);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, f_setup, f_teardown)
	const struct CMUnitTest tests[] = {
		TEST(clean),
		TEST(in_part),
		TEST(ours),
		TEST(ours_in_part),
		TEST(ours_and_theirs),
		TEST(ours_is_there),
		TEST(undone),
		TEST(other_kinds),
		TEST(links),
		TEST(open_files),
		TEST(no_listing),
		cmocka_unit_test(by_chance),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
