//! Every engine that can answer for a flow.

use portcullis_ir::{Direction, EndpointId, FlowPort, PeerRef, Verdict};
use portcullis_oracle::Oracle;
use portcullis_sema::cells::Cells;
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use smol_str::SmolStr;
use std::net::IpAddr;

/// Names of the engines, in the order they are printed.
pub const NAMES: [&str; 2] = ["oracle", "classes"];

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

/// Asks every engine, in the order of [`NAMES`]. The class engine knows the addresses that it is
/// told of beforehand, and no others.
pub fn with_all<T>(input: Input<'_>, addresses: &[Address], ask: impl FnOnce(&[&dyn Engine]) -> T) -> T {
    let oracle = Oracle { policies: input.policies, cluster: input.cluster, options: input.options };
    let evaluation = Evaluation::new(&[input], addresses);
    let cells = Cells::new(&evaluation);
    ask(&[&oracle, &cells])
}
