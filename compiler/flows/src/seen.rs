//! Facts gathered: each distinct flow once, with how often, when and how it was seen.

use crate::record::{self, End, L7, Left, Port, Record, Said, Told, Verdict};
use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHasher};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::net::IpAddr;

/// Distinct flows that are kept apart. A recording of one cluster has far fewer, unless somebody scans it.
pub const DISTINCT: usize = 2_000_000;

/// Connections that are remembered, so that one that is seen at several places counts once.
const CONNECTIONS: usize = 1 << 18;
/// Nanoseconds after which the same addresses and ports are another connection.
const ANOTHER: i64 = 300_000_000_000;

/// What tells one flow from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId {
    /// Who opens it: index of [`Seens::ends`].
    pub from: u32,
    /// Who is asked.
    pub to: u32,
    /// What it carries.
    pub port: Port,
    /// What an application asks: 1 + index of [`Seens::requests`]; 0 for none.
    pub request: u32,
}

/// How a flow was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Records.
    pub records: u64,
    /// Connections; with a request, requests.
    pub connections: u64,
    /// Records by verdict: forwarded, dropped, audited.
    pub forwarded: u64,
    /// Dropped by policy.
    pub dropped: u64,
    /// Would have been dropped, in audit mode.
    pub audited: u64,
    /// The first time, in nanoseconds since 1970; `None` if no record says.
    pub first: Option<i64>,
    /// The last time.
    pub last: Option<i64>,
    /// Addresses of the first record, and the opener's port.
    pub example: (IpAddr, IpAddr, u16),
}

/// See the module documentation.
#[derive(Debug)]
pub struct Seens {
    ends: Vec<End<'static>>,
    known: HashTable<u32>,
    /// Texts of endpoints whose end does not depend on the address, and that end.
    texts: HashTable<(Box<str>, u32)>,
    requests: Vec<L7<'static>>,
    known_requests: HashTable<u32>,
    flows: HashMap<FlowId, Seen, FxBuildHasher>,
    connections: Vec<(u64, i64)>,
    /// Pieces that were read.
    pub pieces: u64,
    /// Records among them that count.
    pub records: u64,
    /// Records whose opener was told by ports alone.
    pub guessed: u64,
    /// Events that the recorder lost.
    pub lost: u64,
    /// Pieces that do not count, and why.
    pub left: BTreeMap<Left, u64>,
}

impl Default for Seens {
    fn default() -> Self {
        Self {
            ends: Vec::new(),
            known: HashTable::new(),
            texts: HashTable::new(),
            requests: Vec::new(),
            known_requests: HashTable::new(),
            flows: HashMap::default(),
            connections: vec![(0, 0); CONNECTIONS],
            pieces: 0,
            records: 0,
            guessed: 0,
            lost: 0,
            left: BTreeMap::new(),
        }
    }
}

impl Seens {
    /// Takes in one piece of a recording.
    pub fn add(&mut self, piece: crate::read::Piece<'_>) {
        self.pieces += 1;
        let said = match piece {
            crate::read::Piece::Object(text) => record::read(text),
            crate::read::Piece::TooLong(_) => Said::Left(Left::TooLong),
        };
        match said {
            Said::Record(r) => self.record(r),
            Said::Lost(n) => self.lost = self.lost.saturating_add(n),
            Said::Left(why) => self.leave(why),
        }
    }

    fn leave(&mut self, why: Left) {
        *self.left.entry(why).or_insert(0) += 1;
    }

    fn record(&mut self, r: Record<'_>) {
        let is_new = self.is_new(&r);
        let (example, verdict, time) = ((r.from.ip, r.to.ip, r.source_port), r.verdict, r.time);
        self.guessed += u64::from(r.guessed);
        let (Some(from), Some(to)) = (self.end(&r.from), self.end(&r.to)) else {
            return self.leave(Left::Unreadable);
        };
        let request =
            r.l7.map_or(0, |l7| 1 + intern(&mut self.requests, &mut self.known_requests, l7, L7::owned));
        let id = FlowId { from, to, port: r.port, request };
        if self.flows.len() >= DISTINCT && !self.flows.contains_key(&id) {
            return self.leave(Left::TooMany);
        }
        self.records += 1;
        let seen = self.flows.entry(id).or_insert(Seen {
            records: 0,
            connections: 0,
            forwarded: 0,
            dropped: 0,
            audited: 0,
            first: None,
            last: None,
            example,
        });
        seen.records += 1;
        seen.connections += u64::from(is_new || request != 0);
        match verdict {
            Verdict::Forwarded => seen.forwarded += 1,
            Verdict::Dropped => seen.dropped += 1,
            Verdict::Audited => seen.audited += 1,
        }
        if let Some(t) = time {
            // Clocks of nodes differ, and jump.
            seen.first = Some(seen.first.map_or(t, |f| f.min(t)));
            seen.last = Some(seen.last.map_or(t, |l| l.max(t)));
        }
    }

