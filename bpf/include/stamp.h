/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generation of a packet. The first program that asks an image about it writes down which; those that the packet
 * meets later on this node ask the same, though another may decide by then. So services and policies, and the
 * policies of both ends, are of one generation for every packet.
 *
 * It stands in the packet's `tc_index`, 16 bits which nothing else uses since the kernel has no dsmark any more, and
 * which neither routing nor the way through an interface clears: a mark, the slot, and the generation's last
 * bits. A packet that waited somewhere until its slot had another generation is asked about anew.
 */
#pragma once

#include "kernel.h"

#define STAMPED 0x8000
#define STAMP_SLOT 13
#define STAMP_GENERATION 0x1fff

_Static_assert(SLOTS <= 4, "a stamp has two bits for the slot");

INLINE void stamp(struct __sk_buff *skb, __u32 slot, __u64 generation)
{
	skb->tc_index = STAMPED | (slot & 3) << STAMP_SLOT | (generation & STAMP_GENERATION);
}

/* The slot that a packet's stamp names; `current` if it has none. */
INLINE __u32 stamped_slot(const struct __sk_buff *skb, __u32 current)
{
	__u32 stamp = skb->tc_index;

	return stamp & STAMPED ? stamp >> STAMP_SLOT & 3 : current;
}

/* Whether the image in that slot is the one of the stamp. */
INLINE int is_stamped(const struct __sk_buff *skb, __u64 generation)
{
	return (skb->tc_index & STAMP_GENERATION) == (generation & STAMP_GENERATION);
}
