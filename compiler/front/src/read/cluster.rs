//! ClusterNetworkPolicy, and its older forms AdminNetworkPolicy and BaselineAdminNetworkPolicy
//! (SEM-1.3).

use super::fields::{Map, Reader, inert, refused};
use super::{cidr, cluster_ports, names, selector};
use crate::ast::{
    ClusterAction, ClusterPeer, ClusterPeerKind, ClusterPolicy, ClusterRule, ClusterSubject, ClusterTier,
    LabelSelector, Spanned,
};
use crate::tree::{Entry, Node};
use portcullis_diag::codes::schema;
use portcullis_diag::{Diagnostic, Span};

/// Which of the kinds an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// ClusterNetworkPolicy.
    Current,
    /// AdminNetworkPolicy.
    Admin,
    /// BaselineAdminNetworkPolicy.
    Baseline,
}

impl Form {
    /// The longest list of rules, peers or ports the schema takes.
    fn longest(self) -> usize {
        if self == Self::Current { 25 } else { 100 }
    }
}

/// Reads the object.
pub(super) fn read(r: &mut Reader<'_>, root: &Node, form: Form) -> Option<ClusterPolicy> {
    let map =
        r.strict(root, "a ClusterNetworkPolicy", &["apiVersion", "kind", "metadata", "spec", "status"])?;
    super::meta::check(r, &map, false);
    if form != Form::Current {
        let message = "this is read as a ClusterNetworkPolicy, which replaced its kind";
        let finding = Diagnostic::new(schema::OUTDATED_KIND, message, kind_span(root));
        r.report(
            finding
                .label("an older kind")
                .help("write a ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2"),
        );
    }
    let Some(node) = map.get("spec") else {
        r.report(refused(schema::NO_SPEC, root.span, "it has no `spec`").label("no rule in it"));
        return None;
    };
    let known: &[&str] = match form {
        Form::Current => &["tier", "priority", "subject", "ingress", "egress"],
        Form::Admin => &["priority", "subject", "ingress", "egress"],
        Form::Baseline => &["subject", "ingress", "egress"],
    };
    let spec = r.strict(node, "spec", known)?;
    let tier = match form {
        Form::Current => required(r, &spec, "tier", "spec").and_then(|e| {
            let tiers = [("Admin", ClusterTier::Admin), ("Baseline", ClusterTier::Baseline)];
            r.choice(&e.value, "tier", &tiers, schema::UNKNOWN_VALUE)
        }),
        Form::Admin => Some(Spanned::new(ClusterTier::Admin, kind_span(root))),
        Form::Baseline => Some(Spanned::new(ClusterTier::Baseline, kind_span(root))),
    };
    let priority = match form {
        Form::Baseline => Some(Spanned::new(0, kind_span(root))),
        _ => required(r, &spec, "priority", "spec").and_then(|e| priority(r, &e.value)),
    };
    let subject = required(r, &spec, "subject", "spec").and_then(|e| subject(r, &e.value, "subject"));
    let ingress = rules(r, &spec, "ingress", form);
    let egress = rules(r, &spec, "egress", form);
    Some(ClusterPolicy {
        span: node.span,
        tier: tier?,
        priority: priority?,
        subject: subject?,
        ingress,
        egress,
    })
}

fn kind_span(root: &Node) -> Span {
    root.get("kind").map_or(root.span, |n| n.span)
}

/// A field that must be there.
pub(super) fn required<'n>(r: &mut Reader<'_>, map: &Map<'n>, field: &str, what: &str) -> Option<&'n Entry> {
    let entry = map.entry(field);
    if entry.is_none() {
        r.missing(map.span, field, what);
    }
    entry
}

fn priority(r: &mut Reader<'_>, node: &Node) -> Option<Spanned<i32>> {
    let number = r.integer(node, "priority")?;
    if let Ok(value @ 0..=1000) = i32::try_from(number.value) {
        return Some(Spanned::new(value, number.span));
    }
    let finding = refused(schema::OUT_OF_RANGE, number.span, "a priority goes from 0 to 1000");
    r.report(finding.label("out of range"));
    None
}

