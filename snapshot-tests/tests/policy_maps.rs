//! The entries of Cilium's policy maps: against a map that is filled entry by entry, and by looking up every
//! flow in them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use portcullis_diag::SourceMap;
use portcullis_ir::{Direction, EndpointId, PeerRef, Verdict};
use portcullis_sema::policymap::{Entry, Identity, PolicyMaps};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::NodeKind;
use portcullis_sema::{NodeId, Universe};
use portcullis_snapshot_tests::generate::{self, Choices, World};
use portcullis_snapshot_tests::policy_maps::{allows, count, identities, peer_of};
use portcullis_snapshot_tests::probe;
use portcullis_snapshot_tests::side::{Side, Source};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::convert::Infallible;

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64);
    ProptestConfig { cases, max_shrink_iters: 150, ..ProptestConfig::default() }
}

fn world(bytes: &[u8]) -> World {
    generate::world(&mut Choices::new(bytes))
}

fn side(world: &World) -> Side {
    Side::new(&mut SourceMap::new(), &[world.cluster_text()], &world.policy_texts())
}

fn show(world: &World) -> String {
    let lines = world.cluster.iter().chain(&world.policies).map(ToString::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

fn entries(maps: &PolicyMaps<'_, '_>, group: NodeId) -> Vec<Entry> {
    let mut out = Vec::new();
    maps.each_entry(group, |e| {
        out.push(e);
        Ok::<_, Infallible>(())
    })
    .unwrap();
    out
}

fn example(universe: &Universe, group: NodeId) -> Option<EndpointId> {
    universe.group(group)?.example.first().copied().flatten()
}

/// Pods of one identity that differ in their named ports share entries, so that a look-up for one of them may
/// find the other's port.
fn is_alone(universe: &Universe, peer: NodeId) -> bool {
    let Some(NodeKind::Group(own)) = universe.node(peer) else { return true };
    let same = |g: &&portcullis_sema::universe::Group| {
        let identity = |g: &portcullis_sema::universe::Group| g.on.first().copied().flatten().map(|(i, _)| i);
        identity(g) == identity(own)
    };
    universe.groups().map(|(_, g)| g).filter(same).count() == 1
}

/// The node whose number a peer's packets carry: the rest of a family's addresses is its world.
fn carried(universe: &Universe, id: NodeId) -> Option<NodeId> {
    match universe.node(id)? {
        NodeKind::Region(r) if r.prefix.prefix_len() == 0 => {
            use portcullis_ir::Reserved::{WorldIpv4, WorldIpv6};
            universe.reserved(if r.example.is_ipv6() { WorldIpv6 } else { WorldIpv4 })
        }
        _ => Some(id),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_map_has_as_many_entries_as_one_that_is_filled_entry_by_entry(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let world = world(&bytes);
        let side = side(&world);
        let e = Evaluation::new(&[side.input()], &[]);
        let maps = PolicyMaps::new(&e);
        for (group, _) in e.universe.groups() {
            let Some(endpoint) = example(&e.universe, group) else { continue };
            let all = entries(&maps, group);
            prop_assert_eq!(all.len(), maps.size(group), "{}", show(&world));
            let keys: BTreeSet<_> = all.iter().map(|e| (e.direction, e.key, e.identity)).collect();
            prop_assert_eq!(keys.len(), all.len(), "an entry is listed twice\n{}", show(&world));
            for backwards in [false, true] {
                let Some(slow) = count(&side, &e.universe, endpoint, backwards) else { continue };
                prop_assert_eq!(maps.size(group), slow, "{:?} backwards {}: {:#?}\n{}",
                    side.cluster.endpoint(endpoint).map(|e| &e.name), backwards, all, show(&world));
            }
        }
    }

    #[test]
    fn looking_a_flow_up_gives_the_oracles_verdict(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let world = world(&bytes);
        let side = side(&world);
        let e = Evaluation::new(&[side.input()], &[]);
        let maps = PolicyMaps::new(&e);
        let ports = probe::ports(&[&side]);
        let oracle = side.oracle();
        for (group, _) in e.universe.groups() {
            let Some(endpoint) = example(&e.universe, group) else { continue };
            let all = entries(&maps, group);
            for (id, _) in e.universe.iter().filter(|(id, _)| is_alone(&e.universe, *id)) {
                let Some(peer) = peer_of(&e.universe, id) else { continue };
                let Some(number) = carried(&e.universe, id) else { continue };
                for direction in Direction::BOTH {
                    for port in &ports {
                        let found = if allows(&all, direction, number, *port) { Verdict::Allowed } else { Verdict::Denied };
                        let decided = oracle.decide(endpoint, direction, &peer, *port).verdict;
                        prop_assert_eq!(found, decided, "{} of {:?} with {:?} on {}\n{:#?}\n{}", direction,
                            side.cluster.endpoint(endpoint).map(|e| &e.name), peer, port, all, show(&world));
                    }
                }
            }
        }
    }

    #[test]
    fn the_shares_of_the_rules_are_those_of_the_entries(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let world = world(&bytes);
        let side = side(&world);
        let e = Evaluation::new(&[side.input()], &[]);
        let maps = PolicyMaps::new(&e);
        for (group, _) in e.universe.groups() {
            let all = entries(&maps, group);
            for share in maps.shares(group) {
                let own: Vec<&Entry> = all.iter().filter(|e| e.rules.contains(&share.rule)).collect();
                prop_assert_eq!(share.entries, own.len(), "{:?}\n{}", share, show(&world));
                prop_assert_eq!(share.alone, own.iter().filter(|e| e.rules.len() == 1).count(), "{:?}\n{}", share, show(&world));
            }
        }
    }
}

/// A pod `db` under default deny on ingress, a pod `web`, and rules of the Admin tier in this order.
fn behind_admin(rules: &str) -> Side {
    let pods = "apiVersion: v1\nkind: Pod\nmetadata: {name: db, namespace: shop, labels: {app: db}}\n---\n\
                apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, labels: {app: web}}\n";
    let locked = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: lock, namespace: shop}\nspec:\n  \
                  podSelector: {matchLabels: {app: db}}\n";
    let admin = format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: admin}}\nspec:\n  \
         tier: Admin\n  priority: 1\n  subject: {{namespaces: {{}}}}\n  ingress:\n{rules}"
    );
    let own = [Source::new("lock.yaml", locked), Source::new("admin.yaml", admin)];
    Side::new(&mut SourceMap::new(), &[Source::new("cluster.yaml", pods)], &own)
}

