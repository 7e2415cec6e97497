//! Peers and ports as entries of a list: few, short, and with a bound on what they take in.

use crate::bound::PeerSet;
use crate::gaps::{Needs, Peer};
use crate::hosts::Dialect;
use crate::pick::{Pick, Picker};
use crate::yaml::Yaml;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_ir::{Direction, FlowPort, IdentityId, L4, Reserved};
use portcullis_sema::ports::{PortSet, flow_port, range};
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Stretches of ports of one protocol that are listed; more become ranges.
const PORTS: usize = 8;
/// Ports that Cilium takes in one list (SEM-2.5).
const MOST_PORTS: usize = 40;
/// Prefixes that are listed; more become shorter prefixes.
const PREFIXES: usize = 16;
/// Prefixes beyond which they are gathered roughly first.
const MANY: usize = 4096;
/// The shortest prefixes that addresses are gathered to.
const SHORTEST: (u8, u8) = (8, 32);

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) yaml: Yaml,
    pub(crate) peers: PeerSet,
    pub(crate) ports: PortSet,
}

/// How entries are written.
#[derive(Clone, Copy)]
pub(crate) struct Manner<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) direction: Direction,
    /// The policy's namespace.
    pub(crate) namespace: Option<&'a str>,
    /// How the policies spell the label of a pod's namespace.
    pub(crate) namespace_key: &'a str,
    /// Names are learnt, since a rule lets DNS through a proxy.
    pub(crate) names: bool,
    pub(crate) exact: bool,
}

/// Whether a kind of policy has words for a flow.
pub(crate) fn can_say(dialect: Dialect, peer: &Peer, port: FlowPort) -> bool {
    dialect != Dialect::Kubernetes || !matches!(peer, Peer::Reserved(_)) && matches!(port, FlowPort::L4(..))
}

/// Entries for what is needed.
pub(crate) fn entries(picker: &Picker<'_>, needs: &Needs, how: Manner<'_>) -> Vec<Entry> {
    let l4 = PortSet::new([
        range(L4::Tcp, 0, u16::MAX),
        range(L4::Udp, 0, u16::MAX),
        range(L4::Sctp, 0, u16::MAX),
    ]);
    // Peers that need the same stand in one list.
    let mut by_ports: BTreeMap<PortSet, BTreeSet<&Peer>> = BTreeMap::new();
    for (peer, ports) in needs {
        let (with_ports, icmp) = (ports.intersect(&l4), ports.minus(&l4));
        let simple = if how.exact { with_ports } else { few_ports(&with_ports) };
        for set in [simple, icmp].into_iter().filter(|s| !s.is_empty()) {
            by_ports.entry(set).or_default().insert(peer);
        }
    }
    let mut out = Vec::new();
    for (ports, peers) in by_ports {
        for (set, yaml) in lists(picker, &peers, how) {
            out.push(entry(set, yaml, &ports, how));
        }
    }
    out
}

/// A peer list with its key, or several, and what it takes in.
type List = (PeerSet, (String, Yaml));

