//! What the programs tell of packets, in words: who, to whom, what became of it, and by which line.

use crate::kernel::address_of;
use crate::node::Record;
use portcullis_abi::maps::{
    EGRESS, Event, INGRESS, KIND_REPLY, VERDICT_AUDIT, VERDICT_DROPPED, VERDICT_FORWARDED, drop,
};
use portcullis_abi::word;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What numbers in events stand for.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    /// Generations whose words may still come.
    pub records: BTreeMap<u64, Record>,
    /// Endpoints by number.
    pub endpoints: BTreeMap<u32, String>,
}

/// Generations that are kept for events.
const KEPT: usize = 8;

impl Dictionary {
    /// Adds a generation.
    pub fn add(&mut self, record: &Record) {
        self.records.insert(record.generation, record.clone());
        while self.records.len() > KEPT {
            self.records.pop_first();
        }
    }

    /// What decided, in words.
    pub fn cause(&self, e: &Event) -> String {
        match e.reason {
            0 | drop::POLICY | drop::NO_PROXY | drop::AUTHENTICATION => {
                let number = e.word >> word::CAUSE_SHIFT;
                let cause = self.records.get(&e.generation).and_then(|r| r.causes.get(number as usize));
                let cause = match cause {
                    Some(text) => text.clone(),
                    None => format!("cause {number} of generation {}, which is not known here", e.generation),
                };
                match e.reason {
                    drop::NO_PROXY => format!("no proxy on this node, which is asked for: {cause}"),
                    drop::AUTHENTICATION => {
                        format!("no authentication on this node, which is asked for: {cause}")
                    }
                    _ => cause,
                }
            }
            other => reason(other).to_owned(),
        }
    }

    fn identity(&self, e: &Event, number: u32) -> Option<&str> {
        self.records.get(&e.generation).and_then(|r| r.name(number))
    }

    /// Both ends: `payments/web 10.0.0.2:40112`.
    fn ends(&self, e: &Event) -> (String, String) {
        let own = self.endpoints.get(&e.endpoint).map(String::as_str);
        let peer = self.identity(e, e.peer);
        let (from, to) = if e.direction == EGRESS { (own, peer) } else { (peer, own) };
        let end = |name: Option<&str>, address: [u8; 16], port: u16| {
            let ip = address_of(address);
            let at = match ip {
                _ if !has_ports(e.protocol) => ip.to_string(),
                IpAddr::V4(ip) => format!("{ip}:{port}"),
                IpAddr::V6(ip) => format!("[{ip}]:{port}"),
            };
            match name {
                Some(name) if !name.is_empty() => format!("{name} {at}"),
                _ => at,
            }
        };
        (end(from, e.source, e.source_port), end(to, e.destination, e.destination_port))
    }

    /// One line for people, without its time.
    pub fn line(&self, e: &Event) -> String {
        let (from, to) = self.ends(e);
        let side = if e.direction == INGRESS { "ingress" } else { "egress" };
        format!(
            "{:<8} {side:<7} {from} → {to} {}: {} (generation {})",
            verdict(e.verdict),
            what(e),
            self.cause(e),
            e.generation
        )
    }

    /// The event as JSON.
    pub fn json(&self, e: &Event) -> Value {
        json!({
            "schema": "portcullis.dev/trace/v1",
            "verdict": verdict(e.verdict),
            "direction": if e.direction == INGRESS { "ingress" } else { "egress" },
            "endpoint": self.endpoints.get(&e.endpoint),
            "peer": self.identity(e, e.peer),
            "source": {"ip": address_of(e.source).to_string(), "port": e.source_port},
            "destination": {"ip": address_of(e.destination).to_string(), "port": e.destination_port},
            "protocol": e.protocol,
            "what": what(e),
            "reason": e.reason,
            "reply": e.kind == KIND_REPLY,
            "cause": self.cause(e),
            "generation": e.generation,
            "bytes": e.length,
            "monotonicNanoseconds": e.time,
        })
    }
}

const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 132)
}

fn verdict(v: u8) -> &'static str {
    match v {
        VERDICT_FORWARDED => "ALLOWED",
        VERDICT_DROPPED => "DROPPED",
        VERDICT_AUDIT => "AUDIT",
        _ => "UNKNOWN",
    }
}

fn what(e: &Event) -> String {
    match (e.protocol, e.family) {
        (6, _) => "TCP".to_owned(),
        (17, _) => "UDP".to_owned(),
        (132, _) => "SCTP".to_owned(),
        (1, 4) => format!("ICMP type {}", e.icmp_type),
        (58, 6) => format!("ICMPv6 type {}", e.icmp_type),
        (_, 0) => "a packet that is no IP".to_owned(),
        (n, _) => format!("protocol {n}"),
    }
}

/// A `DROP_` code in words.
pub fn reason(code: u8) -> &'static str {
    match code {
        drop::INVALID_SOURCE => "the source is not an address of the pod",
        drop::POLICY => "policy",
        drop::INVALID_PACKET => "the IP header is damaged",
        drop::TRUNCATED => "the transport header is cut short",
        drop::UNSUPPORTED_L3 => "neither IPv4 nor IPv6 nor ARP",
        drop::CONNTRACK_FULL => "the flow could not be tracked",
        drop::EXTENSION_HEADER => "IPv6 extension headers that cannot be followed",
        drop::NO_POLICY => "no policy is loaded for the pod",
        drop::INVALID_IDENTITY => "nobody is known at the other address",
        drop::NO_BACKEND => "a service without an endpoint that may be chosen",
        drop::NO_MAPPING => "no address and port are left to translate a service's flow to",
        drop::UNMAPPABLE => "SCTP to another port of a service",
        drop::CLUSTER_IP => "a cluster address from outside",
        drop::SOURCE_RANGE => "a client outside the ranges of a load balancer",
        drop::NO_PROXY => "no proxy on this node",
        drop::VLAN => "a VLAN tag",
        drop::AUTHENTICATION => "no authentication on this node",
        _ => "an unknown reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::address_bytes;

    fn event() -> Event {
        Event {
            generation: 3,
            source: address_bytes("10.0.0.2".parse().unwrap()),
            destination: address_bytes("10.0.0.3".parse().unwrap()),
            word: 1 << word::CAUSE_SHIFT,
            endpoint: 4,
            peer: 17,
            source_port: 40_000,
            destination_port: 8080,
            protocol: 6,
            family: 4,
            direction: INGRESS,
            verdict: VERDICT_DROPPED,
            reason: drop::POLICY,
            ..Event::default()
        }
    }

    fn dictionary() -> Dictionary {
        let mut d = Dictionary::default();
        d.endpoints.insert(4, "payments/api".to_owned());
        let record = Record {
            generation: 3,
            names: [(17, "payments/web".to_owned())].into(),
            causes: vec!["no policy selects it".to_owned(), "default deny by X at x.yaml:3:1".to_owned()],
            ..Record::default()
        };
        d.add(&record);
        d
    }

    #[test]
    fn a_drop_is_told_with_both_ends_and_the_line_that_decided() {
        assert_eq!(
            dictionary().line(&event()),
            "DROPPED  ingress payments/web 10.0.0.2:40000 → payments/api 10.0.0.3:8080 TCP: default deny by X at \
             x.yaml:3:1 (generation 3)"
        );
    }

    #[test]
    fn what_is_not_known_is_said_so() {
        let mut e = event();
        e.generation = 9;
        assert!(dictionary().line(&e).contains("cause 1 of generation 9, which is not known here"));
        e.reason = drop::INVALID_SOURCE;
        assert!(dictionary().line(&e).contains("the source is not an address of the pod"));
    }
}
