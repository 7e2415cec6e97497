//! Endpoints for policies without a cluster: one for each label set that a selector asks for.
//!
//! Where nothing is known of any pod, the policies' own selectors still say what they would do to a
//! pod that they select. So each distinct selector gets one endpoint that meets it, named after it,
//! and each namespace one more that meets none. A selector that wants a label missing or different
//! gets one more for each value that it keeps out. This samples the pods that could exist; it does not
//! cover every combination of labels.

use crate::cluster::{Cluster, Endpoint, EndpointId, IdentityId, PortTableId, Workload, WorkloadId};
use crate::label::{self, Label, LabelSet};
use crate::options::Options;
use crate::selector::{Requirement, Selector};
use portcullis_front::ast::Operator;
use smol_str::{SmolStr, ToSmolStr, format_smolstr};
use std::collections::{BTreeMap, BTreeSet};

/// The workload kind of these endpoints.
pub const KIND: &str = "Selector";
/// The endpoint of a namespace that no selector asks for.
pub const OTHER: &str = "any other pod";
/// The namespace of selectors that ask for none in particular.
pub const ANY_NAMESPACE: &str = "any-namespace";
/// The value of a label that only has to exist.
pub const ANY_VALUE: &str = "any";

/// One endpoint to add.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// The namespace.
    pub namespace: SmolStr,
    /// Its name: the selector in words.
    pub name: SmolStr,
    /// Its own labels, sorted.
    pub labels: Vec<Label>,
    /// Labels its namespace needs beyond those that are known.
    pub namespace_labels: Vec<(SmolStr, SmolStr)>,
    /// Its service account.
    pub service_account: SmolStr,
}

/// Samples for the selectors of one or more policy sets. `namespaces` are the labels of namespaces
/// that are known; a namespace selector that one of them meets stands for the first such one.
/// Sorted by namespace and name; no two of a namespace have the same labels.
pub fn samples<'a>(
    selectors: impl IntoIterator<Item = &'a Selector>,
    namespaces: &BTreeMap<SmolStr, Vec<(SmolStr, SmolStr)>>,
) -> Vec<Sample> {
    let distinct: BTreeSet<&Selector> = selectors.into_iter().filter(|s| !s.is_reserved()).collect();
    let mut by_labels: BTreeMap<(SmolStr, Vec<Label>, SmolStr), Sample> = BTreeMap::new();
    let mut seen: BTreeSet<SmolStr> = namespaces.keys().cloned().collect();
    let all = distinct.iter().flat_map(|s| {
        let own = sample(s, namespaces);
        let shunned = shunned(s, &own);
        std::iter::once(own).chain(shunned)
    });
    for sample in all {
        seen.insert(sample.namespace.clone());
        let key = (sample.namespace.clone(), sample.labels.clone(), sample.service_account.clone());
        match by_labels.get(&key) {
            // Of two selectors with one sample, the shorter name says as much.
            Some(known) if known.name.len() <= sample.name.len() => {}
            _ => {
                by_labels.insert(key, sample);
            }
        }
    }
    for namespace in seen {
        let other = Sample {
            namespace: namespace.clone(),
            name: OTHER.into(),
            labels: Vec::new(),
            namespace_labels: by_labels
                .iter()
                .find(|((ns, ..), _)| *ns == namespace)
                .map(|(_, s)| s.namespace_labels.clone())
                .unwrap_or_default(),
            service_account: "default".into(),
        };
        by_labels.insert((namespace, Vec::new(), "default".into()), other);
    }
    let mut all: Vec<Sample> = by_labels.into_values().collect();
    all.sort();
    all
}

/// A pod that meets every requirement that can be met.
fn sample(s: &Selector, namespaces: &BTreeMap<SmolStr, Vec<(SmolStr, SmolStr)>>) -> Sample {
    let mut labels = Vec::new();
    let mut named: Vec<&Requirement> = Vec::new();
    let mut namespace = None;
    let mut wanted: Vec<Requirement> = Vec::new();
    let mut service_account: SmolStr = "default".into();
    for r in s.requirements() {
        if r.key == label::POD_NAMESPACE {
            if r.operator == Operator::In {
                namespace = r.values.first().cloned();
            }
        } else if let Some(key) =
            r.key.strip_prefix(label::NAMESPACE_LABELS).and_then(|k| k.strip_prefix('.'))
        {
            wanted.push(Requirement { key: key.into(), ..r.clone() });
        } else if r.key == label::CLUSTER {
            // Every sample is of this cluster.
        } else if r.key == label::SERVICE_ACCOUNT {
            if let Some(v) = value(r) {
                service_account = v;
                named.push(r);
            }
        } else {
            named.push(r);
            if let Some(v) = value(r) {
                labels.push(Label {
                    key: r.key.clone(),
                    source: r.source.clone().unwrap_or(SmolStr::new_static(label::SOURCE_K8S)),
                    value: v,
                });
            }
        }
    }
    let (namespace, namespace_labels) = match namespace {
        Some(n) => (n, Vec::new()),
        None => namespace_for(&wanted, namespaces),
    };
    labels.sort();
    let name = if labels.is_empty() && service_account == "default" {
        OTHER.to_smolstr()
    } else {
        Selector::new(named.into_iter().map(shorter)).to_smolstr()
    };
    Sample { namespace, name, labels, namespace_labels, service_account }
}

