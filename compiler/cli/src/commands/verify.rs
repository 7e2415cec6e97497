//! `verify`: whether an image answers every flow as the policies do.

mod symbolic;

use super::Question;
use super::compile::on_node;
use crate::args::{FormatName, Global, VerifyArgs};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::session::Side;
use crate::solver::Z3;
use portcullis_ir::Direction;
use portcullis_sema::ports::flow_port;
use portcullis_sema::universe::NodeId;
use portcullis_sema::{NodeKind, Universe};
use portcullis_symbolic::Says;
use portcullis_tables::{Cause, Image, ImageError, Word};
use portcullis_verify::Report;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;

/// Differences that are shown.
const SHOWN: usize = 20;

/// Runs the command.
pub(crate) fn run(args: &VerifyArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "verify", &[FormatName::Terminal, FormatName::Json])?;
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
    let mut exit = if report.differences.is_empty() { Exit::Clean } else { Exit::Findings };
    let mut outcome = None;
    if args.symbolic {
        let subject = symbolic::Subject {
            name: args.image.display().to_string(),
            bytes: &bytes,
            side: &side,
            universe: &universe,
            wanted: wanted.as_ref(),
            options: &options,
            sources: &question.sources,
        };
        let found = match symbolic::prove(&subject, &mut Z3::find(&args.solver)?, global) {
            Ok(found) => found,
            Err(symbolic::Stop::Failure(f)) => return Err(f),
            Err(symbolic::Stop::Defect) => return Ok(Exit::Internal),
        };
        // A difference that is there stays one, whatever else was not decided.
        exit = if exit == Exit::Clean { found.exit() } else { exit };
        outcome = Some(found);
    }
    let text = if global.format == FormatName::Json {
        let all = json!({
            "image": args.image.display().to_string(),
            "node": args.node,
            "equal": exit == Exit::Clean,
            "exhaustive": exhaustive(&report, &universe, &side, &bytes),
            "symbolic": outcome.as_ref().map(symbolic::Outcome::json),
            "notes": question.notes,
        });
        portcullis_report::document("verify", all)
    } else {
        let first = if report.differences.is_empty() {
            compared(&report)
        } else {
            differences(&report, &universe, &side, &bytes)
        };
        first + &outcome.as_ref().map(symbolic::Outcome::terminal).unwrap_or_default()
    };
    if !global.quiet || global.output.is_some() {
        output::text(&text, global)?;
    }
    Ok(exit)
}

/// An answer in words.
fn said(says: Says) -> String {
    let mut out = if says.passes { "allowed" } else { "denied" }.to_owned();
    if says.redirects {
        out.push_str(", by way of a proxy");
    }
    if says.authenticates {
        out.push_str(", after authentication");
    }
    if says.logs {
        out.push_str(", with a log entry");
    }
    out
}

fn said_json(says: Says) -> Value {
    let verdict = if says.passes { "allowed" } else { "denied" };
    json!({"verdict": verdict, "proxy": says.redirects, "authentication": says.authenticates, "log": says.logs})
}

/// An image's answer, or why there is none.
fn image_json(answer: &Result<Word, ImageError>, bytes: &[u8]) -> Value {
    match answer {
        Ok(word) => {
            let says = portcullis_verify::says(*word);
            let error = says.is_none().then_some(UNKNOWN_BITS);
            json!({"answer": says.map(said_json), "cause": cause(Some(word), bytes), "error": error})
        }
        Err(e) => json!({"answer": null, "cause": null, "error": e.to_string()}),
    }
}

/// Of a damaged verdict word.
const UNKNOWN_BITS: &str = "bits that no policy sets";

/// The line of a word's cause.
fn cause(word: Option<&Word>, bytes: &[u8]) -> String {
    let line = word.zip(Image::parse(bytes).ok()).and_then(|(w, image)| image.cause(w.cause()));
    line.unwrap_or("a cause that is not there").to_owned()
}

/// The comparison with the oracle as JSON.
pub(super) fn exhaustive(report: &Report, universe: &Universe, side: &Side<'_>, bytes: &[u8]) -> Value {
    let differences: Vec<Value> = report
        .differences
        .iter()
        .take(SHOWN)
        .map(|d| {
            let image = image_json(&d.image, bytes);
            json!({
                "direction": d.direction.to_string(),
                "subject": end(d.subject, universe, side),
                "peer": end(d.peer, universe, side),
                "port": flow_port(d.coordinate).to_string(),
                "image": image,
                "policies": {"verdict": d.expected.verdict.to_string(), "cause": d.expected_cause},
            })
        })
        .collect();
    // More flows than a JSON number holds exactly.
    json!({
        "flows": report.flows.to_string(), "pairs": report.pairs, "cells": report.cells,
        "differences": differences, "more": report.differences.len().saturating_sub(SHOWN),
    })
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
