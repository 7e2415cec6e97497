//! SEM-8.8, SEM-4.5: an address range over pods or nodes, which address ranges never match.

use super::ranges::{first_inside, is_broad, is_everything, is_excepted};
use super::sites::{CidrSite, finding};
use super::view::View;
use portcullis_diag::codes::meaning::CIDR_OVER_CLUSTER as CODE;
use portcullis_diag::{Diagnostic, Severity};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    if view.cidrs.iter().all(|c| is_everything(&c.net)) {
        return;
    }
    let cluster = view.cx.cluster;
    let pods: BTreeSet<IpAddr> = cluster.endpoints.iter().flat_map(|e| e.ips.iter().copied()).collect();
    for site in view.cidrs.iter().filter(|c| !is_everything(&c.net)) {
        let Some(what) = covered(view, site, &pods) else { continue };
        let message = format!(
            "this range does not match {what}: address ranges only match what is outside the cluster"
        );
        let severity = if is_broad(&site.net) { Severity::Note } else { Severity::Warning };
        let finding =
            finding(site.object, CODE, message, site.span).severity(severity).label("never matches them");
        let help = if what.contains("node") {
            "select nodes with the entities host, remote-node or kube-apiserver"
        } else {
            "select pods by their labels"
        };
        out.push(finding.help(help));
    }
}

fn covered(view: &View<'_>, site: &CidrSite<'_>, pods: &BTreeSet<IpAddr>) -> Option<String> {
    let cluster = view.cx.cluster;
    let range = cluster.pod_cidrs.iter().find(|p| {
        let inner = if p.contains(&site.net) { &site.net } else { *p };
        (p.contains(&site.net) || site.net.contains(*p)) && !is_excepted(site.rule, &inner.network())
    });
    if let Some(range) = range {
        return Some(format!("the pods of {range}"));
    }
    if let Some(ip) = first_inside(site, pods) {
        let owner = cluster.endpoints.iter().find(|e| e.ips.contains(&ip));
        let name = owner.map(|e| format!("{}/{}", e.namespace, e.name)).unwrap_or_default();
        return Some(format!("pods such as {name} ({ip})"));
    }
    if view.cx.options.cidr_matches_nodes {
        return None;
    }
    first_inside(site, &cluster.node_ips).map(|ip| format!("nodes such as {ip}"))
}
