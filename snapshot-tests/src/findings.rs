//! A comparison's findings taken apart again, and held against the oracle flow by flow.

use crate::probe;
use crate::side::Side;
use ipnet::IpNet;
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::{
    AuthMode, Decision, Direction, EndpointId, Flow, FlowPort, PeerRef, PolicySet, Reason, Reserved, Verdict,
};
use portcullis_sema::describe::{PeerGroup, SHOWN_RESERVED};
use portcullis_sema::diff::{self, FindingKind, Review};
use portcullis_sema::ports::coordinate;
use portcullis_sema::{PortSet, reach};
use smol_str::SmolStr;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// One end of a flow, as a report can name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A pod by namespace and name; each is a workload of its own.
    Pod(SmolStr, SmolStr),
    /// A reserved identity.
    Reserved(Reserved),
    /// An address that no name led to.
    Address(IpAddr),
    /// An address that this name led to.
    Name(SmolStr),
}

impl End {
    /// The end on one side; `None` where the pod does not exist there.
    fn on(&self, side: &Side) -> Option<PeerRef> {
        Some(match self {
            Self::Pod(ns, name) => PeerRef::Endpoint(
                side.cluster
                    .endpoints()
                    .find(|(_, e)| e.namespace == *ns && e.name == *name)
                    .map(|(id, _)| id)?,
            ),
            Self::Reserved(r) => PeerRef::Reserved(*r),
            Self::Address(ip) => PeerRef::External { ip: *ip, names: Vec::new() },
            Self::Name(name) => PeerRef::External { ip: probe::RESOLVED, names: vec![name.clone()] },
        })
    }

    const fn is_pod(&self) -> bool {
        matches!(self, Self::Pod(..))
    }
}

/// Every end that exists on all sides and that a report names.
pub fn ends(sides: &[&Side]) -> Vec<End> {
    let Some(first) = sides.first() else { return Vec::new() };
    let mut all: Vec<End> =
        first.cluster.endpoints.iter().map(|e| End::Pod(e.namespace.clone(), e.name.clone())).collect();
    all.retain(|e| sides.iter().all(|s| e.on(s).is_some()));
    all.extend(SHOWN_RESERVED.map(End::Reserved));
    all.extend(probe::addresses(sides).into_iter().map(End::Address));
    all.extend(probe::names(sides).into_iter().map(End::Name));
    all
}

/// Whether a group names an end; `None` where its text is too short to tell.
pub fn takes_in(group: &PeerGroup, end: &End) -> Option<bool> {
    match end {
        End::Pod(ns, name) => {
            Some(group.workloads.iter().any(|(w, _)| w.namespace == *ns && w.name == *name))
        }
        End::Reserved(r) => Some(group.others.iter().any(|o| o == r.name())),
        End::Address(ip) => {
            let mut unsure = false;
            for o in &group.others {
                match address_in(o, *ip) {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => unsure = true,
                }
            }
            (!unsure).then_some(false)
        }
        End::Name(name) => {
            let mut unsure = false;
            for o in &group.others {
                match name_in(o, name) {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => unsure = true,
                }
            }
            (!unsure).then_some(false)
        }
    }
}

/// `*.example.com except api.example.com`, `world (IPv4) except a.example.com`, `0.0.0.0/0`.
fn name_in(text: &str, name: &str) -> Option<bool> {
    let (base, left_out) = text.split_once(" except ").unwrap_or((text, ""));
    let selects = |text: &str| {
        let f = if text.contains('*') { Fqdn::Pattern(text.into()) } else { Fqdn::Name(text.into()) };
        f.matches(name)
    };
    if !matches!(base, "world" | "world (IPv4)") && !base.split(" matching ").all(selects) {
        return Some(false);
    }
    // Left out of the world is what is not itself an exception: not to be told from the text.
    let nested = left_out.contains(" except ") || left_out.contains(" matching ");
    if nested || left_out.split(", ").any(|p| p.ends_with(" names")) {
        return None;
    }
    Some(!left_out.split(", ").any(selects))
}

