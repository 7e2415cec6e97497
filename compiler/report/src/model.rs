//! What each command has to say, whatever the format.

use portcullis_diag::{Diagnostic, ObjectRef};
use portcullis_ir::{Direction, Verdict};
use portcullis_sema::diff::{Cause, Review, RuleRef};
use portcullis_sema::reach::Reach;
use portcullis_sema::steps::Steps;

/// Where the pods came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClusterSource {
    /// A cluster file or folder was given.
    Given(String),
    /// Workload templates and pods beside the policies.
    Beside,
    /// Nothing is known of any pod: the answer covers the policies' own selectors only.
    #[default]
    None,
}

/// What was looked at, so that nobody takes silence for safety.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Where the pods came from.
    pub cluster: ClusterSource,
    /// Files read.
    pub files: usize,
    /// Documents read.
    pub documents: usize,
    /// Policy objects that take part.
    pub policies: usize,
    /// Policy objects that do not: refused, inert or unreadable.
    pub policies_left_out: usize,
    /// Pods known.
    pub pods: u64,
    /// Workloads known.
    pub workloads: usize,
    /// Namespaces known.
    pub namespaces: usize,
    /// Pods on the host's network, which pod policy never concerns.
    pub host_network: usize,
    /// Documents left out on purpose, by reason, e.g. `("Helm template", 3)`.
    pub skipped: Vec<(String, usize)>,
    /// Anything else a reader must know to judge the answer; whole sentences.
    pub notes: Vec<String>,
}

/// What `check` says.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Findings in order of file and place.
    pub diagnostics: Vec<Diagnostic>,
    /// What was looked at.
    pub coverage: Coverage,
}

/// What `diff` says.
#[derive(Clone, Debug, Default)]
pub struct DiffReport {
    /// What the base side is called: a folder, a revision.
    pub base: String,
    /// What the head side is called.
    pub head: String,
    /// What changes.
    pub review: Review,
    /// Errors on the head side (or the base side) that leave an object out: while there is one,
    /// the change cannot be judged safe.
    pub blocking: Vec<Diagnostic>,
    /// Other findings that the head side has and the base side has not.
    pub diagnostics: Vec<Diagnostic>,
    /// Policies that the blocking errors keep out of the answer: nobody added, removed or changed them
    /// in a way that could be told.
    pub left_out: Vec<ObjectRef>,
    /// Words that `explain` needs beside the flow to look at the head side: paths, a revision,
    /// `--cluster` and other settings. Empty if it cannot look there.
    pub explain_with: Vec<String>,
    /// What was looked at.
    pub coverage: Coverage,
    /// What was recorded, where recordings were given.
    pub recording: Option<Recording>,
    /// What of each finding was recorded, in the order of the review's findings; empty without recordings.
    pub traffic: Vec<Option<Traffic>>,
}

/// Recorded flows that share a fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections and requests.
    pub flows: u64,
    /// Pairs of workloads, or of a workload and an address, between which they are.
    pub pairs: u64,
}

/// A recording as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Lines, or elements of arrays.
    pub pieces: u64,
    /// Those that are facts about flows.
    pub records: u64,
    /// Connections.
    pub flows: u64,
    /// Requests of applications.
    pub requests: u64,
    /// Events that the recorder lost.
    pub lost: u64,
    /// Pieces that do not count: why, how many, and whether the answer is worse for it.
    pub left: Vec<(String, u64, bool)>,
    /// Flows about which nothing could be asked: why, and how many.
    pub unplaced: Vec<(String, u64)>,
    /// Flows that become denied.
    pub denied: Tally,
    /// Flows that become allowed.
    pub allowed: Tally,
    /// Flows that stay allowed while a proxy's rules for them change.
    pub l7: Tally,
    /// Flows that were refused when they were recorded and that the base allows.
    pub dropped_then: Tally,
    /// Flows that passed when they were recorded and that the base denies.
    pub passed_then: Tally,
    /// Flows that passed in audit mode only.
    pub audited: u64,
    /// What a reader has to know about how it was taken; whole sentences.
    pub notes: Vec<String>,
    /// The report shows what was recorded and nothing else.
    pub observed_only: bool,
}

