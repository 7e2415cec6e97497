//! Changes of policy that wait. While one waits, the policies that were in use before go on, and everything else (pods,
//! namespaces, nodes, services, CIDR groups) counts as it is now.
//!
//! What waits and what was approved is in a file of the state folder, written before the kernel is touched: an agent
//! that starts anew holds what was held.

use super::seen::Seen;
use super::{Node, Record, record};
use crate::compile::{Candidate, Refused};
use crate::inputs::{NamedText, Texts};
use crate::passed::{Pair, Passed};
use ipnet::IpNet;
use portcullis_abi::maps::{AddressValue, NO_IDENTITY};
use portcullis_cluster::Kind;
use portcullis_cluster::fleet::Orders;
use portcullis_ir::Direction;
use portcullis_tables::{Image, Word};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// Denied flows that are listed; others are counted.
const LISTED: usize = 50;
/// Approvals that are kept.
const APPROVALS: usize = 32;

/// A policy set that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Its digest.
    pub policy_set: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// Why, as a sentence.
    pub why: String,
    /// Policies that it changes.
    pub changes: Vec<String>,
    /// Flows that it would deny and that passed lately.
    pub denied: Vec<String>,
    /// How many more of these.
    pub more_denied: usize,
}

/// What the file has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    held: Option<Held>,
    approved: Vec<String>,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Guard {
    path: PathBuf,
    kept: Kept,
    /// The file could not be read: nothing is known of what was held.
    unknown: Option<String>,
    /// The file could not be written.
    unwritten: Option<String>,
    /// Flows that passed.
    pub(super) passed: Option<Arc<Passed>>,
}

/// The digest of a policy set: the same on all nodes that have the same policies.
pub fn policy_set(policies: &[NamedText]) -> String {
    let mut all: Vec<&NamedText> = policies.iter().collect();
    all.sort();
    let mut hash = Sha256::new();
    for part in all.iter().flat_map(|(name, text)| [name.as_str(), text]) {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part.as_bytes());
    }
    record::hex(hash.finalize().get(..8).unwrap_or_default())
}

/// How a refresh goes on.
pub(super) enum Way {
    /// With what there is.
    On,
    /// With what there is, unless it would deny flows.
    Ask,
    /// With other policies, whatever is given.
    Instead(Vec<NamedText>),
}

impl Guard {
    pub(super) fn open(state: &std::path::Path) -> Self {
        let path = state.join("guard.json");
        let (kept, unknown) =
            match fs::read(&path).and_then(|t| serde_json::from_slice(&t).map_err(io::Error::other)) {
                Ok(kept) => (kept, None),
                Err(e) if e.kind() == io::ErrorKind::NotFound => (Kept::default(), None),
                Err(e) => (Kept::default(), Some(format!("{} could not be read: {e}", path.display()))),
            };
        Self { path, kept, unknown, unwritten: None, passed: None }
    }

    fn write(&mut self) {
        let done = serde_json::to_vec(&self.kept)
            .map_err(io::Error::other)
            .and_then(|text| record::write(&self.path, &text));
        self.unwritten = done.err().map(|e| {
            format!(
                "what is held could not be written to {}, and a restart would let it in: {e}",
                self.path.display()
            )
        });
    }

    fn hold(&mut self, held: Held) {
        self.kept.held = Some(held);
        self.unknown = None;
        self.write();
    }

    fn release(&mut self) {
        if self.kept.held.take().is_some() || self.unknown.take().is_some() {
            self.write();
        }
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = String> + '_ {
        self.unknown.iter().chain(&self.unwritten).cloned()
    }
}

impl Node {
    /// The policy set that waits for approval.
    pub fn held(&self) -> Option<&Held> {
        self.guard.kept.held.as_ref()
    }

    /// Gives the guard the flows that passed, and those of the agent before to them.
    pub fn watch_flows(&mut self, passed: Arc<Passed>) {
        if let Some(text) = self.passed_file().and_then(|path| fs::read_to_string(path).ok()) {
            passed.load(&text);
        }
        self.guard.passed = Some(passed);
    }

