//! What one node answers: every frontend, and the backends that it may choose.
//!
//! | frontend | for whom is on this node | for whom is elsewhere |
//! |---|---|---|
//! | cluster address | all; those here with `internalTrafficPolicy: Local` | nobody |
//! | node port, load balancer, external address | all | all; those here with `externalTrafficPolicy: Local` |
//! | host port | the pod | the pod |
//!
//! "All" are those that hints leave. Where a local policy leaves none and others exist, packets are dropped, as
//! another node may have them; where nobody has any, they are rejected.

use crate::endpoints::{Endpoint, Finder, Source};
use crate::model::{Key, NodeContext, ServiceFact, Services, protocol_number};
use ipnet::IpNet;
use portcullis_abi::services::kind;
use portcullis_diag::codes::resolution::{DUPLICATE_FRONTEND, SERVICE_WITHOUT_ENDPOINTS};
use portcullis_diag::{Diagnostic, ObjectRef, Span};
use portcullis_front::ast::ServicePort;
use smol_str::{SmolStr, format_smolstr};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a frontend is, in order of who wins an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An address of `clusterIPs`.
    ClusterIp,
    /// A port of the node.
    NodePort,
    /// An address of a load balancer.
    LoadBalancer,
    /// An address of `externalIPs`.
    ExternalIp,
    /// A host port of a pod here.
    HostPort,
}

impl Kind {
    /// Its number in the image.
    pub const fn number(self) -> u8 {
        match self {
            Self::ClusterIp => kind::CLUSTER_IP,
            Self::NodePort => kind::NODE_PORT,
            Self::LoadBalancer => kind::LOAD_BALANCER,
            Self::ExternalIp => kind::EXTERNAL_IP,
            Self::HostPort => kind::HOST_PORT,
        }
    }
}

/// Whose port a frontend is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The namespace.
    pub namespace: SmolStr,
    /// The service's name, or the pod's.
    pub name: SmolStr,
    /// The name of the service's port, or the number of a pod's host port.
    pub port: SmolStr,
    /// 6, 17 or 132.
    pub protocol: u8,
    /// A pod's host port, no service.
    pub pod: bool,
}

/// An address, a port and a protocol.
pub type Address = (IpAddr, u16, u8);

/// A backend of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Where it listens.
    pub address: Address,
    /// It is on this node.
    pub local: bool,
    /// It is terminating.
    pub terminating: bool,
    /// Its address is one of the node's own.
    pub node: bool,
}

/// One address and port that this node answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Frontend {
    /// Where clients go.
    pub address: Address,
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub owner: Owner,
    /// Backends for who is on this node, in order.
    pub inside: Vec<Backend>,
    /// Backends for who is elsewhere, in order.
    pub outside: Vec<Backend>,
    /// None inside, but others exist: drop.
    pub inside_drop: bool,
    /// None outside, but others exist: drop.
    pub outside_drop: bool,
    /// Seconds for which a client keeps its backend.
    pub affinity_seconds: Option<u32>,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// From where clients outside may come; `None`: from anywhere.
    pub ranges: Option<Vec<IpNet>>,
    /// The algorithm that its service asks for.
    pub maglev: Option<bool>,
}

/// A port on which the agent says how many endpoints are here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HealthCheck {
    /// The namespace of the service.
    pub namespace: SmolStr,
    /// Its name.
    pub name: SmolStr,
    /// `healthCheckNodePort`.
    pub port: u16,
    /// Ready endpoints on this node.
    pub local_endpoints: usize,
}

/// What one node answers.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// In order of address, port and protocol, each once.
    pub frontends: Vec<Frontend>,
    /// In order of the services' names.
    pub health_checks: Vec<HealthCheck>,
    /// In order of the services' names.
    pub diagnostics: Vec<Diagnostic>,
}

/// Works out what a node answers.
pub fn resolve(all: &Services, node: &NodeContext) -> Resolved {
    let finder = Finder::new(all, node);
    let mut found = Found { node, candidates: Vec::new() };
    let mut out = Resolved::default();
    for (key, service) in &all.specs {
        if service.ignored || service.spec.headless || service.spec.kind == "ExternalName" {
            continue;
        }
        let mut endpoints_of_service = Vec::new();
        for port in &service.spec.ports {
            let endpoints = finder.endpoints(key, service, port);
            found.port(&finder, key, service, port, &endpoints);
            endpoints_of_service.extend(endpoints);
        }
        if endpoints_of_service.is_empty() && finder.source(key) == Source::Pods {
            out.diagnostics.push(without_endpoints(service));
        }
        out.health_checks.extend(health_check(key, service, &endpoints_of_service));
    }
    found.host_ports(all);
    out.frontends = found.each_once(&mut out.diagnostics);
    out
}

