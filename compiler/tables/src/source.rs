//! What an image was made from: a digest of the canonical text of policies and identities.

use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::NodeKind;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// SHA-256 over the policies' normal form and every identity, in order.
pub(crate) fn digest(e: &Evaluation<'_>) -> [u8; 32] {
    let mut text = String::new();
    if let Some(side) = e.sides.first() {
        let set = side.input.policies;
        for s in set.selectors.iter() {
            let _ = writeln!(text, "selector {s:?}");
        }
        for p in set.peers.iter() {
            let _ = writeln!(text, "peers {p:?}");
        }
        for p in &set.policies {
            let _ = writeln!(text, "policy {}", p.object);
        }
        for r in &set.rules {
            let l7 = r.l7.as_ref().map(|l| l.text());
            let what =
                (r.policy, r.subject, r.direction, r.precedence(), &r.peers, &r.ports, l7, r.authentication);
            let _ = writeln!(text, "rule {what:?}");
            if let Some(log) = &r.log {
                let _ = writeln!(text, "log {log:?}");
            }
        }
        for n in &set.enforcements {
            let _ = writeln!(text, "enforcement {:?}", (n.policy, n.subject, n.direction, n.default_deny));
        }
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
    }
    Sha256::digest(text.as_bytes()).into()
}
