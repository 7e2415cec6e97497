//! Who can talk to whom.

use crate::describe::PeerGroup;
use crate::ports::PortSet;

/// Everybody of `sources` reaches everybody of `destinations` on these ports.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Who sends.
    pub sources: PeerGroup,
    /// Who receives.
    pub destinations: PeerGroup,
    /// On which ports both sides allow it.
    pub ports: PortSet,
    /// Some of it goes through a proxy that decides more.
    pub redirected: bool,
}

/// The whole answer.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Edges in order of their sources and destinations, merged where both ends agree.
    pub edges: Vec<Edge>,
    /// Workloads that nothing reaches.
    pub isolated: Vec<portcullis_ir::Workload>,
    /// Groups of workloads that all reach one another, directly or by steps (strongly connected
    /// components of more than one workload).
    pub groups: Vec<Vec<portcullis_ir::Workload>>,
}
