//! Filters of flows. Fields of one filter must all match, values of one field are alternatives, and so are
//! filters of one list. A filter that cannot be answered is refused by name, never ignored.

use crate::pb::flow::layer4::Protocol;
use crate::pb::flow::{Endpoint, Flow, FlowFilter, TcpFlags, Workload};
use ipnet::IpNet;
use std::net::IpAddr;

type Test = Box<dyn Fn(&Flow) -> bool + Send + Sync>;

/// What is wanted, and what of it is not.
#[derive(Default)]
pub struct Filters {
    white: Vec<Vec<Test>>,
    black: Vec<Vec<Test>>,
}

impl std::fmt::Debug for Filters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filters").finish_non_exhaustive()
    }
}

impl Filters {
    /// Reads both lists. An error names the filter.
    pub fn new(white: &[FlowFilter], black: &[FlowFilter]) -> Result<Self, String> {
        let all = |list: &[FlowFilter]| list.iter().map(tests).collect::<Result<Vec<_>, _>>();
        Ok(Self { white: all(white)?, black: all(black)? })
    }

    /// Whether a flow is wanted.
    pub fn matches(&self, flow: &Flow) -> bool {
        let any = |list: &[Vec<Test>]| list.iter().any(|f| f.iter().all(|t| t(flow)));
        (self.white.is_empty() || any(&self.white)) && !any(&self.black)
    }
}

type Side = fn(&Flow) -> Option<&Endpoint>;

fn source(f: &Flow) -> Option<&Endpoint> {
    f.source.as_ref()
}

fn destination(f: &Flow) -> Option<&Endpoint> {
    f.destination.as_ref()
}

/// Ports of both ends.
pub fn ports(f: &Flow) -> Option<(u32, u32)> {
    match f.l4.as_ref()?.protocol.as_ref()? {
        Protocol::Tcp(p) => Some((p.source_port, p.destination_port)),
        Protocol::Udp(p) => Some((p.source_port, p.destination_port)),
        Protocol::Sctp(p) => Some((p.source_port, p.destination_port)),
        Protocol::IcmPv4(_) | Protocol::IcmPv6(_) => None,
    }
}

/// The protocol's name.
pub fn protocol(f: &Flow) -> &'static str {
    match f.l4.as_ref().and_then(|l| l.protocol.as_ref()) {
        Some(Protocol::Tcp(_)) => "TCP",
        Some(Protocol::Udp(_)) => "UDP",
        Some(Protocol::Sctp(_)) => "SCTP",
        Some(Protocol::IcmPv4(_)) => "ICMPv4",
        Some(Protocol::IcmPv6(_)) => "ICMPv6",
        None => "Unknown",
    }
}

