//! `verify --symbolic`: whether an image answers as the policies do for pods that need not exist.

use super::super::progress;
use super::super::prove::shown::{self, Shown, flow_json};
use super::{UNKNOWN_BITS, image_json, said, said_json};
use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::session::Side;
use crate::solver::{Z3, failed};
use fixedbitset::FixedBitSet;
use portcullis_diag::SourceMap;
use portcullis_ir::{Direction, LabelSet, Options};
use portcullis_sema::Universe;
use portcullis_symbolic::symbols::Kind;
use portcullis_symbolic::term::Assignment;
use portcullis_symbolic::world::Shape;
use portcullis_symbolic::{Answer, Knowing, Pods, Role, Space, Table, Who, Witness};
use portcullis_verify::{Replayed, Replayer, says};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Pods without a class that are named.
const NAMED: usize = 5;

/// What became of one direction.
#[derive(Debug)]
pub(super) enum State {
    /// The image answers as the policies do.
    Proved,
    /// A flow for which it does not.
    Differs(Box<Found>),
    /// The solver gave up, and why.
    Undecided(String),
}

/// A flow for which the image answers otherwise, replayed.
#[derive(Debug)]
pub(super) struct Found {
    replayed: Replayed,
    /// The endpoints and the identity whose answer the image gives.
    like: [String; 2],
    /// The line of the image's cause.
    cause: String,
    /// The image's answer as JSON.
    image: Value,
    /// What the oracle says of the flow, both sides.
    shown: Shown,
}

/// A pod that could exist and that is like none the image knows.
#[derive(Debug)]
pub(super) struct NewPod {
    words: String,
    roles: Vec<Role>,
}

/// Whether there are more; or why nobody knows.
type More = Result<bool, String>;

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Outcome {
    sides: Vec<(Direction, State)>,
    new_pods: Vec<NewPod>,
    /// Beside those that are named.
    more: More,
    /// Endpoints of the cluster of which nothing is said.
    left_out: Vec<String>,
}

/// What the proof is about.
pub(super) struct Subject<'s> {
    pub(super) name: String,
    pub(super) bytes: &'s [u8],
    pub(super) side: &'s Side<'s>,
    pub(super) universe: &'s Universe,
    pub(super) wanted: Option<&'s FixedBitSet>,
    pub(super) options: &'s Options,
    pub(super) sources: &'s SourceMap,
}

