//! Flows for terminals: the forms that people know from `hubble observe`, with policy, file and line.

use crate::filter::{ports, protocol};
use crate::pb::flow::layer4::Protocol;
use crate::pb::flow::{DropReason, Endpoint, Flow, FlowType, IpVersion, LostEventSource, Policy};
use crate::pb::flow::{TcpFlags, TrafficDirection, Verdict};
use crate::pb::observer::GetFlowsResponse;
use crate::pb::observer::get_flows_response::ResponseTypes;
use crate::pb::relay::NodeState;
use prost_types::Timestamp;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// How flows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// One line a flow.
    #[default]
    Compact,
    /// One line a field.
    Dict,
    /// Columns.
    Table,
    /// One JSON object a line.
    Json,
}

/// The line above a table.
pub fn heading() -> String {
    columns(["TIMESTAMP", "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"])
}

fn columns(c: [&str; 6]) -> String {
    let [time, from, to, kind, verdict, summary] = c;
    format!("{time:<20} {from:<32} {to:<32} {kind:<26} {verdict:<10} {summary}").trim_end().to_owned()
}

/// One response in a form.
pub fn line(r: &GetFlowsResponse, form: Form) -> String {
    if form == Form::Json {
        return json_line(r).to_string();
    }
    match &r.response_types {
        Some(ResponseTypes::Flow(f)) => match form {
            Form::Dict => dict(f, r.time.as_ref()),
            Form::Table => columns([
                &time(f.time.as_ref()),
                &end(f, true),
                &end(f, false),
                &kind(f),
                verdict(f),
                &summary(f),
            ]),
            _ => compact(f),
        },
        Some(ResponseTypes::LostEvents(l)) => {
            let source = LostEventSource::try_from(l.source).unwrap_or_default().as_str_name();
            format!("EVENTS LOST: {source} {}", l.num_events_lost)
        }
        Some(ResponseTypes::NodeStatus(s)) => {
            let state = NodeState::try_from(s.state_change).unwrap_or_default().as_str_name();
            let why = if s.message.is_empty() { String::new() } else { format!(" ({})", s.message) };
            format!("{state}: {}{why}", s.node_names.join(", "))
        }
        None => String::new(),
    }
}

fn compact(f: &Flow) -> String {
    let (from, to) = (end(f, true), end(f, false));
    let (left, arrow, right) = match f.is_reply {
        Some(true) => (to, "<-", from),
        Some(false) => (from, "->", to),
        None => (from, "<>", to),
    };
    let mut out = format!("{}: {left} {arrow} {right} {} {}", time(f.time.as_ref()), kind(f), verdict(f));
    let _ = write!(out, " ({})", summary(f));
    out
}

fn dict(f: &Flow, seen: Option<&Timestamp>) -> String {
    let mut out = String::new();
    for (name, value) in [
        ("TIMESTAMP", time(f.time.as_ref().or(seen))),
        ("NODE", f.node_name.clone()),
        ("SOURCE", end(f, true)),
        ("DESTINATION", end(f, false)),
        ("TYPE", kind(f)),
        ("VERDICT", verdict(f).to_owned()),
        ("SUMMARY", layer4(f)),
        ("BY", f.policy_log.join("; ")),
    ] {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:>12}: {value}");
        }
    }
    out.push_str("------------");
    out
}

fn time(t: Option<&Timestamp>) -> String {
    let at = t.and_then(|t| jiff::Timestamp::new(t.seconds, t.nanos).ok());
    at.map_or_else(|| "N/A".to_owned(), |t| t.strftime("%b %e %H:%M:%S.%3f").to_string())
}

fn end(f: &Flow, is_source: bool) -> String {
    let ip = f.ip.as_ref();
    let (endpoint, ip, port) = if is_source {
        (f.source.as_ref(), ip.map(|i| &i.source), ports(f).map(|p| p.0))
    } else {
        (f.destination.as_ref(), ip.map(|i| &i.destination), ports(f).map(|p| p.1))
    };
    let ip = ip.map_or("", String::as_str);
    let named = endpoint.and_then(|e| {
        let pod = if e.pod_name.is_empty() { &e.workloads.first()?.name } else { &e.pod_name };
        Some(format!("{}/{pod}", e.namespace))
    });
    let identity = endpoint.map(about).unwrap_or_default();
    let host = match (&named, port) {
        (None, Some(_)) if ip.contains(':') => format!("[{ip}]"),
        (None, _) => ip.to_owned(),
        (Some(name), _) => name.clone(),
    };
    let at = port.map_or_else(|| host.clone(), |p| format!("{host}:{p}"));
    if identity.is_empty() { at } else { format!("{at} ({identity})") }
}

