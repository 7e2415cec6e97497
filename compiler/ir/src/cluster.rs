//! The cluster: endpoints, their identities, and what else policies refer to.
//!
//! Endpoints come from pods; from CiliumEndpoints of pods that are not given; from the templates
//! of workloads that have no pod; and from CiliumIdentities that nothing else carries. Host-network
//! pods are the host and no endpoints; finished pods have no address any more.

use crate::intern::Interner;
use crate::label::{self, Label, LabelSet};
use crate::options::Options;
use crate::port::L4;
use ipnet::IpNet;
use portcullis_diag::{Fate, Span};
use portcullis_front::ast::{self, Body, Object, Protocol};
use smol_str::{SmolStr, ToSmolStr};
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
    /// Ports the kubelet probes.
    pub probes: Box<[ast::PortValue]>,
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
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
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

/// A pod-like thing before its identity is known.
struct Draft<'a> {
    namespace: &'a str,
    name: SmolStr,
    workload: Workload,
    labels: Vec<Label>,
    ports: Vec<NamedPort>,
    pods: u32,
    ips: &'a [IpAddr],
    probes: Vec<ast::PortValue>,
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
        let mut latest: BTreeMap<(&str, &str, &str), &Object> = BTreeMap::new();
        for o in objects {
            if o.fate == Fate::Accepted {
                let ns = o.meta.namespace.as_ref().map_or("", |n| n.value.as_str());
                latest.insert((o.kind.as_str(), ns, o.meta.name.value.as_str()), o);
            }
        }
        let mut c = Self::default();
        let mut services = BTreeMap::new();
        for o in latest.values() {
            c.add_context(o, &mut services);
        }
        c.services = services.into_values().collect();
        let mut drafts: Vec<Draft<'_>> = Vec::new();
        let mut covered: BTreeSet<Workload> = BTreeSet::new();
        let mut named: BTreeSet<(&str, &str)> = BTreeSet::new();
        for o in latest.values() {
            if let Body::Pod(pod) = &o.body {
                named.insert((namespace_of(o), o.meta.name.value.as_str()));
                if pod.host_network {
                    c.origin.host_network += 1;
                } else if !pod.finished {
                    let d = c.draft_pod(o, pod, options);
                    covered.insert(d.workload.clone());
                    drafts.push(d);
                    c.origin.pods += 1;
                }
            }
        }
        for o in latest.values() {
            match &o.body {
                Body::CiliumEndpoint(ep) if !named.contains(&(namespace_of(o), o.meta.name.value.as_str())) => {
                    drafts.push(draft_cilium_endpoint(o, ep));
                    c.origin.cilium += 1;
                }
                Body::Workload(w) if !w.pod.host_network && w.replicas > 0 => {
                    let workload = Workload {
                        namespace: namespace_of(o).into(),
                        name: o.meta.name.value.clone(),
                        kind: o.kind.clone(),
                    };
                    if !covered.contains(&workload) {
                        drafts.push(c.draft_template(o, w, workload, options));
                        c.origin.templates += 1;
                    }
                }
                _ => {}
            }
        }
        drafts.sort_by(|a, b| (a.namespace, &a.name, &a.workload).cmp(&(b.namespace, &b.name, &b.workload)));
        for d in drafts {
            c.add(d);
        }
        c.add_bare_identities(&latest);
        c
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

    /// The workload of an endpoint.
    pub fn workload_of(&self, endpoint: &Endpoint) -> Option<&Workload> {
        self.workloads.get(endpoint.workload.0)
    }

    /// Whether nothing is known of any pod.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    fn add_context(&mut self, o: &Object, services: &mut BTreeMap<(SmolStr, SmolStr), Service>) {
        let name = || o.meta.name.value.clone();
        match &o.body {
            Body::Namespace => {
                self.known_namespaces.insert(name());
                self.namespaces.insert(name(), namespace_labels(&name(), &o.meta.labels));
            }
            Body::Node(n) => {
                self.node_ips.extend(&n.ips);
                self.pod_cidrs.extend(n.pod_cidrs.iter().map(IpNet::trunc));
            }
            Body::Service(s) => {
                let entry = service_entry(services, namespace_of(o), &name());
                entry.labels.clone_from(&o.meta.labels);
                entry.spec = (**s).clone();
            }
            Body::Endpoints(e) => {
                let entry = service_entry(services, namespace_of(o), &e.service);
                entry.addresses.extend(&e.addresses);
                entry.addresses.sort_unstable();
                entry.addresses.dedup();
            }
            Body::CidrGroup(g) => self.cidr_groups.push(CidrGroup {
                name: name(),
                labels: o.meta.labels.clone(),
                cidrs: g.cidrs.iter().map(|c| c.value.trunc()).collect(),
                span: o.meta.name.span,
            }),
            _ => {}
        }
    }

    fn identity_labels(
        &mut self,
        namespace: &str,
        labels: &[(SmolStr, SmolStr)],
        service_account: &str,
        options: &Options,
    ) -> Vec<Label> {
        let ns_labels = self
            .namespaces
            .entry(namespace.into())
            .or_insert_with(|| namespace_labels(&namespace.into(), &[]));
        let mut out: Vec<Label> = labels
            .iter()
            .filter(|(k, _)| is_identity_label(k))
            .map(|(k, v)| Label::k8s(k.clone(), v.clone()))
            .collect();
        out.extend(
            ns_labels
                .iter()
                .map(|(k, v)| Label::k8s(format!("{}.{k}", label::NAMESPACE_LABELS), v.clone())),
        );
        out.push(Label::k8s(label::POD_NAMESPACE, namespace));
        out.push(Label::k8s(label::CLUSTER, options.cluster_name.as_str()));
        out.push(Label::k8s(
            label::SERVICE_ACCOUNT,
            if service_account.is_empty() { "default" } else { service_account },
        ));
        out
    }

    fn draft_pod<'a>(&mut self, o: &'a Object, pod: &'a ast::Pod, options: &Options) -> Draft<'a> {
        let namespace = namespace_of(o);
        Draft {
            namespace,
            name: o.meta.name.value.clone(),
            workload: workload_of_pod(o, pod),
            labels: self.identity_labels(namespace, &o.meta.labels, &pod.service_account, options),
            ports: named_ports(&pod.ports),
            pods: 1,
            ips: &pod.ips,
            probes: pod.probes.iter().map(|p| p.value.clone()).collect(),
        }
    }

    fn draft_template<'a>(
        &mut self,
        o: &'a Object,
        w: &'a ast::Workload,
        workload: Workload,
        options: &Options,
    ) -> Draft<'a> {
        let namespace = namespace_of(o);
        Draft {
            namespace,
            name: o.meta.name.value.clone(),
            workload,
            labels: self.identity_labels(namespace, &w.labels, &w.pod.service_account, options),
            ports: named_ports(&w.pod.ports),
            pods: w.replicas,
            ips: &[],
            probes: w.pod.probes.iter().map(|p| p.value.clone()).collect(),
        }
    }

    fn add(&mut self, d: Draft<'_>) {
        let identity = IdentityId(self.identities.intern(LabelSet::new(d.labels)));
        let ports = PortTableId(self.port_tables.intern(d.ports));
        let workload = WorkloadId(self.workloads.intern(d.workload));
        self.endpoints.push(Endpoint {
            namespace: d.namespace.into(),
            name: d.name,
            workload,
            identity,
            ports,
            pods: d.pods,
            ips: d.ips.into(),
            probes: d.probes.into(),
        });
    }

    /// CiliumIdentities that no endpoint carries: somebody has these labels, we do not know who.
    fn add_bare_identities(&mut self, latest: &BTreeMap<(&str, &str, &str), &Object>) {
        for o in latest.values() {
            let Body::CiliumIdentity(texts) = &o.body else { continue };
            let set = LabelSet::new(texts.iter().map(|t| Label::parse(t)));
            if self.identities.find(&set).is_some() {
                continue;
            }
            let namespace = set.k8s(label::POD_NAMESPACE).unwrap_or("").to_smolstr();
            let workload = Workload {
                namespace: namespace.clone(),
                name: o.meta.name.value.clone(),
                kind: "CiliumIdentity".into(),
            };
            self.origin.cilium += 1;
            self.add(Draft {
                namespace: &namespace,
                name: o.meta.name.value.clone(),
                workload,
                labels: set.iter().cloned().collect(),
                ports: Vec::new(),
                pods: 0,
                ips: &[],
                probes: Vec::new(),
            });
        }
    }
}

