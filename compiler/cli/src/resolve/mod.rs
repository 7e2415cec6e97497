//! Names of a flow's ends: `ns/pod`, `ns/workload`, `ns/app=web`, an address, a DNS name,
//! `entity:host`.
//!
//! A name that means nothing, or several things that policies tell apart, is an error with the
//! nearest names: an answer about another pod than the one meant would be worse than none.

mod nearest;
mod pods;
mod port;

use crate::exit::Failure;
use crate::session::Side;
use portcullis_ir::cluster::Service;
use portcullis_ir::{Cluster, EndpointId, Options, PeerRef, PolicySet, Reserved};
use portcullis_sema::regions::{Region, prefixes, regions};
use smol_str::SmolStr;
use std::net::IpAddr;

pub(crate) use nearest::nearest;
pub(crate) use port::{Port, parse as parse_port};

/// What a name means.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// Pods; all those that the name takes in.
    Pods(Vec<EndpointId>),
    /// A reserved identity.
    Reserved(Reserved),
    /// Addresses outside the cluster that no policy names; IPv6 or not.
    World(bool),
    /// One address outside the cluster.
    Address(IpAddr),
    /// Addresses that a DNS name resolved to.
    Name(SmolStr),
    /// A service, by its index in the cluster, and the pods behind it.
    Service(usize, Vec<EndpointId>),
}

/// A resolved name.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// What it means.
    pub(crate) who: Who,
    /// What a reader has to know about how it was taken; whole sentences.
    pub(crate) notes: Vec<String>,
}

impl End {
    fn plain(who: Who) -> Self {
        Self { who, notes: Vec::new() }
    }

    fn with(who: Who, note: String) -> Self {
        Self { who, notes: vec![note] }
    }
}

/// Entities that are one identity each.
const ENTITIES: [Reserved; 7] = [
    Reserved::Host,
    Reserved::RemoteNode,
    Reserved::KubeApiserver,
    Reserved::Health,
    Reserved::Ingress,
    Reserved::Init,
    Reserved::Unmanaged,
];

/// What a name means on a side. Labels that no pod has become a pod of their own where the side has
/// only samples of what its selectors ask for.
pub(crate) fn resolve(text: &str, side: &mut Side<'_>, options: &Options) -> Result<End, Failure> {
    let text = text.trim();
    if let Some(name) = text.strip_prefix("entity:").or_else(|| text.strip_prefix("reserved:")) {
        return entity(name);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(address(ip, &side.cluster));
    }
    if let Some((namespace, rest)) = text.split_once('/') {
        if text.parse::<ipnet::IpNet>().is_ok() {
            return Err(Failure::new(
                format!("`{text}` is a range of addresses, and a flow has one"),
                "name one address of it",
            ));
        }
        return pods::named(namespace, rest, side, options);
    }
    if text.contains('.') {
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        if name
            .split('.')
            .all(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
        {
            let note = format!(
                "{name} stands for an address that a lookup of that name gave and that no policy names as a range."
            );
            return Ok(End::with(Who::Name(name.into()), note));
        }
    }
    pods::bare(text, &side.cluster)
}

fn entity(name: &str) -> Result<End, Failure> {
    match name {
        "world" | "world-ipv4" => return Ok(End::plain(Who::World(false))),
        "world-ipv6" => return Ok(End::plain(Who::World(true))),
        _ => {}
    }
    if let Some(r) = ENTITIES.into_iter().find(|r| r.name() == name) {
        return Ok(End::plain(Who::Reserved(r)));
    }
    let one: Vec<&str> =
        ENTITIES.iter().map(|r| r.name()).chain(["world", "world-ipv4", "world-ipv6"]).collect();
    if ["all", "cluster", "cluster-mesh", "none"].contains(&name) {
        return Err(Failure::new(
            format!("the entity `{name}` is no single end of a flow"),
            format!("name a pod, or one of {}", one.join(", ")),
        ));
    }
    let near = nearest(name, one.iter().copied(), 2);
    let help = if near.is_empty() {
        format!("the entities are {}", one.join(", "))
    } else {
        format!("did you mean entity:{}?", near.join(" or entity:"))
    };
    Err(Failure::new(format!("there is no entity `{name}`"), help))
}

/// Whose address it is: a pod's, a node's, a service's, or nobody's in the cluster.
fn address(ip: IpAddr, cluster: &Cluster) -> End {
    let pods: Vec<EndpointId> =
        cluster.endpoints().filter(|(_, e)| e.ips.contains(&ip)).map(|(id, _)| id).collect();
    if let Some(e) = pods.first().and_then(|id| cluster.endpoint(*id)) {
        let note = format!("{ip} is the pod {}/{}.", e.namespace, e.name);
        return End::with(Who::Pods(pods), note);
    }
    if cluster.node_ips.contains(&ip) {
        let note = format!(
            "{ip} is a node's address, so it is taken as entity:remote-node; seen from pods on that node it is entity:host."
        );
        return End::with(Who::Reserved(Reserved::RemoteNode), note);
    }
    let of_service = |s: &Service| s.spec.cluster_ips.contains(&ip) || s.spec.outside_ips().any(|o| o == ip);
    if let Some((at, service)) = cluster.services.iter().enumerate().find(|(_, s)| of_service(s)) {
        return End::with(
            Who::Service(at, backends(service, cluster)),
            format!("{ip} is the service {}/{}.", service.namespace, service.name),
        );
    }
    if cluster.pod_cidrs.iter().any(|c| c.contains(&ip)) {
        let note = format!(
            "{ip} is in a node's pod range, but no pod with it is known: it is taken as an address outside the cluster."
        );
        return End::with(Who::Address(ip), note);
    }
    End::plain(Who::Address(ip))
}

/// The pods behind a service: by its selector, and by the addresses of its slices.
fn backends(service: &Service, cluster: &Cluster) -> Vec<EndpointId> {
    let selector = service.spec.selector.as_ref().filter(|s| !s.is_empty());
    cluster
        .endpoints()
        .filter(|(_, e)| {
            let selected = selector.is_some_and(|wanted| {
                e.namespace == service.namespace
                    && cluster
                        .labels(e.identity)
                        .is_some_and(|l| wanted.iter().all(|(k, v)| l.k8s(k) == Some(v.as_str())))
            });
            selected || e.ips.iter().any(|ip| service.addresses.contains(ip))
        })
        .map(|(id, _)| id)
        .collect()
}

/// The region an address is in: the longest prefix that any policy names (SEM-4.4).
pub(crate) fn region_of(ip: Option<IpAddr>, v6: bool, policies: &PolicySet) -> Option<Region> {
    let all = regions(&prefixes(policies.peers.iter()));
    let family = all.into_iter().filter(|r| r.example.is_ipv6() == ip.map_or(v6, |ip| ip.is_ipv6()));
    match ip {
        Some(ip) => family.filter(|r| r.prefix.contains(&ip)).max_by_key(|r| r.prefix.prefix_len()),
        None => family.min_by_key(|r| r.prefix.prefix_len()).filter(|r| r.prefix.prefix_len() == 0),
    }
}

/// An address of the world that no policy names, as an end of a flow.
pub(crate) fn of_the_world(v6: bool, names: Vec<SmolStr>, policies: &PolicySet) -> PeerRef {
    match region_of(None, v6, policies) {
        Some(r) => PeerRef::External { ip: r.example, names },
        // Policies name every address of the family.
        None => PeerRef::Reserved(if v6 { Reserved::WorldIpv6 } else { Reserved::WorldIpv4 }),
    }
}