/// Who an identity is: its reserved name, or its number.
fn about(e: &Endpoint) -> String {
    let reserved = e.labels.iter().find_map(|l| l.strip_prefix("reserved:"));
    match (reserved, e.identity) {
        (Some(name), _) => name.to_owned(),
        (None, 0) => String::new(),
        (None, n) => format!("ID:{n}"),
    }
}

fn kind(f: &Flow) -> String {
    if f.verdict() == Verdict::Dropped {
        return reason(f.drop_reason_desc());
    }
    let side = match f.traffic_direction() {
        TrafficDirection::Ingress => "INGRESS",
        TrafficDirection::Egress => "EGRESS",
        TrafficDirection::Unknown => "UNKNOWN",
    };
    format!("policy-verdict {side}")
}

/// `POLICY_DENIED` as `Policy denied`.
pub fn reason(r: DropReason) -> String {
    let text = r.as_str_name().replace('_', " ").to_ascii_lowercase();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_ascii_uppercase().to_string() + chars.as_str())
}

fn verdict(f: &Flow) -> &'static str {
    match f.verdict() {
        Verdict::Forwarded => "FORWARDED",
        Verdict::Dropped => "DROPPED",
        Verdict::Audit => "AUDITED",
        other => other.as_str_name(),
    }
}

fn flag_names(t: &TcpFlags) -> Vec<&'static str> {
    let all = [
        (t.syn, "SYN"),
        (t.ack, "ACK"),
        (t.rst, "RST"),
        (t.fin, "FIN"),
        (t.psh, "PSH"),
        (t.urg, "URG"),
        (t.ece, "ECE"),
        (t.cwr, "CWR"),
        (t.ns, "NS"),
    ];
    all.into_iter().filter_map(|(set, name)| set.then_some(name)).collect()
}

