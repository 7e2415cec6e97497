//! Ends of recorded flows as the clusters of both sides know them.
//!
//! A pod is looked for by its name, then by its workload, then by its labels; one that is nowhere is added to both
//! clusters as it was recorded. An address is a pod's, a node's or a service's where the cluster knows it, and else
//! outside: the identity that it had when it was recorded counts for nothing.

use portcullis_flows::{End, Pod};
use portcullis_front::ast::{PortValue, Protocol};
use portcullis_ir::{
    Cluster, EndpointId, FlowPort, L4, Label, LabelSet, PeerRef, Reserved, Workload, cluster::Service, label,
};
use portcullis_sema::diff::Ask;
use smol_str::SmolStr;
use std::collections::HashMap;
use std::net::IpAddr;

/// What an end is on each side.
enum Place {
    Peer([PeerRef; 2]),
    /// A service, by its place in the base cluster's list and the head's.
    Service([usize; 2]),
}

struct Known {
    place: Place,
    /// The workload, or the address, in words.
    words: String,
    /// `ns/pod`, if it is one.
    pod: Option<String>,
}

/// Where things are in one cluster.
struct Index {
    pods: HashMap<(SmolStr, SmolStr), EndpointId>,
    workloads: HashMap<(SmolStr, SmolStr), EndpointId>,
    labels: HashMap<(SmolStr, LabelSet), EndpointId>,
    addresses: HashMap<IpAddr, EndpointId>,
    services: HashMap<IpAddr, usize>,
}

impl Index {
    fn new(cluster: &Cluster) -> Self {
        let mut out = Self {
            pods: HashMap::new(),
            workloads: HashMap::new(),
            labels: HashMap::new(),
            addresses: HashMap::new(),
            services: HashMap::new(),
        };
        for (id, e) in cluster.endpoints() {
            out.pods.entry((e.namespace.clone(), e.name.clone())).or_insert(id);
            if let Some(w) = cluster.workload_of(e) {
                out.workloads.entry((w.namespace.clone(), w.name.clone())).or_insert(id);
            }
            if let Some(labels) = cluster.labels(e.identity) {
                out.labels.entry((e.namespace.clone(), labels.clone())).or_insert(id);
            }
            for ip in &e.ips {
                out.addresses.entry(*ip).or_insert(id);
            }
        }
        for (at, s) in cluster.services.iter().enumerate() {
            for ip in s.spec.cluster_ips.iter().copied().chain(s.spec.outside_ips()) {
                out.services.entry(ip).or_insert(at);
            }
        }
        out
    }
}

/// See the module documentation.
pub(super) struct Lineup {
    cluster_name: SmolStr,
    indices: [Index; 2],
    known: Vec<Known>,
    stand_ins: HashMap<(SmolStr, SmolStr, LabelSet), [EndpointId; 2]>,
    /// Pods whose labels stand in, and pods whose labels were others.
    added: u64,
    changed: u64,
    services: u64,
}

impl Lineup {
    pub(super) fn new(base: &Cluster, head: &Cluster, cluster_name: &str) -> Self {
        Self {
            cluster_name: cluster_name.into(),
            indices: [Index::new(base), Index::new(head)],
            known: Vec::new(),
            stand_ins: HashMap::new(),
            added: 0,
            changed: 0,
            services: 0,
        }
    }

    /// Takes in the next end of the recording's list.
    pub(super) fn add(&mut self, end: &End<'_>, base: &mut Cluster, head: &mut Cluster) {
        let known = match end {
            End::Pod(pod) => self.pod_end(pod, base, head),
            End::Reserved(r) => Known {
                place: both(&PeerRef::Reserved(*r)),
                words: format!("entity:{}", r.name()),
                pod: None,
            },
            End::Address(ip, names) => self.address(*ip, names.iter().map(SmolStr::new).collect(), base),
        };
        self.known.push(known);
    }