    /// Writes them down for the next agent; without a guard nobody asks for them.
    pub fn keep_flows(&self) {
        if let (Some(path), Some(passed)) = (self.passed_file(), &self.guard.passed)
            && let Err(e) = record::write(&path, passed.save().as_bytes())
        {
            tracing::warn!(%e, "flows that passed could not be written to {}", path.display());
        }
    }

    fn passed_file(&self) -> Option<PathBuf> {
        self.config.guard.hold_on_denied.then(|| self.config.state.join("passed.json"))
    }

    /// Lets what is held go on; its digest. [`Self::refresh`] puts it into use.
    pub fn approve(&mut self, digest: Option<&str>) -> Result<String, String> {
        let held = self.held().ok_or("nothing is held")?.policy_set.clone();
        if let Some(given) = digest.filter(|d| d.len() < 6 || !held.starts_with(*d)) {
            return Err(format!("{given} is not what is held: that is {held}"));
        }
        let approved = &mut self.guard.kept.approved;
        approved.retain(|d| *d != held);
        approved.push(held.clone());
        let over = approved.len().saturating_sub(APPROVALS);
        approved.drain(..over);
        self.guard.write();
        match &self.guard.unwritten {
            Some(why) => Err(why.clone()),
            None => Ok(held),
        }
    }

    /// What people say to all nodes.
    fn orders(&self) -> Orders {
        self.fleet.as_ref().map(|f| f.heard().orders).unwrap_or_default()
    }

    /// The policies of the last generation: in the kernel, or of before the machine started anew.
    fn last_good(&self) -> Option<Record> {
        if let Some(current) = &self.current {
            return Some(current.clone());
        }
        let last = self.records.generations().ok()?.pop()?;
        self.records.read(last).ok().flatten().map(|(record, _)| record)
    }

    /// Policy sets that are kept, the latest first.
    pub fn history(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let all = self.records.generations().unwrap_or_default();
        for record in all.into_iter().rev().filter_map(|g| self.records.read(g).ok().flatten()) {
            let digest = policy_set(&record.0.policy_texts());
            if !out.contains(&digest) {
                out.push(digest);
            }
        }
        out
    }

    /// What to do with the policies that are given.
    pub(super) fn way(&mut self, texts: &Texts) -> Way {
        self.given = None;
        // Half of a cluster is none to judge.
        if !texts.broken.is_empty() {
            return Way::On;
        }
        let given = policy_set(&texts.policies);
        self.given = Some(given.clone());
        let orders = self.orders();
        if let Some(back) = orders.rollback.filter(|b| b.from == given && b.to != given) {
            return self.all_go_back(&back.to);
        }
        let guard = &self.config.guard;
        if !guard.hold_on_denied && guard.canary.is_none() {
            self.guard.release();
            return Way::On;
        }
        let Some(good) = self.last_good().map(|r| r.policy_texts()) else { return Way::On };
        if policy_set(&good) == given
            || orders.approved.contains(&given)
            || self.guard.kept.approved.contains(&given)
        {
            self.guard.release();
            return Way::On;
        }
        if self.held().is_some_and(|h| h.policy_set == given) {
            return Way::Instead(good);
        }
        let unknown =
            self.guard.unknown.is_some().then(|| "it is not known whether it was held before".to_owned());
        let waits = unknown.or_else(|| {
            let label = self.config.guard.canary.as_ref().filter(|l| !self.has_label(l))?;
            Some(format!("this node has not the label {label}: changes wait here until they are approved"))
        });
        match waits {
            Some(why) => {
                self.guard.hold(held(&given, why, &good, &texts.policies));
                Way::Instead(good)
            }
            None if self.config.guard.hold_on_denied => Way::Ask,
            None => {
                self.guard.release();
                Way::On
            }
        }
    }

