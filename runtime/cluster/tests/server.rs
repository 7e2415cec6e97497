//! The test server says what a real API server said.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the server is shared by several tests")]

#[path = "support/server.rs"]
mod server;

use serde_json::{Value, json};
use server::Server;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// One answer: status, headers in lower case, and what of the body came within a moment.
fn get(server: &Server, target: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let text = String::from_utf8(all).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

/// Events of a chunked body.
fn events(body: &str) -> Vec<Value> {
    body.lines().filter(|l| l.starts_with('{')).map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}, "spec": {}})
}

fn filled() -> Server {
    let server = Server::start();
    for name in ["a", "b", "c"] {
        server.apply(pod(name));
    }
    server.apply(json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "p", "namespace": "shop"}, "spec": {}}));
    server
}

fn facts() -> Value {
    serde_json::from_str(include_str!("support/facts.json")).unwrap()
}

fn keys(v: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = v.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn lists_and_pages_have_the_shape_of_recorded_ones() {
    let server = filled();
    let facts = facts();
    let mut token = String::new();
    for name in ["list /api/v1/pods", "list /apis/cilium.io/v2/ciliumnetworkpolicies", "page-1", "page-2"] {
        let fact = &facts[name];
        let target = fact["request"].as_str().unwrap();
        let target = if name == "page-2" { format!("{target}&continue={token}") } else { target.to_owned() };
        let (status, head, body) = get(&server, &target);
        assert_eq!(u64::from(status), fact["status"], "{name}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json!(keys(&body)), fact["top"], "{name}");
        assert_eq!(json!(keys(&body["metadata"])), fact["metadata"], "{name}");
        assert_eq!(json!(body["items"][0].get("kind").is_some()), fact["item_has_kind"], "{name}");
        token = body["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    }
}

#[test]
fn an_absent_kind_and_a_wrong_token_are_answered_as_recorded() {
    let server = filled();
    let facts = facts();
    let (status, head, body) = get(&server, facts["absent"]["request"].as_str().unwrap());
    assert_eq!(
        (json!(status), json!(body)),
        (facts["absent"]["status"].clone(), facts["absent"]["body"].clone())
    );
    assert!(head.contains("text/plain"));
    server.faults(|f| f.unauthorized = true);
    let (status, _, body) = get(&server, "/api/v1/pods");
    assert_eq!(json!(status), facts["unauthorized"]["status"]);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), facts["unauthorized"]["body"]);
}

#[test]
fn watches_streaming_lists_and_expiry_are_as_recorded() {
    let server = filled();
    let facts = facts();
    let streaming = "/api/v1/pods?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&\
                     resourceVersionMatch=NotOlderThan&resourceVersion=0";
    let (_, head, body) = get(&server, streaming);
    assert!(head.contains("transfer-encoding: chunked") && facts["watch"]["Transfer-Encoding"] == "chunked");
    let all = events(&body);
    assert_eq!(all.len(), 4);
    assert!(all[..3].iter().all(|e| e["type"] == "ADDED" && e["object"]["kind"] == "Pod"));
    let shape = |mut e: Value| {
        e["object"]["metadata"]["resourceVersion"] = json!("");
        e["object"].as_object_mut().unwrap().retain(|k, _| !["spec", "status"].contains(&k.as_str()));
        let meta = e["object"]["metadata"].as_object_mut().unwrap();
        // Built-in kinds say that they have no time of creation.
        meta.retain(|k, _| k != "creationTimestamp");
        e
    };
    assert_eq!(shape(all[3].clone()), shape(facts["initial"].clone()));
    server.compact();
    let (status, _, body) = get(&server, "/api/v1/pods?watch=true&resourceVersion=1");
    assert_eq!(status, 200);
    let mut error = events(&body).remove(0);
    assert!(error["object"]["message"].as_str().unwrap().starts_with("too old resource version: 1 ("));
    error["object"]["message"] = facts["expired"]["object"]["message"].clone();
    assert_eq!(error, facts["expired"]);
}
