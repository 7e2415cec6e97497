//! `compile`: policies to a table image that is proved before it is written.

mod policy_maps;

use self::policy_maps::Told;
use super::Question;
use super::verify::{compared, differences};
use crate::args::{CompileArgs, FormatName, Global};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::session::Side;
use fixedbitset::FixedBitSet;
use portcullis_abi::{Section, header};
use portcullis_sema::Universe;
use portcullis_sema::policymap::PolicyMaps;
use portcullis_sema::side::Evaluation;
use portcullis_services::{NodeContext, Numbers, Services, Settings};
use portcullis_tables::Cause;
use portcullis_tables::{Image, build};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// Runs the command.
pub(crate) fn run(args: &CompileArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "compile", &[FormatName::Terminal, FormatName::Json])?;
    let path = global.output.as_deref();
    if path.is_none() && !args.stats && args.policy_maps.is_none() && args.services.is_none() {
        return Err(Failure::new(
            "nobody said where the image goes",
            "add `-o policy.img`, or `--stats` to see what it would take",
        ));
    }
    let options = global.options();
    let (mut question, files) = Question::read(&args.paths, None, &args.cluster, global)?;
    let side = question.side(&files, &options);
    let blocking = [question.blocking(&side), question.unrendered(&files)].concat();
    if !blocking.is_empty() && !args.allow_partial {
        for d in &blocking {
            let place = d.span().map(|s| question.sources.locate(s)).unwrap_or_default();
            output::stderr(&format!("error[{}]: {} ({place})\n", d.code, d.message));
        }
        return Err(Failure::new(
            "no image was written: it would leave policies out",
            "correct them (`portcullis check` says more), or compile without them by --allow-partial",
        ));
    }
    let input = side.input(&options);
    let evaluation = Evaluation::new(&[input], &[]);
    let wanted = args.node.as_deref().map(|n| on_node(n, &side, &evaluation.universe)).transpose()?;
    let names = |c: &Cause| c.line(&side.policies, &question.sources);
    let built = build(&evaluation, wanted.as_ref(), &names)
        .map_err(|e| Failure::new(e.to_string(), "compile one node at a time, with --node"))?;
    let mut text = String::new();
    for note in &question.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let mut verified = Value::Null;
    if path.is_some() && !args.no_verify {
        let universe = &evaluation.universe;
        let report = portcullis_verify::verify(&built.bytes, input, universe, wanted.as_ref(), &names)
            .map_err(|e| Failure::new(e.to_string(), "this is a defect of portcullis: please report it"))?;
        if !report.differences.is_empty() {
            output::stderr(&differences(&report, universe, &side, &built.bytes));
            output::stderr(
                "internal error: the image does not mean what the policies say; none was written\n",
            );
            return Ok(Exit::Internal);
        }
        text.push_str(&compared(&report));
        // More flows than a JSON number holds exactly.
        let flows = report.flows.to_string();
        verified = json!({"flows": flows, "pairs": report.pairs, "cells": report.cells});
    }
    if let Some(path) = path {
        write(path, |file| file.write_all(&built.bytes)).map_err(|e| unwritten(path, "-o", &e))?;
        let _ = writeln!(text, "{}: {} bytes", path.display(), built.bytes.len());
    }
    if let Some(path) = &args.services {
        let (image, said) = services(args, &side)?;
        write(path, |file| file.write_all(&image)).map_err(|e| unwritten(path, "--services", &e))?;
        let _ = writeln!(text, "{}: {} bytes, {said}", path.display(), image.len());
    }
    let json = global.format == FormatName::Json;
    if args.stats && !json {
        text.push_str(&stats(&built.bytes));
    }
    let mut cost = Value::Null;
    if args.stats || args.policy_maps.is_some() {
        let maps = PolicyMaps::new(&evaluation);
        let all = maps.maps(wanted.as_ref());
        let told = Told {
            maps: &maps,
            all: &all,
            policies: &side.policies,
            universe: &evaluation.universe,
            sources: &question.sources,
            verbose: global.verbose,
        };
        if args.stats && json {
            cost = told.document();
        } else if args.stats {
            text.push_str(&told.stats());
        }
        if let Some(path) = &args.policy_maps {
            write(path, |file| told.write(file)).map_err(|e| unwritten(path, "--policy-maps", &e))?;
        }
    }
    if json {
        let left_out = blocking.len();
        text = document(args, path, &built.bytes, &verified, &cost, left_out, &question.notes);
    }
    if !global.quiet {
        output::stdout(&text);
    }
    Ok(Exit::Clean)
}

