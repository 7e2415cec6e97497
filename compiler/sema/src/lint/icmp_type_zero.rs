//! SEM-8.10, SEM-2.8: ICMP type 0 is taken for every type of the family.

use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::ICMP_TYPE_ZERO as CODE;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.entries {
        for field in site.entry.icmps.iter().flat_map(|l| &l.value) {
            if field.icmp_type.value != 0 {
                continue;
            }
            let family = if field.v6 { "ICMPv6" } else { "ICMP" };
            let message = format!("this {} every {family} type, not only type 0", site.does());
            let finding = site.finding(CODE, message, field.icmp_type.span).label("stands for every type");
            out.push(finding.help(
                "echo requests are type 8 (ICMPv6: 128); replies to what is allowed pass by themselves",
            ));
        }
    }
}
