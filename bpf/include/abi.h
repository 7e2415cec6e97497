/* SPDX-License-Identifier: Apache-2.0 */
/* Written by `cargo run -p portcullis-abi --example header`: change bpf/abi, not this file. */
#pragma once

#include "kernel.h"

#define COORDINATE_UDP 65536
#define COORDINATE_SCTP 131072
#define COORDINATE_ICMP 196608
#define COORDINATE_ICMP6 196864
#define COORDINATE_PROTOCOL 197120
#define PORT_PAGE 64
#define PAIR_PAGE 32
#define ROW_PAGE 16
#define IMAGE_IDENTITIES 16
#define IMAGE_ENDPOINTS 20
#define IMAGE_PEER_CLASSES 24
#define IMAGE_ATOMS 32
#define IMAGE_GENERATION 48
#define IMAGE_PEER_CLASS 88
#define IMAGE_SUBJECT_OF 96
#define IMAGE_PORT_DIRECTORY 104
#define IMAGE_PORT_PAGES 112
#define IMAGE_SUBJECTS 120
#define IMAGE_PAIR_DIRECTORY 128
#define IMAGE_PAIR_PAGES 136
#define IMAGE_LOCALS 144
#define IMAGE_ROW_DIRECTORY 152
#define IMAGE_ROW_PAGES 160
#define IMAGE_WORDS 168
#define WORD_ALLOW 1
#define WORD_REDIRECT 2
#define WORD_AUTHENTICATE 4
#define WORD_LOG 8
#define WORD_AUDIT 16
#define WORD_CAUSE_SHIFT 8
#define NO_SUBJECT 65535
#define NO_CLASS 65535
#define SLOTS 4
#define SMALLEST_SLOT 65536
#define NO_IDENTITY 0
#define INGRESS 0
#define EGRESS 1
#define FLOW_REPLIED 1
#define FLOW_CLOSED_FORWARD 2
#define FLOW_CLOSED_REPLY 4
#define FLOW_RESET 8
#define VERDICT_FORWARDED 1
#define VERDICT_DROPPED 2
#define VERDICT_AUDIT 4
#define KIND_NEW 0
#define KIND_ESTABLISHED 1
#define KIND_REPLY 2
#define KIND_RELATED 3
#define DROP_INVALID_SOURCE 132
#define DROP_POLICY 133
#define DROP_INVALID_PACKET 134
#define DROP_TRUNCATED 135
#define DROP_UNSUPPORTED_L3 140
#define DROP_CONNTRACK_FULL 155
#define DROP_EXTENSION_HEADER 156
#define DROP_NO_POLICY 165
#define DROP_INVALID_IDENTITY 171
#define DROP_NO_BACKEND 158
#define DROP_NO_MAPPING 167
#define DROP_UNMAPPABLE 168
#define DROP_CLUSTER_IP 174
#define DROP_SOURCE_RANGE 177
#define DROP_NO_PROXY 180
#define DROP_VLAN 182
#define DROP_AUTHENTICATION 189
#define COUNT_FORWARDED 0
#define COUNT_DROPPED 2
#define COUNT_EVENTS_LOST 4
#define COUNT_CONNTRACK_FAILED 5
#define COUNT_FRAGMENTS_UNKNOWN 6
#define COUNT_AUDITED 7
#define COUNTERS 8
#define SERVICES_VERSION 1
#define SERVICES_HEADER_SIZE 96
#define SERVICES_SMALLEST_SLOT 65536
#define SERVICES_ALIGN 64
#define SERVICES_GENERATION 16
#define SERVICES_BUCKETS 56
#define SERVICES_SLOTS 60
#define SERVICES_BACKENDS 64
#define SERVICES_IDS 68
#define SERVICES_SEEDS_AT 72
#define SERVICES_FRONTENDS_AT 76
#define SERVICES_LIST_AT 80
#define SERVICES_BACKENDS_AT 84
#define SERVICES_BY_ID_AT 88
#define SERVICES_RANGES_AT 92
#define SERVICE_KIND_CLUSTER_IP 1
#define SERVICE_KIND_NODE_PORT 2
#define SERVICE_KIND_LOAD_BALANCER 3
#define SERVICE_KIND_EXTERNAL_IP 4
#define SERVICE_KIND_HOST_PORT 5
#define SOCKET_FORWARD 0
#define SOCKET_BACK 1
#define SERVICE_FLOW_SOURCE 256
#define FRONTEND_AFFINITY 1
#define FRONTEND_EXTERNAL_LOCAL 2
#define FRONTEND_INTERNAL_LOCAL 4
#define FRONTEND_SOURCE_RANGES 8
#define FRONTEND_MAGLEV_INSIDE 16
#define FRONTEND_OUTSIDE_DENIED 32
#define FRONTEND_MAGLEV_OUTSIDE 64
#define FRONTEND_INSIDE_DROP 128
#define FRONTEND_OUTSIDE_DROP 256
#define BACKEND_LOCAL 1
#define BACKEND_TERMINATING 2
#define BACKEND_NODE 4

