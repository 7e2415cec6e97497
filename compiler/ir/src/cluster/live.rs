//! Facts of objects that come and go one by one, as those of a live cluster do.

use super::build::labels_in;
use super::facts::{Facts, PodFact, PodOrigin, namespace_of};
use super::{NamedPort, namespace_labels};
use crate::label::LabelSet;
use crate::options::Options;
use portcullis_front::ast::{Body, Object};
use smol_str::{SmolStr, format_smolstr};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Pods that were taken out before tables of labels and ports, from which nothing is removed one by one, are
/// made anew; as many again as there are pods.
const GONE: usize = 4096;

/// Namespace and name.
type Name = (SmolStr, SmolStr);

/// See the module documentation. The order in which objects come has no effect on a cluster that is made of
/// these facts.
#[derive(Debug, Default)]
pub struct LiveFacts {
    facts: Facts,
    /// The place of each pod among the facts; nothing walks through it.
    pods: HashMap<Name, usize>,
    /// The service of each EndpointSlice.
    slices: BTreeMap<Name, SmolStr>,
    gone: usize,
}

/// What a pod is to policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePod {
    /// Its identity's labels.
    pub labels: LabelSet,
    /// Its named ports, sorted.
    pub ports: Vec<NamedPort>,
    /// Its addresses.
    pub ips: Box<[IpAddr]>,
}

impl LiveFacts {
    /// Takes in an object, in the place of an earlier one of its kind, namespace and name.
    pub fn set(&mut self, o: &Object) {
        let name = o.meta.name.value.clone();
        self.remove(&o.kind, namespace_of(o), &name);
        let before = self.facts.pods.len();
        self.facts.add(o);
        let key = (SmolStr::from(namespace_of(o)), name);
        match &o.body {
            Body::Pod(_) if self.facts.pods.len() > before => {
                self.pods.insert(key, before);
            }
            Body::Endpoints(e) => {
                self.slices.insert(key, e.service.clone());
            }
            _ => {}
        }
    }

    /// Takes out an object; one that is not there is no matter.
    pub fn remove(&mut self, kind: &str, namespace: &str, name: &str) {
        let key: Name = (namespace.into(), name.into());
        match kind {
            "Pod" => self.remove_pod(&key),
            "Namespace" => drop(self.facts.namespaces.remove(name)),
            "Node" => drop(self.facts.nodes.remove(name)),
            "CiliumCIDRGroup" => drop(self.facts.groups.remove(name)),
            "Service" => self.change_service(&key, |s| s.own = None),
            "EndpointSlice" => {
                if let Some(service) = self.slices.remove(&key) {
                    let slice = format_smolstr!("EndpointSlice/{name}");
                    self.change_service(&(key.0, service), |s| drop(s.slices.remove(&slice)));
                }
            }
            _ => {}
        }
    }

    fn change_service(&mut self, key: &Name, change: impl FnOnce(&mut super::facts::ServiceFact)) {
        if let Some(service) = self.facts.services.get_mut(key) {
            change(service);
            if service.own.is_none() && service.slices.is_empty() {
                self.facts.services.remove(key);
            }
        }
    }

    fn remove_pod(&mut self, key: &Name) {
        let Some(at) = self.pods.remove(key).filter(|at| *at < self.facts.pods.len()) else { return };
        self.facts.pods.swap_remove(at);
        // The last one has taken its place.
        if let Some(moved) = self.facts.pods.get(at) {
            let namespace = self.facts.names.get(moved.namespace).cloned().unwrap_or_default();
            self.pods.insert((namespace, moved.name.clone()), at);
        }
        self.gone += 1;
        if self.gone > GONE + self.facts.pods.len() {
            self.gone = 0;
            self.facts.begin_tables_anew();
        }
    }

    /// Whether an EndpointSlice is there.
    pub fn has_slice(&self, namespace: &str, name: &str) -> bool {
        self.slices.contains_key(&(namespace.into(), name.into()))
    }

    /// The facts, as a source of a cluster.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What a pod is to policy where namespaces have these labels, as [`super::Cluster::namespaces`] has them;
    /// `None` for one that is no endpoint.
    pub fn pod(
        &self,
        namespace: &str,
        name: &str,
        namespaces: &BTreeMap<SmolStr, Vec<(SmolStr, SmolStr)>>,
        options: &Options,
    ) -> Option<LivePod> {
        let fact: &PodFact = self.facts.pods.get(*self.pods.get(&(namespace.into(), name.into()))?)?;
        if fact.pods == 0 || fact.origin != PodOrigin::Pod {
            return None;
        }
        let own = || namespace_labels(&namespace.into(), &[]);
        let of_namespace = namespaces.get(namespace).cloned().unwrap_or_else(own);
        let labels = labels_in(namespace.into(), &of_namespace, &self.facts, fact, options);
        Some(LivePod {
            labels: LabelSet::new(labels),
            ports: self.facts.ports.get(fact.ports).cloned().unwrap_or_default(),
            ips: fact.ips.clone(),
        })
    }
}

