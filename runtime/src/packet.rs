//! One packet, read as far as policy needs it: the same steps as `bpf/include/packet.h` takes, in Rust.
//!
//! The programs in the kernel cannot be run on every machine nor under a fuzzer, this can. A test runs
//! both on packets made at random and compares what they say; whoever changes one changes the other.

use crate::kernel::address_bytes;
use portcullis_abi::maps::{FragmentKey, FragmentValue, drop};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// IPv4, as Ethernet numbers it.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// A VLAN tag in the packet.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// The outer of two.
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// IP protocols that are read.
pub mod protocol {
    /// IPv6's hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6's routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6's fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMP6: u8 = 58;
    /// IPv6's destination options.
    pub const DESTINATION: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

use protocol as ip;

/// How many IPv6 extension headers are followed.
pub const EXTENSION_HEADERS: usize = 8;

/// Which piece of a datagram a packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Piece {
    /// All of it.
    #[default]
    Whole,
    /// The first, which has the transport's header.
    First,
    /// A later one whose first was seen.
    Later,
    /// A later one whose first was not seen: its ports are not known.
    Unknown,
}

/// What was read. Where reading failed, it holds what was read up to there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Sender; an IPv4 address stands as `::ffff:a.b.c.d`.
    pub source: [u8; 16],
    /// Receiver.
    pub destination: [u8; 16],
    /// Identification of a datagram in pieces.
    pub id: u32,
    /// Where the transport's header begins.
    pub l4: usize,
    /// Source port; the identifier of an ICMP query.
    pub source_port: u16,
    /// Destination port; the identifier of an ICMP answer.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// Which piece it is.
    pub piece: Piece,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// It says which flow it belongs to: what only reports on others does not.
    pub tracked: bool,
}

/// Bytes at an offset, as `bpf_skb_load_bytes` gives them.
fn load<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Why a packet is dropped before any policy is asked: a number of [`drop`].
pub type Reason = u8;

impl Packet {
    /// Reads the IP header at an offset, of the family that the link says, and what stands before the
    /// transport's.
    pub fn read_ip(&mut self, bytes: &[u8], at: usize, ethertype: u16) -> Result<(), Reason> {
        match ethertype {
            ETHERTYPE_IPV4 => self.read_ipv4(bytes, at),
            ETHERTYPE_IPV6 => self.read_ipv6(bytes, at),
            ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => Err(drop::VLAN),
            _ => Err(drop::UNSUPPORTED_L3),
        }
    }

    fn read_ipv4(&mut self, bytes: &[u8], at: usize) -> Result<(), Reason> {
        let header: [u8; 20] = load(bytes, at).ok_or(drop::INVALID_PACKET)?;
        let [first, _, _, _, id1, id2, fragment1, fragment2, ttl, protocol, ..] = header;
        let (Some(source), Some(destination)) = (load::<4>(&header, 12), load::<4>(&header, 16)) else {
            return Err(drop::INVALID_PACKET);
        };
        let length = usize::from(first & 15) * 4;
        if first >> 4 != 4 || length < header.len() {
            return Err(drop::INVALID_PACKET);
        }
        let fragment = u16::from_be_bytes([fragment1, fragment2]);
        let (offset, more) = (fragment & 0x1fff, fragment & 0x2000 != 0);
        self.source = address_bytes(IpAddr::from(source));
        self.destination = address_bytes(IpAddr::from(destination));
        self.family = 4;
        self.protocol = protocol;
        self.hops = ttl;
        self.id = u32::from(u16::from_be_bytes([id1, id2]));
        self.l4 = at + length;
        self.piece = match (offset, more) {
            (0, false) => Piece::Whole,
            (0, true) => Piece::First,
            _ => Piece::Later,
        };
        // A second piece that begins inside the TCP header could rewrite it (RFC 3128).
        if protocol == ip::TCP && offset == 1 {
            return Err(drop::INVALID_PACKET);
        }
        Ok(())
    }

