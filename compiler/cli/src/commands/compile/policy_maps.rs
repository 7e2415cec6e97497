//! What the same policies cost as Cilium's policy maps: the largest maps, the rules behind them, and every
//! entry in a file of its own.

use portcullis_diag::SourceMap;
use portcullis_ir::{PolicySet, Reserved, RuleId};
use portcullis_sema::policymap::{Entry, Identity, LIMIT, MAXIMUM, Map, PolicyMaps, Share};
use portcullis_sema::universe::NodeKind;
use portcullis_sema::{NodeId, Universe};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Maps and rules shown unless all are asked for.
const MAPS: usize = 5;
const RULES: usize = 3;

/// The maps, and what it takes to tell of them.
pub(super) struct Told<'t, 'e, 'a> {
    pub(super) maps: &'t PolicyMaps<'e, 'a>,
    /// The largest first.
    pub(super) all: &'t [Map],
    pub(super) policies: &'t PolicySet,
    pub(super) universe: &'t Universe,
    pub(super) sources: &'t SourceMap,
    /// Every map and every rule.
    pub(super) verbose: bool,
}

impl Told<'_, '_, '_> {
    fn endpoints(&self, over: usize) -> u64 {
        self.all.iter().filter(|m| m.entries > over).map(|m| m.endpoints).sum()
    }

    fn entries(&self) -> u64 {
        self.all.iter().map(|m| m.endpoints.saturating_mul(m.entries as u64)).sum()
    }

    fn largest(&self) -> usize {
        self.all.first().map_or(0, |m| m.entries)
    }

    fn most(&self, few: usize) -> usize {
        if self.verbose { usize::MAX } else { few }
    }

    /// The rules that ask for most entries of a map.
    fn shares(&self, map: &Map) -> Vec<Share> {
        let mut all = map.groups.first().map(|g| self.maps.shares(*g)).unwrap_or_default();
        all.truncate(self.most(RULES));
        all
    }

    /// Totals, then the largest maps with the rules that ask for most entries.
    pub(super) fn stats(&self) -> String {
        let mut out = "the same as Cilium's policy maps:\n".to_owned();
        for (n, what) in [
            (self.endpoints(0), "endpoints, each with a map of its own"),
            (self.entries(), "entries in all"),
            (self.largest() as u64, "entries in the largest map"),
            (LIMIT as u64, "entries that a map holds, unless bpf-policy-map-max says otherwise"),
        ] {
            let _ = writeln!(out, "  {n:>10}  {what}");
        }
        let over = self.endpoints(LIMIT);
        if over > 0 {
            let _ = writeln!(
                out,
                "  {over:>10}  endpoints whose map is too small: Cilium keeps their old policy"
            );
        }
        for map in self.all.iter().take(self.most(MAPS)) {
            let mark = match map.entries {
                n if n > MAXIMUM => ", more than any map can hold",
                n if n > LIMIT => ", more than a map holds",
                _ => "",
            };
            let _ =
                writeln!(out, "  {:>10}  entries of {}{mark}", map.entries, endpoints_of(self.universe, map));
            for share in self.shares(map) {
                let place = self.place(share.rule);
                let _ = writeln!(out, "  {:>10}    for {place}, {} for it alone", share.entries, share.alone);
            }
        }
        let left = self.all.len().saturating_sub(self.most(MAPS));
        if left > 0 {
            let _ = writeln!(out, "              and {left} smaller maps (--verbose lists all)");
        }
        out
    }

    /// The same for a program.
    pub(super) fn document(&self) -> Value {
        let maps: Vec<Value> = self
            .all
            .iter()
            .take(self.most(MAPS))
            .map(|m| {
                let rules: Vec<Value> = self.shares(m).iter().filter_map(|s| self.share(s)).collect();
                json!({
                    "workloads": names(self.universe, m),
                    "endpoints": m.endpoints,
                    "entries": m.entries,
                    "rules": rules,
                })
            })
            .collect();
        json!({
            "endpoints": self.endpoints(0),
            "entries": self.entries(),
            "largest": self.largest(),
            "limit": LIMIT,
            "maximum": MAXIMUM,
            "endpointsOverLimit": self.endpoints(LIMIT),
            "distinct": self.all.len(),
            "maps": maps,
        })
    }

    fn share(&self, share: &Share) -> Option<Value> {
        let rule = self.policies.rule(share.rule)?;
        let object = &self.policies.policy(rule.policy)?.object;
        Some(json!({
            "policy": {"kind": object.kind, "namespace": object.namespace, "name": object.name},
            "span": serde_json::to_value(portcullis_report::span(self.sources, rule.span)).ok()?,
            "entries": share.entries,
            "alone": share.alone,
        }))
    }

    fn place(&self, rule: RuleId) -> String {
        let Some(rule) = self.policies.rule(rule) else { return String::new() };
        let object = self.policies.policy(rule.policy).map(|p| p.object.to_string()).unwrap_or_default();
        format!("{object} at {}", self.sources.locate(rule.span))
    }

    /// Every entry of every endpoint as a line of JSON, in order of the endpoints; nothing is gathered.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut groups: Vec<NodeId> = self.all.iter().flat_map(|m| m.groups.iter().copied()).collect();
        groups.sort_unstable();
        let mut places: BTreeMap<RuleId, String> = BTreeMap::new();
        for group in groups {
            let endpoint = workloads(self.universe, group).join(", ");
            self.maps.each_entry(group, |e: Entry| {
                for rule in &e.rules {
                    places.entry(*rule).or_insert_with(|| self.place(*rule));
                }
                let rules = e.rules.iter().filter_map(|r| places.get(r)).map(String::as_str).collect();
                let line = Line {
                    endpoint: &endpoint,
                    direction: e.direction.to_string(),
                    identity: identity(self.universe, e.identity),
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
}

fn names(universe: &Universe, map: &Map) -> Vec<String> {
    let mut names: Vec<String> = map.groups.iter().flat_map(|g| workloads(universe, *g)).collect();
    names.sort();
    names.dedup();
    names
}

/// `shop/web and 3 other workloads (12 pods)`.
fn endpoints_of(universe: &Universe, map: &Map) -> String {
    let names = names(universe, map);
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
