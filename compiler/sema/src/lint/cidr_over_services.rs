//! SEM-8.9, SEM-7.3: egress policy sees the backend of a service, never its cluster address.

use super::ranges::{first_inside, is_broad, is_everything};
use super::sites::finding;
use super::view::View;
use portcullis_diag::codes::meaning::CIDR_OVER_SERVICES as CODE;
use portcullis_diag::{Diagnostic, Severity};
use portcullis_ir::Direction;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let services = &view.cx.cluster.services;
    let addresses: BTreeSet<IpAddr> =
        services.iter().flat_map(|s| s.spec.cluster_ips.iter().copied()).collect();
    for site in view.cidrs.iter().filter(|c| c.direction == Direction::Egress && !is_everything(&c.net)) {
        let Some(ip) = first_inside(site, &addresses) else { continue };
        let Some(service) = services.iter().find(|s| s.spec.cluster_ips.contains(&ip)) else { continue };
        let name = format!("{}/{}", service.namespace, service.name);
        let message = format!(
            "this range does not match service {name} ({ip}): egress is checked against its backends"
        );
        let severity = if is_broad(&site.net) { Severity::Note } else { Severity::Warning };
        let finding = finding(site.object, CODE, message, site.span).severity(severity);
        out.push(
            finding
                .label("a service's cluster address")
                .help("select the backends with `toEndpoints`, or name the service with `toServices`"),
        );
    }
}
