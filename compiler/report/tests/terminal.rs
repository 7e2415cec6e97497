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

#[test]
fn a_change_that_cannot_be_judged_says_so_on_the_first_line() {
    let (files, mut report) = common::diff();
    let all = common::diagnostics(&files);
    report.blocking = vec![all[0].clone(), all[3].clone()];
    report.diagnostics = vec![all[1].clone(), all[2].clone()];
    let text = report.render(&files.sources, Format::Terminal, &style(100));
    assert!(text.starts_with(
        "this change cannot be judged safe: 1 object could not be read and 1 is refused by the API server\n"
    ));
    insta::assert_snapshot!("diff_blocked", text);
}

#[test]
fn an_empty_diff_says_what_its_silence_covers() {
    let sources = portcullis_diag::SourceMap::new();
    let report = portcullis_report::DiffReport::default();
    insta::assert_snapshot!("diff_empty", report.render(&sources, Format::Terminal, &style(80)));
}

#[test]
fn an_explanation_gives_the_verdict_the_causes_and_the_way_out() {
    let (files, e) = common::explanation();
    insta::assert_snapshot!("explain", e.render(&files.sources, Format::Terminal, &style(80)));
}

#[test]
fn a_reach_report_has_a_line_for_each_group() {
    let (files, report) = common::reach();
    insta::assert_snapshot!("reach", report.render(&files.sources, Format::Terminal, &style(80)));
}

#[test]
fn an_explanation_in_a_comment_is_the_terminal_s_page_in_a_block() {
    let (files, e) = common::explanation();
    let page = e.render(&files.sources, Format::Terminal, &style(80));
    let colour = Style { colour: true, ..style(80) };
    let text = e.render(&files.sources, Format::Markdown, &colour);
    assert_eq!(text, format!("```text\n{page}```\n"));
}

#[test]
fn many_notes_of_one_code_are_one_line_and_no_warning_is_left_off() {
    let (files, mut report) = common::check();
    let (warning, note) = (report.diagnostics[1].clone(), report.diagnostics[2].clone());
    report.diagnostics = vec![warning; 60];
    report.diagnostics.extend(vec![note; 1247]);
    let text = report.render(&files.sources, Format::Terminal, &style(80));
    assert_eq!(text.matches("warning[PC0008]").count(), 60);
    assert_eq!(text.matches("note[PC0012]").count(), 1, "{text}");
    assert!(text.contains("1,247 notes template-skipped (--verbose lists them), the first at"), "{text}");
    assert!(text.contains("60 warnings and 1,247 notes"));
    let verbose = report.render(&files.sources, Format::Terminal, &Style { verbose: true, ..style(80) });
    assert_eq!(verbose.matches("note[PC0012]").count(), 1247);
}

#[test]
fn a_place_is_shown_once_a_page() {
    let (files, report) = common::diff();
    let text = report.render(&files.sources, Format::Terminal, &style(120));
    assert_eq!(text.matches("─[main:policies/payments/api.yaml:15:5]").count(), 1, "{text}");
    assert!(text.contains("(main:policies/payments/api.yaml:15:5, shown above)"), "{text}");
}

#[test]
fn a_policy_that_is_refused_is_left_out_and_not_removed() {
    let (files, mut report) = common::diff();
    report.blocking = vec![common::diagnostics(&files)[0].clone()];
    report.review.policies.added.clear();
    report.left_out = vec![common::object("NetworkPolicy", "shop", "lock")];
    let text = report.render(&files.sources, Format::Terminal, &style(120));
    assert!(
        text.contains("what follows leaves out NetworkPolicy shop/lock, as if there were no such object")
    );
    assert!(text.contains("1 policy left out: NetworkPolicy shop/lock"), "{text}");
    assert!(!text.contains("policy added"));
}

#[test]
fn colour_adds_escape_sequences_and_no_words() {
    let (files, report) = common::diff();
    let colour = Style { colour: true, ..style(80) };
    let text = report.render(&files.sources, Format::Terminal, &colour);
    let mut bare = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        bare.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
    }
    bare.push_str(rest);
    assert_eq!(bare, report.render(&files.sources, Format::Terminal, &style(80)));
}

#[test]
fn verbose_leaves_nothing_off() {
    let (files, report) = common::diff();
    let text = report.render(&files.sources, Format::Terminal, &Style { verbose: true, ..style(80) });
    assert!(!text.contains(" more"), "{text}");
    assert!(text.contains("shop/shop-7"));
}
