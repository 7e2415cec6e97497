//! Ways over several hops and the rules that they hang on: by hand, and against the oracle asked about every
//! pair of pods with every rule taken away in turn.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::SourceMap;
use portcullis_ir::{
    Action, EndpointId, EnforcementMode, Flow, FlowPort, PeerRef, Peers, PolicySet, RuleId, Verdict,
};
use portcullis_oracle::Oracle;
use portcullis_sema::steps::{Steps, steps};
use portcullis_sema::universe::{Group, NodeKind};
use portcullis_snapshot_tests::generate::{self, Choices, World};
use portcullis_snapshot_tests::probe;
use portcullis_snapshot_tests::side::{Side, Source};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64);
    ProptestConfig { cases, max_shrink_iters: 150, ..ProptestConfig::default() }
}

/// Where ways begin: addresses that no policy names.
fn is_world(node: &NodeKind) -> bool {
    matches!(node, NodeKind::Region(r) if r.prefix.prefix_len() == 0 && r.example.is_ipv4())
}

fn has(group: &Group, name: &str) -> bool {
    group.workloads.iter().any(|(w, _)| w.name == name)
}

fn ask(side: &Side, to: &str, cut: bool) -> Steps {
    let to = |n: &NodeKind| matches!(n, NodeKind::Group(g) if has(g, to));
    steps(side.input(), &is_world, Some(&to), cut)
}

/// Fewest hops from the world to each pod, each hop asked of the oracle on every port.
fn hops(side: &Side, policies: &PolicySet, ports: &[FlowPort]) -> Vec<Option<usize>> {
    let oracle = Oracle { policies, ..side.oracle() };
    let world = PeerRef::External { ip: probe::RESOLVED, names: Vec::new() };
    let pods: Vec<EndpointId> = side.cluster.endpoints().map(|(id, _)| id).collect();
    let passes = |from: &PeerRef, to: EndpointId| {
        ports.iter().any(|port| {
            let flow = Flow { from: from.clone(), to: PeerRef::Endpoint(to), port: *port };
            oracle.judge(&flow).verdict() == Verdict::Allowed
        })
    };
    let mut found: Vec<Option<usize>> = vec![None; pods.len()];
    let mut edge: Vec<PeerRef> = vec![world];
    for hop in 1.. {
        let mut next = Vec::new();
        for to in &pods {
            let slot = &mut found[to.0 as usize];
            if slot.is_none() && edge.iter().any(|from| passes(from, *to)) {
                *slot = Some(hop);
                next.push(PeerRef::Endpoint(*to));
            }
        }
        if next.is_empty() {
            return found;
        }
        edge = next;
    }
    found
}

fn without(policies: &PolicySet, rules: &[RuleId]) -> PolicySet {
    let mut out = policies.clone();
    for id in rules {
        out.rules[id.0 as usize].peers = Peers::Of(Box::default());
    }
    out
}

/// A rule's place, by which an answer names it.
type Place = (u32, u32, u32);

fn places(side: &Side, rules: &[RuleId]) -> BTreeSet<Place> {
    rules
        .iter()
        .map(|id| side.policies.rules[id.0 as usize].span)
        .map(|s| (s.file.0, s.start, s.end))
        .collect()
}

fn show(world: &World) -> String {
    let lines = world.cluster.iter().chain(&world.policies).map(ToString::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn ways_and_cuts_are_those_that_the_oracle_finds(bytes in prop::collection::vec(any::<u8>(), 0..500), at in any::<usize>(), always in any::<bool>()) {
        let world = generate::world(&mut Choices::new(&bytes));
        let mut side = Side::new(&mut SourceMap::new(), &[world.cluster_text()], &world.policy_texts());
        if always {
            // Pods that no policy selects are ways around every rule; here there are none.
            side.options.enforcement = EnforcementMode::Always;
        }
        if side.cluster.endpoints.is_empty() {
            return Ok(());
        }
        let ports = probe::ports(&[&side]);
        let target = &side.cluster.endpoints[at % side.cluster.endpoints.len()];
        let name = side.cluster.workload_of(target).unwrap().name.clone();
        // Pods with equal labels are one end for the answer, and so are those of the same workload.
        let wanted: Vec<usize> = side.cluster.endpoints().filter(|(_, e)| {
            side.cluster.endpoints().any(|(_, o)| {
                o.identity == e.identity && o.ports == e.ports && side.cluster.workload_of(o).unwrap().name == name
            })
        }).map(|(id, _)| id.0 as usize).collect();
        let reached = |policies: &PolicySet| {
            let all = hops(&side, policies, &ports);
            wanted.iter().filter_map(|n| all[*n]).min()
        };
        let answer = ask(&side, &name, true);
        let fewest = reached(&side.policies);
        prop_assert_eq!(answer.layers.first().map(|l| l.hops), fewest, "{}\n{}", name, show(&world));
        prop_assert_eq!(answer.way.len(), fewest.unwrap_or(0));
        let cut = answer.cut.unwrap();
        if fewest.is_none() {
            prop_assert!(cut.sets.is_empty() && cut.open.is_empty());
            return Ok(());
        }
        let allows: Vec<RuleId> =
            side.policies.rules().filter(|(_, r)| r.action == Action::Allow).map(|(id, _)| id).collect();
        let open = reached(&without(&side.policies, &allows)).is_some();
        prop_assert_eq!(open, !cut.open.is_empty(), "{}\n{}", name, show(&world));
        if open {
            return Ok(());
        }
        let cuts = |rules: &[RuleId]| reached(&without(&side.policies, rules)).is_none();
        let mut expected: BTreeSet<BTreeSet<Place>> =
            allows.iter().filter(|r| cuts(&[**r])).map(|r| places(&side, &[*r])).collect();
        if expected.is_empty() {
            for (i, a) in allows.iter().enumerate() {
                for b in &allows[i + 1..] {
                    if cuts(&[*a, *b]) {
                        expected.insert(places(&side, &[*a, *b]));
                    }
                }
            }
        }
        let found: BTreeSet<BTreeSet<Place>> = cut
            .sets
            .iter()
            .map(|s| s.iter().map(|r| (r.span.file.0, r.span.start, r.span.end)).collect())
            .collect();
        prop_assert_eq!(&found, &expected, "{}\n{:#?}\n{}", name, cut, show(&world));
        prop_assert_eq!(cut.at_least, if expected.is_empty() { 3 } else { 0 });
        prop_assert!(cut.complete);
    }
}

/// Pods of one namespace, each with its name as its label.
fn pods(names: &[&str]) -> Source {
    let all: Vec<String> = names
        .iter()
        .map(|n| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {n}, namespace: pay, labels: {{app: {n}}}}}\n"
            )
        })
        .collect();
    Source::new("cluster.yaml", all.join("---\n"))
}

