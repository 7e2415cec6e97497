//! `reach` as one page that needs nothing else: a summary, a table that can be searched, and what
//! was looked at. It loads nothing, and reads without its script.

use crate::model::{ClusterSource, ReachReport};
use crate::say;
use crate::words::{count, count_of};
use portcullis_sema::describe::PeerGroup;
use portcullis_sema::reach::Edge;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

pub(crate) fn render(report: &ReachReport) -> String {
    let reach = &report.reach;
    let mut out = String::new();
    out.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // Nothing but what stands in the page itself may run or be loaded.
    out.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n");
    out.push_str("<title>Who can talk to whom</title>\n");
    let _ = writeln!(out, "<style>\n{STYLE}</style>\n</head>\n<body>\n<main>");
    out.push_str("<h1>Who can talk to whom</h1>\n");
    if let Some(text) = say::blocked(say::INCOMPLETE, &report.blocking) {
        let _ = writeln!(out, "<div class=\"alert\" role=\"alert\"><strong>{}</strong><ul>", escape(&text));
        for d in &report.blocking {
            let object = d.object.as_ref().map_or(String::new(), |o| format!("{}: ", say::object(o)));
            let _ = writeln!(
                out,
                "<li><code>{}</code> {}</li>",
                d.code,
                escape(&format!("{object}{}", d.message))
            );
        }
        out.push_str("</ul></div>\n");
    }
    numbers(&mut out, report);
    table(&mut out, &reach.edges);
    if !reach.isolated.is_empty() {
        let _ = writeln!(out, "<h2>Nothing reaches {}</h2>", count_of(reach.isolated.len(), "workload"));
        chips(&mut out, reach.isolated.iter().map(say::workload));
    }
    if !reach.groups.is_empty() {
        out.push_str("<h2>Workloads that all reach one another, directly or by steps</h2>\n");
        for g in &reach.groups {
            chips(&mut out, g.iter().map(say::workload));
        }
    }
    out.push_str("<h2>What was looked at</h2>\n<ul class=\"coverage\">\n");
    for (i, text) in say::coverage(&report.coverage).iter().enumerate() {
        let warn = i == 1 && report.coverage.cluster == ClusterSource::None;
        let class = if warn { " class=\"warn\"" } else { "" };
        let _ = writeln!(out, "<li{class}>{}</li>", escape(text));
    }
    let _ = writeln!(out, "</ul>\n<footer>portcullis {}</footer>\n</main>", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, "<script>\n{SCRIPT}</script>\n</body>\n</html>");
    out
}

/// The answer in four numbers.
fn numbers(out: &mut String, report: &ReachReport) {
    let reach = &report.reach;
    let redirected = reach.edges.iter().filter(|e| e.redirected).count();
    let cards = [
        (count_of(reach.edges.len(), "group"), "of flows allowed"),
        (count_of(redirected, "group"), "of flows held to L7 rules"),
        (count_of(reach.isolated.len(), "workload"), "that nothing reaches"),
        (count_of(report.coverage.workloads, "workload"), "known in all"),
    ];
    out.push_str("<dl class=\"cards\">\n");
    for (number, what) in cards {
        let (n, noun) = number.split_once(' ').unwrap_or((&number, ""));
        let _ = writeln!(out, "<div><dd>{n}</dd><dt>{noun} {what}</dt></div>");
    }
    out.push_str("</dl>\n");
}

fn table(out: &mut String, edges: &[Edge]) {
    if edges.is_empty() {
        out.push_str("<p>Nothing reaches anything.</p>\n");
        return;
    }
    out.push_str("<div class=\"tools\" hidden><label for=\"q\">Filter</label> <input id=\"q\" type=\"search\" placeholder=\"a namespace, a workload, a port\" autocomplete=\"off\"> <label for=\"ns\">Namespace</label> <select id=\"ns\"><option value=\"\">all</option>");
    let namespaces: BTreeSet<&str> = edges
        .iter()
        .flat_map(|e| e.sources.workloads.iter().chain(&e.destinations.workloads))
        .map(|(w, _)| w.namespace.as_str())
        .collect();
    for ns in namespaces {
        let ns = escape(ns);
        let _ = write!(out, "<option value=\"{ns}\">{ns}</option>");
    }
    out.push_str("</select> <output id=\"shown\" for=\"q ns\"></output></div>\n<div class=\"scroll\"><table>\n<caption>Each row: everybody on the left reaches everybody on the right on these ports.</caption>\n");
    out.push_str("<thead><tr><th scope=\"col\">Sources</th><th scope=\"col\">Destinations</th><th scope=\"col\">Ports</th><th scope=\"col\">Then</th></tr></thead>\n<tbody id=\"rows\">\n");
    for e in edges {
        let mut spaces: Vec<&str> = e
            .sources
            .workloads
            .iter()
            .chain(&e.destinations.workloads)
            .map(|(w, _)| w.namespace.as_str())
            .collect();
        spaces.sort_unstable();
        spaces.dedup();
        let _ = write!(out, "<tr data-ns=\"{}\"><td>", escape(&spaces.join(" ")));
        peers(out, &e.sources);
        out.push_str("</td><td>");
        peers(out, &e.destinations);
        let then = if e.redirected {
            "<span class=\"proxy\">L7 rules</span>"
        } else {
            "<span class=\"pass\">passes</span>"
        };
        let _ = writeln!(
            out,
            "</td><td class=\"ports\">{}</td><td>{then}</td></tr>",
            escape(&e.ports.to_string())
        );
    }
    out.push_str("</tbody>\n</table></div>\n");
}

/// A group in a few words, its members folded away where the words do not name them.
fn peers(out: &mut String, g: &PeerGroup) {
    let summary = say::group(g);
    let names = say::names(g);
    let pods = if g.pods > 0 { format!(" <small>{}</small>", count(g.pods, "pod")) } else { String::new() };
    if names.iter().all(|n| summary.contains(n.as_str())) {
        let _ = write!(out, "{}{pods}", escape(&summary));
        return;
    }
    let _ = write!(out, "<details><summary>{}{pods}</summary><ul>", escape(&summary));
    for n in names {
        let _ = write!(out, "<li>{}</li>", escape(&n));
    }
    out.push_str("</ul></details>");
}

fn chips(out: &mut String, names: impl Iterator<Item = String>) {
    out.push_str("<ul class=\"chips\">");
    for n in names {
        let _ = write!(out, "<li>{}</li>", escape(&n));
    }
    out.push_str("</ul>\n");
}

/// Text that is safe between tags and in a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in crate::words::clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
