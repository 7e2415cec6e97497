/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The look-up of docs/table-image.md, step by step as compiler/tables/src/image.rs does it. Every offset
 * is masked to the slot, so a damaged image gives a wrong answer and never a read outside. The agent lets
 * no image in that it has not read and compared.
 */
#pragma once

#include "packet.h"

/* Behind every verdict word: what stands there is no word. */
#define NO_WORD 0

struct decision {
	__u64 generation;
	__u32 word;
	/* A DROP_ code if the image has no answer. */
	int failed;
};

/* A field of the header: its place is known to whoever compiles this, and in the smallest slot. */
#define FIELD(image, at) (*(const __u32 *)((image) + (at)))

INLINE __u32 at16(const __u8 *image, __u32 mask, __u32 at)
{
	return *(const __u16 *)(image + (at & (mask - 1)));
}

INLINE __u32 at32(const __u8 *image, __u32 mask, __u32 at)
{
	return *(const __u32 *)(image + (at & (mask - 3)));
}

INLINE const __u8 *image_of(__u32 slot)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&images, &slot);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

/* The identity of an address: an exact one, else that of the longest prefix of the generation. */
INLINE __u32 identity_of(const __u8 *address, __u32 slot)
{
	const struct address_value *exact = bpf_map_lookup_elem(&addresses, address);
	struct prefix_key key __attribute__((aligned(8)));
	struct prefix_value *found;
	void *trie;

	if (exact)
		return exact->identity;
	trie = bpf_map_lookup_elem(&prefixes, &slot);
	if (!trie)
		return NO_IDENTITY;
	key.bits = 128;
	copy16(key.address, address);
	found = bpf_map_lookup_elem(trie, &key);
	return found ? found->identity : NO_IDENTITY;
}

/* Generations are written before a slot goes into use and read as two halves. */
INLINE __u64 generation_of(const __u8 *image)
{
	return (__u64)FIELD(image, IMAGE_GENERATION + 4) << 32 | FIELD(image, IMAGE_GENERATION);
}

INLINE __u32 coordinate_of(const struct packet *p)
{
	if (p->protocol == IPPROTO_TCP)
		return p->destination_port;
	if (p->protocol == IPPROTO_UDP)
		return COORDINATE_UDP + p->destination_port;
	if (p->protocol == IPPROTO_SCTP)
		return COORDINATE_SCTP + p->destination_port;
	if (is_icmp(p))
		return (p->family == 4 ? COORDINATE_ICMP : COORDINATE_ICMP6) + p->icmp_type;
	return COORDINATE_PROTOCOL + p->protocol;
}

/* The verdict word of a row at a coordinate. */
INLINE __u32 word_at(const __u8 *image, __u32 mask, __u32 row, __u32 coordinate)
{
	__u32 page, atom, pages, place;

	page = at16(image, mask, FIELD(image, IMAGE_PORT_DIRECTORY) + coordinate / PORT_PAGE * 2);
	atom = at16(image, mask, FIELD(image, IMAGE_PORT_PAGES) + (page * PORT_PAGE + coordinate % PORT_PAGE) * 2);
	pages = (FIELD(image, IMAGE_ATOMS) + ROW_PAGE - 1) / ROW_PAGE;
	page = at16(image, mask, FIELD(image, IMAGE_ROW_DIRECTORY) + (row * pages + atom / ROW_PAGE) * 2);
	place = at16(image, mask, FIELD(image, IMAGE_ROW_PAGES) + (page * ROW_PAGE + atom % ROW_PAGE) * 2);
	return at32(image, mask, FIELD(image, IMAGE_WORDS) + place * 4);
}

/* The row of an endpoint about an identity; 0, or the DROP_ code that says why there is none. */
INLINE int row_of(const __u8 *image, __u32 mask, __u32 endpoint, __u8 direction, __u32 identity, __u32 *row)
{
	__u32 subject, class, directory, locals, page, local;

	if (endpoint >= FIELD(image, IMAGE_ENDPOINTS))
		return DROP_NO_POLICY;
	subject = at16(image, mask, FIELD(image, IMAGE_SUBJECT_OF) + (endpoint * 2 + direction) * 2);
	if (subject == NO_SUBJECT)
		return DROP_NO_POLICY;
	if (identity == NO_IDENTITY || identity >= FIELD(image, IMAGE_IDENTITIES))
		return DROP_INVALID_IDENTITY;
	class = at16(image, mask, FIELD(image, IMAGE_PEER_CLASS) + identity * 2);
	if (class >= FIELD(image, IMAGE_PEER_CLASSES))
		return DROP_INVALID_IDENTITY;
	directory = at32(image, mask, FIELD(image, IMAGE_SUBJECTS) + subject * 8);
	locals = at32(image, mask, FIELD(image, IMAGE_SUBJECTS) + subject * 8 + 4);
	page = at16(image, mask, FIELD(image, IMAGE_PAIR_DIRECTORY) + (directory + class / PAIR_PAGE) * 2);
	local = at16(image, mask, FIELD(image, IMAGE_PAIR_PAGES) + (page * PAIR_PAGE + class % PAIR_PAGE) * 2);
	*row = at16(image, mask, FIELD(image, IMAGE_LOCALS) + (locals + local) * 2);
	return 0;
}

INLINE void decide(const __u8 *image, __u32 endpoint, __u8 direction, __u32 identity,
		   const struct packet *p, struct decision *d)
{
	/* Read once: the compiler may not read it for itself as it likes. */
	__u32 mask = image_mask;
	__u32 row = 0;

	d->generation = generation_of(image);
	d->failed = row_of(image, mask, endpoint, direction, identity, &row);
	if (d->failed)
		return;
	d->word = word_at(image, mask, row, coordinate_of(p));
	/*
	 * Of a later fragment no port is known: only what covers every port may let it through
	 * (SEM-7.5). Such a row agrees at both ends; port 0 of a rule means every port anyway.
	 */
	if (p->piece == UNKNOWN_FRAGMENT && (d->word & WORD_ALLOW) &&
	    (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_SCTP))
		d->word = word_at(image, mask, row, coordinate_of(p) + 65535);
}
