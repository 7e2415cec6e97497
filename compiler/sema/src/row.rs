//! Rows: the verdict of one subject about one peer, for everything a packet can carry.

use crate::ports::{self, END, PortSet};
use portcullis_ir::cluster::NamedPort;
use portcullis_ir::{Action, PortTerm, Ports, Tier, Verdict};

/// What a rule means to the engine: rules that stand in different places and mean the same, on
/// either side, are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Meaning {
    /// Tier, order and action: lower decides first.
    pub precedence: (Tier, (i32, u32), Action),
    /// The peers, as a set of nodes interned in [`crate::side::Evaluation`].
    pub peers: u32,
    /// The ports.
    pub ports: Ports,
    /// What it asks beyond L4, in canonical text.
    pub l7: Option<String>,
    /// Whether it asks for authentication.
    pub authenticates: bool,
}

/// What decides where no rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fallback {
    /// Nothing turned default deny on.
    Open,
    /// The node's host reaches its pods.
    Localhost,
    /// Default deny.
    DefaultDeny,
}

/// Why a cell is as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Rules with these meanings, sorted.
    Rules(Vec<u32>),
    /// No rule.
    Fallback(Fallback),
}

/// The answer for one stretch of coordinates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub why: Why,
    /// What a proxy goes on to decide, in canonical text; `None` where the flow is not redirected.
    pub l7: Option<String>,
    /// A deciding rule asks for authentication before traffic flows (SEM-2.12).
    pub authenticates: bool,
}

impl Cell {
    /// Everything that is asked of an allowed flow beyond L4, in words.
    pub fn asks(&self) -> Option<String> {
        match (&self.l7, self.authenticates) {
            (Some(l7), true) => Some(format!("{l7}; authentication")),
            (None, true) => Some("authentication".to_owned()),
            (l7, false) => l7.clone(),
        }
    }
}

/// Cells in order of their first coordinate; together they cover all traffic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    cells: Vec<(u32, Cell)>,
}

impl Row {
    /// The row of the rules that take in one peer. `names` are the named ports of the endpoint that
    /// receives the flow.
    pub fn new(rules: &[(u32, &Meaning)], names: &[NamedPort], fallback: Fallback) -> Self {
        let spans: Vec<(u32, &Meaning, PortSet)> =
            rules.iter().map(|(id, m)| (*id, *m, port_set(&m.ports, names))).collect();
        let mut cuts: Vec<u32> =
            spans.iter().flat_map(|(_, _, s)| s.intervals().iter().flat_map(|(a, b)| [*a, *b])).collect();
        cuts.push(0);
        cuts.sort_unstable();
        cuts.dedup();
        let mut cells: Vec<(u32, Cell)> = Vec::with_capacity(cuts.len());
        for at in cuts.into_iter().filter(|at| *at < END) {
            let here: Vec<(u32, &Meaning)> =
                spans.iter().filter(|(_, _, s)| s.contains(at)).map(|(id, m, _)| (*id, *m)).collect();
            let cell = decide(&here, fallback);
            if cells.last().is_none_or(|(_, last)| *last != cell) {
                cells.push((at, cell));
            }
        }
        Self { cells }
    }

    /// The cell of a coordinate.
    pub fn at(&self, coordinate: u32) -> Option<&Cell> {
        let i = self.cells.partition_point(|(start, _)| *start <= coordinate);
        i.checked_sub(1).and_then(|i| self.cells.get(i)).map(|(_, c)| c)
    }

    /// Each cell with its half-open stretch of coordinates.
    pub fn stretches(&self) -> impl Iterator<Item = (u32, u32, &Cell)> {
        let ends = self.cells.iter().skip(1).map(|(s, _)| *s).chain(std::iter::once(END));
        self.cells.iter().zip(ends).map(|((start, cell), end)| (*start, end, cell))
    }

    /// What is allowed.
    pub fn allowed(&self) -> PortSet {
        let mut out = PortSet::default();
        for (start, end, cell) in self.stretches() {
            if cell.verdict == Verdict::Allowed {
                out.push(start, end);
            }
        }
        out
    }
}

/// The coordinates a rule's ports take in.
pub fn port_set(ports: &Ports, names: &[NamedPort]) -> PortSet {
    match ports {
        Ports::All => PortSet::all(),
        Ports::Of(terms) => PortSet::new(terms.iter().flat_map(|t| term(t, names))),
    }
}

fn term(t: &PortTerm, names: &[NamedPort]) -> Vec<(u32, u32)> {
    match t {
        PortTerm::Range(l4, low, high) => vec![ports::range(*l4, *low, *high)],
        PortTerm::Named(l4, name) => names
            .iter()
            .filter(|(n, p, _)| n == name && p == l4)
            .map(|(_, p, number)| ports::range(*p, *number, *number))
            .collect(),
        PortTerm::Icmp(v6, t) => vec![ports::icmp(*v6, *t)],
        PortTerm::Protocol(n) => vec![ports::protocol(*n)],
    }
}

/// The cell of a set of rules that all take in the packet (SEM-6.1 to SEM-6.5).
fn decide(rules: &[(u32, &Meaning)], fallback: Fallback) -> Cell {
    let mut sorted: Vec<(u32, &Meaning)> = rules.to_vec();
    sorted.sort_by_key(|(id, m)| (m.precedence, *id));
    let mut rest = sorted.as_slice();
    while let Some((_, first)) = rest.first() {
        let level = first.precedence;
        if level.2 == Action::Pass {
            // The whole tier passes: deny or allow at this order would have sorted before.
            let skip = rest.partition_point(|(_, m)| m.precedence.0 <= level.0);
            rest = rest.get(skip..).unwrap_or(&[]);
            continue;
        }
        let deciding: Vec<u32> =
            rest.iter().take_while(|(_, m)| m.precedence == level).map(|(id, _)| *id).collect();
        let verdict = if level.2 == Action::Deny { Verdict::Denied } else { Verdict::Allowed };
        let l7 = (verdict == Verdict::Allowed).then(|| l7_of(rest, level)).flatten();
        let authenticates = verdict == Verdict::Allowed
            && rest.iter().take_while(|(_, m)| m.precedence == level).any(|(_, m)| m.authenticates);
        return Cell { verdict, why: Why::Rules(deciding), l7, authenticates };
    }
    let verdict = if fallback == Fallback::DefaultDeny { Verdict::Denied } else { Verdict::Allowed };
    Cell { verdict, why: Why::Fallback(fallback), l7: None, authenticates: false }
}

/// What the proxy decides: the union of what the deciding rules ask (SEM-6.8).
fn l7_of(rules: &[(u32, &Meaning)], level: (Tier, (i32, u32), Action)) -> Option<String> {
    let mut parts: Vec<&str> = rules
        .iter()
        .take_while(|(_, m)| m.precedence == level)
        .filter_map(|(_, m)| m.l7.as_deref())
        .collect();
    parts.sort_unstable();
    parts.dedup();
    (!parts.is_empty()).then(|| parts.join(" | "))
}
