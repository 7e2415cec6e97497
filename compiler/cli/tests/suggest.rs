//! `suggest`: what it adds keeps the flows, in the files' own form, and opens what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use portcullis_snapshot_tests::case::{Case, folders, root};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::record::example;
use support::{Sandbox, cluster, policy};

fn pod(namespace: &str, name: &str) -> Value {
    json!({"namespace": namespace, "pod_name": format!("{name}-1"), "workloads": [{"name": name}],
           "labels": [format!("k8s:app={name}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")]})
}

fn record(from: &Value, to: &Value, port: u16, n: u16) -> String {
    let flow = json!({"time": "2026-11-24T10:00:00Z", "verdict": "FORWARDED", "Type": "L3_L4", "is_reply": false,
        "IP": {"source": format!("203.0.{}.{}", n / 250, n % 250 + 1), "destination": "10.1.0.2"},
        "l4": {"TCP": {"source_port": 40_000 + n, "destination_port": port}}, "source": from, "destination": to});
    format!("{}\n", json!({ "flow": flow }))
}

fn shop(name: &str) -> Value {
    pod("shop", name)
}

fn world() -> Value {
    json!({"identity": 2, "labels": ["reserved:world"]})
}

fn scene() -> Sandbox {
    let s = Sandbox::new();
    s.write("c.yaml", cluster(&["web", "front", "back", "batch"])).write("base/none.yaml", "");
    s.write("head/a.yaml", format!("# the front door\n{}", policy("a", "web", "front")));
    s.write(
        "f",
        record(&shop("back"), &shop("web"), 8080, 1) + &record(&shop("front"), &shop("web"), 8080, 2),
    );
    s
}

const ARGS: [&str; 6] = ["--base", "base", "--candidate", "head", "--cluster", "c.yaml"];

fn with<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [first, &ARGS[..], more].concat()
}

fn json_of(s: &Sandbox, more: &[&str]) -> Value {
    let run = s.run(&with(&["suggest", "f", "--format", "json"], more));
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {} {}", run.out, run.err))
}

#[test]
fn what_is_added_is_shown_checked_and_written() {
    let s = scene();
    s.run(&with(&["simulate", "f"], &[])).ends(1);
    let run = s.run(&with(&["suggest", "f"], &[])).ends(0);
    run.says(&[
        "1 flow is kept by additions in 1 file",
        "ADD CiliumNetworkPolicy shop/a ingress",
        "shop/back → shop/web on TCP 8080 at most 1 workload pair on 1 port; all of it seen",
        "+ - matchLabels: + app: back",
        "1 of 1 chosen flow passes",
        "they open exactly this: shop/back → shop/web on TCP 8080",
    ]);
    // Nothing is written unless that is asked for.
    s.run(&with(&["simulate", "f"], &[])).ends(1);
    let before = fs::read_to_string(s.path("head/a.yaml")).unwrap();
    s.run(&with(&["suggest", "f", "--write"], &[])).ends(0).says(&["additions written to 1 file"]);
    let after = fs::read_to_string(s.path("head/a.yaml")).unwrap();
    assert_eq!(after.replace("        - matchLabels:\n            app: back\n", ""), before);
    assert_eq!(fs::read_dir(s.path("head")).unwrap().count(), 1, "nothing is left beside it");
    s.run(&with(&["simulate", "f"], &[])).ends(0);
    s.run(&with(&["suggest", "f"], &[])).ends(0).says(&["nothing to add"]);
}

