//! The policies that every namespace begins with: deny everything, but let names be looked up.

use super::Maker;
use super::peers::{POD_NAMESPACE, PortRule, labels};
use crate::doc::{Doc, list, map};

/// Default deny for a whole namespace, in one of the forms that people write.
pub(super) enum DefaultDeny {
    /// A CiliumNetworkPolicy.
    Cilium(Doc),
    /// A NetworkPolicy.
    Kubernetes(Doc),
}

impl Maker<'_> {
    /// Denies what no other policy allows; most namespaces leave egress open.
    pub(super) fn default_deny(&mut self) -> DefaultDeny {
        let both = self.rng.chance(15);
        if self.rng.chance(50) {
            let spec = map([("endpointSelector", map([])), ("ingress", list([map([])]))]);
            return DefaultDeny::Cilium(if both { spec.with("egress", list([map([])])) } else { spec });
        }
        let types = if both { list(["Ingress", "Egress"]) } else { list(["Ingress"]) };
        DefaultDeny::Kubernetes(map([("podSelector", map([])), ("policyTypes", types)]))
    }
}

/// Lets every pod of a namespace ask the cluster's name server, without closing anything else.
pub(super) fn allow_dns() -> Doc {
    map([
        ("endpointSelector", map([])),
        ("enableDefaultDeny", map([("egress", false.into())])),
        ("egress", list([to_name_server()])),
    ])
}

/// The rule for the name server, with the DNS rules that names in policies need.
pub(super) fn to_name_server() -> Doc {
    let selector =
        labels(vec![("k8s-app", "kube-dns".to_owned()), (POD_NAMESPACE, "kube-system".to_owned())]);
    let ports = list([PortRule::number(53, "ANY").doc()]);
    let names = map([("dns", list([map([("matchPattern", "*".into())])]))]);
    map([("toEndpoints", list([selector])), ("toPorts", list([map([("ports", ports), ("rules", names)])]))])
}
