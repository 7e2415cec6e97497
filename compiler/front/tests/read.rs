//! Facts about reading objects, and the examples of the pages about 01xx codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::codes::schema;
use portcullis_diag::{Code, Diagnostic, Fate, FileId, Severity, SourceMap};
use portcullis_front::ast::{
    Body, CidrSource, CiliumRule, ClusterPeerKind, Entry, PortValue, Protocol, Subject,
};
use portcullis_front::{Parsed, SkipReason};

fn read(text: &str) -> Parsed {
    portcullis_front::parse(FileId(0), "test.yaml", text)
}

/// A CiliumNetworkPolicy with one rule that selects `app: web`.
fn policy(rule: &str) -> String {
    let rule = format!("  {}\n", rule.replace('\n', "\n  "));
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: web}}}}\n{rule}"
    )
}

fn rule(text: &str) -> CiliumRule {
    let parsed = read(&policy(text));
    assert_eq!(parsed.diagnostics, Vec::new());
    match &parsed.objects[0].body {
        Body::Cilium(policy) => policy.rules[0].clone(),
        other => panic!("{other:?}"),
    }
}

fn ingress(text: &str) -> Entry {
    rule(text).ingress.unwrap().value[0].clone()
}

fn codes(parsed: &Parsed) -> Vec<Code> {
    parsed.diagnostics.iter().map(|d| d.code).collect()
}

/// The only finding about a rule.
fn finding(text: &str) -> Diagnostic {
    let parsed = read(&policy(text));
    assert_eq!(parsed.diagnostics.len(), 1, "{:?}", parsed.diagnostics);
    parsed.diagnostics[0].clone()
}

