//! `simulate`: what a change of policies does to flows that were recorded.

use super::diff;
use crate::args::{DiffArgs, Global, SimulateArgs};
use crate::exit::{Exit, Failure};
use crate::recording;

/// Runs the command.
pub(crate) fn run(args: &SimulateArgs, global: &Global) -> Result<Exit, Failure> {
    diff::check_formats(global, "simulate")?;
    let seens = recording::read(&args.flows, global)?;
    let sides = DiffArgs {
        sides: vec![args.base.clone(), args.candidate.clone()],
        paths: args.paths.clone(),
        cluster: args.cluster.clone(),
        ..DiffArgs::default()
    };
    diff::compare(&sides, global, Some((seens, true)))
}
