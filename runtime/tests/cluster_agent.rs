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
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
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

/// The plugin, as a container runtime calls it after another has made the pod's interface.
fn plugin(scene: &Scene, command: &str, pod: &LabPod, wait: u64) -> Child {
    let lab = &scene.agent.lab;
    let netns = format!("/run/netns/{}", lab.namespace(&pod.name));
    let input = json!({"cniVersion": "1.0.0", "name": "n", "type": "portcullis-cni", "wait": wait,
        "state": scene.agent.state(), "prevResult": result_before(pod, &netns)});
    let mut child = lab
        .on_node(Path::new(env!("CARGO_BIN_EXE_portcullis-cni")), &[])
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", "c1")
        .env("CNI_NETNS", &netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/opt/cni/bin")
        .env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=lab;K8S_POD_NAME={}", pod.name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    child
}

fn result_before(pod: &LabPod, netns: &str) -> Value {
    json!({"cniVersion": "1.0.0",
        "interfaces": [{"name": Lab::interface(&pod.name)}, {"name": "eth0", "sandbox": netns}],
        "ips": [{"address": format!("{}/32", pod.v4), "interface": 1}, {"address": format!("{}/128", pod.v6), "interface": 1}]})
}

fn said(child: Child) -> (bool, Value) {
    let out = child.wait_with_output().unwrap();
    (out.status.success(), serde_json::from_slice(&out.stdout).unwrap_or_default())
}

#[test]
fn the_plugin_returns_once_a_pods_policy_is_attached() {
    let Some(mut scene) = Scene::new(Agent::new("kplugin", &["web", "db"])) else { return };
    scene.api.apply(db_allows(&["api"]));
    scene.agent.start();
    scene.attached(2);
    let late =
        LabPod { name: "late".into(), v4: [10, 77, 0, 98].into(), v6: [0xfd77, 0, 0, 0, 0, 0, 0, 98].into() };
    // The kubelet makes the pod's network before anybody knows its address.
    let mut early = pod(&late, &json!({"app": "db"}));
    early["status"] = json!({"phase": "Pending"});
    scene.agent.lab.add_pod(late.clone()).unwrap();
    // Nobody knows the pod: the plugin waits, and says so.
    let (done, v) = said(plugin(&scene, "ADD", &late, 1));
    assert!(!done && v["code"] == 11 && v["msg"].as_str().unwrap().contains("within 1 s"), "{v}");
    let waiting = plugin(&scene, "ADD", &late, 20);
    scene.api.apply(early);
    let (done, v) = said(waiting);
    assert!(done, "{v}");
    assert_eq!(v, result_before(&late, &format!("/run/netns/{}", scene.agent.lab.namespace("late"))));
    // From the first packet on: nothing of the status had been waited for.
    let _servers = scene.agent.serve("late", 5432);
    assert!(!scene.agent.reaches("web", scene.agent.at("late", 5432)));
    assert!(said(plugin(&scene, "CHECK", &late, 1)).0);
    // The API server learns its address, the policy is another, and then the pod is removed.
    scene.api.apply(pod(&late, &json!({"app": "db"})));
    scene.api.apply(db_allows(&["web"]));
    let agent = &scene.agent;
    agent.wait("the policy", |_| agent.reaches("web", agent.at("late", 5432)));
    let (done, v) = said(plugin(&scene, "DEL", &late, 1));
    assert!(done && v.is_null(), "{v}");
    scene.api.delete("Pod", "lab", "late");
    scene.attached(2);
    assert!(!said(plugin(&scene, "CHECK", &late, 1)).0);
}

#[test]
fn an_api_server_that_was_away_is_caught_up_with() {
    let Some(mut scene) = Scene::new(Agent::new("kaway", &["web", "api", "db"])) else { return };
    scene.api.apply(db_allows(&["api"]));
    scene.agent.start();
    scene.attached(3);
    let _servers = scene.agent.serve("db", 5432);
    let to = scene.agent.at("db", 5432);
    assert!(scene.agent.reaches("api", to) && !scene.agent.reaches("web", to));
    let generation = scene.agent.status()["generation"].as_u64().unwrap();
    scene.api.faults(|f| f.down = true);
    scene.api.cut();
    let away = Duration::from_secs(seconds("PORTCULLIS_AWAY", 20));
    let begun = Instant::now();
    // While it is away everything stays, and is said; policies, labels and addresses change behind it.
    scene
        .agent
        .wait("what is stale", |v| v["problems"].to_string().contains("as they were when last heard of"));
    let api = scene.pod("api");
    let mut later = false;
    while begun.elapsed() < away {
        assert!(scene.agent.reaches("api", to) && !scene.agent.reaches("web", to));
        assert_eq!(scene.agent.status()["generation"].as_u64(), Some(generation));
        if !later && begun.elapsed() > away / 2 {
            later = true;
            scene.api.apply(db_allows(&["web"]));
            scene.api.delete("Pod", "lab", "api");
            let mut taken = pod(&api, &json!({"app": "other"}));
            taken["metadata"]["name"] = json!("taken");
            scene.api.apply(taken);
            scene.api.compact();
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    scene.api.faults(|f| f.down = false);
    // A wait has grown to half a minute at most. Until then the old generation, then the new one, and no other.
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let (web, api) = (scene.agent.reaches("web", to), scene.agent.reaches("api", to));
        if web && !api {
            break;
        }
        assert!(Instant::now() < deadline, "it was not caught up with: {}", scene.agent.log());
    }
    while scene.agent.status()["healthy"] != true {
        assert!(
            Instant::now() < deadline + Duration::from_secs(30),
            "something stays stale: {}",
            scene.agent.log()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let names: Vec<Value> =
        scene.agent.status()["endpoints"].as_array().unwrap().iter().map(|e| e["name"].clone()).collect();
    assert!(names.contains(&json!("lab/taken")) && !names.contains(&json!("lab/api")), "{names:?}");
}

fn seconds(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|t| t.parse().ok()).unwrap_or(otherwise)
}
