//! Where a lint keeps quiet, and the cases beside its page's example.

use portcullis_diag::codes::meaning::*;
use portcullis_diag::{Code, Diagnostic, FileId, Severity};
use portcullis_front::ast::Object;

const WEB: &str = "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}}";

/// Findings about a CNP of namespace `shop` that selects `app: web`, with other objects.
fn about(rule: &str, others: &[&str]) -> Vec<Diagnostic> {
    let mut text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: web}}}}\n  {}\n",
        rule.replace('\n', "\n  ")
    );
    for o in others {
        text.push_str("---\n");
        text.push_str(o);
        text.push('\n');
    }
    let parsed = portcullis_front::parse(FileId(0), "test.yaml", &text);
    let objects: Vec<&Object> = parsed.objects.iter().collect();
    super::lint(&objects)
}

fn codes(found: &[Diagnostic]) -> Vec<Code> {
    found.iter().map(|d| d.code).collect()
}

#[test]
fn without_pods_nothing_is_said_about_who_matches() {
    let found = about("ingress: [{fromEndpoints: [{matchLabels: {app: nobody}}]}]", &[]);
    assert_eq!(codes(&found), []);
}

#[test]
fn a_namespace_of_which_nothing_is_known_may_hold_the_peer() {
    let rule =
        "ingress: [{fromEndpoints: [{matchLabels: {app: agent, k8s:io.kubernetes.pod.namespace: ops}}]}]";
    assert_eq!(codes(&about(rule, &[WEB])), []);
    let namespaces = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}";
    assert_eq!(codes(&about(rule, &[WEB, namespaces])), [NAMESPACE_MISSING]);
}

#[test]
fn pods_that_may_reach_nothing_need_no_dns() {
    assert_eq!(codes(&about("egress: [{}]", &[WEB])), []);
}

#[test]
fn a_missing_service_without_ports_allows_nobody_and_is_a_warning() {
    let rule = "egress: [{toServices: [{k8sService: {serviceName: db, namespace: shop}}]}]";
    let service = "{apiVersion: v1, kind: Service, metadata: {name: api, namespace: shop}, spec: {clusterIP: 10.96.0.9}}";
    let found = about(rule, &[service]);
    assert_eq!(codes(&found), [TO_SERVICES_MATCHES_NOTHING]);
    assert_eq!(found[0].severity, Severity::Warning);
    let unknown = about(rule, &[]);
    assert_eq!(unknown[0].severity, Severity::Note);
}

#[test]
fn a_deny_of_services_without_ports_denies_nothing() {
    let rule = "egress: [{toEntities: [all]}]\negressDeny: [{toServices: [{k8sService: {serviceName: db, namespace: shop}}]}]";
    let found = about(rule, &[]);
    assert_eq!(codes(&found), [DENY_TO_SERVICES]);
    assert_eq!(found[0].severity, Severity::Warning);
}

#[test]
fn a_range_of_all_addresses_is_meant_for_the_outside() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}, status: {podIP: 10.42.0.9}}";
    let rule = "ingress: [{fromCIDR: [0.0.0.0/0]}]";
    assert_eq!(codes(&about(rule, &[WEB, pod])), []);
    let private = about("ingress: [{fromCIDR: [10.0.0.0/8]}]", &[WEB, pod]);
    assert_eq!(codes(&private), [CIDR_OVER_CLUSTER]);
    assert_eq!(private[0].severity, Severity::Note);
    let carved = "ingress: [{fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.42.0.0/16]}]}]";
    assert_eq!(codes(&about(carved, &[WEB, pod])), []);
}

#[test]
fn a_deny_beside_allows_of_its_traffic_is_no_finding() {
    let front = "{apiVersion: v1, kind: Pod, metadata: {name: front, namespace: shop, labels: {app: front}}}";
    let rule =
        "ingress: [{fromEndpoints: [{}]}]\ningressDeny: [{fromEndpoints: [{matchLabels: {app: front}}]}]";
    assert_eq!(codes(&about(rule, &[WEB, front])), []);
}

#[test]
fn rules_that_differ_in_what_they_ask_are_not_repeats() {
    let port = "toPorts: [{ports: [{port: '80', protocol: TCP}]";
    let rule = format!(
        "ingress:\n- {{fromEntities: [all], {port}, rules: {{http: [{{method: GET}}]}}}}]}}\n- {{fromEntities: [cluster], {port}}}]}}"
    );
    assert_eq!(codes(&about(&rule, &[])), []);
}

#[test]
fn findings_come_in_order_of_their_place() {
    let rule = "ingress: [{fromEndpoints: []}, {toPorts: [{}]}, {}]";
    let found = about(rule, &[]);
    assert_eq!(codes(&found), [EMPTY_PEER_LIST, ENTRY_WITHOUT_PORTS, EMPTY_ENTRY_BESIDE_OTHERS]);
    assert!(found.iter().all(|d| d.object.as_ref().is_some_and(|o| o.name == "web")));
}
