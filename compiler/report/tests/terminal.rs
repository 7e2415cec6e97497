//! What the terminal shows, with and without colour, narrow and wide.
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

use portcullis_report::{Format, Render, Style};

fn style(width: usize) -> Style {
    Style { colour: false, width, verbose: false }
}

#[test]
fn a_check_underlines_each_finding_and_counts_them() {
    let (files, report) = common::check();
    insta::assert_snapshot!(report.render(&files.sources, Format::Terminal, &style(80)));
}

#[test]
fn a_diff_says_the_consequence_first_then_causes_and_ways_out() {
    let (files, report) = common::diff();
    insta::assert_snapshot!("diff_80", report.render(&files.sources, Format::Terminal, &style(80)));
    insta::assert_snapshot!("diff_120", report.render(&files.sources, Format::Terminal, &style(120)));
}
