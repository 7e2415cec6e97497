//! The parts of which Cilium rules are made: selectors and ports.

use crate::cluster::{App, Cluster};
use crate::doc::{Doc, list, map};
use crate::rng::Rng;

/// The label that names a pod's namespace in a selector.
pub(crate) const POD_NAMESPACE: &str = "k8s:io.kubernetes.pod.namespace";
/// The labels of a pod's namespace in a selector, up to the key.
pub(crate) const NAMESPACE_TEAM: &str = "k8s:io.cilium.k8s.namespace.labels.team";

/// Who a rule talks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// An app, by its index.
    App(usize),
    /// Two apps of the subject's namespace, as one expression.
    Either(usize, usize),
    /// A tier of the subject's namespace.
    Tier(&'static str),
    /// A tier in all namespaces of a team.
    TeamTier(&'static str, &'static str),
}

impl Peer {
    /// Chooses a peer of `subject`: mostly an app beside it, sometimes one of another namespace.
    pub(crate) fn choose(cluster: &Cluster, subject: usize, rng: &mut Rng) -> Self {
        let own = cluster.apps.get(subject).map_or(0, |app| app.namespace);
        let each = cluster.shape.apps_per_namespace;
        // Another app of the same namespace: step on by at least one and less than a whole round.
        let mut beside = || own * each + (subject % each + rng.between(1, each - 1)) % each;
        let (first, second) = (beside(), beside());
        match rng.below(100) {
            0..70 => Self::App(first),
            70..85 => Self::App(rng.below(cluster.apps.len())),
            85..92 if first != second => Self::Either(first.min(second), first.max(second)),
            85..96 => Self::Tier(rng.word(&["frontend", "backend"])),
            _ => {
                let team = rng.pick(&cluster.namespaces).map_or("platform", |namespace| namespace.team);
                Self::TeamTier(team, rng.word(&["frontend", "backend"]))
            }
        }
    }

    /// The Cilium selector, as written in a policy of namespace `from`.
    pub(crate) fn selector(&self, cluster: &Cluster, from: usize) -> Doc {
        match self {
            Self::App(index) => match cluster.apps.get(*index) {
                Some(app) if app.namespace == from => app_selector(app),
                Some(app) => {
                    let namespace = cluster.namespace_of(app).to_owned();
                    labels(vec![(app.label_key(), app.name.clone()), (POD_NAMESPACE, namespace)])
                }
                None => map([]),
            },
            Self::Either(first, second) => {
                let names = [first, second].into_iter().filter_map(|index| cluster.apps.get(*index));
                map([(
                    "matchExpressions",
                    list([map([
                        ("key", "app".into()),
                        ("operator", "In".into()),
                        ("values", list(names.map(|app| app.name.clone()))),
                    ])]),
                )])
            }
            Self::Tier(tier) => labels(vec![("tier", (*tier).to_owned())]),
            Self::TeamTier(team, tier) => {
                labels(vec![("tier", (*tier).to_owned()), (NAMESPACE_TEAM, (*team).to_owned())])
            }
        }
    }
}

/// The selector of an app inside its own namespace.
pub(crate) fn app_selector(app: &App) -> Doc {
    labels(vec![(app.label_key(), app.name.clone())])
}

/// A selector by labels alone.
pub(crate) fn labels(entries: Vec<(&'static str, String)>) -> Doc {
    let entries = entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    map([("matchLabels", Doc::Map(entries))])
}

/// A port of a rule.
#[derive(Debug, Clone)]
pub(crate) struct PortRule {
    /// A number or a name.
    pub(crate) port: String,
    /// The last port of a range.
    pub(crate) end: Option<u16>,
    /// `None` leaves the field out, which means TCP, UDP and SCTP.
    pub(crate) protocol: Option<&'static str>,
}

impl PortRule {
    /// A numbered port.
    pub(crate) fn number(number: u16, protocol: &'static str) -> Self {
        Self { port: number.to_string(), end: None, protocol: Some(protocol) }
    }

    /// The `ports` entry of a Cilium rule.
    pub(crate) fn doc(&self) -> Doc {
        let mut doc = map([("port", Doc::Quoted(self.port.clone()))]);
        if let Some(end) = self.end {
            doc = doc.with("endPort", end);
        }
        if let Some(protocol) = self.protocol {
            doc = doc.with("protocol", protocol);
        }
        doc
    }
}

/// A `toPorts` list of one entry.
pub(crate) fn to_ports(ports: &[PortRule]) -> Doc {
    list([map([("ports", list(ports.iter().map(PortRule::doc)))])])
}

/// One to three of the ports that an app listens on. Names stand only where `named` allows them: a name on
/// egress is resolved on each peer, which few people mean.
pub(crate) fn ports_of(app: &App, named: bool, rng: &mut Rng) -> Vec<PortRule> {
    let declared = app.role.ports();
    let count = rng.between(1, declared.len().min(3));
    let first = rng.below(declared.len());
    (0..count)
        .filter_map(|step| declared.get((first + step) % declared.len()))
        .map(|port| {
            let mut rule = PortRule::number(port.number, port.protocol);
            match rng.below(100) {
                0..15 if named => port.name.clone_into(&mut rule.port),
                15..22 => rule.protocol = None,
                22..30 => rule.end = Some(port.number + u16::try_from(rng.between(1, 99)).unwrap_or(9)),
                _ => {}
            }
            rule
        })
        .collect()
}
