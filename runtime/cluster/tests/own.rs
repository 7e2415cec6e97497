//! What nodes tell the cluster arrives, whatever the API server says to it, and is told once; what is said to all
//! nodes is heard.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the server is shared by several tests")]

#[path = "support/server.rs"]
mod server;

use portcullis_cluster::fleet::{GoBack, node_statuses, order};
use portcullis_cluster::{Fleet, Given, Kind, Notice, Pace, Publisher, Said};
use serde_json::{Value, json};
use server::Server;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const LONG: Duration = Duration::from_secs(40);
const FAST: Pace = Pace {
    status: Duration::from_millis(40),
    turn: Duration::from_millis(1),
    calm: Duration::from_millis(40),
    events: Duration::from_millis(10),
    again: Duration::from_hours(1),
    refused: Duration::from_millis(200),
};

fn given(server: &Server) -> Given {
    let name = server.url().replace([':', '/'], "-");
    let path = std::env::temp_dir().join(format!("portcullis-own{name}-{}.yaml", std::process::id()));
    std::fs::write(&path, server.kubeconfig()).unwrap();
    Given { kubeconfig: Some(path), ..Given::default() }
}

async fn client(server: &Server) -> kube::Client {
    given(server).client().await.unwrap()
}

fn filled() -> Server {
    let server = Server::start();
    server.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}}));
    server.apply(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "shop"}, "spec": {}}));
    server
}

fn notice(note: &str) -> Notice {
    let (namespace, name) = ("shop".to_owned(), "p".to_owned());
    Notice { kind: Kind::NetworkPolicy, namespace, name, reason: "Refused", note: note.to_owned() }
}

