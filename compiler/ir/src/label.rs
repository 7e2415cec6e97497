//! Labels with a source, and sets of them (SEM-3.1).

use smol_str::SmolStr;
use std::fmt;

/// The label every pod carries its namespace in, source `k8s`.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Prefix of the labels that repeat the namespace's own labels on its pods, source `k8s`.
pub const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels";
/// The label that names a pod's cluster, source `k8s`.
pub const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
/// The label that names a pod's service account, source `k8s`.
pub const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";
/// Source of labels that come from Kubernetes.
pub const SOURCE_K8S: &str = "k8s";
/// Source of the reserved identities' labels.
pub const SOURCE_RESERVED: &str = "reserved";

/// One label: `source:key=value`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// The key.
    pub key: SmolStr,
    /// Who says so: `k8s`, `reserved`, …
    pub source: SmolStr,
    /// The value, often empty for reserved labels.
    pub value: SmolStr,
}

impl Label {
    /// A label of the source `k8s`.
    pub fn k8s(key: impl Into<SmolStr>, value: impl Into<SmolStr>) -> Self {
        Self { key: key.into(), source: SmolStr::new_static(SOURCE_K8S), value: value.into() }
    }

    /// A reserved label, `reserved:<key>`.
    pub fn reserved(key: impl Into<SmolStr>) -> Self {
        Self { key: key.into(), source: SmolStr::new_static(SOURCE_RESERVED), value: SmolStr::default() }
    }

    /// Parses `source:key=value`; a text without a source gets `k8s`.
    pub fn parse(text: &str) -> Self {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let (source, key) = split_key(name);
        Self { key: key.into(), source: source.unwrap_or(SOURCE_K8S).into(), value: value.into() }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}:{}", self.source, self.key)
        } else {
            write!(f, "{}:{}={}", self.source, self.key, self.value)
        }
    }
}

/// Splits a selector key into its source and the key proper (SEM-3.1). `any:` is no source.
/// A colon is only a source separator where what precedes it is a plain word.
pub fn split_key(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some(("any", key)) => (None, key),
        Some((source, key)) if !source.is_empty() => (Some(source), key),
        _ => (None, text),
    }
}

/// A set of labels, sorted; equal sets are one identity (SEM-4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSet(Box<[Label]>);

impl LabelSet {
    /// The set of these labels; of two with one source and key the later wins.
    pub fn new(labels: impl IntoIterator<Item = Label>) -> Self {
        let mut all: Vec<Label> = labels.into_iter().collect();
        all.reverse();
        all.sort_by(|a, b| (&a.key, &a.source).cmp(&(&b.key, &b.source)));
        all.dedup_by(|b, a| a.key == b.key && a.source == b.source);
        Self(all.into())
    }

    /// The labels in order of key and source.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    /// All labels with this key, whatever their source.
    pub fn with_key(&self, key: &str) -> std::slice::Iter<'_, Label> {
        let from = self.0.partition_point(|l| l.key.as_str() < key);
        let rest = self.0.get(from..).unwrap_or(&[]);
        let len = rest.iter().take_while(|l| l.key == key).count();
        rest.get(..len).unwrap_or(&[]).iter()
    }

    /// The value of a label of the source `k8s`.
    pub fn k8s(&self, key: &str) -> Option<&str> {
        self.with_key(key).find(|l| l.source == SOURCE_K8S).map(|l| l.value.as_str())
    }
}

impl<'a> IntoIterator for &'a LabelSet {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_label_of_the_same_key_wins() {
        let s = LabelSet::new([Label::k8s("a", "1"), Label::k8s("b", "2"), Label::k8s("a", "3")]);
        assert_eq!(s.k8s("a"), Some("3"));
        assert_eq!(s.iter().count(), 2);
    }

    #[test]
    fn keys_split_at_their_source() {
        assert_eq!(split_key("any:app"), (None, "app"));
        assert_eq!(split_key("k8s:app.kubernetes.io/name"), (Some("k8s"), "app.kubernetes.io/name"));
        assert_eq!(split_key("app"), (None, "app"));
    }
}