/// The service image of the node that is asked for, and what is in it.
fn services(args: &CompileArgs, side: &Side<'_>) -> Result<(Vec<u8>, String), Failure> {
    let all = Services::of(side.objects());
    let name = args.node.as_deref().unwrap_or_default();
    let mut node =
        all.node(name).unwrap_or_else(|| NodeContext { name: name.into(), ..NodeContext::default() });
    if !args.node_address.is_empty() {
        node.addresses.clone_from(&args.node_address);
    }
    let resolved = portcullis_services::resolve(&all, &node);
    let compiled = portcullis_services::compile(&resolved, &Numbers::default(), &Settings::default())
        .map_err(|e| Failure::new(e.to_string(), "compile fewer services, or take Maglev from some"))?;
    let backends: BTreeSet<_> = resolved
        .frontends
        .iter()
        .flat_map(|f| f.inside.iter().chain(&f.outside))
        .map(|b| b.address)
        .collect();
    let said = format!("{} frontends, {} backends", resolved.frontends.len(), backends.len());
    Ok((compiled.image, said))
}

/// The endpoint groups that have a pod on a node.
pub(super) fn on_node(node: &str, side: &Side<'_>, universe: &Universe) -> Result<FixedBitSet, Failure> {
    let mut out = FixedBitSet::with_capacity(universe.groups);
    for (id, e) in side.cluster.endpoints() {
        let group = universe.group_of.first().and_then(|g| g.get(id.0 as usize));
        if let (true, Some(group)) = (e.node.as_deref() == Some(node), group) {
            out.insert(*group as usize);
        }
    }
    if out.is_clear() {
        return Err(Failure::new(
            format!("no pod runs on node {node}"),
            "give --cluster the pods as they run: their `spec.nodeName` says where",
        ));
    }
    Ok(out)
}

fn unwritten(path: &Path, option: &str, e: &io::Error) -> Failure {
    Failure::new(
        format!("{} could not be written: {e}", path.display()),
        format!("give {option} a file in a folder that exists and may be written"),
    )
}

/// Readable by its owner alone, and whole or not there: a new file takes the old one's place.
fn write(path: &Path, fill: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let done = options.open(&temporary).and_then(|file| {
        let mut buffer = io::BufWriter::new(file);
        fill(&mut buffer)?;
        buffer.flush()?;
        buffer.get_ref().sync_all()?;
        fs::rename(&temporary, path)
    });
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}

/// Counts of the header, by their names in the text and as JSON.
const COUNTS: [(&str, &str, usize); 7] = [
    ("identities", "identities", header::IDENTITIES),
    ("endpoint groups", "endpointGroups", header::ENDPOINTS),
    ("peer classes", "peerClasses", header::PEER_CLASSES),
    ("subject classes", "subjectClasses", header::SUBJECT_CLASSES),
    ("port atoms", "portAtoms", header::ATOMS),
    ("rows", "rows", header::ROWS),
    ("verdict words", "verdictWords", header::WORDS),
];

/// Sections, likewise.
const SECTIONS: [(&str, &str, Section); 12] = [
    ("peer class of each identity", "peerClass", Section::PeerClass),
    ("subject classes of each endpoint group", "subjectOf", Section::SubjectOf),
    ("port directory", "portDirectory", Section::PortDirectory),
    ("port pages", "portPages", Section::PortPages),
    ("subjects", "subjects", Section::Subjects),
    ("pair directory", "pairDirectory", Section::PairDirectory),
    ("pair pages", "pairPages", Section::PairPages),
    ("rows of each subject", "locals", Section::Locals),
    ("row directory", "rowDirectory", Section::RowDirectory),
    ("row pages", "rowPages", Section::RowPages),
    ("verdict words", "words", Section::Words),
    ("causes, not in the kernel", "causes", Section::Causes),
];

/// What the image holds and what each section takes.
fn stats(bytes: &[u8]) -> String {
    let Ok(image) = Image::parse(bytes) else { return String::new() };
    let mut out = String::new();
    for (what, _, at) in COUNTS {
        let _ = writeln!(out, "  {:>10}  {what}", image.count(at));
    }
    for (what, _, section) in SECTIONS {
        let _ = writeln!(out, "  {:>10}  bytes of {what}", image.section(section).len());
    }
    out
}

/// The same and what was proved, as JSON.
fn document(
    args: &CompileArgs,
    path: Option<&Path>,
    bytes: &[u8],
    verified: &Value,
    policy_maps: &Value,
    left_out: usize,
    notes: &[String],
) -> String {
    let Ok(image) = Image::parse(bytes) else { return String::new() };
    let counts: Map<String, Value> =
        COUNTS.iter().map(|(_, name, at)| ((*name).to_owned(), image.count(*at).into())).collect();
    let sections: Map<String, Value> =
        SECTIONS.iter().map(|(_, name, s)| ((*name).to_owned(), image.section(*s).len().into())).collect();
    let mut source = String::new();
    for byte in image.source() {
        let _ = write!(source, "{byte:02x}");
    }
    let all = json!({
        "image": path.map(|p| p.display().to_string()),
        "bytes": bytes.len(),
        "source": source,
        "node": args.node,
        "conclusive": left_out == 0,
        "verified": verified,
        "policyMaps": policy_maps,
        "counts": counts,
        "sections": sections,
        "notes": notes,
    });
    portcullis_report::document("compile", all)
}
