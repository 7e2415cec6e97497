//! One side: its objects, the cluster they make, and what the policies among them mean.

use crate::load::File;
use portcullis_diag::codes::resolution;
use portcullis_diag::{Diagnostic, Fate, ObjectRef, Severity};
use portcullis_front::ast::{Body, Object};
use portcullis_ir::lower::{is_policy, lower};
use portcullis_ir::{Cluster, Options, PolicySet, synthetic};
use portcullis_sema::universe::Input;
use std::collections::{BTreeMap, BTreeSet};

/// Kind, namespace and name: two objects that agree in them are one to the API server.
pub(crate) type Key = ObjectRef;

/// Policies and the cluster they apply to.
#[derive(Debug)]
pub(crate) struct Side<'f> {
    /// Files of this side.
    pub(crate) own: &'f [File],
    /// Files behind `--cluster`.
    pub(crate) cluster_files: &'f [File],
    /// Objects behind `--cluster` that this side replaces.
    hidden: BTreeSet<Key>,
    /// Workloads whose template speaks for their pods: it changes, or nobody has seen the pods.
    templates_first: BTreeSet<Key>,
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// The policies in normal form.
    pub(crate) policies: PolicySet,
    /// Findings about its own files.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl<'f> Side<'f> {
    /// A side of its own files and those of the cluster. `other` are the files of the other side of
    /// a comparison: what they replace in the cluster is replaced here as well.
    pub(crate) fn new(
        own: &'f [File],
        other: Option<&'f [File]>,
        cluster_files: &'f [File],
        options: &Options,
    ) -> Self {
        let other = other.unwrap_or_default();
        let hidden = replaced(own, other);
        let templates_first = changed_workloads(own, other);
        let mut side = Self {
            own,
            cluster_files,
            hidden,
            templates_first,
            cluster: Cluster::default(),
            policies: PolicySet::default(),
            diagnostics: own.iter().flat_map(|f| f.parsed.diagnostics.iter().cloned()).collect(),
        };
        side.cluster = Cluster::build(side.objects(), options);
        side.policies = lower(side.objects(), &side.cluster, options);
        side.diagnostics.extend(duplicates(own));
        side
    }

    /// Every object that takes part: the cluster's first, so that the side's own win.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &'f Object> + '_ {
        let shared = objects(self.cluster_files).filter(|o| !self.gives_way(o));
        shared.chain(objects(self.own))
    }

    /// Policy objects of the cluster files that take part here.
    pub(crate) fn policies_of_cluster(&self) -> usize {
        let keys: BTreeSet<Key> = objects(self.cluster_files)
            .filter(|o| is_policy(o) && o.fate == Fate::Accepted && !self.gives_way(o))
            .map(Object::reference)
            .collect();
        keys.len()
    }

    /// Whether a pod is known, beyond those that stand for selectors.
    pub(crate) fn has_pods(&self) -> bool {
        let kind = |e: &portcullis_ir::cluster::Endpoint| self.cluster.workloads.get(e.workload.0);
        self.cluster.endpoints.iter().any(|e| kind(e).is_none_or(|w| w.kind != synthetic::KIND))
    }

    /// What every engine wants to know.
    pub(crate) fn input<'a>(&'a self, options: &'a Options) -> Input<'a> {
        Input { policies: &self.policies, cluster: &self.cluster, options }
    }

    fn gives_way(&self, o: &Object) -> bool {
        if let Body::Pod(pod) = &o.body
            && let Some(key) = workload_of(o, pod.owner.as_ref())
        {
            return self.templates_first.contains(&key);
        }
        !self.hidden.is_empty() && self.hidden.contains(&o.reference())
    }
}

/// Every object of some files.
pub(crate) fn objects(files: &[File]) -> impl Iterator<Item = &Object> {
    files.iter().flat_map(|f| f.parsed.objects.iter())
}

/// What of `--cluster` gives way: whatever this side has itself, and policies and CIDR groups that
/// the other side has, since a comparison without them would never see one removed.
fn replaced(own: &[File], other: &[File]) -> BTreeSet<Key> {
    let reviewed = |o: &&Object| is_policy(o) || matches!(o.body, Body::CidrGroup(_));
    let mine = objects(own).map(Object::reference);
    mine.chain(objects(other).filter(reviewed).map(Object::reference)).collect()
}

/// Workloads that both sides have and that differ in what bears on policy: the pods that run now are
/// those of neither.
fn changed_workloads(own: &[File], other: &[File]) -> BTreeSet<Key> {
    let templates = |files| -> BTreeMap<Key, (Vec<_>, Vec<_>, _)> {
        objects(files)
            .filter_map(|o| match &o.body {
                Body::Workload(w) => {
                    let mut labels = w.labels.clone();
                    labels.sort();
                    Some((o.reference(), (labels, w.pod.ports.clone(), w.pod.service_account.clone())))
                }
                _ => None,
            })
            .collect()
    };
    let theirs = templates(other);
    templates(own)
        .into_iter()
        .filter(|(k, t)| theirs.get(k).is_some_and(|o| o != t))
        .map(|(k, _)| k)
        .collect()
}

/// The workload that a pod belongs to; a ReplicaSet's is the Deployment that its name begins with.
fn workload_of(pod: &Object, owner: Option<&(smol_str::SmolStr, smol_str::SmolStr)>) -> Option<Key> {
    let (kind, name) = owner?;
    let namespace = pod.meta.namespace.as_ref().map(|n| n.value.to_string());
    Some(match name.rsplit_once('-') {
        Some((stem, _)) if kind == "ReplicaSet" => {
            ObjectRef { kind: "Deployment".into(), namespace, name: stem.into() }
        }
        _ => ObjectRef { kind: kind.to_string(), namespace, name: name.to_string() },
    })
}

/// Objects that a later one of the same side replaces.
fn duplicates(own: &[File]) -> Vec<Diagnostic> {
    let mut last: BTreeMap<Key, &Object> = BTreeMap::new();
    let mut out = Vec::new();
    for o in objects(own).filter(|o| !o.meta.name.value.is_empty()) {
        let key = o.reference();
        if let Some(earlier) = last.insert(key.clone(), o) {
            out.push(
                Diagnostic::new(
                    resolution::DUPLICATE_OBJECT,
                    format!("this {key} is replaced by a later one, and has no effect"),
                    earlier.meta.name.span,
                )
                .label("replaced")
                .also(o.meta.name.span, "this one counts")
                .help("give one of them another name, or remove it")
                .object(key),
            );
        }
    }
    out
}

/// Whether a finding leaves an object out of the answer, so that the answer may be wrong.
pub(crate) fn is_blocking(d: &Diagnostic) -> bool {
    d.severity == Severity::Error && d.fate != Fate::Accepted
}

/// Gives sides without any pod the pods that their selectors speak of, the same on every side, and
/// says so. `None` if a pod is known.
pub(crate) fn add_samples(sides: &mut [&mut Side<'_>], options: &Options) -> Option<String> {
    if sides.iter().any(|s| !s.cluster.is_empty()) {
        return None;
    }
    let mut namespaces = BTreeMap::new();
    for side in &*sides {
        namespaces.extend(side.cluster.namespaces.clone());
    }
    let selectors = sides.iter().flat_map(|s| s.policies.selectors.iter());
    let samples = synthetic::samples(selectors, &namespaces);
    for side in sides {
        side.cluster.add_samples(&samples, options);
    }
    Some("Each selector stands for one pod that it selects; named ports match nothing.".to_owned())
}
