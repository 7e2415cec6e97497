//! From facts to a cluster.

use super::facts::{Facts, PodFact, PodOrigin};
use super::{Cluster, Endpoint, IdentityId, PortTableId, Service, Workload, WorkloadId, namespace_labels};
use crate::label::{self, Label, LabelSet};
use crate::options::Options;
use portcullis_front::ast;
use smol_str::{SmolStr, format_smolstr};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A fact and the layer it is from.
type Placed<'f> = (usize, &'f PodFact);

pub(super) fn build(layers: &[&Facts], options: &Options) -> Cluster {
    let mut c = Cluster::default();
    context(layers, &mut c);
    let chosen = endpoints(layers, &mut c);
    let mut identities: HashMap<(usize, u32, u32, u32), IdentityId> = HashMap::new();
    c.endpoints.reserve_exact(chosen.len());
    for (at, fact) in chosen {
        let Some(facts) = layers.get(at) else { continue };
        let key = (at, fact.namespace, fact.labels, fact.service_account);
        let identity = *identities.entry(key).or_insert_with(|| {
            let set = if fact.origin == PodOrigin::CiliumEndpoint {
                let texts = facts.labels.get(fact.labels).map_or(&[][..], Vec::as_slice);
                LabelSet::new(texts.iter().map(|(l, _)| Label::parse(l)))
            } else {
                LabelSet::new(labels(&mut c.namespaces, facts, fact, options))
            };
            IdentityId(c.identities.intern(set))
        });
        let endpoint = Endpoint {
            namespace: name(facts, fact.namespace),
            name: fact.name.clone(),
            workload: WorkloadId(c.workloads.intern(workload(facts, fact))),
            identity,
            ports: PortTableId(
                c.port_tables.intern(facts.ports.get(fact.ports).cloned().unwrap_or_default()),
            ),
            declared: c
                .declared_tables
                .intern(facts.declared.get(fact.declared).cloned().unwrap_or_default()),
            pods: fact.pods,
            ips: fact.ips.clone(),
            node: fact.node.clone(),
            probes: c.probe_tables.intern(facts.probes.get(fact.probes).cloned().unwrap_or_default()),
        };
        c.endpoints.push(endpoint);
    }
    bare_identities(layers, &mut c);
    c
}

fn name(facts: &Facts, id: u32) -> SmolStr {
    facts.names.get(id).cloned().unwrap_or_default()
}

fn workload(facts: &Facts, fact: &PodFact) -> Workload {
    facts.workloads.get(fact.workload).cloned().unwrap_or_else(|| Workload {
        namespace: name(facts, fact.namespace),
        name: fact.name.clone(),
        kind: "Pod".into(),
    })
}

/// Namespaces, nodes, services and groups; a later layer overrides an earlier one.
fn context(layers: &[&Facts], c: &mut Cluster) {
    let mut services: BTreeMap<(&SmolStr, &SmolStr), Service> = BTreeMap::new();
    let mut nodes = BTreeMap::new();
    let mut groups = BTreeMap::new();
    for facts in layers {
        for (ns, own) in &facts.namespaces {
            c.known_namespaces.insert(ns.clone());
            c.namespaces.insert(ns.clone(), namespace_labels(ns, own));
        }
        nodes.extend(&facts.nodes);
        groups.extend(&facts.groups);
        for ((ns, name), fact) in &facts.services {
            let entry = services.entry((ns, name)).or_insert_with(|| Service {
                namespace: ns.clone(),
                name: name.clone(),
                labels: Vec::new(),
                spec: ast::Service::default(),
                addresses: Vec::new(),
            });
            if let Some((labels, spec)) = &fact.own {
                entry.labels.clone_from(labels);
                entry.spec = spec.clone();
            }
            if !fact.slices.is_empty() {
                let all: BTreeSet<_> = fact.slices.values().flatten().copied().collect();
                entry.addresses = all.into_iter().collect();
            }
        }
    }
    for (ips, cidrs) in nodes.values() {
        c.node_ips.extend(ips);
        c.pod_cidrs.extend(cidrs);
    }
    c.cidr_groups = groups.into_values().cloned().collect();
    c.services = services.into_values().collect();
}

