//! The commonest policy: who may call an app, on which ports.

use super::peers::{Peer, PortRule, app_selector, ports_of, to_ports};
use crate::cluster::Cluster;
use crate::doc::{Doc, list, map};
use crate::rng::Rng;
use crate::words::Role;

/// A CiliumNetworkPolicy that lets some peers reach one app.
#[derive(Debug, Clone)]
pub(crate) struct AppIngress {
    subject: usize,
    peers: Vec<Peer>,
    ports: Vec<PortRule>,
    /// Prometheus may scrape it too.
    metrics: bool,
    /// The HTTP rules that its port carries.
    http: bool,
}

impl AppIngress {
    /// Chooses peers and ports. A `changeable` one has two peers and a port range at least, so that
    /// [`Self::narrowed`] has something to take away.
    pub(crate) fn choose(cluster: &Cluster, subject: usize, changeable: bool, rng: &mut Rng) -> Self {
        let least = if changeable { 2 } else { 1 };
        let wanted = rng.between(least, 4);
        let mut peers = Vec::with_capacity(wanted);
        while peers.len() < wanted {
            let peer = Peer::choose(cluster, subject, rng);
            // A peer named twice would make its loss no change at all. Others are always found: an app has
            // three neighbours at least, and there are tiers and teams besides.
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        let app = cluster.apps.get(subject);
        let mut ports = app.map(|app| ports_of(app, true, rng)).unwrap_or_default();
        if changeable {
            ports.insert(0, PortRule { port: "8000".to_owned(), end: Some(8099), protocol: Some("TCP") });
        }
        let speaks_http = app.is_some_and(|app| matches!(app.role, Role::Web | Role::Api));
        Self {
            subject,
            peers,
            ports,
            metrics: rng.chance(40),
            http: speaks_http && !changeable && rng.chance(10),
        }
    }

    /// The same policy with one peer less and its first port range cut in half: a change as it happens in
    /// review, which can deny flows and never allows one.
    pub(crate) fn narrowed(&self) -> Self {
        let mut narrowed = self.clone();
        if narrowed.peers.len() > 1 {
            narrowed.peers.pop();
        }
        let range = narrowed.ports.iter_mut().find_map(|rule| {
            let first: u16 = rule.port.parse().ok()?;
            rule.end.as_mut().map(|end| (first, end))
        });
        if let Some((first, end)) = range {
            *end = first.midpoint(*end);
        } else if narrowed.ports.len() > 1 {
            narrowed.ports.pop();
        }
        narrowed
    }

    /// The `spec`.
    pub(crate) fn spec(&self, cluster: &Cluster) -> Doc {
        let Some(app) = cluster.apps.get(self.subject) else { return map([]) };
        let selectors = self.peers.iter().map(|peer| peer.selector(cluster, app.namespace));
        let ports = if self.http {
            let rules = [
                map([("method", "GET".into()), ("path", "/api/v[0-9]+/.*".into())]),
                map([("method", "POST".into()), ("path", "/api/v2/.*".into())]),
            ];
            let port = PortRule::number(8080, "TCP");
            list([map([("ports", list([port.doc()])), ("rules", map([("http", list(rules))]))])])
        } else {
            to_ports(&self.ports)
        };
        let mut rules = vec![map([("fromEndpoints", list(selectors)), ("toPorts", ports)])];
        if self.metrics {
            rules.push(from_prometheus());
        }
        map([
            ("description", "who may call this app".into()),
            ("endpointSelector", app_selector(app)),
            ("ingress", list(rules)),
        ])
    }
}

/// Lets Prometheus read the metrics port.
pub(crate) fn from_prometheus() -> Doc {
    let selector = super::peers::labels(vec![
        ("app", "prometheus".to_owned()),
        (super::peers::POD_NAMESPACE, "monitoring".to_owned()),
    ]);
    map([("fromEndpoints", list([selector])), ("toPorts", to_ports(&[PortRule::number(9102, "TCP")]))])
}
