//! NetworkPolicy and ClusterNetworkPolicy.

use super::choices::Choices;
use super::objects::{CIDRS, NAMESPACES};
use super::{ports, selector};
use serde_json::{Value, json};

/// A NetworkPolicy.
pub(super) fn network(c: &mut Choices<'_>, name: &str) -> Value {
    let mut spec = json!({"podSelector": selector::pods(c)});
    match c.below(5) {
        0 => {}
        1 => spec["policyTypes"] = json!(["Ingress"]),
        2 => spec["policyTypes"] = json!(["Egress"]),
        3 => spec["policyTypes"] = json!(["Ingress", "Egress"]),
        _ => spec["policyTypes"] = json!([]),
    }
    for (section, verb) in [("ingress", "from"), ("egress", "to")] {
        if !c.one_in(3) {
            spec[section] = json!(c.many(0, 2, |c| {
                let mut rule = json!({});
                if !c.one_in(4) {
                    rule[verb] = json!(c.many(0, 2, network_peer));
                }
                if c.one_in(2) {
                    rule["ports"] = ports::network(c);
                }
                rule
            }));
        }
    }
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": c.of(&NAMESPACES)}, "spec": spec})
}

fn network_peer(c: &mut Choices<'_>) -> Value {
    match c.below(5) {
        0 => json!({"podSelector": selector::pods(c)}),
        1 => json!({"namespaceSelector": selector::namespaces(c)}),
        2 => json!({"namespaceSelector": selector::namespaces(c), "podSelector": selector::pods(c)}),
        3 => json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": [c.of(&["10.1.0.0/16", "10.1.1.0/24"])]}}),
        _ => json!({"ipBlock": {"cidr": c.of(&CIDRS)}}),
    }
}

/// A ClusterNetworkPolicy of either tier.
pub(super) fn cluster(c: &mut Choices<'_>, name: &str) -> Value {
    let mut spec = json!({
        "tier": c.of(&["Admin", "Baseline"]),
        "priority": c.of(&[10, 20, 30]),
        "subject": pods(c),
    });
    for (section, verb) in [("ingress", "from"), ("egress", "to")] {
        if !c.one_in(3) {
            spec[section] = json!(c.many(1, 3, |c| cluster_rule(c, verb)));
        }
    }
    json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name}, "spec": spec})
}

fn cluster_rule(c: &mut Choices<'_>, verb: &str) -> Value {
    let action = c.of(&["Deny", "Accept", "Pass"]);
    let peers = c.many(1, 2, |c| match c.below(6) {
        4 if verb == "to" => json!({"networks": [c.of(&CIDRS)]}),
        5 if verb == "to" && action == "Accept" => {
            json!({"domainNames": [c.of(&["*.example.com", "api.example.com"])]})
        }
        _ => pods(c),
    });
    let mut rule = json!({"action": action, verb: peers});
    if c.one_in(2) {
        rule["protocols"] = ports::cluster(c);
    }
    rule
}

fn pods(c: &mut Choices<'_>) -> Value {
    if c.one_in(2) {
        json!({"namespaces": selector::namespaces(c)})
    } else {
        json!({"pods": {"namespaceSelector": selector::namespaces(c), "podSelector": selector::pods(c)}})
    }
}
