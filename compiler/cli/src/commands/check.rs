//! `check`: parse, validate, lint.

use super::{diagnostics_fail, in_order, is_unreadable, progress, read_cluster, read_paths};
use crate::args::{CheckArgs, FailOn, FormatName, Global};
use crate::exit::{Exit, Failure};
use crate::load::File;
use crate::session::{Side, is_blocking};
use crate::{coverage, live, load, output};
use portcullis_diag::codes::resolution::SERVICE_WITHOUT_ENDPOINTS;
use portcullis_diag::{Diagnostic, Fate, FileId, Severity, SourceMap};
use portcullis_front::ast::Object;
use portcullis_front::{SkipReason, Skipped};
use portcullis_ir::Options;
use portcullis_report::CheckReport;
use portcullis_sema::lint;
use portcullis_sema::side::Evaluation;
use portcullis_services::{NodeContext, Services};
use std::collections::BTreeSet;
use std::path::PathBuf;

const FORMATS: [FormatName; 6] = [
    FormatName::Terminal,
    FormatName::Json,
    FormatName::Markdown,
    FormatName::Sarif,
    FormatName::Github,
    FormatName::Junit,
];

/// Runs the command.
pub(crate) fn run(args: &CheckArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "check", &FORMATS)?;
    let options = global.options();
    let own = read_paths(&args.paths, global)?;
    let mut cluster = read_cluster(&args.cluster, global)?;
    if let Some(snapshot) = args.live.fetch()? {
        cluster.extend(live::text(&snapshot));
    }
    let broken = own.is_broken() || cluster.is_broken();
    let mut diagnostics = [own.diagnostics, cluster.diagnostics].concat();
    let notes = [own.notes, cluster.notes].concat();

    progress(global, "reading …");
    let mut sources = SourceMap::new();
    let loaded = load::load(vec![own.texts, cluster.texts], &mut sources);
    let [own, cluster] = loaded.as_slice() else { return Ok(Exit::Internal) };
    if !broken && let Some(failure) = nothing_checked(own, &args.paths) {
        return Err(failure);
    }
    let side = Side::new(own, None, cluster, &options);
    diagnostics.extend(side.diagnostics.iter().cloned());
    diagnostics.extend(lints(&side, &options));
    diagnostics.extend(services(&side));
    // Findings about the cluster's files are not asked for, unless they leave something out.
    let of_cluster = cluster.iter().flat_map(|f| &f.parsed.diagnostics).filter(|d| is_blocking(d));
    let left_out: Vec<Diagnostic> = of_cluster.cloned().collect();
    let broken = broken || is_unreadable(&left_out);
    diagnostics.extend(left_out);
    progress(global, "");
    in_order(&sources, &mut diagnostics);

    let coverage = coverage::of(&[&side], &args.live.named(&args.cluster), notes);
    let exit = if broken {
        Exit::Usage
    } else if diagnostics_fail(global, &[FailOn::Error], &diagnostics) {
        Exit::Findings
    } else {
        Exit::Clean
    };
    output::report(&CheckReport { diagnostics, coverage }, &sources, global)?;
    Ok(exit)
}

/// The failure of a run that would pass without having looked at anything.
fn nothing_checked(own: &[File], paths: &[PathBuf]) -> Option<Failure> {
    let parsed = || own.iter().map(|f| &f.parsed);
    let skipped = || parsed().flat_map(|p| &p.skipped);
    let unrendered = |s: &Skipped| matches!(s.reason, SkipReason::Template | SkipReason::Kustomize);
    let serious = parsed().flat_map(|p| &p.diagnostics).any(|d| d.severity > Severity::Note);
    if serious || parsed().any(|p| !p.objects.is_empty()) || !skipped().all(unrendered) {
        return None;
    }
    let names = super::names(paths);
    Some(if skipped().next().is_some() {
        Failure::new(
            format!(
                "nothing was checked: {names} holds only templates or kustomize files, which are skipped"
            ),
            "render them first: helm template … | portcullis check -, or kubectl kustomize … | portcullis check -",
        )
    } else {
        Failure::new(
            format!("nothing was checked: {names} holds no document, only comments or empty files"),
            "name the files or the folder with the policies; if they come through a pipe, look at what writes into it",
        )
    })
}

/// What the services of a side mean on a node that is none of the cluster's: who has which address, and which
/// services lead nowhere. Files without pods and slices say nothing about that.
fn services(side: &Side<'_>) -> Vec<Diagnostic> {
    let all = Services::of(side.objects());
    let own: BTreeSet<FileId> = crate::session::objects(side.own).map(|o| o.span.file).collect();
    let mut found = portcullis_services::resolve(&all, &NodeContext::default()).diagnostics;
    found.retain(|d| {
        d.span().is_some_and(|s| own.contains(&s.file))
            && (d.code != SERVICE_WITHOUT_ENDPOINTS || all.knows_endpoints())
    });
    found
}

/// What valid policies of a side mean that their author may not have meant.
pub(crate) fn lints(side: &Side<'_>, options: &Options) -> Vec<Diagnostic> {
    let objects: Vec<&Object> =
        crate::session::objects(side.own).filter(|o| o.fate == Fate::Accepted).collect();
    let input = side.input(options);
    let evaluation = Evaluation::new(&[input], &[]);
    lint::run(&lint::Context {
        objects: &objects,
        policies: &side.policies,
        cluster: &side.cluster,
        options,
        evaluation: &evaluation,
        // Nothing is true of pods that only stand for a selector.
        has_cluster: side.has_pods(),
        has_services: !side.cluster.services.is_empty(),
    })
}
