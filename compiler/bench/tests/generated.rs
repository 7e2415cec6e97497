//! What every user of the generated clusters relies on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;

use portcullis_bench::{Shape, change_one, cluster_json, generate};
use serde_json::Value;

fn items(shape: &Shape) -> Vec<Value> {
    let list: Value = serde_json::from_str(&cluster_json(shape)).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn of_kind<'a>(items: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    items.iter().filter(move |item| item["kind"] == kind)
}

#[test]
fn equal_shapes_give_equal_bytes_and_seeds_differ() {
    let shape = Shape { policies: 120, ..Shape::pods(1_000) };
    let (one, two) = (generate(&shape), generate(&shape));
    assert_eq!(one.cluster, two.cluster);
    assert_eq!(one.policies, two.policies);
    assert_ne!(one.policies, generate(&Shape { seed: 2, ..shape }).policies);
}

#[test]
fn the_default_shape_has_ten_thousand_pods_in_a_thousand_label_sets() {
    let items = items(&Shape::default());
    let label_sets: BTreeSet<_> = of_kind(&items, "Pod")
        .map(|pod| (pod["metadata"]["namespace"].to_string(), pod["metadata"]["labels"].to_string()))
        .collect();
    assert_eq!(of_kind(&items, "Pod").count(), 10_000);
    assert_eq!(label_sets.len(), 1_000);
    assert_eq!(generate(&Shape::default()).policies.len(), 1_053);
}

#[test]
fn names_and_addresses_are_unique() {
    let items = items(&Shape::default());
    for kind in ["Namespace", "Node", "Service", "Pod"] {
        let names: Vec<_> = of_kind(&items, kind)
            .map(|item| (&item["metadata"]["namespace"], &item["metadata"]["name"]))
            .collect();
        let distinct: BTreeSet<_> = names.iter().map(|name| format!("{name:?}")).collect();
        assert_eq!(names.len(), distinct.len(), "{kind}");
    }
    let addresses: Vec<_> =
        of_kind(&items, "Pod").flat_map(|pod| pod["status"]["podIPs"].as_array().unwrap()).collect();
    let distinct: BTreeSet<_> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!((addresses.len(), distinct.len()), (20_000, 20_000));
}

#[test]
fn the_yaml_stream_has_as_many_documents_as_the_json_list() {
    let shape = Shape::pods(1_000);
    let yaml = generate(&shape).cluster;
    assert_eq!(yaml.split("\n---\n").count(), items(&shape).len());
    assert_eq!(yaml.matches("\nkind: Pod\n").count(), 1_000);
}

#[test]
fn every_policy_count_is_met_and_every_kind_occurs() {
    for count in [1, 7, 100, 1_000, 10_000] {
        let policies = generate(&Shape { replicas: 1, ..Shape::policies(count) }).policies;
        let names: BTreeSet<_> = policies.iter().map(|(name, _)| name).collect();
        assert_eq!((policies.len(), names.len()), (count, count));
        let kinds: BTreeSet<_> = policies
            .iter()
            .filter_map(|(_, yaml)| yaml.lines().find(|line| line.starts_with("kind:")))
            .collect();
        assert!(count < 100 || kinds.len() == 4, "{kinds:?}");
    }
}

#[test]
fn the_change_takes_away_a_peer_and_half_of_a_range() {
    for seed in 0..50 {
        let generated = generate(&Shape { replicas: 1, policies: 30, seed, ..Shape::pods(1_000) });
        let (file, after) = change_one(&generated);
        let before = &generated.policies.iter().find(|(name, _)| *name == file).unwrap().1;
        assert!(after.len() < before.len(), "{seed}");
        assert!(before.contains("endPort: 8099") && after.contains("endPort: 8049"), "{seed}");
    }
}

#[test]
fn the_smallest_shapes_are_raised_to_something_that_works() {
    let none = Shape {
        namespaces: 0,
        apps_per_namespace: 0,
        replicas: 0,
        policies: 0,
        external_prefixes: 0,
        seed: 0,
    };
    let generated = generate(&none);
    assert_eq!(generated.policies.len(), 1);
    assert_eq!(none.pod_count(), 4);
}
