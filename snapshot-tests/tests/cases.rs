//! Verdicts written by hand, in `cases` and in `policies/examples`, and what each engine says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use portcullis_diag::{Fate, Severity};
use portcullis_snapshot_tests::case::{Case, folders, root};

/// Topics whose head is refused: no verdict can be given.
const REFUSED: [&str; 2] = ["examples/mistyped-field", "examples/unquoted-yes"];

fn all() -> Vec<Case> {
    let mut paths = folders(&root().join("snapshot-tests/cases")).unwrap();
    paths.extend(folders(&root().join("policies/examples")).unwrap());
    paths.iter().map(|p| Case::read(p).unwrap_or_else(|e| panic!("{e}"))).collect()
}

#[test]
fn every_engine_agrees_with_every_verdict_written_by_hand() {
    let mut wrong = Vec::new();
    let mut asked = 0;
    for case in all() {
        let (n, mismatches) = case.mismatches();
        asked += n;
        wrong.extend(mismatches);
    }
    assert!(wrong.is_empty(), "{} of {asked} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 500, "only {asked} verdicts were asked for");
}

#[test]
fn every_case_has_verdicts_on_each_of_its_sides_and_nothing_that_is_refused() {
    for case in all() {
        if REFUSED.contains(&case.name.as_str()) {
            continue;
        }
        assert!(!case.sides.is_empty(), "{} has no policies", case.name);
        for (name, side) in &case.sides {
            let given = case.flows.iter().filter(|f| f.expect.iter().any(|(n, _)| n == name)).count();
            assert!(given > 0, "{}: no verdict for {name}", case.name);
            let broken = portcullis_ir::verify::verify(&side.policies);
            assert!(broken.is_empty(), "{}: {broken:?}", case.name);
            if !case.name.contains("refused") {
                for o in &side.objects {
                    assert_eq!(o.fate, Fate::Accepted, "{}: {}", case.name, o.meta.name.value);
                }
            }
        }
    }
}

#[test]
fn a_head_that_cannot_be_judged_is_refused_or_named_by_an_error() {
    for name in REFUSED {
        let case = Case::read(&root().join("policies").join(name)).unwrap();
        assert!(case.flows.is_empty(), "{name}");
        let head = case.side("head").unwrap();
        let refused = head.objects.iter().any(|o| o.fate != Fate::Accepted);
        let error = head.diagnostics.iter().any(|d| d.severity == Severity::Error);
        assert!(refused || error, "{name}: {:?}", head.diagnostics);
    }
}
