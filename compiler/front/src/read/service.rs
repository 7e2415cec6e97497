//! Services, endpoints and nodes, as they are; `service_checks` says what is wrong with them.

use super::pods::{address, flag, integer, items, port_number, port_value, protocol, text};
use crate::ast::{
    self, BalancerIp, CiliumEndpoint, ContainerPort, Distribution, EndpointPort, EndpointSubset, Endpoints,
    PortValue, Service, ServicePort, SliceEndpoint,
};
use crate::tree::{Node, Value};
use ipnet::IpNet;
use smol_str::SmolStr;
use std::net::IpAddr;

/// Reads a Service.
pub(super) fn service(root: &Node) -> Service {
    let Some(spec) = root.get("spec") else {
        return Service { span: root.span, kind: SmolStr::new_static("ClusterIP"), ..Service::default() };
    };
    let mut cluster_ips: Vec<IpAddr> = items(spec, "clusterIPs").iter().filter_map(address).collect();
    if cluster_ips.is_empty() {
        cluster_ips.extend(spec.get("clusterIP").and_then(address));
    }
    let balancer = root.get("status").and_then(|s| s.get("loadBalancer"));
    let ingress = balancer.map(|b| items(b, "ingress")).unwrap_or_default();
    let balancer_ip = |node: &Node| {
        let proxied = text(node, "ipMode") == Some("Proxy");
        Some(BalancerIp { ip: address(node.get("ip")?)?, proxied })
    };
    let selector = spec.get("selector").filter(|s| s.as_map().is_some_and(|m| !m.is_empty()));
    let none = |node: &Node| node.as_str() == Some("None");
    Service {
        span: spec.span,
        kind: SmolStr::new(text(spec, "type").unwrap_or("ClusterIP")),
        selector: selector.map(|s| super::meta::string_map(Some(s))),
        cluster_ips,
        headless: spec.get("clusterIP").is_some_and(none) || items(spec, "clusterIPs").iter().any(none),
        external_ips: items(spec, "externalIPs").iter().filter_map(address).collect(),
        balancer_ips: ingress.iter().filter_map(balancer_ip).collect(),
        ports: items(spec, "ports").iter().filter_map(service_port).collect(),
        affinity_seconds: affinity(spec),
        internal_local: text(spec, "internalTrafficPolicy") == Some("Local"),
        external_local: text(spec, "externalTrafficPolicy") == Some("Local"),
        distribution: match text(spec, "trafficDistribution") {
            Some("PreferSameZone" | "PreferClose") => Some(Distribution::SameZone),
            Some("PreferSameNode") => Some(Distribution::SameNode),
            _ => None,
        },
        source_ranges: items(spec, "loadBalancerSourceRanges").iter().filter_map(range).collect(),
        health_check_node_port: spec.get("healthCheckNodePort").and_then(port_number).filter(|p| *p != 0),
        publish_not_ready: flag(spec, "publishNotReadyAddresses"),
    }
}

/// Three hours unless it says otherwise.
fn affinity(spec: &Node) -> Option<u32> {
    if text(spec, "sessionAffinity") != Some("ClientIP") {
        return None;
    }
    let config = spec.get("sessionAffinityConfig").and_then(|c| c.get("clientIP"));
    let seconds = config.and_then(|c| c.get("timeoutSeconds")).and_then(integer);
    Some(seconds.and_then(|n| u32::try_from(n).ok()).unwrap_or(10_800))
}

fn range(node: &Node) -> Option<IpNet> {
    node.as_str()?.trim().parse::<IpNet>().ok().map(|net| net.trunc())
}

fn service_port(node: &Node) -> Option<ServicePort> {
    let port = port_number(node.get("port")?)?;
    let same = |target: &PortValue| !matches!(target, PortValue::Number(0));
    Some(ServicePort {
        span: node.span,
        name: text(node, "name").filter(|n| !n.is_empty()).map(SmolStr::new),
        port,
        target: node.get("targetPort").and_then(port_value).filter(same).unwrap_or(PortValue::Number(port)),
        protocol: protocol(node.get("protocol")),
        node_port: node.get("nodePort").and_then(port_number).filter(|p| *p != 0),
    })
}

/// Reads an EndpointSlice.
pub(super) fn slice(root: &Node) -> Endpoints {
    let labels = root.get("metadata").and_then(|m| m.get("labels"));
    let service = labels.and_then(|l| text(l, "kubernetes.io/service-name")).unwrap_or_default();
    let endpoints: Vec<SliceEndpoint> = items(root, "endpoints").iter().map(slice_endpoint).collect();
    Endpoints {
        service: SmolStr::new(service),
        addresses: endpoints.iter().flat_map(|e| e.addresses.iter().copied()).collect(),
        slice: true,
        subsets: vec![EndpointSubset { ports: ports(root), endpoints }],
    }
}

fn ports(node: &Node) -> Vec<EndpointPort> {
    let port = |node: &Node| {
        Some(EndpointPort {
            name: SmolStr::new(text(node, "name").unwrap_or_default()),
            port: port_number(node.get("port")?)?,
            protocol: protocol(node.get("protocol")),
        })
    };
    items(node, "ports").iter().filter_map(port).collect()
}

