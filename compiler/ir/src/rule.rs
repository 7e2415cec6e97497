//! Rules in normal form, and the set of them that one folder of policies means.
//!
//! # Meaning
//!
//! A [`PolicySet`] decides, for each endpoint and direction apart, every flow between that
//! endpoint (the subject) and a peer:
//!
//! 1. The rules that take part are those of the direction whose subject selector matches the
//!    subject's labels, whose peers take in the peer, and whose ports take in the flow's port.
//! 2. Tiers are asked in order: Admin, Normal, Baseline. Inside a tier the rules with the lowest
//!    [`Rule::order`] decide: deny if one of them denies, else allow if one allows, else (all of
//!    them pass) the next tier is asked. (SEM-6.1 to SEM-6.4)
//! 3. If no tier decided: ingress from the node's own host is allowed (SEM-5.5); otherwise the
//!    flow is denied if an [`Enforcement`] with default deny selects the subject in that
//!    direction, else allowed (SEM-5.1, SEM-6.5).
//!
//! A rule with L7 parts, a listener or authentication allows at L3 and L4; what else it asks is
//! carried along and named in reports, never decided here (SEM-6.8).

use crate::fqdn::Fqdn;
use crate::intern::Interner;
use crate::peer::{PeerTerm, Peers};
use crate::port::Ports;
use crate::selector::Selector;
use portcullis_diag::{ObjectRef, Span};
use portcullis_front::ast::{AuthMode, HttpRule, PortRule};
use smol_str::SmolStr;
use std::fmt;

/// Index of a [`Policy`] in its [`PolicySet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub u32);

/// Index of a [`Rule`] in its [`PolicySet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// Index of an [`Enforcement`] in its [`PolicySet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnforcementId(pub u32);

/// Seen from the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Traffic that reaches the subject.
    Ingress,
    /// Traffic that the subject sends.
    Egress,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// Where a rule stands among all (SEM-6.1). Lower decides first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// ClusterNetworkPolicy, tier Admin.
    Admin,
    /// CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, NetworkPolicy.
    Normal,
    /// ClusterNetworkPolicy, tier Baseline.
    Baseline,
}

/// What a rule does to the traffic it takes in. Ordered by precedence at one order (SEM-6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Drops it.
    Deny,
    /// Lets it through.
    Allow,
    /// Leaves it to the next tier (SEM-6.4).
    Pass,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Pass => "pass",
        })
    }
}

/// Whom a rule selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Endpoints whose labels match the interned selector.
    Endpoints(u32),
    /// The host (SEM-2.1); takes part only when the host firewall is on, and never for pods.
    Host(u32),
}

/// One policy object that takes part in verdicts.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its kind, namespace and name.
    pub object: ObjectRef,
    /// Where its name stands: the place to show when the policy as a whole is meant.
    pub span: Span,
    /// `description`, if it has one.
    pub description: Option<SmolStr>,
    /// Which lowering of which object this is, where somebody counts them; 0 otherwise. Two policies with
    /// one number that is not 0, in sets over one cluster, mean the same.
    pub version: u64,
}

/// One rule in normal form; the module documentation says what it means.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The policy it comes from.
    pub policy: PolicyId,
    /// Whom it selects.
    pub subject: Subject,
    /// The direction, seen from the subject.
    pub direction: Direction,
    /// Its tier.
    pub tier: Tier,
    /// Priority inside the tier: `spec.priority` and the rule's index for a
    /// ClusterNetworkPolicy, `(0, 0)` for all others (SEM-6.2). Lower decides first.
    pub order: (i32, u32),
    /// What it does.
    pub action: Action,
    /// Peers it takes in.
    pub peers: Peers,
    /// Ports it takes in.
    pub ports: Ports,
    /// What it asks beyond L4.
    pub l7: Option<Box<L7>>,
    /// Authentication it asks for.
    pub authentication: Option<AuthMode>,
    /// `log.value` of the `spec` or `specs` item it stands in: what it decides is logged under this
    /// text, and decided no differently (SEM-2.12).
    pub log: Option<SmolStr>,
    /// Where it stands: the `toPorts` item if it comes from one, else the whole entry.
    pub span: Span,
    /// The whole entry of `ingress`, `egressDeny`, … it comes from.
    pub entry: Span,
}

impl Rule {
    /// The key by which the deciding rule is found: lower wins (SEM-6.1 to SEM-6.3).
    pub fn precedence(&self) -> (Tier, (i32, u32), Action) {
        (self.tier, self.order, self.action)
    }

    /// Whether the flow goes on to a proxy (SEM-6.8).
    pub fn redirects(&self) -> bool {
        self.action == Action::Allow && self.l7.is_some()
    }
}

