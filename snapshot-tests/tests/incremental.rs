//! A compiler that stays, through random changes: each image is byte for byte the one from scratch.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use portcullis_diag::{ObjectRef, SourceMap};
use portcullis_front::ast::Object;
use portcullis_ir::lower::lower;
use portcullis_ir::{Cluster, Options};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use portcullis_snapshot_tests::generate::{self, Choices, World};
use portcullis_snapshot_tests::side::Side;
use portcullis_tables::{Cause, Compiler, build};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64);
    ProptestConfig { cases, max_shrink_iters: 200, ..ProptestConfig::default() }
}

fn side(world: &World) -> Side {
    Side::new(&mut SourceMap::new(), &[world.cluster_text()], &world.policy_texts())
}

fn name(c: &Cause) -> String {
    format!("{c:?}")
}

/// One object a name, as in a cluster: the last.
fn objects(side: &Side) -> BTreeMap<ObjectRef, Object> {
    side.objects.iter().map(|o| (o.reference(), o.clone())).collect()
}

fn from_scratch(objects: &BTreeMap<ObjectRef, Object>, cluster: &Cluster) -> Vec<u8> {
    let options = Options::default();
    let policies = lower(objects.values(), cluster, &options);
    let input = Input { policies: &policies, cluster, options: &options };
    build(&Evaluation::new(&[input], &[]), None, &name).unwrap().bytes
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn each_image_of_a_compiler_that_stays_is_the_one_from_scratch(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        changes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..6),
    ) {
        let mut world = generate::world(&mut Choices::new(&bytes));
        let mut now = side(&world);
        let mut compiler = Compiler::new(now.cluster.clone(), Options::default());
        let mut known: BTreeSet<ObjectRef> = BTreeSet::new();
        for (i, change) in (0..).zip(std::iter::once(None).chain(changes.iter().map(Some))) {
            if let Some(change) = change {
                world = generate::changed(&mut Choices::new(change), &world);
                now = side(&world);
                // Every second change reaches the cluster too; the others are of policies alone.
                if i % 2 == 0 {
                    compiler.set_cluster(now.cluster.clone());
                }
            }
            let objects = objects(&now);
            let keys: BTreeSet<ObjectRef> = objects.keys().cloned().collect();
            for gone in known.difference(&keys) {
                compiler.remove_policy(gone);
            }
            for o in objects.values() {
                compiler.set_policy(Rc::new(o.clone()));
            }
            known = keys;
            let policies = compiler.policies();
            let (built, ()) = compiler.compile(&policies, None, &name, |_, _| ()).unwrap();
            prop_assert_eq!(built.bytes, from_scratch(&objects, compiler.cluster()), "after change {}", i);
            // Once more, with everything known.
            let (again, ()) = compiler.compile(&policies, None, &name, |_, _| ()).unwrap();
            prop_assert_eq!(again.bytes, from_scratch(&objects, compiler.cluster()), "again, after change {}", i);
        }
    }
}
