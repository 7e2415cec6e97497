//! Verdicts of a side, their causes, and the lines behind them.

use super::names::{object, policies};
use crate::words::cut;
use portcullis_diag::Span;
use portcullis_ir::{Action, Direction, Verdict};
use portcullis_sema::diff::{Cause, Finding, FindingKind, SideChange, SideVerdict};

/// `allowed` or `DENIED`: the capitals are for those who see no colour.
pub(crate) fn verdict(v: Verdict) -> &'static str {
    match v {
        Verdict::Allowed => "allowed",
        Verdict::Denied => "DENIED",
    }
}

/// Why a side decides as it does, to be put after the verdict.
pub(crate) fn cause(c: &Cause) -> String {
    match c {
        Cause::Rules(rules) if rules.is_empty() => "by a rule".to_owned(),
        Cause::Rules(rules) => format!("by {}", cut(&policies(rules.iter().map(|r| &r.policy)), 2)),
        Cause::DefaultDeny(_) => "by default deny".to_owned(),
        Cause::Localhost => "(the node's own host)".to_owned(),
        Cause::NotEnforced => "(not enforced)".to_owned(),
    }
}

/// `allowed by CiliumNetworkPolicy shop/web, then by its L7 rules`.
pub(crate) fn side(v: &SideVerdict) -> String {
    let proxy = if v.l7.is_some() { ", then by its L7 rules" } else { "" };
    format!("{} {}{proxy}", verdict(v.verdict), cause(&v.cause))
}

/// Both verdicts of one side, or the one that stays.
pub(crate) fn change(c: &SideChange) -> String {
    let (base, head) = (side(&c.base), side(&c.head));
    if base == head { format!("{head}, as before") } else { format!("{base} → {head}") }
}

/// The side that a direction names, seen from the flow.
pub(crate) fn side_name(d: Direction) -> &'static str {
    match d {
        Direction::Egress => "source egress",
        Direction::Ingress => "destination ingress",
    }
}

/// What is said of a side without pods.
pub(crate) fn no_side(d: Direction) -> &'static str {
    match d {
        Direction::Egress => "the sources are no pods of this cluster, so no policy of theirs applies",
        Direction::Ingress => "the destinations are no pods of this cluster, so no policy of theirs applies",
    }
}

/// A place of the user's that explains a finding.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// What it is, in one clause.
    pub(crate) lead: String,
    /// The line that counts.
    pub(crate) span: Span,
    /// What has to be seen with it: a rule's whole entry, peers and ports.
    pub(crate) around: Span,
    /// What it does, in a few words.
    pub(crate) label: String,
    /// It stands on the base side, so it may be gone.
    pub(crate) before: bool,
}

/// The lines that make a finding so: what is gone, then what decides now.
pub(crate) fn evidence(f: &Finding) -> Vec<Evidence> {
    let sides: Vec<&SideChange> = [&f.ingress, &f.egress].into_iter().flatten().collect();
    let tells = |s: &&&SideChange| match f.kind {
        FindingKind::L7 => s.base.l7 != s.head.l7,
        _ => s.base.verdict != s.head.verdict,
    };
    let mut chosen: Vec<&SideChange> = sides.iter().filter(tells).copied().collect();
    if chosen.is_empty() {
        chosen = sides.into_iter().filter(|s| s.base != s.head).collect();
    }
    let mut out = Vec::new();
    for s in &chosen {
        let gone = matches!(s.head.cause, Cause::NotEnforced | Cause::DefaultDeny(_));
        let rules = matches!(s.base.cause, Cause::Rules(_));
        let proxied = f.kind == FindingKind::L7 && s.base.l7.is_some();
        if (gone && (rules || s.head.cause == Cause::NotEnforced)) || proxied {
            out.extend(cause_lines(&s.base, s.direction, true));
        }
    }
    for s in &chosen {
        out.extend(cause_lines(&s.head, s.direction, false));
    }
    out
}

/// Why the flows of a finding are as they are now, in one clause.
pub(crate) fn cause_now(f: &Finding) -> String {
    let lines = evidence(f);
    if let Some(now) = lines.iter().find(|e| !e.before) {
        return now.lead.clone();
    }
    let open = |s: &&SideChange| s.head.cause == Cause::NotEnforced && s.base != s.head;
    match [&f.ingress, &f.egress].into_iter().flatten().find(open) {
        Some(s) => format!("no policy makes {} default-deny any more", s.direction),
        None => lines.first().map_or(String::new(), |e| e.lead.clone()),
    }
}

/// The lines behind one verdict.
pub(crate) fn cause_lines(v: &SideVerdict, direction: Direction, before: bool) -> Vec<Evidence> {
    match &v.cause {
        Cause::Rules(rules) => rules
            .iter()
            .map(|r| {
                let (does, did) = match r.action {
                    Action::Allow => ("allows", "allowed"),
                    Action::Deny => ("denies", "denied"),
                    Action::Pass => ("passes", "passed"),
                };
                let name = object(&r.policy);
                let (lead, label) = if before {
                    (format!("before, this rule of {name} {did} it"), format!("{did} it before"))
                } else if v.l7.is_some() {
                    (
                        format!("this rule of {name} sends it to the L7 proxy"),
                        "the proxy decides the rest".to_owned(),
                    )
                } else {
                    (format!("this rule of {name} {does} it"), format!("{does} it"))
                };
                Evidence { lead, span: r.span, around: r.entry, label, before }
            })
            .collect(),
        Cause::DefaultDeny(by) => by
            .iter()
            .map(|p| {
                let name = object(&p.policy);
                let (lead, label) = if before {
                    (
                        format!("before, {name} made {direction} default-deny"),
                        format!("{direction} was default-deny by this"),
                    )
                } else {
                    (
                        format!("no rule allows it, and {name} makes {direction} default-deny"),
                        format!("{direction} is default-deny by this"),
                    )
                };
                Evidence { lead, span: p.span, around: p.span, label, before }
            })
            .collect(),
        Cause::Localhost | Cause::NotEnforced => Vec::new(),
    }
}
