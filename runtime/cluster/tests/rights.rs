//! The role that is shipped has the rights for the kinds that are read, and no other.

use portcullis_cluster::Kind;
use std::collections::BTreeSet;

#[test]
fn the_role_has_the_kinds_that_are_read_and_nothing_that_writes() {
    let role = include_str!("../../deploy/reader.yaml");
    let listed = |field: &str| -> Vec<BTreeSet<&str>> {
        let lines = role.lines().filter_map(|l| l.split_once(field)).map(|(_, rest)| rest);
        lines
            .map(|l| l.trim_matches([' ', '[', ']']).split(", ").map(|w| w.trim_matches('"')).collect())
            .collect()
    };
    let mut granted = BTreeSet::new();
    for (group, resources) in listed("apiGroups:").iter().zip(listed("resources:")) {
        let group = group.first().copied().unwrap_or_default().to_owned();
        granted.extend(resources.into_iter().map(|r| (group.clone(), r.to_owned())));
    }
    let wanted: BTreeSet<(String, String)> = Kind::ALL
        .iter()
        .map(|k| {
            let version = k.api_version();
            let group = version.split_once('/').map_or("", |(group, _)| group);
            (group.to_owned(), k.plural().to_owned())
        })
        .collect();
    assert_eq!(granted, wanted);
    assert!(listed("verbs:").into_iter().all(|v| v == BTreeSet::from(["list", "watch"])));
}
