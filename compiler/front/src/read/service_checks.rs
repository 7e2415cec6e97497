//! What the API server refuses of Services and EndpointSlices.

use super::fields::{Map, Reader, refused};
use super::names;
use crate::ast::Spanned;
use crate::tree::{Node, Value};
use ipnet::IpNet;
use portcullis_diag::Span;
use portcullis_diag::codes::schema;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Checks a Service.
pub(super) fn service(r: &mut Reader<'_>, root: &Node) {
    let Some(spec) = root.get("spec").filter(|n| !n.is_null()).and_then(|n| r.map(n, "spec")) else { return };
    let kinds: &[(&str, &str)] = &[
        ("ClusterIP", "ClusterIP"),
        ("NodePort", "NodePort"),
        ("LoadBalancer", "LoadBalancer"),
        ("ExternalName", "ExternalName"),
    ];
    let kind = match spec.get("type") {
        None => "ClusterIP",
        // Of a type that does not exist no more can be said.
        Some(node) => match r.choice(node, "type", kinds, schema::UNKNOWN_VALUE) {
            Some(kind) => kind.value,
            None => return,
        },
    };
    choices(r, &spec);
    addresses(r, &spec);
    only_with(r, &spec, kind);
    affinity(r, &spec);
    let Some(ports) = spec.get("ports").and_then(|n| r.list(n, "ports")) else { return };
    let mut known = Known::default();
    for node in ports {
        let Some(port) = r.map(node, "ports") else { continue };
        service_port(r, &port, kind, ports.len() > 1, &mut known);
    }
}

/// Names, and ports with their protocols, that were there before.
#[derive(Default)]
struct Known<'n> {
    names: BTreeMap<&'n str, Span>,
    ports: BTreeMap<(i128, &'n str), Span>,
    node_ports: BTreeMap<(i128, &'n str), Span>,
}

fn service_port<'n>(r: &mut Reader<'_>, port: &Map<'n>, kind: &str, several: bool, known: &mut Known<'n>) {
    let protocol = protocol(r, port);
    match port.get("port") {
        Some(node) => {
            if let Some(number) = number(r, node, "port", 1, 65_535) {
                once(r, &mut known.ports, (number, protocol), node.span, &format!("{protocol} {number}"));
            }
        }
        None => r.missing(port.span, "port", "an item of `ports`"),
    }
    match port.get("name").and_then(|n| r.text(n, "name")) {
        Some(name) if !name.value.is_empty() => {
            if !names::is_dns_label(&name.value) {
                let why = format!("`{}` cannot be the name of a port", name.value);
                r.report(refused(schema::BAD_PORT, name.span, why).label("not a lower-case DNS label"));
            }
            let text = port.get("name").and_then(Node::as_str).unwrap_or_default();
            once(r, &mut known.names, text, name.span, text);
        }
        _ if several => r.missing(port.span, "name", "an item of `ports` beside others"),
        _ => {}
    }
    if let Some(node) = port.get("targetPort") {
        match &node.value {
            Value::Str(name) if !names::is_service_name(name) || name.to_ascii_lowercase() != *name => {
                let why = format!("`{name}` is neither a number nor the name of a port");
                let finding = refused(schema::BAD_PORT, node.span, why).label("not the name of a port");
                r.report(if name.parse::<u16>().is_ok() {
                    finding.help("take the quotes away")
                } else {
                    finding
                });
            }
            Value::Str(_) => {}
            _ => {
                number(r, node, "targetPort", 1, 65_535);
            }
        }
    }
    if let Some(node) = port.get("nodePort") {
        let number = number(r, node, "nodePort", 0, 65_535).filter(|n| *n != 0);
        if let Some(number) = number {
            if matches!(kind, "ClusterIP" | "ExternalName") {
                misplaced(r, node.span, "nodePort", "`type` is NodePort or LoadBalancer");
            }
            once(r, &mut known.node_ports, (number, protocol), node.span, &format!("{protocol} {number}"));
        }
    }
}

