//! Stretches of coordinates that no rule tells apart, cut from the rules' own words.

use portcullis_abi::COORDINATES;
use portcullis_ir::cluster::NamedPort;
use portcullis_ir::{Cluster, FlowPort, L4, PolicySet, PortTerm, Ports};
use portcullis_sema::ports::{coordinate, flow_port};
use portcullis_tables::{Image, ImageError};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;

/// The stretches, and which atoms of an image stand for each.
#[derive(Debug)]
pub(crate) struct Stretches {
    /// A flow of each stretch.
    pub(crate) examples: Vec<FlowPort>,
    /// Every stretch with every atom that the image gives to one of its coordinates.
    pub(crate) pairs: Vec<PortPair>,
}

/// Coordinates that the oracle cannot tell apart and the image does not.
#[derive(Debug)]
pub(crate) struct PortPair {
    /// Index of the stretch.
    pub(crate) stretch: usize,
    /// The image's atom.
    pub(crate) atom: Result<usize, ImageError>,
    /// The first such coordinate.
    pub(crate) coordinate: u32,
}

impl Stretches {
    /// Reads the atom of every single coordinate.
    pub(crate) fn new(policies: &PolicySet, cluster: &Cluster, image: &Image<'_>) -> Self {
        let cuts = cuts(policies, cluster);
        let mut out = Self { examples: Vec::with_capacity(cuts.len()), pairs: Vec::new() };
        let mut seen: FxHashSet<Result<usize, ImageError>> = FxHashSet::default();
        for at in 0..COORDINATES {
            if cuts.contains(&at) || at == 0 {
                out.examples.push(flow_port(at));
                seen.clear();
            }
            let atom = image.atom(at);
            let stretch = out.examples.len() - 1;
            // Most coordinates have the atom of the one before.
            let same = out.pairs.last().is_some_and(|p| p.stretch == stretch && p.atom == atom);
            if !same && seen.insert(atom.clone()) {
                out.pairs.push(PortPair { stretch, atom, coordinate: at });
            }
        }
        out
    }
}

/// Every coordinate at which some term begins, and every one behind the end of some term.
fn cuts(policies: &PolicySet, cluster: &Cluster) -> FxHashSet<u32> {
    let terms = policies.rules.iter().flat_map(|r| match &r.ports {
        Ports::All => &[][..],
        Ports::Of(terms) => terms,
    });
    let mut out: FxHashSet<u32> = [
        FlowPort::L4(L4::Udp, 0),
        FlowPort::L4(L4::Sctp, 0),
        FlowPort::Icmp(false, 0),
        FlowPort::Icmp(true, 0),
        FlowPort::Protocol(0),
    ]
    .map(coordinate)
    .into_iter()
    .collect();
    let mut names = BTreeSet::new();
    let mut cut = |low: FlowPort, high: FlowPort| {
        out.insert(coordinate(low));
        out.insert(coordinate(high) + 1);
    };
    for t in terms {
        match t {
            PortTerm::Range(p, low, high) => cut(FlowPort::L4(*p, *low), FlowPort::L4(*p, *high)),
            PortTerm::Icmp(v6, Some(t)) => cut(FlowPort::Icmp(*v6, *t), FlowPort::Icmp(*v6, *t)),
            PortTerm::Icmp(_, None) => {}
            PortTerm::Protocol(n) => cut(FlowPort::Protocol(*n), FlowPort::Protocol(*n)),
            PortTerm::Named(_, name) => {
                names.insert(name);
            }
        }
    }
    let named = |(name, ..): &&NamedPort| names.contains(name);
    for (_, p, number) in cluster.port_tables.iter().flatten().filter(named) {
        cut(FlowPort::L4(*p, *number), FlowPort::L4(*p, *number));
    }
    out
}
