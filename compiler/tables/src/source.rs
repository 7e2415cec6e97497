//! What an image was made from: a digest of the canonical text of policies and identities.

use crate::audit::Audit;
use crate::memo::Memo;
use portcullis_ir::intern::Interner;
use portcullis_ir::peer::PeerTerm;
use portcullis_ir::{Peers, PolicyId, PolicySet, Rule, Selector, Subject};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::NodeKind;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::ops::Range;

/// A SHA-256 digest.
pub(crate) type Sum = [u8; 32];

/// SHA-256 over the digests of the identities and of each policy's normal form, in order; that of a
/// policy in audit is another.
pub(crate) fn digest(e: &Evaluation<'_>, audit: &Audit, memo: &mut Memo) -> Sum {
    let Some(side) = e.sides.first() else { return Sum::default() };
    let set = side.input.policies;
    let mut all = Sha256::new();
    let identities = *memo.identities.get_or_insert_with(|| identities(e));
    all.update(identities);
    let (mut rules, mut enforcements) = (0, 0);
    for (id, policy) in (0u32..).zip(&set.policies) {
        let own = |list: &mut dyn Iterator<Item = u32>, from: usize| {
            from..from + list.take_while(|p| *p == id).count()
        };
        let mut of_rules = set.rules.iter().skip(rules).map(|r| r.policy.0);
        let in_rules = own(&mut of_rules, rules);
        let mut of_enforcements = set.enforcements.iter().skip(enforcements).map(|n| n.policy.0);
        let in_enforcements = own(&mut of_enforcements, enforcements);
        (rules, enforcements) = (in_rules.end, in_enforcements.end);
        let number = memo.policies.intern(policy.object.clone());
        let sum = *memo
            .sums
            .entry(number)
            .or_insert_with(|| of_policy(set, &policy.object.to_string(), in_rules, in_enforcements));
        if audit.covers(set, PolicyId(id)) {
            all.update(Sha256::new().chain_update("audit").chain_update(sum).finalize());
        } else {
            all.update(sum);
        }
    }
    all.finalize().into()
}

fn identities(e: &Evaluation<'_>) -> Sum {
    let mut text = String::new();
    let Some(side) = e.sides.first() else { return Sum::default() };
    for (_, node) in e.universe.iter() {
        match node {
            NodeKind::Group(g) => {
                let on = g.on.first().copied().flatten();
                let labels = on.and_then(|(identity, _)| side.input.cluster.labels(identity));
                let ports = on.and_then(|(_, table)| side.input.cluster.port_tables.get(table.0));
                let _ = writeln!(text, "endpoints {labels:?} {ports:?}");
            }
            other => {
                let _ = writeln!(text, "identity {other:?}");
            }
        }
    }
    Sha256::digest(text.as_bytes()).into()
}

/// The text of one policy, with what its ids stand for: it is the same whatever other policies there are.
fn of_policy(set: &PolicySet, name: &str, rules: Range<usize>, enforcements: Range<usize>) -> Sum {
    let mut text = format!("policy {name}\n");
    for r in set.rules.get(rules).unwrap_or_default() {
        rule(&mut text, set, r);
    }
    for n in set.enforcements.get(enforcements).unwrap_or_default() {
        let _ = writeln!(text, "enforcement {} {}", n.direction, n.default_deny);
        subject(&mut text, &set.selectors, n.subject);
    }
    Sha256::digest(text.as_bytes()).into()
}

fn rule(text: &mut String, set: &PolicySet, r: &Rule) {
    let l7 = r.l7.as_ref().map(|l| l.text());
    let what = (r.direction, r.precedence(), &r.ports, l7, r.authentication, &r.log);
    let _ = writeln!(text, "rule {what:?}");
    subject(text, &set.selectors, r.subject);
    match &r.peers {
        Peers::All => text.push_str("everybody\n"),
        Peers::Of(ids) => {
            // Ids are in order of first use, which other policies have a part in; texts are not.
            let mut terms: Vec<String> = ids
                .iter()
                .filter_map(|id| set.peers.get(*id))
                .map(|t| match t {
                    PeerTerm::Labels(s) => format!("labels {:?}", set.selectors.get(*s)),
                    PeerTerm::Nodes(s) => format!("nodes {:?}", set.selectors.get(*s)),
                    other => format!("{other:?}"),
                })
                .collect();
            terms.sort_unstable();
            let _ = writeln!(text, "peers {terms:?}");
        }
    }
}

fn subject(text: &mut String, selectors: &Interner<Selector>, s: Subject) {
    let _ = match s {
        Subject::Endpoints(id) => writeln!(text, "endpoints {:?}", selectors.get(id)),
        Subject::Host(id) => writeln!(text, "host {:?}", selectors.get(id)),
    };
}
