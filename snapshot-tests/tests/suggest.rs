//! Additions for denied flows on random clusters and changes: what was asked for passes, and nothing opens beyond what is
//! stated. The interpreter says so, not the engine that the additions were found and checked with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::{Fate, FileId, ObjectRef, Severity, SourceMap};
use portcullis_front::ast::Object;
use portcullis_ir::lower::is_policy;
use portcullis_ir::{Direction, Flow, FlowPort, PeerRef, Reason, Reserved, Tier, Verdict};
use portcullis_snapshot_tests::generate::{Choices, World, changed, world};
use portcullis_snapshot_tests::probe;
use portcullis_snapshot_tests::side::{Side, Source};
use portcullis_suggest::{Suggestion, Task, Wanted, Why, opened, suggest};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Everything that a flow can come from or go to.
fn ends(sides: &[&Side]) -> Vec<PeerRef> {
    let mut out: Vec<PeerRef> = sides[0].cluster.endpoints().map(|(id, _)| PeerRef::Endpoint(id)).collect();
    out.extend(
        [Reserved::Host, Reserved::RemoteNode, Reserved::KubeApiserver, Reserved::Ingress, Reserved::Health]
            .map(PeerRef::Reserved),
    );
    let names = probe::names(sides);
    for ip in probe::addresses(sides).into_iter().take(12) {
        out.push(PeerRef::External { ip, names: Vec::new() });
        for name in names.iter().take(2) {
            out.push(PeerRef::External { ip, names: vec![name.clone()] });
        }
    }
    out
}

fn judge(side: &Side, from: &PeerRef, to: &PeerRef, port: FlowPort) -> Verdict {
    side.oracle().judge(&Flow { from: from.clone(), to: to.clone(), port }).verdict()
}

/// The policies with a suggestion in their texts.
fn patched(texts: &[Source], ids: &[FileId], found: &Suggestion) -> Vec<Source> {
    let mut out: Vec<Source> = texts
        .iter()
        .zip(ids)
        .map(|(t, id)| match found.edits.iter().find(|(f, _)| f == id) {
            Some((_, text)) => Source::new(&t.name, text.clone()),
            None => Source::new(&t.name, t.text.clone()),
        })
        .collect();
    for (n, created) in found.created.iter().enumerate() {
        out.push(Source::new(&format!("new-{n}.yaml"), created.text.clone()));
    }
    out
}

/// How policies are written.
#[allow(clippy::struct_excessive_bools, reason = "each is a way of writing that goes with every other")]
struct Manner {
    block: bool,
    dash: usize,
    step: usize,
    comments: bool,
    crlf: bool,
    one_file: bool,
}

impl Manner {
    /// Policies as block YAML.
    fn texts(&self, policies: &[Value]) -> Vec<Source> {
        let each = policies.iter().map(|p| {
            let mut out = String::new();
            self.value(p, 0, &mut out);
            if self.crlf { out.replace('\n', "\r\n") } else { out }
        });
        if self.one_file {
            let end = if self.crlf { "---\r\n" } else { "---\n" };
            return vec![Source::new("all.yaml", each.collect::<Vec<_>>().join(end))];
        }
        each.enumerate().map(|(n, text)| Source::new(&format!("{n}.yaml"), text)).collect()
    }

    fn value(&self, v: &Value, indent: usize, out: &mut String) {
        let pad = " ".repeat(indent);
        match v {
            Value::Object(map) => {
                for (n, (key, v)) in map.iter().enumerate() {
                    if self.comments && n % 3 == 1 {
                        writeln!(out, "{pad}# {key}").unwrap();
                    }
                    let simple = key.bytes().all(|b| b.is_ascii_alphanumeric());
                    let key = if simple { key.clone() } else { json!(key).to_string() };
                    let tail = if self.comments && n % 2 == 0 { "  # see above" } else { "" };
                    match v {
                        Value::Object(m) if !m.is_empty() => {
                            writeln!(out, "{pad}{key}:{tail}").unwrap();
                            self.value(v, indent + self.step, out);
                        }
                        Value::Array(l) if !l.is_empty() => {
                            writeln!(out, "{pad}{key}:{tail}").unwrap();
                            self.value(v, indent + self.dash, out);
                        }
                        _ => writeln!(out, "{pad}{key}: {v}{tail}").unwrap(),
                    }
                }
            }
            Value::Array(list) => {
                for v in list {
                    let mut item = String::new();
                    match v {
                        Value::Object(m) if !m.is_empty() => self.value(v, indent + 2, &mut item),
                        _ => writeln!(item, "{}{v}", " ".repeat(indent + 2)).unwrap(),
                    }
                    writeln!(out, "{pad}- {}", item.trim()).unwrap();
                    if self.comments {
                        writeln!(out, "{pad}   # the end of it").unwrap();
                    }
                }
            }
            _ => writeln!(out, "{pad}{v}").unwrap(),
        }
    }
}

