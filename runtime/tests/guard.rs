//! Changes of policy that wait, and what a node tells its cluster: a real agent, real packets, and an API server of our
//! own in the node's namespace. Needs root and programs; leaves itself out elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the server is shared by several tests")]

#[path = "../cluster/tests/support/server.rs"]
mod server;
mod support;

use serde_json::{Value, json};
use server::Server;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::agent::Agent;

/// `db` accepts TCP 5432 from `api`.
const DB: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: db, namespace: lab}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: api}}]
    toPorts: [{ports: [{port: \"5432\", protocol: TCP}]}]
";

/// The same from `web` as well.
fn open() -> String {
    DB.replace("[{matchLabels: {app: api}}]", "[{matchLabels: {app: api}}, {matchLabels: {app: web}}]")
}

fn policy(rule: &Value) -> Value {
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "db", "namespace": "lab"},
        "spec": {"endpointSelector": {"matchLabels": {"app": "db"}}, "ingress": [rule]}})
}

fn from(apps: &[&str]) -> Value {
    let peers: Vec<Value> = apps.iter().map(|a| json!({"matchLabels": {"app": a}})).collect();
    policy(&json!({"fromEndpoints": peers, "toPorts": [{"ports": [{"port": "5432", "protocol": "TCP"}]}]}))
}

/// An API server in the node's namespace, with its node, and a configuration that leads there.
fn cluster(agent: &mut Agent, lines: &str) -> Server {
    let server = agent.lab.inside(&agent.lab.node(), || Ok(Server::start())).unwrap();
    fs::write(agent.folder.join("kubeconfig"), server.kubeconfig()).unwrap();
    server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lab"}}));
    server.apply(json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "test", "labels": {"group": "blue"}}}));
    agent.configure(&format!(
        "kubernetes: {{kubeconfig: kubeconfig, status: {{groupLabel: group}}}}\n{lines}"
    ));
    server
}

