//! Selectors of every kind.

use super::choices::Choices;
use super::objects::{ACCOUNTS, APPS, NAMESPACES, TEAMS, TIERS};
use serde_json::{Map, Value, json};

/// Keys of pods with their values; the first are the plain ones.
type Keys = &'static [(&'static str, &'static [&'static str])];

const PLAIN: Keys = &[("app", &APPS), ("tier", &TIERS), ("absent", &["x"])];
const NAMESPACE: Keys = &[("team", &TEAMS), ("kubernetes.io/metadata.name", &NAMESPACES)];
/// What Cilium's selectors may say besides.
const CILIUM: Keys = &[
    ("app", &APPS),
    ("tier", &TIERS),
    ("k8s:app", &APPS),
    ("any:tier", &TIERS),
    ("k8s:io.kubernetes.pod.namespace", &NAMESPACES),
    ("io.kubernetes.pod.namespace", &NAMESPACES),
    ("k8s:io.cilium.k8s.namespace.labels.team", &TEAMS),
    ("io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name", &NAMESPACES),
    ("io.cilium.k8s.policy.serviceaccount", &ACCOUNTS),
    ("io.cilium.k8s.policy.cluster", &["default", "other"]),
    ("cni:app", &APPS),
];
const RESERVED: [&str; 8] = [
    "reserved:host",
    "reserved:remote-node",
    "reserved:kube-apiserver",
    "reserved:world",
    "reserved:world-ipv4",
    "reserved:health",
    "reserved:init",
    "reserved:ingress",
];

/// A selector over pods, as Kubernetes' kinds have it.
pub(super) fn pods(c: &mut Choices<'_>) -> Value {
    selector(c, PLAIN)
}

/// A selector over namespaces.
pub(super) fn namespaces(c: &mut Choices<'_>) -> Value {
    selector(c, NAMESPACE)
}

/// A selector of one of Cilium's kinds.
pub(super) fn cilium(c: &mut Choices<'_>) -> Value {
    if c.one_in(12) {
        let key = c.of(&RESERVED);
        return if c.one_in(2) {
            json!({"matchExpressions": [{"key": key, "operator": c.of(&["Exists", "DoesNotExist"])}]})
        } else {
            json!({"matchLabels": {key: ""}})
        };
    }
    selector(c, CILIUM)
}

/// The selector of a clusterwide policy's subject, which may select more than pods.
pub(super) fn clusterwide(c: &mut Choices<'_>) -> Value {
    if c.one_in(2) { json!({}) } else { cilium(c) }
}

fn selector(c: &mut Choices<'_>, keys: Keys) -> Value {
    let pick = |c: &mut Choices<'_>| {
        let at = if c.one_in(3) { c.below(keys.len()) } else { c.below(2) };
        keys.get(at).copied().unwrap_or(("app", &APPS))
    };
    let mut out = Map::new();
    match c.below(6) {
        0 => {}
        1..4 => {
            let (key, values) = pick(c);
            out.insert("matchLabels".into(), json!({key: c.of(values)}));
        }
        4 => {
            out.insert("matchExpressions".into(), json!([expression(c, pick)]));
        }
        _ => {
            let (key, values) = pick(c);
            out.insert("matchLabels".into(), json!({key: c.of(values)}));
            let all = c.many(1, 2, |c| expression(c, pick));
            out.insert("matchExpressions".into(), json!(all));
        }
    }
    Value::Object(out)
}

fn expression(
    c: &mut Choices<'_>,
    pick: impl Fn(&mut Choices<'_>) -> (&'static str, &'static [&'static str]),
) -> Value {
    let (key, values) = pick(c);
    match c.of(&["In", "NotIn", "Exists", "DoesNotExist"]) {
        operator @ ("In" | "NotIn") => {
            let chosen = c.many(1, 2, |c| c.of(values));
            json!({"key": key, "operator": operator, "values": chosen})
        }
        operator => json!({"key": key, "operator": operator}),
    }
}
