//! What a comparison says, ready to print: groups of flows, never pairs of pods.

use crate::describe::PeerGroup;
use crate::ports::PortSet;
use portcullis_diag::{ObjectRef, Span};
use portcullis_ir::{Action, Direction, Tier, Verdict, Workload};

/// Everything that changes between two sets of policies.
#[derive(Clone, Debug, Default)]
pub struct Review {
    /// Groups of flows whose verdict changes: denied first, then narrowed, then allowed; within
    /// each, most pods first.
    pub findings: Vec<Finding>,
    /// Endpoints that become, or stop being, default-deny in a direction.
    pub transitions: Vec<Transition>,
    /// Totals over the findings.
    pub totals: Totals,
    /// Workloads that exist on the head side only; their flows are not compared.
    pub added: Vec<Workload>,
    /// Workloads that exist on the base side only.
    pub removed: Vec<Workload>,
    /// Flows of workload pairs where one side's verdict changes and the other side denies before
    /// and after: nothing changes in effect, but one of two locks does.
    pub masked_flows: u64,
    /// Policy objects that differ, by what happened to them.
    pub policies: PolicyChanges,
}

/// Totals over all findings. A flow is a pair of workloads (or of a workload and one thing outside
/// the cluster's pods) with the ports that change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Flows that become denied.
    pub denied: u64,
    /// Flows that become allowed.
    pub allowed: u64,
    /// Flows that stay allowed and are from now on decided by a proxy's rules (or no longer are).
    pub l7: u64,
    /// Distinct workloads at either end of the denied flows.
    pub denied_workloads: u64,
    /// Distinct workloads at either end of the allowed flows.
    pub allowed_workloads: u64,
    /// Distinct workloads at either end of the L7 flows.
    pub l7_workloads: u64,
    /// Endpoint directions that become default-deny, counted by workload.
    pub newly_default_deny: u64,
}

/// Policy objects by what happened to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyChanges {
    /// On the head side only.
    pub added: Vec<ObjectRef>,
    /// On the base side only.
    pub removed: Vec<ObjectRef>,
    /// On both, with another meaning.
    pub changed: Vec<ObjectRef>,
}

/// What happens to the flows of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// Allowed before, denied now.
    Denied,
    /// Allowed before and now; what a proxy asks of them changes.
    L7,
    /// Denied before, allowed now.
    Allowed,
}

/// Flows that change in one way for one cause.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What happens.
    pub kind: FindingKind,
    /// Who sends.
    pub sources: PeerGroup,
    /// Who receives.
    pub destinations: PeerGroup,
    /// What changes.
    pub ports: PortSet,
    /// Those of the ports that containers of the destinations declare: where traffic is to be
    /// expected. Empty if they declare none of them.
    pub declared: PortSet,
    /// The sources' egress; `None` where the sources are not pods.
    pub egress: Option<SideChange>,
    /// The destinations' ingress; `None` where the destinations are not pods.
    pub ingress: Option<SideChange>,
    /// Flows: pairs of a source and a destination workload.
    pub flows: u64,
    /// Pods at either end.
    pub pods: u64,
    /// One flow of the group, in words that `explain` takes.
    pub example: Example,
    /// The way out: how to keep (or not open) these flows.
    pub help: String,
    /// YAML that, added to the policy named in `help`, keeps the flows; empty where none is known.
    pub patch: String,
}

/// One flow of a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// What `--from` takes.
    pub from: String,
    /// What `--to` takes.
    pub to: String,
    /// What `--port` takes, e.g. `8080/TCP`.
    pub port: String,
}

/// One side's verdict before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideChange {
    /// Ingress of the destinations or egress of the sources.
    pub direction: Direction,
    /// Before.
    pub base: SideVerdict,
    /// After.
    pub head: SideVerdict,
}

/// One side's verdict and its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub cause: Cause,
    /// What a proxy asks, in canonical text, if the flow is redirected.
    pub l7: Option<String>,
}

/// Why a side decides as it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// These rules decide.
    Rules(Vec<RuleRef>),
    /// No rule takes the flow in, and these policies turned default deny on.
    DefaultDeny(Vec<PolicyRef>),
    /// The node's own host may always reach its pods.
    Localhost,
    /// No rule takes the flow in, and nothing turned default deny on.
    NotEnforced,
}

/// A rule and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleRef {
    /// Its policy.
    pub policy: ObjectRef,
    /// Where the rule stands: the `toPorts` item if it comes from one, else the whole entry.
    pub span: Span,
    /// The whole entry of its section, peers and ports.
    pub entry: Span,
    /// What it does.
    pub action: Action,
    /// Its tier.
    pub tier: Tier,
}

/// A policy and the line that turned default deny on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRef {
    /// The policy.
    pub policy: ObjectRef,
    /// The section that selects (`ingress:`, `policyTypes:` …).
    pub span: Span,
    /// Where the policy's name stands.
    pub name_span: Span,
}

/// Endpoints whose default changes in one direction.
#[derive(Clone, Debug)]
pub struct Transition {
    /// The direction.
    pub direction: Direction,
    /// They become default-deny; otherwise they stop being it.
    pub on: bool,
    /// Who.
    pub endpoints: PeerGroup,
    /// The policies that make it so: on the head side if it turns on, on the base side if off.
    pub by: Vec<PolicyRef>,
    /// Flows of the denied (or allowed) findings that this default decides.
    pub flows: u64,
    /// Peers that are cut off (or let in) by it on every port, in words; empty if there are none.
    pub cut_off: String,
    /// Peers that are cut off (or let in) by it on some ports only, in words; empty likewise.
    pub cut_off_partly: String,
}