/* The one value of `meta`: what the pinned maps are. */
struct meta {
	/* `MAPS_VERSION`. */
	__u32 version;
	/* Bytes of an image slot. */
	__u32 slot_size;
	/* Entries of `addresses`. */
	__u32 addresses;
	/* Entries of `conntrack`. */
	__u32 conntrack;
};
_Static_assert(sizeof(struct meta) == 16, "size of meta");
_Static_assert(__builtin_offsetof(struct meta, version) == 0, "version");
_Static_assert(__builtin_offsetof(struct meta, slot_size) == 4, "slot_size");
_Static_assert(__builtin_offsetof(struct meta, addresses) == 8, "addresses");
_Static_assert(__builtin_offsetof(struct meta, conntrack) == 12, "conntrack");

/* The one value of `active`, read once for each packet. */
struct active_value {
	/* The slot of images and prefixes that decides; `SLOTS` before there is one. */
	__u32 slot;
	/* Zero. */
	__u32 reserved;
};
_Static_assert(sizeof(struct active_value) == 8, "size of active_value");
_Static_assert(__builtin_offsetof(struct active_value, slot) == 0, "slot");
_Static_assert(__builtin_offsetof(struct active_value, reserved) == 4, "reserved");

/* Key of `addresses`. */
struct address_key {
	/* The address. */
	__u8 address[16];
};
_Static_assert(sizeof(struct address_key) == 16, "size of address_key");
_Static_assert(__builtin_offsetof(struct address_key, address) == 0, "address");

/* Value of `addresses`: who has one address. */
struct address_value {
	/* The identity's number. */
	__u32 identity;
	/* 1 + the endpoint's number on this node; 0 for one elsewhere. */
	__u32 endpoint;
};
_Static_assert(sizeof(struct address_value) == 8, "size of address_value");
_Static_assert(__builtin_offsetof(struct address_value, identity) == 0, "identity");
_Static_assert(__builtin_offsetof(struct address_value, endpoint) == 4, "endpoint");

/* Key of a generation's prefixes, as a longest-prefix trie wants it. */
struct prefix_key {
	/* Bits of the prefix, 96 more for IPv4. */
	__u32 bits;
	/* The first address. */
	__u8 address[16];
};
_Static_assert(sizeof(struct prefix_key) == 20, "size of prefix_key");
_Static_assert(__builtin_offsetof(struct prefix_key, bits) == 0, "bits");
_Static_assert(__builtin_offsetof(struct prefix_key, address) == 4, "address");

/* Value of a generation's prefixes. */
struct prefix_value {
	/* The identity's number in that generation. */
	__u32 identity;
};
_Static_assert(sizeof(struct prefix_value) == 4, "size of prefix_value");
_Static_assert(__builtin_offsetof(struct prefix_value, identity) == 0, "identity");

/* Key of `endpoints`. */
struct endpoint_key {
	/* Index of the interface on the host's side. */
	__u32 ifindex;
};
_Static_assert(sizeof(struct endpoint_key) == 4, "size of endpoint_key");
_Static_assert(__builtin_offsetof(struct endpoint_key, ifindex) == 0, "ifindex");

