//! The agent at work against an API server: its pods are found, policies decide about real packets, and pods,
//! policies and the API server come and go.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../cluster/tests/support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "the server is shared with other tests")]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod server;
mod support;

use portcullis_agent::lab::{Lab, LabPod};
use serde_json::{Value, json};
use server::Server;
use std::net::TcpListener;
use support::agent::Agent;

/// An agent whose node is `test`, and its API server.
struct Scene {
    agent: Agent,
    api: Server,
}

fn pod(pod: &LabPod, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod.name, "namespace": "lab", "labels": labels},
        "spec": {"nodeName": "test", "serviceAccountName": "default",
            "containers": [{"name": "c", "image": "i", "ports": [{"name": "db", "containerPort": 5432}]}]},
        "status": {"phase": "Running", "podIP": pod.v4.to_string(),
            "podIPs": [{"ip": pod.v4.to_string()}, {"ip": pod.v6.to_string()}],
            "conditions": [{"type": "Ready", "status": "True"}]}})
}

/// `db` lets `apps` in on 5432.
fn db_allows(apps: &[&str]) -> Value {
    let peers: Vec<Value> = apps.iter().map(|a| json!({"matchLabels": {"app": a}})).collect();
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "db-allow", "namespace": "lab"},
        "spec": {"endpointSelector": {"matchLabels": {"app": "db"}},
            "ingress": [{"fromEndpoints": peers, "toPorts": [{"ports": [{"port": "5432", "protocol": "TCP"}]}]}]}})
}

impl Scene {
    fn new(agent: Option<Agent>) -> Option<Self> {
        let mut agent = agent?;
        let node = agent.lab.node();
        let listener = agent.lab.inside(&node, || TcpListener::bind("127.0.0.1:0")).unwrap();
        let api = Server::on(listener);
        api.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lab"}}));
        for p in agent.lab.pods() {
            api.apply(pod(p, &json!({"app": p.name})));
        }
        agent.follow(&api.kubeconfig());
        Some(Self { agent, api })
    }

    fn attached(&self, wanted: usize) -> Value {
        self.agent.wait(&format!("{wanted} attached pods"), |v| {
            v["endpoints"].as_array().is_some_and(|e| e.len() == wanted) && v["healthy"] == true
        })
    }

    fn pod(&self, name: &str) -> LabPod {
        self.agent.lab.pods().iter().find(|p| p.name == name).unwrap().clone()
    }

    fn db_follows_its_policy(&self) {
        let agent = &self.agent;
        for at in [Agent::at, Agent::at6] {
            assert!(agent.reaches("api", at(agent, "db", 5432)));
            assert!(!agent.reaches("web", at(agent, "db", 5432)));
            assert!(!agent.reaches("api", at(agent, "db", 5433)));
        }
    }
}

#[test]
fn routed_pods_are_found_by_their_routes() {
    let Some(mut scene) = Scene::new(Agent::new("kroutes", &["web", "api", "db"])) else { return };
    scene.api.apply(db_allows(&["api"]));
    scene.agent.start();
    let v = scene.attached(3);
    assert_eq!(v["endpoints"][0]["name"], "lab/api");
    assert_eq!(v["endpoints"][0]["interface"], Lab::interface("api"));
    let _servers = (scene.agent.serve("db", 5432), scene.agent.serve("db", 5433));
    scene.db_follows_its_policy();
    scene.api.apply(db_allows(&["api", "web"]));
    scene.agent.generation(v["generation"].as_u64().unwrap() + 1);
    assert!(scene.agent.reaches("web", scene.agent.at("db", 5432)));
}

#[test]
fn bridged_pods_are_found_by_neighbours_and_ports() {
    let Some(mut scene) = Scene::new(Agent::bridged("kbridge", &["web", "api", "db"])) else { return };
    scene.api.apply(db_allows(&["api"]));
    scene.agent.start();
    let v = scene.attached(3);
    assert_eq!(v["endpoints"][2]["interface"], Lab::interface("web"));
    let _servers = (scene.agent.serve("db", 5432), scene.agent.serve("db", 5433));
    scene.db_follows_its_policy();
}

