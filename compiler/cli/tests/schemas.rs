//! What the commands that prove write as JSON, against the schemas that describe it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use jsonschema::{Registry, Validator};
use serde_json::Value;
use std::path::Path;
use support::{Run, Sandbox, cluster, policy, z3};

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/schema/{name}.v1.schema.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Makes a schema refuse fields that it does not describe.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("type").is_some_and(|t| t == "object") && map.contains_key("properties") {
                map.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn validator(name: &str) -> Validator {
    let (mut common, mut schema) = (read("common"), read(name));
    close(&mut common);
    close(&mut schema);
    let id = common["$id"].as_str().unwrap().to_owned();
    let registry = Registry::new().add(&id, common).unwrap().prepare().unwrap();
    jsonschema::options().with_registry(&registry).build(&schema).unwrap()
}

/// The document of a run, which its schema describes and which begins as every document does.
#[track_caller]
fn document(name: &str, run: &Run) -> Value {
    assert!(
        run.out.starts_with("{\n  \"schema\": \"portcullis.dev/") && run.out.ends_with("}\n"),
        "{}",
        run.out
    );
    let value: Value = serde_json::from_str(&run.out).unwrap();
    let v = validator(name);
    let errors: Vec<String> = v.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{}\n{}", errors.join("\n"), run.out);
    value
}

fn shop() -> Sandbox {
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front")).write("c.yaml", cluster(&["web", "front", "db"]));
    s
}

const JSON: [&str; 2] = ["--format", "json"];

#[test]
fn a_suggest_document_is_what_its_schema_says() {
    let s = shop();
    let pod = |name: &str| {
        serde_json::json!({"namespace": "shop", "pod_name": format!("{name}-1"), "workloads": [{"name": name}],
                           "labels": [format!("k8s:app={name}")]})
    };
    let record = |from: Value, port: u16| {
        serde_json::json!({"flow": {"verdict": "FORWARDED", "Type": "L3_L4", "is_reply": false, "source": from, "destination": pod("web"),
            "IP": {"source": "203.0.113.7", "destination": "10.0.0.2"},
            "l4": {"TCP": {"source_port": 40_000, "destination_port": port}}}})
    };
    let world = serde_json::json!({"identity": 2, "labels": ["reserved:world"]});
    let lines = [record(pod("db"), 8080), record(world, 443), record(pod("db"), 0)];
    s.write("f", lines.map(|l| l.to_string()).join("\n")).write("none/a.yaml", "");
    let suggest = ["suggest", "f", "--base", "none", "--candidate", "p", "--cluster", "c.yaml"];
    let value = document("suggest", &s.run(&[&suggest[..], &JSON].concat()).ends(1));
    assert_eq!((&value["flows"]["chosen"], &value["flows"]["kept"]), (&3.into(), &2.into()));
    assert_eq!(value["notKept"][0]["why"], "no-words");
    assert_eq!(value["files"][0]["path"], "p/a.yaml");
    let deny = "  ingressDeny:\n  - toPorts:\n    - ports:\n      - port: \"8080\"\n";
    s.write("p/a.yaml", policy("a", "web", "front") + deny);
    let value = document("suggest", &s.run(&[&suggest[..], &JSON].concat()).ends(1));
    let denied = value["notKept"].as_array().unwrap().iter().find(|l| l["why"] == "denied-by-rule").unwrap();
    assert_eq!(denied["rules"][0]["policy"]["name"], "a");
    let value = document("suggest", &s.run(&[&suggest[..], &JSON, &["--port", "1"]].concat()).ends(0));
    assert_eq!(value["additions"], serde_json::json!([]));
}

#[test]
fn a_compile_document_is_what_its_schema_says() {
    let s = shop();
    let compile = ["compile", "p", "--cluster", "c.yaml", "-o", "policy.img"];
    let run = s.run(&[&compile[..], &JSON].concat()).ends(0);
    let value = document("compile", &run);
    assert_eq!(value["bytes"], std::fs::metadata(s.path("policy.img")).unwrap().len());
    assert_eq!(value["counts"]["endpointGroups"], 3);
    assert!(value["verified"]["cells"].as_u64().unwrap() > 0);
    let run = s.run(&[&compile[..], &JSON, &["--no-verify"]].concat()).ends(0);
    let value = document("compile", &run);
    assert_eq!((&value["verified"], &value["policyMaps"]), (&Value::Null, &Value::Null));
    let run = s.run(&[&["compile", "p", "--cluster", "c.yaml", "--stats"][..], &JSON].concat()).ends(0);
    let value = document("compile", &run);
    assert_eq!((&value["image"], &value["policyMaps"]["endpoints"]), (&Value::Null, &6.into()));
    assert_eq!(value["policyMaps"]["maps"][1]["rules"][0]["policy"]["name"], "a");
}

#[test]
fn verify_documents_are_what_their_schema_says() {
    let s = shop();
    s.run(&["compile", "p", "--cluster", "c.yaml", "-o", "policy.img"]).ends(0);
    let verify = ["verify", "policy.img", "p", "--cluster", "c.yaml", "--format", "json"];
    let equal = document("verify", &s.run(&verify).ends(0));
    assert_eq!((&equal["equal"], &equal["symbolic"]), (&true.into(), &Value::Null));
    s.write("p/a.yaml", policy("a", "web", "db"));
    let differs = document("verify", &s.run(&verify).ends(1));
    assert!(!differs["exhaustive"]["differences"].as_array().unwrap().is_empty());
    if z3("documents of verify --symbolic").is_none() {
        return;
    }
    let symbolic = [&verify[..], &["--symbolic"]].concat();
    let differs = document("verify", &s.run(&symbolic).ends(1));
    assert_eq!(differs["symbolic"]["sides"][0]["state"], "differs");
    s.write("p/a.yaml", policy("a", "web", "front"));
    let equal = document("verify", &s.run(&symbolic).ends(0));
    assert_eq!(equal["symbolic"]["sides"][1]["state"], "proved");
}

#[test]
fn documents_of_prove_and_of_the_symbolic_diff_are_what_their_schemas_say() {
    if z3("documents of prove and diff --symbolic").is_none() {
        return;
    }
    let s = shop();
    s.write(
        "claims.yaml",
        "claims:\n  - {name: closed, deny: {to: {namespace: shop, labels: {app: web}}, ports: [8080]}}\n  \
         - {name: open, deny: {from: {entity: world}, to: {namespace: shop, labels: {app: web}}}}\n",
    );
    let run = s.run(&[&["prove", "claims.yaml", "p"][..], &JSON].concat()).ends(1);
    let value = document("prove", &run);
    assert_eq!(
        (&value["claims"][0]["state"], &value["claims"][1]["state"]),
        (&"refuted".into(), &"proved".into())
    );
    s.write("q/a.yaml", policy("a", "web", "db"));
    let run = s.run(&[&["diff", "--symbolic", "p", "q"][..], &JSON].concat()).ends(1);
    assert_eq!(document("symbolic-diff", &run)["denied"]["state"], "found");
    let run = s.run(&[&["diff", "--symbolic", "p", "p"][..], &JSON].concat()).ends(0);
    assert_eq!(document("symbolic-diff", &run)["allowed"]["state"], "none");
}

#[test]
fn documents_with_recordings_are_what_the_schema_says() {
    let s = shop();
    s.write("empty/none.yaml", "");
    let pod = |name: &str| {
        format!(
            "{{\"namespace\":\"shop\",\"pod_name\":\"{name}-1\",\"workloads\":[{{\"name\":\"{name}\"}}]}}"
        )
    };
    let flow = format!(
        "{{\"flow\":{{\"time\":\"2026-11-24T10:00:00Z\",\"verdict\":\"FORWARDED\",\"is_reply\":false,\"IP\":{{\"source\":\"10.1.0.1\",\
         \"destination\":\"10.1.0.2\"}},\"l4\":{{\"TCP\":{{\"source_port\":40000,\"destination_port\":8080}}}},\"source\":{},\
         \"destination\":{}}}}}\nnothing\n",
        pod("db"),
        pod("web")
    );
    s.write("flows", flow);
    let simulate = ["simulate", "flows", "--base", "empty", "--candidate", "p", "--cluster", "c.yaml"];
    let value = document("diff", &s.run(&[&simulate[..], &JSON].concat()).ends(1));
    assert_eq!(value["findings"][0]["traffic"]["pairs"][0]["from"], "shop/db");
    assert_eq!(value["recording"]["leftOut"][0]["count"], 1);
    let diff = ["diff", "empty", "p", "--cluster", "c.yaml", "--flows", "flows"];
    let value = document("diff", &s.run(&[&diff[..], &JSON].concat()).ends(1));
    assert_eq!(value["recording"]["observedOnly"], false);
    // The other formats say it, too.
    for format in ["markdown", "sarif", "github", "junit"] {
        let run = s.run(&[&simulate[..], &["--format", format]].concat()).ends(1);
        assert!(run.out.contains("shop/db → shop/web TCP 8080: 1"), "{format}: {}", run.out);
    }
}
