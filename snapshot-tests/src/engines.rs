//! The same questions to every engine.

use crate::probe;
use crate::side::Side;
use portcullis_conformance::engines::{self, Address, NAMES};
use portcullis_ir::{Direction, PeerRef, Reserved};

/// Every question on which an engine disagrees with the first one, in words; empty if there is none.
pub fn disagreements(side: &Side) -> Vec<String> {
    let mut addresses: Vec<Address> =
        probe::addresses(&[side]).into_iter().map(|ip| (ip, Vec::new())).collect();
    addresses.extend(probe::names(&[side]).into_iter().map(|n| (probe::RESOLVED, vec![n])));
    let mut peers: Vec<PeerRef> = side.cluster.endpoints().map(|(id, _)| PeerRef::Endpoint(id)).collect();
    peers.extend(Reserved::ALL.map(PeerRef::Reserved));
    peers.extend(addresses.iter().map(|(ip, names)| PeerRef::External { ip: *ip, names: names.clone() }));
    let ports = probe::ports(&[side]);
    let mut out = Vec::new();
    engines::with_all(side.input(), &addresses, |all| {
        for (subject, endpoint) in side.cluster.endpoints() {
            for direction in Direction::BOTH {
                for peer in &peers {
                    for port in &ports {
                        let first = all.first().and_then(|e| e.verdict(subject, direction, peer, *port));
                        let others = all.iter().zip(NAMES).skip(1);
                        for (engine, name) in others.filter(|(e, _)| e.speaks_of(subject, peer)) {
                            let answer = engine.verdict(subject, direction, peer, *port);
                            if answer != first {
                                out.push(format!(
                                    "{direction} of {}/{} with {peer:?} on {port}: {first:?}, but {name} says {answer:?}",
                                    endpoint.namespace, endpoint.name
                                ));
                            }
                        }
                    }
                }
            }
        }
    });
    out
}
