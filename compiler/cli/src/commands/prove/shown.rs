//! A flow that z3 found, as the oracle judges it: nothing is shown that has not been replayed.

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::output;
use portcullis_diag::{Diagnostic, SourceMap, Span};
use portcullis_ir::{Decision, Options, PolicyId, PolicySet, Reason, Verdict};
use portcullis_oracle::Oracle;
use portcullis_symbolic::{Pods, Witness, replay};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Why one side decides as it does.
#[derive(Debug)]
pub(crate) struct Cause {
    /// `egress` or `ingress`.
    pub(crate) direction: &'static str,
    /// Whether it allows the flow.
    pub(crate) allowed: bool,
    /// Why, in words.
    pub(crate) why: String,
    /// The lines that make it so.
    pub(crate) places: Vec<Place>,
}

/// A line of a policy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The policy.
    pub(crate) policy: String,
    /// File, line and column.
    pub(crate) at: String,
    /// The same as JSON.
    span: Value,
}

/// A flow, and what the oracle says of it under one policy set.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Who sends.
    pub(crate) from: String,
    /// Who receives.
    pub(crate) to: String,
    /// What it carries.
    pub(crate) port: String,
    /// Whether it passes.
    pub(crate) passes: bool,
    /// Each side that is a pod's.
    pub(crate) causes: Vec<Cause>,
}

impl Shown {
    /// Replays a flow under a policy set.
    pub(crate) fn of(
        witness: &Witness,
        pods: Pods<'_>,
        policies: &PolicySet,
        options: &Options,
        sources: &SourceMap,
    ) -> Self {
        let replay = replay(witness, pods);
        let outcome = Oracle { policies, cluster: &replay.cluster, options }.judge(&replay.flow);
        let sides = [("egress", &outcome.egress), ("ingress", &outcome.ingress)];
        let causes = sides
            .into_iter()
            .filter_map(|(direction, d)| Some(cause(direction, d.as_ref()?, policies, sources)))
            .collect();
        Self {
            from: witness.from.words.clone(),
            to: witness.to.words.clone(),
            port: witness.port.to_string(),
            passes: outcome.verdict() == Verdict::Allowed,
            causes,
        }
    }

    /// The flow in one line.
    pub(crate) fn flow(&self) -> String {
        format!("{} → {}, {}", self.from, self.to, self.port)
    }

    /// The causes, one a line behind an indent. Where the flow is denied, those of the sides that deny.
    pub(crate) fn because(&self, indent: &str) -> String {
        let mut out = String::new();
        for c in self.causes.iter().filter(|c| self.passes || !c.allowed) {
            let _ = writeln!(out, "{indent}{} {}", c.direction, c.why);
            for p in &c.places {
                let _ = writeln!(out, "{indent}  {}  {}", p.at, p.policy);
            }
        }
        out
    }
}

fn cause(direction: &'static str, d: &Decision, policies: &PolicySet, sources: &SourceMap) -> Cause {
    let place = |policy: PolicyId, span: Span| {
        let at = sources.position(span);
        Place {
            policy: policies.policy(policy).map(|p| p.object.to_string()).unwrap_or_default(),
            at: format!("{}:{}:{}", sources.name(span), at.line, at.column),
            // A place always has a JSON form.
            span: serde_json::to_value(portcullis_report::span(sources, span)).unwrap_or_default(),
        }
    };
    let mut places = Vec::new();
    let why = match &d.reason {
        Reason::Rules(ids) => {
            let rules = ids.iter().filter_map(|id| policies.rule(*id));
            places.extend(rules.map(|r| place(r.policy, r.span)));
            let many = if places.len() == 1 { "this rule" } else { "these rules" };
            format!("is {} by {many}", d.verdict)
        }
        Reason::AllowLocalhost => {
            "is allowed because the node's own host always reaches its pods (SEM-5.5)".to_owned()
        }
        Reason::DefaultDeny(ids) => {
            let enforced = ids.iter().filter_map(|id| policies.enforcement(*id));
            places.extend(enforced.map(|e| place(e.policy, e.span)));
            "is denied because no rule allows it, and default deny is on".to_owned()
        }
        Reason::NotEnforced => "is allowed because nothing turns default deny on for this pod".to_owned(),
    };
    places.dedup();
    Cause { direction, allowed: d.verdict == Verdict::Allowed, why, places }
}

/// A flow that z3 found and that the oracle judges otherwise: a defect of this program.
pub(crate) fn mismatch(what: &str, shown: &Shown) -> Exit {
    output::stderr(&format!(
        "internal error: two engines disagree about {what}: {}\n{}  This is a defect of portcullis {}, not of your \
         files. Please report it with the policies and what --save-queries writes.\n",
        shown.flow(),
        shown.because("  "),
        env!("CARGO_PKG_VERSION"),
    ));
    Exit::Internal
}

/// Objects that take no part: what was proved of the others would be no proof.
pub(crate) fn incomplete(sources: &SourceMap, blocking: &[Diagnostic]) -> Failure {
    let words: Vec<String> = blocking
        .iter()
        .map(|d| {
            let place = d.span().map_or_else(String::new, |s| {
                let at = sources.position(s);
                format!("{}:{}:{}: ", sources.name(s), at.line, at.column)
            });
            format!("{place}{} ({})", d.message, d.code)
        })
        .collect();
    Failure::new(
        format!("nothing is proved while objects are left out:\n  {}", words.join("\n  ")),
        "correct them, or leave them out of the paths; `portcullis check` says more",
    )
}

/// Comment lines that say what a saved query was asked under.
pub(crate) fn header(global: &Global) -> String {
    let settings = global.settings();
    let settings = if settings.is_empty() { "defaults".to_owned() } else { settings.join(" ") };
    format!("portcullis {}, cluster settings: {settings}", env!("CARGO_PKG_VERSION"))
}

/// A flow as JSON.
pub(crate) fn flow_json(shown: &Shown) -> Value {
    let sides: Vec<Value> = shown
        .causes
        .iter()
        .map(|c| {
            let places: Vec<Value> =
                c.places.iter().map(|p| json!({"policy": p.policy, "place": p.span})).collect();
            let verdict = if c.allowed { "allowed" } else { "denied" };
            json!({"direction": c.direction, "verdict": verdict, "why": c.why, "places": places})
        })
        .collect();
    let verdict = if shown.passes { "allowed" } else { "denied" };
    json!({"from": shown.from, "to": shown.to, "port": shown.port, "verdict": verdict, "sides": sides})
}
