/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services for who is elsewhere, at the node's devices to the outside: node ports, addresses of load
 * balancers, external addresses, host ports.
 *
 * `service_flows` says what becomes of a packet by its addresses, ports and direction at the device. A flow has
 * an entry for its first packet's way and one for the replies', and two more if its source is translated:
 *
 *     comes in   client -> frontend    becomes   client -> backend
 *     leaves     client -> backend     becomes   node   -> backend      (backend on another node)
 *     comes in   backend -> node       becomes   backend -> client      (likewise)
 *     leaves     backend -> client     becomes   frontend -> client
 *
 * The source is translated where the packet leaves, so that routing never sees one of the node's own
 * addresses come in from outside. The entry that answers another has its value reversed as key and its
 * key reversed as value, at the other hook: so one that was evicted is made again of its partner.
 *
 * Policy is asked at the pod's interface, behind all this: about the backend's address and port (SEM-7.3).
 */

#include "include/reject.h"
#include "include/service_choice.h"
#include "include/service_maps.h"
#include "include/stamp.h"
#include "include/translate.h"

char LICENSE[] SEC("license") = "Apache-2.0";

/* Ports of the node for flows whose source is translated: above those that the kernel gives out. */
const volatile __u32 first_port = 61000;
const volatile __u32 ports = 4536;

/* How many ports are tried for one flow. */
#define TRIES 32

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__uint(key_size, sizeof(struct flow_key));
	__uint(value_size, sizeof(struct service_flow));
} service_flows SEC(".maps");

/* What one packet takes, more than the stack has. No two packets are handled by a processor at once. */
struct work {
	struct packet packet;
	struct packet quoted;
	struct flow_key key;
	struct flow_key partner;
	struct service_flow to;
	struct service_flow back;
	struct answer answer;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, sizeof(struct work));
} service_work SEC(".maps");

INLINE int dropped(const __u8 *image, __u8 direction, __u8 reason)
{
	count(COUNT_DROPPED + direction);
	count_drop(image, direction, reason);
	return TC_ACT_SHOT;
}

/* The key of the entry that answers another: the reverse of what that one's packets become. */
INLINE void partner_of(struct flow_key *out, const struct service_flow *flow, __u8 protocol, __u8 direction)
{
	copy16(out->source, flow->destination);
	copy16(out->destination, flow->source);
	out->source_port = flow->destination_port;
	out->destination_port = flow->source_port;
	out->protocol = protocol;
	out->direction = !direction;
	out->reserved = 0;
}

/* Its value: the reverse of that one's key. */
INLINE void answers(struct service_flow *out, const struct flow_key *key, const struct service_flow *flow)
{
	copy16(out->source, key->destination);
	copy16(out->destination, key->source);
	out->source_port = key->destination_port;
	out->destination_port = key->source_port;
	out->expires = flow->expires;
	out->flags = 0;
	out->backend = flow->backend;
	out->service = flow->service;
}

INLINE struct service_flow *service_flow_at(const struct flow_key *key, __u64 now)
{
	struct service_flow *flow = bpf_map_lookup_elem(&service_flows, key);

	return flow && flow->expires >= now ? flow : NULL;
}

/*
 * Takes one more packet into a flow: its own entry, and its partner's, which must live as long. Flags are
 * seen from each entry: what is forward to one is reply to the other.
 */
INLINE void keep(struct work *w, struct service_flow *flow, __u64 now)
{
	const struct packet *p = &w->packet;
	struct service_flow *partner;
	__u32 flags = flow->flags;
	__u64 expires;

	if (p->tcp_flags & TCP_FIN)
		flags |= FLOW_CLOSED_FORWARD;
	if (p->tcp_flags & TCP_RST)
		flags |= FLOW_RESET;
	expires = now + lifetime_of(p, flags);
	if (flags == flow->flags && flags & FLOW_REPLIED && expires <= flow->expires + 1000000000 &&
	    expires >= flow->expires)
		return;
	/* Until the source has a port there is no way back. */
	if (flow->flags & SERVICE_FLOW_SOURCE)
		return;
	partner_of(&w->partner, flow, w->key.protocol, w->key.direction);
	partner = bpf_map_lookup_elem(&service_flows, &w->partner);
	if (!partner) {
		flow->expires = expires;
		flow->flags = flags;
		answers(&w->back, &w->key, flow);
		bpf_map_update_elem(&service_flows, &w->partner, &w->back, BPF_NOEXIST);
		return;
	}
	/* That this packet came is an answer to whoever the partner is for. */
	if (!(partner->flags & FLOW_REPLIED))
		partner->flags |= FLOW_REPLIED;
	if (flags & FLOW_CLOSED_FORWARD && !(partner->flags & FLOW_CLOSED_REPLY))
		partner->flags |= FLOW_CLOSED_REPLY;
	if (flags & FLOW_RESET && !(partner->flags & FLOW_RESET))
		partner->flags |= FLOW_RESET;
	flow->flags = flags;
	flow->expires = expires;
	partner->expires = expires;
}

