//! From a solver's values to a flow that a reader understands.
//!
//! A solver fills in everything, needed or not. So each value is set back to the plainest one that
//! still answers the question; what remains matters.

use crate::query::Space;
use crate::symbols::{ABSENT, End, Kind, LabelSymbol, NO_PORT, OTHER, OTHER_PROTOCOL, icmp_code};
use crate::term::{Assignment, TermId, VarId};
use crate::world::{self, Pods, Shape};
use portcullis_ir::label::{CLUSTER, NAMESPACE_LABELS, SERVICE_ACCOUNT, SOURCE_K8S};
use portcullis_ir::{EndpointId, FlowPort, L4, Label, LabelSet, Reserved};
use smol_str::{SmolStr, format_smolstr};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One end of a flow that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A pod that could exist: its labels, all that are told apart, and its named ports.
    Pod(LabelSet, Vec<(SmolStr, L4, u16)>),
    /// A pod of the cluster.
    Known(EndpointId),
    /// A reserved identity.
    Reserved(Reserved),
    /// An address outside the cluster, and names that resolved to it.
    External(IpAddr, Vec<SmolStr>),
}

/// One end in words too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessEnd {
    /// Who it is.
    pub who: Who,
    /// In words: `a pod with app=web in namespace shop, not labelled tier`.
    pub words: String,
}

/// A flow that answers a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Who sends.
    pub from: WitnessEnd,
    /// Who receives.
    pub to: WitnessEnd,
    /// What it carries.
    pub port: FlowPort,
}

/// The plainest flow near what the solver found.
pub(crate) fn witness(space: &Space<'_>, goal: TermId, mut a: Assignment) -> Witness {
    // What is plain depends on what else is: the second round ends it in practice.
    for _ in 0..2 {
        simplify(space, goal, &mut a);
    }
    let mut taken = None;
    let from = end(space, goal, &a, &space.flow.from, &mut taken);
    let to = end(space, goal, &a, &space.flow.to, &mut taken);
    Witness { from, to, port: port(space, &a) }
}

/// Changes several values if the question is still answered.
fn attempt(space: &Space<'_>, goal: TermId, a: &mut Assignment, change: impl Fn(&mut Assignment)) -> bool {
    let mut other = a.clone();
    change(&mut other);
    if other == *a || !space.holds(goal, &other) {
        return other == *a;
    }
    *a = other;
    true
}

fn simplify(space: &Space<'_>, goal: TermId, a: &mut Assignment) {
    for end in space.flow.ends() {
        if a.get(end.kind) != Kind::Pod.code() {
            let _ = attempt(space, goal, a, |a| {
                bare(space, end, a);
                a.set(end.kind, Kind::Pod.code());
            });
        }
        match Kind::of(a.get(end.kind)) {
            Some(Kind::Pod) => pod(space, goal, end, a),
            Some(Kind::External(v6)) => external(space, goal, end, v6, a),
            _ => {}
        }
    }
    let mut ports: Vec<(u128, u128)> = vec![(0, 80), (0, 443), (0, 8080)];
    ports.extend(space.words.numbers.iter().map(|(p, n)| (*p, u128::from(*n))));
    let now = a.get(space.flow.number);
    ports.extend([(0, now), (1, now)]);
    for (protocol, number) in ports {
        let done = attempt(space, goal, a, |a| {
            a.set(space.flow.protocol, protocol);
            // A named port of that number goes along.
            for v in &space.flow.to.ports {
                if a.get(*v) == now && number > 0 {
                    a.set(*v, number);
                }
            }
            a.set(space.flow.number, number);
        });
        if done {
            break;
        }
    }
}

/// A pod of some namespace without any label.
fn bare(space: &Space<'_>, end: &End, a: &mut Assignment) {
    for (l, v) in space.words.labels.iter().zip(&end.labels) {
        a.set(*v, plain(l, space));
    }
    end.ports.iter().for_each(|v| a.set(*v, NO_PORT));
}

/// The plainest code of a label.
fn plain(l: &LabelSymbol, space: &Space<'_>) -> u128 {
    match l.key.as_str() {
        CLUSTER => l.code(space.cluster_name()),
        SERVICE_ACCOUNT => OTHER,
        _ if world::is_namespace(l) => OTHER,
        _ => ABSENT,
    }
}

fn pod(space: &Space<'_>, goal: TermId, end: &End, a: &mut Assignment) {
    if let Pods::Of(_) = space.pods {
        return; // one of those there are
    }
    for (v, value) in [(end.v4, 0), (end.v6, 0)].into_iter().chain(end.names.iter().map(|v| (*v, 0))) {
        let _ = attempt(space, goal, a, |a| a.set(v, value));
    }
    for v in &end.ports {
        let _ = attempt(space, goal, a, |a| a.set(*v, NO_PORT));
    }
    // A pod's own labels first: that a namespace is a certain one says more.
    let own = |l: &LabelSymbol| !world::is_of_namespace(l) && !world::is_namespace(l);
    for wanted in [true, false] {
        for (l, v) in space.words.labels.iter().zip(&end.labels).filter(|(l, _)| own(l) == wanted) {
            let _ = attempt(space, goal, a, |a| a.set(*v, plain(l, space)))
                || attempt(space, goal, a, |a| a.set(*v, OTHER));
        }
    }
}

