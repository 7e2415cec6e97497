//! `diff`: which flows a change denies and allows.

pub(super) mod sides;
mod symbolic;
pub(super) mod unrendered;

use super::{diagnostics_fail, fails_on, in_order, is_unreadable, progress, read_cluster};
use crate::args::{DiffArgs, FailOn, FormatName, Global};
use crate::exit::{Exit, Failure};
use crate::load::File;
use crate::session::{Side, add_samples, is_blocking};
use crate::{coverage, live, load, output, recording};
use portcullis_diag::{Diagnostic, ObjectRef, SourceMap};
use portcullis_flows::Seens;
use portcullis_ir::Options;
use portcullis_report::{DiffReport, Recording, Traffic};
use portcullis_sema::diff::{Finding, FindingKind, PolicyChanges, Review, review_with};
use std::cmp::Reverse;
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

/// A new error is a policy that does not do what it says, whatever its flows.
const DEFAULT: [FailOn; 2] = [FailOn::Denied, FailOn::Error];

/// Runs the command.
pub(crate) fn run(args: &DiffArgs, global: &Global) -> Result<Exit, Failure> {
    if args.symbolic {
        return symbolic::run(args, global);
    }
    check_formats(global, "diff")?;
    let seens = if args.flows.is_empty() { None } else { Some(recording::read(&args.flows, global)?) };
    compare(args, global, seens.map(|s| Recorded { source: Source::Read(Box::new(s)), only: false }))
}

/// Refuses a format that comparisons do not have.
pub(super) fn check_formats(global: &Global, command: &str) -> Result<(), Failure> {
    output::check_format(global, command, &FORMATS)
}

/// A recording to look at.
pub(super) struct Recorded<'r> {
    pub(super) source: Source<'r>,
    /// The report is to show what was recorded and nothing else.
    pub(super) only: bool,
}

/// Where it comes from.
pub(super) enum Source<'r> {
    /// It was read.
    Read(Box<Seens>),
    /// It is read while it grows; what it comes to is told now and then.
    Follow(&'r [PathBuf], &'r mut Interim<'r>),
}

/// Told what a recording comes to so far: as a whole, and finding by finding.
pub(super) type Interim<'r> = dyn FnMut(&Recording, &[(FindingKind, Traffic)]) + 'r;

