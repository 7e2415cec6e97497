//! What the program prints of each case under `cases/review`: `expected/*.snap` beside the case.
//!
//! A snapshot is accepted (`cargo insta review`) after reading it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use portcullis_diag::{Fate, Severity};
use portcullis_report::{CheckReport, ClusterSource, Coverage, DiffReport, Format, Render, Style};
use portcullis_sema::lint;
use portcullis_sema::side::Evaluation;
use portcullis_snapshot_tests::case::{Case, folders, root};
use portcullis_snapshot_tests::findings::review;
use portcullis_snapshot_tests::side::Side;

const STYLE: Style = Style { colour: false, width: 100, verbose: false };

fn cases() -> Vec<Case> {
    let all = folders(&root().join("snapshot-tests/cases/review")).unwrap();
    assert!(all.len() >= 10, "{all:?}");
    all.iter().map(|p| Case::read(p).unwrap()).collect()
}

fn compare(case: &Case, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(case.path.join("expected"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// What a program that read the case's files would say it looked at.
fn coverage(case: &Case, side: &Side) -> Coverage {
    Coverage {
        cluster: ClusterSource::Given("cluster.yaml".to_owned()),
        files: case.sources.iter().count(),
        documents: side.objects.len(),
        policies: side.policies.policies.len(),
        pods: side.cluster.endpoints.iter().map(|e| u64::from(e.pods)).sum(),
        workloads: side.cluster.workloads.len(),
        namespaces: side.cluster.namespaces.len(),
        ..Coverage::default()
    }
}

/// What reading the head and looking for traps in it says.
fn check(case: &Case) -> CheckReport {
    let side = case.side("head").unwrap();
    let objects: Vec<_> = side.objects.iter().filter(|o| o.fate == Fate::Accepted).collect();
    let input = side.input();
    let evaluation = Evaluation::new(&[input], &[]);
    let mut diagnostics = side.diagnostics.clone();
    diagnostics.extend(lint::run(&lint::Context {
        objects: &objects,
        policies: &side.policies,
        cluster: &side.cluster,
        options: &side.options,
        evaluation: &evaluation,
        has_cluster: true,
        has_services: false,
    }));
    diagnostics.sort_by_key(|d| d.labels.first().map(|l| l.span));
    CheckReport { diagnostics, coverage: coverage(case, side) }
}

#[test]
fn a_review_reads_as_it_was_accepted() {
    for case in cases() {
        let report = DiffReport {
            base: "base".to_owned(),
            head: "head".to_owned(),
            review: review(case.side("base").unwrap(), case.side("head").unwrap()),
            coverage: coverage(&case, case.side("head").unwrap()),
            ..DiffReport::default()
        };
        compare(&case, "diff", &report.render(&case.sources, Format::Terminal, &STYLE));
    }
}

#[test]
fn a_check_of_the_head_reads_as_it_was_accepted() {
    for case in cases() {
        let report = check(&case);
        let errors: Vec<_> = report.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", case.name);
        compare(&case, "check", &report.render(&case.sources, Format::Terminal, &STYLE));
    }
}
