//! An API server's objects change at random, one at a time and many together: what the agent makes of each change, by a
//! write or two where it can, answers as a compilation of everything from scratch does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use portcullis_abi::maps::AddressValue;
use portcullis_abi::{COORDINATE_ICMP, COORDINATE_UDP, Section, header};
use portcullis_agent::compile::{Candidate, Inputs, Maker};
use portcullis_agent::config::Config;
use portcullis_agent::inputs::Texts;
use portcullis_agent::live::{Difference, Live};
use portcullis_agent::local::{Local, locals};
use portcullis_agent::numbers::Registry;
use portcullis_agent::quick::{Bound, Write};
use portcullis_cluster::{Changes, Key, Kind};
use portcullis_ir::Direction;
use portcullis_tables::Image;
use portcullis_tables::staged::stage;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

/// How many sequences; `PORTCULLIS_SEQUENCES` asks for more.
const SEQUENCES: u64 = 1000;

/// A generator that is the same everywhere (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % n
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

const NAMESPACES: [&str; 3] = ["shop", "pay", "ops"];
const APPS: [&str; 4] = ["a", "b", "c", "d"];

fn object(kind: Kind, namespace: &str, name: &str, labels: &Value, rest: &Value) -> (Key, Arc<str>) {
    let group = match kind {
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::NetworkPolicy => "networking.k8s.io/v1",
        Kind::CiliumNetworkPolicy | Kind::CiliumClusterwideNetworkPolicy | Kind::CiliumCIDRGroup => {
            "cilium.io/v2"
        }
        _ => "v1",
    };
    let mut all =
        json!({"apiVersion": group, "kind": kind.name(), "metadata": {"name": name, "labels": labels}});
    if !namespace.is_empty() {
        all["metadata"]["namespace"] = json!(namespace);
    }
    for (k, v) in rest.as_object().unwrap() {
        if k == "deletionTimestamp" {
            all["metadata"][k] = v.clone();
        } else {
            all[k] = v.clone();
        }
    }
    (Key { kind, namespace: namespace.to_owned(), name: name.to_owned() }, all.to_string().into())
}

