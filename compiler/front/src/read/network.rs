//! Kubernetes NetworkPolicy, checked as the API server checks it.

use super::fields::{Map, Reader, refused};
use super::{cidr, names, selector};
use crate::ast::{
    LabelSelector, NetworkPeer, NetworkPolicy, NetworkPort, NetworkRule, PortValue, Protocol, Spanned,
};
use crate::tree::{Node, Value};
use portcullis_diag::codes::schema;

const PROTOCOLS: &[(&str, Protocol)] =
    &[("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];

/// Reads the object.
pub(super) fn read(r: &mut Reader<'_>, root: &Node) -> Option<NetworkPolicy> {
    let map = r.strict(root, "a NetworkPolicy", &["apiVersion", "kind", "metadata", "spec", "status"])?;
    super::meta::check(r, &map, true);
    let Some(node) = map.get("spec") else {
        // The API server takes it: an empty spec selects every pod and denies all ingress (SEM-5.4).
        return Some(NetworkPolicy {
            span: root.span,
            pod_selector: LabelSelector { span: root.span, ..LabelSelector::default() },
            ingress: None,
            egress: None,
            policy_types: None,
        });
    };
    let spec = r.strict(node, "spec", &["podSelector", "ingress", "egress", "policyTypes"])?;
    let everyone = LabelSelector { span: node.span, ..LabelSelector::default() };
    let pod_selector = match spec.get("podSelector") {
        None => Some(everyone),
        Some(n) => selector::read(r, n, "podSelector"),
    };
    let ingress = rules(r, &spec, "ingress", "from");
    let egress = rules(r, &spec, "egress", "to");
    let policy_types = spec.get("policyTypes").and_then(|n| policy_types(r, n));
    Some(NetworkPolicy { span: node.span, pod_selector: pod_selector?, ingress, egress, policy_types })
}

fn policy_types(r: &mut Reader<'_>, node: &Node) -> Option<Spanned<(bool, bool)>> {
    let items = r.list(node, "policyTypes")?;
    r.at_most(items, 2, node.span, "policyTypes");
    let kinds = [("Ingress", (true, false)), ("Egress", (false, true))];
    let mut named = (false, false);
    for item in items {
        if let Some(kind) = r.choice(item, "policy type", &kinds, schema::UNKNOWN_VALUE) {
            named = (named.0 || kind.value.0, named.1 || kind.value.1);
        }
    }
    // An empty list is defaulted like an absent one.
    (!items.is_empty()).then(|| Spanned::new(named, node.span))
}

fn rules(
    r: &mut Reader<'_>,
    spec: &Map<'_>,
    section: &str,
    peers: &str,
) -> Option<Spanned<Vec<NetworkRule>>> {
    let entry = spec.entry(section)?;
    let items = r.list(&entry.value, section)?;
    let rules = items.iter().filter_map(|n| rule(r, n, section, peers)).collect();
    Some(Spanned::new(rules, entry.key_span))
}

fn rule(r: &mut Reader<'_>, node: &Node, section: &str, peers: &str) -> Option<NetworkRule> {
    if node.is_null() {
        // Go decodes a null entry to an empty rule, which allows everything.
        return Some(NetworkRule { span: node.span, peers: Vec::new(), ports: Vec::new() });
    }
    let map = r.strict(node, section, &[peers, "ports"])?;
    let given = map.get(peers).and_then(|n| r.list(n, peers)).unwrap_or_default();
    let peer_list = given.iter().filter_map(|n| peer(r, n, peers)).collect();
    let given = map.get("ports").and_then(|n| r.list(n, "ports")).unwrap_or_default();
    let ports = given.iter().filter_map(|n| port(r, n)).collect();
    Some(NetworkRule { span: node.span, peers: peer_list, ports })
}

fn peer(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<NetworkPeer> {
    let map = r.strict(node, what, &["podSelector", "namespaceSelector", "ipBlock"])?;
    let pods = map.entry("podSelector");
    let namespaces = map.entry("namespaceSelector");
    let block = map.entry("ipBlock");
    if let (Some(block), Some(selector)) = (block, pods.or(namespaces)) {
        let finding = refused(schema::PEER_CHOICE, block.key_span, "an `ipBlock` stands beside a selector")
            .label("addresses")
            .also(selector.key_span, "and pods in one peer")
            .help("make two peers of it");
        r.report(finding);
    } else if pods.is_none() && namespaces.is_none() && block.is_none() {
        let finding = refused(schema::EMPTY_PEER, node.span, "a peer names nothing").label("an empty peer");
        r.report(finding.help(format!(
            "leave `{what}` out for every peer, or write `namespaceSelector: {{}}` for every pod"
        )));
    }
    Some(NetworkPeer {
        span: node.span,
        pod_selector: pods.and_then(|e| selector::read(r, &e.value, "podSelector")),
        namespace_selector: namespaces.and_then(|e| selector::read(r, &e.value, "namespaceSelector")),
        ip_block: block.and_then(|e| cidr::ip_block(r, &e.value)),
    })
}

fn port(r: &mut Reader<'_>, node: &Node) -> Option<NetworkPort> {
    if node.is_null() {
        // Decoded like a null rule: every port of the default protocol.
        return Some(NetworkPort { span: node.span, port: None, end: None, protocol: Protocol::Tcp });
    }
    let map = r.strict(node, "ports", &["port", "endPort", "protocol"])?;
    let protocol = match map.get("protocol") {
        None => Some(Protocol::Tcp),
        Some(n) => r.choice(n, "protocol", PROTOCOLS, schema::UNKNOWN_PROTOCOL).map(|p| p.value),
    };
    let value = match map.get("port") {
        None => None,
        Some(n) => Some(port_value(r, n)?),
    };
    let end = end_port(r, &map, value.as_ref());
    Some(NetworkPort { span: node.span, port: value, end, protocol: protocol? })
}

fn port_value(r: &mut Reader<'_>, node: &Node) -> Option<PortValue> {
    let (why, help) = match &node.value {
        Value::Int(number) => match u16::try_from(*number) {
            Ok(number @ 1..) => return Some(PortValue::Number(number)),
            _ => (
                format!("{number} is no port"),
                "a port goes from 1 to 65535; leave `port` out for every port",
            ),
        },
        Value::Str(name) if names::is_service_name(name) && !name.bytes().any(|b| b.is_ascii_uppercase()) => {
            return Some(PortValue::Name(name.clone()));
        }
        Value::Str(text) if text.parse::<u16>().is_ok() => {
            (format!("the port `{text}` is a string of digits"), "take the quotes away")
        }
        Value::Str(text) => (
            format!("`{text}` is no port name"),
            "at most 15 lower-case letters, digits and single hyphens, with a letter in it",
        ),
        _ => return r.wrong_type(node, "port", "integer"),
    };
    r.report(refused(schema::BAD_PORT, node.span, why).label("not a port").help(help));
    None
}

fn end_port(r: &mut Reader<'_>, map: &Map<'_>, port: Option<&PortValue>) -> Option<u16> {
    let end = map.get("endPort").and_then(|n| r.integer(n, "endPort"))?;
    let why = match (port, u16::try_from(end.value)) {
        (None, _) => "`endPort` stands without `port`".to_owned(),
        (Some(PortValue::Name(_)), _) => "`endPort` stands beside a named port".to_owned(),
        (Some(PortValue::Number(start)), Ok(end)) if end >= *start => return (end > *start).then_some(end),
        (Some(PortValue::Number(start)), Ok(end)) => format!("`endPort` {end} is below `port` {start}"),
        (_, Err(_)) => format!("`endPort` {} is no port", end.value),
    };
    let finding = refused(schema::BAD_END_PORT, end.span, why).label("makes no range");
    r.report(finding.help("a range begins at `port` and ends at `endPort`, which is not below it"));
    None
}
