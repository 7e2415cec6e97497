//! Hand-made reports over a few small files: what the engines would say of them.

use portcullis_diag::{Diagnostic, Fate, FileId, ObjectRef, Severity, SourceMap, Span, codes};
use portcullis_ir::{Action, Direction, L4, Tier, Verdict, Workload};
use portcullis_report::{
    CheckReport, ClusterSource, Coverage, DiffReport, ExplainedSide, Explanation, ReachReport, StepsReport,
};
use portcullis_sema::PortSet;
use portcullis_sema::describe::PeerGroup;
use portcullis_sema::diff::{
    Cause, Example, Finding, FindingKind, PolicyChanges, PolicyRef, Review, RuleRef, SideChange, SideVerdict,
    Totals, Transition,
};
use portcullis_sema::ports::range;
use portcullis_sema::reach::{Edge, Reach};
use portcullis_sema::steps::{Cut, Hop, Layer, Steps};

pub(crate) const BASE: &str = "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: api
  namespace: payments
spec:
  endpointSelector:
    matchLabels:
      app: api
  ingress:
  - fromEndpoints:
    - matchLabels:
        k8s:io.kubernetes.pod.namespace: shop
    toPorts:
    - ports:
      - port: \"8080\"
        protocol: TCP
";

pub(crate) const HEAD: &str = "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: api
  namespace: payments
spec:
  endpointSelector:
    matchLabels:
      app: api
  ingress:
  - fromEndpoints:
    - matchLabels:
        k8s:io.kubernetes.pod.namespace: shop
        app: web
    toPorts:
    - ports:
      - port: \"8080\"
        protocol: TCP
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: lock
  namespace: shop
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingres:
  - {}
";

pub(crate) struct Files {
    pub(crate) sources: SourceMap,
    pub(crate) base: FileId,
    pub(crate) head: FileId,
}

pub(crate) fn files() -> Files {
    let mut sources = SourceMap::new();
    let base = sources.add("main:policies/payments/api.yaml", BASE);
    let head = sources.add("policies/payments/api.yaml", HEAD);
    Files { sources, base, head }
}

/// The span of the `nth` occurrence of `text`.
pub(crate) fn find(file: FileId, source: &str, text: &str) -> Span {
    let at = source.find(text).expect("the text is in the file");
    Span::new(file, at as u32, (at + text.len()) as u32)
}

pub(crate) fn object(kind: &str, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef { kind: kind.to_owned(), namespace: Some(namespace.to_owned()), name: name.to_owned() }
}

pub(crate) fn workload(namespace: &str, name: &str) -> Workload {
    Workload { namespace: namespace.into(), name: name.into(), kind: "Deployment".into() }
}

pub(crate) fn group(names: &[(&str, &str, u32)], others: &[&str], summary: &str) -> PeerGroup {
    PeerGroup {
        workloads: names.iter().map(|(ns, n, pods)| (workload(ns, n), *pods)).collect(),
        others: others.iter().map(|s| (*s).to_owned()).collect(),
        summary: summary.to_owned(),
        pods: names.iter().map(|(_, _, p)| u64::from(*p)).sum(),
    }
}

fn side(verdict: Verdict, cause: Cause) -> SideVerdict {
    SideVerdict { verdict, cause, l7: None }
}

fn open() -> SideVerdict {
    side(Verdict::Allowed, Cause::NotEnforced)
}

fn both(direction: Direction, v: &SideVerdict) -> SideChange {
    SideChange { direction, base: v.clone(), head: v.clone() }
}

pub(crate) fn coverage() -> Coverage {
    Coverage {
        cluster: ClusterSource::Given("cluster.yaml".to_owned()),
        files: 12,
        documents: 1340,
        policies: 57,
        policies_left_out: 1,
        pods: 1234,
        workloads: 210,
        namespaces: 14,
        host_network: 9,
        skipped: vec![("Helm template".to_owned(), 3), ("kustomize patch".to_owned(), 1)],
        notes: vec!["2 services have no endpoints, so toServices to them selects nothing".to_owned()],
    }
}

