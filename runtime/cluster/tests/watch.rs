//! A cluster is followed whatever happens to the API server. With `PORTCULLIS_TEST_KUBECONFIG` the scenario
//! that asks for no fault runs against the cluster that it leads to as well.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the server is shared by several tests")]

#[path = "support/server.rs"]
mod server;

use portcullis_cluster::{Given, Kind, Mirror, State, fetch};
use serde_json::{Value, json};
use server::Server;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const LONG: Duration = Duration::from_secs(40);

fn pod(name: &str, app: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}, "annotations": {"x": "y"}},
        "spec": {"nodeName": "one", "containers": [{"name": "c", "env": [{"name": "TOKEN", "value": "hidden"}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": ip}]}})
}

fn policy(name: &str) -> Value {
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": {"name": name, "namespace": "shop"}, "spec": {"endpointSelector": {}, "ingress": [{}]}})
}

fn filled() -> Server {
    let server = Server::start();
    server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    server.apply(pod("web-1", "web", "10.0.0.1"));
    server.apply(policy("p"));
    server
}

fn given(server: &Server) -> (Given, std::path::PathBuf) {
    let name = server.url().replace([':', '/'], "-");
    let path = std::env::temp_dir().join(format!("portcullis{name}-{}.yaml", std::process::id()));
    std::fs::write(&path, server.kubeconfig()).unwrap();
    (Given { kubeconfig: Some(path.clone()), ..Given::default() }, path)
}

async fn mirror(server: &Server) -> Mirror {
    let (given, path) = given(server);
    let client = given.client().await.unwrap();
    std::fs::remove_file(path).unwrap();
    Mirror::start(&client)
}

/// Waits until the mirror holds what the server has.
async fn settled(mirror: &Mirror, what: &str, is: impl Fn(&str) -> bool) {
    let end = Instant::now() + LONG;
    loop {
        let text = mirror.snapshot().list();
        if mirror.is_ready() && is(&text) {
            return;
        }
        assert!(Instant::now() < end, "{what}: {text}\n{:?}", mirror.problems());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_come_change_and_go() {
    let server = filled();
    let mirror = mirror(&server).await;
    mirror.ready(LONG).await.unwrap();
    settled(&mirror, "all", |t| t.contains("web-1") && t.contains("\"p\"")).await;
    assert!(!mirror.snapshot().list().contains("hidden"));
    server.apply(pod("web-2", "web", "10.0.0.2"));
    settled(&mirror, "added", |t| t.contains("10.0.0.2")).await;
    server.apply(pod("web-2", "db", "10.0.0.2"));
    settled(&mirror, "relabelled", |t| t.contains("\"db\"")).await;
    server.delete("Pod", "shop", "web-2");
    settled(&mirror, "deleted", |t| !t.contains("web-2")).await;
    assert!(mirror.problems().is_empty(), "{:?}", mirror.problems());
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_survived_and_nothing_is_missed() {
    let server = filled();
    server.faults(|f| {
        f.no_streaming = true;
        f.busy = 5;
        f.slow = Duration::from_millis(5);
    });
    let mirror = mirror(&server).await;
    mirror.ready(LONG).await.unwrap();
    for round in 0..4 {
        server.faults(|f| {
            f.torn = usize::from(round % 2 == 0);
            f.error_in_middle = usize::from(round % 2 == 1);
        });
        server.apply(pod(&format!("r-{round}"), "web", "10.0.1.1"));
        settled(&mirror, "after a fault", |t| t.contains(&format!("r-{round}"))).await;
    }
    server.delete("Pod", "shop", "r-0");
    server.compact();
    server.cut();
    settled(&mirror, "after 410", |t| !t.contains("r-0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_stays_while_the_api_server_is_away() {
    let server = filled();
    let mirror = mirror(&server).await;
    mirror.ready(LONG).await.unwrap();
    server.faults(|f| f.down = true);
    server.cut();
    server.delete("Pod", "shop", "web-1");
    server.apply(pod("late", "web", "10.0.0.9"));
    let end = Instant::now() + LONG;
    while mirror.problems().is_empty() && Instant::now() < end {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(mirror.problems().iter().any(|p| p.contains("as they were")), "{:?}", mirror.problems());
    assert!(mirror.snapshot().list().contains("web-1"));
    assert!(mirror.is_ready());
    server.compact();
    server.faults(|f| f.down = false);
    settled(&mirror, "back", |t| t.contains("late") && !t.contains("web-1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_kind_is_waited_for() {
    let server = filled();
    server.absent("CiliumNetworkPolicy", true);
    let mirror = mirror(&server).await;
    mirror.ready(LONG).await.unwrap();
    let state = |m: &Mirror| m.states().into_iter().find(|(k, _)| *k == Kind::CiliumNetworkPolicy).unwrap().1;
    assert_eq!(state(&mirror), State::Absent);
    server.absent("CiliumNetworkPolicy", false);
    settled(&mirror, "the kind is there", |t| t.contains("\"p\"")).await;
    // It goes again: what was known stays, for a while at least.
    server.absent("CiliumNetworkPolicy", true);
    sleep(Duration::from_secs(1)).await;
    assert!(mirror.snapshot().list().contains("\"p\""));
}

#[test]
fn two_looks_at_one_cluster_are_equal_to_the_byte() {
    let server = filled();
    (0..1200).for_each(|n| server.apply(pod(&format!("many-{n}"), "web", "10.1.0.1")));
    let (given, path) = given(&server);
    let one = fetch(&given, &[], LONG).unwrap();
    let two = fetch(&given, &[], LONG).unwrap();
    assert_eq!(one.list(), two.list());
    assert_eq!(one.len(), 1203);
    assert!(server.requests().iter().filter(|r| r.starts_with("/api/v1/pods")).count() >= 6);
    let none = fetch(&given, &["elsewhere".to_owned()], LONG).unwrap();
    assert_eq!(none.len(), 1, "only the namespace");
    server.faults(|f| f.unauthorized = true);
    let refused = fetch(&given, &[], LONG).unwrap_err().to_string();
    assert!(refused.contains("Unauthorized"), "{refused}");
    std::fs::remove_file(path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_cluster_is_read() {
    let Some(path) = std::env::var_os("PORTCULLIS_TEST_KUBECONFIG") else { return };
    let given = Given { kubeconfig: Some(path.into()), ..Given::default() };
    let mirror = Mirror::start(&given.client().await.unwrap());
    mirror.ready(LONG).await.unwrap();
    let text = mirror.snapshot().list();
    let parsed = portcullis_front::parse(portcullis_diag::FileId(0), "live.json", &text);
    assert!(parsed.objects.len() >= mirror.snapshot().len(), "{:?}", parsed.diagnostics);
}
