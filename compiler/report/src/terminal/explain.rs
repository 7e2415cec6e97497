//! `explain` on a terminal: the verdict, each side with its deciding lines, the rules that did not
//! match and why, the way out.

use super::excerpt::{FEW, FEW_L7};
use super::{Ink, Page, Paint};
use crate::Style;
use crate::model::{ExplainedSide, Explanation};
use crate::say;
use crate::words::{clean, one_line};
use portcullis_diag::SourceMap;
use portcullis_ir::Verdict;
use portcullis_sema::diff::Cause;

/// Lines shown of each sort unless all are asked for.
const EXCERPTS: usize = 4;
const MISSED: usize = 6;

pub(crate) fn render(e: &Explanation, sources: &SourceMap, style: &Style) -> String {
    let mut page = Page::new(sources, style);
    page.prose(0, Paint::verdict(e.verdict), &say::explanation(e));
    if let Some(text) = say::blocked(say::INCOMPLETE, &e.blocking) {
        page.prose(0, Ink::Red, &text);
    }
    // Where a side denies what passes all the same, the reason comes first.
    let early = e.verdict == Verdict::Allowed && e.sides.iter().any(|s| s.verdict == Verdict::Denied);
    if early {
        page.notes(&e.notes);
    }
    for side in &e.sides {
        page.side(side);
    }
    if e.sides.is_empty() {
        page.gap();
        page.prose(0, Ink::Plain, "neither end is a pod of this cluster, so no policy applies");
    }
    // Nobody has to let through what passes.
    let ways = if early { Vec::new() } else { say::ways_out(e) };
    if !ways.is_empty() {
        page.gap();
    }
    for way in &ways {
        page.led(0, "help: ", Ink::Cyan, Ink::Plain, way);
    }
    if ways.len() > 1 {
        page.prose(6, Ink::Dim, "both sides deny it, so both need a rule");
    }
    if !early {
        page.notes(&e.notes);
    }
    if !e.blocking.is_empty() {
        page.section("left out of this answer");
        page.diagnostics(&e.blocking);
        page.pages(&e.blocking);
    }
    page.coverage(&e.coverage);
    page.finish()
}

impl Page<'_> {
    fn notes(&mut self, notes: &[String]) {
        if !notes.is_empty() {
            self.gap();
        }
        for note in notes {
            self.led(0, "note: ", Ink::Cyan, Ink::Plain, &one_line(note));
        }
    }

    fn side(&mut self, side: &ExplainedSide) {
        self.gap();
        let lead = format!("{} of {}: ", side.direction, say::name(&side.subject));
        let mut text = format!("{} {}", say::verdict(side.verdict), say::cause(&side.cause));
        if side.l7.is_some() {
            text.push_str(", then by its L7 rules");
        }
        self.led(0, &lead, Ink::Bold, Paint::verdict(side.verdict), &text);
        if let Some(l7) = &side.l7 {
            self.led(2, "its L7 rules let through: ", Ink::Yellow, Ink::Plain, &clean(l7));
        }
        match &side.cause {
            Cause::NotEnforced => {
                let text =
                    format!("no policy makes its {} default-deny, so everything may pass", side.direction);
                self.prose(2, Ink::Dim, &text);
            }
            Cause::Localhost => self.prose(2, Ink::Dim, "a node's own host always reaches its pods"),
            Cause::Rules(_) | Cause::DefaultDeny(_) => {}
        }
        let lines = say::explained(side);
        let most = self.most(EXCERPTS);
        let few = if side.l7.is_some() { FEW_L7 } else { FEW };
        let ink = if side.verdict == Verdict::Denied { Ink::Red } else { Ink::Green };
        for line in lines.iter().take(most) {
            self.evidence(2, line, ink, few);
        }
        self.more(2, lines.len().saturating_sub(most), ("line that decides", "lines that decide"));
        self.also_matched(side);
        self.missed(side);
    }

    /// Rules that take the flow in and were overruled.
    fn also_matched(&mut self, side: &ExplainedSide) {
        let deciding: &[_] = if let Cause::Rules(rules) = &side.cause { rules } else { &[] };
        let rest: Vec<_> = side.matched.iter().filter(|r| !deciding.contains(r)).collect();
        if rest.is_empty() {
            return;
        }
        self.prose(2, Ink::Plain, "rules that match too, and are overruled");
        let most = self.most(MISSED);
        for r in rest.iter().take(most) {
            let at = self.places.locate(r.span).unwrap_or_default();
            self.led(
                4,
                &format!("{:<5} ", r.action.to_string()),
                Ink::Dim,
                Ink::Dim,
                &named(&say::object(&r.policy), &at),
            );
        }
        self.more(4, rest.len().saturating_sub(most), ("rule", "rules"));
    }

    fn missed(&mut self, side: &ExplainedSide) {
        if side.missed.is_empty() {
            return;
        }
        self.prose(2, Ink::Plain, "rules that do not match, and why");
        let most = self.most(MISSED);
        for (r, why) in side.missed.iter().take(most) {
            let at = self.places.locate(r.span).unwrap_or_default();
            self.led(
                4,
                &format!("{:<5} ", r.action.to_string()),
                Ink::Dim,
                Ink::Dim,
                &named(&say::object(&r.policy), &at),
            );
            self.prose(10, Ink::Plain, &one_line(why));
        }
        self.more(4, side.missed.len().saturating_sub(most), ("rule", "rules"));
    }
}

fn named(policy: &str, at: &str) -> String {
    if at.is_empty() { policy.to_owned() } else { format!("{policy} ({at})") }
}
