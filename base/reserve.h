/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reserve: room for a database when its disk is full.
 *
 * Even a REMOVE has to be written down before it frees anything.  So a file of RESERVE_MAX bytes
 * (less on a small disk) is kept that holds nothing.  Who finds the disk full gives the file up, and tries again;
 * from then on the disk is tight: what would fill it (new content, new objects) is to be refused with
 * -ENOSPC, what frees it goes on.  That ends when there is room for the file again.
 *
 * Threads: any.
 */
#ifndef BASE_RESERVE_H
#define BASE_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

#define RESERVE_MAX (16ull << 20)

struct reserve;

/*
 * Make it, as "reserve" in the directory dirfd, which is to stay open as long; where there is not twice the room for it, and it is not there from
 * before, the disk is tight from the start.  whose and path are for the log, and are to stay as long, too.  0, -ENOMEM, or what open(2) gives.
 */
int reserve_open(int dirfd, const char *whose, const char *path, struct reserve **ret);
/* The file stays.  NULL does nothing. */
void reserve_close(struct reserve *reserve);
/* The disk is full.  True: the reserve (NULL has none) has been given up just now, try again. */
bool reserve_give_up(struct reserve *reserve);
/* May nothing be added now?  That there is room again is seen within 0.1 s. */
bool reserve_is_tight(struct reserve *reserve);
/* Something has been freed: look at once. */
void reserve_fill(struct reserve *reserve);
/* It is given up: can so many bytes be had, or what it has where that is less, by whatever rules the file system has for us? */
bool reserve_has_room(struct reserve *reserve, uint64_t bytes);

#endif
