//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy.

use super::choices::Choices;
use super::objects::{CIDRS, NAMESPACES, TEAMS};
use super::{ports, selector};
use serde_json::{Map, Value, json};

const ENTITIES: [&str; 14] = [
    "cluster",
    "world",
    "all",
    "host",
    "remote-node",
    "kube-apiserver",
    "health",
    "ingress",
    "init",
    "unmanaged",
    "none",
    "world-ipv4",
    "world-ipv6",
    "cluster-mesh",
];
const NAMES: [&str; 3] = ["api.example.com", "a.b.example.com", "example.org"];
const PATTERNS: [&str; 6] =
    ["*.example.com", "**.example.com", "*", "a*.example.com", "*.b.example.com", "api.*.com"];

/// A policy with one rule, or with several under `specs`.
pub(super) fn policy(c: &mut Choices<'_>, name: &str, clusterwide: bool) -> Value {
    let kind = if clusterwide { "CiliumClusterwideNetworkPolicy" } else { "CiliumNetworkPolicy" };
    let mut metadata = json!({"name": name});
    if !clusterwide {
        metadata["namespace"] = json!(c.of(&NAMESPACES));
    }
    let mut out = json!({"apiVersion": "cilium.io/v2", "kind": kind, "metadata": metadata});
    if c.one_in(6) {
        out["specs"] = json!(c.many(1, 2, |c| rule(c, clusterwide)));
    } else {
        out["spec"] = rule(c, clusterwide);
    }
    out
}

fn rule(c: &mut Choices<'_>, clusterwide: bool) -> Value {
    let subject = if clusterwide { selector::clusterwide(c) } else { selector::cilium(c) };
    let mut out = json!({"endpointSelector": subject});
    // At least one section has an entry, or the API server refuses the object.
    let first = c.below(4);
    for (at, (section, ingress, allow)) in [
        ("ingress", true, true),
        ("egress", false, true),
        ("ingressDeny", true, false),
        ("egressDeny", false, false),
    ]
    .into_iter()
    .enumerate()
    {
        if at == first || c.one_in(4) {
            out[section] = json!(c.many(1, 2, |c| entry(c, ingress, allow)));
        }
    }
    if c.one_in(4) {
        let mut switch = Map::new();
        for direction in ["ingress", "egress"] {
            match c.below(3) {
                0 => {}
                n => {
                    switch.insert(direction.into(), json!(n == 2));
                }
            }
        }
        out["enableDefaultDeny"] = Value::Object(switch);
    }
    out
}

fn entry(c: &mut Choices<'_>, ingress: bool, allow: bool) -> Value {
    let mut out = json!({});
    let verb = if ingress { "from" } else { "to" };
    let mut ports_wanted = c.below(3);
    match c.below(14) {
        0..4 => out[format!("{verb}Endpoints")] = json!(c.many(1, 2, selector::cilium)),
        4 | 5 => out[format!("{verb}Entities")] = json!(c.many(1, 2, |c| c.of(&ENTITIES))),
        6 | 7 => out[format!("{verb}CIDR")] = json!(c.many(1, 2, |c| c.of(&CIDRS))),
        8 | 9 => out[format!("{verb}CIDRSet")] = json!(c.many(1, 2, cidr_rule)),
        10 if !ingress && allow => out["toFQDNs"] = json!(c.many(1, 2, name)),
        11 if !ingress => {
            out["toServices"] = json!([service(c)]);
            ports_wanted %= 2; // named ports and ICMP beside it are refused
        }
        12 if c.one_in(3) => {
            let list = c.of(&["Endpoints", "CIDR", "CIDRSet", "Entities"]);
            out[format!("{verb}{list}")] = json!([]);
        }
        _ => {}
    }
    match ports_wanted {
        0 => {}
        1 => out["toPorts"] = ports::to_ports(c, allow, ingress),
        _ if c.one_in(3) => out["icmps"] = ports::icmps(c),
        _ => out["toPorts"] = ports::to_ports(c, allow, ingress),
    }
    if allow && c.one_in(12) {
        out["authentication"] = json!({"mode": c.of(&["required", "disabled"])});
    }
    out
}

fn cidr_rule(c: &mut Choices<'_>) -> Value {
    let mut out = match c.below(5) {
        3 => json!({"cidrGroupRef": c.of(&["group-0", "group-1", "nowhere"])}),
        4 => json!({"cidrGroupSelector": {"matchLabels": {"team": c.of(&TEAMS)}}}),
        _ => json!({"cidr": c.of(&CIDRS)}),
    };
    if c.one_in(2) {
        let inside: Vec<&str> = match out.get("cidr").and_then(Value::as_str) {
            Some("10.0.0.0/8" | "0.0.0.0/0") => vec!["10.1.0.0/16", "10.0.0.0/9", "10.1.1.7/32"],
            Some("10.1.0.0/16") => vec!["10.1.1.0/24", "10.1.0.0/17"],
            Some("::/0") => vec!["2001:db8::/32"],
            Some(_) => Vec::new(),
            None => vec!["10.1.1.0/24"],
        };
        if !inside.is_empty() {
            out["except"] = json!(c.many(1, 2, |c| c.of(&inside)));
        }
    }
    out
}

fn name(c: &mut Choices<'_>) -> Value {
    if c.one_in(2) { json!({"matchName": c.of(&NAMES)}) } else { json!({"matchPattern": c.of(&PATTERNS)}) }
}

fn service(c: &mut Choices<'_>) -> Value {
    let namespace = c.of(&NAMESPACES);
    if c.one_in(2) {
        json!({"k8sServiceSelector": {"selector": {"matchLabels": {"app": c.of(&["web", "db"])}}, "namespace": namespace}})
    } else {
        json!({"k8sService": {"serviceName": c.of(&["svc", "none"]), "namespace": namespace}})
    }
}
