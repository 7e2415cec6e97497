//! What is counted of events, under Hubble's names where the meaning is the same.

use super::{Cause, drop_reason};
use portcullis_abi::maps::{
    Event, INGRESS, KIND_REPLY, VERDICT_AUDIT, VERDICT_DROPPED, VERDICT_FORWARDED, drop,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Ports that are counted one by one; others together.
const PORTS: usize = 1024;

/// How often and when last.
#[derive(Clone, Copy, Debug, Default)]
struct Hits {
    count: u64,
    last: i64,
}

/// Counts since the agent started.
#[derive(Debug, Default)]
pub struct Counts {
    since: i64,
    events: u64,
    processed: BTreeMap<(u8, u8, u8), u64>,
    drops: BTreeMap<(u8, u8, u8), u64>,
    verdicts: BTreeMap<(u8, u8, bool), u64>,
    ports: BTreeMap<(u8, Option<u16>), u64>,
    flags: BTreeMap<(u8, &'static str), u64>,
    icmp: BTreeMap<(u8, u8), u64>,
    rules: BTreeMap<(u64, u32), (Hits, Vec<String>)>,
    kernel_total: Option<u64>,
    kernel_lost: u64,
    queue_lost: u64,
}

impl Counts {
    /// None yet.
    pub fn new(since: i64) -> Self {
        Self { since, ..Self::default() }
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Counts an event.
    pub fn add(&mut self, e: &Event, cause: Option<&Cause>, time: i64) {
        self.events += 1;
        let protocol = (e.protocol, e.family);
        *self.processed.entry((e.verdict, protocol.0, protocol.1)).or_default() += 1;
        if e.verdict == VERDICT_DROPPED {
            *self.drops.entry((e.reason, protocol.0, protocol.1)).or_default() += 1;
        }
        if matches!(e.reason, 0 | drop::POLICY) {
            let by_default = cause.is_some_and(|c| c.text.starts_with("default deny"));
            *self.verdicts.entry((e.verdict, e.direction, by_default)).or_default() += 1;
        }
        if matches!(e.protocol, 6 | 17 | 132) && e.kind != KIND_REPLY && e.verdict != VERDICT_DROPPED {
            let mut key = (e.protocol, Some(e.destination_port));
            if !self.ports.contains_key(&key) && self.ports.len() >= PORTS {
                key.1 = None;
            }
            *self.ports.entry(key).or_default() += 1;
        }
        if e.protocol == 6 {
            let set = e.tcp_flags;
            let both = set & 0x12 == 0x12;
            for (has, name) in [
                (set & 1 != 0, "FIN"),
                (set & 4 != 0, "RST"),
                (both, "SYN-ACK"),
                (set & 2 != 0 && !both, "SYN"),
            ] {
                if has {
                    *self.flags.entry((e.family, name)).or_default() += 1;
                }
            }
        }
        if matches!((e.protocol, e.family), (1, 4) | (58, 6)) {
            *self.icmp.entry((e.family, e.icmp_type)).or_default() += 1;
        }
        if let Some(cause) = cause {
            let number = e.word >> portcullis_abi::word::CAUSE_SHIFT;
            let (hits, _) =
                self.rules.entry((e.generation, number)).or_insert_with(|| (Hits::default(), cause.rules()));
            hits.count += 1;
            hits.last = time;
        }
    }

    /// The kernel's count of events without room; how many are new. The first one is where it begins.
    pub fn kernel_lost(&mut self, total: u64) -> u64 {
        let new = self.kernel_total.map_or(0, |before| total.saturating_sub(before));
        self.kernel_total = Some(total);
        self.kernel_lost += new;
        new
    }

    /// Counts events that those who trace did not get.
    pub fn queue_lost(&mut self, n: u64) {
        self.queue_lost += n;
    }

    /// Every rule with its hits; of `rules`, those that had none too.
    pub fn rules(&self, rules: &BTreeSet<String>, report_allowed: bool) -> Value {
        let mut all: BTreeMap<&str, Hits> = rules.iter().map(|r| (r.as_str(), Hits::default())).collect();
        for (hits, of) in self.rules.values() {
            for rule in of {
                // One that is no more is of no interest.
                if let Some(sum) = all.get_mut(rule.as_str()) {
                    sum.count += hits.count;
                    sum.last = sum.last.max(hits.last);
                }
            }
        }
        let list: Vec<Value> = all
            .into_iter()
            .map(|(rule, h)| {
                let last = (h.count > 0).then_some(h.last / 1_000_000_000);
                json!({"rule": rule, "hits": h.count, "lastHit": last})
            })
            .collect();
        json!({
            "schema": "portcullis.dev/rules/v1",
            "since": self.since / 1_000_000_000,
            "reportAllowed": report_allowed,
            "rules": list,
        })
    }

    /// Prometheus' text; `missed` is what readers of the ring did not get.
    pub fn text(&self, rules: &BTreeSet<String>, missed: u64) -> String {
        let mut out = String::new();
        let mut metric = |name: &str, help: &str, values: Vec<(String, u64)>| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for (labels, value) in values {
                let _ = writeln!(out, "{name}{{{labels}}} {value}");
            }
        };
        let of = |map: &BTreeMap<(u8, u8, u8), u64>, label: &dyn Fn(u8, &str) -> String| -> Vec<_> {
            map.iter().map(|((k, p, f), n)| (label(*k, protocol(*p, *f)), *n)).collect()
        };
        metric(
            "hubble_flows_processed_total",
            "Flows that were seen.",
            of(&self.processed, &|v, p| {
                let kind = if v == VERDICT_DROPPED { "Drop" } else { "PolicyVerdict" };
                format!("protocol=\"{p}\",subtype=\"\",type=\"{kind}\",verdict=\"{}\"", verdict(v))
            }),
        );
        metric(
            "hubble_drop_total",
            "Packets that were dropped.",
            of(&self.drops, &|r, p| format!("protocol=\"{p}\",reason=\"{}\"", drop_reason(r).as_str_name())),
        );
        let verdicts = self.verdicts.iter().map(|((v, d, by_default), n)| {
            let direction = if *d == INGRESS { "ingress" } else { "egress" };
            let matched = if *by_default { "none" } else { "unknown" };
            let action = verdict(*v).to_ascii_lowercase();
            (format!("action=\"{action}\",direction=\"{direction}\",match=\"{matched}\""), *n)
        });
        metric("hubble_policy_verdicts_total", "Verdicts of policies.", verdicts.collect());
        let ports = self.ports.iter().map(|((p, port), n)| {
            let port = port.map_or_else(|| "other".to_owned(), |p| p.to_string());
            (format!("port=\"{port}\",protocol=\"{}\"", protocol(*p, 0)), *n)
        });
        metric("hubble_port_distribution_total", "Flows that passed, by destination port.", ports.collect());
        let flags =
            self.flags.iter().map(|((f, flag), n)| (format!("family=\"IPv{f}\",flag=\"{flag}\""), *n));
        metric("hubble_tcp_flags_total", "TCP flags of packets that were seen.", flags.collect());
        let icmp = self.icmp.iter().map(|((f, t), n)| (format!("family=\"IPv{f}\",type=\"{t}\""), *n));
        metric(
            "hubble_icmp_total",
            "ICMP messages that were seen, by the number of their type.",
            icmp.collect(),
        );
        let lost = [
            ("perf_event_ring_buffer", self.kernel_lost),
            ("observer_events_queue", self.queue_lost),
            ("hubble_ring_buffer", missed),
        ];
        let lost = lost.map(|(s, n)| (format!("source=\"{s}\""), n));
        metric("hubble_lost_events_total", "Events that did not get to where they should.", lost.into());
        let (mut hits, mut last) = (Vec::new(), Vec::new());
        let v = self.rules(rules, true);
        for r in v.get("rules").and_then(Value::as_array).into_iter().flatten() {
            let rule = r.get("rule").and_then(Value::as_str).unwrap_or_default();
            let label = format!("rule=\"{}\"", crate::metrics::escape(rule));
            hits.push((label.clone(), r.get("hits").and_then(Value::as_u64).unwrap_or_default()));
            last.extend(r.get("lastHit").and_then(Value::as_u64).map(|t| (label, t)));
        }
        metric("portcullis_rule_hits_total", "Flows that a rule decided.", hits);
        let _ = writeln!(
            out,
            "# HELP portcullis_rule_last_hit_seconds When a rule last decided, since 1970.\n\
             # TYPE portcullis_rule_last_hit_seconds gauge"
        );
        for (labels, value) in last {
            let _ = writeln!(out, "portcullis_rule_last_hit_seconds{{{labels}}} {value}");
        }
        out
    }
}

fn verdict(v: u8) -> &'static str {
    match v {
        VERDICT_FORWARDED => "FORWARDED",
        VERDICT_DROPPED => "DROPPED",
        VERDICT_AUDIT => "AUDIT",
        _ => "VERDICT_UNKNOWN",
    }
}

fn protocol(p: u8, family: u8) -> &'static str {
    match (p, family) {
        (6, _) => "TCP",
        (17, _) => "UDP",
        (132, _) => "SCTP",
        (1, 4) => "ICMPv4",
        (58, 6) => "ICMPv6",
        _ => "Unknown flow",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_without_a_hit_are_listed_too() {
        let mut c = Counts::new(0);
        let e = Event {
            verdict: VERDICT_DROPPED,
            reason: drop::POLICY,
            protocol: 6,
            family: 4,
            tcp_flags: 2,
            ..Event::default()
        };
        let cause = Cause::parse("default deny by NetworkPolicy a/b at f.yaml:1:1");
        c.add(&e, Some(&cause), 7_000_000_000);
        let rules: BTreeSet<String> =
            ["default deny by NetworkPolicy a/b at f.yaml:1:1", "allow by NetworkPolicy a/c at f.yaml:9:1"]
                .map(str::to_owned)
                .into();
        let v = c.rules(&rules, false);
        assert_eq!(v.pointer("/rules/0/hits"), Some(&json!(0)));
        assert_eq!(v.pointer("/rules/1/lastHit"), Some(&json!(7)));
        let text = c.text(&rules, 3);
        assert!(text.contains("hubble_drop_total{protocol=\"TCP\",reason=\"POLICY_DENIED\"} 1"), "{text}");
        assert!(text.contains("hubble_lost_events_total{source=\"hubble_ring_buffer\"} 3"), "{text}");
        assert!(text.contains("hubble_tcp_flags_total{family=\"IPv4\",flag=\"SYN\"} 1"), "{text}");
        assert_eq!((c.kernel_lost(5), c.kernel_lost(9)), (0, 4));
    }
}