/// Why there is no outcome.
pub(super) enum Stop {
    /// What the user gave was at fault.
    Failure(Failure),
    /// Two engines disagree.
    Defect,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Asks z3 about both directions, and for pods that the image has no class for.
pub(super) fn prove(s: &Subject<'_>, z3: &mut Z3, global: &Global) -> Result<Outcome, Stop> {
    let unreadable = |e: &dyn std::fmt::Display| {
        Failure::new(
            format!("{} proves nothing: {e}", s.name),
            "compile it again, from the same policies and cluster",
        )
    };
    let (policies, cluster) = (&s.side.policies, &s.side.cluster);
    let table =
        portcullis_verify::table(s.bytes, cluster, s.universe, s.wanted).map_err(|e| unreadable(&e))?;
    let knowing = Knowing::new(policies);
    let mut space = Space::new(&[policies], [], Pods::Any(cluster), s.options);
    let mut sides = Vec::new();
    for direction in Direction::BOTH {
        progress(global, &format!("proving {direction} …"));
        let goal = space.differs(policies, &table, &knowing, direction);
        let header = format!(
            "{direction} of the image {}\nunsat: it answers as the policies do; sat: not for the flow of the values\n{}",
            s.name,
            shown::header(global)
        );
        let state = match space.ask(z3, &header, goal).map_err(|e| failed(&e))? {
            Answer::None => State::Proved,
            Answer::Undecided(why) => State::Undecided(why),
            Answer::Found(witness) => {
                match s
                    .replayer(&knowing, &space)
                    .difference(&witness, direction)
                    .map_err(|e| unreadable(&e))?
                {
                    Some(replayed) => State::Differs(Box::new(s.found(&witness, replayed))),
                    None => return Err(mismatch(&format!("{direction} of {}", flow(&witness)), global)),
                }
            }
        };
        sides.push((direction, state));
    }
    let left_out = s.left_out(&mut space);
    let (new_pods, more) = s.new_pods(&mut space, &table, &knowing, z3, global)?;
    progress(global, "");
    Ok(Outcome { sides, new_pods, more, left_out })
}

impl Subject<'_> {
    fn replayer<'r>(&'r self, knowing: &'r Knowing<'r>, space: &'r Space<'_>) -> Replayer<'r> {
        Replayer {
            bytes: self.bytes,
            input: self.side.input(self.options),
            universe: self.universe,
            knowing,
            words: &space.words,
        }
    }

    fn found(&self, witness: &Witness, replayed: Replayed) -> Found {
        let like = [replayed.subject, replayed.peer].map(|n| super::end(n, self.universe, self.side));
        let cause = super::cause(replayed.image.as_ref().ok(), self.bytes);
        let image = image_json(&replayed.image, self.bytes);
        let (policies, pods) = (&self.side.policies, Pods::Any(&self.side.cluster));
        let shown = Shown::of(witness, pods, policies, self.options, self.sources);
        Found { replayed, like, cause, image, shown }
    }

    /// Pods that are like none that the image knows, the plainest first, and whether there are more.
    fn new_pods(
        &self,
        space: &mut Space<'_>,
        table: &Table,
        knowing: &Knowing<'_>,
        z3: &mut Z3,
        global: &Global,
    ) -> Result<(Vec<NewPod>, More), Stop> {
        let mut goal = space.is_new_pod(table, knowing, &Role::ALL);
        let mut out: Vec<NewPod> = Vec::new();
        loop {
            progress(global, &format!("looking for pods without a class, {} so far …", out.len()));
            let header = format!(
                "a pod without a class in the image {}\nunsat: there is no other; sat: the sender of the values\n{}",
                self.name,
                shown::header(global)
            );
            if out.len() == NAMED {
                let more = space.any(z3, &header, goal).map_err(|e| failed(&e))?;
                return Ok((out, more.ok_or_else(|| "the solver gave up".to_owned())));
            }
            match space.ask(z3, &header, goal).map_err(|e| failed(&e))? {
                Answer::None => return Ok((out, Ok(false))),
                Answer::Undecided(why) => return Ok((out, Err(why))),
                Answer::Found(w) => {
                    let replayer = self.replayer(knowing, space);
                    let roles: Vec<Role> =
                        Role::ALL.into_iter().filter(|r| !replayer.is_known(*r, &w.from)).collect();
                    let Some(labels) = labels(&w).filter(|_| !roles.is_empty()) else {
                        return Err(mismatch(&format!("a pod without a class: {}", w.from.words), global));
                    };
                    out.push(NewPod { words: w.from.words.clone(), roles });
                    goal = space.but_not_like(goal, knowing, labels);
                }
            }
        }
    }

    /// Endpoints that are no pods to the encoding.
    fn left_out(&self, space: &mut Space<'_>) -> Vec<String> {
        let yes = space.terms.constant(true);
        let cluster = &self.side.cluster;
        let mut out = Vec::new();
        for (_, g) in self.universe.groups() {
            let Some(id) = g.example.first().copied().flatten() else { continue };
            let there = Shape::of(&space.words, cluster, id).is_some_and(|shape| {
                let mut a = Assignment::default();
                for end in space.flow.ends() {
                    a.set(end.kind, Kind::Pod.code());
                    shape.assign(end, &mut a);
                }
                space.holds(yes, &a)
            });
            if let (false, Some(e)) = (there, cluster.endpoint(id)) {
                out.push(format!("{}/{}", e.namespace, e.name));
            }
        }
        out
    }
}

fn labels(w: &Witness) -> Option<&LabelSet> {
    match &w.from.who {
        Who::Pod(labels, _) => Some(labels),
        _ => None,
    }
}

fn flow(w: &Witness) -> String {
    format!("{} → {}, {}", w.from.words, w.to.words, w.port)
}

/// What z3 found and the oracle or the image does not confirm: a defect of this program.
fn mismatch(what: &str, global: &Global) -> Stop {
    progress(global, "");
    output::stderr(&format!(
        "internal error: two engines disagree about {what}\n  This is a defect of portcullis {}, not of your files. \
         Please report it with the policies, the image and what --save-queries writes.\n",
        env!("CARGO_PKG_VERSION"),
    ));
    Stop::Defect
}

const fn role(r: Role) -> &'static str {
    match r {
        Role::Subject(Direction::Ingress) => "ingress",
        Role::Subject(Direction::Egress) => "egress",
        Role::Peer => "peer",
    }
}