pub(crate) fn api_rule(file: FileId, text: &str, action: Action) -> RuleRef {
    let entry = &text[text.find("  - fromEndpoints").expect("an entry")..];
    let start = text.len() - entry.len() + 2;
    let end = start + entry.find("---").unwrap_or(entry.len()) - 3;
    let ports = text.find("- ports:").expect("ports");
    RuleRef {
        policy: object("CiliumNetworkPolicy", "payments", "api"),
        span: Span::new(file, ports as u32, end as u32),
        entry: Span::new(file, start as u32, end as u32),
        action,
        tier: Tier::Normal,
    }
}

pub(crate) fn diff() -> (Files, DiffReport) {
    let files = files();
    let api = object("CiliumNetworkPolicy", "payments", "api");
    let by_api = PolicyRef {
        policy: api.clone(),
        span: find(files.head, HEAD, "ingress:\n  - fromEndpoints:"),
        name_span: find(files.head, HEAD, "api\n"),
    };
    let lock = PolicyRef {
        policy: object("NetworkPolicy", "shop", "lock"),
        span: find(files.head, HEAD, "[Ingress]"),
        name_span: find(files.head, HEAD, "lock"),
    };
    let denied = Finding {
        kind: FindingKind::Denied,
        sources: group(&[("shop", "cron", 1), ("shop", "mailer", 3)], &[], "shop/cron and shop/mailer"),
        destinations: group(&[("payments", "api", 4)], &[], "payments/api"),
        ports: PortSet::new([range(L4::Tcp, 8080, 8080)]),
        declared: PortSet::new([range(L4::Tcp, 8080, 8080)]),
        egress: Some(both(Direction::Egress, &open())),
        ingress: Some(SideChange {
            direction: Direction::Ingress,
            base: side(Verdict::Allowed, Cause::Rules(vec![api_rule(files.base, BASE, Action::Allow)])),
            head: side(Verdict::Denied, Cause::DefaultDeny(vec![by_api])),
        }),
        flows: 2,
        pods: 8,
        example: Example {
            from: "shop/cron".to_owned(),
            to: "payments/api".to_owned(),
            port: "8080/TCP".to_owned(),
        },
        help: "to keep these flows, add an ingress rule to CiliumNetworkPolicy payments/api".to_owned(),
        patch: "- fromEndpoints:\n  - matchLabels:\n      k8s:io.kubernetes.pod.namespace: shop\n      app: cron\n"
            .to_owned(),
    };
    let shop: Vec<(String, u32)> = (1..=7).map(|i| (format!("shop-{i}"), i)).collect();
    let shop: Vec<(&str, &str, u32)> = shop.iter().map(|(n, p)| ("shop", n.as_str(), *p)).collect();
    let shop = group(&shop, &[], "every workload in namespace shop (7)");
    let closed = Finding {
        kind: FindingKind::Denied,
        sources: group(&[], &["world"], "the world"),
        destinations: shop.clone(),
        ports: PortSet::all(),
        declared: PortSet::new([range(L4::Tcp, 8080, 8080), range(L4::Tcp, 9090, 9090)]),
        egress: None,
        ingress: Some(SideChange {
            direction: Direction::Ingress,
            base: open(),
            head: side(Verdict::Denied, Cause::DefaultDeny(vec![lock.clone()])),
        }),
        flows: 7,
        pods: 28,
        example: Example {
            from: "entity:world".to_owned(),
            to: "shop/shop-1".to_owned(),
            port: "443/TCP".to_owned(),
        },
        help: "to keep these flows, add an ingress rule to NetworkPolicy shop/lock".to_owned(),
        patch: String::new(),
    };
    let mut proxied = side(Verdict::Allowed, Cause::Rules(vec![api_rule(files.head, HEAD, Action::Allow)]));
    proxied.l7 = Some("HTTP GET /v1/.*".to_owned());
    let l7 = Finding {
        kind: FindingKind::L7,
        sources: group(&[("shop", "web", 2)], &[], "shop/web"),
        destinations: group(&[("payments", "api", 4)], &[], "payments/api"),
        ports: PortSet::new([range(L4::Tcp, 8080, 8080)]),
        declared: PortSet::default(),
        egress: Some(both(Direction::Egress, &open())),
        ingress: Some(SideChange {
            direction: Direction::Ingress,
            base: side(Verdict::Allowed, Cause::Rules(vec![api_rule(files.base, BASE, Action::Allow)])),
            head: proxied,
        }),
        flows: 1,
        pods: 6,
        example: Example::default(),
        help: String::new(),
        patch: String::new(),
    };
    let allowed = Finding {
        kind: FindingKind::Allowed,
        sources: group(&[("shop", "web", 2)], &[], "shop/web"),
        destinations: group(&[], &["*.example.com", "10.0.0.0/8 except 10.1.0.0/16"], ""),
        ports: PortSet::new([range(L4::Tcp, 443, 443), range(L4::Udp, 53, 53)]),
        declared: PortSet::default(),
        egress: Some(SideChange {
            direction: Direction::Egress,
            base: side(Verdict::Denied, Cause::Rules(vec![api_rule(files.base, BASE, Action::Deny)])),
            head: open(),
        }),
        ingress: None,
        flows: 2,
        pods: 2,
        example: Example {
            from: "shop/web".to_owned(),
            to: "*.example.com".to_owned(),
            port: "443/TCP".to_owned(),
        },
        help: "to keep them denied, keep the egressDeny rule".to_owned(),
        patch: String::new(),
    };
    let review = Review {
        findings: vec![closed, denied, l7, allowed],
        transitions: vec![Transition {
            direction: Direction::Ingress,
            on: true,
            endpoints: shop,
            by: vec![lock],
            flows: 7,
            cut_off: "the world".to_owned(),

            cut_off_partly: String::new(),
        }],
        totals: Totals {
            denied: 9,
            allowed: 2,
            l7: 1,
            denied_workloads: 10,
            allowed_workloads: 1,
            l7_workloads: 2,
            newly_default_deny: 7,
        },
        added: vec![workload("shop", "new")],
        removed: vec![],
        masked_flows: 3,
        policies: PolicyChanges {
            added: vec![object("NetworkPolicy", "shop", "lock")],
            removed: vec![],
            changed: vec![api],
        },
    };
    let report = DiffReport {
        base: "main".to_owned(),
        head: "policies".to_owned(),
        review,
        blocking: vec![],
        diagnostics: vec![],
        left_out: vec![],
        explain_with: ["policies", "--cluster", "cluster.yaml"].map(str::to_owned).to_vec(),
        coverage: coverage(),
        recording: None,
        traffic: Vec::new(),
    };
    (files, report)
}

