//! Which of the recorded flows are to pass.

use super::{Keep, SuggestArgs};
use crate::exit::Failure;
use crate::recording::{Judged, Refused};
use crate::resolve::{Port, parse_port};
use portcullis_flows::L7;
use portcullis_ir::{Direction, FlowPort, RuleId, Verdict};
use portcullis_sema::diff::{Ask, Told};
use portcullis_suggest::{Asked, Refusal, Wanted};
use std::collections::{BTreeMap, BTreeSet};

/// What was asked for on the command line.
pub(super) struct Filter {
    keep: Keep,
    from: Vec<String>,
    to: Vec<String>,
    ports: Vec<FlowPort>,
}

impl Filter {
    pub(super) fn read(args: &SuggestArgs) -> Result<Self, Failure> {
        let mut ports = Vec::new();
        for text in &args.port {
            ports.push(match parse_port(text, None)? {
                Port::Number(l4, n) => FlowPort::L4(l4, n),
                Port::Icmp(v6, t) => FlowPort::Icmp(v6, t),
                Port::Name(..) => {
                    return Err(Failure::new(
                        format!("--port {text} is a name, and recordings have numbers"),
                        "give the number: 8080, 53/UDP, 8/ICMP",
                    ));
                }
            });
        }
        Ok(Self { keep: args.keep, from: args.from.clone(), to: args.to.clone(), ports })
    }

    fn takes(&self, from: &str, to: &str, port: FlowPort) -> bool {
        let one = |list: &[String], name: &str| {
            list.is_empty()
                || list.iter().any(|w| w == name || (w.ends_with('/') && name.starts_with(w.as_str())))
        };
        one(&self.from, from) && one(&self.to, to) && (self.ports.is_empty() || self.ports.contains(&port))
    }
}

/// Flows that are to pass, each once.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) wanted: Vec<Wanted>,
    /// Their questions, both sides being the candidate.
    pub(super) asks: Vec<Ask>,
    /// Their ends in words, and how many of each there were.
    pub(super) said: Vec<(String, String, u64)>,
    /// Flows of the recording that the candidate denies and that were not chosen.
    pub(super) others: u64,
    /// Flows of the recording.
    pub(super) all: u64,
    /// Requests that the candidate's L7 rules refuse and the base's let through.
    pub(super) refused: u64,
    /// Each of them, by the side that refuses it.
    pub(super) refusals: Vec<Refusal>,
    /// Requests on connections that the candidate denies.
    pub(super) requests: u64,
}

/// Requests that are refused, and one of them in words.
pub(super) fn requests(judged: &Judged<'_>, refused: &[Refused<'_>], filter: &Filter) -> (u64, String) {
    let places: BTreeSet<usize> = refused.iter().map(|r| r.at).collect();
    let mut out = (0, String::new());
    for (at, one) in judged.each().into_iter().enumerate() {
        if places.contains(&at) && filter.takes(&one.from, &one.to, one.ask.port) {
            out.0 += one.flows;
            if let Some(request) = one.request.filter(|_| out.1.is_empty()) {
                out.1 = format!("{request}, {} → {} {}", one.from, one.to, one.ask.port);
            }
        }
    }
    out
}

impl Chosen {
    pub(super) fn of(judged: &Judged<'_>, told: &[Told], refused: &[Refused<'_>], filter: &Filter) -> Self {
        let mut out = Self::default();
        let by_place: BTreeMap<usize, &Refused<'_>> = refused.iter().map(|r| (r.at, r)).collect();
        let mut known: BTreeMap<(String, String, FlowPort, String), usize> = BTreeMap::new();
        for (at, (one, told)) in judged.each().into_iter().zip(told).enumerate() {
            out.all += one.flows;
            if let Some(r) = by_place.get(&at).filter(|_| filter.takes(&one.from, &one.to, one.ask.port)) {
                out.refused += one.flows;
                let asked = match r.request {
                    L7::Http { method, path, .. } => {
                        Asked::Http { method: method.to_string(), path: path.to_string() }
                    }
                    L7::Dns(name) => Asked::Dns(name.to_string()),
                };
                let refusal = |(direction, rules): &(Direction, Vec<RuleId>)| Refusal {
                    direction: *direction,
                    rules: rules.clone(),
                    asked: asked.clone(),
                };
                out.refusals.extend(r.by.iter().map(refusal));
                continue;
            }
            if told.head != Verdict::Denied {
                continue;
            }
            let wanted = match filter.keep {
                Keep::NewlyDenied => told.base == Verdict::Allowed,
                Keep::Passed => one.passed,
                Keep::All => true,
            };
            if !wanted || !filter.takes(&one.from, &one.to, one.ask.port) {
                out.others += one.flows;
                continue;
            }
            let [_, from] = &one.ask.from;
            let [_, to] = &one.ask.to;
            if one.request.is_some() {
                out.requests += one.flows;
            }
            // A request is no flow beside its connection.
            let key = (one.from.clone(), one.to.clone(), one.ask.port, format!("{from:?} {to:?}"));
            let at = *known.entry(key).or_insert_with(|| {
                out.wanted.push(Wanted { from: from.clone(), to: to.clone(), port: one.ask.port });
                let both = |p: &portcullis_ir::PeerRef| [p.clone(), p.clone()];
                out.asks.push(Ask { from: both(from), to: both(to), port: one.ask.port });
                out.said.push((one.from, one.to, 0));
                out.wanted.len() - 1
            });
            if let Some((_, _, n)) = out.said.get_mut(at) {
                *n += one.flows;
            }
        }
        out
    }

    /// Flows that are to pass.
    pub(super) fn flows(&self) -> u64 {
        self.said.iter().map(|(_, _, n)| n).sum()
    }
}