/// The protocol of a port, `TCP` where there is none.
fn protocol(r: &mut Reader<'_>, port: &Map<'_>) -> &'static str {
    let all: &[(&str, &str)] = &[("TCP", "TCP"), ("UDP", "UDP"), ("SCTP", "SCTP")];
    let found = port.get("protocol").and_then(|n| r.choice(n, "protocol", all, schema::UNKNOWN_PROTOCOL));
    match found.map(|p| p.value) {
        Some("UDP") => "UDP",
        Some("SCTP") => "SCTP",
        _ => "TCP",
    }
}

/// A number in its range.
fn number(r: &mut Reader<'_>, node: &Node, what: &str, low: i128, high: i128) -> Option<i128> {
    let Spanned { value, span } = r.integer(node, what)?;
    if (low..=high).contains(&value) {
        return Some(value);
    }
    let why = format!("`{what}` is {value} and must be {low} to {high}");
    r.report(refused(schema::OUT_OF_RANGE, span, why).label("outside the range"));
    None
}

fn once<K: Ord>(r: &mut Reader<'_>, known: &mut BTreeMap<K, Span>, key: K, span: Span, text: &str) {
    if let Some(first) = known.insert(key, span) {
        let finding = refused(schema::DUPLICATE_ITEM, span, format!("`{text}` occurs twice in `ports`"));
        r.report(finding.label("again").also(first, "already here").help("remove one of them"));
    }
}

fn choices(r: &mut Reader<'_>, spec: &Map<'_>) {
    let policies: &[(&str, ())] = &[("Cluster", ()), ("Local", ())];
    let fields: [(&str, &[(&str, ())]); 4] = [
        ("sessionAffinity", &[("None", ()), ("ClientIP", ())]),
        ("internalTrafficPolicy", policies),
        ("externalTrafficPolicy", policies),
        ("trafficDistribution", &[("PreferClose", ()), ("PreferSameZone", ()), ("PreferSameNode", ())]),
    ];
    for (field, allowed) in fields {
        if let Some(node) = spec.get(field).filter(|n| n.as_str() != Some("")) {
            r.choice(node, field, allowed, schema::UNKNOWN_VALUE);
        }
    }
}

fn addresses(r: &mut Reader<'_>, spec: &Map<'_>) {
    let listed = |r: &mut Reader<'_>, field: &'static str| -> Vec<crate::ast::Text> {
        spec.get(field).map(|n| r.texts(n, field)).unwrap_or_default()
    };
    let mut all: Vec<_> = listed(r, "clusterIPs").into_iter().map(|t| ("clusterIPs", t)).collect();
    if let Some(text) = spec.get("clusterIP").and_then(|n| r.text(n, "clusterIP")) {
        all.push(("clusterIP", text));
    }
    all.retain(|(_, t)| !t.value.is_empty() && t.value != "None");
    all.extend(listed(r, "externalIPs").into_iter().map(|t| ("externalIPs", t)));
    for (field, text) in all {
        let found = text.value.parse::<IpAddr>();
        let own = |ip: &IpAddr| ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
        if found.as_ref().map_or(true, |ip| field == "externalIPs" && own(ip)) {
            bad_address(r, text.span, &text.value, field);
        }
    }
    for text in listed(r, "loadBalancerSourceRanges") {
        if text.value.trim().parse::<IpNet>().is_err() {
            let why = format!("`{}` is no address range", text.value);
            let finding = refused(schema::BAD_CIDR, text.span, why).label("not a CIDR");
            r.report(finding.help("write it with a prefix length, such as 192.0.2.0/24"));
        }
    }
}

fn bad_address(r: &mut Reader<'_>, span: Span, text: &str, field: &str) {
    let why = format!("`{text}` cannot be an address of `{field}`");
    r.report(refused(schema::BAD_ADDRESS, span, why).label("not an address that can stand here"));
}

