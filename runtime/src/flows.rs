//! Events as Hubble's flows, and what is counted of them. The reader of the kernel's ring adds to a ring
//! and to counts here; making a flow of an event is the work of whoever reads it.

mod counts;

pub use counts::Counts;

use crate::kernel::address_of;
use crate::node::{Node, Record};
use crate::passed::Passed;
use portcullis_abi::maps::{EGRESS, Event, INGRESS, KIND_REPLY, VERDICT_AUDIT, VERDICT_DROPPED, drop};
use portcullis_abi::word;
use portcullis_hubble::pb::flow::layer4::Protocol;
use portcullis_hubble::pb::flow::{
    CiliumEventType, DropReason, Endpoint, Flow, FlowType, IcmPv4, IcmPv6, Ip, IpVersion, Layer4,
    LostEventSource, NetworkInterface, Policy, Sctp, Tcp, TcpFlags, TrafficDirection, Udp, Verdict, Workload,
};
use portcullis_hubble::ring::{Entry, Observed, Ring};
use portcullis_hubble::timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Numbers of Cilium's messages that these events are like.
const MESSAGE_DROP: i32 = 1;
const MESSAGE_POLICY_VERDICT: i32 = 5;
/// Generations that are kept for events.
const KEPT: usize = 8;

/// What decided, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cause {
    /// As [`portcullis_tables::Cause::line`] wrote it.
    pub text: String,
    /// Policies that allow.
    pub allow: Vec<Policy>,
    /// Policies that deny, or that turned default deny on.
    pub deny: Vec<Policy>,
}

impl Cause {
    /// Takes a line apart: `allow by KIND NAMESPACE/NAME at PLACE; …` or `default deny by …; …`.
    pub fn parse(text: &str) -> Self {
        let mut out = Self { text: text.to_owned(), ..Self::default() };
        let (rest, is_default) = match text.strip_prefix("default deny by ") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        for part in rest.split("; ") {
            let (allows, what) = match part.split_once(" by ") {
                _ if is_default => (false, part),
                Some((action, what)) => (action != "deny", what),
                None => continue,
            };
            let object = what.split_once(" at ").map_or(what, |(o, _)| o);
            let Some((kind, name)) = object.split_once(' ') else { continue };
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            let policy = Policy {
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                ..Policy::default()
            };
            let list = if allows { &mut out.allow } else { &mut out.deny };
            if !list.contains(&policy) {
                list.push(policy);
            }
        }
        out
    }

    /// Its rules, one by one.
    pub fn rules(&self) -> Vec<String> {
        match self.text.strip_prefix("default deny by ") {
            Some(rest) => rest.split("; ").map(|r| format!("default deny by {r}")).collect(),
            None if self.text.contains(" by ") => self.text.split("; ").map(str::to_owned).collect(),
            None => Vec::new(),
        }
    }
}

/// Words of one generation.
#[derive(Debug, Default)]
struct Generation {
    causes: Vec<Cause>,
    names: BTreeMap<u32, String>,
}

/// What numbers in events stand for.
#[derive(Clone, Debug, Default)]
pub struct Words {
    node: String,
    generations: BTreeMap<u64, Arc<Generation>>,
    current: u64,
    pods: BTreeMap<u32, Endpoint>,
    addresses: BTreeMap<IpAddr, u32>,
}

impl Words {
    fn add(&mut self, record: &Record) {
        self.current = record.generation;
        if self.generations.contains_key(&record.generation) {
            return;
        }
        let causes = record.causes.iter().map(|c| Cause::parse(c)).collect();
        let words = Generation { causes, names: record.names.clone() };
        self.generations.insert(record.generation, Arc::new(words));
        while self.generations.len() > KEPT {
            self.generations.pop_first();
        }
    }

    fn cause(&self, e: &Event) -> Option<&Cause> {
        if !matches!(e.reason, 0 | drop::POLICY | drop::NO_PROXY | drop::AUTHENTICATION) {
            return None;
        }
        self.generations.get(&e.generation)?.causes.get((e.word >> word::CAUSE_SHIFT) as usize)
    }

