//! What the commands answer, and that the same question always gets the same answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::process::{Command, Stdio};
use support::{Sandbox, cluster, examples, policy};

#[test]
fn standard_input_is_read() {
    let s = Sandbox::new();
    s.run_with(&["check", "-"], &policy("a", "web", "front")).ends(0).says(&["1 file"]);
    s.run_with(&["check", "-"], "kind: [\n").ends(1).says(&["PC0001"]);
    s.write("base.yaml", policy("a", "web", "front")).write("c.yaml", cluster(&["web", "front", "back"]));
    s.run_with(&["diff", "base.yaml", "-", "--cluster", "c.yaml"], &policy("a", "web", "back")).ends(1);
    s.run_with(&["diff", "base.yaml", "-", "--cluster", "c.yaml"], &policy("a", "web", "front")).ends(0);
}

#[test]
fn a_cluster_may_be_a_folder_and_its_policies_take_part() {
    let s = Sandbox::new();
    s.write("c/pods.yaml", cluster(&["web", "front", "back"]))
        .write("c/old.yaml", policy("kept", "web", "back"));
    s.write("base/none.yaml", "").write("head/a.yaml", policy("a", "web", "front"));
    // web is locked already by a policy of the cluster, so another allow denies nothing.
    let run = s.run(&["diff", "base", "head", "--cluster", "c"]).ends(0);
    run.says(&["1 policy of c takes part on both sides", "allowed"]);
    // The same policy removed from the files that are reviewed is removed.
    s.write("base/kept.yaml", policy("kept", "web", "back"));
    s.run(&["diff", "base", "head", "--cluster", "c"]).ends(1).says(&["kept", "removed"]);
}

#[test]
fn workloads_beside_the_policies_stand_in_for_a_cluster() {
    let s = Sandbox::new();
    s.write("base/pods.yaml", cluster(&["web", "front", "back"]))
        .write("head/pods.yaml", cluster(&["web", "front", "back"]));
    s.write("head/a.yaml", policy("a", "web", "front"));
    s.run(&["diff", "base", "head"]).ends(1).says(&["shop/back", "workloads beside"]);
}

#[test]
fn a_changed_template_counts_for_more_than_the_pods_that_run_now() {
    let s = Sandbox::new();
    let pod = "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: front-abc-1\n  namespace: shop\n  labels: {app: front}\n  \
               ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: front-abc, controller: true}]\nspec: {containers: []}\n";
    s.write("c.yaml", cluster(&["web"]) + pod);
    let head = cluster(&["front"])
        .replace("      labels:\n        app: front", "      labels:\n        app: renamed");
    s.write("base/d.yaml", cluster(&["front"])).write("head/d.yaml", head);
    s.write("base/p.yaml", policy("a", "web", "front")).write("head/p.yaml", policy("a", "web", "front"));
    s.run(&["diff", "base", "head", "--cluster", "c.yaml"]).ends(1).says(&["shop/front", "shop/web"]);
}

#[test]
fn without_pods_the_policies_selectors_are_compared() {
    let s = Sandbox::new();
    s.write("base/a.yaml", policy("a", "web", "front")).write("head/a.yaml", policy("a", "web", "back"));
    let run = s.run(&["diff", "base", "head"]).ends(1);
    run.says(&["shop/app=front", "shop/app=web", "selector"]);
    s.run(&["explain", "--from", "shop/app=back,tier=x", "--to", "shop/app=web", "--port", "8080", "head"])
        .ends(0)
        .says(&["allowed"]);
}

