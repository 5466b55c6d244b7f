/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/aside.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "replicate/internal.h"

static struct aside_slot *slot_of(struct aside *aside, uint64_t ino)
{
	for (size_t i = 0; i < ASIDE_SLOTS; i++)
		if (aside->slots[i].step != ASIDE_FREE && aside->slots[i].ino == ino)
			return &aside->slots[i];
	return NULL;
}

static bool is_under_way(const struct aside_slot *slot)
{
	return slot->step == ASIDE_LOOK || slot->step == ASIDE_STAGE;
}

/* ---- steps ---- */

static void move(struct aside_slot *slot, enum aside_step step)
{
	cml_item_free(slot->item);
	slot->item = NULL;
	slot->is_stopped = false;
	slot->step = step;
	slot->aside->moved(slot->aside);
}

static void set_timer(struct aside *aside)
{
	uint64_t until_us = CLOCK_NEVER;

	for (size_t i = 0; i < ASIDE_SLOTS; i++)
		if (aside->slots[i].step == ASIDE_LATER)
			until_us = MIN(until_us, aside->slots[i].until_us);
	if (until_us != CLOCK_NEVER)
		loop_timer_set(aside->replicate->loop, &aside->timer, until_us);
}

static void later(struct aside_slot *slot, uint64_t us)
{
	slot->until_us = clock_us() + us;
	move(slot, ASIDE_LATER);
	set_timer(slot->aside);
}

static void in_trouble(struct aside_slot *slot, const char *what, const char *why)
{
	snprintf(slot->trouble, sizeof(slot->trouble), "%s%s%s", what, why && *why ? ": " : "", why ? why : "");
	log_warn("replay: a large file waits, what does not need it goes on: %s ino=%" PRIu64, slot->trouble, slot->ino);
	later(slot, link_backoff_us(slot->tries++, replicate_random()));
}

static void not_still(struct aside_slot *slot)
{
	slot->write_gen = 0;
	if (++slot->busy >= ASIDE_TRIES)
		move(slot, ASIDE_READY);
	else
		later(slot, ASIDE_STILL_US);
}

/* ---- sending it ---- */

static void staged(struct stage *stage, int err)
{
	struct aside_slot *slot = container_of(stage, struct aside_slot, stage);

	if (slot->is_stopped) {
		move(slot, ASIDE_FREE);
	} else if (!err) {
		slot->write_gen = slot->item->write_gen;
		slot->trouble[0] = '\0';
		slot->tries = 0;
		/* It may be small by now: then nothing was sent, and its STORE does not stand aside any more. */
		move(slot, stage->key[0] ? ASIDE_READY : ASIDE_FREE);
	} else if (err == -EBUSY && stage->is_local) {
		not_still(slot);
	} else if (stage->is_local) {
		in_trouble(slot, "the cache cannot be read", strerror(-err));
	} else if (!http_is_lost(err)) {
		in_trouble(slot, "the upstream does not take a large file", stage->request.trouble);
	} else {
		move(slot, ASIDE_FREE);
		(void)replicate_lost_by(slot->aside->replicate, err, stage->request.trouble);
	}
}

static void run_look(struct work *work)
{
	struct aside_slot *slot = container_of(work, struct aside_slot, work);

	slot->work_err = FAULT("aside.look");
	if (!slot->work_err)
		slot->work_err = cml_aside_look(slot->aside->replicate->cache, slot->ino, &slot->item);
}

static void looked(struct work *work)
{
	struct aside_slot *slot = container_of(work, struct aside_slot, work);
	struct stage *stage = &slot->stage;

	if (slot->is_stopped || slot->work_err == -ENOENT) {
		move(slot, ASIDE_FREE);
		return;
	}
	if (slot->work_err) {
		in_trouble(slot, "the cache cannot be read", strerror(-slot->work_err));
		return;
	}
	slot->step = ASIDE_STAGE;
	sending_fill_stage(slot->aside->replicate, stage);
	stage->item = slot->item;
	stage->is_ahead = true;
	stage->done = staged;
	stage_start(stage);
}

static void begin(struct aside_slot *slot)
{
	slot->step = ASIDE_LOOK;
	worker_post(slot->aside->replicate->worker, &slot->work, run_look, looked);
}

static void timer_fired(struct loop_timer *timer)
{
	struct aside *aside = container_of(timer, struct aside, timer);

	for (size_t i = 0; i < ASIDE_SLOTS; i++)
		if (aside->slots[i].step == ASIDE_LATER && aside->slots[i].until_us <= clock_us())
			begin(&aside->slots[i]);
	set_timer(aside);
}