/// The facts that become endpoints, in order of namespace and name. A CiliumEndpoint counts where no
/// pod of its name is given, a template where no pod of its workload is.
fn endpoints<'f>(layers: &[&'f Facts], c: &mut Cluster) -> Vec<Placed<'f>> {
    // Templates of one name may be of several kinds: a Job and a CronJob, say.
    let kind = |l: &Facts, f: &PodFact| match f.origin {
        PodOrigin::Template => workload(l, f).kind,
        PodOrigin::Pod | PodOrigin::CiliumEndpoint => SmolStr::default(),
    };
    let mut all: Vec<(SmolStr, SmolStr, Placed<'f>)> = Vec::new();
    for (at, facts) in layers.iter().enumerate() {
        all.extend(facts.pods.iter().map(|f| (name(facts, f.namespace), kind(facts, f), (at, f))));
    }
    // A stable sort keeps the order of addition, in which the last of a name wins.
    all.sort_by(|(ns, kind, (_, f)), (other, other_kind, (_, g))| {
        (ns, &f.name, f.origin, kind).cmp(&(other, &g.name, g.origin, other_kind))
    });
    let mut latest: Vec<(SmolStr, Placed<'f>)> = Vec::with_capacity(all.len());
    let mut last: Option<(SmolStr, SmolStr, PodOrigin, SmolStr)> = None;
    for (ns, kind, (at, f)) in all {
        let this = Some((ns.clone(), f.name.clone(), f.origin, kind));
        if this == last {
            latest.pop();
        }
        last = this;
        latest.push((ns, (at, f)));
    }
    let mut covered: BTreeSet<Workload> = BTreeSet::new();
    let mut named: BTreeSet<(SmolStr, &SmolStr)> = BTreeSet::new();
    let others = latest.iter().any(|(_, (_, f))| f.origin != PodOrigin::Pod);
    for (ns, (at, f)) in &latest {
        if f.origin == PodOrigin::Pod {
            c.origin.host_network += usize::from(f.host_network);
            if others {
                named.insert((ns.clone(), &f.name));
                if let Some(facts) = layers.get(*at).filter(|_| f.pods > 0) {
                    covered.insert(workload(facts, f));
                }
            }
        }
    }
    let mut out = Vec::with_capacity(latest.len());
    for (ns, (at, f)) in latest {
        if f.pods == 0 {
            continue;
        }
        let (taken, count) = match f.origin {
            PodOrigin::Pod => (false, &mut c.origin.pods),
            PodOrigin::CiliumEndpoint => (named.contains(&(ns, &f.name)), &mut c.origin.cilium),
            PodOrigin::Template => {
                (layers.get(at).is_some_and(|l| covered.contains(&workload(l, f))), &mut c.origin.templates)
            }
        };
        if !taken {
            *count += 1;
            out.push((at, f));
        }
    }
    out
}

/// A pod's identity: its labels, its namespace's, its cluster and service account (SEM-4.3).
fn labels(
    namespaces: &mut BTreeMap<SmolStr, Vec<(SmolStr, SmolStr)>>,
    facts: &Facts,
    fact: &PodFact,
    options: &Options,
) -> Vec<Label> {
    let ns = name(facts, fact.namespace);
    let of_namespace = namespaces.entry(ns.clone()).or_insert_with(|| namespace_labels(&ns, &[]));
    labels_in(ns, of_namespace, facts, fact, options)
}

/// The same in a namespace with these labels.
pub(super) fn labels_in(
    ns: SmolStr,
    of_namespace: &[(SmolStr, SmolStr)],
    facts: &Facts,
    fact: &PodFact,
    options: &Options,
) -> Vec<Label> {
    let own = facts.labels.get(fact.labels).map_or(&[][..], Vec::as_slice);
    let mut out: Vec<Label> = own.iter().map(|(k, v)| Label::k8s(k.clone(), v.clone())).collect();
    out.extend(
        of_namespace
            .iter()
            .map(|(k, v)| Label::k8s(format_smolstr!("{}.{k}", label::NAMESPACE_LABELS), v.clone())),
    );
    out.push(Label::k8s(label::POD_NAMESPACE, ns));
    out.push(Label::k8s(label::CLUSTER, options.cluster_name.as_str()));
    out.push(Label::k8s(label::SERVICE_ACCOUNT, name(facts, fact.service_account)));
    out
}

/// CiliumIdentities that no endpoint carries: somebody has these labels, we do not know who.
fn bare_identities(layers: &[&Facts], c: &mut Cluster) {
    let mut all: BTreeMap<&SmolStr, &Vec<SmolStr>> = BTreeMap::new();
    for facts in layers {
        all.extend(&facts.identities);
    }
    for (number, texts) in all {
        let set = LabelSet::new(texts.iter().map(|t| Label::parse(t)));
        if c.identities.find(&set).is_some() {
            continue;
        }
        let namespace: SmolStr = set.k8s(label::POD_NAMESPACE).unwrap_or("").into();
        let workload =
            Workload { namespace: namespace.clone(), name: number.clone(), kind: "CiliumIdentity".into() };
        c.origin.cilium += 1;
        let endpoint = Endpoint {
            namespace,
            name: number.clone(),
            workload: WorkloadId(c.workloads.intern(workload)),
            identity: IdentityId(c.identities.intern(set)),
            ports: PortTableId(c.port_tables.intern(Vec::new())),
            declared: c.declared_tables.intern(Vec::new()),
            pods: 1,
            ips: Box::default(),
            node: None,
            probes: c.probe_tables.intern(Vec::new()),
        };
        c.endpoints.push(endpoint);
    }
}