#[test]
fn fail_on_decides_what_is_a_finding() {
    let s = Sandbox::new();
    s.write("c.yaml", cluster(&["web", "front", "back"]));
    s.write("base/a.yaml", policy("a", "web", "front"));
    s.write("head/a.yaml", policy("a", "web", "front")).write("head/b.yaml", policy("b", "web", "back"));
    let run = |fail_on: &str| s.run(&["diff", "base", "head", "--cluster", "c.yaml", "--fail-on", fail_on]);
    run("denied").ends(0);
    run("allowed").ends(1);
    run("denied,allowed").ends(1);
    run("any").ends(1);
    run("never").ends(0);
    let back = |fail_on: &str| s.run(&["diff", "head", "base", "--cluster", "c.yaml", "--fail-on", fail_on]);
    back("denied").ends(1);
    back("never").ends(0);
    let ask = |fail_on: &[&str]| {
        let mut args = vec![
            "explain",
            "--from",
            "shop/back",
            "--to",
            "shop/web",
            "--port",
            "8080",
            "base",
            "--cluster",
            "c.yaml",
        ];
        args.extend(fail_on);
        s.run(&args)
    };
    ask(&[]).ends(0).says(&["DENIED"]);
    ask(&["--fail-on", "denied"]).ends(1);
}

#[test]
fn a_new_error_fails_a_diff_even_if_nothing_is_denied() {
    let s = Sandbox::new();
    s.write("base/a.yaml", policy("a", "web", "front"));
    s.write("head/a.yaml", policy("a", "web", "front").replace("fromEndpoints", "fromEndpoint"));
    s.run(&["diff", "base", "head"]).ends(1).says(&["PC0101"]);
    // An old one is not this change's.
    s.write("base/a.yaml", policy("a", "web", "front").replace("fromEndpoints", "fromEndpoint"));
    let run = s.run(&["diff", "base", "head"]).ends(0);
    assert!(!run.out.contains("PC0101"), "{}", run.out);
}

#[test]
fn output_does_not_depend_on_threads_or_the_order_of_paths_inside_folders() {
    let payments = examples().join("payments");
    let text = |threads: &str, format: &str| {
        let out = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["diff", "base", "head", "--cluster", "cluster.yaml", "--format", format])
            .current_dir(&payments)
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    for format in ["terminal", "json", "markdown"] {
        let one = text("1", format);
        assert!(!one.is_empty());
        for _ in 0..3 {
            assert_eq!(one, text("7", format));
        }
    }
}

#[test]
fn every_example_can_be_compared() {
    let s = Sandbox::new();
    for entry in std::fs::read_dir(examples()).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("base").is_dir() {
            continue;
        }
        let arg = |p: &str| folder.join(p).to_str().unwrap().to_owned();
        let run = s.run(&["diff", &arg("base"), &arg("head"), "--cluster", &arg("cluster.yaml")]);
        assert!(run.code == 0 || run.code == 1, "{}: {}\n{}", folder.display(), run.code, run.err);
        assert!(run.err.is_empty(), "{}: {}", folder.display(), run.err);
    }
}

#[test]
fn colour_is_for_terminals_unless_asked_for() {
    let s = Sandbox::new();
    s.write("p/a.yaml", "kind: [\n");
    assert!(!s.run(&["check", "p"]).out.contains('\x1b'));
    assert!(s.run(&["check", "p", "--color", "always"]).out.contains('\x1b'));
}

#[test]
fn a_report_can_go_to_a_file() {
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front"));
    let run = s.run(&["check", "p", "--output", "report.json", "--format", "json"]).ends(0);
    assert!(run.out.is_empty());
    assert!(std::fs::read_to_string(s.path("report.json")).unwrap().starts_with('{'));
    assert!(s.run(&["check", "p", "--quiet"]).ends(0).out.is_empty());
}

#[test]
fn every_code_has_its_page() {
    let s = Sandbox::new();
    let list = s.run(&["explain-code", "--list"]).ends(0).out;
    assert!(list.lines().count() > 50);
    s.run(&["explain-code", "pc0101"]).ends(0).says(&["# PC0101 unknown-field", "## Fix"]);
    s.run(&["explain-code", "duplicate-object"]).ends(0).says(&["# PC0201"]);
}

