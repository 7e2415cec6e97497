//! `prove`: claims about the policies, proved or refuted with a flow.

mod claims;
mod end;
mod render;
pub(super) mod shown;

use super::{Question, progress};
use crate::args::{FormatName, Global};
use crate::exit::{Exit, Failure};
use crate::input;
use crate::output;
use crate::solver::{SolverArgs, Z3, failed};
use claims::Read;
use clap::Args;
use portcullis_symbolic::{Answer, Form, Pods, Space, world};
use render::{Outcome, Report, State};
use shown::Shown;
use std::path::PathBuf;

/// `prove`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every claim is proved, 1 one is refuted, 3 none is refuted but one is \
                        undecided. Without --cluster a claim is about every pod that could exist."
)]
pub(crate) struct ProveArgs {
    /// The file with the claims
    #[arg(value_name = "CLAIMS")]
    claims: PathBuf,
    /// Files and folders of policies, `-` for standard input
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Read the PATHs as they are in this git revision
    #[arg(long, value_name = "REV")]
    at: Option<String>,
    /// Ask about the pods of this cluster alone: a file or folder
    #[arg(long, value_name = "FILE|DIR")]
    cluster: Vec<PathBuf>,
    #[command(flatten)]
    solver: SolverArgs,
}

/// Runs the command.
pub(crate) fn run(args: &ProveArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "prove", &[FormatName::Terminal, FormatName::Json])?;
    let found = input::gather(std::slice::from_ref(&args.claims), global.policy_limit());
    let [text] = found.texts.as_slice() else {
        if found.diagnostics.is_empty() {
            return Err(Failure::new(
                format!("{} is no single file of claims", args.claims.display()),
                "name one YAML file with a list `claims:`",
            ));
        }
        return Err(Failure::of(found.diagnostics));
    };
    let claims = claims::read(&text.name, &text.content)?;
    let options = global.options();
    let (mut question, files) = Question::read(&args.paths, args.at.as_deref(), &args.cluster, global)?;
    let side = crate::session::Side::new(&files[0], None, &files[1], &options);
    let blocking = [question.blocking(&side), question.unrendered(&files)].concat();
    if !blocking.is_empty() {
        return Err(shown::incomplete(&question.sources, &blocking));
    }
    let pods = if args.cluster.is_empty() {
        Pods::Any(&side.cluster)
    } else if side.cluster.is_empty() {
        return Err(Failure::new(
            "--cluster has no pod, so every claim would be true of it",
            "leave --cluster out to ask about every pod that could exist, or give a cluster with pods",
        ));
    } else {
        Pods::Of(&side.cluster)
    };
    let mut z3 = Z3::find(&args.solver)?;
    let mut space = Space::new(&[&side.policies], claims.iter().map(|r| &r.claim), pods, &options);
    let mut outcomes = Vec::new();
    for (n, Read { claim, line }) in claims.iter().enumerate() {
        progress(global, &format!("proving {} of {} …", n + 1, claims.len()));
        let (goal, scope) = space.claim(claim, &side.policies);
        let header = format!(
            "{}\nclaim at {}:{line}\nunsat: proved; sat: refuted by the flow of the values\n{}",
            claim.name,
            text.name,
            shown::header(global),
        );
        let state = match space.ask(&mut z3, &header, goal).map_err(|e| failed(&e))? {
            Answer::Undecided(why) => State::Undecided(why),
            Answer::None => {
                let header = format!("{}, whether it says anything\nsat: it does", claim.name);
                match space.any(&mut z3, &header, scope).map_err(|e| failed(&e))? {
                    Some(false) => State::Vacuous,
                    Some(true) | None => State::Proved,
                }
            }
            Answer::Found(witness) => {
                let shown = Shown::of(&witness, pods, &side.policies, &options, &question.sources);
                if shown.passes != (claim.form != Form::Allow) {
                    progress(global, "");
                    return Ok(shown::mismatch(&claim.name, &shown));
                }
                State::Refuted(Box::new(shown))
            }
        };
        outcomes.push(Outcome { name: claim.name.clone(), form: claim.form, line: *line, state });
    }
    progress(global, "");
    question.notes.extend(left_out(&space, pods));
    let report = Report {
        file: &text.name,
        outcomes,
        every_pod: args.cluster.is_empty(),
        policies: side.policies.policies.len(),
        notes: &question.notes,
    };
    let written = if global.format == FormatName::Json { report.json() } else { report.terminal() };
    if !(global.quiet && global.output.is_none()) {
        output::text(&written, global)?;
    }
    Ok(report.exit())
}

/// Pods of the cluster that no claim is about, in a sentence.
fn left_out(space: &Space<'_>, pods: Pods<'_>) -> Option<String> {
    let Pods::Of(cluster) = pods else { return None };
    let ids = world::left_out(&space.words, cluster);
    let names: Vec<String> = ids
        .iter()
        .filter_map(|id| cluster.endpoint(*id))
        .map(|e| format!("{}/{}", e.namespace, e.name))
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "Nothing is said of {}: reserved labels, or two numbers for one named port.",
            names.join(", ")
        )
    })
}