#[test]
fn git_takes_the_patch() {
    let s = scene();
    s.git(&["init", "-q"]);
    s.git(&["add", "."]);
    s.git(&["commit", "-qm", "x"]);
    // A policy that selects everything makes a new one necessary.
    s.write("head/all.yaml", "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: all, namespace: shop}\nspec: {endpointSelector: {}, ingress: [{}]}\n");
    s.git(&["add", "."]);
    s.git(&["commit", "-qm", "y"]);
    s.write(
        "f",
        record(&shop("back"), &shop("web"), 8080, 1) + &record(&shop("front"), &shop("batch"), 9, 2),
    );
    s.run(&with(&["suggest", "f", "--format", "patch", "-o", "fix.patch"], &[])).ends(0);
    s.git(&["apply", "fix.patch"]);
    assert!(s.path("head/batch-as-seen.yaml").exists());
    s.run(&with(&["simulate", "f"], &[])).ends(0);
    // A revision is no place to write to, and its patch is the same.
    s.git(&["checkout", "-q", "--", "head"]);
    fs::remove_file(s.path("head/batch-as-seen.yaml")).unwrap();
    let revs = ["suggest", "f", "--base", "HEAD~1", "--candidate", "HEAD", "--cluster", "c.yaml"];
    s.run(&[&revs[..], &["--write", "--", "head"]].concat())
        .ends(2)
        .says(&["--write needs files to write into"]);
    let run = s.run(&[&revs[..], &["--format", "patch", "--keep", "all", "--", "head"]].concat()).ends(0);
    assert!(run.out.contains("batch-as-seen.yaml"), "{}", run.out);
}

#[test]
fn an_explicit_deny_is_named_and_not_worked_around() {
    let s = scene();
    let deny = "  ingressDeny:\n  - fromEndpoints:\n    - matchLabels:\n        app: back\n";
    s.write("head/a.yaml", policy("a", "web", "front") + deny);
    let before = fs::read_to_string(s.path("head/a.yaml")).unwrap();
    let run = s.run(&with(&["suggest", "f", "--write"], &[])).ends(1);
    run.says(&[
        "nothing can be added",
        "NOT KEPT 1 flow stays denied",
        "denied by a rule of CiliumNetworkPolicy shop/a",
        "head/a.yaml:19:5",
        "narrow the peers or ports",
    ]);
    assert_eq!(before, fs::read_to_string(s.path("head/a.yaml")).unwrap());
    s.run(&with(&["suggest", "f", "--fail-on", "never"], &[])).ends(0);
    let v = json_of(&s, &[]);
    assert_eq!(v["notKept"][0]["why"], "denied-by-rule");
    assert_eq!(v["notKept"][0]["rules"][0]["span"]["startLine"], 19);
}

