//! What a review says of nine changes, worked out by hand: kinds, ends, ports and the policy behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use portcullis_ir::{Direction, Verdict};
use portcullis_sema::describe::PeerGroup;
use portcullis_sema::diff::{Cause, Finding, FindingKind, Review, SideChange};
use portcullis_snapshot_tests::case::{Case, root};
use portcullis_snapshot_tests::findings::review;

fn of(name: &str) -> Review {
    let case = Case::read(&root().join("policies/examples").join(name)).unwrap();
    review(case.side("base").unwrap(), case.side("head").unwrap())
}

/// Every end by its name: workloads, then the rest.
fn ends(g: &PeerGroup) -> Vec<String> {
    let workloads = g.workloads.iter().map(|(w, _)| format!("{}/{}", w.namespace, w.name));
    workloads.chain(g.others.iter().cloned()).collect()
}

/// A finding in one line: kind, sources, destinations, ports.
fn line(f: &Finding) -> String {
    format!(
        "{:?}: {} -> {}: {}",
        f.kind,
        ends(&f.sources).join(" "),
        ends(&f.destinations).join(" "),
        f.ports
    )
}

fn lines(r: &Review) -> Vec<String> {
    let mut all: Vec<String> = r.findings.iter().map(line).collect();
    all.sort();
    all
}

/// `rules p`, `default deny by p q`, …
fn cause(c: &Cause) -> String {
    let names = |all: Vec<&str>| all.join(" ");
    match c {
        Cause::Rules(r) => format!("rules {}", names(r.iter().map(|r| r.policy.name.as_str()).collect())),
        Cause::DefaultDeny(p) => {
            format!("default deny by {}", names(p.iter().map(|p| p.policy.name.as_str()).collect()))
        }
        Cause::Localhost => "localhost".to_owned(),
        Cause::NotEnforced => "not enforced".to_owned(),
    }
}

/// What a side said before and says now.
fn causes(s: &SideChange) -> [String; 2] {
    [cause(&s.base.cause), cause(&s.head.cause)]
}

/// The only cause that the findings' ingress, or egress, sides have.
fn all_causes(r: &Review, d: Direction) -> [String; 2] {
    let mut all: Vec<[String; 2]> = r
        .findings
        .iter()
        .filter_map(|f| if d == Direction::Ingress { f.ingress.as_ref() } else { f.egress.as_ref() })
        .map(causes)
        .collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Changed and added policies by name.
fn touched(r: &Review) -> [Vec<&str>; 3] {
    [&r.policies.added, &r.policies.removed, &r.policies.changed]
        .map(|l| l.iter().map(|o| o.name.as_str()).collect())
}

const EVERYBODY_ELSE: &str = "health ingress kube-apiserver remote-node world";

#[test]
fn the_first_policy_on_a_pod_denies_everybody_it_does_not_name() {
    let r = of("payments");
    let found = lines(&r);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found.contains(&format!("Denied: {EVERYBODY_ELSE} -> payments/api: every port")), "{found:#?}");
    assert!(found.contains(&"Denied: payments/web -> payments/api: every port except TCP 8080".to_owned()));
    let others = r.findings.iter().find(|f| f.sources.workloads.len() > 1).unwrap();
    assert_eq!((others.sources.workloads.len(), others.ports.to_string().as_str()), (8, "every port"));
    assert_eq!(all_causes(&r, Direction::Ingress), ["not enforced", "default deny by api-allow-web"]);
    let [t] = r.transitions.as_slice() else { panic!("{:?}", r.transitions) };
    assert!(t.on && t.direction == Direction::Ingress && ends(&t.endpoints) == ["payments/api"]);
    assert_eq!(t.by.first().unwrap().policy.name, "api-allow-web");
    // The host is never cut off (SEM-5.5).
    assert!(found.iter().all(|l| !l.contains(" host ")), "{found:#?}");
    assert_eq!(touched(&r), [vec!["api-allow-web"], vec![], vec![]]);
}

#[test]
fn a_renamed_label_denies_the_pod_as_a_peer_and_opens_it_as_a_subject() {
    let r = of("label-renamed");
    let denied: Vec<&Finding> = r.findings.iter().filter(|f| f.kind == FindingKind::Denied).collect();
    let [d] = denied.as_slice() else { panic!("{:?}", lines(&r)) };
    assert_eq!(line(d), "Denied: bazaar/storefront -> bazaar/orders: TCP 8443");
    assert_eq!(
        causes(d.ingress.as_ref().unwrap()),
        ["rules orders-from-storefront", "default deny by orders-from-storefront"]
    );
    let opened: Vec<&Finding> = r.findings.iter().filter(|f| f.kind == FindingKind::Allowed).collect();
    assert!(opened.iter().all(|f| ends(&f.destinations) == ["bazaar/storefront"]), "{:?}", lines(&r));
    assert!(
        opened
            .iter()
            .any(|f| line(f) == "Allowed: edge/proxy -> bazaar/storefront: every port except TCP 8080")
    );
    assert!(
        opened
            .iter()
            .any(|f| line(f) == format!("Allowed: {EVERYBODY_ELSE} -> bazaar/storefront: every port"))
    );
    let [t] = r.transitions.as_slice() else { panic!("{:?}", r.transitions) };
    assert!(!t.on && ends(&t.endpoints) == ["bazaar/storefront"]);
    assert_eq!(touched(&r), [const { Vec::<&str>::new() }; 3]);
}

