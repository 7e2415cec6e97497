//! Trees to typed objects, checked as the API server and Cilium's engine check them.
//!
//! `kinds` finds the reader of an object, `fields` reads one field at a time and collects what is
//! wrong, `meta` the metadata. `cilium` reads CNP and CCNP with `peers`, `ports`, `l7`, `icmp`,
//! `fqdn`, `cidr` and `selector`; `network` NetworkPolicy; `cluster` ClusterNetworkPolicy; `group`
//! CiliumCIDRGroup; `pods` and `service` what the cluster has. Every policy object is read whole,
//! so that all its faults are reported at once.

mod cidr;
mod cilium;
mod cluster;
mod cluster_ports;
mod fields;
mod fqdn;
mod group;
mod icmp;
mod kinds;
mod l7;
mod meta;
mod names;
mod network;
mod peers;
mod pods;
mod ports;
mod regex;
mod selector;
mod service;
mod service_checks;

use crate::ast::{Body, Object};
use crate::tree::{Node, Value};
use crate::{Parsed, SkipReason, Skipped};
use fields::{Dialect, Reader, refused};
use kinds::{Kind, Plain};
use portcullis_diag::codes::{schema, syntax};
use portcullis_diag::{Diagnostic, Fate, ObjectRef, Severity};
use rayon::prelude::*;
use smol_str::SmolStr;

/// Reads one document: an object, or a list of objects.
///
/// Appends to `out` an object, or a skipped document, or an error that names it; its findings come
/// in order of the text.
pub fn document(root: &Node, out: &mut Parsed) {
    let from = out.diagnostics.len();
    object(root, ("", ""), out);
    if let Some(new) = out.diagnostics.get_mut(from..) {
        new.sort_by_key(|d| d.span().map(|s| (s.start, d.code)));
    }
}

/// Reads one object; `default` is what a typed list says of its items.
fn object(root: &Node, default: (&str, &str), out: &mut Parsed) {
    let text = |key: &str| root.get(key).and_then(Node::as_str).filter(|s| !s.is_empty());
    let api_version = text("apiVersion").unwrap_or(default.0);
    let kind = text("kind").unwrap_or(default.1);
    if kind.is_empty() {
        return not_an_object(root, out);
    }
    match kinds::of(api_version, kind) {
        Kind::List => list(root, api_version, kind, out),
        Kind::Other if api_version.is_empty() => not_an_object(root, out),
        Kind::Other => skip(root, SkipReason::OtherKind, kind, out),
        Kind::Misnamed(meant, api) => misnamed(root, (api_version, kind), (meant, api), out),
        Kind::Plain(plain) => plain_object(root, (api_version, kind), plain, out),
        policy => checked(root, (api_version, kind), policy, out),
    }
}

fn skip(root: &Node, reason: SkipReason, kind: &str, out: &mut Parsed) {
    out.skipped.push(Skipped { span: root.span, reason, kind: kind.to_owned() });
}

fn not_an_object(root: &Node, out: &mut Parsed) {
    let why = match root.value {
        Value::Map(_) => "this document is left out: it has no `kind` and `apiVersion`",
        _ => "this document is left out: it is no mapping",
    };
    let finding = Diagnostic::new(syntax::NOT_AN_OBJECT, why, root.span).fate(Fate::Unreadable);
    out.diagnostics.push(finding.label("not a Kubernetes object"));
    skip(root, SkipReason::NotAnObject, "", out);
}

/// `kind: List`, and `FooList`, whose items need not say that they are a `Foo`.
fn list(root: &Node, api_version: &str, kind: &str, out: &mut Parsed) {
    let item = kind.strip_suffix("List").unwrap_or_default();
    let default = if item.is_empty() { ("", "") } else { (api_version, item) };
    let Some(items) = root.get("items").and_then(Node::as_seq) else {
        return skip(root, SkipReason::OtherKind, kind, out);
    };
    // A snapshot of a cluster is one long list.
    let parts: Vec<Parsed> = items
        .par_chunks(4096)
        .map(|chunk| {
            let mut part = Parsed::default();
            for node in chunk {
                object(node, default, &mut part);
            }
            part
        })
        .collect();
    for part in parts {
        out.objects.extend(part.objects);
        out.diagnostics.extend(part.diagnostics);
        out.skipped.extend(part.skipped);
    }
}

