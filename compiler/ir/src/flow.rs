//! Questions about flows, and their answers.

use crate::cluster::EndpointId;
use crate::peer::Reserved;
use crate::port::L4;
use crate::rule::{EnforcementId, RuleId};
use smol_str::SmolStr;
use std::fmt;
use std::net::IpAddr;

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerRef {
    /// A pod of the cluster.
    Endpoint(EndpointId),
    /// A reserved identity.
    Reserved(Reserved),
    /// An address outside the cluster, and the DNS names it was learnt for.
    External {
        /// The address.
        ip: IpAddr,
        /// Names that resolved to it.
        names: Vec<SmolStr>,
    },
}

/// What a flow carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowPort {
    /// A transport protocol and the destination port.
    L4(L4, u16),
    /// An ICMP message: IPv6 or not, and its type.
    Icmp(bool, u8),
    /// Another IP protocol, by its number.
    Protocol(u8),
}

impl fmt::Display for FlowPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::L4(p, n) => write!(f, "{} {n}", p.name()),
            Self::Icmp(false, t) => write!(f, "ICMP type {t}"),
            Self::Icmp(true, t) => write!(f, "ICMPv6 type {t}"),
            Self::Protocol(n) => write!(f, "protocol {n}"),
        }
    }
}

/// A flow's first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who sends it.
    pub from: PeerRef,
    /// Who gets it, after service translation (SEM-7.3).
    pub to: PeerRef,
    /// What it carries.
    pub port: FlowPort,
}

/// Allowed or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Verdict {
    Allowed,
    Denied,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        })
    }
}

/// Why one side of a flow is decided as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// These rules, all of the deciding tier, order and action; sorted.
    Rules(Vec<RuleId>),
    /// The node's own host may always reach its pods (SEM-5.5).
    AllowLocalhost,
    /// No rule decided, and these turned default deny on; sorted. Empty when the cluster enforces
    /// policy on every endpoint (SEM-5.7).
    DefaultDeny(Vec<EnforcementId>),
    /// No rule decided, and nothing turned default deny on.
    NotEnforced,
}

/// One side's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Every rule that takes in the flow, deciding or not; sorted.
    pub matched: Vec<RuleId>,
    /// An allowed flow goes on to a proxy (SEM-6.8).
    pub redirect: bool,
}
