//! SEM-2.1: a rule with a nodeSelector is about the host, which is not part of the analysis.

use super::sites::finding;
use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::HOST_POLICY as CODE;
use portcullis_front::ast::Subject;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.rules {
        let Subject::Nodes(s) = &site.rule.subject else { continue };
        let message = if view.cx.options.host_firewall {
            "this rule is not analysed: it is about nodes, and only pods are looked at"
        } else {
            "this rule does nothing while the host firewall is off, and is not analysed"
        };
        let finding = finding(site.object, CODE, message, s.span).label("selects nodes");
        out.push(finding.help("use an `endpointSelector` if pods are meant"));
    }
}
