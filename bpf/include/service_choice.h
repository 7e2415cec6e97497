/* SPDX-License-Identifier: Apache-2.0 */
/* Which backend a client gets: of the list, and the one that it had before. */
#pragma once

#include "service_image.h"
#include "service_maps.h"

/* An address among ranges, or a backend among those of a list. */
struct among {
	const __u8 *image;
	const __u8 *address;
	__u32 first;
	__u32 wanted;
	__u32 found;
};

static long in_list(__u32 i, struct among *a)
{
	__u32 at = SERVICES_FIELD(a->image, SERVICES_LIST_AT) + (a->first + i) * 4;
	const struct service_backend *b =
		service_backend_at(a->image, services_mask, services_at32(a->image, services_mask, at));

	if (b->id != a->wanted)
		return 0;
	a->found = 1;
	return 1;
}

/* The backend of that number, while it is among those that may be chosen. */
INLINE const struct service_backend *still(const __u8 *image, const struct service_frontend *f, int outside, __u32 id)
{
	struct among among = { .image = image, .wanted = id };

	among.first = outside ? f->outside_first : f->inside_first;
	bpf_loop(outside ? f->outside_count : f->inside_count, in_list, &among, 0);
	return among.found ? service_backend_by_id(image, services_mask, id) : NULL;
}

/* The backend that a client keeps. */
INLINE const struct service_backend *kept(const __u8 *image, const struct service_frontend *f, int outside,
					  struct service_client *client, __u64 now)
{
	struct service_choice *choice = bpf_map_lookup_elem(&service_clients, client);

	if (!choice || now - choice->used > (__u64)f->affinity_seconds * 1000000000)
		return NULL;
	return still(image, f, outside, choice->backend);
}

INLINE void keeps(struct service_client *client, const struct service_backend *b, __u64 now)
{
	struct service_choice choice = { .used = now, .backend = b->id };

	bpf_map_update_elem(&service_clients, client, &choice, BPF_ANY);
}
