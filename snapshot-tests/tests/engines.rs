//! Random clusters and policies: the class engine, comparisons and the list of who reaches whom
//! against the oracle, asked about every pair.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use portcullis_diag::{Fate, FileId, SourceMap};
use portcullis_ir::lower::lower;
use portcullis_ir::{Cluster, Options};
use portcullis_sema::diff::{FindingKind, PolicyChanges, Review};
use portcullis_snapshot_tests::generate::{self, Choices, World};
use portcullis_snapshot_tests::side::Side;
use portcullis_snapshot_tests::{engines, findings};
use proptest::prelude::*;

/// Few cases by default, since each asks tens of thousands of questions; `PROPTEST_CASES` for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64);
    ProptestConfig { cases, max_shrink_iters: 150, ..ProptestConfig::default() }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..500)
}

/// Puts numbered texts into another order.
type Order<'o> = &'o dyn Fn(&mut Vec<(usize, String)>);

fn side(world: &World) -> Side {
    Side::new(&mut SourceMap::new(), &[world.cluster_text()], &world.policy_texts())
}

fn one(bytes: &[u8]) -> World {
    generate::world(&mut Choices::new(bytes))
}

fn two(bytes: &[u8]) -> (World, World) {
    // Half of the bytes for each, so that shrinking one leaves the other alone.
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let base = one(first);
    let head = generate::changed(&mut Choices::new(second), &base);
    (base, head)
}

fn show(world: &World) -> String {
    let lines = world.cluster.iter().chain(&world.policies).map(ToString::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

fn first(wrong: &[String]) -> String {
    format!("{} in all\n{}", wrong.len(), wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n"))
}

/// Findings of a kind without what depends on the order of the sides.
fn rectangles(review: &Review, kind: FindingKind) -> Vec<String> {
    let mut all: Vec<String> = review
        .findings
        .iter()
        .filter(|f| f.kind == kind)
        .map(|f| format!("{:?} {:?} {:?}", f.sources, f.destinations, f.ports))
        .collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_engine_gives_the_oracles_verdict(bytes in bytes()) {
        let world = one(&bytes);
        let side = side(&world);
        let broken = portcullis_ir::verify::verify(&side.policies);
        prop_assert!(broken.is_empty(), "{broken:?}");
        let wrong = engines::disagreements(&side);
        prop_assert!(wrong.is_empty(), "{}\n{}", first(&wrong), show(&world));
    }

    #[test]
    fn every_flow_that_changes_is_in_one_finding_and_no_other_flow_is(bytes in bytes()) {
        let (base, head) = two(&bytes);
        let (b, h) = (side(&base), side(&head));
        let review = findings::review(&b, &h);
        let wrong = findings::wrong_findings(&b, &h, &review);
        prop_assert!(wrong.is_empty(), "{}\n{:#?}\n{}\n-- head\n{}", first(&wrong), review.findings, show(&base), show(&head));
        let wrong = findings::wrong_transitions(&b, &h, &review);
        prop_assert!(wrong.is_empty(), "{}\n{}\n-- head\n{}", first(&wrong), show(&base), show(&head));
    }

    #[test]
    fn a_comparison_backwards_allows_what_it_denied(bytes in bytes()) {
        let (base, head) = two(&bytes);
        let (b, h) = (side(&base), side(&head));
        let (there, back) = (findings::review(&b, &h), findings::review(&h, &b));
        prop_assert_eq!(rectangles(&there, FindingKind::Denied), rectangles(&back, FindingKind::Allowed));
        prop_assert_eq!(rectangles(&there, FindingKind::Allowed), rectangles(&back, FindingKind::Denied));
        prop_assert_eq!(there.masked_flows, back.masked_flows);
    }

    #[test]
    fn a_comparison_with_itself_finds_nothing(bytes in bytes()) {
        let world = one(&bytes);
        let (a, b) = (side(&world), side(&world));
        let review = findings::review(&a, &b);
        prop_assert!(review.findings.is_empty(), "{:?}\n{}", review.findings, show(&world));
        prop_assert!(review.transitions.is_empty() && review.masked_flows == 0);
        prop_assert!(review.added.is_empty() && review.removed.is_empty());
        prop_assert_eq!(review.policies, PolicyChanges::default());
    }

    #[test]
    fn everybody_who_may_reach_somebody_is_in_one_edge(bytes in bytes()) {
        let world = one(&bytes);
        let side = side(&world);
        let wrong = findings::wrong_edges(&side);
        prop_assert!(wrong.is_empty(), "{}\n{}", first(&wrong), show(&world));
    }

    #[test]
    fn the_order_of_the_objects_changes_nothing(bytes in bytes(), seed in any::<u8>()) {
        let world = one(&bytes);
        let read = |order: Order<'_>| {
            let all = world.cluster.iter().chain(&world.policies);
            let mut texts: Vec<(usize, String)> = all.map(ToString::to_string).enumerate().collect();
            order(&mut texts);
            let objects: Vec<_> = texts
                .iter()
                .flat_map(|(i, text)| {
                    portcullis_front::parse(FileId(u32::try_from(*i).unwrap()), "o.json", text).objects
                })
                .collect();
            let cluster = Cluster::build(&objects, &Options::default());
            let policies = lower(&objects, &cluster, &Options::default());
            let identities: Vec<_> = cluster.identities.iter().collect();
            format!("{:?} {identities:?} {:?} {:?} {:?} {:?} {:?}", cluster.endpoints, policies.policies,
                policies.rules, policies.enforcements, policies.selectors.iter().collect::<Vec<_>>(),
                policies.peers.iter().collect::<Vec<_>>())
        };
        let forward = read(&|_| {});
        let mixed = read(&|all| {
            let by = usize::from(seed) % all.len();
            all.rotate_left(by);
            all.reverse();
        });
        prop_assert_eq!(forward, mixed);
    }
}

#[test]
fn most_generated_policies_are_accepted_and_differ() {
    let (mut accepted, mut all, mut with_findings) = (0, 0, 0);
    for seed in 0..40u64 {
        // A fixed sequence: what a random one would be.
        let mut state = seed + 1;
        let bytes: Vec<u8> = (0..500)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        let (base, head) = two(&bytes);
        let (b, h) = (side(&base), side(&head));
        all += base.policies.len();
        accepted += b.objects.iter().filter(|o| o.fate == Fate::Accepted).count();
        with_findings += usize::from(!findings::review(&b, &h).findings.is_empty());
    }
    assert!(accepted * 10 > all * 7, "{accepted} of {all} policies are accepted");
    assert!(with_findings > 15, "{with_findings} of 40 changes change a flow");
}
