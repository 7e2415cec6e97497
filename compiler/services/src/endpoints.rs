//! Which endpoints a port of a service has, and which of them a node may choose.

use crate::model::{Key, NodeContext, PodFact, ServiceFact, Services, protocol_number};
use portcullis_front::ast::{self, Distribution, PortValue, ServicePort, SliceEndpoint};
use smol_str::SmolStr;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// One endpoint of one port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// The port that it listens on.
    pub port: u16,
    /// It may be chosen.
    pub ready: bool,
    /// It still answers.
    pub serving: bool,
    /// It is being stopped.
    pub terminating: bool,
    /// It is on the node whose tables are made.
    pub local: bool,
    /// Nodes and zones that are to prefer it.
    for_nodes: Vec<SmolStr>,
    for_zones: Vec<SmolStr>,
}

impl Endpoint {
    /// The last resort: it goes, and still answers.
    fn last_resort(&self) -> bool {
        self.serving && self.terminating
    }
}

/// Where endpoints are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// EndpointSlices name the service.
    Slices,
    /// Endpoints objects do, and no slice.
    Endpoints,
    /// Nothing names it: the pods that its selector matches.
    Pods,
}

/// Finds the endpoints of services, each pod by one of its labels.
#[derive(Debug)]
pub struct Finder<'s> {
    all: &'s Services,
    node: &'s NodeContext,
    zone: Option<SmolStr>,
    by_label: BTreeMap<(&'s str, &'s str, &'s str), Vec<&'s PodFact>>,
}

impl<'s> Finder<'s> {
    /// Lines pods up.
    pub fn new(all: &'s Services, node: &'s NodeContext) -> Self {
        let mut by_label: BTreeMap<_, Vec<&PodFact>> = BTreeMap::new();
        for ((namespace, _), pod) in &all.pods {
            for (key, value) in &pod.labels {
                by_label.entry((namespace.as_str(), key.as_str(), value.as_str())).or_default().push(pod);
            }
        }
        let zone = node.zone.clone().or_else(|| all.zones.get(&node.name).cloned());
        Self { all, node, zone, by_label }
    }

    /// Where the endpoints of a service are taken from.
    pub fn source(&self, key: &Key) -> Source {
        let slices = self.all.slices.get(key);
        match slices {
            Some(all) if all.keys().any(|(slice, _)| *slice) => Source::Slices,
            Some(_) => Source::Endpoints,
            None => Source::Pods,
        }
    }

    /// The endpoints of a port, in order of address and port; of two that agree the better one stays.
    pub fn endpoints(&self, key: &Key, service: &ServiceFact, port: &ServicePort) -> Vec<Endpoint> {
        let mut out = match self.source(key) {
            Source::Pods => self.of_pods(key, service, port),
            source => self.of_slices(key, port, source == Source::Slices),
        };
        out.sort_by(|a, b| {
            let worth = |e: &Endpoint| (!e.ready, !e.serving, e.terminating, !e.local);
            (a.address, a.port, worth(a), &a.for_nodes, &a.for_zones).cmp(&(
                b.address,
                b.port,
                worth(b),
                &b.for_nodes,
                &b.for_zones,
            ))
        });
        out.dedup_by_key(|e| (e.address, e.port));
        out
    }

    fn of_slices(&self, key: &Key, port: &ServicePort, slices: bool) -> Vec<Endpoint> {
        let name = port.name.as_deref().unwrap_or_default();
        let objects = self.all.slices.get(key).into_iter().flatten();
        let subsets = objects.filter(|((slice, _), _)| *slice == slices).flat_map(|(_, e)| &e.subsets);
        let mut out = Vec::new();
        for subset in subsets {
            for p in subset.ports.iter().filter(|p| p.name == name && p.protocol == port.protocol) {
                for e in &subset.endpoints {
                    // As kube-proxy has it, only the first address counts.
                    out.extend(e.addresses.first().map(|ip| self.of_slice(e, *ip, p.port)));
                }
            }
        }
        out
    }

    fn of_slice(&self, e: &SliceEndpoint, address: IpAddr, port: u16) -> Endpoint {
        Endpoint {
            address,
            port,
            ready: e.ready,
            serving: e.serving,
            terminating: e.terminating,
            local: self.is_here(e.node.as_ref()),
            for_nodes: e.for_nodes.clone(),
            for_zones: e.for_zones.clone(),
        }
    }

