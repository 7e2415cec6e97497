//! `toPorts`: ports, and what else stands beside them (SEM-2.5, SEM-2.6, SEM-2.7).

use super::fields::{Map, Reader, inert, refused};
use super::peers::Place;
use super::{l7, names};
use crate::ast::{PortRule, PortSpec, PortValue, Protocol, Spanned, Text};
use crate::tree::Node;
use portcullis_diag::codes::schema;
use smol_str::SmolStr;

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("TCP", Protocol::Tcp),
    ("UDP", Protocol::Udp),
    ("SCTP", Protocol::Sctp),
    ("ANY", Protocol::Any),
    ("VRRP", Protocol::Other(112)),
    ("IGMP", Protocol::Other(2)),
    ("GRE", Protocol::Other(47)),
    ("IPIP", Protocol::Other(4)),
    ("IPV6", Protocol::Other(41)),
    ("ESP", Protocol::Other(50)),
    ("AH", Protocol::Other(51)),
];

const ALLOW: &[&str] = &["ports", "rules", "listener", "terminatingTLS", "originatingTLS", "serverNames"];
const DENY: &[&str] = &["ports"];

/// Reads `toPorts`.
pub(super) fn list(r: &mut Reader<'_>, node: &Node, place: Place) -> Option<Spanned<Vec<PortRule>>> {
    let items = r.list(node, "toPorts")?;
    let rules = items.iter().filter_map(|n| port_rule(r, n, place)).collect();
    Some(Spanned::new(rules, node.span))
}

fn port_rule(r: &mut Reader<'_>, node: &Node, place: Place) -> Option<PortRule> {
    let known = if place.deny { DENY } else { ALLOW };
    let map = r.strict(node, "toPorts", known)?;
    let mut rule = PortRule {
        span: node.span,
        ports: Vec::new(),
        http: None,
        dns: None,
        dropped_rules: Vec::new(),
        listener: None,
        server_names: Vec::new(),
        tls: None,
    };
    if let Some(ports) = map.get("ports") {
        let items = r.list(ports, "ports").unwrap_or_default();
        r.at_most(items, 40, ports.span, "ports");
        rule.ports = items.iter().filter_map(|n| port(r, n)).collect();
    }
    if place.deny {
        let misplaced = map.entry("rules").map(|e| Spanned::new(SmolStr::new_static("rules"), e.key_span));
        rule.dropped_rules.extend(misplaced);
        return Some(rule);
    }
    tls(r, &map, &mut rule);
    rule.server_names = server_names(r, &map);
    rule.listener = listener(r, &map, place);
    l7::read(r, &map, &mut rule, place);
    Some(rule)
}

/// Reads one port entry.
fn port(r: &mut Reader<'_>, node: &Node) -> Option<PortSpec> {
    let map = r.strict(node, "ports", &["port", "endPort", "protocol"])?;
    let protocol = match map.get("protocol") {
        None => Some(Protocol::Any),
        Some(n) => r.choice(n, "protocol", PROTOCOLS, schema::UNKNOWN_PROTOCOL).map(|p| p.value),
    };
    let end = map.get("endPort").and_then(|n| end_port(r, n));
    let Some(given) = map.get("port") else {
        let portless = matches!(protocol, Some(Protocol::Other(_)));
        let help = if portless {
            "write `port: \"0\"`; only a Cilium with `enable-extended-ip-protocols` takes an entry without a port"
        } else {
            "write `port: \"0\"` for every port"
        };
        let finding = inert(schema::MISSING_PORT, node.span, "a port entry has no `port`").label("no port");
        r.report(finding.help(help));
        return None;
    };
    let text = r.text(given, "port")?;
    let value = port_value(r, &text)?;
    let protocol = protocol?;
    if let (Protocol::Other(_), PortValue::Number(_)) = (protocol, &value)
        && text.value != "0"
    {
        let finding = inert(
            schema::PORT_ON_PORTLESS,
            text.span,
            format!("its protocol has no ports, yet `{}` is given", text.value),
        )
        .label("a port on a protocol without ports")
        .help("write `port: \"0\"`");
        r.report(finding);
    }
    let end = match value {
        PortValue::Number(start) => end.filter(|e| *e > start),
        PortValue::Name(_) => None,
    };
    Some(PortSpec { span: node.span, port: value, end, protocol })
}

fn end_port(r: &mut Reader<'_>, node: &Node) -> Option<u16> {
    let end = r.integer(node, "endPort")?;
    if let Ok(end) = u16::try_from(end.value) {
        return Some(end);
    }
    let finding = refused(schema::BAD_END_PORT, end.span, format!("`endPort` {} is no port", end.value));
    r.report(finding.label("not within 0 to 65535"));
    None
}

fn port_value(r: &mut Reader<'_>, text: &Text) -> Option<PortValue> {
    let written = text.value.as_str();
    if names::is_service_name(written) {
        return Some(PortValue::Name(SmolStr::new(written.to_ascii_lowercase())));
    }
    if let Some(number) = names::go_port(written) {
        return Some(PortValue::Number(number));
    }
    let why = format!("`{written}` is neither a port number nor a service name");
    let finding = if api_server_takes(written) {
        inert(schema::BAD_PORT, text.span, why)
    } else {
        refused(schema::BAD_PORT, text.span, why)
    };
    let range =
        written.split_once('-').filter(|(a, b)| names::go_port(a).is_some() && names::go_port(b).is_some());
    r.report(match range {
        Some((from, to)) => finding.label("looks like a range").help(format!("write `port: \"{from}\"` and `endPort: {to}`")),
        None => finding
            .label("not a port")
            .help("a number from 0 to 65535, or a name of at most 15 letters, digits and single hyphens with a letter in it"),
    });
    None
}

