//! Items put into lists of files in every form that people write them in; all other bytes stay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::{FileId, Span};
use portcullis_front::ast::Body;
use portcullis_suggest::edit::{add, find};
use portcullis_suggest::yaml::Yaml;

/// The mapping that the first policy's list stands in.
fn place(name: &str, text: &str) -> Span {
    let parsed = portcullis_front::parse(FileId(0), name, text);
    let object = parsed.objects.last().unwrap_or_else(|| panic!("{:#?}", parsed.diagnostics));
    match &object.body {
        Body::Cilium(p) => p.rules.last().unwrap().span,
        Body::Network(p) => p.span,
        other => panic!("{other:?}"),
    }
}

fn item() -> Yaml {
    let labels = Yaml::map([("app", Yaml::Text("new".into()))]);
    let port = Yaml::map([("port", Yaml::Quoted("80".into())), ("protocol", Yaml::Text("TCP".into()))]);
    Yaml::map([
        ("fromEndpoints", Yaml::Seq(vec![Yaml::map([("matchLabels", labels)])])),
        ("toPorts", Yaml::Seq(vec![Yaml::map([("ports", Yaml::Seq(vec![port]))])])),
    ])
}

#[track_caller]
fn added(name: &str, text: &str) -> Option<String> {
    let target = find(name, text, place(name, text)).expect("the mapping is found where the parser says");
    add(name, text, &target, "ingress", &[item()])
}

const HEAD: &str =
    "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a, namespace: shop}\n";

#[track_caller]
fn becomes(before: &str, after: &str) {
    let before = format!("{HEAD}{before}");
    assert_eq!(added("a.yaml", &before).as_deref(), Some(&*format!("{HEAD}{after}")), "{before}");
}

#[test]
fn a_list_at_the_indent_of_its_key_gets_one_more_item() {
    becomes(
        "spec:\n  endpointSelector: {}\n  # who may\n  ingress:   # all of them\n  - fromEndpoints:\n    - matchLabels:\n        app: web   # web\n    # nothing else\n  # egress stays\n  egress:\n  - {}\n",
        "spec:\n  endpointSelector: {}\n  # who may\n  ingress:   # all of them\n  - fromEndpoints:\n    - matchLabels:\n        app: web   # web\n    # nothing else\n  - fromEndpoints:\n    - matchLabels:\n        app: new\n    toPorts:\n    - ports:\n      - port: \"80\"\n        protocol: TCP\n  # egress stays\n  egress:\n  - {}\n",
    );
}

#[test]
fn a_deeper_list_with_wide_steps_and_single_quotes_stays_so() {
    becomes(
        "spec:\n    endpointSelector:\n        matchLabels:\n            app: 'db'\n    ingress:\n        - fromEndpoints:\n              - matchLabels:\n                    app: 'web'\n",
        "spec:\n    endpointSelector:\n        matchLabels:\n            app: 'db'\n    ingress:\n        - fromEndpoints:\n              - matchLabels:\n                    app: 'web'\n        - fromEndpoints:\n              - matchLabels:\n                    app: new\n          toPorts:\n              - ports:\n                    - port: '80'\n                      protocol: TCP\n",
    );
}

#[test]
fn what_stands_on_one_line_elsewhere_does_so_here() {
    becomes(
        "spec:\n  endpointSelector: {matchLabels: {app: db}}\n  ingress:\n  - fromEndpoints: [{matchLabels: {app: web}}]\n    toPorts:\n    - ports: [{port: \"1\", protocol: TCP}]",
        "spec:\n  endpointSelector: {matchLabels: {app: db}}\n  ingress:\n  - fromEndpoints: [{matchLabels: {app: web}}]\n    toPorts:\n    - ports: [{port: \"1\", protocol: TCP}]\n  - fromEndpoints: [{matchLabels: {app: new}}]\n    toPorts:\n    - ports: [{port: \"80\", protocol: TCP}]",
    );
    becomes(
        "spec: {endpointSelector: {}, ingress: [{}]}  # shut\n",
        "spec: {endpointSelector: {}, ingress: [{}, {fromEndpoints: [{matchLabels: {app: new}}], toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]}]}  # shut\n",
    );
    becomes(
        "spec:\n  endpointSelector: {}\n  ingress: [\n    {},   # shut\n  ]\n",
        "spec:\n  endpointSelector: {}\n  ingress: [\n    {},\n    {fromEndpoints: [{matchLabels: {app: new}}], toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]},   # shut\n  ]\n",
    );
}