    fn read_ipv6(&mut self, bytes: &[u8], at: usize) -> Result<(), Reason> {
        let [first, _, _, _, _, _, mut next, hops] = load(bytes, at).ok_or(drop::INVALID_PACKET)?;
        let source = load(bytes, at + 8).ok_or(drop::INVALID_PACKET)?;
        let destination = load(bytes, at + 24).ok_or(drop::INVALID_PACKET)?;
        if first >> 4 != 6 {
            return Err(drop::INVALID_PACKET);
        }
        self.source = source;
        self.destination = destination;
        self.family = 6;
        self.hops = hops;
        self.piece = Piece::Whole;
        let mut at = at + 40;
        for _ in 0..EXTENSION_HEADERS {
            // Behind the first piece's offset there is payload, and no header.
            if !is_extension(next) || self.piece == Piece::Later {
                break;
            }
            let [after, length, b2, b3, id @ ..]: [u8; 8] = load(bytes, at).ok_or(drop::EXTENSION_HEADER)?;
            match next {
                ip::FRAGMENT => {
                    let offset = u16::from_be_bytes([b2, b3]);
                    self.id = u32::from_be_bytes(id);
                    if offset >> 3 != 0 {
                        self.piece = Piece::Later;
                    } else if offset & 1 != 0 {
                        self.piece = Piece::First;
                    }
                    at += 8;
                }
                ip::AUTHENTICATION => at += (usize::from(length) + 2) * 4,
                // Type 0 routes on to addresses that no policy was asked about (RFC 5095).
                ip::ROUTING if b2 == 0 && b3 != 0 => return Err(drop::EXTENSION_HEADER),
                _ => at += (usize::from(length) + 1) * 8,
            }
            next = after;
        }
        if self.piece != Piece::Later && is_extension(next) {
            return Err(drop::EXTENSION_HEADER);
        }
        self.protocol = next;
        self.l4 = at;
        Ok(())
    }

    /// Reads the transport's header: ports and flags, or an ICMP message's type. `whole` asks for a full
    /// header; what an ICMP error quotes may be cut behind 8 bytes.
    pub fn read_l4(&mut self, bytes: &[u8], whole: bool) -> Result<(), Reason> {
        self.clear_l4();
        self.tracked = true;
        let ports = matches!(self.protocol, ip::TCP | ip::UDP | ip::SCTP);
        if !ports && !self.is_icmp() {
            return Ok(());
        }
        let [kind, code, third, fourth, id @ .., _, _]: [u8; 8] =
            load(bytes, self.l4).ok_or(drop::TRUNCATED)?;
        if ports {
            self.source_port = u16::from_be_bytes([kind, code]);
            self.destination_port = u16::from_be_bytes([third, fourth]);
            return if whole { self.read_rest(bytes) } else { Ok(()) };
        }
        (self.icmp_type, self.icmp_code) = (kind, code);
        let id = u16::from_be_bytes(id);
        // The identifier stands for the asker's port.
        if self.is_query() {
            self.source_port = id;
        } else if self.is_answer() {
            self.destination_port = id;
        } else {
            self.tracked = false;
        }
        Ok(())
    }

