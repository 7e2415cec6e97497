//! Port lists to port terms (SEM-2.5 to SEM-2.8).

use crate::port::{L4, PortTerm};
use portcullis_front::ast::{IcmpField, NetworkPort, PortSpec, PortValue, Protocol};

fn protocols(p: Protocol) -> &'static [L4] {
    match p {
        Protocol::Tcp => &[L4::Tcp],
        Protocol::Udp => &[L4::Udp],
        Protocol::Sctp => &[L4::Sctp],
        Protocol::Any => &L4::ALL,
        Protocol::Other(_) => &[],
    }
}

fn terms(port: Option<&PortValue>, end: Option<u16>, protocol: Protocol) -> Vec<PortTerm> {
    if let Protocol::Other(number) = protocol {
        return vec![PortTerm::Protocol(number)];
    }
    protocols(protocol)
        .iter()
        .map(|l4| match port {
            None => PortTerm::Range(*l4, 0, u16::MAX),
            // Port 0 is every port of the protocol (SEM-2.6), unless it begins a range.
            Some(PortValue::Number(0)) => PortTerm::Range(*l4, 0, end.unwrap_or(u16::MAX)),
            Some(PortValue::Number(n)) => PortTerm::Range(*l4, *n, end.unwrap_or(*n).max(*n)),
            Some(PortValue::Name(name)) => PortTerm::Named(*l4, name.clone()),
        })
        .collect()
}

/// The terms of one Cilium or ClusterNetworkPolicy port entry.
pub(super) fn spec(p: &PortSpec) -> Vec<PortTerm> {
    terms(Some(&p.port), p.end, p.protocol)
}

/// The terms of one NetworkPolicy port entry.
pub(super) fn network(p: &NetworkPort) -> Vec<PortTerm> {
    terms(p.port.as_ref(), p.end, p.protocol)
}

/// The term of one ICMP field; type 0 is every type of the family (SEM-2.8).
pub(super) fn icmp(f: &IcmpField) -> PortTerm {
    PortTerm::Icmp(f.v6, (f.icmp_type.value != 0).then_some(f.icmp_type.value))
}
