//! `diff` on a terminal: the consequence, the findings with their causes and ways out, the rest.

use super::{Ink, Page, Paint};
use crate::Style;
use crate::model::{ClusterSource, DiffReport};
use crate::say;
use crate::words::{agree, clean, count_of, cut, one_line};
use portcullis_diag::SourceMap;
use portcullis_ir::Direction;
use portcullis_sema::diff::{Finding, FindingKind, SideChange, SideVerdict, Transition};

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
    }
    page.headline(report);
    let most = page.most(FINDINGS);
    for f in report.review.findings.iter().take(most) {
        page.finding(f);
    }
    let left = report.review.findings.len().saturating_sub(most);
    if left > 0 {
        page.gap();
        page.more(0, left, "groups of flows");
    }
    page.transitions(&report.review.transitions);
    if !report.diagnostics.is_empty() {
        page.section(&format!("new with this change: {}", say::tally(&report.diagnostics)));
        page.diagnostics(&report.diagnostics);
    }
    let both: Vec<_> = report.blocking.iter().chain(&report.diagnostics).cloned().collect();
    page.pages(&both);
    page.around(report);
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
        if !report.base.is_empty() || !report.head.is_empty() {
            self.prose(0, Ink::Dim, &format!("{} → {}", one_line(&report.base), one_line(&report.head)));
        }
    }

    fn finding(&mut self, f: &Finding) {
        self.gap();
        let word = match f.kind {
            FindingKind::Denied => "DENIED ",
            FindingKind::L7 => "L7 ",
            FindingKind::Allowed => "ALLOWED ",
        };
        let title = format!("{} → {} on {}", say::group(&f.sources), say::group(&f.destinations), f.ports);
        self.led(0, word, ink(Some(f.kind)), Ink::Bold, &title);
        self.prose(2, Ink::Plain, &say::effect(f));
        self.members(2, "from ", &f.sources);
        self.members(2, "to ", &f.destinations);
        for (direction, side) in [(Direction::Egress, &f.egress), (Direction::Ingress, &f.ingress)] {
            match side {
                Some(c) => self.change(c),
                None => self.prose(2, Ink::Dim, say::no_side(direction)),
            }
        }
        let evidence = say::evidence(f);
        let most = self.most(EXCERPTS);
        for e in evidence.iter().take(most) {
            self.prose(2, Ink::Plain, &e.lead);
            self.excerpt(4, e.span, &e.label, if e.before { Ink::Yellow } else { ink(Some(f.kind)) });
        }
        self.more(2, evidence.len().saturating_sub(most), "lines that take part");
        if !f.help.is_empty() {
            self.led(2, "help: ", Ink::Cyan, Ink::Plain, &f.help);
        }
        for line in clean(&f.patch).trim_end().lines() {
            let line = self.paint.ink(Ink::Green, line);
            self.raw(&format!("      {line}"));
        }
        if let Some(command) = say::explain_command(f) {
            // Never wrapped, so that it can be copied.
            let lead = self.paint.ink(Ink::Cyan, "why:");
            self.raw(&format!("  {lead}  {command}"));
        }
    }

    /// One side before and after, the verdicts in their colours.
    fn change(&mut self, c: &SideChange) {
        let lead = format!("{:<20}", say::side_name(c.direction));
        let paint = self.paint;
        let text = |v: &SideVerdict| {
            let all = say::side(v);
            let word = say::verdict(v.verdict);
            let rest = all.strip_prefix(word).unwrap_or_default();
            format!("{}{rest}", paint.ink(Paint::verdict(v.verdict), word))
        };
        let base = if say::side(&c.base) == say::side(&c.head) {
            paint.ink(Paint::verdict(c.base.verdict), say::verdict(c.base.verdict))
        } else {
            text(&c.base)
        };
        let length = lead.chars().count() + 3 + say::change(c).chars().count();
        let between = if length > self.width {
            format!("\n{:1$}", "", lead.chars().count() + 3)
        } else {
            " ".to_owned()
        };
        self.raw(&format!("  {lead} {base}{between}→ {}", text(&c.head)));
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
        self.more(2, all.len().saturating_sub(most), "transitions");
    }

    /// What else differs: policies, workloads, and locks that change without an effect.
    fn around(&mut self, report: &DiffReport) {
        let review = &report.review;
        let names = self.most(NAMES);
        let policies = [
            ("added", &review.policies.added),
            ("removed", &review.policies.removed),
            ("changed", &review.policies.changed),
        ];
        if policies.iter().any(|(_, list)| !list.is_empty()) {
            self.gap();
        }
        for (what, list) in policies {
            if !list.is_empty() {
                let names: Vec<String> = list.iter().map(say::object).collect::<Vec<_>>();
                let text =
                    format!("{} {what}: {}", count_of(list.len(), "policy"), cut(&names, self.most(NAMES)));
                self.prose(0, Ink::Dim, &text);
            }
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