#[test]
fn every_page_of_a_schema_code_has_an_example_that_raises_it_and_a_fix_that_does_not() {
    for info in schema::CODES {
        let path = format!("{}/../../docs/diagnostics/{}.md", env!("CARGO_MANIFEST_DIR"), info.code);
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert!(page.starts_with(&format!("# {} {}\n", info.code, info.slug)), "{path}");
        let blocks: Vec<&str> =
            page.split("```yaml\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
        let [example, fix] = blocks.as_slice() else { panic!("{path} has {} blocks", blocks.len()) };
        let raised = read(example);
        assert!(raised.diagnostics.iter().all(|d| d.code == info.code), "{path}: {:?}", raised.diagnostics);
        assert!(!raised.diagnostics.is_empty(), "{path}: the example raises nothing");
        assert!(raised.diagnostics.iter().any(|d| d.severity == info.severity), "{path}");
        assert_eq!(read(fix).diagnostics, Vec::new(), "{path}");
        // The page says what becomes of the object.
        let word = match raised.diagnostics.iter().map(|d| d.fate).max().unwrap() {
            Fate::Accepted => "accepted",
            Fate::Inert => "lies inert",
            Fate::Refused | Fate::Unreadable => "refuse",
        };
        assert!(page.contains(word), "{path} does not say {word}");
    }
}

#[test]
fn an_absent_a_null_and_an_empty_list_stay_apart() {
    assert!(ingress("ingress:\n- {}").endpoints.is_none());
    assert!(ingress("ingress:\n- fromEndpoints:").endpoints.is_none());
    assert_eq!(ingress("ingress:\n- fromEndpoints: []").endpoints.unwrap().value, Vec::new());
    assert!(ingress("ingress:\n- toPorts: [{}]").to_ports.unwrap().value[0].ports.is_empty());
    assert!(rule("ingress: [{}]\negress:").egress.is_none());
    assert_eq!(rule("ingress: [{}]\negress: []").egress.unwrap().value.len(), 0);
}

#[test]
fn an_empty_icmps_is_absent_and_an_entry_without_fields_allows_nothing() {
    assert!(ingress("ingress:\n- icmps: []").icmps.is_none());
    assert_eq!(ingress("ingress:\n- icmps: [{}]").icmps.unwrap().value, Vec::new());
    let named = ingress("ingress:\n- icmps: [{fields: [{type: EchoRequest, family: IPv6}, {type: \"8\"}]}]");
    let types: Vec<(bool, u8)> =
        named.icmps.unwrap().value.iter().map(|f| (f.v6, f.icmp_type.value)).collect();
    assert_eq!(types, [(true, 128), (false, 8)]);
}

#[test]
fn an_icmp_type_beyond_eight_bits_matches_nothing_and_a_negative_one_everything() {
    for (written, types) in [("256", vec![]), ("-1", vec![0])] {
        let parsed = read(&policy(&format!("ingress:\n- icmps: [{{fields: [{{type: {written}}}]}}]")));
        assert_eq!(codes(&parsed), [schema::ICMP_TYPE_RANGE]);
        assert_eq!(
            (parsed.objects[0].fate, parsed.diagnostics[0].severity),
            (Fate::Accepted, Severity::Warning)
        );
        let Body::Cilium(policy) = &parsed.objects[0].body else { panic!() };
        let icmps = policy.rules[0].ingress.as_ref().unwrap().value[0].icmps.clone().unwrap();
        assert_eq!(icmps.value.iter().map(|f| f.icmp_type.value).collect::<Vec<_>>(), types);
    }
}

#[test]
fn ports_are_numbers_in_gos_notation_or_names_in_lower_case() {
    let of = |port: &str| {
        let entry = ingress(&format!("ingress:\n- toPorts: [{{ports: [{{port: \"{port}\"}}]}}]"));
        entry.to_ports.unwrap().value[0].ports[0].port.clone()
    };
    assert_eq!(of("0120"), PortValue::Number(80));
    assert_eq!(of("0x_50"), PortValue::Number(80));
    assert_eq!(of("0x50"), PortValue::Name("0x50".into()));
    assert_eq!(of("HTTP"), PortValue::Name("http".into()));
    let end = |port: &str, end: u16| {
        let entry =
            ingress(&format!("ingress:\n- toPorts: [{{ports: [{{port: \"{port}\", endPort: {end}}}]}}]"));
        entry.to_ports.unwrap().value[0].ports[0].end
    };
    assert_eq!((end("80", 90), end("80", 80), end("80", 70), end("http", 90)), (Some(90), None, None, None));
}

#[test]
fn a_range_keeps_its_prefix_and_loses_its_host_bits() {
    let entry = ingress("ingress:\n- fromCIDRSet: [{cidr: 10.1.2.3/8, except: [10.9.9.9/16]}]");
    let set = entry.cidr_set.unwrap().value;
    let CidrSource::Cidr(range) = &set[0].source else { panic!() };
    assert_eq!(
        (range.value.to_string(), set[0].except[0].value.to_string()),
        ("10.0.0.0/8".into(), "10.9.0.0/16".into())
    );
}

#[test]
fn leading_zeros_in_a_range_get_past_the_api_server_and_not_past_the_engine() {
    assert_eq!(finding("ingress:\n- fromCIDR: [010.0.0.0/8]").fate, Fate::Inert);
    assert_eq!(finding("ingress:\n- fromCIDR: [10.0.0.0/08]").fate, Fate::Inert);
    assert_eq!(finding("ingress:\n- fromCIDR: [10.0.0.0]").fate, Fate::Refused);
}

#[test]
fn names_are_lower_cased_and_lose_their_trailing_dot() {
    let rule = rule("egress:\n- toFQDNs: [{matchName: WWW.Example.com.}, {matchPattern: \"*.Example.com\"}]");
    let fqdns = rule.egress.unwrap().value[0].fqdns.clone().unwrap().value;
    assert_eq!(fqdns[0].match_name.as_ref().unwrap().value, "www.example.com");
    assert_eq!(fqdns[1].match_pattern.as_ref().unwrap().value, "*.example.com");
}

#[test]
fn an_unknown_field_is_placed_on_its_key_and_comes_with_the_nearest_name() {
    let text = policy("ingress:\n- fromEndpoint: [{}]");
    let parsed = read(&text);
    let found = &parsed.diagnostics[0];
    let mut map = SourceMap::new();
    map.add("test.yaml", text.as_str());
    assert_eq!(map.text(found.span().unwrap()), "fromEndpoint");
    assert_eq!(found.help.as_deref(), Some("did you mean `fromEndpoints`?"));
    assert_eq!(
        (found.code, found.fate, parsed.objects[0].fate),
        (schema::UNKNOWN_FIELD, Fate::Accepted, Fate::Accepted)
    );
    assert_eq!(found.object.as_ref().unwrap().to_string(), "CiliumNetworkPolicy shop/web");
    let far = finding("ingress:\n- {colour: red}");
    assert!(far.help.unwrap().contains("fromEndpoints, fromCIDR"));
    let habit = finding("ingress:\n- from: [{}]");
    assert_eq!(habit.help.as_deref(), Some("did you mean `fromEndpoints`?"));
}

#[test]
fn misplaced_and_removed_fields_are_unknown_and_keep_their_places() {
    let parsed = read(&policy(
        "egressDeny:\n- toFQDNs: [{matchName: a.com}]\n  toPorts: [{ports: [{port: \"80\"}], rules: {http: [{}]}}]",
    ));
    assert_eq!(codes(&parsed), [schema::UNKNOWN_FIELD, schema::UNKNOWN_FIELD]);
    let Body::Cilium(policy) = &parsed.objects[0].body else { panic!() };
    let entry = &policy.rules[0].egress_deny.as_ref().unwrap().value[0];
    assert_eq!(entry.dropped[0].value, "toFQDNs");
    assert!(entry.fqdns.is_none());
    assert_eq!(entry.to_ports.as_ref().unwrap().value[0].dropped_rules[0].value, "rules");
}

#[test]
fn removed_rules_beside_http_vanish_and_alone_are_refused() {
    let port = "ingress:\n- toPorts:\n  - ports: [{port: \"80\", protocol: TCP}]\n";
    let beside = read(&policy(&format!("{port}    rules: {{http: [{{}}], kafka: [{{topic: t}}]}}")));
    assert_eq!(codes(&beside), [schema::UNKNOWN_FIELD]);
    let alone = read(&policy(&format!("{port}    rules: {{l7proto: x, l7: [{{a: b}}]}}")));
    assert_eq!(codes(&alone), [schema::L7_RULE_KIND]);
    assert_eq!(alone.objects[0].fate, Fate::Refused);
}

#[test]
fn a_selector_label_without_a_value_widens_a_cilium_selector_and_is_empty_in_kubernetes() {
    let cilium = read(&policy("ingress:\n- fromEndpoints: [{matchLabels: {a: , b: c}}]"));
    assert_eq!(codes(&cilium), [schema::NULL_LABEL]);
    let Body::Cilium(policy) = &cilium.objects[0].body else { panic!() };
    let entry = &policy.rules[0].ingress.as_ref().unwrap().value[0];
    assert_eq!(entry.endpoints.as_ref().unwrap().value[0].match_labels.len(), 1);
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {matchLabels: {a: }}}";
    let kubernetes = read(text);
    assert_eq!(codes(&kubernetes), []);
    let Body::Network(policy) = &kubernetes.objects[0].body else { panic!() };
    assert_eq!(policy.pod_selector.match_labels[0].1.value, "");
}