/// Pods that fail one requirement of a selector that a label must be missing or different, and meet
/// the rest: without them nobody would see what such a requirement keeps out. One for each value
/// that is shunned, so as many as the selector has words.
fn shunned(s: &Selector, own: &Sample) -> Vec<Sample> {
    let mut out = Vec::new();
    for r in s.requirements() {
        if r.key.starts_with(label::NAMESPACE_LABELS)
            || [label::POD_NAMESPACE, label::CLUSTER, label::SERVICE_ACCOUNT].contains(&r.key.as_str())
        {
            continue;
        }
        let any = [SmolStr::new_static(ANY_VALUE)];
        let values: &[SmolStr] = match r.operator {
            Operator::NotIn => &r.values,
            Operator::DoesNotExist => &any,
            Operator::In | Operator::Exists => continue,
        };
        for value in values {
            let source = r.source.clone().unwrap_or(SmolStr::new_static(label::SOURCE_K8S));
            let extra = Label { key: r.key.clone(), source, value: value.clone() };
            let mut labels: Vec<Label> = own.labels.iter().filter(|l| l.key != r.key).cloned().collect();
            labels.push(extra);
            labels.sort();
            let met = labels.iter().map(|l| {
                let source = (l.source != label::SOURCE_K8S).then_some(l.source.as_str());
                Requirement::new(source, &l.key, Operator::In, [l.value.clone()])
            });
            out.push(Sample { name: Selector::new(met).to_smolstr(), labels, ..own.clone() });
        }
    }
    out
}

/// A value that meets a requirement; `None` where a missing label does.
fn value(r: &Requirement) -> Option<SmolStr> {
    match r.operator {
        Operator::In => r.values.first().cloned(),
        Operator::Exists => Some(ANY_VALUE.into()),
        Operator::NotIn | Operator::DoesNotExist => None,
    }
}

/// A requirement as a reader would write it.
fn shorter(r: &Requirement) -> Requirement {
    match r.key.as_str() {
        label::SERVICE_ACCOUNT => Requirement { key: "serviceaccount".into(), ..r.clone() },
        _ => r.clone(),
    }
}

/// The first known namespace that meets the requirements, or a made-up one that does.
fn namespace_for(
    wanted: &[Requirement],
    namespaces: &BTreeMap<SmolStr, Vec<(SmolStr, SmolStr)>>,
) -> (SmolStr, Vec<(SmolStr, SmolStr)>) {
    if wanted.is_empty() {
        return (ANY_NAMESPACE.into(), Vec::new());
    }
    let met = |labels: &[(SmolStr, SmolStr)]| {
        let set = LabelSet::new(labels.iter().map(|(k, v)| Label::k8s(k.clone(), v.clone())));
        wanted.iter().all(|r| r.matches(&set))
    };
    if let Some((name, _)) = namespaces.iter().find(|(_, labels)| met(labels)) {
        return (name.clone(), Vec::new());
    }
    let labels: Vec<(SmolStr, SmolStr)> =
        wanted.iter().filter_map(|r| value(r).map(|v| (r.key.clone(), v))).collect();
    match labels.iter().find(|(k, _)| k == "kubernetes.io/metadata.name") {
        Some((_, name)) => (name.clone(), labels.clone()),
        None if labels.is_empty() => (ANY_NAMESPACE.into(), labels),
        None => {
            let words: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            (format_smolstr!("[{}]", words.join(",")), labels)
        }
    }
}

