//! Lints: what a valid policy means that its author may not have meant. One file a lint.

use crate::side::Evaluation;
use portcullis_diag::Diagnostic;
use portcullis_front::ast::Object;
use portcullis_ir::{Cluster, Options, PolicySet};

/// Everything a lint may look at. Objects are those of the reviewed files, accepted ones only.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The policies as written.
    pub objects: &'a [&'a Object],
    /// The policies in normal form.
    pub policies: &'a PolicySet,
    /// The cluster; may be empty.
    pub cluster: &'a Cluster,
    /// Its settings.
    pub options: &'a Options,
    /// The policies evaluated over the cluster (one side, index 0).
    pub evaluation: &'a Evaluation<'a>,
    /// Pods are known: lints about what selects nothing may speak.
    pub has_cluster: bool,
    /// Services are known: lints about services that do not exist may speak.
    pub has_services: bool,
}

/// Runs every lint; findings in order of file and place.
pub fn run(_context: &Context<'_>) -> Vec<Diagnostic> {
    Vec::new()
}
