//! Which flows passed lately: what a change of policy is asked about before it counts.

use crate::kernel::address_of;
use portcullis_abi as abi;
use portcullis_abi::maps::{EGRESS, Event, FlowKey, KIND_NEW, VERDICT_DROPPED};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Flows that are kept; those seen longest ago go first.
const ROOM: usize = 32_768;

/// Flows between two addresses that policy cannot tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pair {
    /// The pod of this node.
    pub own: IpAddr,
    /// The other end.
    pub peer: IpAddr,
    /// Whether the pod began it.
    pub egress: bool,
    /// IP protocol.
    pub protocol: u8,
    /// Destination port, or ICMP type.
    pub port: u16,
}

impl Pair {
    /// Of an event; nothing of what was dropped, and of answers.
    fn of_event(e: &Event) -> Option<Self> {
        if e.verdict == VERDICT_DROPPED || e.kind != KIND_NEW || e.family == 0 {
            return None;
        }
        let port = if matches!(e.protocol, 1 | 58) { e.icmp_type.into() } else { e.destination_port };
        Some(Self::new(e.source, e.destination, e.direction, e.protocol, port))
    }

    /// Of a flow under way.
    pub fn of_flow(k: &FlowKey) -> Self {
        let port = match k.protocol {
            // Only echoes are tracked.
            1 => 8,
            58 => 128,
            _ => k.destination_port,
        };
        Self::new(k.source, k.destination, k.direction, k.protocol, port)
    }

    fn new(source: [u8; 16], destination: [u8; 16], direction: u8, protocol: u8, port: u16) -> Self {
        let (from, to) = (address_of(source), address_of(destination));
        let egress = direction == EGRESS;
        let (own, peer) = if egress { (from, to) } else { (to, from) };
        Self { own, peer, egress, protocol, port }
    }

    /// Where an image has it.
    pub fn coordinate(&self) -> u32 {
        let port = u32::from(self.port);
        match self.protocol {
            6 => port,
            17 => abi::COORDINATE_UDP + port,
            132 => abi::COORDINATE_SCTP + port,
            1 => abi::COORDINATE_ICMP + (port & 0xff),
            58 => abi::COORDINATE_ICMP6 + (port & 0xff),
            other => abi::COORDINATE_PROTOCOL + u32::from(other),
        }
    }

    /// `TCP 8080`.
    pub fn service(&self) -> String {
        match self.protocol {
            6 => format!("TCP {}", self.port),
            17 => format!("UDP {}", self.port),
            132 => format!("SCTP {}", self.port),
            1 => format!("ICMP type {}", self.port),
            58 => format!("ICMPv6 type {}", self.port),
            other => format!("IP protocol {other}"),
        }
    }
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Passed {
    seen: Mutex<BTreeMap<Pair, i64>>,
}

impl Passed {
    /// Adds events, at a time in nanoseconds since 1970.
    pub fn add(&self, events: &[Event], time: i64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for pair in events.iter().filter_map(Pair::of_event) {
            seen.insert(pair, time);
        }
        if seen.len() > ROOM {
            // A tenth at once, so that this is rare.
            let mut times: Vec<i64> = seen.values().copied().collect();
            let (_, oldest, _) = times.select_nth_unstable(ROOM / 10);
            let oldest = *oldest;
            seen.retain(|_, when| *when > oldest);
        }
    }

    /// All of them as text, for the next agent.
    pub fn save(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_string(&seen.iter().collect::<Vec<_>>()).unwrap_or_default()
    }

    /// Adds what an earlier agent saw. A text that is none adds nothing.
    pub fn load(&self, text: &str) {
        let known: Vec<(Pair, i64)> = serde_json::from_str(text).unwrap_or_default();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (pair, time) in known.into_iter().take(ROOM) {
            let latest = seen.entry(pair).or_insert(time);
            *latest = time.max(*latest);
        }
    }

    /// Those seen since a time.
    pub fn since(&self, time: i64) -> Vec<Pair> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(_, when)| **when >= time).map(|(pair, _)| *pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::address_bytes;
    use portcullis_abi::maps::{INGRESS, KIND_REPLY};

    fn event(n: u32) -> Event {
        Event {
            source: address_bytes(IpAddr::from(n.to_be_bytes())),
            destination: address_bytes([10, 0, 0, 1].into()),
            destination_port: 80,
            protocol: 6,
            direction: INGRESS,
            verdict: 1,
            family: 4,
            ..Event::default()
        }
    }

    #[test]
    fn what_passed_is_kept_with_its_end_on_this_node() {
        let passed = Passed::default();
        let dropped = Event { verdict: VERDICT_DROPPED, ..event(2) };
        let reply = Event { kind: KIND_REPLY, ..event(3) };
        passed.add(&[event(1), dropped, reply], 10);
        let all = passed.since(0);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!((all[0].own, all[0].egress, all[0].coordinate()), ([10, 0, 0, 1].into(), false, 80));
        assert!(passed.since(11).is_empty());
    }

    #[test]
    fn what_was_seen_is_known_to_the_next_agent() {
        let passed = Passed::default();
        passed.add(&[event(1), event(2)], 10);
        let next = Passed::default();
        next.add(&[event(2)], 20);
        next.load(&passed.save());
        assert_eq!((next.since(0).len(), next.since(20).len()), (2, 1));
        for text in ["", "{", "[[1,2]]", "null"] {
            next.load(text);
        }
        assert_eq!(next.since(0).len(), 2);
    }

    #[test]
    fn a_flood_keeps_what_was_seen_last() {
        let passed = Passed::default();
        for n in 0..100_000_u32 {
            passed.add(&[event(n)], n.into());
        }
        let all = passed.since(0);
        assert!(all.len() <= ROOM && all.len() > ROOM / 2, "{}", all.len());
        assert_eq!(passed.since(99_000).len(), 1000);
    }
}
