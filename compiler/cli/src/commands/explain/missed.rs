//! Rules that select a pod and leave a flow out, and why.

use super::rule_ref;
use crate::session::Side;
use ipnet::IpNet;
use portcullis_ir::label::{CLUSTER, NAMESPACE_LABELS, POD_NAMESPACE};
use portcullis_ir::peer::{entity_has_external, entity_has_pods, entity_has_reserved, entity_name};
use portcullis_ir::{
    Direction, EndpointId, Flow, Operator, PeerRef, PeerTerm, Peers, PolicySet, PortTerm, Ports, Requirement,
    Reserved, Rule, RuleId, Selector, Subject,
};
use portcullis_sema::diff::RuleRef;
use std::net::IpAddr;

/// At most this many peers or ports are named before the rest is counted.
const SHOWN: usize = 4;

/// Every rule of the direction that selects the subject and is none of `matched`, with why not.
pub(super) fn rules(
    side: &Side<'_>,
    direction: Direction,
    subject: EndpointId,
    flow: &Flow,
    matched: &[RuleId],
) -> Vec<(RuleRef, String)> {
    let set = &side.policies;
    let Some(labels) = side.cluster.endpoint(subject).and_then(|e| side.cluster.labels(e.identity)) else {
        return Vec::new();
    };
    let selects = |r: &Rule| match r.subject {
        Subject::Endpoints(s) => set.selectors.get(s).is_some_and(|s| s.matches(labels)),
        Subject::Host(_) => false,
    };
    let peer = match direction {
        Direction::Ingress => &flow.from,
        Direction::Egress => &flow.to,
    };
    set.rules()
        .filter(|(id, r)| r.direction == direction && !matched.contains(id) && selects(r))
        .filter_map(|(id, r)| Some((rule_ref(set, id)?, why_not(side, r, peer))))
        .collect()
}

/// The part of the rule that the flow does not meet: the peers, or else the ports.
fn why_not(side: &Side<'_>, rule: &Rule, peer: &PeerRef) -> String {
    let peers = match &rule.peers {
        Peers::All => None,
        Peers::Of(ids) if ids.is_empty() => Some("it names no peer".to_owned()),
        Peers::Of(ids) => {
            let terms: Vec<&PeerTerm> = ids.iter().filter_map(|id| side.policies.peers.get(*id)).collect();
            let met = terms.iter().any(|t| takes_in(side, t, peer));
            (!met).then(|| {
                let words = some(terms.iter().map(|t| term_words(&side.policies, t)).collect());
                format!("its peers are {words}")
            })
        }
    };
    // A rule that did not match and whose peers do is left out by its ports.
    let ports = match &rule.ports {
        Ports::All => None,
        Ports::Of(terms) if terms.is_empty() => Some("it names no port".to_owned()),
        Ports::Of(terms) => Some(ports_words(terms)),
    };
    peers.or(ports).unwrap_or_else(|| "it does not take this flow in".to_owned())
}

fn takes_in(side: &Side<'_>, term: &PeerTerm, peer: &PeerRef) -> bool {
    let set = &side.policies;
    match (term, peer) {
        (PeerTerm::Labels(s), PeerRef::Endpoint(id)) => side
            .cluster
            .endpoint(*id)
            .and_then(|e| side.cluster.labels(e.identity))
            .zip(set.selectors.get(*s))
            .is_some_and(|(labels, s)| s.matches(labels)),
        (PeerTerm::Labels(s), PeerRef::Reserved(r)) => {
            set.selectors.get(*s).is_some_and(|s| s.matches(&r.labels()))
        }
        (PeerTerm::Labels(s), PeerRef::External { ip, .. }) => {
            let world = if ip.is_ipv6() { Reserved::WorldIpv6 } else { Reserved::WorldIpv4 };
            set.selectors.get(*s).is_some_and(|s| s.matches(&world.labels()))
        }
        (PeerTerm::Entity(e), PeerRef::Endpoint(_)) => entity_has_pods(*e),
        (PeerTerm::Entity(e), PeerRef::Reserved(r)) => entity_has_reserved(*e, *r),
        (PeerTerm::Entity(e), PeerRef::External { ip, .. }) => entity_has_external(*e, ip.is_ipv6()),
        (PeerTerm::Cidr { net, except }, PeerRef::External { ip, .. }) => contains(net, except, *ip),
        (PeerTerm::Fqdn(f), PeerRef::External { names, .. }) => names.iter().any(|n| f.matches(n)),
        _ => false,
    }
}