/// Fields that only some types may have.
fn only_with(r: &mut Reader<'_>, spec: &Map<'_>, kind: &str) {
    let local = spec.get("externalTrafficPolicy").and_then(Node::as_str) == Some("Local");
    let external = spec.get("externalIPs").and_then(Node::as_seq).is_some_and(|s| !s.is_empty());
    let opened = matches!(kind, "NodePort" | "LoadBalancer");
    if let Some(node) = spec.get("externalTrafficPolicy").filter(|n| n.as_str() != Some(""))
        && !opened
        && !external
    {
        misplaced(r, node.span, "externalTrafficPolicy", "`type` is NodePort or LoadBalancer");
    }
    if let Some(node) = spec.get("loadBalancerSourceRanges")
        && kind != "LoadBalancer"
        && node.as_seq().is_some_and(|s| !s.is_empty())
    {
        misplaced(r, node.span, "loadBalancerSourceRanges", "`type` is LoadBalancer");
    }
    if let Some(node) = spec.get("healthCheckNodePort")
        && let Some(port) = number(r, node, "healthCheckNodePort", 0, 65_535)
        && port != 0
        && !(kind == "LoadBalancer" && local)
    {
        let when = "`type` is LoadBalancer and `externalTrafficPolicy` is Local";
        misplaced(r, node.span, "healthCheckNodePort", when);
    }
    if let Some(node) = spec.get("clusterIP")
        && node.as_str() == Some("None")
        && opened
    {
        misplaced(r, node.span, "clusterIP: None", "`type` is ClusterIP");
    }
}

fn misplaced(r: &mut Reader<'_>, span: Span, field: &str, when: &str) {
    let why = format!("`{field}` may stand here only where {when}");
    r.report(refused(schema::SERVICE_FIELD, span, why).label("not with this type"));
}

fn affinity(r: &mut Reader<'_>, spec: &Map<'_>) {
    let Some(config) = spec.get("sessionAffinityConfig") else { return };
    if spec.get("sessionAffinity").and_then(Node::as_str) != Some("ClientIP") {
        return misplaced(r, config.span, "sessionAffinityConfig", "`sessionAffinity` is ClientIP");
    }
    if let Some(node) = config.get("clientIP").and_then(|c| c.get("timeoutSeconds")).filter(|n| !n.is_null())
    {
        number(r, node, "timeoutSeconds", 1, 86_400);
    }
}

/// Checks an EndpointSlice.
pub(super) fn slice(r: &mut Reader<'_>, root: &Node) {
    let families: &[(&str, Option<bool>)] = &[("IPv4", Some(true)), ("IPv6", Some(false)), ("FQDN", None)];
    let family = root.get("addressType").filter(|n| !n.is_null());
    let family = family.and_then(|n| r.choice(n, "addressType", families, schema::UNKNOWN_VALUE));
    if let Some(node) = root.get("ports").filter(|n| !n.is_null()) {
        for node in r.list(node, "ports").unwrap_or_default() {
            let Some(port) = r.map(node, "ports") else { continue };
            protocol(r, &port);
            if let Some(node) = port.get("port") {
                number(r, node, "port", 1, 65_535);
            }
        }
    }
    let Some(node) = root.get("endpoints").filter(|n| !n.is_null()) else { return };
    let endpoints = r.list(node, "endpoints").unwrap_or_default();
    r.at_most(endpoints, 1000, node.span, "endpoints");
    for node in endpoints {
        let Some(endpoint) = r.map(node, "endpoints") else { continue };
        let Some(list) = endpoint.get("addresses") else {
            r.missing(endpoint.span, "addresses", "an endpoint");
            continue;
        };
        for text in r.texts(list, "addresses") {
            let Some(Spanned { value: Some(v4), .. }) = family else { continue };
            if !text.value.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == v4) {
                bad_address(
                    r,
                    text.span,
                    &text.value,
                    if v4 { "addresses, of IPv4" } else { "addresses, of IPv6" },
                );
            }
        }
    }
}