impl Facts {
    /// Makes the tables that pods point into anew, without what no pod points to any more.
    fn begin_tables_anew(&mut self) {
        let old = std::mem::take(self);
        let Self { names, labels, ports, declared, probes, workloads, pods, .. } = &old;
        for pod in pods {
            let mut pod = pod.clone();
            pod.namespace = self.names.intern(names.get(pod.namespace).cloned().unwrap_or_default());
            pod.service_account =
                self.names.intern(names.get(pod.service_account).cloned().unwrap_or_default());
            pod.labels = self.labels.intern(labels.get(pod.labels).cloned().unwrap_or_default());
            pod.ports = self.ports.intern(ports.get(pod.ports).cloned().unwrap_or_default());
            pod.declared = self.declared.intern(declared.get(pod.declared).cloned().unwrap_or_default());
            pod.probes = self.probes.intern(probes.get(pod.probes).cloned().unwrap_or_default());
            if let Some(workload) = workloads.get(pod.workload) {
                pod.workload = self.workloads.intern(workload.clone());
            }
            self.pods.push(pod);
        }
        let Self { namespaces, nodes, services, groups, identities, .. } = old;
        *self = Self { namespaces, nodes, services, groups, identities, ..std::mem::take(self) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::cluster::Cluster;
    use portcullis_diag::FileId;
    use portcullis_front::Parsed;

    fn read(text: &str) -> Parsed {
        let parsed = portcullis_front::parse(FileId(0), "a.yaml", text);
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        parsed
    }

    fn pod(name: &str, labels: &str, ip: &str) -> Parsed {
        read(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: ns, labels: {labels}}}\n\
             spec: {{containers: [{{name: c, image: i, ports: [{{name: http, containerPort: 80}}]}}]}}\n\
             status: {{phase: Running, podIPs: [{{ip: {ip}}}]}}\n"
        ))
    }

    fn described(facts: &Facts) -> String {
        let options = Options::default();
        let c = Cluster::from_facts(&[facts], &options);
        let one = |e: &super::super::Endpoint| {
            (
                e.namespace.clone(),
                e.name.clone(),
                c.labels(e.identity).cloned(),
                e.ips.clone(),
                c.named_ports(e).to_vec(),
            )
        };
        format!("{:?} {:?} {:?}", c.endpoints.iter().map(one).collect::<Vec<_>>(), c.namespaces, c.services)
    }

    #[test]
    fn what_came_and_went_leaves_nothing_behind() {
        let mut live = LiveFacts::default();
        let service = read(
            "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ns}\nspec: {ports: [{port: 80}]}\n",
        );
        let slice = read(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {name: s-1, namespace: ns, labels: \
             {kubernetes.io/service-name: s}}\nendpoints: [{addresses: [10.0.0.9]}]\nports: [{port: 80, protocol: TCP}]\n",
        );
        for (round, name) in ["a", "b", "c", "a"].into_iter().enumerate() {
            let parsed = pod(name, &format!("{{app: x{round}}}"), "10.0.0.1");
            live.set(&parsed.objects[0]);
        }
        live.set(&service.objects[0]);
        live.set(&slice.objects[0]);
        live.remove("Service", "ns", "s");
        assert_eq!(live.facts.services.len(), 1, "its slice is still there");
        live.remove("EndpointSlice", "ns", "s-1");
        assert!(live.facts.services.is_empty());
        live.remove("Pod", "ns", "b");
        live.remove("Pod", "ns", "unknown");
        let mut scratch = Facts::default();
        scratch.add(&pod("a", "{app: x3}", "10.0.0.1").objects[0]);
        scratch.add(&pod("c", "{app: x2}", "10.0.0.1").objects[0]);
        assert_eq!(described(live.facts()), described(&scratch));
        live.facts.begin_tables_anew();
        assert_eq!(described(live.facts()), described(&scratch));
        assert_eq!(live.facts.labels.len(), 2);
        let cluster = Cluster::from_facts(&[live.facts()], &Options::default());
        let known = live.pod("ns", "c", &cluster.namespaces, &Options::default()).unwrap();
        let endpoint = cluster.endpoints.iter().find(|e| e.name == "c").unwrap();
        assert_eq!(Some(&known.labels), cluster.labels(endpoint.identity));
        assert_eq!(known.ports, cluster.named_ports(endpoint));
    }

    #[test]
    fn tables_do_not_grow_with_pods_that_are_gone() {
        let mut live = LiveFacts::default();
        for n in 0..2 * GONE + 10 {
            let parsed = pod("a", &format!("{{app: x{n}}}"), "10.0.0.1");
            live.set(&parsed.objects[0]);
        }
        assert!(live.facts.labels.len() <= GONE + 2, "{}", live.facts.labels.len());
    }
}