    fn address(&mut self, ip: IpAddr, names: Vec<SmolStr>, base: &Cluster) -> Known {
        let [b, h] = &self.indices;
        if let (Some(b), Some(h)) = (b.addresses.get(&ip), h.addresses.get(&ip)) {
            let name = base.endpoint(*b).map(|e| format!("{}/{}", e.namespace, e.name));
            let words = base.endpoint(*b).and_then(|e| base.workload_of(e));
            let words = words.map_or_else(|| ip.to_string(), |w| format!("{}/{}", w.namespace, w.name));
            return Known {
                place: Place::Peer([PeerRef::Endpoint(*b), PeerRef::Endpoint(*h)]),
                words,
                pod: name,
            };
        }
        if let (Some(b), Some(h)) = (b.services.get(&ip), h.services.get(&ip)) {
            let words = base.services.get(*b).map(|s| format!("service {}/{}", s.namespace, s.name));
            return Known { place: Place::Service([*b, *h]), words: words.unwrap_or_default(), pod: None };
        }
        if base.node_ips.contains(&ip) {
            return Known {
                place: both(&PeerRef::Reserved(Reserved::RemoteNode)),
                words: format!("node {ip}"),
                pod: None,
            };
        }
        let words = names.first().map_or_else(|| ip.to_string(), ToString::to_string);
        Known { place: both(&PeerRef::External { ip, names }), words, pod: None }
    }

    fn pod_end(&mut self, pod: &Pod<'_>, base: &mut Cluster, head: &mut Cluster) -> Known {
        let of_label = |key: &str| {
            let wanted = format!("{key}=");
            pod.labels.iter().find_map(|l| l.strip_prefix("k8s:").unwrap_or(l).strip_prefix(&wanted))
        };
        let namespace = match &*pod.namespace {
            "" => SmolStr::new(of_label(label::POD_NAMESPACE).unwrap_or("default")),
            known => SmolStr::new(known),
        };
        let labels = LabelSet::new(pod.labels.iter().map(|l| Label::parse(l)));
        let workload = if pod.workload.1.is_empty() { &pod.name } else { &pod.workload.1 };
        let found = |index: &Index| -> Option<(EndpointId, bool)> {
            let by_name = index.pods.get(&(namespace.clone(), SmolStr::new(&*pod.name)));
            let by_workload = || index.workloads.get(&(namespace.clone(), SmolStr::new(&**workload)));
            let by_labels = || index.labels.get(&(namespace.clone(), labels.clone()));
            if let Some(id) = by_name.or_else(by_workload) {
                return Some((*id, true));
            }
            by_labels().map(|id| (*id, false))
        };
        let name = format!("{namespace}/{}", if pod.name.is_empty() { &**workload } else { &*pod.name });
        let [b, h] = &self.indices;
        if let (Some((b, by_name)), Some((h, _))) = (found(b), found(h)) {
            let e = head.endpoint(h);
            let now = e.and_then(|e| head.labels(e.identity));
            if by_name && !pod.labels.is_empty() && now.is_some_and(|n| *n != labels) {
                self.changed += 1;
            }
            let words = e.and_then(|e| head.workload_of(e));
            let words = words.map_or_else(|| name.clone(), |w| format!("{}/{}", w.namespace, w.name));
            let place = Place::Peer([PeerRef::Endpoint(b), PeerRef::Endpoint(h)]);
            return Known { place, words, pod: Some(name) };
        }
        self.added += 1;
        let of = if workload.is_empty() { "unknown" } else { &**workload };
        let key = (namespace.clone(), SmolStr::new(of), labels.clone());
        let ids = *self.stand_ins.entry(key).or_insert_with(|| {
            let mut all: Vec<Label> = labels.iter().cloned().collect();
            if of_label(label::POD_NAMESPACE).is_none() {
                all.push(Label::k8s(label::POD_NAMESPACE, namespace.clone()));
            }
            // Older recorders leave it out; the pod is of this cluster all the same.
            if of_label(label::CLUSTER).is_none() {
                all.push(Label::k8s(label::CLUSTER, self.cluster_name.clone()));
            }
            let kind = if pod.workload.0.is_empty() { "Pod" } else { &*pod.workload.0 };
            let workload = Workload { namespace: namespace.clone(), name: of.into(), kind: kind.into() };
            let seen = format!("{} (recorded)", if pod.name.is_empty() { of } else { &pod.name });
            [base.add_seen(&seen, workload.clone(), all.clone()), head.add_seen(&seen, workload, all)]
        });
        let place = Place::Peer(ids.map(PeerRef::Endpoint));
        Known { place, words: format!("{namespace}/{of}"), pod: Some(name) }
    }

