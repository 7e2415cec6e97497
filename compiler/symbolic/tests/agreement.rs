//! The encoding against the oracle, on random clusters and policies: every pod, peer and port at a
//! boundary; and mistakes in the encoder, each of which has to be noticed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stderr, missing_docs, reason = "tests")]

mod support;

use portcullis_symbolic::encode::Fault;
use proptest::prelude::*;
use support::{bytes, disagreements, side, world};

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    ProptestConfig { cases, max_shrink_iters: 100, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_encoding_gives_the_oracles_verdict(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let world = world(&bytes);
        let (wrong, _) = disagreements(&side(&world, &world), None);
        prop_assert!(wrong.is_empty(), "{} in all\n{}\n{:#?}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"), world);
    }
}

#[test]
fn every_mistake_in_the_encoder_is_noticed() {
    let faults = [
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
    ];
    let mut unnoticed: Vec<Fault> = faults.to_vec();
    for seed in 0..400 {
        let world = world(&bytes(seed, 400));
        let side = side(&world, &world);
        unnoticed.retain(|f| disagreements(&side, Some(*f)).0.is_empty());
        if unnoticed.is_empty() {
            return;
        }
    }
    panic!("no random policy shows these mistakes: {unnoticed:?}");
}
