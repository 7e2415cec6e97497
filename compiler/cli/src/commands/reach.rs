//! `reach`: who can talk to whom.

use super::{Question, is_unreadable};
use crate::args::{FormatName, Global, ReachArgs};
use crate::coverage;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::resolve::{End, Who, region_of, resolve};
use crate::session::Side;
use portcullis_ir::{Workload, fqdn::Fqdn};
use portcullis_report::{ReachReport, StepsReport};
use portcullis_sema::NodeKind;
use portcullis_sema::reach::{Filter, Reach, reach};
use portcullis_sema::steps::steps;
use std::collections::BTreeSet;

const FORMATS: [FormatName; 5] =
    [FormatName::Terminal, FormatName::Json, FormatName::Markdown, FormatName::Dot, FormatName::Html];

/// What knows nothing of hops is not asked for them.
const STEPS_FORMATS: [FormatName; 3] = [FormatName::Terminal, FormatName::Json, FormatName::Markdown];

/// Runs the command.
pub(crate) fn run(args: &ReachArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "reach", &FORMATS)?;
    let options = global.options();
    let (mut question, files) = Question::read(&args.paths, args.at.as_deref(), &args.cluster, global)?;
    let mut side = question.side(&files, &options);
    let mut end = |name: &Option<String>| match name {
        Some(name) => whole(name, &side).map_or_else(|| resolve(name, &mut side, &options), Ok).map(Some),
        None => Ok(None),
    };
    let (from, to) = (end(&args.from)?, end(&args.to)?);
    for e in from.iter().chain(&to) {
        question.notes.extend(e.notes.iter().cloned());
    }
    let from = from.map(|e| filter(&e, &side));
    let to = to.map(|e| filter(&e, &side));
    let to = to.as_ref().map(|f| f as Filter<'_>);
    if let (true, Some(from)) = (args.steps || args.cut, &from) {
        output::check_format(global, "reach --steps", &STEPS_FORMATS)?;
        let report = StepsReport {
            steps: steps(side.input(&options), from, to, args.cut),
            blocking: question.blocking(&side),
            coverage: coverage::of(&[&side], &args.cluster, std::mem::take(&mut question.notes)),
        };
        output::report(&report, &question.sources, global)?;
        return Ok(if is_unreadable(&report.blocking) { Exit::Usage } else { Exit::Clean });
    }
    let mut found = reach(side.input(&options), from.as_ref().map(|f| f as Filter<'_>), to);
    if args.groups {
        output::check_format(global, "reach --groups", &STEPS_FORMATS)?;
        found = Reach { groups: found.groups, ..Reach::default() };
    }
    let report = ReachReport {
        reach: found,
        groups_only: args.groups,
        blocking: question.blocking(&side),
        coverage: coverage::of(&[&side], &args.cluster, std::mem::take(&mut question.notes)),
    };
    output::report(&report, &question.sources, global)?;
    Ok(if is_unreadable(&report.blocking) { Exit::Usage } else { Exit::Clean })
}

/// Every pod of a namespace, written `ns/`.
fn whole(name: &str, side: &Side<'_>) -> Option<End> {
    let namespace = name.trim().strip_suffix('/')?;
    let pods = side.cluster.endpoints().filter(|(_, e)| e.namespace == namespace);
    let pods: Vec<_> = pods.map(|(id, _)| id).collect();
    (!pods.is_empty()).then(|| End { who: Who::Pods(pods), notes: Vec::new() })
}

/// Whether a node is what a name means.
fn filter(end: &End, side: &Side<'_>) -> impl Fn(&NodeKind) -> bool + use<> {
    let who = end.who.clone();
    let workloads: BTreeSet<Workload> = match &who {
        Who::Pods(ids) | Who::Service(_, ids) => ids
            .iter()
            .filter_map(|id| side.cluster.endpoint(*id))
            .filter_map(|e| side.cluster.workload_of(e).cloned())
            .collect(),
        _ => BTreeSet::new(),
    };
    let prefix = match &who {
        Who::Address(ip) => region_of(Some(*ip), false, &side.policies).map(|r| r.prefix),
        Who::World(v6) => region_of(None, *v6, &side.policies).map(|r| r.prefix),
        _ => None,
    };
    move |node| match (node, &who) {
        (NodeKind::Group(g), Who::Pods(_) | Who::Service(..)) => {
            g.workloads.iter().any(|(w, _)| workloads.contains(w))
        }
        (NodeKind::Reserved(r), Who::Reserved(wanted)) => r == wanted,
        (NodeKind::Region(r), Who::Address(_) | Who::World(_)) => Some(r.prefix) == prefix,
        (NodeKind::Name(n), Who::Name(name)) => match &n.stands_for {
            Fqdn::Name(own) => own == name,
            pattern @ Fqdn::Pattern(_) => pattern.matches(name),
        },
        _ => false,
    }
}
