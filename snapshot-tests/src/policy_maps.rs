//! Policy maps, slowly: every entry by itself, put into the map one after the other as `pkg/policy` of
//! Cilium does, and the look-up of its programs.

use crate::side::Side;
use portcullis_ir::peer::Entity;
use portcullis_ir::{
    Action, Direction, EndpointId, FlowPort, IdentityId, L4, PeerRef, PeerTerm, Peers, PortTerm, Ports,
    Reserved, Rule,
};
use portcullis_sema::policymap::key::PortKey;
use portcullis_sema::policymap::table::{Precedence, Step, Strength};
use portcullis_sema::policymap::{Entry, Identity};
use portcullis_sema::universe::NodeKind;
use portcullis_sema::{NodeId, Universe};
use std::collections::{BTreeMap, BTreeSet};

/// A node, or every identity.
type Whom = Option<NodeId>;
type Map = BTreeMap<(Whom, PortKey), Precedence>;

/// An identity, by a peer that has it.
pub fn peer_of(universe: &Universe, id: NodeId) -> Option<PeerRef> {
    match universe.node(id)? {
        NodeKind::Group(g) => g.example.first().copied().flatten().map(PeerRef::Endpoint),
        NodeKind::Reserved(r) => Some(PeerRef::Reserved(*r)),
        NodeKind::Region(r) => Some(PeerRef::External { ip: r.example, names: Vec::new() }),
        NodeKind::Name(n) => {
            Some(PeerRef::External { ip: crate::probe::RESOLVED, names: vec![n.example.clone()] })
        }
        NodeKind::Address(..) => None,
    }
}

/// The identities that have a number of their own in a policy map.
pub fn identities(universe: &Universe) -> Vec<NodeId> {
    let mut seen: BTreeSet<IdentityId> = BTreeSet::new();
    universe
        .iter()
        .filter(|(_, n)| match n {
            NodeKind::Group(g) => g.on.iter().flatten().any(|(identity, _)| seen.insert(*identity)),
            NodeKind::Region(r) => r.prefix.prefix_len() > 0,
            _ => true,
        })
        .map(|(id, _)| id)
        .collect()
}

/// The entries of an endpoint by direction, put in from the first rule on, or from the last. `None` if a rule
/// passes: what that leads to is judged by the look-up alone.
pub fn count(side: &Side, universe: &Universe, endpoint: EndpointId, backwards: bool) -> Option<usize> {
    let mut total = 0;
    for direction in Direction::BOTH {
        let mut wishes = wishes(side, universe, endpoint, direction)?;
        if backwards {
            wishes.reverse();
        }
        let mut map = Map::new();
        for (place, precedence) in wishes {
            insert(&mut map, place, precedence);
        }
        total += map.keys().map(|(whom, _)| if whom.is_none() { 5 } else { 1 }).sum::<usize>();
    }
    Some(total)
}

type Wish = ((Whom, PortKey), Precedence);

fn wishes(side: &Side, universe: &Universe, endpoint: EndpointId, direction: Direction) -> Option<Vec<Wish>> {
    let oracle = side.oracle();
    let selecting: Vec<&Rule> = side
        .policies
        .rules
        .iter()
        .filter(|r| r.direction == direction && oracle.selects(r.subject, endpoint))
        .collect();
    if selecting.iter().any(|r| r.action == Action::Pass) {
        return None;
    }
    let mut out: Vec<Wish> = Vec::new();
    for rule in &selecting {
        let all = is_about_all(side, rule);
        let own = what(rule);
        for (term, folds) in terms(rule) {
            let folded = |r: &&Rule| is_about_all(side, r) && r.tier == rule.tier && has(r, term);
            let wildcard = selecting.iter().copied().filter(folded).map(what).min();
            if !all && folds && wildcard.as_ref() == Some(&own) {
                continue;
            }
            for id in identities(universe) {
                let Some(peer) = peer_of(universe, id) else { continue };
                let taken = match &rule.peers {
                    Peers::All => true,
                    Peers::Of(ids) => ids
                        .iter()
                        .filter_map(|t| side.policies.peers.get(*t))
                        .any(|t| oracle.term_takes_in(t, &peer)),
                };
                if taken {
                    let by_name = direction == Direction::Egress && matches!(term, Some(PortTerm::Named(..)));
                    let whom = if all && !by_name { None } else { Some(id) };
                    for key in keys(side, universe, endpoint, direction, id, term) {
                        out.push(((whom, key), vec![own.0]));
                    }
                }
            }
        }
    }
    if direction == Direction::Ingress && side.options.allow_localhost {
        out.push(((universe.reserved(Reserved::Host), PortKey::ANY), vec![Step::Localhost]));
    }
    let denied = side
        .policies
        .enforcements
        .iter()
        .any(|e| e.default_deny && e.direction == direction && oracle.selects(e.subject, endpoint));
    if !denied && !oracle.always_enforced(endpoint) {
        out.push(((None, PortKey::ANY), vec![Step::Open]));
    }
    Some(out)
}

