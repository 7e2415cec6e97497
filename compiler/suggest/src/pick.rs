//! Label selectors that take in certain label sets of a namespace and no others.

use portcullis_ir::{Cluster, IdentityId, LabelSet, PolicySet, Selector, label};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A selector: labels that must be there, and keys that must not.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pick {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) absent: Vec<String>,
}

/// Keys by which people tell workloads apart, best first.
const TELLING: [&str; 7] =
    ["app", "app.kubernetes.io/name", "k8s-app", "name", "component", "app.kubernetes.io/component", "tier"];

/// Keys whose values do not outlive a release.
const PASSING: [&str; 6] =
    ["version", "app.kubernetes.io/version", "helm.sh/chart", "chart", "release", "track"];

/// Workloads of a namespace from which on "every pod of it" is said in one word.
const ALL: usize = 5;

/// Label sets of one namespace.
#[derive(Debug, Default)]
struct Namespace {
    all: BTreeSet<IdentityId>,
    having: BTreeMap<(String, String), BTreeSet<IdentityId>>,
}

/// Whether Kubernetes takes a text as a label's value.
fn is_value(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let ends = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(inside) && ends(text.bytes().next()) && ends(text.bytes().last())
}

/// Whether Kubernetes takes a text as a label's key.
fn is_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').unwrap_or(("", text));
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    !name.is_empty() && is_value(name) && prefix.len() <= 253 && prefix.bytes().all(lower)
}

/// Knows the labels of a cluster, and which keys policies go by.
#[derive(Debug)]
pub(crate) struct Picker<'a> {
    cluster: &'a Cluster,
    used: BTreeMap<&'a str, usize>,
    namespaces: BTreeMap<&'a str, Vec<IdentityId>>,
    workloads: BTreeMap<IdentityId, BTreeSet<u32>>,
    known: RefCell<BTreeMap<String, Rc<Namespace>>>,
}

impl<'a> Picker<'a> {
    pub(crate) fn new(cluster: &'a Cluster, policies: &'a PolicySet) -> Self {
        let mut used: BTreeMap<&str, usize> = BTreeMap::new();
        for r in policies.selectors.iter().flat_map(Selector::requirements) {
            *used.entry(r.key.as_str()).or_insert(0) += 1;
        }
        let mut namespaces: BTreeMap<&str, Vec<IdentityId>> = BTreeMap::new();
        let mut workloads: BTreeMap<IdentityId, BTreeSet<u32>> = BTreeMap::new();
        for e in &cluster.endpoints {
            let of = workloads.entry(e.identity).or_insert_with(|| {
                namespaces.entry(e.namespace.as_str()).or_default().push(e.identity);
                BTreeSet::new()
            });
            of.insert(e.workload.0);
        }
        Self { cluster, used, namespaces, workloads, known: RefCell::default() }
    }

