//! Keys and values of the kernel's maps, and the event that its programs write.
//!
//! Addresses are 16 bytes; an IPv4 address stands as `::ffff:a.b.c.d`. Ports are in the machine's order
//! of bytes, addresses in the network's.

use crate::record::record;

/// Version of everything in this module: an agent refuses the pinned maps of another one.
pub const MAPS_VERSION: u32 = 1;
/// Image slots, and with them generations that can be in the kernel at once.
pub const SLOTS: u32 = 4;
/// The smallest image slot in bytes; slots are powers of two.
pub const SMALLEST_SLOT: u32 = 1 << 16;
/// The largest image slot in bytes.
pub const LARGEST_SLOT: u32 = 1 << 24;
/// Identity of no peer: an address of which nothing is known.
pub const NO_IDENTITY: u32 = 0;

/// A flow comes to the endpoint.
pub const INGRESS: u8 = 0;
/// A flow comes from the endpoint.
pub const EGRESS: u8 = 1;

record! {
    /// The one value of `meta`: what the pinned maps are.
    Meta, "meta" {
        /// `MAPS_VERSION`.
        version: u32,
        /// Bytes of an image slot.
        slot_size: u32,
        /// Entries of `addresses`.
        addresses: u32,
        /// Entries of `conntrack`.
        conntrack: u32,
    }
}

record! {
    /// The one value of `active`, read once for each packet.
    Active, "active_value" {
        /// The slot of images and prefixes that decides; `SLOTS` before there is one.
        slot: u32,
        /// Zero.
        reserved: u32,
    }
}

record! {
    /// Key of `addresses`.
    AddressKey, "address_key" {
        /// The address.
        address: [u8; 16],
    }
}

record! {
    /// Value of `addresses`: who has one address.
    AddressValue, "address_value" {
        /// The identity's number.
        identity: u32,
        /// 1 + the endpoint's number on this node; 0 for one elsewhere.
        endpoint: u32,
    }
}

record! {
    /// Key of a generation's prefixes, as a longest-prefix trie wants it.
    PrefixKey, "prefix_key" {
        /// Bits of the prefix, 96 more for IPv4.
        bits: u32,
        /// The first address.
        address: [u8; 16],
    }
}

record! {
    /// Value of a generation's prefixes.
    PrefixValue, "prefix_value" {
        /// The identity's number in that generation.
        identity: u32,
    }
}

record! {
    /// Key of `endpoints`.
    EndpointKey, "endpoint_key" {
        /// Index of the interface on the host's side.
        ifindex: u32,
    }
}

record! {
    /// Value of `endpoints`.
    EndpointValue, "endpoint_value" {
        /// The endpoint's number: its place in the image's subjects.
        number: u32,
        /// Its own identity's number.
        identity: u32,
    }
}

record! {
    /// Key of `conntrack` and of `denied`: a flow, as its first packet went.
    FlowKey, "flow_key" {
        /// Who began it.
        source: [u8; 16],
        /// With whom.
        destination: [u8; 16],
        /// The port it began at; an echo's identifier.
        source_port: u16,
        /// The port it goes to.
        destination_port: u16,
        /// IP protocol.
        protocol: u8,
        /// `INGRESS` or `EGRESS`, seen from the endpoint that tracks it.
        direction: u8,
        /// Zero.
        reserved: u16,
    }
}

record! {
    /// Value of `conntrack`.
    FlowValue, "flow_value" {
        /// When it ends, in nanoseconds of the coarse monotonic clock.
        expires: u64,
        /// Packets of the direction it began in.
        packets: u32,
        /// Packets of replies.
        replies: u32,
        /// The verdict word that let the latest packet through.
        word: u32,
        /// `FLOW_` bits.
        flags: u32,
    }
}

/// A reply was seen.
pub const FLOW_REPLIED: u32 = 1;
/// The side that began it is done (FIN).
pub const FLOW_CLOSED_FORWARD: u32 = 1 << 1;
/// The other side is done (FIN).
pub const FLOW_CLOSED_REPLY: u32 = 1 << 2;
/// It was cut off (RST).
pub const FLOW_RESET: u32 = 1 << 3;

record! {
    /// Key of `fragments`: one datagram in pieces.
    FragmentKey, "fragment_key" {
        /// Sender.
        source: [u8; 16],
        /// Receiver.
        destination: [u8; 16],
        /// Identification.
        id: u32,
        /// IP protocol.
        protocol: u8,
        /// `INGRESS` or `EGRESS`.
        direction: u8,
        /// Zero.
        reserved: u16,
    }
}

record! {
    /// Value of `fragments`: what its first piece said.
    FragmentValue, "fragment_value" {
        /// Until when it counts.
        expires: u64,
        /// Source port, or an echo's identifier.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code.
        icmp_code: u8,
        /// IP protocol.
        protocol: u8,
        /// Zero.
        reserved: u8,
    }
}

record! {
    /// Value of `denied`: when a refused flow was last reported.
    DeniedValue, "denied_value" {
        /// The generation that refused it.
        generation: u64,
        /// When it was reported.
        reported: u64,
    }
}

