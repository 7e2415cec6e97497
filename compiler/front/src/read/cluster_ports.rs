//! `protocols` of a ClusterNetworkPolicy's rule, and `ports` of the older kinds.

use super::cluster::{Form, only, required};
use super::fields::{Map, Reader, refused};
use super::names;
use crate::ast::{ClusterPeer, ClusterPeerKind, PortSpec, PortValue, Protocol, Spanned};
use crate::tree::{Entry, Node};
use portcullis_diag::Span;
use portcullis_diag::codes::schema;

/// Reads the list.
pub(super) fn list(r: &mut Reader<'_>, node: &Node, form: Form) -> Option<Spanned<Vec<PortSpec>>> {
    let field = if form == Form::Current { "protocols" } else { "ports" };
    let items = r.list(node, field)?;
    if form == Form::Current {
        r.at_least_one(items, node.span, field, "leave `protocols` out for every protocol and port");
    }
    r.at_most(items, if form == Form::Current { 25 } else { 100 }, node.span, field);
    let ports = items.iter().filter_map(|n| if form == Form::Current { current(r, n) } else { older(r, n) });
    let ports: Vec<PortSpec> = ports.collect();
    Some(Spanned::new(ports, node.span))
}

fn current(r: &mut Reader<'_>, node: &Node) -> Option<PortSpec> {
    let known = ["tcp", "udp", "sctp", "destinationNamedPort"];
    let map = r.strict(node, "protocols", &known)?;
    let (name, entry) = only(r, &map, &known, "protocols")?;
    let protocol = match name {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return port_name(r, node, entry),
    };
    let ports = r.strict(&entry.value, name, &["destinationPort"])?;
    let (_, destination) = only(r, &ports, &["destinationPort"], name)?;
    let port = r.strict(&destination.value, "destinationPort", &["number", "range"])?;
    match only(r, &port, &["number", "range"], "destinationPort")? {
        ("number", e) => {
            let number = number(r, &e.value, "number")?;
            Some(PortSpec { span: node.span, port: PortValue::Number(number), end: None, protocol })
        }
        (_, e) => {
            let range = r.strict(&e.value, "range", &["start", "end"])?;
            bounds(r, &range, node.span, protocol)
        }
    }
}

fn older(r: &mut Reader<'_>, node: &Node) -> Option<PortSpec> {
    let known = ["portNumber", "portRange", "namedPort"];
    let map = r.strict(node, "ports", &known)?;
    match only(r, &map, &known, "ports")? {
        ("portNumber", e) => {
            let map = r.strict(&e.value, "portNumber", &["protocol", "port"])?;
            let protocol = protocol(r, &map);
            let port = required(r, &map, "port", "portNumber")?;
            let port = number(r, &port.value, "port")?;
            Some(PortSpec { span: node.span, port: PortValue::Number(port), end: None, protocol: protocol? })
        }
        ("portRange", e) => {
            let map = r.strict(&e.value, "portRange", &["protocol", "start", "end"])?;
            let protocol = protocol(r, &map);
            bounds(r, &map, node.span, protocol?)
        }
        (_, e) => port_name(r, node, e),
    }
}

fn protocol(r: &mut Reader<'_>, map: &Map<'_>) -> Option<Protocol> {
    let protocols = [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];
    match map.get("protocol") {
        None => Some(Protocol::Tcp),
        Some(n) => r.choice(n, "protocol", &protocols, schema::UNKNOWN_PROTOCOL).map(|p| p.value),
    }
}

fn bounds(r: &mut Reader<'_>, map: &Map<'_>, span: Span, protocol: Protocol) -> Option<PortSpec> {
    let start = required(r, map, "start", "a range").and_then(|e| number(r, &e.value, "start"));
    let end = required(r, map, "end", "a range").and_then(|e| number(r, &e.value, "end"));
    let (start, end) = (start?, end?);
    if start >= end {
        let finding = refused(schema::BAD_END_PORT, map.span, format!("the range {start} to {end} is none"));
        r.report(finding.label("its start is not below its end").help("use `number` for a single port"));
        return None;
    }
    Some(PortSpec { span, port: PortValue::Number(start), end: Some(end), protocol })
}

fn number(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<u16> {
    let number = r.integer(node, what)?;
    if let Ok(port @ 1..) = u16::try_from(number.value) {
        return Some(port);
    }
    let finding =
        refused(schema::BAD_PORT, number.span, format!("{} is no port", number.value)).label("not a port");
    r.report(finding.help("a port goes from 1 to 65535; leave the ports out for every port"));
    None
}

/// A named port stands for whatever protocol the container gives it.
fn port_name(r: &mut Reader<'_>, node: &Node, entry: &Entry) -> Option<PortSpec> {
    let text = r.text(&entry.value, &entry.key)?;
    if !names::is_service_name(&text.value) {
        let finding = refused(schema::BAD_PORT, text.span, format!("`{}` is no port name", text.value))
            .label("not a port name");
        r.report(
            finding.help("at most 15 lower-case letters, digits and single hyphens, with a letter in it"),
        );
        return None;
    }
    let name = PortValue::Name(text.value.to_ascii_lowercase().into());
    Some(PortSpec { span: node.span, port: name, end: None, protocol: Protocol::Any })
}

/// Addresses, nodes and domain names have no named ports.
pub(super) fn names_need_pods(
    r: &mut Reader<'_>,
    ports: Option<&Spanned<Vec<PortSpec>>>,
    peers: &[ClusterPeer],
) {
    let outside = peers.iter().find(|p| !matches!(p.what, ClusterPeerKind::Pods(_)));
    let named = ports.and_then(|p| p.value.iter().find(|p| matches!(p.port, PortValue::Name(_))));
    if let (Some(outside), Some(named)) = (outside, named) {
        let finding = refused(
            schema::NAMED_PORT_OUTSIDE,
            named.span,
            "a named port stands in a rule with peers that are no pods",
        );
        let finding = finding.label("only pods name their ports").also(outside.span, "no pods");
        r.report(finding.help("use the port's number, or make two rules of it"));
    }
}