fn without_endpoints(service: &ServiceFact) -> Diagnostic {
    let (why, help) = if service.spec.selector.is_some() {
        (
            "no EndpointSlice names it, and no pod with an address has its labels",
            "give its EndpointSlices, or its pods",
        )
    } else {
        ("no EndpointSlice names it, and it selects no pods", "give its EndpointSlices")
    };
    let message = format!("connections to this service are rejected: {why}");
    Diagnostic::new(SERVICE_WITHOUT_ENDPOINTS, message, service.span)
        .label("has no endpoints")
        .help(help)
        .object(service.object.clone())
}

fn health_check(
    (namespace, name): &Key,
    service: &ServiceFact,
    endpoints: &[Endpoint],
) -> Option<HealthCheck> {
    let port = service.spec.health_check_node_port?;
    if service.spec.kind != "LoadBalancer" || !service.spec.external_local {
        return None;
    }
    let here: BTreeSet<IpAddr> = endpoints.iter().filter(|e| e.local && e.ready).map(|e| e.address).collect();
    // A pod of two families is one endpoint.
    let v4 = here.iter().filter(|ip| ip.is_ipv4()).count();
    let local_endpoints = v4.max(here.len() - v4);
    Some(HealthCheck { namespace: namespace.clone(), name: name.clone(), port, local_endpoints })
}

/// A frontend, and what a diagnostic about it needs.
struct Candidate {
    frontend: Frontend,
    object: ObjectRef,
    span: Span,
}

struct Found<'n> {
    node: &'n NodeContext,
    candidates: Vec<Candidate>,
}

