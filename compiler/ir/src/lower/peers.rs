//! Peer lists to peer terms: the namespace, cluster and source defaults of SEM-3.

use super::Builder;
use crate::cluster::{CidrGroup, Service};
use crate::label::{self, split_key};
use crate::peer::PeerTerm;
use crate::selector::{Requirement, Selector};
use ipnet::IpNet;
use portcullis_front::ast::{CidrRule, CidrSource, Expression, LabelSelector, Operator, ServiceRef};
use smol_str::{SmolStr, format_smolstr};

/// The requirements of a selector as written, keys split at their source; `force` gives every key
/// that source whatever its text (SEM-3.1: Kubernetes' kinds mean `k8s:`).
pub(super) fn requirements(s: &LabelSelector, force: Option<&str>) -> Vec<Requirement> {
    let labels = s.match_labels.iter().map(|(k, v)| {
        let (source, key) = source_and_key(&k.value, force);
        Requirement::new(source, key, Operator::In, [v.value.clone()])
    });
    let expressions = s.match_expressions.iter().map(|e| expression(e, force));
    labels.chain(expressions).collect()
}

fn expression(e: &Expression, force: Option<&str>) -> Requirement {
    let (source, key) = source_and_key(&e.key.value, force);
    Requirement::new(source, key, e.operator, e.values.iter().map(|v| v.value.clone()))
}

fn source_and_key<'a>(text: &'a str, force: Option<&'a str>) -> (Option<&'a str>, &'a str) {
    match force {
        Some(source) => (Some(source), text),
        None => split_key(text),
    }
}

/// Requirements over namespace labels, as they stand on the namespace's pods; every namespace if
/// the selector is empty.
pub(super) fn namespace_requirements(s: &LabelSelector) -> Vec<Requirement> {
    if s.match_labels.is_empty() && s.match_expressions.is_empty() {
        return vec![exists(label::POD_NAMESPACE)];
    }
    let prefixed = |k: &str| format_smolstr!("{}.{k}", label::NAMESPACE_LABELS);
    let labels = s
        .match_labels
        .iter()
        .map(|(k, v)| Requirement::new(Some("k8s"), &prefixed(&k.value), Operator::In, [v.value.clone()]));
    let expressions = s.match_expressions.iter().map(|e| {
        Requirement::new(
            Some("k8s"),
            &prefixed(&e.key.value),
            e.operator,
            e.values.iter().map(|v| v.value.clone()),
        )
    });
    labels.chain(expressions).collect()
}

/// `k8s:<key>` must be there.
pub(super) fn exists(key: &str) -> Requirement {
    Requirement::new(Some("k8s"), key, Operator::Exists, [])
}

/// `k8s:<key>` must have this value.
pub(super) fn is(key: &str, value: &str) -> Requirement {
    Requirement::new(Some("k8s"), key, Operator::In, [SmolStr::from(value)])
}

fn is_k8s_or_any(r: &Requirement) -> bool {
    r.source.as_deref().is_none_or(|s| s == label::SOURCE_K8S)
}

/// How a key group is asked for: positively (`In`, `Exists`), only negatively, or not at all.
fn asked(requirements: &[Requirement], matches: impl Fn(&str) -> bool) -> (bool, bool) {
    let mut found = (false, false);
    for r in requirements.iter().filter(|r| is_k8s_or_any(r) && matches(&r.key)) {
        match r.operator {
            Operator::In | Operator::Exists => found.0 = true,
            Operator::NotIn | Operator::DoesNotExist => found.1 = true,
        }
    }
    found
}

