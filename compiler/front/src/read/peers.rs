//! One entry of `ingress`, `ingressDeny`, `egress` or `egressDeny`: its peers, and what it applies
//! to (SEM-2.3, SEM-2.4).

use super::fields::{Map, Reader, inert, refused};
use super::{cidr, fqdn, icmp, ports, selector};
use crate::ast::{AuthMode, Entity, Entry, ServiceRef, Spanned};
use crate::tree::Node;
use portcullis_diag::codes::schema;
use smol_str::SmolStr;

/// The direction of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Traffic to the subject.
    Ingress,
    /// Traffic from the subject.
    Egress,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Ingress or egress.
    pub(super) direction: Direction,
    /// `ingressDeny` or `egressDeny`.
    pub(super) deny: bool,
    /// The rule selects nodes.
    pub(super) host: bool,
}

impl Place {
    /// The section's name.
    pub(super) fn section(self) -> &'static str {
        match (self.direction, self.deny) {
            (Direction::Ingress, false) => "ingress",
            (Direction::Ingress, true) => "ingressDeny",
            (Direction::Egress, false) => "egress",
            (Direction::Egress, true) => "egressDeny",
        }
    }

    /// Whether it is an ingress section.
    pub(super) fn ingress(self) -> bool {
        self.direction == Direction::Ingress
    }
}

const INGRESS: &[&str] = &[
    "fromEndpoints",
    "fromCIDR",
    "fromCIDRSet",
    "fromEntities",
    "fromGroups",
    "fromNodes",
    "fromRequires",
    "toPorts",
    "icmps",
    "authentication",
];
const EGRESS: &[&str] = &[
    "toEndpoints",
    "toCIDR",
    "toCIDRSet",
    "toEntities",
    "toServices",
    "toGroups",
    "toNodes",
    "toRequires",
    "toPorts",
    "icmps",
    "toFQDNs",
    "authentication",
];
/// Peer fields, at most one of which may have items.
const PEERS: &[&str] = &[
    "fromEndpoints",
    "fromCIDR",
    "fromCIDRSet",
    "fromEntities",
    "fromGroups",
    "fromNodes",
    "toEndpoints",
    "toCIDR",
    "toCIDRSet",
    "toEntities",
    "toServices",
    "toGroups",
    "toNodes",
    "toFQDNs",
];
/// What only rules that allow may have.
const ALLOW_ONLY: &[&str] = &["toFQDNs", "authentication"];

/// Reads one entry.
pub(super) fn entry(r: &mut Reader<'_>, node: &Node, place: Place) -> Option<Entry> {
    let all = if place.ingress() { INGRESS } else { EGRESS };
    let known: Vec<&str> = all.iter().copied().filter(|k| !place.deny || !ALLOW_ONLY.contains(k)).collect();
    let map = r.strict(node, place.section(), &known)?;
    let mut entry = Entry { span: node.span, ..Entry::default() };
    entry.dropped = misplaced(&map, &known);
    one_kind_of_peers(r, &map, &known);
    for (name, field) in map.given(&known) {
        let value = &field.value;
        match name {
            "fromEndpoints" | "toEndpoints" => entry.endpoints = selector::list(r, value, name),
            "fromCIDR" | "toCIDR" => entry.cidr = cidr::list(r, value, name),
            "fromCIDRSet" | "toCIDRSet" => entry.cidr_set = cidr::set(r, value, name),
            "fromEntities" | "toEntities" => entry.entities = entities(r, value, name),
            "fromGroups" | "toGroups" => entry.groups = groups(r, value, name),
            "fromNodes" | "toNodes" => {
                entry.nodes = selector::list(r, value, name);
                if !value.as_seq().unwrap_or_default().is_empty() {
                    let why = format!("`{name}` needs node labels in identities, which are off by default");
                    let finding = inert(schema::NODE_PEERS, field.key_span, why)
                        .label("selects nodes by their labels")
                        .help("use the entities host and remote-node; only a Cilium with `enable-node-selector-labels` takes this");
                    r.report(finding);
                }
            }
            "fromRequires" | "toRequires" => requires(r, value, name),
            "toServices" => entry.services = services(r, value),
            "toFQDNs" => entry.fqdns = fqdn::list(r, value, "toFQDNs"),
            "toPorts" => entry.to_ports = ports::list(r, value, place),
            "icmps" => entry.icmps = icmp::list(r, value),
            "authentication" => entry.authentication = authentication(r, value),
            _ => {}
        }
    }
    ports_or_icmps(r, &map);
    Some(entry)
}

/// Fields of the other sections, which vanish here and leave a rule that means something else
/// (SEM-8.3).
fn misplaced(map: &Map<'_>, known: &[&str]) -> Vec<Spanned<SmolStr>> {
    let fields = map.entries().iter().filter(|e| !e.value.is_null());
    fields
        .filter(|e| {
            (PEERS.contains(&e.key.as_str()) || ALLOW_ONLY.contains(&e.key.as_str()))
                && !known.contains(&e.key.as_str())
        })
        .map(|e| Spanned::new(e.key.clone(), e.key_span))
        .collect()
}