#[test]
fn both_sides_get_what_they_need() {
    let s = scene();
    s.write("head/b.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: back\n  namespace: shop\nspec:\n  podSelector:\n    matchLabels:\n      app: back\n  policyTypes:\n  - Egress\n  egress: []   # nothing yet\n");
    let v = json_of(&s, &["--write"]);
    let of: Vec<(&str, &str)> = v["additions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| (a["policy"]["name"].as_str().unwrap(), a["direction"].as_str().unwrap()))
        .collect();
    assert_eq!(of, [("a", "ingress"), ("back", "egress")], "{v:#}");
    let b = fs::read_to_string(s.path("head/b.yaml")).unwrap();
    assert!(b.ends_with("  egress:   # nothing yet\n  - to:\n    - podSelector:\n        matchLabels:\n          app: web\n    ports:\n    - protocol: TCP\n      port: 8080\n"), "{b}");
    s.run(&with(&["simulate", "f"], &[])).ends(0);
}

#[test]
fn many_ports_and_addresses_become_few_and_the_excess_is_said() {
    let s = scene();
    let mut text = String::new();
    for n in 0..40 {
        text += &record(&shop("back"), &shop("web"), 9000 + n * 10, n);
        text += &record(&world(), &shop("web"), 443, n * 7);
    }
    s.write("f", text);
    let v = json_of(&s, &[]);
    let entries = v["additions"][0]["entries"].as_array().unwrap();
    let pods = entries.iter().find(|e| e["peers"][0] == "shop/back").unwrap();
    // Eight ranges over 40 ports, ten apart.
    assert_eq!((&pods["portCount"], &pods["portsNotSeen"]), (&json!(328), &json!(288)), "{pods:#}");
    let world = entries.iter().find(|e| e["peers"][0] != "shop/back").unwrap();
    assert!(world["peers"].as_array().unwrap().len() <= 16, "{world:#}");
    assert_ne!(world["addressesNotSeen"], "0");
    let v = json_of(&s, &["--exact"]);
    for e in v["additions"][0]["entries"].as_array().unwrap() {
        assert_eq!(
            (&e["pairsNotSeen"], &e["portsNotSeen"], &e["addressesNotSeen"]),
            (&json!(0), &json!(0), &json!("0")),
            "{e:#}"
        );
    }
    assert_eq!(v["flows"]["chosen"], v["flows"]["kept"]);
}

#[test]
fn flows_can_be_chosen() {
    let s = scene();
    s.write("f", record(&shop("back"), &shop("web"), 8080, 1) + &record(&shop("batch"), &shop("web"), 9, 2));
    let run = s.run(&with(&["suggest", "f"], &["--from", "shop/back"])).ends(0);
    run.says(&["1 flow is kept", "1 flow is denied by head too and not chosen"]);
    let v = json_of(&s, &["--port", "9"]);
    assert_eq!(v["additions"][0]["entries"][0]["peers"], json!(["shop/batch"]));
    let v = json_of(&s, &["--to", "pay/"]);
    assert_eq!(v["additions"], json!([]));
    // What the base denies already is kept only if asked for.
    s.write("base/none.yaml", policy("a", "web", "front"));
    assert_eq!(json_of(&s, &[])["flows"]["chosen"], 0);
    assert_eq!(json_of(&s, &["--keep", "passed"])["flows"]["chosen"], 2);
    s.run(&with(&["suggest", "f", "--port", "http"], &[])).ends(2).says(&["is a name"]);
}

#[test]
fn a_file_that_cannot_be_edited_gets_a_neighbour() {
    let s = scene();
    // The list is shared by an alias.
    s.write("head/a.yaml", "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a, namespace: shop}\nspecs:\n- endpointSelector: {matchLabels: {app: web}}\n  ingress: &l\n  - fromEndpoints: [{matchLabels: {app: front}}]\n- endpointSelector: {matchLabels: {app: batch}}\n  ingress: *l\n");
    let run = s.run(&with(&["suggest", "f", "--write"], &[])).ends(0);
    run.says(&["NEW CiliumNetworkPolicy shop/web-as-seen ingress", "in a way that no entry can be added to"]);
    s.run(&with(&["simulate", "f"], &[])).ends(0);
    // One file is a candidate, too: the new policy goes to its end.
    s.write("one.yaml", fs::read_to_string(s.path("head/a.yaml")).unwrap());
    s.run(&["suggest", "f", "--base", "base", "--candidate", "one.yaml", "--cluster", "c.yaml", "--write"])
        .ends(0);
    let one = fs::read_to_string(s.path("one.yaml")).unwrap();
    assert!(one.contains("\n---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: web-as-seen, namespace: shop}\n"), "{one}");
}

#[test]
fn templates_and_broken_files_are_not_passed_over() {
    let s = scene();
    s.write("head/t.yaml", "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: {{ .Values.name }}\nspec: {}\n");
    s.run(&with(&["suggest", "f"], &[])).ends(1).says(&["left out"]);
    s.write("head/t.yaml", "a: [\n");
    s.run(&with(&["suggest", "f"], &[])).ends(2);
    s.write("head/t.yaml", "\u{0}");
    s.run(&with(&["suggest", "f"], &[])).ends(2);
}

#[test]
fn hostile_names_and_texts_come_out_harmless() {
    let s = scene();
    let evil = json!({"namespace": "shop", "pod_name": "x-1", "workloads": [{"name": "x\u{1b}[31m\n- {}"}],
        "labels": ["k8s:app=a: b # \"c\"\n- {}", "k8s:io.kubernetes.pod.namespace=shop", "k8s:\u{1b}=1"]});
    s.write("f", record(&evil, &shop("web"), 8080, 1));
    let run = s.run(&with(&["suggest", "f"], &[]));
    assert!(!run.out.contains('\u{1b}'), "{}", run.out);
    assert!(run.code == 0 || run.code == 1, "{} {}", run.out, run.err);
    let v = json_of(&s, &[]);
    assert_eq!(v["flows"]["chosen"], 1, "{v:#}");
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link_and_modes_stay() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let s = scene();
    fs::rename(s.path("head/a.yaml"), s.path("real.yaml")).unwrap();
    fs::set_permissions(s.path("real.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink(s.path("real.yaml"), s.path("head/a.yaml")).unwrap();
    s.run(&with(&["suggest", "f", "--write"], &[])).ends(0);
    assert!(fs::symlink_metadata(s.path("head/a.yaml")).unwrap().is_symlink());
    let meta = fs::metadata(s.path("real.yaml")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o640);
    assert!(fs::read_to_string(s.path("real.yaml")).unwrap().contains("app: back"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn flows(list: &Value) -> u64 {
    let groups = list.as_array().unwrap().iter().flat_map(|l| l["flows"].as_array().unwrap());
    groups.map(|f| f["flows"].as_u64().unwrap()).sum()
}

#[test]
fn every_newly_denied_group_of_every_example_is_kept_or_the_rule_in_the_way_is_named() {
    let (mut cases, mut kept, mut left, mut groups) = (0, 0, 0, 0);
    for folder in folders(&root().join("policies/examples")).unwrap() {
        let case = Case::read(&folder).unwrap();
        let (Some(base), Some(head)) = (case.side("base"), case.side("head")) else { continue };
        let recorded = example(&case, base, head);
        if recorded.denied == 0 {
            continue;
        }
        let s = Sandbox::new();
        s.write("f", &recorded.text);
        copy(&folder.join("head"), &s.path("head"));
        copy(&folder.join("head"), &s.path("after"));
        let path = |part: &str| folder.join(part).to_string_lossy().into_owned();
        let (base, cluster) = (path("base"), path("cluster.yaml"));
        let json_of = |command: &[&str], more: &[&str]| -> Value {
            let all =
                [command, &["--cluster", &cluster, "--format", "json", "--fail-on", "never"], more].concat();
            let run = s.run(&all);
            serde_json::from_str(&run.out)
                .unwrap_or_else(|e| panic!("{}: {e} {} {}", case.name, run.out, run.err))
        };
        for exact in [&["--exact"][..], &[]] {
            let v = json_of(&["suggest", "f", "--base", &base, "--candidate", "head"], exact);
            assert_eq!(v["flows"]["chosen"], recorded.denied, "{}: {v:#}", case.name);
            let entries =
                v["additions"].as_array().unwrap().iter().flat_map(|a| a["entries"].as_array().unwrap());
            for e in entries.filter(|_| !exact.is_empty()) {
                assert_eq!(e["portsNotSeen"], 0, "{}: {v:#}", case.name);
            }
        }
        let v = json_of(&["suggest", "f", "--base", &base, "--candidate", "after", "--write"], &[]);
        let stays = flows(&v["notKept"]);
        assert_eq!(v["flows"]["kept"].as_u64().unwrap() + stays, recorded.denied, "{}: {v:#}", case.name);
        for l in v["notKept"].as_array().unwrap() {
            assert_eq!(l["why"], "denied-by-rule", "{}: {v:#}", case.name);
        }
        let after = json_of(&["simulate", "f", "--base", &base, "--candidate", "after"], &[]);
        assert_eq!(after["recording"]["denied"]["flows"], stays, "{}: {after:#}", case.name);
        // What opens is what was said, no group more and none less.
        let opens = json_of(&["diff", "head", "after"], &[]);
        let of_diff: BTreeSet<String> = opens["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| {
                format!(
                    "{} {} {} {}",
                    f["kind"], f["sources"]["summary"], f["destinations"]["summary"], f["ports"]["text"]
                )
            })
            .collect();
        let said: BTreeSet<String> = v["opens"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| format!("{} {} {} {}", f["kind"], f["sources"], f["destinations"], f["ports"]))
            .collect();
        assert_eq!(of_diff, said, "{}", case.name);
        // Each pair alone.
        let denied = json_of(&["simulate", "f", "--base", &base, "--candidate", "head"], &[]);
        for f in denied["findings"].as_array().unwrap().iter().filter(|f| f["kind"] == "denied") {
            for pair in f["traffic"]["pairs"].as_array().unwrap() {
                let (from, to) = (pair["from"].as_str().unwrap(), pair["to"].as_str().unwrap());
                let one = json_of(
                    &["suggest", "f", "--base", &base, "--candidate", "head"],
                    &["--from", from, "--to", to],
                );
                let n = one["flows"]["kept"].as_u64().unwrap() + flows(&one["notKept"]);
                assert!(n >= pair["flows"].as_u64().unwrap(), "{}: {one:#}", case.name);
                groups += 1;
            }
        }
        cases += 1;
        kept += v["flows"]["kept"].as_u64().unwrap();
        left += stays;
    }
    assert!(cases >= 20 && kept > 50 && left > 3 && groups > 60, "{cases} {kept} {left} {groups}");
}

/// A request as a proxy records it.
fn request(from: &Value, to: &Value, method: &str, url: &str, n: u16) -> String {
    let flow = json!({"time": "2026-11-24T10:00:00Z", "verdict": "FORWARDED", "Type": "L7", "is_reply": false,
        "IP": {"source": "10.1.0.1", "destination": "10.1.0.2"}, "source": from, "destination": to,
        "l4": {"TCP": {"source_port": 40_000 + n, "destination_port": 8080}},
        "l7": {"type": "REQUEST", "http": {"method": method, "url": url, "protocol": "HTTP/1.1"}}});
    format!("{}\n", json!({ "flow": flow }))
}

#[test]
fn requests_get_items_in_the_rules_of_the_entry_that_refuses_them() {
    let s = scene();
    let rules = |list: &str| {
        policy("a", "web", "front").replace("            - port: \"8080\"\n              protocol: TCP\n", &format!("            - port: \"8080\"\n              protocol: TCP\n          rules:\n            http:\n{list}"))
    };
    s.write("base/a.yaml", rules("              - method: GET\n"));
    s.write(
        "head/a.yaml",
        rules("              - method: GET\n                path: \"/health\"   # probes\n"),
    );
    let mut text = request(&shop("front"), &shop("web"), "GET", "http://web/health", 1);
    for n in 0..3 {
        text += &request(&shop("front"), &shop("web"), "GET", &format!("http://web/items/{n}?page=1"), 2 + n);
    }
    s.write("f", &text);
    s.run(&with(&["simulate", "f"], &[])).ends(1).says(&["newly denied: 3 flows"]);
    let run = s.run(&with(&["suggest", "f"], &[])).ends(0);
    run.says(&[
        "3 requests are kept by additions to L7 rules",
        "GET /items/[0-9]+(\\?.*)? (more than was seen)",
        "for everybody of the entry: shop/front → shop/web",
        "more requests: shop/front → shop/web on TCP 8080",
    ]);
    let v = json_of(&s, &["--exact"]);
    assert_eq!(v["additions"][0]["requests"]["all"].as_array().unwrap().len(), 3, "{v:#}");
    assert_eq!(v["additions"][0]["requests"]["notSeenToo"], json!([]));
    s.run(&with(&["suggest", "f", "--write"], &[])).ends(0);
    let a = fs::read_to_string(s.path("head/a.yaml")).unwrap();
    assert!(a.contains("path: \"/health\"   # probes\n              - method: GET\n                path: \"/items/[0-9]+(\\\\?.*)?\"\n"), "{a}");
    s.run(&with(&["simulate", "f"], &[])).ends(0);
    // On a connection that is denied whole, any request passes, and that is said.
    s.write("f", request(&shop("back"), &shop("web"), "GET", "http://web/x", 1));
    s.write("base/a.yaml", "");
    s.run(&with(&["suggest", "f"], &[])).ends(0).says(&["no L7 rule is added there, and any request passes"]);
}

#[test]
fn an_entry_grows_by_peers_or_by_ports_and_never_by_both() {
    let s = scene();
    // One more port of a peer that is there, one more peer of a port that is there.
    s.write(
        "f",
        record(&shop("front"), &shop("web"), 9090, 1) + &record(&shop("back"), &shop("web"), 8080, 2),
    );
    let v = json_of(&s, &["--write"]);
    assert_eq!(v["flows"]["kept"], 2, "{v:#}");
    let a = fs::read_to_string(s.path("head/a.yaml")).unwrap();
    assert_eq!(a.matches("fromEndpoints").count(), 2, "{a}");
    s.write("f", record(&shop("back"), &shop("web"), 9090, 1));
    s.run(&with(&["simulate", "f"], &[])).ends(1);
    // A port alone goes beside the port that is there.
    s.write("head/a.yaml", policy("a", "web", "front"));
    s.write("f", record(&shop("front"), &shop("web"), 9090, 1));
    json_of(&s, &["--write"]);
    let a = fs::read_to_string(s.path("head/a.yaml")).unwrap();
    assert!(a.ends_with("            - port: \"8080\"\n              protocol: TCP\n            - port: \"9090\"\n              protocol: TCP\n"), "{a}");
}

#[test]
fn a_policy_without_a_spec_is_left_as_it_is() {
    let s = scene();
    s.write(
        "head/a.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: all\n  namespace: shop\n",
    );
    let run = s.run(&with(&["suggest", "f", "--write"], &[]));
    assert!(run.code < 2, "{} {}", run.out, run.err);
    if run.out.contains("kept by additions") {
        s.run(&with(&["simulate", "f"], &[])).ends(0);
    }
}

#[test]
fn long_lists_are_cut_on_a_terminal_and_whole_in_a_patch() {
    let s = Sandbox::new();
    let names: Vec<String> = (0..60).map(|n| format!("app{n}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    s.write("c.yaml", cluster(&refs)).write("base/none.yaml", "");
    let mut text = String::new();
    for (n, name) in (0u16..).zip(&names) {
        s.write(&format!("head/{name}.yaml"), policy(name, name, "front"));
        text += &record(&shop(&names[(usize::from(n) + 1) % names.len()]), &shop(name), 9, n);
    }
    s.write("f", text);
    let run = s.run(&with(&["suggest", "f"], &[])).ends(0);
    run.says(&[
        "60 flows are kept by additions in 60 files",
        "and 40 more additions (--verbose shows all)",
        "more lines of 60 files",
    ]);
    let whole = s.run(&with(&["suggest", "f", "--verbose"], &[])).ends(0);
    assert_eq!(whole.out.matches("diff --git").count(), 60);
    let patch = s.run(&with(&["suggest", "f", "--format", "patch"], &[])).ends(0);
    assert_eq!(patch.out.matches("diff --git").count(), 60);
}

#[test]
fn policies_in_lists_are_edited_where_they_stand() {
    let s = scene();
    let before = "apiVersion: v1\nkind: List\nitems:\n# the front door\n- apiVersion: cilium.io/v2\n  kind: CiliumNetworkPolicy\n  metadata: {name: a, namespace: shop}\n  spec:\n    endpointSelector:\n      matchLabels:\n        app: web\n    ingress:\n      - fromEndpoints:\n          - matchLabels:\n              app: front\n        toPorts:\n          - ports:\n              - port: \"1\"\n                protocol: TCP\n# the other one\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: c}\n";
    s.write("head/a.yaml", before);
    s.write("base/none.yaml", "");
    json_of(&s, &["--write"]);
    let after = fs::read_to_string(s.path("head/a.yaml")).unwrap();
    // Both flows are new: back and front, on 8080.
    assert!(after.contains("                protocol: TCP\n      - fromEndpoints:\n          - matchLabels:\n              app: back\n"), "{after}");
    assert!(
        after.ends_with("# the other one\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: c}\n"),
        "{after}"
    );
    s.run(&with(&["simulate", "f"], &[])).ends(0);
    let list: Value = json!({"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "a", "namespace": "shop"}, "spec": {"podSelector": {"matchLabels": {"app": "web"}}}}]});
    fs::remove_file(s.path("head/a.yaml")).unwrap();
    s.write("head/a.json", format!("{list:#}\n"));
    json_of(&s, &["--write"]);
    let after: Value = serde_json::from_str(&fs::read_to_string(s.path("head/a.json")).unwrap()).unwrap();
    assert_eq!(after["items"][0]["spec"]["ingress"][0]["ports"][0]["port"], 8080, "{after:#}");
    s.run(&with(&["simulate", "f"], &[])).ends(0);
}

#[test]
fn what_of_a_recording_was_not_looked_at_is_said() {
    let s = scene();
    let lost = "{\"lost_events\":{\"source\":\"HUBBLE_RING_BUFFER\",\"num_events_lost\":\"7\"}}\n";
    s.write("f", format!("{}not JSON\n{lost}", record(&shop("back"), &shop("web"), 8080, 1)));
    let said = [
        "the recorder lost 7 events: what they were about was not looked at",
        "1 line says nothing that could be used: 1 not readable as JSON of a flow",
    ];
    s.run(&with(&["suggest", "f"], &[])).ends(0).says(&said);
    s.run(&with(&["simulate", "f"], &[])).ends(1).says(&said);
    let notes = json_of(&s, &[])["notes"].to_string();
    assert!(said.iter().all(|text| notes.contains(text)), "{notes}");
}