/* An error about a translated flow. */
INLINE int error(struct __sk_buff *skb, struct work *w, __u32 l3, __u8 direction, __u64 now)
{
	struct packet *p = &w->packet;
	struct packet *q = &w->quoted;
	struct service_flow *flow;
	int failed;

	__builtin_memset(q, 0, sizeof(*q));
	failed = p->family == 4 ? read_ipv4(skb, p->l4 + 8, q) : read_ipv6(skb, p->l4 + 8, q);
	if (failed || q->piece == LATER_FRAGMENT || read_l4(skb, q, 0) || !same16(p->destination, q->source))
		return TC_ACT_UNSPEC;
	reverse_key_of(&w->key, q, direction);
	flow = service_flow_at(&w->key, now);
	if (!flow || flow->flags & SERVICE_FLOW_SOURCE)
		return TC_ACT_UNSPEC;
	w->to = *flow;
	rewrite_error(skb, l3, p, q, &w->to);
	return TC_ACT_UNSPEC;
}

/* Reads a packet; whether it is one of those that services have. */
INLINE int read(struct __sk_buff *skb, struct work *w, __u32 l3, __u8 direction, __u64 now)
{
	struct packet *p = &w->packet;
	__u32 protocol = host16((__u16)skb->protocol);
	int failed = 1;

	if (skb->vlan_present)
		return 0;
	__builtin_memset(p, 0, sizeof(*p));
	if (protocol == ETH_P_IP)
		failed = read_ipv4(skb, l3, p);
	else if (protocol == ETH_P_IPV6)
		failed = read_ipv6(skb, l3, p);
	/* What cannot be read is nobody's service; the stack judges it. */
	return !failed && !read_fragment(skb, p, direction, now) && p->piece != UNKNOWN_FRAGMENT;
}

INLINE int has_ports(const struct packet *p)
{
	return p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_SCTP;
}

static long in_range(__u32 i, struct among *a)
{
	if (!service_range_holds(a->image, services_mask, a->first + i, a->address))
		return 0;
	a->found = 1;
	return 1;
}

INLINE const struct service_backend *choose(const __u8 *image, const struct service_frontend *f,
					    const struct packet *p, __u64 now)
{
	struct service_client client = {};
	const struct service_backend *b = NULL;
	struct service_key flow __attribute__((aligned(8))) = {};
	__u32 hash;

	copy16(client.address, p->source);
	client.service = f->service;
	if (f->flags & FRONTEND_AFFINITY)
		b = kept(image, f, 1, &client, now);
	if (!b) {
		/* Of the client alone where it keeps its backend: every node chooses alike then. */
		copy16(flow.address, p->source);
		if (!(f->flags & FRONTEND_AFFINITY)) {
			flow.port = p->source_port;
			flow.protocol = p->protocol;
		}
		hash = f->flags & FRONTEND_MAGLEV_OUTSIDE ? service_hash(&flow, f->service) : bpf_get_prandom_u32();
		b = service_choose(image, services_mask, f, 1, hash);
	}
	if (b && f->flags & FRONTEND_AFFINITY)
		keeps(&client, b, now);
	return b;
}

