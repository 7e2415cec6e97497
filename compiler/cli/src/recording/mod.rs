//! Recordings of flows: read, lined up with two sides, and judged by both.

mod ends;
mod follow;
mod l7;

use crate::args::Global;
use crate::exit::Failure;
use crate::output;
use crate::session::Side;
use ends::Lineup;
pub(crate) use follow::follow;
use portcullis_flows::read::{open, pieces};
use portcullis_flows::{FlowId, L7, Port, Seen, Seens};
use portcullis_ir::{Cluster, Direction, FlowPort, Options, PolicySet, RuleId, Verdict};
use portcullis_report::model::{Recording, Tally, Traffic};
use portcullis_sema::diff::{Ask, FindingKind, Review, Told};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Reads recordings; `-` is standard input.
pub(crate) fn read(paths: &[PathBuf], global: &Global) -> Result<Seens, Failure> {
    let mut out = Seens::default();
    for path in paths {
        one(path, &mut out, global).map_err(|e| unreadable(path, &e))?;
    }
    not_empty(out, paths)
}

fn unreadable(path: &Path, e: &io::Error) -> Failure {
    Failure::new(
        format!("{} could not be read: {e}", portcullis_files::tidy(path)),
        "give files as `hubble observe -o json` or Hubble's exporter wrote them, plain, gzip or zstd; `-` is standard input",
    )
}

fn not_empty(seens: Seens, paths: &[PathBuf]) -> Result<Seens, Failure> {
    if seens.pieces > 0 {
        return Ok(seens);
    }
    let names: Vec<String> = paths.iter().map(|p| portcullis_files::tidy(p)).collect();
    Err(Failure::new(
        format!("there is no flow in {}", names.join(", ")),
        "record some: `hubble observe --since 1h -o json > flows.json`",
    ))
}

fn one(path: &Path, out: &mut Seens, global: &Global) -> io::Result<()> {
    let bar = (!global.quiet && io::stderr().is_terminal()).then(Bar::default);
    if path.as_os_str() == "-" {
        let stdin = io::stdin().lock();
        return pieces(open(Watched { inner: stdin, size: None, read: 0, bar })?, |p| out.add(p));
    }
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    pieces(open(Watched { inner: file, size: Some(size), read: 0, bar })?, |p| out.add(p))
}

/// What is shown while a recording is read: how far it is, how fast, and how long it will take.
struct Bar {
    /// Bytes when it was shown last.
    shown: u64,
    began: Instant,
}

impl Default for Bar {
    fn default() -> Self {
        Self { shown: 0, began: Instant::now() }
    }
}

/// `[######··············] 31 %, 3,174 of 10,240 MiB, 640 MiB/s, 11 s left`; of a pipe nobody knows the end.
fn bar(read: u64, size: Option<u64>, seconds: f64) -> String {
    const WIDTH: u64 = 20;
    let mib = |n: u64| n >> 20;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = read as f64 / seconds.max(0.001);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
    let speed = (rate / f64::from(1 << 20)) as u64;
    let Some(size) = size.filter(|s| *s > 0) else { return format!("{} MiB read, {speed} MiB/s", mib(read)) };
    let done = read.min(size);
    let of =
        |whole: u64| u64::try_from(u128::from(done) * u128::from(whole) / u128::from(size)).unwrap_or(whole);
    let full = of(WIDTH);
    let signs: String = (0..WIDTH).map(|n| if n < full { '#' } else { '·' }).collect();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "for people"
    )]
    let left = ((size - done) as f64 / rate.max(1.0)).ceil() as u64;
    format!("[{signs}] {} %, {} of {} MiB, {speed} MiB/s, {left} s left", of(100), mib(done), mib(size))
}

/// Counts what is read, and shows it where somebody is watching.
struct Watched<R> {
    inner: R,
    size: Option<u64>,
    read: u64,
    bar: Option<Bar>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        const STEP: u64 = 16 << 20;
        let n = self.inner.read(buf)?;
        self.read += n as u64;
        if let Some(shown) = &mut self.bar
            && self.read >= shown.shown + STEP
        {
            shown.shown = self.read;
            let text = bar(self.read, self.size, shown.began.elapsed().as_secs_f64());
            output::stderr(&format!("\r\x1b[K{text}"));
        }
        Ok(n)
    }
}

