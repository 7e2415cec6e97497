//! SEM-3.9: a peer list that is given and empty selects nobody, unlike one that is absent.

use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::EMPTY_PEER_LIST as CODE;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.entries {
        let e = site.entry;
        let lists = [
            ("Endpoints", e.endpoints.as_ref().filter(|l| l.value.is_empty()).map(|l| l.span)),
            ("CIDR", e.cidr.as_ref().filter(|l| l.value.is_empty()).map(|l| l.span)),
            ("CIDRSet", e.cidr_set.as_ref().filter(|l| l.value.is_empty()).map(|l| l.span)),
            ("Entities", e.entities.as_ref().filter(|l| l.value.is_empty()).map(|l| l.span)),
            ("Nodes", e.nodes.as_ref().filter(|l| l.value.is_empty()).map(|l| l.span)),
        ];
        for (what, span) in lists {
            let Some(span) = span else { continue };
            let field = site.field(what);
            let message = format!("this {} nobody: an empty `{field}` is not the same as none", site.does());
            let finding = site.finding(CODE, message, span).label("selects nobody");
            out.push(finding.help(format!("leave `{field}` out for every peer, or name peers")));
        }
    }
}
