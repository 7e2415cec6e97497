//! What additions let through at most: products of subjects, peers and ports.

use ipnet::IpNet;
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::{Cluster, Direction, FlowPort, IdentityId, PeerRef, Reserved};
use portcullis_sema::ports::{PortSet, coordinate};
use portcullis_sema::universe::{Group, NodeKind};
use smol_str::SmolStr;
use std::collections::BTreeSet;

/// Peers, by what they are and not by how a policy writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerSet {
    /// Pods with these label sets.
    pub identities: BTreeSet<IdentityId>,
    /// Reserved identities.
    pub reserved: BTreeSet<Reserved>,
    /// Addresses outside the cluster.
    pub prefixes: Vec<IpNet>,
    /// Addresses that these names resolved to.
    pub names: BTreeSet<SmolStr>,
    /// Everything outside the cluster.
    pub world: bool,
}

impl PeerSet {
    /// Whether a flow's end is among them.
    pub fn has(&self, peer: &PeerRef, cluster: &Cluster) -> bool {
        match peer {
            PeerRef::Endpoint(id) => {
                cluster.endpoint(*id).is_some_and(|e| self.identities.contains(&e.identity))
            }
            PeerRef::Reserved(r) => self.has_reserved(*r),
            PeerRef::External { ip, names } => {
                self.world
                    || self.prefixes.iter().any(|p| p.contains(ip))
                    || names.iter().any(|n| self.has_name(n))
            }
        }
    }

    fn has_reserved(&self, r: Reserved) -> bool {
        self.reserved.contains(&r)
            // SEM-4.2.
            || (r == Reserved::KubeApiserver && self.reserved.contains(&Reserved::RemoteNode))
            || (r.is_world() && self.world)
    }

    fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|n| Fqdn::Name(n.clone()).matches(name))
    }

    /// Whether every flow's end that a node stands for is among them.
    pub(crate) fn has_node(&self, node: &NodeKind, identity: impl Fn(&Group) -> Option<IdentityId>) -> bool {
        match node {
            NodeKind::Group(g) => identity(g).is_some_and(|i| self.identities.contains(&i)),
            NodeKind::Reserved(r) => self.has_reserved(*r),
            NodeKind::Region(r) => self.world || self.prefixes.iter().any(|p| p.contains(&r.prefix)),
            NodeKind::Name(class) => {
                let named = |f: &Fqdn| matches!(f, Fqdn::Name(n) if self.names.contains(n));
                self.world || class.selectors.iter().any(named)
            }
            NodeKind::Address(ip, names) => {
                self.world
                    || self.prefixes.iter().any(|p| p.contains(ip))
                    || names.iter().any(|n| self.has_name(n))
            }
        }
    }
}

/// Flows that one addition lets through on its side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// The side: whose policy it is.
    pub direction: Direction,
    /// Pods that the policy selects.
    pub subjects: BTreeSet<IdentityId>,
    /// Who is at the other end.
    pub peers: PeerSet,
    /// What they carry.
    pub ports: PortSet,
}

/// Everything that is let through at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Each addition's.
    pub products: Vec<Product>,
    /// Sides on which proxies let more requests through: whose policy it is.
    pub requests: Vec<(Direction, BTreeSet<IdentityId>)>,
}

impl Bound {
    /// Whether nothing is let through that was not before.
    pub fn is_empty(&self) -> bool {
        self.products.is_empty() && self.requests.is_empty()
    }

    /// Whether a side's change from denied to allowed is within the bound.
    pub fn has(
        &self,
        direction: Direction,
        subject: IdentityId,
        peer: &PeerRef,
        port: FlowPort,
        cluster: &Cluster,
    ) -> bool {
        self.products.iter().any(|p| {
            p.direction == direction
                && p.subjects.contains(&subject)
                && p.ports.contains(coordinate(port))
                && p.peers.has(peer, cluster)
        })
    }
}
