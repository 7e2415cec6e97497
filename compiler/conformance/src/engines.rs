//! Every engine that can answer for a recorded flow.

use crate::scenario::Scenario;
use portcullis_ir::{Direction, EndpointId, FlowPort, PeerRef, Verdict};
use portcullis_oracle::Oracle;
use portcullis_sema::cells::Cells;
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use smol_str::SmolStr;
use std::net::IpAddr;

/// Names of the engines, in the order they are printed.
pub const NAMES: [&str; 2] = ["oracle", "classes"];

/// Answers of one engine for one scenario.
pub trait Engine {
    /// The verdict of one side of a flow; `None` if the engine cannot place one of its ends.
    fn verdict(&self, subject: EndpointId, direction: Direction, peer: &PeerRef, port: FlowPort)
    -> Option<Verdict>;
}

impl Engine for Oracle<'_> {
    fn verdict(&self, subject: EndpointId, direction: Direction, peer: &PeerRef, port: FlowPort) -> Option<Verdict> {
        Some(self.decide(subject, direction, peer, port).verdict)
    }
}

/// The class engine over one scenario: every address among its flows is a node of the universe.
pub struct Classes<'s> {
    evaluation: Evaluation<'s>,
}

impl<'s> Classes<'s> {
    fn new(s: &'s Scenario) -> Self {
        let mut addresses: Vec<(IpAddr, Vec<SmolStr>)> = Vec::new();
        for case in &s.cases {
            for end in [&case.flow.from, &case.flow.to] {
                if let PeerRef::External { ip, names } = end {
                    addresses.push((*ip, names.clone()));
                }
            }
        }
        addresses.sort();
        addresses.dedup();
        let input = Input { policies: &s.policies, cluster: &s.cluster, options: &s.options };
        Self { evaluation: Evaluation::new(&[input], &addresses) }
    }
}

impl Engine for Classes<'_> {
    fn verdict(&self, subject: EndpointId, direction: Direction, peer: &PeerRef, port: FlowPort) -> Option<Verdict> {
        let u = &self.evaluation.universe;
        let group = u.find(0, &PeerRef::Endpoint(subject))?;
        let peer = u.find(0, peer)?;
        Cells::new(&self.evaluation).verdict(0, direction, group, peer, port)
    }
}

/// One engine each, in the order of [`NAMES`].
pub fn all(s: &Scenario) -> Vec<Box<dyn Engine + '_>> {
    vec![
        Box::new(Oracle { policies: &s.policies, cluster: &s.cluster, options: &s.options }),
        Box::new(Classes::new(s)),
    ]
}