#[test]
fn a_key_that_is_not_there_comes_behind_the_others() {
    becomes(
        "spec:\n  endpointSelector: {}\n  egress:\n    - {}\n      # nothing\n  # the end\n---\n",
        "spec:\n  endpointSelector: {}\n  egress:\n    - {}\n      # nothing\n  ingress:\n    - fromEndpoints:\n        - matchLabels:\n            app: new\n      toPorts:\n        - ports:\n            - port: \"80\"\n              protocol: TCP\n  # the end\n---\n",
    );
    becomes(
        "specs:\n- endpointSelector: {}\n  egress:\n  - {}\n- egress:\n  - {}\n  endpointSelector: {}\n",
        "specs:\n- endpointSelector: {}\n  egress:\n  - {}\n- egress:\n  - {}\n  endpointSelector: {}\n  ingress:\n  - fromEndpoints:\n    - matchLabels:\n        app: new\n    toPorts:\n    - ports:\n      - port: \"80\"\n        protocol: TCP\n",
    );
}

#[test]
fn an_empty_list_is_filled_and_its_comment_stays() {
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec:\n  podSelector: {}\n";
    for (before, line) in [
        ("  ingress: []  # shut\n", "  ingress:  # shut\n"),
        ("  ingress:\n", "  ingress:\n"),
        ("  ingress: ~\n", "  ingress:\n"),
    ] {
        let text = added("a.yaml", &format!("{head}{before}  policyTypes: [Ingress]\n")).unwrap();
        let entry = "  - fromEndpoints:\n    - matchLabels:\n        app: new\n    toPorts:\n    - ports:\n      - port: \"80\"\n        protocol: TCP\n";
        assert_eq!(text, format!("{head}{line}{entry}  policyTypes: [Ingress]\n"));
    }
}

#[test]
fn line_ends_and_other_documents_stay() {
    let text = format!("# first\n---\n{HEAD}spec:\n  endpointSelector: {{}}\n  ingress:\n  - {{}}\n")
        .replace('\n', "\r\n");
    let new = added("a.yaml", &text).unwrap();
    assert!(new.starts_with(&text) && new.matches('\n').count() == new.matches("\r\n").count(), "{new:?}");
    let both = format!(
        "{HEAD}spec: {{endpointSelector: {{}}, egress: [{{}}]}}\n---\n{}spec:\n  endpointSelector: {{}}\n  ingress:\n  - {{}}",
        HEAD.replace("name: a", "name: b")
    );
    let new = added("a.yaml", &both).unwrap();
    assert!(new.starts_with(&both) && !new.ends_with('\n'), "{new}");
}

#[test]
fn json_stays_json() {
    let compact = r#"{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"a"},"spec":{"endpointSelector":{},"ingress":[{}]}}"#;
    let new = added("a.json", compact).unwrap();
    assert!(new.contains(r#"[{}, {"fromEndpoints": [{"matchLabels": {"app": "new"}}]"#), "{new}");
    serde_like(&new);
    let pretty = "{\n    \"apiVersion\": \"cilium.io/v2\",\n    \"kind\": \"CiliumNetworkPolicy\",\n    \"metadata\": {\"name\": \"a\"},\n    \"spec\": {\n        \"endpointSelector\": {},\n        \"egress\": [\n            {}\n        ]\n    }\n}\n";
    let new = added("a.json", pretty).unwrap();
    assert!(
        new.contains("\n        \"ingress\": [\n            {\n                \"fromEndpoints\": [\n"),
        "{new}"
    );
    serde_like(&new);
}

/// What a strict reader takes: no comments, no trailing commas.
fn serde_like(text: &str) {
    let parsed = portcullis_front::parse(FileId(0), "a.json", text);
    assert!(parsed.objects.len() == 1 && parsed.diagnostics.is_empty(), "{text}\n{:#?}", parsed.diagnostics);
}

#[test]
fn what_cannot_be_edited_alone_is_refused() {
    for (what, spec) in [
        ("a list that others use", "x-list: &l\n- {}\nspec:\n  endpointSelector: {}\n  ingress: *l\n"),
        ("an anchored list", "spec:\n  endpointSelector: {}\n  ingress: &l\n  - {}\n  egress: *l\n"),
        ("a merged key", "x: &m\n  ingress: [{}]\nspec:\n  <<: *m\n  endpointSelector: {}\n"),
        ("a tag", "spec:\n  endpointSelector: {}\n  ingress: !!seq\n  - {}\n"),
    ] {
        let text = format!("{HEAD}{spec}");
        let parsed = portcullis_front::parse(FileId(0), "a.yaml", &text);
        let Some(object) = parsed.objects.last() else { continue };
        let Body::Cilium(p) = &object.body else { panic!("{what}") };
        let Some(rule) = p.rules.last() else { continue };
        let Some(target) = find("a.yaml", &text, rule.span) else { continue };
        if let Some(new) = add("a.yaml", &text, &target, "ingress", &[item()]) {
            // Not refused: then it is right, and nothing else has it.
            let after = portcullis_front::parse(FileId(0), "a.yaml", &new);
            let Body::Cilium(q) = &after.objects.last().unwrap().body else { panic!("{what}") };
            assert_eq!(q.rules[0].ingress.as_ref().unwrap().value.len(), 2, "{what}\n{new}");
            assert_eq!(q.rules[0].egress, p.rules[0].egress, "{what}\n{new}");
        }
    }
}