impl Outcome {
    pub(super) fn exit(&self) -> Exit {
        if self.sides.iter().any(|(_, s)| matches!(s, State::Differs(_))) {
            Exit::Findings
        } else if self.more.is_err() || self.sides.iter().any(|(_, s)| matches!(s, State::Undecided(_))) {
            Exit::Undecided
        } else {
            Exit::Clean
        }
    }

    pub(super) fn terminal(&self) -> String {
        let mut out = String::new();
        for (direction, state) in &self.sides {
            let _ = match state {
                State::Proved => writeln!(
                    out,
                    "proved by z3, {direction}: every pod that could exist and is like one of the image's, every peer, \
                     address and port"
                ),
                State::Undecided(why) => writeln!(
                    out,
                    "undecided, {direction}: whether every pod that could exist is answered as the policies do: {why}; \
                     --timeout gives it more"
                ),
                State::Differs(f) => f.write(*direction, &mut out),
            };
        }
        for (n, pod) in self.new_pods.iter().enumerate() {
            if n == 0 {
                out.push_str("pods that could exist and that need a new image, since they are like none of this one's:\n");
            }
            let roles: Vec<&str> = pod.roles.iter().map(|r| role(*r)).collect();
            let _ = writeln!(out, "  {} ({})", pod.words, roles.join(", "));
        }
        match &self.more {
            Ok(false) if self.new_pods.is_empty() => {
                out.push_str("every pod that could exist is like one of the image's\n");
            }
            Ok(false) => {}
            Ok(true) => out.push_str("  and others\n"),
            Err(why) => {
                let _ = writeln!(
                    out,
                    "undecided: whether other pods need a new image: {why}; --timeout gives it more"
                );
            }
        }
        if !self.left_out.is_empty() {
            let _ = writeln!(
                out,
                "note: nothing is said here of {}: labels that no pod gets, or two numbers for one named port",
                self.left_out.join(", ")
            );
        }
        out
    }

    pub(super) fn json(&self) -> Value {
        let sides: Vec<Value> = self.sides.iter().map(|(d, s)| s.json(*d)).collect();
        let pods: Vec<Value> = self
            .new_pods
            .iter()
            .map(|p| json!({"pod": p.words, "roles": p.roles.iter().map(|r| role(*r)).collect::<Vec<_>>()}))
            .collect();
        let (more, why) = match &self.more {
            Ok(more) => (Value::from(*more), Value::Null),
            Err(why) => (Value::Null, Value::from(why.as_str())),
        };
        json!({
            "sides": sides,
            "needNewImage": {"pods": pods, "more": more, "why": why},
            "leftOut": self.left_out,
        })
    }
}

impl State {
    fn json(&self, direction: Direction) -> Value {
        let (state, why, found) = match self {
            Self::Proved => ("proved", None, Value::Null),
            Self::Undecided(why) => ("undecided", Some(why), Value::Null),
            Self::Differs(f) => ("differs", None, f.json()),
        };
        json!({"direction": direction.to_string(), "state": state, "why": why, "difference": found})
    }
}

impl Found {
    /// The side of the flow that is in question, as the oracle sees it.
    fn decided(&self, direction: Direction) -> Option<&shown::Cause> {
        self.shown.causes.iter().find(|c| c.direction == direction.to_string())
    }

    fn write(&self, direction: Direction, out: &mut String) -> std::fmt::Result {
        let [subject, peer] = &self.like;
        writeln!(out, "{}, {direction}:", self.shown.flow())?;
        match &self.replayed.image {
            Ok(word) => {
                let answer = says(*word).map_or_else(|| UNKNOWN_BITS.to_owned(), said);
                writeln!(out, "  image     {answer}: {}", self.cause)?;
            }
            Err(e) => writeln!(out, "  image     no answer: {e}")?,
        }
        writeln!(out, "            as for {subject} with {peer}")?;
        writeln!(out, "  policies  {}", said(self.replayed.meant))?;
        if let Some(c) = self.decided(direction) {
            writeln!(out, "            {direction} {}", c.why)?;
            for p in &c.places {
                writeln!(out, "              {}  {}", p.at, p.policy)?;
            }
        }
        writeln!(out, "found by z3: the image does not answer as the policies do, {direction}")
    }

    fn json(&self) -> Value {
        let [subject, peer] = &self.like;
        json!({
            "flow": flow_json(&self.shown),
            "subjectLike": subject, "peerLike": peer,
            "image": self.image,
            "policies": said_json(self.replayed.meant),
        })
    }
}