/// `10.0.0.0/8 except 10.1.0.0/16`, `world (IPv4)`, `world`. Names among the exceptions have
/// addresses of their own.
fn address_in(text: &str, ip: IpAddr) -> Option<bool> {
    let (base, left_out) = text.split_once(" except ").unwrap_or((text, ""));
    let inside = match base {
        "world" => true,
        "world (IPv4)" => ip.is_ipv4(),
        "world (IPv6)" => ip.is_ipv6(),
        prefix => prefix.parse::<IpNet>().is_ok_and(|n| n.contains(&ip)),
    };
    if inside && left_out.split(", ").any(|p| p.ends_with("named prefixes")) {
        return None;
    }
    Some(inside && !left_out.split(", ").any(|p| p.parse::<IpNet>().is_ok_and(|n| n.contains(&ip))))
}

/// Verdict, and whether either end asks for more than L4: a proxy's leave, or authentication.
type Answer = (Verdict, bool);

/// What the oracle says of flows on one side, asked once for each decision.
struct Brute<'s> {
    side: &'s Side,
    known: BTreeMap<(EndpointId, Direction, PeerRef, FlowPort), Answer>,
}

impl<'s> Brute<'s> {
    const fn new(side: &'s Side) -> Self {
        Self { side, known: BTreeMap::new() }
    }

    fn flow(&mut self, flow: &Flow) -> Answer {
        let mut all = (Verdict::Allowed, false);
        for (end, peer, d) in
            [(&flow.from, &flow.to, Direction::Egress), (&flow.to, &flow.from, Direction::Ingress)]
        {
            let PeerRef::Endpoint(id) = end else { continue };
            let side = self.side;
            let (verdict, redirect) =
                *self.known.entry((*id, d, peer.clone(), flow.port)).or_insert_with(|| {
                    let oracle = side.oracle();
                    let decision = oracle.decide(*id, d, peer, flow.port);
                    (decision.verdict, decision.redirect || authenticates(oracle.policies, &decision))
                });
            if verdict == Verdict::Denied {
                all.0 = Verdict::Denied;
            }
            all.1 |= redirect;
        }
        all
    }
}

/// Whether a rule that allows the flow asks for authentication first (SEM-2.12).
fn authenticates(policies: &PolicySet, decision: &Decision) -> bool {
    let Reason::Rules(ids) = &decision.reason else { return false };
    decision.verdict == Verdict::Allowed
        && ids
            .iter()
            .filter_map(|id| policies.rule(*id)?.authentication)
            .any(|mode| mode != AuthMode::Disabled)
}

/// Pairs of ends with a pod among them; a pod and itself is no pair.
fn pairs(ends: &[End]) -> impl Iterator<Item = (usize, usize, &End, &End)> {
    ends.iter().enumerate().flat_map(move |(i, from)| {
        ends.iter()
            .enumerate()
            .filter(move |(j, to)| i != *j && (from.is_pod() || to.is_pod()))
            .map(move |(j, to)| (i, j, from, to))
    })
}

/// A finding or an edge: for each end whether it is among the sources and the destinations.
struct Rectangle<'r> {
    sources: Vec<Option<bool>>,
    destinations: Vec<Option<bool>>,
    ports: &'r PortSet,
}

impl<'r> Rectangle<'r> {
    fn new(ends: &[End], sources: &PeerGroup, destinations: &PeerGroup, ports: &'r PortSet) -> Self {
        let all = |g: &PeerGroup| ends.iter().map(|e| takes_in(g, e)).collect();
        Self { sources: all(sources), destinations: all(destinations), ports }
    }

    fn holds(&self, from: usize, to: usize, port: FlowPort) -> Option<bool> {
        let (s, d) = (self.sources.get(from).copied()?, self.destinations.get(to).copied()?);
        if s == Some(false) || d == Some(false) || !self.ports.contains(coordinate(port)) {
            return Some(false);
        }
        Some(s? && d?)
    }
}

