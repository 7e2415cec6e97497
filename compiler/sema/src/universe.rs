//! Everything a flow can come from or go to, lined up once for one set of policies, or for two
//! side by side.
//!
//! Pods that have the same labels and named ports on every side are one group: no rule can tell
//! them apart. Beside the groups stand the reserved identities, the regions of the address space,
//! and the DNS names that policies name.

use crate::names::{self, NameClass};
use crate::regions::{self, Region};
use ipnet::IpNet;
use portcullis_ir::cluster::PortTableId;
use portcullis_ir::{Cluster, EndpointId, IdentityId, Options, PeerRef, PolicySet, Reserved, Workload};
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// One side of a comparison: policies and the cluster they apply to.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The policies.
    pub policies: &'a PolicySet,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its settings.
    pub options: &'a Options,
}

/// Index of a node; groups come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One thing a flow can come from or go to.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// Pods of one group; its index in [`Universe::groups`] is the node's.
    Group(Group),
    /// A reserved identity.
    Reserved(Reserved),
    /// Addresses outside the cluster.
    Region(Region),
    /// Addresses that a DNS name of a class resolved to.
    Name(NameClass),
    /// One address and its names, asked for by the caller.
    Address(IpAddr, Vec<SmolStr>),
}

/// Pods that no rule of any side can tell apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Label set and named ports on each side; `None` where the pods do not exist there.
    pub on: Vec<Option<(IdentityId, PortTableId)>>,
    /// Workloads and how many of their pods are in the group, sorted.
    pub workloads: Vec<(Workload, u32)>,
    /// Pods in the group: on the last side they exist on.
    pub pods: u32,
    /// One endpoint of each side.
    pub example: Vec<Option<EndpointId>>,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Universe {
    /// Every node; groups first.
    pub nodes: Vec<NodeKind>,
    /// How many nodes are groups.
    pub groups: usize,
    /// The group of each endpoint, by side.
    pub group_of: Vec<Vec<u32>>,
}

/// What makes a group: label set and named ports on each side.
type GroupKey = Vec<Option<(IdentityId, PortTableId)>>;

