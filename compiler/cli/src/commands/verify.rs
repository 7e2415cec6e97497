//! `verify`: whether an image answers every flow as the policies do.

use super::Question;
use super::compile::on_node;
use crate::args::{FormatName, Global, VerifyArgs};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::session::Side;
use portcullis_ir::Direction;
use portcullis_sema::ports::flow_port;
use portcullis_sema::universe::NodeId;
use portcullis_sema::{NodeKind, Universe};
use portcullis_tables::Cause;
use portcullis_tables::Image;
use portcullis_verify::Report;
use std::fmt::Write as _;
use std::fs;

/// Differences that are shown.
const SHOWN: usize = 20;

/// Runs the command.
pub(crate) fn run(args: &VerifyArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "verify", &[FormatName::Terminal])?;
    let bytes = fs::read(&args.image).map_err(|e| {
        Failure::new(
            format!("{} could not be read: {e}", args.image.display()),
            "name the image first, then the policies",
        )
    })?;
    let options = global.options();
    let (mut question, files) = Question::read(&args.paths, None, &args.cluster, global)?;
    let side = question.side(&files, &options);
    let blocking = question.blocking(&side);
    if super::is_unreadable(&blocking) {
        return Err(Failure::of(blocking));
    }
    let input = side.input(&options);
    let universe = Universe::new(&[input], &[]);
    let wanted = args.node.as_deref().map(|n| on_node(n, &side, &universe)).transpose()?;
    let names = |c: &Cause| c.line(&side.policies, &question.sources);
    let report =
        portcullis_verify::verify(&bytes, input, &universe, wanted.as_ref(), &names).map_err(|e| {
            Failure::new(
                format!("{} proves nothing: {e}", args.image.display()),
                "compile it again, from the same policies and cluster",
            )
        })?;
    let (text, exit) = if report.differences.is_empty() {
        (compared(&report), Exit::Clean)
    } else {
        (differences(&report, &universe, &side, &bytes), Exit::Findings)
    };
    if !global.quiet || global.output.is_some() {
        output::text(&text, global)?;
    }
    Ok(exit)
}

/// What was proved.
pub(super) fn compared(report: &Report) -> String {
    format!(
        "proved equal to the policies: {} flows, by {} pairs of classes and {} cells\n",
        report.flows, report.pairs, report.cells
    )
}

/// The flows for which an image and the policies do not agree.
pub(super) fn differences(report: &Report, universe: &Universe, side: &Side<'_>, bytes: &[u8]) -> String {
    let causes = Image::parse(bytes).map(|i| i.causes()).unwrap_or_default();
    let mut out = String::new();
    for d in report.differences.iter().take(SHOWN) {
        let (subject, peer) = (end(d.subject, universe, side), end(d.peer, universe, side));
        let (from, to) = match d.direction {
            Direction::Ingress => (peer, subject),
            Direction::Egress => (subject, peer),
        };
        let _ = writeln!(out, "{from} → {to}, {}, {}:", flow_port(d.coordinate), d.direction);
        let _ = match &d.image {
            Ok(word) => {
                let verdict = if word.allows() { "allowed" } else { "denied" };
                let cause = causes.get(word.cause() as usize).copied().unwrap_or("a cause that is not there");
                writeln!(out, "  image     {verdict}: {cause}")
            }
            Err(e) => writeln!(out, "  image     no answer: {e}"),
        };
        let _ = writeln!(out, "  policies  {}: {}", d.expected.verdict, d.expected_cause);
    }
    let more = report.differences.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(out, "and {more} more");
    }
    let _ = writeln!(out, "the image does not answer as the policies do");
    out
}

/// A node in the words of a question: `ns/workload`, an address, a name.
fn end(id: NodeId, universe: &Universe, side: &Side<'_>) -> String {
    match universe.node(id) {
        Some(NodeKind::Group(g)) => g
            .example
            .first()
            .copied()
            .flatten()
            .and_then(|e| side.cluster.endpoint(e))
            .map(|e| format!("{}/{}", e.namespace, e.name))
            .unwrap_or_default(),
        Some(NodeKind::Reserved(r)) => format!("entity:{}", r.name()),
        Some(NodeKind::Region(r)) => r.example.to_string(),
        Some(NodeKind::Name(n)) => n.example.to_string(),
        Some(NodeKind::Address(ip, _)) => ip.to_string(),
        None => "nobody".to_owned(),
    }
}
