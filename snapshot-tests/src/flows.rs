//! Verdicts written by hand: `flows.yaml`.

use portcullis_diag::FileId;
use portcullis_front::tree::{Node, Value};
use portcullis_ir::peer::Reserved;
use portcullis_ir::{Cluster, Direction, FlowPort, L4, PeerRef, Verdict};
use smol_str::SmolStr;
use std::net::IpAddr;

/// One end as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `pod: namespace/name`, or the name of its workload: then its first pod.
    Pod(String),
    /// `ip`, with `fqdn` if a name led to it.
    Address(IpAddr, Vec<SmolStr>),
    /// `entity`.
    Entity(Reserved),
}

/// The verdicts of one flow: the side of the comparison (`base`, `head`, or `expect` for a state)
/// and what each end says.
pub type Expected = Vec<(String, Vec<(Direction, Verdict)>)>;

/// One flow with its verdicts and the rules they follow from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who sends.
    pub from: End,
    /// Who receives.
    pub to: End,
    /// What.
    pub port: FlowPort,
    /// Verdicts by side.
    pub expect: Expected,
    /// The rules.
    pub why: String,
}

/// Reads a file. An error names the flow and what is wrong with it.
pub fn read(text: &str) -> Result<Vec<Flow>, String> {
    let mut roots = Vec::new();
    for chunk in portcullis_front::text::split("flows.yaml", text) {
        let outcome = portcullis_front::text::tree(FileId(0), "flows.yaml", text, chunk);
        if let Some(d) = outcome.diagnostics.first() {
            return Err(d.message.clone());
        }
        roots.extend(outcome.roots);
    }
    let [root] = roots.as_slice() else { return Err("not one document".to_owned()) };
    let list = root.get("flows").and_then(Node::as_seq).ok_or("no list `flows`")?;
    (1..).zip(list).map(|(n, f)| flow(f).map_err(|e| format!("flow {n}: {e}"))).collect()
}

fn flow(f: &Node) -> Result<Flow, String> {
    const KNOWN: [&str; 9] = ["from", "to", "protocol", "port", "icmpType", "expect", "base", "head", "why"];
    if let Some(e) = f.as_map().unwrap_or_default().iter().find(|e| !KNOWN.contains(&e.key.as_str())) {
        return Err(format!("unknown key {}", e.key));
    }
    let mut expect = Expected::new();
    for side in ["expect", "base", "head"] {
        if let Some(v) = f.get(side) {
            expect.push((side.to_owned(), verdicts(v)?));
        }
    }
    if expect.is_empty() {
        return Err("no verdict".to_owned());
    }
    let why = f.get("why").and_then(Node::as_str).unwrap_or_default().to_owned();
    if !why.contains("SEM-") {
        return Err("`why` cites no rule".to_owned());
    }
    Ok(Flow { from: end(f.get("from"))?, to: end(f.get("to"))?, port: port(f)?, expect, why })
}

fn verdicts(v: &Node) -> Result<Vec<(Direction, Verdict)>, String> {
    let entries = v.as_map().ok_or("verdicts are no mapping")?;
    entries
        .iter()
        .map(|e| {
            let direction = match e.key.as_str() {
                "ingress" => Direction::Ingress,
                "egress" => Direction::Egress,
                other => return Err(format!("unknown direction {other}")),
            };
            match e.value.as_str() {
                Some("allowed") => Ok((direction, Verdict::Allowed)),
                Some("denied") => Ok((direction, Verdict::Denied)),
                other => Err(format!("unknown verdict {other:?}")),
            }
        })
        .collect()
}

fn end(n: Option<&Node>) -> Result<End, String> {
    let text = |key: &str| n.and_then(|n| n.get(key)).and_then(Node::as_str);
    if let Some(pod) = text("pod") {
        return Ok(End::Pod(pod.to_owned()));
    }
    if let Some(ip) = text("ip") {
        let ip = ip.parse().map_err(|e| format!("{ip}: {e}"))?;
        return Ok(End::Address(ip, text("fqdn").map(SmolStr::from).into_iter().collect()));
    }
    let entity = text("entity").ok_or("an end that is neither pod nor ip nor entity")?;
    Reserved::parse(entity).map(End::Entity).ok_or_else(|| format!("unknown entity {entity}"))
}

fn number<T: TryFrom<i128>>(f: &Node, key: &str) -> Result<T, String> {
    match f.get(key).map(|n| &n.value) {
        Some(Value::Int(n)) => T::try_from(*n).map_err(|_| format!("{key} {n} is too large")),
        _ => Err(format!("no {key}")),
    }
}

fn port(f: &Node) -> Result<FlowPort, String> {
    match f.get("protocol").and_then(Node::as_str) {
        Some("TCP") => Ok(FlowPort::L4(L4::Tcp, number(f, "port")?)),
        Some("UDP") => Ok(FlowPort::L4(L4::Udp, number(f, "port")?)),
        Some("SCTP") => Ok(FlowPort::L4(L4::Sctp, number(f, "port")?)),
        Some("ICMP") => Ok(FlowPort::Icmp(false, number(f, "icmpType")?)),
        Some("ICMPv6") => Ok(FlowPort::Icmp(true, number(f, "icmpType")?)),
        other => Err(format!("unknown protocol {other:?}")),
    }
}

impl End {
    /// The end in a cluster.
    pub fn on(&self, cluster: &Cluster) -> Result<PeerRef, String> {
        Ok(match self {
            Self::Pod(text) => {
                let (ns, name) = text.split_once('/').ok_or_else(|| format!("{text} has no namespace"))?;
                let found = cluster.endpoints().find(|(_, e)| {
                    e.namespace == ns
                        && (e.name == name || cluster.workload_of(e).is_some_and(|w| w.name == name))
                });
                PeerRef::Endpoint(
                    found.map(|(id, _)| id).ok_or_else(|| format!("{text} is not in the cluster"))?,
                )
            }
            Self::Address(ip, names) => PeerRef::External { ip: *ip, names: names.clone() },
            Self::Entity(r) => PeerRef::Reserved(*r),
        })
    }
}