/// One finding of each severity; labels in two files; one without a place.
pub(crate) fn diagnostics(files: &Files) -> Vec<Diagnostic> {
    vec![
        Diagnostic::new(
            codes::schema::UNKNOWN_FIELD,
            "the field is dropped, and what is left allows nobody",
            find(files.head, HEAD, "ingres:"),
        )
        .label("no field of this name")
        .help("did you mean `ingress`?")
        .fate(Fate::Refused)
        .object(object("NetworkPolicy", "shop", "lock")),
        Diagnostic::new(
            codes::syntax::DUPLICATE_KEY,
            "the rule differs from the one it replaces, so web alone is left",
            find(files.head, HEAD, "app: web"),
        )
        .label("asked for here")
        .also(find(files.head, HEAD, "k8s:io.kubernetes.pod.namespace: shop"), "as well as this")
        .also(find(files.base, BASE, "matchLabels:\n        k8s"), "the older selector")
        .severity(Severity::Warning),
        Diagnostic::new(
            codes::syntax::TEMPLATE_SKIPPED,
            "a Helm template was left out: render it first",
            find(files.head, HEAD, "apiVersion: networking"),
        ),
        Diagnostic::without_place(codes::syntax::UNREADABLE, "the folder `policies/gone` could not be read")
            .fate(Fate::Unreadable)
            .help("check the path"),
    ]
}

pub(crate) fn check() -> (Files, CheckReport) {
    let files = files();
    let diagnostics = diagnostics(&files);
    (files, CheckReport { diagnostics, coverage: coverage() })
}