    /// Workloads that have pods with a label set.
    pub(crate) fn workloads(&self, id: IdentityId) -> impl Iterator<Item = u32> + '_ {
        self.workloads.get(&id).into_iter().flatten().copied()
    }

    /// Every label set that a pod has.
    pub(crate) fn identities(&self) -> impl Iterator<Item = IdentityId> + '_ {
        self.workloads.keys().copied()
    }

    /// The namespace of a label set.
    pub(crate) fn namespace(&self, id: IdentityId) -> &'a str {
        self.cluster.labels(id).and_then(|l| l.k8s(label::POD_NAMESPACE)).unwrap_or("default")
    }

    fn usable(key: &str) -> bool {
        key != label::POD_NAMESPACE
            && key != label::CLUSTER
            && key != label::SERVICE_ACCOUNT
            && !key.starts_with(label::NAMESPACE_LABELS)
    }

    fn own(labels: &LabelSet) -> impl Iterator<Item = (&str, &str)> {
        labels
            .iter()
            .filter(|l| l.source == label::SOURCE_K8S && Self::usable(&l.key))
            // A recording may hold anything; a policy that names it would be refused.
            .filter(|l| is_key(&l.key) && is_value(&l.value))
            .map(|l| (l.key.as_str(), l.value.as_str()))
    }

    /// Better keys first: those that policies go by, then the usual ones; passing ones last.
    fn rank(&self, key: &str) -> (bool, std::cmp::Reverse<usize>, usize) {
        let used = self.used.get(key).copied().unwrap_or(0);
        let telling = TELLING.iter().position(|k| *k == key).unwrap_or(TELLING.len());
        (PASSING.contains(&key), std::cmp::Reverse(used), telling)
    }

    fn of(&self, name: &str) -> Rc<Namespace> {
        if let Some(found) = self.known.borrow().get(name) {
            return Rc::clone(found);
        }
        let mut out = Namespace::default();
        for id in self.namespaces.get(name).into_iter().flatten() {
            out.all.insert(*id);
            for (k, v) in self.cluster.labels(*id).into_iter().flat_map(Self::own) {
                out.having.entry((k.to_owned(), v.to_owned())).or_default().insert(*id);
            }
        }
        let out = Rc::new(out);
        self.known.borrow_mut().insert(name.to_owned(), Rc::clone(&out));
        out
    }

    /// Selectors of a namespace that together take in these label sets and no others of it; few and short.
    pub(crate) fn cover(&self, namespace: &str, wanted: &BTreeSet<IdentityId>, exact: bool) -> Vec<Pick> {
        let ns = self.of(namespace);
        let count: BTreeSet<u32> = wanted.iter().flat_map(|i| self.workloads(*i)).collect();
        if !exact && ns.all.is_subset(wanted) && count.len() >= ALL {
            return vec![Pick::default()];
        }
        let mut left = wanted.clone();
        let mut out: BTreeSet<Pick> = BTreeSet::new();
        let single: Vec<(&(String, String), &BTreeSet<IdentityId>)> =
            ns.having.iter().filter(|(_, ids)| ids.is_subset(wanted)).collect();
        while let Some(first) = left.first().copied() {
            // Of the labels that take in the first one that is left, the one that takes in most.
            let best = single.iter().filter(|(_, ids)| ids.contains(&first)).min_by_key(|((k, v), ids)| {
                let (passing, used, telling) = self.rank(k);
                (passing, std::cmp::Reverse(ids.intersection(&left).count()), used, telling, k, v)
            });
            let (pick, taken) = match best {
                Some((pair, ids)) => {
                    (Pick { labels: vec![(*pair).clone()], absent: Vec::new() }, (*ids).clone())
                }
                None => self.several(&ns, first, wanted),
            };
            left.remove(&first);
            // Pods that no label tells from others are left to the caller: nothing that names them is small.
            if pick.labels.is_empty() && !taken.is_subset(wanted) {
                continue;
            }
            left.retain(|i| !taken.contains(i));
            out.insert(pick);
        }
        out.into_iter().collect()
    }

    /// A selector of several labels for one label set: two if two are enough, else all, and the keys that others have.
    fn several(
        &self,
        ns: &Namespace,
        id: IdentityId,
        wanted: &BTreeSet<IdentityId>,
    ) -> (Pick, BTreeSet<IdentityId>) {
        let Some(labels) = self.cluster.labels(id) else { return (Pick::default(), BTreeSet::new()) };
        let mut own: Vec<(&str, &str)> = Self::own(labels).collect();
        own.sort_by_key(|(k, v)| (self.rank(k), *k, *v));
        let having = |(k, v): &(&str, &str)| ns.having.get(&((*k).to_owned(), (*v).to_owned()));
        let owned = |l: &[(&str, &str)]| -> Vec<(String, String)> {
            l.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        for (n, a) in own.iter().enumerate() {
            for b in own.iter().skip(n + 1) {
                let (Some(x), Some(y)) = (having(a), having(b)) else { continue };
                let both: BTreeSet<IdentityId> = x.intersection(y).copied().collect();
                if both.is_subset(wanted) {
                    return (Pick { labels: owned(&[*a, *b]), absent: Vec::new() }, both);
                }
            }
        }
        let mut all = ns.all.clone();
        for pair in &own {
            if let Some(ids) = having(pair) {
                all.retain(|i| ids.contains(i));
            }
        }
        let mut absent = BTreeSet::new();
        // Others that have these labels have more, or are told apart by what no selector of ours names (the service
        // account): the bound takes those in.
        for other in all.clone().into_iter().filter(|i| !wanted.contains(i)) {
            if !all.contains(&other) {
                continue;
            }
            let more = self.cluster.labels(other).into_iter().flat_map(Self::own);
            if let Some(key) = more.map(|(k, _)| k).find(|k| labels.k8s(k).is_none()) {
                absent.insert(key.to_owned());
                all.retain(|i| self.cluster.labels(*i).is_some_and(|l| l.k8s(key).is_none()));
            }
        }
        (Pick { labels: owned(&own), absent: absent.into_iter().collect() }, all)
    }

    /// What a selector takes in of a namespace.
    pub(crate) fn taken(&self, namespace: &str, pick: &Pick) -> BTreeSet<IdentityId> {
        let ns = self.of(namespace);
        let mut out = ns.all.clone();
        out.retain(|i| {
            self.cluster.labels(*i).is_some_and(|l| {
                pick.labels.iter().all(|(k, v)| l.k8s(k) == Some(v.as_str()))
                    && pick.absent.iter().all(|k| l.k8s(k).is_none())
            })
        });
        out
    }
}
