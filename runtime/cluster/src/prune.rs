//! What is kept of an object: the fields that the compiler's readers know, and nothing that could be a
//! secret.

use crate::kinds::Kind;
use crate::snapshot::Key;
use kube::core::DynamicObject;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Annotations with a meaning for policy or services.
const ANNOTATIONS: [&str; 4] = [
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
    "policy.portcullis.dev/audit",
    "service.cilium.io/lb-algorithm",
];

/// An object's key, and its text as one line of JSON. Equal objects have equal texts.
pub(crate) fn prune(kind: Kind, object: &DynamicObject) -> (Key, Arc<str>) {
    let meta = &object.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let mut metadata = Map::new();
    metadata.insert("name".into(), json!(name));
    if let Some(namespace) = &meta.namespace {
        metadata.insert("namespace".into(), json!(namespace));
    }
    if let Some(labels) = meta.labels.as_ref().filter(|l| !l.is_empty()) {
        metadata.insert("labels".into(), json!(labels));
    }
    let kept: Map<String, Value> = meta
        .annotations
        .iter()
        .flatten()
        .filter(|(k, _)| ANNOTATIONS.contains(&k.as_str()))
        .map(|(k, v)| (k.clone(), json!(v)))
        .collect();
    if !kept.is_empty() {
        metadata.insert("annotations".into(), Value::Object(kept));
    }
    if kind == Kind::Pod {
        if let Some(when) = &meta.deletion_timestamp {
            metadata.insert("deletionTimestamp".into(), json!(when));
        }
        let owners = meta.owner_references.iter().flatten();
        let owners: Vec<Value> = owners
            .map(|o| json!({"kind": o.kind, "name": o.name, "controller": o.controller.unwrap_or(false)}))
            .collect();
        if !owners.is_empty() {
            metadata.insert("ownerReferences".into(), Value::Array(owners));
        }
    }
    let mut out = Map::new();
    out.insert("apiVersion".into(), json!(kind.api_version()));
    out.insert("kind".into(), json!(kind.name()));
    out.insert("metadata".into(), Value::Object(metadata));
    let data = &object.data;
    match kind {
        Kind::Namespace | Kind::ServiceAccount => {}
        Kind::Node => {
            keep(data, &mut out, &[("spec", &["podCIDR", "podCIDRs"]), ("status", &["addresses"])]);
        }
        Kind::Pod => pod(data, &mut out),
        Kind::Service => {
            whole(data, &mut out, &["spec"]);
            keep(data, &mut out, &[("status", &["loadBalancer"])]);
        }
        Kind::EndpointSlice => {
            whole(data, &mut out, &["addressType", "endpoints", "ports"]);
            let endpoints = out.get_mut("endpoints").and_then(Value::as_array_mut);
            for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
                endpoint.remove("targetRef");
                endpoint.remove("deprecatedTopology");
            }
        }
        Kind::CiliumCIDRGroup
        | Kind::NetworkPolicy
        | Kind::CiliumNetworkPolicy
        | Kind::CiliumClusterwideNetworkPolicy
        | Kind::ClusterNetworkPolicy => whole(data, &mut out, &["spec", "specs"]),
    }
    let key = Key { kind, namespace: meta.namespace.clone().unwrap_or_default(), name };
    (key, Arc::from(Value::Object(out).to_string()))
}

/// Whole fields.
fn whole(from: &Value, to: &mut Map<String, Value>, fields: &[&str]) {
    for field in fields {
        if let Some(value) = from.get(field) {
            to.insert((*field).to_owned(), value.clone());
        }
    }
}

/// Fields of fields.
fn keep(from: &Value, to: &mut Map<String, Value>, fields: &[(&str, &[&str])]) {
    for (field, inner) in fields {
        let Some(value) = from.get(field) else { continue };
        let mut kept = Map::new();
        whole(value, &mut kept, inner);
        if !kept.is_empty() {
            to.insert((*field).to_owned(), Value::Object(kept));
        }
    }
}

fn pod(from: &Value, to: &mut Map<String, Value>) {
    let part = |value: &Value, fields: &[&str]| {
        let mut kept = Map::new();
        whole(value, &mut kept, fields);
        kept
    };
    let list = |value: &Value, field: &str, fields: &[&str]| -> Option<Value> {
        let items = value.get(field)?.as_array()?;
        Some(Value::Array(items.iter().map(|i| Value::Object(part(i, fields))).collect()))
    };
    if let Some(spec) = from.get("spec") {
        let mut kept = part(spec, &["nodeName", "serviceAccountName", "hostNetwork"]);
        for field in ["containers", "initContainers"] {
            if let Some(all) = list(spec, field, &["name", "ports", "restartPolicy"]) {
                kept.insert(field.to_owned(), all);
            }
        }
        // Named ports of probes are looked at by nobody else, and a probe's header may hold a secret.
        to.insert("spec".into(), Value::Object(kept));
    }
    if let Some(status) = from.get("status") {
        let mut kept = part(status, &["phase", "podIP", "podIPs"]);
        if let Some(Value::Array(mut all)) = list(status, "conditions", &["type", "status"]) {
            all.retain(|c| c.get("type").and_then(Value::as_str) == Some("Ready"));
            kept.insert("conditions".into(), Value::Array(all));
        }
        to.insert("status".into(), Value::Object(kept));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn pruned(kind: Kind, value: Value) -> String {
        prune(kind, &serde_json::from_value(value).unwrap()).1.to_string()
    }

    #[test]
    fn what_could_be_a_secret_is_not_kept() {
        let text = pruned(
            Kind::Pod,
            json!({
                "metadata": {"name": "a", "namespace": "n", "labels": {"app": "a"}, "uid": "u",
                    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "secret"},
                    "managedFields": [{"manager": "secret"}]},
                "spec": {"nodeName": "one", "volumes": [{"secret": {"secretName": "secret"}}],
                    "containers": [{"name": "c", "image": "i", "args": ["--secret"],
                        "env": [{"name": "X", "value": "secret"}],
                        "livenessProbe": {"httpGet": {"httpHeaders": [{"value": "secret"}], "port": 1}},
                        "ports": [{"name": "http", "containerPort": 80}]}]},
                "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
                    "conditions": [{"type": "Ready", "status": "True", "message": "secret"}]},
            }),
        );
        assert!(!text.contains("secret"), "{text}");
        assert!(
            text.contains("containerPort") && text.contains("10.0.0.1") && text.contains("Ready"),
            "{text}"
        );
    }

    #[test]
    fn the_compilers_reader_reads_what_is_kept() {
        let policy = json!({"metadata": {"name": "p", "namespace": "n"},
            "spec": {"endpointSelector": {}, "ingress": [{}]}, "status": {"conditions": []}});
        let text = pruned(Kind::CiliumNetworkPolicy, policy);
        let parsed = portcullis_front::parse(portcullis_diag::FileId(0), "a.json", &text);
        assert_eq!(parsed.objects.len(), 1);
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        assert!(!text.contains("status"), "{text}");
    }
}
