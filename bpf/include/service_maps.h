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

/* The services of a slot; NULL if it has none. */
INLINE const __u8 *services_of(__u32 slot)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&services, &slot);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}