const PASS: &str =
    "  - {action: Pass, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}]}\n";
const ACCEPT: &str = "  - {action: Accept, from: [{namespaces: {}}]}\n";

/// Entries about pods on ingress of the pod `db`, each with its port and verdict.
fn about_pods(side: &Side) -> Vec<(u16, &'static str)> {
    let e = Evaluation::new(&[side.input()], &[]);
    let maps = PolicyMaps::new(&e);
    let (db, _) = e.universe.groups().find(|(_, g)| g.workloads.iter().any(|(w, _)| w.name == "db")).unwrap();
    let is_pod = |i: Identity| matches!(i, Identity::Of(id) if e.universe.group(id).is_some());
    let all = entries(&maps, db);
    let own = all.iter().filter(|e| e.direction == Direction::Ingress && is_pod(e.identity));
    own.map(|e| (e.key.port, e.verdict())).collect()
}

#[test]
fn default_deny_is_written_where_a_pass_leads_to_it_below_a_broader_accept() {
    // Of both pods: what the pass leaves to default deny, and the accept of all else.
    let found = about_pods(&behind_admin(&format!("{PASS}{ACCEPT}")));
    assert_eq!(found, [(0, "allow"), (0, "allow"), (80, "deny"), (80, "deny")]);
    assert_eq!(about_pods(&behind_admin(PASS)), []);
    // The accept decides first, so the pass leads nowhere.
    assert_eq!(about_pods(&behind_admin(&format!("{ACCEPT}{PASS}"))), [(0, "allow"), (0, "allow")]);
}

#[test]
fn every_identity_has_a_peer() {
    let world = world(&[7; 300]);
    let side = side(&world);
    let e = Evaluation::new(&[side.input()], &[]);
    let all = identities(&e.universe);
    assert!(all.iter().all(|id| peer_of(&e.universe, *id).is_some()));
    assert!(all.iter().any(|id| matches!(peer_of(&e.universe, *id), Some(PeerRef::Endpoint(_)))));
    assert_ne!(Identity::Any(0), Identity::Any(11));
}
