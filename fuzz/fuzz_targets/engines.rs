//! A random cluster under random policies: every engine must give the oracle's verdict on every
//! question, and the normal form must be sound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_diag::SourceMap;
use portcullis_snapshot_tests::engines::disagreements;
use portcullis_snapshot_tests::generate::{Choices, world};
use portcullis_snapshot_tests::side::Side;

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
});
