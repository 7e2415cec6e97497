//! JUnit XML, for build servers that know nothing better.
//!
//! `check` writes a suite for each file, `diff` one for each kind of finding; a suite without
//! findings has one case that passes, so that silence is seen to be a result. Errors and warnings
//! are failures, told apart by their `type`; notes are skipped cases.

use crate::model::{CheckReport, DiffReport};
use crate::place::Places;
use crate::say;
use crate::words::one_line;
use portcullis_diag::{Diagnostic, Severity, SourceMap};
use portcullis_sema::diff::FindingKind;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What came of a case.
enum Outcome {
    Passed,
    Skipped(String),
    /// Type, message, text.
    Failed(&'static str, String, String),
}

struct Case {
    name: String,
    outcome: Outcome,
}

struct Suite {
    name: String,
    cases: Vec<Case>,
}

pub(crate) fn check(report: &CheckReport, sources: &SourceMap) -> String {
    let places = Places::new(sources);
    let mut by_file: BTreeMap<&str, Vec<Case>> =
        sources.iter().map(|(_, f)| (f.name.as_str(), Vec::new())).collect();
    for d in &report.diagnostics {
        let file = d.span().map_or("", |s| if places.file(s).is_some() { sources.name(s) } else { "" });
        by_file.entry(file).or_default().push(case(d, &places));
    }
    let suites = by_file
        .into_iter()
        .map(|(file, cases)| Suite {
            name: if file.is_empty() { "elsewhere".to_owned() } else { file.to_owned() },
            cases,
        })
        .collect();
    write("portcullis check", suites)
}

pub(crate) fn diff(report: &DiffReport, sources: &SourceMap) -> String {
    let places = Places::new(sources);
    let of = |all: &[Diagnostic]| all.iter().map(|d| case(d, &places)).collect::<Vec<_>>();
    let mut suites =
        vec![Suite { name: "every object could be judged".to_owned(), cases: of(&report.blocking) }];
    for (kind, name) in [
        (FindingKind::Denied, "no flow becomes denied"),
        (FindingKind::Allowed, "no flow becomes allowed"),
        (FindingKind::L7, "no L7 rules change"),
    ] {
        let cases = report.review.findings.iter().enumerate().filter(|(_, f)| f.kind == kind);
        let cases = cases
            .map(|(at, f)| {
                let seen = say::seen(report, at);
                let mut lines: Vec<String> =
                    seen.into_iter().chain(say::declared(f)).chain(say::sides(f)).collect();
                for e in say::evidence(f) {
                    let at = places.locate(e.span).map_or(String::new(), |at| format!(" ({at})"));
                    lines.push(format!("{}{at}", e.lead));
                }
                if !f.help.is_empty() {
                    lines.push(format!("help: {}", one_line(&f.help)));
                }
                lines.extend(f.patch.lines().map(|l| format!("    {l}")));
                lines.extend(say::explain_command(f, &report.explain_with));
                Case {
                    name: say::flow(f),
                    outcome: Outcome::Failed(say::kind_word(kind), say::effect(f), lines.join("\n")),
                }
            })
            .collect();
        suites.push(Suite { name: name.to_owned(), cases });
    }
    let transitions = report.review.transitions.iter().map(|t| {
        let by: Vec<String> = t.by.iter().map(|p| format!("by {}", say::object(&p.policy))).collect();
        let text = format!("{}\n{}", say::transition_effect(t), by.join("\n"));
        Case { name: say::transition(t), outcome: Outcome::Failed("default-deny", say::transition(t), text) }
    });
    suites.push(Suite { name: "default deny stays as it is".to_owned(), cases: transitions.collect() });
    suites.push(Suite { name: "no new findings".to_owned(), cases: of(&report.diagnostics) });
    write("portcullis diff", suites)
}

fn case(d: &Diagnostic, places: &Places<'_>) -> Case {
    let slug = d.code.info().map_or("", |i| i.slug);
    let at = d.span().and_then(|s| places.locate(s)).unwrap_or_default();
    let name = format!("{} {slug} {at}", d.code).trim_end().to_owned();
    let message = one_line(&d.message);
    let mut lines = Vec::new();
    for l in &d.labels {
        if let Some(at) = places.locate(l.span) {
            lines.push(format!("{at}: {}", one_line(&l.text)).trim_end_matches([':', ' ']).to_owned());
        }
    }
    if let Some(help) = &d.help {
        lines.push(format!("help: {}", one_line(help)));
    }
    let outcome = match d.severity {
        Severity::Note => Outcome::Skipped(message),
        Severity::Warning => Outcome::Failed("warning", message, lines.join("\n")),
        Severity::Error => Outcome::Failed("error", message, lines.join("\n")),
    };
    Case { name, outcome }
}

fn write(name: &str, mut suites: Vec<Suite>) -> String {
    for s in &mut suites {
        if s.cases.is_empty() {
            s.cases.push(Case { name: "nothing found".to_owned(), outcome: Outcome::Passed });
        }
    }
    let failed = |s: &Suite| s.cases.iter().filter(|c| matches!(c.outcome, Outcome::Failed(..))).count();
    let skipped = |s: &Suite| s.cases.iter().filter(|c| matches!(c.outcome, Outcome::Skipped(_))).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (tests, failures): (usize, usize) =
        (suites.iter().map(|s| s.cases.len()).sum(), suites.iter().map(failed).sum());
    let _ = writeln!(
        out,
        "<testsuites name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">",
        escape(name)
    );
    for s in &suites {
        let suite = escape(&s.name);
        let _ = writeln!(
            out,
            "  <testsuite name=\"{suite}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">",
            s.cases.len(),
            failed(s),
            skipped(s)
        );
        for c in &s.cases {
            let head = format!("    <testcase name=\"{}\" classname=\"{suite}\"", escape(&c.name));
            let _ = match &c.outcome {
                Outcome::Passed => writeln!(out, "{head}/>"),
                Outcome::Skipped(why) => {
                    writeln!(out, "{head}>\n      <skipped message=\"{}\"/>\n    </testcase>", escape(why))
                }
                Outcome::Failed(kind, message, text) => writeln!(
                    out,
                    "{head}>\n      <failure type=\"{kind}\" message=\"{}\">{}</failure>\n    </testcase>",
                    escape(message),
                    body(text)
                ),
            };
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// Text for an attribute: a line feed in it would be read as a space.
fn escape(text: &str) -> String {
    body(text).replace('\n', "&#10;").replace('\t', "&#9;")
}

/// Text between tags. Characters that XML cannot hold are replaced.
fn body(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in crate::words::clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_escaped_or_replaced() {
        assert_eq!(escape("a<b>&\"'\n\u{1}"), "a&lt;b&gt;&amp;&quot;&apos;&#10;?");
    }
}
