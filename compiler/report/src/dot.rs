//! `reach` for Graphviz: workloads in a cluster for each namespace, one arrow for each pair of
//! them and its ports.
//!
//! An edge between two groups would be a product of arrows; a group of several members becomes a
//! node of its own, with its members named in the tooltip, so that the drawing stays as small as
//! the answer.

use crate::model::ReachReport;
use crate::say;
use crate::words::cut;
use portcullis_sema::describe::PeerGroup;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Names in a tooltip.
const NAMES: usize = 40;

/// What is drawn for one end of an edge.
struct Node {
    label: String,
    tooltip: String,
    namespace: Option<String>,
    shape: &'static str,
}

fn node(g: &PeerGroup) -> Node {
    let names = say::names(g);
    let mut namespaces: Vec<&str> = g.workloads.iter().map(|(w, _)| w.namespace.as_str()).collect();
    namespaces.dedup();
    let namespace = match (namespaces.as_slice(), g.others.is_empty()) {
        ([one], true) => Some((*one).to_owned()),
        _ => None,
    };
    let label = match (g.workloads.as_slice(), &namespace) {
        ([(w, _)], Some(_)) => w.name.to_string(),
        _ => say::group(g),
    };
    let shape = match (names.len(), g.workloads.is_empty()) {
        (_, true) => "ellipse",
        (0 | 1, _) => "box",
        _ => "box3d",
    };
    Node { label, tooltip: cut(&names, NAMES), namespace, shape }
}

pub(crate) fn render(report: &ReachReport) -> String {
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    let mut nodes: Vec<Node> = Vec::new();
    let mut id = |g: &PeerGroup| {
        // Two groups with the same summary may differ: all members together are the key.
        let key = say::names(g).join("\n");
        *ids.entry(key).or_insert_with(|| {
            nodes.push(node(g));
            nodes.len() - 1
        })
    };
    let mut arrows = String::new();
    for e in &report.reach.edges {
        let (from, to) = (id(&e.sources), id(&e.destinations));
        let style = if e.redirected { ", style=dashed, color=\"#b26a00\"" } else { "" };
        let ports = quote(&e.ports.to_string());
        let _ = writeln!(arrows, "  n{from} -> n{to} [label={ports}{style}];");
    }
    for w in &report.reach.isolated {
        id(&PeerGroup { workloads: vec![(w.clone(), 0)], ..PeerGroup::default() });
    }
    let mut out = String::from("digraph reach {\n  rankdir=LR;\n  fontname=\"Helvetica\";\n");
    out.push_str("  node [fontname=\"Helvetica\", fontsize=11, style=filled, fillcolor=white];\n");
    out.push_str("  edge [fontname=\"Helvetica\", fontsize=9, color=\"#2e7d32\"];\n");
    if let Some(text) = say::blocked(say::INCOMPLETE, &report.blocking) {
        let _ = writeln!(out, "  label={};\n  labelloc=t;\n  fontcolor=\"#b3261e\";", quote(&text));
    }
    let mut clusters: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (i, n) in nodes.iter().enumerate() {
        clusters.entry(n.namespace.as_deref()).or_default().push(i);
    }
    for (c, (namespace, members)) in clusters.iter().enumerate() {
        let indent = if namespace.is_some() { "    " } else { "  " };
        if let Some(ns) = namespace {
            let _ = writeln!(out, "  subgraph cluster_{c} {{\n    label={};", quote(ns));
            out.push_str(
                "    style=\"rounded,filled\";\n    color=\"#c7cdd6\";\n    fillcolor=\"#f4f6f9\";\n",
            );
        }
        for i in members {
            if let Some(n) = nodes.get(*i) {
                let (label, tooltip) = (quote(&n.label), quote(&n.tooltip));
                let _ = writeln!(out, "{indent}n{i} [label={label}, shape={}, tooltip={tooltip}];", n.shape);
            }
        }
        if namespace.is_some() {
            out.push_str("  }\n");
        }
    }
    out.push_str(&arrows);
    out.push_str("}\n");
    out
}

/// A quoted DOT string.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in crate::words::clean(text).chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}