pub(crate) fn explanation() -> (Files, Explanation) {
    let files = files();
    let api = object("CiliumNetworkPolicy", "payments", "api");
    let rule = api_rule(files.head, HEAD, Action::Allow);
    let by = PolicyRef {
        policy: api,
        span: find(files.head, HEAD, "ingress:\n  - fromEndpoints:"),
        name_span: find(files.head, HEAD, "api\n"),
    };
    let sides = vec![
        ExplainedSide {
            direction: Direction::Egress,
            subject: "shop/cron".to_owned(),
            verdict: Verdict::Allowed,
            cause: Cause::NotEnforced,
            matched: vec![],
            missed: vec![],
            l7: None,
            plain: Vec::new(),
        },
        ExplainedSide {
            direction: Direction::Ingress,
            subject: "payments/api".to_owned(),
            verdict: Verdict::Denied,
            cause: Cause::DefaultDeny(vec![by]),
            matched: vec![],
            missed: vec![(rule, "its peers are app=web in namespace shop".to_owned())],
            l7: None,
            plain: Vec::new(),
        },
    ];
    let e = Explanation {
        from: "shop/cron".to_owned(),
        to: "payments/api (Deployment)".to_owned(),
        port: "TCP 8080".to_owned(),
        verdict: Verdict::Denied,
        sides,
        notes: vec!["10.96.0.12 is the ClusterIP of Service payments/api".to_owned()],
        blocking: vec![],
        coverage: coverage(),
    };
    (files, e)
}

pub(crate) fn reach() -> (Files, ReachReport) {
    let files = files();
    let web = group(&[("shop", "web", 2)], &[], "shop/web");
    let api = group(&[("payments", "api", 4)], &[], "payments/api");
    let world = group(&[], &["world"], "the world");
    let names: Vec<String> = (1..=9).map(|i| format!("job-{i}")).collect();
    let jobs: Vec<(&str, &str, u32)> = names.iter().map(|n| ("batch", n.as_str(), 1)).collect();
    let jobs = group(&jobs, &[], "every workload in namespace batch (9)");
    let tcp = |p| PortSet::new([range(L4::Tcp, p, p)]);
    let edge = |sources: &PeerGroup, destinations: &PeerGroup, ports, redirected| Edge {
        sources: sources.clone(),
        destinations: destinations.clone(),
        ports,
        redirected,
    };
    let edges = vec![
        edge(&jobs, &api, tcp(8080), false),
        edge(&jobs, &world, PortSet::all(), false),
        edge(&web, &api, tcp(8080), true),
        edge(&world, &web, tcp(443), false),
        edge(
            &api,
            &group(&[("payments", "db", 3)], &["10.0.0.0/8"], "payments/db and 10.0.0.0/8"),
            tcp(5432),
            false,
        ),
    ];
    let reach = Reach {
        edges,
        isolated: vec![workload("batch", "job-1"), workload("tools", "<b>\"lost\"&|")],
        groups: vec![vec![workload("shop", "web"), workload("payments", "api")]],
    };
    (files, ReachReport { reach, groups_only: false, blocking: vec![], coverage: coverage() })
}

/// A way of two hops that every rule on it cuts, and the way that would be left if none did.
pub(crate) fn steps() -> (Files, StepsReport) {
    let files = files();
    let rule = api_rule(files.head, HEAD, Action::Allow);
    let world = group(&[], &["world"], "the world");
    let web = group(&[("shop", "web", 2)], &[], "shop/web");
    let api = group(&[("payments", "api", 4)], &[], "payments/api");
    let hop = |from: &PeerGroup, to: &PeerGroup, rules: &[RuleRef], open: &[Direction]| Hop {
        from: from.clone(),
        to: to.clone(),
        ports: PortSet::new([range(L4::Tcp, 8080, 8080)]),
        rules: rules.to_vec(),
        open: open.to_vec(),
    };
    let way = vec![
        hop(&world, &web, &[], &[Direction::Ingress]),
        hop(&web, &api, std::slice::from_ref(&rule), &[Direction::Egress]),
    ];
    let steps = Steps {
        layers: vec![Layer { hops: 1, whom: web.clone() }, Layer { hops: 2, whom: api.clone() }],
        from: world,
        to: Some(api),
        cut: Some(Cut { sets: vec![vec![rule]], open: way.clone(), at_least: 0, complete: true }),
        way,
    };
    (files, StepsReport { steps, blocking: vec![], coverage: coverage() })
}
