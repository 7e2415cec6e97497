//! Recordings of the examples' flows, in every form that recordings come in.
#![allow(dead_code, reason = "not every test file records flows")]

use portcullis_ir::{Flow, FlowPort, L4, PeerRef, Verdict};
use portcullis_snapshot_tests::case::Case;
use portcullis_snapshot_tests::flows::End;
use portcullis_snapshot_tests::side::Side;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::IpAddr;

/// An end as Hubble writes it, its address, and its names.
fn end(e: &End, n: usize, v6: bool) -> (Value, IpAddr, Vec<String>) {
    let own: IpAddr = if v6 {
        format!("fd99::{n:x}").parse().unwrap()
    } else {
        format!("10.250.{}.{}", n / 250, n % 250 + 1).parse().unwrap()
    };
    match e {
        End::Pod(text) => {
            let (namespace, name) = text.split_once('/').unwrap();
            let of = json!({"ID": 7, "identity": 20_000, "namespace": namespace, "pod_name": name, "labels": [],
                            "workloads": [{"name": name, "kind": "Deployment"}]});
            (of, own, Vec::new())
        }
        End::Entity(r) => {
            (json!({"identity": 1, "labels": [format!("reserved:{}", r.name())]}), own, Vec::new())
        }
        // The identity that it had then counts for nothing.
        End::Address(ip, names) => (
            json!({"identity": 16_777_300, "labels": ["cidr:192.0.2.0/24", "reserved:world"]}),
            *ip,
            names.iter().map(|n| format!("{n}.").to_uppercase()).collect(),
        ),
    }
}

fn l4(port: FlowPort, source: u16, reply: bool, syn: bool) -> Option<Value> {
    Some(match port {
        FlowPort::L4(l4, port) => {
            let (a, b) = if reply { (port, source) } else { (source, port) };
            let mut ports = json!({"source_port": a, "destination_port": b});
            if l4 == L4::Tcp && syn {
                ports["flags"] = if reply { json!({"SYN": true, "ACK": true}) } else { json!({"SYN": true}) };
            }
            let name = match l4 {
                L4::Tcp => "TCP",
                L4::Udp => "UDP",
                L4::Sctp => "SCTP",
            };
            json!({ name: ports })
        }
        FlowPort::Icmp(false, t) => json!({"ICMPv4": {"type": t}}),
        FlowPort::Icmp(true, t) => json!({"ICMPv6": {"type": t}}),
        FlowPort::Protocol(_) => return None,
    })
}

