//! Both ends of the flow that is asked about.

use crate::exit::Failure;
use crate::resolve::{End, Port, Who, of_the_world};
use crate::session::Side;
use portcullis_front::ast::PortValue;
use portcullis_ir::cluster::Service;
use portcullis_ir::port::L4;
use portcullis_ir::{Cluster, EndpointId, Flow, FlowPort, PeerRef, synthetic};
use smol_str::SmolStr;
use std::collections::BTreeMap;

/// A flow, and its ends in words.
pub(super) struct Asked {
    pub(super) flow: Flow,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) notes: Vec<String>,
}

/// The flow between two names.
pub(super) fn flow(from: &End, to: &End, port: &Port, side: &Side<'_>) -> Result<Asked, Failure> {
    let cluster = &side.cluster;
    let mut notes = Vec::new();
    let (from_ref, from_words) = match &from.who {
        Who::Pods(ids) => one_pod(ids, None, cluster, &mut notes)?,
        Who::Service(at, _) => {
            let name =
                cluster.services.get(*at).map(|s| format!("{}/{}", s.namespace, s.name)).unwrap_or_default();
            return Err(Failure::new(
                format!("the service {name} receives traffic and sends none"),
                "give --from one of the pods behind it",
            ));
        }
        other => elsewhere(other, side),
    };
    let mut service = None;
    let (to_ref, to_words) = match &to.who {
        // Two pods of one workload, where it has two: a pod to itself always passes.
        Who::Pods(ids) => one_pod(ids, Some(&from_ref), cluster, &mut notes)?,
        Who::Service(at, backends) => {
            let found = cluster.services.get(*at);
            let name = found.map(|s| format!("{}/{}", s.namespace, s.name)).unwrap_or_default();
            if backends.is_empty() {
                return Err(Failure::new(
                    format!("the service {name} has no pods behind it that are known"),
                    "give --to an address, or --cluster with the pods",
                ));
            }
            notes.push(
                "Policy is asked after the service was translated, so it sees the pod behind it (SEM-7.3)."
                    .to_owned(),
            );
            service = found;
            one_pod(backends, Some(&from_ref), cluster, &mut notes)?
        }
        other => elsewhere(other, side),
    };
    let carried = carried(port, service, &to_ref, &to_words, cluster, &mut notes)?;
    Ok(Asked {
        flow: Flow { from: from_ref, to: to_ref, port: carried },
        from: from_words,
        to: to_words,
        notes,
    })
}

fn elsewhere(who: &Who, side: &Side<'_>) -> (PeerRef, String) {
    match who {
        Who::Reserved(r) => (PeerRef::Reserved(*r), format!("entity {}", r.name())),
        Who::World(v6) => {
            let family = if *v6 { "IPv6" } else { "IPv4" };
            let words = format!("the world (an {family} address that no policy names)");
            (of_the_world(*v6, Vec::new(), &side.policies), words)
        }
        Who::Address(ip) => (PeerRef::External { ip: *ip, names: Vec::new() }, ip.to_string()),
        Who::Name(name) => (of_the_world(false, vec![name.clone()], &side.policies), name.to_string()),
        // Pods and services are resolved by their callers.
        Who::Pods(_) | Who::Service(..) => (of_the_world(false, Vec::new(), &side.policies), String::new()),
    }
}

