//! Whatever is wrong with the input, the program says what, where, and the way out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use support::{Sandbox, cluster, policy};

#[test]
fn malformed_yaml_is_an_error_with_its_place() {
    let s = Sandbox::new();
    s.write("p/a.yaml", "apiVersion: v1\nkind: [\n");
    s.run(&["check", "p"]).ends(1).says(&["PC0001", "p/a.yaml:"]);
}

#[test]
fn malformed_yaml_on_the_head_side_means_no_verdict() {
    let s = Sandbox::new();
    s.write("base/a.yaml", policy("a", "web", "front")).write("head/a.yaml", "kind: [\n");
    s.run(&["diff", "base", "head"]).ends(2).says(&["PC0001", "head/a.yaml"]);
    // What nobody can read cannot be compared with, even if the change repairs it.
    s.write("head/a.yaml", policy("a", "web", "front")).write("base/a.yaml", "kind: [\n");
    s.run(&["diff", "base", "head", "--fail-on", "error"]).ends(2).says(&["base/a.yaml"]);
}

#[test]
fn a_missing_folder_is_named() {
    let s = Sandbox::new();
    s.run(&["check", "nowhere"]).ends(2).says(&["error[PC0004]: nowhere does not exist", "help:"]);
    s.write("base/a.yaml", policy("a", "web", "front"));
    s.run(&["diff", "base", "nowhere"]).ends(2).says(&["nowhere does not exist"]);
    s.run(&["check", "base", "nowhere"]).ends(2).says(&["nowhere does not exist"]);
    s.run(&["check", "base", "--cluster", "nowhere.yaml"]).ends(2).says(&["nowhere.yaml does not exist"]);
}

#[test]
fn an_empty_folder_is_nothing_to_check() {
    let s = Sandbox::new();
    fs::create_dir(s.path("empty")).unwrap();
    s.write("empty/readme.md", "no policies");
    s.run(&["check", "empty"]).ends(2).says(&["nothing to check: empty holds no file that ends in .yaml"]);
    fs::create_dir(s.path("other")).unwrap();
    s.run(&["diff", "empty", "other"]).ends(2).says(&["nothing to compare"]);
    s.write("head/a.yaml", policy("a", "web", "front"));
    s.run(&["diff", "empty", "head"]).ends(1);
    s.run(&["check", "head", "--cluster", "empty"]).ends(2).says(&["--cluster empty holds no"]);
}

