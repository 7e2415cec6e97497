//! Every engine that can answer for a flow.

use crate::formula::Formula;
use portcullis_ir::{Direction, EndpointId, FlowPort, PeerRef, Verdict};
use portcullis_oracle::Oracle;
use portcullis_sema::cells::Cells;
use portcullis_sema::ports::coordinate;
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use portcullis_tables::{Image, build};
use smol_str::SmolStr;
use std::net::IpAddr;

/// Names of the engines, in the order they are printed.
pub const NAMES: [&str; 4] = ["oracle", "classes", "image", "formula"];

/// An address outside the cluster and the DNS names it was learnt for.
pub type Address = (IpAddr, Vec<SmolStr>);

/// Answers of one engine for one set of policies and cluster.
pub trait Engine {
    /// The verdict of one side of a flow; `None` if the engine cannot place one of its ends.
    fn verdict(
        &self,
        subject: EndpointId,
        direction: Direction,
        peer: &PeerRef,
        port: FlowPort,
    ) -> Option<Verdict>;

    /// Whether it claims to judge flows between these ends at all.
    fn speaks_of(&self, _subject: EndpointId, _peer: &PeerRef) -> bool {
        true
    }
}

impl Engine for Oracle<'_> {
    fn verdict(
        &self,
        subject: EndpointId,
        direction: Direction,
        peer: &PeerRef,
        port: FlowPort,
    ) -> Option<Verdict> {
        Some(self.decide(subject, direction, peer, port).verdict)
    }
}

/// The class engine's cells are computed once for all questions.
impl Engine for Cells<'_, '_> {
    fn verdict(
        &self,
        subject: EndpointId,
        direction: Direction,
        peer: &PeerRef,
        port: FlowPort,
    ) -> Option<Verdict> {
        let universe = &self.evaluation.universe;
        let group = universe.find(0, &PeerRef::Endpoint(subject))?;
        let peer = universe.find(0, peer)?;
        Cells::verdict(self, 0, direction, group, peer, port)
    }
}

/// The table image, read back: bytes and the universe that numbers its identities.
struct ImageEngine<'e, 'a> {
    evaluation: &'e Evaluation<'a>,
    bytes: Vec<u8>,
}

impl Engine for ImageEngine<'_, '_> {
    fn verdict(
        &self,
        subject: EndpointId,
        direction: Direction,
        peer: &PeerRef,
        port: FlowPort,
    ) -> Option<Verdict> {
        let universe = &self.evaluation.universe;
        let endpoint = universe.find(0, &PeerRef::Endpoint(subject))?;
        let identity = universe.find(0, peer)?;
        let image = Image::parse(&self.bytes).ok()?;
        let word = image.lookup(endpoint.0, direction, identity.0, coordinate(port)).ok()?;
        Some(if word.allows() { Verdict::Allowed } else { Verdict::Denied })
    }
}

/// Asks every engine, in the order of [`NAMES`]. The class engine and the image know the addresses
/// that they are told of beforehand, and no others.
pub fn with_all<T>(input: Input<'_>, addresses: &[Address], ask: impl FnOnce(&[&dyn Engine]) -> T) -> T {
    let oracle = Oracle { policies: input.policies, cluster: input.cluster, options: input.options };
    let evaluation = Evaluation::new(&[input], addresses);
    let cells = Cells::new(&evaluation);
    // An image that cannot be built answers nothing, which counts as disagreement.
    let bytes = build(&evaluation, None, &|_| String::new()).map(|b| b.bytes).unwrap_or_default();
    let image = ImageEngine { evaluation: &evaluation, bytes };
    let formula = Formula::new(input);
    ask(&[&oracle, &cells, &image, &formula])
}
