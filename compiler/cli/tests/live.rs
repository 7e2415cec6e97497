//! `snapshot`, `check --live` and `diff --live`, against the test server of the crate `cluster`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the server is shared by several tests")]

#[path = "../../../runtime/cluster/tests/support/server.rs"]
mod server;
mod support;

use serde_json::{Value, json};
use server::Server;
use support::Sandbox;

fn pod(name: &str, app: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": app},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hidden"}},
        "spec": {"nodeName": "one", "containers": [{"name": "c", "env": [{"name": "TOKEN", "value": "hidden"}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": ip}]}})
}

fn policy(from: &str) -> Value {
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"endpointSelector": {"matchLabels": {"app": "db"}},
            "ingress": [{"fromEndpoints": [{"matchLabels": {"app": from}}]}]}})
}

fn filled() -> (Server, Sandbox) {
    let server = Server::start();
    server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    server.apply(pod("web-1", "web", "10.0.0.1"));
    server.apply(pod("db-1", "db", "10.0.0.2"));
    server.apply(policy("web"));
    let s = Sandbox::new();
    s.write("kubeconfig", server.kubeconfig());
    (server, s)
}

#[test]
fn a_snapshot_is_a_cluster_file_without_secrets() {
    let (_server, s) = filled();
    let first = s.run(&["snapshot", "--kubeconfig", "kubeconfig"]).ends(0);
    let second = s.run(&["snapshot", "--kubeconfig", "kubeconfig", "-o", "cluster.json"]).ends(0);
    assert!(!first.out.contains("hidden"), "{}", first.out);
    assert_eq!(second.out, "");
    assert_eq!(first.out, std::fs::read_to_string(s.path("cluster.json")).unwrap());
    s.run(&["explain", "--from", "shop/web-1", "--to", "shop/db-1", "--port", "80", "cluster.json"])
        .ends(0)
        .says(&["ALLOWED"]);
    s.run(&["snapshot", "--kubeconfig", "kubeconfig", "-n", "other"]).ends(0).says(&["Namespace"]);
}

#[test]
fn policies_are_checked_and_compared_against_the_live_cluster() {
    let (server, s) = filled();
    s.write("new.json", policy("nobody").to_string());
    s.run(&["check", "new.json", "--live", "--kubeconfig", "kubeconfig"]).ends(0).says(&["the live cluster"]);
    s.run(&["diff", "--live", "new.json", "--kubeconfig", "kubeconfig"]).ends(1).says(&[
        "shop/web",
        "shop/db",
        "denied",
        "the live cluster",
    ]);
    // What the cluster has already changes nothing.
    s.write("same.json", policy("web").to_string());
    s.run(&["diff", "--live", "same.json", "--kubeconfig", "kubeconfig"]).ends(0);
    server.faults(|f| f.unauthorized = true);
    let refused = s.run(&["diff", "--live", "new.json", "--kubeconfig", "kubeconfig"]).ends(2);
    assert!(refused.err.contains("Unauthorized"), "{}", refused.err);
}

#[test]
fn mistakes_about_the_way_are_named() {
    let (_server, s) = filled();
    s.write("new.json", policy("web").to_string());
    let lone = s.run(&["check", "new.json", "--kubeconfig", "kubeconfig"]).ends(2);
    assert!(lone.err.contains("--live"), "{}", lone.err);
    let absent = s.run(&["snapshot", "--kubeconfig", "kubeconfig", "--context", "elsewhere"]).ends(2);
    assert!(absent.err.contains("elsewhere"), "{}", absent.err);
    let group = s.run(&["snapshot", "--kubeconfig", "kubeconfig", "--as-group", "g"]).ends(2);
    assert!(group.err.contains("user to act as"), "{}", group.err);
    s.run(&["snapshot", "--kubeconfig", "kubeconfig", "--as", "u", "--as-group", "g"]).ends(0);
}

#[test]
fn under_its_name_for_kubectl_it_is_a_plugin() {
    let (_server, s) = filled();
    let plugin = s.path("kubectl-portcullis");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_portcullis"), &plugin).unwrap();
    let out = std::process::Command::new(plugin).args(["snapshot", "--help"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("kubectl portcullis snapshot"), "{text}");
}