/// The CRD's pattern is loose: it takes whatever begins with a digit, or ends like a name.
fn api_server_takes(text: &str) -> bool {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return true;
    }
    let Some(last) = text.rfind(|c: char| c.is_ascii_alphabetic()) else { return false };
    let tail = text.get(last + 1..).unwrap_or_default();
    tail.bytes().all(|b| b.is_ascii_digit() || b == b'-') && !tail.contains("--") && !tail.ends_with('-')
}

fn tls(r: &mut Reader<'_>, map: &Map<'_>, rule: &mut PortRule) {
    for (name, entry) in map.given(&["terminatingTLS", "originatingTLS"]) {
        rule.tls.get_or_insert(entry.key_span);
        let known = ["secret", "trustedCA", "certificate", "privateKey"];
        let Some(context) = r.strict(&entry.value, name, &known) else { continue };
        match context.get("secret") {
            Some(node) => secret(r, node),
            None => r.missing(context.span, "secret", name),
        }
        for (field, e) in context.given(&["trustedCA", "certificate", "privateKey"]) {
            r.text(&e.value, field);
        }
    }
}

/// A reference to a Secret; nothing of it bears on verdicts.
pub(super) fn secret(r: &mut Reader<'_>, node: &Node) {
    let Some(secret) = r.strict(node, "secret", &["name", "namespace"]) else { return };
    if secret.get("name").is_none() {
        r.missing(secret.span, "name", "secret");
    }
    for (field, e) in secret.given(&["name", "namespace"]) {
        r.text(&e.value, field);
    }
}

fn server_names(r: &mut Reader<'_>, map: &Map<'_>) -> Vec<Text> {
    let Some(node) = map.get("serverNames") else { return Vec::new() };
    let items = node.as_seq().unwrap_or_default();
    if node.as_seq().is_some() {
        r.at_least_one(items, node.span, "serverNames", "leave it out for every server name");
    }
    r.distinct(items, "serverNames");
    let names = r.texts(node, "serverNames");
    for name in names.iter().filter(|n| !names::is_domain(&n.value, true)) {
        let finding =
            refused(schema::BAD_DOMAIN_NAME, name.span, format!("`{}` is no server name", name.value))
                .label("not a domain name")
                .help("use letters, digits, `-`, `_`, dots, and `*` for any part");
        r.report(finding);
    }
    for long in names.iter().filter(|n| n.value.len() > 255) {
        let why = "a server name is longer than 255 bytes";
        r.report(refused(schema::TOO_LONG, long.span, why).label("too long for a domain name"));
    }
    names
}

fn listener(r: &mut Reader<'_>, map: &Map<'_>, place: Place) -> Option<Text> {
    let entry = map.entry("listener")?;
    let listener = r.strict(&entry.value, "listener", &["envoyConfig", "name", "priority"])?;
    if place.ingress() {
        let finding = inert(schema::LISTENER, entry.key_span, "a listener stands in an ingress section")
            .label("only egress may have one")
            .help("remove it, or redirect on the egress side of the clients");
        r.report(finding);
    }
    match listener.get("envoyConfig") {
        None => r.missing(listener.span, "envoyConfig", "listener"),
        Some(node) => envoy_config(r, node),
    }
    if let Some(priority) = listener.get("priority").and_then(|n| r.integer(n, "priority"))
        && !(1..=100).contains(&priority.value)
    {
        let finding =
            refused(schema::OUT_OF_RANGE, priority.span, "a listener's priority goes from 1 to 100");
        r.report(finding.label("out of range"));
    }
    filled_name(r, &listener, "listener")
}

fn envoy_config(r: &mut Reader<'_>, node: &Node) {
    let Some(config) = r.strict(node, "envoyConfig", &["kind", "name"]) else { return };
    filled_name(r, &config, "envoyConfig");
    if let Some(kind) = config.get("kind") {
        let kinds = [("CiliumEnvoyConfig", ()), ("CiliumClusterwideEnvoyConfig", ())];
        r.choice(kind, "kind", &kinds, schema::UNKNOWN_VALUE);
    }
}

/// A name that is given and not empty.
fn filled_name(r: &mut Reader<'_>, map: &Map<'_>, what: &str) -> Option<Text> {
    let name = map.get("name").and_then(|n| r.text(n, "name")).filter(|n| !n.value.is_empty());
    if name.is_none() && map.get("name").is_none_or(|n| n.as_str() == Some("")) {
        r.missing(map.span, "name", what);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::api_server_takes;

    #[test]
    fn the_crds_pattern_lets_more_through_than_the_engine() {
        for taken in ["65536", "a_b", "80-90", "a--b", "abcdefghijklmnop", "-a"] {
            assert!(api_server_takes(taken), "{taken}");
        }
        for not in ["-1", "", " 80", "a-", "http "] {
            assert!(!api_server_takes(not), "{not}");
        }
    }
}