/// Compares two sides, with a recording or without.
pub(super) fn compare(
    args: &DiffArgs,
    global: &Global,
    recorded: Option<Recorded<'_>>,
) -> Result<Exit, Failure> {
    let options = global.options();
    progress(global, "reading …");
    let snapshot = args.live.fetch()?;
    let given = sides::read(args, snapshot.as_ref(), global.policy_limit())?;
    let mut shared = read_cluster(&args.cluster, global)?;
    shared.extend(snapshot.as_ref().map(live::text).unwrap_or_default());
    let mut notes = [given.head.notes, given.base.notes, shared.notes].concat();
    notes.sort();
    notes.dedup();
    // What could not be read, on the side that is to be and on the side that was.
    let broken_head = [given.head.diagnostics, shared.diagnostics].concat();
    let broken_base = given.base.diagnostics;

    let mut sources = SourceMap::new();
    let loaded = load::load(vec![given.head.texts, given.base.texts, shared.texts], &mut sources);
    let [head_files, base_files, cluster_files] = loaded.as_slice() else { return Ok(Exit::Internal) };
    let observed_only = recorded.as_ref().is_some_and(|r| r.only);
    let seens = match recorded.map(|r| r.source) {
        None => None,
        Some(Source::Read(seens)) => Some(*seens),
        Some(Source::Follow(paths, told)) => {
            progress(global, "");
            let files = [base_files, head_files, cluster_files].map(Vec::as_slice);
            Some(recording::follow(paths, global, &mut |seens| so_far(seens, files, &options, told))?)
        }
    };
    progress(global, "comparing …");
    let mut head = Side::new(head_files, Some(base_files), cluster_files, &options);
    let mut base = Side::new(base_files, Some(head_files), cluster_files, &options);
    // What a recording knows of pods is better than samples of what selectors ask for.
    if !observed_only && let Some(note) = add_samples(&mut [&mut base, &mut head], &options) {
        notes.push(note);
    }
    let judged = seens.as_ref().map(|seens| recording::line_up(seens, &mut base, &mut head, &options));
    let asks = judged.as_ref().map_or(&[][..], recording::Judged::asks);
    let (mut review, told) = review_with(base.input(&options), head.input(&options), asks);
    let (mut recording, mut traffic) = (None, Vec::new());
    if let Some(judged) = judged {
        let (mut whole, seen) = judged.summary(&told, &review, [&base, &head], &options);
        whole.observed_only = observed_only;
        traffic = rank(&mut review, seen, &mut whole);
        recording = Some(whole);
    }

    let mut of_head: Vec<Diagnostic> = head.diagnostics.clone();
    of_head.extend(broken_head);
    of_head.extend(
        cluster_files.iter().flat_map(|f| f.parsed.diagnostics.iter().filter(|d| is_blocking(d)).cloned()),
    );
    of_head.extend(super::check::lints(&head, &options));
    let mut of_base: Vec<Diagnostic> = base.diagnostics.clone();
    of_base.extend(broken_base);
    of_base.extend(super::check::lints(&base, &options));

    let unrendered = unrendered::Unrendered::of(head_files, base_files, &sources);
    notes.extend(unrendered.note());
    of_head.retain(|d| !unrendered.replaces(d));

    let (mut blocking, of_head): (Vec<_>, Vec<_>) = of_head.into_iter().partition(is_blocking);
    let (base_blocking, of_base): (Vec<_>, Vec<_>) = of_base.into_iter().partition(is_blocking);
    let blocked = Blocked::of(&blocking, &base_blocking, &unrendered.changed);
    blocking.extend(base_blocking);
    blocking.extend(unrendered.changed);
    let left_out = leave_out(&mut review.policies, &blocking);
    let known: BTreeSet<Likeness> = of_base.iter().map(|d| likeness(&sources, d)).collect();
    let mut diagnostics: Vec<Diagnostic> =
        of_head.into_iter().filter(|d| !known.contains(&likeness(&sources, d))).collect();
    in_order(&sources, &mut blocking);
    in_order(&sources, &mut diagnostics);
    progress(global, "");

    let totals = review.totals;
    let coverage = coverage::of(&[&base, &head], &args.live.named(&args.cluster), notes);
    let cluster_words = args.cluster.iter().map(|p| format!("--cluster={}", p.to_string_lossy()));
    // A command that looks at one state is given the live cluster as a file.
    let live_words = args.live.live.then(|| "--cluster=<(portcullis snapshot)".to_owned());
    let cluster_words = cluster_words.chain(live_words);
    let explain_with = given.head_at.into_iter().chain(cluster_words).chain(global.settings()).collect();
    let report = DiffReport {
        base: given.base_name,
        head: given.head_name,
        review,
        blocking,
        diagnostics,
        left_out,
        explain_with,
        coverage,
        recording,
        traffic,
    };
    output::report(&report, &sources, global)?;

    let flows = match report.recording.as_ref().filter(|r| r.observed_only) {
        Some(r) => {
            [(FailOn::Denied, r.denied.flows), (FailOn::Allowed, r.allowed.flows), (FailOn::L7, r.l7.flows)]
        }
        None => [(FailOn::Denied, totals.denied), (FailOn::Allowed, totals.allowed), (FailOn::L7, totals.l7)],
    };
    let never = global.fail_on.as_ref().is_some_and(|l| l.contains(&FailOn::Never));
    Ok(match blocked {
        Blocked::Unreadable => Exit::Usage,
        Blocked::LeftOut if !never => Exit::Findings,
        _ if flows.iter().any(|(what, n)| *n > 0 && fails_on(global, &DEFAULT, *what)) => Exit::Findings,
        _ if diagnostics_fail(global, &DEFAULT, &report.diagnostics) => Exit::Findings,
        _ => Exit::Clean,
    })
}

