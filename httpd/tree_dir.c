/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directories' descriptors: found by their names from the root down, each one checked to be the file that the tables know. */
#include "httpd/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define DIRS_KEPT 200	/* open directories, before tree_trim_dirs() closes them */
#define DEPTH_MAX 2048	/* of directories; a loop in the tables ends here */

struct open_dir {
	struct hash_node node;
	int64_t id;
	int fd;
};

static void close_dir(struct hash_node *node, void *arg)
{
	struct open_dir *dir = container_of(node, struct open_dir, node);

	(void)arg;
	(void)close(dir->fd);	/* a directory: nothing was written through it */
	free(dir);
}

/* ---- the way there ---- */

/* The directory below parent_fd, if it is still the file the tables know. */
static int open_known(struct tree *tree, int parent_fd, const char *name, struct file_id id)
{
	struct file_stat st;
	int fd, err;

	fd = file_open_dir(parent_fd, name, tree->dev);
	if (fd < 0)
		return fd;
	err = file_stat(fd, "", &st);
	if (!err && !file_id_equal(st.id, id))
		err = -ESTALE;
	if (err) {
		(void)close(fd);
		return err;
	}
	return fd;
}

struct step_down {
	int64_t id;
	struct file_id file;
	struct name name;
};

/* The names from the root (or from a directory that is open: *ret_fd) down to id, last first. */
static int way_up(struct tree *tree, struct sql *sql, int64_t id, bool use_open,
		  struct step_down **ret_way, size_t *ret_n, int *ret_fd)
{
	struct step_down *way = NULL, *more;
	struct object object;
	struct name_row row;
	size_t n = 0, cap = 0;
	int got = 0;

	*ret_fd = tree->root_fd;
	while (id != ROOT_ID) {
		if (use_open && n) {
			struct hash_node *node = hash_first(&tree->dirs, hash_u64((uint64_t)id));

			while (node && container_of(node, struct open_dir, node)->id != id)
				node = hash_next(node);
			if (node) {
				*ret_fd = container_of(node, struct open_dir, node)->fd;
				break;
			}
		}
		got = object_by_id(sql, id, &object);
		if (got > 0)
			got = object.gone ? 0 : name_of(sql, id, &row);
		if (got > 0 && n == DEPTH_MAX)
			got = -ELOOP;
		if (got <= 0) {
			free(way);
			return got ? got : -ESTALE;
		}
		if (n == cap) {
			cap = cap ? 2 * cap : 8;
			more = realloc(way, cap * sizeof(*way));
			if (!more) {
				free(way);
				return -ENOMEM;
			}
			way = more;
		}
		way[n].id = id;
		way[n].file = object.file;
		way[n++].name = row.name;
		id = row.dir;
	}
	*ret_way = way;
	*ret_n = n;
	return 0;
}

static int walk_down(struct tree *tree, const struct step_down *way, size_t n, int fd)
{
	AUTO_CLOSE int above = -1;
	int next;

	if (!n) {
		next = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		return next < 0 ? -errno : next;
	}
	for (size_t i = n; i-- > 0;) {
		next = open_known(tree, fd, way[i].name.text, way[i].file);
		if (next < 0)
			return next;
		mem_close_fd(&above);
		above = fd = next;
	}
	above = -1;
	return fd;
}

int tree_open_dir(struct tree *tree, struct sql *sql, int64_t id)
{
	AUTO_FREE struct step_down *way = NULL;
	size_t n;
	int err, fd;

	err = way_up(tree, sql, id, false, &way, &n, &fd);
	return err ? err : walk_down(tree, way, n, fd);
}

/* ---- those that are kept open ---- */

int tree_dir(struct tree *tree, int64_t id)
{
	AUTO_FREE struct step_down *way = NULL;
	uint64_t value = hash_u64((uint64_t)id);
	struct open_dir *dir;
	size_t n;
	int err, fd;

	if (id == ROOT_ID)
		return tree->root_fd;
	for (struct hash_node *node = hash_first(&tree->dirs, value); node;
	     node = hash_next(node)) {
		dir = container_of(node, struct open_dir, node);
		if (dir->id == id)
			return dir->fd;
	}
	err = way_up(tree, tree->sql, id, true, &way, &n, &fd);
	if (err)
		return err;
	fd = walk_down(tree, way, n, fd);
	if (fd < 0)
		return fd;
	dir = malloc(sizeof(*dir));
	if (!dir) {
		(void)close(fd);
		return -ENOMEM;
	}
	dir->id = id;
	dir->fd = fd;
	hash_insert(&tree->dirs, &dir->node, value);
	return fd;
}

void tree_forget_dirs(struct tree *tree)
{
	hash_drain(&tree->dirs, close_dir, NULL);
}

void tree_trim_dirs(struct tree *tree)
{
	if (tree->dirs.n >= DIRS_KEPT)
		hash_drain(&tree->dirs, close_dir, NULL);
}

void tree_forget_dir(struct tree *tree, int64_t id)
{
	for (struct hash_node *node = hash_first(&tree->dirs, hash_u64((uint64_t)id)); node;
	     node = hash_next(node)) {
		if (container_of(node, struct open_dir, node)->id != id)
			continue;
		hash_remove(&tree->dirs, node);
		close_dir(node, NULL);
		return;
	}
}
