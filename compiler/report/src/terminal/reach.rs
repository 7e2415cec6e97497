//! `reach` on a terminal: one line for each group of sources, destinations and ports.

use super::{Ink, Page};
use crate::Style;
use crate::model::ReachReport;
use crate::say;
use crate::words::{agree, count_of, cut, one_line};
use portcullis_diag::SourceMap;
use portcullis_sema::reach::Reach;

/// Lines shown of each sort unless all are asked for.
const EDGES: usize = 60;
const NAMES: usize = 12;

pub(crate) fn render(report: &ReachReport, sources: &SourceMap, style: &Style) -> String {
    let mut page = Page::new(sources, style);
    let reach = &report.reach;
    if let Some(text) = say::blocked(say::INCOMPLETE, &report.blocking) {
        page.prose(0, Ink::Red, &text);
        page.diagnostics(&report.blocking);
        page.pages(&report.blocking);
        page.gap();
    }
    if report.groups_only {
        page.groups(reach);
        page.coverage(&report.coverage);
        return page.finish();
    }
    let groups = count_of(reach.edges.len(), "group");
    let headline = if reach.edges.is_empty() {
        "nothing reaches anything".to_owned()
    } else {
        format!("{groups} of flows {} allowed", agree(reach.edges.len() as u64, "is", "are"))
    };
    page.prose(0, Ink::Bold, &headline);
    let most = page.most(EDGES);
    let mut last = String::new();
    for edge in reach.edges.iter().take(most) {
        let from = say::group(&edge.sources);
        if from != last {
            page.gap();
            page.prose(0, Ink::Bold, &from);
            page.members(2, "namely ", &edge.sources);
            last = from;
        }
        let proxy = if edge.redirected { ", then by its L7 rules" } else { "" };
        let text = format!("{} on {}{proxy}", say::group(&edge.destinations), edge.ports);
        page.led(2, "→ ", Ink::Green, Ink::Plain, &one_line(&text));
        page.members(4, "namely ", &edge.destinations);
    }
    let left = reach.edges.len().saturating_sub(most);
    if left > 0 {
        page.gap();
        page.more(0, left, ("group of flows", "groups of flows"));
    }
    page.others(report);
    page.coverage(&report.coverage);
    page.finish()
}

impl Page<'_> {
    fn others(&mut self, report: &ReachReport) {
        let reach = &report.reach;
        let names = self.most(NAMES);
        if !reach.isolated.is_empty() {
            self.gap();
            let all: Vec<String> = reach.isolated.iter().map(say::workload).collect();
            let lead = format!("nothing reaches {}: ", count_of(all.len(), "workload"));
            self.led(0, &lead, Ink::Yellow, Ink::Plain, &cut(&all, names));
        }
        if !reach.groups.is_empty() {
            self.gap();
            self.groups(reach);
        }
    }

    fn groups(&mut self, reach: &Reach) {
        let title = if reach.groups.is_empty() {
            "no two workloads reach each other, directly or by steps"
        } else {
            "workloads that all reach one another, directly or by steps"
        };
        self.prose(0, Ink::Bold, title);
        let (most, names) = (self.most(NAMES), self.most(NAMES));
        for group in reach.groups.iter().take(most) {
            let all: Vec<String> = group.iter().map(say::workload).collect();
            self.led(2, &format!("{}: ", all.len()), Ink::Dim, Ink::Plain, &cut(&all, names));
        }
        self.more(2, reach.groups.len().saturating_sub(most), ("group", "groups"));
    }
}