    /// Rules that can decide something on this node now.
    pub fn rules(&self) -> BTreeSet<String> {
        let now = self.generations.get(&self.current);
        now.into_iter().flat_map(|g| &g.causes).flat_map(Cause::rules).collect()
    }

    fn peer(&self, e: &Event, address: IpAddr) -> Endpoint {
        if let Some(pod) = self.addresses.get(&address).and_then(|n| self.pods.get(n)) {
            return pod.clone();
        }
        let mut out = Endpoint { identity: e.peer, ..Endpoint::default() };
        let name = self.generations.get(&e.generation).and_then(|g| g.names.get(&e.peer));
        match name.map(String::as_str) {
            None | Some("") => {}
            // A prefix or an address: outside.
            Some(name) if name.parse::<ipnet::IpNet>().is_ok() || name.parse::<IpAddr>().is_ok() => {
                out.labels = vec![format!("cidr:{name}"), "reserved:world".to_owned()];
            }
            Some(name) => match name.split_once('/') {
                // An identity that several workloads share is none of them in particular.
                Some((namespace, workload)) => {
                    namespace.clone_into(&mut out.namespace);
                    if !workload.contains(' ') {
                        out.workloads = vec![Workload { name: workload.to_owned(), kind: String::new() }];
                    }
                }
                None => out.labels = vec![format!("reserved:{name}")],
            },
        }
        out
    }
}

/// One event, with what its numbers stood for when it came.
#[derive(Clone, Debug)]
pub struct Seen {
    event: Event,
    time: i64,
    number: u64,
    words: Arc<Words>,
}

impl Observed for Seen {
    fn time(&self) -> i64 {
        self.time
    }

    fn flow(&self) -> Flow {
        let (e, words) = (&self.event, &self.words);
        let own = words
            .pods
            .get(&e.endpoint)
            .cloned()
            .unwrap_or_else(|| Endpoint { identity: e.identity, ..Endpoint::default() });
        let (from, to) = (address_of(e.source), address_of(e.destination));
        let (source, destination) =
            if e.direction == EGRESS { (own, words.peer(e, to)) } else { (words.peer(e, from), own) };
        let dropped = e.verdict == VERDICT_DROPPED;
        let reason = if dropped { drop_reason(e.reason) } else { DropReason::Unknown };
        let cause = words.cause(e);
        let (allow, deny) = match cause {
            Some(c) => (c.allow.clone(), c.deny.clone()),
            None => Default::default(),
        };
        // What passes is allowed by somebody, what does not is not.
        let (allow, deny) = match (dropped, e.verdict == VERDICT_AUDIT) {
            (false, false) => (allow, Vec::new()),
            _ => (Vec::new(), deny),
        };
        let mut out = Flow {
            time: Some(timestamp(self.time)),
            uuid: uuid(self.time, self.number),
            verdict: verdict(e.verdict).into(),
            drop_reason_desc: reason.into(),
            ip: Some(Ip {
                source: from.to_string(),
                destination: to.to_string(),
                ip_version: match e.family {
                    4 => IpVersion::IPv4,
                    6 => IpVersion::IPv6,
                    _ => IpVersion::IpNotUsed,
                }
                .into(),
                ..Ip::default()
            }),
            l4: layer4(e),
            source: Some(source),
            destination: Some(destination),
            r#type: FlowType::L3L4.into(),
            node_name: words.node.clone(),
            event_type: Some(CiliumEventType {
                r#type: if dropped { MESSAGE_DROP } else { MESSAGE_POLICY_VERDICT },
                sub_type: if dropped { reason.into() } else { 0 },
            }),
            traffic_direction: direction(e).into(),
            is_reply: Some(e.kind == KIND_REPLY),
            interface: (e.ifindex != 0).then(|| NetworkInterface { index: e.ifindex, name: String::new() }),
            policy_log: cause.map(|c| c.text.clone()).into_iter().collect(),
            ..Flow::default()
        };
        #[allow(deprecated, reason = "clients still read it")]
        {
            out.drop_reason = u32::try_from(i32::from(reason)).unwrap_or_default();
            out.reply = e.kind == KIND_REPLY;
        }
        if e.direction == INGRESS {
            (out.ingress_allowed_by, out.ingress_denied_by) = (allow, deny);
        } else {
            (out.egress_allowed_by, out.egress_denied_by) = (allow, deny);
        }
        out
    }
}

