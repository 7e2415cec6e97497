//! Lints on the examples of the documentation and on the worked examples.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod examples;
mod pages;
mod silence;

use portcullis_diag::{Diagnostic, Fate};
use portcullis_front::ast::Object;
use portcullis_ir::{Cluster, Options, lower};
use portcullis_sema::lint::{Context, run};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;

/// What the lints find in objects that are policies and cluster at once.
fn lint(objects: &[&Object]) -> Vec<Diagnostic> {
    let accepted: Vec<&Object> = objects.iter().copied().filter(|o| o.fate == Fate::Accepted).collect();
    let options = Options::default();
    let cluster = Cluster::build(accepted.iter().copied(), &options);
    let policies = lower::lower(accepted.iter().copied(), &cluster, &options);
    let input = Input { policies: &policies, cluster: &cluster, options: &options };
    let evaluation = Evaluation::new(&[input], &[]);
    run(&Context {
        objects: &accepted,
        policies: &policies,
        cluster: &cluster,
        options: &options,
        evaluation: &evaluation,
        has_cluster: !cluster.is_empty(),
        has_services: !cluster.services.is_empty(),
    })
}