/// What is absent counts as kube-proxy counts it: ready, serving, not terminating.
fn slice_endpoint(node: &Node) -> SliceEndpoint {
    let condition = |name: &str| match node.get("conditions").and_then(|c| c.get(name)).map(|n| &n.value) {
        Some(Value::Bool { value, .. }) => Some(*value),
        _ => None,
    };
    let names = |field: &str| -> Vec<SmolStr> {
        let hints = node.get("hints").map(|h| items(h, field)).unwrap_or_default();
        hints.iter().filter_map(|h| text(h, "name")).map(SmolStr::new).collect()
    };
    SliceEndpoint {
        addresses: items(node, "addresses").iter().filter_map(address).collect(),
        ready: condition("ready").unwrap_or(true),
        serving: condition("serving").unwrap_or(true),
        terminating: condition("terminating").unwrap_or(false),
        node: text(node, "nodeName").map(SmolStr::new),
        zone: text(node, "zone").map(SmolStr::new),
        for_zones: names("forZones"),
        for_nodes: names("forNodes"),
    }
}

/// Reads an Endpoints object.
pub(super) fn endpoints(root: &Node) -> Endpoints {
    let name = root.get("metadata").and_then(|m| text(m, "name")).unwrap_or_default();
    let subset = |node: &Node| {
        let listed = |field: &str, ready: bool| -> Vec<SliceEndpoint> {
            let endpoint = |a: &Node| SliceEndpoint {
                addresses: a.get("ip").and_then(address).into_iter().collect(),
                ready,
                serving: ready,
                node: text(a, "nodeName").map(SmolStr::new),
                ..SliceEndpoint::default()
            };
            items(node, field).iter().map(endpoint).collect()
        };
        let endpoints = [listed("addresses", true), listed("notReadyAddresses", false)].concat();
        EndpointSubset { ports: ports(node), endpoints }
    };
    let subsets: Vec<EndpointSubset> = items(root, "subsets").iter().map(subset).collect();
    let ready = subsets.iter().flat_map(|s| s.endpoints.iter().filter(|e| e.ready));
    Endpoints {
        service: SmolStr::new(name),
        addresses: ready.flat_map(|e| e.addresses.iter().copied()).collect(),
        slice: false,
        subsets,
    }
}

/// Reads a Node.
pub(super) fn node(root: &Node) -> ast::Node {
    let listed = root.get("status").map(|s| items(s, "addresses")).unwrap_or_default();
    let routable = listed.iter().filter(|a| matches!(text(a, "type"), Some("InternalIP" | "ExternalIP")));
    let mut ips: Vec<IpAddr> = routable.filter_map(|a| address(a.get("address")?)).collect();
    let annotations = root.get("metadata").and_then(|m| m.get("annotations"));
    for key in ["network.cilium.io/ipv4-cilium-host", "network.cilium.io/ipv6-cilium-host"] {
        ips.extend(annotations.and_then(|a| address(a.get(key)?)));
    }
    let spec = root.get("spec");
    let mut ranges: Vec<_> = spec.map(|s| items(s, "podCIDRs")).unwrap_or_default().iter().collect();
    if ranges.is_empty() {
        ranges.extend(spec.and_then(|s| s.get("podCIDR")));
    }
    let pod_cidrs = ranges.into_iter().filter_map(|n| n.as_str()?.parse().ok()).collect();
    ast::Node { ips, pod_cidrs }
}

/// Reads a CiliumIdentity's `security-labels`, as `source:key=value`.
pub(super) fn identity(root: &Node) -> Vec<SmolStr> {
    let labels = super::meta::string_map(root.get("security-labels"));
    labels.into_iter().map(|(key, value)| SmolStr::new(format!("{key}={value}"))).collect()
}

/// Reads a CiliumEndpoint.
pub(super) fn cilium_endpoint(root: &Node) -> CiliumEndpoint {
    let Some(status) = root.get("status") else { return CiliumEndpoint::default() };
    let identity = status.get("identity");
    let labels = identity.map(|i| items(i, "labels")).unwrap_or_default();
    let addressing = status.get("networking").map(|n| items(n, "addressing")).unwrap_or_default();
    let families = addressing.iter().flat_map(|a| [a.get("ipv4"), a.get("ipv6")]);
    let port = |node: &Node| {
        Some(ContainerPort {
            name: text(node, "name").map(SmolStr::new),
            port: port_number(node.get("port")?)?,
            protocol: protocol(node.get("protocol")),
            host_port: None,
            host_ip: None,
        })
    };
    CiliumEndpoint {
        identity: identity.and_then(|i| i.get("id")).and_then(integer).and_then(|n| u64::try_from(n).ok()),
        labels: labels.iter().filter_map(Node::as_str).map(SmolStr::new).collect(),
        ips: families.flatten().filter_map(address).collect(),
        ports: items(status, "named-ports").iter().filter_map(port).collect(),
    }
}