fn tests(f: &FlowFilter) -> Result<Vec<Test>, String> {
    unanswerable(f)?;
    let mut out: Vec<Test> = Vec::new();
    let mut add = |wanted: bool, test: Test| {
        if wanted {
            out.push(test);
        }
    };
    let at = |text: &Vec<String>, field: &'static str, of: fn(&Flow) -> Option<&str>| {
        let nets = text.iter().map(|t| net(t, field)).collect::<Result<Vec<_>, _>>()?;
        let test: Test = Box::new(move |flow: &Flow| {
            of(flow)
                .and_then(|t| t.parse::<IpAddr>().ok())
                .is_some_and(|ip| nets.iter().any(|n| n.contains(&ip)))
        });
        Ok::<_, String>(test)
    };
    add(
        !f.source_ip.is_empty(),
        at(&f.source_ip, "source_ip", |f| f.ip.as_ref().map(|ip| ip.source.as_str()))?,
    );
    add(
        !f.destination_ip.is_empty(),
        at(&f.destination_ip, "destination_ip", |f| f.ip.as_ref().map(|ip| ip.destination.as_str()))?,
    );
    let sides: [(_, _, _, _, _, Side); 2] = [
        (&f.source_pod, &f.source_label, &f.source_workload, &f.source_identity, "source", source),
        (
            &f.destination_pod,
            &f.destination_label,
            &f.destination_workload,
            &f.destination_identity,
            "destination",
            destination,
        ),
    ];
    for (pods, labels, workloads, identities, name, side) in sides {
        let wanted = pods.clone();
        add(!pods.is_empty(), Box::new(move |f| side(f).is_some_and(|e| wanted.iter().any(|w| pod(e, w)))));
        let selectors = labels
            .iter()
            .map(|l| Selector::parse(l).map_err(|e| format!("{name}_label {l:?}: {e}")))
            .collect::<Result<Vec<_>, _>>()?;
        add(
            !labels.is_empty(),
            Box::new(move |f| side(f).is_some_and(|e| selectors.iter().any(|s| s.matches(&e.labels)))),
        );
        let wanted: Vec<Workload> = workloads.clone();
        add(
            !workloads.is_empty(),
            Box::new(move |f| {
                let same = |w: &Workload, has: &Workload| {
                    (w.name.is_empty() || w.name == has.name) && (w.kind.is_empty() || w.kind == has.kind)
                };
                side(f).is_some_and(|e| e.workloads.iter().any(|has| wanted.iter().any(|w| same(w, has))))
            }),
        );
        let wanted = identities.clone();
        add(!identities.is_empty(), Box::new(move |f| side(f).is_some_and(|e| wanted.contains(&e.identity))));
    }
    let wanted = f.verdict.clone();
    add(!wanted.is_empty(), Box::new(move |f| wanted.contains(&f.verdict)));
    let wanted = f.drop_reason_desc.clone();
    add(!wanted.is_empty(), Box::new(move |f| wanted.contains(&f.drop_reason_desc)));
    let wanted = f.traffic_direction.clone();
    add(!wanted.is_empty(), Box::new(move |f| wanted.contains(&f.traffic_direction)));
    let wanted = f.event_type.clone();
    add(
        !wanted.is_empty(),
        Box::new(move |f| {
            f.event_type.is_some_and(|e| {
                wanted.iter().any(|w| w.r#type == e.r#type && (!w.match_sub_type || w.sub_type == e.sub_type))
            })
        }),
    );
    // Nothing here is encrypted.
    let wanted = f.encrypted.clone();
    add(!wanted.is_empty(), Box::new(move |_| wanted.contains(&false)));
    let wanted = f.reply.clone();
    add(!wanted.is_empty(), Box::new(move |f| f.is_reply.is_some_and(|r| wanted.contains(&r))));
    let wanted = f.ip_version.clone();
    add(
        !wanted.is_empty(),
        Box::new(move |f| f.ip.as_ref().is_some_and(|ip| wanted.contains(&ip.ip_version))),
    );
    let wanted = f.uuid.clone();
    add(!wanted.is_empty(), Box::new(move |f| wanted.contains(&f.uuid)));
    let wanted = f.node_name.clone();
    add(!wanted.is_empty(), Box::new(move |f| wanted.iter().any(|w| node(w, &f.node_name))));
    let wanted = f.tcp_flags.clone();
    add(!wanted.is_empty(), Box::new(move |f| wanted.iter().any(|w| flags(w, f))));
    let wanted: Vec<String> = f.protocol.iter().map(|p| p.to_ascii_lowercase()).collect();
    for p in &wanted {
        if !["tcp", "udp", "sctp", "icmp", "icmpv4", "icmpv6"].contains(&p.as_str()) {
            return Err(format!("protocol {p:?} cannot be answered: flows here are of layers 3 and 4"));
        }
    }
    add(
        !wanted.is_empty(),
        Box::new(move |f| {
            let is = protocol(f).to_ascii_lowercase();
            wanted.iter().any(|w| *w == is || (w == "icmp" && is.starts_with("icmp")))
        }),
    );
    let number = |field: &'static str, list: &[String]| {
        list.iter()
            .map(|p| p.parse::<u32>().map_err(|_| format!("{field} {p:?} is no port number")))
            .collect::<Result<Vec<_>, _>>()
    };
    let (from, to) =
        (number("source_port", &f.source_port)?, number("destination_port", &f.destination_port)?);
    add(!from.is_empty(), Box::new(move |f| ports(f).is_some_and(|(p, _)| from.contains(&p))));
    add(!to.is_empty(), Box::new(move |f| ports(f).is_some_and(|(_, p)| to.contains(&p))));
    Ok(out)
}

