//! Ends and ports in a file of claims.

use crate::exit::Failure;
use crate::resolve::nearest;
use portcullis_diag::{SourceMap, Span};
use portcullis_front::tree::{Node, Value};
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::label::{NAMESPACE_LABELS, POD_NAMESPACE, SERVICE_ACCOUNT, SOURCE_K8S, split_key};
use portcullis_ir::peer::{Entity, entity_name};
use portcullis_ir::{L4, Operator, PortTerm, Ports, Requirement};
use portcullis_symbolic::Pattern;
use smol_str::SmolStr;

/// Collects what is wrong.
pub(super) struct Reader<'s> {
    pub(super) sources: &'s SourceMap,
    pub(super) wrong: Vec<Failure>,
}

impl Reader<'_> {
    pub(super) fn say(&mut self, span: Span, what: &str, help: &str) {
        let at = self.sources.position(span);
        let name = self.sources.name(span);
        self.wrong.push(Failure::new(format!("{name}:{}:{}: {what}", at.line, at.column), help));
    }

    /// Says which keys have no meaning here. A field that is passed over would be a claim not made.
    pub(super) fn keys(&mut self, n: &Node, known: &[&str]) {
        let Some(entries) = n.as_map() else {
            return self.say(
                n.span,
                &format!("this is a {}, not a mapping", n.value.type_name()),
                &list(known),
            );
        };
        for e in entries.iter().filter(|e| !known.contains(&e.key.as_str())) {
            let near = nearest(&e.key, known.iter().copied(), 1);
            let help = match near.first() {
                Some(near) => format!("did you mean `{near}`?"),
                None => list(known),
            };
            self.say(e.key_span, &format!("there is no `{}` here", e.key), &help);
        }
    }
}

fn list(known: &[&str]) -> String {
    format!("the keys here are {}", known.join(", "))
}

const ENTITIES: [Entity; 13] = [
    Entity::All,
    Entity::World,
    Entity::WorldIpv4,
    Entity::WorldIpv6,
    Entity::Cluster,
    Entity::Host,
    Entity::RemoteNode,
    Entity::KubeApiserver,
    Entity::Ingress,
    Entity::Health,
    Entity::Init,
    Entity::Unmanaged,
    Entity::ClusterMesh,
];

/// One end or a list of them.
pub(super) fn ends(n: &Node, r: &mut Reader<'_>) -> Vec<Pattern> {
    match n.as_seq() {
        Some([]) => {
            r.say(n.span, "this end is nobody", "leave it out for anyone");
            Vec::new()
        }
        Some(all) => all.iter().filter_map(|n| end(n, r)).collect(),
        None => end(n, r).into_iter().collect(),
    }
}

fn end(n: &Node, r: &mut Reader<'_>) -> Option<Pattern> {
    const PODS: [&str; 5] = ["namespace", "labels", "notLabels", "namespaceLabels", "serviceAccount"];
    r.keys(n, &[&PODS[..], &["entity", "cidr", "except", "name"]].concat());
    let entries = n.as_map()?;
    let kinds: Vec<&str> = ["entity", "cidr", "name"].into_iter().filter(|k| n.get(k).is_some()).collect();
    let pods = PODS.iter().any(|k| n.get(k).is_some());
    match (kinds.as_slice(), pods) {
        ([], false) => {
            if entries.is_empty() {
                r.say(n.span, "this end says nothing", "leave it out for anyone, or write {entity: cluster}");
            }
            None
        }
        ([], true) => Some(Pattern::Pods(pod(n, r))),
        (["entity"], false) => {
            let text = n.get("entity").and_then(Node::as_str).unwrap_or_default();
            let found = ENTITIES.into_iter().find(|e| entity_name(*e) == text);
            if found.is_none() {
                let all: Vec<&str> = ENTITIES.iter().map(|e| entity_name(*e)).collect();
                r.say(
                    n.span,
                    &format!("there is no entity `{text}`"),
                    &format!("the entities are {}", all.join(", ")),
                );
            }
            found.map(Pattern::Entity)
        }
        (["name"], false) => {
            let text = n.get("name").and_then(Node::as_str).unwrap_or_default();
            let name: SmolStr = text.trim_end_matches('.').to_ascii_lowercase().into();
            if name.is_empty() {
                r.say(
                    n.span,
                    "this is no DNS name",
                    "write {name: api.example.com} or {name: \"*.example.com\"}",
                );
            }
            Some(Pattern::Name(if name.contains('*') { Fqdn::Pattern(name) } else { Fqdn::Name(name) }))
        }
        (["cidr"], false) => cidr(n, r),
        _ => {
            let help = "give one of labels and namespace, entity, cidr, or name; a list of ends is a union";
            r.say(n.span, "this end is two things at once", help);
            None
        }
    }
}