#[test]
fn a_narrowed_range_denies_exactly_the_ports_above_it() {
    let r = of("port-range-narrowed");
    assert_eq!(lines(&r), ["Denied: world -> arena/match: UDP 30500-30999"]);
    assert_eq!(all_causes(&r, Direction::Ingress), ["rules match-players", "default deny by match-players"]);
    assert!(r.transitions.is_empty());
    assert_eq!(touched(&r), [vec![], vec![], vec!["match-players"]]);
}

#[test]
fn a_deny_added_over_an_allow_is_the_cause() {
    let r = of("deny-over-allow");
    assert_eq!(lines(&r), ["Denied: archive/exporter -> archive/store: TCP 9000"]);
    assert_eq!(all_causes(&r, Direction::Ingress), ["rules store-clients", "rules store-no-batch"]);
    let Some(Cause::Rules(rules)) =
        r.findings.first().and_then(|f| f.ingress.as_ref()).map(|s| &s.head.cause)
    else {
        panic!("no rule")
    };
    assert!(rules.iter().all(|r| r.action == portcullis_ir::Action::Deny));
}

#[test]
fn an_except_denies_what_no_other_rule_allows() {
    let r = of("except-added");
    assert_eq!(lines(&r), ["Denied: feeds/fetcher -> 198.51.100.128/25 except 198.51.100.200/32: TCP 443"]);
    let [before, after] = all_causes(&r, Direction::Egress);
    assert_eq!(before, "rules fetcher-partners");
    assert!(after.starts_with("default deny by ") && after.contains("fetcher-partners"), "{after}");
}

#[test]
fn a_label_removed_from_a_namespace_denies_its_pods_without_any_policy_changing() {
    let r = of("namespace-label-removed");
    assert_eq!(lines(&r), ["Denied: analytics/notebook analytics/scheduler -> warehouse/columns: TCP 5432"]);
    assert_eq!(
        all_causes(&r, Direction::Ingress),
        ["rules columns-from-insight", "default deny by columns-from-insight"]
    );
    assert_eq!(touched(&r), [const { Vec::<&str>::new() }; 3]);
}

#[test]
fn a_switch_from_false_to_true_makes_idle_allows_a_lock() {
    let r = of("default-deny-toggled");
    let found = lines(&r);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found.contains(&"Denied: media/uploader -> media/transcoder: every port except TCP 8080".to_owned())
    );
    assert!(found.contains(&format!("Denied: {EVERYBODY_ELSE} -> media/transcoder: every port")));
    assert_eq!(all_causes(&r, Direction::Ingress), ["not enforced", "default deny by transcoder-ingress"]);
    let [t] = r.transitions.as_slice() else { panic!("{:?}", r.transitions) };
    assert!(t.on && ends(&t.endpoints) == ["media/transcoder"]);
}

#[test]
fn a_pass_removed_lets_the_admin_deny_decide() {
    let r = of("admin-pass-removed");
    assert_eq!(
        lines(&r),
        [
            "Denied: monitoring/grafana monitoring/prometheus -> clinic/desk clinic/records: TCP 9100",
            "Denied: monitoring/prometheus -> clinic/vault: TCP 9100"
        ]
    );
    for f in &r.findings {
        let s = f.ingress.as_ref().unwrap();
        assert_eq!(cause(&s.head.cause), "rules restricted-zone");
        assert_eq!((s.base.verdict, s.head.verdict), (Verdict::Allowed, Verdict::Denied));
    }
    assert!(r.transitions.is_empty(), "SEM-5.6");
    assert_eq!(touched(&r), [vec![], vec![], vec!["restricted-zone"]]);
}

#[test]
fn a_pattern_narrowed_by_a_star_denies_the_deeper_names() {
    let r = of("fqdn-pattern-narrowed");
    assert_eq!(lines(&r), ["Denied: builds/runner -> **.mirror.example except *.mirror.example: TCP 443"]);
    let [before, after] = all_causes(&r, Direction::Egress);
    assert_eq!(before, "rules runner-mirrors");
    assert!(after.starts_with("default deny by ") && after.contains("runner-mirrors"), "{after}");
    assert_eq!(touched(&r), [vec![], vec![], vec!["runner-mirrors"]]);
}