fn pod(r: &mut Random) -> (Key, Arc<str>) {
    let (namespace, name) = (r.of(&NAMESPACES), format!("pod-{}", r.below(8)));
    let mut labels = json!({"app": r.of(&APPS)});
    if r.one_in(3) {
        labels["tier"] = json!(r.of(&["front", "back"]));
    }
    if r.one_in(4) {
        // No policy looks at it: a new label set that is like another.
        labels["build"] = json!(format!("{}", r.below(5)));
    }
    let ports = match r.below(3) {
        0 => json!([{"name": "web", "containerPort": 80}]),
        1 => json!([{"name": "web", "containerPort": 8080}]),
        _ => json!([]),
    };
    let mut spec = json!({"nodeName": r.of(&["here", "there", "there", "there", "elsewhere", "elsewhere"]),
        "serviceAccountName": r.of(&["default", "default", "robot"]),
        "containers": [{"name": "c", "ports": ports}]});
    if r.one_in(12) {
        spec["hostNetwork"] = json!(true);
    }
    let mut rest = json!({"spec": spec, "status": {"phase": "Running"}});
    if r.one_in(10) {
        rest["status"]["phase"] = json!(r.of(&["Succeeded", "Failed", "Pending"]));
    }
    if !r.one_in(10) {
        rest["status"]["podIPs"] = json!([{"ip": format!("10.0.0.{}", r.below(12))}]);
    }
    if r.one_in(6) {
        rest["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    object(Kind::Pod, namespace, &name, &labels, &rest)
}

fn policy(r: &mut Random) -> (Key, Arc<str>) {
    let name = format!("policy-{}", r.below(5));
    let subject = json!({"matchLabels": {"app": r.of(&APPS)}});
    let peers = match r.below(6) {
        0 => json!({"fromEndpoints": [{"matchLabels": {"app": r.of(&APPS)}}]}),
        1 => {
            json!({"fromEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": r.of(&NAMESPACES)}}]})
        }
        2 => json!({"fromEndpoints": [{"matchExpressions": [{"key": "tier", "operator": "Exists"}]}]}),
        3 => json!({"fromCIDR": [r.of(&["192.0.2.0/24", "198.51.100.0/25"])]}),
        4 => json!({"fromEntities": [r.of(&["world", "cluster", "remote-node"])]}),
        _ => {
            json!({"fromEndpoints": [{"matchLabels": {"k8s:io.cilium.k8s.namespace.labels.team": r.of(&["x", "y"])}}]})
        }
    };
    let mut ingress = peers;
    if r.one_in(2) {
        ingress["toPorts"] = json!([{"ports": [{"port": r.of(&["80", "8080", "web"]), "protocol": "TCP"}]}]);
    }
    let mut spec = json!({"endpointSelector": subject, "ingress": [ingress]});
    if r.one_in(2) {
        let egress = match r.below(4) {
            0 => json!({"toEndpoints": [{"matchLabels": {"app": r.of(&APPS)}}],
                "toPorts": [{"ports": [{"port": "web", "protocol": "TCP"}]}]}),
            1 => {
                json!({"toServices": [{"k8sService": {"serviceName": "svc-0", "namespace": r.of(&NAMESPACES)}}]})
            }
            2 => json!({"toCIDRSet": [{"cidrGroupRef": "group-0"}]}),
            _ => {
                json!({"toCIDR": ["203.0.113.0/24"], "toPorts": [{"ports": [{"port": "53", "protocol": "UDP"}]}]})
            }
        };
        spec["egress"] = json!([egress]);
    }
    let rest = json!({"spec": spec});
    let none = json!({});
    match r.below(4) {
        0 => object(Kind::CiliumClusterwideNetworkPolicy, "", &name, &none, &rest),
        1 => {
            let rest = json!({"spec": {"podSelector": {"matchLabels": {"app": r.of(&APPS)}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": r.of(&["x", "y"])}}}]}]}});
            object(Kind::NetworkPolicy, r.of(&NAMESPACES), &name, &none, &rest)
        }
        _ => object(Kind::CiliumNetworkPolicy, r.of(&NAMESPACES), &name, &none, &rest),
    }
}

fn other(r: &mut Random) -> (Key, Arc<str>) {
    let (namespace, none) = (r.of(&NAMESPACES), json!({}));
    let ip = format!("10.0.0.{}", r.below(12));
    match r.below(5) {
        0 => object(Kind::Namespace, "", namespace, &json!({"team": r.of(&["x", "y"])}), &none),
        1 => {
            let mut spec = json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]});
            if r.one_in(2) {
                spec["selector"] = json!({"app": r.of(&APPS)});
            }
            object(Kind::Service, namespace, "svc-0", &none, &json!({"spec": spec}))
        }
        2 => {
            let rest = json!({"addressType": "IPv4", "endpoints": [{"addresses": [ip]}],
                "ports": [{"name": "", "port": 80, "protocol": "TCP"}]});
            let labels = json!({"kubernetes.io/service-name": "svc-0"});
            object(Kind::EndpointSlice, namespace, &format!("svc-0-{}", r.below(2)), &labels, &rest)
        }
        3 => {
            let net = r.of(&["192.0.2.128/25", "203.0.113.0/28"]);
            object(Kind::CiliumCIDRGroup, "", "group-0", &none, &json!({"spec": {"externalCIDRs": [net]}}))
        }
        _ => {
            let name = r.of(&["here", "there"]);
            let address = format!("172.16.0.{}", r.below(3));
            let rest = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
            object(Kind::Node, "", name, &none, &rest)
        }
    }
}

/// An agent without a kernel: what it would have written is kept here.
struct Model {
    config: Config,
    live: Live,
    maker: Maker,
    registry: Registry,
    pending: Difference,
    candidate: Option<Candidate>,
    image: Vec<u8>,
    bound: Option<Bound>,
    addresses: BTreeMap<IpAddr, AddressValue>,
    /// Numbers of pods of this node.
    numbers: BTreeMap<String, u32>,
    quick: usize,
    twins: usize,
}

impl Model {
    fn new() -> Self {
        let config = Config::parse("node: here\nkubernetes: {}\n").unwrap();
        Self {
            maker: Maker::new(&config),
            config,
            live: Live::new("here", false),
            registry: Registry::new(4096, BTreeMap::new()),
            pending: Difference::default(),
            candidate: None,
            image: Vec::new(),
            bound: None,
            addresses: BTreeMap::new(),
            numbers: BTreeMap::new(),
            quick: 0,
            twins: 0,
        }
    }