fn cidr(n: &Node, r: &mut Reader<'_>) -> Option<Pattern> {
    let mut net = |n: &Node| {
        let net = n.as_str().and_then(|s| s.parse::<ipnet::IpNet>().ok());
        if net.is_none() {
            r.say(n.span, "this is no range of addresses", "write it with its length, like 10.0.0.0/8");
        }
        net.map(|n| n.trunc())
    };
    let own = net(n.get("cidr")?);
    let except: Vec<_> = match n.get("except") {
        None => Vec::new(),
        Some(x) => match x.as_seq() {
            Some(all) => all.iter().filter_map(&mut net).collect(),
            None => net(x).into_iter().collect(),
        },
    };
    own.map(|own| Pattern::Cidr(own, except))
}

fn pod(n: &Node, r: &mut Reader<'_>) -> Vec<Requirement> {
    let mut out = Vec::new();
    for (key, label) in [("namespace", POD_NAMESPACE), ("serviceAccount", SERVICE_ACCOUNT)] {
        if let Some(v) = n.get(key) {
            out.push(Requirement::new(Some(SOURCE_K8S), label, Operator::In, values(v, r)));
        }
    }
    for (key, operator, of_namespace) in [
        ("labels", Operator::In, false),
        ("notLabels", Operator::NotIn, false),
        ("namespaceLabels", Operator::In, true),
    ] {
        let Some(map) = n.get(key) else { continue };
        let Some(entries) = map.as_map() else {
            r.say(map.span, "labels are a mapping", "write labels: {app: web}");
            continue;
        };
        for e in entries {
            let values = values(&e.value, r);
            let (source, own) = split_key(&e.key);
            out.push(if of_namespace {
                Requirement::new(Some(SOURCE_K8S), &format!("{NAMESPACE_LABELS}.{}", e.key), operator, values)
            } else {
                Requirement::new(Some(source.unwrap_or(SOURCE_K8S)), own, operator, values)
            });
        }
    }
    out
}

/// A string, or a list of strings one of which it is.
fn values(n: &Node, r: &mut Reader<'_>) -> Vec<SmolStr> {
    let mut one = |n: &Node| {
        let text = n.as_str().map(SmolStr::from);
        if text.is_none() {
            let what = format!("this is a {}, and labels and names are strings", n.value.type_name());
            r.say(n.span, &what, "put it in quotes");
        }
        text
    };
    match n.as_seq() {
        Some(all) => all.iter().filter_map(&mut one).collect(),
        None => one(n).into_iter().collect(),
    }
}

/// A list of ports, or one.
pub(super) fn ports(n: &Node, r: &mut Reader<'_>) -> Ports {
    let mut terms = Vec::new();
    let single = std::slice::from_ref(n);
    for p in n.as_seq().unwrap_or(single) {
        let text = match &p.value {
            Value::Int(number) => number.to_string(),
            Value::Str(s) => s.to_string(),
            other => {
                r.say(p.span, &format!("this is a {}, not a port", other.type_name()), FORMS);
                continue;
            }
        };
        if text.eq_ignore_ascii_case("all") {
            return Ports::All;
        }
        match port(&text) {
            Some(found) => terms.extend(found),
            None => r.say(p.span, &format!("`{text}` is no port"), FORMS),
        }
    }
    Ports::of(terms)
}

const FORMS: &str = "write 8080, 53/UDP, 8000-8080/TCP, all/TCP, 8/ICMP, 128/ICMPv6, or all; names of ports \
                     differ from pod to pod";

fn port(text: &str) -> Option<Vec<PortTerm>> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
    let (numbers, protocol) = (numbers.trim(), protocol.trim().to_ascii_uppercase());
    let all = numbers.eq_ignore_ascii_case("all");
    if let Some(v6) =
        [("ICMP", false), ("ICMPV4", false), ("ICMPV6", true)].into_iter().find(|(n, _)| *n == protocol)
    {
        let kind = if all { None } else { Some(numbers.parse().ok()?) };
        return Some(vec![PortTerm::Icmp(v6.1, kind)]);
    }
    let l4: Vec<L4> = L4::ALL.into_iter().filter(|l| l.name() == protocol || protocol == "ANY").collect();
    let (low, high) = match numbers.split_once('-') {
        _ if all => (0, u16::MAX),
        Some((low, high)) => (low.trim().parse().ok()?, high.trim().parse().ok()?),
        None => {
            let n = numbers.parse().ok()?;
            (n, n)
        }
    };
    (!l4.is_empty() && low <= high && (all || low > 0))
        .then(|| l4.into_iter().map(|l| PortTerm::Range(l, low, high)).collect())
}