fn lists(picker: &Picker<'_>, peers: &BTreeSet<&Peer>, how: Manner<'_>) -> Vec<List> {
    let mut pods: BTreeMap<&str, BTreeSet<IdentityId>> = BTreeMap::new();
    let mut reserved: BTreeSet<Reserved> = BTreeSet::new();
    let mut names: BTreeSet<SmolStr> = BTreeSet::new();
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    let by_name = how.names && how.direction == Direction::Egress && how.dialect != Dialect::Kubernetes;
    for peer in peers {
        match peer {
            Peer::Pods(id) => {
                pods.entry(picker.namespace(*id)).or_default().insert(*id);
            }
            Peer::Reserved(r) => {
                reserved.insert(*r);
            }
            Peer::Address(_, Some(name)) if by_name => {
                names.insert(name.clone());
            }
            Peer::Address(ip, _) => {
                addresses.insert(*ip);
            }
        }
    }
    let mut selectors = Vec::new();
    let mut taken = BTreeSet::new();
    for (namespace, ids) in &pods {
        for pick in picker.cover(namespace, ids, how.exact) {
            taken.extend(picker.taken(namespace, &pick));
            selectors.push(selector(&pick, namespace, how));
        }
    }
    let prefixes = gather(&addresses, how.exact);
    let prefix = |n: &IpNet| Yaml::Text(n.to_string());
    if how.dialect == Dialect::Kubernetes {
        let mut all = selectors;
        let whole = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let blocks = prefixes.clone().unwrap_or_else(|| whole.to_vec());
        all.extend(blocks.iter().map(|n| Yaml::map([("ipBlock", Yaml::map([("cidr", prefix(n))]))])));
        let peers = PeerSet {
            identities: taken,
            world: prefixes.is_none(),
            prefixes: prefixes.unwrap_or_default(),
            ..PeerSet::default()
        };
        return vec![(peers, (verb(how, ""), Yaml::Seq(all)))];
    }
    let mut out = Vec::new();
    if !selectors.is_empty() {
        let peers = PeerSet { identities: taken, ..PeerSet::default() };
        out.push((peers, (verb(how, "Endpoints"), Yaml::Seq(selectors))));
    }
    if prefixes.is_none() {
        reserved.insert(Reserved::World);
    }
    if !reserved.is_empty() {
        let list = reserved.iter().map(|r| Yaml::Text(r.name().to_owned())).collect();
        let world = reserved.contains(&Reserved::World);
        let family = |r: Reserved, net: IpNet| reserved.contains(&r).then_some(net);
        let prefixes = [
            family(Reserved::WorldIpv4, IpNet::V4(Ipv4Net::default())),
            family(Reserved::WorldIpv6, IpNet::V6(Ipv6Net::default())),
        ];
        let prefixes = prefixes.into_iter().flatten().collect();
        let peers = PeerSet { reserved, prefixes, world, ..PeerSet::default() };
        out.push((peers, (verb(how, "Entities"), Yaml::Seq(list))));
    }
    if let Some(prefixes) = prefixes.filter(|p| !p.is_empty()) {
        let list = prefixes.iter().map(prefix).collect();
        let peers = PeerSet { prefixes, ..PeerSet::default() };
        out.push((peers, (verb(how, "CIDR"), Yaml::Seq(list))));
    }
    if !names.is_empty() {
        let list = names.iter().map(|n| Yaml::map([("matchName", Yaml::Text(n.to_string()))])).collect();
        let peers = PeerSet { names, ..PeerSet::default() };
        out.push((peers, ("toFQDNs".to_owned(), Yaml::Seq(list))));
    }
    out
}

fn verb(how: Manner<'_>, what: &str) -> String {
    let verb = match how.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    format!("{verb}{what}")
}

/// A label selector as it stands in a policy.
pub(crate) fn labels(pick: &Pick, more: Option<(String, String)>) -> Yaml {
    let mut out = Vec::new();
    let pairs: Vec<(String, Yaml)> =
        pick.labels.iter().cloned().chain(more).map(|(k, v)| (k, Yaml::Text(v))).collect();
    if !pairs.is_empty() {
        out.push(("matchLabels".to_owned(), Yaml::Map(pairs)));
    }
    if !pick.absent.is_empty() {
        let absent = |k: &String| {
            Yaml::map([("key", Yaml::Text(k.clone())), ("operator", Yaml::Text("DoesNotExist".to_owned()))])
        };
        out.push(("matchExpressions".to_owned(), Yaml::Seq(pick.absent.iter().map(absent).collect())));
    }
    Yaml::Map(out)
}

fn selector(pick: &Pick, namespace: &str, how: Manner<'_>) -> Yaml {
    let elsewhere = how.namespace != Some(namespace);
    if how.dialect == Dialect::Kubernetes {
        let mut out = Vec::new();
        if elsewhere {
            let name = Yaml::Text(namespace.to_owned());
            let labels = Yaml::map([("kubernetes.io/metadata.name", name)]);
            out.push(("namespaceSelector".to_owned(), Yaml::map([("matchLabels", labels)])));
        }
        out.push(("podSelector".to_owned(), labels(pick, None)));
        return Yaml::Map(out);
    }
    labels(pick, elsewhere.then(|| (how.namespace_key.to_owned(), namespace.to_owned())))
}

fn entry(peers: PeerSet, list: (String, Yaml), ports: &PortSet, how: Manner<'_>) -> Entry {
    let mut out = vec![list];
    let numbers: Vec<(L4, u16, u16)> =
        ports.intervals().iter().flat_map(|(start, end)| pieces(*start, *end)).collect();
    if numbers.is_empty() {
        let fields =
            ports.intervals().iter().flat_map(|(a, b)| *a..*b).filter_map(|at| match flow_port(at) {
                FlowPort::Icmp(v6, t) => {
                    let family = if v6 { "IPv6" } else { "IPv4" };
                    Some(Yaml::map([
                        ("family", Yaml::Text(family.to_owned())),
                        ("type", Yaml::Number(u32::from(t))),
                    ]))
                }
                _ => None,
            });
        let fields: Vec<Yaml> = fields.collect();
        let lists =
            fields.chunks(MOST_PORTS).map(|c| Yaml::map([("fields", Yaml::Seq(c.to_vec()))])).collect();
        out.push(("icmps".to_owned(), Yaml::Seq(lists)));
    } else if how.dialect == Dialect::Kubernetes {
        let list = numbers.iter().map(|n| port(*n, false)).collect();
        out.push(("ports".to_owned(), Yaml::Seq(list)));
    } else {
        let list: Vec<Yaml> = numbers.iter().map(|n| port(*n, true)).collect();
        let lists = list.chunks(MOST_PORTS).map(|c| Yaml::map([("ports", Yaml::Seq(c.to_vec()))])).collect();
        out.push(("toPorts".to_owned(), Yaml::Seq(lists)));
    }
    Entry { yaml: Yaml::Map(out), peers, ports: ports.clone() }
}

