//! Measures a mirror of a large cluster: `cargo run -p portcullis-cluster --example load`. The API
//! server is the tests' own, in another process, over loopback.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement"
)]
#![allow(dead_code, unreachable_pub, reason = "the server is shared with tests")]

#[path = "../tests/support/server.rs"]
mod server;

use portcullis_cluster::{Given, Mirror};
use serde_json::{Value, json};
use server::Server;
use std::io::{BufRead as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PODS: u32 = 10_000;
const POLICIES: u32 = 1_000;
const SERVICES: u32 = 5_000;
const ADDED: u32 = 200;

fn pod(n: u32) -> Value {
    // The size of an ordinary pod: most of it is dropped.
    let filler = "x".repeat(3500);
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{n:05}"), "namespace": format!("team-{}", n % 100),
            "labels": {"app": format!("app-{}", n % 500), "tier": "backend"}, "annotations": {"filler": filler},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]},
        "spec": {"nodeName": format!("node-{}", n % 100), "serviceAccountName": "default",
            "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "A", "value": "x".repeat(800)}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255)}],
            "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn fill(server: &Server) {
    for n in 0..100 {
        server.apply(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{n}")}}),
        );
    }
    for n in 0..PODS {
        server.apply(pod(n));
    }
    for n in 0..POLICIES {
        server.apply(json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
            "metadata": {"name": format!("p-{n}"), "namespace": format!("team-{}", n % 100)},
            "spec": {"endpointSelector": {"matchLabels": {"app": format!("app-{}", n % 500)}},
                "ingress": [{"fromEndpoints": [{"matchLabels": {"app": format!("app-{}", (n + 1) % 500)}}]}]}}));
    }
    for n in 0..SERVICES {
        server.apply(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("s-{n}"), "namespace": format!("team-{}", n % 100)},
            "spec": {"clusterIP": format!("10.96.{}.{}", n >> 8, n & 255), "ports": [{"port": 80}]}}));
    }
    server.compact();
}

/// Resident memory, in MB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Serves; each line of standard input adds a pod.
fn serve() {
    let server = Server::start();
    fill(&server);
    println!("{}", server.kubeconfig().replace('\n', "\\n"));
    for (next, _) in (PODS..).zip(std::io::stdin().lines()) {
        server.apply(pod(next));
    }
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let path = std::env::temp_dir().join(format!("portcullis-load-{}", std::process::id()));
    std::fs::write(&path, line.replace("\\n", "\n")).unwrap();
    let mut ask = child.stdin.take().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let given = Given { kubeconfig: Some(path.clone()), ..Given::default() };
        let client = given.client().await.unwrap();
        let before = memory();
        let begun = Instant::now();
        let mirror = Mirror::start(&client);
        mirror.ready(Duration::from_mins(1)).await.unwrap();
        println!("ready after {} ms, {} objects", begun.elapsed().as_millis(), mirror.snapshot().len());
        println!("memory {} MB, {before} MB before", memory());
        let mut changes = mirror.changes();
        let mut took = Vec::new();
        for _ in 0..ADDED {
            changes.borrow_and_update();
            let begun = Instant::now();
            writeln!(ask, "add").unwrap();
            changes.changed().await.unwrap();
            took.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        took.sort();
        println!(
            "a pod added is known after {:?} median, {:?} at most",
            took[took.len() / 2],
            took[took.len() - 1]
        );
        let begun = Instant::now();
        let bytes = mirror.snapshot().list().len();
        println!("a snapshot of {bytes} bytes takes {:?}", begun.elapsed());
    });
    drop(ask);
    std::fs::remove_file(path).unwrap();
    child.wait().unwrap();
}