    fn all_go_back(&mut self, to: &str) -> Way {
        let is = |r: &Record| policy_set(&r.policy_texts()) == to;
        if let Some(current) = self.current.as_ref().filter(|r| is(r)) {
            return Way::Instead(current.policy_texts());
        }
        let kept = self.records.generations().unwrap_or_default();
        let found =
            kept.into_iter().rev().filter_map(|g| self.records.read(g).ok().flatten()).find(|(r, _)| is(r));
        match (found, &self.current) {
            (Some((record, _)), _) => Way::Instead(record.policy_texts()),
            (None, current) => {
                self.lost =
                    Some(format!("all nodes are to go back to the policy set {to}, and it is not kept here"));
                current.as_ref().map_or(Way::On, |r| Way::Instead(r.policy_texts()))
            }
        }
    }

    /// Whether this node's Node object has a label.
    fn has_label(&self, label: &str) -> bool {
        let (key, value) = label.split_once('=').map_or((label, None), |(k, v)| (k, Some(v)));
        self.label(key).is_some_and(|found| value.is_none_or(|v| v == found))
    }

    /// A label of this node's Node object.
    pub fn label(&self, key: &str) -> Option<String> {
        let text = self.mirror.as_ref()?.get(Kind::Node, "", &self.config.node)?;
        let object: serde_json::Value = serde_json::from_str(&text).ok()?;
        object.get("metadata")?.get("labels")?.get(key)?.as_str().map(str::to_owned)
    }

    /// The candidate, or, where it would deny flows that passed lately, one of the policies in use.
    pub(super) fn ask(
        &mut self,
        candidate: Candidate,
        texts: &Texts,
        seen: &Seen,
        numbers: &BTreeMap<usize, u32>,
        slots: &[Option<usize>],
    ) -> Result<Candidate, Refused> {
        let denies = |node: &Self, c: &Candidate, pairs: &[Pair]| -> Vec<(Pair, String)> {
            let view = View::new(node, c, seen, numbers);
            let Ok(image) = Image::parse(&c.image) else { return Vec::new() };
            let fail_open = node.config.fail_open;
            let denied = |p: &Pair| {
                let word = view.lookup(&image, p)?;
                (!passes(word, fail_open)).then(|| image.cause(word.cause()).unwrap_or_default().to_owned())
            };
            pairs.iter().filter_map(|p| denied(p).map(|cause| (*p, cause))).collect()
        };
        let found = denies(self, &candidate, &self.passed_lately()?);
        let Some(good) = self.last_good().filter(|_| !found.is_empty()) else {
            self.guard.release();
            return Ok(candidate);
        };
        let mut before = texts.clone();
        before.policies = good.policy_texts();
        let same = self.make(&before, slots)?;
        let pairs: Vec<Pair> = found.iter().map(|(p, _)| *p).collect();
        // What the policies in use deny by now, too, is not their change's fault.
        let anyway: BTreeSet<Pair> = denies(self, &same, &pairs).into_iter().map(|(p, _)| p).collect();
        let denied: Vec<_> = found.into_iter().filter(|(p, _)| !anyway.contains(p)).collect();
        if denied.is_empty() {
            self.guard.release();
            return Ok(candidate);
        }
        let why = format!(
            "it would deny {} flow{} that passed in the last {} seconds",
            denied.len(),
            if denied.len() == 1 { "" } else { "s" },
            self.config.guard.lately
        );
        let mut held = held(&policy_set(&texts.policies), why, &before.policies, &texts.policies);
        let view = View::new(self, &candidate, seen, numbers);
        held.denied =
            denied.iter().take(LISTED).map(|(p, cause)| view.say(self, &candidate, p, cause)).collect();
        held.more_denied = denied.len().saturating_sub(LISTED);
        self.guard.hold(held);
        Ok(same)
    }