/* Makes the entries of a new flow; 0, or a DROP_ code. */
INLINE int begin(struct work *w, const struct service_frontend *f, const struct service_backend *b, __u64 now)
{
	const struct packet *p = &w->packet;
	struct service_flow *other;

	w->to.expires = now + lifetime_of(p, 0);
	copy16(w->to.source, p->source);
	copy16(w->to.destination, b->address);
	w->to.source_port = p->source_port;
	w->to.destination_port = b->port;
	w->to.flags = 0;
	w->to.backend = b->id;
	w->to.service = f->service;
	partner_of(&w->partner, &w->to, p->protocol, INGRESS);
	answers(&w->back, &w->key, &w->to);
	/* The client has another connection to this backend, by another frontend and from the same port. */
	other = service_flow_at(&w->partner, now);
	if (other && p->protocol == IPPROTO_TCP && !(other->flags & (FLOW_RESET | FLOW_CLOSED_FORWARD | FLOW_CLOSED_REPLY)) &&
	    other->flags & FLOW_REPLIED &&
	    (!same16(other->source, w->back.source) || other->source_port != w->back.source_port))
		return DROP_NO_MAPPING;
	if (bpf_map_update_elem(&service_flows, &w->partner, &w->back, BPF_ANY) ||
	    bpf_map_update_elem(&service_flows, &w->key, &w->to, BPF_ANY))
		return DROP_CONNTRACK_FULL;
	if (b->flags & (BACKEND_LOCAL | BACKEND_NODE))
		return 0;
	/* It leaves again: there its source gets an address and a port. */
	copy16(w->partner.source, w->to.source);
	copy16(w->partner.destination, w->to.destination);
	w->partner.source_port = w->to.source_port;
	w->partner.destination_port = w->to.destination_port;
	w->partner.direction = EGRESS;
	other = service_flow_at(&w->partner, now);
	/* The same four as before (the same client, port and backend) keep their port. */
	if (other && !(other->flags & (FLOW_RESET | FLOW_CLOSED_FORWARD | FLOW_CLOSED_REPLY)))
		return 0;
	w->back = w->to;
	w->back.flags = SERVICE_FLOW_SOURCE;
	return bpf_map_update_elem(&service_flows, &w->partner, &w->back, BPF_ANY) ? DROP_CONNTRACK_FULL : 0;
}

