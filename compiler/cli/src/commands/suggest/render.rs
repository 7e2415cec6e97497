//! What `suggest` says: for a terminal, as JSON, and as a patch.

use super::chosen::Chosen;
use super::files::Change;
use portcullis_diag::{Diagnostic, ObjectRef, SourceMap};
use portcullis_ir::{Direction, FlowPort};
use portcullis_report::{clean, span};
use portcullis_sema::diff::{FindingKind, Review, RuleRef};
use portcullis_suggest::{Opened, Requests, Said, Suggestion, Why};
use serde_json::{Value, json};
use similar::TextDiff;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Names that are listed of many.
const NAMED: usize = 6;
/// Groups of flows that are listed.
const GROUPS: usize = 20;
/// Additions that are listed.
const ADDITIONS: usize = 20;
/// Lines of the patch that are shown on a terminal.
const PATCH_LINES: usize = 400;

/// What became of the chosen flows.
pub(super) struct Kept {
    /// Flows that pass with the additions.
    pub(super) flows: u64,
    /// Those that do not, by why.
    pub(super) left: Vec<Left>,
}

/// Flows that no addition lets through, for one reason.
pub(super) struct Left {
    why: Option<Why>,
    /// Ends, port, flows.
    pairs: Vec<(String, String, FlowPort, u64)>,
}

impl Kept {
    /// `denied`: the wanted flows that the compiler says are denied with the additions in place.
    pub(super) fn of(chosen: &Chosen, found: &Suggestion, denied: &[usize]) -> Self {
        let why: BTreeMap<usize, &Why> = found.blocked.iter().map(|b| (b.wanted, &b.why)).collect();
        let mut left: Vec<Left> = Vec::new();
        let mut lost = 0;
        for at in denied {
            let (Some((from, to, n)), Some(w)) = (chosen.said.get(*at), chosen.wanted.get(*at)) else {
                continue;
            };
            lost += n;
            let pair = (from.clone(), to.clone(), w.port, *n);
            let why = why.get(at).map(|w| (*w).clone());
            match left.iter_mut().find(|l| l.why == why) {
                Some(l) => l.pairs.push(pair),
                None => left.push(Left { why, pairs: vec![pair] }),
            }
        }
        left.sort_by_key(|l| std::cmp::Reverse(l.pairs.iter().map(|(_, _, _, n)| n).sum::<u64>()));
        Self { flows: chosen.flows().saturating_sub(lost), left }
    }
}

/// Everything to say.
pub(super) struct Report<'a> {
    pub(super) base: String,
    pub(super) candidate: String,
    pub(super) chosen: &'a Chosen,
    pub(super) found: &'a Suggestion,
    pub(super) changes: &'a [Change],
    /// What the additions change, by the compiler.
    pub(super) opens: &'a Review,
    pub(super) opened: Opened,
    pub(super) kept: &'a Kept,
    pub(super) blocking: &'a [Diagnostic],
    pub(super) notes: Vec<String>,
    pub(super) written: bool,
    /// Everything is listed, however long it is.
    pub(super) verbose: bool,
    /// Requests that stay refused, and one of them.
    pub(super) still_refused: (u64, String),
    pub(super) sources: &'a SourceMap,
}

fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(u128::from(n)), if n == 1 { one } else { many })
}

/// `12,345`.
fn grouped(n: u128) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn few(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let left = names.len().saturating_sub(NAMED);
    if left == 0 { shown.join(", ") } else { format!("{} +{left} more", shown.join(", ")) }
}

