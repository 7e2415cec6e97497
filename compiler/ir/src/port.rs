//! Ports, protocols and ICMP types (SEM-2.6 to SEM-2.8).

use smol_str::SmolStr;
use std::sync::Arc;

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the protocol of that name")]
pub enum L4 {
    Tcp,
    Udp,
    Sctp,
}

impl L4 {
    /// All three, in the order they are printed: what `ANY` stands for (SEM-2.7).
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// `TCP`, `UDP` or `SCTP`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// One thing that a rule's port list names. A rule's ports are the union of its terms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortTerm {
    /// Ports `low..=high` of one protocol. Every port of a protocol is `0..=65535` (SEM-2.6).
    Range(L4, u16, u16),
    /// A named port of one protocol, resolved on the endpoint that receives the flow (SEM-7.4).
    Named(L4, SmolStr),
    /// One ICMP type, or every type of the family (SEM-2.8); true is IPv6.
    Icmp(bool, Option<u8>),
    /// Every packet of an IP protocol without ports, by its number (GRE 47, …).
    Protocol(u8),
}

/// Which ports a rule is about: all traffic whatever its protocol (SEM-6.6), or a union of terms.
/// An empty union is no traffic at all (SEM-3.9).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ports {
    /// Every protocol, ICMP included.
    All,
    /// Sorted and distinct.
    Of(Arc<[PortTerm]>),
}

impl Ports {
    /// A union of terms.
    pub fn of(terms: impl IntoIterator<Item = PortTerm>) -> Self {
        let mut all: Vec<PortTerm> = terms.into_iter().collect();
        all.sort();
        all.dedup();
        Self::Of(all.into())
    }

    /// Whether no traffic matches.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Of(terms) if terms.is_empty())
    }
}
