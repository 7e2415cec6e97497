//! `simulate`: what a change of policies does to flows that were recorded.

use super::diff::{self, Recorded, Source};
use crate::args::{DiffArgs, Global, SimulateArgs};
use crate::exit::{Exit, Failure};
use crate::{output, recording};
use portcullis_report::{Recording, Tally, Traffic, clean};
use portcullis_sema::diff::FindingKind;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

/// Runs the command.
pub(crate) fn run(args: &SimulateArgs, global: &Global) -> Result<Exit, Failure> {
    diff::check_formats(global, "simulate")?;
    let sides = DiffArgs {
        sides: vec![args.base.clone(), args.candidate.clone()],
        paths: args.paths.clone(),
        cluster: args.cluster.clone(),
        ..DiffArgs::default()
    };
    if !args.follow {
        let seens = recording::read(&args.flows, global)?;
        return diff::compare(
            &sides,
            global,
            Some(Recorded { source: Source::Read(Box::new(seens)), only: true }),
        );
    }
    let mut watch = Watch::default();
    let source =
        Source::Follow(&args.flows, &mut |recording, traffic| watch.tell(recording, traffic, global));
    diff::compare(&sides, global, Some(Recorded { source, only: true }))
}

/// What was told on the terminal so far.
#[derive(Default)]
struct Watch {
    denied: BTreeSet<(String, String, String)>,
}

impl Watch {
    /// A line for each pair that is denied for the first time, and one that is overwritten for the whole.
    fn tell(&mut self, recording: &Recording, traffic: &[(FindingKind, Traffic)], global: &Global) {
        if global.quiet || !io::stderr().is_terminal() {
            return;
        }
        let mut text = String::from("\r\x1b[K");
        let denied = traffic.iter().filter(|(kind, _)| *kind == FindingKind::Denied);
        for (from, to, port, _) in denied.flat_map(|(_, t)| &t.pairs) {
            if self.denied.insert((from.clone(), to.clone(), port.clone())) {
                text.push_str(&clean(&format!("DENIED {from} → {to} {port}\n")));
            }
        }
        let of = |t: Tally| format!("{} of {} pairs", t.flows, t.pairs);
        let _ = write!(
            text,
            "{} connections, newly denied {}, newly allowed {} (Ctrl-C for the report)",
            recording.flows,
            of(recording.denied),
            of(recording.allowed)
        );
        output::stderr(&text);
    }
}
