//! `diff` on a terminal: the consequence, the findings with their causes and ways out, the rest.

use super::excerpt::{FEW, FEW_L7};
use super::{Ink, Page, Paint};
use crate::Style;
use crate::model::{ClusterSource, DiffReport};
use crate::say;
use crate::words::{agree, clean, count_of, cut, one_line, wrap};
use portcullis_diag::SourceMap;
use portcullis_ir::{Direction, Verdict};
use portcullis_sema::diff::{Finding, FindingKind, SideChange, Transition};

/// Findings, transitions and names shown unless all are asked for.
const FINDINGS: usize = 10;
const TRANSITIONS: usize = 8;
const EXCERPTS: usize = 3;
const NAMES: usize = 5;

pub(crate) fn render(report: &DiffReport, sources: &SourceMap, style: &Style) -> String {
    let mut page = Page::new(sources, style);
    if let Some(text) = say::blocked(say::UNSAFE_CHANGE, &report.blocking) {
        page.prose(0, Ink::Red, &text);
        page.diagnostics(&report.blocking);
        page.gap();
        page.prose(0, Ink::Yellow, &say::left_out(report).unwrap_or_default());
    }
    page.headline(report);
    let most = page.most(FINDINGS);
    for (at, f) in report.review.findings.iter().enumerate().take(most) {
        page.finding(f, &say::seen(report, at), &report.explain_with);
    }
    let left = report.review.findings.len().saturating_sub(most);
    if left > 0 {
        page.gap();
        page.more(0, left, ("group of flows", "groups of flows"));
    }
    page.transitions(&report.review.transitions);
    if !report.diagnostics.is_empty() {
        page.section(&format!("new with this change: {}", say::tally(&report.diagnostics)));
        page.diagnostics(&report.diagnostics);
    }
    let both: Vec<_> = report.blocking.iter().chain(&report.diagnostics).cloned().collect();
    page.pages(&both);
    page.around(report);
    page.recording(report);
    page.coverage(&report.coverage);
    page.finish()
}

fn ink(kind: Option<FindingKind>) -> Ink {
    match kind {
        Some(FindingKind::Denied) => Ink::Red,
        Some(FindingKind::L7) => Ink::Yellow,
        Some(FindingKind::Allowed) | None => Ink::Green,
    }
}

