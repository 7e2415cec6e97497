//! Pods and the templates that stand for them. Only what bears on policy is read, and nothing is
//! checked: these objects come from a running cluster, or will be checked by one.

use crate::ast::{ContainerPort, Pod, PortValue, Protocol, Spanned, Workload};
use crate::tree::{Node, Value};
use smol_str::SmolStr;
use std::net::IpAddr;

/// Reads a Pod.
pub(super) fn pod(root: &Node) -> Pod {
    let mut pod = root.get("spec").map_or_else(empty, spec);
    if let Some(status) = root.get("status") {
        let ready = items(status, "conditions").iter().find(|c| text(c, "type") == Some("Ready"));
        pod.ready = ready.map(|c| text(c, "status") == Some("True"));
        pod.finished = matches!(text(status, "phase"), Some("Succeeded" | "Failed"));
        pod.ips = items(status, "podIPs").iter().filter_map(|n| address(n.get("ip")?)).collect();
        if pod.ips.is_empty() {
            pod.ips.extend(status.get("podIP").and_then(address));
        }
    }
    let stamp = root.get("metadata").and_then(|m| m.get("deletionTimestamp"));
    pod.terminating = stamp.is_some_and(|s| !s.is_null());
    let owners = root.get("metadata").map(|m| items(m, "ownerReferences")).unwrap_or_default();
    let owner = owners.iter().find(|o| flag(o, "controller")).or(owners.first());
    pod.owner = owner.and_then(|o| Some((SmolStr::new(text(o, "kind")?), SmolStr::new(text(o, "name")?))));
    pod
}

/// Reads a kind with a pod template. `None` if it has no template.
pub(super) fn workload(root: &Node, kind: &str) -> Option<Workload> {
    let spec_node = root.get("spec")?;
    let template = template(root, kind)?;
    let counted = matches!(kind, "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController");
    let replicas =
        spec_node.get("replicas").filter(|_| counted).and_then(integer).and_then(|n| u32::try_from(n).ok());
    let labels = template.get("metadata").and_then(|m| m.get("labels"));
    Some(Workload {
        replicas: replicas.unwrap_or(1),
        labels: super::meta::string_map(labels),
        template_span: labels.map_or(template.span, |n| n.span),
        pod: template.get("spec").map_or_else(empty, spec),
    })
}

/// The pod template of a workload kind.
pub(super) fn template<'n>(root: &'n Node, kind: &str) -> Option<&'n Node> {
    let spec = root.get("spec")?;
    let job = if kind == "CronJob" { spec.get("jobTemplate")?.get("spec")? } else { spec };
    job.get("template")
}

fn empty() -> Pod {
    Pod { service_account: SmolStr::new_static("default"), ..Pod::default() }
}

fn spec(node: &Node) -> Pod {
    let account =
        text(node, "serviceAccountName").or_else(|| text(node, "serviceAccount")).filter(|a| !a.is_empty());
    let mut pod = Pod {
        node: text(node, "nodeName").filter(|n| !n.is_empty()).map(SmolStr::new),
        service_account: account.map_or(SmolStr::new_static("default"), SmolStr::new),
        host_network: flag(node, "hostNetwork"),
        ..Pod::default()
    };
    let sidecars =
        items(node, "initContainers").iter().filter(|c| text(c, "restartPolicy") == Some("Always"));
    for container in items(node, "containers").iter().chain(sidecars) {
        pod.ports.extend(items(container, "ports").iter().filter_map(container_port));
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            pod.probes.extend(container.get(probe).and_then(probe_port));
        }
    }
    pod
}

fn container_port(node: &Node) -> Option<ContainerPort> {
    Some(ContainerPort {
        name: text(node, "name").map(SmolStr::new),
        port: port_number(node.get("containerPort")?)?,
        protocol: protocol(node.get("protocol")),
        host_port: node.get("hostPort").and_then(port_number).filter(|p| *p != 0),
        host_ip: node.get("hostIP").and_then(address).filter(|ip| !ip.is_unspecified()),
    })
}

fn probe_port(probe: &Node) -> Option<Spanned<PortValue>> {
    let action = ["httpGet", "tcpSocket", "grpc"].iter().find_map(|a| probe.get(a))?;
    let port = action.get("port")?;
    port_value(port).map(|value| Spanned::new(value, port.span))
}

/// A port given as a number or a name.
pub(super) fn port_value(node: &Node) -> Option<PortValue> {
    match &node.value {
        Value::Str(name) => Some(PortValue::Name(name.clone())),
        _ => port_number(node).map(PortValue::Number),
    }
}

/// A port given as a number.
pub(super) fn port_number(node: &Node) -> Option<u16> {
    integer(node).and_then(|n| u16::try_from(n).ok())
}

/// An integer.
pub(super) fn integer(node: &Node) -> Option<i128> {
    match node.value {
        Value::Int(n) => Some(n),
        _ => None,
    }
}

/// The protocol of a container or service port: TCP unless it says otherwise.
pub(super) fn protocol(node: Option<&Node>) -> Protocol {
    match node.and_then(Node::as_str) {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some("ANY") => Protocol::Any,
        _ => Protocol::Tcp,
    }
}

/// An IP address.
pub(super) fn address(node: &Node) -> Option<IpAddr> {
    node.as_str()?.parse().ok()
}

/// The items of a list; none if there is no list.
pub(super) fn items<'n>(node: &'n Node, key: &str) -> &'n [Node] {
    node.get(key).and_then(Node::as_seq).unwrap_or_default()
}

/// A string field.
pub(super) fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key).and_then(Node::as_str)
}

pub(super) fn flag(node: &Node, key: &str) -> bool {
    matches!(node.get(key).map(|n| &n.value), Some(Value::Bool { value: true, .. }))
}
