/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * list: intrusive doubly linked list with a head.
 *
 * A zeroed node is in no list; list_del() leaves it so.  A head must be set up with list_init().
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include "base/mem.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *head)
{
	head->next = head->prev = head;
}

static inline bool list_is_empty(const struct list *head)
{
	return head->next == head;
}

/* Is the node in some list? */
static inline bool list_is_linked(const struct list *node)
{
	return node->next != NULL;
}

static inline void list_insert_before(struct list *where, struct list *node)
{
	node->next = where;
	node->prev = where->prev;
	where->prev->next = node;
	where->prev = node;
}

static inline void list_append(struct list *head, struct list *node)
{
	list_insert_before(head, node);
}

static inline void list_prepend(struct list *head, struct list *node)
{
	list_insert_before(head->next, node);
}

static inline void list_del(struct list *node)
{
	if (!node->next)
		return;
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = NULL;
}

/* Move all of 'from' to the end of 'to'; from is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_is_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_entry(node, type, member) container_of(node, type, member)
#define list_first(head, type, member) \
	(list_is_empty(head) ? NULL : list_entry((head)->next, type, member))
#define list_each(p, head, member) \
	for (p = list_entry((head)->next, __typeof__(*p), member); &p->member != (head); \
	     p = list_entry(p->member.next, __typeof__(*p), member))
/* As list_each, and the body may take p out of the list. */
#define list_each_safe(p, q, head, member) \
	for (p = list_entry((head)->next, __typeof__(*p), member), \
	     q = list_entry(p->member.next, __typeof__(*p), member); &p->member != (head); \
	     p = q, q = list_entry(q->member.next, __typeof__(*p), member))

#endif
