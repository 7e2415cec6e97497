/* SPDX-License-Identifier: Apache-2.0 */
/* The maps; bpf/README.md lists who writes and who reads each. The agent makes and pins them. */
#pragma once

#include "abi.h"
#include "kernel.h"

/*
 * Settings, fixed when the programs are loaded: the verifier sees constants.
 * `image_mask` is the size of an image slot less one.
 */
const volatile __u32 image_mask = SMALLEST_SLOT - 1;
/* Let through what cannot be enforced here (a proxy, authentication) instead of dropping it. */
const volatile __u32 fail_open = 0;
/* Report the first packet of each flow that passes, not only of those that do not. */
const volatile __u32 report_allowed = 0;
/* Lifetimes of tracked flows in nanoseconds. */
const volatile __u64 lifetime_syn = 60ULL * 1000000000;
const volatile __u64 lifetime_tcp = 8000ULL * 1000000000;
const volatile __u64 lifetime_closed = 10ULL * 1000000000;
const volatile __u64 lifetime_other = 60ULL * 1000000000;
const volatile __u64 lifetime_fragments = 30ULL * 1000000000;
/* A refused flow is reported again after this many nanoseconds. */
const volatile __u64 report_again = 5ULL * 1000000000;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct active_value);
	__uint(map_flags, BPF_F_MMAPABLE);
} active SEC(".maps");

struct image {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, SMALLEST_SLOT);
	__uint(map_flags, BPF_F_MMAPABLE);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SLOTS);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__array(values, struct image);
} images SEC(".maps");

struct prefix_trie {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(key_size, sizeof(struct prefix_key));
	__uint(value_size, sizeof(struct prefix_value));
	__uint(map_flags, BPF_F_NO_PREALLOC);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SLOTS);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__array(values, struct prefix_trie);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(key_size, sizeof(struct address_key));
	__uint(value_size, sizeof(struct address_value));
	__uint(map_flags, BPF_F_NO_PREALLOC);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(key_size, sizeof(struct endpoint_key));
	__uint(value_size, sizeof(struct endpoint_value));
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__uint(key_size, sizeof(struct flow_key));
	__uint(value_size, sizeof(struct flow_value));
} conntrack SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__uint(key_size, sizeof(struct fragment_key));
	__uint(value_size, sizeof(struct fragment_value));
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(struct flow_key));
	__uint(value_size, sizeof(struct denied_value));
} denied SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(struct drop_key));
	__uint(value_size, sizeof(__u64));
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

INLINE void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &which);

	if (n)
		*n += 1;
}