/* Whether a flow's next packet goes where the last went. */
INLINE int goes_on(const struct service_flow *flow, const struct packet *p, const __u8 *image)
{
	int opens = (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;

	if (opens && flow->flags & (FLOW_RESET | FLOW_CLOSED_FORWARD | FLOW_CLOSED_REPLY))
		return 0;
	/* A connection that exists ends with its backend; what merely tries takes one that is there. */
	if (p->protocol == IPPROTO_TCP && !opens)
		return 1;
	return service_backend_by_id(image, services_mask, flow->backend) != NULL;
}

INLINE int comes_in(struct __sk_buff *skb, __u32 l3)
{
	const struct service_frontend *f;
	const struct service_backend *b;
	struct active_value *current;
	struct service_flow *flow;
	struct service_key where __attribute__((aligned(8))) = {};
	const __u8 *image;
	struct work *w;
	__u64 now = bpf_ktime_get_coarse_ns();
	__u32 zero = 0;
	__u32 slot;
	int failed;

	w = bpf_map_lookup_elem(&service_work, &zero);
	if (!w || !read(skb, w, l3, INGRESS, now))
		return TC_ACT_UNSPEC;
	if (is_error(&w->packet))
		return error(skb, w, l3, INGRESS, now);
	if (!has_ports(&w->packet))
		return TC_ACT_UNSPEC;
	current = bpf_map_lookup_elem(&active, &zero);
	if (!current)
		return TC_ACT_UNSPEC;
	/* Once; policy asks the same generation, whatever decides when the packet comes there. */
	slot = *(volatile __u32 *)&current->slot;
	image = services_of(slot);
	if (image)
		stamp(skb, slot, *(const __u64 *)(image + SERVICES_GENERATION));
	key_of(&w->key, &w->packet, INGRESS);
	flow = service_flow_at(&w->key, now);
	if (flow && (!image || goes_on(flow, &w->packet, image))) {
		keep(w, flow, now);
		w->to = *flow;
		rewrite(skb, l3, &w->packet, &w->to);
		return TC_ACT_UNSPEC;
	}
	if (!image)
		return TC_ACT_UNSPEC;
	copy16(where.address, w->packet.destination);
	where.port = w->packet.destination_port;
	where.protocol = w->packet.protocol;
	f = service_frontend_of(image, services_mask, &where);
	if (!f)
		return TC_ACT_UNSPEC;
	if (f->flags & FRONTEND_OUTSIDE_DENIED)
		return dropped(image, INGRESS, DROP_CLUSTER_IP);
	if (f->flags & FRONTEND_SOURCE_RANGES) {
		struct among among = { .image = image, .address = w->packet.source, .first = f->ranges_first };

		bpf_loop(f->ranges_count, in_range, &among, 0);
		if (!among.found)
			return dropped(image, INGRESS, DROP_SOURCE_RANGE);
	}
	b = choose(image, f, &w->packet, now);
	if (!b) {
		dropped(image, INGRESS, DROP_NO_BACKEND);
		if (f->flags & FRONTEND_OUTSIDE_DROP || answer(skb, l3, &w->packet, &w->answer))
			return TC_ACT_SHOT;
		return bpf_redirect(skb->ifindex, 0);
	}
	/* The checksum of SCTP covers all of it: a port cannot be changed in place. */
	if (w->packet.protocol == IPPROTO_SCTP && b->port != w->packet.destination_port)
		return dropped(image, INGRESS, DROP_UNMAPPABLE);
	failed = begin(w, f, b, now);
	if (failed)
		return dropped(image, INGRESS, failed);
	rewrite(skb, l3, &w->packet, &w->to);
	return TC_ACT_UNSPEC;
}

/* Gives a flow that leaves a source of the node's, and the replies their way back; 0, or a DROP_ code. */
INLINE int give_source(struct __sk_buff *skb, struct work *w, struct service_flow *flow, __u64 now)
{
	const struct packet *p = &w->packet;
	struct service_device_value *device;
	struct service_flow *taken;
	__u32 ifindex = skb->ifindex;
	__u32 start = bpf_get_prandom_u32();
	__u32 i, count = ports;
	const __u8 *own;

	device = bpf_map_lookup_elem(&service_devices, &ifindex);
	if (!device)
		return DROP_NO_MAPPING;
	own = p->family == 4 ? device->v4 : device->v6;
	/* IPv4's are mapped, so that their third word is not zero. */
	if (!((const __u32 *)own)[0] && !((const __u32 *)own)[2] && !((const __u32 *)own)[3])
		return DROP_NO_MAPPING;
	w->to = *flow;
	copy16(w->to.source, own);
	w->to.flags = 0;
	for (i = 0; i < TRIES; i++) {
		/* SCTP keeps its port: its checksum covers it. */
		if (p->protocol != IPPROTO_SCTP)
			w->to.source_port = first_port + (__u32)((__u64)(start + i * 0x9e3779b1u) * count >> 32);
		partner_of(&w->partner, &w->to, p->protocol, EGRESS);
		answers(&w->back, &w->key, &w->to);
		taken = bpf_map_lookup_elem(&service_flows, &w->partner);
		if (taken && taken->expires < now)
			bpf_map_delete_elem(&service_flows, &w->partner);
		if (!bpf_map_update_elem(&service_flows, &w->partner, &w->back, BPF_NOEXIST))
			return bpf_map_update_elem(&service_flows, &w->key, &w->to, BPF_ANY) ?
				       DROP_CONNTRACK_FULL : 0;
		if (p->protocol == IPPROTO_SCTP)
			break;
	}
	return DROP_NO_MAPPING;
}

INLINE int leaves(struct __sk_buff *skb, __u32 l3)
{
	struct service_flow *flow;
	struct work *w;
	__u64 now = bpf_ktime_get_coarse_ns();
	__u32 zero = 0;
	int failed;

	w = bpf_map_lookup_elem(&service_work, &zero);
	if (!w || !read(skb, w, l3, EGRESS, now))
		return TC_ACT_UNSPEC;
	if (is_error(&w->packet))
		return error(skb, w, l3, EGRESS, now);
	if (!has_ports(&w->packet))
		return TC_ACT_UNSPEC;
	key_of(&w->key, &w->packet, EGRESS);
	flow = service_flow_at(&w->key, now);
	if (!flow)
		return TC_ACT_UNSPEC;
	if (flow->flags & SERVICE_FLOW_SOURCE) {
		failed = give_source(skb, w, flow, now);
		if (failed)
			return dropped(NULL, EGRESS, failed);
	} else {
		keep(w, flow, now);
		w->to = *flow;
	}
	rewrite(skb, l3, &w->packet, &w->to);
	return TC_ACT_UNSPEC;
}

/* What comes in, on a device with Ethernet headers. */
SEC("classifier")
int service_in(struct __sk_buff *skb)
{
	return comes_in(skb, ETH_HLEN);
}

/* What leaves, on a device with Ethernet headers. */
SEC("classifier")
int service_out(struct __sk_buff *skb)
{
	return leaves(skb, ETH_HLEN);
}

/* The same on devices without. */
SEC("classifier")
int service_in_l3(struct __sk_buff *skb)
{
	return comes_in(skb, 0);
}

SEC("classifier")
int service_out_l3(struct __sk_buff *skb)
{
	return leaves(skb, 0);
}
