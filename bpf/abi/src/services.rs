//! The service image: frontends, and the backends that each may choose.
//!
//! Like the table image it is one block of little-endian bytes that lies in one element of a mapped
//! array. docs/service-image.md describes each byte; `bpf/include/service_image.h` looks things up in
//! it, and `portcullis-services` writes and reads it.

use crate::record::record;

/// The first eight bytes of a service image.
pub const MAGIC: [u8; 8] = *b"PCULLSVC";
/// The layout version; a reader refuses any other.
pub const VERSION: u32 = 1;
/// Size of the header in bytes.
pub const HEADER_SIZE: usize = 96;
/// The smallest slot of a service image in bytes; slots are powers of two.
pub const SMALLEST_SLOT: u32 = 1 << 16;
/// The largest slot of a service image in bytes.
pub const LARGEST_SLOT: u32 = 1 << 27;
/// Sections of records begin at multiples of this, so that a masked offset never splits a record.
pub const ALIGN: usize = 64;

/// Byte offsets of the header's fields.
pub mod header {
    /// [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// [`super::VERSION`], u32.
    pub const VERSION: usize = 8;
    /// Size of the whole image in bytes, u32.
    pub const SIZE: usize = 12;
    /// Generation, u64; 0 until an agent numbers it.
    pub const GENERATION: usize = 16;
    /// SHA-256 of everything behind the header, 32 bytes.
    pub const DIGEST: usize = 24;
    /// Buckets of the first hash, u32, a power of two.
    pub const BUCKETS: usize = 56;
    /// Slots of frontends, u32, a power of two.
    pub const SLOTS: usize = 60;
    /// Backends, u32.
    pub const BACKENDS: usize = 64;
    /// Entries of the table from stable numbers to backends, u32.
    pub const IDS: usize = 68;
    /// Where the seeds begin: u32 a bucket.
    pub const SEEDS_AT: usize = 72;
    /// Where the frontends begin: one [`super::Frontend`] a slot.
    pub const FRONTENDS_AT: usize = 76;
    /// Where the lists begin: u32 each, an index of a backend.
    pub const LIST_AT: usize = 80;
    /// Where the backends begin: one [`super::Backend`] each.
    pub const BACKENDS_AT: usize = 84;
    /// Where the table of stable numbers begins: u32 each, 1 + the index of a backend, 0 for none.
    pub const BY_ID_AT: usize = 88;
    /// Where the source ranges begin: one [`super::Range`] each; they end with the image.
    pub const RANGES_AT: usize = 92;
}

record! {
    /// Where clients go: an address, a port and a protocol.
    ServiceKey, "service_key" {
        /// The address.
        address: [u8; 16],
        /// The port, in the machine's order of bytes.
        port: u16,
        /// 6 TCP, 17 UDP, 132 SCTP.
        protocol: u8,
        /// Zero.
        reserved: u8,
    }
}

record! {
    /// A frontend of the service image; `protocol` 0 in a slot that has none.
    Frontend, "service_frontend" {
        /// The address.
        address: [u8; 16],
        /// The port, in the machine's order of bytes.
        port: u16,
        /// 6 TCP, 17 UDP, 132 SCTP.
        protocol: u8,
        /// A `SERVICE_KIND_`.
        kind: u8,
        /// `FRONTEND_` flags.
        flags: u32,
        /// Stable number of the service and its port; never 0.
        service: u32,
        /// Seconds for which a client keeps its backend, with `FRONTEND_AFFINITY`.
        affinity_seconds: u32,
        /// First entry in the list for who is on this node.
        inside_first: u32,
        /// How many; 0: reject, or drop with `FRONTEND_INSIDE_DROP`.
        inside_count: u32,
        /// First entry in the list for who is elsewhere.
        outside_first: u32,
        /// How many; 0: reject, or drop with `FRONTEND_OUTSIDE_DROP`.
        outside_count: u32,
        /// First entry in the list of the Maglev table.
        maglev_first: u32,
        /// Its size, a prime; 0: there is none.
        maglev_size: u32,
        /// First range from which clients may come, with `FRONTEND_SOURCE_RANGES`.
        ranges_first: u32,
        /// How many.
        ranges_count: u32,
    }
}

record! {
    /// A backend of the service image.
    Backend, "service_backend" {
        /// The address.
        address: [u8; 16],
        /// The port, in the machine's order of bytes.
        port: u16,
        /// 6 TCP, 17 UDP, 132 SCTP.
        protocol: u8,
        /// `BACKEND_` flags.
        flags: u8,
        /// Stable number; never 0.
        id: u32,
        /// Zero.
        reserved: u64,
    }
}

record! {
    /// A range of addresses from which clients may come.
    Range, "service_range" {
        /// Its first address.
        address: [u8; 16],
        /// Bits of the prefix, 96 more for IPv4.
        bits: u32,
        /// Zero.
        reserved: u32,
        /// Zero.
        reserved2: u64,
    }
}

record! {
    /// Value of `service_flows`: what becomes of a packet whose addresses and ports are the key's.
    ServiceFlow, "service_flow" {
        /// Where it comes from then.
        source: [u8; 16],
        /// Where it goes then.
        destination: [u8; 16],
        /// Until when the entry counts, by `CLOCK_MONOTONIC`.
        expires: u64,
        /// The source's port.
        source_port: u16,
        /// The destination's port.
        destination_port: u16,
        /// `FLOW_` and `SERVICE_FLOW_` bits.
        flags: u32,
        /// Stable number of the backend.
        backend: u32,
        /// Stable number of the service and its port.
        service: u32,
    }
}