#[test]
fn an_unreadable_file_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front")).write("p/b.yaml", "x: 1");
    fs::set_permissions(s.path("p/b.yaml"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(s.path("p/b.yaml")).is_ok() {
        // Root reads everything: there is nothing to see here.
        return;
    }
    s.run(&["check", "p"]).ends(2).says(&["PC0004", "p/b.yaml may not be read", "chmod"]);
}

#[test]
fn a_binary_file_is_no_text() {
    let s = Sandbox::new();
    s.write("p/a.yaml", [0x7f, b'E', b'L', b'F', 0, 1]).write("p/b.yaml", policy("b", "web", "front"));
    s.run(&["check", "p"]).ends(2).says(&["PC0003", "p/a.yaml is a binary file"]);
    s.write("p/a.yaml", [0xff, 0xfe, b'a', 0]);
    s.run(&["check", "p"]).ends(2).says(&["p/a.yaml is UTF-16 text", "iconv"]);
    s.write("p/a.yaml", b"name: M\xfcller\n");
    s.run(&["check", "p"]).ends(2).says(&["not UTF-8 text: line 1"]);
}

#[test]
fn a_file_of_200_mb_is_refused_without_being_read() {
    let s = Sandbox::new();
    s.write("p/b.yaml", policy("b", "web", "front"));
    fs::File::create(s.path("p/dump.yaml")).unwrap().set_len(200 << 20).unwrap();
    s.run(&["check", "p"]).ends(2).says(&[
        "PC0005",
        "p/dump.yaml is 200 MiB",
        "--cluster",
        "--max-file-size",
    ]);
    s.run(&["check", "p/b.yaml", "--max-file-size", "10"]).ends(2).says(&["above 10 bytes"]);
    // Above the limit or not, zeros are no YAML.
    s.run(&["check", "p", "--max-file-size", "1GiB"]).ends(2).says(&["p/dump.yaml is a binary file"]);
}

#[test]
fn a_symlink_loop_is_followed_once() {
    use std::os::unix::fs::symlink;
    let s = Sandbox::new();
    s.write("p/sub/a.yaml", policy("a", "web", "front"));
    symlink("..", s.path("p/sub/up")).unwrap();
    s.run(&["check", "p"]).ends(0).says(&["PC0016", "p/sub/up leads back into its own folder", "1 file"]);
    symlink("gone.yaml", s.path("p/dangling.yaml")).unwrap();
    s.run(&["check", "p"]).ends(2).says(&["p/dangling.yaml does not exist"]);
}

#[test]
fn a_file_that_two_paths_lead_to_is_read_once() {
    use std::os::unix::fs::symlink;
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front"));
    symlink("a.yaml", s.path("p/b.yaml")).unwrap();
    s.run(&["check", "p", "p/a.yaml"]).ends(0).says(&["1 file"]);
}

#[test]
fn a_duplicate_object_is_a_warning() {
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front")).write("p/b.yaml", policy("a", "web", "back"));
    s.run(&["check", "p"]).ends(0).says(&["PC0201", "p/b.yaml"]);
    s.run(&["check", "p", "--fail-on", "warning"]).ends(1);
}

#[test]
fn usage_errors_say_the_way_out() {
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front"));
    s.run(&["check", "p", "--format", "dot"]).ends(2).says(&["`check` has no dot report"]);
    s.run(&["check", "p", "--format", "xml"]).ends(2).says(&["possible values"]);
    s.run(&["check", "p", "--fail-on", "sadness"]).ends(2);
    s.run(&["diff", "p"]).ends(2).says(&["only one side is given"]);
    s.run(&["diff", "-", "-"]).ends(2).says(&["both sides are standard input"]);
    s.run(&["check", "p", "--output", "no/such/folder/x"]).ends(2).says(&["could not be written"]);
    s.run(&["frobnicate"]).ends(2);
    s.run(&["explain-code", "PC9999"]).ends(2).says(&["there is no diagnostic"]);
    s.run(&["explain-code", "unknown-feild"]).ends(2).says(&["unknown-field"]);
}

#[test]
fn names_that_mean_nothing_get_the_nearest_ones() {
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front")).write("c.yaml", cluster(&["web", "front"]));
    let ask = |from: &str, to: &str, port: &str| {
        s.run(&["explain", "--from", from, "--to", to, "--port", port, "p", "--cluster", "c.yaml"])
    };
    ask("shop/fornt", "shop/web", "80").ends(2).says(&["did you mean shop/front"]);
    ask("front", "shop/web", "80").ends(2).says(&["did you mean shop/front?"]);
    ask("shpo/front", "shop/web", "80").ends(2).says(&["did you mean shop?"]);
    ask("world", "shop/web", "80").ends(2).says(&["did you mean entity:world?"]);
    ask("entity:all", "shop/web", "80").ends(2).says(&["no single end"]);
    ask("shop/app=nobody", "shop/web", "80").ends(2).says(&["no pod of namespace shop has the labels"]);
    ask("10.0.0.0/8", "shop/web", "80").ends(2).says(&["is a range of addresses"]);
    ask("shop/front", "shop/web", "nope").ends(2).says(&["has no port named `nope`", "it has http"]);
    ask("shop/front", "shop/web", "0").ends(2).says(&["is no port"]);
}

#[test]
fn a_cluster_that_cannot_be_read_or_is_none_is_said_so() {
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front")).write("c.yaml", "kind: [\n").write("d.yaml", "a: 1\n");
    s.run(&["check", "p", "--cluster", "c.yaml"]).ends(2).says(&["PC0001", "c.yaml:"]);
    s.run(&["check", "p", "--cluster", "d.yaml"])
        .ends(0)
        .says(&["d.yaml has no pod and no workload.", "give --cluster"]);
}

/// A policy under a condition, which only Helm can tell.
fn template(peer: &str) -> String {
    format!("{{{{- if .Values.on }}}}\n{}{{{{- end }}}}\n", policy("a", "web", peer))
}

#[test]
fn a_change_of_a_template_that_holds_a_policy_cannot_be_judged() {
    let s = Sandbox::new();
    s.write("base/a.yaml", policy("a", "web", "front")).write("head/a.yaml", template("front"));
    let cannot = ["cannot be judged safe: 1 object is not rendered yet", "error[PC0012]", "render it first"];
    for sides in [["base", "head"], ["head", "base"]] {
        let run = s.run(&["diff", sides[0], sides[1]]).ends(1).says(&cannot);
        assert!(!run.out.contains("policy removed") && !run.out.contains("policy added"), "{}", run.out);
        assert!(run.out.contains("1 policy left out: CiliumNetworkPolicy shop/a"), "{}", run.out);
        assert!(!run.out.contains("note[PC0012]"), "{}", run.out);
        s.run(&["diff", sides[0], sides[1], "--fail-on", "never"]).ends(0);
    }
    // Both forms are templates: one thing to render.
    s.write("base/a.yaml", template("cron"));
    s.run(&["diff", "base", "head"]).ends(1).says(&cannot);
    let comment = s.run(&["diff", "base", "head", "--format", "markdown"]).ends(1).out;
    assert!(comment.contains("CAUTION") && !comment.contains('✅'), "{comment}");
    // One that goes away is a change as well.
    s.write("base/b.yaml", policy("b", "api", "web")).write("head/b.yaml", policy("b", "api", "web"));
    fs::remove_file(s.path("head/a.yaml")).unwrap();
    s.run(&["diff", "base", "head"]).ends(1).says(&cannot);
}

#[test]
fn a_template_that_stays_as_it_is_is_mentioned() {
    let s = Sandbox::new();
    s.write("base/a.yaml", template("front")).write("head/moved.yaml", template("front"));
    s.write("base/b.yaml", policy("b", "api", "web")).write("head/b.yaml", policy("b", "api", "web"));
    s.run(&["diff", "base", "head"])
        .ends(0)
        .says(&["1 template that holds a policy is skipped on both sides"]);
    // A template without any policy is nobody's concern.
    s.write("head/c.yaml", "kind: Service\nname: {{ .Values.name }}\n");
    s.run(&["diff", "base", "head"]).ends(0);
}

#[test]
fn a_change_of_a_kustomize_patch_that_holds_a_policy_cannot_be_judged() {
    let s = Sandbox::new();
    let patch = policy("a", "web", "front").replace("  ingress:", "  $patch: replace\n  ingress:");
    s.write("base/a.yaml", policy("a", "web", "front")).write("head/a.yaml", patch);
    s.run(&["diff", "base", "head"]).ends(1).says(&["error[PC0013]", "build it first", "not rendered yet"]);
}

#[test]
fn of_a_file_of_one_long_line_the_part_around_the_place_is_shown() {
    let s = Sandbox::new();
    let item = |n: usize, field: &str| {
        format!(
            r#"{{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{{"name":"p{n}","namespace":"pay","annotations":{{"x":"{}"}}}},"spec":{{"endpointSelector":{{"matchLabels":{{"app":"a{n}"}}}},"{field}":[{{"fromEntities":["host"]}}]}}}}"#,
            "y".repeat(1000)
        )
    };
    let items: Vec<String> = (0..160).map(|n| item(n, if n == 150 { "ingres" } else { "ingress" })).collect();
    let text = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","));
    assert!(text.len() > 180_000);
    s.write("p/a.json", &text);
    let column = text.find("\"ingres\"").unwrap() + 1;
    for format in ["terminal", "markdown", "sarif", "github", "junit"] {
        let run = s.run(&["check", "p", "--format", format]).ends(1);
        assert!(run.out.contains("ingres") && run.out.len() < 8000, "{format}: {}", run.out);
        if format == "terminal" {
            assert!(run.out.contains(&format!("p/a.json:1:{column}]")), "{}", run.out);
            assert!(
                run.out.contains("…") && run.out.contains("\"ingres\":[{\"fromEntities\""),
                "{}",
                run.out
            );
        }
    }
}

#[test]
fn a_run_that_looked_at_nothing_does_not_pass() {
    let s = Sandbox::new();
    s.write("p/a.yaml", "# nothing yet\n").write("p/b.yaml", "");
    s.run(&["check", "p"]).ends(2).says(&["nothing was checked: p holds no document", "help:"]);
    s.write("p/a.yaml", template("front"));
    s.run(&["check", "p"]).ends(2).says(&["nothing was checked: p holds only templates", "helm template"]);
    s.write("p/b.yaml", policy("b", "web", "front"));
    s.run(&["check", "p"]).ends(0);
}

#[test]
fn nothing_is_said_of_port_names_where_no_pod_is_known() {
    let s = Sandbox::new();
    s.write("base/a.yaml", policy("a", "web", "front"));
    s.write("head/a.yaml", policy("a", "web", "front").replace("\"8080\"", "http"));
    let run = s.run(&["diff", "base", "head"]);
    assert!(!run.out.contains("PC0329"), "{}", run.out);
}

#[test]
fn a_policy_without_an_api_version_is_told_so() {
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front").replace("apiVersion: cilium.io/v2\n", ""));
    s.run(&["check", "p"]).ends(1).says(&["PC0105", "`apiVersion` is missing"]);
}
