//! `reach`: who can talk to whom.

use super::{Question, is_unreadable};
use crate::args::{FormatName, Global, ReachArgs};
use crate::coverage;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::resolve::{End, Who, region_of, resolve};
use crate::session::Side;
use portcullis_ir::{Workload, fqdn::Fqdn};
use portcullis_report::ReachReport;
use portcullis_sema::NodeKind;
use portcullis_sema::reach::{Filter, reach};
use std::collections::BTreeSet;

const FORMATS: [FormatName; 5] =
    [FormatName::Terminal, FormatName::Json, FormatName::Markdown, FormatName::Dot, FormatName::Html];

/// Runs the command.
pub(crate) fn run(args: &ReachArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "reach", &FORMATS)?;
    let options = global.options();
    let (mut question, files) = Question::read(&args.paths, args.at.as_deref(), &args.cluster, global)?;
    let mut side = question.side(&files, &options);
    let mut end = |name: &Option<String>| match name {
        Some(name) => resolve(name, &mut side, &options).map(Some),
        None => Ok(None),
    };
    let (from, to) = (end(&args.from)?, end(&args.to)?);
    for e in from.iter().chain(&to) {
        question.notes.extend(e.notes.iter().cloned());
    }
    let from = from.map(|e| filter(&e, &side));
    let to = to.map(|e| filter(&e, &side));
    let found = reach(
        side.input(&options),
        from.as_ref().map(|f| f as Filter<'_>),
        to.as_ref().map(|f| f as Filter<'_>),
    );
    let report = ReachReport {
        reach: found,
        blocking: question.blocking(&side),
        coverage: coverage::of(&[&side], &args.cluster, std::mem::take(&mut question.notes)),
    };
    output::report(&report, &question.sources, global)?;
    Ok(if is_unreadable(&report.blocking) { Exit::Usage } else { Exit::Clean })
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