impl Found<'_> {
    /// The frontends of one port of a service.
    fn port(
        &mut self,
        finder: &Finder<'_>,
        (namespace, name): &Key,
        service: &ServiceFact,
        port: &ServicePort,
        endpoints: &[Endpoint],
    ) {
        let Some(protocol) = protocol_number(port.protocol).filter(|_| port.port != 0) else { return };
        let spec = &service.spec;
        let owner = Owner {
            namespace: namespace.clone(),
            name: name.clone(),
            port: port.name.clone().unwrap_or_default(),
            protocol,
            pod: false,
        };
        let balanced = spec.kind == "LoadBalancer";
        let balancers = spec.balancer_ips.iter().filter(|b| balanced && !b.proxied).map(|b| b.ip);
        let node_port = port.node_port.filter(|_| balanced || spec.kind == "NodePort");
        let nodes = node_port.into_iter().flat_map(|p| self.node.addresses.iter().map(move |ip| (*ip, p)));
        let places = (spec.cluster_ips.iter().map(|ip| (Kind::ClusterIp, *ip, port.port)))
            .chain(nodes.map(|(ip, p)| (Kind::NodePort, ip, p)))
            .chain(balancers.map(|ip| (Kind::LoadBalancer, ip, port.port)))
            .chain(spec.external_ips.iter().map(|ip| (Kind::ExternalIp, *ip, port.port)));
        let places: BTreeSet<(Kind, IpAddr, u16)> = places.collect();
        for (kind, ip, number) in places {
            let family: Vec<&Endpoint> =
                endpoints.iter().filter(|e| e.address.is_ipv4() == ip.is_ipv4()).collect();
            let cluster = finder.cluster(&family);
            let here = Finder::local(&family);
            let (inside_local, outside_local) = match kind {
                Kind::ClusterIp => (spec.internal_local, spec.internal_local),
                _ => (false, spec.external_local),
            };
            let any = Finder::any(&family);
            let list = |local: bool| -> Vec<Backend> {
                let chosen = if local { &here } else { &cluster };
                chosen.iter().map(|e| self.backend(e, protocol)).collect()
            };
            let ranges = (kind == Kind::LoadBalancer && !spec.source_ranges.is_empty()).then(|| {
                let sorted: BTreeSet<IpNet> = spec
                    .source_ranges
                    .iter()
                    .copied()
                    .filter(|r| r.addr().is_ipv4() == ip.is_ipv4())
                    .collect();
                sorted.into_iter().collect()
            });
            let (inside, outside) = (list(inside_local), list(outside_local));
            let frontend = Frontend {
                address: (ip, number, protocol),
                kind,
                owner: owner.clone(),
                inside_drop: inside.is_empty() && inside_local && any,
                outside_drop: outside.is_empty() && outside_local && any,
                inside,
                outside,
                affinity_seconds: spec.affinity_seconds,
                internal_local: spec.internal_local,
                external_local: spec.external_local,
                ranges,
                maglev: service.maglev,
            };
            let object = service.object.clone();
            self.candidates.push(Candidate { frontend, object, span: service.span });
        }
    }

    fn backend(&self, e: &Endpoint, protocol: u8) -> Backend {
        Backend {
            address: (e.address, e.port, protocol),
            local: e.local,
            terminating: e.terminating,
            node: self.node.addresses.contains(&e.address),
        }
    }

    /// The host ports of the pods on this node.
    fn host_ports(&mut self, all: &Services) {
        let here =
            all.pods.iter().filter(|(_, p)| p.node.as_ref() == Some(&self.node.name) && !p.host_network);
        for ((namespace, name), pod) in here {
            for port in &pod.ports {
                let (Some(number), Some(protocol)) = (port.host_port, protocol_number(port.protocol)) else {
                    continue;
                };
                let addresses =
                    self.node.addresses.iter().filter(|ip| port.host_ip.is_none_or(|h| h == **ip));
                for ip in addresses.copied().collect::<BTreeSet<IpAddr>>() {
                    let Some(own) = pod.ips.iter().find(|own| own.is_ipv4() == ip.is_ipv4()) else {
                        continue;
                    };
                    let backend = Backend {
                        address: (*own, port.port, protocol),
                        local: true,
                        terminating: pod.terminating,
                        node: false,
                    };
                    let frontend = Frontend {
                        address: (ip, number, protocol),
                        kind: Kind::HostPort,
                        owner: Owner {
                            namespace: namespace.clone(),
                            name: name.clone(),
                            port: format_smolstr!("{number}"),
                            protocol,
                            pod: true,
                        },
                        inside: vec![backend],
                        outside: vec![backend],
                        inside_drop: false,
                        outside_drop: false,
                        affinity_seconds: None,
                        internal_local: false,
                        external_local: false,
                        ranges: None,
                        maglev: None,
                    };
                    self.candidates.push(Candidate { frontend, object: pod.object.clone(), span: pod.span });
                }
            }
        }
    }

    /// Each address and port once. The kind decides who has it, then a pod that stays, then the name.
    fn each_once(mut self, diagnostics: &mut Vec<Diagnostic>) -> Vec<Frontend> {
        self.candidates.sort_by(|a, b| {
            let going = |f: &Frontend| f.owner.pod && f.inside.iter().all(|b| b.terminating);
            let (a, b) = (&a.frontend, &b.frontend);
            (a.address, a.kind, going(a), &a.owner).cmp(&(b.address, b.kind, going(b), &b.owner))
        });
        let mut out: Vec<Frontend> = Vec::with_capacity(self.candidates.len());
        let mut reported = BTreeSet::new();
        let mut kept: Option<(ObjectRef, Span)> = None;
        for c in self.candidates {
            let last = out.last().filter(|l| l.address == c.frontend.address);
            let Some(winner) = last else {
                kept = Some((c.object, c.span));
                out.push(c.frontend);
                continue;
            };
            // A pod that goes leaves its host port to the next.
            let succession = winner.owner.pod && c.frontend.inside.iter().all(|b| b.terminating);
            if winner.owner != c.frontend.owner
                && !succession
                && let Some((object, span)) = &kept
                && reported.insert((object.clone(), c.object.clone()))
            {
                diagnostics.push(duplicate(&c, object, *span));
            }
        }
        out
    }
}

fn duplicate(loser: &Candidate, winner: &ObjectRef, place: Span) -> Diagnostic {
    let (ip, port, _) = loser.frontend.address;
    let message = format!("{} never gets what is sent to {ip} port {port}: {winner} has it", loser.object);
    Diagnostic::new(DUPLICATE_FRONTEND, message, loser.span)
        .label("also claims it")
        .also(place, "has it")
        .help("give one of them another address or port")
        .object(loser.object.clone())
}
