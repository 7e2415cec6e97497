//! What an API server has, kept as the compiler wants it: each change of an object is taken in by itself.

use crate::compile::Broken;
use crate::inputs::{NamedText, blocking};
use portcullis_cluster::{Changes, Key, Kind};
use portcullis_diag::{FileId, SourceMap};
use portcullis_front::ast::{Body, Object};
use portcullis_ir::cluster::LiveFacts;
use portcullis_services::Services;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Namespace and name of a pod.
pub type PodName = (String, String);

/// What of a pod the node itself looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LivePod {
    /// Where it runs.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its labels, for people.
    pub labels: Vec<(String, String)>,
    /// It is being stopped: whoever else has its address now has it rightly.
    pub terminating: bool,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Live {
    ready: bool,
    policies: BTreeMap<Key, NamedText>,
    /// Pods that are endpoints: neither finished nor on the host's network.
    pods: BTreeMap<PodName, LivePod>,
    facts: LiveFacts,
    services: Option<Services>,
    broken: BTreeMap<Key, Vec<String>>,
    revision: u64,
}

/// What a batch of changes comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Pods that came, went or are others than before.
    pub pods: BTreeSet<PodName>,
    /// Something else than pods has changed that bears on policies or services.
    pub others: bool,
}

impl Difference {
    /// Adds a later batch.
    pub fn extend(&mut self, later: Self) {
        self.others |= later.others;
        self.pods.extend(later.pods);
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && !self.others
    }
}

impl Live {
    /// Of nothing yet. Services are kept where they are translated.
    pub fn new(services: bool) -> Self {
        Self { services: services.then(Services::default), ..Self::default() }
    }

    /// Takes changes in. In which order and how many at a time they come has no effect on what is kept.
    pub fn take(&mut self, changes: Changes) -> Difference {
        let mut out = Difference { others: self.ready != changes.ready, ..Difference::default() };
        self.ready = changes.ready;
        for (key, text) in changes.objects {
            if key.kind.is_policy() {
                out.others = true;
                match text {
                    Some(text) => {
                        let name = format!("{} {}/{}.json", key.kind.name(), key.namespace, key.name);
                        self.policies.insert(key, (name, text));
                    }
                    None => drop(self.policies.remove(&key)),
                }
            } else {
                self.object(key, text.as_ref(), &mut out);
            }
        }
        out
    }

    fn object(&mut self, key: Key, text: Option<&Arc<str>>, out: &mut Difference) {
        if key.kind == Kind::ServiceAccount {
            return;
        }
        self.revision += 1;
        let kind = key.kind.name();
        let mut pod = None;
        if let Some(services) = &mut self.services {
            services.remove(kind, &key.namespace, &key.name);
        }
        let mut broken = Vec::new();
        let mut known = false;
        if let Some(text) = text {
            let name = format!("{kind} {}/{}.json", key.namespace, key.name);
            let parsed = portcullis_front::parse(FileId(0), &name, text);
            if parsed.diagnostics.iter().any(|d| d.severity == portcullis_diag::Severity::Error) {
                let mut sources = SourceMap::new();
                sources.add(name.as_str(), Arc::clone(text));
                broken.extend(blocking(&parsed).map(|d| Broken::of(d, &sources).to_string()));
            }
            for o in &parsed.objects {
                known = true;
                self.facts.set(o);
                if let Some(services) = &mut self.services {
                    services.add(o);
                }
                pod = pod_of(o);
            }
        }
        if !known {
            self.facts.remove(kind, &key.namespace, &key.name);
        }
        let was_broken = !broken.is_empty();
        let changed = if broken.is_empty() {
            self.broken.remove(&key).is_some()
        } else {
            self.broken.insert(key.clone(), broken);
            was_broken
        };
        if key.kind != Kind::Pod || changed {
            out.others = true;
        }
        if key.kind == Kind::Pod {
            let name = (key.namespace, key.name);
            match pod {
                Some(pod) => drop(self.pods.insert(name.clone(), pod)),
                None => drop(self.pods.remove(&name)),
            }
            out.pods.insert(name);
        }
    }

    /// Whether every kind has been heard of.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Policies, each a text of its own, in order of kind, namespace and name.
    pub fn policies(&self) -> impl Iterator<Item = &NamedText> {
        self.policies.values()
    }

    /// Pods that are endpoints.
    pub fn pods(&self) -> &BTreeMap<PodName, LivePod> {
        &self.pods
    }

    /// Everything else, as a source of the compiler's cluster.
    pub fn facts(&self) -> &LiveFacts {
        &self.facts
    }

    /// What services say, where that is kept.
    pub fn services(&self) -> Option<&Services> {
        self.services.as_ref()
    }

    /// Grows with every change of anything but policies.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Objects that cannot be read, in sentences.
    pub fn broken(&self) -> impl Iterator<Item = &String> {
        self.broken.values().flatten()
    }

    /// Namespaces and names of pods that are being stopped.
    pub fn terminating(&self) -> BTreeSet<(&str, &str)> {
        let stopped = self.pods.iter().filter(|(_, p)| p.terminating);
        stopped.map(|((namespace, name), _)| (namespace.as_str(), name.as_str())).collect()
    }
}

/// What the node looks at, of a pod that is an endpoint.
fn pod_of(o: &Object) -> Option<LivePod> {
    let Body::Pod(pod) = &o.body else { return None };
    let text = |(k, v): &(smol_str::SmolStr, smol_str::SmolStr)| (k.to_string(), v.to_string());
    (!pod.host_network && !pod.finished).then(|| LivePod {
        node: pod.node.as_deref().unwrap_or_default().to_owned(),
        addresses: pod.ips.clone(),
        labels: o.meta.labels.iter().map(text).collect(),
        terminating: pod.terminating,
    })
}