/* Value of `endpoints`. */
struct endpoint_value {
	/* The endpoint's number: its place in the image's subjects. */
	__u32 number;
	/* Its own identity's number. */
	__u32 identity;
};
_Static_assert(sizeof(struct endpoint_value) == 8, "size of endpoint_value");
_Static_assert(__builtin_offsetof(struct endpoint_value, number) == 0, "number");
_Static_assert(__builtin_offsetof(struct endpoint_value, identity) == 4, "identity");

/* Key of `conntrack` and of `denied`: a flow, as its first packet went. */
struct flow_key {
	/* Who began it. */
	__u8 source[16];
	/* With whom. */
	__u8 destination[16];
	/* The port it began at; an echo's identifier. */
	__u16 source_port;
	/* The port it goes to. */
	__u16 destination_port;
	/* IP protocol. */
	__u8 protocol;
	/* `INGRESS` or `EGRESS`, seen from the endpoint that tracks it. */
	__u8 direction;
	/* Zero. */
	__u16 reserved;
};
_Static_assert(sizeof(struct flow_key) == 40, "size of flow_key");
_Static_assert(__builtin_offsetof(struct flow_key, source) == 0, "source");
_Static_assert(__builtin_offsetof(struct flow_key, destination) == 16, "destination");
_Static_assert(__builtin_offsetof(struct flow_key, source_port) == 32, "source_port");
_Static_assert(__builtin_offsetof(struct flow_key, destination_port) == 34, "destination_port");
_Static_assert(__builtin_offsetof(struct flow_key, protocol) == 36, "protocol");
_Static_assert(__builtin_offsetof(struct flow_key, direction) == 37, "direction");
_Static_assert(__builtin_offsetof(struct flow_key, reserved) == 38, "reserved");

/* Value of `conntrack`. */
struct flow_value {
	/* When it ends, in nanoseconds of the coarse monotonic clock. */
	__u64 expires;
	/* Packets of the direction it began in. */
	__u32 packets;
	/* Packets of replies. */
	__u32 replies;
	/* The verdict word that let the latest packet through. */
	__u32 word;
	/* `FLOW_` bits. */
	__u32 flags;
};
_Static_assert(sizeof(struct flow_value) == 24, "size of flow_value");
_Static_assert(__builtin_offsetof(struct flow_value, expires) == 0, "expires");
_Static_assert(__builtin_offsetof(struct flow_value, packets) == 8, "packets");
_Static_assert(__builtin_offsetof(struct flow_value, replies) == 12, "replies");
_Static_assert(__builtin_offsetof(struct flow_value, word) == 16, "word");
_Static_assert(__builtin_offsetof(struct flow_value, flags) == 20, "flags");

/* Key of `fragments`: one datagram in pieces. */
struct fragment_key {
	/* Sender. */
	__u8 source[16];
	/* Receiver. */
	__u8 destination[16];
	/* Identification. */
	__u32 id;
	/* IP protocol. */
	__u8 protocol;
	/* `INGRESS` or `EGRESS`. */
	__u8 direction;
	/* Zero. */
	__u16 reserved;
};
_Static_assert(sizeof(struct fragment_key) == 40, "size of fragment_key");
_Static_assert(__builtin_offsetof(struct fragment_key, source) == 0, "source");
_Static_assert(__builtin_offsetof(struct fragment_key, destination) == 16, "destination");
_Static_assert(__builtin_offsetof(struct fragment_key, id) == 32, "id");
_Static_assert(__builtin_offsetof(struct fragment_key, protocol) == 36, "protocol");
_Static_assert(__builtin_offsetof(struct fragment_key, direction) == 37, "direction");
_Static_assert(__builtin_offsetof(struct fragment_key, reserved) == 38, "reserved");

