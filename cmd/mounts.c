/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/mounts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"

#define SYMLINKS_MAX 40		/* as the kernel has it */
#define NFS_PORT 2049		/* not shown among the options */

/* \040 and the like, in place. */
static void unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/* The value of NAME=VALUE among options, "" for a bare NAME, or NULL; *ret_len is its length. */
static const char *find_option(const char *options, const char *name, size_t *ret_len)
{
	size_t len = strlen(name);

	for (const char *p = options; *p;) {
		size_t part = strcspn(p, ",");

		if (part >= len && !strncmp(p, name, len) && (part == len || p[len] == '=')) {
			*ret_len = part == len ? 0 : part - len - 1;
			return part == len ? p + len : p + len + 1;
		}
		p += part;
		if (*p == ',')
			p++;
	}
	return NULL;
}

static bool has_value(const char *options, const char *name, const char *value)
{
	size_t len;
	const char *found = find_option(options, name, &len);

	return found && len == strlen(value) && !strncmp(found, value, len);
}

static bool is_from_here(const char *options, uint16_t port)
{
	size_t len;
	const char *addr = find_option(options, "addr", &len);
	const char *shown = find_option(options, "port", &len);

	if (!addr || (strncmp(addr, "127.", 4) && !has_value(options, "addr", "::1")))
		return false;
	return (shown ? strtoul(shown, NULL, 10) : NFS_PORT) == port;
}

static bool is_at_or_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	if (len == 1)
		return true;
	return !strncmp(path, top, len) && (path[len] == '/' || !path[len]);
}

static int add(struct mounts *mounts, const char *point, const char *export, bool is_local_lock)
{
	struct mount *more = realloc(mounts->v, (mounts->n + 1) * sizeof(*more));
	struct mount *mount;

	if (!more)
		return -ENOMEM;
	mounts->v = more;
	mount = &more[mounts->n];
	*mount = (struct mount){ strdup(point), strdup(export), is_local_lock };
	mounts->n++;
	return mount->point && mount->export ? 0 : -ENOMEM;
}

/*
 * One line: ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELDS]... - TYPE SOURCE SUPER-OPTIONS
 */
static int take_line(struct mounts *mounts, char *line, uint16_t port, const char *const *exports,
		     size_t n_exports)
{
	char *fields[5], *rest, *point, *type, *source, *options, *export, *save;

	rest = strstr(line, " - ");
	if (!rest)
		return 0;
	*rest = '\0';
	rest += 3;
	fields[0] = strtok_r(line, " ", &save);
	for (size_t i = 1; i < ARRAY_SIZE(fields); i++)
		fields[i] = strtok_r(NULL, " ", &save);
	point = fields[4];
	type = strtok_r(rest, " ", &save);
	source = strtok_r(NULL, " ", &save);
	options = strtok_r(NULL, " \n", &save);
	if (!point || !type || !source || !options || strcmp(type, "nfs"))
		return 0;
	unescape(point);
	unescape(source);
	export = strstr(source, ":/");
	if (!export || !is_from_here(options, port))
		return 0;
	export++;
	for (size_t i = 0; i < n_exports; i++)
		if (is_at_or_below(export, exports[i]))
			return add(mounts, point, export,
				   has_value(options, "local_lock", "all") ||
					   has_value(options, "nolock", ""));
	return 0;
}

int mounts_find(struct mounts *mounts, const char *info, uint16_t port, const char *const *exports,
		size_t n_exports)
{
	AUTO_FREE char *line = NULL;
	size_t size = 0;
	FILE *file;
	int err = 0;

	*mounts = (struct mounts){ 0 };
	file = fopen(info, "re");
	if (!file)
		return -errno;
	while (!err && getline(&line, &size, file) >= 0)
		err = take_line(mounts, line, port, exports, n_exports);
	(void)fclose(file);	/* was only read */
	return err;
}

void mounts_release(struct mounts *mounts)
{
	for (size_t i = 0; i < mounts->n; i++) {
		free(mounts->v[i].point);
		free(mounts->v[i].export);
	}
	free(mounts->v);
	*mounts = (struct mounts){ 0 };
}

static const struct mount *mount_at(const struct mounts *mounts, const char *path)
{
	for (size_t i = 0; i < mounts->n; i++)
		if (!strcmp(path, mounts->v[i].point))
			return &mounts->v[i];
	return NULL;
}

/*
 * Walks down one name at a time.  What has been walked is a path without symlinks, so it can be
 * compared with mount points; readlink() is only called above any mount of ours.
 */
const struct mount *mounts_holding(const struct mounts *mounts, const char *path)
{
	char walked[PATH_MAX] = "", left[2 * PATH_MAX], target[PATH_MAX], next[2 * PATH_MAX];
	const struct mount *mount = mount_at(mounts, "/");
	int links = 0;

	if (mount)
		return mount;
	if (path[0] != '/' || strlen(path) >= PATH_MAX)
		return NULL;
	(void)strcpy(left, path);	/* fits, as just seen */
	while (*left) {
		size_t slashes = strspn(left, "/"), len = strcspn(left + slashes, "/"),
		       was = strlen(walked);
		const char *name = left + slashes;
		ssize_t n;

		if (!len)
			break;
		if (len == 2 && !strncmp(name, "..", 2)) {
			char *last = strrchr(walked, '/');

			if (last)
				*last = '\0';
		} else if (len != 1 || *name != '.') {
			if (was + 1 + len >= sizeof(walked))
				return NULL;	/* too long for the kernel too */
			walked[was] = '/';
			memcpy(walked + was + 1, name, len);
			walked[was + 1 + len] = '\0';
		}
		memmove(left, name + len, strlen(name + len) + 1);
		mount = mount_at(mounts, walked);
		if (mount)
			return mount;
		n = readlink(*walked ? walked : "/", target, sizeof(target) - 1);
		if (n < 0)
			continue;	/* not a symlink, or not there: names below it cannot be one either */
		if (++links > SYMLINKS_MAX)
			return NULL;
		target[n] = '\0';
		if (snprintf(next, sizeof(next), "%s/%s", target, left) >= (int)sizeof(next))
			return NULL;
		(void)strcpy(left, next);	/* of the same size */
		if (target[0] == '/')
			walked[0] = '\0';
		else
			walked[was] = '\0';
	}
	return NULL;
}
