//! Images against the formula that z3 is asked about, flow by flow and without z3.

use crate::probe;
use crate::side::Side;
use portcullis_conformance::formula::assign_side;
use portcullis_ir::{Direction, EndpointId, FlowPort, PeerRef};
use portcullis_sema::Universe;
use portcullis_sema::side::Evaluation;
use portcullis_symbolic::encode::Fault;
use portcullis_symbolic::symbols::RESERVED;
use portcullis_symbolic::{Knowing, Pods, Space};
use portcullis_tables::build;

/// A flow as its subject sees it.
pub type Question = (EndpointId, Direction, PeerRef, FlowPort);

/// Everything worth asking about a side, of the ends that the formula knows.
pub fn questions(side: &Side) -> Vec<Question> {
    let mut peers: Vec<PeerRef> = side.cluster.endpoints().map(|(id, _)| PeerRef::Endpoint(id)).collect();
    peers.extend(RESERVED.map(PeerRef::Reserved));
    peers.extend(probe::addresses(&[side]).into_iter().map(|ip| PeerRef::External { ip, names: Vec::new() }));
    let names = probe::names(&[side]);
    peers.extend(names.into_iter().map(|n| PeerRef::External { ip: probe::RESOLVED, names: vec![n] }));
    let ports = probe::ports(&[side]);
    let mut out = Vec::new();
    for (subject, _) in side.cluster.endpoints() {
        for direction in Direction::BOTH {
            for peer in &peers {
                out.extend(ports.iter().map(|p| (subject, direction, peer.clone(), *p)));
            }
        }
    }
    out
}

/// The image of a side.
pub fn image(side: &Side) -> Vec<u8> {
    let evaluation = Evaluation::new(&[side.input()], &[]);
    build(&evaluation, None, &|_| String::new()).map(|b| b.bytes).unwrap_or_default()
}

/// What the formula says against an image.
#[derive(Debug, Default)]
pub struct Judged {
    /// Flows that the image is said to answer otherwise than the policies.
    pub differ: Vec<Question>,
    /// Flows with an end that the image is said to have no class for.
    pub unknown: Vec<Question>,
    /// Flows that were asked about.
    pub asked: usize,
}

/// Asks the formula about an image at every boundary. An image that cannot be read differs nowhere and
/// knows nobody.
pub fn judge(side: &Side, bytes: &[u8], fault: Option<Fault>) -> Judged {
    let universe = Universe::new(&[side.input()], &[]);
    let mut out = Judged::default();
    let table = portcullis_verify::table(bytes, &side.cluster, &universe, None).unwrap_or_default();
    let mut space = Space::new(&[&side.policies], [], Pods::Any(&side.cluster), &side.options);
    if let Some(fault) = fault {
        space = space.with_fault(fault);
    }
    let knowing = Knowing::new(&side.policies);
    let [ingress, egress] = Direction::BOTH
        .map(|d| (space.differs(&side.policies, &table, &knowing, d), space.is_known(&table, &knowing, d)));
    for q in questions(side) {
        let (subject, direction, peer, port) = &q;
        let Some(a) = assign_side(&space, *subject, *direction, peer, *port) else { continue };
        let (differs, known) = if *direction == Direction::Ingress { ingress } else { egress };
        out.asked += 1;
        if !space.terms.holds(known, &a) {
            out.unknown.push(q);
        } else if space.terms.holds(differs, &a) {
            out.differ.push(q);
        }
    }
    out
}
