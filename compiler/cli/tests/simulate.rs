//! `simulate` on recordings: of every example with a change, in every form that recordings come in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use portcullis_snapshot_tests::case::{Case, folders, root};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use support::record::{Recorded, example};
use support::{Sandbox, cluster, policy};

#[test]
fn every_example_comes_to_what_the_interpreter_says_of_its_flows() {
    let (mut cases, mut judged) = (0, 0);
    for folder in folders(&root().join("policies/examples")).unwrap() {
        let case = Case::read(&folder).unwrap();
        let (Some(base), Some(head)) = (case.side("base"), case.side("head")) else { continue };
        let Recorded { text: recording, all, denied, allowed } = example(&case, base, head);
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

/// A command that runs while its recording grows.
#[cfg(unix)]
fn followed(s: &Sandbox, args: &[&str], meanwhile: impl FnOnce(&std::process::Child)) -> (i32, Value) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(args).current_dir(s.path("")).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    meanwhile(&child);
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let value = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&out.stderr)));
    (out.status.code().unwrap(), value)
}

/// Waits until a process has caught the signal that would end it.
#[cfg(target_os = "linux")]
fn is_ready(child: &std::process::Child) {
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        if u64::from_str_radix(&caught, 16).unwrap() & (1 << (2 - 1)) != 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_recording_is_followed_through_growth_and_rotation_until_the_user_says_so() {
    let s = scene();
    let line = |n| record(&pod("back"), &pod("web"), 8080, n, "");
    s.write("old.gz", {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(line(0).as_bytes()).unwrap();
        gz.finish().unwrap()
    });
    s.write("now", line(1));
    let args = [&["simulate", "old.gz", "now", "-F", "--format", "json"], &ARGS[..]].concat();
    let (code, v) = followed(&s, &args, |child| {
        is_ready(child);
        let mut now = std::fs::OpenOptions::new().append(true).open(s.path("now")).unwrap();
        // The reader meets half a line, which the rotation leaves so.
        write!(now, "{}{}", line(2), &line(3)[..40]).unwrap();
        std::fs::rename(s.path("now"), s.path("now.1")).unwrap();
        write!(now, "{}", &line(3)[40..]).unwrap();
        s.write("now", line(4) + &line(5)[..50]);
    });
    let r = &v["recording"];
    assert_eq!((code, &r["connections"]), (1, &json!(5)), "{r:#}");
    assert_eq!(r["denied"]["flows"], 5, "{r:#}");
    // A file that is cut short begins anew.
    s.write("now", line(1) + &line(2));
    let args = [&["simulate", "now", "-F", "--format", "json"], &ARGS[..]].concat();
    let (_, v) = followed(&s, &args, is_ready);
    assert_eq!(v["recording"]["connections"], 2, "{v:#}");
}

#[test]
fn a_followed_pipe_ends_by_itself() {
    let s = scene();
    let text: String = (0..3).map(|n| record(&pod("back"), &pod("web"), 8080, n, "")).collect();
    let run = s.run_with(&[&["simulate", "--follow", "-"], &ARGS[..]].concat(), &text).ends(1);
    run.says(&["newly denied: 3 flows"]);
    s.run_with(&[&["simulate", "--follow", "-"], &ARGS[..]].concat(), "").ends(2).says(&["there is no flow"]);
    s.run(&[&["simulate", "--follow", "missing"], &ARGS[..]].concat()).ends(2).says(&["could not be read"]);
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
