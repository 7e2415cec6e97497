//! Protocol and port prefix: the part of a policy map's key that is not an identity.

use portcullis_ir::{L4, PortTerm};
use std::fmt;

/// A protocol and the leading bits of a port. Ordered by protocol, then port, then broadest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey {
    /// The IP protocol; 0 takes in all traffic.
    pub protocol: u8,
    /// The port, or the ICMP type; bits beyond `bits` are zero.
    pub port: u16,
    /// How many leading bits of the port count: 16 is one port, 0 every one.
    pub bits: u8,
}

/// Bits of a port.
const WIDTH: u8 = 16;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

impl PortKey {
    /// All traffic, whatever its protocol.
    pub const ANY: Self = Self { protocol: 0, port: 0, bits: 0 };

    /// Whether everything that `other` takes in is taken in.
    pub const fn covers(self, other: Self) -> bool {
        self.protocol == 0
            || (self.protocol == other.protocol
                && self.bits <= other.bits
                && other.port & mask(self.bits) == self.port)
    }

    /// The narrower of two keys of which one covers the other.
    pub const fn meet(self, other: Self) -> Option<Self> {
        if self.covers(other) {
            Some(other)
        } else if other.covers(self) {
            Some(self)
        } else {
            None
        }
    }

    /// Every key that covers this one, itself included, broadest first.
    pub fn covering(self) -> impl Iterator<Item = Self> {
        let own = (0..=self.bits).map(move |bits| Self { port: self.port & mask(bits), bits, ..self });
        std::iter::once(Self::ANY).chain(own.filter(|k| k.protocol != 0))
    }
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == WIDTH { write!(f, "{}", self.port) } else { write!(f, "{}/{}", self.port, self.bits) }
    }
}

const fn mask(bits: u8) -> u16 {
    if bits == 0 { 0 } else { u16::MAX << (WIDTH - bits) }
}

/// The number of a protocol with ports.
const fn number(l4: L4) -> u8 {
    match l4 {
        L4::Tcp => 6,
        L4::Udp => 17,
        L4::Sctp => 132,
    }
}

/// The keys that one port term takes; a named port has none before it is resolved.
pub(super) fn keys(term: &PortTerm) -> Vec<PortKey> {
    let one = |protocol, of: Option<u8>| match of {
        // Type 0 is written as every type (SEM-2.8); lowering has made it one.
        Some(of) => vec![PortKey { protocol, port: u16::from(of), bits: WIDTH }],
        None => vec![PortKey { protocol, port: 0, bits: 0 }],
    };
    match term {
        PortTerm::Range(l4, low, high) => prefixes(*low, *high)
            .into_iter()
            .map(|(port, bits)| PortKey { protocol: number(*l4), port, bits })
            .collect(),
        PortTerm::Named(..) => Vec::new(),
        PortTerm::Icmp(v6, of) => one(if *v6 { ICMP6 } else { ICMP }, *of),
        PortTerm::Protocol(n) => one(*n, None),
    }
}

/// One port of a protocol.
pub(super) const fn single(l4: L4, port: u16) -> PortKey {
    PortKey { protocol: number(l4), port, bits: WIDTH }
}

/// The fewest prefixes that make up `low..=high`, in order.
fn prefixes(low: u16, high: u16) -> Vec<(u16, u8)> {
    let mut out = Vec::new();
    let mut at = u32::from(low);
    let end = u32::from(high) + 1;
    while at < end {
        // As large as the place allows, and no larger than what is left.
        let place = if at == 0 { u32::from(WIDTH) } else { at.trailing_zeros() };
        let left = (end - at).ilog2();
        let free = place.min(left);
        let port = u16::try_from(at).unwrap_or(u16::MAX);
        out.push((port, WIDTH - u8::try_from(free).unwrap_or(WIDTH)));
        at += 1 << free;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_split_into_the_fewest_prefixes() {
        assert_eq!(prefixes(0, 65535), [(0, 0)]);
        assert_eq!(prefixes(80, 80), [(80, 16)]);
        assert_eq!(prefixes(16, 31), [(16, 12)]);
        assert_eq!(prefixes(1, 65534).len(), 30);
        assert_eq!(prefixes(8000, 8009), [(8000, 13), (8008, 15)]);
    }

    #[test]
    fn a_key_covers_itself_and_what_its_bits_say() {
        let wide = PortKey { protocol: 6, port: 16, bits: 12 };
        let narrow = single(L4::Tcp, 31);
        assert!(wide.covers(narrow) && wide.covers(wide) && PortKey::ANY.covers(wide));
        assert!(!narrow.covers(wide) && !wide.covers(single(L4::Tcp, 32)));
        assert!(!wide.covers(single(L4::Udp, 31)));
        assert_eq!(narrow.covering().filter(|k| k.covers(narrow)).count(), 18);
        assert_eq!(PortKey::ANY.covering().count(), 1);
    }
}
