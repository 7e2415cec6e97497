//! SEM-1.4: a CIDR group that does not exist has no addresses.

use super::view::View;
use super::words::nearest;
use portcullis_diag::codes::meaning::CIDR_GROUP_MISSING as CODE;
use portcullis_diag::{Diagnostic, Severity};
use portcullis_front::ast::{CidrRule, CidrSource};
use portcullis_ir::lower;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let groups = &view.cx.cluster.cidr_groups;
    let known = view.cx.has_cluster || !groups.is_empty();
    for site in &view.entries {
        for rule in site.entry.cidr_set.iter().flat_map(|l| &l.value) {
            let Some((what, like, span)) = missing(view, rule) else { continue };
            let finding = if known {
                let message = format!("this {} nobody: {what}", site.does());
                site.finding(CODE, message, span).label("does not exist")
            } else {
                let message = format!(
                    "this {} nobody unless the group exists; no CiliumCIDRGroup was given",
                    site.does()
                );
                site.finding(CODE, message, span).severity(Severity::Note)
            };
            out.push(finding.help(match like {
                Some(like) => format!("did you mean `{like}`?"),
                None => "create the CiliumCIDRGroup, or give it with the cluster".to_owned(),
            }));
        }
    }
}

fn missing<'a>(view: &View<'a>, rule: &CidrRule) -> Option<(String, Option<&'a str>, portcullis_diag::Span)> {
    let groups = &view.cx.cluster.cidr_groups;
    match &rule.source {
        CidrSource::Cidr(_) => None,
        CidrSource::GroupRef(name) => {
            let like = nearest(&name.value, groups.iter().map(|g| g.name.as_str()));
            let gone = groups.iter().all(|g| g.name != name.value);
            gone.then(|| (format!("there is no CiliumCIDRGroup {}", name.value), like, name.span))
        }
        CidrSource::GroupSelector(s) => {
            let gone = groups.iter().all(|g| !lower::cidr_group_matches(s, g));
            gone.then(|| ("no CiliumCIDRGroup has these labels".to_owned(), None, s.span))
        }
    }
}