/// A policy that would silently not be applied.
fn misnamed(root: &Node, (api_version, kind): (&str, &str), (meant, api): (&str, &str), out: &mut Parsed) {
    let span = |key: &str| root.get(key).map_or(root.span, |n| n.span);
    let (place, what) = if kind == meant && api_version.is_empty() {
        (span("kind"), format!("`apiVersion` is missing, and there is no {kind} without one"))
    } else if kind == meant {
        (span("apiVersion"), format!("there is no {kind} of `{api_version}`"))
    } else {
        (span("kind"), format!("there is no kind `{kind}`"))
    };
    let object = ObjectRef {
        kind: kind.to_owned(),
        namespace: None,
        name: meta::lenient(root, false).name.value.to_string(),
    };
    let finding = refused(schema::UNSERVED_KIND, place, what)
        .label("not served")
        .help(format!("did you mean `kind: {meant}` with `apiVersion: {api}`?"))
        .object(object)
        .severity(Severity::Error);
    out.diagnostics.push(finding);
}

/// A policy object, read strictly.
fn checked(root: &Node, (api_version, kind): (&str, &str), which: Kind, out: &mut Parsed) {
    let (dialect, namespaced) = match which {
        Kind::Network => (Dialect::Kubernetes, true),
        Kind::Cluster(_) => (Dialect::ClusterPolicy, false),
        Kind::Cilium { clusterwide } => (Dialect::Cilium, !clusterwide),
        _ => (Dialect::Cilium, false),
    };
    let meta = meta::lenient(root, namespaced);
    let reference = ObjectRef {
        kind: kind.to_owned(),
        namespace: meta.namespace.as_ref().map(|n| n.value.to_string()),
        name: meta.name.value.to_string(),
    };
    let mut r = Reader::new(&mut out.diagnostics, reference, dialect);
    let body = match which {
        Kind::Cilium { clusterwide } => cilium::read(&mut r, root, clusterwide).map(Body::Cilium),
        Kind::Network => network::read(&mut r, root).map(Body::Network),
        Kind::Cluster(form) => cluster::read(&mut r, root, form).map(Body::Cluster),
        _ => group::read(&mut r, root).map(Body::CidrGroup),
    };
    let fate = r.fate();
    if let Some(body) = body {
        let (api_version, kind) = (SmolStr::new(api_version), SmolStr::new(kind));
        out.objects.push(Object { api_version, kind, meta, span: root.span, fate, body });
    }
}

/// An object of the cluster, read leniently; services and slices are checked besides.
fn plain_object(root: &Node, (api_version, kind): (&str, &str), plain: Plain, out: &mut Parsed) {
    let body = match plain {
        Plain::Namespace => Body::Namespace,
        Plain::ServiceAccount => Body::ServiceAccount,
        Plain::Pod => Body::Pod(Box::new(pods::pod(root))),
        Plain::Node => Body::Node(Box::new(service::node(root))),
        Plain::Service => Body::Service(Box::new(service::service(root))),
        Plain::Endpoints => Body::Endpoints(Box::new(service::endpoints(root))),
        Plain::EndpointSlice => Body::Endpoints(Box::new(service::slice(root))),
        Plain::CiliumIdentity => Body::CiliumIdentity(service::identity(root)),
        Plain::CiliumEndpoint => Body::CiliumEndpoint(Box::new(service::cilium_endpoint(root))),
        Plain::Workload => match pods::workload(root, kind) {
            Some(workload) => Body::Workload(Box::new(workload)),
            None => return skip(root, SkipReason::OtherKind, kind, out),
        },
    };
    let meta = meta::lenient(root, plain.namespaced());
    let reference = ObjectRef {
        kind: kind.to_owned(),
        namespace: meta.namespace.as_ref().map(|n| n.value.to_string()),
        name: meta.name.value.to_string(),
    };
    let mut r = Reader::new(&mut out.diagnostics, reference, Dialect::Kubernetes);
    meta::strings_only(&mut r, root.get("metadata").and_then(|m| m.get("labels")));
    meta::strings_only(&mut r, plain_labels(root, plain, kind));
    match plain {
        Plain::Service => service_checks::service(&mut r, root),
        Plain::EndpointSlice => service_checks::slice(&mut r, root),
        _ => {}
    }
    let fate = r.fate();
    let (api_version, kind) = (SmolStr::new(api_version), SmolStr::new(kind));
    out.objects.push(Object { api_version, kind, meta, span: root.span, fate, body });
}

/// The labels that an object has or selects beside those of its metadata.
fn plain_labels<'n>(root: &'n Node, plain: Plain, kind: &str) -> Option<&'n Node> {
    match plain {
        Plain::Workload => pods::template(root, kind)?.get("metadata")?.get("labels"),
        Plain::Service => root.get("spec")?.get("selector"),
        _ => None,
    }
}
