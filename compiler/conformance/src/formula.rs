//! The formula that z3 is asked about, evaluated for single flows.

use crate::engines::Engine;
use portcullis_ir::{Direction, EndpointId, FlowPort, PeerRef, Verdict};
use portcullis_sema::universe::Input;
use portcullis_symbolic::symbols::{End, Kind, OTHER_PROTOCOL, RESERVED, icmp_code, l4_code};
use portcullis_symbolic::term::{Assignment, TermId};
use portcullis_symbolic::world::Shape;
use portcullis_symbolic::{Pods, Space};
use std::net::IpAddr;

/// The policies as a formula.
pub struct Formula<'a> {
    space: Space<'a>,
    sides: [TermId; 2],
}

impl<'a> Formula<'a> {
    /// Writes it for a cluster's pods.
    pub fn new(input: Input<'a>) -> Self {
        let mut space = Space::new(&[input.policies], [], Pods::Of(input.cluster), input.options);
        let sides = Direction::BOTH.map(|d| space.side(input.policies, d));
        Self { space, sides }
    }
}

impl Engine for Formula<'_> {
    fn verdict(
        &self,
        subject: EndpointId,
        direction: Direction,
        peer: &PeerRef,
        port: FlowPort,
    ) -> Option<Verdict> {
        let a = assign_side(&self.space, subject, direction, peer, port)?;
        let [ingress, egress] = self.sides;
        let term = if direction == Direction::Ingress { ingress } else { egress };
        Some(if self.space.terms.holds(term, &a) { Verdict::Allowed } else { Verdict::Denied })
    }

    /// Not of pods with reserved labels or with two numbers for one port (docs/proofs.md), and not of the
    /// identities that stand for addresses: it knows the addresses.
    fn speaks_of(&self, subject: EndpointId, peer: &PeerRef) -> bool {
        let shape = |id| Shape::of(&self.space.words, self.space.pods.cluster(), id).is_some();
        shape(subject)
            && match peer {
                PeerRef::Endpoint(id) => shape(*id),
                PeerRef::Reserved(r) => RESERVED.contains(r),
                PeerRef::External { .. } => true,
            }
    }
}

/// The values that stand for one side of a flow; `None` where a pod has no shape.
pub fn assign_side(
    space: &Space<'_>,
    subject: EndpointId,
    direction: Direction,
    peer: &PeerRef,
    port: FlowPort,
) -> Option<Assignment> {
    let me = PeerRef::Endpoint(subject);
    match direction {
        Direction::Egress => assign(space, &me, peer, port),
        Direction::Ingress => assign(space, peer, &me, port),
    }
}

/// The values that stand for one flow; `None` where a pod has no shape.
pub fn assign(space: &Space<'_>, from: &PeerRef, to: &PeerRef, port: FlowPort) -> Option<Assignment> {
    let mut a = Assignment::default();
    assign_end(space, &space.flow.from, from, &mut a)?;
    assign_end(space, &space.flow.to, to, &mut a)?;
    let (protocol, number) = match port {
        FlowPort::L4(l4, n) => (l4_code(l4), u128::from(n)),
        FlowPort::Icmp(v6, n) => (icmp_code(v6), u128::from(n)),
        FlowPort::Protocol(n) => (OTHER_PROTOCOL, u128::from(n)),
    };
    a.set(space.flow.protocol, protocol);
    a.set(space.flow.number, number);
    Some(a)
}

fn assign_end(space: &Space<'_>, end: &End, who: &PeerRef, a: &mut Assignment) -> Option<()> {
    match who {
        PeerRef::Endpoint(id) => {
            a.set(end.kind, Kind::Pod.code());
            Shape::of(&space.words, space.pods.cluster(), *id)?.assign(end, a);
        }
        PeerRef::Reserved(r) => a.set(end.kind, Kind::Reserved(*r).code()),
        PeerRef::External { ip, names } => {
            a.set(end.kind, Kind::External(ip.is_ipv6()).code());
            match ip {
                IpAddr::V4(ip) => a.set(end.v4, u128::from(ip.to_bits())),
                IpAddr::V6(ip) => a.set(end.v6, ip.to_bits()),
            }
            // A name is known by the selectors that it meets.
            for (selector, stand_in) in &space.words.stand_ins {
                if names.iter().any(|n| selector.matches(n)) {
                    let at = space.words.names.iter().position(|n| n == stand_in)?;
                    a.set(*end.names.get(at)?, 1);
                }
            }
        }
    }
    Some(())
}
