//! `rules` of a port entry: HTTP and DNS (SEM-2.11), and what has been removed (SEM-8.4).

use super::fields::{Map, Reader, inert, refused};
use super::peers::Place;
use super::{fqdn, ports, regex};
use crate::ast::{HeaderMatch, HttpRule, PortRule, PortValue, Protocol, Spanned, Text};
use crate::tree::{Entry, Node};
use portcullis_diag::codes::schema;
use portcullis_diag::{Code, Span};

/// Kinds of rules that upstream took away.
const REMOVED: &[&str] = &["kafka", "l7", "l7proto"];

/// Reads `rules` of a rule that allows, into `rule`.
pub(super) fn read(r: &mut Reader<'_>, map: &Map<'_>, rule: &mut PortRule, place: Place) {
    let Some(entry) = map.entry("rules") else { return };
    let Some(rules) = r.strict_but(&entry.value, "rules", &["http", "dns"], REMOVED) else { return };
    let removed: Vec<&Entry> = rules.entries().iter().filter(|e| REMOVED.contains(&e.key.as_str())).collect();
    rule.dropped_rules = removed.iter().map(|e| Spanned::new(e.key.clone(), e.key_span)).collect();
    match rules.given(&["http", "dns"]).as_slice() {
        [] => nothing_left(r, entry, &removed),
        [_] => removed.iter().for_each(|e| r.unknown(e, "rules", &["http", "dns"])),
        [(_, a), (_, b), ..] => {
            let (first, second) = if a.key_span.start < b.key_span.start { (a, b) } else { (b, a) };
            let finding =
                refused(schema::L7_RULE_KIND, second.key_span, "`http` and `dns` rules stand in one entry")
                    .label("a second kind of rules")
                    .also(first.key_span, "the first kind")
                    .help("make two `toPorts` entries of it");
            r.report(finding);
        }
    }
    if let Some(http) = rules.entry("http") {
        rule.http = http_rules(r, &http.value);
        on_ports(r, rule, place, http);
    }
    if let Some(dns) = rules.entry("dns") {
        rule.dns = fqdn::list(r, &dns.value, "dns");
        // The engine holds an empty list of DNS rules to the rules of HTTP.
        if dns.value.as_seq().is_some_and(<[Node]>::is_empty) {
            on_ports(r, rule, place, dns);
            dns_needs_port(r, rule, dns);
        } else {
            dns_on_ports(r, rule, place, dns);
        }
    }
    beside(r, map, entry, rule);
}

fn nothing_left(r: &mut Reader<'_>, entry: &Entry, removed: &[&Entry]) {
    let finding = match removed.first() {
        Some(gone) => {
            refused(schema::L7_RULE_KIND, gone.key_span, format!("`{}` rules have been removed", gone.key))
                .label("no longer a kind of rules")
                .help("remove `rules` to allow the port without looking inside")
        }
        None => refused(
            schema::L7_RULE_KIND,
            entry.key_span.to(entry.value.span),
            "`rules` has neither `http` nor `dns`",
        )
        .label("no rules in it")
        .help("remove `rules` to allow the port without looking inside"),
    };
    r.report(finding);
}

/// HTTP rules want TCP, a port, and no host policy.
fn on_ports(r: &mut Reader<'_>, rule: &PortRule, place: Place, rules: &Entry) {
    let filled = !rules.value.as_seq().unwrap_or_default().is_empty();
    if place.host && (place.ingress() || (filled && rules.key == "http")) {
        on_host(r, rules);
    }
    for port in &rule.ports {
        if port.protocol != Protocol::Tcp {
            let why = format!("`{}` rules stand on a port that is not TCP alone", rules.key);
            let finding = inert(schema::HTTP_NEEDS_TCP, port.span, why)
                .label("not TCP")
                .also(rules.key_span, "needs TCP")
                .help("write `protocol: TCP`");
            r.report(finding);
        }
    }
    every_port(r, rule, rules);
}

fn dns_on_ports(r: &mut Reader<'_>, rule: &PortRule, place: Place, rules: &Entry) {
    if place.ingress() {
        let code = if place.host { schema::L7_ON_HOST } else { schema::DNS_ON_INGRESS };
        let finding = inert(code, rules.key_span, "DNS rules stand in an ingress section")
            .label("only egress may have them")
            .help("put them on the egress side of the clients");
        return r.report(finding);
    }
    dns_needs_port(r, rule, rules);
    for port in rule.ports.iter().filter(|p| p.end.is_some()) {
        let finding = inert(schema::DNS_PORTS, port.span, "DNS rules stand on a range of ports")
            .label("a range")
            .also(rules.key_span, "needs single ports")
            .help("list the ports one by one");
        r.report(finding);
    }
    every_port(r, rule, rules);
}

