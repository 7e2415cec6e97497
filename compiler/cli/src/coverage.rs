//! What was looked at, so that nobody takes silence for safety.

use crate::load::File;
use crate::session::{Side, is_blocking, objects};
use portcullis_diag::{FileId, ObjectRef};
use portcullis_front::ast::Object;
use portcullis_front::{Parsed, SkipReason};
use portcullis_ir::Workload;
use portcullis_ir::lower::is_policy;
use portcullis_report::{ClusterSource, Coverage};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What the sides of a run looked at: one, or base and head.
pub(crate) fn of(sides: &[&Side<'_>], cluster: &[PathBuf], notes: Vec<String>) -> Coverage {
    let mut files: BTreeMap<FileId, &Parsed> = BTreeMap::new();
    for list in sides.iter().flat_map(|s| [s.own, s.cluster_files]) {
        files.extend(list.iter().map(|f| (f.id, &*f.parsed)));
    }
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for s in files.values().flat_map(|p| &p.skipped) {
        *skipped.entry(reason(s.reason)).or_insert(0) += 1;
    }
    let mut out = Coverage {
        files: files.len(),
        documents: files.values().map(|p| p.documents).sum(),
        skipped: skipped.into_iter().map(|(r, n)| (r.to_owned(), n)).collect(),
        notes,
        ..Coverage::default()
    };
    // Counts speak of what is to be: the last side.
    if let Some(side) = sides.last() {
        let c = &side.cluster;
        out.policies = side.policies.policies.len();
        out.pods = c.endpoints.iter().map(|e| u64::from(e.pods)).sum();
        out.workloads = c
            .workloads
            .iter()
            .filter(|w| w.kind != portcullis_ir::synthetic::KIND)
            .collect::<BTreeSet<&Workload>>()
            .len();
        let named = c.endpoints.iter().map(|e| &e.namespace);
        out.namespaces = c.known_namespaces.iter().chain(named).collect::<BTreeSet<_>>().len();
        out.host_network = c.origin.host_network;
        out.policies_left_out = left_out(side.own);
        out.cluster = source(side, cluster);
        if out.cluster == ClusterSource::None && !cluster.is_empty() {
            out.notes.push(format!("{} has no pod and no workload.", shown(cluster)));
        }
        let shared = side.policies_of_cluster();
        if shared > 0 {
            let (verb, noun) = if shared == 1 { ("takes", "policy") } else { ("take", "policies") };
            let on = if sides.len() > 1 { " on both sides" } else { "" };
            out.notes.push(format!(
                "{shared} {noun} of {} {verb} part{on}; files under review replace those of the same name.",
                shown(cluster)
            ));
        }
    }
    out
}

/// Policy objects that do not take part: refused, inert, or not even objects.
fn left_out(own: &[File]) -> usize {
    let refused = |o: &&Object| is_policy(o) && o.fate != portcullis_diag::Fate::Accepted;
    let known: BTreeSet<ObjectRef> = objects(own).filter(refused).map(Object::reference).collect();
    let all = own.iter().flat_map(|f| &f.parsed.diagnostics).filter(|d| is_blocking(d));
    // An object that could not even be read as one is known by its findings only.
    let mut named: BTreeSet<ObjectRef> = BTreeSet::new();
    let mut nameless = 0;
    for d in all {
        match &d.object {
            Some(o) => {
                named.insert(o.clone());
            }
            None => nameless += 1,
        }
    }
    named.union(&known).count() + nameless
}

fn source(side: &Side<'_>, cluster: &[PathBuf]) -> ClusterSource {
    let c = &side.cluster.origin;
    match (c.pods + c.templates + c.cilium > 0, cluster.is_empty()) {
        (true, false) => ClusterSource::Given(shown(cluster)),
        (true, true) => ClusterSource::Beside,
        (false, _) => ClusterSource::None,
    }
}

fn shown(cluster: &[PathBuf]) -> String {
    cluster.iter().map(|p| crate::input::tidy(p)).collect::<Vec<_>>().join(", ")
}

const fn reason(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Template => "template",
        SkipReason::Kustomize => "kustomize file",
        SkipReason::OtherKind => "object of another kind",
        SkipReason::NotAnObject => "document that is no object",
    }
}
