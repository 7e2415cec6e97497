//! What is shipped to run the agent: the chart renders to what an API server would take, the plain manifests are its
//! own, and rights are named once. Helm itself renders, as scripts/helm.sh fetches it; `PORTCULLIS_HELM` is the python
//! that has it, without which those tests leave themselves out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use portcullis_agent::config::Config;
use portcullis_agent::privileges;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn helm() -> Option<OsString> {
    let found = std::env::var_os("PORTCULLIS_HELM").filter(|p| !p.is_empty());
    if found.is_none() {
        eprintln!("left out: PORTCULLIS_HELM names no python with Helm (scripts/helm.sh prints one)");
    }
    found
}

/// Runs scripts/chart.py.
fn chart(python: &OsString, what: &str, input: &str) -> String {
    let mut child = Command::new(python)
        .args([root().join("scripts/chart.py").as_os_str(), what.as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

fn render(python: &OsString, values: &[Value]) -> Vec<Value> {
    let lines: Vec<String> = values.iter().map(Value::to_string).collect();
    chart(python, "render", &lines.join("\n")).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn documents(text: &str) -> Vec<Value> {
    let parts = text.split("\n---\n").filter(|p| p.lines().any(|l| !l.is_empty() && !l.starts_with('#')));
    parts.map(|p| serde_saphyr::from_str::<Value>(p).unwrap()).collect()
}

/// Every object that was rendered.
fn objects(rendered: &Value) -> Vec<Value> {
    let all = rendered["manifests"].as_object().unwrap_or_else(|| panic!("{rendered}"));
    let yaml = all.iter().filter(|(name, _)| name.rsplit('.').next() == Some("yaml"));
    yaml.flat_map(|(_, text)| documents(text.as_str().unwrap())).collect()
}

/// Reads an object as its type and writes it again: what the type does not know is lost, and found.
fn strict<T: DeserializeOwned + Serialize>(v: &Value) {
    let typed: T = serde_json::from_value(v.clone()).unwrap_or_else(|e| panic!("{e}: {v}"));
    let again = serde_json::to_value(typed).unwrap();
    assert_eq!(missing(v, &again, ""), Vec::<String>::new(), "fields that the API does not have");
}

fn missing(given: &Value, known: &Value, at: &str) -> Vec<String> {
    match (given, known) {
        (Value::Object(a), Value::Object(b)) => a
            .iter()
            .flat_map(|(k, v)| match b.get(k) {
                Some(other) => missing(v, other, &format!("{at}.{k}")),
                // Empty lists and maps are the same as none.
                None if *v == json!({}) || *v == json!([]) => Vec::new(),
                None => vec![format!("{at}.{k}")],
            })
            .collect(),
        (Value::Array(a), Value::Array(b)) => {
            a.iter().zip(b).flat_map(|(x, y)| missing(x, y, &format!("{at}[]"))).collect()
        }
        _ => Vec::new(),
    }
}

fn check(object: &Value) {
    match object["kind"].as_str().unwrap_or_default() {
        "Namespace" => strict::<Namespace>(object),
        "ServiceAccount" => strict::<ServiceAccount>(object),
        "ConfigMap" => {
            strict::<ConfigMap>(object);
            if let Some(text) = object["data"]["node.yaml"].as_str() {
                let config = Config::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
                assert!(config.kubernetes.is_some());
            }
        }
        "ClusterRole" => strict::<ClusterRole>(object),
        "ClusterRoleBinding" => strict::<ClusterRoleBinding>(object),
        "CustomResourceDefinition" => strict::<CustomResourceDefinition>(object),
        "DaemonSet" => strict::<DaemonSet>(object),
        "Deployment" => strict::<Deployment>(object),
        "ValidatingWebhookConfiguration" => strict::<ValidatingWebhookConfiguration>(object),
        "Service" => strict::<Service>(object),
        other => panic!("an object of kind {other} is not checked here: {object}"),
    }
}

fn named<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|o| o["kind"] == kind).collect()
}

fn words(v: &Value) -> BTreeSet<String> {
    v.as_array().into_iter().flatten().map(|w| w.as_str().unwrap().to_owned()).collect()
}

/// Rights by group and resource, and their verbs.
fn rights(role: &Value) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut out = BTreeMap::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                out.insert((group.clone(), resource), words(&rule["verbs"]));
            }
        }
    }
    out
}

