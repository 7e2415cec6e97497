//! `simulate` on recordings: of every example with a change, in every form that recordings come in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use portcullis_ir::{Flow, FlowPort, L4, PeerRef, Verdict};
use portcullis_snapshot_tests::case::{Case, folders, root};
use portcullis_snapshot_tests::flows::End;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use support::{Sandbox, cluster, policy};

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

#[test]
fn every_example_comes_to_what_the_interpreter_says_of_its_flows() {
    let (mut cases, mut judged) = (0, 0);
    for folder in folders(&root().join("policies/examples")).unwrap() {
        let case = Case::read(&folder).unwrap();
        let (Some(base), Some(head)) = (case.side("base"), case.side("head")) else { continue };
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
            let verdict = |side: &portcullis_snapshot_tests::side::Side| -> Option<Verdict> {
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
        if all == 0 {
            continue;
        }
        let s = Sandbox::new();
        s.write("flows.jsonl", &recording);
        let path = |part: &str| folder.join(part).to_string_lossy().into_owned();
        let (base, head, cluster) = (path("base"), path("head"), path("cluster.yaml"));
        let run = s.run(&[
            "simulate",
            "flows.jsonl",
            "--base",
            &base,
            "--candidate",
            &head,
            "--cluster",
            &cluster,
            "--format",
            "json",
            "--fail-on",
            "never",
        ]);
        let v: Value = serde_json::from_str(&run.out)
            .unwrap_or_else(|e| panic!("{}: {e}: {} {}", case.name, run.out, run.err));
        let r = &v["recording"];
        assert_eq!(r["connections"], all, "{}: {r:#}", case.name);
        assert_eq!(
            (&r["denied"]["flows"], &r["allowed"]["flows"]),
            (&json!(denied), &json!(allowed)),
            "{}: {r:#}",
            case.name
        );
        assert_eq!(r["notJudged"], json!([]), "{}", case.name);
        cases += 1;
        judged += all;
    }
    assert!(cases >= 30 && judged > 300, "{judged} flows of {cases} examples");
}

fn pod(name: &str) -> String {
    format!(
        "{{\"namespace\":\"shop\",\"pod_name\":\"{name}-1\",\"labels\":[\"k8s:app={name}\",\"k8s:io.kubernetes.pod.namespace=shop\"],\"workloads\":[{{\"name\":\"{name}\"}}]}}"
    )
}

fn record(from: &str, to: &str, port: u16, n: u16, more: &str) -> String {
    format!(
        "{{\"flow\":{{\"time\":\"2026-11-24T10:00:00Z\",\"verdict\":\"FORWARDED\",\"IP\":{{\"source\":\"10.1.0.1\",\"destination\":\"10.1.0.2\"}},\"l4\":{{\"TCP\":{{\"source_port\":{},\"destination_port\":{port}}}}},\"source\":{from},\"destination\":{to},\"Type\":\"L3_L4\",\"is_reply\":false{more}}}}}\n",
        40_000 + n
    )
}

fn scene() -> Sandbox {
    let s = Sandbox::new();
    s.write("c.yaml", cluster(&["web", "front", "back"])).write("base/none.yaml", "");
    s.write("head/a.yaml", policy("a", "web", "front"));
    s
}

const ARGS: [&str; 6] = ["--base", "base", "--candidate", "head", "--cluster", "c.yaml"];

#[test]
fn what_becomes_denied_is_said_with_its_line_and_the_exit_code() {
    let s = scene();
    let line = |n| record(&pod("back"), &pod("web"), 8080, n, "");
    s.write("f", (0..3).map(line).collect::<String>() + &record(&pod("front"), &pod("web"), 8080, 9, ""));
    let run = s.run(&[&["simulate", "f"], &ARGS[..]].concat()).ends(1);
    run.says(&["newly denied: 3 flows, 1 workload pair", "shop/back → shop/web TCP 8080: 3", "head/a.yaml"]);
    s.write("g", record(&pod("front"), &pod("web"), 8080, 9, ""));
    s.run(&[&["simulate", "g"], &ARGS[..]].concat())
        .ends(0)
        .says(&["no recorded flow changes (1 connection looked at)"]);
    // The same findings in the order of what was seen, and those never seen marked.
    let run = s.run(&["diff", "base", "head", "--cluster", "c.yaml", "--flows", "f"]).ends(1);
    run.says(&["seen: 3 connections", "never seen in the recording"]);
}

#[test]
fn recordings_are_read_compressed_from_standard_input_and_as_arrays() {
    let s = scene();
    let text: String = (0..3).map(|n| record(&pod("back"), &pod("web"), 8080, n, "")).collect();
    let run = s.run_with(&[&["simulate", "-"], &ARGS[..]].concat(), &text).ends(1);
    run.says(&["newly denied: 3 flows"]);
    let array = format!("[{}]", text.trim_end().replace('\n', ",\n"));
    s.write("array.json", &array);
    s.run(&[&["simulate", "array.json"], &ARGS[..]].concat()).ends(1).says(&["newly denied: 3 flows"]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    s.write("rotated.gz", gz.finish().unwrap());
    // A rotated file and the one that is written now.
    s.write("now", record(&pod("back"), &pod("web"), 8080, 9, ""));
    s.run(&[&["simulate", "rotated.gz", "now"], &ARGS[..]].concat()).ends(1).says(&["newly denied: 4 flows"]);
}

#[test]
fn pods_that_are_gone_are_judged_by_their_recorded_labels() {
    let s = scene();
    let gone = pod("back")
        .replace("back-1", "batch-9")
        .replace("\"name\":\"back\"", "\"name\":\"batch\"")
        .replace("app=back", "app=batch");
    s.write("f", record(&gone, &pod("web"), 8080, 1, ""));
    let run = s.run(&[&["simulate", "f"], &ARGS[..]].concat()).ends(1);
    run.says(&["newly denied: 1 flow", "shop/batch", "recorded labels stand in"]);
    // With the labels of what is let in, it is let in.
    let like = gone.replace("app=batch", "app=front");
    s.write("f", record(&like, &pod("web"), 8080, 1, ""));
    s.run(&[&["simulate", "f"], &ARGS[..]].concat()).ends(0);
}

#[test]
fn what_says_nothing_is_counted_by_reason() {
    let s = scene();
    let mut text = String::new();
    for line in [
        "no json",
        "{\"flow\":",
        "[]",
        "{}",
        "{\"flow\":{}}",
        "{\"node_status\":{}}",
        "{\"lost_events\":{\"num_events_lost\":\"41\"}}",
        "{\"flow\":{\"verdict\":\"FORWARDED\"}}",
        "{\"flow\":{\"verdict\":77,\"IP\":{\"source\":\"::1\",\"destination\":\"::2\"}}}",
        "\u{0}\u{1}",
        "{\"log\":\"{\\\"log\\\":\\\"{}\\\"}\"}",
        "{\"flow\":{\"time\":\"yesterday\",\"verdict\":\"FORWARDED\",\"IP\":{\"source\":\"1.1.1.1\",\"destination\":\"x\"}}}",
    ] {
        writeln!(text, "{line}").unwrap();
    }
    writeln!(text, "{{\"x\":\"{}\"}}", "y".repeat(1 << 20)).unwrap();
    text.push_str(
        &record(&pod("back"), &pod("web"), 8080, 1, ",\"drop_reason_desc\":\"STALE_OR_UNROUTABLE_IP\"")
            .replace("FORWARDED", "DROPPED"),
    );
    text.push_str(
        &record(&pod("back"), &pod("web"), 8080, 2, ",\"drop_reason_desc\":\"POLICY_DENIED\"")
            .replace("FORWARDED", "DROPPED"),
    );
    text.push_str(&record(&pod("back"), &pod("web"), 8080, 3, "").replace("FORWARDED", "AUDIT"));
    text.push_str(&record(&pod("back"), &pod("web"), 8080, 4, "").replace("L3_L4", "SOCK"));
    s.write("f", &text);
    let run = s.run(&[&["simulate", "f", "--format", "json"], &ARGS[..]].concat()).ends(1);
    let v: Value = serde_json::from_str(&run.out).unwrap();
    let r = &v["recording"];
    assert_eq!((&r["lostEvents"], &r["records"], &r["audited"]), (&json!(41), &json!(2), &json!(1)), "{r:#}");
    // What policy refused then, the base allows: it is not what was in force.
    assert_eq!(r["refusedThen"]["flows"], 2, "{r:#}");
    let left: u64 = r["leftOut"].as_array().unwrap().iter().map(|l| l["count"].as_u64().unwrap()).sum();
    assert_eq!(left + 2 + 1, r["lines"].as_u64().unwrap(), "{r:#}");
    // Nothing at all is no answer.
    s.write("empty", "");
    s.run(&[&["simulate", "empty"], &ARGS[..]].concat()).ends(2).says(&["there is no flow in empty"]);
    s.run(&[&["simulate", "missing"], &ARGS[..]].concat()).ends(2).says(&["missing could not be read"]);
}

#[test]
fn requests_are_held_to_the_rules_of_proxies() {
    let s = scene();
    let with = |rules: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: a, namespace: shop}}\nspec:\n  endpointSelector: \
             {{matchLabels: {{app: web}}}}\n  ingress:\n  - fromEndpoints: [{{matchLabels: {{app: front}}}}]\n    toPorts:\n    - ports: \
             [{{port: \"8080\", protocol: TCP}}]\n      rules: {{http: [{rules}]}}\n"
        )
    };
    s.write("base/a.yaml", with("{method: GET}"))
        .write("head/a.yaml", with("{method: GET, path: \"/items(/[0-9]+)?\"}"));
    let ask = |n: u16, method: &str, url: &str, kind: &str| {
        record(
            &pod("front"),
            &pod("web"),
            8080,
            n,
            &format!(
                ",\"l7\":{{\"type\":\"{kind}\",\"http\":{{\"method\":\"{method}\",\"url\":\"{url}\"}}}}"
            ),
        )
        .replace("L3_L4", "L7")
    };
    let text = [
        record(&pod("front"), &pod("web"), 8080, 1, ""),
        ask(1, "GET", "http://web:8080/items/7", "REQUEST"),
        ask(1, "GET", "http://web:8080/items/7", "RESPONSE"),
        ask(2, "GET", "http://web:8080/admin", "REQUEST"),
        ask(3, "POST", "http://web:8080/admin", "REQUEST"),
    ]
    .concat();
    s.write("f", &text);
    let run = s.run(&[&["simulate", "f"], &ARGS[..]].concat()).ends(1);
    // The POST was refused before, too.
    run.says(&["newly denied: 1 flow", "1 request that will be refused", "GET web:8080/admin"]);
    s.write("head/a.yaml", with("{method: GET}, {method: POST, path: /admin}"));
    s.run(&[&["simulate", "f", "--fail-on", "allowed"], &ARGS[..]].concat())
        .ends(1)
        .says(&["newly allowed: 1 flow"]);
}
