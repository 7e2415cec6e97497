//! The verifier: what every later stage may rely on.
//!
//! 1. Every id in a rule or enforcement is in its table.
//! 2. Peer and port unions are sorted and distinct; port ranges are not reversed.
//! 3. A CIDR has no host bits; its exceptions are sorted, distinct and of its family.
//! 4. Rules of the Normal tier have the order `(0, 0)`; only Admin and Baseline rules pass.
//! 5. Deny and pass rules carry neither L7 parts nor authentication.
//! 6. Enforcements of Admin and Baseline policies never switch default deny on: each enforcement
//!    with default deny belongs to a policy that has no rule outside the Normal tier.

use crate::peer::{PeerTerm, Peers};
use crate::port::{PortTerm, Ports};
use crate::rule::{Action, PolicySet, Rule, Subject, Tier};
use std::collections::BTreeSet;

/// The first broken invariant of each broken item, in order; empty when the set is sound.
pub fn verify(set: &PolicySet) -> Vec<String> {
    let mut broken = Vec::new();
    for (i, r) in set.rules.iter().enumerate() {
        if let Err(why) = rule(set, r) {
            broken.push(format!("rule {i}: {why}"));
        }
    }
    for (i, t) in set.peers.iter().enumerate() {
        if let Err(why) = term(set, t) {
            broken.push(format!("peer term {i}: {why}"));
        }
    }
    let tiered: BTreeSet<_> = set.rules.iter().filter(|r| r.tier != Tier::Normal).map(|r| r.policy).collect();
    for (i, e) in set.enforcements.iter().enumerate() {
        if set.policy(e.policy).is_none() || !subject(set, e.subject) {
            broken.push(format!("enforcement {i}: an id is not in its table"));
        } else if e.default_deny && tiered.contains(&e.policy) {
            broken.push(format!("enforcement {i}: a tiered policy switches default deny on"));
        }
    }
    broken
}

fn subject(set: &PolicySet, s: Subject) -> bool {
    let (Subject::Endpoints(id) | Subject::Host(id)) = s;
    set.selectors.get(id).is_some()
}

fn rule(set: &PolicySet, r: &Rule) -> Result<(), &'static str> {
    if set.policy(r.policy).is_none() || !subject(set, r.subject) {
        return Err("an id is not in its table");
    }
    if let Peers::Of(ids) = &r.peers {
        if !ids.is_sorted_by(|a, b| a < b) {
            return Err("peers are not sorted and distinct");
        }
        if ids.iter().any(|id| set.peers.get(*id).is_none()) {
            return Err("a peer id is not in its table");
        }
    }
    if let Ports::Of(terms) = &r.ports {
        if !terms.is_sorted_by(|a, b| a < b) {
            return Err("ports are not sorted and distinct");
        }
        if terms.iter().any(|t| matches!(t, PortTerm::Range(_, low, high) if low > high)) {
            return Err("a port range is reversed");
        }
    }
    match r.tier {
        Tier::Normal if r.order != (0, 0) => return Err("a rule of the Normal tier has an order"),
        Tier::Normal if r.action == Action::Pass => return Err("a rule of the Normal tier passes"),
        _ => {}
    }
    if r.action != Action::Allow && (r.l7.is_some() || r.authentication.is_some()) {
        return Err("a rule that does not allow asks for L7 or authentication");
    }
    Ok(())
}

fn term(set: &PolicySet, t: &PeerTerm) -> Result<(), &'static str> {
    match t {
        PeerTerm::Labels(id) | PeerTerm::Nodes(id) if set.selectors.get(*id).is_none() => {
            Err("a selector id is not in its table")
        }
        PeerTerm::Cidr { net, .. } if net.trunc() != *net => Err("a CIDR has host bits"),
        PeerTerm::Cidr { except, .. } if !except.is_sorted_by(|a, b| a < b) => {
            Err("exceptions are not sorted and distinct")
        }
        _ => Ok(()),
    }
}
