//! What became of the claims, for a terminal and as JSON.

use super::shown::{Shown, flow_json};
use crate::exit::Exit;
use portcullis_symbolic::Form;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What became of one claim.
#[derive(Debug)]
pub(super) enum State {
    /// No flow refutes it.
    Proved,
    /// No flow refutes it, since it speaks of none.
    Vacuous,
    /// This flow refutes it.
    Refuted(Box<Shown>),
    /// The solver gave up, and why.
    Undecided(String),
}

/// One claim's outcome.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) form: Form,
    /// The line of the claims file it stands in.
    pub(super) line: u32,
    pub(super) state: State,
}

/// Everything to say.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) file: &'a str,
    pub(super) outcomes: Vec<Outcome>,
    /// Claims are about every pod that could exist, not those of a cluster.
    pub(super) every_pod: bool,
    pub(super) policies: usize,
    pub(super) notes: &'a [String],
}

impl Report<'_> {
    fn count(&self, what: impl Fn(&State) -> bool) -> usize {
        self.outcomes.iter().filter(|o| what(&o.state)).count()
    }

    /// A claim about nothing fails as a refuted one does: it is a slip of the pen.
    pub(super) fn exit(&self) -> Exit {
        if self.count(|s| matches!(s, State::Refuted(_) | State::Vacuous)) > 0 {
            Exit::Findings
        } else if self.count(|s| matches!(s, State::Undecided(_))) > 0 {
            Exit::Undecided
        } else {
            Exit::Clean
        }
    }

    pub(super) fn terminal(&self) -> String {
        let mut out = String::new();
        for o in &self.outcomes {
            let place = format!("{}:{}", self.file, o.line);
            match &o.state {
                State::Proved => {
                    let _ = writeln!(out, "proved     {}", o.name);
                }
                State::Vacuous => {
                    let _ = writeln!(out, "empty      {}  ({place})", o.name);
                    out.push_str("           no flow that could exist is one it speaks of: check the labels and names\n");
                }
                State::Undecided(why) => {
                    let _ = writeln!(
                        out,
                        "undecided  {}  ({place})\n           {why}; --timeout gives it more",
                        o.name
                    );
                }
                State::Refuted(shown) => {
                    let _ = writeln!(out, "REFUTED    {}  ({place})", o.name);
                    let verdict = if shown.passes { "this passes" } else { "this is denied" };
                    let _ = writeln!(out, "           {verdict}: {}", shown.flow());
                    out.push_str(&shown.because("             "));
                    if o.form == Form::Only && shown.from.contains("own host") {
                        out.push_str(
                            "           help: add {entity: host} to `from` if the node itself may\n",
                        );
                    }
                }
            }
        }
        for note in self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        let _ = writeln!(out, "\n{}", self.summary());
        out
    }

    fn summary(&self) -> String {
        let proved = self.count(|s| matches!(s, State::Proved));
        let mut parts = vec![format!("{proved} proved")];
        let others = [
            (self.count(|s| matches!(s, State::Refuted(_))), "refuted"),
            (self.count(|s| matches!(s, State::Vacuous)), "about nothing"),
            (self.count(|s| matches!(s, State::Undecided(_))), "undecided"),
        ];
        parts.extend(others.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
        let of = if self.every_pod { "every pod that could exist" } else { "the pods of the cluster" };
        let plural = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
        format!(
            "{}: {}; {}, {of}, every address and port",
            plural(self.outcomes.len(), "claim", "claims"),
            parts.join(", "),
            plural(self.policies, "policy", "policies"),
        )
    }

    pub(super) fn json(&self) -> String {
        let claims: Vec<Value> = self.outcomes.iter().map(|o| self.claim(o)).collect();
        let all = json!({
            "everyPod": self.every_pod,
            "policies": self.policies,
            "claims": claims,
            "notes": self.notes,
        });
        portcullis_report::document("prove", all)
    }

    fn claim(&self, o: &Outcome) -> Value {
        let (state, witness, why) = match &o.state {
            State::Proved => ("proved", Value::Null, None),
            State::Vacuous => ("empty", Value::Null, None),
            State::Undecided(why) => ("undecided", Value::Null, Some(why)),
            State::Refuted(shown) => ("refuted", flow_json(shown), None),
        };
        json!({
            "name": o.name, "form": o.form.name(), "file": self.file, "line": o.line,
            "state": state, "why": why, "witness": witness,
        })
    }
}
