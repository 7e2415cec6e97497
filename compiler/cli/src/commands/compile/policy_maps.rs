//! What the same policies cost as Cilium's policy maps: the largest maps, the rules behind them, and every
//! entry in a file of its own.

use crate::session::Side;
use portcullis_diag::SourceMap;
use portcullis_ir::{Reserved, RuleId};
use portcullis_sema::policymap::{Entry, Identity, LIMIT, MAXIMUM, Map, PolicyMaps};
use portcullis_sema::universe::NodeKind;
use portcullis_sema::{NodeId, Universe};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Maps and rules shown unless all are asked for.
const MAPS: usize = 5;
const RULES: usize = 3;

/// What is shown of them: totals, then the largest maps with the rules that ask for most entries.
pub(super) fn stats(
    maps: &PolicyMaps<'_, '_>,
    all: &[Map],
    side: &Side<'_>,
    universe: &Universe,
    sources: &SourceMap,
    verbose: bool,
) -> String {
    let mut out = String::new();
    let endpoints: u64 = all.iter().map(|m| m.endpoints).sum();
    let entries: u64 = all.iter().map(|m| m.endpoints.saturating_mul(m.entries as u64)).sum();
    let largest = all.first().map_or(0, |m| m.entries);
    let _ = writeln!(out, "the same as Cilium's policy maps:");
    for (n, what) in [
        (endpoints, "endpoints, each with a map of its own"),
        (entries, "entries in all"),
        (largest as u64, "entries in the largest map"),
        (LIMIT as u64, "entries that a map holds, unless bpf-policy-map-max says otherwise"),
    ] {
        let _ = writeln!(out, "  {n:>10}  {what}");
    }
    let over: u64 = all.iter().filter(|m| m.entries > LIMIT).map(|m| m.endpoints).sum();
    if over > 0 {
        let _ =
            writeln!(out, "  {over:>10}  endpoints whose map is too small: Cilium keeps their old policy");
    }
    let most = |n: usize| if verbose { usize::MAX } else { n };
    for map in all.iter().take(most(MAPS)) {
        let Some(first) = map.groups.first() else { continue };
        let mark = match map.entries {
            n if n > MAXIMUM => ", more than any map can hold",
            n if n > LIMIT => ", more than a map holds",
            _ => "",
        };
        let _ = writeln!(out, "  {:>10}  entries of {}{mark}", map.entries, endpoints_of(universe, map));
        for share in maps.shares(*first).iter().take(most(RULES)) {
            let place = place(share.rule, side, sources);
            let _ = writeln!(out, "  {:>10}    for {place}, {} for it alone", share.entries, share.alone);
        }
    }
    let left = all.len().saturating_sub(most(MAPS));
    if left > 0 {
        let _ = writeln!(out, "              and {left} smaller maps (--verbose lists all)");
    }
    out
}

/// `shop/web and 3 other workloads (12 pods)`.
fn endpoints_of(universe: &Universe, map: &Map) -> String {
    let mut names: Vec<String> = map.groups.iter().flat_map(|g| workloads(universe, *g)).collect();
    names.sort();
    names.dedup();
    let pods = if map.endpoints == 1 { "1 pod".to_owned() } else { format!("{} pods", map.endpoints) };
    match names.as_slice() {
        [] => pods,
        [one] => format!("{one} ({pods})"),
        [one, _] => format!("{one} and 1 other workload ({pods})"),
        [one, rest @ ..] => format!("{one} and {} other workloads ({pods})", rest.len()),
    }
}

fn workloads(universe: &Universe, group: NodeId) -> Vec<String> {
    let group = universe.group(group);
    group.map_or_else(Vec::new, |g| {
        g.workloads.iter().map(|(w, _)| format!("{}/{}", w.namespace, w.name)).collect()
    })
}

fn place(rule: RuleId, side: &Side<'_>, sources: &SourceMap) -> String {
    let Some(rule) = side.policies.rule(rule) else { return String::new() };
    let object = side.policies.policy(rule.policy).map(|p| p.object.to_string()).unwrap_or_default();
    format!("{object} at {}", sources.locate(rule.span))
}

/// One line of the file.
#[derive(Serialize)]
struct Line<'a> {
    endpoint: &'a str,
    direction: String,
    identity: String,
    protocol: u8,
    port: u16,
    prefix: u8,
    verdict: &'static str,
    rules: Vec<&'a str>,
}

/// Every entry of every endpoint as a line of JSON, in order of the endpoints; nothing is gathered.
pub(super) fn write(
    maps: &PolicyMaps<'_, '_>,
    all: &[Map],
    side: &Side<'_>,
    universe: &Universe,
    sources: &SourceMap,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut groups: Vec<NodeId> = all.iter().flat_map(|m| m.groups.iter().copied()).collect();
    groups.sort_unstable();
    let mut places: BTreeMap<RuleId, String> = BTreeMap::new();
    for group in groups {
        let endpoint = workloads(universe, group).join(", ");
        maps.each_entry(group, |e: Entry| {
            for rule in &e.rules {
                places.entry(*rule).or_insert_with(|| place(*rule, side, sources));
            }
            let rules = e.rules.iter().filter_map(|r| places.get(r)).map(String::as_str).collect();
            let line = Line {
                endpoint: &endpoint,
                direction: e.direction.to_string(),
                identity: identity(universe, e.identity),
                protocol: e.key.protocol,
                port: e.key.port,
                prefix: e.key.bits,
                verdict: e.verdict(),
                rules,
            };
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")
        })?;
    }
    Ok(())
}

/// Names the identity of an entry. Numbers of pods, ranges and names are the cluster's to give.
fn identity(universe: &Universe, of: Identity) -> String {
    let id = match of {
        Identity::Any(n) => return n.to_string(),
        Identity::Of(id) => id,
    };
    match universe.node(id) {
        Some(NodeKind::Group(_)) => format!("endpoints:{}", workloads(universe, id).join(", ")),
        Some(NodeKind::Reserved(r)) => format!("reserved:{}", Reserved::name(*r)),
        Some(NodeKind::Region(r)) => format!("cidr:{}", r.prefix),
        Some(NodeKind::Name(n)) => format!("fqdn:{}", n.stands_for),
        Some(NodeKind::Address(ip, _)) => format!("cidr:{ip}"),
        None => String::new(),
    }
}
