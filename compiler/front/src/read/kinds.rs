//! Which reader a kind and API version lead to (SEM-1.1 to SEM-1.5).

use super::cluster::Form;
use super::names;

/// What to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// CiliumNetworkPolicy, or clusterwide.
    Cilium {
        /// CiliumClusterwideNetworkPolicy.
        clusterwide: bool,
    },
    /// Kubernetes NetworkPolicy.
    Network,
    /// ClusterNetworkPolicy and its older forms.
    Cluster(Form),
    /// CiliumCIDRGroup.
    CidrGroup,
    /// An object of the cluster, by its kind.
    Plain(Plain),
    /// A list of objects.
    List,
    /// A policy that no API server would take under this name: what was probably meant.
    Misnamed(&'static str, &'static str),
    /// Anything else.
    Other,
}

/// Objects of the cluster that are read without being checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    Namespace,
    Pod,
    Node,
    Service,
    Endpoints,
    EndpointSlice,
    ServiceAccount,
    Workload,
    CiliumIdentity,
    CiliumEndpoint,
}

impl Plain {
    /// Whether objects of the kind live in a namespace.
    pub(super) fn namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node | Self::CiliumIdentity)
    }
}

/// Policy kinds with the API version to use.
const POLICIES: &[(&str, &str)] = &[
    ("CiliumNetworkPolicy", "cilium.io/v2"),
    ("CiliumClusterwideNetworkPolicy", "cilium.io/v2"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2"),
    ("AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1"),
    ("BaselineAdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1"),
    ("CiliumCIDRGroup", "cilium.io/v2"),
];

/// Finds the reader.
pub(super) fn of(api_version: &str, kind: &str) -> Kind {
    let group = api_version.rsplit_once('/').map_or("", |(g, _)| g);
    match (api_version, kind) {
        ("cilium.io/v2", "CiliumNetworkPolicy") => Kind::Cilium { clusterwide: false },
        ("cilium.io/v2", "CiliumClusterwideNetworkPolicy") => Kind::Cilium { clusterwide: true },
        ("networking.k8s.io/v1", "NetworkPolicy") => Kind::Network,
        (
            "policy.networking.k8s.io/v1alpha2" | "policy.networking.k8s.io/v1beta1",
            "ClusterNetworkPolicy",
        ) => Kind::Cluster(Form::Current),
        ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy") => Kind::Cluster(Form::Admin),
        ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy") => Kind::Cluster(Form::Baseline),
        ("cilium.io/v2" | "cilium.io/v2alpha1", "CiliumCIDRGroup") => Kind::CidrGroup,
        _ => plain(group, api_version, kind)
            .map(Kind::Plain)
            .or_else(|| misnamed(group, kind))
            .unwrap_or(if kind.ends_with("List") { Kind::List } else { Kind::Other }),
    }
}

fn plain(group: &str, api_version: &str, kind: &str) -> Option<Plain> {
    Some(match (group, kind) {
        ("apps" | "extensions", "Deployment" | "DaemonSet" | "ReplicaSet" | "StatefulSet")
        | ("batch", "Job" | "CronJob") => Plain::Workload,
        ("discovery.k8s.io", "EndpointSlice") => Plain::EndpointSlice,
        ("cilium.io", "CiliumIdentity") => Plain::CiliumIdentity,
        ("cilium.io", "CiliumEndpoint") => Plain::CiliumEndpoint,
        _ if api_version == "v1" => match kind {
            "Namespace" => Plain::Namespace,
            "Pod" => Plain::Pod,
            "Node" => Plain::Node,
            "Service" => Plain::Service,
            "Endpoints" => Plain::Endpoints,
            "ServiceAccount" => Plain::ServiceAccount,
            "ReplicationController" => Plain::Workload,
            _ => return None,
        },
        _ => return None,
    })
}

/// A policy kind, or nearly one, under an API group that is, or nearly is, one of ours. Other
/// projects have a NetworkPolicy of their own, in groups that look like none of these.
fn misnamed(group: &str, kind: &str) -> Option<Kind> {
    const GROUPS: &[&str] = &[
        "",
        "cilium.io",
        "networking.k8s.io",
        "policy.networking.k8s.io",
        "extensions",
        "cilium",
        "networking",
    ];
    let ours = GROUPS.iter().any(|g| names::distance(group, g) <= if g.len() > 8 { 3 } else { 1 });
    let bare = kind.strip_suffix("List").unwrap_or(kind).to_ascii_lowercase();
    let bare = bare.strip_suffix("ies").map_or(bare.clone(), |stem| format!("{stem}y"));
    let near = |name: &str| names::distance(&bare, &name.to_ascii_lowercase()) <= 2;
    // A plain typo in a name is nearer to its own kind than to any other.
    let meant = POLICIES
        .iter()
        .filter(|(name, _)| near(name))
        .min_by_key(|(name, _)| names::distance(&bare, &name.to_ascii_lowercase()));
    let listed = POLICIES.iter().any(|(name, api)| {
        *name == kind.strip_suffix("List").unwrap_or(kind)
            && group == api.rsplit_once('/').map_or("", |(g, _)| g)
    });
    match meant {
        // `CiliumNetworkPolicyList` of the right group is a list.
        Some(_) if kind.ends_with("List") && listed => None,
        Some((name, api)) if ours => Some(Kind::Misnamed(name, api)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_and_misversioned_policies_are_recognised() {
        for (api, kind, meant) in [
            ("cilium.io/v2", "CiliumNetworkpolicy", "CiliumNetworkPolicy"),
            ("cilium.io/v2", "CiliumClusterWideNetworkPolicy", "CiliumClusterwideNetworkPolicy"),
            ("cilium.io/v1", "CiliumNetworkPolicy", "CiliumNetworkPolicy"),
            ("extensions/v1beta1", "NetworkPolicy", "NetworkPolicy"),
            ("v1", "NetworkPolicy", "NetworkPolicy"),
            ("", "NetworkPolicy", "NetworkPolicy"),
            ("networking.k8s.io/v1", "NetworkPolicies", "NetworkPolicy"),
            ("cilium.io/v2", "NetworkPolicy", "NetworkPolicy"),
        ] {
            assert!(
                matches!(of(api, kind), Kind::Misnamed(m, _) if m == meant),
                "{api} {kind}: {:?}",
                of(api, kind)
            );
        }
    }

    #[test]
    fn other_projects_kinds_are_left_alone() {
        for (api, kind) in [
            ("crd.projectcalico.org/v1", "NetworkPolicy"),
            ("projectcalico.org/v3", "GlobalNetworkPolicy"),
            ("crd.antrea.io/v1beta1", "ClusterNetworkPolicy"),
            ("cilium.io/v2", "CiliumEgressGatewayPolicy"),
            ("networking.k8s.io/v1", "Ingress"),
            ("v1", "ConfigMap"),
            ("cilium.io/v2", "CiliumEnvoyConfig"),
            ("cilium.io/v2", "CiliumNode"),
        ] {
            assert_eq!(of(api, kind), Kind::Other, "{api} {kind}");
        }
        assert_eq!(of("cilium.io/v2", "CiliumNetworkPolicyList"), Kind::List);
        assert_eq!(of("v1", "List"), Kind::List);
    }
}