#[test]
fn yaml_booleans_in_a_label_ask_for_quotes() {
    for word in ["yes", "NO", "on"] {
        let found = finding(&format!("ingress:\n- fromEndpoints: [{{matchLabels: {{a: {word}}}}}]"));
        assert_eq!((found.code, found.help.as_deref()), (schema::BOOLEAN_WORD, Some("put it in quotes")));
    }
    assert_eq!(finding("ingress:\n- fromEndpoints: [{matchLabels: {a: true}}]").code, schema::WRONG_TYPE);
}

#[test]
fn all_faults_of_an_object_are_reported_in_order_of_the_text() {
    let parsed = read(&policy(
        "ingress:\n- fromCIDR: [x]\n  toPorts: [{ports: [{port: a_b}]}]\n- fromEntities: [wrold]\negres: []",
    ));
    assert_eq!(
        codes(&parsed),
        [schema::BAD_CIDR, schema::BAD_PORT, schema::UNKNOWN_ENTITY, schema::UNKNOWN_FIELD]
    );
    assert_eq!(parsed.objects[0].fate, Fate::Refused);
}

#[test]
fn lists_are_flattened_and_typed_lists_say_what_their_items_are() {
    let parsed = read(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- apiVersion: v1\n  kind: PodList\n  items: [{metadata: {name: p}}]\n",
    );
    assert_eq!(codes(&parsed), []);
    assert!(matches!(parsed.objects[0].body, Body::Namespace));
    assert!(matches!(parsed.objects[1].body, Body::Pod(_)));
    assert_eq!(parsed.objects[1].meta.namespace.as_ref().unwrap().value, "default");
}

#[test]
fn other_kinds_are_counted_and_documents_without_a_kind_are_named() {
    let parsed = read("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\nreplicas: 3\n");
    let reasons: Vec<SkipReason> = parsed.skipped.iter().map(|s| s.reason).collect();
    assert_eq!(reasons, [SkipReason::OtherKind, SkipReason::NotAnObject]);
    assert_eq!(parsed.skipped[0].kind, "ConfigMap");
    assert_eq!(parsed.diagnostics.len(), 1);
}

