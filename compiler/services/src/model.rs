//! What the cluster's objects say of services, kept by name.

use ipnet::IpNet;
use portcullis_diag::{Fate, ObjectRef, Span};
use portcullis_front::ast::{self, Body, ContainerPort, Object, Protocol};
use smol_str::SmolStr;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Namespace and name.
pub type Key = (SmolStr, SmolStr);

/// The node whose tables are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeContext {
    /// Its name, as `nodeName` has it.
    pub name: SmolStr,
    /// Its zone; that of the Node object if it is not given.
    pub zone: Option<SmolStr>,
    /// Its own addresses, on which node ports and host ports answer.
    pub addresses: Vec<IpAddr>,
}

/// Objects with this label are some other proxy's.
pub const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// Services with this label have no frontends.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// A service chooses by Maglev (`maglev`) or by chance (`random`), whatever the settings say.
pub const ALGORITHM_ANNOTATION: &str = "service.cilium.io/lb-algorithm";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// A service as it was given.
#[derive(Clone, Debug)]
pub struct ServiceFact {
    /// How diagnostics name it.
    pub object: ObjectRef,
    /// Where its name stands.
    pub span: Span,
    /// What it says.
    pub spec: ast::Service,
    /// Its algorithm, if it asks for one: Maglev or not.
    pub maglev: Option<bool>,
    /// Whether it is another proxy's, or labelled as headless.
    pub ignored: bool,
}

/// A pod that has an address.
#[derive(Clone, Debug)]
pub struct PodFact {
    /// How diagnostics name it.
    pub object: ObjectRef,
    /// Where its name stands.
    pub span: Span,
    /// Its labels.
    pub labels: Vec<(SmolStr, SmolStr)>,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its node.
    pub node: Option<SmolStr>,
    /// Its container ports.
    pub ports: Vec<ContainerPort>,
    /// Ready, or nothing is said of it.
    pub ready: bool,
    /// It is being stopped.
    pub terminating: bool,
    /// It has the node's addresses.
    pub host_network: bool,
}

/// Everything that bears on services. Later objects of one kind, namespace and name replace earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Services {
    pub(crate) specs: BTreeMap<Key, ServiceFact>,
    /// By service, then by kind (Endpoints before EndpointSlices) and name.
    pub(crate) slices: BTreeMap<Key, BTreeMap<(bool, SmolStr), ast::Endpoints>>,
    pub(crate) pods: BTreeMap<Key, PodFact>,
    pub(crate) zones: BTreeMap<SmolStr, SmolStr>,
    addresses: BTreeMap<SmolStr, Vec<IpAddr>>,
}

impl Services {
    /// Takes in what objects say.
    pub fn of<'o>(objects: impl IntoIterator<Item = &'o Object>) -> Self {
        let mut all = Self::default();
        for object in objects {
            all.add(object);
        }
        all
    }

    /// Takes in what an object says. Those that the API server refuses say nothing.
    pub fn add(&mut self, o: &Object) {
        if o.fate != Fate::Accepted {
            return;
        }
        let namespace = o.meta.namespace.as_ref().map_or(SmolStr::new_static("default"), |n| n.value.clone());
        let name = o.meta.name.value.clone();
        let has = |label: &str| o.meta.labels.iter().any(|(k, _)| k == label);
        match &o.body {
            Body::Service(spec) => {
                let algorithm = o.meta.annotations.iter().find(|(k, _)| k == ALGORITHM_ANNOTATION);
                let fact = ServiceFact {
                    object: o.reference(),
                    span: o.meta.name.span,
                    spec: (**spec).clone(),
                    maglev: algorithm.and_then(|(_, v)| match v.as_str() {
                        "maglev" => Some(true),
                        "random" => Some(false),
                        _ => None,
                    }),
                    ignored: has(PROXY_NAME_LABEL) || has(HEADLESS_LABEL),
                };
                self.specs.insert((namespace, name), fact);
            }
            Body::Endpoints(e) if !e.service.is_empty() && !has(PROXY_NAME_LABEL) => {
                let of_service = self.slices.entry((namespace, e.service.clone())).or_default();
                of_service.insert((e.slice, name), (**e).clone());
            }
            Body::Pod(pod) if !pod.finished && !pod.ips.is_empty() => {
                let fact = PodFact {
                    object: o.reference(),
                    span: o.meta.name.span,
                    labels: o.meta.labels.clone(),
                    ips: pod.ips.clone(),
                    node: pod.node.clone(),
                    ports: pod.ports.clone(),
                    ready: pod.ready.unwrap_or(true),
                    terminating: pod.terminating,
                    host_network: pod.host_network,
                };
                self.pods.insert((namespace, name), fact);
            }
            Body::Node(node) => {
                self.addresses.insert(name.clone(), node.ips.clone());
                if let Some((_, zone)) = o.meta.labels.iter().find(|(k, _)| k == ZONE_LABEL) {
                    self.zones.insert(name, zone.clone());
                }
            }
            _ => {}
        }
    }

    /// Takes out what an object said, by its kind, namespace and name.
    pub fn remove(&mut self, kind: &str, namespace: &str, name: &str) {
        let key: Key = (namespace.into(), name.into());
        match kind {
            "Service" => drop(self.specs.remove(&key)),
            "EndpointSlice" | "Endpoints" => {
                let slice = (kind == "EndpointSlice", key.1);
                self.slices.retain(|(of, _), slices| {
                    if of == namespace {
                        slices.remove(&slice);
                    }
                    !slices.is_empty()
                });
            }
            "Pod" => drop(self.pods.remove(&key)),
            "Node" => {
                self.addresses.remove(name);
                self.zones.remove(name);
            }
            _ => {}
        }
    }

    /// A node as its Node object has it; `None` if there is none.
    pub fn node(&self, name: &str) -> Option<NodeContext> {
        let addresses = self.addresses.get(name)?.clone();
        Some(NodeContext { name: name.into(), zone: self.zones.get(name).cloned(), addresses })
    }

    /// Whether anything is known of where traffic could end: a slice, or a pod with an address.
    pub fn knows_endpoints(&self) -> bool {
        !self.slices.is_empty() || !self.pods.is_empty()
    }

    /// Whether no service and no pod is known.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty() && self.pods.is_empty()
    }
}

/// The number of a protocol that services can have.
pub fn protocol_number(protocol: Protocol) -> Option<u8> {
    match protocol {
        Protocol::Tcp => Some(6),
        Protocol::Udp => Some(17),
        Protocol::Sctp => Some(132),
        Protocol::Any | Protocol::Other(_) => None,
    }
}

/// An address as the image has it.
pub fn bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A range as the image has it: its first address, and its bits.
pub fn range_bytes(net: &IpNet) -> ([u8; 16], u32) {
    let more = if matches!(net, IpNet::V4(_)) { 96 } else { 0 };
    (bytes(net.network()), u32::from(net.prefix_len()) + more)
}
