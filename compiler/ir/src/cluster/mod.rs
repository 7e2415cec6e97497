//! The cluster: endpoints, their identities, and what else policies refer to.
//!
//! [`Facts`] keeps of each object only what bears on policy, so that a cluster of any size can be
//! read and dropped piece by piece; [`Cluster`] is what the facts of one or more sources amount to.
//!
//! Endpoints come from pods; from CiliumEndpoints of pods that are not given; from the templates
//! of workloads that have no pod; and from CiliumIdentities that nothing else carries. Host-network
//! pods are the host and no endpoints; finished pods have no address any more.

mod build;
mod facts;
mod live;

pub use facts::Facts;
pub use live::{LiveFacts, LivePod};

use crate::intern::Interner;
use crate::label::LabelSet;
use crate::options::Options;
use crate::port::L4;
use ipnet::IpNet;
use portcullis_diag::Span;
use portcullis_front::ast::{self, Object};
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Index of an [`Endpoint`] in its [`Cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// Index of a label set in [`Cluster::identities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityId(pub u32);

/// Index of a [`Workload`] in its [`Cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(pub u32);

/// Index of a table in [`Cluster::port_tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortTableId(pub u32);

/// A pod, or the pods that a template or an identity stands for.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The namespace.
    pub namespace: SmolStr,
    /// The pod's name, or its workload's where no pod is given.
    pub name: SmolStr,
    /// The workload it belongs to.
    pub workload: WorkloadId,
    /// Its label set.
    pub identity: IdentityId,
    /// Its named ports.
    pub ports: PortTableId,
    /// How many pods it stands for.
    pub pods: u32,
    /// Its addresses, where known.
    pub ips: Box<[IpAddr]>,
    /// The node it runs on, where known.
    pub node: Option<SmolStr>,
    /// Ports its containers declare, named or not: index into [`Cluster::declared_tables`].
    pub declared: u32,
    /// Ports the kubelet probes: index into [`Cluster::probe_tables`].
    pub probes: u32,
}

/// What pods are grouped by in reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// The namespace.
    pub namespace: SmolStr,
    /// The name.
    pub name: SmolStr,
    /// `Deployment`, `Pod`, …
    pub kind: SmolStr,
}

/// A service and where its traffic ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The namespace.
    pub namespace: SmolStr,
    /// The name.
    pub name: SmolStr,
    /// `metadata.labels`.
    pub labels: Vec<(SmolStr, SmolStr)>,
    /// The service as read.
    pub spec: ast::Service,
    /// Addresses of its EndpointSlices, sorted.
    pub addresses: Vec<IpAddr>,
}

/// A CiliumCIDRGroup (SEM-1.4).
#[derive(Clone, Debug, PartialEq)]
pub struct CidrGroup {
    /// Its name.
    pub name: SmolStr,
    /// `metadata.labels`.
    pub labels: Vec<(SmolStr, SmolStr)>,
    /// Its prefixes.
    pub cidrs: Vec<IpNet>,
    /// Where its name stands.
    pub span: Span,
}

/// A named port: name, protocol, number.
pub type NamedPort = (SmolStr, L4, u16);

/// Everything about a cluster that bears on policy.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Labels of each namespace, `kubernetes.io/metadata.name` included.
    pub namespaces: BTreeMap<SmolStr, Vec<(SmolStr, SmolStr)>>,
    /// Namespaces that a Namespace object was given for.
    pub known_namespaces: BTreeSet<SmolStr>,
    /// Endpoints in order of namespace and name.
    pub endpoints: Vec<Endpoint>,
    /// Distinct label sets of endpoints.
    pub identities: Interner<LabelSet>,
    /// Distinct sets of named ports, each sorted.
    pub port_tables: Interner<Vec<NamedPort>>,
    /// Distinct sets of ports that containers declare.
    pub declared_tables: Interner<Vec<(L4, u16)>>,
    /// Distinct sets of ports that the kubelet probes.
    pub probe_tables: Interner<Vec<ast::PortValue>>,
    /// Workloads in order of first use by the sorted endpoints.
    pub workloads: Interner<Workload>,
    /// Services in order of namespace and name.
    pub services: Vec<Service>,
    /// CIDR groups in order of name.
    pub cidr_groups: Vec<CidrGroup>,
    /// Addresses of nodes.
    pub node_ips: BTreeSet<IpAddr>,
    /// Pod CIDRs of nodes.
    pub pod_cidrs: BTreeSet<IpNet>,
    /// Where the endpoints came from.
    pub origin: Origin,
}