/// What a recording comes to before its end.
fn so_far(seens: &Seens, files: [&[File]; 3], options: &Options, told: &mut Interim<'_>) {
    let [base, head, shared] = files;
    let mut of_head = Side::new(head, Some(base), shared, options);
    let mut of_base = Side::new(base, Some(head), shared, options);
    let judged = recording::line_up(seens, &mut of_base, &mut of_head, options);
    let (review, said) = review_with(of_base.input(options), of_head.input(options), judged.asks());
    let (whole, traffic) = judged.summary(&said, &review, [&of_base, &of_head], options);
    let kinds = review.findings.iter().map(|f| f.kind);
    let seen: Vec<(FindingKind, Traffic)> =
        kinds.zip(traffic).filter_map(|(kind, traffic)| Some((kind, traffic?))).collect();
    told(&whole, &seen);
}

/// Puts findings in the order of what was seen of them; those of which nothing was seen come last, or go.
fn rank(review: &mut Review, seen: Vec<Option<Traffic>>, whole: &mut Recording) -> Vec<Option<Traffic>> {
    let mut both: Vec<(Finding, Option<Traffic>)> =
        std::mem::take(&mut review.findings).into_iter().zip(seen).collect();
    both.sort_by_key(|(f, t)| (f.kind, Reverse(t.as_ref().map(Traffic::weight))));
    if whole.observed_only {
        let all = both.len();
        both.retain(|(_, t)| t.as_ref().is_some_and(|t| t.weight() > 0));
        let left = all - both.len();
        if left > 0 {
            let (groups, them) =
                if left == 1 { ("group of flows changes", "it") } else { ("groups of flows change", "them") };
            whole.notes.push(format!(
                "{left} more {groups} of which nothing was recorded; `portcullis diff` lists {them}."
            ));
        }
        // What could happen is told by `diff`.
        review.transitions.clear();
        review.masked_flows = 0;
    }
    let (findings, traffic) = both.into_iter().unzip();
    review.findings = findings;
    traffic
}

/// Takes the policies that blocking errors name out of the lists of those that differ: a policy that the
/// API server refuses is not removed by that, nor was one added whose older form could not be judged.
fn leave_out(policies: &mut PolicyChanges, blocking: &[Diagnostic]) -> Vec<ObjectRef> {
    let named: BTreeSet<&ObjectRef> = blocking.iter().filter_map(|d| d.object.as_ref()).collect();
    for list in [&mut policies.added, &mut policies.removed, &mut policies.changed] {
        list.retain(|o| !named.contains(o));
    }
    let counts = |o: &&ObjectRef| o.kind.ends_with("NetworkPolicy") || o.kind == "CiliumCIDRGroup";
    named.into_iter().filter(counts).cloned().collect()
}

/// Whether the change can be judged at all.
enum Blocked {
    /// Everything that is to be takes part.
    No,
    /// Objects that the cluster would not enforce are left out of what is to be, or policies that are
    /// not rendered out of either side.
    LeftOut,
    /// Some text of either side could not be read.
    Unreadable,
}

impl Blocked {
    fn of(head: &[Diagnostic], base: &[Diagnostic], unrendered: &[Diagnostic]) -> Self {
        if is_unreadable(head) || is_unreadable(base) {
            Self::Unreadable
        } else if head.is_empty() && unrendered.is_empty() {
            Self::No
        } else {
            Self::LeftOut
        }
    }
}

/// What makes two findings of different sides the same one: not the place, which edits move.
type Likeness = (u16, String, Option<portcullis_diag::ObjectRef>, String);

/// Bytes of a line on each side of a place that tell it from others.
const NEAR: usize = 200;

fn likeness(sources: &SourceMap, d: &Diagnostic) -> Likeness {
    let line = d.span().map_or("", |s| {
        let text = sources.get(s.file).map_or("", |f| &*f.text);
        let at = s.start as usize;
        let start = text.get(..at).and_then(|t| t.rfind('\n')).map_or(0, |n| n + 1);
        let end = text.get(at..).and_then(|t| t.find('\n')).map_or(text.len(), |n| at + n);
        // A file of one line may be long, and so may be the list of its findings.
        let (start, end) = (start.max(at.saturating_sub(NEAR)), end.min(at.saturating_add(NEAR)));
        text.get(text.ceil_char_boundary(start)..text.floor_char_boundary(end)).unwrap_or("").trim()
    });
    (d.code.0, d.message.clone(), d.object.clone(), line.to_owned())
}
