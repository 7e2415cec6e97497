//! ClusterNetworkPolicy and its older forms.

use super::{LabelSelector, PortSpec, Spanned, Text};
use ipnet::IpNet;
use portcullis_diag::Span;

/// A ClusterNetworkPolicy, AdminNetworkPolicy or BaselineAdminNetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPolicy {
    /// `spec`.
    pub span: Span,
    /// `tier`.
    pub tier: Spanned<ClusterTier>,
    /// `priority`: lower decides first.
    pub priority: Spanned<i32>,
    /// `subject`.
    pub subject: ClusterSubject,
    /// `ingress`, in order: the index is part of the priority (SEM-6.2).
    pub ingress: Vec<ClusterRule>,
    /// `egress`, likewise.
    pub egress: Vec<ClusterRule>,
}

/// The tier of a ClusterNetworkPolicy (SEM-6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterTier {
    /// Decides before every other policy.
    Admin,
    /// Decides after every other policy.
    Baseline,
}

/// `subject` and pod peers of a ClusterNetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterSubject {
    /// `namespaces`: a selector over namespace labels.
    Namespaces(LabelSelector),
    /// `pods`: both selectors.
    Pods {
        /// `namespaceSelector`.
        namespace_selector: LabelSelector,
        /// `podSelector`.
        pod_selector: LabelSelector,
    },
}

/// `action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the action of that name")]
pub enum ClusterAction {
    Accept,
    Deny,
    Pass,
}

/// One rule of a ClusterNetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterRule {
    /// The whole rule.
    pub span: Span,
    /// `name`.
    pub name: Option<Text>,
    /// `action`.
    pub action: Spanned<ClusterAction>,
    /// `from` / `to`.
    pub peers: Vec<ClusterPeer>,
    /// `protocols` (or the older `ports`); `None` is every port and protocol.
    pub ports: Option<Spanned<Vec<PortSpec>>>,
}

/// One peer of a ClusterNetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPeer {
    /// The whole entry.
    pub span: Span,
    /// What it names.
    pub what: ClusterPeerKind,
}

/// What a ClusterNetworkPolicy's peer names.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterPeerKind {
    /// `namespaces` or `pods`.
    Pods(ClusterSubject),
    /// `networks`.
    Networks(Vec<Spanned<IpNet>>),
    /// `nodes`.
    Nodes(LabelSelector),
    /// `domainNames`.
    DomainNames(Vec<Text>),
}