record! {
    /// Key of `drops`, which counts what was dropped and why.
    DropKey, "drop_key" {
        /// The generation; 0 where none was asked.
        generation: u64,
        /// The verdict word's cause; 0 where no word decided.
        cause: u32,
        /// `DROP_` code.
        reason: u8,
        /// `INGRESS` or `EGRESS`.
        direction: u8,
        /// Zero.
        reserved: u16,
    }
}

record! {
    /// What the programs tell of one packet, in the ring buffer `events`.
    Event, "event" {
        /// Nanoseconds of the coarse monotonic clock.
        time: u64,
        /// The generation that decided; 0 if none was asked.
        generation: u64,
        /// Sender.
        source: [u8; 16],
        /// Receiver.
        destination: [u8; 16],
        /// The verdict word.
        word: u32,
        /// The endpoint's number.
        endpoint: u32,
        /// The endpoint's identity.
        identity: u32,
        /// The other end's identity.
        peer: u32,
        /// Index of the interface.
        ifindex: u32,
        /// Bytes of the packet.
        length: u32,
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// IP protocol.
        protocol: u8,
        /// `INGRESS` or `EGRESS`.
        direction: u8,
        /// `VERDICT_` number.
        verdict: u8,
        /// `DROP_` code, 0 if it passed.
        reason: u8,
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code.
        icmp_code: u8,
        /// TCP flags.
        tcp_flags: u8,
        /// 4, 6, or 0 where the packet is of neither.
        family: u8,
        /// `KIND_` number: what of the flow this packet was.
        kind: u8,
        /// Zero.
        reserved: u8,
        /// Zero.
        reserved2: u16,
    }
}

/// The packet passed.
pub const VERDICT_FORWARDED: u8 = 1;
/// The packet was dropped.
pub const VERDICT_DROPPED: u8 = 2;
/// The packet passed, and would not have without the audit.
pub const VERDICT_AUDIT: u8 = 4;

/// First packet of a flow, or one that belongs to none.
pub const KIND_NEW: u8 = 0;
/// A later packet in the direction of the first.
pub const KIND_ESTABLISHED: u8 = 1;
/// A reply.
pub const KIND_REPLY: u8 = 2;
/// An error message about a tracked flow.
pub const KIND_RELATED: u8 = 3;

/// Why packets are dropped; numbers are Cilium's (`api/v1/flow/flow.proto`, `DropReason`).
pub mod drop {
    /// The source is not an address of the endpoint.
    pub const INVALID_SOURCE: u8 = 132;
    /// The policies deny it, by a rule or by default.
    pub const POLICY: u8 = 133;
    /// The IP header is damaged.
    pub const INVALID_PACKET: u8 = 134;
    /// The transport header is cut short.
    pub const TRUNCATED: u8 = 135;
    /// Neither IPv4 nor IPv6 nor ARP.
    pub const UNSUPPORTED_L3: u8 = 140;
    /// The flow could not be tracked.
    pub const CONNTRACK_FULL: u8 = 155;
    /// IPv6 extension headers that cannot be followed.
    pub const EXTENSION_HEADER: u8 = 156;
    /// No image, or one without the endpoint.
    pub const NO_POLICY: u8 = 165;
    /// The peer's identity has no class in the image.
    pub const INVALID_IDENTITY: u8 = 171;
    /// The policies send it through a proxy, and there is none.
    pub const NO_PROXY: u8 = 180;
    /// A service has no backend that may be chosen.
    pub const NO_BACKEND: u8 = 158;
    /// No address and port are left to translate a service's flow to.
    pub const NO_MAPPING: u8 = 167;
    /// A service's packet that cannot be translated: SCTP to another port.
    pub const UNMAPPABLE: u8 = 168;
    /// A cluster address, from outside.
    pub const CLUSTER_IP: u8 = 174;
    /// A client outside the ranges of a load balancer.
    pub const SOURCE_RANGE: u8 = 177;
    /// A VLAN tag.
    pub const VLAN: u8 = 182;
    /// The policies ask for authentication, and there is none.
    pub const AUTHENTICATION: u8 = 189;
}

/// Places in `counters`, which counts packets for each processor.
pub mod counter {
    /// Ingress that passed.
    pub const FORWARDED_INGRESS: u32 = 0;
    /// Egress that passed.
    pub const FORWARDED_EGRESS: u32 = 1;
    /// Ingress that was dropped.
    pub const DROPPED_INGRESS: u32 = 2;
    /// Egress that was dropped.
    pub const DROPPED_EGRESS: u32 = 3;
    /// Events for which the ring had no room.
    pub const EVENTS_LOST: u32 = 4;
    /// Flows that could not be tracked.
    pub const CONNTRACK_FAILED: u32 = 5;
    /// Later fragments whose first was not seen.
    pub const FRAGMENTS_UNKNOWN: u32 = 6;
    /// Packets that an audit let through.
    pub const AUDITED: u32 = 7;
    /// How many there are.
    pub const COUNT: u32 = 8;
}