#[test]
fn completions_and_manual_pages_are_written() {
    let s = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        s.run(&["completions", shell]).ends(0).says(&["portcullis"]);
    }
    s.run(&["man"]).ends(0).says(&[".TH portcullis"]);
    std::fs::create_dir(s.path("man")).unwrap();
    s.run(&["man", "--out", "man"]).ends(0);
    assert!(s.path("man/portcullis-diff.1").is_file());
}

#[test]
fn addresses_are_taken_as_whoever_has_them() {
    let s = Sandbox::new();
    let more = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: solo, namespace: shop, labels: {app: front}}\nspec: {containers: []}\n\
                status: {podIP: 10.0.1.5}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: proxy, namespace: shop}\n\
                spec: {hostNetwork: true, containers: []}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n\
                status: {addresses: [{type: InternalIP, address: 192.168.0.9}]}\n---\napiVersion: v1\nkind: Service\n\
                metadata: {name: web-svc, namespace: shop}\nspec: {clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7], selector: {app: web}, \
                ports: [{port: 80, targetPort: http}]}\n";
    s.write("p/a.yaml", policy("a", "web", "front")).write("c.yaml", cluster(&["web"]) + more);
    let ask = |from: &str, to: &str, port: &str| {
        s.run(&["explain", "--from", from, "--to", to, "--port", port, "p", "--cluster", "c.yaml"])
    };
    ask("10.0.1.5", "shop/web", "8080").ends(0).says(&["10.0.1.5 is the pod shop/solo", "ALLOWED"]);
    ask("192.168.0.9", "shop/web", "8080").ends(0).says(&["a node's address", "DENIED"]);
    ask("shop/solo", "10.96.0.7", "80").ends(0).says(&[
        "the service shop/web-svc",
        "goes to port http",
        "8080",
        "ALLOWED",
    ]);
    ask("shop/solo", "shop/web-svc", "80").ends(0).says(&["shop/web-svc is a service", "ALLOWED"]);
    ask("shop/web-svc", "shop/web", "80").ends(2).says(&["receives traffic and sends none"]);
    ask("shop/proxy", "shop/web", "80").ends(2).says(&["on the host's network", "entity:host"]);
    ask("shop/web", "shop/web", "8080").ends(0).says(&["DENIED"]);
    ask("shop/solo", "shop/solo", "8080").ends(0).says(&["a pod always reaches itself"]);
}

/// The `why:` commands of a report, without the program's name.
fn why(report: &str) -> Vec<Vec<String>> {
    let lines = report.lines().filter_map(|l| l.trim().strip_prefix("why:"));
    lines.map(|l| l.split_whitespace().skip(1).map(str::to_owned).collect()).collect()
}

#[test]
fn the_commands_under_why_give_the_verdict_of_the_finding() {
    let s = Sandbox::new();
    s.write("base/a.yaml", policy("a", "web", "front")).write("head/a.yaml", policy("a", "web", "back"));
    s.write("c.yaml", cluster(&["web", "front", "back"]));
    let args = ["diff", "base", "head", "--cluster", "c.yaml", "--cluster-name", "prod"];
    let commands = why(&s.run(&args).out);
    assert!(!commands.is_empty());
    for command in commands {
        assert!(command.contains(&"--cluster-name=prod".to_owned()), "{command:?}");
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        s.run(&words).ends(0).says(&["egress of", "c.yaml"]);
    }
    let run = s.run(&["diff", "base", "head", "--cluster", "c.yaml"]);
    let first = why(&run.out).remove(0);
    let words: Vec<&str> = first.iter().map(String::as_str).collect();
    assert!(run.out.contains("DENIED shop/front"), "{}", run.out);
    s.run(&words).ends(0).says(&["DENIED: shop/front"]);
}

