//! What this node tells the cluster: its object's `status`, and events beside policies.
//!
//! Policies that are enforced as written are counted, not listed: what a thousand nodes write about a thousand policies
//! is short as long as nothing is wrong.

use crate::node::{Node, policy_set};
use crate::status::rfc3339;
use portcullis_cluster::{Kind, Notice, Publisher, Said};
use portcullis_diag::ObjectRef;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells what is new.
#[derive(Debug)]
pub struct Teller {
    publisher: Arc<Publisher>,
    reporter: Reporter,
}

impl Teller {
    /// One that tells through this.
    pub fn new(publisher: Arc<Publisher>) -> Self {
        Self { publisher, reporter: Reporter::default() }
    }

    /// Tells what the node says of itself, if the cluster does not know it.
    pub fn tell(&mut self, node: &Node) {
        self.publisher.say(self.reporter.report(node));
    }
}

/// Policies that are listed; others are counted.
const LISTED: usize = 100;
/// Findings that are listed of one policy.
const FINDINGS: usize = 5;
/// Bytes of a message.
const LONGEST: usize = 500;

/// Makes reports; remembers since when each condition is as it is.
#[derive(Debug, Default)]
pub struct Reporter {
    since: BTreeMap<&'static str, (bool, u64)>,
    /// Policy sets to go back to, as of one generation: reading them all takes a while.
    history: Option<(u64, Vec<String>)>,
}

/// One policy that is not simply in force.
#[derive(Debug, Default)]
struct Entry {
    refused: bool,
    findings: Vec<(String, String)>,
}

impl Reporter {
    /// What there is to tell now.
    pub fn report(&mut self, node: &Node) -> Said {
        let current = node.current();
        let own = current.map(|r| policy_set(&r.policy_texts()));
        let generation = current.map(|r| r.generation);
        let policies = policies(node);
        let held = node.held();
        let mut conditions = Vec::new();
        let compiled = node.refused().is_none();
        let why = node
            .refused()
            .map_or_else(|| "everything that was given is compiled and proved".to_owned(), shorten);
        conditions.push(self.condition(
            "Compiled",
            compiled,
            if compiled { "Proved" } else { "Refused" },
            &why,
        ));
        let (reason, why) = match (&own, held) {
            (None, _) => ("NoGeneration", "no policy is in use on this node".to_owned()),
            (Some(_), Some(h)) => ("Held", format!("the policy set {} waits: {}", h.policy_set, h.why)),
            (Some(own), None) if node.given().is_some_and(|g| g != own) => {
                ("OtherPolicies", format!("the policy set {own} is in use instead of the one given"))
            }
            (Some(_), None) if !compiled => ("Refused", "the last good generation stays in use".to_owned()),
            (Some(_), None) => ("InUse", "the policies given are in use".to_owned()),
        };
        conditions.push(self.condition("Enforced", reason == "InUse", reason, &why));
        let not_as_written = policies.values().filter(|e| !e.refused).count();
        let as_written = not_as_written == 0;
        let why = if as_written {
            "every rule is enforced as it is written".to_owned()
        } else {
            format!("{not_as_written} policies have rules that are not enforced as written")
        };
        let reason = if as_written { "AllRules" } else { "SomeRules" };
        conditions.push(self.condition("AsWritten", as_written, reason, &why));
        let why = held.map_or("nothing waits for approval", |h| h.why.as_str());
        conditions.push(self.condition(
            "Held",
            held.is_some(),
            if held.is_some() { "Waits" } else { "Nothing" },
            why,
        ));
        let label = node.config().kubernetes.as_ref().and_then(|k| k.status.group_label.clone());
        let status = json!({
            "group": label.and_then(|l| node.label(&l)).unwrap_or_default(),
            "version": env!("CARGO_PKG_VERSION"),
            "generation": generation,
            "since": current.map(|r| rfc3339(r.since)),
            "source": current.map(|r| r.source.clone()).unwrap_or_default(),
            "policySet": own.unwrap_or_default(),
            "clusterPolicySet": node.given().unwrap_or_default(),
            "history": self.history(node),
            "policyCount": current.map_or(0, |r| r.policies),
            "conditions": conditions,
            "policies": policies.iter().take(LISTED).map(|(o, e)| entry(o, e, generation)).collect::<Vec<_>>(),
            "morePolicies": policies.len().saturating_sub(LISTED),
            "held": held.map(|h| json!({
                "policySet": h.policy_set, "since": rfc3339(h.since), "reason": h.why, "changes": h.changes,
                "denied": h.denied.iter().map(shorten).collect::<Vec<_>>(), "moreDenied": h.more_denied,
            })),
            "problems": node.problems().iter().take(20).map(shorten).collect::<Vec<_>>(),
        });
        Said { status, notices: notices(node, &policies), nodes: node.nodes() }
    }

