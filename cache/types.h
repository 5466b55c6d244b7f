/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * types: values that the cache and its callers share.  Neither NFS's types nor struct stat.
 */
#ifndef CACHE_TYPES_H
#define CACHE_TYPES_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include "base/mem.h"

#define CACHE_NAME_MAX 255
#define CACHE_LINK_MAX 32000u
#define CACHE_TARGET_MAX 4096
#define CACHE_SIZE_MAX ((uint64_t)INT64_MAX)

/* The numbers of ftype3 in RFC 1813, and of kml_type. */
enum file_type { TYPE_REG = 1, TYPE_DIR, TYPE_BLK, TYPE_CHR, TYPE_LNK, TYPE_SOCK, TYPE_FIFO };

#define CRED_GROUPS_MAX 16

/* Who asks. */
struct cred {
	uint32_t uid, gid;
	uint32_t ngroups;
	uint32_t groups[CRED_GROUPS_MAX];
};

struct attr {
	uint64_t ino;		/* also the NFS fileid; at least 2, never used again */
	enum file_type type;
	uint32_t mode;		/* 07777 */
	uint32_t nlink;
	uint32_t uid, gid;
	uint32_t major, minor;	/* of a device node */
	uint64_t size;		/* bytes; of a directory a made-up number */
	uint64_t used;		/* bytes on this disk */
	struct timespec atime, mtime, ctime;
};

enum attr_set {
	SET_MODE	= 1 << 0,
	SET_UID		= 1 << 1,
	SET_GID		= 1 << 2,
	SET_SIZE	= 1 << 3,
	SET_ATIME	= 1 << 4,	/* to the value given */
	SET_MTIME	= 1 << 5,
	SET_ATIME_NOW	= 1 << 6,	/* to this machine's time */
	SET_MTIME_NOW	= 1 << 7,
};

/* What a SETATTR or the first attributes of a new object ask for. */
struct attr_change {
	unsigned set;		/* enum attr_set */
	uint32_t mode, uid, gid;
	uint64_t size;
	struct timespec atime, mtime;
};

/* RFC 1813 2.6: attributes before and after, taken with the change itself. */
struct pre_attr {
	bool is_known;
	uint64_t size;
	struct timespec mtime, ctime;
};

struct wcc {
	struct pre_attr before;
	bool has_after;
	struct attr after;
};

/* RFC 1813 3.3.7 stable_how, same numbers. */
enum stability { UNSTABLE = 0, DATA_SYNC = 1, FILE_SYNC = 2 };

/* RFC 1813 3.3.8 createmode3, same numbers. */
enum create_how { CREATE_UNCHECKED = 0, CREATE_GUARDED = 1, CREATE_EXCLUSIVE = 2 };

/* RFC 1813 3.3.4 access bits, same numbers. */
enum access_bits {
	ACCESS_READ = 0x01, ACCESS_LOOKUP = 0x02, ACCESS_MODIFY = 0x04,
	ACCESS_EXTEND = 0x08, ACCESS_DELETE = 0x10, ACCESS_EXECUTE = 0x20,
};

/* Access control lists: the numbers of Linux, of NFSACL and of kml.x. */
enum acl_tag {
	ACL_USER_OBJ = 1, ACL_USER = 2, ACL_GROUP_OBJ = 4, ACL_GROUP = 8, ACL_MASK = 16, ACL_OTHER = 32,
};
#define ACL_ENTRIES_MAX 1024

struct acl_entry {
	uint32_t tag;		/* enum acl_tag */
	uint32_t perm;		/* 4 read, 2 write, 1 execute */
	uint32_t id;		/* of ACL_USER and ACL_GROUP, else 0 */
};

struct acl {
	uint32_t n;		/* 0: none */
	struct acl_entry *v;
};

/* An object's: who may do what; and what new objects in a directory get. */
struct acls {
	struct acl access, def;
};

enum acl_set { ACL_SET_ACCESS = 1, ACL_SET_DEFAULT = 2 };

enum durability { DURABILITY_SYNC, DURABILITY_ASYNC };

#endif