    /// What stands behind the first 8 bytes of a header with ports.
    fn read_rest(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        match self.protocol {
            ip::TCP => {
                let header: [u8; 20] = load(bytes, self.l4).ok_or(drop::TRUNCATED)?;
                let [_, _, _, _, _, _, _, _, _, _, _, _, length, flags, ..] = header;
                if length >> 4 < 5 {
                    return Err(drop::TRUNCATED);
                }
                self.tcp_flags = flags;
            }
            ip::SCTP => {
                load::<12>(bytes, self.l4).ok_or(drop::TRUNCATED)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn clear_l4(&mut self) {
        self.source_port = 0;
        self.destination_port = 0;
        self.icmp_type = 0;
        self.icmp_code = 0;
        self.tcp_flags = 0;
    }

    /// ICMP of its own family.
    pub fn is_icmp(&self) -> bool {
        matches!((self.family, self.protocol), (4, ip::ICMP) | (6, ip::ICMP6))
    }

    /// An ICMP type that an answer belongs to.
    pub fn is_query(&self) -> bool {
        if self.family == 6 { self.icmp_type == 128 } else { matches!(self.icmp_type, 8 | 13 | 15 | 17) }
    }

    /// An ICMP type that answers.
    pub fn is_answer(&self) -> bool {
        if self.family == 6 { self.icmp_type == 129 } else { matches!(self.icmp_type, 0 | 14 | 16 | 18) }
    }

    /// "The packet is too big", which always passes (SEM-7.5).
    pub fn is_too_big(&self) -> bool {
        if matches!(self.piece, Piece::Later | Piece::Unknown) || !self.is_icmp() {
            return false;
        }
        if self.family == 6 { self.icmp_type == 2 } else { (self.icmp_type, self.icmp_code) == (3, 4) }
    }

    /// What keeps a link alive: it never leaves the link, so no policy speaks of it.
    pub fn is_link_local(&self) -> bool {
        if self.family != 6 || self.protocol != ip::ICMP6 || self.piece != Piece::Whole {
            return false;
        }
        match self.icmp_type {
            133..=137 => self.hops == 255,
            130..=132 | 143 => self.hops == 1,
            _ => false,
        }
    }
}

fn is_extension(next: u8) -> bool {
    matches!(next, ip::HOP_BY_HOP | ip::ROUTING | ip::FRAGMENT | ip::AUTHENTICATION | ip::DESTINATION)
}

/// Datagrams in pieces: what their first pieces said.
#[derive(Clone, Debug, Default)]
pub struct Fragments {
    known: BTreeMap<[u8; FragmentKey::SIZE], FragmentValue>,
}

impl Fragments {
    /// Reads a packet from the link's payload at `at`. `now` and `lifetime` are in nanoseconds.
    pub fn read(
        &mut self,
        bytes: &[u8],
        at: usize,
        ethertype: u16,
        direction: u8,
        (now, lifetime): (u64, u64),
    ) -> (Packet, Result<(), Reason>) {
        let mut packet = Packet::default();
        let done = packet
            .read_ip(bytes, at, ethertype)
            .and_then(|()| self.read_fragment(&mut packet, bytes, direction, (now, lifetime)));
        (packet, done)
    }

    fn read_fragment(
        &mut self,
        p: &mut Packet,
        bytes: &[u8],
        direction: u8,
        (now, lifetime): (u64, u64),
    ) -> Result<(), Reason> {
        let key = FragmentKey {
            source: p.source,
            destination: p.destination,
            id: p.id,
            // What stands behind IPv6's fragment header need not be the transport.
            protocol: if p.family == 4 { p.protocol } else { 0 },
            direction,
            reserved: 0,
        }
        .to_bytes();
        if p.piece == Piece::Later {
            p.clear_l4();
            p.tracked = false;
            let Some(known) = self.known.get(&key).filter(|k| k.expires >= now) else {
                p.piece = Piece::Unknown;
                return Ok(());
            };
            p.protocol = known.protocol;
            p.source_port = known.source_port;
            p.destination_port = known.destination_port;
            p.icmp_type = known.icmp_type;
            p.icmp_code = known.icmp_code;
            p.tracked = !p.is_icmp() || p.is_query() || p.is_answer();
            return Ok(());
        }
        p.read_l4(bytes, true)?;
        if p.piece == Piece::First {
            let value = FragmentValue {
                expires: now.saturating_add(lifetime),
                source_port: p.source_port,
                destination_port: p.destination_port,
                icmp_type: p.icmp_type,
                icmp_code: p.icmp_code,
                protocol: p.protocol,
                reserved: 0,
            };
            self.known.insert(key, value);
        }
        Ok(())
    }
}
