/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * acl: NFSACL calls, beside client.h, with lists as text: what "getfacl -cnpE FILE | paste -sd," prints,
 * "user::rw-,user:1000:r--,group::r--,mask::rw-,other::---,default:user::rwx,...".
 */
#ifndef TESTS_NFS_ACL_H
#define TESTS_NFS_ACL_H

#include "tests/nfs/client.h"

#define ACL_TEXT 65536

struct acl_got {
	uint32_t mask, count, default_count, n, default_n;
	char text[ACL_TEXT];
	struct nfsacl_ace first;	/* as they came */
};

static struct acl_got acl_got UNUSED;

static const struct {
	uint32_t type;
	const char *name;
} acl_words[] UNUSED = {
	{ 1, "user" }, { 2, "user" }, { 4, "group" }, { 8, "group" }, { 16, "mask" }, { 32, "other" },
};

static UNUSED void acl_print(uint32_t n, const struct nfsacl_ace *v)
{
	size_t at = strlen(acl_got.text);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t type = (uint32_t)v[i].type & 0xfff;
		const char *word = "?";
		char id[16] = "";

		for (size_t k = 0; k < ARRAY_SIZE(acl_words); k++)
			if (acl_words[k].type == type)
				word = acl_words[k].name;
		if (type == 2 || type == 8)
			snprintf(id, sizeof(id), "%u", v[i].id);
		at += (size_t)snprintf(acl_got.text + at, ACL_TEXT - at, "%s%s%s:%s:%c%c%c", at ? "," : "",
				       (uint32_t)v[i].type & 0x1000 ? "default:" : "", word, id,
				       v[i].perm & 4 ? 'r' : '-', v[i].perm & 2 ? 'w' : '-',
				       v[i].perm & 1 ? 'x' : '-');
	}
}

static UNUSED void getacl_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct client *c = arg;
	struct GETACL3res *res = data;
	struct GETACL3resok *ok = &res->GETACL3res_u.resok;

	(void)rpc;
	if (!answered(c, status, data))
		return;
	c->got.status = (int)res->status;
	if (res->status != NFS3_OK)
		return;
	keep_attr(&c->got, &ok->attr);
	acl_got.mask = ok->mask;
	acl_got.count = ok->ace_count;
	acl_got.default_count = ok->default_ace_count;
	acl_got.n = ok->ace.ace_len;
	acl_got.default_n = ok->default_ace.default_ace_len;
	if (acl_got.n)
		acl_got.first = ok->ace.ace_val[0];
	acl_print(acl_got.n, ok->ace.ace_val);
	acl_print(acl_got.default_n, ok->default_ace.default_ace_val);
}

/* What came is in acl_got. */
static UNUSED int nfsacl_get(struct client *c, const struct fh *fh, uint32_t mask)
{
	struct GETACL3args args = { fh_arg(fh), mask };

	client_begin(c);
	memset(&acl_got, 0, sizeof(acl_got));
	return client_end(c, "GETACL", rpc_nfsacl_getacl_async(c->rpc, getacl_cb, &args, c));
}

/* The lists, or "error NUMBER". */
static UNUSED const char *nfsacl_text(struct client *c, const struct fh *fh)
{
	int status = nfsacl_get(c, fh, 15);

	if (status)
		snprintf(acl_got.text, ACL_TEXT, "error %d", status);
	return acl_got.text;
}

static UNUSED void setacl_cb(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct client *c = arg;
	struct SETACL3res *res = data;

	(void)rpc;
	if (!answered(c, status, data))
		return;
	c->got.status = (int)res->status;
	if (res->status == NFS3_OK)
		keep_attr(&c->got, &res->SETACL3res_u.resok.attr);
}

static UNUSED int nfsacl_set_args(struct client *c, struct SETACL3args *args)
{
	client_begin(c);
	return client_end(c, "SETACL", rpc_nfsacl_setacl_async(c->rpc, setacl_cb, args, c));
}

/* One entry of the text; gives what is behind it. */
static UNUSED const char *acl_parse(const char *text, struct nfsacl_ace *ret_ace)
{
	uint32_t flag = strncmp(text, "default:", 8) ? 0 : 0x1000;
	const char *word, *id, *perm;
	size_t len;

	word = text + (flag ? 8 : 0);
	id = strchr(word, ':') + 1;
	len = (size_t)(id - 1 - word);
	perm = strchr(id, ':') + 1;
	*ret_ace = (struct nfsacl_ace){ 0 };
	for (size_t k = 0; k < ARRAY_SIZE(acl_words); k++) {
		bool is_named = acl_words[k].type == 2 || acl_words[k].type == 8;

		if (strlen(acl_words[k].name) == len && !strncmp(acl_words[k].name, word, len) &&
		    is_named == (*id != ':'))
			ret_ace->type = (enum nfsacl_type)(acl_words[k].type | flag);
	}
	ret_ace->id = (u_int)strtoul(id, NULL, 10);
	for (; *perm && *perm != ','; perm++)
		ret_ace->perm |= *perm == 'r' ? 4 : *perm == 'w' ? 2 : *perm == 'x' ? 1 : 0;
	return *perm ? perm + 1 : perm;
}

/* Sets what the mask says (1: access, 4: default) to what the text has of it. */
static UNUSED int nfsacl_set(struct client *c, const struct fh *fh, uint32_t mask, const char *text)
{
	struct nfsacl_ace access[1024], def[1024], ace;
	struct SETACL3args args = { .dir = fh_arg(fh), .mask = mask };

	args.ace.ace_val = access;
	args.default_ace.default_ace_val = def;
	while (*text) {
		text = acl_parse(text, &ace);
		if ((uint32_t)ace.type & 0x1000)
			def[args.default_ace.default_ace_len++] = ace;
		else
			access[args.ace.ace_len++] = ace;
	}
	args.ace_count = args.ace.ace_len;
	args.default_ace_count = args.default_ace.default_ace_len;
	return nfsacl_set_args(c, &args);
}

#endif
