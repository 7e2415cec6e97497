//! What stands in the way of flows: sides that deny them, and whether an allow can change that.

use crate::{Blocked, Task, Why};
use portcullis_ir::{Action, Direction, FlowPort, IdentityId, PeerRef, Reserved, Tier, Verdict};
use portcullis_sema::cells::Cells;
use portcullis_sema::diff::rule_ref;
use portcullis_sema::ports::{PortSet, coordinate};
use portcullis_sema::row;
use portcullis_sema::universe::{NodeId, NodeKind};
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// The other end of a denied flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Peer {
    Pods(IdentityId),
    Reserved(Reserved),
    Address(IpAddr, Option<SmolStr>),
}

/// Peers and ports that a subject needs.
pub(crate) type Needs = BTreeMap<Peer, PortSet>;

/// The same while it is gathered.
type Lists = BTreeMap<Peer, Vec<(u32, u32)>>;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// By direction and subject.
    pub(crate) needs: BTreeMap<(Direction, IdentityId), Needs>,
    /// Flows that no allow lets through.
    pub(crate) blocked: Vec<Blocked>,
    /// Subjects that are denied by no default, but by a rule of the Baseline tier.
    pub(crate) not_closed: BTreeSet<(Direction, IdentityId)>,
}

/// Nodes of one evaluated side.
pub(crate) struct Nodes {
    addresses: HashMap<(IpAddr, Vec<SmolStr>), NodeId>,
    reserved: BTreeMap<Reserved, NodeId>,
    /// A group of each label set.
    groups: BTreeMap<IdentityId, NodeId>,
}

impl Nodes {
    pub(crate) fn new(cells: &Cells<'_, '_>) -> Self {
        let mut out = Self { addresses: HashMap::new(), reserved: BTreeMap::new(), groups: BTreeMap::new() };
        for (id, node) in cells.evaluation.universe.iter() {
            match node {
                NodeKind::Group(g) => {
                    if let Some((identity, _)) = g.on.first().copied().flatten() {
                        out.groups.entry(identity).or_insert(id);
                    }
                }
                NodeKind::Reserved(r) => {
                    out.reserved.insert(*r, id);
                }
                NodeKind::Address(ip, names) => {
                    out.addresses.insert((*ip, names.clone()), id);
                }
                NodeKind::Region(_) | NodeKind::Name(_) => {}
            }
        }
        out
    }

    fn of(&self, cells: &Cells<'_, '_>, peer: &PeerRef) -> Option<NodeId> {
        match peer {
            PeerRef::Endpoint(_) => cells.evaluation.universe.find(0, peer),
            PeerRef::Reserved(r) => self.reserved.get(r).copied(),
            PeerRef::External { ip, names } => self.addresses.get(&(*ip, names.clone())).copied(),
        }
    }

    pub(crate) fn group(&self, id: IdentityId) -> Option<NodeId> {
        self.groups.get(&id).copied()
    }

    /// A node that stands for a peer.
    pub(crate) fn peer(&self, peer: &Peer) -> Option<NodeId> {
        match peer {
            Peer::Pods(id) => self.group(*id),
            Peer::Reserved(r) => self.reserved.get(r).copied(),
            // Which of its names it had is of no matter to whether it is allowed already: then it is no need.
            Peer::Address(..) => None,
        }
    }
}

/// Addresses outside the cluster at either end of flows.
pub(crate) fn addresses(task: &Task<'_>) -> Vec<(IpAddr, Vec<SmolStr>)> {
    let all: BTreeSet<(IpAddr, Vec<SmolStr>)> = task
        .wanted
        .iter()
        .flat_map(|w| [&w.from, &w.to])
        .filter_map(|p| match p {
            PeerRef::External { ip, names } => Some((*ip, names.clone())),
            _ => None,
        })
        .collect();
    all.into_iter().collect()
}

/// Finds what is in the way of every flow.
pub(crate) fn find(task: &Task<'_>, cells: &Cells<'_, '_>, nodes: &Nodes) -> Gaps {
    let mut out = Gaps::default();
    let mut needs: BTreeMap<(Direction, IdentityId), Lists> = BTreeMap::new();
    for (at, flow) in task.wanted.iter().enumerate() {
        let mut sides = Vec::new();
        let mut why = None;
        for (direction, subject, peer) in
            [(Direction::Egress, &flow.from, &flow.to), (Direction::Ingress, &flow.to, &flow.from)]
        {
            match side(task, cells, nodes, direction, subject, peer, flow.port) {
                Side::Open => {}
                Side::Closed(subject, peer, by_default) => sides.push((direction, subject, peer, by_default)),
                Side::Blocked(reason) => why = Some(reason),
            }
        }
        if !sides.is_empty() && why.is_none() && !is_written(flow.port) {
            why = Some(Why::NotWritten(flow.port));
        }
        if let Some(why) = why {
            out.blocked.push(Blocked { wanted: at, why });
            continue;
        }
        let place = coordinate(flow.port);
        for (direction, subject, peer, by_default) in sides {
            if !by_default {
                out.not_closed.insert((direction, subject));
            }
            needs.entry((direction, subject)).or_default().entry(peer).or_default().push((place, place + 1));
        }
    }
    for (key, peers) in needs {
        out.needs.insert(key, peers.into_iter().map(|(p, list)| (p, PortSet::new(list))).collect());
    }
    out
}

/// Port 0 and ICMP type 0 mean "every" where a policy has them (SEM-2.6, SEM-2.8), and other protocols have no field.
const fn is_written(port: FlowPort) -> bool {
    !matches!(port, FlowPort::L4(_, 0) | FlowPort::Icmp(_, 0) | FlowPort::Protocol(_))
}

enum Side {
    Open,
    /// Denied: subject, peer, and whether by default.
    Closed(IdentityId, Peer, bool),
    Blocked(Why),
}

fn side(
    task: &Task<'_>,
    cells: &Cells<'_, '_>,
    nodes: &Nodes,
    direction: Direction,
    subject: &PeerRef,
    peer: &PeerRef,
    port: FlowPort,
) -> Side {
    let PeerRef::Endpoint(id) = subject else { return Side::Open };
    let (Some(group), Some(node)) = (nodes.of(cells, subject), nodes.of(cells, peer)) else {
        return Side::Open;
    };
    let row = cells.row_of(0, direction, group, node);
    let cell = row.as_ref().and_then(|r| r.at(coordinate(port)));
    let Some(cell) = cell.filter(|c| c.verdict == Verdict::Denied) else { return Side::Open };
    let by_default = match &cell.why {
        row::Why::Fallback(_) => true,
        row::Why::Rules(meanings) => {
            let set = task.input.policies;
            let rules = cells.evaluation.rules_with(0, direction, group, meanings);
            let rules: Vec<_> = rules.into_iter().filter_map(|r| rule_ref(set, r)).collect();
            // What is denied in the Baseline tier, any policy above it can allow (SEM-6.1).
            if !rules.iter().all(|r| r.tier == Tier::Baseline && r.action == Action::Deny) {
                return Side::Blocked(Why::Denied(direction, rules));
            }
            false
        }
    };
    let endpoint = |id| task.input.cluster.endpoint(id).map(|e| e.identity);
    let Some(subject) = endpoint(*id) else { return Side::Open };
    let peer = match peer {
        PeerRef::Endpoint(id) => endpoint(*id).map(Peer::Pods),
        PeerRef::Reserved(r) => Some(Peer::Reserved(*r)),
        PeerRef::External { ip, names } => Some(Peer::Address(*ip, names.first().cloned())),
    };
    peer.map_or(Side::Open, |peer| Side::Closed(subject, peer, by_default))
}