/// What of a finding was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections.
    pub flows: u64,
    /// Pairs of workloads and ports between which they are, in words: from, to, port, connections and requests.
    /// Most first.
    pub pairs: Vec<(String, String, String, u64)>,
    /// Records.
    pub records: u64,
    /// Requests that a proxy will refuse, and let through before.
    pub requests_denied: u64,
    /// Requests that a proxy will let through, and refused before.
    pub requests_allowed: u64,
    /// One of these, in words.
    pub request: String,
    /// When the first was seen, in nanoseconds since 1970.
    pub first: Option<i64>,
    /// When the last was seen.
    pub last: Option<i64>,
    /// One connection: its ends, in words.
    pub example: String,
}

impl Traffic {
    /// Takes in when something was seen.
    pub fn note(&mut self, first: Option<i64>, last: Option<i64>) {
        let both = |a: Option<i64>, b: Option<i64>, f: fn(i64, i64) -> i64| match (a, b) {
            (Some(a), Some(b)) => Some(f(a, b)),
            (a, b) => a.or(b),
        };
        self.first = both(self.first, first, i64::min);
        self.last = both(self.last, last, i64::max);
    }

    /// By what findings are ranked: what would be noticed.
    pub fn weight(&self) -> u64 {
        self.flows + self.requests_denied + self.requests_allowed
    }
}

/// One side of an explained flow.
#[derive(Clone, Debug)]
pub struct ExplainedSide {
    /// Egress of the source or ingress of the destination.
    pub direction: Direction,
    /// The pod whose policy this is, in words.
    pub subject: String,
    /// Allowed or denied.
    pub verdict: Verdict,
    /// The cause.
    pub cause: Cause,
    /// Every rule that takes in the flow, deciding ones first.
    pub matched: Vec<RuleRef>,
    /// Rules that select the subject in this direction and do not take the flow in: the rule, and
    /// why not in words (`its ports are TCP 8080`, `its peers are app=web`).
    pub missed: Vec<(RuleRef, String)>,
    /// What a proxy goes on to decide, if the flow is redirected.
    pub l7: Option<String>,
    /// Those of the deciding rules that ask nothing of a proxy.
    pub plain: Vec<RuleRef>,
}

/// What `explain` says.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The source in words, e.g. `shop/web-1 (Deployment shop/web)`.
    pub from: String,
    /// The destination in words.
    pub to: String,
    /// `TCP 8080`.
    pub port: String,
    /// The whole verdict.
    pub verdict: Verdict,
    /// The sides that have policy; a side outside the cluster's pods has none.
    pub sides: Vec<ExplainedSide>,
    /// Anything else to know (an address that is a ClusterIP, a pod that reaches itself …).
    pub notes: Vec<String>,
    /// Errors that leave objects out of the answer.
    pub blocking: Vec<Diagnostic>,
    /// What was looked at.
    pub coverage: Coverage,
}

/// What `reach` says.
#[derive(Clone, Debug, Default)]
pub struct ReachReport {
    /// The answer.
    pub reach: Reach,
    /// Only its groups were asked for.
    pub groups_only: bool,
    /// Errors that leave objects out of the answer.
    pub blocking: Vec<Diagnostic>,
    /// What was looked at.
    pub coverage: Coverage,
}

/// What `reach --steps` and `reach --cut` say.
#[derive(Clone, Debug, Default)]
pub struct StepsReport {
    /// The answer.
    pub steps: Steps,
    /// Errors that leave objects out of the answer.
    pub blocking: Vec<Diagnostic>,
    /// What was looked at.
    pub coverage: Coverage,
}