/// Names of the flags that a flow's packet has.
pub fn tcp_flags(f: &Flow) -> Vec<&'static str> {
    match f.l4.as_ref().and_then(|l| l.protocol.as_ref()) {
        Some(Protocol::Tcp(t)) => t.flags.as_ref().map(flag_names).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn layer4(f: &Flow) -> String {
    match f.l4.as_ref().and_then(|l| l.protocol.as_ref()) {
        Some(Protocol::Tcp(_)) => match tcp_flags(f) {
            none if none.is_empty() => "TCP".to_owned(),
            flags => format!("TCP Flags: {}", flags.join(", ")),
        },
        Some(Protocol::IcmPv4(i)) => format!("ICMPv4 type {} code {}", i.r#type, i.code),
        Some(Protocol::IcmPv6(i)) => format!("ICMPv6 type {} code {}", i.r#type, i.code),
        _ => protocol(f).to_owned(),
    }
}

fn summary(f: &Flow) -> String {
    if f.policy_log.is_empty() { layer4(f) } else { format!("{}; {}", layer4(f), f.policy_log.join("; ")) }
}

/// An object without what is at its default.
fn object(all: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let is_default = |v: &Value| match v {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(_) => false,
    };
    Value::Object(
        all.into_iter()
            .filter(|(_, v)| !is_default(v))
            .map(|(k, v)| (k.to_owned(), v))
            .collect::<Map<_, _>>(),
    )
}

fn json_time(t: Option<&Timestamp>) -> Value {
    let at = t.and_then(|t| jiff::Timestamp::new(t.seconds, t.nanos).ok());
    at.map_or(Value::Null, |t| t.to_string().into())
}

/// A response as `hubble observe -o jsonpb` writes it.
pub fn json_line(r: &GetFlowsResponse) -> Value {
    let what = match &r.response_types {
        Some(ResponseTypes::Flow(f)) => ("flow", json(f)),
        Some(ResponseTypes::LostEvents(l)) => {
            let source = LostEventSource::try_from(l.source).unwrap_or_default().as_str_name();
            let count = l.num_events_lost.to_string();
            ("lost_events", object([("source", source.into()), ("num_events_lost", count.into())]))
        }
        Some(ResponseTypes::NodeStatus(s)) => {
            let state = NodeState::try_from(s.state_change).unwrap_or_default().as_str_name();
            let all = [
                ("state_change", state.into()),
                ("node_names", s.node_names.clone().into()),
                ("message", s.message.clone().into()),
            ];
            ("node_status", object(all))
        }
        None => ("flow", Value::Null),
    };
    object([what, ("node_name", r.node_name.clone().into()), ("time", json_time(r.time.as_ref()))])
}

fn json(f: &Flow) -> Value {
    let endpoint = |e: &Endpoint| {
        let workloads: Vec<Value> = e
            .workloads
            .iter()
            .map(|w| object([("name", w.name.clone().into()), ("kind", w.kind.clone().into())]))
            .collect();
        object([
            ("ID", e.id.into()),
            ("identity", e.identity.into()),
            ("namespace", e.namespace.clone().into()),
            ("labels", e.labels.clone().into()),
            ("pod_name", e.pod_name.clone().into()),
            ("workloads", workloads.into()),
            ("cluster_name", e.cluster_name.clone().into()),
        ])
    };
    let policies = |all: &[Policy]| -> Value {
        all.iter()
            .map(|p| {
                object([
                    ("name", p.name.clone().into()),
                    ("namespace", p.namespace.clone().into()),
                    ("labels", p.labels.clone().into()),
                    ("revision", if p.revision == 0 { Value::Null } else { p.revision.to_string().into() }),
                    ("kind", p.kind.clone().into()),
                ])
            })
            .collect::<Vec<_>>()
            .into()
    };
    let ip = f.ip.as_ref().map(|ip| {
        let version = IpVersion::try_from(ip.ip_version).unwrap_or_default().as_str_name();
        object([
            ("source", ip.source.clone().into()),
            ("destination", ip.destination.clone().into()),
            ("ipVersion", version.into()),
        ])
    });
    let with_ports = |s: u32, d: u32| [("source_port", s.into()), ("destination_port", d.into())];
    let icmp = |t: u32, c: u32| object([("type", t.into()), ("code", c.into())]);
    let l4 = f.l4.as_ref().and_then(|l| l.protocol.as_ref()).map(|p| match p {
        Protocol::Tcp(t) => {
            let flags = t.flags.as_ref().map(|f| {
                let set: Map<String, Value> =
                    flag_names(f).into_iter().map(|n| (n.to_owned(), true.into())).collect();
                Value::Object(set)
            });
            let [from, to] = with_ports(t.source_port, t.destination_port);
            json!({"TCP": object([from, to, ("flags", flags.unwrap_or_default())])})
        }
        Protocol::Udp(p) => json!({"UDP": object(with_ports(p.source_port, p.destination_port))}),
        Protocol::Sctp(p) => json!({"SCTP": object(with_ports(p.source_port, p.destination_port))}),
        Protocol::IcmPv4(i) => json!({"ICMPv4": icmp(i.r#type, i.code)}),
        Protocol::IcmPv6(i) => json!({"ICMPv6": icmp(i.r#type, i.code)}),
    });
    let event = f.event_type.map(|e| object([("type", e.r#type.into()), ("sub_type", e.sub_type.into())]));
    let named = |number: i32, name: &str| if number == 0 { Value::Null } else { name.into() };
    #[allow(deprecated, reason = "clients still read it")]
    let (drop_reason, reply) = (f.drop_reason, f.reply);
    object([
        ("time", json_time(f.time.as_ref())),
        ("uuid", f.uuid.clone().into()),
        ("verdict", named(f.verdict, f.verdict().as_str_name())),
        ("drop_reason", drop_reason.into()),
        ("IP", ip.unwrap_or_default()),
        ("l4", l4.unwrap_or_default()),
        ("source", f.source.as_ref().map(endpoint).unwrap_or_default()),
        ("destination", f.destination.as_ref().map(endpoint).unwrap_or_default()),
        ("Type", named(f.r#type, FlowType::try_from(f.r#type).unwrap_or_default().as_str_name())),
        ("node_name", f.node_name.clone().into()),
        ("reply", reply.into()),
        ("event_type", event.unwrap_or_default()),
        ("interface", f.interface.as_ref().map(|i| json!({"index": i.index})).unwrap_or_default()),
        ("traffic_direction", named(f.traffic_direction, f.traffic_direction().as_str_name())),
        ("policy_match_type", f.policy_match_type.into()),
        ("drop_reason_desc", named(f.drop_reason_desc, f.drop_reason_desc().as_str_name())),
        ("egress_allowed_by", policies(&f.egress_allowed_by)),
        ("ingress_allowed_by", policies(&f.ingress_allowed_by)),
        ("egress_denied_by", policies(&f.egress_denied_by)),
        ("ingress_denied_by", policies(&f.ingress_denied_by)),
        ("policy_log", f.policy_log.clone().into()),
    ])
    .as_object()
    .cloned()
    .map(|mut m| {
        // Known to be no reply is something else than not known.
        if let Some(r) = f.is_reply {
            m.insert("is_reply".to_owned(), r.into());
        }
        Value::Object(m)
    })
    .unwrap_or_default()
}