/// A stretch of coordinates by protocol: neighbours on the line of coordinates need not be of one.
fn pieces(start: u32, end: u32) -> Vec<(L4, u16, u16)> {
    let mut out = Vec::new();
    for l4 in L4::ALL {
        let (low, high) = range(l4, 0, u16::MAX);
        let (a, b) = (start.max(low), end.min(high));
        if a < b
            && let (FlowPort::L4(_, first), FlowPort::L4(_, last)) = (flow_port(a), flow_port(b - 1))
        {
            out.push((l4, first, last));
        }
    }
    out
}

fn port((l4, first, last): (L4, u16, u16), cilium: bool) -> Yaml {
    let number = if cilium { Yaml::Quoted(first.to_string()) } else { Yaml::Number(u32::from(first)) };
    let protocol = ("protocol".to_owned(), Yaml::Text(l4.name().to_owned()));
    let end = (last > first).then(|| ("endPort".to_owned(), Yaml::Number(u32::from(last))));
    let mut out = vec![("port".to_owned(), number)];
    if cilium {
        out.extend(end);
        out.push(protocol);
    } else {
        out.insert(0, protocol);
        out.extend(end);
    }
    Yaml::Map(out)
}

/// At most [`PORTS`] stretches of each protocol: the nearest ones become one.
fn few_ports(ports: &PortSet) -> PortSet {
    let mut all = Vec::new();
    for l4 in L4::ALL {
        let own = ports.intersect(&PortSet::new([range(l4, 0, u16::MAX)]));
        let list = own.intervals();
        // The widest gaps stay.
        let mut gaps: Vec<(u32, u32)> =
            list.iter().zip(list.iter().skip(1)).map(|(a, b)| (b.0 - a.1, b.0)).collect();
        gaps.sort_unstable_by_key(|(width, at)| (std::cmp::Reverse(*width), *at));
        let kept: BTreeSet<u32> = gaps.iter().take(PORTS - 1).map(|(_, at)| *at).collect();
        let mut few: Vec<(u32, u32)> = Vec::new();
        for (start, end) in list {
            match few.last_mut() {
                Some(last) if !kept.contains(start) => last.1 = *end,
                _ => few.push((*start, *end)),
            }
        }
        all.extend(few);
    }
    PortSet::new(all)
}

/// Addresses as prefixes: as they are, or, where they are many, as few that take in little else. `None`: they are from
/// all over the world.
fn gather(addresses: &BTreeSet<IpAddr>, exact: bool) -> Option<Vec<IpNet>> {
    let hosts: Vec<IpNet> = addresses.iter().map(|ip| IpNet::from(*ip)).collect();
    let mut list = IpNet::aggregate(&hosts);
    if exact {
        return Some(list);
    }
    for (v4, v6) in [(24, 64), (16, 48), SHORTEST] {
        if list.len() > MANY {
            let wider = |n: &IpNet| {
                IpNet::new(n.addr(), n.prefix_len().min(if n.addr().is_ipv4() { v4 } else { v6 }))
            };
            let wide: Vec<IpNet> = list.iter().filter_map(|n| wider(n).ok()).map(|n| n.trunc()).collect();
            list = IpNet::aggregate(&wide);
        }
    }
    list.sort();
    while list.len() > PREFIXES {
        // Neighbours in order of addresses have the longest prefixes in common.
        let common = |a: &IpNet, b: &IpNet| {
            let mut up = *a;
            while !up.contains(b) {
                up = up.supernet()?;
            }
            Some(up)
        };
        let best = list
            .windows(2)
            .enumerate()
            .filter_map(|(i, w)| match w {
                [a, b] => common(a, b).map(|n| (i, n)),
                _ => None,
            })
            .max_by_key(|(_, n)| {
                (n.prefix_len() + if n.addr().is_ipv4() { 96 } else { 0 }, std::cmp::Reverse(n.network()))
            });
        let Some((at, net)) = best else { break };
        let shortest = if net.addr().is_ipv4() { SHORTEST.0 } else { SHORTEST.1 };
        if net.prefix_len() < shortest {
            return None;
        }
        list.remove(at + 1);
        if let Some(slot) = list.get_mut(at) {
            *slot = net;
        }
    }
    Some(list)
}
