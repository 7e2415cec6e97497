//! `suggest`: what to add to policies so that recorded flows keep passing.

mod chosen;
mod files;
mod render;

use super::diff::{sides, unrendered::Unrendered};
use super::{fails_on, in_order, is_unreadable, progress, read_cluster};
use crate::args::{DiffArgs, FailOn, FormatName, Global};
use crate::exit::{Exit, Failure};
use crate::load::File;
use crate::session::{Side, is_blocking, objects};
use crate::{load, output, recording};
use chosen::Chosen;
use clap::{Args, ValueEnum};
use files::{Candidate, Change};
use portcullis_diag::{Diagnostic, FileId, SourceMap};
use portcullis_front::Parsed;
use portcullis_front::ast::Object;
use portcullis_ir::lower::{is_policy, lower};
use portcullis_ir::{Options, PolicySet, Verdict};
use portcullis_sema::diff::review_with;
use portcullis_sema::universe::Input;
use portcullis_suggest::{Opened, Suggestion, Task, opened, suggest};
use render::{Kept, Report};
use std::path::PathBuf;
use std::sync::Arc;

/// `suggest`.
#[derive(Debug, Args)]
#[command(
    after_help = "FLOWS are as for `simulate`. Without --write nothing is changed: `--format patch` writes what `git apply` \
    takes. Exit codes: 0 every chosen flow passes with the additions (or passes without), 1 some cannot be let through by \
    an addition, 2 bad usage or unreadable input."
)]
pub(crate) struct SuggestArgs {
    /// Files of recorded flows, `-` for standard input
    #[arg(value_name = "FLOWS", required = true)]
    flows: Vec<PathBuf>,
    /// The policies as they are: a folder, a file or a git revision
    #[arg(long, value_name = "DIR|REV")]
    base: String,
    /// The policies that are added to, likewise
    #[arg(long, value_name = "DIR|REV")]
    candidate: String,
    /// With revisions: the files and folders to look at
    #[arg(value_name = "PATH", last = true)]
    paths: Vec<PathBuf>,
    /// Namespaces, pods, services and other policies of the cluster: a file or folder
    #[arg(long, value_name = "FILE|DIR")]
    cluster: Vec<PathBuf>,
    /// Which of the flows that the candidate denies are to pass
    #[arg(long, value_enum, default_value_t, value_name = "WHICH")]
    keep: Keep,
    /// Only flows from here: a workload `ns/name`, a namespace `ns/`, or an address or name outside the cluster
    #[arg(long, value_name = "WHO")]
    from: Vec<String>,
    /// Only flows to here, likewise
    #[arg(long, value_name = "WHO")]
    to: Vec<String>,
    /// Only flows on this port, e.g. 8080, 53/UDP, 8/ICMP
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    port: Vec<String>,
    /// Open nothing but what was seen: no other pods of a workload, no ranges of ports, no prefixes of addresses
    #[arg(long)]
    exact: bool,
    /// Write the additions into the candidate's files
    #[arg(long)]
    write: bool,
}

/// `--keep`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Keep {
    /// Those that the base allows
    #[default]
    NewlyDenied,
    /// Those that passed when they were recorded, whatever the base says
    Passed,
    /// All of them
    All,
}