/* ---- from outside ---- */

/* It may go, and stands aside: what is upstream is not what it is now. */
static void again(struct aside_slot *slot, const struct cml_wants *wants)
{
	if (slot->step != ASIDE_READY)
		return;
	for (size_t i = 0; i < wants->n_ready; i++) {
		if (wants->ready[i].ino == slot->ino) {
			slot->busy++;
			begin(slot);
			return;
		}
	}
}

static void begin_new(struct aside *aside, uint64_t ino, size_t most)
{
	struct aside_slot *slot = NULL;
	size_t n = 0;

	for (size_t i = 0; i < ASIDE_SLOTS; i++) {
		if (aside->slots[i].step != ASIDE_FREE)
			n++;
		else
			slot = &aside->slots[i];
	}
	if (n >= most || !slot)
		return;
	slot->ino = ino;
	slot->busy = slot->tries = 0;
	slot->write_gen = 0;
	slot->trouble[0] = '\0';
	begin(slot);
}

static void forget_gone(struct aside *aside, const struct cml_wants *wants)
{
	for (size_t i = 0; i < wants->n_ready; i++) {
		struct aside_slot *slot = wants->ready[i].is_gone ? slot_of(aside, wants->ready[i].ino) : NULL;

		if (slot && slot->step == ASIDE_READY)
			move(slot, ASIDE_FREE);
	}
}

void aside_found(struct aside *aside, const struct cml_wants *wants, const struct cml_taken *taken, size_t most)
{
	forget_gone(aside, wants);
	for (size_t i = 0; i < taken->n_aside; i++) {
		struct aside_slot *slot = slot_of(aside, taken->aside[i]);

		if (slot)
			again(slot, wants);
		else
			begin_new(aside, taken->aside[i], most);
	}
}

size_t aside_ready(const struct aside *aside, struct cml_ready ret_ready[ASIDE_SLOTS])
{
	size_t n = 0;

	for (size_t i = 0; i < ASIDE_SLOTS; i++) {
		const struct aside_slot *slot = &aside->slots[i];

		if (slot->step == ASIDE_READY)
			ret_ready[n++] = (struct cml_ready){
				.ino = slot->ino, .write_gen = slot->busy >= ASIDE_TRIES ? 0 : slot->write_gen };
	}
	return n;
}

bool aside_taken(struct aside *aside, uint64_t ino)
{
	struct aside_slot *slot = slot_of(aside, ino);
	bool was_sent;

	if (!slot || slot->step != ASIDE_READY)
		return false;
	was_sent = slot->write_gen != 0;
	move(slot, ASIDE_FREE);
	return was_sent;
}

bool aside_is_busy(const struct aside *aside)
{
	for (size_t i = 0; i < ASIDE_SLOTS; i++)
		if (is_under_way(&aside->slots[i]) || aside->slots[i].step == ASIDE_LATER)
			return true;
	return false;
}

const char *aside_trouble(const struct aside *aside)
{
	for (size_t i = 0; i < ASIDE_SLOTS; i++)
		if (aside->slots[i].step != ASIDE_FREE && aside->slots[i].trouble[0])
			return aside->slots[i].trouble;
	return NULL;
}

void aside_stop(struct aside *aside)
{
	loop_timer_cancel(aside->replicate->loop, &aside->timer);
	for (size_t i = 0; i < ASIDE_SLOTS; i++) {
		struct aside_slot *slot = &aside->slots[i];

		if (slot->step == ASIDE_LATER) {
			move(slot, ASIDE_FREE);
		} else if (slot->step == ASIDE_LOOK) {
			slot->is_stopped = true;
		} else if (slot->step == ASIDE_STAGE && !slot->is_stopped) {
			slot->is_stopped = true;
			if (stage_cancel(&slot->stage))
				move(slot, ASIDE_FREE);
		}
	}
}

void aside_init(struct aside *aside, struct replicate *replicate, void (*moved)(struct aside *))
{
	memset(aside, 0, sizeof(*aside));
	aside->replicate = replicate;
	aside->moved = moved;
	aside->timer.fire = timer_fired;
	for (size_t i = 0; i < ASIDE_SLOTS; i++) {
		aside->slots[i].aside = aside;
		stage_init(&aside->slots[i].stage);
	}
}

void aside_release(struct aside *aside)
{
	for (size_t i = 0; i < ASIDE_SLOTS; i++)
		stage_release(&aside->slots[i].stage);
}