#[test]
fn a_policy_of_a_retired_api_version_is_an_error() {
    let parsed = read(
        "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {podSelector: {}}\n",
    );
    assert_eq!((codes(&parsed), parsed.objects.len()), (vec![schema::UNSERVED_KIND], 0));
    assert!(parsed.diagnostics[0].help.as_ref().unwrap().contains("networking.k8s.io/v1"));
}

#[test]
fn a_clusterwide_policy_has_no_namespace() {
    let parsed = read(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: a}\nspec: {nodeSelector: {}, ingress: [{}]}\n",
    );
    assert!(parsed.objects[0].meta.namespace.is_none());
    let Body::Cilium(policy) = &parsed.objects[0].body else { panic!() };
    assert!(policy.clusterwide && matches!(policy.rules[0].subject, Subject::Nodes(_)));
}

#[test]
fn the_older_cluster_policies_are_read_as_the_newer_one() {
    let parsed = read(
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\nmetadata: {name: default}\nspec:\n  subject: {namespaces: {}}\n  ingress:\n  - action: Allow\n    from: [{namespaces: {}}]\n    ports: [{portNumber: {port: 80, protocol: TCP}}, {portRange: {start: 1, end: 2, protocol: UDP}}]\n  egress:\n  - action: Deny\n    to: [{networks: [10.0.0.0/8]}]\n",
    );
    assert_eq!(codes(&parsed), [schema::OUTDATED_KIND]);
    let Body::Cluster(policy) = &parsed.objects[0].body else { panic!() };
    let ports = &policy.ingress[0].ports.as_ref().unwrap().value;
    assert_eq!(
        (ports[1].port.clone(), ports[1].end, ports[1].protocol),
        (PortValue::Number(1), Some(2), Protocol::Udp)
    );
    assert!(matches!(policy.egress[0].peers[0].what, ClusterPeerKind::Networks(_)));
}

#[test]
fn pods_and_workloads_tell_what_policy_needs() {
    let parsed = read(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: p
  labels: {app: web}
  ownerReferences: [{kind: ReplicaSet, name: web-1, controller: true}]
spec:
  containers:
  - ports: [{name: http, containerPort: 8080}, {containerPort: 53, protocol: UDP, hostPort: 53}]
    livenessProbe: {httpGet: {port: http}}
  initContainers:
  - {restartPolicy: Always, ports: [{containerPort: 15001}]}
  - {ports: [{containerPort: 1}]}
status: {phase: Succeeded, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: shop}
spec:
  replicas: 3
  template: {metadata: {labels: {app: d}}, spec: {serviceAccountName: robot, hostNetwork: true}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: c}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: c}}, spec: {}}}}}
"#,
    );
    assert_eq!(codes(&parsed), []);
    let Body::Pod(pod) = &parsed.objects[0].body else { panic!() };
    assert_eq!(pod.ports.iter().map(|p| p.port).collect::<Vec<_>>(), [8080, 53, 15001]);
    assert_eq!((pod.ips.len(), pod.finished, pod.service_account.as_str()), (2, true, "default"));
    assert_eq!(pod.probes[0].value, PortValue::Name("http".into()));
    assert_eq!(pod.owner, Some(("ReplicaSet".into(), "web-1".into())));
    let Body::Workload(workload) = &parsed.objects[1].body else { panic!() };
    assert_eq!(
        (workload.replicas, workload.pod.host_network, workload.pod.service_account.as_str()),
        (3, true, "robot")
    );
    let Body::Workload(cron) = &parsed.objects[2].body else { panic!() };
    assert_eq!((cron.replicas, cron.labels[0].1.as_str()), (1, "c"));
}

#[test]
fn an_object_whose_label_is_no_string_will_not_be_in_the_cluster() {
    let parsed = read(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {metadata: {labels: {canary: yes}}}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {version: 1}}\n",
    );
    assert_eq!(codes(&parsed), [schema::BOOLEAN_WORD, schema::WRONG_TYPE]);
    assert!(parsed.objects.iter().all(|o| o.fate == Fate::Refused));
}