    fn is_here(&self, node: Option<&SmolStr>) -> bool {
        node.is_some_and(|n| *n == self.node.name)
    }

    /// What the controllers would put into slices: for files in which nobody has.
    fn of_pods(&self, (namespace, _): &Key, service: &ServiceFact, port: &ServicePort) -> Vec<Endpoint> {
        let Some(selector) = service.spec.selector.as_ref() else { return Vec::new() };
        let namespace = namespace.as_str();
        let carriers = selector.iter().map(|(k, v)| {
            self.by_label.get(&(namespace, k.as_str(), v.as_str())).map_or(&[][..], Vec::as_slice)
        });
        let fewest = carriers.min_by_key(|pods| pods.len()).unwrap_or_default();
        let mut out = Vec::new();
        for pod in fewest.iter().filter(|p| selector.iter().all(|want| p.labels.contains(want))) {
            let Some(number) = target(pod, port) else { continue };
            let zone = pod.node.as_ref().and_then(|n| self.all.zones.get(n));
            let all_ready = service.spec.publish_not_ready;
            out.extend(pod.ips.iter().map(|ip| Endpoint {
                address: *ip,
                port: number,
                ready: all_ready || (pod.ready && !pod.terminating),
                serving: all_ready || pod.ready,
                terminating: pod.terminating,
                local: self.is_here(pod.node.as_ref()),
                for_nodes: match service.spec.distribution {
                    Some(Distribution::SameNode) => pod.node.iter().cloned().collect(),
                    _ => Vec::new(),
                },
                for_zones: service.spec.distribution.and(zone).into_iter().cloned().collect(),
            }));
        }
        out
    }

    /// Of endpoints of one family: those that anyone may be sent to. Ready ones that hints leave; if
    /// there are none, terminating ones that still answer.
    pub fn cluster<'e>(&self, endpoints: &[&'e Endpoint]) -> Vec<&'e Endpoint> {
        let ready: Vec<&Endpoint> = endpoints.iter().copied().filter(|e| e.ready).collect();
        if ready.is_empty() {
            return endpoints.iter().copied().filter(|e| e.last_resort()).collect();
        }
        self.preferred(ready)
    }

    /// Of endpoints of one family: those on this node.
    pub fn local<'e>(endpoints: &[&'e Endpoint]) -> Vec<&'e Endpoint> {
        let here = || endpoints.iter().copied().filter(|e| e.local);
        let ready: Vec<&Endpoint> = here().filter(|e| e.ready).collect();
        if ready.is_empty() { here().filter(|e| e.last_resort()).collect() } else { ready }
    }

    /// Whether any endpoint could be chosen, wherever it is.
    pub fn any(endpoints: &[&Endpoint]) -> bool {
        endpoints.iter().any(|e| e.ready || e.last_resort())
    }

    /// Hints hold only where every ready endpoint has them and one names this node, or else this zone.
    fn preferred<'e>(&self, ready: Vec<&'e Endpoint>) -> Vec<&'e Endpoint> {
        let names_node = |e: &&Endpoint| e.for_nodes.contains(&self.node.name);
        let names_zone = |e: &&Endpoint| self.zone.as_ref().is_some_and(|z| e.for_zones.contains(z));
        if ready.iter().all(|e| !e.for_nodes.is_empty()) && ready.iter().any(names_node) {
            return ready.into_iter().filter(names_node).collect();
        }
        if ready.iter().all(|e| !e.for_zones.is_empty()) && ready.iter().any(names_zone) {
            return ready.into_iter().filter(names_zone).collect();
        }
        ready
    }
}

/// The port of a pod that a service's port leads to.
fn target(pod: &PodFact, port: &ServicePort) -> Option<u16> {
    match &port.target {
        PortValue::Number(n) => Some(*n),
        PortValue::Name(name) => {
            let named = |p: &&ast::ContainerPort| {
                p.name.as_ref() == Some(name) && protocol_number(p.protocol) == protocol_number(port.protocol)
            };
            pod.ports.iter().find(named).map(|p| p.port)
        }
    }
}
