//! Single flows beside a comparison: their verdicts are the interpreter's, and the finding that they are placed in
//! tells of their change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::SourceMap;
use portcullis_ir::{Flow, PeerRef, Reserved, Verdict};
use portcullis_sema::diff::{Ask, FindingKind, review_with};
use portcullis_snapshot_tests::generate::{Choices, changed, world};
use portcullis_snapshot_tests::probe;
use portcullis_snapshot_tests::side::Side;
use proptest::prelude::*;

/// Flows between everything there is, on ports worth asking.
fn asks(base: &Side, head: &Side) -> Vec<Ask> {
    let sides = [base, head];
    let mut ends: Vec<[PeerRef; 2]> = Vec::new();
    for (id, e) in base.cluster.endpoints() {
        let same = |o: &portcullis_ir::Endpoint| {
            o.namespace == e.namespace
                && o.name == e.name
                && head.cluster.workload_of(o) == base.cluster.workload_of(e)
        };
        if let Some((other, _)) = head.cluster.endpoints().find(|(_, o)| same(o)) {
            ends.push([PeerRef::Endpoint(id), PeerRef::Endpoint(other)]);
        }
    }
    let both = |p: PeerRef| [p.clone(), p];
    ends.extend(
        [Reserved::Host, Reserved::RemoteNode, Reserved::Ingress].map(|r| both(PeerRef::Reserved(r))),
    );
    let names = probe::names(&sides);
    for ip in probe::addresses(&sides).into_iter().take(8) {
        ends.push(both(PeerRef::External { ip, names: Vec::new() }));
        if let Some(name) = names.iter().next() {
            ends.push(both(PeerRef::External { ip, names: vec![name.clone()] }));
        }
    }
    let ports = probe::ports(&sides);
    let mut out = Vec::new();
    for (i, from) in ends.iter().enumerate() {
        for (j, to) in ends.iter().enumerate() {
            // Not every port of every pair, but every port and every pair.
            for (k, port) in ports.iter().enumerate() {
                if (i + j * 3 + k) % 5 == 0 {
                    out.push(Ask { from: from.clone(), to: to.clone(), port: *port });
                }
            }
        }
    }
    out
}

fn oracle(side: &Side, at: usize, ask: &Ask) -> Verdict {
    let flow = Flow { from: ask.from[at].clone(), to: ask.to[at].clone(), port: ask.port };
    side.oracle().judge(&flow).verdict()
}

fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let w = world(&mut choices);
    let c = changed(&mut choices, &w);
    let mut map = SourceMap::new();
    let base = Side::new(&mut map, &[w.cluster_text()], &w.policy_texts());
    let head = Side::new(&mut map, &[c.cluster_text()], &c.policy_texts());
    let asks = asks(&base, &head);
    let (review, told) = review_with(base.input(), head.input(), &asks);
    assert_eq!(told.len(), asks.len());
    for (ask, told) in asks.iter().zip(&told) {
        let want = (oracle(&base, 0, ask), oracle(&head, 1, ask));
        assert_eq!((told.base, told.head), want, "{ask:?}");
        let pod = |p: &[PeerRef; 2]| matches!(p[0], PeerRef::Endpoint(_));
        if !pod(&ask.from) && !pod(&ask.to) {
            assert_eq!(told.finding, None, "no policy is asked: {ask:?}");
            continue;
        }
        // An address with a name, in a range that a policy names, too, is neither what the name alone is nor what the
        // range alone is: no finding need tell of it.
        let named = |p: &[PeerRef; 2]| matches!(&p[0], PeerRef::External { names, .. } if !names.is_empty());
        if named(&ask.from) || named(&ask.to) {
            continue;
        }
        let kind = told.finding.map(|at| review.findings[at].kind);
        match want {
            (Verdict::Allowed, Verdict::Denied) => assert_eq!(kind, Some(FindingKind::Denied), "{ask:?}"),
            (Verdict::Denied, Verdict::Allowed) => assert_eq!(kind, Some(FindingKind::Allowed), "{ask:?}"),
            (Verdict::Allowed, Verdict::Allowed) => {
                assert!(kind.is_none_or(|k| k == FindingKind::L7), "{ask:?}");
            }
            (Verdict::Denied, Verdict::Denied) => assert_eq!(kind, None, "{ask:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn single_flows_are_what_the_interpreter_says_and_part_of_what_a_review_says(
        bytes in proptest::collection::vec(any::<u8>(), 0..4000)
    ) {
        check(&bytes);
    }
}