fn external(space: &Space<'_>, goal: TermId, end: &End, v6: bool, a: &mut Assignment) {
    for v in &end.names {
        let _ = attempt(space, goal, a, |a| a.set(*v, 0));
    }
    // Addresses that are set aside for examples, then the first ones of the prefixes that are named.
    let mut ips: Vec<IpAddr> =
        vec![Ipv4Addr::new(203, 0, 113, 7).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).into()];
    ips.extend(space.words.nets.iter().filter_map(|n| n.hosts().next()));
    for ip in ips.into_iter().filter(|ip| ip.is_ipv6() == v6) {
        let (v, value) = match ip {
            IpAddr::V4(ip) => (end.v4, u128::from(ip.to_bits())),
            IpAddr::V6(ip) => (end.v6, ip.to_bits()),
        };
        if attempt(space, goal, a, |a| a.set(v, value)) {
            break;
        }
    }
}

fn port(space: &Space<'_>, a: &Assignment) -> FlowPort {
    let number = a.get(space.flow.number);
    let wide = u16::try_from(number).unwrap_or(u16::MAX);
    let byte = u8::try_from(number).unwrap_or(u8::MAX);
    match a.get(space.flow.protocol) {
        0 => FlowPort::L4(L4::Tcp, wide),
        1 => FlowPort::L4(L4::Udp, wide),
        2 => FlowPort::L4(L4::Sctp, wide),
        OTHER_PROTOCOL => FlowPort::Protocol(byte),
        p => FlowPort::Icmp(p == icmp_code(true), byte),
    }
}

fn end(
    space: &Space<'_>,
    goal: TermId,
    a: &Assignment,
    end: &End,
    taken: &mut Option<EndpointId>,
) -> WitnessEnd {
    match Kind::of(a.get(end.kind)) {
        Some(Kind::Reserved(r)) => WitnessEnd { who: Who::Reserved(r), words: reserved(r).to_owned() },
        Some(Kind::External(v6)) => {
            let ip: IpAddr = if v6 {
                Ipv6Addr::from_bits(a.get(end.v6)).into()
            } else {
                Ipv4Addr::from_bits(u32::try_from(a.get(end.v4)).unwrap_or(0)).into()
            };
            let all = space.words.names.iter().zip(&end.names);
            let names: Vec<SmolStr> = all.filter(|(_, v)| a.get(**v) == 1).map(|(n, _)| n.clone()).collect();
            let learnt = if names.is_empty() {
                String::new()
            } else {
                format!(", to which {} resolved", names.join(" and "))
            };
            let words = format!("the address {ip} outside the cluster{learnt}");
            WitnessEnd { who: Who::External(ip, names), words }
        }
        Some(Kind::Pod) | None => match space.pods {
            Pods::Of(cluster) => {
                let known = known(space, a, end, *taken);
                *taken = taken.or(known);
                let words = known.and_then(|id| cluster.endpoint(id)).map_or_else(String::new, |e| {
                    let kind = if e.pods == 1 { "the pod" } else { "a pod of" };
                    format!("{kind} {}/{}", e.namespace, e.name)
                });
                match known {
                    Some(id) => WitnessEnd { who: Who::Known(id), words },
                    None => possible(space, goal, a, end),
                }
            }
            Pods::Any(_) => possible(space, goal, a, end),
        },
    }
}

/// A pod of the cluster with these labels; another than the first end's, if there is one.
fn known(space: &Space<'_>, a: &Assignment, end: &End, taken: Option<EndpointId>) -> Option<EndpointId> {
    let cluster = space.pods.cluster();
    let all: Vec<EndpointId> = cluster
        .endpoints()
        .map(|(id, _)| id)
        .filter(|id| Shape::of(&space.words, cluster, *id).is_some_and(|s| s.is(end, a)))
        .collect();
    all.iter().find(|id| Some(**id) != taken).or(all.first()).copied()
}

fn possible(space: &Space<'_>, goal: TermId, a: &Assignment, end: &End) -> WitnessEnd {
    let mut labels = Vec::new();
    for (l, v) in space.words.labels.iter().zip(&end.labels) {
        let code = a.get(*v);
        if code != ABSENT {
            let value = l.value(code).cloned().unwrap_or_else(|| l.other());
            if world::is_namespace(l) {
                // A namespace's own name stands on its pods twice.
                let key = format!("{NAMESPACE_LABELS}.kubernetes.io/metadata.name");
                labels.push(Label::k8s(key, value.clone()));
            }
            labels.push(Label { key: l.key.clone(), source: l.source.clone(), value });
        }
    }
    let ports: Vec<_> = space
        .words
        .ports
        .iter()
        .zip(&end.ports)
        .filter_map(|((l4, name), v)| u16::try_from(a.get(*v)).ok().map(|n| (name.clone(), *l4, n)))
        .collect();
    let words = words(space, goal, a, end, &ports);
    WitnessEnd { who: Who::Pod(LabelSet::new(labels), ports), words }
}

