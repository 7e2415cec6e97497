//! Services, endpoints and nodes: what of them bears on policy, unchecked.

use super::pods::{address, integer, items, port_number, port_value, protocol, text};
use crate::ast::{self, CiliumEndpoint, ContainerPort, Endpoints, PortValue, Service, ServicePort};
use crate::tree::Node;
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
    let mut external_ips: Vec<IpAddr> = items(spec, "externalIPs").iter().filter_map(address).collect();
    external_ips.extend(ingress.iter().filter_map(|i| address(i.get("ip")?)));
    let selector = spec.get("selector").filter(|s| s.as_map().is_some_and(|m| !m.is_empty()));
    Service {
        span: spec.span,
        kind: SmolStr::new(text(spec, "type").unwrap_or("ClusterIP")),
        selector: selector.map(|s| super::meta::string_map(Some(s))),
        cluster_ips,
        headless: text(spec, "clusterIP") == Some("None"),
        external_ips,
        ports: items(spec, "ports").iter().filter_map(service_port).collect(),
    }
}

fn service_port(node: &Node) -> Option<ServicePort> {
    let port = port_number(node.get("port")?)?;
    Some(ServicePort {
        name: text(node, "name").map(SmolStr::new),
        port,
        target: node.get("targetPort").and_then(port_value).unwrap_or(PortValue::Number(port)),
        protocol: protocol(node.get("protocol")),
        node_port: node.get("nodePort").and_then(port_number).filter(|p| *p != 0),
    })
}

/// Reads an EndpointSlice.
pub(super) fn slice(root: &Node) -> Endpoints {
    let labels = root.get("metadata").and_then(|m| m.get("labels"));
    let service = labels.and_then(|l| text(l, "kubernetes.io/service-name")).unwrap_or_default();
    let endpoints = items(root, "endpoints").iter().flat_map(|e| items(e, "addresses"));
    Endpoints { service: SmolStr::new(service), addresses: endpoints.filter_map(address).collect() }
}

/// Reads an Endpoints object.
pub(super) fn endpoints(root: &Node) -> Endpoints {
    let name = root.get("metadata").and_then(|m| text(m, "name")).unwrap_or_default();
    let addresses = items(root, "subsets").iter().flat_map(|s| items(s, "addresses"));
    Endpoints {
        service: SmolStr::new(name),
        addresses: addresses.filter_map(|a| address(a.get("ip")?)).collect(),
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
        })
    };
    CiliumEndpoint {
        identity: identity.and_then(|i| i.get("id")).and_then(integer).and_then(|n| u64::try_from(n).ok()),
        labels: labels.iter().filter_map(Node::as_str).map(SmolStr::new).collect(),
        ips: families.flatten().filter_map(address).collect(),
        ports: items(status, "named-ports").iter().filter_map(port).collect(),
    }
}