fn direction(e: &Event) -> TrafficDirection {
    if e.direction == INGRESS { TrafficDirection::Ingress } else { TrafficDirection::Egress }
}

fn verdict(v: u8) -> Verdict {
    match v {
        VERDICT_DROPPED => Verdict::Dropped,
        VERDICT_AUDIT => Verdict::Audit,
        1 => Verdict::Forwarded,
        _ => Verdict::Unknown,
    }
}

/// A `DROP_` code as published. The programs' number for a packet that is no IP is another one there.
pub(crate) fn drop_reason(code: u8) -> DropReason {
    match code {
        drop::UNSUPPORTED_L3 => DropReason::UnsupportedL3Protocol,
        drop::AUTHENTICATION => DropReason::AuthRequired,
        drop::VLAN => DropReason::VlanFiltered,
        other => DropReason::try_from(i32::from(other)).unwrap_or_default(),
    }
}

fn layer4(e: &Event) -> Option<Layer4> {
    let (source_port, destination_port) = (e.source_port.into(), e.destination_port.into());
    let (r#type, code) = (e.icmp_type.into(), e.icmp_code.into());
    let protocol = match (e.protocol, e.family) {
        (6, _) => Protocol::Tcp(Tcp { source_port, destination_port, flags: flags(e.tcp_flags) }),
        (17, _) => Protocol::Udp(Udp { source_port, destination_port }),
        (132, _) => Protocol::Sctp(Sctp { source_port, destination_port }),
        (1, 4) => Protocol::IcmPv4(IcmPv4 { r#type, code }),
        (58, 6) => Protocol::IcmPv6(IcmPv6 { r#type, code }),
        _ => return None,
    };
    Some(Layer4 { protocol: Some(protocol) })
}

fn flags(bits: u8) -> Option<TcpFlags> {
    let has = |bit: u8| bits & (1 << bit) != 0;
    (bits != 0).then(|| TcpFlags {
        fin: has(0),
        syn: has(1),
        rst: has(2),
        psh: has(3),
        ack: has(4),
        urg: has(5),
        ece: has(6),
        cwr: has(7),
        ns: false,
    })
}

/// A name that no other flow of this node has.
fn uuid(time: i64, number: u64) -> String {
    let (time, low) = (time.cast_unsigned(), number);
    format!(
        "{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
        time >> 32,
        (time >> 16) & 0xffff,
        time & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}

/// What the reader of the kernel's ring and those who ask share.
#[derive(Debug)]
pub struct Flows {
    ring: Arc<Ring<Seen>>,
    words: RwLock<Arc<Words>>,
    counts: Mutex<Counts>,
    passed: Arc<Passed>,
}

impl Flows {
    /// One that keeps so many flows.
    pub fn new(keep: usize) -> Self {
        Self {
            ring: Arc::new(Ring::new(keep)),
            words: RwLock::default(),
            counts: Mutex::new(Counts::new(now())),
            passed: Arc::default(),
        }
    }

    /// The ring.
    pub fn ring(&self) -> &Arc<Ring<Seen>> {
        &self.ring
    }

    /// Which of them passed.
    pub fn passed(&self) -> &Arc<Passed> {
        &self.passed
    }

    /// What numbers stand for now.
    pub fn words(&self) -> Arc<Words> {
        Arc::clone(&self.words.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what the node says of itself now.
    pub fn learn(&self, node: &Node) {
        let mut words = (*self.words()).clone();
        words.node.clone_from(&node.config().node);
        if let Some(record) = node.current() {
            words.add(record);
        }
        words.pods.clear();
        words.addresses.clear();
        let config = node.config();
        for p in node.present() {
            let own = node.locals().iter().find(|e| e.full_name() == p.name);
            let (namespace, name) = p.name.split_once('/').unwrap_or(("", &p.name));
            let mut labels: Vec<String> =
                own.into_iter().flat_map(|e| &e.labels).map(|(k, v)| format!("k8s:{k}={v}")).collect();
            labels.push(format!("k8s:io.kubernetes.pod.namespace={namespace}"));
            let pod = Endpoint {
                id: p.number,
                identity: p.identity,
                namespace: namespace.to_owned(),
                labels,
                pod_name: name.to_owned(),
                cluster_name: config.cluster_name.clone(),
                ..Endpoint::default()
            };
            words.pods.insert(p.number, pod);
            words.addresses.extend(p.addresses.iter().map(|ip| (*ip, p.number)));
        }
        let namespaces: BTreeSet<String> = words.pods.values().map(|p| p.namespace.clone()).collect();
        self.ring.set_namespaces(namespaces.into_iter().collect());
        *self.words.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(words);
    }

    /// Adds events. Nothing here waits for a reader.
    pub fn add(&self, events: &[Event]) {
        let (words, time) = (self.words(), now());
        let mut counts = self.counts();
        let first = counts.events();
        for e in events {
            counts.add(e, words.cause(e), time);
        }
        drop(counts);
        self.passed.add(events, time);
        let seen = (first..).zip(events).map(|(number, event)| {
            Entry::Seen(Seen { event: *event, time, number, words: Arc::clone(&words) })
        });
        self.ring.push(seen);
    }

    /// Tells of events that were lost before they were read: `total` since the programs were loaded.
    pub fn lost(&self, total: u64) {
        let count = self.counts().kernel_lost(total);
        if count > 0 {
            let source = LostEventSource::PerfEventRingBuffer;
            self.ring.push([Entry::Lost { source, count, time: now() }]);
        }
    }

    /// What was counted.
    pub fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_taken_apart() {
        let c = Cause::parse("default deny by NetworkPolicy payments/db at p/db.yaml:3:1; X y at z.yaml:1:1");
        let names: Vec<_> = c.deny.iter().map(|p| (&*p.kind, &*p.namespace, &*p.name)).collect();
        assert_eq!(names, [("NetworkPolicy", "payments", "db"), ("X", "", "y")]);
        assert_eq!(c.rules().len(), 2);
        let c = Cause::parse("allow by NetworkPolicy payments/db at p/db.yaml:9:5");
        assert_eq!((c.allow.len(), c.deny.len()), (1, 0));
        assert_eq!(Cause::parse("no policy selects it").rules(), Vec::<String>::new());
    }

    #[test]
    fn a_default_deny_names_the_policy_that_turned_it_on() {
        let mut words = Words { node: "n".to_owned(), ..Words::default() };
        words.add(&Record {
            generation: 3,
            names: [(17, "payments/web".to_owned())].into(),
            causes: vec!["default deny by NetworkPolicy payments/api at x.yaml:3:1".to_owned()],
            ..Record::default()
        });
        let event = Event {
            generation: 3,
            peer: 17,
            direction: INGRESS,
            verdict: VERDICT_DROPPED,
            reason: drop::POLICY,
            protocol: 6,
            family: 4,
            tcp_flags: 2,
            ..Event::default()
        };
        let flow = Seen { event, time: 5, number: 0, words: Arc::new(words) }.flow();
        assert_eq!(flow.drop_reason_desc(), DropReason::PolicyDenied);
        assert_eq!(flow.ingress_denied_by.first().map(|p| p.name.as_str()), Some("api"));
        assert_eq!(flow.policy_log, ["default deny by NetworkPolicy payments/api at x.yaml:3:1"]);
        assert_eq!(flow.source.map(|s| s.namespace).as_deref(), Some("payments"));
    }
}
