//! `diff --symbolic`: whether any pod that could exist sees a difference.

use super::sides;
use super::unrendered::Unrendered;
use crate::args::{DiffArgs, FailOn, FormatName, Global};
use crate::commands::prove::shown::{self, Shown, flow_json};
use crate::commands::{fails_on, in_order, progress, read_cluster};
use crate::exit::{Exit, Failure};
use crate::session::{Side, is_blocking};
use crate::solver::{Z3, failed};
use crate::{live, load, output};
use portcullis_diag::{Diagnostic, SourceMap};
use portcullis_symbolic::{Answer, Pods, Space};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What became of one of the two questions.
enum Found {
    /// No such flow: proved.
    None,
    /// A flow, under base and under head.
    Flow(Box<[Shown; 2]>),
    /// The solver gave up, and why.
    Undecided(String),
}

/// Runs the comparison.
pub(super) fn run(args: &DiffArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "diff --symbolic", &[FormatName::Terminal, FormatName::Json])?;
    let options = global.options();
    progress(global, "reading …");
    let snapshot = args.live.fetch()?;
    let given = sides::read(args, snapshot.as_ref(), global.policy_limit())?;
    let mut shared = read_cluster(&args.cluster, global)?;
    shared.extend(snapshot.as_ref().map(live::text).unwrap_or_default());
    let mut broken: Vec<Diagnostic> =
        [given.head.diagnostics, given.base.diagnostics, shared.diagnostics].concat();
    let mut sources = SourceMap::new();
    let loaded = load::load(vec![given.head.texts, given.base.texts, shared.texts], &mut sources);
    let [head_files, base_files, cluster_files] = loaded.as_slice() else { return Ok(Exit::Internal) };
    let head = Side::new(head_files, Some(base_files), cluster_files, &options);
    let base = Side::new(base_files, Some(head_files), cluster_files, &options);
    broken.extend(head.diagnostics.iter().chain(&base.diagnostics).cloned());
    broken.extend(cluster_files.iter().flat_map(|f| f.parsed.diagnostics.iter().cloned()));
    let unrendered = Unrendered::of(head_files, base_files, &sources);
    let note = unrendered.note();
    broken.retain(is_blocking);
    broken.extend(unrendered.changed);
    in_order(&sources, &mut broken);
    if !broken.is_empty() {
        progress(global, "");
        return Err(shown::incomplete(&sources, &broken));
    }
    let mut z3 = Z3::find(&args.solver)?;
    let pods = Pods::Any(&head.cluster);
    let mut space = Space::new(&[&base.policies, &head.policies], [], pods, &options);
    let mut found = Vec::new();
    for (what, lost) in [("denied", true), ("allowed", false)] {
        progress(global, &format!("looking for a flow that becomes {what} …"));
        let (a, b) = if lost { (&base, &head) } else { (&head, &base) };
        let goal = space.lost(&a.policies, &b.policies);
        let header = format!(
            "a flow that becomes {what}\nfrom {} to {}\nunsat: there is none; sat: the flow of the values\n{}",
            given.base_name,
            given.head_name,
            shown::header(global)
        );
        let one = match space.ask(&mut z3, &header, goal).map_err(|e| failed(&e))? {
            Answer::None => Found::None,
            Answer::Undecided(why) => Found::Undecided(why),
            Answer::Found(w) => {
                let judged = [&base, &head].map(|s| Shown::of(&w, pods, &s.policies, &options, &sources));
                let [old, new] = &judged;
                if (old.passes, new.passes) != (lost, !lost) {
                    progress(global, "");
                    return Ok(shown::mismatch(&format!("a flow that becomes {what}"), new));
                }
                Found::Flow(Box::new(judged))
            }
        };
        found.push((what, one));
    }
    progress(global, "");
    let text = if global.format == FormatName::Json {
        json(&given.base_name, &given.head_name, &found, note.as_slice())
    } else {
        terminal(&found) + &note.map(|n| format!("note: {n}\n")).unwrap_or_default()
    };
    if !(global.quiet && global.output.is_none()) {
        output::text(&text, global)?;
    }
    let default = super::DEFAULT;
    let fails = |what: &str| {
        fails_on(global, &default, if what == "denied" { FailOn::Denied } else { FailOn::Allowed })
    };
    Ok(if found.iter().any(|(what, f)| matches!(f, Found::Flow(_)) && fails(what)) {
        Exit::Findings
    } else if found.iter().any(|(_, f)| matches!(f, Found::Undecided(_))) {
        Exit::Undecided
    } else {
        Exit::Clean
    })
}

fn terminal(found: &[(&str, Found)]) -> String {
    let mut out = String::new();
    for (what, f) in found {
        match f {
            Found::None => {
                let _ = writeln!(out, "proved: no flow of any pod that could exist becomes {what}");
            }
            Found::Undecided(why) => {
                let _ =
                    writeln!(out, "undecided: whether a flow becomes {what}: {why}; --timeout gives it more");
            }
            Found::Flow(judged) => {
                let [old, new] = &**judged;
                let _ = writeln!(out, "becomes {what}, for one: {}", new.flow());
                let _ = write!(out, "  before\n{}  now\n{}", old.because("    "), new.because("    "));
            }
        }
    }
    if found.iter().all(|(_, f)| matches!(f, Found::None)) {
        out.push_str("proved: no pod that could exist sees a difference\n");
    }
    out
}

fn json(base: &str, head: &str, found: &[(&str, Found)], notes: &[String]) -> String {
    let one = |f: &Found| -> Value {
        match f {
            Found::None => json!({"state": "none", "why": null, "base": null, "head": null}),
            Found::Undecided(why) => json!({"state": "undecided", "why": why, "base": null, "head": null}),
            Found::Flow(judged) => {
                let [old, new] = &**judged;
                json!({"state": "found", "why": null, "base": flow_json(old), "head": flow_json(new)})
            }
        }
    };
    let mut all = json!({
        "base": base,
        "head": head,
        "notes": notes,
    });
    for (what, f) in found {
        if let Some(map) = all.as_object_mut() {
            map.insert((*what).to_owned(), one(f));
        }
    }
    portcullis_report::document("symbolic-diff", all)
}