#[test]
fn pods_come_go_and_take_each_others_addresses() {
    let Some(mut scene) = Scene::new(Agent::new("kchurn", &["web", "api", "db"])) else { return };
    scene.api.apply(db_allows(&["api"]));
    scene.agent.start();
    scene.attached(3);
    let _servers = scene.agent.serve("db", 5432);
    let to = scene.agent.at("db", 5432);
    assert!(scene.agent.reaches("api", to) && !scene.agent.reaches("web", to));
    // A pod on the host's network, one that is done and one elsewhere are no pods of this node.
    let mut host = pod(&LabPod { name: "host".into(), ..scene.pod("web") }, &json!({"app": "api"}));
    host["spec"]["hostNetwork"] = json!(true);
    let mut done = pod(&LabPod { name: "done".into(), ..scene.pod("web") }, &json!({"app": "api"}));
    done["status"]["phase"] = json!("Succeeded");
    scene.api.apply(host);
    scene.api.apply(done);
    // The pod `api` is deleted, its interface and its address go to a pod with other labels.
    let api = scene.pod("api");
    scene.api.delete("Pod", "lab", "api");
    scene.agent.lab.remove_pod(&api).unwrap();
    scene.attached(2);
    scene.agent.lab.make_pod(&api).unwrap();
    scene.api.apply(pod(&api, &json!({"app": "other"})));
    scene.attached(3);
    assert!(!scene.agent.reaches("api", to), "who has the address now is somebody else");
    assert!(!scene.agent.reaches("web", to));
    // A pod that is being stopped still has its address in the API server when another already has it.
    let mut going = pod(&LabPod { name: "zz-going".into(), ..api.clone() }, &json!({"app": "api"}));
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    scene.api.apply(going);
    scene.api.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mark"}}));
    std::thread::sleep(std::time::Duration::from_millis(700));
    scene.attached(3);
    assert!(!scene.agent.reaches("api", to), "the one that is being stopped has no claim to it");
    // The labels are those of the API server.
    scene.api.apply(pod(&api, &json!({"app": "api"})));
    let agent = &scene.agent;
    agent.wait("the new labels", |_| agent.reaches("api", to));
}

#[test]
fn a_pod_without_an_interface_is_said_and_found_when_it_comes() {
    let Some(mut scene) = Scene::new(Agent::new("kmissing", &["api", "db"])) else { return };
    scene.api.apply(db_allows(&["api"]));
    let late =
        LabPod { name: "late".into(), v4: [10, 77, 0, 99].into(), v6: [0xfd77, 0, 0, 0, 0, 0, 0, 99].into() };
    scene.api.apply(pod(&late, &json!({"app": "db"})));
    scene.agent.start();
    let v = scene.agent.wait("a problem", |v| v["endpoints"].as_array().is_some_and(|e| e.len() == 2));
    let said = v["problems"][0].as_str().unwrap().to_owned();
    assert!(
        said.starts_with("no policy is enforced for pod lab/late: its interface was not found"),
        "{said}"
    );
    scene.agent.lab.add_pod(late).unwrap();
    scene.attached(3);
    let _servers = scene.agent.serve("late", 5432);
    assert!(scene.agent.reaches("api", scene.agent.at("late", 5432)));
    assert!(!scene.agent.reaches("db", scene.agent.at("late", 5432)));
}

#[test]
fn a_pod_that_the_api_server_has_forgotten_gets_nothing_through() {
    let Some(mut scene) = Scene::new(Agent::new("kforced", &["web", "db"])) else { return };
    scene.api.apply(db_allows(&["api"]));
    scene.agent.start();
    scene.attached(2);
    let _servers = scene.agent.serve("web", 80);
    let to = scene.agent.at("web", 80);
    assert!(scene.agent.reaches("db", to));
    scene.api.delete("Pod", "lab", "web");
    scene.attached(1);
    assert!(!scene.agent.reaches("db", to), "its processes may still run, and nobody knows its policy");
}