/// Which of some values of a variable would not do.
fn barred(
    space: &Space<'_>,
    goal: TermId,
    a: &Assignment,
    v: VarId,
    others: impl Iterator<Item = u128>,
) -> Vec<u128> {
    others
        .filter(|n| *n != a.get(v))
        .filter(|n| {
            let mut other = a.clone();
            other.set(v, *n);
            !space.holds(goal, &other)
        })
        .collect()
}

const ANY: &str = " of any value";
/// Values that are named one by one.
const NAMED: usize = 4;

/// The values that a label must not have.
fn other_than(l: &LabelSymbol, barred: &[u128]) -> String {
    let names: Vec<&str> = barred.iter().filter_map(|n| l.value(*n)).map(SmolStr::as_str).collect();
    match names.len() {
        0 => ANY.to_owned(),
        n if n <= NAMED => format!(" other than {}", names.join(" and ")),
        n if n == l.values.len() => format!(" other than the {n} that are mentioned"),
        n => {
            let first = names.get(..NAMED).unwrap_or_default();
            format!(" other than {} and {} more", first.join(", "), n - NAMED)
        }
    }
}

fn words(space: &Space<'_>, goal: TermId, a: &Assignment, end: &End, ports: &[(SmolStr, L4, u16)]) -> String {
    let (mut with, mut without, mut inside, mut of_namespace) =
        (Vec::new(), Vec::new(), String::new(), Vec::new());
    for (l, v) in space.words.labels.iter().zip(&end.labels) {
        let code = a.get(*v);
        let told = || !barred(space, goal, a, *v, ABSENT..=l.top()).is_empty();
        let value = match l.value(code) {
            Some(value) => format!("={value}"),
            None if code == OTHER => other_than(l, &barred(space, goal, a, *v, OTHER..=l.top())),
            None => String::new(),
        };
        let key = match l.key.strip_prefix(NAMESPACE_LABELS).and_then(|k| k.strip_prefix('.')) {
            Some(k) if world::is_of_namespace(l) => k.to_owned(),
            _ if l.source == SOURCE_K8S => l.key.to_string(),
            _ => format!("{}:{}", l.source, l.key),
        };
        if world::is_namespace(l) {
            inside = match l.value(code) {
                Some(name) => format!(" in namespace {name}"),
                None if value == ANY => " in any namespace".to_owned(),
                None => format!(" in a namespace{value}"),
            };
        } else if l.key == CLUSTER {
        } else if l.key == SERVICE_ACCOUNT {
            // Every pod has one.
            if value != ANY {
                with.push(format!("service account{}", value.replacen('=', " ", 1)));
            }
        } else if world::is_of_namespace(l) {
            match code {
                ABSENT if told() => of_namespace.push(format!("not labelled {key}")),
                ABSENT => {}
                _ => of_namespace.push(format!("labelled {key}{value}")),
            }
        } else if code == ABSENT {
            if told() {
                without.push(key);
            }
        } else {
            with.push(format!("{key}{value}"));
        }
    }
    with.extend(
        ports
            .iter()
            .map(|(n, l4, number)| format_smolstr!("its port {n} being {}/{number}", l4.name()).into()),
    );
    let mut out = "a pod".to_owned();
    if !with.is_empty() {
        out = format!("{out} with {}", with.join(" and "));
    }
    out.push_str(&inside);
    if !of_namespace.is_empty() {
        out = format!("{out} ({})", of_namespace.join(", "));
    }
    if !without.is_empty() {
        out = format!("{out}, not labelled {}", without.join(" or "));
    }
    let lacking = lacking_ports(space, goal, a, end);
    if !lacking.is_empty() {
        out = format!("{out}, without a port {}", lacking.join(" or "));
    }
    out
}

/// Named ports that the pod does not have, and must not have as some pod of the cluster has them.
fn lacking_ports(space: &Space<'_>, goal: TermId, a: &Assignment, end: &End) -> Vec<SmolStr> {
    let tables = || space.pods.cluster().port_tables.iter().flatten();
    let mut out = Vec::new();
    for ((l4, name), v) in space.words.ports.iter().zip(&end.ports).filter(|(_, v)| a.get(**v) == NO_PORT) {
        let known = tables().filter(|(n, p, _)| n == name && p == l4).map(|p| u128::from(p.2));
        if !barred(space, goal, a, *v, known).is_empty() {
            out.push(name.clone());
        }
    }
    out
}

fn reserved(r: Reserved) -> &'static str {
    match r {
        Reserved::Host => "the node's own host",
        Reserved::RemoteNode => "another node",
        Reserved::KubeApiserver => "the API server",
        Reserved::Health => "Cilium's health endpoint",
        Reserved::Ingress => "the ingress proxy",
        Reserved::Init => "an endpoint that has no labels yet",
        Reserved::Unmanaged => "an unmanaged endpoint",
        Reserved::World | Reserved::WorldIpv4 | Reserved::WorldIpv6 => "the world",
    }
}
