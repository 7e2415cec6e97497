//! Which flows there could be: what holds of every pod, every address and every port.

use crate::encode::Encoder;
use crate::symbols::{
    ABSENT, End, FlowSymbols, Kind, LabelSymbol, NO_PORT, OTHER, OTHER_PROTOCOL, Vocabulary, canonical,
    icmp_code,
};
use crate::term::{Assignment, TermId, Terms};
use portcullis_ir::cluster::is_identity_label;
use portcullis_ir::label::{
    CLUSTER, NAMESPACE_LABELS, POD_NAMESPACE, SERVICE_ACCOUNT, SOURCE_K8S, SOURCE_RESERVED,
};
use portcullis_ir::{Cluster, EndpointId, LabelSet, Options};
use std::collections::{BTreeMap, BTreeSet};

/// Which pods the question is about.
#[derive(Clone, Copy, Debug)]
pub enum Pods<'a> {
    /// Every pod that could exist. Namespaces that this cluster knows have the labels they have.
    Any(&'a Cluster),
    /// The pods of this cluster.
    Of(&'a Cluster),
}

impl<'a> Pods<'a> {
    /// The cluster that is known.
    pub const fn cluster(self) -> &'a Cluster {
        match self {
            Self::Any(c) | Self::Of(c) => c,
        }
    }
}

/// Whether a label is one of the namespace, not of the pod.
pub fn is_of_namespace(l: &LabelSymbol) -> bool {
    l.source == SOURCE_K8S && l.key.starts_with(NAMESPACE_LABELS)
}

/// Whether a label is the name of the namespace.
pub fn is_namespace(l: &LabelSymbol) -> bool {
    l.source == SOURCE_K8S && l.key == POD_NAMESPACE
}

/// A pod's labels and named ports in the vocabulary's codes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    labels: Vec<u128>,
    ports: Vec<u128>,
}

impl Shape {
    /// The shape of one endpoint; `None` for one with reserved labels, which is no pod here, or with
    /// two numbers for one named port.
    pub fn of(words: &Vocabulary, cluster: &Cluster, id: EndpointId) -> Option<Self> {
        let endpoint = cluster.endpoint(id)?;
        let labels = cluster.labels(endpoint.identity)?;
        if labels.iter().any(|l| l.source == SOURCE_RESERVED) {
            return None;
        }
        let mut ports = Vec::new();
        for (l4, name) in &words.ports {
            let mut found =
                cluster.named_ports(endpoint).iter().filter(|(n, p, _)| n == name && p == l4).map(|p| p.2);
            let first = found.next();
            if found.any(|n| Some(n) != first) {
                return None;
            }
            ports.push(first.map_or(NO_PORT, u128::from));
        }
        Some(Self { labels: words.labels.iter().map(|l| code(l, labels)).collect(), ports })
    }

    /// Whether an end, as assigned, has this shape.
    pub fn is(&self, end: &End, a: &Assignment) -> bool {
        let eq = |vars: &[_], codes: &[u128]| vars.iter().zip(codes).all(|(v, c)| a.get(*v) == *c);
        eq(&end.labels, &self.labels) && eq(&end.ports, &self.ports)
    }

    /// Gives an end this shape.
    pub fn assign(&self, end: &End, a: &mut Assignment) {
        let (vars, codes) = (end.labels.iter().chain(&end.ports), self.labels.iter().chain(&self.ports));
        vars.zip(codes).for_each(|(v, c)| a.set(*v, *c));
    }

    fn term(&self, end: &End, t: &mut Terms) -> TermId {
        let (vars, codes) = (end.labels.iter().chain(&end.ports), self.labels.iter().chain(&self.ports));
        let all: Vec<TermId> = vars.zip(codes).map(|(v, c)| t.is(*v, *c)).collect();
        t.and(all)
    }
}

fn code(l: &LabelSymbol, labels: &LabelSet) -> u128 {
    let found = labels.iter().find(|x| x.source == l.source && canonical(&x.source, &x.key) == l.key);
    found.map_or(ABSENT, |x| l.code(&x.value))
}

/// The shapes of a cluster's pods, and which pods have each.
pub fn shapes(words: &Vocabulary, cluster: &Cluster) -> BTreeMap<Shape, Vec<EndpointId>> {
    let mut out: BTreeMap<Shape, Vec<EndpointId>> = BTreeMap::new();
    for (id, _) in cluster.endpoints() {
        if let Some(shape) = Shape::of(words, cluster, id) {
            out.entry(shape).or_default().push(id);
        }
    }
    out
}

/// Endpoints of a cluster that have no shape, so that nothing is said of them.
pub fn left_out(words: &Vocabulary, cluster: &Cluster) -> BTreeSet<EndpointId> {
    cluster.endpoints().map(|(id, _)| id).filter(|id| Shape::of(words, cluster, *id).is_none()).collect()
}

/// The flow could exist.
pub fn possible(
    words: &Vocabulary,
    flow: &FlowSymbols,
    pods: Pods<'_>,
    options: &Options,
    t: &mut Terms,
) -> TermId {
    let mut all = vec![packet(flow, t)];
    let pod = [flow.from.is(Kind::Pod, t), flow.to.is(Kind::Pod, t)];
    all.push(t.or(pod));
    for end in flow.ends() {
        let top = Kind::all().count() as u128 - 1;
        all.push(t.between(end.kind, 0, top));
        for (l, v) in words.labels.iter().zip(&end.labels) {
            all.push(t.between(*v, ABSENT, l.top()));
        }
        for v in &end.ports {
            all.push(t.between(*v, 1, NO_PORT));
        }
    }
    match pods {
        Pods::Any(cluster) => {
            for end in flow.ends() {
                all.push(any_pod(words, end, cluster, options, t));
            }
            all.push(one_namespace(words, flow, t));
        }
        Pods::Of(cluster) => all.push(known_pods(words, flow, cluster, t)),
    }
    t.and(all)
}

