//! Pods by name, by workload, by labels, or behind a service.

use super::{End, Who, backends, nearest};
use crate::exit::Failure;
use crate::session::Side;
use portcullis_front::ast::Body;
use portcullis_ir::label::{Label, split_key};
use portcullis_ir::synthetic::{self, Sample};
use portcullis_ir::{Cluster, EndpointId, Options, Reserved};
use std::collections::BTreeSet;

/// `namespace/rest`.
pub(super) fn named(
    namespace: &str,
    rest: &str,
    side: &mut Side<'_>,
    options: &Options,
) -> Result<End, Failure> {
    if let Some(found) = exact(namespace, rest, &side.cluster) {
        return Ok(found);
    }
    if rest.contains('=') {
        return labelled(namespace, rest, side, options);
    }
    if is_on_the_host(namespace, rest, side) {
        return Err(Failure::new(
            format!("{namespace}/{rest} is on the host's network, where policies for pods do not apply"),
            "to other pods it is its node: ask for entity:host or entity:remote-node",
        ));
    }
    let cluster = &side.cluster;
    let known: BTreeSet<&str> = cluster.endpoints.iter().map(|e| e.namespace.as_str()).collect();
    if !known.contains(namespace) {
        return Err(no_namespace(namespace, &known));
    }
    let in_namespace: BTreeSet<&str> = cluster
        .endpoints
        .iter()
        .filter(|e| e.namespace == namespace)
        .flat_map(|e| [Some(e.name.as_str()), cluster.workload_of(e).map(|w| w.name.as_str())])
        .flatten()
        .chain(cluster.services.iter().filter(|s| s.namespace == namespace).map(|s| s.name.as_str()))
        .collect();
    let near = nearest(rest, in_namespace.iter().copied(), 3);
    let shown: Vec<String> = if near.is_empty() {
        in_namespace.iter().take(5).map(ToString::to_string).collect()
    } else {
        near.clone()
    };
    let shown = shown.iter().map(|n| format!("{namespace}/{n}")).collect::<Vec<_>>().join(", ");
    let help = if near.is_empty() {
        format!(
            "namespace {namespace} has {shown}{}",
            if in_namespace.len() > 5 { " and others" } else { "" }
        )
    } else {
        format!("did you mean {shown}?")
    };
    Err(Failure::new(format!("there is no pod, workload or service `{rest}` in namespace {namespace}"), help))
}

/// Whether the name is that of a pod or workload on the host's network.
fn is_on_the_host(namespace: &str, name: &str, side: &Side<'_>) -> bool {
    side.objects().any(|o| {
        let host = match &o.body {
            Body::Pod(pod) => pod.host_network,
            Body::Workload(w) => w.pod.host_network,
            _ => false,
        };
        host && o.meta.name.value == name && o.meta.namespace.as_ref().is_some_and(|n| n.value == namespace)
    })
}

/// A pod, a workload, or a service of that very name.
fn exact(namespace: &str, name: &str, cluster: &Cluster) -> Option<End> {
    let of = |wanted: &dyn Fn(&portcullis_ir::Endpoint) -> bool| -> Vec<EndpointId> {
        cluster.endpoints().filter(|(_, e)| e.namespace == namespace && wanted(e)).map(|(id, _)| id).collect()
    };
    let pods = of(&|e| e.name == name);
    if !pods.is_empty() {
        return Some(End::plain(Who::Pods(pods)));
    }
    let pods = of(&|e| cluster.workload_of(e).is_some_and(|w| w.name == name));
    if !pods.is_empty() {
        return Some(End::plain(Who::Pods(pods)));
    }
    let (at, service) =
        cluster.services.iter().enumerate().find(|(_, s)| s.namespace == namespace && s.name == name)?;
    let note = format!("{namespace}/{name} is a service.");
    Some(End::with(Who::Service(at, backends(service, cluster)), note))
}

