//! Packets, byte by byte.

use portcullis_ir::{FlowPort, L4};
use std::net::IpAddr;

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;
pub(crate) const SYN_ACK: u8 = SYN | ACK;
pub(crate) const FIN: u8 = 1;
pub(crate) const RST: u8 = 4;

/// An Ethernet header.
pub(crate) fn ethernet(kind: u16) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    out.extend(kind.to_be_bytes());
    out
}

/// What an IP header says beside addresses.
#[derive(Clone, Debug)]
pub(crate) struct Ip {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) hops: u8,
    pub(crate) id: u32,
    /// In bytes, a multiple of 8.
    pub(crate) offset: u16,
    pub(crate) more: bool,
    /// IPv4 options, or IPv6 extension headers as (protocol number, bytes without the first).
    pub(crate) options: Vec<u8>,
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
}

impl Ip {
    pub(crate) fn new(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            hops: 64,
            id: 1,
            offset: 0,
            more: false,
            options: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// The header and its payload, without Ethernet.
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let length = 20 + self.options.len();
                let mut out = vec![0x40 | u8::try_from(length / 4).unwrap(), 0];
                out.extend(u16::try_from(length + payload.len()).unwrap().to_be_bytes());
                out.extend(u16::try_from(self.id & 0xffff).unwrap().to_be_bytes());
                out.extend(((self.offset / 8) | if self.more { 0x2000 } else { 0 }).to_be_bytes());
                out.extend([self.hops, self.protocol, 0, 0]);
                out.extend(source.octets());
                out.extend(destination.octets());
                out.extend(&self.options);
                let sum = checksum(&out, 0);
                out[10..12].copy_from_slice(&sum.to_be_bytes());
                out.extend(payload);
                out
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut chain = self.extensions.clone();
                if self.offset > 0 || self.more {
                    let mut bytes = vec![0];
                    bytes.extend((self.offset | u16::from(self.more)).to_be_bytes());
                    bytes.extend(self.id.to_be_bytes());
                    chain.push((44, bytes));
                }
                let first = chain.first().map_or(self.protocol, |(n, _)| *n);
                let mut body = Vec::new();
                for (i, (_, bytes)) in chain.iter().enumerate() {
                    body.push(chain.get(i + 1).map_or(self.protocol, |(n, _)| *n));
                    body.extend(bytes);
                }
                body.extend(payload);
                let mut out = vec![0x60, 0, 0, 0];
                out.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
                out.extend([first, self.hops]);
                out.extend(source.octets());
                out.extend(destination.octets());
                out.extend(body);
                out
            }
            other => panic!("addresses of two families: {other:?}"),
        }
    }

    /// The same behind an Ethernet header.
    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let mut out = ethernet(if self.source.is_ipv4() { 0x0800 } else { 0x86dd });
        out.extend(self.packet(payload));
        out
    }
}

/// The Internet checksum over bytes, from a partial sum.
pub(crate) fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

pub(crate) fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(source.to_be_bytes());
    out.extend(destination.to_be_bytes());
    out.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    out
}

pub(crate) fn udp(source: u16, destination: u16) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(source.to_be_bytes());
    out.extend(destination.to_be_bytes());
    out.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    out
}

pub(crate) fn sctp(source: u16, destination: u16) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(source.to_be_bytes());
    out.extend(destination.to_be_bytes());
    out.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4]);
    out
}

pub(crate) fn icmp(kind: u8, code: u8, id: u16) -> Vec<u8> {
    let mut out = vec![kind, code, 0, 0];
    out.extend(id.to_be_bytes());
    out.extend([0, 1, 1, 2, 3, 4]);
    out
}

/// The first packet of a flow; `id` is its source port or an echo's identifier.
pub(crate) fn first(source: IpAddr, destination: IpAddr, port: FlowPort, id: u16) -> Vec<u8> {
    let ip = |protocol| Ip::new(source, destination, protocol);
    match port {
        FlowPort::L4(L4::Tcp, port) => ip(6).frame(&tcp(id, port, SYN)),
        FlowPort::L4(L4::Udp, port) => ip(17).frame(&udp(id, port)),
        FlowPort::L4(L4::Sctp, port) => ip(132).frame(&sctp(id, port)),
        FlowPort::Icmp(v6, kind) => ip(if v6 { 58 } else { 1 }).frame(&icmp(kind, 0, id)),
        FlowPort::Protocol(number) => ip(number).frame(&[0; 16]),
    }
}
