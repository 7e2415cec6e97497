//! The pods behind services, as policy sees them: each by its own port (SEM-7.3).

use super::Context;
use crate::universe::NodeId;
use portcullis_front::ast::{PortValue, Protocol, ServicePort};
use portcullis_ir::cluster::Service;
use portcullis_ir::{L4, LabelSet};
use smol_str::SmolStr;
use std::collections::BTreeMap;

/// A service that selects pods, and the groups of them.
pub(super) struct Backends<'a> {
    /// The service.
    pub(super) service: &'a Service,
    /// Groups of pods that it selects; not empty.
    pub(super) groups: Vec<NodeId>,
}

impl Backends<'_> {
    /// `shop/web`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.service.namespace, self.service.name)
    }
}

/// The services that select pods, in order of their names.
pub(super) fn all<'a>(cx: &Context<'a>) -> Vec<Backends<'a>> {
    let mut by_namespace: BTreeMap<&str, Vec<(NodeId, &LabelSet)>> = BTreeMap::new();
    for (id, group) in cx.evaluation.universe.groups() {
        let labels = group.on.first().copied().flatten().and_then(|(i, _)| cx.cluster.labels(i));
        if let Some(labels) = labels
            && let Some(namespace) = labels.k8s(portcullis_ir::label::POD_NAMESPACE)
        {
            by_namespace.entry(namespace).or_default().push((id, labels));
        }
    }
    let selects = |wanted: &[(SmolStr, SmolStr)], l: &LabelSet| {
        wanted.iter().all(|(k, v)| l.k8s(k) == Some(v.as_str()))
    };
    let mut out = Vec::new();
    for service in &cx.cluster.services {
        let Some(wanted) = service.spec.selector.as_ref().filter(|s| !s.is_empty()) else { continue };
        let there = by_namespace.get(service.namespace.as_str()).map_or(&[][..], Vec::as_slice);
        let groups: Vec<NodeId> =
            there.iter().filter(|(_, l)| selects(wanted, l)).map(|(id, _)| *id).collect();
        if !groups.is_empty() {
            out.push(Backends { service, groups });
        }
    }
    out
}

/// A port's protocol.
pub(super) fn l4(port: &ServicePort) -> Option<L4> {
    match port.protocol {
        Protocol::Tcp => Some(L4::Tcp),
        Protocol::Udp => Some(L4::Udp),
        Protocol::Sctp => Some(L4::Sctp),
        Protocol::Any | Protocol::Other(_) => None,
    }
}

/// The port on which a group's pods get what is sent to a service's port.
pub(super) fn target(cx: &Context<'_>, group: NodeId, port: &ServicePort) -> Option<(L4, u16)> {
    let protocol = l4(port)?;
    match &port.target {
        PortValue::Number(n) => Some((protocol, *n)),
        PortValue::Name(name) => {
            let named = cx.evaluation.named_ports(0, group).iter();
            named.filter(|(n, p, _)| n == name && *p == protocol).map(|(_, p, n)| (*p, *n)).next()
        }
    }
}