/// A recording lined up with both sides.
pub(crate) struct Judged<'s> {
    seens: &'s Seens,
    lineup: Lineup,
    asks: Vec<Ask>,
    /// Which of the recording's flows each question is about.
    of: Vec<FlowId>,
    unplaced: BTreeMap<&'static str, u64>,
}

/// Lines a recording up with the sides, which get the pods that only the recording knows.
pub(crate) fn line_up<'s>(
    seens: &'s Seens,
    base: &mut Side<'_>,
    head: &mut Side<'_>,
    options: &Options,
) -> Judged<'s> {
    let mut lineup = Lineup::new(&base.cluster, &head.cluster, &options.cluster_name);
    for end in seens.ends() {
        lineup.add(end, &mut base.cluster, &mut head.cluster);
    }
    let (mut asks, mut of) = (Vec::new(), Vec::new());
    let mut unplaced: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (id, seen) in seens.flows() {
        let port = match id.port {
            Port::L4(l4, port) => FlowPort::L4(l4, port),
            Port::Icmp(v6, kind) => FlowPort::Icmp(v6, kind),
        };
        match lineup.ask(id.from, id.to, port, &base.cluster, &head.cluster) {
            Ok(ask) => {
                asks.push(ask);
                of.push(id);
            }
            Err(why) => *unplaced.entry(why).or_insert(0) += seen.connections,
        }
    }
    Judged { seens, lineup, asks, of, unplaced }
}

/// One kind of change, while it is counted.
#[derive(Default)]
struct Counting {
    flows: u64,
    pairs: BTreeSet<(String, String)>,
}

impl Counting {
    fn done(&self) -> Tally {
        Tally { flows: self.flows, pairs: self.pairs.len() as u64 }
    }
}

/// A request that becomes refused.
pub(crate) struct Refused<'j> {
    /// Its place among the questions.
    pub(crate) at: usize,
    /// What was asked.
    pub(crate) request: &'j L7<'static>,
    /// The sides that refuse it, with the rules that send it to the proxy.
    pub(crate) by: Vec<(Direction, Vec<RuleId>)>,
}

/// One distinct flow of a recording.
pub(crate) struct One<'j> {
    /// The question about it; its place among the questions is that of the flow.
    pub(crate) ask: &'j Ask,
    /// Who opened it, in words: a workload, or an address.
    pub(crate) from: String,
    /// Who was asked.
    pub(crate) to: String,
    /// Connections; requests where it is one.
    pub(crate) flows: u64,
    /// It passed at least once when it was recorded.
    pub(crate) passed: bool,
    /// What an application asked, in words.
    pub(crate) request: Option<String>,
}