/* Value of `fragments`: what its first piece said. */
struct fragment_value {
	/* Until when it counts. */
	__u64 expires;
	/* Source port, or an echo's identifier. */
	__u16 source_port;
	/* Destination port. */
	__u16 destination_port;
	/* ICMP type. */
	__u8 icmp_type;
	/* ICMP code. */
	__u8 icmp_code;
	/* IP protocol. */
	__u8 protocol;
	/* Zero. */
	__u8 reserved;
};
_Static_assert(sizeof(struct fragment_value) == 16, "size of fragment_value");
_Static_assert(__builtin_offsetof(struct fragment_value, expires) == 0, "expires");
_Static_assert(__builtin_offsetof(struct fragment_value, source_port) == 8, "source_port");
_Static_assert(__builtin_offsetof(struct fragment_value, destination_port) == 10, "destination_port");
_Static_assert(__builtin_offsetof(struct fragment_value, icmp_type) == 12, "icmp_type");
_Static_assert(__builtin_offsetof(struct fragment_value, icmp_code) == 13, "icmp_code");
_Static_assert(__builtin_offsetof(struct fragment_value, protocol) == 14, "protocol");
_Static_assert(__builtin_offsetof(struct fragment_value, reserved) == 15, "reserved");

/* Value of `denied`: when a refused flow was last reported. */
struct denied_value {
	/* The generation that refused it. */
	__u64 generation;
	/* When it was reported. */
	__u64 reported;
};
_Static_assert(sizeof(struct denied_value) == 16, "size of denied_value");
_Static_assert(__builtin_offsetof(struct denied_value, generation) == 0, "generation");
_Static_assert(__builtin_offsetof(struct denied_value, reported) == 8, "reported");

/* Key of `drops`, which counts what was dropped and why. */
struct drop_key {
	/* The generation; 0 where none was asked. */
	__u64 generation;
	/* The verdict word's cause; 0 where no word decided. */
	__u32 cause;
	/* `DROP_` code. */
	__u8 reason;
	/* `INGRESS` or `EGRESS`. */
	__u8 direction;
	/* Zero. */
	__u16 reserved;
};
_Static_assert(sizeof(struct drop_key) == 16, "size of drop_key");
_Static_assert(__builtin_offsetof(struct drop_key, generation) == 0, "generation");
_Static_assert(__builtin_offsetof(struct drop_key, cause) == 8, "cause");
_Static_assert(__builtin_offsetof(struct drop_key, reason) == 12, "reason");
_Static_assert(__builtin_offsetof(struct drop_key, direction) == 13, "direction");
_Static_assert(__builtin_offsetof(struct drop_key, reserved) == 14, "reserved");

/* What the programs tell of one packet, in the ring buffer `events`. */
struct event {
	/* Nanoseconds of the coarse monotonic clock. */
	__u64 time;
	/* The generation that decided; 0 if none was asked. */
	__u64 generation;
	/* Sender. */
	__u8 source[16];
	/* Receiver. */
	__u8 destination[16];
	/* The verdict word. */
	__u32 word;
	/* The endpoint's number. */
	__u32 endpoint;
	/* The endpoint's identity. */
	__u32 identity;
	/* The other end's identity. */
	__u32 peer;
	/* Index of the interface. */
	__u32 ifindex;
	/* Bytes of the packet. */
	__u32 length;
	/* Source port. */
	__u16 source_port;
	/* Destination port. */
	__u16 destination_port;
	/* IP protocol. */
	__u8 protocol;
	/* `INGRESS` or `EGRESS`. */
	__u8 direction;
	/* `VERDICT_` number. */
	__u8 verdict;
	/* `DROP_` code, 0 if it passed. */
	__u8 reason;
	/* ICMP type. */
	__u8 icmp_type;
	/* ICMP code. */
	__u8 icmp_code;
	/* TCP flags. */
	__u8 tcp_flags;
	/* 4, 6, or 0 where the packet is of neither. */
	__u8 family;
	/* `KIND_` number: what of the flow this packet was. */
	__u8 kind;
	/* Zero. */
	__u8 reserved;
	/* Zero. */
	__u16 reserved2;
};
_Static_assert(sizeof(struct event) == 88, "size of event");
_Static_assert(__builtin_offsetof(struct event, time) == 0, "time");
_Static_assert(__builtin_offsetof(struct event, generation) == 8, "generation");
_Static_assert(__builtin_offsetof(struct event, source) == 16, "source");
_Static_assert(__builtin_offsetof(struct event, destination) == 32, "destination");
_Static_assert(__builtin_offsetof(struct event, word) == 48, "word");
_Static_assert(__builtin_offsetof(struct event, endpoint) == 52, "endpoint");
_Static_assert(__builtin_offsetof(struct event, identity) == 56, "identity");
_Static_assert(__builtin_offsetof(struct event, peer) == 60, "peer");
_Static_assert(__builtin_offsetof(struct event, ifindex) == 64, "ifindex");
_Static_assert(__builtin_offsetof(struct event, length) == 68, "length");
_Static_assert(__builtin_offsetof(struct event, source_port) == 72, "source_port");
_Static_assert(__builtin_offsetof(struct event, destination_port) == 74, "destination_port");
_Static_assert(__builtin_offsetof(struct event, protocol) == 76, "protocol");
_Static_assert(__builtin_offsetof(struct event, direction) == 77, "direction");
_Static_assert(__builtin_offsetof(struct event, verdict) == 78, "verdict");
_Static_assert(__builtin_offsetof(struct event, reason) == 79, "reason");
_Static_assert(__builtin_offsetof(struct event, icmp_type) == 80, "icmp_type");
_Static_assert(__builtin_offsetof(struct event, icmp_code) == 81, "icmp_code");
_Static_assert(__builtin_offsetof(struct event, tcp_flags) == 82, "tcp_flags");
_Static_assert(__builtin_offsetof(struct event, family) == 83, "family");
_Static_assert(__builtin_offsetof(struct event, kind) == 84, "kind");
_Static_assert(__builtin_offsetof(struct event, reserved) == 85, "reserved");
_Static_assert(__builtin_offsetof(struct event, reserved2) == 86, "reserved2");