fn plain() -> Vec<Value> {
    documents(&std::fs::read_to_string(root().join("runtime/deploy/portcullis.yaml")).unwrap())
}

#[test]
fn plain_manifests_are_what_an_api_server_takes() {
    let all = plain();
    all.iter().for_each(check);
    assert_eq!(named(&all, "DaemonSet").len(), 1);
    let mut seen = BTreeSet::new();
    for o in &all {
        let key = format!("{} {} {}", o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]);
        assert!(seen.insert(key.clone()), "{key} comes twice");
    }
}

#[test]
fn rights_on_the_node_are_those_that_the_agent_keeps() {
    let kept: BTreeSet<String> = privileges::kept().map(str::to_owned).collect();
    let all = plain();
    let context =
        &named(&all, "DaemonSet")[0]["spec"]["template"]["spec"]["containers"][0]["securityContext"];
    assert_eq!(words(&context["capabilities"]["add"]), kept);
    assert_eq!(words(&context["capabilities"]["drop"]), BTreeSet::from(["ALL".to_owned()]));
    assert_eq!(context["privileged"], false);
    let unit = include_str!("../deploy/systemd/portcullis-agent.service");
    let set = unit.lines().find_map(|l| l.strip_prefix("CapabilityBoundingSet=")).unwrap();
    assert_eq!(
        set.split(' ').map(|c| c.trim_start_matches("CAP_").to_owned()).collect::<BTreeSet<_>>(),
        kept
    );
}