    fn condition(&mut self, kind: &'static str, is: bool, reason: &str, message: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let known = self.since.get(kind).filter(|(was, _)| *was == is).map(|(_, since)| *since);
        let since = known.unwrap_or(now);
        self.since.insert(kind, (is, since));
        json!({"type": kind, "status": if is { "True" } else { "False" }, "reason": reason,
            "message": message, "lastTransitionTime": rfc3339(since)})
    }

    fn history(&mut self, node: &Node) -> Vec<String> {
        let now = node.current().map_or(0, |r| r.generation);
        match &self.history {
            Some((at, known)) if *at == now => known.clone(),
            _ => {
                let found = node.history();
                self.history = Some((now, found.clone()));
                found
            }
        }
    }
}

/// Policies of which there is more to say than that they are in force.
fn policies(node: &Node) -> BTreeMap<ObjectRef, Entry> {
    let mut out: BTreeMap<ObjectRef, Entry> = BTreeMap::new();
    for broken in node.broken() {
        if let Some(object) = &broken.object {
            let entry = out.entry(object.clone()).or_default();
            entry.refused = true;
            entry.findings.push((broken.place.clone(), broken.message.clone()));
        }
    }
    for (rule, why) in node.current().into_iter().flat_map(|r| &r.unenforced) {
        let Some((object, place)) = rule.split_once(" at ") else { continue };
        if let Some(object) = reference(object) {
            out.entry(object).or_default().findings.push((place.to_owned(), why.clone()));
        }
    }
    out
}

/// `KIND NAMESPACE/NAME` or `KIND NAME`.
fn reference(text: &str) -> Option<ObjectRef> {
    let (kind, name) = text.split_once(' ')?;
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, name),
    };
    Some(ObjectRef { kind: kind.to_owned(), namespace, name: name.to_owned() })
}

fn entry(o: &ObjectRef, e: &Entry, generation: Option<u64>) -> Value {
    let found = e.findings.iter().take(FINDINGS);
    json!({
        "kind": o.kind, "namespace": o.namespace.clone().unwrap_or_default(), "name": o.name,
        "compiled": !e.refused,
        // What is refused is not in the generation, or is there as it was before.
        "enforcedGeneration": if e.refused { None } else { generation },
        "diagnostics": found.map(|(place, why)| json!({"place": place, "message": shorten(why)})).collect::<Vec<_>>(),
    })
}

/// Events: of policies that cannot be enforced, not at all or not as written.
fn notices(node: &Node, policies: &BTreeMap<ObjectRef, Entry>) -> Vec<Notice> {
    let mut out = Vec::new();
    for (object, entry) in policies.iter().take(LISTED) {
        // Objects of other kinds, and of files, are none of the API server's policies.
        let Some(kind) = Kind::parse(&object.kind).filter(|k| k.is_policy()) else { continue };
        let namespace = object.namespace.clone().unwrap_or_default();
        if !node.has_object(kind, &namespace, &object.name) {
            continue;
        }
        let said: Vec<String> =
            entry.findings.iter().take(FINDINGS).map(|(place, why)| format!("{why} (at {place})")).collect();
        let (reason, head) = if entry.refused {
            ("Refused", "no change of policy is taken up while it is so: ")
        } else {
            ("NotEnforcedAsWritten", "")
        };
        let note = format!("{head}{}", said.join("; "));
        out.push(Notice { kind, namespace, name: object.name.clone(), reason, note });
    }
    out
}

fn shorten(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = (0..LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_found_by_their_names() {
        let one = reference("CiliumNetworkPolicy shop/web").unwrap();
        assert_eq!((one.namespace.as_deref(), one.name.as_str()), (Some("shop"), "web"));
        assert_eq!(reference("CiliumClusterwideNetworkPolicy all").unwrap().namespace, None);
        assert!(reference("nothing").is_none());
    }

    #[test]
    fn messages_are_cut_between_characters() {
        assert!(shorten("é".repeat(900)).len() <= LONGEST + "…".len());
    }
}
