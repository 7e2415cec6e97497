//! What netfilter holds: tables and chains of nft, which iptables-nft writes too, and the chains of the
//! tables that iptables-legacy writes. Both are asked of the kernel itself, so that a container
//! without their tools sees them as well.

use crate::kernel::sys;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, UdpSocket};

/// A chain, by how one would list it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chain {
    /// `nft`, `iptables-legacy` or `ip6tables-legacy`.
    pub(super) by: &'static str,
    /// `ip`, `ip6`, `inet` and so on.
    pub(super) family: &'static str,
    pub(super) table: String,
    /// Empty for the table itself.
    pub(super) name: String,
}

// Numbers of include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h.
const SUBSYSTEM: u16 = 10 << 8;
const GET_TABLE: u16 = 1;
const GET_CHAIN: u16 = 4;
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Of a netlink header, and of the header of netfilter behind it.
const HEADER: usize = 16;
const OWN_HEADER: usize = 4;

/// Every table and chain of nft.
pub(super) fn nft() -> io::Result<BTreeSet<Chain>> {
    let mut out = BTreeSet::new();
    dump(GET_TABLE, |family, attributes| {
        if let Some(table) = text(attributes, TABLE_NAME) {
            out.insert(Chain { by: "nft", family, table, name: String::new() });
        }
    })?;
    dump(GET_CHAIN, |family, attributes| {
        if let (Some(table), Some(name)) = (text(attributes, CHAIN_TABLE), text(attributes, CHAIN_NAME)) {
            out.insert(Chain { by: "nft", family, table, name });
        }
    })?;
    Ok(out)
}

fn family_name(number: u8) -> &'static str {
    match number {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "unknown",
    }
}

fn dump(what: u16, mut each: impl FnMut(&'static str, &[u8])) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(HEADER + OWN_HEADER);
    request.extend(20u32.to_ne_bytes());
    request.extend((SUBSYSTEM | what).to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend(1u32.to_ne_bytes());
    request.extend(0u32.to_ne_bytes());
    // Every family, version 0.
    request.extend([0; OWN_HEADER]);
    socket.send(&request, 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        if rest.is_empty() {
            return Err(cut());
        }
        while !rest.is_empty() {
            let length = u32_at(rest, 0).ok_or_else(cut)? as usize;
            let message = rest.get(..length).filter(|m| m.len() >= HEADER).ok_or_else(cut)?;
            match u16_at(message, 4).ok_or_else(cut)? {
                DONE => return Ok(()),
                ERROR => {
                    let code = u32_at(message, HEADER).ok_or_else(cut)?.cast_signed();
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => {
                    let family = message.get(HEADER).copied().ok_or_else(cut)?;
                    each(family_name(family), message.get(HEADER + OWN_HEADER..).unwrap_or_default());
                }
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn cut() -> io::Error {
    io::Error::other("a netlink message that is cut short")
}

/// A text among attributes.
fn text(mut attributes: &[u8], wanted: u16) -> Option<String> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        // The two highest bits say how the value is to be read.
        let kind = u16_at(attributes, 2)? & 0x3fff;
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(c_text(value));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn c_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// One of the two families of tables that iptables-legacy writes.
struct Legacy {
    by: &'static str,
    family: &'static str,
    /// Where the kernel lists those that exist: asking for another one would make it.
    names: &'static str,
    level: i32,
    /// Bytes of an entry before its matches, and where it says how far its target and the next are.
    entry: usize,
    offsets: usize,
}

const LEGACY: [Legacy; 2] = [
    Legacy {
        by: "iptables-legacy",
        family: "ip",
        names: "/proc/thread-self/net/ip_tables_names",
        level: libc::SOL_IP,
        entry: 112,
        offsets: 88,
    },
    Legacy {
        by: "ip6tables-legacy",
        family: "ip6",
        names: "/proc/thread-self/net/ip6_tables_names",
        level: libc::SOL_IPV6,
        entry: 168,
        offsets: 140,
    },
];

// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`, which are the same numbers for IPv6.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
const NAME: usize = 32;
/// Behind the name: valid hooks, five entry points and five policies, then number and bytes of entries.
const INFO: usize = NAME + 4 * 13;
const INFO_SIZE: usize = NAME + 4 * 12;
/// The name and the size, aligned for what follows.
const ENTRIES: usize = 40;
/// More than this is no table of a node.
const LARGEST: usize = 1 << 30;

/// Every chain of iptables-legacy and ip6tables-legacy that rules were put in.
pub(super) fn legacy() -> io::Result<BTreeSet<Chain>> {
    let mut out = BTreeSet::new();
    for kind in &LEGACY {
        let names = match fs::read_to_string(kind.names) {
            Ok(text) => text,
            // The kernel has no such tables.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        for table in names.lines() {
            for name in chains_of(kind, table)? {
                out.insert(Chain { by: kind.by, family: kind.family, table: table.to_owned(), name });
            }
        }
    }
    Ok(out)
}

fn chains_of(kind: &Legacy, table: &str) -> io::Result<Vec<String>> {
    let socket = match kind.level {
        libc::SOL_IP => UdpSocket::bind("0.0.0.0:0")?,
        _ => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    // Between the two questions the table may grow; then the second is refused.
    for _ in 0..3 {
        let mut info = named(table, INFO)?;
        sys::socket_option(&socket, kind.level, GET_INFO, &mut info)?;
        let size = u32_at(&info, INFO_SIZE).unwrap_or(0) as usize;
        if size > LARGEST {
            return Err(io::Error::other(format!("the table {table} is larger than can be read")));
        }
        let mut entries = named(table, ENTRIES + size)?;
        for (slot, byte) in entries.iter_mut().skip(NAME).zip(u32::try_from(size).unwrap_or(0).to_ne_bytes())
        {
            *slot = byte;
        }
        match sys::socket_option(&socket, kind.level, GET_ENTRIES, &mut entries) {
            Ok(()) => return Ok(names_in(kind, entries.get(ENTRIES..).unwrap_or_default())),
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other(format!("the table {table} changes too fast to be read")))
}

fn named(table: &str, size: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; size];
    if table.len() >= NAME {
        return Err(io::Error::other("a table's name is too long"));
    }
    for (slot, byte) in out.iter_mut().zip(table.bytes()) {
        *slot = byte;
    }
    Ok(out)
}

/// A chain begins with an entry whose target is called `ERROR` and holds the chain's name; the last entry of
/// a table is such a one, too.
fn names_in(kind: &Legacy, mut entries: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    while let (Some(target), Some(next)) = (u16_at(entries, kind.offsets), u16_at(entries, kind.offsets + 2))
    {
        let target = entries.get(usize::from(target)..).unwrap_or_default();
        if target.get(2..8) == Some(b"ERROR\0")
            && let Some(name) = target.get(32..62).map(c_text)
            && name != "ERROR"
        {
            out.push(name);
        }
        if usize::from(next) < kind.entry {
            break;
        }
        entries = entries.get(usize::from(next)..).unwrap_or_default();
    }
    out
}