    fn take(&mut self, objects: BTreeMap<Key, Option<Arc<str>>>) {
        let more = self.live.take(Changes { objects, ready: true });
        self.pending.extend(more);
    }

    /// As `Node` does it.
    fn refresh(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.others
            && let Some(bound) = &mut self.bound
            && let Some(writes) =
                bound.follow(&pending.pods, &self.live, "here", &self.maker, &mut self.registry)
        {
            self.quick += 1;
            for write in &writes {
                self.write(write);
            }
            return;
        }
        let all: Vec<Local> = locals(&self.config, Some(&self.live), &BTreeMap::new());
        self.numbers.retain(|name, _| all.iter().any(|l| l.full_name() == *name));
        let mut slots = Vec::new();
        let mut of_local = BTreeMap::new();
        for (at, local) in all.iter().enumerate() {
            let free = (0..1000).find(|n| !self.numbers.values().any(|used| used == n)).unwrap();
            let number = *self.numbers.entry(local.full_name()).or_insert(free);
            of_local.insert(at, number);
            slots.resize(slots.len().max(number as usize + 1), None);
            slots[number as usize] = Some(at);
        }
        let texts = Texts { policies: self.live.policies().cloned().collect(), ..Texts::default() };
        let inputs = Inputs { texts: &texts, live: Some(&self.live), locals: &all };
        let made = self.maker.make(&self.config, inputs, &slots, &mut self.registry, |_, _| Ok(()));
        let candidate = made.unwrap_or_else(|e| panic!("{e}"));
        let image = Image::parse(&candidate.image).unwrap();
        self.image = stage(&image, &candidate.numbers, 1).unwrap();
        let namespaces = self.maker.cluster().namespaces.clone();
        let value =
            |(ip, identity): (&IpAddr, &u32)| (*ip, AddressValue { identity: *identity, endpoint: 0 });
        let others = candidate.nodes.iter().map(value).collect();
        let bound = Bound::new(&candidate, others, &of_local, namespaces);
        self.addresses = bound.addresses();
        let mut used: BTreeSet<u32> = candidate.numbers.identities.iter().copied().flatten().collect();
        used.extend(self.addresses.values().map(|v| v.identity));
        self.registry.retain(&used);
        self.bound = Some(bound);
        self.candidate = Some(candidate);
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Identity { .. } => {}
            Write::Class { number, like, .. } => {
                let (number, like) = (*number, *like);
                self.twins += 1;
                let at = header::SECTIONS + Section::PeerClass as usize * 8;
                let offset = u32::from_le_bytes(self.image[at..at + 4].try_into().unwrap()) as usize;
                let class = |n: u32| offset + n as usize * 2;
                let bytes: [u8; 2] = self.image[class(like)..class(like) + 2].try_into().unwrap();
                self.image[class(number)..class(number) + 2].copy_from_slice(&bytes);
            }
            Write::Address(ip, Some(value)) => drop(self.addresses.insert(*ip, *value)),
            Write::Address(ip, None) => drop(self.addresses.remove(ip)),
        }
    }

    /// What the kernel would answer, in words that no number occurs in.
    fn canonical(&self) -> String {
        let candidate = self.candidate.as_ref().unwrap();
        let image = Image::parse(&self.image).unwrap();
        let named: BTreeMap<u32, String> =
            self.numbers.iter().map(|(name, n)| (n + 1, name.clone())).collect();
        let mut identities: BTreeMap<String, u32> = (1..11).map(|n| (format!("reserved {n}"), n)).collect();
        for (net, number) in &candidate.prefixes {
            identities.insert(format!("prefix {net}"), *number);
        }
        let mut out = String::new();
        for (ip, value) in &self.addresses {
            let digest = self.registry.digest(value.identity);
            let who = digest.map_or_else(|| format!("reserved {}", value.identity), |d| format!("{d:02x?}"));
            writeln!(out, "{ip} is {who} at {:?}", named.get(&value.endpoint)).unwrap();
            identities.insert(who, value.identity);
        }
        let coordinates =
            [0, 22, 80, 443, 8080, COORDINATE_UDP + 53, COORDINATE_UDP + 54, COORDINATE_ICMP + 8];
        for (name, number) in &self.numbers {
            for d in Direction::BOTH {
                for (who, identity) in &identities {
                    for c in coordinates {
                        let said = image.lookup(*number, d, *identity, c).map(|w| {
                            let cause = candidate.causes.get(w.cause() as usize).cloned();
                            (w.allows(), w.redirects(), cause)
                        });
                        writeln!(out, "{name} {d} {who} {c}: {said:?}").unwrap();
                    }
                }
            }
        }
        out
    }
}