/// Refuses what no flow of ours can answer.
fn unanswerable(f: &FlowFilter) -> Result<(), String> {
    let names = "names are not recorded in flows";
    let l7 = "flows here are of layers 3 and 4";
    let service = "flows here do not name services";
    for (is_set, field, why) in [
        (!f.source_fqdn.is_empty(), "source_fqdn", names),
        (!f.destination_fqdn.is_empty(), "destination_fqdn", names),
        (!f.source_service.is_empty(), "source_service", service),
        (!f.destination_service.is_empty(), "destination_service", service),
        (!f.http_status_code.is_empty(), "http_status_code", l7),
        (!f.http_method.is_empty(), "http_method", l7),
        (!f.http_path.is_empty(), "http_path", l7),
        (!f.http_url.is_empty(), "http_url", l7),
        (!f.http_header.is_empty(), "http_header", l7),
        (!f.dns_query.is_empty(), "dns_query", l7),
        (!f.trace_id.is_empty(), "trace_id", l7),
        (!f.ip_trace_id.is_empty(), "ip_trace_id", "packets' trace options are not read"),
        (!f.source_ip_xlated.is_empty(), "source_ip_xlated", "translated addresses are not recorded"),
        (!f.interface.is_empty(), "interface", "names of interfaces are not recorded"),
        (!f.node_labels.is_empty(), "node_labels", "labels of nodes are not known"),
        (!f.source_cluster_name.is_empty(), "source_cluster_name", "there is one cluster"),
        (!f.destination_cluster_name.is_empty(), "destination_cluster_name", "there is one cluster"),
        (f.experimental.is_some(), "experimental", "expressions are not evaluated"),
    ] {
        if is_set {
            return Err(format!("the filter {field} cannot be answered: {why}"));
        }
    }
    Ok(())
}

fn net(text: &str, field: &str) -> Result<IpNet, String> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    one.or_else(|_| text.parse()).map_err(|_| format!("{field} {text:?} is neither an address nor a prefix"))
}

/// `pod`, `namespace/pod` or `namespace/`; the pod's name is a prefix. Without a namespace: any.
fn pod(e: &Endpoint, wanted: &str) -> bool {
    let (namespace, name) = match wanted.split_once('/') {
        Some((ns, name)) => (Some(ns), name),
        None => (None, wanted),
    };
    // What is no pod has no name; a namespace alone fits who is in it.
    let named = !e.pod_name.is_empty() || (name.is_empty() && namespace.is_some());
    named
        && namespace.is_none_or(|ns| ns.is_empty() || ns == e.namespace)
        && e.pod_name.starts_with(name)
        && !e.namespace.is_empty()
}

/// `name*`, `cluster/name`, `cluster/`.
fn node(pattern: &str, name: &str) -> bool {
    let (cluster, pattern) = pattern.split_once('/').unwrap_or(("", pattern));
    let (of, name) = name.split_once('/').unwrap_or(("default", name));
    (cluster.is_empty() || glob(cluster, of)) && (pattern.is_empty() || glob(pattern, name))
}

fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Flags that are asked for must be there; others may be.
fn flags(wanted: &TcpFlags, f: &Flow) -> bool {
    let Some(Protocol::Tcp(tcp)) = f.l4.as_ref().and_then(|l| l.protocol.as_ref()) else { return false };
    let Some(has) = tcp.flags else { return false };
    let fits = |w: bool, h: bool| !w || h;
    fits(wanted.fin, has.fin)
        && fits(wanted.syn, has.syn)
        && fits(wanted.rst, has.rst)
        && fits(wanted.psh, has.psh)
        && fits(wanted.ack, has.ack)
        && fits(wanted.urg, has.urg)
        && fits(wanted.ece, has.ece)
        && fits(wanted.cwr, has.cwr)
        && fits(wanted.ns, has.ns)
}

