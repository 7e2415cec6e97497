//! A random cluster under random policies: oracle, classes, image and the formula that z3 is asked about
//! must give one verdict on every question; the image must be what the formula says of it; and the normal
//! form must be sound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_diag::SourceMap;
use portcullis_snapshot_tests::engines::disagreements;
use portcullis_snapshot_tests::generate::{Choices, world};
use portcullis_snapshot_tests::side::Side;
use portcullis_snapshot_tests::tables::{image, judge};

fuzz_target!(|data: &[u8]| {
    let world = world(&mut Choices::new(data));
    let side = Side::new(&mut SourceMap::new(), &[world.cluster_text()], &world.policy_texts());
    let broken = portcullis_ir::verify::verify(&side.policies);
    assert!(broken.is_empty(), "{broken:?}");
    let wrong = disagreements(&side);
    if let Some(first) = wrong.first() {
        let objects = world.cluster.iter().chain(&world.policies).map(ToString::to_string);
        panic!("{} in all, the first: {first}\n{}", wrong.len(), objects.collect::<Vec<_>>().join("\n"));
    }
    let judged = judge(&side, &image(&side), None);
    assert!(judged.differ.is_empty(), "{:?}", judged.differ.first());
    assert!(judged.unknown.is_empty(), "{:?}", judged.unknown.first());
});