/// `app=web,tier=db`: pods that have all of these labels.
fn labelled(namespace: &str, text: &str, side: &mut Side<'_>, options: &Options) -> Result<End, Failure> {
    let mut wanted = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            return Err(Failure::new(
                format!("`{part}` is no label"),
                format!(
                    "write labels as key=value, with commas between them: {namespace}/app=web,tier=front"
                ),
            ));
        };
        wanted.push((key.trim(), value.trim_start_matches('=').trim()));
    }
    let cluster = &side.cluster;
    let samples_only =
        cluster.endpoints.iter().all(|e| cluster.workload_of(e).is_some_and(|w| w.kind == synthetic::KIND));
    if samples_only {
        // Nobody knows the pods, so these labels are a pod.
        let labels = wanted
            .iter()
            .map(|(k, v)| {
                let (source, key) = split_key(k);
                Label { key: key.into(), source: source.unwrap_or("k8s").into(), value: (*v).into() }
            })
            .collect();
        let sample = Sample {
            namespace: namespace.into(),
            name: text.into(),
            labels,
            namespace_labels: Vec::new(),
            service_account: "default".into(),
        };
        side.cluster.add_samples(&[sample], options);
        let id =
            EndpointId(u32::try_from(side.cluster.endpoints.len().saturating_sub(1)).unwrap_or(u32::MAX));
        let note = format!("{namespace}/{text} stands for a pod with exactly these labels.");
        return Ok(End::with(Who::Pods(vec![id]), note));
    }
    let has = |e: &portcullis_ir::Endpoint| {
        cluster.labels(e.identity).is_some_and(|set| {
            wanted.iter().all(|(k, v)| {
                let (source, key) = split_key(k);
                set.with_key(key).any(|l| l.value == *v && source.is_none_or(|s| l.source == s))
            })
        })
    };
    let in_namespace: Vec<(EndpointId, &portcullis_ir::Endpoint)> =
        cluster.endpoints().filter(|(_, e)| e.namespace == namespace).collect();
    if in_namespace.is_empty() {
        let known: BTreeSet<&str> = cluster.endpoints.iter().map(|e| e.namespace.as_str()).collect();
        return Err(no_namespace(namespace, &known));
    }
    let pods: Vec<EndpointId> = in_namespace.iter().filter(|(_, e)| has(e)).map(|(id, _)| *id).collect();
    if !pods.is_empty() {
        return Ok(End::plain(Who::Pods(pods)));
    }
    let labels: BTreeSet<String> = in_namespace
        .iter()
        .filter_map(|(_, e)| cluster.labels(e.identity))
        .flatten()
        .filter(|l| l.source == "k8s" && !l.key.starts_with("io.c") && !l.key.starts_with("io.kubernetes"))
        .map(|l| format!("{}={}", l.key, l.value))
        .collect();
    let near = nearest(text, labels.iter().map(String::as_str), 3);
    let help = if near.is_empty() {
        let some: Vec<&str> = labels.iter().take(5).map(String::as_str).collect();
        format!("pods of namespace {namespace} have labels such as {}", some.join(", "))
    } else {
        format!(
            "did you mean {}?",
            near.iter().map(|l| format!("{namespace}/{l}")).collect::<Vec<_>>().join(", ")
        )
    };
    Err(Failure::new(format!("no pod of namespace {namespace} has the labels {text}"), help))
}

fn no_namespace(namespace: &str, known: &BTreeSet<&str>) -> Failure {
    let near = nearest(namespace, known.iter().copied(), 3);
    let help = if near.is_empty() {
        let some: Vec<&str> = known.iter().take(5).copied().collect();
        format!(
            "pods are known in {}",
            if some.is_empty() { "no namespace: give --cluster".to_owned() } else { some.join(", ") }
        )
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    Failure::new(format!("no pod is known in a namespace `{namespace}`"), help)
}

/// A word without a namespace.
pub(super) fn bare(text: &str, cluster: &Cluster) -> Result<End, Failure> {
    let mut owners: BTreeSet<String> = BTreeSet::new();
    let mut all: BTreeSet<String> = BTreeSet::new();
    for e in &cluster.endpoints {
        let workload = cluster.workload_of(e).map(|w| w.name.as_str());
        for name in [Some(e.name.as_str()), workload].into_iter().flatten() {
            if name == text {
                owners.insert(format!("{}/{name}", e.namespace));
            }
            all.insert(name.to_owned());
        }
    }
    let entity = Reserved::parse(text).is_some() || text == "world";
    let help = match (entity, owners.is_empty()) {
        (true, true) => format!("did you mean entity:{text}?"),
        (_, false) => format!("did you mean {}?", owners.into_iter().collect::<Vec<_>>().join(" or ")),
        (false, true) => {
            let near = nearest(text, all.iter().map(String::as_str), 3);
            if near.is_empty() {
                "write ns/pod, ns/workload, ns/app=web, an address, a DNS name, or entity:world".to_owned()
            } else {
                let found: Vec<String> = cluster
                    .endpoints
                    .iter()
                    .filter_map(|e| cluster.workload_of(e))
                    .filter(|w| near.iter().any(|n| *n == w.name))
                    .map(|w| format!("{}/{}", w.namespace, w.name))
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .take(3)
                    .collect();
                format!("a pod is named with its namespace; did you mean {}?", found.join(" or "))
            }
        }
    };
    Err(Failure::new(format!("`{text}` does not say whom you mean"), help))
}
