//! Which selectors match nobody, and why.

use super::words::nearest;
use portcullis_front::ast::LabelSelector;
use portcullis_ir::cluster::is_identity_label;
use portcullis_ir::label::{
    CLUSTER, NAMESPACE_LABELS, POD_NAMESPACE, SOURCE_K8S, SOURCE_RESERVED, split_key,
};
use portcullis_ir::{Cluster, LabelSet, Operator, Options, Requirement, Reserved, Selector};
use std::collections::{BTreeSet, HashMap};

/// Why a selector matches nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It asks for a label that no identity has; another lint says so.
    Unusable,
    /// It asks for a namespace that does not exist; a like one may.
    NoNamespace(String, Option<String>),
    /// Its labels occur, but only in these namespaces.
    Elsewhere(Vec<String>),
    /// No pod matches; the words say which label is to blame.
    Nobody(String),
}

/// Label sets of all pods, found by label.
pub(super) struct Matcher<'a> {
    cluster: &'a Cluster,
    options: &'a Options,
    has_pods: bool,
    sets: Vec<&'a LabelSet>,
    by_key: HashMap<&'a str, HashMap<&'a str, Vec<u32>>>,
}

impl<'a> Matcher<'a> {
    /// Indexes the cluster's identities.
    pub(super) fn new(cluster: &'a Cluster, options: &'a Options, has_pods: bool) -> Self {
        let sets: Vec<&LabelSet> = cluster.identities.iter().collect();
        let mut by_key: HashMap<&str, HashMap<&str, Vec<u32>>> = HashMap::new();
        for (at, set) in (0u32..).zip(&sets) {
            for l in *set {
                by_key.entry(&l.key).or_default().entry(&l.value).or_default().push(at);
            }
        }
        Self { cluster, options, has_pods, sets, by_key }
    }

    /// Why a selector of a policy in `namespace` matches no pod and no reserved identity; `None` if
    /// it matches, or if that cannot be known. A namespace is checked even where no pod is known.
    pub(super) fn trouble(&self, s: &Selector, namespace: Option<&str>) -> Option<Trouble> {
        if s.requirements().iter().any(is_unusable) {
            return Some(Trouble::Unusable);
        }
        if let Some(name) = s.requirements().iter().find_map(|r| self.missing_namespace(r)) {
            let like = nearest(&name, self.cluster.namespaces.keys().map(smol_str::SmolStr::as_str));
            return Some(Trouble::NoNamespace(name.clone(), like.map(str::to_owned)));
        }
        if !self.is_known(s) || s.is_reserved() || self.is_remote(s) || self.any(s) || reserved(s) {
            return None;
        }
        if let Some(own) = namespace {
            let rest =
                Selector::new(s.requirements().iter().filter(|r| !is_only(r, POD_NAMESPACE, own)).cloned());
            let others: BTreeSet<&str> =
                if rest.requirements().len() < s.requirements().len() && names_pods(&rest) {
                    self.found(&rest).filter_map(|l| l.k8s(POD_NAMESPACE)).collect()
                } else {
                    BTreeSet::new()
                };
            if !others.is_empty() {
                return Some(Trouble::Elsewhere(others.into_iter().map(str::to_owned).collect()));
            }
        }
        Some(Trouble::Nobody(self.blame(s)))
    }

    /// Whether a namespace is known not to exist: Namespace objects were given, and neither one of
    /// that name nor a pod in it.
    pub(super) fn lacks_namespace(&self, name: &str) -> bool {
        !self.cluster.known_namespaces.is_empty() && !self.cluster.namespaces.contains_key(name)
    }

    /// Whether the pods a selector is about would be known. Where Namespace objects are given, all
    /// are; else the files may hold a part of the cluster, and only namespaces with pods are.
    fn is_known(&self, s: &Selector) -> bool {
        let in_known = |r: &Requirement| {
            r.key == POD_NAMESPACE
                && r.operator == Operator::In
                && r.values
                    .iter()
                    .all(|v| self.by_key.get(POD_NAMESPACE).is_some_and(|by| by.contains_key(v.as_str())))
        };
        self.has_pods && (!self.cluster.known_namespaces.is_empty() || s.requirements().iter().any(in_known))
    }

    fn missing_namespace(&self, r: &Requirement) -> Option<String> {
        let names_one = r.key == POD_NAMESPACE
            || r.key.strip_prefix(NAMESPACE_LABELS) == Some(".kubernetes.io/metadata.name");
        if names_one && r.operator == Operator::In && r.values.iter().all(|v| self.lacks_namespace(v)) {
            r.values.first().map(ToString::to_string)
        } else {
            None
        }
    }

