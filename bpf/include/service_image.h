/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The look-up of docs/service-image.md, step by step as compiler/services/src/image.rs does it. `mask` is
 * the size of a slot less one, a constant once the program is loaded; every offset is masked with it, and
 * records lie at multiples of their size, so a damaged image gives a wrong answer and never a read outside.
 */
#pragma once

#include "abi.h"
#include "kernel.h"

/* A field of the header: its place is known to whoever compiles this, and in the smallest slot. */
#define SERVICES_FIELD(image, at) (*(const __u32 *)((image) + (at)))

INLINE __u32 services_at32(const __u8 *image, __u32 mask, __u32 at)
{
	return *(const __u32 *)(image + (at & (mask - 3)));
}

/* The hash of a key; `hash` in bpf/abi/src/services.rs is the same. */
INLINE __u32 service_hash(const struct service_key *key, __u32 seed)
{
	const __u32 *words = (const __u32 *)key;
	__u32 h = seed * 0x9e3779b1u;

#pragma unroll
	for (int i = 0; i < 5; i++) {
		h ^= words[i];
		h *= 0x85ebca6bu;
		h ^= h >> 13;
	}
	return h ^ h >> 16;
}

/* The frontend of a key that is aligned to 4 bytes; NULL if there is none. */
INLINE const struct service_frontend *service_frontend_of(const __u8 *image, __u32 mask, const struct service_key *key)
{
	const __u32 *want = (const __u32 *)key;
	const struct service_frontend *found;
	const __u32 *have;
	__u32 bucket, seed, slot, at;

	if (!SERVICES_FIELD(image, SERVICES_SLOTS))
		return NULL;
	bucket = service_hash(key, 0) & (SERVICES_FIELD(image, SERVICES_BUCKETS) - 1);
	seed = services_at32(image, mask, SERVICES_FIELD(image, SERVICES_SEEDS_AT) + bucket * 4);
	slot = service_hash(key, seed) & (SERVICES_FIELD(image, SERVICES_SLOTS) - 1);
	at = SERVICES_FIELD(image, SERVICES_FRONTENDS_AT) + slot * sizeof(struct service_frontend);
	found = (const struct service_frontend *)(image + (at & (mask - (sizeof(struct service_frontend) - 1))));
	have = (const __u32 *)found;
	if (have[0] != want[0] || have[1] != want[1] || have[2] != want[2] || have[3] != want[3] ||
	    found->port != key->port || found->protocol != key->protocol)
		return NULL;
	return found;
}

/* Backend number `index` of the image. */
INLINE const struct service_backend *service_backend_at(const __u8 *image, __u32 mask, __u32 index)
{
	__u32 at = SERVICES_FIELD(image, SERVICES_BACKENDS_AT) + index * sizeof(struct service_backend);

	return (const struct service_backend *)(image + (at & (mask - (sizeof(struct service_backend) - 1))));
}

/*
 * The backend that `hash` chooses: from the Maglev table where the frontend has one for this side, else from
 * the list. A caller that wants chance gives a random number. NULL if the list is empty.
 */
INLINE const struct service_backend *service_choose(const __u8 *image, __u32 mask, const struct service_frontend *f,
						    int outside, __u32 hash)
{
	__u32 first = outside ? f->outside_first : f->inside_first;
	__u32 count = outside ? f->outside_count : f->inside_count;
	__u32 size = f->maglev_size;

	if (!count)
		return NULL;
	if (size && (f->flags & (outside ? FRONTEND_MAGLEV_OUTSIDE : FRONTEND_MAGLEV_INSIDE))) {
		first = f->maglev_first;
		count = size;
	}
	/* The product's upper half: as even as a remainder, and no division. */
	first += (__u32)((__u64)hash * count >> 32);
	return service_backend_at(image, mask,
				  services_at32(image, mask, SERVICES_FIELD(image, SERVICES_LIST_AT) + first * 4));
}

/* The backend of a stable number; NULL if it is gone from this image. */
INLINE const struct service_backend *service_backend_by_id(const __u8 *image, __u32 mask, __u32 id)
{
	__u32 index;

	if (id >= SERVICES_FIELD(image, SERVICES_IDS))
		return NULL;
	index = services_at32(image, mask, SERVICES_FIELD(image, SERVICES_BY_ID_AT) + id * 4);
	return index ? service_backend_at(image, mask, index - 1) : NULL;
}

/* Whether range number `index` holds an address. */
INLINE int service_range_holds(const __u8 *image, __u32 mask, __u32 index, const __u8 *address)
{
	__u32 at = SERVICES_FIELD(image, SERVICES_RANGES_AT) + index * sizeof(struct service_range);
	const struct service_range *range =
		(const struct service_range *)(image + (at & (mask - (sizeof(struct service_range) - 1))));
	__u32 bits = range->bits;

	/* The range's bits behind its prefix are zero. */
#pragma unroll
	for (__u32 i = 0; i < 16; i++) {
		__u8 keep = bits >= 8 * (i + 1) ? 0xff : bits <= 8 * i ? 0 : (__u8)(0xff << (8 * (i + 1) - bits));

		if ((address[i] & keep) != range->address[i])
			return 0;
	}
	return 1;
}
