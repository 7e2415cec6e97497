/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services for who is on this node: where a socket is told to go to a frontend, it goes to a backend. That is decided
 * once for a connection, and no packet of it is ever translated. Policy sees what leaves the pod: the backend's
 * address and port (SEM-7.3).
 *
 *     connect      frontend -> backend; the socket's peer is the backend from then on
 *     sendmsg      likewise for one datagram; those after it go to the same backend while it may be chosen
 *     recvmsg      a datagram's source: backend -> frontend
 *     getpeername  likewise for a connection's peer
 *     post_bind    no process of the node takes a port that a service or a pod has there
 *
 * An address is 16 bytes everywhere, IPv4 as ::ffff:a.b.c.d, as sockets of the other family write it, too.
 */

#include "include/service_choice.h"

char LICENSE[] SEC("license") = "Apache-2.0";

/* Cookie of the node's own network namespace, whose ports are guarded; 0: of none. */
const volatile __u64 node_netns = 0;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__uint(key_size, sizeof(struct service_socket_key));
	__uint(value_size, sizeof(struct service_socket_peer));
} service_sockets SEC(".maps");

INLINE void set4(__u8 *address, __u32 ip)
{
	__u32 *words = (__u32 *)address;

	words[0] = 0;
	words[1] = 0;
	words[2] = 0xffff0000;
	words[3] = ip;
}

INLINE __u8 protocol_of(__u32 protocol)
{
	/* What speaks TCP with several ways reaches a backend that speaks plain TCP. */
	return protocol == IPPROTO_MPTCP ? IPPROTO_TCP : protocol;
}

INLINE int refused(const __u8 *image, __s32 error)
{
	count_drop(image, EGRESS, DROP_NO_BACKEND);
	return -error;
}

/* The backend for a call, as `inside` of docs/service-image.md says. */
INLINE const struct service_backend *choose(void *ctx, const __u8 *image, const struct service_frontend *f,
					    const struct service_key *to, __u64 cookie)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	struct service_client client = {};
	struct service_key flow __attribute__((aligned(8))) = {};
	const struct service_backend *b = NULL;
	__u64 netns;
	__u32 hash;

	/*
	 * A socket has no address before it is connected: its namespace stands for its pod. No client has an
	 * address that begins like this.
	 */
	netns = bpf_get_netns_cookie(ctx);
	__builtin_memset(client.address, 0xff, 8);
	__builtin_memcpy(client.address + 8, &netns, 8);
	client.service = f->service;
	if (f->flags & FRONTEND_AFFINITY)
		b = kept(image, f, 0, &client, now);
	if (!b) {
		__builtin_memcpy(flow.address, client.address, 16);
		if (!(f->flags & FRONTEND_AFFINITY)) {
			__builtin_memcpy(flow.address, &cookie, 8);
			flow.port = to->port;
			flow.protocol = to->protocol;
		}
		hash = f->flags & FRONTEND_MAGLEV_INSIDE ? service_hash(&flow, f->service) : bpf_get_prandom_u32();
		b = service_choose(image, services_mask, f, 0, hash);
	}
	if (b && f->flags & FRONTEND_AFFINITY)
		keeps(&client, b, now);
	return b;
}

