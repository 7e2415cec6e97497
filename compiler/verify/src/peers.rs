//! Peers that no term of any rule tells apart: each term is asked about each identity, one by one.

use fixedbitset::FixedBitSet;
use portcullis_ir::cluster::PortTableId;
use portcullis_ir::peer::PeerTerm;
use portcullis_ir::{Direction, PeerRef, Peers, PortTerm, Ports, Reserved};
use portcullis_oracle::Oracle;
use portcullis_sema::universe::{NodeId, NodeKind, Universe};
use portcullis_tables::{Image, ImageError};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use std::net::{IpAddr, Ipv4Addr};

/// What the oracle can see of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    /// One bit a peer term.
    terms: FixedBitSet,
    /// Its named ports, where an egress rule asks for a port by name.
    ports: Option<PortTableId>,
    /// The node's host has a rule of its own (SEM-5.5).
    host: bool,
}

/// One class: the oracle sees all of its identities alike.
#[derive(Clone, Debug)]
pub(crate) struct PeerClass {
    /// An identity of it as an end of a flow.
    pub(crate) peer: PeerRef,
    /// Its named ports, where an egress rule asks for a port by name.
    pub(crate) ports: Option<PortTableId>,
    /// Whether it is the node's host.
    pub(crate) host: bool,
}

/// Identities that the oracle cannot tell apart and the image does not.
#[derive(Debug)]
pub(crate) struct PeerPair {
    /// Index of the oracle's class.
    pub(crate) class: usize,
    /// The image's class.
    pub(crate) image: Result<usize, ImageError>,
    /// The first such identity.
    pub(crate) node: NodeId,
}

/// Every peer there is.
#[derive(Debug)]
pub(crate) struct PeerClasses {
    /// The oracle's classes.
    pub(crate) classes: Vec<PeerClass>,
    /// Each with every class that the image gives to one of its identities.
    pub(crate) pairs: Vec<PeerPair>,
    /// By rule: the classes that its peers take in; `None` where they are all.
    pub(crate) taken_in: Vec<Option<FixedBitSet>>,
}

impl PeerClasses {
    /// Asks every term about every identity.
    pub(crate) fn new(oracle: &Oracle<'_>, universe: &Universe, image: &Image<'_>) -> Self {
        let peers: Vec<(PeerRef, bool)> = universe.nodes.iter().map(peer_of).collect();
        let terms: Vec<&PeerTerm> = oracle.policies.peers.iter().collect();
        // By identity, so that its labels stay at hand while every term is asked about them.
        let columns: Vec<FixedBitSet> = peers
            .par_iter()
            .map(|(peer, named)| {
                let mut column = FixedBitSet::with_capacity(terms.len());
                let inside = terms.iter().enumerate().filter(|(_, t)| takes_in(oracle, t, peer, *named));
                inside.for_each(|(t, _)| column.insert(t));
                column
            })
            .collect();
        let by_name = oracle
            .policies
            .rules
            .iter()
            .any(|r| r.direction == Direction::Egress && asks_for_names(&r.ports));
        let mut out = Self { classes: Vec::new(), pairs: Vec::new(), taken_in: Vec::new() };
        let mut of_class: Vec<FixedBitSet> = Vec::new();
        let mut known: FxHashMap<Seen, usize> = FxHashMap::default();
        let mut met: FxHashSet<(usize, Result<usize, ImageError>)> = FxHashSet::default();
        for ((n, (peer, _)), terms) in (0u32..).zip(peers).zip(columns) {
            let ports = by_name.then(|| universe.group(NodeId(n))?.on.first().copied().flatten()).flatten();
            let seen = Seen {
                terms,
                ports: ports.map(|(_, table)| table),
                host: peer == PeerRef::Reserved(Reserved::Host),
            };
            let class = *known.entry(seen).or_insert_with_key(|seen| {
                out.classes.push(PeerClass { peer, ports: seen.ports, host: seen.host });
                of_class.push(seen.terms.clone());
                out.classes.len() - 1
            });
            let image = image.peer_class(n);
            if met.insert((class, image.clone())) {
                out.pairs.push(PeerPair { class, image, node: NodeId(n) });
            }
        }
        out.taken_in = oracle.policies.rules.iter().map(|r| out.of_rule(&r.peers, &of_class)).collect();
        out
    }

    fn of_rule(&self, peers: &Peers, of_class: &[FixedBitSet]) -> Option<FixedBitSet> {
        let Peers::Of(terms) = peers else { return None }; // SEM-6.6
        let mut bits = FixedBitSet::with_capacity(self.classes.len());
        for (class, seen) in of_class.iter().enumerate() {
            if terms.iter().any(|t| seen.contains(*t as usize)) {
                bits.insert(class);
            }
        }
        Some(bits)
    }
}

/// Whether ports are asked for by name, which depends on who receives the flow (SEM-7.4).
pub(crate) fn asks_for_names(ports: &Ports) -> bool {
    match ports {
        Ports::All => false,
        Ports::Of(terms) => terms.iter().any(|t| matches!(t, PortTerm::Named(..))),
    }
}

/// An identity as an end of a flow, and whether it stands for the addresses of a DNS name.
pub(crate) fn peer_of(node: &NodeKind) -> (PeerRef, bool) {
    let external = |ip, names| PeerRef::External { ip, names };
    match node {
        NodeKind::Group(g) => match g.example.first().copied().flatten() {
            Some(id) => (PeerRef::Endpoint(id), false),
            None => (PeerRef::Reserved(Reserved::Unmanaged), false),
        },
        NodeKind::Reserved(r) => (PeerRef::Reserved(*r), false),
        NodeKind::Region(r) => (external(r.example, Vec::new()), false),
        NodeKind::Name(n) => (external(IpAddr::V4(Ipv4Addr::UNSPECIFIED), vec![n.example.clone()]), true),
        NodeKind::Address(ip, names) => (external(*ip, names.clone()), false),
    }
}

/// The oracle's answer; the address of a DNS name is one that only the whole of IPv4 takes in.
fn takes_in(oracle: &Oracle<'_>, term: &PeerTerm, peer: &PeerRef, named: bool) -> bool {
    match term {
        PeerTerm::Cidr { net, .. } if named => net.prefix_len() == 0 && net.addr().is_ipv4(),
        _ => oracle.term_takes_in(term, peer),
    }
}