fn until(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !is() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn own_status(server: &Server) -> Value {
    server.objects("NodeStatus").first().map(|o| o["status"].clone()).unwrap_or_default()
}

fn condition(status: &Value, kind: &str) -> String {
    let all = status["conditions"].as_array().into_iter().flatten();
    all.filter(|c| c["type"] == kind).map(|c| c["status"].as_str().unwrap().to_owned()).collect()
}

fn fleet(agent: &Agent, args: &[&str]) -> String {
    let kubeconfig = agent.folder.join("kubeconfig");
    let mut all = vec!["fleet"];
    all.extend(args);
    all.extend(["--kubeconfig", kubeconfig.to_str().unwrap()]);
    let out = agent.agent(&all).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn what_would_deny_a_flow_that_passed_waits_for_approval_also_over_a_restart() {
    let Some(mut agent) = Agent::new("hold", &["web", "api", "db"]) else { return };
    agent.configure("guard: {holdOnDenied: true}\n");
    agent.policy("db.yaml", &open());
    agent.start();
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    let to = agent.at("db", 5432);
    assert!(agent.reaches("web", to) && agent.reaches("api", to));
    agent.policy("db.yaml", DB);
    let v = agent.wait("it is held", |v| !v["waits"].is_null());
    let denied = v["waits"]["denied"].to_string();
    assert!(
        denied.contains("lab/web") && denied.contains("lab/db TCP 5432") && denied.contains("db.yaml"),
        "{denied}"
    );
    assert!(!denied.contains("lab/api"), "{denied}");
    assert_eq!(v["waits"]["changes"][0].as_str().unwrap().split(' ').next(), Some("changed"));
    assert!(agent.reaches("web", to), "the policies before it stay in use");
    let digest = v["waits"]["policySet"].as_str().unwrap().to_owned();
    assert_eq!(v["givenPolicySet"], digest.as_str());
    assert_ne!(v["policySet"], v["givenPolicySet"]);
    // A restart, even one that is no farewell, lets nothing in; nor do changes of the rest.
    for _ in 0..2 {
        agent.kill();
        agent.start();
        let v = agent.wait("it is still held", |v| v["givenPolicySet"] == digest.as_str());
        assert_eq!(v["waits"]["policySet"], digest.as_str());
        assert!(agent.reaches("web", to));
    }
    agent.write_config(&|pod| {
        if pod == "api" { "{app: elsewhere}".to_owned() } else { format!("{{app: {pod}}}") }
    });
    until("a pod's label counts while policies wait", || !agent.reaches("api", to));
    assert!(agent.reaches("web", to));
    assert!(
        agent.ask(&json!({"ask": "approve", "policySet": "ffffffffffffffff"})).unwrap()["error"].is_string()
    );
    let said =
        agent.agent(&["approve", &digest[..8], "--state", agent.state().to_str().unwrap()]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let v = agent.wait("it is in use", |v| v["policySet"] == digest.as_str());
    assert!(v["waits"].is_null());
    assert!(!agent.reaches("web", to));
    // Approved is approved: over a restart, too.
    agent.kill();
    agent.start();
    agent.wait("it is in use", |v| v["policySet"] == digest.as_str());
    assert!(!agent.reaches("web", to));
}

#[test]
fn what_denies_nothing_that_passed_goes_on_and_what_is_taken_back_waits_no_more() {
    let Some(mut agent) = Agent::new("pass", &["web", "api", "db"]) else { return };
    agent.policy("db.yaml", &open());
    agent.start_with(&["--hold-on-denied"]);
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    let to = agent.at("db", 5432);
    assert!(agent.reaches("api", to));
    agent.policy("db.yaml", DB);
    agent.generation(2);
    assert!(!agent.reaches("web", to), "web had not been seen");
    agent.policy("db.yaml", &DB.replace("app: api}}", "app: nobody}}"));
    agent.wait("it is held", |v| !v["waits"].is_null());
    assert!(agent.reaches("api", to));
    agent.policy("db.yaml", DB);
    let v = agent.wait("nothing is held", |v| v["waits"].is_null() && v["givenPolicySet"] == v["policySet"]);
    assert_eq!(v["healthy"], true, "{v}");
    assert!(agent.reaches("api", to));
}

#[test]
fn flows_that_ended_before_a_restart_are_remembered() {
    let Some(mut agent) = Agent::new("memory", &["web", "db"]) else { return };
    agent.configure("guard: {holdOnDenied: true}\n");
    agent.policy("db.yaml", &open());
    agent.start();
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    assert!(agent.reaches("web", agent.at("db", 5432)));
    until("the event", || {
        let rules = agent.ask(&json!({"ask": "rules"})).unwrap_or_default();
        rules["rules"].as_array().into_iter().flatten().any(|r| r["hits"].as_u64() > Some(0))
    });
    Command::new("kill").arg(agent.pid().unwrap().to_string()).status().unwrap();
    until("what it remembers", || {
        fs::read_to_string(agent.state().join("passed.json")).is_ok_and(|t| t.contains("5432"))
    });
    agent.kill();
    // The kernel forgets what it tracked, too.
    let config = agent.config();
    assert!(
        agent.agent(&["detach", "--config", config.to_str().unwrap()]).output().unwrap().status.success()
    );
    agent.policy("db.yaml", DB);
    agent.start();
    let v = agent.wait("it is held", |v| !v["waits"].is_null());
    assert!(v["waits"]["denied"].to_string().contains("lab/web"), "{v}");
}

#[test]
fn a_machine_that_starts_anew_keeps_what_waits_waiting() {
    let Some(mut agent) = Agent::new("reboot", &["web", "db"]) else { return };
    agent.configure("guard: {canary: canary}\n");
    agent.policy("db.yaml", &open());
    agent.start();
    let first = agent.generation(1)["policySet"].clone();
    let _servers = agent.serve("db", 5432);
    agent.kill();
    // The kernel forgets everything, and the state folder stays; the policies change meanwhile.
    let config = agent.config();
    let mut stays = agent
        .agent(&["detach", "--stay", "--config", config.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(stays.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("detached from 2 interfaces"), "{line}");
    assert!(stays.try_wait().unwrap().is_none(), "it waits");
    Command::new("kill").arg(stays.id().to_string()).status().unwrap();
    assert!(stays.wait().unwrap().success());
    agent.policy("db.yaml", DB);
    agent.start();
    let v = agent.wait("a generation that is no earlier one", |v| v["generation"] == 2);
    assert_eq!(v["policySet"], first, "{v}");
    assert_eq!(v["waits"]["policySet"], v["givenPolicySet"]);
    assert!(agent.reaches("web", agent.at("db", 5432)));
}

#[test]
fn a_guard_whose_memory_is_damaged_lets_nothing_in() {
    let Some(mut agent) = Agent::new("damaged", &["web", "db"]) else { return };
    agent.configure("guard: {holdOnDenied: true}\n");
    agent.policy("db.yaml", &open());
    agent.start();
    agent.generation(1);
    agent.kill();
    fs::write(agent.state().join("guard.json"), "{\"held\": ").unwrap();
    agent.policy("db.yaml", DB);
    agent.start();
    let v = agent.wait("it is held", |v| !v["waits"].is_null());
    assert!(v["waits"]["why"].as_str().unwrap().contains("not known"), "{v}");
}

#[test]
fn a_node_tells_its_cluster_what_it_enforces_and_what_it_cannot() {
    let Some(mut agent) = Agent::new("tell", &["web", "api", "db"]) else { return };
    let server = cluster(&mut agent, "");
    server.apply(from(&["api"]));
    agent.start();
    agent.generation(1);
    until("its status", || condition(&own_status(&server), "Enforced") == "True");
    let status = own_status(&server);
    assert_eq!(
        (&status["group"], &status["generation"], &status["policyCount"]),
        (&json!("blue"), &json!(1), &json!(1))
    );
    assert_eq!(status["policies"], json!([]), "what is as it should be is not listed");
    // A rule for a proxy: it is not enforced as written.
    let mut l7 = from(&["api"]);
    l7["spec"]["ingress"][0]["toPorts"][0]["rules"] = json!({"http": [{"method": "GET"}]});
    server.apply(l7);
    until("the rule", || condition(&own_status(&server), "AsWritten") == "False");
    let one = own_status(&server)["policies"][0].clone();
    assert_eq!((&one["name"], &one["compiled"]), (&json!("db"), &json!(true)));
    assert!(one["diagnostics"][0]["place"].as_str().unwrap().starts_with("spec.ingress[0]"), "{one}");
    until("an event", || server.objects("Event").iter().any(|e| e["reason"] == "NotEnforcedAsWritten"));
    // One that Cilium would refuse holds everything back, and says where.
    server.apply(policy(&json!({"fromEndpoints": [{}], "fromEntities": ["all"]})));
    until("the refusal", || condition(&own_status(&server), "Compiled") == "False");
    let status = own_status(&server);
    assert_eq!(condition(&status, "Enforced"), "False");
    let refused =
        status["policies"].as_array().unwrap().iter().find(|p| p["compiled"] == false).unwrap().clone();
    assert!(refused["diagnostics"][0]["place"].as_str().unwrap().starts_with("spec"), "{refused}");
    until("its event", || server.objects("Event").iter().any(|e| e["reason"] == "Refused"));
    for write in server.writes() {
        assert!(write.2 < 300, "{write:?}");
    }
    let said = fleet(&agent, &["status"]);
    assert!(
        said.contains("REFUSED: CiliumNetworkPolicy lab/db (1 nodes)") && said.contains("group blue"),
        "{said}"
    );
    shape(&status);
}

/// What is written has the shape of the definition that is shipped, and no field beside it.
fn shape(status: &Value) {
    fn close(v: &mut Value) {
        let Some(map) = v.as_object_mut() else { return };
        if map.contains_key("properties") {
            map.insert("additionalProperties".into(), json!(false));
        }
        if map.get("nullable") == Some(&json!(true)) {
            let kind = map["type"].clone();
            map.insert("type".into(), json!([kind, "null"]));
        }
        for (_, part) in map.iter_mut() {
            match part {
                Value::Object(_) => close(part),
                Value::Array(all) => all.iter_mut().for_each(close),
                _ => {}
            }
        }
    }
    let text = include_str!("../deploy/portcullis.yaml");
    let crd = text.split("\n---\n").find(|d| d.contains("name: nodestatuses.portcullis.dev")).unwrap();
    let crd: Value = serde_saphyr::from_str(crd).unwrap();
    let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"].clone();
    close(&mut schema);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(status).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{status:#}");
}

#[test]
fn nodes_that_are_no_canaries_wait_for_the_fleets_approval_and_all_go_back_at_once() {
    let Some(mut agent) = Agent::new("canary", &["web", "api", "db"]) else { return };
    let server = cluster(&mut agent, "guard: {canary: canary}\n");
    server.apply(from(&["api", "web"]));
    agent.start();
    let first = agent.generation(1)["policySet"].as_str().unwrap().to_owned();
    let _servers = agent.serve("db", 5432);
    let to = agent.at("db", 5432);
    assert!(agent.reaches("web", to));
    server.apply(from(&["api"]));
    let v = agent.wait("it is held", |v| !v["waits"].is_null());
    let second = v["waits"]["policySet"].as_str().unwrap().to_owned();
    assert!(agent.reaches("web", to));
    until("the cluster knows", || own_status(&server)["held"]["policySet"] == second.as_str());
    shape(&own_status(&server));
    assert!(fleet(&agent, &["status"]).contains(&format!("fleet approve {second}")));
    fleet(&agent, &["approve"]);
    agent.wait("approved", |v| v["policySet"] == second.as_str() && v["waits"].is_null());
    assert!(!agent.reaches("web", to));
    // One command, and every node has the policies of before.
    until("the cluster knows", || own_status(&server)["history"] == json!([second, first]));
    let said = fleet(&agent, &["rollback"]);
    assert!(said.contains(&first) && said.contains("1 of 1 nodes"), "{said}");
    agent.wait("all go back", |v| v["policySet"] == first.as_str());
    assert!(agent.reaches("web", to));
    // Over a restart with the API server away nothing else is let in.
    agent.kill();
    server.faults(|f| f.down = true);
    server.cut();
    agent.start();
    agent.wait("nothing is known", |v| v["healthy"] == false && v["policySet"] == first.as_str());
    assert!(agent.reaches("web", to));
    server.faults(|f| f.down = false);
    let v = agent.wait("the API server is back", |v| v["givenPolicySet"] == second.as_str());
    assert_eq!(v["policySet"], first.as_str());
    fleet(&agent, &["resume"]);
    agent.wait("it counts again", |v| v["policySet"] == second.as_str());
    // A canary takes what is new at once.
    server.apply(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "test", "labels": {"canary": ""}}}),
    );
    server.apply(from(&["web"]));
    agent.wait("a canary does not wait", |v| {
        v["waits"].is_null() && v["policySet"] == v["givenPolicySet"] && v["policySet"] != second.as_str()
    });
    until("it is in use", || agent.reaches("web", to) && !agent.reaches("api", to));
}