#[test]
fn a_policy_that_is_refused_is_left_out_and_not_removed() {
    let s = Sandbox::new();
    s.write("base/a.yaml", policy("a", "web", "front"));
    s.write("head/a.yaml", policy("a", "web", "front").replace("app: front", "app: yes"));
    s.write("c.yaml", cluster(&["web", "front"]));
    let run = s.run(&["diff", "base", "head", "--cluster", "c.yaml"]).ends(1);
    assert!(!run.out.contains("removed"), "{}", run.out);
    run.says(&["1 policy left out: CiliumNetworkPolicy shop/a", "what follows leaves out"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front"));
    for args in [&["explain-code", "--list"][..], &["check", "p"], &["reach", "p"]] {
        let mut c = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        c.args(args).current_dir(&s.root).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = c.spawn().unwrap();
        drop(child.stdout.take());
        let end = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&end.stderr), "", "{args:?}");
        assert_eq!(end.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn every_why_of_the_examples_can_be_pasted_and_agrees_with_its_finding() {
    let mut asked = 0;
    for example in std::fs::read_dir(examples()).unwrap().map(|e| e.unwrap().path()) {
        if !example.join("base").is_dir() {
            continue;
        }
        let shell = |command: &str| {
            let line = command.replacen("portcullis", env!("CARGO_BIN_EXE_portcullis"), 1);
            let out = Command::new("sh").args(["-c", &line]).current_dir(&example).output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        let report = shell("portcullis diff base head --cluster cluster.yaml --verbose");
        let mut verdict = "";
        for line in report.lines() {
            match line.split(' ').next() {
                Some("DENIED") => verdict = "DENIED",
                Some("ALLOWED" | "L7") => verdict = "ALLOWED",
                _ => {}
            }
            let Some(command) = line.trim().strip_prefix("why:") else { continue };
            let answer = shell(command);
            assert!(answer.starts_with(verdict), "{}: {command}\n{answer}", example.display());
            asked += 1;
        }
    }
    assert!(asked > 50, "{asked}");
}

/// world → web → api → db, each let in by its own policy.
fn chain() -> Sandbox {
    let s = Sandbox::new();
    let pod = |n: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {n}, namespace: shop, labels: {{app: {n}}}}}\n---\n"
        )
    };
    s.write("cluster.yaml", ["web", "api", "db"].map(pod).concat());
    s.write("p/api.yaml", policy("api", "api", "web")).write("p/db.yaml", policy("db", "db", "api"));
    s.write(
        "p/web.yaml",
        policy("web", "web", "nobody").replace(
            "fromEndpoints:\n        - matchLabels:\n            app: nobody",
            "fromEntities: [world]",
        ),
    );
    s
}

#[test]
fn steps_and_cuts_name_the_way_and_every_rule_that_it_hangs_on() {
    let s = chain();
    let reach = |more: &[&str]| s.run(&[&["reach", "p", "--cluster", "cluster.yaml"][..], more].concat());
    reach(&["--from", "entity:world", "--steps"]).ends(0).says(&[
        "by one hop: shop/web",
        "by 2 hops: shop/api",
        "by 3 hops: shop/db",
    ]);
    reach(&["--from", "entity:world", "--to", "shop/db", "--cut"]).ends(0).says(&[
        "reaches shop/db, by 3 hops at the fewest",
        "→ shop/db on TCP 8080 by CiliumNetworkPolicy shop/db at p/db.yaml:15:11",
        "each of these 3 rules",
    ]);
    reach(&["--from", "shop/db", "--to", "shop/web", "--cut"])
        .ends(0)
        .says(&["shop/db does not reach shop/web, by any number of hops"]);
    reach(&["--from", "entity:world", "--to", "shop/", "--cut", "--format", "json"])
        .ends(0)
        .says(&["\"schema\": \"portcullis.dev/steps/v1\"", "\"atLeast\": 0"]);
    reach(&["--groups"]).ends(0).says(&["no two workloads reach each other, directly or by steps"]);
    assert_eq!(reach(&["--from", "entity:world", "--cut"]).code, 2, "a cut needs both ends");
    assert_eq!(reach(&["--from", "entity:world", "--steps", "--format", "dot"]).code, 2);
}