#[test]
fn rights_in_the_cluster_are_those_of_reading() {
    let reader = documents(include_str!("../deploy/reader.yaml"));
    let all = plain();
    let roles = named(&all, "ClusterRole");
    let role = roles.iter().find(|r| r["metadata"]["name"] == "portcullis-reader").unwrap();
    assert_eq!(rights(role), rights(&reader[0]));
    // What is written is our own and events, and nothing is ever deleted.
    let own = roles.iter().find(|r| r["metadata"]["name"] == "portcullis-agent").unwrap();
    let of = |group: &str, resource: &str, verbs: &[&str]| {
        ((group.to_owned(), resource.to_owned()), verbs.iter().map(|v| (*v).to_owned()).collect())
    };
    let wanted = BTreeMap::from([
        of("events.k8s.io", "events", &["create"]),
        of("portcullis.dev", "nodestatuses", &["create", "patch"]),
        of("portcullis.dev", "rollouts", &["list", "watch"]),
    ]);
    assert_eq!(rights(own), wanted);
    assert_eq!(roles.len(), 2);
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let unit = root().join("runtime/deploy/systemd/portcullis-agent.service");
    let Ok(out) = Command::new("systemd-analyze").arg("verify").arg(unit).output() else {
        eprintln!("left out: there is no systemd-analyze");
        return;
    };
    let said = String::from_utf8(out.stderr).unwrap();
    // The program is not installed where this runs.
    let wrong: Vec<&str> =
        said.lines().filter(|l| l.contains("portcullis-agent") && !l.contains("is not executable")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_chart_renders_and_its_plain_manifests_are_up_to_date() {
    let Some(python) = helm() else { return };
    let found: Value = serde_json::from_str(&chart(&python, "lint", "")).unwrap();
    let bad = |m: &&Value| m["severity"].as_u64() > Some(1);
    assert_eq!(found["messages"].as_array().unwrap().iter().filter(bad).count(), 0, "{found}");
    assert_eq!(found["errors"], json!([]));
    let now = std::fs::read_to_string(root().join("runtime/deploy/portcullis.yaml")).unwrap();
    assert_eq!(chart(&python, "manifests", ""), now, "run scripts/manifests.sh");
    let now = std::fs::read_to_string(root().join("runtime/deploy/crds.yaml")).unwrap();
    assert_eq!(chart(&python, "crds", ""), now, "run scripts/manifests.sh");
}

#[test]
fn values_of_every_kind_render_to_what_an_api_server_takes() {
    let Some(python) = helm() else { return };
    let values = [
        json!({}),
        json!({"agent": {"mode": "detach"}}),
        json!({"agent": {"failOpen": true, "takeover": true, "maxUnavailable": 1, "resources": {},
            "config": {"podCidrs": ["10.0.0.0/8"], "services": {"devices": ["eth0"]}, "state": "/elsewhere",
                "kubernetes": {}},
            "tolerations": [], "nodeSelector": {"kubernetes.io/os": "linux"}, "affinity": {"nodeAffinity": {}},
            "podLabels": {"team": "1"}, "podAnnotations": {"a": "b: c"}}}),
        json!({"status": {"enabled": false}, "guard": {"holdOnDenied": true, "canary": "a=b"},
            "crds": {"install": false}}),
        json!({"webhook": {"enabled": true, "tls": {"secretName": "s", "caBundle": "QUJD"}}}),
        json!({"webhook": {"enabled": true, "deny": "never", "failurePolicy": "Fail", "timeoutSeconds": 10, "resources": {},
            "tls": {"secretName": "s", "injectFrom": "a/b"}}, "rbac": {"create": false},
            "agent": {"config": {"clusterName": "east"}}}),
        json!({"status": {"groupLabel": "zone"}, "agent": {"config": {"kubernetes": {"context": "x"}}}}),
        json!({"serviceAccount": {"create": false, "name": "own", "annotations": {"x": "y"}}, "rbac": {"create": false},
            "image": {"digest": format!("sha256:{}", "0".repeat(64))}, "imagePullSecrets": [{"name": "s"}]}),
    ];
    let all = render(&python, &values);
    assert_eq!(all.len(), values.len());
    for rendered in &all {
        objects(rendered).iter().for_each(check);
    }
    let detach = objects(&all[1]);
    let args = words(&named(&detach, "DaemonSet")[0]["spec"]["template"]["spec"]["containers"][0]["args"]);
    assert!(args.contains("detach") && args.contains("--stay"), "{args:?}");
    let text =
        objects(&all[2]).iter().find_map(|o| o["data"]["node.yaml"].as_str().map(str::to_owned)).unwrap();
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.state, Path::new("/var/lib/portcullis"), "what the chart mounts wins");
    assert_eq!(config.pod_cidrs.len(), 1);
    let off = objects(&all[3]);
    assert!(named(&off, "CustomResourceDefinition").is_empty());
    let own = rights(
        named(&off, "ClusterRole").iter().find(|r| r["metadata"]["name"] == "portcullis-agent").unwrap(),
    );
    assert_eq!(own.len(), 1, "an agent that tells nothing may write nothing: {own:?}");
    let hook = objects(&all[4]);
    let configuration = &named(&hook, "ValidatingWebhookConfiguration")[0]["webhooks"][0];
    assert_eq!(configuration["failurePolicy"], "Ignore");
    assert_eq!(configuration["clientConfig"]["caBundle"], "QUJD");
    let pod = &named(&hook, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let args = words(&pod["containers"][0]["args"]);
    assert!(args.contains("--within=4000") && args.contains("--deny=error"), "{args:?}");
    assert!(named(&objects(&all[0]), "Deployment").is_empty(), "there is no webhook unless it is asked for");
    let own = objects(&all[7]);
    assert!(named(&own, "ServiceAccount").is_empty() && named(&own, "ClusterRole").is_empty());
    let spec = &named(&own, "DaemonSet")[0]["spec"]["template"]["spec"];
    assert_eq!(spec["serviceAccountName"], "own");
    assert!(spec["containers"][0]["image"].as_str().unwrap().contains("@sha256:"));
}

#[test]
fn values_that_are_no_values_are_refused() {
    let Some(python) = helm() else { return };
    let values = [
        json!({"agnet": {}}),
        json!({"agent": {"mode": "off"}}),
        json!({"agent": {"maxUnavailable": 0}}),
        json!({"agent": {"statePath": "relative"}}),
        json!({"image": {"digest": "latest"}}),
        json!({"agent": {"failOpen": "no"}}),
        json!({"webhook": {"enabled": true}}),
        json!({"webhook": {"enabled": true, "tls": {"secretName": "s"}}}),
        json!({"webhook": {"timeoutSeconds": 60}}),
    ];
    for (answer, given) in render(&python, &values).iter().zip(&values) {
        assert!(answer["refused"].is_string(), "{given}: {answer}");
    }
}
