/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cache/access.h"

#define NEEDED (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER)
#define NAMED (ACL_USER | ACL_GROUP)
/* Those whose permissions are the mode's. */
#define OF_MODE (ACL_USER_OBJ | ACL_MASK | ACL_OTHER)

_Static_assert(sizeof(struct acl_entry) == sizeof(struct kml_ace) &&
	       offsetof(struct acl_entry, perm) == offsetof(struct kml_ace, perm) &&
	       offsetof(struct acl_entry, id) == offsetof(struct kml_ace, id), "the same in both");

/* ---- blocks ---- */

struct acls *acls_new(uint32_t n_access, uint32_t n_def)
{
	size_t n = (size_t)n_access + n_def;
	struct acls *acls = calloc(1, sizeof(*acls) + n * sizeof(struct acl_entry));

	if (!acls)
		return NULL;
	acls->access = (struct acl){ n_access, (struct acl_entry *)(acls + 1) };
	acls->def = (struct acl){ n_def, acls->access.v + n_access };
	return acls;
}

static void acl_fill(struct acl *to, const struct acl *from)
{
	if (from->n)
		memcpy(to->v, from->v, from->n * sizeof(from->v[0]));
}

static struct acls *acls_of(const struct acl *access, const struct acl *def)
{
	struct acls *acls = acls_new(access->n, def->n);

	if (acls) {
		acl_fill(&acls->access, access);
		acl_fill(&acls->def, def);
	}
	return acls;
}

int acls_copy(const struct acls *acls, struct acls **ret_acls)
{
	struct acls *copy = acls ? acls_of(&acls->access, &acls->def) : NULL;

	if (acls && !copy)
		return -ENOMEM;
	*ret_acls = copy;
	return 0;
}

static bool acl_equal(const struct acl *a, const struct acl *b)
{
	return a->n == b->n && (!a->n || !memcmp(a->v, b->v, a->n * sizeof(a->v[0])));
}

bool acls_equal(const struct acls *a, const struct acls *b)
{
	static const struct acls none;

	a = a ? a : &none;
	b = b ? b : &none;
	return acl_equal(&a->access, &b->access) && acl_equal(&a->def, &b->def);
}

/* ---- XDR ---- */

struct kml_acls acls_to_kml(const struct acls *acls)
{
	if (!acls)
		return (struct kml_acls){ 0 };
	return (struct kml_acls){
		.access = { acls->access.n, (struct kml_ace *)acls->access.v },
		.def = { acls->def.n, (struct kml_ace *)acls->def.v },
	};
}

int acls_decode(struct slice xdr, struct acls **ret_acls)
{
	struct kml_acls kml;
	struct acl access, def;
	struct acls *acls;
	int err;

	if (!xdr.len) {
		*ret_acls = NULL;
		return 0;
	}
	err = kml_acls_decode(xdr.data, xdr.len, &kml);
	if (err)
		return err == -ENOMEM ? err : -EUCLEAN;
	access = (struct acl){ kml.access.kml_acl_len, (struct acl_entry *)kml.access.kml_acl_val };
	def = (struct acl){ kml.def.kml_acl_len, (struct acl_entry *)kml.def.kml_acl_val };
	acls = acls_of(&access, &def);
	kml_acls_release(&kml);
	if (!acls)
		return -ENOMEM;
	*ret_acls = acls;
	return 0;
}

int acls_encode(struct buf *buf, const struct acls *acls)
{
	struct kml_acls kml = acls_to_kml(acls);

	return acls ? kml_acls_encode(buf, &kml) : 0;
}

/* ---- lists ---- */

