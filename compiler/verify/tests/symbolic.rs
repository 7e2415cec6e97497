//! Images against the symbolic encoding: random worlds flow by flow, and z3 about every pod that could
//! exist; images with a changed byte and encoders with a mistake, each of which has to be noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stderr, missing_docs, reason = "tests")]

mod support;

use portcullis_abi::Section;
use portcullis_ir::{Direction, Reserved};
use portcullis_sema::{NodeKind, Universe};
use portcullis_snapshot_tests::side::Side;
use portcullis_snapshot_tests::tables::{image, judge};
use portcullis_symbolic::encode::Fault;
use portcullis_symbolic::symbols::Vocabulary;
use portcullis_symbolic::world::left_out;
use portcullis_symbolic::{Answer, Knowing, Pods, Space};
use portcullis_tables::{Image, Word};
use portcullis_verify::Replayer;
use proptest::prelude::*;
use support::{Z3, bytes, side, z3};

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    ProptestConfig { cases, max_shrink_iters: 100, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_image_answers_as_the_formula_wherever_it_knows_both_ends(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let side = side(&bytes);
        let judged = judge(&side, &image(&side), None);
        prop_assert!(judged.differ.is_empty(), "{:?}", judged.differ.first());
        prop_assert!(judged.unknown.is_empty(), "{:?}", judged.unknown.first());
    }
}

#[test]
fn every_mistake_in_the_encoder_is_noticed_by_a_right_image() {
    let mut unnoticed = vec![
        Fault::AllowBeatsDeny,
        Fault::OrdersReversed,
        Fault::PassAllows,
        Fault::NoBaseline,
        Fault::NoExceptions,
        Fault::NoLocalhost,
        Fault::NotInNeedsTheLabel,
        Fault::DefaultDenyOfBothDirections,
        Fault::NamedPortsOfTheSender,
        Fault::PortsIgnored,
        Fault::AllIsNotIcmp,
        Fault::CidrsTakePods,
        Fault::EveryAllowRedirects,
        Fault::DisabledAuthenticates,
    ];
    for seed in 0..400 {
        let side = side(&bytes(seed, 400));
        let image = image(&side);
        // A pod that a wrong selector takes for none that is known shows the mistake as well.
        unnoticed.retain(|f| {
            let judged = judge(&side, &image, Some(*f));
            judged.differ.is_empty() && judged.unknown.is_empty()
        });
        if unnoticed.is_empty() {
            return;
        }
    }
    panic!("no random policy shows these mistakes: {unnoticed:?}");
}

/// What z3 says of an image, both directions: `None` where it is proved, else whether the flow that it found
/// is a difference to the oracle and the image themselves.
fn prove(z3: &mut Z3, side: &Side, bytes: &[u8], fault: Option<Fault>) -> [Option<bool>; 2] {
    let universe = Universe::new(&[side.input()], &[]);
    let table = portcullis_verify::table(bytes, &side.cluster, &universe, None).unwrap();
    let knowing = Knowing::new(&side.policies);
    let mut space = Space::new(&[&side.policies], [], Pods::Any(&side.cluster), &side.options);
    if let Some(fault) = fault {
        space = space.with_fault(fault);
    }
    Direction::BOTH.map(|d| {
        let goal = space.differs(&side.policies, &table, &knowing, d);
        match space.ask(z3, &format!("{d} of an image"), goal).unwrap() {
            Answer::None => None,
            Answer::Undecided(why) => panic!("{why}"),
            Answer::Found(w) => {
                let replayer = Replayer {
                    bytes,
                    input: side.input(),
                    universe: &universe,
                    knowing: &knowing,
                    words: &space.words,
                };
                Some(replayer.difference(&w, d).unwrap().is_some())
            }
        }
    })
}

#[test]
fn images_are_proved_for_every_pod_that_could_exist() {
    let Some(mut z3) = z3("proofs of images") else { return };
    for seed in 0..20 {
        let side = side(&bytes(seed, 400));
        assert_eq!(prove(&mut z3, &side, &image(&side), None), [None, None], "seed {seed}");
    }
}

#[test]
fn a_flow_that_a_wrong_encoding_finds_is_none_to_oracle_and_image() {
    let Some(mut z3) = z3("replays of wrong encodings") else { return };
    let mut caught = 0;
    for seed in 0..10 {
        let side = side(&bytes(seed, 400));
        let answers = prove(&mut z3, &side, &image(&side), Some(Fault::NoLocalhost));
        assert!(answers.iter().all(|a| *a != Some(true)), "seed {seed}");
        caught += answers.iter().filter(|a| **a == Some(false)).count();
    }
    assert!(caught > 0, "no seed makes the wrong encoding show a flow");
}

/// The verdicts of an image for the ends that z3 knows, at every port where one may change.
fn verdicts(bytes: &[u8], universe: &Universe, at: &[u32]) -> Vec<Option<bool>> {
    let image = Image::parse(bytes).unwrap();
    let known = |n: &NodeKind| !matches!(n, NodeKind::Reserved(Reserved::World));
    let mut out = Vec::new();
    for (subject, _) in universe.groups() {
        for d in Direction::BOTH {
            for (peer, _) in universe.iter().filter(|(_, n)| known(n)) {
                out.extend(at.iter().map(|c| image.lookup(subject.0, d, peer.0, *c).ok().map(Word::allows)));
            }
        }
    }
    out
}

#[test]
fn a_changed_byte_in_any_section_that_changes_a_verdict_is_refuted() {
    let Some(mut z3) = z3("mutants") else { return };
    // Causes are for people.
    let sections: Vec<Section> = Section::ALL.into_iter().filter(|s| *s != Section::Causes).collect();
    let mut refuted = [0; 11];
    for seed in 0..40 {
        let side = side(&bytes(seed, 300));
        let words = Vocabulary::new(&[&side.policies], [], []);
        if !left_out(&words, &side.cluster).is_empty() {
            continue; // endpoints that are no pods to the encoding
        }
        let universe = Universe::new(&[side.input()], &[]);
        let whole = image(&side);
        let parsed = Image::parse(&whole).unwrap();
        // The first coordinate of each run with one atom, and one of each page: all of TCP, UDP and SCTP.
        let at: Vec<u32> =
            (0..3 << 16).filter(|c| c % 64 == 0 || parsed.atom(*c) != parsed.atom(c - 1)).collect();
        let before = verdicts(&whole, &universe, &at);
        for (section, refuted) in sections.iter().zip(&mut refuted).filter(|(_, n)| **n < 1) {
            let part = parsed.section(*section);
            let start = part.as_ptr() as usize - whole.as_ptr() as usize;
            let place = start + usize::try_from(seed * 7919).unwrap() % part.len();
            let mut mutant = whole.clone();
            mutant[place] ^= 1 << (seed % 3);
            if verdicts(&mutant, &universe, &at) == before {
                continue;
            }
            let answers = prove(&mut z3, &side, &mutant, None);
            assert!(answers.contains(&Some(true)), "byte {place} of {section:?}, seed {seed}: {answers:?}");
            assert!(!answers.contains(&Some(false)), "byte {place} of {section:?}, seed {seed}: {answers:?}");
            *refuted += 1;
        }
    }
    assert!(refuted.iter().all(|n| *n > 0), "by section: {refuted:?}");
}