/// The single field of a mapping that must have exactly one.
pub(super) fn only<'n>(
    r: &mut Reader<'_>,
    map: &Map<'n>,
    known: &[&'static str],
    what: &str,
) -> Option<(&'static str, &'n Entry)> {
    match map.given(known).as_slice() {
        [one] => Some(*one),
        [] => {
            let finding =
                refused(schema::ONE_OF, map.span, format!("`{what}` is empty")).label("nothing in it");
            r.report(finding.help(format!("give one of: {}", known.join(", "))));
            None
        }
        [(first, a), (second, b), ..] => {
            let why = format!("`{first}` and `{second}` stand in one `{what}`");
            let finding = refused(schema::ONE_OF, b.key_span, why).label("one of them is too many");
            r.report(finding.also(a.key_span, "the other one").help("make two entries of it"));
            None
        }
    }
}

fn subject(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<ClusterSubject> {
    let known = ["namespaces", "pods"];
    let map = r.strict(node, what, &known)?;
    let (name, entry) = only(r, &map, &known, what)?;
    pods(r, name, entry)
}

fn pods(r: &mut Reader<'_>, name: &str, entry: &Entry) -> Option<ClusterSubject> {
    if name == "namespaces" {
        return selector::read(r, &entry.value, "namespaces").map(ClusterSubject::Namespaces);
    }
    let map = r.strict(&entry.value, "pods", &["namespaceSelector", "podSelector"])?;
    let namespaces = match map.get("namespaceSelector") {
        Some(n) => selector::read(r, n, "namespaceSelector"),
        None => Some(LabelSelector { span: map.span, ..LabelSelector::default() }),
    };
    let pods =
        required(r, &map, "podSelector", "pods").and_then(|e| selector::read(r, &e.value, "podSelector"));
    Some(ClusterSubject::Pods { namespace_selector: namespaces?, pod_selector: pods? })
}

fn rules(r: &mut Reader<'_>, spec: &Map<'_>, section: &'static str, form: Form) -> Vec<ClusterRule> {
    let Some(entry) = spec.entry(section) else { return Vec::new() };
    let items = r.list(&entry.value, section).unwrap_or_default();
    r.at_most(items, form.longest(), entry.value.span, section);
    items.iter().filter_map(|n| rule(r, n, section, form)).collect()
}

fn rule(r: &mut Reader<'_>, node: &Node, section: &str, form: Form) -> Option<ClusterRule> {
    let egress = section == "egress";
    let peers_field = if egress { "to" } else { "from" };
    let ports_field = if form == Form::Current { "protocols" } else { "ports" };
    let map = r.strict(node, section, &["name", "action", peers_field, ports_field])?;
    let name = map.get("name").and_then(|n| r.text(n, "name"));
    if let Some(long) = name.as_ref().filter(|n| n.value.chars().count() > 100) {
        r.report(
            refused(schema::TOO_LONG, long.span, "the name of a rule has at most 100 characters")
                .label("too long"),
        );
    }
    let current =
        [("Accept", ClusterAction::Accept), ("Deny", ClusterAction::Deny), ("Pass", ClusterAction::Pass)];
    let older =
        [("Allow", ClusterAction::Accept), ("Deny", ClusterAction::Deny), ("Pass", ClusterAction::Pass)];
    let actions = match form {
        Form::Current => current.as_slice(),
        Form::Admin => older.as_slice(),
        Form::Baseline => older.get(..2).unwrap_or_default(),
    };
    let action = required(r, &map, "action", "a rule")
        .and_then(|e| r.choice(&e.value, "action", actions, schema::UNKNOWN_VALUE));
    let peers = peers(r, &map, peers_field, form);
    if let Some(action) = action.as_ref().filter(|a| a.value != ClusterAction::Accept) {
        for peer in peers.iter().filter(|p| matches!(p.what, ClusterPeerKind::DomainNames(_))) {
            let why = "domain names stand in a rule that does not accept";
            let finding = inert(schema::DOMAIN_NAMES_NOT_ACCEPTED, peer.span, why).label("only for Accept");
            r.report(
                finding
                    .also(action.span, "the action")
                    .help("accept the names, and deny the rest in a later rule"),
            );
        }
    }
    let ports = map.get(ports_field).and_then(|n| cluster_ports::list(r, n, form));
    cluster_ports::names_need_pods(r, ports.as_ref(), &peers);
    Some(ClusterRule { span: node.span, name, action: action?, peers, ports })
}

fn peers(r: &mut Reader<'_>, map: &Map<'_>, field: &str, form: Form) -> Vec<ClusterPeer> {
    let Some(entry) = map.entry(field) else {
        let finding =
            refused(schema::NO_PEERS, map.span, format!("the rule has no `{field}`")).label("no peers");
        r.report(finding.help(format!("write `{field}: [{{namespaces: {{}}}}]` for every pod")));
        return Vec::new();
    };
    let Some(items) = r.list(&entry.value, field) else { return Vec::new() };
    if items.is_empty() {
        let finding =
            refused(schema::NO_PEERS, entry.value.span, format!("`{field}` is empty")).label("no peers");
        r.report(finding.help(format!("write `{field}: [{{namespaces: {{}}}}]` for every pod")));
    }
    r.at_most(items, form.longest(), entry.value.span, field);
    items.iter().filter_map(|n| peer(r, n, field)).collect()
}

fn peer(r: &mut Reader<'_>, node: &Node, field: &str) -> Option<ClusterPeer> {
    let known: &[&'static str] = if field == "to" {
        &["namespaces", "pods", "nodes", "networks", "domainNames"]
    } else {
        &["namespaces", "pods"]
    };
    let map = r.strict(node, field, known)?;
    let (name, entry) = only(r, &map, known, field)?;
    let what = match name {
        "networks" => ClusterPeerKind::Networks(networks(r, entry)),
        "nodes" => {
            let why = "`nodes` needs node labels in identities, which are off by default";
            let finding =
                inert(schema::NODE_PEERS, entry.key_span, why).label("selects nodes by their labels");
            r.report(finding.help("name the nodes' addresses in `networks`; only a Cilium with `enable-node-selector-labels` takes this"));
            ClusterPeerKind::Nodes(selector::read(r, &entry.value, "nodes")?)
        }
        "domainNames" => ClusterPeerKind::DomainNames(domain_names(r, entry)),
        _ => ClusterPeerKind::Pods(pods(r, name, entry)?),
    };
    Some(ClusterPeer { span: node.span, what })
}

/// A list of one to 25 items.
fn short_list<'n>(r: &mut Reader<'_>, entry: &'n Entry) -> &'n [Node] {
    let Some(items) = r.list(&entry.value, &entry.key) else { return &[] };
    r.at_least_one(items, entry.value.span, &entry.key, "leave the peer out");
    r.distinct(items, &entry.key);
    r.at_most(items, 25, entry.value.span, &entry.key);
    items
}

fn networks(r: &mut Reader<'_>, entry: &Entry) -> Vec<Spanned<ipnet::IpNet>> {
    let mut nets = Vec::new();
    for item in short_list(r, entry) {
        let Some(net) = cidr::cidr(r, item, "networks") else { continue };
        if let ipnet::IpNet::V6(v6) = net.value
            && v6.addr().to_ipv4_mapped().is_some()
        {
            let why = "an IPv4 range is written as an IPv6 one";
            r.report(
                refused(schema::BAD_CIDR, net.span, why)
                    .label("IPv4-mapped")
                    .help("write it in its IPv4 form"),
            );
        }
        nets.push(net);
    }
    nets
}

fn domain_names(r: &mut Reader<'_>, entry: &Entry) -> Vec<crate::ast::Text> {
    let items = short_list(r, entry);
    let texts: Vec<_> = items.iter().filter_map(|n| r.text(n, "domainNames")).collect();
    for text in texts.iter().filter(|t| !names::is_dotted_domain(&t.value)) {
        let finding =
            refused(schema::BAD_DOMAIN_NAME, text.span, format!("`{}` is no domain name", text.value));
        r.report(
            finding.label("not a domain name").help("use at least two parts; `*.` may stand before them"),
        );
    }
    texts
}