record! {
    /// Key of `service_clients`.
    ServiceClient, "service_client" {
        /// The client.
        address: [u8; 16],
        /// Stable number of the service and its port.
        service: u32,
    }
}

record! {
    /// Value of `service_clients`: the backend that a client keeps.
    ServiceChoice, "service_choice" {
        /// When it was last asked for, by `CLOCK_MONOTONIC`.
        used: u64,
        /// Stable number of the backend.
        backend: u32,
        /// Zero.
        reserved: u32,
    }
}

record! {
    /// Value of `service_devices`, by interface: the node's own addresses on it; zero where it has none.
    ServiceDevice, "service_device_value" {
        /// IPv4, mapped.
        v4: [u8; 16],
        /// IPv6.
        v6: [u8; 16],
    }
}

record! {
    /// Key of `service_sockets`.
    SocketKey, "service_socket_key" {
        /// The socket's cookie, which the kernel gives once.
        cookie: u64,
        /// The frontend, or the backend, by `way`.
        address: [u8; 16],
        /// Its port, in the machine's order of bytes.
        port: u16,
        /// 6 TCP, 17 UDP.
        protocol: u8,
        /// A `SOCKET_`.
        way: u8,
        /// Zero.
        reserved: u32,
    }
}

record! {
    /// Value of `service_sockets`: what the socket's address becomes, and by whose doing.
    SocketPeer, "service_socket_peer" {
        /// The backend, or the frontend, by the key's `way`.
        address: [u8; 16],
        /// Its port, in the machine's order of bytes.
        port: u16,
        /// Zero.
        reserved: u16,
        /// Stable number of the service and its port.
        service: u32,
        /// Stable number of the backend.
        backend: u32,
        /// Zero.
        reserved2: u32,
    }
}

/// `way` of a [`SocketKey`]: from a frontend to the backend that gets the socket's datagrams.
pub const SOCKET_FORWARD: u8 = 0;
/// `way` of a [`SocketKey`]: from a backend to the frontend as which the socket knows it.
pub const SOCKET_BACK: u8 = 1;

/// A flow whose source gets a port of the node's when it leaves.
pub const SERVICE_FLOW_SOURCE: u32 = 256;

/// What a frontend is.
pub mod kind {
    /// An address of `clusterIPs`.
    pub const CLUSTER_IP: u8 = 1;
    /// A port of every node.
    pub const NODE_PORT: u8 = 2;
    /// An address of `status.loadBalancer`.
    pub const LOAD_BALANCER: u8 = 3;
    /// An address of `externalIPs`.
    pub const EXTERNAL_IP: u8 = 4;
    /// A `hostPort` of a pod on this node.
    pub const HOST_PORT: u8 = 5;
}

/// Flags of a frontend.
pub mod frontend {
    /// A client keeps its backend for some time.
    pub const AFFINITY: u32 = 1;
    /// `externalTrafficPolicy: Local`: keep the client's address.
    pub const EXTERNAL_LOCAL: u32 = 2;
    /// `internalTrafficPolicy: Local`.
    pub const INTERNAL_LOCAL: u32 = 4;
    /// Only clients of its ranges may come from outside.
    pub const SOURCE_RANGES: u32 = 8;
    /// The Maglev table holds the backends for who is on this node.
    pub const MAGLEV_INSIDE: u32 = 16;
    /// Nobody may come from outside: a cluster address.
    pub const OUTSIDE_DENIED: u32 = 32;
    /// The Maglev table holds the backends for who is elsewhere.
    pub const MAGLEV_OUTSIDE: u32 = 64;
    /// Drop instead of rejecting who is on this node: backends exist, and a local policy leaves none.
    pub const INSIDE_DROP: u32 = 128;
    /// Drop instead of rejecting who is elsewhere, likewise.
    pub const OUTSIDE_DROP: u32 = 256;
}

/// Flags of a backend.
pub mod backend {
    /// It is on this node.
    pub const LOCAL: u8 = 1;
    /// It is terminating: chosen only where nothing else is left.
    pub const TERMINATING: u8 = 2;
    /// Its address is one of this node's own.
    pub const NODE: u8 = 4;
}

const FIRST: u32 = 0x9e37_79b1;
const STEP: u32 = 0x85eb_ca6b;

/// The hash of a frontend's key. `service_hash` in `bpf/include/service_image.h` is the same.
pub fn hash(key: &ServiceKey, seed: u32) -> u32 {
    let mut h = seed.wrapping_mul(FIRST);
    for word in key.to_bytes().chunks_exact(4) {
        h ^= word.first_chunk().map_or(0, |w| u32::from_le_bytes(*w));
        h = h.wrapping_mul(STEP);
        h ^= h >> 13;
    }
    h ^ (h >> 16)
}

const _: () = assert!(ServiceKey::SIZE == 20);
const _: () = assert!(Frontend::SIZE == 64 && ALIGN.is_multiple_of(Frontend::SIZE));
const _: () = assert!(Backend::SIZE == 32 && ALIGN.is_multiple_of(Backend::SIZE));
const _: () = assert!(Range::SIZE == 32 && ALIGN.is_multiple_of(Range::SIZE));
const _: () = assert!(header::RANGES_AT + 4 == HEADER_SIZE);