/* Changes where a call goes: 1 if it did, 0 if that is no service, else an error to give. */
INLINE int forward(void *ctx, struct service_key *to, int datagram)
{
	struct service_socket_key key __attribute__((aligned(8))) = {};
	struct service_socket_peer peer __attribute__((aligned(8))) = {};
	struct service_socket_peer *had = NULL;
	const struct service_backend *b = NULL;
	const struct service_frontend *f;
	struct active_value *current;
	const __u8 *image;
	__u32 zero = 0;

	current = bpf_map_lookup_elem(&active, &zero);
	if (!current)
		return 0;
	image = services_of(*(volatile __u32 *)&current->slot);
	if (!image)
		return 0;
	f = service_frontend_of(image, services_mask, to);
	if (!f)
		return 0;
	key.cookie = bpf_get_socket_cookie(ctx);
	__builtin_memcpy(key.address, to->address, 16);
	key.port = to->port;
	key.protocol = to->protocol;
	key.way = SOCKET_FORWARD;
	/* Datagrams of a socket belong together, as far as anyone can tell. */
	if (datagram) {
		had = bpf_map_lookup_elem(&service_sockets, &key);
		if (had && had->service == f->service)
			b = still(image, f, 0, had->backend);
	}
	if (!b) {
		had = NULL;
		b = choose(ctx, image, f, to, key.cookie);
	}
	if (!b)
		return refused(image, f->flags & FRONTEND_INSIDE_DROP ? EHOSTUNREACH : ECONNREFUSED);
	if (!had) {
		peer.service = f->service;
		peer.backend = b->id;
		if (datagram) {
			__builtin_memcpy(peer.address, b->address, 16);
			peer.port = b->port;
			bpf_map_update_elem(&service_sockets, &key, &peer, BPF_ANY);
		}
		__builtin_memcpy(peer.address, to->address, 16);
		peer.port = to->port;
		__builtin_memcpy(key.address, b->address, 16);
		key.port = b->port;
		key.way = SOCKET_BACK;
		bpf_map_update_elem(&service_sockets, &key, &peer, BPF_ANY);
	}
	__builtin_memcpy(to->address, b->address, 16);
	to->port = b->port;
	return 1;
}

/* The frontend as which a socket knows a backend; whether there is one. */
INLINE int back(void *ctx, struct service_key *from)
{
	struct service_socket_key key __attribute__((aligned(8))) = {};
	struct service_socket_peer *peer;

	key.cookie = bpf_get_socket_cookie(ctx);
	__builtin_memcpy(key.address, from->address, 16);
	key.port = from->port;
	key.protocol = from->protocol;
	key.way = SOCKET_BACK;
	peer = bpf_map_lookup_elem(&service_sockets, &key);
	if (!peer)
		return 0;
	__builtin_memcpy(from->address, peer->address, 16);
	from->port = peer->port;
	return 1;
}

INLINE void read4(const struct bpf_sock_addr *ctx, struct service_key *key)
{
	set4(key->address, ctx->user_ip4);
	key->port = net16((__u16)ctx->user_port);
	key->protocol = protocol_of(ctx->protocol);
}

INLINE void write4(struct bpf_sock_addr *ctx, const struct service_key *key)
{
	ctx->user_ip4 = ((const __u32 *)key->address)[3];
	ctx->user_port = net16(key->port);
}

INLINE void read6(const struct bpf_sock_addr *ctx, struct service_key *key)
{
	__u32 *words = (__u32 *)key->address;

	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
	key->port = net16((__u16)ctx->user_port);
	key->protocol = protocol_of(ctx->protocol);
}

INLINE void write6(struct bpf_sock_addr *ctx, const struct service_key *key)
{
	const __u32 *words = (const __u32 *)key->address;

	ctx->user_ip6[0] = words[0];
	ctx->user_ip6[1] = words[1];
	ctx->user_ip6[2] = words[2];
	ctx->user_ip6[3] = words[3];
	ctx->user_port = net16(key->port);
}

/* 1: the call goes on. 0: it fails, with the error that is set here. */
INLINE int go4(struct bpf_sock_addr *ctx, int datagram)
{
	struct service_key key __attribute__((aligned(8))) = {};
	int done;

	read4(ctx, &key);
	done = forward(ctx, &key, datagram);
	if (done < 0) {
		bpf_set_retval(done);
		return 0;
	}
	if (done)
		write4(ctx, &key);
	return 1;
}

INLINE int go6(struct bpf_sock_addr *ctx, int datagram)
{
	struct service_key key __attribute__((aligned(8))) = {};
	int done;

	read6(ctx, &key);
	done = forward(ctx, &key, datagram);
	if (done < 0) {
		bpf_set_retval(done);
		return 0;
	}
	if (done)
		write6(ctx, &key);
	return 1;
}

