//! The formats for machines and pull requests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    dead_code,
    reason = "tests"
)]

mod common;

use portcullis_report::{DiffReport, Format, Render, Style};

const STYLE: Style = Style { colour: false, width: 80, verbose: false };

/// A diff with everything in it.
fn full() -> (common::Files, DiffReport) {
    let (files, mut report) = common::diff();
    let all = common::diagnostics(&files);
    report.blocking = vec![all[0].clone(), all[3].clone()];
    report.diagnostics = vec![all[1].clone(), all[2].clone()];
    (files, report)
}

/// Keeps a page beside the build, for a look with one's own eyes.
fn keep(name: &str, text: &str) {
    std::fs::write(format!("{}/{name}", env!("CARGO_TARGET_TMPDIR")), text).unwrap();
}

#[test]
fn markdown_says_the_consequence_first_and_folds_the_rest() {
    let (files, report) = full();
    let text = report.render(&files.sources, Format::Markdown, &STYLE);
    insta::assert_snapshot!("diff_markdown", text);
    let (files, report) = common::check();
    insta::assert_snapshot!("check_markdown", report.render(&files.sources, Format::Markdown, &STYLE));
}

#[test]
fn github_commands_carry_places_on_the_head_side() {
    let (files, report) = full();
    insta::assert_snapshot!("diff_github", report.render(&files.sources, Format::Github, &STYLE));
    let (files, report) = common::check();
    insta::assert_snapshot!("check_github", report.render(&files.sources, Format::Github, &STYLE));
}

#[test]
fn junit_has_a_suite_for_each_file_or_kind() {
    let (files, report) = full();
    insta::assert_snapshot!("diff_junit", report.render(&files.sources, Format::Junit, &STYLE));
    let (files, report) = common::check();
    insta::assert_snapshot!("check_junit", report.render(&files.sources, Format::Junit, &STYLE));
}

#[test]
fn dot_and_html_draw_what_is_reached() {
    let (files, report) = common::reach();
    insta::assert_snapshot!("reach_dot", report.render(&files.sources, Format::Dot, &STYLE));
    let html = report.render(&files.sources, Format::Html, &STYLE);
    keep("reach.html", &html);
    assert!(html.contains("tools/&lt;b&gt;&quot;lost&quot;&amp;|"), "names are escaped");
    assert!(!html.contains("http://") && !html.contains("https://"), "nothing is loaded from elsewhere");
    assert!(html.contains("<tr data-ns=\"batch payments\">"));
}
