//! The smallest readable additions to policies that let given flows through.
//!
//! The way through: [`gaps`] finds the sides that deny each flow, and whether an allow can change that; [`hosts`] lists
//! the policies that an addition can go into; [`plan`] decides which gets what; [`pick`] finds label selectors;
//! [`entry`] makes entries of peers and ports, [`l7`] of requests; [`grow`] finds entries that are there and need one more peer or port; [`yaml`] and [`style`] write them as the file is written; [`edit`] puts
//! them into the text; [`bound`] says what they take in at most; [`opened`] compares that with what the compiler says.
//!
//! Nothing here decides a verdict: what is denied, and what an addition opens, the class engine says.

pub mod bound;
pub mod edit;
mod entry;
mod gaps;
mod grow;
mod hosts;
mod l7;
pub mod opened;
mod pick;
mod plan;
mod said;
pub mod style;
mod write;
pub mod yaml;

pub use bound::{Bound, PeerSet, Product};
pub use opened::{Opened, opened};
pub use said::Said;

use portcullis_diag::{FileId, ObjectRef, SourceMap};
use portcullis_front::ast::Object;
use portcullis_ir::{Direction, FlowPort, PeerRef, RuleId};
use portcullis_sema::cells::Cells;
use portcullis_sema::diff::RuleRef;
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use std::collections::BTreeSet;

/// A flow that is to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Who sends.
    pub from: PeerRef,
    /// Who gets it, after service translation (SEM-7.3).
    pub to: PeerRef,
    /// What it carries.
    pub port: FlowPort,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The policies and their cluster.
    pub input: Input<'a>,
    /// Flows that are to pass and that these policies deny.
    pub wanted: &'a [Wanted],
    /// The policies' objects, those with one name and kind in the order in which a later one wins.
    pub objects: &'a [&'a Object],
    /// Texts of their files.
    pub sources: &'a SourceMap,
    /// Files that may be edited.
    pub editable: &'a BTreeSet<FileId>,
    /// Policies to edit rather than others: those that a change brought.
    pub touched: &'a BTreeSet<ObjectRef>,
    /// Requests that are to pass, on connections that pass.
    pub refused: &'a [Refusal],
    /// Nothing but what is wanted: no other pods of a workload, no ranges, no prefixes.
    pub exact: bool,
}

/// What an application asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// An HTTP request.
    Http {
        /// `GET`.
        method: String,
        /// The path with its query.
        path: String,
    },
    /// A DNS query.
    Dns(String),
}

/// A request that a proxy of one side refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The side.
    pub direction: Direction,
    /// The rules that send the connection to the proxy, none of which lets the request through.
    pub rules: Vec<RuleId>,
    /// The request.
    pub asked: Asked,
}

/// Why no allow lets a flow through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// These rules deny it at a side, and no allow stands above them.
    Denied(Direction, Vec<RuleRef>),
    /// Policies have no words for it alone.
    NotWritten(FlowPort),
}

/// A flow that stays denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Which of the wanted flows.
    pub wanted: usize,
    /// Why.
    pub why: Why,
}

/// One addition: entries of one list of one policy.
#[derive(Clone, Debug)]
pub struct Addition {
    /// The policy.
    pub policy: ObjectRef,
    /// It is a new one.
    pub is_new: bool,
    /// The list: `ingress` or `egress`.
    pub direction: Direction,
    /// What it takes in, in words and numbers.
    pub said: Vec<Said>,
    /// For an addition to the L7 rules of an entry: what is let through, and for whom.
    pub requests: Option<Requests>,
}

/// Requests that an addition to L7 rules lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Each, as the policy says it.
    pub all: Vec<String>,
    /// Those of them that take in more than the requests that were asked for, and how.
    pub wider: Vec<String>,
    /// The pods of the policy, in words.
    pub subjects: String,
    /// Who is at the other end of the entry, in words.
    pub peers: String,
}

/// A policy that is to be added.
#[derive(Clone, Debug)]
pub struct Created {
    /// The policy.
    pub policy: ObjectRef,
    /// Its text, one document without a line of dashes.
    pub text: String,
    /// A file that it belongs beside: that of a policy that denies what it allows.
    pub beside: Option<FileId>,
}

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct Suggestion {
    /// Files with their new texts, in order of the files.
    pub edits: Vec<(FileId, String)>,
    /// New policies, in order of their names.
    pub created: Vec<Created>,
    /// What is added, policy by policy.
    pub additions: Vec<Addition>,
    /// Flows that no addition lets through, in order of the wanted flows.
    pub blocked: Vec<Blocked>,
    /// What the additions let through at most.
    pub bound: Bound,
    /// What a reader has to know; whole sentences.
    pub notes: Vec<String>,
}

/// Finds additions for the flows that are wanted.
pub fn suggest(task: &Task<'_>) -> Suggestion {
    let evaluation = Evaluation::new(&[task.input], &gaps::addresses(task));
    let cells = Cells::new(&evaluation);
    let nodes = gaps::Nodes::new(&cells);
    let picker = pick::Picker::new(task.input.cluster, task.input.policies);
    let gaps = gaps::find(task, &cells, &nodes);
    let hosts = hosts::list(task, &cells);
    let plan = plan::make(task, &cells, &nodes, &picker, &gaps, &hosts);
    write::write(task, &cells, &picker, gaps, &hosts, plan)
}
