//! Claims: what somebody says about the flows that policies let through.

use crate::encode::Encoder;
use crate::symbols::{End, FlowSymbols, Kind};
use crate::term::{TermId, Terms};
use crate::world::pod_with;
use ipnet::IpNet;
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::peer::{Entity, entity_has_external, entity_has_pods, entity_has_reserved};
use portcullis_ir::{Ports, Requirement};

/// What a claim says of its flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// None of them passes.
    Deny,
    /// All of them pass.
    Allow,
    /// Nothing else passes to that end on those ports. It does not say that they pass.
    Only,
}

impl Form {
    /// As it is written in a claims file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Only => "only",
        }
    }
}

/// Some ends of flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Pods that meet every requirement.
    Pods(Vec<Requirement>),
    /// An entity (SEM-4.2).
    Entity(Entity),
    /// Addresses outside the cluster in a prefix and in none of the others.
    Cidr(IpNet, Vec<IpNet>),
    /// Addresses outside the cluster that a name resolved to.
    Name(Fqdn),
}

/// Flows between some ends on some ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flows {
    /// Who sends, one of these; `None` is anyone.
    pub from: Option<Vec<Pattern>>,
    /// Who receives, likewise.
    pub to: Option<Vec<Pattern>>,
    /// On which ports.
    pub ports: Ports,
}

impl Flows {
    /// Patterns of either end.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.from.iter().chain(&self.to).flatten()
    }
}

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it is called.
    pub name: String,
    /// What it says.
    pub form: Form,
    /// Of which flows.
    pub flows: Flows,
    /// Flows it says nothing about.
    pub except: Vec<Flows>,
}

impl Claim {
    /// Patterns that it is made of.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.flows.patterns().chain(self.except.iter().flat_map(Flows::patterns))
    }
}

/// A claim as formulas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded {
    /// A flow that it speaks of: a claim about none of them says nothing.
    pub(crate) scope: TermId,
    /// A flow that refutes it, but for what the policies say of it.
    pub(crate) subject: TermId,
    /// Whether a flow that passes refutes it, or one that does not.
    pub(crate) refuted_by_passing: bool,
}

pub(crate) fn encode(claim: &Claim, e: &Encoder<'_>, flow: &FlowSymbols, t: &mut Terms) -> Encoded {
    let from = ends(claim.flows.from.as_deref(), &flow.from, e, t);
    let to = ends(claim.flows.to.as_deref(), &flow.to, e, t);
    let ports = e.ports(&claim.flows.ports, flow, t);
    let mut others = Vec::new();
    for x in &claim.except {
        let parts = [
            ends(x.from.as_deref(), &flow.from, e, t),
            ends(x.to.as_deref(), &flow.to, e, t),
            e.ports(&x.ports, flow, t),
        ];
        let out = t.and(parts);
        others.push(t.not(out));
    }
    let others = t.and(others);
    let scope = t.and([from, to, ports, others]);
    match claim.form {
        Form::Deny => Encoded { scope, subject: scope, refuted_by_passing: true },
        Form::Allow => Encoded { scope, subject: scope, refuted_by_passing: false },
        Form::Only => {
            let not_from = t.not(from);
            let scope = t.and([to, ports]);
            let subject = t.and([not_from, to, ports, others]);
            Encoded { scope, subject, refuted_by_passing: true }
        }
    }
}

fn ends(all: Option<&[Pattern]>, end: &End, e: &Encoder<'_>, t: &mut Terms) -> TermId {
    let Some(all) = all else { return t.constant(true) };
    let all: Vec<TermId> = all.iter().map(|p| one_end(p, end, e, t)).collect();
    t.or(all)
}

fn one_end(p: &Pattern, end: &End, e: &Encoder<'_>, t: &mut Terms) -> TermId {
    match p {
        Pattern::Pods(requirements) => pod_with(e, requirements, end, t),
        Pattern::Entity(entity) => {
            let kinds = Kind::all().filter(|k| match k {
                Kind::Pod => entity_has_pods(*entity),
                Kind::Reserved(r) => entity_has_reserved(*entity, *r),
                Kind::External(v6) => entity_has_external(*entity, *v6),
            });
            let all: Vec<TermId> = kinds.map(|k| end.is(k, t)).collect();
            t.or(all)
        }
        Pattern::Cidr(net, except) => {
            let mut all = vec![e.inside(net, end, t)];
            for x in except {
                let inside = e.inside(x, end, t);
                all.push(t.not(inside));
            }
            t.and(all)
        }
        Pattern::Name(f) => {
            let external = [end.is(Kind::External(false), t), end.is(Kind::External(true), t)];
            let (external, named) = (t.or(external), e.named(f, end, t));
            t.and([external, named])
        }
    }
}