fn dns_needs_port(r: &mut Reader<'_>, rule: &PortRule, rules: &Entry) {
    if rule.ports.is_empty() {
        let finding =
            inert(schema::DNS_PORTS, rules.key_span, "DNS rules stand on no port").label("needs a port");
        r.report(finding.help("name the port of the DNS server, usually 53"));
    }
}

fn on_host(r: &mut Reader<'_>, rules: &Entry) {
    let finding = inert(
        schema::L7_ON_HOST,
        rules.key_span,
        "a host policy has L7 rules other than DNS rules on egress",
    )
    .label("not for hosts")
    .help("remove the rules: the port alone can be allowed");
    r.report(finding);
}

fn every_port(r: &mut Reader<'_>, rule: &PortRule, rules: &Entry) {
    for port in rule.ports.iter().filter(|p| p.port == PortValue::Number(0)) {
        let finding =
            inert(schema::L7_ON_EVERY_PORT, port.span, "L7 rules stand on port 0, which is every port")
                .label("every port")
                .also(rules.key_span, "needs a port")
                .help("name the port");
        r.report(finding);
    }
}

/// What may not stand beside rules.
fn beside(r: &mut Reader<'_>, map: &Map<'_>, rules: &Entry, rule: &PortRule) {
    if rule.http.is_none() && rule.dns.is_none() {
        return;
    }
    if let (Some(names), None) = (map.entry("serverNames"), map.entry("terminatingTLS"))
        && !rule.server_names.is_empty()
    {
        clash(
            r,
            schema::SERVER_NAMES_WITH_L7,
            names.key_span,
            rules.key_span,
            "`serverNames` and L7 rules need TLS termination",
        );
    }
    if let Some(listener) = map.entry("listener") {
        clash(
            r,
            schema::LISTENER,
            listener.key_span,
            rules.key_span,
            "a listener and L7 rules stand in one entry",
        );
    }
}

fn clash(r: &mut Reader<'_>, code: Code, span: Span, rules: Span, why: &str) {
    let finding = inert(code, span, why).label("does not go with the rules").also(rules, "the rules");
    r.report(finding.help("make two `toPorts` entries of it"));
}

fn http_rules(r: &mut Reader<'_>, node: &Node) -> Option<Spanned<Vec<HttpRule>>> {
    let items = r.list(node, "http")?;
    let rules = items.iter().filter_map(|n| http_rule(r, n)).collect();
    Some(Spanned::new(rules, node.span))
}

fn http_rule(r: &mut Reader<'_>, node: &Node) -> Option<HttpRule> {
    let map = r.strict(node, "http", &["method", "path", "host", "headers", "headerMatches"])?;
    let text = |r: &mut Reader<'_>, field: &str| map.get(field).and_then(|n| r.text(n, field));
    let method = text(r, "method");
    let path = text(r, "path");
    let host = text(r, "host");
    // The engine compiles method and path; a broken host goes to the proxy as it is.
    for expression in [&method, &path].into_iter().flatten() {
        compiles(r, expression);
    }
    let headers = map.get("headers").map_or_else(Vec::new, |n| r.texts(n, "headers"));
    let matches = map.get("headerMatches").and_then(|n| r.list(n, "headerMatches")).unwrap_or_default();
    let header_matches = matches.iter().filter_map(|n| header_match(r, n)).collect();
    Some(HttpRule { span: node.span, method, path, host, headers, header_matches })
}

fn compiles(r: &mut Reader<'_>, text: &Text) {
    if let Err(reason) = regex::check(&text.value) {
        let finding = inert(
            schema::BAD_REGEX,
            text.span,
            format!("`{}` is no regular expression: {reason}", text.value),
        );
        r.report(finding.label("does not compile"));
    }
}

fn header_match(r: &mut Reader<'_>, node: &Node) -> Option<HeaderMatch> {
    let map = r.strict(node, "headerMatches", &["mismatch", "name", "secret", "value"])?;
    if let Some(node) = map.get("secret") {
        ports::secret(r, node);
    }
    let value = map.get("value").and_then(|n| r.text(n, "value"));
    let actions = [("LOG", "LOG"), ("ADD", "ADD"), ("DELETE", "DELETE"), ("REPLACE", "REPLACE")];
    let mismatch =
        map.get("mismatch").and_then(|n| r.choice(n, "mismatch action", &actions, schema::UNKNOWN_VALUE));
    let mismatch = mismatch.map(|m| Spanned::new(smol_str::SmolStr::new_static(m.value), m.span));
    let Some(name) = map.get("name") else {
        r.missing(map.span, "name", "headerMatches");
        return None;
    };
    let name = r.text(name, "name")?;
    if name.value.is_empty() {
        r.report(
            refused(schema::BAD_HEADER_MATCH, name.span, "a header match has an empty name")
                .label("no header"),
        );
    }
    Some(HeaderMatch { name, value, mismatch })
}
