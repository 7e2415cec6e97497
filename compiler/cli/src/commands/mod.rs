//! One file a command: what it reads, what it asks, what makes it fail.

mod check;
mod compile;
mod completions;
mod diff;
mod explain;
mod explain_code;
pub(crate) mod prove;
mod reach;
mod simulate;
mod snapshot;
pub(crate) mod suggest;
mod verify;

use self::diff::unrendered::Unrendered;
use crate::args::{Cli, Command, FailOn, Global};
use crate::exit::{Exit, Failure};
use crate::git::Repository;
use crate::input::{self, Gathered};
use crate::load::{self, File};
use crate::output;
use crate::session::{Side, add_samples, is_blocking};
use portcullis_diag::{Diagnostic, Fate, Severity, SourceMap};
use portcullis_ir::Options;
use std::path::PathBuf;

/// Runs a command to its exit code.
pub(crate) fn run(cli: &Cli) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Check(args) => check::run(args, &cli.global),
        Command::Diff(args) => diff::run(args, &cli.global),
        Command::Simulate(args) => simulate::run(args, &cli.global),
        Command::Suggest(args) => suggest::run(args, &cli.global),
        Command::Explain(args) => explain::run(args, &cli.global),
        Command::Reach(args) => reach::run(args, &cli.global),
        Command::Prove(args) => prove::run(args, &cli.global),
        Command::Compile(args) => compile::run(args, &cli.global),
        Command::Verify(args) => verify::run(args, &cli.global),
        Command::Snapshot(args) => snapshot::run(args, &cli.global),
        Command::ExplainCode(args) => explain_code::run(args, &cli.global),
        Command::Completions { shell } => {
            completions::completions(*shell);
            Ok(Exit::Clean)
        }
        Command::Man { out } => completions::man(out.as_deref()),
    }
}

/// Reads what `--cluster` names. A cluster that is not there is a mistake, never an empty cluster.
fn read_cluster(paths: &[PathBuf], global: &Global) -> Result<Gathered, Failure> {
    let found = input::gather(paths, global.cluster_limit());
    if found.missing {
        return Err(Failure::of(found.diagnostics));
    }
    if !paths.is_empty() && found.texts.is_empty() && found.diagnostics.is_empty() {
        return Err(Failure::new(
            format!("--cluster {} holds no YAML or JSON file", names(paths)),
            "give it the file or folder with the namespaces and pods of the cluster",
        ));
    }
    Ok(found)
}

/// Reads the policies of a command that looks at one state.
fn read_paths(paths: &[PathBuf], global: &Global) -> Result<Gathered, Failure> {
    let found = input::gather(paths, global.policy_limit());
    if found.texts.is_empty() {
        if found.diagnostics.is_empty() {
            return Err(nothing(paths));
        }
        return Err(Failure::of(found.diagnostics));
    }
    Ok(found)
}

/// The same as they are in a git revision.
fn read_revision(revision: &str, paths: &[PathBuf], global: &Global) -> Result<Gathered, Failure> {
    let repository = Repository::find()?;
    let commit = repository.need(revision)?;
    let found = repository.read(&commit, paths, global.policy_limit())?;
    if found.texts.is_empty() && found.diagnostics.is_empty() {
        return Err(Failure::new(
            format!("{} holds no YAML or JSON file in the revision {revision}", names(paths)),
            "name the folder with the policies; a path is taken from the folder you are in",
        ));
    }
    Ok(found)
}

/// There is no file to read.
fn nothing(paths: &[PathBuf]) -> Failure {
    Failure::new(
        format!("nothing to check: {} holds no file that ends in .yaml, .yml or .json", names(paths)),
        "name the folder with the policies; hidden files and folders are not searched",
    )
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| input::tidy(p)).collect::<Vec<_>>().join(", ")
}