impl Page<'_> {
    fn headline(&mut self, report: &DiffReport) {
        for (kind, text) in say::headline(report) {
            let unsure = kind.is_none()
                && (report.coverage.cluster == ClusterSource::None || !report.blocking.is_empty());
            self.prose(0, if unsure { Ink::Yellow } else { ink(kind) }, &text);
        }
        if let Some(text) = say::not_compared(report) {
            self.prose(0, Ink::Yellow, &text);
        }
        if !report.base.is_empty() || !report.head.is_empty() {
            self.prose(0, Ink::Dim, &format!("{} → {}", one_line(&report.base), one_line(&report.head)));
        }
    }

    fn finding(&mut self, f: &Finding, seen: &[String], explain_with: &[String]) {
        self.gap();
        let word = match f.kind {
            FindingKind::Denied => "DENIED ",
            FindingKind::L7 => "L7 ",
            FindingKind::Allowed => "ALLOWED ",
        };
        let title = say::flow(f);
        self.led(0, word, ink(Some(f.kind)), Ink::Bold, &title);
        for text in seen {
            let indent = 2 + text.len() - text.trim_start().len();
            self.prose(indent, Ink::Plain, text.trim_start());
        }
        self.prose(2, Ink::Plain, &say::effect(f));
        self.members(2, "from ", &f.sources);
        self.members(2, "to ", &f.destinations);
        if let Some(text) = say::declared(f) {
            self.prose(2, Ink::Plain, &text);
        }
        for (direction, side) in [(Direction::Egress, &f.egress), (Direction::Ingress, &f.ingress)] {
            match side {
                Some(c) => self.change(c),
                None => self.prose(2, Ink::Dim, say::no_side(direction)),
            }
        }
        let evidence = say::evidence(f);
        let few = if f.kind == FindingKind::L7 { FEW_L7 } else { FEW };
        let most = self.most(EXCERPTS);
        for e in evidence.iter().take(most) {
            self.evidence(2, e, if e.before { Ink::Yellow } else { ink(Some(f.kind)) }, few);
        }
        self.more(2, evidence.len().saturating_sub(most), ("line that takes part", "lines that take part"));
        if !f.help.is_empty() {
            self.led(2, "help: ", Ink::Cyan, Ink::Plain, &f.help);
        }
        for line in clean(&f.patch).trim_end().lines() {
            let line = self.paint.ink(Ink::Green, line);
            self.raw(&format!("      {line}"));
        }
        if let Some(command) = say::explain_command(f, explain_with) {
            // Never wrapped, so that it can be copied.
            let lead = self.paint.ink(Ink::Cyan, "why:");
            self.raw(&format!("  {lead}  {command}"));
        }
    }

    /// One side before and after, the verdicts in their colours; on two lines where one is short.
    fn change(&mut self, c: &SideChange) {
        let lead = format!("{:<20} ", say::side_name(c.direction));
        let text = say::change(c);
        let hang = 2 + lead.chars().count();
        let room = self.width.saturating_sub(hang);
        let lines = if text.chars().count() <= room {
            vec![text]
        } else {
            text.replace(" → ", "\n→ ").split('\n').flat_map(|part| wrap(part, room)).collect()
        };
        for (i, line) in lines.iter().enumerate() {
            let line = self.tint(line);
            if i == 0 {
                self.raw(&format!("  {lead}{line}"));
            } else {
                self.raw(&format!("{:hang$}{line}", ""));
            }
        }
        if c.base.l7 != c.head.l7 {
            let rules = |l7: &Option<String>| l7.as_deref().map_or("none".to_owned(), one_line);
            let lead = format!("{:<20} ", "its L7 rules");
            let text = format!("{} → {}", rules(&c.base.l7), rules(&c.head.l7));
            self.led(2, &lead, Ink::Plain, Ink::Plain, &text);
        }
    }

    /// The words for a verdict, at the beginning and behind an arrow, in its colour.
    pub(super) fn tint(&self, line: &str) -> String {
        let mut out = line.to_owned();
        for v in [Verdict::Allowed, Verdict::Denied] {
            let word = say::verdict(v);
            let painted = self.paint.ink(Paint::verdict(v), word);
            if let Some(rest) = out.strip_prefix(word) {
                out = format!("{painted}{rest}");
            }
            out = out.replacen(&format!("→ {word}"), &format!("→ {painted}"), 1);
        }
        out
    }

    fn transitions(&mut self, all: &[Transition]) {
        if all.is_empty() {
            return;
        }
        self.section("default deny");
        let most = self.most(TRANSITIONS);
        for t in all.iter().take(most) {
            let lead = if t.on { "on  " } else { "off " };
            let lead_ink = if t.on { Ink::Red } else { Ink::Green };
            self.led(2, lead, lead_ink, Ink::Plain, &say::transition(t));
            let effect = say::transition_effect(t);
            if !effect.is_empty() {
                self.prose(6, Ink::Plain, &effect);
            }
            self.members(6, "", &t.endpoints);
            let by: Vec<String> =
                t.by.iter()
                    .map(|p| {
                        let at = self.places.locate(p.span).map_or(String::new(), |at| format!(" ({at})"));
                        format!("{}{at}", say::object(&p.policy))
                    })
                    .collect();
            if !by.is_empty() {
                let lead = if t.on { "by " } else { "was by " };
                let names = self.most(NAMES);
                self.led(6, lead, Ink::Dim, Ink::Dim, &cut(&by, names));
            }
        }
        self.more(2, all.len().saturating_sub(most), ("transition", "transitions"));
    }

    /// What was recorded, as a whole.
    fn recording(&mut self, report: &DiffReport) {
        let Some(r) = &report.recording else { return };
        self.gap();
        for (warn, text) in say::recording(r) {
            self.prose(0, if warn { Ink::Yellow } else { Ink::Dim }, &text);
        }
    }

    /// What else differs: policies, workloads, and locks that change without an effect.
    fn around(&mut self, report: &DiffReport) {
        let review = &report.review;
        let names = self.most(NAMES);
        let policies = say::policies(report);
        if !policies.is_empty() {
            self.gap();
        }
        for (what, all) in policies {
            self.prose(0, Ink::Dim, &format!("{what}: {}", cut(&all, names)));
        }
        for (what, list) in [("added", &review.added), ("removed", &review.removed)] {
            if !list.is_empty() {
                let all: Vec<String> = list.iter().map(say::workload).collect();
                let its = agree(list.len() as u64, "its flows are", "their flows are");
                let text = format!(
                    "{} {what}, {its} not compared: {}",
                    count_of(list.len(), "workload"),
                    cut(&all, names)
                );
                self.prose(0, Ink::Dim, &text);
            }
        }
        if review.masked_flows > 0 && !review.findings.is_empty() {
            self.prose(0, Ink::Dim, &say::masked_text(review.masked_flows));
        }
    }
}
