//! The normal form: what a set of policies and a cluster mean, without their spelling.
//!
//! The way through: [`cluster`] turns pods, workloads and the rest into endpoints and identities;
//! [`lower`] turns every kind of policy into [`rule::Rule`]s over interned [`selector::Selector`]s,
//! [`peer::PeerTerm`]s and [`port::PortTerm`]s; [`verify`] checks the result's invariants before
//! anything is computed from it. [`flow`] is the vocabulary of questions and answers that the
//! engines share.

pub mod cluster;
pub mod flow;
pub mod fqdn;
pub mod intern;
pub mod label;
pub mod lower;
pub mod options;
pub mod peer;
pub mod port;
pub mod rule;
pub mod selector;
pub mod synthetic;
pub mod verify;

pub use cluster::{Cluster, Endpoint, EndpointId, IdentityId, Workload, WorkloadId};
pub use flow::{Decision, Flow, FlowPort, PeerRef, Reason, Verdict};
pub use label::{Label, LabelSet};
pub use options::{EnforcementMode, Options};
pub use peer::{PeerTerm, Peers, Reserved};
pub use port::{L4, PortTerm, Ports};
pub use portcullis_front::ast::{AuthMode, Operator};
pub use rule::{
    Action, Direction, Enforcement, EnforcementId, Policy, PolicyId, PolicySet, Rule, RuleId, Subject, Tier,
};
pub use selector::{Requirement, Selector};
