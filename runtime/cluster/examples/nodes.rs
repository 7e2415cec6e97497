//! Measures what many nodes write when all learn of one change: `cargo run -p portcullis-cluster --example nodes`.
//! The API server is the tests' own, in this process, over loopback.

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

use portcullis_cluster::{Given, Kind, Notice, Pace, Publisher, Said};
use serde_json::json;
use server::Server;
use std::time::{Duration, Instant};

const NODES: usize = 1000;
const POLICIES: usize = 1000;

fn said(n: u64, set: &str, wrong: bool) -> Said {
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "InUse", "message": "the policies given are in use",
            "lastTransitionTime": "2026-11-25T00:00:00Z"})
    };
    let conditions: Vec<_> = ["Compiled", "Enforced", "AsWritten", "Held"].map(condition).into();
    let status = json!({"generation": n, "policySet": set, "clusterPolicySet": set, "policyCount": POLICIES,
        "history": [set], "conditions": conditions, "policies": [], "problems": []});
    let notice = Notice {
        kind: Kind::NetworkPolicy,
        namespace: "shop".to_owned(),
        name: "p".to_owned(),
        reason: "NotEnforcedAsWritten",
        note: "there is no proxy on this node".to_owned(),
    };
    Said { status, nodes: NODES, notices: if wrong { vec![notice] } else { Vec::new() } }
}

#[tokio::main]
async fn main() {
    let server = Server::start();
    let path = std::env::temp_dir().join(format!("portcullis-nodes-{}.yaml", std::process::id()));
    std::fs::write(&path, server.kubeconfig()).unwrap();
    let client = Given { kubeconfig: Some(path.clone()), ..Given::default() }.client().await.unwrap();
    std::fs::remove_file(path).unwrap();
    let nodes: Vec<Publisher> =
        (0..NODES).map(|n| Publisher::start(&client, &format!("node-{n}"), Pace::default())).collect();
    for (what, n, set, wrong) in [
        ("every node starts", 1, "a", false),
        ("one policy changes", 2, "b", false),
        ("one policy changes, and one cannot be enforced as written", 3, "c", true),
        ("a pod starts: new generations everywhere", 4, "c", true),
    ] {
        let before = server.requests().len();
        let (begun, mut seconds, mut last) = (Instant::now(), Vec::new(), before);
        for node in &nodes {
            node.say(said(n, set, wrong));
        }
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = server.requests().len();
            seconds.push(now - last);
            last = now;
        }
        let told = server.objects("NodeStatus").iter().filter(|o| o["status"]["generation"] == n).count();
        let size = server.objects("NodeStatus")[0]["status"].to_string().len();
        let (all, most) = (last - before, seconds.iter().max().unwrap());
        println!(
            "{what}: {all} requests in {} s, at most {most} in one second; {told} of {NODES} nodes have told, {size} bytes each; {} events",
            begun.elapsed().as_secs(),
            server.objects("Event").len()
        );
    }
}