/// One pod for all that a name takes in, which policies must not tell apart.
fn one_pod(
    ids: &[EndpointId],
    other_end: Option<&PeerRef>,
    cluster: &Cluster,
    notes: &mut Vec<String>,
) -> Result<(PeerRef, String), Failure> {
    let mut kinds: BTreeMap<_, Vec<EndpointId>> = BTreeMap::new();
    for id in ids {
        if let Some(e) = cluster.endpoint(*id) {
            kinds.entry((e.identity, e.ports)).or_default().push(*id);
        }
    }
    if kinds.len() > 1 {
        let mut examples: Vec<String> = kinds
            .values()
            .filter_map(|k| cluster.endpoint(*k.first()?))
            .map(|e| format!("{}/{}", e.namespace, e.name))
            .collect();
        examples.sort();
        let shown: Vec<String> = examples.iter().take(5).cloned().collect();
        return Err(Failure::new(
            format!(
                "that name means pods with {} different sets of labels or ports, and policies may tell them apart",
                kinds.len()
            ),
            format!("name one of them: {}", shown.join(", ")),
        ));
    }
    let all: Vec<EndpointId> = kinds.into_values().flatten().collect();
    let free = all.iter().find(|id| other_end != Some(&PeerRef::Endpoint(**id)));
    let Some(id) = free.or_else(|| all.first()).copied() else {
        return Err(Failure::new("that name means no pod", "give --cluster with the pods"));
    };
    if all.len() > 1 {
        let name = cluster.endpoint(id).map(|e| format!("{}/{}", e.namespace, e.name)).unwrap_or_default();
        notes.push(format!("{name} stands for {} pods with the same labels and ports.", all.len()));
    }
    Ok((PeerRef::Endpoint(id), words(id, cluster)))
}

/// A pod in words: with its workload, where that says more.
pub(super) fn words(id: EndpointId, cluster: &Cluster) -> String {
    let Some(e) = cluster.endpoint(id) else { return String::new() };
    let name = format!("{}/{}", e.namespace, e.name);
    match cluster.workload_of(e) {
        Some(w) if w.kind == synthetic::KIND => name,
        Some(w) if w.kind == "Pod" => name,
        Some(w) if w.name == e.name => format!("{name} ({})", w.kind),
        Some(w) => format!("{name} ({} {}/{})", w.kind, w.namespace, w.name),
        None => name,
    }
}

/// What the packet carries where policy is asked.
fn carried(
    port: &Port,
    service: Option<&Service>,
    to: &PeerRef,
    to_words: &str,
    cluster: &Cluster,
    notes: &mut Vec<String>,
) -> Result<FlowPort, Failure> {
    let mut port = port.clone();
    if let Some(s) = service {
        port = behind(s, port, notes);
    }
    match port {
        Port::Number(l4, n) => Ok(FlowPort::L4(l4, n)),
        Port::Icmp(v6, t) => Ok(FlowPort::Icmp(v6, t)),
        Port::Name(l4, name) => {
            let PeerRef::Endpoint(id) = to else {
                return Err(Failure::new(
                    format!("`{name}` is a port's name, and {to_words} is no pod that could have it"),
                    "give the port as a number",
                ));
            };
            let has = cluster.endpoint(*id).map_or(&[][..], |e| cluster.named_ports(e));
            let found = has.iter().find(|(n, p, _)| *n == name && l4.is_none_or(|l| l == *p));
            if let Some((_, p, number)) = found {
                notes.push(format!("{name} is {} {number} there.", p.name()));
                return Ok(FlowPort::L4(*p, *number));
            }
            let names: Vec<&str> = has.iter().map(|(n, ..)| n.as_str()).collect();
            let help = if names.is_empty() {
                "it names none: give the port as a number".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            };
            Err(Failure::new(format!("{to_words} has no port named `{name}`"), help))
        }
    }
}

/// A service's port is its pods' target port.
fn behind(service: &Service, port: Port, notes: &mut Vec<String>) -> Port {
    let protocol = |p: portcullis_front::ast::Protocol| match p {
        portcullis_front::ast::Protocol::Udp => L4::Udp,
        portcullis_front::ast::Protocol::Sctp => L4::Sctp,
        _ => L4::Tcp,
    };
    let found = service.spec.ports.iter().find(|p| match &port {
        Port::Number(l4, n) => p.port == *n && protocol(p.protocol) == *l4,
        Port::Name(l4, name) => p.name.as_ref() == Some(name) && l4.is_none_or(|l| l == protocol(p.protocol)),
        Port::Icmp(..) => false,
    });
    let Some(p) = found else { return port };
    let l4 = protocol(p.protocol);
    let (target, words): (Port, SmolStr) = match &p.target {
        PortValue::Number(n) => (Port::Number(l4, *n), n.to_string().into()),
        PortValue::Name(name) => (Port::Name(Some(l4), name.clone()), name.clone()),
    };
    if p.target != PortValue::Number(p.port) {
        notes.push(format!("The service's port {} goes to port {words} of its pods.", p.port));
    }
    target
}