impl Report<'_> {
    pub(super) fn terminal(&self) -> String {
        let mut out = String::new();
        self.headline(&mut out);
        self.left(&mut out);
        let most = if self.verbose { usize::MAX } else { ADDITIONS };
        for addition in self.found.additions.iter().take(most) {
            let how = if addition.is_new { "NEW" } else { "ADD" };
            let _ = writeln!(out, "\n{how} {} {}", addition.policy, addition.direction);
            for said in &addition.said {
                say(&mut out, addition.direction, said);
            }
            if let Some(r) = &addition.requests {
                say_requests(&mut out, addition.direction, r);
            }
        }
        let more = self.found.additions.len().saturating_sub(most);
        if more > 0 {
            let _ = writeln!(out, "\nand {more} more additions (--verbose shows all)");
        }
        if !self.changes.is_empty() {
            out.push('\n');
            self.excerpt(&mut out);
            self.checked(&mut out);
        }
        for d in self.blocking {
            let _ = writeln!(
                out,
                "left out: {}: {}",
                d.span().map_or_else(String::new, |s| self.sources.locate(s)),
                d.message
            );
        }
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        clean(&out).into_owned()
    }

    fn headline(&self, out: &mut String) {
        let c = self.chosen;
        if c.wanted.is_empty() && c.refused == 0 {
            let _ = writeln!(
                out,
                "nothing to add: none of the {} is denied by {} and was chosen",
                count(c.all, "recorded flow", "recorded flows"),
                self.candidate
            );
        } else if c.wanted.is_empty() {
            let _ = writeln!(out, "requests alone are denied");
        } else if self.changes.is_empty() {
            let _ =
                writeln!(out, "nothing can be added that lets {} through", count(c.flows(), "flow", "flows"));
        } else {
            let files = self.changes.len() as u64;
            let verb = if self.written { "written to" } else { "in" };
            let _ = writeln!(
                out,
                "{} kept by additions {verb} {}",
                count(self.kept.flows, "flow is", "flows are"),
                count(files, "file", "files"),
            );
        }
        let _ = writeln!(out, "{} → {}", self.base, self.candidate);
        if c.others > 0 {
            let _ = writeln!(
                out,
                "{} denied by {} too and not chosen (--keep, --from, --to, --port)",
                count(c.others, "flow is", "flows are"),
                self.candidate
            );
        }
        let (left, example) = &self.still_refused;
        if c.refused > *left {
            let _ = writeln!(
                out,
                "{} kept by additions to L7 rules",
                count(c.refused - left, "request is", "requests are")
            );
        }
        if *left > 0 {
            let _ = writeln!(
                out,
                "NOT KEPT {} refused by L7 rules that could not be added to: for example {example}",
                count(*left, "request is", "requests are")
            );
        }
    }

    /// Flows that stay denied: first, since they are what is left to do.
    fn left(&self, out: &mut String) {
        let most = if self.verbose { usize::MAX } else { NAMED };
        for left in self.kept.left.iter().take(most) {
            let flows = left.pairs.iter().map(|(_, _, _, n)| n).sum();
            let _ = writeln!(out, "\nNOT KEPT {}", count(flows, "flow stays denied", "flows stay denied"));
            for (from, to, port, n) in left.pairs.iter().take(NAMED) {
                let _ = writeln!(out, "  {from} → {to} {port}: {}", grouped(u128::from(*n)));
            }
            let more = left.pairs.len().saturating_sub(NAMED);
            if more > 0 {
                let _ = writeln!(out, "  and {more} more");
            }
            match &left.why {
                Some(Why::Denied(d, rules)) => {
                    for rule in rules {
                        let _ = writeln!(
                            out,
                            "  {} is denied by a rule of {}\n    {}",
                            side(*d),
                            rule.policy,
                            self.sources.locate(rule.span)
                        );
                    }
                    let _ = writeln!(
                        out,
                        "  help: no allow beats a deny of its tier and priority: narrow the peers or ports of {}",
                        if rules.len() == 1 { "this rule" } else { "these rules" }
                    );
                }
                Some(Why::NotWritten(port)) => {
                    let _ = writeln!(
                        out,
                        "  help: a policy that names {port} alone cannot be written (it would mean every port or type)"
                    );
                }
                None => {
                    let _ = writeln!(
                        out,
                        "  help: `portcullis explain` says which side denies it; no addition was found"
                    );
                }
            }
        }
        let more = self.kept.left.len().saturating_sub(most);
        if more > 0 {
            let _ = writeln!(out, "\nNOT KEPT for {more} more reasons (--verbose shows all)");
        }
    }

    /// The patch, or as much of it as somebody reads on a terminal.
    fn excerpt(&self, out: &mut String) {
        let patch = self.patch();
        let lines = patch.lines().count();
        if self.verbose || lines <= PATCH_LINES {
            out.push_str(&patch);
            return;
        }
        for line in patch.lines().take(PATCH_LINES) {
            out.push_str(line);
            out.push('\n');
        }
        let _ = writeln!(
            out,
            "… {} more lines of {} files (--format patch writes all of it)",
            grouped((lines - PATCH_LINES) as u128),
            self.changes.len()
        );
    }

    /// What the compiler says of the additions.
    fn checked(&self, out: &mut String) {
        let (kept, all) = (self.kept.flows, self.chosen.flows());
        let _ = writeln!(
            out,
            "\nchecked with the additions in place: {} of {} {}",
            grouped(u128::from(kept)),
            count(all, "chosen flow", "chosen flows"),
            if kept == 1 { "passes" } else { "pass" },
        );
        let opens: Vec<_> = self.opens.findings.iter().filter(|f| f.kind == FindingKind::Allowed).collect();
        if self.opens.findings.is_empty() {
            out.push_str("they open nothing else\n");
        } else {
            out.push_str("they open exactly this:\n");
        }
        for f in opens.iter().take(GROUPS) {
            let _ = writeln!(out, "  {} → {} on {}", f.sources.summary, f.destinations.summary, f.ports);
        }
        let more = opens.len().saturating_sub(GROUPS);
        if more > 0 {
            let _ = writeln!(out, "  and {more} more groups of flows");
        }
        let l7 = self.opens.findings.iter().filter(|f| f.kind == FindingKind::L7);
        for f in l7.clone().take(GROUPS) {
            let _ = writeln!(
                out,
                "  more requests: {} → {} on {}",
                f.sources.summary, f.destinations.summary, f.ports
            );
        }
        let others = self.opens.findings.len() - opens.len() - l7.count();
        if others > 0 || self.opened.other > 0 {
            let _ = writeln!(
                out,
                "WARNING: they change what proxies ask, or deny, elsewhere: compare with `portcullis diff` before you use them"
            );
        }
        if self.opens.masked_flows > 0 {
            let _ = writeln!(
                out,
                "{} by one side and stay denied by the other",
                count(self.opens.masked_flows, "more flow is allowed", "more flows are allowed")
            );
        }
    }

    /// A unified diff that `git apply` and `patch -p1` take.
    pub(super) fn patch(&self) -> String {
        self.changes.iter().map(patch).collect()
    }

    pub(super) fn json(&self) -> String {
        let pair = |(from, to, port, n): &(String, String, FlowPort, u64)| json!({"from": from, "to": to, "port": port.to_string(), "flows": n});
        let rule = |r: &RuleRef| json!({"policy": object(&r.policy), "span": span(self.sources, r.span)});
        let left: Vec<Value> = self
            .kept
            .left
            .iter()
            .map(|l| {
                let (why, rules): (_, &[RuleRef]) = match &l.why {
                    Some(Why::Denied(_, rules)) => ("denied-by-rule", rules),
                    Some(Why::NotWritten(_)) => ("no-words", &[]),
                    None => ("not-found", &[]),
                };
                json!({
                    "why": why,
                    "rules": rules.iter().map(rule).collect::<Vec<_>>(),
                    "flows": l.pairs.iter().map(pair).collect::<Vec<_>>(),
                })
            })
            .collect();
        let additions: Vec<Value> = self
            .found
            .additions
            .iter()
            .map(|a| {
                json!({
                    "policy": object(&a.policy),
                    "isNew": a.is_new,
                    "direction": a.direction.to_string(),
                    "entries": a.said.iter().map(entry).collect::<Vec<_>>(),
                    "requests": a.requests.as_ref().map(|r| json!({
                        "all": r.all, "notSeenToo": r.wider, "subjects": r.subjects, "peers": r.peers,
                    })),
                })
            })
            .collect();
        let files: Vec<Value> = self
            .changes
            .iter()
            .map(|c| json!({"path": c.path, "isNew": c.old.is_none(), "diff": patch(c), "text": c.new}))
            .collect();
        let opens: Vec<Value> = self
            .opens
            .findings
            .iter()
            .map(|f| {
                json!({
                    "kind": match f.kind {
                        FindingKind::Allowed => "allowed",
                        FindingKind::Denied => "denied",
                        FindingKind::L7 => "l7",
                    },
                    "sources": f.sources.summary,
                    "destinations": f.destinations.summary,
                    "ports": f.ports.to_string(),
                    "flows": f.flows,
                })
            })
            .collect();
        let blocking: Vec<Value> = self
            .blocking
            .iter()
            .map(|d| json!({"code": d.code.to_string(), "message": d.message, "span": d.span().map(|s| span(self.sources, s))}))
            .collect();
        let all = json!({
            "conclusive": self.blocking.is_empty(),
            "base": self.base,
            "candidate": self.candidate,
            "flows": {
                "recorded": self.chosen.all,
                "chosen": self.chosen.flows(),
                "kept": self.kept.flows,
                "deniedToo": self.chosen.others,
                "requestsRefused": self.chosen.refused,
                "requestsKept": self.chosen.refused.saturating_sub(self.still_refused.0),
            },
            "additions": additions,
            "files": files,
            "opens": opens,
            "staysDeniedByOtherSide": self.opens.masked_flows,
            "notKept": left,
            "blocking": blocking,
            "written": self.written,
            "notes": self.notes,
        });
        portcullis_report::document("suggest", all)
    }
}