/// A policy that lets its peers, and nobody else, reach a pod.
fn lets(name: &str, entries: &[&str]) -> Source {
    let mut text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}, namespace: pay}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: {name}}}}}\n  ingress:\n"
    );
    for e in entries {
        let peers = match *e {
            "world" => "fromEntities: [world]".to_owned(),
            peer => format!("fromEndpoints: [{{matchLabels: {{app: {peer}}}}}]"),
        };
        text = format!("{text}  - {peers}\n");
    }
    Source::new(&format!("{name}.yaml"), text)
}

fn read(names: &[&str], policies: &[Source]) -> Side {
    Side::new(&mut SourceMap::new(), &[pods(names)], policies)
}

/// The policies that the rules of each set belong to.
fn policies_of(answer: &Steps) -> Vec<Vec<String>> {
    let cut = answer.cut.as_ref().unwrap();
    cut.sets.iter().map(|s| s.iter().map(|r| r.policy.name.clone()).collect()).collect()
}

#[test]
fn each_rule_of_a_chain_cuts_it() {
    let side =
        read(&["web", "api", "db"], &[lets("web", &["world"]), lets("api", &["web"]), lets("db", &["api"])]);
    let answer = ask(&side, "db", true);
    assert_eq!(answer.way.len(), 3);
    assert_eq!(policies_of(&answer), [["api"], ["db"], ["web"]]);
    assert_eq!(answer.way[2].to.summary, "pay/db");
}

#[test]
fn two_ways_are_cut_by_pairs_or_where_they_meet() {
    let side =
        read(&["a", "b", "db"], &[lets("a", &["world"]), lets("b", &["world"]), lets("db", &["a", "b"])]);
    let answer = ask(&side, "db", true);
    // One of each way: a's own entry or db's for it, and b's likewise.
    assert_eq!(policies_of(&answer), [["a", "b"], ["a", "db"], ["b", "db"], ["db", "db"]]);
    let side = read(
        &["a", "b", "hub", "db"],
        &[lets("a", &["world"]), lets("b", &["world"]), lets("hub", &["a", "b"]), lets("db", &["hub"])],
    );
    assert_eq!(policies_of(&ask(&side, "db", true)), [["db"]]);
}

#[test]
fn three_ways_need_three_rules() {
    let side = read(
        &["a", "b", "c", "db"],
        &[lets("a", &["world"]), lets("b", &["world"]), lets("c", &["world"]), lets("db", &["a", "b", "c"])],
    );
    let cut = ask(&side, "db", true).cut.unwrap();
    assert!(cut.sets.is_empty() && cut.open.is_empty());
    assert_eq!((cut.at_least, cut.complete), (3, true));
}

#[test]
fn what_no_policy_selects_is_cut_by_no_rule() {
    let side = read(&["web", "db"], &[lets("web", &["world"])]);
    let answer = ask(&side, "db", true);
    assert_eq!(answer.way.len(), 1);
    assert_eq!(answer.cut.unwrap().open.len(), 1);
}

#[test]
fn a_way_that_is_not_there_is_not_cut() {
    let side = read(&["web", "db"], &[lets("web", &["world"]), lets("db", &["nobody"])]);
    let answer = ask(&side, "db", true);
    assert!(answer.layers.is_empty() && answer.way.is_empty());
    assert!(answer.cut.unwrap().sets.is_empty());
    assert_eq!(answer.to.unwrap().summary, "pay/db");
}

#[test]
fn layers_are_by_the_fewest_hops() {
    let side = read(
        &["web", "api", "db"],
        &[lets("web", &["world"]), lets("api", &["web"]), lets("db", &["api", "web"])],
    );
    let all = |n: &NodeKind| matches!(n, NodeKind::Group(_));
    let found = steps(side.input(), &is_world, Some(&all), false);
    let layers: Vec<(usize, &str)> = found.layers.iter().map(|l| (l.hops, l.whom.summary.as_str())).collect();
    assert_eq!(layers, [(1, "pay/web"), (2, "pay/api and pay/db")]);
}