/// What is wrong with a comparison: flows that change and are in no finding of their kind or in more
/// than one, and flows in a finding that do not change so.
pub fn wrong_findings(base: &Side, head: &Side, review: &Review) -> Vec<String> {
    let ends = ends(&[base, head]);
    let ports = probe::ports(&[base, head]);
    let (mut before, mut after) = (Brute::new(base), Brute::new(head));
    let rectangles: Vec<(FindingKind, Rectangle<'_>)> = review
        .findings
        .iter()
        .map(|f| (f.kind, Rectangle::new(&ends, &f.sources, &f.destinations, &f.ports)))
        .collect();
    let mut out = Vec::new();
    for (i, j, from, to) in pairs(&ends) {
        for port in &ports {
            let ask = |brute: &mut Brute<'_>| -> Option<Answer> {
                let flow = Flow { from: from.on(brute.side)?, to: to.on(brute.side)?, port: *port };
                Some(brute.flow(&flow))
            };
            let (Some(b), Some(h)) = (ask(&mut before), ask(&mut after)) else { continue };
            let hits: Option<Vec<FindingKind>> = rectangles
                .iter()
                .filter_map(|(kind, r)| match r.holds(i, j, *port) {
                    None => Some(None),
                    Some(true) => Some(Some(*kind)),
                    Some(false) => None,
                })
                .collect();
            let Some(hits) = hits else { continue };
            let good = match (b, h) {
                ((Verdict::Allowed, _), (Verdict::Denied, _)) => hits == [FindingKind::Denied],
                ((Verdict::Denied, _), (Verdict::Allowed, _)) => hits == [FindingKind::Allowed],
                ((Verdict::Denied, _), _) => hits.is_empty(),
                ((_, redirected), (_, redirects)) if redirected != redirects => hits == [FindingKind::L7],
                ((_, redirects), _) => hits.is_empty() || (redirects && hits == [FindingKind::L7]),
            };
            if !good {
                out.push(format!(
                    "{from:?} -> {to:?} on {port}: {b:?} before, {h:?} after, findings {hits:?}"
                ));
            }
        }
    }
    out
}

/// What is wrong with the list of who reaches whom.
pub fn wrong_edges(side: &Side) -> Vec<String> {
    let ends = ends(&[side]);
    let ports = probe::ports(&[side]);
    let found = reach::reach(side.input(), None, None);
    let edges: Vec<Rectangle<'_>> =
        found.edges.iter().map(|e| Rectangle::new(&ends, &e.sources, &e.destinations, &e.ports)).collect();
    let mut brute = Brute::new(side);
    let mut out = Vec::new();
    for (i, j, from, to) in pairs(&ends) {
        for port in &ports {
            let (Some(f), Some(t)) = (from.on(side), to.on(side)) else { continue };
            let allowed = brute.flow(&Flow { from: f, to: t, port: *port }).0 == Verdict::Allowed;
            let hits: Option<Vec<bool>> =
                edges.iter().map(|e| e.holds(i, j, *port)).filter(|h| *h != Some(false)).collect();
            let Some(hits) = hits else { continue };
            if hits.len() != usize::from(allowed) {
                out.push(format!(
                    "{from:?} -> {to:?} on {port}: allowed is {allowed}, but in {} edges",
                    hits.len()
                ));
            }
        }
    }
    out
}

/// What is wrong with the transitions: pods whose default changes and that are in none, or in more
/// than one, or the other way round.
pub fn wrong_transitions(base: &Side, head: &Side, review: &Review) -> Vec<String> {
    let mut out = Vec::new();
    for end in ends(&[base, head]).iter().filter(|e| e.is_pod()) {
        for direction in Direction::BOTH {
            let hits: Vec<bool> = review
                .transitions
                .iter()
                .filter(|t| t.direction == direction && takes_in(&t.endpoints, end) == Some(true))
                .map(|t| t.on)
                .collect();
            let expected: Vec<bool> =
                match (default_deny(base, end, direction), default_deny(head, end, direction)) {
                    (a, b) if a == b => Vec::new(),
                    (_, b) => vec![b],
                };
            if hits != expected {
                out.push(format!(
                    "{end:?} {direction}: becomes default-deny {expected:?}, transitions say {hits:?}"
                ));
            }
        }
    }
    out
}

/// SEM-5.1, from the enforcements alone.
fn default_deny(side: &Side, end: &End, direction: Direction) -> bool {
    let Some(PeerRef::Endpoint(id)) = end.on(side) else { return false };
    let labels = side.cluster.endpoint(id).and_then(|e| side.cluster.labels(e.identity));
    side.policies.enforcements.iter().any(|e| {
        e.default_deny
            && e.direction == direction
            && match e.subject {
                portcullis_ir::Subject::Endpoints(s) => {
                    side.policies.selectors.get(s).zip(labels).is_some_and(|(s, l)| s.matches(l))
                }
                portcullis_ir::Subject::Host(_) => false,
            }
    })
}

/// The comparison of two sides.
pub fn review(base: &Side, head: &Side) -> Review {
    diff::review(base.input(), head.input())
}
