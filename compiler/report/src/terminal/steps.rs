//! `reach --steps` and `reach --cut` on a terminal: who is reached by how many hops, one way with the rules
//! that allow it, and the rules that every way hangs on.

use super::excerpt::FEW;
use super::{Ink, Page};
use crate::Style;
use crate::model::StepsReport;
use crate::say::{self, Evidence};
use crate::words::{count_of, one_line};
use portcullis_diag::SourceMap;
use portcullis_ir::Direction;
use portcullis_sema::diff::RuleRef;
use portcullis_sema::steps::{Cut, Hop, Steps};

/// Sets and rules shown unless all are asked for.
const SETS: usize = 6;
const RULES: usize = 3;

pub(crate) fn render(report: &StepsReport, sources: &SourceMap, style: &Style) -> String {
    let mut page = Page::new(sources, style);
    let steps = &report.steps;
    page.prose(0, Ink::Bold, &headline(steps));
    if let Some(text) = say::blocked(say::INCOMPLETE, &report.blocking) {
        page.prose(0, Ink::Red, &text);
        page.diagnostics(&report.blocking);
        page.pages(&report.blocking);
    }
    if steps.to.is_none() {
        page.gap();
        for layer in &steps.layers {
            let lead = format!("by {}: ", hops(layer.hops));
            page.led(2, &lead, Ink::Dim, Ink::Plain, &one_line(&say::group(&layer.whom)));
            page.members(4, "namely ", &layer.whom);
        }
    }
    page.way(&steps.way);
    if let Some(cut) = &steps.cut {
        page.cut(steps, cut);
    }
    page.coverage(&report.coverage);
    page.finish()
}

fn hops(n: usize) -> String {
    if n == 1 { "one hop".to_owned() } else { format!("{n} hops") }
}

fn headline(steps: &Steps) -> String {
    let from = say::group(&steps.from);
    match (&steps.to, steps.layers.first()) {
        (None, None) => format!("{from} reaches nobody"),
        (None, Some(_)) => {
            let workloads: usize = steps.layers.iter().map(|l| l.whom.workloads.len()).sum();
            let others: usize = steps.layers.iter().map(|l| l.whom.others.len()).sum();
            let most = steps.layers.last().map_or(0, |l| l.hops);
            let all = match (workloads, others) {
                (n, 0) => count_of(n, "workload"),
                (0, n) => count_of(n, "other end"),
                (n, m) => format!("{} and {}", count_of(n, "workload"), count_of(m, "other end")),
            };
            format!("{from} reaches {all} by at most {}", hops(most))
        }
        (Some(to), None) => format!("{from} does not reach {}, by any number of hops", say::group(to)),
        (Some(to), Some(_)) => {
            format!("{from} reaches {}, by {} at the fewest", say::group(to), hops(steps.way.len()))
        }
    }
}

/// How a hop passes, in one clause.
fn passes(hop: &Hop) -> String {
    let sides: Vec<&str> = hop
        .open
        .iter()
        .map(|d| match d {
            Direction::Egress => "nothing makes the sender's egress default-deny",
            Direction::Ingress => "nothing makes the receiver's ingress default-deny",
        })
        .collect();
    sides.join(", and ")
}

impl Page<'_> {
    fn way(&mut self, way: &[Hop]) {
        for (at, hop) in way.iter().enumerate() {
            if at == 0 {
                self.gap();
                self.prose(0, Ink::Plain, &one_line(&say::group(&hop.from)));
            }
            let text = format!("{} on {}", say::group(&hop.to), hop.ports);
            self.led(2, "→ ", Ink::Green, Ink::Plain, &one_line(&text));
            let most = self.most(RULES);
            for rule in hop.rules.iter().take(most) {
                let place = self.places.locate(rule.span).unwrap_or_default();
                self.prose(4, Ink::Dim, &one_line(&format!("by {} at {place}", say::object(&rule.policy))));
            }
            self.more(4, hop.rules.len().saturating_sub(most), ("rule", "rules"));
            if !hop.open.is_empty() {
                self.prose(4, Ink::Dim, &passes(hop));
            }
        }
    }

    fn cut(&mut self, steps: &Steps, cut: &Cut) {
        if steps.way.is_empty() {
            return;
        }
        self.gap();
        if !cut.open.is_empty() {
            let text = "taking allow rules away cuts nothing off: this way needs none";
            self.prose(0, Ink::Yellow, text);
            self.way(&cut.open);
            return;
        }
        let Some(first) = cut.sets.first() else {
            let text = if cut.complete {
                format!(
                    "no rule, and no two together, cut every way: at least {} rules have to go",
                    cut.at_least
                )
            } else {
                "no rule cuts every way, and no two that do were found before the search stopped".to_owned()
            };
            self.prose(0, Ink::Yellow, &text);
            return;
        };
        let title = match (first.len(), cut.sets.len()) {
            (1, 1) => {
                "every way hangs on this rule: without it, its default deny in place, none is left".to_owned()
            }
            (1, n) => {
                format!("every way hangs on each of these {n} rules: without any one of them none is left")
            }
            (size, 1) => format!("no rule alone cuts every way; without these {size} together none is left"),
            (size, n) => {
                format!("no rule alone cuts every way; without any of these {n} sets of {size} none is left")
            }
        };
        self.prose(0, Ink::Bold, &title);
        let most = self.most(SETS);
        for (at, set) in cut.sets.iter().take(most).enumerate() {
            self.gap();
            if first.len() > 1 && cut.sets.len() > 1 {
                self.prose(2, Ink::Bold, &format!("set {}", at + 1));
            }
            for rule in set {
                let e = evidence(rule, first.len());
                self.evidence(2, &e, Ink::Green, FEW);
            }
        }
        self.more(2, cut.sets.len().saturating_sub(most), ("set of rules", "sets of rules"));
        if !cut.complete {
            self.prose(
                0,
                Ink::Yellow,
                "the search stopped before all pairs of rules were tried; there may be more",
            );
        }
    }
}

fn evidence(rule: &RuleRef, together: usize) -> Evidence {
    Evidence {
        lead: format!("this rule of {}", say::object(&rule.policy)),
        span: rule.span,
        around: rule.entry,
        label: if together > 1 { "allows some of the ways" } else { "every way hangs on it" }.to_owned(),
        before: false,
    }
}