/// The entry's value as far as entries are compared.
fn what(rule: &Rule) -> (Step, Option<String>, Option<String>) {
    let strength = match rule.action {
        Action::Deny => Strength::Deny,
        Action::Allow if rule.l7.is_some() => Strength::Redirect,
        Action::Allow => Strength::Allow,
        Action::Pass => Strength::Pass,
    };
    let listener = rule.l7.as_ref().and_then(|l| l.listener.as_ref()).map(ToString::to_string);
    (Step::Rule(rule.tier, rule.order, strength), rule.authentication.map(|a| format!("{a:?}")), listener)
}

fn is_about_all(side: &Side, rule: &Rule) -> bool {
    let Peers::Of(ids) = &rule.peers else { return true };
    ids.iter().filter_map(|t| side.policies.peers.get(*t)).any(|t| match t {
        PeerTerm::Entity(e) => *e == Entity::All,
        PeerTerm::Labels(s) => side.policies.selectors.get(*s).is_some_and(|s| s.to_string() == "everything"),
        _ => false,
    })
}

/// A rule's port terms, and whether the port is one that folds into the wildcard's entry.
fn terms(rule: &Rule) -> Vec<(Option<&PortTerm>, bool)> {
    let Ports::Of(all) = &rule.ports else { return vec![(None, false)] };
    all.iter()
        .map(|t| {
            let folds = match t {
                PortTerm::Range(_, low, _) => *low != 0,
                PortTerm::Named(..) => true,
                PortTerm::Icmp(_, of) => !matches!(of, None | Some(0)),
                PortTerm::Protocol(_) => false,
            };
            (Some(t), folds)
        })
        .collect()
}

fn has(rule: &Rule, term: Option<&PortTerm>) -> bool {
    matches!((&rule.ports, term), (Ports::Of(all), Some(t)) if all.contains(t))
}

/// The keys of one term for one identity.
fn keys(
    side: &Side,
    universe: &Universe,
    endpoint: EndpointId,
    direction: Direction,
    id: NodeId,
    term: Option<&PortTerm>,
) -> Vec<PortKey> {
    match term {
        None => vec![PortKey::ANY],
        Some(PortTerm::Range(l4, low, high)) => {
            let mut out = Vec::new();
            split(protocol(*l4), 0, 0, (*low, *high), &mut out);
            out
        }
        Some(PortTerm::Icmp(v6, of)) => {
            let protocol = if *v6 { 58 } else { 1 };
            vec![of.map_or(PortKey { protocol, port: 0, bits: 0 }, |t| PortKey {
                protocol,
                port: t.into(),
                bits: 16,
            })]
        }
        Some(PortTerm::Protocol(n)) => vec![PortKey { protocol: *n, port: 0, bits: 0 }],
        Some(PortTerm::Named(l4, name)) => {
            let receivers: Vec<EndpointId> = match (direction, universe.group(id)) {
                (Direction::Ingress, _) => vec![endpoint],
                (Direction::Egress, Some(g)) => {
                    let identity = g.on.first().copied().flatten().map(|(i, _)| i);
                    side.cluster
                        .endpoints()
                        .filter(|(_, e)| Some(e.identity) == identity)
                        .map(|(id, _)| id)
                        .collect()
                }
                (Direction::Egress, None) => Vec::new(),
            };
            let named = receivers
                .into_iter()
                .filter_map(|id| side.cluster.endpoint(id))
                .flat_map(|e| side.cluster.named_ports(e));
            named
                .filter(|(n, p, _)| n == name && p == l4)
                .map(|(_, p, port)| PortKey { protocol: protocol(*p), port: *port, bits: 16 })
                .collect()
        }
    }
}

