//! What of each cluster object bears on policy, kept small: labels, ports and probes are stored once
//! however many pods carry them.

use super::{CidrGroup, NamedPort, Workload, is_identity_label};
use crate::intern::Interner;
use crate::port::L4;
use ipnet::IpNet;
use portcullis_diag::Fate;
use portcullis_front::ast::{self, Body, Object, Protocol};
use smol_str::SmolStr;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Labels as written, those that are never part of an identity left out.
pub(super) type Labels = Vec<(SmolStr, SmolStr)>;

/// A pod, a workload's template, or a CiliumEndpoint.
#[derive(Clone, Debug)]
pub(super) struct PodFact {
    /// Index of the namespace in [`Facts::names`].
    pub(super) namespace: u32,
    pub(super) name: SmolStr,
    pub(super) origin: PodOrigin,
    /// Index in [`Facts::labels`].
    pub(super) labels: u32,
    /// Index in [`Facts::names`].
    pub(super) service_account: u32,
    /// Index in [`Facts::workloads`].
    pub(super) workload: u32,
    /// Index in [`Facts::ports`].
    pub(super) ports: u32,
    /// Index in [`Facts::declared`].
    pub(super) declared: u32,
    /// Index in [`Facts::probes`].
    pub(super) probes: u32,
    pub(super) ips: Box<[IpAddr]>,
    pub(super) node: Option<SmolStr>,
    /// Pods it stands for; 0 for a pod that is no endpoint.
    pub(super) pods: u32,
    pub(super) host_network: bool,
}

/// What a pod-like fact was made from, in order of who stands in for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PodOrigin {
    Pod,
    CiliumEndpoint,
    Template,
}

/// A service's own part, and the addresses that its slices give.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceFact {
    pub(super) own: Option<(Labels, ast::Service)>,
    pub(super) slices: BTreeMap<SmolStr, Vec<IpAddr>>,
}

/// What a source of cluster objects says. Later objects of one kind, namespace and name override
/// earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub(super) names: Interner<SmolStr>,
    pub(super) labels: Interner<Labels>,
    pub(super) ports: Interner<Vec<NamedPort>>,
    pub(super) declared: Interner<Vec<(L4, u16)>>,
    pub(super) probes: Interner<Vec<ast::PortValue>>,
    pub(super) workloads: Interner<Workload>,
    /// In order of addition; resolved when a cluster is built.
    pub(super) pods: Vec<PodFact>,
    pub(super) namespaces: BTreeMap<SmolStr, Labels>,
    pub(super) nodes: BTreeMap<SmolStr, (Vec<IpAddr>, Vec<IpNet>)>,
    pub(super) services: BTreeMap<(SmolStr, SmolStr), ServiceFact>,
    pub(super) groups: BTreeMap<SmolStr, CidrGroup>,
    pub(super) identities: BTreeMap<SmolStr, Vec<SmolStr>>,
}

impl Facts {
    /// Takes in what an object says. Policies, and objects that the API server refuses, say nothing.
    pub fn add(&mut self, o: &Object) {
        if o.fate != Fate::Accepted {
            return;
        }
        let name = &o.meta.name.value;
        match &o.body {
            Body::Pod(pod) => self.pod(o, pod),
            Body::Workload(w) => self.template(o, w),
            Body::CiliumEndpoint(ep) => self.cilium_endpoint(o, ep),
            Body::Namespace => {
                self.namespaces.insert(name.clone(), o.meta.labels.clone());
            }
            Body::Node(n) => {
                let cidrs = n.pod_cidrs.iter().map(IpNet::trunc).collect();
                self.nodes.insert(name.clone(), (n.ips.clone(), cidrs));
            }
            Body::Service(s) => {
                let entry = self.services.entry((namespace_of(o).into(), name.clone())).or_default();
                entry.own = Some((o.meta.labels.clone(), (**s).clone()));
            }
            Body::Endpoints(e) => {
                let entry = self.services.entry((namespace_of(o).into(), e.service.clone())).or_default();
                entry.slices.insert(format!("{}/{name}", o.kind).into(), e.addresses.clone());
            }
            Body::CidrGroup(g) => {
                let group = CidrGroup {
                    name: name.clone(),
                    labels: o.meta.labels.clone(),
                    cidrs: g.cidrs.iter().map(|c| c.value.trunc()).collect(),
                    span: o.meta.name.span,
                };
                self.groups.insert(name.clone(), group);
            }
            Body::CiliumIdentity(labels) => {
                self.identities.insert(name.clone(), labels.clone());
            }
            Body::ServiceAccount | Body::Cilium(_) | Body::Network(_) | Body::Cluster(_) => {}
        }
    }