/// Runs the command.
pub(crate) fn run(args: &SuggestArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "suggest", &[FormatName::Terminal, FormatName::Json, FormatName::Patch])?;
    let filter = chosen::Filter::read(args)?;
    let candidate = Candidate::of(args)?;
    let seens = recording::read(&args.flows, global)?;
    let options = global.options();
    progress(global, "reading …");
    let both = DiffArgs {
        sides: vec![args.base.clone(), args.candidate.clone()],
        paths: args.paths.clone(),
        ..DiffArgs::default()
    };
    let given = sides::read(&both, None, global.policy_limit())?;
    let shared = read_cluster(&args.cluster, global)?;
    let mut notes = [given.head.notes, shared.notes].concat();
    let broken = [given.head.diagnostics, given.base.diagnostics, shared.diagnostics].concat();
    let mut sources = SourceMap::new();
    let loaded = load::load(vec![given.head.texts, given.base.texts, shared.texts], &mut sources);
    let [head_files, base_files, cluster_files] = loaded.as_slice() else { return Ok(Exit::Internal) };
    progress(global, "comparing …");
    let mut head = Side::new(head_files, Some(base_files), cluster_files, &options);
    let mut base = Side::new(base_files, Some(head_files), cluster_files, &options);
    let blocking = blocking(&sources, &broken, [&base, &head], cluster_files)?;
    let judged = recording::line_up(&seens, &mut base, &mut head, &options);
    let (change, told) = review_with(base.input(&options), head.input(&options), judged.asks());
    let of_base = (&base.policies, &base.cluster);
    let refused = judged.refused(&told, [of_base, (&head.policies, &head.cluster)], &options);
    let chosen = Chosen::of(&judged, &told, &refused, &filter);
    notes.extend(portcullis_report::losses(&judged.as_read()));

    let policies: Vec<&Object> = objects(head_files).filter(|o| is_policy(o)).collect();
    let editable = head_files.iter().map(|f| f.id).collect();
    let touched = change.policies.added.iter().chain(&change.policies.changed).cloned().collect();
    let mut task = Task {
        input: head.input(&options),
        wanted: &chosen.wanted,
        objects: &policies,
        sources: &sources,
        editable: &editable,
        touched: &touched,
        refused: &chosen.refusals,
        exact: args.exact,
    };
    progress(global, "looking for additions …");
    let read = Read { candidate: &candidate, head: &head, base_files, options: &options };
    let (mut found, mut patched) = attempt(&task, read);
    if !args.exact && patched.opened.beyond + patched.opened.other > 0 {
        task.exact = true;
        (found, patched) = attempt(&task, read);
        notes.push(
            "Additions in general terms would have opened more than they say: these are exact.".to_owned(),
        );
    }
    if patched.opened.beyond > 0 {
        output::stderr(
            "internal error: the additions that were found would open more than they say, and are not shown\n  \
             This is a defect of portcullis. Please report it with the policies that led to it.\n",
        );
        return Ok(Exit::Internal);
    }
    notes.append(&mut found.notes);
    let after = Input { policies: &patched.policies, cluster: &head.cluster, options: &options };
    let (opens, told) = review_with(head.input(&options), after, &chosen.asks);
    let still = |at: &usize| told.get(*at).is_some_and(|t| t.head == Verdict::Denied);
    // Requests are held to the rules as they are now.
    let still_refused = if chosen.refused == 0 {
        (0, String::new())
    } else {
        let (_, now) = review_with(base.input(&options), after, judged.asks());
        let refused_now = judged.refused(&now, [of_base, (&patched.policies, &head.cluster)], &options);
        chosen::requests(&judged, &refused_now, &filter)
    };
    let kept = Kept::of(&chosen, &found, &(0..chosen.wanted.len()).filter(still).collect::<Vec<_>>());
    progress(global, "");
    let denied = !kept.left.is_empty() || still_refused.0 > 0 || !blocking.is_empty();
    if chosen.requests > 0 {
        let (what, their) = if chosen.requests == 1 {
            ("request is", "its connection")
        } else {
            ("requests are", "their connections")
        };
        notes.push(format!(
            "{} chosen {what} kept by letting {their} through: no L7 rule is added there, and any request passes.",
            chosen.requests
        ));
    }
    if args.write {
        files::write(&patched.changes)?;
    }
    let report = Report {
        base: given.base_name,
        candidate: given.head_name,
        chosen: &chosen,
        found: &found,
        changes: &patched.changes,
        opens: &opens,
        opened: patched.opened,
        kept: &kept,
        blocking: &blocking,
        notes,
        written: args.write,
        verbose: global.verbose,
        still_refused,
        sources: &sources,
    };
    let text = match global.format {
        FormatName::Json => report.json(),
        FormatName::Patch => report.patch(),
        _ => report.terminal(),
    };
    if !(global.quiet && global.output.is_none()) {
        output::text(&text, global)?;
    }
    Ok(if denied && fails_on(global, &[FailOn::Denied], FailOn::Denied) {
        Exit::Findings
    } else {
        Exit::Clean
    })
}

/// A suggestion as files and policies, and what the compiler says of it.
struct Patched {
    changes: Vec<Change>,
    policies: PolicySet,
    opened: Opened,
}

/// What is read of both sides.
#[derive(Clone, Copy)]
struct Read<'a> {
    candidate: &'a Candidate,
    head: &'a Side<'a>,
    base_files: &'a [File],
    options: &'a Options,
}

/// Finds additions, puts them into the files, reads those again, and compares.
fn attempt(task: &Task<'_>, read: Read<'_>) -> (Suggestion, Patched) {
    let mut found = suggest(task);
    let changes = read.candidate.changes(&found, read.head.own, task.sources);
    found.notes.extend(files::to_be_listed(&changes, read.head.own, task.sources));
    let mut own: Vec<File> = read.head.own.to_vec();
    let mut broken = 0;
    for (n, change) in (0u32..).zip(&changes) {
        let id = FileId(u32::try_from(task.sources.len()).unwrap_or(u32::MAX).saturating_add(n));
        let parsed = Arc::new(portcullis_front::parse(id, &change.path, &change.new));
        let bad = |p: &Parsed| p.diagnostics.iter().filter(|d| is_blocking(d)).count() as u64;
        let before = own.iter().find(|f| Some(f.id) == change.of).map_or(0, |f| bad(&f.parsed));
        broken += bad(&parsed).saturating_sub(before);
        match own.iter_mut().find(|f| Some(f.id) == change.of) {
            Some(file) => *file = File { id, parsed },
            None => own.push(File { id, parsed }),
        }
    }
    let side = Side::new(&own, Some(read.base_files), read.head.cluster_files, read.options);
    // Pods are the candidate's, those that only the recording knows among them.
    let policies = lower(side.objects(), &read.head.cluster, read.options);
    let after = Input { policies: &policies, cluster: &read.head.cluster, options: read.options };
    let mut opened = opened(task.input, after, &found.bound);
    // What the cluster would refuse opens nothing, and is no addition.
    opened.beyond += broken;
    (found, Patched { changes, policies, opened })
}

/// Errors that leave objects out of the answer, on either side.
fn blocking(
    sources: &SourceMap,
    broken: &[Diagnostic],
    sides: [&Side<'_>; 2],
    shared: &[File],
) -> Result<Vec<Diagnostic>, Failure> {
    let of_sides = sides.iter().flat_map(|s| &s.diagnostics);
    let of_cluster = shared.iter().flat_map(|f| &f.parsed.diagnostics);
    let mut all: Vec<Diagnostic> =
        broken.iter().chain(of_sides).chain(of_cluster).filter(|d| is_blocking(d)).cloned().collect();
    let [base, head] = sides;
    let unrendered = Unrendered::of(head.own, base.own, sources);
    all.retain(|d| !unrendered.replaces(d));
    if is_unreadable(&all) {
        return Err(Failure::of(all));
    }
    all.extend(unrendered.changed);
    in_order(sources, &mut all);
    Ok(all)
}
