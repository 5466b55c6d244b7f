/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/facl.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include "base/log.h"

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"
#define XATTR_VERSION 2		/* in its first four bytes; all of it is little-endian */
#define NO_ID UINT32_MAX	/* of entries that name nobody */
#define OF_MODE (KML_ACL_USER_OBJ | KML_ACL_MASK | KML_ACL_OTHER)
#define NAMED (KML_ACL_USER | KML_ACL_GROUP)

struct xattr_head {
	uint32_t version;
};

struct xattr_entry {
	uint16_t tag, perm;
	uint32_t id;
};

#define PATH_ROOM (32 + KML_NAME_MAX)
#define XATTR_MAX (sizeof(struct xattr_head) + KML_ACL_MAX * sizeof(struct xattr_entry))

static void path_of(int dirfd, const char *name, char path[PATH_ROOM])
{
	(void)snprintf(path, PATH_ROOM, *name ? "/proc/self/fd/%d/%s" : "/proc/self/fd/%d", dirfd,
		       name);
}

bool facl_supported(int fd)
{
	char path[PATH_ROOM];

	path_of(fd, "", path);
	return getxattr(path, ACCESS, NULL, 0) >= 0 || errno == ENODATA;
}

/* ---- reading ---- */

static int ace_cmp(const void *a, const void *b)
{
	const struct kml_ace *x = a, *y = b;

	if (x->tag != y->tag)
		return x->tag < y->tag ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int parse(const unsigned char *data, size_t len, bool is_access, kml_acl *ret_acl)
{
	size_t n = (len - sizeof(struct xattr_head)) / sizeof(struct xattr_entry);
	struct xattr_head head;

	if (len < sizeof(head))
		return -EINVAL;
	memcpy(&head, data, sizeof(head));
	if (le32toh(head.version) != XATTR_VERSION)
		return -EINVAL;
	ret_acl->kml_acl_val = calloc(n + 1, sizeof(struct kml_ace));
	if (!ret_acl->kml_acl_val)
		return -ENOMEM;
	ret_acl->kml_acl_len = (u_int)n;
	for (size_t i = 0; i < n; i++) {
		struct kml_ace *to = &ret_acl->kml_acl_val[i];
		struct xattr_entry e;

		memcpy(&e, data + sizeof(head) + i * sizeof(e), sizeof(e));
		to->tag = le16toh(e.tag);
		to->perm = is_access && to->tag & OF_MODE ? 0 : le16toh(e.perm);
		to->id = to->tag & NAMED ? le32toh(e.id) : 0;
	}
	qsort(ret_acl->kml_acl_val, n, sizeof(struct kml_ace), ace_cmp);
	return 0;
}

/* Every byte of it is logged as missing once a minute, not for each file. */
static void too_long(const char *path)
{
	static struct log_gate gate;
	unsigned held;

	if (log_gate_open(&gate, 60, &held))
		log_warn("%s: its access control list has more than %d entries, clients do not see it:"
			 " held_back=%u", path, KML_ACL_MAX, held);
}

static int read_one(const char *path, bool is_link, const char *which, kml_acl *ret_acl)
{
	unsigned char data[XATTR_MAX];
	ssize_t len = is_link ? getxattr(path, which, data, sizeof(data))
			      : lgetxattr(path, which, data, sizeof(data));

	if (len < 0 && errno == ERANGE) {
		too_long(path);
		return 0;
	}
	if (len < 0)
		return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
	return parse(data, (size_t)len, which[sizeof("system.posix_acl_") - 1] == 'a', ret_acl);
}

int facl_read(int dirfd, const char *name, enum kml_type type, struct buf *buf)
{
	struct kml_acls acls = { 0 };
	char path[PATH_ROOM];
	int err;

	if (type == KML_LNK)
		return 0;
	path_of(dirfd, name, path);
	err = read_one(path, !*name, ACCESS, &acls.access);
	if (!err && type == KML_DIR)
		err = read_one(path, !*name, DEFAULT, &acls.def);
	if (!err && (acls.access.kml_acl_len || acls.def.kml_acl_len))
		err = kml_acls_encode(buf, &acls);
	kml_acls_release(&acls);
	return err;
}

/* ---- writing ---- */

static unsigned perm_of(const struct kml_ace *ace, bool is_access, unsigned mode)
{
	if (!is_access || !(ace->tag & OF_MODE))
		return ace->perm;
	return ace->tag == KML_ACL_USER_OBJ ? mode >> 6 & 7
	     : ace->tag == KML_ACL_MASK     ? mode >> 3 & 7
					    : mode & 7;
}

static int write_one(const char *path, const char *which, const kml_acl *acl, bool is_access,
		     unsigned mode)
{
	unsigned char data[XATTR_MAX];
	struct xattr_head head = { htole32(XATTR_VERSION) };
	size_t len = sizeof(head);

	if (!acl->kml_acl_len)
		return removexattr(path, which) < 0 && errno != ENODATA && errno != EOPNOTSUPP ?
			       -errno : 0;
	memcpy(data, &head, sizeof(head));
	for (u_int i = 0; i < acl->kml_acl_len; i++) {
		const struct kml_ace *ace = &acl->kml_acl_val[i];
		struct xattr_entry e = {
			.tag = htole16((uint16_t)ace->tag),
			.perm = htole16((uint16_t)perm_of(ace, is_access, mode)),
			.id = htole32(ace->tag & NAMED ? ace->id : NO_ID),
		};

		memcpy(data + len, &e, sizeof(e));
		len += sizeof(e);
	}
	return setxattr(path, which, data, len, 0) < 0 ? -errno : 0;
}

int facl_set(int fd, enum kml_type type, unsigned mode, struct slice xdr)
{
	struct kml_acls acls = { 0 };
	char path[PATH_ROOM];
	int err = 0;

	if (type == KML_LNK)
		return 0;
	path_of(fd, "", path);
	if (xdr.len)
		err = kml_acls_decode(xdr.data, xdr.len, &acls);
	if (err)
		return err;
	/*
	 * A list comes with its part of the mode in one step.  A list that goes leaves its mask behind as the
	 * group's part: so the mode comes first.
	 */
	if (acls.access.kml_acl_len)
		err = write_one(path, ACCESS, &acls.access, true, mode);
	if (!err && chmod(path, mode) < 0)
		err = -errno;
	if (!err && !acls.access.kml_acl_len)
		err = write_one(path, ACCESS, &acls.access, true, mode);
	if (!err && type == KML_DIR)
		err = write_one(path, DEFAULT, &acls.def, false, mode);
	kml_acls_release(&acls);
	return err;
}

void facl_no_default(int dirfd)
{
	char path[PATH_ROOM];

	path_of(dirfd, "", path);
	(void)removexattr(path, DEFAULT);	/* mostly there is none */
}