/// What a rule asks beyond L4: an allowed flow is redirected to a proxy that decides this.
#[derive(Clone, Debug, PartialEq)]
pub struct L7 {
    /// HTTP rules; a request must match one of them.
    pub http: Vec<HttpRule>,
    /// DNS rules were given (names may be empty: every query).
    pub dns: Option<Vec<Fqdn>>,
    /// TLS server names, one of which must match.
    pub server_names: Vec<SmolStr>,
    /// An Envoy listener's name.
    pub listener: Option<SmolStr>,
}

impl L7 {
    /// What is asked, in words that are equal for two parts that ask the same wherever they stand:
    /// `HTTP GET /books; DNS *.example.com`.
    pub fn text(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut http: Vec<String> = self.http.iter().map(http_text).collect();
        http.sort();
        http.dedup();
        if !http.is_empty() {
            parts.push(format!("HTTP {}", http.join(" or ")));
        }
        if let Some(dns) = &self.dns {
            let mut names: Vec<&str> = dns.iter().map(Fqdn::as_str).collect();
            names.sort_unstable();
            names.dedup();
            parts.push(format!("DNS {}", names.join(" or ")));
        }
        if !self.server_names.is_empty() {
            let mut names: Vec<&str> = self.server_names.iter().map(SmolStr::as_str).collect();
            names.sort_unstable();
            names.dedup();
            parts.push(format!("TLS server name {}", names.join(" or ")));
        }
        if let Some(listener) = &self.listener {
            parts.push(format!("listener {listener}"));
        }
        parts.join("; ")
    }

    /// The L7 part of a `toPorts` item, if it has one.
    pub fn of(rule: &PortRule) -> Option<Box<Self>> {
        let http = rule.http.as_ref().map(|h| h.value.clone()).unwrap_or_default();
        let dns = rule
            .dns
            .as_ref()
            .map(|d| d.value.iter().filter_map(crate::lower::fqdn_of).collect::<Vec<_>>())
            .filter(|d| !d.is_empty());
        let server_names: Vec<SmolStr> = rule.server_names.iter().map(|s| s.value.clone()).collect();
        let listener = rule.listener.as_ref().map(|l| l.value.clone());
        if http.is_empty() && dns.is_none() && server_names.is_empty() && listener.is_none() {
            None
        } else {
            Some(Box::new(Self { http, dns, server_names, listener }))
        }
    }
}

/// One HTTP rule in words; an empty rule is any request.
fn http_text(h: &HttpRule) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(h.method.as_ref().map(|t| t.value.to_string()));
    parts.extend(h.path.as_ref().map(|t| t.value.to_string()));
    parts.extend(h.host.as_ref().map(|t| format!("host {}", t.value)));
    parts.extend(h.headers.iter().map(|t| format!("header {:?}", t.value.as_str())));
    parts.extend(h.header_matches.iter().map(|m| {
        let value = m.value.as_ref().map_or_else(String::new, |v| format!(" {:?}", v.value.as_str()));
        let mismatch = m.mismatch.as_ref().map_or_else(String::new, |t| format!(" else {}", t.value));
        format!("header {}{value}{mismatch}", m.name.value)
    }));
    if parts.is_empty() { "any request".to_owned() } else { parts.join(" ") }
}

/// A policy rule that selects endpoints in one direction. With `default_deny` it turns that
/// direction default-deny for them (SEM-5.1); without, its rules take part all the same.
#[derive(Clone, Debug)]
pub struct Enforcement {
    /// The policy it comes from.
    pub policy: PolicyId,
    /// Whom it selects.
    pub subject: Subject,
    /// The direction.
    pub direction: Direction,
    /// Whether it turns default deny on.
    pub default_deny: bool,
    /// The line that makes it so: the section's key and list, `policyTypes`, or `spec`.
    pub span: Span,
}

/// Everything a set of policies means. See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// Policies in order of kind, namespace and name.
    pub policies: Vec<Policy>,
    /// Rules in order of their policy and their place in it.
    pub rules: Vec<Rule>,
    /// Enforcements in the same order.
    pub enforcements: Vec<Enforcement>,
    /// Selectors by id.
    pub selectors: Interner<Selector>,
    /// Peer terms by id.
    pub peers: Interner<PeerTerm>,
}

impl PolicySet {
    /// The policy of that id.
    pub fn policy(&self, id: PolicyId) -> Option<&Policy> {
        self.policies.get(id.0 as usize)
    }

    /// The rule of that id.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.0 as usize)
    }

    /// The enforcement of that id.
    pub fn enforcement(&self, id: EnforcementId) -> Option<&Enforcement> {
        self.enforcements.get(id.0 as usize)
    }

    /// Rules with their ids.
    pub fn rules(&self) -> impl Iterator<Item = (RuleId, &Rule)> {
        (0u32..).map(RuleId).zip(&self.rules)
    }

    /// Enforcements with their ids.
    pub fn enforcements(&self) -> impl Iterator<Item = (EnforcementId, &Enforcement)> {
        (0u32..).map(EnforcementId).zip(&self.enforcements)
    }
}
