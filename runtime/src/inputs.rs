//! What the agent reads: policies and the cluster from files, this node's pods from its configuration.

use crate::config::{Config, EndpointConfig};
use portcullis_cluster::{Entry, Key, Kind, Snapshot};
use portcullis_diag::{Diagnostic, Fate, FileId, Severity, SourceMap};
use portcullis_files::{Gathered, gather};
use portcullis_front::Parsed;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// The largest file in bytes.
const LIMIT: u64 = 64 << 20;

/// A named text.
pub type NamedText = (String, Arc<str>);

/// Files as they were read, and what could not be.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// Policies.
    pub policies: Vec<NamedText>,
    /// Namespaces, pods elsewhere, services, groups.
    pub cluster: Vec<NamedText>,
    /// Errors in sentences: nothing is compiled while there are any.
    pub broken: Vec<String>,
}

impl Texts {
    /// Reads what a configuration names.
    pub fn read(config: &Config) -> Self {
        let mut out = Self::default();
        out.policies = out.part(&config.policies);
        out.cluster = out.part(&config.cluster);
        out
    }

    /// Adds what a live cluster has: each policy as a text of its own, the rest in parts of a bounded number, so
    /// that a change is read again with little else. Pods of `own` are left out: they are given already.
    pub fn add(&mut self, snapshot: &Snapshot, own: &[EndpointConfig]) {
        let given: BTreeSet<(&str, &str)> =
            own.iter().map(|e| (e.namespace.as_str(), e.name.as_str())).collect();
        let mut parts: BTreeMap<(Kind, u64), Vec<Entry>> = BTreeMap::new();
        for (key, text) in snapshot.iter() {
            if key.kind.is_policy() {
                let name = format!("{} {}/{}.json", key.kind.name(), key.namespace, key.name);
                self.policies.push((name, Arc::clone(text)));
            } else if key.kind != Kind::Pod || !given.contains(&(&key.namespace, &key.name)) {
                let part = (key.kind, part_of(key));
                parts.entry(part).or_default().push((key.clone(), Arc::clone(text)));
            }
        }
        for ((kind, part), objects) in parts {
            let list = objects.into_iter().collect::<Snapshot>().list();
            self.cluster.push((format!("{} {part}.json", kind.plural()), list.into()));
        }
    }

    fn part(&mut self, paths: &[PathBuf]) -> Vec<NamedText> {
        if paths.is_empty() {
            return Vec::new();
        }
        let Gathered { texts, diagnostics, .. } = gather(paths, LIMIT);
        let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error);
        self.broken.extend(errors.map(|d| d.message.clone()));
        texts.into_iter().map(|t| (t.name, t.content)).collect()
    }
}

/// Which of 64 parts an object is in: always the same (FNV-1a).
fn part_of(key: &Key) -> u64 {
    let bytes = key.namespace.bytes().chain([b'/']).chain(key.name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)) % 64
}

/// A pod of the configuration, as the API server would show it.
pub fn pod_text(e: &EndpointConfig, node: &str) -> String {
    let ports: Vec<_> = e
        .ports
        .iter()
        .map(|p| json!({"name": p.name, "containerPort": p.port, "protocol": p.protocol}))
        .collect();
    let ips: Vec<_> = e.addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": e.name, "namespace": e.namespace, "labels": e.labels},
        "spec": {
            "nodeName": node,
            "serviceAccountName": e.service_account,
            "containers": [{"name": "pod", "ports": ports}],
        },
        "status": {"podIPs": ips},
    })
    .to_string()
}

/// A file's name, its text, and what it holds.
type Known = (String, Arc<str>, Rc<Parsed>);

/// Files that are parsed once for as long as they do not change. A file keeps its number for as long as it is
/// there, so that places in what was parsed earlier stay right; then another may have it.
#[derive(Debug, Default)]
pub struct Library {
    files: Vec<Option<Known>>,
    by_name: BTreeMap<String, usize>,
    free: BTreeSet<usize>,
}

