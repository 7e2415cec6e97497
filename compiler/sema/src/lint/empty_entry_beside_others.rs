//! SEM-5.2: `{}` beside other entries allows nothing. In a NetworkPolicy it would allow everyone.

use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::EMPTY_ENTRY_BESIDE_OTHERS as CODE;
use portcullis_ir::Action;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in view.entries.iter().filter(|s| s.action == Action::Allow && s.siblings > 1 && s.is_empty()) {
        let message =
            "this entry allows nothing: only a section that holds nothing else needs it, to deny all";
        let finding = site.finding(CODE, message, site.entry.span).label("names no peer and no port");
        let all = site.field("Entities");
        out.push(finding.help(format!("remove it; to allow everyone, write `{all}: [all]`")));
    }
}
