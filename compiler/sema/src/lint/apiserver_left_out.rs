//! SEM-8.6: egress is default-deny and the Kubernetes API is not allowed. Only pods with a service
//! account of their own are named: those are the ones that mean to use it.

use super::dns_left_out::{at_source, blamed, service_account};
use super::signatures::{Signature, peer_bits};
use super::view::View;
use super::words::few;
use super::{Context, cover};
use crate::universe::NodeKind;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::APISERVER_LEFT_OUT as CODE;
use portcullis_ir::{Action, L4, PortTerm, Ports, Reserved};

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let cx = &view.cx;
    let own_account = |g| service_account(cx, g).is_some_and(|a| a != "default");
    for (source, groups) in blamed(view, |s| is_left_out(cx, s), own_account) {
        let who = few(&view.workloads(&groups));
        let message =
            format!("{who} cannot reach the Kubernetes API: egress is default-deny and does not allow it");
        if let Some(finding) = at_source(view, source, CODE, message) {
            let help = "if they need it, allow `toEntities: [kube-apiserver]`";
            out.push(finding.label("turns default deny on").help(help));
        }
    }
}

fn is_left_out(cx: &Context<'_>, s: &Signature) -> bool {
    let https = Ports::of([PortTerm::Range(L4::Tcp, 443, 443), PortTerm::Range(L4::Tcp, 6443, 6443)]);
    !s.rules(cx).filter(|(_, r)| r.action == Action::Allow && cover::ports_meet(&r.ports, &https)).any(
        |(id, _)| {
            // An address range may be that of the API server.
            peer_bits(cx, id).is_some_and(|peers| {
                cx.evaluation.universe.iter().skip(cx.evaluation.universe.groups).any(|(n, node)| {
                    peers.contains(n.index())
                        && matches!(node, NodeKind::Reserved(Reserved::KubeApiserver) | NodeKind::Region(_))
                })
            })
        },
    )
}
