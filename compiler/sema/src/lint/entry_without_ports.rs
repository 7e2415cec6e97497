//! SEM-3.9: a `toPorts` item without ports matches no traffic at all.

use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::ENTRY_WITHOUT_PORTS as CODE;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.entries {
        for item in site.entry.to_ports.iter().flat_map(|l| &l.value) {
            if item.ports.is_empty() {
                let message = format!(
                    "this {} nothing: an item of `toPorts` without ports matches no traffic",
                    site.does()
                );
                let finding = site.finding(CODE, message, item.span).label("names no port");
                out.push(finding.help("leave `toPorts` out for every port, or name ports"));
            }
        }
    }
}
