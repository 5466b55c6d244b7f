/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include "base/cond.h"
#include "base/log.h"
#include "base/reserve.h"
#include "httpd/facl.h"
#include "httpd/schema.h"

/* ---- opening ---- */

static void say(char **ret_why, const char *path, const char *what, int err)
{
	if (asprintf(ret_why, "%s: %s: %s", path, what, strerror(-err)) < 0)
		*ret_why = NULL;	/* no memory for a sentence: the error says enough */
}

static int open_sub(int dirfd, const char *name)
{
	int fd;

	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_folders(struct tree *tree, char **ret_why)
{
	struct file_stat st;
	int err;

	tree->root_fd = open(tree->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tree->root_fd < 0) {
		err = -errno;
		say(ret_why, tree->path,
		    err == -ENOENT ? "no such directory to export; make it first, or name another"
				   : "cannot export it",
		    err);
		return err;
	}
	err = file_stat(tree->root_fd, "", &st);
	if (err)
		return err;
	tree->dev = st.dev;
	tree->state_fd = open_sub(tree->root_fd, STATE_DIR);
	if (tree->state_fd < 0) {
		say(ret_why, tree->path, "cannot keep its state in " STATE_DIR, tree->state_fd);
		return tree->state_fd;
	}
	if (fchmod(tree->state_fd, 0700) < 0)
		return -errno;
	tree->stage_fd = open_sub(tree->state_fd, "stage");
	if (tree->stage_fd < 0)
		return tree->stage_fd;
	tree->trash_fd = open_sub(tree->state_fd, "trash");
	if (tree->trash_fd < 0)
		return tree->trash_fd;
	/* What the export's root has for new objects is no business of what is made ready in there. */
	facl_no_default(tree->state_fd);
	facl_no_default(tree->stage_fd);
	facl_no_default(tree->trash_fd);
	tree->has_acls = facl_supported(tree->root_fd);
	tree->lock_fd =
		openat(tree->state_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (tree->lock_fd < 0)
		return -errno;
	if (flock(tree->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
		if (err == -EBUSY &&
		    asprintf(ret_why,
			     "%s: is already served by another izo-httpd; stop that one first",
			     tree->path) < 0)
			*ret_why = NULL;
		return err;
	}
	return reserve_open(tree->state_fd, "export", tree->path, &tree->reserve);
}

static int make_id(struct tree *tree)
{
	unsigned char b[16];
	char text[TREE_ID_TEXT];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		return -EIO;
	b[6] = (b[6] & 0x0f) | 0x40;	/* RFC 4122: random */
	b[8] = (b[8] & 0x3f) | 0x80;
	snprintf(text, sizeof(text),
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		 b[15]);
	return sql_run(tree->sql, "INSERT INTO meta (key, value) VALUES ('id', ?1)", "t", text);
}

static int make_root(struct tree *tree)
{
	struct file_stat st;
	struct object root = { .oid = KML_ROOT };
	struct buf acls;
	int err;

	err = file_stat(tree->root_fd, "", &st);
	if (err)
		return err;
	root.attr = st.attr;
	root.attr.nlink = 2;
	root.file = st.id;
	root.ctime = st.ctime;
	buf_init(&acls, 0);
	err = facl_read(tree->root_fd, "", KML_DIR, &acls);
	if (!err)
		err = object_insert(tree->sql, &root, (struct slice){ NULL, 0 });
	if (!err && acls.len)
		err = object_set_acls(tree->sql, &root, (struct slice){ acls.data, acls.len });
	buf_release(&acls);
	return err;
}

/* A copy of an export elsewhere, or one that was mounted anew, has another file as its root. */
static int check_root(struct tree *tree)
{
	struct object root;
	struct file_stat st;
	int got;

	got = object_by_id(tree->sql, ROOT_ID, &root);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	got = file_stat(tree->root_fd, "", &st);
	if (got)
		return got;
	if (file_id_equal(root.file, st.id))
		return 0;
	root.file = st.id;
	root.ctime = 0;
	return object_update(tree->sql, &root);
}

static int load(struct tree *tree)
{
	sqlite3_stmt *stmt;
	int64_t position, oldest;
	int got;

	got = sql_query(tree->sql, &stmt, "SELECT value FROM meta WHERE key = 'id'", "");
	if (got > 0) {
		struct slice id = sql_column(stmt, 0);

		snprintf(tree->id, sizeof(tree->id), "%.*s", (int)id.len, (const char *)id.data);
		sql_done(stmt);
	}
	if (got < 0)
		return got;
	got = sql_int(tree->sql, "SELECT max(position) FROM journal", &position);
	if (!got)
		got = sql_int(tree->sql, "SELECT min(position) FROM journal", &oldest);
	if (got)
		return got;
	tree->position = tree->published = (uint64_t)position;
	tree->oldest = oldest ? (uint64_t)oldest : 1;
	return 0;
}

static int open_tables(struct tree *tree, char **ret_why)
{
	AUTO_FREE char *path = NULL;
	int64_t n_objects;
	int err;

	if (asprintf(&path, "/proc/self/fd/%d/upstream.db", tree->state_fd) < 0)
		return -ENOMEM;
	err = sql_open(path, true, &tree->sql);
	if (err) {
		say(ret_why, tree->path, "cannot open its " STATE_DIR "/upstream.db", err);
		return err;
	}
	err = schema_open(tree->sql, STATE_DIR "/upstream.db", ret_why);
	if (err)
		return err;
	err = tree_begin(tree);
	if (err)
		return err;
	err = sql_int(tree->sql, "SELECT count(*) FROM object WHERE id = 1", &n_objects);
	if (!err && !n_objects)
		err = make_id(tree);
	if (!err)
		err = n_objects ? check_root(tree) : make_root(tree);
	if (err) {
		tree_rollback(tree);
		return err;
	}
	err = tree_commit(tree);
	return err ? err : load(tree);
}

int tree_open(const char *path, struct tree **ret_tree, char **ret_why)
{
	struct tree *tree;
	int err = -ENOMEM;

	*ret_why = NULL;
	tree = calloc(1, sizeof(*tree));
	if (!tree)
		return -ENOMEM;
	tree->root_fd = tree->state_fd = tree->stage_fd = tree->trash_fd = tree->lock_fd = -1;
	pthread_mutex_init(&tree->lock, NULL);
	pthread_mutex_init(&tree->publish_lock, NULL);
	pthread_mutex_init(&tree->readers_lock, NULL);
	(void)cond_init(&tree->publish_cond);	/* cannot fail */
	if (gethostname(tree->host, sizeof(tree->host) - 1) < 0)
		snprintf(tree->host, sizeof(tree->host), "upstream");
	tree->path = strdup(path);
	if (tree->path)
		err = hash_init(&tree->dirs);
	if (!err)
		err = open_folders(tree, ret_why);
	if (!err)
		err = open_tables(tree, ret_why);
	if (err == -ENOSPC && reserve_give_up(tree->reserve)) {
		sql_close(tree->sql);
		tree->sql = NULL;
		free(*ret_why);
		*ret_why = NULL;
		err = open_tables(tree, ret_why);
	}
	if (err) {
		if (!*ret_why)
			say(ret_why, path, "cannot be exported", err);
		tree_close(tree);
		return err;
	}
	*ret_tree = tree;
	return 0;
}

void tree_close(struct tree *tree)
{
	if (!tree)
		return;
	for (size_t i = 0; i < tree->n_readers; i++)
		sql_close(tree->readers[i]);
	sql_close(tree->sql);
	if (tree->dirs.bucket)
		hash_release(&tree->dirs);
	reserve_close(tree->reserve);
	mem_close_fd(&tree->trash_fd);
	mem_close_fd(&tree->stage_fd);
	mem_close_fd(&tree->state_fd);
	mem_close_fd(&tree->root_fd);
	mem_close_fd(&tree->lock_fd);
	pthread_cond_destroy(&tree->publish_cond);
	pthread_mutex_destroy(&tree->readers_lock);
	pthread_mutex_destroy(&tree->publish_lock);
	pthread_mutex_destroy(&tree->lock);
	free(tree->path);
	free(tree);
}

/* ---- the lock and transactions ---- */

void tree_lock(struct tree *tree)
{
	pthread_mutex_lock(&tree->lock);
}

void tree_unlock(struct tree *tree)
{
	tree_forget_dirs(tree);
	pthread_mutex_unlock(&tree->lock);
}

int tree_begin(struct tree *tree)
{
	return sql_exec(tree->sql, "BEGIN IMMEDIATE");
}

int tree_read_begin(struct tree *tree)
{
	return sql_exec(tree->sql, "BEGIN");
}

void tree_read_end(struct tree *tree)
{
	(void)sql_exec(tree->sql, "ROLLBACK");	/* nothing was written; fails when SQLite has done it already */
}

void tree_rollback(struct tree *tree)
{
	(void)sql_exec(tree->sql, "ROLLBACK");	/* fails when SQLite has done it already */
	pthread_mutex_lock(&tree->publish_lock);
	tree->position = tree->published;
	pthread_mutex_unlock(&tree->publish_lock);
}

int tree_commit(struct tree *tree)
{
	int err = sql_exec(tree->sql, "COMMIT");

	if (err) {
		tree_rollback(tree);
		if (err == -EIO && !tree->broken) {
			tree->broken = err;
			log_error("%s/" STATE_DIR "/upstream.db: cannot be written (%s); changes "
						  "are refused until a restart",
				  tree->path, sql_message(tree->sql));
		}
		return err;
	}
	pthread_mutex_lock(&tree->publish_lock);
	tree->published = tree->position;
	tree->commits++;
	pthread_cond_broadcast(&tree->publish_cond);
	pthread_mutex_unlock(&tree->publish_lock);
	return 0;
}

/* ---- readers ---- */

int tree_reader_get(struct tree *tree, struct sql **ret_sql)
{
	AUTO_FREE char *path = NULL;
	struct sql *sql = NULL;
	int err = 0;

	pthread_mutex_lock(&tree->readers_lock);
	if (tree->n_readers)
		sql = tree->readers[--tree->n_readers];
	pthread_mutex_unlock(&tree->readers_lock);
	if (!sql) {
		if (asprintf(&path, "/proc/self/fd/%d/upstream.db", tree->state_fd) < 0)
			return -ENOMEM;
		err = sql_open(path, false, &sql);
		if (err)
			return err;
	}
	err = sql_exec(sql, "BEGIN");
	if (err) {
		sql_close(sql);
		return err;
	}
	*ret_sql = sql;
	return 0;
}

void tree_reader_put(struct tree *tree, struct sql *sql)
{
	if (!sql)
		return;
	if (sql_exec(sql, "COMMIT")) {
		sql_close(sql);
		return;
	}
	pthread_mutex_lock(&tree->readers_lock);
	if (tree->n_readers < TREE_READERS) {
		tree->readers[tree->n_readers++] = sql;
		sql = NULL;
	}
	pthread_mutex_unlock(&tree->readers_lock);
	sql_close(sql);
}

int tree_has_room(struct tree *tree, uint64_t bytes)
{
	struct statvfs st;

	if (fstatvfs(tree->state_fd, &st) < 0)
		return -errno;
	return (uint64_t)st.f_bavail * st.f_frsize < bytes ? -ENOSPC : 0;
}

int tree_has_room_to_stage(struct tree *tree, uint64_t bytes)
{
	if (bytes > INT64_MAX || reserve_is_tight(tree->reserve))
		return -ENOSPC;
	return tree_has_room(tree, bytes + 2 * TREE_ROOM_MIN);	/* one for the record, one for what others send with it */
}