/* Where clients go: an address, a port and a protocol. */
struct service_key {
	/* The address. */
	__u8 address[16];
	/* The port, in the machine's order of bytes. */
	__u16 port;
	/* 6 TCP, 17 UDP, 132 SCTP. */
	__u8 protocol;
	/* Zero. */
	__u8 reserved;
};
_Static_assert(sizeof(struct service_key) == 20, "size of service_key");
_Static_assert(__builtin_offsetof(struct service_key, address) == 0, "address");
_Static_assert(__builtin_offsetof(struct service_key, port) == 16, "port");
_Static_assert(__builtin_offsetof(struct service_key, protocol) == 18, "protocol");
_Static_assert(__builtin_offsetof(struct service_key, reserved) == 19, "reserved");

/* A frontend of the service image; `protocol` 0 in a slot that has none. */
struct service_frontend {
	/* The address. */
	__u8 address[16];
	/* The port, in the machine's order of bytes. */
	__u16 port;
	/* 6 TCP, 17 UDP, 132 SCTP. */
	__u8 protocol;
	/* A `SERVICE_KIND_`. */
	__u8 kind;
	/* `FRONTEND_` flags. */
	__u32 flags;
	/* Stable number of the service and its port; never 0. */
	__u32 service;
	/* Seconds for which a client keeps its backend, with `FRONTEND_AFFINITY`. */
	__u32 affinity_seconds;
	/* First entry in the list for who is on this node. */
	__u32 inside_first;
	/* How many; 0: reject, or drop with `FRONTEND_INSIDE_DROP`. */
	__u32 inside_count;
	/* First entry in the list for who is elsewhere. */
	__u32 outside_first;
	/* How many; 0: reject, or drop with `FRONTEND_OUTSIDE_DROP`. */
	__u32 outside_count;
	/* First entry in the list of the Maglev table. */
	__u32 maglev_first;
	/* Its size, a prime; 0: there is none. */
	__u32 maglev_size;
	/* First range from which clients may come, with `FRONTEND_SOURCE_RANGES`. */
	__u32 ranges_first;
	/* How many. */
	__u32 ranges_count;
};
_Static_assert(sizeof(struct service_frontend) == 64, "size of service_frontend");
_Static_assert(__builtin_offsetof(struct service_frontend, address) == 0, "address");
_Static_assert(__builtin_offsetof(struct service_frontend, port) == 16, "port");
_Static_assert(__builtin_offsetof(struct service_frontend, protocol) == 18, "protocol");
_Static_assert(__builtin_offsetof(struct service_frontend, kind) == 19, "kind");
_Static_assert(__builtin_offsetof(struct service_frontend, flags) == 20, "flags");
_Static_assert(__builtin_offsetof(struct service_frontend, service) == 24, "service");
_Static_assert(__builtin_offsetof(struct service_frontend, affinity_seconds) == 28, "affinity_seconds");
_Static_assert(__builtin_offsetof(struct service_frontend, inside_first) == 32, "inside_first");
_Static_assert(__builtin_offsetof(struct service_frontend, inside_count) == 36, "inside_count");
_Static_assert(__builtin_offsetof(struct service_frontend, outside_first) == 40, "outside_first");
_Static_assert(__builtin_offsetof(struct service_frontend, outside_count) == 44, "outside_count");
_Static_assert(__builtin_offsetof(struct service_frontend, maglev_first) == 48, "maglev_first");
_Static_assert(__builtin_offsetof(struct service_frontend, maglev_size) == 52, "maglev_size");
_Static_assert(__builtin_offsetof(struct service_frontend, ranges_first) == 56, "ranges_first");
_Static_assert(__builtin_offsetof(struct service_frontend, ranges_count) == 60, "ranges_count");