/// The service of that name, made empty if it is new: its slices may come before it.
fn service_entry<'m>(
    services: &'m mut BTreeMap<(SmolStr, SmolStr), Service>,
    namespace: &str,
    name: &SmolStr,
) -> &'m mut Service {
    let namespace: SmolStr = namespace.into();
    services.entry((namespace.clone(), name.clone())).or_insert_with(|| Service {
        namespace,
        name: name.clone(),
        labels: Vec::new(),
        spec: ast::Service::default(),
        addresses: Vec::new(),
    })
}

fn draft_cilium_endpoint<'a>(o: &'a Object, ep: &'a ast::CiliumEndpoint) -> Draft<'a> {
    let namespace = namespace_of(o);
    Draft {
        namespace,
        name: o.meta.name.value.clone(),
        workload: Workload {
            namespace: namespace.into(),
            name: o.meta.name.value.clone(),
            kind: "CiliumEndpoint".into(),
        },
        labels: ep.labels.iter().map(|l| Label::parse(l)).collect(),
        ports: named_ports(&ep.ports),
        pods: 1,
        ips: &ep.ips,
        probes: Vec::new(),
    }
}

fn namespace_of(o: &Object) -> &str {
    o.meta.namespace.as_ref().map_or("", |n| n.value.as_str())
}

/// A namespace's labels with the name label that the API server always sets.
fn namespace_labels(name: &SmolStr, own: &[(SmolStr, SmolStr)]) -> Vec<(SmolStr, SmolStr)> {
    let mut all: Vec<_> = own.iter().filter(|(k, _)| k != "kubernetes.io/metadata.name").cloned().collect();
    all.push(("kubernetes.io/metadata.name".into(), name.clone()));
    all.sort();
    all
}

/// The workload a pod belongs to: its controller; a Deployment where a ReplicaSet made it and the
/// pod carries the template hash that ends the ReplicaSet's name; the pod itself if it has none.
fn workload_of_pod(o: &Object, pod: &ast::Pod) -> Workload {
    let namespace: SmolStr = namespace_of(o).into();
    match &pod.owner {
        Some((kind, name)) if kind == "ReplicaSet" => {
            let hash =
                o.meta.labels.iter().find(|(k, _)| k == "pod-template-hash").map(|(_, v)| v.as_str());
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

fn named_ports(ports: &[ast::ContainerPort]) -> Vec<NamedPort> {
    let mut all: Vec<NamedPort> = ports
        .iter()
        .filter_map(|p| {
            let l4 = match p.protocol {
                Protocol::Tcp | Protocol::Any => L4::Tcp,
                Protocol::Udp => L4::Udp,
                Protocol::Sctp => L4::Sctp,
                Protocol::Other(_) => return None,
            };
            Some((p.name.clone()?, l4, p.port))
        })
        .collect();
    all.sort();
    all.dedup();
    all
}