#[test]
fn services_endpoints_nodes_and_ciliums_own_objects_are_read() {
    let parsed = read(
        r#"
{apiVersion: v1, kind: Service, metadata: {name: s, annotations: {service.cilium.io/global: "true", x: y}}, spec: {type: NodePort, selector: {app: web}, clusterIPs: [10.96.0.10], ports: [{port: 80, targetPort: http, nodePort: 30080}]}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}, endpoints: [{addresses: [10.0.0.1]}]}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: e}, subsets: [{addresses: [{ip: 10.0.0.2}]}]}
---
{apiVersion: v1, kind: Node, metadata: {name: n}, spec: {podCIDR: 10.0.0.0/24}, status: {addresses: [{type: InternalIP, address: 192.0.2.9}, {type: Hostname, address: n}]}}
---
{apiVersion: cilium.io/v2, kind: CiliumIdentity, metadata: {name: "4711"}, security-labels: {"k8s:app": web}}
---
{apiVersion: cilium.io/v2, kind: CiliumEndpoint, metadata: {name: p}, status: {identity: {id: 4711, labels: ["k8s:app=web"]}, networking: {addressing: [{ipv4: 10.0.0.1}]}, named-ports: [{name: http, port: 80, protocol: TCP}]}}
---
{apiVersion: cilium.io/v2alpha1, kind: CiliumCIDRGroup, metadata: {name: g}, spec: {externalCIDRs: [192.0.2.1/24]}}
"#,
    );
    assert_eq!(codes(&parsed), []);
    let Body::Service(service) = &parsed.objects[0].body else { panic!() };
    assert_eq!(service.ports[0].target, PortValue::Name("http".into()));
    assert_eq!(
        (service.kind.as_str(), service.cluster_ips.len(), service.balancer_ips.len()),
        ("NodePort", 1, 1)
    );
    assert_eq!(parsed.objects[0].meta.annotations.len(), 1);
    let Body::Endpoints(slice) = &parsed.objects[1].body else { panic!() };
    assert_eq!((slice.service.as_str(), slice.addresses.len()), ("s", 1));
    let Body::Node(node) = &parsed.objects[3].body else { panic!() };
    assert_eq!((node.ips.len(), node.pod_cidrs.len()), (1, 1));
    let Body::CiliumIdentity(labels) = &parsed.objects[4].body else { panic!() };
    assert_eq!(labels[0], "k8s:app=web");
    let Body::CiliumEndpoint(endpoint) = &parsed.objects[5].body else { panic!() };
    assert_eq!((endpoint.identity, endpoint.ports[0].port), (Some(4711), 80));
    let Body::CidrGroup(group) = &parsed.objects[6].body else { panic!() };
    assert_eq!(group.cidrs[0].value.to_string(), "192.0.2.0/24");
}

#[test]
fn what_the_api_server_refuses_of_services_and_slices_is_refused() {
    let service =
        |spec: &str| format!("{{apiVersion: v1, kind: Service, metadata: {{name: s}}, spec: {{{spec}}}}}\n");
    for (spec, code) in [
        ("ports: [{port: 0}]", Code(153)),
        ("ports: [{port: 80, protocol: tcp}]", Code(126)),
        ("ports: [{port: 80}, {port: 81, name: a}]", Code(104)),
        ("ports: [{port: 80, name: a}, {port: 80, name: b}]", Code(160)),
        ("ports: [{port: 80, name: a}, {port: 81, name: a}]", Code(160)),
        ("ports: [{port: 80, targetPort: '8080'}]", Code(123)),
        ("ports: [{protocol: TCP}]", Code(104)),
        ("ports: [{port: 80, nodePort: 30080}]", Code(162)),
        ("type: Nodeport, ports: [{port: 80}]", Code(146)),
        ("externalTrafficPolicy: Local, ports: [{port: 80}]", Code(162)),
        ("type: LoadBalancer, healthCheckNodePort: 32000, ports: [{port: 80}]", Code(162)),
        ("type: NodePort, clusterIP: None, ports: [{port: 80}]", Code(162)),
        ("sessionAffinity: Client, ports: [{port: 80}]", Code(146)),
        (
            "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}, ports: [{port: 80}]",
            Code(153),
        ),
        ("trafficDistribution: PreferZone, ports: [{port: 80}]", Code(146)),
        ("externalIPs: [127.0.0.1], ports: [{port: 80}]", Code(161)),
        ("type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.1], ports: [{port: 80}]", Code(118)),
    ] {
        let parsed = read(&service(spec));
        assert_eq!(codes(&parsed), [code], "{spec}");
        assert_eq!(parsed.objects[0].fate, Fate::Refused, "{spec}");
    }
    let same = "ports: [{port: 53, name: a}, {port: 53, name: b, protocol: UDP}]";
    assert_eq!(codes(&read(&service(same))), []);
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s}, addressType: IPv6, ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1]}]}\n";
    assert_eq!(codes(&read(slice)), [Code(161)]);
}