/// Policies that differ in peers and ports and in nothing else: an addition to one of their entries is often one more peer
/// or one more port of another.
fn plain(c: &mut Choices<'_>) -> World {
    let app = |n: usize| json!({"matchLabels": {"app": format!("app{n}")}});
    let mut out = World::default();
    out.cluster.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    for n in 0..5 {
        out.cluster.push(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("pod-{n}"), "namespace": "shop",
            "labels": {"app": format!("app{n}")}}, "spec": {"containers": [{"name": "c", "image": "x"}]},
            "status": {"podIP": format!("10.1.2.{n}")}}));
    }
    for n in 0..3 {
        let network = c.one_in(2);
        let entries =
            c.many(1, 3, |c| {
                let peers = c.many(1, 2, |c| {
                    if network { json!({"podSelector": app(c.below(5))}) } else { app(c.below(5)) }
                });
                let ports = c.many(1, 2, |c| {
                    let port = 80 + c.below(4);
                    if network {
                        json!({"port": port, "protocol": "TCP"})
                    } else {
                        json!({"port": port.to_string(), "protocol": "TCP"})
                    }
                });
                if network {
                    json!({"from": peers, "ports": ports})
                } else {
                    json!({"fromEndpoints": peers, "toPorts": [{"ports": ports}]})
                }
            });
        let subject = app(c.below(5));
        let (api, kind, spec) = if network {
            ("networking.k8s.io/v1", "NetworkPolicy", json!({"podSelector": subject, "ingress": entries}))
        } else {
            ("cilium.io/v2", "CiliumNetworkPolicy", json!({"endpointSelector": subject, "ingress": entries}))
        };
        out.policies.push(json!({"apiVersion": api, "kind": kind, "metadata": {"name": format!("p{n}"), "namespace": "shop"}, "spec": spec}));
    }
    out
}

/// Labels but for the service account: what a selector of the usual labels can tell apart.
fn told_apart(side: &Side, peer: &PeerRef) -> Option<Vec<String>> {
    let PeerRef::Endpoint(id) = peer else { return None };
    let labels = side.cluster.labels(side.cluster.endpoint(*id)?.identity)?;
    let told = |l: &&portcullis_ir::Label| l.key != portcullis_ir::label::SERVICE_ACCOUNT;
    Some(labels.iter().filter(told).map(ToString::to_string).collect())
}

