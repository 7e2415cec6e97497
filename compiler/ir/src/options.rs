//! Switches of the cluster that change what a policy means.

/// When an endpoint enforces policy at all (SEM-5.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnforcementMode {
    /// As the policies that select the endpoint say.
    #[default]
    Default,
    /// Every endpoint is default-deny in both directions.
    Always,
    /// Nothing is enforced.
    Never,
}

/// Cluster-wide settings. The default is Cilium's own.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the same name in Cilium")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The cluster's name, the value of the cluster label of every pod (SEM-3.8).
    pub cluster_name: String,
    /// When policy is enforced.
    pub enforcement: EnforcementMode,
    /// The node's own host may always reach its pods (SEM-5.5).
    pub allow_localhost: bool,
    /// CIDR rules also match the nodes' addresses (`policy-cidr-match-mode: nodes`, SEM-4.5).
    pub cidr_matches_nodes: bool,
    /// `fromNodes`, `toNodes` and `nodes` peers work (SEM-4.7).
    pub node_selectors: bool,
    /// CCNPs with a `nodeSelector` are enforced on the host (SEM-2.1).
    pub host_firewall: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_name: "default".to_owned(),
            enforcement: EnforcementMode::Default,
            allow_localhost: true,
            cidr_matches_nodes: false,
            node_selectors: false,
            host_firewall: false,
        }
    }
}