impl Universe {
    /// Lines up the sides. `addresses` become nodes of their own, for callers with flows to judge.
    pub fn new(sides: &[Input<'_>], addresses: &[(IpAddr, Vec<SmolStr>)]) -> Self {
        let mut u = Self::default();
        u.add_groups(sides);
        u.groups = u.nodes.len();
        u.with_outside(sides, addresses)
    }

    /// The same from an earlier universe of the same clusters: its groups, and everything else anew.
    pub(crate) fn again(mut self, sides: &[Input<'_>], addresses: &[(IpAddr, Vec<SmolStr>)]) -> Self {
        self.nodes.truncate(self.groups);
        self.with_outside(sides, addresses)
    }

    fn with_outside(self, sides: &[Input<'_>], addresses: &[(IpAddr, Vec<SmolStr>)]) -> Self {
        let mut u = self;
        u.nodes.extend(Reserved::ALL.into_iter().map(NodeKind::Reserved));
        let terms = || sides.iter().flat_map(|s| s.policies.peers.iter());
        let prefixes: BTreeSet<IpNet> = regions::prefixes(terms());
        u.nodes.extend(regions::regions(&prefixes).into_iter().map(NodeKind::Region));
        u.nodes.extend(names::classes(terms()).into_iter().map(NodeKind::Name));
        u.nodes.extend(addresses.iter().map(|(ip, names)| NodeKind::Address(*ip, names.clone())));
        u
    }

    fn add_groups(&mut self, sides: &[Input<'_>]) {
        let shared = match sides {
            [a, b] => std::ptr::eq(a.cluster, b.cluster),
            _ => false,
        };
        // One row a pod: its endpoint on each side.
        let mut rows: Vec<Vec<Option<EndpointId>>> = Vec::new();
        if let [a, b] = sides
            && !shared
        {
            let mut by_name: BTreeMap<(SmolStr, SmolStr, Workload), [Option<EndpointId>; 2]> =
                BTreeMap::new();
            for (i, side) in [a, b].into_iter().enumerate() {
                for (id, e) in side.cluster.endpoints() {
                    let Some(w) = side.cluster.workload_of(e) else { continue };
                    let row = by_name.entry((e.namespace.clone(), e.name.clone(), w.clone())).or_default();
                    if let Some(slot) = row.get_mut(i) {
                        *slot = Some(id);
                    }
                }
            }
            rows.extend(by_name.into_values().map(Vec::from));
        } else if let Some(first) = sides.first() {
            rows.extend(first.cluster.endpoints().map(|(id, _)| vec![Some(id); sides.len()]));
        }
        self.group_of = sides.iter().map(|s| vec![0; s.cluster.endpoints.len()]).collect();
        let mut index: HashMap<GroupKey, usize> = HashMap::new();
        let mut groups: Vec<(Group, BTreeMap<Workload, u32>)> = Vec::new();
        for row in rows {
            let on: GroupKey = row
                .iter()
                .zip(sides)
                .map(|(id, s)| id.and_then(|id| s.cluster.endpoint(id)).map(|e| (e.identity, e.ports)))
                .collect();
            let at = *index.entry(on.clone()).or_insert_with(|| {
                groups.push((Group { on, example: row.clone(), ..Group::default() }, BTreeMap::new()));
                groups.len() - 1
            });
            let Some((_, workloads)) = groups.get_mut(at) else { continue };
            for (id, of) in row.iter().zip(&mut self.group_of) {
                if let Some(slot) = id.and_then(|id| of.get_mut(id.0 as usize)) {
                    *slot = u32::try_from(at).unwrap_or(u32::MAX);
                }
            }
            // A pod counts once, on the last side it exists on.
            let last = row.iter().zip(sides).rev().find_map(|(id, s)| id.map(|id| (id, s.cluster)));
            if let Some((id, cluster)) = last
                && let Some(e) = cluster.endpoint(id)
                && let Some(w) = cluster.workload_of(e)
            {
                *workloads.entry(w.clone()).or_insert(0) += e.pods;
            }
        }
        for (mut group, workloads) in groups {
            group.pods = workloads.values().sum();
            group.workloads = workloads.into_iter().collect();
            self.nodes.push(NodeKind::Group(group));
        }
    }

    /// The node of that id.
    pub fn node(&self, id: NodeId) -> Option<&NodeKind> {
        self.nodes.get(id.index())
    }

    /// The group of a node, if it is one.
    pub fn group(&self, id: NodeId) -> Option<&Group> {
        match self.node(id) {
            Some(NodeKind::Group(g)) => Some(g),
            _ => None,
        }
    }

    /// Every group with its id.
    pub fn groups(&self) -> impl Iterator<Item = (NodeId, &Group)> {
        (0u32..).map(NodeId).zip(&self.nodes).filter_map(|(id, n)| match n {
            NodeKind::Group(g) => Some((id, g)),
            _ => None,
        })
    }

    /// Every node with its id.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &NodeKind)> {
        (0u32..).map(NodeId).zip(&self.nodes)
    }

    /// The node of a reserved identity.
    pub fn reserved(&self, id: Reserved) -> Option<NodeId> {
        self.iter().skip(self.groups).find(|(_, n)| **n == NodeKind::Reserved(id)).map(|(id, _)| id)
    }

    /// The node of one end of a flow on a side. An address must have been given to [`Self::new`].
    pub fn find(&self, side: usize, peer: &PeerRef) -> Option<NodeId> {
        match peer {
            PeerRef::Endpoint(id) => self.group_of.get(side)?.get(id.0 as usize).copied().map(NodeId),
            PeerRef::Reserved(r) => self.reserved(*r),
            PeerRef::External { ip, names } => self
                .iter()
                .skip(self.groups)
                .find(|(_, n)| matches!(n, NodeKind::Address(a, b) if a == ip && b == names))
                .map(|(id, _)| id),
        }
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}