/// What every pod is: in a namespace, of this cluster, with a service account, and without the labels
/// that never reach an identity.
fn any_pod(words: &Vocabulary, end: &End, cluster: &Cluster, options: &Options, t: &mut Terms) -> TermId {
    let mut all = Vec::new();
    let namespace = words.labels.iter().zip(&end.labels).find(|(l, _)| is_namespace(l));
    for (l, v) in words.labels.iter().zip(&end.labels).filter(|(l, _)| l.source == SOURCE_K8S) {
        match l.key.as_str() {
            POD_NAMESPACE | SERVICE_ACCOUNT => {
                let absent = t.is(*v, ABSENT);
                all.push(t.not(absent));
            }
            CLUSTER => all.push(t.is(*v, l.code(&options.cluster_name))),
            key if !key.starts_with("io.cilium.k8s.") && !is_identity_label(key) => {
                all.push(t.is(*v, ABSENT));
            }
            _ => {}
        }
        let Some(key) = l.key.strip_prefix(NAMESPACE_LABELS).and_then(|k| k.strip_prefix('.')) else {
            continue;
        };
        let Some((name, at)) = namespace else { continue };
        for known in cluster.known_namespaces.iter().filter(|n| name.values.contains(n)) {
            let value = cluster.namespaces.get(known).and_then(|all| all.iter().find(|(k, _)| k == key));
            let (there, has) =
                (t.is(*at, name.code(known)), t.is(*v, value.map_or(ABSENT, |(_, v)| l.code(v))));
            all.push(t.implies(there, has));
        }
    }
    t.and(all)
}

/// Two pods of one namespace have the same namespace labels. Two namespaces that nothing mentions
/// may be two different ones.
fn one_namespace(words: &Vocabulary, flow: &FlowSymbols, t: &mut Terms) -> TermId {
    let at = words.labels.iter().position(is_namespace);
    let pair = |i: usize| flow.from.labels.get(i).copied().zip(flow.to.labels.get(i).copied());
    let Some((a, b)) = at.and_then(pair) else { return t.constant(true) };
    let pods = [flow.from.is(Kind::Pod, t), flow.to.is(Kind::Pod, t)];
    let (equal, other) = (t.same(a, b), t.is(a, OTHER));
    let named = t.not(other);
    let here = t.and([pods, [equal, named]].concat());
    let labels: Vec<_> = words.labels.iter().enumerate().filter(|(_, l)| is_of_namespace(l)).collect();
    let same: Vec<TermId> =
        labels.into_iter().filter_map(|(i, _)| pair(i)).map(|(a, b)| t.same(a, b)).collect();
    let same = t.and(same);
    t.implies(here, same)
}

/// Each pod is one of the cluster's, and the two are not one single pod.
fn known_pods(words: &Vocabulary, flow: &FlowSymbols, cluster: &Cluster, t: &mut Terms) -> TermId {
    let shapes = shapes(words, cluster);
    let mut all = Vec::new();
    for end in flow.ends() {
        let one: Vec<TermId> = shapes.keys().map(|s| s.term(end, t)).collect();
        let (pod, one) = (end.is(Kind::Pod, t), t.or(one));
        all.push(t.implies(pod, one));
    }
    for (shape, ids) in &shapes {
        let pods: u64 = ids.iter().filter_map(|id| cluster.endpoint(*id)).map(|e| u64::from(e.pods)).sum();
        if ids.len() == 1 && pods == 1 {
            // SEM-7.2: a pod always reaches itself.
            let parts = [
                flow.from.is(Kind::Pod, t),
                flow.to.is(Kind::Pod, t),
                shape.term(&flow.from, t),
                shape.term(&flow.to, t),
            ];
            let itself = t.and(parts);
            all.push(t.not(itself));
        }
    }
    t.and(all)
}

/// What every packet is: a port, or an ICMP type of the family of its addresses, or the number of
/// another protocol.
fn packet(flow: &FlowSymbols, t: &mut Terms) -> TermId {
    let mut all = vec![t.between(flow.protocol, 0, OTHER_PROTOCOL), t.between(flow.number, 0, 0xffff)];
    let byte = t.between(flow.number, 0, 0xff);
    let without_ports = t.between(flow.protocol, icmp_code(false), OTHER_PROTOCOL);
    all.push(t.implies(without_ports, byte));
    // TCP, UDP, SCTP and ICMP have codes of their own.
    let other = t.is(flow.protocol, OTHER_PROTOCOL);
    let own = [1, 6, 17, 58, 132].map(|n| t.is(flow.number, n));
    let own = t.or(own);
    let both = t.and([other, own]);
    all.push(t.not(both));
    for end in flow.ends() {
        for v6 in [false, true] {
            let (here, icmp) = (end.is(Kind::External(v6), t), t.is(flow.protocol, icmp_code(!v6)));
            let wrong = t.and([here, icmp]);
            all.push(t.not(wrong));
        }
    }
    t.and(all)
}

/// A formula that an encoder's caller can ask for: the requirement holds of a pod.
pub fn pod_with(
    encoder: &Encoder<'_>,
    requirements: &[portcullis_ir::Requirement],
    end: &End,
    t: &mut Terms,
) -> TermId {
    let mut all: Vec<TermId> = requirements.iter().map(|r| encoder.requirement(r, end, t)).collect();
    all.push(end.is(Kind::Pod, t));
    t.and(all)
}