    /// Whether no object said anything.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
            && self.namespaces.is_empty()
            && self.nodes.is_empty()
            && self.services.is_empty()
            && self.groups.is_empty()
            && self.identities.is_empty()
    }

    fn pod(&mut self, o: &Object, pod: &ast::Pod) {
        let workload = workload_of_pod(o, pod);
        let ips = pod.ips.as_slice().into();
        let pods = u32::from(!pod.host_network && !pod.finished);
        self.push(o, PodOrigin::Pod, &o.meta.labels, pod, workload, ips, pods);
    }

    fn template(&mut self, o: &Object, w: &ast::Workload) {
        let workload = Workload {
            namespace: namespace_of(o).into(),
            name: o.meta.name.value.clone(),
            kind: o.kind.clone(),
        };
        let pods = if w.pod.host_network { 0 } else { w.replicas };
        self.push(o, PodOrigin::Template, &w.labels, &w.pod, workload, Box::default(), pods);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one fact")]
    fn push(
        &mut self,
        o: &Object,
        origin: PodOrigin,
        labels: &[(SmolStr, SmolStr)],
        pod: &ast::Pod,
        workload: Workload,
        ips: Box<[IpAddr]>,
        pods: u32,
    ) {
        let kept: Labels = labels.iter().filter(|(k, _)| is_identity_label(k)).cloned().collect();
        let account = if pod.service_account.is_empty() { "default" } else { &pod.service_account };
        let probes = pod.probes.iter().map(|p| p.value.clone()).collect();
        let fact = PodFact {
            namespace: self.names.intern(namespace_of(o).into()),
            name: o.meta.name.value.clone(),
            origin,
            labels: self.labels.intern(kept),
            service_account: self.names.intern(account.into()),
            workload: self.workloads.intern(workload),
            ports: self.ports.intern(named_ports(&pod.ports)),
            declared: self.declared.intern(declared_ports(&pod.ports)),
            probes: self.probes.intern(probes),
            ips,
            node: pod.node.clone(),
            pods,
            host_network: pod.host_network,
        };
        self.pods.push(fact);
    }

    /// A CiliumEndpoint says its whole identity; its labels are kept with their sources.
    fn cilium_endpoint(&mut self, o: &Object, ep: &ast::CiliumEndpoint) {
        let workload = Workload {
            namespace: namespace_of(o).into(),
            name: o.meta.name.value.clone(),
            kind: "CiliumEndpoint".into(),
        };
        let labels: Labels = ep.labels.iter().map(|l| (l.clone(), SmolStr::default())).collect();
        let fact = PodFact {
            namespace: self.names.intern(namespace_of(o).into()),
            name: o.meta.name.value.clone(),
            origin: PodOrigin::CiliumEndpoint,
            labels: self.labels.intern(labels),
            service_account: 0,
            workload: self.workloads.intern(workload),
            ports: self.ports.intern(named_ports(&ep.ports)),
            declared: self.declared.intern(declared_ports(&ep.ports)),
            probes: self.probes.intern(Vec::new()),
            ips: ep.ips.as_slice().into(),
            node: None,
            pods: 1,
            host_network: false,
        };
        self.pods.push(fact);
    }
}

pub(super) fn namespace_of(o: &Object) -> &str {
    o.meta.namespace.as_ref().map_or("", |n| n.value.as_str())
}

/// The workload a pod belongs to: its controller; a Deployment where a ReplicaSet made it and the
/// pod carries the template hash that ends the ReplicaSet's name; the pod itself if it has none.
fn workload_of_pod(o: &Object, pod: &ast::Pod) -> Workload {
    let namespace: SmolStr = namespace_of(o).into();
    match &pod.owner {
        Some((kind, name)) if kind == "ReplicaSet" => {
            let hash = o.meta.labels.iter().find(|(k, _)| k == "pod-template-hash").map(|(_, v)| v.as_str());
            let stem = hash
                .and_then(|h| name.strip_suffix(h))
                .and_then(|n| n.strip_suffix('-'))
                .or_else(|| name.rsplit_once('-').map(|(stem, _)| stem));
            match stem {
                Some(stem) => Workload { namespace, name: stem.into(), kind: "Deployment".into() },
                None => Workload { namespace, name: name.clone(), kind: kind.clone() },
            }
        }
        Some((kind, name)) => Workload { namespace, name: name.clone(), kind: kind.clone() },
        None => Workload { namespace, name: o.meta.name.value.clone(), kind: "Pod".into() },
    }
}

fn l4(protocol: Protocol) -> Option<L4> {
    match protocol {
        Protocol::Tcp | Protocol::Any => Some(L4::Tcp),
        Protocol::Udp => Some(L4::Udp),
        Protocol::Sctp => Some(L4::Sctp),
        Protocol::Other(_) => None,
    }
}

fn named_ports(ports: &[ast::ContainerPort]) -> Vec<NamedPort> {
    let mut all: Vec<NamedPort> =
        ports.iter().filter_map(|p| Some((p.name.clone()?, l4(p.protocol)?, p.port))).collect();
    all.sort();
    all.dedup();
    all
}

fn declared_ports(ports: &[ast::ContainerPort]) -> Vec<(L4, u16)> {
    let mut all: Vec<_> = ports.iter().filter_map(|p| Some((l4(p.protocol)?, p.port))).collect();
    all.sort_unstable();
    all.dedup();
    all
}