impl Cluster {
    /// Adds a pod that somebody saw, with exactly these labels and no named ports: for recordings of pods that do not
    /// exist any more.
    pub fn add_seen(&mut self, name: &str, workload: Workload, labels: Vec<Label>) -> EndpointId {
        let id = EndpointId(u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX));
        self.endpoints.push(Endpoint {
            namespace: workload.namespace.clone(),
            name: name.into(),
            workload: WorkloadId(self.workloads.intern(workload)),
            identity: IdentityId(self.identities.intern(LabelSet::new(labels))),
            ports: PortTableId(self.port_tables.intern(Vec::new())),
            declared: self.declared_tables.intern(Vec::new()),
            pods: 1,
            ips: Box::default(),
            node: None,
            probes: self.probe_tables.intern(Vec::new()),
        });
        id
    }

    /// Adds samples as endpoints of the kind [`KIND`] that stand for no pod in particular. Give all
    /// of them at once, in the order of [`samples`], to a cluster that has no endpoints.
    pub fn add_samples(&mut self, samples: &[Sample], options: &Options) {
        for s in samples {
            let mut namespace: BTreeMap<SmolStr, SmolStr> =
                self.namespaces.get(&s.namespace).into_iter().flatten().cloned().collect();
            namespace.insert("kubernetes.io/metadata.name".into(), s.namespace.clone());
            if !self.known_namespaces.contains(&s.namespace) {
                namespace.extend(s.namespace_labels.iter().cloned());
            }
            let of_namespace = namespace
                .iter()
                .map(|(k, v)| Label::k8s(format!("{}.{k}", label::NAMESPACE_LABELS), v.clone()));
            let mut labels = s.labels.clone();
            labels.extend(of_namespace);
            labels.push(Label::k8s(label::POD_NAMESPACE, s.namespace.clone()));
            labels.push(Label::k8s(label::CLUSTER, options.cluster_name.as_str()));
            labels.push(Label::k8s(label::SERVICE_ACCOUNT, s.service_account.clone()));
            let workload =
                Workload { namespace: s.namespace.clone(), name: s.name.clone(), kind: KIND.into() };
            self.namespaces.insert(s.namespace.clone(), namespace.into_iter().collect());
            self.endpoints.push(Endpoint {
                namespace: s.namespace.clone(),
                name: s.name.clone(),
                workload: WorkloadId(self.workloads.intern(workload)),
                identity: IdentityId(self.identities.intern(LabelSet::new(labels))),
                ports: PortTableId(self.port_tables.intern(Vec::new())),
                declared: self.declared_tables.intern(Vec::new()),
                pods: 0,
                ips: Box::default(),
                node: None,
                probes: self.probe_tables.intern(Vec::new()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(key: &str, value: &str) -> Requirement {
        Requirement::new(None, key, Operator::In, [value.into()])
    }

    #[test]
    fn each_selector_gets_one_endpoint_that_it_matches() {
        let all = [
            Selector::new([is("app", "web"), is(label::POD_NAMESPACE, "shop")]),
            Selector::new([
                Requirement::new(None, "tier", Operator::Exists, []),
                Requirement::new(
                    Some("k8s"),
                    "io.cilium.k8s.namespace.labels.team",
                    Operator::In,
                    ["pay".into()],
                ),
            ]),
            Selector::new([Requirement::new(None, "app", Operator::NotIn, ["web".into()])]),
        ];
        let mut cluster = Cluster::default();
        cluster.add_samples(&samples(&all, &BTreeMap::new()), &Options::default());
        for s in &all {
            assert!(cluster.identities.iter().any(|labels| s.matches(labels)), "{s}");
        }
        let names: Vec<String> =
            cluster.workloads.iter().map(|w| format!("{}/{}", w.namespace, w.name)).collect();
        let wanted = [
            "[team=pay]/any other pod",
            "[team=pay]/tier",
            "any-namespace/any other pod",
            "any-namespace/app=web",
            "shop/any other pod",
            "shop/app=web",
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn what_a_selector_keeps_out_has_a_pod_that_meets_the_rest() {
        let s = Selector::new([
            is("app", "web"),
            Requirement::new(None, "env", Operator::NotIn, ["dev".into(), "test".into()]),
            Requirement::new(None, "old", Operator::DoesNotExist, []),
        ]);
        let all = samples([&s], &BTreeMap::new());
        let labels: Vec<String> = all
            .iter()
            .map(|s| s.labels.iter().map(|l| format!("{}={}", l.key, l.value)).collect::<Vec<_>>().join(","))
            .collect();
        for wanted in ["app=web", "app=web,env=dev", "app=web,env=test", "app=web,old=any"] {
            assert!(labels.iter().any(|l| l == wanted), "{wanted}: {labels:?}");
        }
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn a_namespace_selector_stands_for_a_known_namespace_that_meets_it() {
        let s = Selector::new([Requirement::new(
            Some("k8s"),
            "io.cilium.k8s.namespace.labels.team",
            Operator::In,
            ["pay".into()],
        )]);
        let known = BTreeMap::from([("payments".into(), vec![("team".into(), "pay".into())])]);
        let found = samples([&s], &known);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].namespace, "payments");
    }
}