const fn protocol(l4: L4) -> u8 {
    match l4 {
        L4::Tcp => 6,
        L4::Udp => 17,
        L4::Sctp => 132,
    }
}

/// Walks the tree of all port prefixes down to those that lie in the range.
fn split(protocol: u8, port: u16, bits: u8, range: (u16, u16), out: &mut Vec<PortKey>) {
    let rest = u16::MAX.checked_shr(bits.into()).unwrap_or(0);
    let (first, last) = (port, port | rest);
    if range.0 <= first && last <= range.1 {
        out.push(PortKey { protocol, port, bits });
    } else if first <= range.1 && range.0 <= last {
        split(protocol, port, bits + 1, range, out);
        split(protocol, port | (0x8000 >> bits), bits + 1, range, out);
    }
}

fn covers(a: (Whom, PortKey), b: (Whom, PortKey)) -> bool {
    let whom = a.0.is_none() || a.0 == b.0;
    let (a, b) = (a.1, b.1);
    let same = u32::from(a.port ^ b.port) << 16;
    let ports = a.protocol == b.protocol
        && a.bits <= b.bits
        && (a.bits == 0 || same.leading_zeros() >= u32::from(a.bits));
    whom && (a.protocol == 0 || ports)
}

fn denies(p: &[Step]) -> bool {
    matches!(p.last(), Some(Step::Rule(_, _, Strength::Deny)))
}

/// `insertWithChanges` of Cilium's map state.
fn insert(map: &mut Map, new: (Whom, PortKey), precedence: Precedence) {
    let beside =
        |old: &(Whom, PortKey), p: &Precedence| denies(&precedence) && *p == precedence && *old != new;
    if map.iter().any(|(old, p)| covers(*old, new) && (*p < precedence || beside(old, p))) {
        return;
    }
    map.retain(|old, p| !(covers(new, *old) && (*p > precedence || beside(old, p))));
    let slot = map.entry(new).or_insert_with(|| precedence.clone());
    if precedence < *slot {
        *slot = precedence;
    }
}

/// The two look-ups of Cilium's programs: the longest match for the identity and the one for the wildcard; of
/// both, the one that decides first, then the longer one, then the identity's own.
pub fn allows(entries: &[Entry], direction: Direction, whom: NodeId, port: FlowPort) -> bool {
    let packet = match port {
        FlowPort::L4(l4, n) => PortKey { protocol: protocol(l4), port: n, bits: 16 },
        FlowPort::Icmp(v6, t) => PortKey { protocol: if v6 { 58 } else { 1 }, port: t.into(), bits: 16 },
        FlowPort::Protocol(n) => PortKey { protocol: n, port: 0, bits: 16 },
    };
    let length = |k: PortKey| if k.protocol == 0 { 0 } else { 1 + u32::from(k.bits) };
    let longest = |identity: Identity| {
        entries
            .iter()
            .filter(|e| e.direction == direction && e.identity == identity)
            .filter(|e| covers((None, e.key), (None, packet)))
            .max_by_key(|e| length(e.key))
    };
    let found = [longest(Identity::Of(whom)), longest(Identity::Any(0))];
    let chosen =
        found.into_iter().flatten().min_by_key(|e| (e.precedence.clone(), std::cmp::Reverse(length(e.key))));
    chosen.is_some_and(|e| e.verdict() != "deny")
}