impl Library {
    /// What a text holds, and whether it is another text than the last one of that name.
    pub fn parse(&mut self, name: &str, text: &Arc<str>) -> (Rc<Parsed>, bool) {
        let place = self.by_name.get(name).copied().or_else(|| self.free.first().copied());
        let at = place.unwrap_or(self.files.len());
        if let Some(Some((of, known, parsed))) = self.files.get(at)
            && known == text
            && of == name
        {
            return (Rc::clone(parsed), false);
        }
        let id = FileId(u32::try_from(at).unwrap_or(u32::MAX));
        let parsed = Rc::new(portcullis_front::parse(id, name, text));
        let entry = Some((name.to_owned(), Arc::clone(text), Rc::clone(&parsed)));
        if let Some(slot) = self.files.get_mut(at) {
            *slot = entry;
        } else {
            self.files.push(entry);
        }
        self.by_name.insert(name.to_owned(), at);
        self.free.remove(&at);
        (parsed, true)
    }

    /// Forgets every file that is not among these. Nothing that was parsed from others may be in use.
    pub fn retain(&mut self, names: &BTreeSet<&str>) {
        let gone: Vec<String> =
            self.by_name.keys().filter(|n| !names.contains(n.as_str())).cloned().collect();
        for name in gone {
            if let Some(at) = self.by_name.remove(&name)
                && let Some(slot) = self.files.get_mut(at)
            {
                *slot = None;
                self.free.insert(at);
            }
        }
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Every text, for places.
    pub fn sources(&self) -> SourceMap {
        let mut map = SourceMap::new();
        for file in &self.files {
            match file {
                Some((name, text, _)) => map.add(name.clone(), Arc::clone(text)),
                None => map.add("", ""),
            };
        }
        map
    }
}

/// Findings that leave an object out: a policy set with one is not put into the kernel.
pub fn blocking(parsed: &Parsed) -> impl Iterator<Item = &Diagnostic> {
    parsed.diagnostics.iter().filter(|d| d.severity == Severity::Error && d.fate != Fate::Accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(pods: u32) -> Snapshot {
        let text = |kind: &str, name: &str| -> Arc<str> {
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "n"}})
                .to_string()
                .into()
        };
        let key = |kind, name: &str| Key { kind, namespace: "n".to_owned(), name: name.to_owned() };
        let policy = (key(Kind::NetworkPolicy, "p"), text("NetworkPolicy", "p"));
        let pods = (0..pods).map(|n| (key(Kind::Pod, &format!("a{n}")), text("Pod", &format!("a{n}"))));
        pods.chain([policy]).collect()
    }

    #[test]
    fn a_pod_more_changes_one_text_and_own_pods_are_left_out() {
        let read = |pods, own: &[EndpointConfig]| {
            let mut texts = Texts::default();
            texts.add(&snapshot(pods), own);
            texts
        };
        let (before, after) = (read(500, &[]), read(501, &[]));
        assert_eq!(before.policies, after.policies);
        assert_eq!(before.policies[0].0, "NetworkPolicy n/p.json");
        assert!(before.cluster.len() <= 64);
        let changed = after.cluster.iter().filter(|t| !before.cluster.contains(t)).count();
        assert_eq!(changed, 1);
        let config = Config::parse(
            "kubernetes: {}\nendpoints:\n- {name: a7, namespace: n, interface: v0, addresses: [10.0.0.1]}\n",
        );
        let own = config.unwrap().endpoints;
        assert!(!read(20, &own).cluster.iter().any(|(_, t)| t.contains("\"a7\"")));
        assert!(read(20, &[]).cluster.iter().any(|(_, t)| t.contains("\"a7\"")));
    }

    #[test]
    fn what_is_gone_is_forgotten_and_its_number_given_again() {
        let mut library = Library::default();
        let text = |n: usize| -> Arc<str> { format!("# {n}\n").into() };
        for n in 0..1000 {
            let (name, other) = (format!("{n}.yaml"), format!("{}.yaml", n + 1));
            library.parse(&name, &text(n));
            assert!(library.parse(&other, &text(n + 1)).1);
            library.retain(&BTreeSet::from([other.as_str()]));
            assert_eq!(library.len(), 1);
        }
        assert!(library.files.len() <= 2, "{}", library.files.len());
        assert!(!library.parse("1000.yaml", &text(1000)).1, "it is known as it was");
        assert!(library.sources().iter().any(|(_, f)| f.name == "1000.yaml"));
    }
}