    /// The number of an end. What is told of a pod is read when it is first met.
    fn end(&mut self, told: &Told<'_>) -> Option<u32> {
        let hash = hash_of(&told.raw);
        if let Some((_, known)) = self.texts.find(hash, |(text, _)| **text == *told.raw) {
            return Some(*known);
        }
        let end = told.end()?;
        let fixed = !matches!(end, End::Address(..));
        let at = intern(&mut self.ends, &mut self.known, end, End::owned);
        if fixed && self.texts.len() < DISTINCT {
            let text = (Box::from(&*told.raw), at);
            self.texts.insert_unique(hash, text, |(text, _)| hash_of(text));
        }
        Some(at)
    }

    /// Whether a record is of a connection that was not seen lately: the same one is seen at both its nodes, and at
    /// several places of each.
    fn is_new(&mut self, r: &Record<'_>) -> bool {
        let mut h = FxHasher::default();
        (r.from.ip, r.to.ip, r.source_port, r.port).hash(&mut h);
        let hash = h.finish() | 1;
        let time = r.time.unwrap_or_default();
        let at = usize::try_from(hash >> 8).unwrap_or_default() % CONNECTIONS;
        let Some(slot) = self.connections.get_mut(at) else { return true };
        // A flow without ports of its opener (ICMP) is one as long as it goes on.
        let known = slot.0 == hash && time.saturating_sub(slot.1).saturating_abs() < ANOTHER;
        *slot = (hash, time);
        !known
    }

    /// Every end.
    pub fn ends(&self) -> &[End<'static>] {
        &self.ends
    }

    /// Every request.
    pub fn requests(&self) -> &[L7<'static>] {
        &self.requests
    }

    /// Every flow, in order of what it is, so that nothing depends on hashes.
    pub fn flows(&self) -> Vec<(FlowId, &Seen)> {
        let mut out: Vec<(FlowId, &Seen)> = self.flows.iter().map(|(id, s)| (*id, s)).collect();
        out.sort_unstable_by_key(|(id, _)| *id);
        out
    }

    /// Whether nothing counted.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

/// The hash of an endpoint's text: of its length and its beginning, where the numbers stand that pods do not share.
fn hash_of(text: &str) -> u64 {
    let head = text.as_bytes();
    FxBuildHasher.hash_one((head.len(), head.get(..64).unwrap_or(head)))
}

/// The index of something that is known, or becomes so.
fn intern<'a, T, O>(all: &mut Vec<O>, known: &mut HashTable<u32>, item: T, own: impl Fn(T) -> O) -> u32
where
    T: std::hash::Hash + PartialEq + 'a,
    O: std::hash::Hash,
    for<'o> &'o O: Same<T>,
{
    let hash = FxBuildHasher.hash_one(&item);
    let at = |i: &u32| all.get(*i as usize);
    if let Some(found) = known.find(hash, |i| at(i).is_some_and(|o| o.is(&item))) {
        return *found;
    }
    let next = u32::try_from(all.len()).unwrap_or(u32::MAX);
    all.push(own(item));
    let rehash = |i: &u32| all.get(*i as usize).map_or(0, |o| FxBuildHasher.hash_one(o));
    known.insert_unique(hash, next, rehash);
    next
}

/// Equality between what is kept and what is in a line.
trait Same<T> {
    fn is(self, other: &T) -> bool;
}

impl Same<End<'_>> for &End<'static> {
    fn is(self, other: &End<'_>) -> bool {
        *self == *other
    }
}

impl Same<L7<'_>> for &L7<'static> {
    fn is(self, other: &L7<'_>) -> bool {
        *self == *other
    }
}