/// How many endpoints came from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Pods that are endpoints.
    pub pods: usize,
    /// Workload templates that stand for pods.
    pub templates: usize,
    /// CiliumEndpoints and CiliumIdentities.
    pub cilium: usize,
    /// Pods on the host's network: no endpoints, never subject to pod policy.
    pub host_network: usize,
}

/// Labels that Cilium leaves out of identities by default: a selector on one of them matches nothing.
pub fn is_identity_label(key: &str) -> bool {
    const LEFT_OUT: [&str; 10] = [
        "io.kubernetes",
        "kubernetes.io",
        "k8s.io",
        "pod-template-generation",
        "pod-template-hash",
        "controller-revision-hash",
        "controller-uid",
        "etcd_node",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
    ];
    !(LEFT_OUT.iter().any(|p| key.starts_with(p))
        || key.contains("beta.kubernetes.io")
        || key.starts_with("batch.kubernetes.io/job-completion-index")
        || key.starts_with("batch.kubernetes.io/controller-uid")
        || key.starts_with("annotation."))
}

impl Cluster {
    /// Builds the cluster from objects of any kind; of two with one kind, namespace and name the
    /// later wins, as with `kubectl apply`. The order of the objects has no other effect.
    pub fn build<'a>(objects: impl IntoIterator<Item = &'a Object>, options: &Options) -> Self {
        let mut facts = Facts::default();
        for o in objects {
            facts.add(o);
        }
        Self::from_facts(&[&facts], options)
    }

    /// Builds the cluster from several sources, of which a later one overrides an earlier one's
    /// objects of the same kind, namespace and name.
    pub fn from_facts(layers: &[&Facts], options: &Options) -> Self {
        build::build(layers, options)
    }

    /// The labels of an identity.
    pub fn labels(&self, id: IdentityId) -> Option<&LabelSet> {
        self.identities.get(id.0)
    }

    /// The endpoint of that id.
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(id.0 as usize)
    }

    /// Endpoints with their ids.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        (0u32..).map(EndpointId).zip(&self.endpoints)
    }

    /// The named ports of an endpoint.
    pub fn named_ports(&self, endpoint: &Endpoint) -> &[NamedPort] {
        self.port_tables.get(endpoint.ports.0).map_or(&[], Vec::as_slice)
    }

    /// The ports that an endpoint's containers declare, sorted.
    pub fn declared(&self, endpoint: &Endpoint) -> &[(L4, u16)] {
        self.declared_tables.get(endpoint.declared).map_or(&[], Vec::as_slice)
    }

    /// The ports of an endpoint that the kubelet probes.
    pub fn probes(&self, endpoint: &Endpoint) -> &[ast::PortValue] {
        self.probe_tables.get(endpoint.probes).map_or(&[], Vec::as_slice)
    }

    /// The workload of an endpoint.
    pub fn workload_of(&self, endpoint: &Endpoint) -> Option<&Workload> {
        self.workloads.get(endpoint.workload.0)
    }

    /// Whether the endpoints of another state of this cluster are the same to policy, one by one: labels, named
    /// ports and workloads, though not addresses.
    pub fn has_endpoints_of(&self, other: &Self) -> bool {
        let one = |e: &Endpoint| (e.identity, e.ports, e.workload, e.pods);
        self.endpoints.iter().map(one).eq(other.endpoints.iter().map(one))
            && self.identities.iter().eq(other.identities.iter())
            && self.port_tables.iter().eq(other.port_tables.iter())
            && self.workloads.iter().eq(other.workloads.iter())
    }

    /// Whether nothing is known of any pod.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}

/// A namespace's labels with the name label that the API server always sets.
fn namespace_labels(name: &SmolStr, own: &[(SmolStr, SmolStr)]) -> Vec<(SmolStr, SmolStr)> {
    let mut all: Vec<_> = own.iter().filter(|(k, _)| k != "kubernetes.io/metadata.name").cloned().collect();
    all.push(("kubernetes.io/metadata.name".into(), name.clone()));
    all.sort();
    all
}
