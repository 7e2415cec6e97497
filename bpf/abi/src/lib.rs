//! The layout that the compiler, the agent and the kernel programs share.
//!
//! The table image is one block of little-endian bytes. Every section begins at a multiple of
//! [`ALIGN`]; the header gives where. docs/table-image.md describes each byte, and [`services`] lays
//! out the one of services. [`maps`] has the keys
//! and values of the kernel's maps, and [`c`] writes all of it as the header that the programs
//! include, `bpf/include/abi.h`; a test holds the file to it.

#![no_std]

extern crate alloc;

pub mod c;
pub mod maps;
pub mod record;
pub mod services;

/// The first eight bytes of an image.
pub const MAGIC: [u8; 8] = *b"PCULLIMG";
/// The layout version; a reader refuses any other.
pub const VERSION: u32 = 1;
/// Sections begin at multiples of this many bytes.
pub const ALIGN: usize = 8;
/// Size of the header in bytes.
pub const HEADER_SIZE: usize = 184;

/// Coordinates of everything a packet can carry: TCP, UDP and SCTP ports, ICMP and ICMPv6 types,
/// other IP protocols, one stretch after the other.
pub const COORDINATES: u32 = 3 * 0x1_0000 + 3 * 0x100;
/// First coordinate of UDP; TCP begins at 0.
pub const COORDINATE_UDP: u32 = 0x1_0000;
/// First coordinate of SCTP.
pub const COORDINATE_SCTP: u32 = 0x2_0000;
/// First coordinate of ICMP types.
pub const COORDINATE_ICMP: u32 = 0x3_0000;
/// First coordinate of ICMPv6 types.
pub const COORDINATE_ICMP6: u32 = COORDINATE_ICMP + 0x100;
/// First coordinate of other IP protocols, by number.
pub const COORDINATE_PROTOCOL: u32 = COORDINATE_ICMP6 + 0x100;

/// Coordinates in one page of the port table.
pub const PORT_PAGE: usize = 64;
/// Entries of the port directory.
pub const PORT_DIRECTORY: usize = COORDINATES as usize / PORT_PAGE;
/// Peer classes in one page of the pair table.
pub const PAIR_PAGE: usize = 32;
/// Atoms in one page of the row table.
pub const ROW_PAGE: usize = 16;

/// Byte offsets of the header's fields.
pub mod header {
    /// [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// [`super::VERSION`], u32.
    pub const VERSION: usize = 8;
    /// Size of the whole image in bytes, u32.
    pub const SIZE: usize = 12;
    /// Identities, u32.
    pub const IDENTITIES: usize = 16;
    /// Identities that are endpoints of this cluster; they come first, u32.
    pub const ENDPOINTS: usize = 20;
    /// Peer classes, u32.
    pub const PEER_CLASSES: usize = 24;
    /// Subject classes, u32.
    pub const SUBJECT_CLASSES: usize = 28;
    /// Port atoms, u32.
    pub const ATOMS: usize = 32;
    /// Rows, u32.
    pub const ROWS: usize = 36;
    /// Verdict words, u32.
    pub const WORDS: usize = 40;
    /// Zero, u32.
    pub const RESERVED: usize = 44;
    /// Generation, u64; 0 until an agent numbers it.
    pub const GENERATION: usize = 48;
    /// SHA-256 of the canonical text of the policies and identities, 32 bytes.
    pub const SOURCE: usize = 56;
    /// (offset, length in bytes) of each section, u32 each, in the order of [`super::Section`].
    pub const SECTIONS: usize = 88;
}

/// Sections in the order of the header's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Section {
    /// u16 a identity: its peer class.
    PeerClass = 0,
    /// Two u16 an endpoint identity: its ingress and its egress subject class.
    SubjectOf = 1,
    /// u16 each: page of the port table.
    PortDirectory = 2,
    /// u16 each: the atom of a coordinate.
    PortPages = 3,
    /// Two u32 a subject class: first entry in the pair directory, first entry in the locals.
    Subjects = 4,
    /// u16 each: page of the pair table.
    PairDirectory = 5,
    /// u16 each: a row's place among the subject's own rows.
    PairPages = 6,
    /// u16 each: a row.
    Locals = 7,
    /// u16 each: page of the row table.
    RowDirectory = 8,
    /// u16 each: a verdict word's index.
    RowPages = 9,
    /// u32 each: verdict words.
    Words = 10,
    /// UTF-8, a line a cause; for people and never read by the kernel.
    Causes = 11,
}

impl Section {
    /// All of them, in the order of the header's table.
    pub const ALL: [Self; SECTIONS] = [
        Self::PeerClass,
        Self::SubjectOf,
        Self::PortDirectory,
        Self::PortPages,
        Self::Subjects,
        Self::PairDirectory,
        Self::PairPages,
        Self::Locals,
        Self::RowDirectory,
        Self::RowPages,
        Self::Words,
        Self::Causes,
    ];
}

/// How many sections the header's table holds.
pub const SECTIONS: usize = 12;

/// The bits of a verdict word.
pub mod word {
    /// Let it through.
    pub const ALLOW: u32 = 1;
    /// Let it through by way of a proxy; only with [`ALLOW`].
    pub const REDIRECT: u32 = 1 << 1;
    /// Ask for authentication first; only with [`ALLOW`].
    pub const AUTHENTICATE: u32 = 1 << 2;
    /// The deciding rule's policy asks for a log entry.
    pub const LOG: u32 = 1 << 3;
    /// Report it and let it through: a denial whose policy is in audit; never with [`ALLOW`].
    pub const AUDIT: u32 = 1 << 4;
    /// Where the cause begins: the bits above are its number, 24 of them.
    pub const CAUSE_SHIFT: u32 = 8;
}

/// In [`Section::SubjectOf`]: no policy is compiled for this endpoint (a slice left it out).
pub const NO_SUBJECT: u16 = u16::MAX;
/// In [`Section::PeerClass`]: nothing has this identity (an agent keeps numbers free).
pub const NO_CLASS: u16 = u16::MAX;

const _: () = assert!(header::SECTIONS + SECTIONS * 8 == HEADER_SIZE);
const _: () = assert!((COORDINATES as usize).is_multiple_of(PORT_PAGE));
const _: () = assert!(header::SOURCE + 32 == header::SECTIONS);