fn one_kind_of_peers(r: &mut Reader<'_>, map: &Map<'_>, known: &[&str]) {
    let peers: Vec<&str> = PEERS.iter().copied().filter(|p| known.contains(p)).collect();
    let mut given = map.given(&peers);
    given.retain(|(_, e)| !e.value.as_seq().unwrap_or_default().is_empty());
    given.sort_by_key(|(_, e)| e.key_span.start);
    if let [(first, a), (second, b), ..] = given.as_slice() {
        let why = format!("`{first}` and `{second}` stand in one rule");
        let finding = inert(schema::MIXED_PEERS, b.key_span, why)
            .label("a second kind of peers")
            .also(a.key_span, "the first kind")
            .help("make two rules of it: rules add up");
        r.report(finding);
    }
}

fn ports_or_icmps(r: &mut Reader<'_>, map: &Map<'_>) {
    let filled = |name: &str| map.entry(name).filter(|e| !e.value.as_seq().unwrap_or_default().is_empty());
    if let (Some(ports), Some(icmps)) = (filled("toPorts"), filled("icmps")) {
        let finding =
            inert(schema::ICMP_WITH_PORTS, icmps.key_span, "`icmps` and `toPorts` stand in one rule")
                .label("ICMP has no ports")
                .also(ports.key_span, "the ports")
                .help("make two rules of it: rules add up");
        r.report(finding);
    }
}

fn requires(r: &mut Reader<'_>, node: &Node, name: &str) {
    let Some([_, ..]) = r.list(node, name) else { return };
    let finding = refused(schema::REQUIRES_REMOVED, node.span, format!("`{name}` has been removed"))
        .label("takes no items any more")
        .help("put the labels it required into each peer selector of the rule");
    r.report(finding);
}

const ENTITIES: &[(&str, Entity)] = &[
    ("all", Entity::All),
    ("world", Entity::World),
    ("cluster", Entity::Cluster),
    ("cluster-mesh", Entity::ClusterMesh),
    ("host", Entity::Host),
    ("init", Entity::Init),
    ("ingress", Entity::Ingress),
    ("unmanaged", Entity::Unmanaged),
    ("remote-node", Entity::RemoteNode),
    ("health", Entity::Health),
    ("none", Entity::None),
    ("kube-apiserver", Entity::KubeApiserver),
];

fn entities(r: &mut Reader<'_>, node: &Node, name: &str) -> Option<Spanned<Vec<Spanned<Entity>>>> {
    let items = r.list(node, name)?;
    let entities =
        items.iter().filter_map(|n| r.choice(n, "entity", ENTITIES, schema::UNKNOWN_ENTITY)).collect();
    Some(Spanned::new(entities, node.span))
}

/// Cloud security groups: the fields are checked, their meaning is the cloud's.
fn groups(r: &mut Reader<'_>, node: &Node, name: &str) -> Option<portcullis_diag::Span> {
    for item in r.list(node, name)? {
        let aws = r.strict(item, name, &["aws"]).and_then(|m| m.get("aws"));
        let known = ["labels", "region", "securityGroupsIds", "securityGroupsNames"];
        let Some(aws) = aws.and_then(|n| r.strict(n, "aws", &known)) else { continue };
        for (field, entry) in aws.given(&["securityGroupsIds", "securityGroupsNames"]) {
            r.texts(&entry.value, field);
        }
        aws.get("region").and_then(|n| r.text(n, "region"));
        aws.get("labels").and_then(|n| r.map(n, "labels"));
    }
    Some(node.span)
}

fn services(r: &mut Reader<'_>, node: &Node) -> Option<Spanned<Vec<ServiceRef>>> {
    let items = r.list(node, "toServices")?;
    let services = items.iter().filter_map(|n| service(r, n)).collect();
    Some(Spanned::new(services, node.span))
}

fn service(r: &mut Reader<'_>, node: &Node) -> Option<ServiceRef> {
    let map = r.strict(node, "toServices", &["k8sService", "k8sServiceSelector"])?;
    let named = map.get("k8sService").and_then(|n| r.strict(n, "k8sService", &["serviceName", "namespace"]));
    let selected = map
        .get("k8sServiceSelector")
        .and_then(|n| r.strict(n, "k8sServiceSelector", &["selector", "namespace"]));
    let name = named.and_then(|m| m.get("serviceName")).and_then(|n| r.text(n, "serviceName"));
    let named_in = named.and_then(|m| m.get("namespace")).and_then(|n| r.text(n, "namespace"));
    let selected_in = selected.and_then(|m| m.get("namespace")).and_then(|n| r.text(n, "namespace"));
    let selector = selected.and_then(|m| {
        let given = super::cluster::required(r, &m, "selector", "k8sServiceSelector")?;
        selector::read(r, &given.value, "selector")
    });
    Some(ServiceRef { span: node.span, name, namespace: named_in.or(selected_in), selector })
}

const MODES: &[(&str, AuthMode)] = &[
    ("disabled", AuthMode::Disabled),
    ("required", AuthMode::Required),
    ("test-always-fail", AuthMode::TestAlwaysFail),
];

fn authentication(r: &mut Reader<'_>, node: &Node) -> Option<Spanned<AuthMode>> {
    let map = r.strict(node, "authentication", &["mode"])?;
    let Some(mode) = map.get("mode") else {
        r.missing(map.span, "mode", "authentication");
        return None;
    };
    r.choice(mode, "authentication mode", MODES, schema::UNKNOWN_VALUE)
}
