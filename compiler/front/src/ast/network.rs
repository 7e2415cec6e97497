//! Kubernetes NetworkPolicy.

use super::{CidrRule, LabelSelector, PortValue, Protocol, Spanned};
use portcullis_diag::Span;

/// A Kubernetes NetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPolicy {
    /// `spec`.
    pub span: Span,
    /// `podSelector`.
    pub pod_selector: LabelSelector,
    /// `ingress`; the place of a section is its key.
    pub ingress: Option<Spanned<Vec<NetworkRule>>>,
    /// `egress`.
    pub egress: Option<Spanned<Vec<NetworkRule>>>,
    /// `policyTypes`: (ingress named, egress named), `None` if absent.
    pub policy_types: Option<Spanned<(bool, bool)>>,
}

/// One `ingress` or `egress` entry of a NetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRule {
    /// The whole entry.
    pub span: Span,
    /// `from` / `to`; absent and empty both mean every peer.
    pub peers: Vec<NetworkPeer>,
    /// `ports`; absent and empty both mean every port.
    pub ports: Vec<NetworkPort>,
}

/// One peer of a NetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPeer {
    /// The whole entry.
    pub span: Span,
    /// `podSelector`.
    pub pod_selector: Option<LabelSelector>,
    /// `namespaceSelector`.
    pub namespace_selector: Option<LabelSelector>,
    /// `ipBlock`.
    pub ip_block: Option<CidrRule>,
}

/// One port of a NetworkPolicy. `port` absent is every port of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPort {
    /// The whole entry.
    pub span: Span,
    /// `port`.
    pub port: Option<PortValue>,
    /// `endPort` where it widens the port.
    pub end: Option<u16>,
    /// `protocol`, TCP if absent.
    pub protocol: Protocol,
}
