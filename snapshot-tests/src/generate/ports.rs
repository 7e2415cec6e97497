//! Port lists of every kind.

use super::choices::Choices;
use super::objects::PORT_NAMES;
use serde_json::{Value, json};

/// Ports that meet, touch and overlap.
const NUMBERS: [u16; 8] = [80, 443, 8080, 53, 1, 65535, 81, 8000];

/// The `toPorts` of an entry of an allow rule, or of a deny rule.
pub(super) fn to_ports(c: &mut Choices<'_>, allow: bool, ingress: bool) -> Value {
    json!(c.many(1, 2, |c| item(c, allow, ingress)))
}

fn item(c: &mut Choices<'_>, allow: bool, ingress: bool) -> Value {
    if allow && c.one_in(16) {
        return json!({});
    }
    if allow && c.one_in(8) {
        return json!({"ports": [{"port": c.of(&["80", "8080"]), "protocol": "TCP"}],
            "rules": {"http": [{"method": c.of(&["GET", "POST"])}]}});
    }
    if allow && !ingress && c.one_in(10) {
        return json!({"ports": [{"port": "53", "protocol": c.of(&["ANY", "UDP"])}],
            "rules": {"dns": [{"matchPattern": "*"}]}});
    }
    json!({"ports": c.many(1, 2, spec)})
}

fn spec(c: &mut Choices<'_>) -> Value {
    if c.one_in(5) {
        return json!({"port": c.of(&PORT_NAMES), "protocol": c.of(&["TCP", "UDP", "ANY"])});
    }
    if c.one_in(8) {
        return json!({"port": "0", "protocol": c.of(&["TCP", "ANY", "UDP", "SCTP"])});
    }
    let number = c.of(&NUMBERS);
    let mut out = json!({"port": number.to_string()});
    if !c.one_in(5) {
        out["protocol"] = json!(c.of(&["TCP", "UDP", "SCTP", "ANY"]));
    }
    if c.one_in(3) {
        out["endPort"] = json!(u32::from(number).saturating_add(c.of(&[10, 1, 0, 1000])).min(65535));
    }
    out
}

/// ICMP fields.
pub(super) fn icmps(c: &mut Choices<'_>) -> Value {
    let fields = c.many(1, 2, |c| {
        let kind = match c.below(4) {
            0 => json!(8),
            1 => json!(0),
            2 => json!("EchoRequest"),
            _ => json!(128),
        };
        let family = if kind == json!(128) { "IPv6" } else { c.of(&["IPv4", "IPv6"]) };
        json!({"family": family, "type": kind})
    });
    json!([{"fields": fields}])
}

/// Ports of a NetworkPolicy rule.
pub(super) fn network(c: &mut Choices<'_>) -> Value {
    json!(c.many(1, 2, |c| {
        let protocol = c.of(&["TCP", "UDP", "SCTP"]);
        match c.below(6) {
            0 => json!({"protocol": protocol}),
            1 => json!({"protocol": protocol, "port": c.of(&PORT_NAMES)}),
            2 => json!({"protocol": protocol, "port": 8000, "endPort": 8080}),
            _ => json!({"protocol": protocol, "port": c.of(&NUMBERS)}),
        }
    }))
}

/// Protocols of a ClusterNetworkPolicy rule.
pub(super) fn cluster(c: &mut Choices<'_>) -> Value {
    json!(c.many(1, 2, |c| {
        let protocol = c.of(&["tcp", "udp", "sctp"]);
        match c.below(6) {
            0 => json!({protocol: {"destinationPort": {"range": {"start": 80, "end": 8080}}}}),
            1 => json!({"destinationNamedPort": c.of(&PORT_NAMES)}),
            _ => json!({protocol: {"destinationPort": {"number": c.of(&NUMBERS)}}}),
        }
    }))
}