/// A label selector as Kubernetes writes it; `k8s:` before a key may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Selector(Vec<(String, Op)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Op {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    fn parse(text: &str) -> Result<Self, String> {
        let mut terms: Vec<String> = vec![String::new()];
        let mut inside = false;
        for c in text.chars() {
            match c {
                '(' => inside = true,
                ')' => inside = false,
                _ => {}
            }
            if c == ',' && !inside {
                terms.push(String::new());
            } else if let Some(last) = terms.last_mut() {
                last.push(c);
            }
        }
        terms.iter().map(|t| Self::term(t.trim())).collect::<Result<_, _>>().map(Self)
    }

    fn term(t: &str) -> Result<(String, Op), String> {
        let values = |list: &str| {
            let inner = list.trim().strip_prefix('(').and_then(|l| l.strip_suffix(')'));
            let inner = inner.ok_or("a list of values stands in parentheses")?;
            Ok::<Vec<String>, String>(inner.split(',').map(|v| v.trim().to_owned()).collect())
        };
        let (key, op) = if let Some((k, v)) = t.split_once("!=") {
            (k, Op::NotIn(vec![v.trim().to_owned()]))
        } else if let Some((k, v)) = t.split_once("==").or_else(|| t.split_once('=')) {
            (k, Op::In(vec![v.trim().to_owned()]))
        } else if let Some((k, v)) = t.split_once(" notin ") {
            (k, Op::NotIn(values(v)?))
        } else if let Some((k, v)) = t.split_once(" in ") {
            (k, Op::In(values(v)?))
        } else if let Some(k) = t.strip_prefix('!') {
            (k, Op::Absent)
        } else {
            (t, Op::Exists)
        };
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err("a selector is `key`, `!key`, `key=value`, `key!=value`, `key in (a,b)`".to_owned());
        }
        Ok((key.to_owned(), op))
    }

    fn matches(&self, labels: &[String]) -> bool {
        self.0.iter().all(|(key, op)| {
            let value = labels.iter().find_map(|l| {
                let (k, v) = l.split_once('=').unwrap_or((l.as_str(), ""));
                let bare = k.split_once(':').map_or(k, |(_, k)| k);
                let wanted = key.strip_prefix("any:").unwrap_or(key);
                (k == wanted || bare == wanted).then_some(v)
            });
            match op {
                Op::Exists => value.is_some(),
                Op::Absent => value.is_none(),
                Op::In(list) => value.is_some_and(|v| list.iter().any(|w| w == v)),
                Op::NotIn(list) => value.is_none_or(|v| list.iter().all(|w| w != v)),
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_those_of_kubernetes() {
        let labels = ["k8s:app=web".to_owned(), "k8s:tier=front".to_owned(), "reserved:host".to_owned()];
        for (text, fits) in [
            ("app=web", true),
            ("k8s:app==web", true),
            ("app!=web", false),
            ("app in (api, web),tier", true),
            ("app notin (api)", true),
            ("!app", false),
            ("!other", true),
            ("reserved:host", true),
            ("app=web,tier=back", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), fits, "{text}");
        }
        assert!(Selector::parse("app in web").is_err());
        assert!(Selector::parse("").is_err());
    }

    #[test]
    fn names_of_nodes_may_have_a_cluster_and_stars() {
        for (pattern, fits) in
            [("k8s*", true), ("*1", true), ("default/", true), ("other/k8s1", false), ("k*s*2", false)]
        {
            assert_eq!(node(pattern, "k8s1"), fits, "{pattern}");
        }
    }

    #[test]
    fn what_cannot_be_answered_is_refused_by_name() {
        let f = FlowFilter { http_path: vec!["/x".to_owned()], ..FlowFilter::default() };
        assert!(Filters::new(&[f], &[]).unwrap_err().contains("http_path"));
        let f = FlowFilter { source_ip: vec!["10.0.0.0/33".to_owned()], ..FlowFilter::default() };
        assert!(Filters::new(&[], &[f]).unwrap_err().contains("source_ip"));
    }
}
