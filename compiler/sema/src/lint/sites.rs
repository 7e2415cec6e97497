//! Places in policies, each beside what it became in normal form.

use super::matcher::Trouble;
use portcullis_diag::{Code, Diagnostic, Span};
use portcullis_front::ast::{CidrRule, CiliumRule, Entry, LabelSelector, NetworkPolicy, Object};
use portcullis_ir::{Action, Direction, PolicyId};
use std::ops::Range;

/// One rule of a CNP or CCNP.
#[derive(Clone, Copy)]
pub(super) struct RuleSite<'a> {
    /// The policy.
    pub(super) object: &'a Object,
    /// Its id.
    pub(super) policy: PolicyId,
    /// The rule.
    pub(super) rule: &'a CiliumRule,
}

/// One entry of a CNP's or CCNP's section.
#[derive(Clone)]
pub(super) struct EntrySite<'a> {
    /// The rule it stands in.
    pub(super) at: RuleSite<'a>,
    /// The direction of its section.
    pub(super) direction: Direction,
    /// What its section does.
    pub(super) action: Action,
    /// The entry.
    pub(super) entry: &'a Entry,
    /// How many entries the section has.
    pub(super) siblings: usize,
    /// Its rules, as a stretch of [`portcullis_ir::PolicySet::rules`]; one for each `toPorts` item.
    pub(super) rules: Range<usize>,
}

impl EntrySite<'_> {
    /// `ingress`, `ingressDeny`, `egress` or `egressDeny`.
    pub(super) fn section(&self) -> &'static str {
        match (self.direction, self.action) {
            (Direction::Ingress, Action::Deny) => "ingressDeny",
            (Direction::Ingress, _) => "ingress",
            (Direction::Egress, Action::Deny) => "egressDeny",
            (Direction::Egress, _) => "egress",
        }
    }

    /// A peer field's name in this direction: `fromEndpoints` or `toEndpoints`.
    pub(super) fn field(&self, what: &str) -> String {
        format!("{}{what}", if self.direction == Direction::Ingress { "from" } else { "to" })
    }

    /// `allows` or `denies`.
    pub(super) fn does(&self) -> &'static str {
        if self.action == Action::Deny { "denies" } else { "allows" }
    }

    /// Whether the entry says nothing at all: `{}`.
    pub(super) fn is_empty(&self) -> bool {
        let e = self.entry;
        e.endpoints.is_none()
            && e.cidr.is_none()
            && e.cidr_set.is_none()
            && e.entities.is_none()
            && e.services.is_none()
            && e.groups.is_none()
            && e.nodes.is_none()
            && e.fqdns.is_none()
            && e.to_ports.as_ref().is_none_or(|p| p.value.is_empty())
            && e.icmps.is_none()
            && e.dropped.is_empty()
    }

    /// Whether the entry names ports or ICMP types.
    pub(super) fn has_ports(&self) -> bool {
        self.entry.to_ports.as_ref().is_some_and(|p| !p.value.is_empty()) || self.entry.icmps.is_some()
    }

    /// A finding about the policy of this entry.
    pub(super) fn finding(&self, code: Code, message: impl Into<String>, span: Span) -> Diagnostic {
        finding(self.at.object, code, message, span)
    }
}

/// One Kubernetes NetworkPolicy.
#[derive(Clone, Copy)]
pub(super) struct NetworkSite<'a> {
    /// The policy.
    pub(super) object: &'a Object,
    /// What it says.
    pub(super) policy: &'a NetworkPolicy,
}

/// Whom one policy or rule selects.
pub(super) struct SubjectSite<'a> {
    /// The policy.
    pub(super) object: &'a Object,
    /// Where the selector stands.
    pub(super) span: Span,
    /// What is written there, label keys as the policy's kind means them.
    pub(super) written: Option<&'a LabelSelector>,
    /// Why it selects no pod, if it does not.
    pub(super) trouble: Option<Trouble>,
}

/// One peer selector, by itself.
pub(super) struct PeerSite<'a> {
    /// The policy.
    pub(super) object: &'a Object,
    /// Where it stands.
    pub(super) span: Span,
    /// The pod selector as written, where there is one.
    pub(super) written: Option<&'a LabelSelector>,
    /// What its rule does.
    pub(super) action: Action,
    /// Why it matches nobody, if it does not.
    pub(super) trouble: Option<Trouble>,
}

/// One address range of a rule, by itself.
pub(super) struct CidrSite<'a> {
    /// The policy.
    pub(super) object: &'a Object,
    /// The direction of its section.
    pub(super) direction: Direction,
    /// Where it stands.
    pub(super) span: Span,
    /// The range.
    pub(super) net: ipnet::IpNet,
    /// The whole rule with its exceptions, where it has that form.
    pub(super) rule: Option<&'a CidrRule>,
}

/// A finding about a policy.
pub(super) fn finding(object: &Object, code: Code, message: impl Into<String>, span: Span) -> Diagnostic {
    Diagnostic::new(code, message, span).object(object.reference())
}