/// One flow in one of the forms; some are written more than once.
fn lines(f: &portcullis_snapshot_tests::flows::Flow, n: usize, out: &mut String) -> bool {
    let v6 = matches!(&f.from, End::Address(IpAddr::V6(_), _))
        || matches!(&f.to, End::Address(IpAddr::V6(_), _))
        || matches!(f.port, FlowPort::Icmp(true, _));
    // Errors and answers of ICMP open nothing.
    if matches!(f.port, FlowPort::Icmp(false, 0 | 3 | 4 | 5 | 11 | 12) | FlowPort::Icmp(true, 1..=4 | 129)) {
        return false;
    }
    let (from, from_ip, from_names) = end(&f.from, n * 2, v6);
    let (to, to_ip, to_names) = end(&f.to, n * 2 + 1, v6);
    let form = n % 8;
    let is_icmp = matches!(f.port, FlowPort::Icmp(..));
    let reply = form == 1 && !is_icmp;
    let Some(header) = l4(f.port, 40_000 + u16::try_from(n).unwrap(), reply, form == 2) else { return false };
    let mut flow = json!({
        "time": format!("2026-11-24T10:{:02}:{:02}.5Z", n / 60 % 60, n % 60),
        "verdict": "FORWARDED", "l4": header, "Type": "L3_L4", "node_name": "node-1",
        "event_type": {"type": 4}, "trace_observation_point": "TO_ENDPOINT", "is_reply": reply,
    });
    let (a, b) = if reply {
        ((&to, to_ip, &to_names), (&from, from_ip, &from_names))
    } else {
        ((&from, from_ip, &from_names), (&to, to_ip, &to_names))
    };
    flow["IP"] = json!({"source": a.1, "destination": b.1, "ipVersion": if v6 { "IPv6" } else { "IPv4" }});
    flow["source"] = a.0.clone();
    flow["destination"] = b.0.clone();
    flow["source_names"] = json!(a.2);
    flow["destination_names"] = json!(b.2);
    let whole = |flow: &Value| json!({"flow": flow, "node_name": "node-1", "time": flow["time"]}).to_string();
    match form {
        // Nothing says whether it is an answer but its flags or its ports.
        2 => {
            flow["is_reply"] = Value::Null;
            writeln!(out, "{}", whole(&flow)).unwrap();
        }
        // Names in camel case, numbers as texts, an enum by its number.
        3 => {
            flow["verdict"] = json!(1);
            let text = whole(&flow)
                .replace("is_reply", "isReply")
                .replace("pod_name", "podName")
                .replace("source_names", "sourceNames")
                .replace("destination_names", "destinationNames")
                .replace("\"identity\":20000", "\"identity\":\"20000\"");
            writeln!(out, "{text}").unwrap();
        }
        // Seen at both nodes, and twice at one.
        4 => {
            for (node, point) in
                [("node-1", "FROM_ENDPOINT"), ("node-1", "TO_OVERLAY"), ("node-2", "TO_ENDPOINT")]
            {
                flow["node_name"] = json!(node);
                flow["trace_observation_point"] = json!(point);
                writeln!(out, "{}", whole(&flow)).unwrap();
            }
        }
        5 => writeln!(out, "2026-11-24T10:00:00.123456789Z stdout F {}", whole(&flow)).unwrap(),
        6 => writeln!(out, "{}", json!({"log": format!("{}\n", whole(&flow)), "stream": "stdout"})).unwrap(),
        // As old command lines wrote it.
        7 => writeln!(out, "{flow}").unwrap(),
        _ => writeln!(out, "{}", whole(&flow)).unwrap(),
    }
    true
}

/// What was recorded of an example, and what the interpreter says of it.
pub struct Recorded {
    /// The recording.
    pub text: String,
    /// Connections.
    pub all: u64,
    /// Those that become denied.
    pub denied: u64,
    /// Those that become allowed.
    pub allowed: u64,
}

/// Records the flows that an example has verdicts for.
pub fn example(case: &Case, base: &Side, head: &Side) -> Recorded {
    let (mut denied, mut allowed, mut recording, mut all) = (0u64, 0u64, String::new(), 0u64);
    for (n, f) in case.flows.iter().enumerate() {
        let known = |e: &End| match e {
            End::Address(ip, _) => {
                base.cluster.node_ips.contains(ip)
                    || base.cluster.endpoints().any(|(_, e)| e.ips.contains(ip))
            }
            End::Entity(r) => r.name().starts_with("world"),
            End::Pod(_) => false,
        };
        if known(&f.from) || known(&f.to) {
            continue;
        }
        let verdict = |side: &Side| -> Option<Verdict> {
            let (from, to) = (f.from.on(&side.cluster).ok()?, f.to.on(&side.cluster).ok()?);
            let is_pod = |p: &PeerRef| matches!(p, PeerRef::Endpoint(_));
            (is_pod(&from) || is_pod(&to))
                .then(|| side.oracle().judge(&Flow { from, to, port: f.port }).verdict())
        };
        let (Some(b), Some(h)) = (verdict(base), verdict(head)) else { continue };
        if !lines(f, n, &mut recording) {
            continue;
        }
        all += 1;
        match (b, h) {
            (Verdict::Allowed, Verdict::Denied) => denied += 1,
            (Verdict::Denied, Verdict::Allowed) => allowed += 1,
            _ => {}
        }
    }
    Recorded { text: recording, all, denied, allowed }
}