fn patch(change: &Change) -> String {
    let name = change.path.trim_start_matches('/');
    let before = change.old.as_ref().map_or_else(|| "/dev/null".to_owned(), |_| format!("a/{name}"));
    let old = change.old.as_deref().unwrap_or_default();
    let mut out = format!("diff --git a/{name} b/{name}\n");
    if change.old.is_none() {
        out.push_str("new file mode 100644\n");
    }
    let text = TextDiff::from_lines(old, &change.new);
    let _ = write!(out, "{}", text.unified_diff().context_radius(3).header(&before, &format!("b/{name}")));
    out
}

const fn side(d: Direction) -> &'static str {
    match d {
        Direction::Egress => "egress of the source",
        Direction::Ingress => "ingress of the destination",
    }
}

fn say(out: &mut String, d: Direction, said: &Said) {
    let (subjects, peers) = (few(&said.subjects), few(&said.peers));
    let (from, to) = match d {
        Direction::Ingress => (peers, subjects),
        Direction::Egress => (subjects, peers),
    };
    let _ = writeln!(out, "  {from} → {to} on {}", said.ports);
    let mut beyond = Vec::new();
    if said.pairs_beyond > 0 {
        beyond.push(count(said.pairs_beyond, "pair", "pairs"));
    }
    if said.ports_beyond > 0 {
        beyond.push(count(said.ports_beyond, "port", "ports"));
    }
    match said.addresses_beyond {
        Some(0) => {}
        Some(n) => beyond.push(format!("{} addresses", grouped(n))),
        None => beyond.push("whatever addresses they have".to_owned()),
    }
    let beyond = if beyond.is_empty() {
        "all of it seen".to_owned()
    } else {
        format!("not seen: {}", beyond.join(", "))
    };
    let _ = writeln!(
        out,
        "    at most {} on {}; {beyond}",
        count(said.pairs, "workload pair", "workload pairs"),
        count(said.port_count, "port", "ports"),
    );
}

fn say_requests(out: &mut String, d: Direction, r: &Requests) {
    let (from, to) = match d {
        Direction::Ingress => (&r.peers, &r.subjects),
        Direction::Egress => (&r.subjects, &r.peers),
    };
    for request in &r.all {
        let wider = if r.wider.contains(request) { "   (more than was seen)" } else { "" };
        let _ = writeln!(out, "  {request}{wider}");
    }
    let _ = writeln!(out, "    for everybody of the entry: {from} → {to}");
}

fn object(o: &ObjectRef) -> Value {
    json!({"kind": o.kind, "namespace": o.namespace, "name": o.name})
}

fn entry(said: &Said) -> Value {
    json!({
        "subjects": said.subjects,
        "peers": said.peers,
        "ports": said.ports.to_string(),
        "pairs": said.pairs,
        "pairsNotSeen": said.pairs_beyond,
        "portCount": said.port_count,
        "portsNotSeen": said.ports_beyond,
        // A text: there are 2 to the power of 128 addresses.
        "addressesNotSeen": said.addresses_beyond.map(|n| n.to_string()),
    })
}
