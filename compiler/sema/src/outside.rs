//! Which nodes an entity, a CIDR or a DNS name takes in, without asking every node about every term:
//! a block list of a hundred thousand prefixes makes as many terms as nodes.

use crate::universe::{NodeKind, Universe};
use fixedbitset::FixedBitSet;
use ipnet::IpNet;
use portcullis_ir::Reserved;
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::peer::{PeerTerm, entity_has_external, entity_has_pods, entity_has_reserved};
use std::collections::HashMap;
use std::ops::Range;

/// The nodes of a universe beyond its pods, by what terms ask for.
pub(crate) struct Outside<'u> {
    /// Prefixes of the regions in their order, by address and length: those inside one prefix follow
    /// one another.
    regions: Vec<&'u IpNet>,
    /// The node of the first region.
    first_region: usize,
    /// Nodes of names by the selectors that take them in.
    names: HashMap<&'u Fqdn, Vec<usize>>,
}

impl<'u> Outside<'u> {
    pub(crate) fn new(universe: &'u Universe) -> Self {
        let mut out = Self { regions: Vec::new(), first_region: universe.len(), names: HashMap::new() };
        for (id, node) in universe.iter().skip(universe.groups) {
            match node {
                NodeKind::Region(r) => {
                    out.first_region = out.first_region.min(id.index());
                    out.regions.push(&r.prefix);
                }
                NodeKind::Name(c) => {
                    for f in &c.selectors {
                        out.names.entry(f).or_default().push(id.index());
                    }
                }
                NodeKind::Group(_) | NodeKind::Reserved(_) | NodeKind::Address(..) => {}
            }
        }
        out
    }

    /// The nodes that a term which is not about labels takes in, whether they exist on a side or not.
    pub(crate) fn select(&self, universe: &Universe, term: &PeerTerm) -> FixedBitSet {
        let mut bits = FixedBitSet::with_capacity(universe.len());
        match term {
            PeerTerm::Entity(_) => {
                bits.extend(universe.iter().filter(|(_, n)| takes_in(term, n)).map(|(id, _)| id.index()));
                return bits;
            }
            PeerTerm::Cidr { net, except } => {
                bits.insert_range(self.inside(net));
                for e in except {
                    bits.set_range(self.inside(e), false);
                }
            }
            PeerTerm::Fqdn(f) => bits.extend(self.names.get(f).into_iter().flatten().copied()),
            PeerTerm::Labels(_) | PeerTerm::Nodes(_) => {}
        }
        // What is left are few: reserved identities and addresses, and names under a whole family.
        for (id, node) in universe.iter().skip(universe.groups) {
            let rest = match node {
                NodeKind::Reserved(_) | NodeKind::Address(..) => true,
                NodeKind::Name(_) => matches!(term, PeerTerm::Cidr { net, .. } if net.prefix_len() == 0),
                NodeKind::Region(_) | NodeKind::Group(_) => false,
            };
            if rest && takes_in(term, node) {
                bits.insert(id.index());
            }
        }
        bits
    }

    /// The nodes of the regions whose prefix lies in `net`.
    fn inside(&self, net: &IpNet) -> Range<usize> {
        let from = self.regions.partition_point(|p| **p < *net);
        let rest = self.regions.get(from..).unwrap_or(&[]);
        let len = rest.partition_point(|p| net.contains(*p));
        self.first_region + from..self.first_region + from + len
    }
}

/// Whether a term that is not about labels takes in a node.
fn takes_in(term: &PeerTerm, node: &NodeKind) -> bool {
    match (term, node) {
        (PeerTerm::Entity(e), NodeKind::Group(_)) => entity_has_pods(*e),
        (PeerTerm::Entity(e), NodeKind::Reserved(r)) => entity_has_reserved(*e, *r),
        (PeerTerm::Entity(e), NodeKind::Region(r)) => entity_has_external(*e, r.example.is_ipv6()),
        (PeerTerm::Entity(e), NodeKind::Name(_)) => entity_has_external(*e, false),
        (PeerTerm::Entity(e), NodeKind::Address(ip, _)) => entity_has_external(*e, ip.is_ipv6()),
        (PeerTerm::Cidr { net, except }, NodeKind::Region(r)) => {
            net.contains(&r.example) && !except.iter().any(|e| e.contains(&r.example))
        }
        (PeerTerm::Cidr { net, except }, NodeKind::Address(ip, _)) => {
            net.contains(ip) && !except.iter().any(|e| e.contains(ip))
        }
        // A family's world is its /0 (SEM-4.4).
        (PeerTerm::Cidr { net, .. }, NodeKind::Reserved(r)) => {
            net.prefix_len() == 0
                && match r {
                    Reserved::WorldIpv4 => net.addr().is_ipv4(),
                    Reserved::WorldIpv6 => net.addr().is_ipv6(),
                    _ => false,
                }
        }
        // A name's address is one that only the whole of IPv4 names.
        (PeerTerm::Cidr { net, .. }, NodeKind::Name(_)) => net.prefix_len() == 0 && net.addr().is_ipv4(),
        (PeerTerm::Fqdn(f), NodeKind::Name(n)) => n.selectors.contains(f),
        (PeerTerm::Fqdn(f), NodeKind::Address(_, names)) => names.iter().any(|n| f.matches(n)),
        _ => false,
    }
}