fn contains(net: &IpNet, except: &[IpNet], ip: IpAddr) -> bool {
    net.contains(&ip) && !except.iter().any(|e| e.contains(&ip))
}

fn ports_words(terms: &[PortTerm]) -> String {
    let words = some(terms.iter().map(port_words).collect());
    let noun = if terms.len() == 1 { "its port is" } else { "its ports are" };
    format!("{noun} {words}")
}

fn port_words(term: &PortTerm) -> String {
    match term {
        PortTerm::Range(p, 0, u16::MAX) => format!("every {} port", p.name()),
        PortTerm::Range(p, low, high) if low == high => format!("{} {low}", p.name()),
        PortTerm::Range(p, low, high) => format!("{} {low}-{high}", p.name()),
        PortTerm::Named(p, name) => format!("{} {name}", p.name()),
        PortTerm::Icmp(v6, kind) => {
            let family = if *v6 { "ICMPv6" } else { "ICMP" };
            kind.map_or_else(|| family.to_owned(), |t| format!("{family} type {t}"))
        }
        PortTerm::Protocol(n) => format!("protocol {n}"),
    }
}

fn term_words(set: &PolicySet, term: &PeerTerm) -> String {
    match term {
        PeerTerm::Labels(s) => set.selectors.get(*s).map(selector_words).unwrap_or_default(),
        PeerTerm::Entity(e) => format!("entity {}", entity_name(*e)),
        PeerTerm::Cidr { net, except } if except.is_empty() => net.to_string(),
        PeerTerm::Cidr { net, except } => {
            format!("{net} except {}", some(except.iter().map(ToString::to_string).collect()))
        }
        PeerTerm::Fqdn(f) => f.as_str().to_owned(),
        PeerTerm::Nodes(_) => "nodes by label".to_owned(),
    }
}

/// A selector as its author would say it: what the namespace defaults added goes last, in words.
fn selector_words(s: &Selector) -> String {
    let mut own: Vec<Requirement> = Vec::new();
    let mut place: Vec<String> = Vec::new();
    let mut namespace_labels: Vec<Requirement> = Vec::new();
    for r in s.requirements() {
        if r.key == CLUSTER {
            continue;
        }
        if r.key == POD_NAMESPACE {
            match (r.operator, r.values.len()) {
                (Operator::In, 1) => place.push(format!("in namespace {}", r.values.join(""))),
                (Operator::In, _) => place.push(format!("in namespaces {}", r.values.join(", "))),
                (Operator::NotIn, _) => place.push(format!("outside {}", r.values.join(", "))),
                _ => place.push("in any namespace".to_owned()),
            }
        } else if let Some(key) = r.key.strip_prefix(NAMESPACE_LABELS).and_then(|k| k.strip_prefix('.')) {
            namespace_labels.push(Requirement { key: key.into(), ..r.clone() });
        } else {
            own.push(r.clone());
        }
    }
    let mut out = if own.is_empty() { "every pod".to_owned() } else { Selector::new(own).to_string() };
    if !namespace_labels.is_empty() {
        place.push(format!("in namespaces with {}", Selector::new(namespace_labels)));
    }
    for p in place {
        out = format!("{out} {p}");
    }
    out
}

/// The first few, and how many more.
fn some(all: Vec<String>) -> String {
    let more = all.len().saturating_sub(SHOWN);
    let mut text = all.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text = format!("{text} and {more} more");
    }
    text
}