impl Builder<'_> {
    /// An endpointSelector of a CNP (with its namespace) or CCNP (without) (SEM-3.3, SEM-3.7).
    pub(super) fn subject(&mut self, s: &LabelSelector, namespace: Option<&str>) -> u32 {
        let mut all = requirements(s, None);
        if let Some(ns) = namespace {
            // A `k8s:` namespace in matchLabels is overwritten; in matchExpressions it stays.
            all = s
                .match_labels
                .iter()
                .filter(|(k, _)| split_key(&k.value) != (Some("k8s"), label::POD_NAMESPACE))
                .map(|(k, v)| {
                    let (source, key) = split_key(&k.value);
                    Requirement::new(source, key, Operator::In, [v.value.clone()])
                })
                .chain(s.match_expressions.iter().map(|e| expression(e, None)))
                .chain([is(label::POD_NAMESPACE, ns)])
                .collect();
        }
        self.selector(Selector::new(all))
    }

    /// A peer selector of a CNP or CCNP with its defaults (SEM-3.4 to SEM-3.8). `init` is whether
    /// the endpointSelector mentions reserved:init.
    pub(super) fn peer_selector(&mut self, s: &LabelSelector, namespace: Option<&str>, init: bool) -> u32 {
        let mut all = requirements(s, None);
        let reserved = all.iter().any(|r| r.source.as_deref() == Some(label::SOURCE_RESERVED));
        if !reserved {
            let (named, negated) = asked(&all, |k| {
                k == label::POD_NAMESPACE || k.starts_with(&format!("{}.", label::NAMESPACE_LABELS))
            });
            match namespace {
                _ if named => {}
                Some(_) if negated => all.push(exists(label::POD_NAMESPACE)),
                Some(ns) => all.push(is(label::POD_NAMESPACE, ns)),
                None if init => {}
                None => all.push(exists(label::POD_NAMESPACE)),
            }
            if asked(&all, |k| k == label::CLUSTER) == (false, false) {
                all.push(is(label::CLUSTER, &self.context.options.cluster_name));
            }
        }
        let id = self.selector(Selector::new(all));
        self.term(PeerTerm::Labels(id))
    }

    /// The terms of one CIDR rule; groups are resolved, each prefix one term (SEM-1.4, SEM-4.4).
    pub(super) fn cidr_rule(&mut self, rule: &CidrRule) -> Vec<u32> {
        let mut except: Vec<IpNet> = rule.except.iter().map(|e| e.value.trunc()).collect();
        except.sort();
        except.dedup();
        let nets: Vec<IpNet> = match &rule.source {
            CidrSource::Cidr(c) => vec![c.value.trunc()],
            CidrSource::GroupRef(name) => self.groups(|g| g.name == name.value),
            CidrSource::GroupSelector(s) => self.groups(|g| cidr_group_matches(s, g)),
        };
        nets.into_iter().map(|net| self.term(PeerTerm::Cidr { net, except: except.clone().into() })).collect()
    }

    /// A plain CIDR.
    pub(super) fn cidr(&mut self, net: IpNet) -> u32 {
        self.term(PeerTerm::Cidr { net: net.trunc(), except: Box::default() })
    }

    fn groups(&self, wanted: impl Fn(&CidrGroup) -> bool) -> Vec<IpNet> {
        let mut all: Vec<IpNet> = self
            .context
            .cluster
            .cidr_groups
            .iter()
            .filter(|g| wanted(g))
            .flat_map(|g| g.cidrs.clone())
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// The peers of `toServices`: each matching service's backends, by its selector or, where it
    /// has none, by its endpoints' addresses. `None` if no service matches (SEM-8.1).
    pub(super) fn services(&mut self, refs: &[ServiceRef]) -> Option<Vec<u32>> {
        let cluster = self.context.cluster;
        let mut found = false;
        let mut out = Vec::new();
        for service in &cluster.services {
            if !refs.iter().any(|r| service_matches(r, service)) {
                continue;
            }
            found = true;
            match &service.spec.selector {
                Some(labels) if !labels.is_empty() => {
                    let mut all: Vec<Requirement> = labels
                        .iter()
                        .map(|(k, v)| Requirement::new(None, k, Operator::In, [v.clone()]))
                        .collect();
                    all.push(is(label::POD_NAMESPACE, &service.namespace));
                    let id = self.selector(Selector::new(all));
                    out.push(self.term(PeerTerm::Labels(id)));
                }
                _ => {
                    for ip in &service.addresses {
                        out.push(self.cidr(IpNet::from(*ip)));
                    }
                }
            }
        }
        found.then_some(out)
    }
}

/// Whether a `toServices` entry names a service: by name and, if given, namespace; or by a selector
/// over the service's own labels.
pub fn service_matches(r: &ServiceRef, service: &Service) -> bool {
    if r.namespace.as_ref().is_some_and(|n| !n.value.is_empty() && n.value != service.namespace) {
        return false;
    }
    match (&r.selector, &r.name) {
        (Some(s), _) => plain_match(s, &service.labels),
        (None, Some(name)) => name.value == service.name,
        (None, None) => false,
    }
}

/// Whether a `cidrGroupSelector` selects a group by the group's labels.
pub fn cidr_group_matches(s: &LabelSelector, group: &CidrGroup) -> bool {
    plain_match(s, &group.labels)
}

/// A selector over plain labels; a source in a key is ignored.
fn plain_match(s: &LabelSelector, labels: &[(SmolStr, SmolStr)]) -> bool {
    let set = label::LabelSet::new(labels.iter().map(|(k, v)| label::Label::k8s(k.clone(), v.clone())));
    let all = requirements(s, None).into_iter().map(|mut r| {
        r.source = None;
        r
    });
    Selector::new(all).matches(&set)
}
