//! Questions: is there a flow on which two policy sets differ, or that refutes a claim?

use crate::claim::{self, Claim, Pattern};
use crate::decode::{self, Witness};
use crate::encode::{Encoder, Fault};
use crate::solver::{SatResult, Solver, SolverError};
use crate::symbols::{FlowSymbols, Vocabulary};
use crate::term::{Assignment, TermId, Terms};
use crate::world::{self, Pods};
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::{Direction, Options, PolicySet, Requirement};

/// What became of a question.
#[derive(Clone, Debug)]
pub enum Answer {
    /// There is no such flow: proved.
    None,
    /// Such a flow. Ask another engine before believing it.
    Found(Box<Witness>),
    /// The solver gave up, and why.
    Undecided(String),
}

/// Questions about some policy sets over one vocabulary.
#[derive(Debug)]
pub struct Space<'a> {
    /// What is told apart.
    pub words: Vocabulary,
    /// The formulas.
    pub terms: Terms,
    /// The flow that is asked about.
    pub flow: FlowSymbols,
    /// The pods it may be between.
    pub pods: Pods<'a>,
    pub(crate) options: &'a Options,
    pub(crate) fault: Option<Fault>,
    possible: TermId,
}

impl<'a> Space<'a> {
    /// The vocabulary of policy sets and claims, and the flows that could exist.
    pub fn new<'b>(
        sets: &[&PolicySet],
        claims: impl IntoIterator<Item = &'b Claim>,
        pods: Pods<'a>,
        options: &'a Options,
    ) -> Self {
        let patterns: Vec<&Pattern> = claims.into_iter().flat_map(Claim::patterns).collect();
        let requirements = patterns.iter().filter_map(|p| match p {
            Pattern::Pods(all) => Some(all.iter()),
            _ => None,
        });
        let requirements: Vec<&Requirement> = requirements.flatten().collect();
        let names: Vec<&Fqdn> = patterns
            .iter()
            .filter_map(|p| match p {
                Pattern::Name(f) => Some(f),
                _ => None,
            })
            .collect();
        let mut words = Vocabulary::new(sets, requirements, names);
        for p in &patterns {
            if let Pattern::Cidr(net, except) = p {
                words.nets.insert(*net);
                words.nets.extend(except.iter().copied());
            }
        }
        let mut terms = Terms::default();
        let flow = FlowSymbols::new(&words, &mut terms);
        let possible = world::possible(&words, &flow, pods, options, &mut terms);
        Self { words, terms, flow, pods, options, fault: None, possible }
    }

    /// Makes the encoder err, for tests that must notice.
    #[doc(hidden)]
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// The flow passes under a policy set.
    pub fn passes(&mut self, set: &PolicySet) -> TermId {
        let e = Encoder { words: &self.words, options: self.options, fault: self.fault };
        e.flow(set, &self.flow, &mut self.terms)
    }

    /// One side of the flow allows it, or is no pod.
    pub fn side(&mut self, set: &PolicySet, direction: Direction) -> TermId {
        let e = Encoder { words: &self.words, options: self.options, fault: self.fault };
        e.side(set, direction, &self.flow, &mut self.terms)
    }

    /// The flow passes under `a` and not under `b`.
    pub fn lost(&mut self, a: &PolicySet, b: &PolicySet) -> TermId {
        let (a, b) = (self.passes(a), self.passes(b));
        let b = self.terms.not(b);
        self.terms.and([a, b])
    }

    /// The flow refutes a claim about a policy set, and: the claim speaks of the flow.
    pub fn claim(&mut self, claim: &Claim, set: &PolicySet) -> (TermId, TermId) {
        let passes = self.passes(set);
        let e = Encoder { words: &self.words, options: self.options, fault: self.fault };
        let encoded = claim::encode(claim, &e, &self.flow, &mut self.terms);
        let verdict = if encoded.refuted_by_passing { passes } else { self.terms.not(passes) };
        (self.terms.and([encoded.subject, verdict]), encoded.scope)
    }

    /// The name of the cluster the pods are of.
    pub fn cluster_name(&self) -> &str {
        &self.options.cluster_name
    }

    /// The whole query as SMT-LIB2 under a header of comment lines: `unsat` means there is no such
    /// flow.
    pub fn text(&self, header: &str, goal: TermId) -> String {
        self.terms.query(header, &[("the flow could exist", self.possible), ("the question", goal)])
    }

    /// Whether a flow could exist and is one that is asked for.
    pub fn holds(&self, goal: TermId, a: &Assignment) -> bool {
        self.terms.holds(self.possible, a) && self.terms.holds(goal, a)
    }

    /// Asks for a flow; one that is found is made as plain as it can be.
    pub fn ask(&self, solver: &mut dyn Solver, header: &str, goal: TermId) -> Result<Answer, SolverError> {
        match solver.check(&self.text(header, goal))? {
            SatResult::Unsat => Ok(Answer::None),
            SatResult::Unknown(why) => Ok(Answer::Undecided(why)),
            SatResult::Sat(values) => {
                let read = self.terms.read(&values).filter(|a| self.holds(goal, a));
                let a = read.ok_or_else(|| {
                    SolverError("the solver's values are no answer to the query".to_owned())
                })?;
                Ok(Answer::Found(Box::new(decode::witness(self, goal, a))))
            }
        }
    }

    /// Whether there is any such flow; `None` if the solver gave up.
    pub fn any(
        &self,
        solver: &mut dyn Solver,
        header: &str,
        goal: TermId,
    ) -> Result<Option<bool>, SolverError> {
        Ok(match solver.check(&self.text(header, goal))? {
            SatResult::Sat(_) => Some(true),
            SatResult::Unsat => Some(false),
            SatResult::Unknown(_) => None,
        })
    }
}