impl Judged<'_> {
    /// Every flow, in the order of the questions.
    pub(crate) fn each(&self) -> Vec<One<'_>> {
        let flows: BTreeMap<FlowId, &Seen> = self.seens.flows().into_iter().collect();
        let pairs = self.asks.iter().zip(&self.of);
        let one = |(ask, id)| {
            let id: &FlowId = id;
            let seen = flows.get(id);
            let request = id.request.checked_sub(1).and_then(|at| self.seens.requests().get(at as usize));
            One {
                ask,
                from: self.lineup.words(id.from),
                to: self.lineup.words(id.to),
                flows: seen.map_or(0, |s| s.connections),
                passed: seen.is_some_and(|s| s.forwarded + s.audited > 0),
                request: request.map(l7::words),
            }
        };
        pairs.map(one).collect()
    }

    /// Requests that the head's proxies refuse and the base's let through, on connections that both let through.
    pub(crate) fn refused(
        &self,
        told: &[Told],
        sides: [(&PolicySet, &Cluster); 2],
        options: &Options,
    ) -> Vec<Refused<'_>> {
        let matcher = l7::Matcher::default();
        let [base, head] = sides;
        let mut out = Vec::new();
        for (at, ((ask, id), told)) in self.asks.iter().zip(&self.of).zip(told).enumerate() {
            if told.base != Verdict::Allowed || told.head != Verdict::Allowed {
                continue;
            }
            let Some(request) = id.request.checked_sub(1).and_then(|n| self.seens.requests().get(n as usize))
            else {
                continue;
            };
            if matcher.allows(base, 0, ask, request, options) == Some(true)
                && matcher.allows(head, 1, ask, request, options) == Some(false)
            {
                let by = matcher.refusing(head, 1, ask, request, options);
                out.push(Refused { at, request, by });
            }
        }
        out
    }

    /// What is asked of both sides.
    pub(crate) fn asks(&self) -> &[Ask] {
        &self.asks
    }

    /// The recording's part of a report. The traffic stands in the order of the review's findings.
    pub(crate) fn summary(
        self,
        told: &[Told],
        review: &Review,
        sides: [&Side<'_>; 2],
        options: &Options,
    ) -> (Recording, Vec<Option<Traffic>>) {
        let flows: BTreeMap<FlowId, &Seen> = self.seens.flows().into_iter().collect();
        let mut traffic: Vec<Option<Traffic>> = vec![None; review.findings.len()];
        let mut pairs: Vec<BTreeMap<(String, String, FlowPort), u64>> =
            vec![BTreeMap::new(); review.findings.len()];
        let (mut denied, mut allowed, mut l7) =
            (Counting::default(), Counting::default(), Counting::default());
        let (mut connections, mut requests) = (0u64, 0u64);
        let (mut dropped_then, mut passed_then) = (Counting::default(), Counting::default());
        let mut audited = 0;
        let mut unjudged = 0u64;
        let matcher = l7::Matcher::default();
        for ((ask, id), told) in self.asks.iter().zip(&self.of).zip(told) {
            let Some(seen) = flows.get(id) else { continue };
            let pair = (self.lineup.words(id.from), self.lineup.words(id.to));
            let is_request = id.request != 0;
            *(if is_request { &mut requests } else { &mut connections }) += seen.connections;
            if !is_request {
                audited += seen.audited.min(seen.connections);
                // What the recording says beside what the base says.
                let refused = seen.dropped + seen.audited;
                if refused > 0 && told.base == Verdict::Allowed {
                    dropped_then.flows += refused.min(seen.connections);
                    dropped_then.pairs.insert(pair.clone());
                } else if refused == 0 && told.base == Verdict::Denied {
                    passed_then.flows += seen.connections;
                    passed_then.pairs.insert(pair.clone());
                }
            }
            let asked = id.request.checked_sub(1).and_then(|at| self.seens.requests().get(at as usize));
            let by_l7 =
                asked.filter(|_| told.base == Verdict::Allowed && told.head == Verdict::Allowed).map(|r| {
                    let mut of = [None, None];
                    for (at, (side, slot)) in sides.iter().zip(&mut of).enumerate() {
                        *slot = matcher.allows((&side.policies, &side.cluster), at, ask, r, options);
                    }
                    of
                });
            let kind = match (told.base, told.head, by_l7) {
                (Verdict::Allowed, Verdict::Denied, _) | (_, _, Some([Some(true), Some(false)])) => {
                    Some(FindingKind::Denied)
                }
                (Verdict::Denied, Verdict::Allowed, _) | (_, _, Some([Some(false), Some(true)])) => {
                    Some(FindingKind::Allowed)
                }
                (_, _, Some([None, _] | [_, None])) => {
                    unjudged += seen.connections;
                    None
                }
                _ => None,
            };
            let finding = told.finding.and_then(|at| Some((at, review.findings.get(at)?)));
            // A connection whose proxy's rules change is worth a word even if no request of it is known.
            let is_l7 = finding.is_some_and(|(_, f)| f.kind == FindingKind::L7);
            let counting = match kind {
                Some(FindingKind::Denied) => Some(&mut denied),
                Some(FindingKind::Allowed) => Some(&mut allowed),
                _ if is_l7 && !is_request => Some(&mut l7),
                _ => None,
            };
            // Requests of a connection that is denied itself are not counted beside it.
            let doubled = is_request && by_l7.is_none();
            if let Some(counting) = counting.filter(|_| !doubled) {
                counting.flows += seen.connections;
                counting.pairs.insert(pair.clone());
            }
            let Some((at, f)) = finding else { continue };
            if kind.is_none() && !is_l7 {
                continue;
            }
            let (Some(slot), Some(pairs)) = (traffic.get_mut(at), pairs.get_mut(at)) else { continue };
            *pairs.entry((pair.0, pair.1, ask.port)).or_insert(0) += seen.connections;
            let t = slot.get_or_insert_with(Traffic::default);
            t.records += seen.records;
            if !is_request {
                t.flows += seen.connections;
            } else if f.kind == FindingKind::L7 {
                match kind {
                    Some(FindingKind::Denied) => t.requests_denied += seen.connections,
                    Some(FindingKind::Allowed) => t.requests_allowed += seen.connections,
                    _ => {}
                }
                if kind.is_some() && t.request.is_empty() {
                    t.request = asked.map(l7::words).unwrap_or_default();
                }
            }
            t.note(seen.first, seen.last);
            if t.example.is_empty() {
                t.example = self.example(id, seen);
            }
        }
        for (t, pairs) in traffic.iter_mut().zip(pairs) {
            let Some(t) = t else { continue };
            t.pairs =
                pairs.into_iter().map(|((from, to, port), n)| (from, to, port.to_string(), n)).collect();
            t.pairs.sort_by(|a, b| b.3.cmp(&a.3).then_with(|| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2))));
        }
        let recording = Recording {
            flows: connections,
            requests,
            denied: denied.done(),
            allowed: allowed.done(),
            l7: l7.done(),
            dropped_then: dropped_then.done(),
            passed_then: passed_then.done(),
            audited,
            notes: self.lineup.notes(self.seens.guessed, unjudged),
            ..self.as_read()
        };
        (recording, traffic)
    }

    /// How much was read, and what of it was not looked at.
    pub(crate) fn as_read(&self) -> Recording {
        let said = |(why, n): (&portcullis_flows::Left, &u64)| (why.words().to_owned(), *n, why.is_loss());
        let mut left: Vec<(String, u64, bool)> = self.seens.left.iter().map(said).collect();
        left.sort_by(|a, b| (b.2, b.1, &a.0).cmp(&(a.2, a.1, &b.0)));
        Recording {
            pieces: self.seens.pieces,
            records: self.seens.records,
            lost: self.seens.lost,
            left,
            unplaced: self.unplaced.iter().map(|(why, n)| ((*why).to_owned(), *n)).collect(),
            ..Recording::default()
        }
    }

    fn example(&self, id: &FlowId, seen: &Seen) -> String {
        let (from, to, port) = seen.example;
        let with = |ip: std::net::IpAddr, port: u16| {
            if port == 0 { ip.to_string() } else { std::net::SocketAddr::new(ip, port).to_string() }
        };
        let to_port = if let Port::L4(_, n) = id.port { n } else { 0 };
        let one = |end: u32, address: String| match self.lineup.pod(end) {
            Some(pod) => format!("{pod} ({address})"),
            None => address,
        };
        format!("{} → {}", one(id.from, with(from, port)), one(id.to, with(to, to_port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_far_and_how_long() {
        let gib = 1u64 << 30;
        assert_eq!(
            bar(3 * gib, Some(10 * gib), 6.0),
            "[######··············] 30 %, 3072 of 10240 MiB, 512 MiB/s, 14 s left"
        );
        assert_eq!(bar(gib, None, 2.0), "1024 MiB read, 512 MiB/s");
        // A file that has grown since is not read to more than its end.
        assert!(bar(2 * gib, Some(gib), 1.0).starts_with("[####################] 100 %, 1024 of 1024 MiB"));
        assert_eq!(bar(0, Some(0), 0.0), "0 MiB read, 0 MiB/s");
        assert!(bar(u64::MAX, Some(u64::MAX), 1.0).starts_with("[####################] 100 %"));
    }
}