/* A backend of the service image. */
struct service_backend {
	/* The address. */
	__u8 address[16];
	/* The port, in the machine's order of bytes. */
	__u16 port;
	/* 6 TCP, 17 UDP, 132 SCTP. */
	__u8 protocol;
	/* `BACKEND_` flags. */
	__u8 flags;
	/* Stable number; never 0. */
	__u32 id;
	/* Zero. */
	__u64 reserved;
};
_Static_assert(sizeof(struct service_backend) == 32, "size of service_backend");
_Static_assert(__builtin_offsetof(struct service_backend, address) == 0, "address");
_Static_assert(__builtin_offsetof(struct service_backend, port) == 16, "port");
_Static_assert(__builtin_offsetof(struct service_backend, protocol) == 18, "protocol");
_Static_assert(__builtin_offsetof(struct service_backend, flags) == 19, "flags");
_Static_assert(__builtin_offsetof(struct service_backend, id) == 20, "id");
_Static_assert(__builtin_offsetof(struct service_backend, reserved) == 24, "reserved");

/* A range of addresses from which clients may come. */
struct service_range {
	/* Its first address. */
	__u8 address[16];
	/* Bits of the prefix, 96 more for IPv4. */
	__u32 bits;
	/* Zero. */
	__u32 reserved;
	/* Zero. */
	__u64 reserved2;
};
_Static_assert(sizeof(struct service_range) == 32, "size of service_range");
_Static_assert(__builtin_offsetof(struct service_range, address) == 0, "address");
_Static_assert(__builtin_offsetof(struct service_range, bits) == 16, "bits");
_Static_assert(__builtin_offsetof(struct service_range, reserved) == 20, "reserved");
_Static_assert(__builtin_offsetof(struct service_range, reserved2) == 24, "reserved2");

/* Value of `service_flows`: what becomes of a packet whose addresses and ports are the key's. */
struct service_flow {
	/* Where it comes from then. */
	__u8 source[16];
	/* Where it goes then. */
	__u8 destination[16];
	/* Until when the entry counts, by `CLOCK_MONOTONIC`. */
	__u64 expires;
	/* The source's port. */
	__u16 source_port;
	/* The destination's port. */
	__u16 destination_port;
	/* `FLOW_` and `SERVICE_FLOW_` bits. */
	__u32 flags;
	/* Stable number of the backend. */
	__u32 backend;
	/* Stable number of the service and its port. */
	__u32 service;
};
_Static_assert(sizeof(struct service_flow) == 56, "size of service_flow");
_Static_assert(__builtin_offsetof(struct service_flow, source) == 0, "source");
_Static_assert(__builtin_offsetof(struct service_flow, destination) == 16, "destination");
_Static_assert(__builtin_offsetof(struct service_flow, expires) == 32, "expires");
_Static_assert(__builtin_offsetof(struct service_flow, source_port) == 40, "source_port");
_Static_assert(__builtin_offsetof(struct service_flow, destination_port) == 42, "destination_port");
_Static_assert(__builtin_offsetof(struct service_flow, flags) == 44, "flags");
_Static_assert(__builtin_offsetof(struct service_flow, backend) == 48, "backend");
_Static_assert(__builtin_offsetof(struct service_flow, service) == 52, "service");

