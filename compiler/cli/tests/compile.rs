//! `compile` and `verify`, run as people run them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use support::Sandbox;

const CLUSTER: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n1}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop, labels: {app: api}}
spec: {nodeName: n2}
";

fn policy(peer: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: db, namespace: shop}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: db}}}}\n  ingress:\n  - fromEndpoints:\n    - matchLabels: \
         {{app: {peer}}}\n"
    )
}

fn sandbox() -> Sandbox {
    let s = Sandbox::new();
    s.write("cluster.yaml", CLUSTER).write("p/db.yaml", policy("api"));
    s
}

const COMPILE: [&str; 6] = ["compile", "p", "--cluster", "cluster.yaml", "-o", "policy.img"];
const VERIFY: [&str; 5] = ["verify", "policy.img", "p", "--cluster", "cluster.yaml"];

#[test]
fn what_was_compiled_is_proved_and_another_policy_differs_with_a_flow_and_a_line() {
    let s = sandbox();
    s.run(&COMPILE).ends(0).says(&["proved equal"]);
    assert_eq!(s.run(&VERIFY).code, 0);
    s.write("p/db.yaml", policy("web"));
    s.run(&VERIFY).ends(1).says(&["shop/api → shop/db", "p/db.yaml:"]);
}

#[test]
fn what_is_no_image_is_bad_input() {
    let s = sandbox();
    s.write("policy.img", "no image");
    assert_eq!(s.run(&VERIFY).code, 2);
    assert_eq!(s.run(&COMPILE).code, 0);
    let whole = fs::read(s.path("policy.img")).unwrap();
    s.write("policy.img", &whole[..whole.len() / 2]);
    assert_eq!(s.run(&VERIFY).code, 2);
}

#[cfg(unix)]
#[test]
fn an_image_is_for_its_owner_and_leaves_nothing_beside_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let s = sandbox();
    s.write("policy.img", "an old one");
    assert_eq!(s.run(&COMPILE).code, 0);
    assert_eq!(fs::metadata(s.path("policy.img")).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(&s.root).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn a_policy_that_is_left_out_stops_the_compiler_unless_that_is_wanted() {
    let s = sandbox();
    s.write(
        "p/bad.yaml",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: x, namespace: y}\n",
    );
    let run = s.run(&COMPILE);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("p/bad.yaml"), "{}", run.err);
    assert!(!s.path("policy.img").exists());
    assert_eq!(s.run(&[&COMPILE[..], &["--allow-partial"]].concat()).code, 0);
}

#[test]
fn a_node_gets_its_own_slice() {
    let s = sandbox();
    let node = [&COMPILE[..], &["--node", "n1"]].concat();
    assert_eq!(s.run(&node).code, 0);
    assert_eq!(s.run(&[&VERIFY[..], &["--node", "n1"]].concat()).code, 0);
    assert_eq!(s.run(&VERIFY).code, 1, "the other node's pods are not in it");
    let unknown = s.run(&[&COMPILE[..], &["--node", "n9"]].concat());
    assert_eq!(unknown.code, 2);
}

#[test]
fn stats_need_no_image_and_name_the_rule_behind_the_largest_map() {
    let s = sandbox();
    let stats = ["compile", "p", "--cluster", "cluster.yaml", "--stats"];
    // db: api and the host in, everything out by five entries; api: everything, twice five, and the host.
    s.run(&stats).ends(0).says(&[
        "2 endpoints, each with a map of its own",
        "18 entries in all",
        "11 entries of shop/api (1 pod)",
        "7 entries of shop/db (1 pod)",
        "1 for CiliumNetworkPolicy shop/db at p/db.yaml:7:5, 1 for it alone",
    ]);
    assert!(!s.path("policy.img").exists());
    let one = [&stats[..], &["--node", "n1"]].concat();
    s.run(&one).ends(0).says(&["1 endpoints, each", "7 entries in all"]);
    assert_eq!(s.run(&["compile", "p", "--cluster", "cluster.yaml"]).code, 2, "nothing was asked for");
}

#[test]
fn every_entry_is_a_line_with_its_rule() {
    let s = sandbox();
    let write = ["compile", "p", "--cluster", "cluster.yaml", "--policy-maps", "maps.jsonl"];
    assert_eq!(s.run(&write).code, 0);
    let text = fs::read_to_string(s.path("maps.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 18);
    let own: Vec<&str> = text.lines().filter(|l| l.contains("db.yaml")).collect();
    assert_eq!(
        own,
        [
            "{\"endpoint\":\"shop/db\",\"direction\":\"ingress\",\"identity\":\"endpoints:shop/api\",\"protocol\":0,\
          \"port\":0,\"prefix\":0,\"verdict\":\"allow\",\"rules\":[\"CiliumNetworkPolicy shop/db at p/db.yaml:7:5\"]}"
        ]
    );
    assert_eq!(s.run(&write).code, 0);
    assert_eq!(fs::read_to_string(s.path("maps.jsonl")).unwrap(), text);
}

#[test]
fn neither_the_order_of_files_nor_the_number_of_threads_changes_a_byte() {
    let s = Sandbox::new();
    // Files that were written first are often found first.
    for n in [4, 1, 5, 0, 3, 2] {
        let text =
            support::policy(&format!("p{n}"), &format!("a{}", n % 4), &format!("a{}", (n * 5 + 1) % 6));
        s.write(&format!("p/{n}.yaml"), text);
    }
    s.write("cluster.yaml", support::cluster(&["a3", "a0", "a5", "a1", "a4", "a2"]));
    let named = |order: [usize; 6]| order.map(|n| format!("p/{n}.yaml")).to_vec();
    let orders = [
        vec!["p".to_owned()],
        named([0, 1, 2, 3, 4, 5]),
        named([5, 3, 1, 4, 2, 0]),
        named([2, 4, 0, 5, 3, 1]),
    ];
    let mut images: Vec<Vec<u8>> = Vec::new();
    for paths in orders {
        for threads in ["1", "2"] {
            let out = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
                .arg("compile")
                .args(&paths)
                .args(["--cluster", "cluster.yaml", "-o", "policy.img"])
                .env("RAYON_NUM_THREADS", threads)
                .current_dir(&s.root)
                .output()
                .unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            images.push(fs::read(s.path("policy.img")).unwrap());
        }
    }
    assert!(images.iter().all(|i| *i == images[0]));
}

#[test]
fn the_services_of_a_node_are_written_as_their_own_image() {
    let s = sandbox();
    s.write(
        "services/web.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {type: NodePort, clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 30080}]}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nports: [{port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]\n",
    );
    let args = ["compile", "p", "--cluster", "cluster.yaml", "--cluster", "services", "--node", "n1"];
    let args = [&args[..], &["--services", "s.img", "--node-address", "192.0.2.1"]].concat();
    s.run(&args).ends(0).says(&["s.img: ", "2 frontends, 2 backends"]);
    let image = fs::read(s.path("s.img")).unwrap();
    assert!(image.starts_with(b"PCULLSVC"));
    s.run(&args).ends(0);
    assert_eq!(fs::read(s.path("s.img")).unwrap(), image);
}
