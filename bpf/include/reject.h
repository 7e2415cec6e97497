/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to a packet that has nowhere to go, made of the packet itself: a TCP reset, or "port
 * unreachable". Checksums are complete; a device that hands over packets without theirs takes such back.
 */
#pragma once

#include "conntrack.h"

INLINE __u16 folded(__s64 sum)
{
	__u32 s = (__u32)sum;

	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return (__u16)~s;
}

/* What stands before the payload of an answer: both headers, and room for what is quoted. */
struct answer {
	__u8 ip[40];
	/* TCP, or ICMP's eight bytes and the packet. */
	__u8 l4[56];
} __attribute__((aligned(8)));

/* The pseudo header of an IPv6 packet, or of a TCP segment in IPv4, as sums see it. */
INLINE __s64 pseudo(const struct packet *p, __u32 length, __u8 protocol)
{
	__u32 words[10];

	copy16((__u8 *)words, p->source);
	copy16((__u8 *)(words + 4), p->destination);
	if (p->family == 4) {
		/* What maps an IPv4 address is no part of it. */
		words[2] = 0;
		words[6] = 0;
	}
	words[8] = host32(length);
	words[9] = host32((__u32)protocol);
	return bpf_csum_diff(NULL, 0, words, 40, 0);
}

/* Turns the packet around; 0, or it is not one that is answered. */
static __attribute__((noinline)) int answer(struct __sk_buff *skb, __u32 l3, const struct packet *p, struct answer *a)
{
	__u32 header = p->family == 4 ? 20 : 40;
	__u8 protocol = p->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	__u8 macs[12], turned[12];
	__u32 length;
	__s64 sum;
	int tcp = p->protocol == IPPROTO_TCP;

	/* Without options and extension headers alone: the sender of others waits. */
	if (p->l4 != l3 + header || (p->piece != WHOLE && p->piece != FIRST_FRAGMENT))
		return -1;
	__builtin_memset(a, 0, sizeof(*a));
	if (tcp) {
		__u8 segment[20] __attribute__((aligned(4)));
		__u32 next;

		if (p->tcp_flags & TCP_RST || bpf_skb_load_bytes(skb, p->l4, segment, 20))
			return -1;
		*(__u16 *)(a->l4) = *(__u16 *)(segment + 2);
		*(__u16 *)(a->l4 + 2) = *(__u16 *)segment;
		/* RFC 9293, 3.10.7.1: an ACK gets its number, everything else is acknowledged. */
		if (p->tcp_flags & TCP_ACK) {
			*(__u32 *)(a->l4 + 4) = *(__u32 *)(segment + 8);
			a->l4[13] = TCP_RST;
		} else {
			next = host32(*(__u32 *)(segment + 4)) + (skb->len - p->l4 - (segment[12] >> 4) * 4);
			next += !!(p->tcp_flags & TCP_SYN) + !!(p->tcp_flags & TCP_FIN);
			*(__u32 *)(a->l4 + 8) = host32(next);
			a->l4[13] = TCP_RST | TCP_ACK;
		}
		a->l4[12] = 5 << 4;
		length = 20;
		protocol = IPPROTO_TCP;
	} else {
		a->l4[0] = p->family == 4 ? 3 : 1;
		a->l4[1] = p->family == 4 ? 3 : 4;
		/* The header and eight bytes are what every error quotes. */
		if (p->family == 4) {
			if (bpf_skb_load_bytes(skb, l3, a->l4 + 8, 28))
				return -1;
			length = 36;
		} else {
			if (bpf_skb_load_bytes(skb, l3, a->l4 + 8, 48))
				return -1;
			length = 56;
		}
	}
	sum = protocol == IPPROTO_ICMP ? 0 : pseudo(p, length, protocol);
	/* The rest is zero, which adds nothing. */
	sum = bpf_csum_diff(NULL, 0, (__u32 *)a->l4, sizeof(a->l4), (__u32)sum);
	*(__u16 *)(a->l4 + (tcp ? 16 : 2)) = folded(sum);
	if (p->family == 4) {
		a->ip[0] = 0x45;
		*(__u16 *)(a->ip + 2) = net16((__u16)(header + length));
		*(__u16 *)(a->ip + 6) = net16(0x4000);
		a->ip[8] = 64;
		a->ip[9] = protocol;
		*(__u32 *)(a->ip + 12) = ((const __u32 *)p->destination)[3];
		*(__u32 *)(a->ip + 16) = ((const __u32 *)p->source)[3];
		*(__u16 *)(a->ip + 10) = folded(bpf_csum_diff(NULL, 0, (__u32 *)a->ip, 20, 0));
	} else {
		a->ip[0] = 0x60;
		*(__u16 *)(a->ip + 4) = net16((__u16)length);
		a->ip[6] = protocol;
		a->ip[7] = 64;
		copy16(a->ip + 8, p->destination);
		copy16(a->ip + 24, p->source);
	}
	if (bpf_skb_change_tail(skb, l3 + header + length, 0))
		return -1;
	if (l3) {
		if (bpf_skb_load_bytes(skb, 0, macs, 12))
			return -1;
		__builtin_memcpy(turned, macs + 6, 6);
		__builtin_memcpy(turned + 6, macs, 6);
		bpf_skb_store_bytes(skb, 0, turned, 12, 0);
	}
	if (p->family == 4)
		bpf_skb_store_bytes(skb, l3, a->ip, 20, 0);
	else
		bpf_skb_store_bytes(skb, l3, a->ip, 40, 0);
	if (length == 20)
		bpf_skb_store_bytes(skb, l3 + header, a->l4, 20, 0);
	else if (length == 36)
		bpf_skb_store_bytes(skb, l3 + header, a->l4, 36, 0);
	else
		bpf_skb_store_bytes(skb, l3 + header, a->l4, 56, 0);
	return 0;
}