/* Key of `service_clients`. */
struct service_client {
	/* The client. */
	__u8 address[16];
	/* Stable number of the service and its port. */
	__u32 service;
};
_Static_assert(sizeof(struct service_client) == 20, "size of service_client");
_Static_assert(__builtin_offsetof(struct service_client, address) == 0, "address");
_Static_assert(__builtin_offsetof(struct service_client, service) == 16, "service");

/* Value of `service_clients`: the backend that a client keeps. */
struct service_choice {
	/* When it was last asked for, by `CLOCK_MONOTONIC`. */
	__u64 used;
	/* Stable number of the backend. */
	__u32 backend;
	/* Zero. */
	__u32 reserved;
};
_Static_assert(sizeof(struct service_choice) == 16, "size of service_choice");
_Static_assert(__builtin_offsetof(struct service_choice, used) == 0, "used");
_Static_assert(__builtin_offsetof(struct service_choice, backend) == 8, "backend");
_Static_assert(__builtin_offsetof(struct service_choice, reserved) == 12, "reserved");

/* Value of `service_devices`, by interface: the node's own addresses on it; zero where it has none. */
struct service_device_value {
	/* IPv4, mapped. */
	__u8 v4[16];
	/* IPv6. */
	__u8 v6[16];
};
_Static_assert(sizeof(struct service_device_value) == 32, "size of service_device_value");
_Static_assert(__builtin_offsetof(struct service_device_value, v4) == 0, "v4");
_Static_assert(__builtin_offsetof(struct service_device_value, v6) == 16, "v6");

/* Key of `service_sockets`. */
struct service_socket_key {
	/* The socket's cookie, which the kernel gives once. */
	__u64 cookie;
	/* The frontend, or the backend, by `way`. */
	__u8 address[16];
	/* Its port, in the machine's order of bytes. */
	__u16 port;
	/* 6 TCP, 17 UDP. */
	__u8 protocol;
	/* A `SOCKET_`. */
	__u8 way;
	/* Zero. */
	__u32 reserved;
};
_Static_assert(sizeof(struct service_socket_key) == 32, "size of service_socket_key");
_Static_assert(__builtin_offsetof(struct service_socket_key, cookie) == 0, "cookie");
_Static_assert(__builtin_offsetof(struct service_socket_key, address) == 8, "address");
_Static_assert(__builtin_offsetof(struct service_socket_key, port) == 24, "port");
_Static_assert(__builtin_offsetof(struct service_socket_key, protocol) == 26, "protocol");
_Static_assert(__builtin_offsetof(struct service_socket_key, way) == 27, "way");
_Static_assert(__builtin_offsetof(struct service_socket_key, reserved) == 28, "reserved");

/* Value of `service_sockets`: what the socket's address becomes, and by whose doing. */
struct service_socket_peer {
	/* The backend, or the frontend, by the key's `way`. */
	__u8 address[16];
	/* Its port, in the machine's order of bytes. */
	__u16 port;
	/* Zero. */
	__u16 reserved;
	/* Stable number of the service and its port. */
	__u32 service;
	/* Stable number of the backend. */
	__u32 backend;
	/* Zero. */
	__u32 reserved2;
};
_Static_assert(sizeof(struct service_socket_peer) == 32, "size of service_socket_peer");
_Static_assert(__builtin_offsetof(struct service_socket_peer, address) == 0, "address");
_Static_assert(__builtin_offsetof(struct service_socket_peer, port) == 16, "port");
_Static_assert(__builtin_offsetof(struct service_socket_peer, reserved) == 18, "reserved");
_Static_assert(__builtin_offsetof(struct service_socket_peer, service) == 20, "service");
_Static_assert(__builtin_offsetof(struct service_socket_peer, backend) == 24, "backend");
_Static_assert(__builtin_offsetof(struct service_socket_peer, reserved2) == 28, "reserved2");
