//! Namespaces, pods, services and CIDR groups.

use super::choices::Choices;
use serde_json::{Value, json};

/// Namespaces that are used.
pub(super) const NAMESPACES: [&str; 3] = ["shop", "pay", "ops"];
/// Values of the label `team` that namespaces carry.
pub(super) const TEAMS: [&str; 2] = ["red", "blue"];
/// Values of the label `app`.
pub(super) const APPS: [&str; 3] = ["web", "db", "api"];
/// Values of the label `tier`.
pub(super) const TIERS: [&str; 2] = ["front", "back"];
/// Service accounts.
pub(super) const ACCOUNTS: [&str; 2] = ["default", "robot"];
/// Names of ports.
pub(super) const PORT_NAMES: [&str; 3] = ["http", "dns", "metrics"];
/// Prefixes: nested, adjoining, whole families, and the last address there is.
pub(super) const CIDRS: [&str; 12] = [
    "10.1.0.0/16",
    "10.0.0.0/8",
    "10.1.1.0/24",
    "10.1.1.7/32",
    "10.0.0.0/9",
    "10.128.0.0/9",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "255.255.255.255/32",
    "192.168.0.0/16",
];

pub(super) fn cluster(c: &mut Choices<'_>) -> Vec<Value> {
    let mut all: Vec<Value> = NAMESPACES.iter().map(|ns| namespace(c, ns)).collect();
    let pods = 2 + c.below(6);
    all.extend((0..pods).map(|i| pod(c, i)));
    if c.one_in(3) {
        all.push(service(c));
    }
    if c.one_in(3) {
        all.extend((0..2).map(|i| group(c, i)));
    }
    all
}

fn namespace(c: &mut Choices<'_>, name: &str) -> Value {
    let mut o = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}});
    if !c.one_in(3) {
        let team = c.of(&TEAMS);
        o["metadata"]["labels"]["team"] = json!(team);
    }
    o
}

/// A pod on its own, so that it is its own workload.
pub(super) fn pod(c: &mut Choices<'_>, number: usize) -> Value {
    let mut labels = json!({"app": c.of(&APPS)});
    if c.one_in(2) {
        labels["tier"] = json!(c.of(&TIERS));
    }
    let ports: Vec<Value> = c.many(0, 3, |c| {
        json!({"name": c.of(&PORT_NAMES), "containerPort": c.of(&[80, 8080, 53, 65535]),
               "protocol": c.of(&["TCP", "UDP", "SCTP"])})
    });
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "namespace": c.of(&NAMESPACES), "labels": labels},
        "spec": {"serviceAccountName": c.of(&ACCOUNTS), "containers": [{"name": "c", "image": "x", "ports": ports}]},
        "status": {"podIP": format!("10.1.2.{number}")}})
}

fn service(c: &mut Choices<'_>) -> Value {
    let mut spec = json!({"clusterIP": "172.20.0.5", "ports": [{"port": 80, "targetPort": 8080}]});
    if !c.one_in(4) {
        spec["selector"] = json!({"app": c.of(&APPS)});
    }
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "svc", "namespace": c.of(&NAMESPACES), "labels": {"app": c.of(&APPS)}},
        "spec": spec})
}

fn group(c: &mut Choices<'_>, number: usize) -> Value {
    let cidrs = c.many(1, 3, |c| c.of(&CIDRS));
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup",
        "metadata": {"name": format!("group-{number}"), "labels": {"team": c.of(&TEAMS)}},
        "spec": {"externalCIDRs": cidrs}})
}