    /// Whether another cluster is asked for, whose pods are not known here.
    fn is_remote(&self, s: &Selector) -> bool {
        s.requirements().iter().any(|r| {
            r.key == CLUSTER
                && !(r.operator == Operator::In && r.values.iter().any(|v| *v == self.options.cluster_name))
        })
    }

    fn any(&self, s: &Selector) -> bool {
        self.found(s).next().is_some()
    }

    /// The label sets a selector matches: those with its rarest label are looked at.
    fn found<'s>(&'s self, s: &'s Selector) -> Box<dyn Iterator<Item = &'a LabelSet> + 's> {
        let lists = |r: &Requirement| -> Vec<&'s Vec<u32>> {
            let values = self.by_key.get(r.key.as_str());
            r.values.iter().filter_map(|v| values.and_then(|by| by.get(v.as_str()))).collect()
        };
        let rarest = s
            .requirements()
            .iter()
            .filter(|r| r.operator == Operator::In)
            .map(lists)
            .min_by_key(|l| l.iter().map(|p| p.len()).sum::<usize>());
        match rarest {
            Some(lists) => Box::new(
                lists
                    .into_iter()
                    .flatten()
                    .filter_map(|at| self.sets.get(*at as usize).copied())
                    .filter(|set| s.matches(set)),
            ),
            None => Box::new(self.sets.iter().copied().filter(|set| s.matches(set))),
        }
    }

    /// Which of the labels no pod has, with the nearest that some pod has.
    fn blame(&self, s: &Selector) -> String {
        for r in s.requirements() {
            let one = Selector::new([r.clone()]);
            if self.any(&one) {
                continue;
            }
            if r.operator == Operator::In
                && let Some(by_value) = self.by_key.get(r.key.as_str())
            {
                let mut values: Vec<&str> = by_value.keys().copied().collect();
                values.sort_unstable();
                let like = r.values.first().and_then(|v| nearest(v, values));
                return match like {
                    Some(like) => format!("no pod has `{one}`; the nearest is `{}={like}`", r.key),
                    None => format!("no pod has `{one}`"),
                };
            }
            let mut keys: Vec<&str> = self.by_key.keys().copied().collect();
            keys.sort_unstable();
            return match nearest(&r.key, keys).filter(|_| r.operator != Operator::DoesNotExist) {
                Some(like) => format!("no pod has a label `{}`; the nearest is `{like}`", r.key),
                None => format!("no pod has `{one}`"),
            };
        }
        "pods have each of these labels, but none has all of them".to_owned()
    }
}

/// Whether a requirement asks for a label that Cilium leaves out of identities.
pub(super) fn is_unusable(r: &Requirement) -> bool {
    matches!(r.operator, Operator::In | Operator::Exists)
        && r.source.as_deref().is_none_or(|s| s == SOURCE_K8S)
        && r.key != POD_NAMESPACE
        && !is_identity_label(&r.key)
}

/// Whether a selector as written names the pods that answer DNS in one distribution or another:
/// policies made for several list them all, and some of the list never matches.
pub(super) fn names_dns(s: &LabelSelector) -> bool {
    const DNS: [&str; 4] = ["kube-dns", "coredns", "node-local-dns", "dns-default"];
    let by_key = |k: &str| split_key(k).1.starts_with("dns.operator.openshift.io/");
    s.match_labels.iter().any(|(k, v)| by_key(&k.value) || DNS.contains(&v.value.as_str()))
        || s.match_expressions
            .iter()
            .any(|e| by_key(&e.key.value) || e.values.iter().any(|v| DNS.contains(&v.value.as_str())))
}

fn is_only(r: &Requirement, key: &str, value: &str) -> bool {
    r.key == key && r.operator == Operator::In && r.values.len() == 1 && r.values.iter().all(|v| v == value)
}

/// Whether a selector says something about the pods' own labels, beyond namespace and cluster.
fn names_pods(s: &Selector) -> bool {
    s.requirements().iter().any(|r| r.key != CLUSTER && matches!(r.operator, Operator::In | Operator::Exists))
}

fn reserved(s: &Selector) -> bool {
    s.requirements().iter().any(|r| r.source.as_deref().is_none_or(|x| x == SOURCE_RESERVED))
        && Reserved::ALL.iter().any(|r| s.matches(&r.labels()))
}
