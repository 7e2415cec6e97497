//! `explain`: whether one flow passes, and which rules took part.

mod ends;
mod missed;

use super::{Question, fails_on, is_unreadable};
use crate::args::{ExplainArgs, FailOn, FormatName, Global};
use crate::coverage;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::resolve::{parse_port, resolve};
use crate::session::Side;
use portcullis_ir::rule::L7;
use portcullis_ir::{
    Decision, Direction, EndpointId, EnforcementId, Flow, PeerRef, PolicySet, Reason, RuleId, Verdict,
};
use portcullis_oracle::Oracle;
use portcullis_report::{ExplainedSide, Explanation};
use portcullis_sema::diff::{Cause, PolicyRef, RuleRef};
use std::collections::BTreeSet;

/// Runs the command.
pub(crate) fn run(args: &ExplainArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "explain", &[FormatName::Terminal, FormatName::Json, FormatName::Markdown])?;
    let port = parse_port(&args.port, args.protocol.as_deref())?;
    let options = global.options();
    let (mut question, files) = Question::read(&args.paths, args.at.as_deref(), &args.cluster, global)?;
    let mut side = question.side(&files, &options);
    let from = resolve(&args.from, &mut side, &options)?;
    let to = resolve(&args.to, &mut side, &options)?;
    let asked = ends::flow(&from, &to, &port, &side)?;
    let mut notes = [from.notes, to.notes, asked.notes].concat();

    let oracle = Oracle { policies: &side.policies, cluster: &side.cluster, options: &options };
    let outcome = oracle.judge(&asked.flow);
    let mut sides = Vec::new();
    let parts = [
        (Direction::Egress, &outcome.egress, &asked.flow.from),
        (Direction::Ingress, &outcome.ingress, &asked.flow.to),
    ];
    for (direction, decision, subject) in parts {
        if let (Some(decision), PeerRef::Endpoint(id)) = (decision, subject) {
            sides.push(explained(&side, direction, *id, decision, &asked.flow));
        }
    }
    if outcome.same_pod {
        notes.insert(0, "Both ends are the same pod, and a pod always reaches itself.".to_owned());
    } else if sides.is_empty() {
        notes.push("Neither end is a pod of this cluster, so no policy for pods is asked.".to_owned());
    }
    let verdict = outcome.verdict();
    let redirected = [&outcome.egress, &outcome.ingress].into_iter().flatten().any(|d| d.redirect);
    let report = Explanation {
        from: asked.from,
        to: asked.to,
        port: asked.flow.port.to_string(),
        verdict,
        sides,
        notes,
        blocking: question.blocking(&side),
        coverage: coverage::of(&[&side], &args.cluster, std::mem::take(&mut question.notes)),
    };
    output::report(&report, &question.sources, global)?;
    let found = match verdict {
        Verdict::Denied => fails_on(global, &[FailOn::Never], FailOn::Denied),
        Verdict::Allowed => {
            fails_on(global, &[FailOn::Never], FailOn::Allowed)
                || (redirected && fails_on(global, &[FailOn::Never], FailOn::L7))
        }
    };
    Ok(match () {
        () if is_unreadable(&report.blocking) => Exit::Usage,
        () if found => Exit::Findings,
        () => Exit::Clean,
    })
}

/// One side's decision with every rule that took part.
fn explained(
    side: &Side<'_>,
    direction: Direction,
    subject: EndpointId,
    decision: &Decision,
    flow: &Flow,
) -> ExplainedSide {
    let set = &side.policies;
    let deciding: &[RuleId] = match &decision.reason {
        Reason::Rules(ids) => ids,
        _ => &[],
    };
    let others = decision.matched.iter().filter(|id| !deciding.contains(id));
    let matched: Vec<RuleId> = deciding.iter().chain(others).copied().collect();
    let asks: BTreeSet<String> = deciding
        .iter()
        .filter_map(|id| set.rule(*id))
        .filter_map(|r| r.l7.as_deref())
        .map(l7_words)
        .collect();
    ExplainedSide {
        direction,
        subject: ends::words(subject, &side.cluster),
        verdict: decision.verdict,
        cause: cause(set, &decision.reason),
        matched: matched.iter().filter_map(|id| rule_ref(set, *id)).collect(),
        missed: missed::rules(side, direction, subject, flow, &decision.matched),
        plain: deciding
            .iter()
            .filter(|id| set.rule(**id).is_some_and(|r| r.l7.is_none()))
            .filter_map(|id| rule_ref(set, *id))
            .collect(),
        l7: (decision.redirect && !asks.is_empty()).then(|| asks.into_iter().collect::<Vec<_>>().join("; ")),
    }
}

fn cause(set: &PolicySet, reason: &Reason) -> Cause {
    match reason {
        Reason::Rules(ids) => Cause::Rules(ids.iter().filter_map(|id| rule_ref(set, *id)).collect()),
        Reason::AllowLocalhost => Cause::Localhost,
        Reason::DefaultDeny(ids) => {
            let mut by: Vec<PolicyRef> = ids.iter().filter_map(|id| policy_ref(set, *id)).collect();
            by.sort();
            by.dedup();
            Cause::DefaultDeny(by)
        }
        Reason::NotEnforced => Cause::NotEnforced,
    }
}

fn rule_ref(set: &PolicySet, id: RuleId) -> Option<RuleRef> {
    let rule = set.rule(id)?;
    let policy = set.policy(rule.policy)?.object.clone();
    Some(RuleRef { policy, span: rule.span, entry: rule.entry, action: rule.action, tier: rule.tier })
}

fn policy_ref(set: &PolicySet, id: EnforcementId) -> Option<PolicyRef> {
    let e = set.enforcement(id)?;
    let policy = set.policy(e.policy)?;
    Some(PolicyRef { policy: policy.object.clone(), span: e.span, name_span: policy.span })
}

/// What a proxy goes on to ask.
fn l7_words(l7: &L7) -> String {
    let mut parts = Vec::new();
    for h in &l7.http {
        let text = |t: &Option<portcullis_front::ast::Text>| t.as_ref().map(|t| t.value.to_string());
        let method = text(&h.method).unwrap_or_else(|| "any method".to_owned());
        let mut part = format!("HTTP {method} {}", text(&h.path).unwrap_or_else(|| "any path".to_owned()));
        if let Some(host) = text(&h.host) {
            part = format!("{part} of host {host}");
        }
        let headers = h.headers.len() + h.header_matches.len();
        if headers > 0 {
            part = format!("{part} with {headers} header{}", if headers == 1 { "" } else { "s" });
        }
        parts.push(part);
    }
    if let Some(dns) = &l7.dns {
        let names: Vec<&str> = dns.iter().map(portcullis_ir::fqdn::Fqdn::as_str).collect();
        parts.push(format!("DNS queries for {}", names.join(", ")));
    }
    if !l7.server_names.is_empty() {
        parts.push(format!("TLS to {}", l7.server_names.join(", ")));
    }
    if let Some(listener) = &l7.listener {
        parts.push(format!("whatever the Envoy listener {listener} lets through"));
    }
    parts.join(", ")
}
