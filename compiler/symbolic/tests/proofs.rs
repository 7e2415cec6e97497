//! What z3 says, against the oracle: a flow that it finds is one, and where it finds none there is
//! none among all flows at a boundary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stderr, missing_docs, reason = "tests")]

mod support;

use portcullis_ir::{Direction, FlowPort, PeerRef};
use portcullis_snapshot_tests::generate::{self, Choices};
use portcullis_snapshot_tests::side::Side;
use portcullis_symbolic::encode::Fault;
use portcullis_symbolic::symbols::Vocabulary;
use portcullis_symbolic::world::left_out;
use portcullis_symbolic::{Answer, Pods, Space, replay};
use support::{Z3, bytes, passes, questions, side, world, z3};

const SEEDS: u64 = 20;

/// Policies and a change of them over one cluster.
fn pair(seed: u64) -> (Side, Side) {
    let base = world(&bytes(seed, 300));
    let head = generate::changed(&mut Choices::new(&bytes(seed + 10_000, 200)), &base);
    (side(&base, &base), side(&base, &head))
}

/// Flows at a boundary that pass under base and not under head.
fn lost_by_hand(base: &Side, head: &Side) -> Vec<(PeerRef, PeerRef, FlowPort)> {
    let mut out = Vec::new();
    let words = Vocabulary::new(&[&base.policies, &head.policies], [], []);
    let left_out = left_out(&words, &base.cluster);
    for (subject, direction, peer, port) in questions(base).into_iter().chain(questions(head)) {
        let me = PeerRef::Endpoint(subject);
        let (from, to) = match direction {
            Direction::Egress => (me, peer),
            Direction::Ingress => (peer, me),
        };
        // Pods without a shape are left out, which `prove` says.
        if [&from, &to].iter().any(|e| matches!(e, PeerRef::Endpoint(id) if left_out.contains(id))) {
            continue;
        }
        if passes(base, &base.policies, &from, &to, port) && !passes(base, &head.policies, &from, &to, port) {
            out.push((from, to, port));
        }
    }
    out
}

fn lost(z3: &mut Z3, base: &Side, head: &Side, pods: Pods<'_>, fault: Option<Fault>) -> (Answer, bool) {
    let mut space = Space::new(&[&base.policies, &head.policies], [], pods, &base.options);
    if let Some(fault) = fault {
        space = space.with_fault(fault);
    }
    let goal = space.lost(&base.policies, &head.policies);
    let answer = space.ask(z3, "a flow that becomes denied", goal).unwrap();
    let Answer::Found(witness) = &answer else { return (answer, true) };
    let r = replay(witness, pods);
    let judge = |policies| {
        portcullis_oracle::Oracle { policies, cluster: &r.cluster, options: &base.options }
            .judge(&r.flow)
            .verdict()
    };
    let (old, new) = (judge(&base.policies), judge(&head.policies));
    let agrees = old == portcullis_ir::Verdict::Allowed && new == portcullis_ir::Verdict::Denied;
    (answer, agrees)
}

#[test]
fn a_difference_between_the_pods_of_a_cluster_is_found_exactly_where_there_is_one() {
    let Some(mut z3) = z3("differences in a cluster") else { return };
    let (mut found, mut none) = (0, 0);
    for seed in 0..SEEDS {
        let (base, head) = pair(seed);
        let (answer, agrees) = lost(&mut z3, &base, &head, Pods::Of(&base.cluster), None);
        assert!(agrees, "seed {seed}: the oracle judges otherwise: {answer:?}");
        match answer {
            Answer::Found(_) => found += 1,
            Answer::None => {
                none += 1;
                let by_hand = lost_by_hand(&base, &head);
                assert!(by_hand.is_empty(), "seed {seed}: not found: {:?}", by_hand.first());
            }
            Answer::Undecided(why) => panic!("seed {seed}: {why}"),
        }
    }
    assert!(found > 3 && none > 3, "{found} found, {none} proved: the seeds show too little");
}

#[test]
fn a_difference_for_pods_that_need_not_exist_is_one_to_the_oracle_too() {
    let Some(mut z3) = z3("differences without a cluster") else { return };
    let mut found = 0;
    for seed in 0..SEEDS {
        let (base, head) = pair(seed);
        let (answer, agrees) = lost(&mut z3, &base, &head, Pods::Any(&base.cluster), None);
        assert!(agrees, "seed {seed}: the oracle judges otherwise: {answer:?}");
        if matches!(answer, Answer::None) {
            let by_hand = lost_by_hand(&base, &head);
            assert!(by_hand.is_empty(), "seed {seed}: not found: {:?}", by_hand.first());
        }
        found += usize::from(matches!(answer, Answer::Found(_)));
    }
    assert!(found > 3, "{found} found: the seeds show too little");
}

#[test]
fn policies_differ_from_themselves_nowhere() {
    let Some(mut z3) = z3("sameness") else { return };
    for seed in 0..5 {
        let (base, _) = pair(seed);
        let (answer, _) = lost(&mut z3, &base, &base, Pods::Any(&base.cluster), None);
        assert!(matches!(answer, Answer::None), "seed {seed}: {answer:?}");
    }
}

#[test]
fn a_flow_that_a_wrong_encoding_finds_is_caught_by_the_replay() {
    let Some(mut z3) = z3("the replay of wrong answers") else { return };
    let caught = (0..SEEDS).any(|seed| {
        let (base, head) = pair(seed);
        let fault = Some(Fault::DefaultDenyOfBothDirections);
        !lost(&mut z3, &base, &head, Pods::Any(&base.cluster), fault).1
    });
    assert!(caught, "no seed makes a wrong encoding show a wrong flow");
}
