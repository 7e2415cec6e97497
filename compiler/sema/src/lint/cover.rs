//! When one rule takes in everything another one does, by what the rules say and not by which pods
//! there happen to be.

use ipnet::IpNet;
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::peer::Entity;
use portcullis_ir::{PeerTerm, Peers, PolicySet, PortTerm, Ports, Rule, Selector, Subject};

/// Whether `big` selects everyone `small` selects.
pub(super) fn subject(set: &PolicySet, big: Subject, small: Subject) -> bool {
    match (big, small) {
        (Subject::Endpoints(a), Subject::Endpoints(b)) => a == b || weaker(set, a, b),
        _ => big == small,
    }
}

/// Whether the selector `a` asks for nothing that `b` does not ask for as well.
fn weaker(set: &PolicySet, a: u32, b: u32) -> bool {
    let (Some(a), Some(b)) = (set.selectors.get(a), set.selectors.get(b)) else { return false };
    implied(a, b)
}

fn implied(weak: &Selector, strong: &Selector) -> bool {
    weak.requirements().iter().all(|r| strong.requirements().contains(r))
}

/// Whether `big` takes in every peer of `small`.
pub(super) fn peers(set: &PolicySet, big: &Peers, small: &Peers) -> bool {
    match (big, small) {
        (Peers::All, _) => true,
        (_, Peers::All) => false,
        (Peers::Of(a), Peers::Of(b)) => b.iter().all(|t| {
            a.contains(t)
                || set
                    .peers
                    .get(*t)
                    .is_some_and(|t| a.iter().filter_map(|u| set.peers.get(*u)).any(|u| term(set, u, t)))
        }),
    }
}

fn term(set: &PolicySet, big: &PeerTerm, small: &PeerTerm) -> bool {
    if matches!(big, PeerTerm::Entity(Entity::All)) {
        return true;
    }
    match (big, small) {
        (PeerTerm::Labels(a), PeerTerm::Labels(b)) => a == b || weaker(set, *a, *b),
        (PeerTerm::Entity(Entity::Cluster | Entity::ClusterMesh), PeerTerm::Labels(s)) => {
            set.selectors.get(*s).is_some_and(|s| !s.is_reserved())
        }
        (
            PeerTerm::Entity(Entity::World),
            PeerTerm::Cidr { .. }
            | PeerTerm::Fqdn(_)
            | PeerTerm::Entity(Entity::WorldIpv4 | Entity::WorldIpv6),
        ) => true,
        (PeerTerm::Cidr { net, except }, PeerTerm::Cidr { net: inner, except: holes }) => {
            net.contains(inner)
                && except.iter().all(|e| !overlap(e, inner) || holes.iter().any(|h| h.contains(e)))
        }
        (PeerTerm::Fqdn(Fqdn::Pattern(p)), PeerTerm::Fqdn(_)) if p == "*" => true,
        (PeerTerm::Fqdn(f), PeerTerm::Fqdn(Fqdn::Name(n))) => f.matches(n),
        (a, b) => a == b,
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Whether `big` takes in everything `small` does, whichever ports a name stands for.
pub(super) fn ports(big: &Ports, small: &Ports) -> bool {
    match (big, small) {
        (Ports::All, _) => true,
        (_, Ports::All) => false,
        (Ports::Of(a), Ports::Of(b)) => b.iter().all(|t| a.iter().any(|u| port(u, t))),
    }
}

fn port(big: &PortTerm, small: &PortTerm) -> bool {
    match (big, small) {
        (PortTerm::Range(p, low, high), PortTerm::Range(q, from, to)) => p == q && low <= from && to <= high,
        (PortTerm::Range(p, 0, u16::MAX), PortTerm::Named(q, _)) => p == q,
        (PortTerm::Icmp(a, None), PortTerm::Icmp(b, _)) => a == b,
        (a, b) => a == b,
    }
}

/// Whether some traffic may be in both; a named port may be any.
pub(super) fn ports_meet(a: &Ports, b: &Ports) -> bool {
    match (a, b) {
        (Ports::All, other) | (other, Ports::All) => !other.is_none(),
        (Ports::Of(a), Ports::Of(b)) => a.iter().any(|one| b.iter().any(|other| meet(one, other))),
    }
}

fn meet(a: &PortTerm, b: &PortTerm) -> bool {
    match (a, b) {
        (PortTerm::Range(p, low, high), PortTerm::Range(q, from, to)) => p == q && low <= to && from <= high,
        (PortTerm::Range(p, ..) | PortTerm::Named(p, _), PortTerm::Named(q, _))
        | (PortTerm::Named(p, _), PortTerm::Range(q, ..)) => p == q,
        (PortTerm::Icmp(v6, s), PortTerm::Icmp(other, t)) => {
            v6 == other && (s.is_none() || t.is_none() || s == t)
        }
        (a, b) => a == b,
    }
}

/// Whether `big` does everything `small` does: for everyone it selects, and asking no less.
pub(super) fn rule(set: &PolicySet, big: &Rule, small: &Rule) -> bool {
    big.direction == small.direction
        && big.precedence() == small.precedence()
        && ports(&big.ports, &small.ports)
        && big.authentication == small.authentication
        && big.l7 == small.l7
        && subject(set, big.subject, small.subject)
        && peers(set, &big.peers, &small.peers)
}
