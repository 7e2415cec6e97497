//! One subject against every peer and every port.

use crate::peers::{PeerClasses, PeerPair, asks_for_names};
use crate::ports::Stretches;
use crate::subjects::SubjectCase;
use crate::{Difference, Names};
use fixedbitset::FixedBitSet;
use portcullis_abi::word;
use portcullis_ir::{AuthMode, Decision, Direction, PolicyId, PolicySet, Reason, Rule, RuleId, Verdict};
use portcullis_oracle::Oracle;
use portcullis_symbolic::Says;
use portcullis_tables::Cause;
use portcullis_tables::{Audit, Image, ImageError, Word};
use rustc_hash::{FxHashMap, FxHashSet};

/// What all subjects share.
pub(crate) struct Comparison<'c> {
    pub(crate) oracle: Oracle<'c>,
    pub(crate) image: Image<'c>,
    pub(crate) causes: Vec<&'c str>,
    pub(crate) peers: PeerClasses,
    pub(crate) ports: Stretches,
    pub(crate) audit: &'c Audit,
    pub(crate) names: Names<'c>,
}

/// What the oracle says, in the image's terms.
struct Expected {
    bits: u32,
    line: String,
    decision: Decision,
}

/// Differences of one subject, the first of each pair of rows, and how many cells were compared.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) differences: Vec<Difference>,
    pub(crate) pairs: u64,
    pub(crate) cells: u64,
}

/// A subject's own tables.
struct Work<'w, 'c> {
    all: &'w Comparison<'c>,
    case: &'w SubjectCase,
    rules: Vec<(RuleId, &'w Rule)>,
    /// By rule: the stretches it takes in; `None` where that depends on the peer's named ports.
    takes: Vec<Option<FixedBitSet>>,
    /// What follows from rules that take in a flow, by their places in `rules` and the host's bit.
    decided: FxHashMap<Vec<u32>, usize>,
    expected: Vec<Expected>,
}

/// Compares every cell of one subject. Pairs of peers for which the same rules are left share a row of
/// the oracle; a row of the image is compared with it once.
pub(crate) fn compare(all: &Comparison<'_>, case: &SubjectCase) -> Outcome {
    let rules: Vec<(RuleId, &Rule)> =
        case.key.rules.iter().filter_map(|id| Some((*id, all.oracle.policies.rule(*id)?))).collect();
    let mut work =
        Work { all, case, takes: Vec::new(), rules, decided: FxHashMap::default(), expected: Vec::new() };
    work.takes = work.rules.iter().map(|(_, r)| work.stretches(r)).collect();
    let keys = work.keys();
    let mut rows: FxHashMap<&[u32], usize> = FxHashMap::default();
    let mut of_row: Vec<Vec<usize>> = Vec::new();
    let mut done: FxHashSet<(usize, Result<usize, ImageError>)> = FxHashSet::default();
    let mut out = Outcome::default();
    for pair in &all.peers.pairs {
        out.pairs += 1;
        let Some(key) = keys.get(pair.class).map(Vec::as_slice) else { continue };
        let at = *rows.entry(key).or_insert_with(|| {
            of_row.push(work.row(pair.class, key));
            of_row.len() - 1
        });
        let row = row_of(&all.image, case, pair);
        if done.insert((at, row.clone()))
            && let Some(oracle) = of_row.get(at)
        {
            out.cells += all.ports.pairs.len() as u64;
            out.differences.extend(work.differ(pair, oracle, &row));
        }
    }
    out
}

fn row_of(image: &Image<'_>, case: &SubjectCase, pair: &PeerPair) -> Result<usize, ImageError> {
    let subject = case.key.image.clone()?;
    image.row(subject, pair.image.clone()?)
}

impl Work<'_, '_> {
    /// By class of peers: places in `rules` of those whose peers take it in, then what else a row depends
    /// on: whether it is the host, and its named ports.
    fn keys(&self) -> Vec<Vec<u32>> {
        let classes = &self.all.peers.classes;
        let mut out: Vec<Vec<u32>> = vec![Vec::new(); classes.len()];
        for (at, (id, _)) in (0u32..).zip(&self.rules) {
            match self.all.peers.taken_in.get(id.0 as usize) {
                Some(Some(bits)) => {
                    for class in bits.ones() {
                        out.get_mut(class).into_iter().for_each(|list| list.push(at));
                    }
                }
                Some(None) => out.iter_mut().for_each(|list| list.push(at)),
                None => {}
            }
        }
        let by_peer = self.takes.iter().any(Option::is_none);
        for (list, class) in out.iter_mut().zip(classes) {
            list.push(u32::from(class.host));
            list.push(class.ports.filter(|_| by_peer).map_or(0, |p| p.0 + 1));
        }
        out
    }

    fn stretches(&self, rule: &Rule) -> Option<FixedBitSet> {
        if self.case.key.direction == Direction::Egress && asks_for_names(&rule.ports) {
            return None;
        }
        // Who the peer is plays no part then; any will do.
        let peer = &self.all.peers.classes.first()?.peer;
        let examples = &self.all.ports.examples;
        let mut bits = FixedBitSet::with_capacity(examples.len());
        for (at, port) in examples.iter().enumerate() {
            let (endpoint, d) = (self.case.endpoint, self.case.key.direction);
            bits.set(at, self.all.oracle.ports_take_in(&rule.ports, endpoint, d, peer, *port));
        }
        Some(bits)
    }

