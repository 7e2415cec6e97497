//! What an API server has, kept as the compiler wants it: each change of an object is taken in by itself.

use crate::compile::Broken;
use crate::inputs::{NamedText, blocking};
use portcullis_cluster::{Changes, Key, Kind};
use portcullis_diag::{FileId, SourceMap};
use portcullis_front::Parsed;
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
    /// Its labels, for people, where it runs on this node.
    pub labels: Vec<(String, String)>,
    /// It is being stopped: whoever else has its address now has it rightly.
    pub terminating: bool,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Live {
    /// The node whose pods' labels are kept.
    own: String,
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

/// Objects that are read before they are taken in.
const PART: usize = 2048;

fn name_of(key: &Key) -> String {
    format!("{} {}/{}.json", key.kind.name(), key.namespace, key.name)
}

/// Reads texts, many of them on all processors.
fn parse(part: &[(Key, Option<Arc<str>>)]) -> Vec<Option<Parsed>> {
    let one = |(key, text): &(Key, Option<Arc<str>>)| {
        let text = text.as_ref().filter(|_| key.kind != Kind::ServiceAccount)?;
        Some(portcullis_front::parse(FileId(0), &name_of(key), text))
    };
    let many = std::thread::available_parallelism().map_or(1, usize::from);
    if many == 1 || part.len() < 64 {
        return part.iter().map(one).collect();
    }
    std::thread::scope(|scope| {
        let parts = part.chunks(part.len().div_ceil(many));
        let readers: Vec<_> =
            parts.map(|p| scope.spawn(move || p.iter().map(one).collect::<Vec<_>>())).collect();
        let read = readers.into_iter().map(|r| match r.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        read.flatten().collect()
    })
}

impl Live {
    /// Of nothing yet, for a node of that name. Services are kept where they are translated.
    pub fn new(node: &str, services: bool) -> Self {
        Self { own: node.to_owned(), services: services.then(Services::default), ..Self::default() }
    }

    /// Takes changes in. In which order and how many at a time they come has no effect on what is kept.
    pub fn take(&mut self, changes: Changes) -> Difference {
        let mut out = Difference { others: self.ready != changes.ready, ..Difference::default() };
        self.ready = changes.ready;
        let (policies, others): (Vec<_>, Vec<_>) =
            changes.objects.into_iter().partition(|(key, _)| key.kind.is_policy());
        for part in others.chunks(PART) {
            for ((key, text), parsed) in part.iter().zip(parse(part)) {
                self.object(key.clone(), text.as_ref(), parsed, &mut out);
            }
        }
        for (key, text) in policies {
            out.others = true;
            match text {
                Some(text) => drop(self.policies.insert(key.clone(), (name_of(&key), text))),
                None => drop(self.policies.remove(&key)),
            }
        }
        out
    }

    fn object(&mut self, key: Key, text: Option<&Arc<str>>, parsed: Option<Parsed>, out: &mut Difference) {
        if key.kind == Kind::ServiceAccount {
            return;
        }
        self.revision += 1;
        let kind = key.kind.name();
        let mut pod = None;
        // To look for a slice takes a walk through all.
        let is_new = key.kind == Kind::EndpointSlice && !self.facts.has_slice(&key.namespace, &key.name);
        if let Some(services) = self.services.as_mut().filter(|_| !is_new) {
            services.remove(kind, &key.namespace, &key.name);
        }
        let mut broken = Vec::new();
        let mut known = false;
        if let (Some(text), Some(parsed)) = (text, parsed) {
            if parsed.diagnostics.iter().any(|d| d.severity == portcullis_diag::Severity::Error) {
                let mut sources = SourceMap::new();
                sources.add(name_of(&key), Arc::clone(text));
                broken.extend(blocking(&parsed).map(|d| Broken::of(d, &sources).to_string()));
            }
            for o in &parsed.objects {
                known = true;
                self.facts.set(o);
                if let Some(services) = &mut self.services {
                    services.add(o);
                }
                pod = pod_of(o, &self.own);
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
fn pod_of(o: &Object, own: &str) -> Option<LivePod> {
    let Body::Pod(pod) = &o.body else { return None };
    let text = |(k, v): &(smol_str::SmolStr, smol_str::SmolStr)| (k.to_string(), v.to_string());
    (!pod.host_network && !pod.finished).then(|| LivePod {
        node: pod.node.as_deref().unwrap_or_default().to_owned(),
        addresses: pod.ips.clone(),
        labels: o.meta.labels.iter().filter(|_| pod.node.as_deref() == Some(own)).map(text).collect(),
        terminating: pod.terminating,
    })
}