fn scratch(objects: &BTreeMap<Key, Arc<str>>) -> Model {
    let mut out = Model::new();
    out.take(objects.iter().map(|(k, v)| (k.clone(), Some(Arc::clone(v)))).collect());
    out.refresh();
    out
}

/// A change of anything, or of a pod.
fn change(r: &mut Random, objects: &mut BTreeMap<Key, Arc<str>>, anything: bool) -> (Key, Option<Arc<str>>) {
    let kinds = |k: &&Key| anything || k.kind == Kind::Pod;
    let count = objects.keys().filter(kinds).count();
    if count > 0 && r.one_in(4) {
        let key = objects.keys().filter(kinds).nth(r.below(count)).unwrap().clone();
        objects.remove(&key);
        return (key, None);
    }
    let (key, text) = match r.below(if anything { 10 } else { 6 }) {
        0..=5 => pod(r),
        6 | 7 => policy(r),
        _ => other(r),
    };
    objects.insert(key.clone(), Arc::clone(&text));
    (key, Some(text))
}

/// Every fourth sequence, from one of them on.
fn sequences(first: u64) {
    let all = std::env::var("PORTCULLIS_SEQUENCES").ok().and_then(|n| n.parse().ok()).unwrap_or(SEQUENCES);
    let (mut quick, mut twins, mut compared) = (0, 0, 0);
    for seed in (first..=all).step_by(4) {
        let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut objects = BTreeMap::new();
        let mut agent = Model::new();
        for _ in 0..10 {
            agent.take(BTreeMap::from([change(&mut r, &mut objects, true)]));
        }
        agent.refresh();
        for batch in 0..6 {
            // A batch comes as one, or one by one, and is looked at whenever.
            let anything = r.one_in(3);
            for _ in 0..=r.below(3) {
                let changes = (0..=r.below(2)).map(|_| change(&mut r, &mut objects, anything)).collect();
                agent.take(changes);
            }
            if r.one_in(4) {
                continue;
            }
            let before = agent.quick;
            agent.refresh();
            if batch == 5 || agent.quick > before && r.one_in(2) {
                compared += 1;
                let other = scratch(&objects);
                let (ours, theirs) = (agent.canonical(), other.canonical());
                assert!(
                    ours == theirs,
                    "sequence {seed}, batch {batch}:\n{}",
                    first_difference(&ours, &theirs)
                );
                if agent.quick == before {
                    let image = |m: &Model| m.candidate.as_ref().unwrap().image.clone();
                    assert_eq!(
                        image(&agent),
                        image(&other),
                        "sequence {seed}, batch {batch}: the images differ"
                    );
                }
            }
        }
        (quick, twins) = (quick + agent.quick, twins + agent.twins);
    }
    // The test is of something: many changes took no compilation, and many label sets found their like.
    // Of a few, that is chance.
    let few = all < 200;
    assert!(few || quick as u64 > all / 8 && twins as u64 > all / 40, "{quick} {twins}");
    eprintln!("{compared} comparisons, {quick} without a compilation, {twins} label sets by their like");
}

#[test]
fn what_changes_at_random_is_what_a_compilation_from_scratch_makes_1() {
    sequences(1);
}

#[test]
fn what_changes_at_random_is_what_a_compilation_from_scratch_makes_2() {
    sequences(2);
}

#[test]
fn what_changes_at_random_is_what_a_compilation_from_scratch_makes_3() {
    sequences(3);
}

#[test]
fn what_changes_at_random_is_what_a_compilation_from_scratch_makes_4() {
    sequences(4);
}

fn first_difference(a: &str, b: &str) -> String {
    let (a, b): (BTreeSet<&str>, BTreeSet<&str>) = (a.lines().collect(), b.lines().collect());
    let only = |x: &BTreeSet<&str>, y: &BTreeSet<&str>| {
        x.difference(y).take(5).copied().collect::<Vec<_>>().join("\n  ")
    };
    format!("incremental:\n  {}\nfrom scratch:\n  {}", only(&a, &b), only(&b, &a))
}