    /// The oracle's row about a class of peers: the place in `expected` of each stretch.
    fn row(&mut self, class: usize, key: &[u32]) -> Vec<usize> {
        let (endpoint, d) = (self.case.endpoint, self.case.key.direction);
        let Some(class) = self.all.peers.classes.get(class) else { return Vec::new() };
        let places = key.get(..key.len().saturating_sub(2)).unwrap_or_default();
        let mut out = Vec::with_capacity(self.all.ports.examples.len());
        let mut left: Vec<u32> = Vec::new();
        for (at, port) in self.all.ports.examples.iter().enumerate() {
            left.clear();
            left.extend(places.iter().filter(|place| {
                let place = **place as usize;
                match (self.takes.get(place), self.rules.get(place)) {
                    (Some(Some(bits)), _) => bits.contains(at),
                    (_, Some((_, rule))) => {
                        self.all.oracle.ports_take_in(&rule.ports, endpoint, d, &class.peer, *port)
                    }
                    _ => false,
                }
            }));
            left.push(u32::from(class.host));
            if let Some(found) = self.decided.get(&left) {
                out.push(*found);
                continue;
            }
            let matched: Vec<(RuleId, &Rule)> = left
                .iter()
                .take(left.len() - 1)
                .filter_map(|place| self.rules.get(*place as usize).copied())
                .collect();
            let denying = self.case.key.denying.clone();
            let decision = self.all.oracle.conclude(endpoint, d, &class.peer, &matched, denying);
            self.expected.push(self.expect(decision));
            self.decided.insert(left.clone(), self.expected.len() - 1);
            out.push(self.expected.len() - 1);
        }
        out
    }

    fn expect(&self, decision: Decision) -> Expected {
        let policies = self.all.oracle.policies;
        let cause = match &decision.reason {
            Reason::Rules(ids) => Cause::Rules(ids.clone()),
            Reason::DefaultDeny(ids) => Cause::DefaultDeny(ids.clone()),
            Reason::NotEnforced => Cause::NotEnforced,
            // The host needs no exception where default deny is off.
            Reason::AllowLocalhost if self.case.key.denying.is_empty() && !self.case.key.always => {
                Cause::NotEnforced
            }
            Reason::AllowLocalhost => Cause::Localhost,
        };
        let says = meant(&decision, policies);
        let bit = |set, bit| if set { bit } else { 0 };
        let bits = bit(says.passes, word::ALLOW)
            | bit(says.redirects, word::REDIRECT)
            | bit(says.authenticates, word::AUTHENTICATE)
            | bit(says.logs, word::LOG)
            | bit(!says.passes && self.audited(&decision.reason), word::AUDIT);
        Expected { bits, line: one_line(&(self.all.names)(&cause)), decision }
    }

    /// Whether nothing but policies in audit is behind a denial.
    fn audited(&self, reason: &Reason) -> bool {
        let policies = self.all.oracle.policies;
        let behind: Vec<Option<PolicyId>> = match reason {
            Reason::Rules(ids) => ids.iter().map(|id| Some(policies.rule(*id)?.policy)).collect(),
            Reason::DefaultDeny(ids) => {
                ids.iter().map(|id| Some(policies.enforcement(*id)?.policy)).collect()
            }
            Reason::NotEnforced | Reason::AllowLocalhost => Vec::new(),
        };
        let in_audit = |id: &Option<PolicyId>| {
            id.and_then(|id| policies.policy(id)).is_some_and(|p| {
                let namespaces = &self.all.audit.namespaces;
                self.all.audit.policies.contains(&p.object)
                    || namespaces.iter().any(|n| p.object.namespace.as_deref() == Some(n.as_str()))
            })
        };
        !behind.is_empty() && behind.iter().all(in_audit)
    }

    /// The first cell in which a row of the image has another verdict than the oracle's; if none has,
    /// the first that has another cause.
    fn differ(
        &self,
        pair: &PeerPair,
        oracle: &[usize],
        row: &Result<usize, ImageError>,
    ) -> Option<Difference> {
        let mut last: Option<(Word, usize)> = None;
        let mut other_cause = None;
        for port in &self.all.ports.pairs {
            let at = *oracle.get(port.stretch)?;
            let image = row
                .clone()
                .and_then(|row| port.atom.clone().map(|atom| (row, atom)))
                .and_then(|(row, atom)| self.all.image.word(row, atom));
            if let Ok(word) = image
                && last == Some((word, at))
            {
                continue;
            }
            let expected = self.expected.get(at)?;
            let equal = image.as_ref().is_ok_and(|w| {
                w.0 & ((1 << word::CAUSE_SHIFT) - 1) == expected.bits
                    && self.all.causes.get(w.cause() as usize) == Some(&expected.line.as_str())
            });
            if equal {
                last = image.ok().map(|word| (word, at));
                continue;
            }
            let found = Difference {
                subject: self.case.node,
                direction: self.case.key.direction,
                peer: pair.node,
                coordinate: port.coordinate,
                image,
                expected: expected.decision.clone(),
                expected_audit: expected.bits & word::AUDIT != 0,
                expected_cause: expected.line.clone(),
            };
            if found.changes_verdict() {
                return Some(found);
            }
            other_cause = other_cause.or(Some(found));
        }
        other_cause
    }
}

/// What a decision asks of the packet.
pub(crate) fn meant(decision: &Decision, policies: &PolicySet) -> Says {
    let passes = decision.verdict == Verdict::Allowed;
    let deciding = match &decision.reason {
        Reason::Rules(ids) => ids.as_slice(),
        _ => &[],
    };
    let rules = || deciding.iter().filter_map(|id| policies.rule(*id));
    let authenticates = rules().filter_map(|r| r.authentication).any(|a| a != AuthMode::Disabled);
    Says {
        passes,
        redirects: passes && decision.redirect,
        authenticates: passes && authenticates,
        logs: rules().any(|r| r.log.is_some()),
    }
}

/// As the image writes it.
fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}