    /// The question about a flow, or why there is none.
    pub(super) fn ask(
        &mut self,
        from: u32,
        to: u32,
        port: FlowPort,
        base: &Cluster,
        head: &Cluster,
    ) -> Result<Ask, &'static str> {
        let at = |n: u32| self.known.get(n as usize).map(|k| &k.place);
        let (Some(source), Some(target)) = (at(from), at(to)) else {
            return Err("of ends that are not known");
        };
        let Place::Peer(from) = source else { return Err("from a service's address, which sends nothing") };
        match target {
            Place::Peer(to) => Ok(Ask { from: from.clone(), to: to.clone(), port }),
            Place::Service(places) => {
                // SEM-7.3: policy is asked behind the service.
                let behind = |cluster: &Cluster, at: usize| behind(cluster, cluster.services.get(at)?, port);
                let [b, h] = *places;
                let (Some((b, port)), Some((h, _))) = (behind(base, b), behind(head, h)) else {
                    return Err("to a service of which no pod is known");
                };
                self.services += 1;
                Ok(Ask { from: from.clone(), to: [PeerRef::Endpoint(b), PeerRef::Endpoint(h)], port })
            }
        }
    }

    /// An end in words: its workload.
    pub(super) fn words(&self, end: u32) -> String {
        self.known.get(end as usize).map(|k| k.words.clone()).unwrap_or_default()
    }

    /// An end's pod.
    pub(super) fn pod(&self, end: u32) -> Option<&str> {
        self.known.get(end as usize)?.pod.as_deref()
    }

    /// What a reader has to know about how the recording was taken; whole sentences.
    pub(super) fn notes(&self, guessed: u64, unjudged: u64) -> Vec<String> {
        let mut out = Vec::new();
        let mut say = |n: u64, one: &str, many: &str| {
            if n > 0 {
                out.push(if n == 1 { one.to_owned() } else { many.replace("{}", &n.to_string()) });
            }
        };
        say(
            self.added,
            "A recorded pod is not in the cluster: its recorded labels stand in, without named ports.",
            "{} recorded pods are not in the cluster: their recorded labels stand in, without named ports.",
        );
        say(
            self.changed,
            "A pod has other labels than when it was recorded: it is judged by today's.",
            "{} pods have other labels than when they were recorded: they are judged by today's.",
        );
        say(
            self.services,
            "A flow was recorded before its service was translated: one pod behind the service stands for all.",
            "{} distinct flows were recorded before their service was translated: one pod behind each service stands for all.",
        );
        say(
            guessed,
            "Of a record, only its ports tell who opened the connection.",
            "Of {} records, only their ports tell who opened the connection.",
        );
        say(
            unjudged,
            "A request goes to a proxy whose rules cannot be told from the recording: it is taken as unchanged.",
            "{} requests go to proxies whose rules cannot be told from the recording: they are taken as unchanged.",
        );
        out
    }
}

fn both(peer: &PeerRef) -> Place {
    Place::Peer([peer.clone(), peer.clone()])
}

/// A pod behind a service, and the port that it is asked on.
fn behind(cluster: &Cluster, service: &Service, port: FlowPort) -> Option<(EndpointId, FlowPort)> {
    let FlowPort::L4(l4, number) = port else { return None };
    let of = |p: Protocol| match p {
        Protocol::Tcp => Some(L4::Tcp),
        Protocol::Udp => Some(L4::Udp),
        Protocol::Sctp => Some(L4::Sctp),
        _ => None,
    };
    let target = service.spec.ports.iter().find(|p| p.port == number && of(p.protocol) == Some(l4))?;
    let selector = service.spec.selector.as_ref().filter(|s| !s.is_empty());
    let (id, e) = cluster.endpoints().find(|(_, e)| {
        let selected = selector.is_some_and(|wanted| {
            e.namespace == service.namespace
                && cluster
                    .labels(e.identity)
                    .is_some_and(|l| wanted.iter().all(|(k, v)| l.k8s(k) == Some(v.as_str())))
        });
        selected || e.ips.iter().any(|ip| service.addresses.contains(ip))
    })?;
    let number = match &target.target {
        PortValue::Number(n) => *n,
        PortValue::Name(name) => {
            cluster.named_ports(e).iter().find(|(n, p, _)| n == name && *p == l4).map(|(_, _, n)| *n)?
        }
    };
    Some((id, FlowPort::L4(l4, number)))
}