fn said(n: u64, notices: &[Notice]) -> Said {
    Said { status: json!({"generation": n}), notices: notices.to_vec(), nodes: 20 }
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !is() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn generation(server: &Server) -> Option<u64> {
    server.objects("NodeStatus").first().and_then(|o| o["status"]["generation"].as_u64())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_what_changes_and_only_that() {
    let server = filled();
    let publisher = Publisher::start(&client(&server).await, "one", FAST);
    publisher.say(said(1, &[notice("it is wrong")]));
    until("told", || generation(&server) == Some(1) && server.objects("Event").len() == 1).await;
    let own = &server.objects("NodeStatus")[0];
    assert_eq!(own["metadata"]["ownerReferences"][0]["uid"], "uid--one");
    let event = &server.objects("Event")[0];
    assert_eq!(event["regarding"]["uid"], "uid-shop-p");
    assert_eq!((&event["note"], &event["type"]), (&json!("it is wrong"), &json!("Warning")));
    assert_eq!(event["metadata"]["namespace"], "shop");
    // The same again is nothing to write; a hundred changes at once are a few writes.
    for _ in 0..10 {
        publisher.say(said(1, &[notice("it is wrong")]));
    }
    for n in 2..=100 {
        publisher.say(said(n, &[notice("it is wrong")]));
        sleep(Duration::from_millis(1)).await;
    }
    until("the last", || generation(&server) == Some(100)).await;
    let writes = server.writes();
    assert!(writes.len() < 20, "{writes:?}");
    assert!(
        writes
            .iter()
            .all(|(_, target, _)| target.contains("nodestatuses/one?") || target.contains("/events"))
    );
    assert_eq!(publisher.problem(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_with_nothing_else_to_say_waits_and_anything_else_does_not() {
    let server = filled();
    let pace = Pace { calm: Duration::from_hours(1), ..FAST };
    let publisher = Publisher::start(&client(&server).await, "one", pace);
    let say = |n: u64, held: bool| {
        let policies = json!([{"name": "p", "enforcedGeneration": n}]);
        let status = json!({"generation": n, "since": n.to_string(), "held": held, "policies": policies});
        publisher.say(Said { status, notices: Vec::new(), nodes: 1 });
    };
    say(1, false);
    until("the first", || generation(&server) == Some(1)).await;
    for n in 2..50 {
        say(n, false);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(generation(&server), Some(1));
    say(50, true);
    until("something new", || generation(&server) == Some(50)).await;
    assert_eq!(server.writes().len(), 2, "{:?}", server.writes());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_make_one_event() {
    let server = filled();
    let client = client(&server).await;
    let all: Vec<Publisher> = (0..20).map(|n| Publisher::start(&client, &format!("n{n}"), FAST)).collect();
    for publisher in &all {
        publisher.say(said(1, &[notice("it is wrong")]));
    }
    until("all have told", || server.writes().iter().filter(|w| w.1.contains("/events")).count() == 20).await;
    assert_eq!(server.objects("Event").len(), 1);
    assert_eq!(server.objects("NodeStatus").len(), 20);
    assert!(all.iter().all(|p| p.problem().is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_said_and_survived() {
    let server = filled();
    server.faults(|f| {
        f.busy = 3;
        f.conflicts = 2;
    });
    let publisher = Publisher::start(&client(&server).await, "one", FAST);
    publisher.say(said(1, &[]));
    until("after 429 and 409", || generation(&server) == Some(1)).await;
    until("no problem is left", || publisher.problem().is_none()).await;
    server.faults(|f| f.forbidden = Some("nodestatuses"));
    publisher.say(said(2, &[]));
    until("403 is said", || publisher.problem().is_some_and(|p| p.contains("grant `create` and `patch`")))
        .await;
    server.faults(|f| f.forbidden = None);
    until("after 403", || generation(&server) == Some(2)).await;
    server.absent("NodeStatus", true);
    publisher.say(said(3, &[]));
    until("404 is said", || publisher.problem().is_some_and(|p| p.contains("crds.yaml"))).await;
    server.absent("NodeStatus", false);
    until("after 404", || generation(&server) == Some(3)).await;
    server.faults(|f| f.down = true);
    server.cut();
    publisher.say(said(4, &[]));
    until("the API server is away", || publisher.problem().is_some()).await;
    publisher.say(said(5, &[]));
    server.faults(|f| f.down = false);
    until("the latest, once it is back", || generation(&server) == Some(5)).await;
    until("no problem is left", || publisher.problem().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_all_nodes_is_heard() {
    let server = filled();
    let fleet = Fleet::start(&client(&server).await);
    until("nothing was said", || fleet.heard().ready).await;
    let ask = |change: fn(&mut portcullis_cluster::fleet::Orders)| {
        let given = given(&server);
        tokio::task::spawn_blocking(move || order(&given, LONG, change).unwrap())
    };
    ask(|o| o.approve("aaaaaaaaaaaaaaaa")).await.unwrap();
    until("approved", || fleet.heard().orders.approved == ["aaaaaaaaaaaaaaaa"]).await;
    ask(|o| o.rollback = Some(GoBack { from: "b".into(), to: "c".into() })).await.unwrap();
    until("back", || fleet.heard().orders.rollback.is_some()).await;
    assert_eq!(fleet.heard().orders.approved.len(), 1, "the approval is not lost");
    // What is no order changes nothing.
    server.apply(
        json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "fleet"},
        "spec": {"approved": 7}}),
    );
    until("it is said", || fleet.heard().problem.is_some()).await;
    assert_eq!(fleet.heard().orders.approved.len(), 1);
    // Of another name it is none of ours.
    server.apply(
        json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "other"},
        "spec": {"approved": ["x"]}}),
    );
    server.delete("Rollout", "", "fleet");
    until("gone", || fleet.heard().orders.approved.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_kind_or_the_right_nobody_waits() {
    let server = filled();
    server.absent("Rollout", true);
    let fleet = Fleet::start(&client(&server).await);
    until("absent", || fleet.heard().ready).await;
    assert_eq!(fleet.heard().problem, None);
    let server = filled();
    server.faults(|f| f.forbidden = Some("rollouts"));
    let fleet = Fleet::start(&client(&server).await);
    until("forbidden", || fleet.heard().ready && fleet.heard().problem.is_some()).await;
    server.faults(|f| f.forbidden = None);
    until("allowed", || fleet.heard().problem.is_none()).await;
}

#[test]
fn all_nodes_are_read() {
    let server = filled();
    for n in 0..450 {
        server.apply(json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "NodeStatus",
            "metadata": {"name": format!("n{n:03}")}, "status": {"generation": n}}));
    }
    let all: Vec<(String, Value)> = node_statuses(&given(&server), LONG).unwrap();
    assert_eq!(all.len(), 450);
    assert_eq!(all[7].1["generation"], 7);
    server.absent("NodeStatus", true);
    let why = node_statuses(&given(&server), LONG).unwrap_err().to_string();
    assert!(why.contains("crds.yaml"), "{why}");
}