/// Sorted as a reader meets them: those about no file first, then by file and place.
fn in_order(sources: &SourceMap, diagnostics: &mut Vec<Diagnostic>) {
    let key = |d: &Diagnostic| d.span().map(|s| (sources.name(s).to_owned(), s.file, s.start, s.end));
    diagnostics
        .sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| (a.code, &a.message).cmp(&(b.code, &b.message))));
    diagnostics.dedup();
}

/// Whether `--fail-on` (or a command's default) names something.
fn fails_on(global: &Global, default: &[FailOn], what: FailOn) -> bool {
    let list = global.fail_on.as_deref().unwrap_or(default);
    !list.contains(&FailOn::Never) && (list.contains(&what) || list.contains(&FailOn::Any))
}

/// Whether findings about the YAML make the run fail.
fn diagnostics_fail(global: &Global, default: &[FailOn], diagnostics: &[Diagnostic]) -> bool {
    let has = |s: Severity| diagnostics.iter().any(|d| d.severity == s);
    // Who fails on warnings does not want errors to pass.
    (has(Severity::Error)
        && (fails_on(global, default, FailOn::Error) || fails_on(global, default, FailOn::Warning)))
        || (has(Severity::Warning) && fails_on(global, default, FailOn::Warning))
}

/// Says on standard error that a long run is under way, where somebody is watching.
fn progress(global: &Global, text: &str) {
    use std::io::IsTerminal as _;
    if !global.quiet && std::io::stderr().is_terminal() {
        // The line is overwritten by the next one, and wiped by an empty one.
        output::stderr(&format!("\r\x1b[K{text}"));
    }
}

/// One state that a question is asked about.
struct Question {
    sources: SourceMap,
    /// What could not be read.
    broken: Vec<Diagnostic>,
    /// What a reader has to know; whole sentences.
    notes: Vec<String>,
}

/// The policies' files, and those behind `--cluster`.
type Files = [Vec<File>; 2];

impl Question {
    /// Reads and parses policies, from disk or as they are in a revision, and the cluster.
    fn read(
        paths: &[PathBuf],
        at: Option<&str>,
        cluster: &[PathBuf],
        global: &Global,
    ) -> Result<(Self, Files), Failure> {
        progress(global, "reading …");
        let own = match at {
            Some(revision) => read_revision(revision, paths, global)?,
            None => read_paths(paths, global)?,
        };
        let shared = read_cluster(cluster, global)?;
        let mut sources = SourceMap::new();
        let mut loaded = load::load(vec![own.texts, shared.texts], &mut sources).into_iter();
        let files = [loaded.next().unwrap_or_default(), loaded.next().unwrap_or_default()];
        progress(global, "");
        let question = Self {
            sources,
            broken: [own.diagnostics, shared.diagnostics].concat(),
            notes: [own.notes, shared.notes].concat(),
        };
        Ok((question, files))
    }

    /// The state, with samples where no pod is known.
    fn side<'f>(&mut self, [own, cluster]: &'f Files, options: &Options) -> Side<'f> {
        let mut side = Side::new(own, None, cluster, options);
        self.notes.extend(add_samples(&mut [&mut side], options));
        side
    }

    /// Templates and patches among the files that hold a policy: what is proved without them is no proof.
    fn unrendered(&self, files: &Files) -> Vec<Diagnostic> {
        let all = files.iter().flat_map(|f| Unrendered::of(f, &[], &self.sources).changed);
        all.collect()
    }

    /// Errors that leave objects out of the answer.
    fn blocking(&self, side: &Side<'_>) -> Vec<Diagnostic> {
        let of_cluster = side.cluster_files.iter().flat_map(|f| &f.parsed.diagnostics);
        let mut all: Vec<Diagnostic> = self
            .broken
            .iter()
            .chain(&side.diagnostics)
            .chain(of_cluster)
            .filter(|d| is_blocking(d))
            .cloned()
            .collect();
        in_order(&self.sources, &mut all);
        all
    }
}

/// Whether some text could not be read, so that nobody knows what it says.
fn is_unreadable(blocking: &[Diagnostic]) -> bool {
    blocking.iter().any(|d| d.fate == Fate::Unreadable)
}
