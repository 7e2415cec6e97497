/* SPDX-License-Identifier: Apache-2.0 */
/* The maps of service translation; bpf/README.md lists who writes and who reads each. */
#pragma once

#include "maps.h"

/* Size of a slot of service images less one. */
const volatile __u32 services_mask = SERVICES_SMALLEST_SLOT - 1;

struct service_image {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, SERVICES_SMALLEST_SLOT);
	__uint(map_flags, BPF_F_MMAPABLE);
};

/* Beside `images` and `prefixes`: the same slot number decides. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SLOTS);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__array(values, struct service_image);
} services SEC(".maps");

/* What a client keeps, by stable numbers: it outlives generations. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__uint(key_size, sizeof(struct service_client));
	__uint(value_size, sizeof(struct service_choice));
} service_clients SEC(".maps");

/* By interface; for number 0, which no interface has, where node ports answer. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__uint(key_size, 4);
	__uint(value_size, sizeof(struct service_device_value));
} service_devices SEC(".maps");

/* The services of a slot; NULL if it has none. */
INLINE const __u8 *services_of(__u32 slot)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&services, &slot);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

INLINE void count_drop(const __u8 *image, __u8 direction, __u8 reason)
{
	struct drop_key why __attribute__((aligned(8))) = {};
	__u64 one = 1;
	__u64 *n;

	if (image)
		why.generation = *(const __u64 *)(image + SERVICES_GENERATION);
	why.reason = reason;
	why.direction = direction;
	n = bpf_map_lookup_elem(&drops, &why);
	if (n)
		*n += 1;
	else
		bpf_map_update_elem(&drops, &why, &one, BPF_ANY);
}
