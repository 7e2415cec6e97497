//! The policies of the platform team: over all namespaces.

use super::Maker;
use super::ingress::from_prometheus;
use super::peers::{POD_NAMESPACE, PortRule, labels, to_ports};
use crate::doc::{Doc, list, map};
use crate::words::STAGES;

const NAMESPACE_ENV: &str = "k8s:io.cilium.k8s.namespace.labels.env";
const NAMESPACE_PCI: &str = "k8s:io.cilium.k8s.namespace.labels.pci";

impl Maker<'_> {
    /// The name and spec of the `number`th CiliumClusterwideNetworkPolicy.
    pub(super) fn cilium_clusterwide(&mut self, number: usize) -> (&'static str, Doc) {
        // An allow for everybody must not switch default deny on for everybody.
        let keep_open = |direction| ("enableDefaultDeny", map([(direction, false.into())]));
        let everyone = ("endpointSelector", map([]));
        match number % 7 {
            0 => (
                "allow-metrics-scrape",
                map([everyone, keep_open("ingress"), ("ingress", list([from_prometheus()]))]),
            ),
            1 => {
                let rule = map([("toCIDR", list(["169.254.169.254/32"]))]);
                ("deny-cloud-metadata", map([everyone, keep_open("egress"), ("egressDeny", list([rule]))]))
            }
            2 => {
                let rule = map([("fromEntities", list(["health", "remote-node"]))]);
                ("allow-health-checks", map([everyone, keep_open("ingress"), ("ingress", list([rule]))]))
            }
            3 => {
                let server = labels(vec![
                    ("k8s-app", "kube-dns".to_owned()),
                    (POD_NAMESPACE, "kube-system".to_owned()),
                ]);
                let port = to_ports(&[PortRule::number(53, "ANY")]);
                let rule = map([("fromEntities", list(["cluster"])), ("toPorts", port)]);
                ("serve-names", map([("endpointSelector", server), ("ingress", list([rule]))]))
            }
            4 => {
                let stage = self.rng.word(STAGES.get(1..).unwrap_or_default()).to_owned();
                let rule = map([("fromEndpoints", list([labels(vec![(NAMESPACE_ENV, stage)])]))]);
                let guarded = labels(vec![(NAMESPACE_PCI, "true".to_owned())]);
                (
                    "guard-card-data",
                    map([("endpointSelector", guarded), keep_open("ingress"), ("ingressDeny", list([rule]))]),
                )
            }
            5 => {
                let rule = map([("fromEntities", list(["world"]))]);
                let data = labels(vec![("tier", "data".to_owned())]);
                (
                    "no-world-to-data",
                    map([("endpointSelector", data), keep_open("ingress"), ("ingressDeny", list([rule]))]),
                )
            }
            _ => {
                let cidr = self.rng.pick(&self.prefixes).map(|prefix| prefix.cidr.clone());
                let rule = map([("toCIDRSet", list(cidr.map(|cidr| map([("cidr", cidr.into())]))))]);
                let backend = labels(vec![("tier", "backend".to_owned())]);
                (
                    "allow-head-office",
                    map([("endpointSelector", backend), keep_open("egress"), ("egress", list([rule]))]),
                )
            }
        }
    }

    /// The name and spec of the `number`th ClusterNetworkPolicy.
    pub(super) fn cluster_network_policy(&mut self, number: usize) -> (&'static str, Doc) {
        let namespaces =
            |key: &'static str, value: &str| map([("namespaces", labels(vec![(key, value.to_owned())]))]);
        let head = |tier: &'static str, subject| {
            let priority = u16::try_from(10 + number * 5 % 980).unwrap_or(10);
            map([("tier", tier.into()), ("priority", priority.into()), ("subject", subject)])
        };
        match number % 4 {
            0 => {
                let rule = map([("action", "Deny".into()), ("from", list([namespaces("env", "dev")]))]);
                ("no-dev-to-prod", head("Admin", namespaces("env", "prod")).with("ingress", list([rule])))
            }
            1 => {
                let server = map([(
                    "pods",
                    map([
                        (
                            "namespaceSelector",
                            labels(vec![("kubernetes.io/metadata.name", "kube-system".to_owned())]),
                        ),
                        ("podSelector", labels(vec![("k8s-app", "kube-dns".to_owned())])),
                    ]),
                )]);
                let port = || map([("destinationPort", map([("number", 53_u16.into())]))]);
                let rule = map([
                    ("action", "Accept".into()),
                    ("to", list([server])),
                    ("protocols", list([map([("udp", port())]), map([("tcp", port())])])),
                ]);
                ("names-for-all", head("Admin", map([("namespaces", map([]))])).with("egress", list([rule])))
            }
            2 => {
                let rule = map([
                    ("action", "Deny".into()),
                    ("to", list([map([("networks", list(["169.254.0.0/16"]))])])),
                ]);
                ("no-link-local", head("Baseline", namespaces("env", "test")).with("egress", list([rule])))
            }
            _ => {
                let (one, other) = (self.team(), self.team());
                let range = map([("start", 5432_u16.into()), ("end", 6500_u16.into())]);
                let protocols = list([map([("tcp", map([("destinationPort", map([("range", range)]))]))])]);
                let pass = map([("action", "Pass".into()), ("from", list([namespaces("team", one)]))]);
                let deny = map([
                    ("action", "Deny".into()),
                    ("from", list([namespaces("team", other)])),
                    ("protocols", protocols),
                ]);
                (
                    "team-data-stays",
                    head("Admin", namespaces("team", one)).with("ingress", list([pass, deny])),
                )
            }
        }
    }

    /// A team that has a namespace.
    pub(super) fn team(&mut self) -> &'static str {
        self.rng.pick(&self.cluster.namespaces).map_or("platform", |namespace| namespace.team)
    }
}
