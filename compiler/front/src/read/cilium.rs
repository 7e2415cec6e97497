//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: the object and its rules (SEM-2).

use super::fields::{Map, Reader, inert, refused};
use super::peers::{self, Direction, Place};
use super::selector;
use crate::ast::{CiliumPolicy, CiliumRule, Entry, LabelSelector, Spanned, Subject};
use crate::tree::Node;
use portcullis_diag::Span;
use portcullis_diag::codes::schema;

const RULE: &[&str] = &[
    "endpointSelector",
    "nodeSelector",
    "ingress",
    "ingressDeny",
    "egress",
    "egressDeny",
    "enableDefaultDeny",
    "labels",
    "description",
    "log",
];

const SECTIONS: &[&str] = &["ingress", "ingressDeny", "egress", "egressDeny"];

/// Reads the object. `None` when nothing of it can be used.
pub(super) fn read(r: &mut Reader<'_>, root: &Node, clusterwide: bool) -> Option<CiliumPolicy> {
    let known = ["apiVersion", "kind", "metadata", "spec", "specs", "status"];
    let map = r.strict(root, "a policy", &known)?;
    super::meta::check(r, &map, !clusterwide);
    let (spec, specs) = (map.get("spec"), map.get("specs"));
    if spec.is_none() && specs.is_none() {
        let finding =
            refused(schema::NO_SPEC, root.span, "it has neither `spec` nor `specs`").label("no rule in it");
        r.report(finding.help("put the rule under `spec`, or a list of rules under `specs`"));
    }
    let more = specs.and_then(|n| r.list(n, "specs")).unwrap_or_default();
    let rules = spec.into_iter().chain(more).filter_map(|n| rule(r, n, clusterwide)).collect();
    Some(CiliumPolicy { clusterwide, rules })
}

fn rule(r: &mut Reader<'_>, node: &Node, clusterwide: bool) -> Option<CiliumRule> {
    let map = r.strict(node, "a rule", RULE)?;
    let subject = subject(r, &map, clusterwide);
    sections_exist(r, &map);
    let host = map.get("nodeSelector").is_some() && map.get("endpointSelector").is_none();
    let section = |r: &mut Reader<'_>, name: &str, direction, deny| -> Option<Spanned<Vec<Entry>>> {
        let section = map.entry(name)?;
        let items = r.list(&section.value, name)?;
        let place = Place { direction, deny, host };
        let entries = items.iter().filter_map(|n| peers::entry(r, n, place)).collect();
        Some(Spanned::new(entries, section.key_span))
    };
    let ingress = section(r, "ingress", Direction::Ingress, false);
    let ingress_deny = section(r, "ingressDeny", Direction::Ingress, true);
    let egress = section(r, "egress", Direction::Egress, false);
    let egress_deny = section(r, "egressDeny", Direction::Egress, true);
    let default_deny =
        map.get("enableDefaultDeny").and_then(|n| r.strict(n, "enableDefaultDeny", &["ingress", "egress"]));
    let flag = |r: &mut Reader<'_>, name: &str| {
        default_deny.and_then(|m| m.get(name)).and_then(|n| r.boolean(n, name))
    };
    let default_deny_ingress = flag(r, "ingress");
    let default_deny_egress = flag(r, "egress");
    rule_labels(r, &map);
    let description = map.get("description").and_then(|n| r.text(n, "description"));
    let log = map.get("log").and_then(|n| r.strict(n, "log", &["value"])).and_then(|m| m.get("value"));
    let log = log.and_then(|n| log_value(r, n));
    Some(CiliumRule {
        span: node.span,
        subject: subject?,
        ingress,
        ingress_deny,
        egress,
        egress_deny,
        default_deny_ingress,
        default_deny_egress,
        description,
        log,
    })
}

fn subject(r: &mut Reader<'_>, map: &Map<'_>, clusterwide: bool) -> Option<Subject> {
    let read = |r: &mut Reader<'_>, node: &Node, what: &str| -> Option<LabelSelector> {
        selector::read(r, node, what)
    };
    match (map.entry("endpointSelector"), map.entry("nodeSelector")) {
        (Some(endpoints), None) => read(r, &endpoints.value, "endpointSelector").map(Subject::Endpoints),
        (None, Some(nodes)) => {
            if !clusterwide {
                let why = "a namespaced policy cannot select nodes";
                let finding = inert(schema::NODE_SELECTOR_IN_NAMESPACE, nodes.key_span, why)
                    .label("selects hosts, which are in no namespace")
                    .help("use endpointSelector, or a CiliumClusterwideNetworkPolicy");
                r.report(finding);
            }
            read(r, &nodes.value, "nodeSelector").map(Subject::Nodes)
        }
        (Some(endpoints), Some(nodes)) => {
            let why = "a rule selects either endpoints or nodes";
            let finding = refused(schema::TWO_SUBJECTS, nodes.key_span, why)
                .label("one of the two is too many")
                .also(endpoints.key_span, "the other one")
                .help("make two rules of it under `specs`");
            r.report(finding);
            read(r, &endpoints.value, "endpointSelector").map(Subject::Endpoints)
        }
        (None, None) => {
            let finding = refused(schema::NO_SUBJECT, map.span, "the rule does not say whom it selects")
                .label("no endpointSelector")
                .help("write `endpointSelector: {}` for every endpoint of the namespace");
            r.report(finding);
            None
        }
    }
}

/// One section must be there, and one of them must not be empty (SEM-2.2).
fn sections_exist(r: &mut Reader<'_>, map: &Map<'_>) {
    let given = map.given(SECTIONS);
    if given.is_empty() {
        let finding = refused(schema::NO_SECTIONS, map.span, "the rule has no ingress and no egress section")
            .label("selects endpoints and says nothing about them")
            .help(
                "write `ingress: [{}]` to deny all ingress, `ingress: [{fromEntities: [all]}]` to allow it",
            );
        r.report(finding);
        return;
    }
    let all_empty = given.iter().all(|(_, e)| e.value.as_seq().is_some_and(<[Node]>::is_empty));
    if let (true, Some((name, entry))) = (all_empty, given.first()) {
        let why = "none of the rule's sections has an entry";
        let finding = inert(schema::EMPTY_SECTIONS, entry.key_span.to(entry.value.span), why)
            .label("an empty list is no section")
            .help(format!("to deny everything, write `{name}: [{{}}]`"));
        r.report(finding);
    }
}

fn rule_labels(r: &mut Reader<'_>, map: &Map<'_>) {
    let items = map.get("labels").and_then(|n| r.list(n, "labels")).unwrap_or_default();
    for item in items {
        let Some(label) = r.strict(item, "labels", &["key", "value", "source"]) else { continue };
        if label.get("key").is_none() {
            r.missing(label.span, "key", "a label");
        }
        for (name, entry) in label.given(&["key", "value", "source"]) {
            r.text(&entry.value, name);
        }
    }
}

/// At most 32 characters, all printable.
fn log_value(r: &mut Reader<'_>, node: &Node) -> Option<crate::ast::Text> {
    let text = r.text(node, "log.value")?;
    let why = if text.value.chars().count() > 32 {
        "the log value is longer than 32 characters"
    } else if text.value.chars().any(char::is_control) {
        "the log value has characters that cannot be printed"
    } else {
        return Some(text);
    };
    bad_log(r, text.span, why);
    None
}

fn bad_log(r: &mut Reader<'_>, span: Span, why: &str) {
    r.report(refused(schema::BAD_LOG, span, why).help("use at most 32 printable characters on one line"));
}
