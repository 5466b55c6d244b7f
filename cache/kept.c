/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/kept.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"

#define DIR_NAME "conflicts"
#define ABOUT "about"
#define ABOUT_MAX 8192

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

int kept_remove_tree(int dirfd, const char *name)
{
	struct dirent *entry;
	DIR *dir;
	int fd, err = 0;

	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return (errno == ENOTDIR || errno == ELOOP) && unlinkat(dirfd, name, 0) == 0 ? 0 : -errno;
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return -ENOMEM;
	}
	while (!err && (entry = readdir(dir)))
		if (!is_dots(entry->d_name))
			err = kept_remove_tree(fd, entry->d_name);
	closedir(dir);
	return !err && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? -errno : err;
}

/* The directory of all, made when missing. */
static int open_all(int cache_dirfd, bool may_make)
{
	int fd;

	if (may_make && mkdirat(cache_dirfd, DIR_NAME, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(cache_dirfd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int kept_begin(int cache_dirfd, uint64_t id, char ret_name[32])
{
	AUTO_CLOSE int all = open_all(cache_dirfd, true);
	int fd, err;

	if (all < 0)
		return all;
	(void)snprintf(ret_name, 32, ".%llu", (unsigned long long)id);
	err = kept_remove_tree(all, ret_name);
	if (err && err != -ENOENT)
		return err;
	if (mkdirat(all, ret_name, 0700) < 0)
		return -errno;
	fd = openat(all, ret_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int kept_end(int cache_dirfd, int fd, const char *name, const char *about)
{
	AUTO_CLOSE int all = open_all(cache_dirfd, false);
	int err;

	if (all < 0)
		return all;
	err = fs_replace(fd, ABOUT, about, strlen(about));
	if (!err && syncfs(fd) < 0)
		err = -errno;
	if (err)
		return err;
	err = kept_remove_tree(all, name + 1);	/* of a decision that went as far as here and no further */
	if (err && err != -ENOENT)
		return err;
	if (renameat(all, name, all, name + 1) < 0 || fsync(all) < 0)
		return -errno;
	return fsync(cache_dirfd) < 0 ? -errno : 0;
}

/* The first that is not ABOUT. */
static void file_of(int all, const char *id, char name[NAME_MAX + 1])
{
	int fd = openat(all, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	name[0] = '\0';
	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (!is_dots(entry->d_name) && (!name[0] || strcmp(entry->d_name, ABOUT)))
			(void)snprintf(name, NAME_MAX + 1, "%s", entry->d_name);
	closedir(dir);
	if (!strcmp(name, ABOUT))
		name[0] = '\0';
}

int kept_each(const char *cache_dir, void (*fn)(void *arg, uint64_t id, const char *about, const char *path), void *arg)
{
	AUTO_FREE char *path = malloc(PATH_MAX);
	char name[NAME_MAX + 1], about_name[NAME_MAX + 16];
	struct dirent *entry;
	DIR *dir;

	if (!path)
		return -ENOMEM;
	(void)snprintf(path, PATH_MAX, "%s/" DIR_NAME, cache_dir);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(dir))) {
		AUTO_FREE char *about = NULL;
		size_t len;
		char *end;
		unsigned long long id = strtoull(entry->d_name, &end, 10);

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || *end)
			continue;
		(void)snprintf(about_name, sizeof(about_name), "%s/" ABOUT, entry->d_name);
		if (fs_read_file(dirfd(dir), about_name, ABOUT_MAX, &about, &len))
			about = NULL;
		file_of(dirfd(dir), entry->d_name, name);
		(void)snprintf(path, PATH_MAX, "%s/" DIR_NAME "/%s/%s", cache_dir, entry->d_name, name);
		fn(arg, id, about ? about : "", name[0] ? path : "");
	}
	closedir(dir);
	return 0;
}

int kept_forget(const char *cache_dir, uint64_t id)
{
	AUTO_CLOSE int fd = open(cache_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int all = fd < 0 ? -1 : open_all(fd, false);
	char name[32];

	if (fd < 0)
		return -errno;
	if (all < 0)
		return all;
	(void)snprintf(name, sizeof(name), "%llu", (unsigned long long)id);
	return kept_remove_tree(all, name);
}