static int entry_cmp(const void *a, const void *b)
{
	const struct acl_entry *x = a, *y = b;

	if (x->tag != y->tag)
		return x->tag < y->tag ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static const struct acl_entry *find(const struct acl *acl, uint32_t tag)
{
	for (uint32_t i = 0; i < acl->n; i++) {
		if (acl->v[i].tag == tag)
			return &acl->v[i];
	}
	return NULL;
}

int acl_sort(struct acl *acl)
{
	uint32_t tags = 0, need = NEEDED;

	if (!acl->n || acl->n > ACL_ENTRIES_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < acl->n; i++) {
		struct acl_entry *e = &acl->v[i];

		if (!e->tag || e->tag & (e->tag - 1) || e->tag > ACL_OTHER || e->perm & ~7u)
			return -EINVAL;
		if (e->tag & NAMED && e->id == UINT32_MAX)
			return -EINVAL;
		if (!(e->tag & NAMED))
			e->id = 0;
		tags |= e->tag;
	}
	if (tags & NAMED)
		need |= ACL_MASK;
	if ((tags & need) != need)
		return -EINVAL;
	qsort(acl->v, acl->n, sizeof(acl->v[0]), entry_cmp);
	for (uint32_t i = 1; i < acl->n; i++) {
		if (!entry_cmp(&acl->v[i - 1], &acl->v[i]))
			return -EINVAL;
	}
	return 0;
}

uint32_t acl_mode(const struct acl *full)
{
	const struct acl_entry *mask = find(full, ACL_MASK);

	if (!mask)
		mask = find(full, ACL_GROUP_OBJ);
	return find(full, ACL_USER_OBJ)->perm << 6 | mask->perm << 3 | find(full, ACL_OTHER)->perm;
}

bool acl_is_mode(const struct acl *full)
{
	return !find(full, ACL_MASK);
}

int acls_keep(const struct acl *access, const struct acl *def, const struct acls *old,
	      struct acls **ret_acls)
{
	static const struct acls none;
	struct acls *acls;

	old = old ? old : &none;
	if (access && acl_is_mode(access))
		access = &none.access;
	acls = acls_of(access ? access : &old->access, def ? def : &old->def);
	if (!acls)
		return -ENOMEM;
	for (uint32_t i = 0; i < acls->access.n; i++) {
		if (acls->access.v[i].tag & OF_MODE)
			acls->access.v[i].perm = 0;
	}
	if (!acls->access.n && !acls->def.n) {
		free(acls);
		acls = NULL;
	}
	*ret_acls = acls;
	return 0;
}

static uint32_t perm_of_mode(uint32_t tag, uint32_t mode)
{
	return tag == ACL_USER_OBJ ? mode >> 6 & 7 : tag == ACL_MASK ? mode >> 3 & 7 : mode & 7;
}

int acls_show(const struct acls *kept, uint32_t mode, struct acls **ret_acls)
{
	struct acl_entry v[3] = {
		{ ACL_USER_OBJ, mode >> 6 & 7, 0 },
		{ ACL_GROUP_OBJ, mode >> 3 & 7, 0 },
		{ ACL_OTHER, mode & 7, 0 },
	};
	const struct acl minimal = { 3, v }, none = { 0, NULL };
	bool has_access = kept && kept->access.n;
	struct acls *acls = acls_of(has_access ? &kept->access : &minimal, kept ? &kept->def : &none);

	if (!acls)
		return -ENOMEM;
	for (uint32_t i = 0; has_access && i < acls->access.n; i++) {
		struct acl_entry *e = &acls->access.v[i];

		if (e->tag & OF_MODE)
			e->perm = perm_of_mode(e->tag, mode);
	}
	*ret_acls = acls;
	return 0;
}

int acls_inherit(const struct acls *dir, bool is_dir, uint32_t *io_mode, struct acls **ret_acls)
{
	static const struct acl none;
	const struct acl *def = dir ? &dir->def : &none;
	struct acls *full, *kept = NULL;
	uint32_t mode;
	int err;

	if (!def->n) {
		*ret_acls = NULL;
		return 0;
	}
	full = acls_of(def, &none);
	if (!full)
		return -ENOMEM;
	/* The mode asked for takes away from the list, and the list from the mode. */
	for (uint32_t i = 0; i < full->access.n; i++) {
		struct acl_entry *e = &full->access.v[i];

		if (e->tag & OF_MODE || (e->tag == ACL_GROUP_OBJ && acl_is_mode(def)))
			e->perm &= perm_of_mode(e->tag == ACL_GROUP_OBJ ? ACL_MASK : e->tag, *io_mode);
	}
	mode = (*io_mode & ~0777u) | acl_mode(&full->access);
	err = acls_keep(&full->access, is_dir ? def : &none, NULL, &kept);
	free(full);
	if (err)
		return err;
	*io_mode = mode;
	*ret_acls = kept;
	return 0;
}

uint32_t acls_narrow_mode(const struct acls *kept, uint32_t mode)
{
	uint32_t least = 7;

	if (!kept || !kept->access.n)
		return mode;
	for (uint32_t i = 0; i < kept->access.n; i++) {
		if (!(kept->access.v[i].tag & OF_MODE))
			least &= kept->access.v[i].perm;
	}
	return mode & ~((~least & 7) << 3 | (~least & 7));
}

bool acl_grants(const struct cred *cred, const struct inode_values *v, unsigned want)
{
	const struct acl *acl = &v->acls->access;
	unsigned mask = v->mode >> 3 & 7;
	bool is_named = false;

	for (uint32_t i = 0; i < acl->n; i++) {
		const struct acl_entry *e = &acl->v[i];
		bool is_group = e->tag == ACL_GROUP_OBJ ? access_in_group(cred, v->gid)
			      : e->tag == ACL_GROUP && access_in_group(cred, e->id);

		if (e->tag == ACL_USER && e->id == cred->uid)
			return (e->perm & mask & want) == want;
		/* One of his groups' entries must have all of it: they do not add up. */
		if (is_group && (e->perm & mask & want) == want)
			return true;
		is_named |= is_group;
	}
	return !is_named && (v->mode & 7 & want) == want;
}
