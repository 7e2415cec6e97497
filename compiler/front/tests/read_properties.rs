//! Properties that hold for every tree, however odd: reading never panics, says the same twice, and
//! an object carries the worst fate of its findings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::{Fate, FileId};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const KEYS: &[&str] = &[
    "endpointSelector",
    "nodeSelector",
    "ingress",
    "ingressDeny",
    "egress",
    "egressDeny",
    "fromEndpoints",
    "toEndpoints",
    "fromCIDR",
    "toCIDRSet",
    "cidr",
    "cidrGroupRef",
    "except",
    "fromEntities",
    "toFQDNs",
    "matchName",
    "matchPattern",
    "toPorts",
    "ports",
    "port",
    "endPort",
    "protocol",
    "rules",
    "http",
    "dns",
    "path",
    "headerMatches",
    "name",
    "icmps",
    "fields",
    "type",
    "family",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "serverNames",
    "listener",
    "podSelector",
    "namespaceSelector",
    "ipBlock",
    "from",
    "to",
    "policyTypes",
    "tier",
    "priority",
    "subject",
    "namespaces",
    "pods",
    "action",
    "networks",
    "domainNames",
    "protocols",
    "tcp",
    "destinationPort",
    "number",
    "range",
    "start",
    "end",
    "enableDefaultDeny",
    "authentication",
    "mode",
    "toServices",
    "k8sService",
    "labels",
    "app",
    "externalCIDRs",
    "items",
];

const TEXTS: &[&str] = &[
    "",
    "a",
    "a b",
    "10.0.0.0/8",
    "010.0.0.0/8",
    "::/0",
    "10.0.0.1",
    "0/0",
    "80",
    "0x_",
    "a-",
    "é",
    "*",
    "**.a",
    "a.",
    "[",
    "a{2",
    "\\Q",
    "\\",
    "(?",
    "In",
    "Exists",
    "TCP",
    "IPv6",
    "EchoReply",
    "Admin",
    "Deny",
    "world",
    "k8s:",
    ":",
    "/",
    "yes",
];

fn node() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1i64..300).prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        prop::sample::select(TEXTS).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 96, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((prop::sample::select(KEYS), inner), 0..6).prop_map(|entries| {
                Value::Object(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
            }),
        ]
    })
}

const KINDS: &[(&str, &str)] = &[
    ("cilium.io/v2", "CiliumNetworkPolicy"),
    ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
    ("cilium.io/v2", "CiliumCIDRGroup"),
    ("cilium.io/v2", "CiliumIdentity"),
    ("cilium.io/v2", "CiliumEndpoint"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
    ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "Node"),
    ("v1", "List"),
    ("apps/v1", "Deployment"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
];

/// How many values a tree has, itself included.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum(),
        _ => 0,
    }
}

/// The value at place `at`, counted from the root.
fn place(value: &mut Value, at: usize) -> &mut Value {
    if at == 0 {
        return value;
    }
    let mut left = at - 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => panic!("no such place"),
    };
    for child in children {
        let inside = size(child);
        if left < inside {
            return place(child, left);
        }
        left -= inside;
    }
    panic!("no such place")
}

/// Objects that reach every corner of the readers.
fn recorded() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/data/validation.jsonl");
    let lines = std::fs::read_to_string(path).unwrap();
    lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["object"].clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_real_object_with_one_value_replaced_is_read_without_a_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        with in node(),
    ) {
        thread_local! { static OBJECTS: Vec<Value> = recorded(); }
        let mut object = OBJECTS.with(|all| all[which.index(all.len())].clone());
        let places = size(&object);
        *place(&mut object, at.index(places)) = with;
        let parsed = portcullis_front::parse(FileId(0), "any.json", &object.to_string());
        // A null document is an empty one, which kubectl passes over in silence too; so is an empty list.
        let empty = match &object {
            Value::Null => true,
            Value::Object(o) => o.get("items").and_then(Value::as_array).is_some_and(Vec::is_empty),
            _ => false,
        };
        let silent =
            parsed.objects.is_empty() && parsed.skipped.is_empty() && parsed.diagnostics.is_empty();
        prop_assert!(empty || !silent);
        let worst = parsed.diagnostics.iter().map(|d| d.fate).max().unwrap_or(Fate::Accepted);
        if let [object] = parsed.objects.as_slice() {
            prop_assert_eq!(object.fate, worst);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_read_without_a_panic_and_twice_alike(
        (api, kind) in prop::sample::select(KINDS),
        metadata in prop_oneof![3 => Just(json!({"name": "p"})), 1 => node()],
        spec in node(),
        specs in prop::option::of(node()),
    ) {
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec});
        if let Some(specs) = specs {
            object["specs"] = specs;
        }
        let text = object.to_string();
        let parsed = portcullis_front::parse(FileId(0), "any.json", &text);
        let again = portcullis_front::parse(FileId(0), "any.json", &text);
        prop_assert_eq!(&parsed.objects, &again.objects);
        prop_assert_eq!(&parsed.diagnostics, &again.diagnostics);
        prop_assert!(!(parsed.objects.is_empty() && parsed.skipped.is_empty() && parsed.diagnostics.is_empty()) || kind == "List");
        let worst = parsed.diagnostics.iter().map(|d| d.fate).max().unwrap_or(Fate::Accepted);
        if let [object] = parsed.objects.as_slice() {
            prop_assert!(object.fate == worst || kind == "List");
        }
        for finding in &parsed.diagnostics {
            let place = finding.span().unwrap();
            prop_assert!(text.get(place.start as usize..place.end as usize).is_some());
            prop_assert!(!finding.message.ends_with('.'));
        }
    }
}
