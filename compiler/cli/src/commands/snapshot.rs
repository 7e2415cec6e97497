//! `snapshot`: the live cluster as a file.

use crate::args::{Global, SnapshotArgs};
use crate::exit::{Exit, Failure};
use crate::output;

/// Runs the command.
pub(crate) fn run(args: &SnapshotArgs, global: &Global) -> Result<Exit, Failure> {
    super::progress(global, "reading the cluster …");
    let snapshot = args.way.fetch();
    super::progress(global, "");
    output::text(&snapshot?.list(), global)?;
    Ok(Exit::Clean)
}
