//! SEM-8.1: `toServices` that finds no service. The peer list is left open, so with ports the rule
//! allows every peer on them, and without ports it allows nobody.

use super::view::View;
use super::words::nearest;
use portcullis_diag::codes::meaning::TO_SERVICES_MATCHES_NOTHING as CODE;
use portcullis_diag::{Diagnostic, Severity};
use portcullis_front::ast::ServiceRef;
use portcullis_ir::{Action, lower};

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.entries {
        let Some(list) = site.entry.services.as_ref().filter(|_| site.action == Action::Allow) else {
            continue;
        };
        let services = &view.cx.cluster.services;
        let finds = |r: &ServiceRef| services.iter().any(|s| lower::service_matches(r, s));
        if list.value.iter().any(finds) {
            // One service is enough to close the peer list; the others allow nobody.
            for r in list.value.iter().filter(|r| view.cx.has_services && !finds(r)) {
                let message = format!("this item allows nobody: {}", what(r));
                let finding = site.finding(CODE, message, r.span).label("no such service");
                out.push(finding.severity(Severity::Warning).help(help(view, r)));
            }
            continue;
        }
        let named = list.value.first().map_or_else(|| "the list is empty".to_owned(), what);
        let span = list.value.first().map_or(list.span, |r| r.span);
        let (effect, severity) = if site.has_ports() {
            ("every peer is allowed on these ports", Severity::Error)
        } else {
            ("nobody is allowed", Severity::Warning)
        };
        let finding = if view.cx.has_services || list.value.is_empty() {
            site.finding(CODE, format!("{effect}: {named}"), span)
                .severity(severity)
                .label("finds no service")
        } else {
            let message = format!("{effect} if no service matches; no Service was given to look in");
            site.finding(CODE, message, span).severity(Severity::Note)
        };
        let way_out = list.value.first().map_or_else(|| "name a service".to_owned(), |r| help(view, r));
        out.push(finding.help(way_out));
    }
}

fn what(r: &ServiceRef) -> String {
    let namespace = r.namespace.as_ref().map(|n| n.value.as_str()).filter(|n| !n.is_empty());
    match (&r.selector, &r.name, namespace) {
        (Some(_), _, Some(ns)) => format!("no service of namespace {ns} has these labels"),
        (Some(_), _, None) => "no service has these labels".to_owned(),
        (None, Some(name), Some(ns)) => format!("there is no service {ns}/{}", name.value),
        (None, Some(name), None) => format!("there is no service {}", name.value),
        (None, None, _) => "it names no service".to_owned(),
    }
}

fn help(view: &View<'_>, r: &ServiceRef) -> String {
    let namespace = r.namespace.as_ref().map(|n| n.value.as_str()).filter(|n| !n.is_empty());
    let services = &view.cx.cluster.services;
    if let (None, Some(name)) = (&r.selector, &r.name) {
        let here = services.iter().filter(|s| namespace.is_none_or(|ns| s.namespace == ns));
        if let Some(like) = nearest(&name.value, here.map(|s| s.name.as_str())) {
            return format!("did you mean `{like}`?");
        }
        if let Some(s) = services.iter().find(|s| s.name == name.value) {
            return format!("there is one in namespace {}: did you mean that?", s.namespace);
        }
    }
    if services.is_empty() {
        return "give the cluster's Services too, or select the backends with `toEndpoints`".to_owned();
    }
    "name a service that exists, or select the backends with `toEndpoints`".to_owned()
}
