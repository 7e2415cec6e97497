//! Counting agreement, and saying where there is none.

use crate::engines::{self, Engine, NAMES};
use crate::scenario::Scenario;
use portcullis_ir::{Direction, PeerRef, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Verdicts compared and agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Verdicts compared.
    pub total: u64,
    /// Verdicts that agree.
    pub agreed: u64,
}

/// The whole comparison.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By engine and category.
    pub counts: BTreeMap<(usize, String), Count>,
    /// The first disagreements in full.
    pub disagreements: Vec<String>,
    /// Lines that could not be read.
    pub unreadable: Vec<String>,
    /// Scenarios read.
    pub scenarios: u64,
}

/// Disagreements kept in full.
const SHOWN: usize = 10;

impl Tally {
    /// Asks every engine about every flow of a scenario.
    pub fn judge(&mut self, s: &Scenario) {
        self.scenarios += 1;
        engines::with_all(s.input(), &s.addresses(), |all| {
            for (index, engine) in all.iter().enumerate() {
                self.ask(index, *engine, s);
            }
        });
    }

    fn ask(&mut self, index: usize, engine: &dyn Engine, s: &Scenario) {
        let count = self.counts.entry((index, s.category.clone())).or_default();
        for case in &s.cases {
            for (direction, expected) in &case.expect {
                let (subject, peer) = match direction {
                    Direction::Egress => (&case.flow.from, &case.flow.to),
                    Direction::Ingress => (&case.flow.to, &case.flow.from),
                };
                let PeerRef::Endpoint(subject) = subject else { continue };
                if !engine.speaks_of(*subject, peer) {
                    continue;
                }
                let got = engine.verdict(*subject, *direction, peer, case.flow.port);
                count.total += 1;
                if got == Some(*expected) {
                    count.agreed += 1;
                } else if self.disagreements.len() < SHOWN {
                    self.disagreements.push(disagreement(index, s, &case.text, *direction, *expected, got));
                }
            }
        }
    }

    /// Adds another tally's counts to this one.
    pub fn merge(&mut self, other: Self) {
        for (key, c) in other.counts {
            let mine = self.counts.entry(key).or_default();
            mine.total += c.total;
            mine.agreed += c.agreed;
        }
        let room = SHOWN.saturating_sub(self.disagreements.len());
        self.disagreements.extend(other.disagreements.into_iter().take(room));
        self.unreadable.extend(other.unreadable);
        self.scenarios += other.scenarios;
    }

    /// Whether everything was read and every verdict agrees.
    pub fn is_clean(&self) -> bool {
        self.unreadable.is_empty() && self.scenarios > 0 && self.counts.values().all(|c| c.total == c.agreed)
    }

    /// The report: disagreements, a table by engine and category, and a last line with the totals.
    pub fn report(&self) -> String {
        let mut out = String::new();
        for u in &self.unreadable {
            let _ = writeln!(out, "unreadable: {u}");
        }
        for d in &self.disagreements {
            let _ = writeln!(out, "{d}");
        }
        let _ = writeln!(
            out,
            "{:<10} {:<20} {:>9} {:>9} {:>9}",
            "engine", "category", "verdicts", "agree", "differ"
        );
        let mut totals: BTreeMap<usize, Count> = BTreeMap::new();
        for ((engine, category), c) in &self.counts {
            let name = NAMES.get(*engine).copied().unwrap_or("?");
            let _ = writeln!(
                out,
                "{name:<10} {category:<20} {:>9} {:>9} {:>9}",
                c.total,
                c.agreed,
                c.total - c.agreed
            );
            let t = totals.entry(*engine).or_default();
            t.total += c.total;
            t.agreed += c.agreed;
        }
        let parts: Vec<String> = totals
            .iter()
            .map(|(e, c)| format!("{} {}/{}", NAMES.get(*e).copied().unwrap_or("?"), c.agreed, c.total))
            .collect();
        let _ = writeln!(
            out,
            "total: {} scenarios, {} unreadable; agreement: {}",
            self.scenarios,
            self.unreadable.len(),
            parts.join(", ")
        );
        out
    }
}

fn disagreement(
    engine: usize,
    s: &Scenario,
    flow: &str,
    direction: Direction,
    expected: Verdict,
    got: Option<Verdict>,
) -> String {
    let got = got.map_or_else(|| "no verdict".to_owned(), |v| v.to_string());
    format!(
        "disagreement: {} in {} ({}): {direction} recorded {expected}, {got} here\n  flow: {flow}\n  policies:\n    {}",
        NAMES.get(engine).copied().unwrap_or("?"),
        s.name,
        s.category,
        s.source.replace('\n', "\n    ")
    )
}