fn check(choices: &mut Choices<'_>, w: &World, c: &World) {
    let exact = choices.one_in(2);
    let manner = Manner {
        block: choices.one_in(2),
        dash: choices.of(&[0, 2, 4]),
        step: choices.of(&[2, 4]),
        comments: choices.one_in(2),
        crlf: choices.one_in(4),
        one_file: choices.one_in(4),
    };
    let newly = !choices.one_in(4);
    // The candidate's cluster for both: pods that a change brings have no flows yet.
    let cluster = c.cluster_text();
    let texts = if manner.block { manner.texts(&c.policies) } else { c.policy_texts() };
    let mut map = SourceMap::new();
    let base = Side::new(&mut map, &[c.cluster_text()], &w.policy_texts());
    let before = map.len();
    let head = Side::new(&mut map, std::slice::from_ref(&cluster), &texts);
    // The cluster's text comes first.
    let ids: Vec<FileId> =
        (0..texts.len()).map(|n| FileId(u32::try_from(map.len() - texts.len() + n).unwrap())).collect();
    assert!(before < map.len());
    let all_ends = ends(&[&head, &base]);
    let ports = probe::ports(&[&head, &base]);
    let mut wanted = Vec::new();
    for from in &all_ends {
        for to in &all_ends {
            for port in &ports {
                if judge(&head, from, to, *port) == Verdict::Denied
                    && (!newly || judge(&base, from, to, *port) == Verdict::Allowed)
                {
                    wanted.push(Wanted { from: from.clone(), to: to.clone(), port: *port });
                }
            }
        }
    }
    // Some of them, from everywhere: a recording has few of the flows that could be.
    let most = 1 + choices.below(40);
    let step = wanted.len().div_ceil(most).max(1);
    let wanted: Vec<Wanted> = wanted.into_iter().skip(choices.below(step)).step_by(step).collect();
    let objects: Vec<&Object> = head.objects.iter().filter(|o| is_policy(o)).collect();
    let editable: BTreeSet<FileId> = ids.iter().copied().collect();
    let touched: BTreeSet<ObjectRef> = BTreeSet::new();
    let task = Task {
        input: head.input(),
        wanted: &wanted,
        objects: &objects,
        sources: &map,
        editable: &editable,
        touched: &touched,
        refused: &[],
        exact,
    };
    let found = suggest(&task);
    let again = suggest(&task);
    assert_eq!(found.edits, again.edits);
    // Every line that was there is there, and in its place; but for one that held an empty list.
    for (id, text) in &found.edits {
        let old = &texts[ids.iter().position(|i| i == id).unwrap()].text;
        if manner.block {
            let mut lines = text.split_inclusive('\n').map(str::trim_end);
            for line in old.lines().filter(|l| !l.contains("[]")) {
                assert!(lines.any(|l| l == line), "{line:?} is gone\n{old}\n{text}");
            }
            let crlf = text.matches("\r\n").count();
            assert_eq!(crlf, if manner.crlf { text.matches('\n').count() } else { 0 }, "{text:?}");
        }
    }
    let mut other = SourceMap::new();
    let new_texts = patched(&texts, &ids, &found);
    let after = Side::new(&mut other, &[cluster], &new_texts);
    let bad = |s: &Side| {
        s.diagnostics.iter().filter(|d| d.severity == Severity::Error && d.fate != Fate::Accepted).count()
    };
    assert!(
        bad(&after) <= bad(&head),
        "{:#?}\n{:#?}",
        after.diagnostics,
        new_texts.iter().map(|t| &t.text).collect::<Vec<_>>()
    );
    let show = || {
        let added: Vec<&String> =
            found.edits.iter().map(|(_, t)| t).chain(found.created.iter().map(|c| &c.text)).collect();
        format!("exact {exact}, wanted {wanted:?}\n{:#?}\n{:#?}", added, found.bound)
    };

    // What was asked for passes, and what cannot is denied by rules.
    for (at, w) in wanted.iter().enumerate() {
        let blocked = found.blocked.iter().find(|b| b.wanted == at);
        let verdict = judge(&after, &w.from, &w.to, w.port);
        match blocked {
            None => assert_eq!(verdict, Verdict::Allowed, "{w:?}\n{}", show()),
            Some(b) => {
                assert_eq!(verdict, Verdict::Denied, "{w:?}\n{}", show());
                let outcome =
                    head.oracle().judge(&Flow { from: w.from.clone(), to: w.to.clone(), port: w.port });
                if let Why::Denied(d, rules) = &b.why {
                    let decision =
                        if *d == Direction::Egress { outcome.egress } else { outcome.ingress }.unwrap();
                    assert!(matches!(decision.reason, Reason::Rules(_)) && !rules.is_empty());
                    assert!(rules.iter().any(|r| r.tier != Tier::Baseline));
                }
            }
        }
    }

    // Nothing opens beyond the bound, on either side of any flow; nothing closes.
    let ports: BTreeSet<FlowPort> = ports.into_iter().chain(probe::ports(&[&after])).collect();
    let asked: BTreeSet<FlowPort> = wanted.iter().map(|w| w.port).collect();
    let ports: BTreeSet<FlowPort> = ports
        .into_iter()
        .enumerate()
        .filter(|(n, p)| n % 3 == 0 || asked.contains(p))
        .map(|(_, p)| p)
        .collect();
    let mut all_ends = all_ends;
    all_ends.extend(ends(&[&after]).into_iter().filter(|e| matches!(e, PeerRef::External { .. })));
    let opened_as = opened(head.input(), after.input(), &found.bound);
    for (id, e) in head.cluster.endpoints() {
        for peer in &all_ends {
            for port in &ports {
                for d in Direction::BOTH {
                    let old = head.oracle().decide(id, d, peer, *port).verdict;
                    let new = after.oracle().decide(id, d, peer, *port).verdict;
                    if old == new {
                        continue;
                    }
                    assert_eq!(new, Verdict::Allowed, "{d} of {id:?}, {peer:?} {port}\n{}", show());
                    let subject = PeerRef::Endpoint(id);
                    if exact
                        && let (Some(a), Some(b)) = (told_apart(&head, &subject), told_apart(&head, peer))
                    {
                        let same =
                            |p: &PeerRef, l: &Vec<String>| told_apart(&head, p).is_some_and(|m| m == *l);
                        let asked = |w: &Wanted| match d {
                            Direction::Egress => w.port == *port && same(&w.from, &a) && same(&w.to, &b),
                            Direction::Ingress => w.port == *port && same(&w.to, &a) && same(&w.from, &b),
                        };
                        assert!(
                            wanted.iter().any(asked),
                            "{d} of {id:?}, {peer:?} {port} was not asked for\n{}",
                            show()
                        );
                    }
                    assert!(
                        found.bound.has(d, e.identity, peer, *port, &head.cluster),
                        "{d} of {id:?}, {peer:?} {port} opens beyond the bound\n{}",
                        show()
                    );
                }
            }
        }
    }
    assert_eq!(opened_as.beyond, 0, "{}", show());
    if exact {
        assert_eq!(opened_as.other, 0, "{}", show());
    }
    if wanted.iter().enumerate().any(|(at, _)| found.blocked.iter().all(|b| b.wanted != at)) {
        assert!(opened_as.wider > 0, "{}", show());
    } else {
        assert!(found.edits.is_empty() && found.created.is_empty() && found.bound.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn additions_let_through_what_is_wanted_and_nothing_beyond_their_bound(
        bytes in proptest::collection::vec(any::<u8>(), 0..4000)
    ) {
        let mut choices = Choices::new(&bytes);
        let w = world(&mut choices);
        let c = changed(&mut choices, &w);
        check(&mut choices, &w, &c);
    }

    #[test]
    fn entries_grow_by_what_is_wanted_and_nothing_beyond(
        bytes in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        let mut choices = Choices::new(&bytes);
        let c = plain(&mut choices);
        let w = World { cluster: c.cluster.clone(), policies: Vec::new() };
        check(&mut choices, &w, &c);
    }
}