INLINE int come4(struct bpf_sock_addr *ctx)
{
	struct service_key key __attribute__((aligned(8))) = {};

	read4(ctx, &key);
	if (back(ctx, &key))
		write4(ctx, &key);
	return 1;
}

INLINE int come6(struct bpf_sock_addr *ctx)
{
	struct service_key key __attribute__((aligned(8))) = {};

	read6(ctx, &key);
	if (back(ctx, &key))
		write6(ctx, &key);
	return 1;
}

SEC("cgroup/connect4")
int service_connect4(struct bpf_sock_addr *ctx)
{
	return go4(ctx, 0);
}

SEC("cgroup/connect6")
int service_connect6(struct bpf_sock_addr *ctx)
{
	return go6(ctx, 0);
}

SEC("cgroup/sendmsg4")
int service_sendmsg4(struct bpf_sock_addr *ctx)
{
	return go4(ctx, 1);
}

SEC("cgroup/sendmsg6")
int service_sendmsg6(struct bpf_sock_addr *ctx)
{
	return go6(ctx, 1);
}

SEC("cgroup/recvmsg4")
int service_recvmsg4(struct bpf_sock_addr *ctx)
{
	return come4(ctx);
}

SEC("cgroup/recvmsg6")
int service_recvmsg6(struct bpf_sock_addr *ctx)
{
	return come6(ctx);
}

SEC("cgroup/getpeername4")
int service_getpeername4(struct bpf_sock_addr *ctx)
{
	return come4(ctx);
}

SEC("cgroup/getpeername6")
int service_getpeername6(struct bpf_sock_addr *ctx)
{
	return come6(ctx);
}

/* Whether a service or a pod has an address and port of the node's. */
INLINE int taken(const __u8 *image, const struct service_key *key)
{
	const struct service_frontend *f = service_frontend_of(image, services_mask, key);

	return f && (f->kind == SERVICE_KIND_NODE_PORT || f->kind == SERVICE_KIND_HOST_PORT);
}

INLINE int bound(struct bpf_sock *ctx, struct service_key *key, int any)
{
	struct service_device_value *node;
	struct active_value *current;
	const __u8 *image;
	__u32 zero = 0;
	int found;

	if (!node_netns || bpf_get_netns_cookie(ctx) != node_netns)
		return 1;
	current = bpf_map_lookup_elem(&active, &zero);
	if (!current)
		return 1;
	image = services_of(*(volatile __u32 *)&current->slot);
	if (!image)
		return 1;
	key->port = (__u16)ctx->src_port;
	key->protocol = protocol_of(ctx->protocol);
	if (any) {
		node = bpf_map_lookup_elem(&service_devices, &zero);
		if (!node)
			return 1;
		__builtin_memcpy(key->address, node->v4, 16);
		found = taken(image, key);
		if (!found && any == 6) {
			__builtin_memcpy(key->address, node->v6, 16);
			found = taken(image, key);
		}
	} else {
		found = taken(image, key);
	}
	if (!found)
		return 1;
	bpf_set_retval(-EADDRINUSE);
	return 0;
}

SEC("cgroup/post_bind4")
int service_post_bind4(struct bpf_sock *ctx)
{
	struct service_key key __attribute__((aligned(8))) = {};
	__u32 ip = ctx->src_ip4;

	set4(key.address, ip);
	return bound(ctx, &key, ip ? 0 : 4);
}

SEC("cgroup/post_bind6")
int service_post_bind6(struct bpf_sock *ctx)
{
	struct service_key key __attribute__((aligned(8))) = {};
	__u32 *words = (__u32 *)key.address;

	words[0] = ctx->src_ip6[0];
	words[1] = ctx->src_ip6[1];
	words[2] = ctx->src_ip6[2];
	words[3] = ctx->src_ip6[3];
	return bound(ctx, &key, words[0] | words[1] | words[2] | words[3] ? 0 : 6);
}
