//! Flows of a real agent through the Observer API: what the kernel drops is shown with the policy, the file
//! and the line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use serde_json::Value;
use std::process::Command;
use support::agent::Agent;

const DB: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db-allow-api, namespace: lab}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
    ports: [{port: 5432}]
";

fn observe(agent: &Agent, args: &[&str]) -> String {
    let state = agent.state();
    let out = Command::new(env!("CARGO_BIN_EXE_portcullis-agent"))
        .args(["observe", "--state", state.to_str().unwrap()])
        .args(args)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_default_deny_is_observed_with_policy_file_and_line() {
    let Some(mut agent) = Agent::new("flows", &["web", "api", "db"]) else { return };
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    assert!(agent.reaches("api", agent.at("db", 5432)));
    assert!(!agent.reaches("web", agent.at("db", 5432)));
    let text = observe(&agent, &["--verdict", "DROPPED", "--to-pod", "lab/db"]);
    assert!(text.contains("lab/web:") && text.contains("-> lab/db:5432"), "{text}");
    assert!(
        text.contains(
            "Policy denied DROPPED (TCP Flags: SYN; default deny by NetworkPolicy lab/db-allow-api"
        )
    );
    assert!(text.contains("db.yaml:6:3"), "{text}");
    let json = observe(&agent, &["-o", "jsonpb", "--last", "1", "--pod", "lab/web"]);
    let v: Value = serde_json::from_str(json.trim()).unwrap();
    let f = &v["flow"];
    assert_eq!(f["verdict"], "DROPPED");
    assert_eq!(f["drop_reason_desc"], "POLICY_DENIED");
    assert_eq!(f["traffic_direction"], "INGRESS");
    assert_eq!(f["ingress_denied_by"][0]["name"], "db-allow-api");
    assert_eq!(f["ingress_denied_by"][0]["namespace"], "lab");
    assert_eq!(f["destination"]["pod_name"], "db");
    assert_eq!(f["source"]["labels"][0], "k8s:app=web");
    assert_eq!(observe(&agent, &["--verdict", "DROPPED", "--from-pod", "lab/api"]), "", "api is allowed");
    let metrics = agent.ask(&serde_json::json!({"ask": "metrics"})).unwrap();
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("hubble_drop_total{protocol=\"TCP\",reason=\"POLICY_DENIED\"}"), "{metrics}");
    let rules = agent.ask(&serde_json::json!({"ask": "rules"})).unwrap();
    let list = rules["rules"].as_array().unwrap();
    let hits = |what: &str| {
        let of = list.iter().filter(|r| r["rule"].as_str().unwrap().starts_with(what));
        of.map(|r| r["hits"].as_u64().unwrap()).sum::<u64>()
    };
    assert!(hits("default deny by NetworkPolicy lab/db-allow-api") > 0, "{rules}");
    assert_eq!(hits("allow by NetworkPolicy lab/db-allow-api"), 0, "allowed flows are not reported here");
}

#[test]
fn a_policy_in_audit_lets_through_and_is_reported() {
    let Some(mut agent) = Agent::new("audit", &["web", "db"]) else { return };
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    assert!(!agent.reaches("web", agent.at("db", 5432)));
    // By the policy's annotation.
    let annotated =
        "{name: db-allow-api, namespace: lab, annotations: {policy.portcullis.dev/audit: \"true\"}}";
    agent.policy("db.yaml", &DB.replace("{name: db-allow-api, namespace: lab}", annotated));
    agent.generation(2);
    assert!(agent.reaches("web", agent.at("db", 5432)));
    let text = observe(&agent, &["--verdict", "AUDIT", "--to-pod", "lab/db"]);
    assert!(
        text.contains("AUDITED") && text.contains("default deny by NetworkPolicy lab/db-allow-api"),
        "{text}"
    );
    assert!(text.contains("db.yaml:6:3"), "{text}");
    agent.policy("db.yaml", DB);
    agent.generation(3);
    assert!(!agent.reaches("web", agent.at("db", 5432)));
    // By its namespace.
    agent.configure("auditNamespaces: [lab]\n");
    agent.generation(4);
    assert!(agent.reaches("web", agent.at("db", 5432)));
}
