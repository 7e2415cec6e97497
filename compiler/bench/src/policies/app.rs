//! The other policies that a team writes for one of its apps.

use super::Maker;
use super::peers::{Peer, PortRule, app_selector, labels, ports_of, to_ports};
use crate::cluster::App;
use crate::doc::{Doc, list, map};
use crate::words::{OUTSIDE_NAMES, OUTSIDE_PATTERNS, Role};

impl Maker<'_> {
    /// What an app may call inside the cluster.
    pub(super) fn egress_to_peers(&mut self, subject: usize, app: &App) -> Doc {
        let rules: Vec<_> = (0..self.rng.between(1, 3))
            .map(|_| {
                let peer = Peer::choose(self.cluster, subject, &mut self.rng);
                let target = match peer {
                    Peer::App(index) | Peer::Either(index, _) => self.cluster.apps.get(index),
                    Peer::Tier(_) | Peer::TeamTier(..) => None,
                };
                let ports = match target {
                    Some(target) => ports_of(target, false, &mut self.rng),
                    None => vec![PortRule::number(8080, "TCP")],
                };
                map([
                    ("toEndpoints", list([peer.selector(self.cluster, app.namespace)])),
                    ("toPorts", to_ports(&ports)),
                ])
            })
            .collect();
        map([("endpointSelector", app_selector(app)), ("egress", list(rules))])
    }

    /// Addresses outside the cluster that an app may call, some of them with parts left out.
    pub(super) fn egress_to_cidrs(&mut self, app: &App) -> Doc {
        let count = self.rng.between(1, 4);
        let sets: Vec<_> = (0..count)
            .filter_map(|_| self.rng.pick(&self.prefixes).cloned())
            .map(|prefix| {
                let set = map([("cidr", prefix.cidr.into())]);
                if prefix.excepts.is_empty() { set } else { set.with("except", list(prefix.excepts)) }
            })
            .collect();
        let mut rule = map([("toCIDRSet", list(sets))]);
        if self.rng.chance(85) {
            let port = *self.rng.pick(&[443_u16, 443, 8443, 5671, 587]).unwrap_or(&443);
            rule = rule.with("toPorts", to_ports(&[PortRule::number(port, "TCP")]));
        }
        map([("endpointSelector", app_selector(app)), ("egress", list([rule]))])
    }

    /// Names outside the cluster that an app may call, and the name server that tells their addresses.
    pub(super) fn egress_to_names(&mut self, app: &App) -> Doc {
        let names: Vec<_> = (0..self.rng.between(1, 3))
            .map(|_| {
                if self.rng.chance(70) {
                    map([("matchName", self.rng.word(OUTSIDE_NAMES).into())])
                } else {
                    map([("matchPattern", self.rng.word(OUTSIDE_PATTERNS).into())])
                }
            })
            .collect();
        let https = to_ports(&[PortRule::number(443, "TCP")]);
        let rule = map([("toFQDNs", list(names)), ("toPorts", https)]);
        map([
            ("endpointSelector", app_selector(app)),
            ("egress", list([super::namespace::to_name_server(), rule])),
        ])
    }

    /// Callers and targets that are no pods: the node's health checks, the API server, the world, pings.
    pub(super) fn entities(&mut self, app: &App) -> Doc {
        let spec = map([("endpointSelector", app_selector(app))]);
        match self.rng.below(4) {
            0 => {
                let rule = map([
                    ("toEntities", list(["kube-apiserver"])),
                    ("toPorts", to_ports(&[PortRule::number(443, "TCP"), PortRule::number(6443, "TCP")])),
                ]);
                spec.with("egress", list([rule]))
            }
            1 => {
                let web = to_ports(&[PortRule::number(8080, "TCP"), PortRule::number(8443, "TCP")]);
                let rule = map([("fromEntities", list(["world", "ingress"])), ("toPorts", web)]);
                spec.with("ingress", list([rule]))
            }
            2 => {
                let ping = map([("type", "EchoRequest".into()), ("family", "IPv4".into())]);
                let icmps = list([map([("fields", list([ping]))])]);
                let rule = map([("fromEntities", list(["cluster"])), ("icmps", icmps)]);
                spec.with("ingress", list([rule]))
            }
            _ => {
                let ports = to_ports(&ports_of(app, true, &mut self.rng));
                let rule =
                    map([("fromEntities", list(["host", "remote-node", "health"])), ("toPorts", ports)]);
                spec.with("ingress", list([rule]))
            }
        }
    }

    /// A Kubernetes NetworkPolicy for one app.
    pub(super) fn network_policy(&mut self, subject: usize, app: &App) -> Doc {
        let each = self.cluster.shape.apps_per_namespace;
        let mut from = Vec::new();
        for _ in 0..self.rng.between(1, 3) {
            let offset = self.rng.between(1, each - 1);
            let beside = self.cluster.apps_of(app.namespace).get((subject + offset) % each);
            match (self.rng.below(10), beside) {
                (0..6, Some(peer)) => from.push(map([("podSelector", app_selector(peer))])),
                (6..8, _) => {
                    let team = self.team();
                    from.push(map([
                        ("namespaceSelector", labels(vec![("team", team.to_owned())])),
                        ("podSelector", labels(vec![("tier", "backend".to_owned())])),
                    ]));
                }
                _ => {
                    let prefix = self.rng.pick(&self.prefixes).cloned();
                    from.extend(prefix.map(|prefix| {
                        let mut block = map([("cidr", prefix.cidr.into())]);
                        if !prefix.excepts.is_empty() {
                            block = block.with("except", list(prefix.excepts));
                        }
                        map([("ipBlock", block)])
                    }));
                }
            }
        }
        let ports = ports_of(app, true, &mut self.rng).into_iter().map(|rule| {
            let port = rule.port.parse::<u16>().map_or_else(|_| Doc::from(rule.port), Doc::from);
            let mut doc = map([("protocol", rule.protocol.unwrap_or("TCP").into()), ("port", port)]);
            if let Some(end) = rule.end {
                doc = doc.with("endPort", end);
            }
            doc
        });
        map([
            ("podSelector", app_selector(app)),
            ("policyTypes", list(["Ingress"])),
            ("ingress", list([map([("from", list(from)), ("ports", list(ports))])])),
        ])
    }

    /// Callers that an app must never have, whatever another policy allows.
    pub(super) fn deny(&mut self, subject: usize, app: &App) -> Doc {
        let spec = map([("endpointSelector", app_selector(app))]);
        if self.rng.chance(30) {
            let cidr = self.rng.pick(&self.prefixes).map(|prefix| prefix.cidr.clone());
            return spec.with("egressDeny", list([map([("toCIDR", list(cidr))])]));
        }
        let peer = match app.role {
            Role::Cache | Role::Database => Peer::Tier("frontend"),
            _ => Peer::choose(self.cluster, subject, &mut self.rng),
        };
        let rule = map([
            ("fromEndpoints", list([peer.selector(self.cluster, app.namespace)])),
            ("toPorts", to_ports(&ports_of(app, false, &mut self.rng))),
        ]);
        spec.with("ingressDeny", list([rule]))
    }
}