    /// Flows under way, and those that passed lately.
    fn passed_lately(&self) -> Result<Vec<Pair>, Refused> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = now.as_secs().saturating_sub(self.config.guard.lately).saturating_mul(1_000_000_000);
        let mut all: BTreeSet<Pair> = self.kernel.flows()?.iter().map(|(k, _)| Pair::of_flow(k)).collect();
        if let Some(passed) = &self.guard.passed {
            all.extend(passed.since(i64::try_from(since).unwrap_or(i64::MAX)));
        }
        Ok(all.into_iter().collect())
    }
}

fn passes(word: Word, fail_open: bool) -> bool {
    word.passes() && (fail_open || word.audits() || !(word.redirects() || word.authenticates()))
}

fn held(digest: &str, why: String, before: &[NamedText], after: &[NamedText]) -> Held {
    let map = |all: &[NamedText]| -> BTreeMap<String, Arc<str>> { all.iter().cloned().collect() };
    let (before, after) = (map(before), map(after));
    let name = |n: &str| n.strip_suffix(".json").unwrap_or(n).to_owned();
    let mut changes: Vec<String> = Vec::new();
    for (n, text) in &after {
        match before.get(n) {
            None => changes.push(format!("added {}", name(n))),
            Some(old) if old != text => changes.push(format!("changed {}", name(n))),
            Some(_) => {}
        }
    }
    changes.extend(before.keys().filter(|n| !after.contains_key(*n)).map(|n| format!("removed {}", name(n))));
    let over = changes.len().saturating_sub(LISTED);
    changes.truncate(LISTED);
    if over > 0 {
        changes.push(format!("and {over} more"));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Held { policy_set: digest.to_owned(), since, why, changes, denied: Vec::new(), more_denied: 0 }
}

/// How a candidate sees addresses.
struct View {
    addresses: BTreeMap<IpAddr, AddressValue>,
    prefixes: Vec<(IpNet, u32)>,
    /// The image's identity of a number.
    identities: BTreeMap<u32, u32>,
    endpoints: Vec<Option<u32>>,
}

impl View {
    fn new(node: &Node, c: &Candidate, seen: &Seen, numbers: &BTreeMap<usize, u32>) -> Self {
        let mut prefixes = node.prefixes(c);
        prefixes.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        let own = (0..).zip(&c.numbers.identities);
        Self {
            addresses: node.will_be_bound(c, seen, numbers).addresses(),
            prefixes,
            identities: own.filter_map(|(at, number)| Some(((*number)?, at))).collect(),
            endpoints: c.numbers.endpoints.clone(),
        }
    }

    fn identity(&self, ip: IpAddr) -> u32 {
        let by_prefix = || self.prefixes.iter().find(|(net, _)| net.contains(&ip)).map(|(_, n)| *n);
        self.addresses.get(&ip).map(|a| a.identity).or_else(by_prefix).unwrap_or(NO_IDENTITY)
    }

    /// None where the pod is not there any more: nothing of it is denied then.
    fn lookup(&self, image: &Image<'_>, p: &Pair) -> Option<Word> {
        let number = self.addresses.get(&p.own)?.endpoint.checked_sub(1)?;
        let endpoint = (*self.endpoints.get(number as usize)?)?;
        let identity = *self.identities.get(&self.identity(p.peer))?;
        let direction = if p.egress { Direction::Egress } else { Direction::Ingress };
        image.lookup(endpoint, direction, identity, p.coordinate()).ok()
    }

    fn say(&self, node: &Node, c: &Candidate, p: &Pair, cause: &str) -> String {
        let own = node.locals.iter().find(|e| e.addresses.contains(&p.own));
        let own = own.map_or_else(|| p.own.to_string(), crate::local::Local::full_name);
        let peer = match c.names.get(&self.identity(p.peer)) {
            Some(name) if *name != p.peer.to_string() => format!("{name} ({})", p.peer),
            _ => p.peer.to_string(),
        };
        let (from, to) = if p.egress { (own, peer) } else { (peer, own) };
        format!("{from} → {to} {}: {cause}", p.service())
    }
}
