//! `icmps` (SEM-2.8).

use super::fields::{Map, Reader, inert, refused};
use crate::ast::{IcmpField, Spanned};
use crate::tree::{Node, Value};
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::schema;

/// Names of the IPv4 family.
const V4: &[(&str, u8)] = &[
    ("EchoReply", 0),
    ("DestinationUnreachable", 3),
    ("Redirect", 5),
    ("Echo", 8),
    ("EchoRequest", 8),
    ("RouterAdvertisement", 9),
    ("RouterSelection", 10),
    ("TimeExceeded", 11),
    ("ParameterProblem", 12),
    ("Timestamp", 13),
    ("TimestampReply", 14),
    ("Photuris", 40),
    ("ExtendedEchoRequest", 42),
    ("ExtendedEchoReply", 43),
];

/// Names of the IPv6 family.
const V6: &[(&str, u8)] = &[
    ("DestinationUnreachable", 1),
    ("PacketTooBig", 2),
    ("TimeExceeded", 3),
    ("ParameterProblem", 4),
    ("EchoRequest", 128),
    ("EchoReply", 129),
    ("MulticastListenerQuery", 130),
    ("MulticastListenerReport", 131),
    ("MulticastListenerDone", 132),
    ("RouterSolicitation", 133),
    ("RouterAdvertisement", 134),
    ("NeighborSolicitation", 135),
    ("NeighborAdvertisement", 136),
    ("RedirectMessage", 137),
    ("RouterRenumbering", 138),
    ("ICMPNodeInformationQuery", 139),
    ("ICMPNodeInformationResponse", 140),
    ("InverseNeighborDiscoverySolicitation", 141),
    ("InverseNeighborDiscoveryAdvertisement", 142),
    ("HomeAgentAddressDiscoveryRequest", 144),
    ("HomeAgentAddressDiscoveryReply", 145),
    ("MobilePrefixSolicitation", 146),
    ("MobilePrefixAdvertisement", 147),
    ("DuplicateAddressRequestCodeSuffix", 157),
    ("DuplicateAddressConfirmationCodeSuffix", 158),
    ("ExtendedEchoRequest", 160),
    ("ExtendedEchoReply", 161),
];

/// The CRD's pattern for names misspells this one, so that the API server refuses it.
const MISSPELT_UPSTREAM: &str = "ExtendedEchoReply";

/// Reads `icmps`. `icmps: []` is as if absent (`None`); entries without fields allow nothing, so
/// they give an empty list.
pub(super) fn list(r: &mut Reader<'_>, node: &Node) -> Option<Spanned<Vec<IcmpField>>> {
    let items = r.list(node, "icmps")?;
    if items.is_empty() {
        return None;
    }
    let mut fields = Vec::new();
    for item in items {
        let Some(given) = r.strict(item, "icmps", &["fields"]).and_then(|m| m.get("fields")) else {
            continue;
        };
        let list = r.list(given, "fields").unwrap_or_default();
        r.at_most(list, 40, given.span, "fields");
        fields.extend(list.iter().filter_map(|n| field(r, n)));
    }
    Some(Spanned::new(fields, node.span))
}

fn field(r: &mut Reader<'_>, node: &Node) -> Option<IcmpField> {
    let map = r.strict(node, "fields", &["family", "type"])?;
    let v6 = match map.get("family") {
        None => false,
        Some(n) => r.choice(n, "family", &[("IPv4", false), ("IPv6", true)], schema::UNKNOWN_VALUE)?.value,
    };
    icmp_type(r, &map, v6).map(|t| IcmpField { span: node.span, v6, icmp_type: t })
}

fn icmp_type(r: &mut Reader<'_>, map: &Map<'_>, v6: bool) -> Option<Spanned<u8>> {
    let Some(node) = map.get("type") else {
        r.missing(map.span, "type", "an ICMP field");
        return None;
    };
    match &node.value {
        Value::Int(number) => number_type(r, node, *number),
        Value::Str(text) => match text.parse::<u8>() {
            Ok(number) if number.to_string() == text.as_str() => Some(Spanned::new(number, node.span)),
            _ => named_type(r, node, text, v6),
        },
        _ => r.wrong_type(node, "type", "integer"),
    }
}

/// A type outside the eight bits is taken by everybody. The engine reads it as a port: what is too
/// large never occurs on the wire, and what is negative becomes 0, which is every type.
fn number_type(r: &mut Reader<'_>, node: &Node, number: i128) -> Option<Spanned<u8>> {
    if let Ok(number) = u8::try_from(number) {
        return Some(Spanned::new(number, node.span));
    }
    let (message, label, value) = if number < 0 {
        (
            "the rule covers every ICMP type of the family: a negative type is read as 0",
            "read as every type",
            Some(0),
        )
    } else {
        ("the entry matches nothing: there is no such ICMP type", "more than eight bits", None)
    };
    let finding = Diagnostic::new(schema::ICMP_TYPE_RANGE, message, node.span).label(label);
    r.report(finding.help("use a type from 0 to 255, or its name"));
    value.map(|v| Spanned::new(v, node.span))
}

fn named_type(r: &mut Reader<'_>, node: &Node, name: &str, v6: bool) -> Option<Spanned<u8>> {
    let (own, other) = if v6 { (V6, V4) } else { (V4, V6) };
    let find = |table: &[(&str, u8)]| table.iter().find(|(n, _)| *n == name).map(|(_, t)| *t);
    let family = if v6 { "IPv6" } else { "IPv4" };
    let (finding, help) = if name == MISSPELT_UPSTREAM {
        let number = find(own).unwrap_or_default();
        let why = format!("the schema does not know the name `{name}`");
        (
            refused(schema::UNKNOWN_ICMP_TYPE, node.span, why).label("misspelt in the schema itself"),
            format!("write the number {number}"),
        )
    } else if let Some(number) = find(own) {
        return Some(Spanned::new(number, node.span));
    } else if find(other).is_some() {
        let why = format!("`{name}` is no ICMP type of {family}");
        let finding = inert(schema::UNKNOWN_ICMP_TYPE, node.span, why).label("a type of the other family");
        (finding, if v6 { "remove `family: IPv6`".to_owned() } else { "write `family: IPv6`".to_owned() })
    } else {
        let names: Vec<&str> = own.iter().map(|(n, _)| *n).collect();
        let finding =
            refused(schema::UNKNOWN_ICMP_TYPE, node.span, format!("there is no ICMP type `{name}`"))
                .label("not a type");
        let help = super::names::nearest(name, &names);
        (finding, help.map_or_else(|| "use the number".to_owned(), |n| format!("did you mean `{n}`?")))
    };
    r.report(finding.help(help));
    None
}
