//! From one world to another.

use super::choices::Choices;
use super::objects::{self, APPS, TEAMS};
use super::{World, policy};
use serde_json::{Value, json};

pub(super) fn change(c: &mut Choices<'_>, base: &World) -> World {
    let mut head = base.clone();
    let count = 1 + c.below(3);
    for step in 0..count {
        match c.below(12) {
            0..3 => head.policies.push(policy(c, &format!("new{step}"))),
            3 | 4 if !head.policies.is_empty() => {
                let at = c.below(head.policies.len());
                head.policies.remove(at);
            }
            5..8 => {
                let at = c.below(head.policies.len());
                if let Some(p) = head.policies.get_mut(at) {
                    part(c, p);
                }
            }
            8 => label(c, &mut head.cluster, "Namespace", "team", &TEAMS),
            9 => label(c, &mut head.cluster, "Pod", "app", &APPS),
            10 => {
                // Another pod of a name that was there, or one that was not.
                let number = c.below(9);
                let pod = objects::pod(c, number);
                let same = |o: &Value| o["kind"] == "Pod" && o["metadata"]["name"] == pod["metadata"]["name"];
                head.cluster.retain(|o| !same(o));
                head.cluster.push(pod);
            }
            _ => {
                let at = c.below(head.policies.len());
                if let Some(p) = head.policies.get_mut(at) {
                    let name = p["metadata"]["name"].as_str().unwrap_or("p").to_owned();
                    *p = policy(c, &name);
                }
            }
        }
    }
    head
}

fn label(c: &mut Choices<'_>, cluster: &mut [Value], kind: &str, key: &str, values: &[&str]) {
    let mut of_kind: Vec<&mut Value> = cluster.iter_mut().filter(|o| o["kind"] == kind).collect();
    let at = c.below(of_kind.len());
    let value = c.of(values);
    let remove = c.one_in(3);
    if let Some(labels) = of_kind.get_mut(at).and_then(|o| o["metadata"]["labels"].as_object_mut()) {
        if remove {
            labels.remove(key);
        } else {
            labels.insert(key.to_owned(), json!(value));
        }
    }
}

/// Takes an entry out of a section, or a whole section, or turns the switch of default deny.
fn part(c: &mut Choices<'_>, policy: &mut Value) {
    let Some(spec) = policy.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let sections: Vec<String> = spec.iter().filter(|(_, v)| v.is_array()).map(|(k, _)| k.clone()).collect();
    let at = c.below(sections.len());
    match (c.below(4), sections.get(at)) {
        (0, Some(name)) if sections.len() > 1 => {
            spec.remove(name);
        }
        (1, Some(name)) => {
            if let Some(list) = spec.get_mut(name).and_then(Value::as_array_mut).filter(|l| l.len() > 1) {
                list.pop();
            }
        }
        (2, Some(name)) => {
            // The first entry loses its ports, or its peers.
            let entry = spec.get_mut(name).and_then(|l| l.get_mut(0)).and_then(Value::as_object_mut);
            if let Some(entry) = entry.filter(|e| e.len() > 1) {
                let keys: Vec<String> = entry.keys().filter(|k| *k != "action").cloned().collect();
                let at = c.below(keys.len());
                if let Some(key) = keys.get(at) {
                    entry.remove(key);
                }
            }
        }
        _ if spec.contains_key("endpointSelector") => {
            let (ingress, egress) = (c.one_in(2), c.one_in(2));
            spec.insert("enableDefaultDeny".to_owned(), json!({"ingress": ingress, "egress": egress}));
        }
        _ => {}
    }
}
