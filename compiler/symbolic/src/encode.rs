//! A policy set as a formula over one flow: the meaning written on [`portcullis_ir::rule`], step by
//! step, for pods that are known only by their labels.

use crate::symbols::{
    ABSENT, End, FlowSymbols, Kind, OTHER_PROTOCOL, RESERVED, Vocabulary, icmp_code, l4_code,
};
use crate::term::{TermId, Terms};
use ipnet::IpNet;
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::label::SOURCE_RESERVED;
use portcullis_ir::peer::{entity_has_external, entity_has_pods, entity_has_reserved};
use portcullis_ir::{
    Action, AuthMode, Direction, EnforcementMode, Operator, Options, PeerTerm, Peers, PolicySet, PortTerm,
    Ports, Requirement, Reserved, Rule, Selector, Subject, Tier,
};
use std::collections::BTreeMap;

/// A mistake that an encoder could have, for the tests that must notice it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Fault {
    AllowBeatsDeny,
    OrdersReversed,
    PassAllows,
    NoBaseline,
    NoExceptions,
    NoLocalhost,
    NotInNeedsTheLabel,
    DefaultDenyOfBothDirections,
    NamedPortsOfTheSender,
    PortsIgnored,
    AllIsNotIcmp,
    CidrsTakePods,
    EveryAllowRedirects,
    DisabledAuthenticates,
}

/// What can be asked of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// The flow is allowed.
    Passes,
    /// It is allowed, by way of a proxy (SEM-6.8).
    Redirects,
    /// It is allowed, after authentication.
    Authenticates,
    /// A rule that decides asks for a log value, whether it allows or denies.
    Logs,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Passes, Self::Redirects, Self::Authenticates, Self::Logs];
}

/// Writes policies as formulas.
pub struct Encoder<'a> {
    /// What is told apart.
    pub words: &'a Vocabulary,
    /// The cluster's settings.
    pub options: &'a Options,
    /// A mistake to make, in tests.
    #[doc(hidden)]
    pub fault: Option<Fault>,
}

impl Encoder<'_> {
    fn wrong(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// The flow passes: each end that is a pod allows it (SEM-7.1).
    pub fn flow(&self, set: &PolicySet, flow: &FlowSymbols, t: &mut Terms) -> TermId {
        let egress = self.side(set, Direction::Egress, flow, t);
        let ingress = self.side(set, Direction::Ingress, flow, t);
        t.and([egress, ingress])
    }

    /// The subject's side of the flow is allowed, or the subject is no pod.
    pub fn side(&self, set: &PolicySet, direction: Direction, flow: &FlowSymbols, t: &mut Terms) -> TermId {
        let (subject, _) = flow.subject_and_peer(direction);
        let pod = subject.is(Kind::Pod, t);
        let allowed = self.answer(set, direction, flow, Aspect::Passes, t);
        let side = t.implies(pod, allowed);
        t.note(side, format!("{direction} is allowed, or the subject is no pod"));
        side
    }

    /// What the subject answers in one direction, if it is a pod.
    pub fn answer(
        &self,
        set: &PolicySet,
        direction: Direction,
        flow: &FlowSymbols,
        aspect: Aspect,
        t: &mut Terms,
    ) -> TermId {
        let passes = aspect == Aspect::Passes;
        if self.options.enforcement == EnforcementMode::Never {
            return t.constant(passes); // SEM-5.7
        }
        // From the last word to the first: each tier falls back on what comes after it (SEM-6.1).
        let mut answer = if passes { self.implicit(set, direction, flow, t) } else { t.constant(false) };
        for tier in [Tier::Baseline, Tier::Normal, Tier::Admin] {
            if tier == Tier::Baseline && self.wrong(Fault::NoBaseline) {
                continue;
            }
            let mut by_order: BTreeMap<(i32, u32), AtOrder> = BTreeMap::new();
            for rule in set.rules.iter().filter(|r| r.direction == direction && r.tier == tier) {
                let matches = self.rule(set, rule, direction, flow, t);
                if let Some(p) = set.policy(rule.policy) {
                    t.note(matches, format!("{} {direction} rule of {}", rule.action, p.object));
                }
                let at_order = by_order.entry(rule.order).or_default();
                match rule.action {
                    Action::Deny => at_order.deny.push(matches),
                    Action::Allow => at_order.allow.push(matches),
                    Action::Pass => at_order.pass.push(matches),
                }
                match rule.action {
                    Action::Allow if self.grants(rule, aspect) => at_order.allow_so.push(matches),
                    Action::Deny if aspect == Aspect::Logs && rule.log.is_some() => {
                        at_order.deny_so.push(matches);
                    }
                    _ => {}
                }
            }
            let after = answer;
            let orders: Vec<_> = if self.wrong(Fault::OrdersReversed) {
                by_order.into_values().collect()
            } else {
                by_order.into_values().rev().collect()
            };
            for at_order in orders {
                let (deny, allow, pass) = (t.or(at_order.deny), t.or(at_order.allow), t.or(at_order.pass));
                // SEM-6.4: a pass goes on after this tier, not to the tier's next order.
                let passed = if self.wrong(Fault::PassAllows) { t.constant(passes) } else { after };
                let rest = either(t, pass, passed, answer);
                // One of those that decide is enough to redirect, say (SEM-6.8).
                let (yes, no) = (t.or(at_order.allow_so), t.or(at_order.deny_so));
                // SEM-6.3: deny first, whatever the breadth.
                answer = if self.wrong(Fault::AllowBeatsDeny) {
                    let rest = either(t, deny, no, rest);
                    either(t, allow, yes, rest)
                } else {
                    let rest = either(t, allow, yes, rest);
                    either(t, deny, no, rest)
                };
            }
            if passes {
                t.note(answer, format!("{direction} from the tier {tier:?} on"));
            }
        }
        answer
    }

    /// A rule that allows gives the answer this aspect.
    fn grants(&self, rule: &Rule, aspect: Aspect) -> bool {
        match aspect {
            Aspect::Passes => true,
            Aspect::Redirects => rule.redirects() || self.wrong(Fault::EveryAllowRedirects),
            Aspect::Authenticates => rule
                .authentication
                .is_some_and(|a| a != AuthMode::Disabled || self.wrong(Fault::DisabledAuthenticates)),
            Aspect::Logs => rule.log.is_some(),
        }
    }

    /// What holds where no rule decides: allow-localhost, then default deny (SEM-5).
    fn implicit(&self, set: &PolicySet, direction: Direction, flow: &FlowSymbols, t: &mut Terms) -> TermId {
        let (subject, peer) = flow.subject_and_peer(direction);
        let always = t.constant(self.options.enforcement == EnforcementMode::Always);
        let mut locked = vec![always];
        for e in set.enforcements.iter().filter(|e| {
            e.default_deny && (e.direction == direction || self.wrong(Fault::DefaultDenyOfBothDirections))
        }) {
            locked.push(self.subject(set, e.subject, subject, t));
        }
        let locked = t.or(locked);
        t.note(locked, format!("{direction} is default-deny"));
        let open = t.not(locked);
        let localhost = direction == Direction::Ingress && self.options.allow_localhost;
        if localhost && !self.wrong(Fault::NoLocalhost) {
            let host = peer.is(Kind::Reserved(Reserved::Host), t);
            t.or([host, open])
        } else {
            open
        }
    }

    /// The rule takes part.
    fn rule(
        &self,
        set: &PolicySet,
        rule: &Rule,
        direction: Direction,
        flow: &FlowSymbols,
        t: &mut Terms,
    ) -> TermId {
        let (subject, peer) = flow.subject_and_peer(direction);
        let selected = self.subject(set, rule.subject, subject, t);
        let peers = match &rule.peers {
            Peers::All => t.constant(true), // SEM-6.6
            Peers::Of(ids) => {
                let all: Vec<TermId> = ids
                    .iter()
                    .filter_map(|id| set.peers.get(*id))
                    .map(|p| self.peer(set, p, peer, t))
                    .collect();
                t.or(all)
            }
        };
        let ports = self.ports(&rule.ports, flow, t);
        t.and([selected, peers, ports])
    }

    fn subject(&self, set: &PolicySet, subject: Subject, end: &End, t: &mut Terms) -> TermId {
        match subject {
            Subject::Endpoints(id) => match set.selectors.get(id) {
                Some(s) => self.selector(s, end, t),
                None => t.constant(false),
            },
            Subject::Host(_) => t.constant(false), // SEM-2.1: never a pod
        }
    }

    /// A pod's labels meet the selector.
    pub fn selector(&self, s: &Selector, end: &End, t: &mut Terms) -> TermId {
        let all: Vec<TermId> = s.requirements().iter().map(|r| self.requirement(r, end, t)).collect();
        let meets = t.and(all);
        t.note(meets, s.to_string());
        meets
    }

    /// A pod's labels meet one requirement (SEM-3.2). A requirement without a source looks at every
    /// source (SEM-3.1).
    pub fn requirement(&self, r: &Requirement, end: &End, t: &mut Terms) -> TermId {
        let negative = matches!(r.operator, Operator::NotIn | Operator::DoesNotExist);
        if r.source.as_deref() == Some(SOURCE_RESERVED) {
            return t.constant(negative); // no pod has a reserved label
        }
        let mut found = Vec::new();
        for (i, label) in self.words.labels_of(r.source.as_deref(), &r.key) {
            let Some(&v) = end.labels.get(i) else { continue };
            match r.operator {
                Operator::Exists | Operator::DoesNotExist => {
                    let absent = t.is(v, ABSENT);
                    found.push(t.not(absent));
                }
                Operator::In | Operator::NotIn => {
                    found.extend(r.values.iter().map(|value| t.is(v, label.code(value))));
                }
            }
            if r.operator == Operator::NotIn && self.wrong(Fault::NotInNeedsTheLabel) {
                found.push(t.is(v, ABSENT));
            }
        }
        let found = t.or(found);
        if negative { t.not(found) } else { found }
    }

    /// The peer term takes in this end.
    pub fn peer(&self, set: &PolicySet, term: &PeerTerm, end: &End, t: &mut Terms) -> TermId {
        match term {
            PeerTerm::Labels(id) => {
                let Some(s) = set.selectors.get(*id) else { return t.constant(false) };
                self.labelled(s, end, t)
            }
            PeerTerm::Entity(entity) => {
                let kinds = Kind::all().filter(|k| match k {
                    Kind::Pod => entity_has_pods(*entity),
                    Kind::Reserved(r) => entity_has_reserved(*entity, *r),
                    Kind::External(v6) => entity_has_external(*entity, *v6),
                });
                let all: Vec<TermId> = kinds.map(|k| end.is(k, t)).collect();
                t.or(all)
            }
            PeerTerm::Cidr { net, except } => {
                let inside = self.inside(net, end, t);
                let mut out = Vec::new();
                for e in except.iter().filter(|_| !self.wrong(Fault::NoExceptions)) {
                    let in_it = self.inside(e, end, t);
                    out.push(t.not(in_it));
                }
                out.push(inside);
                t.and(out)
            }
            PeerTerm::Fqdn(f) => {
                let external = [end.is(Kind::External(false), t), end.is(Kind::External(true), t)];
                let (external, named) = (t.or(external), self.named(f, end, t));
                t.and([external, named]) // SEM-4.6
            }
            PeerTerm::Nodes(_) => t.constant(false), // SEM-4.7: node selectors are off
        }
    }

    /// A selector as a peer: pods by their labels, all others by the labels of their identity.
    fn labelled(&self, s: &Selector, end: &End, t: &mut Terms) -> TermId {
        let pod = end.is(Kind::Pod, t);
        let meets = self.selector(s, end, t);
        let mut all = vec![t.and([pod, meets])];
        all.extend(
            RESERVED.into_iter().filter(|r| s.matches(&r.labels())).map(|r| end.is(Kind::Reserved(r), t)),
        );
        for (v6, world) in [(false, Reserved::WorldIpv4), (true, Reserved::WorldIpv6)] {
            if s.matches(&world.labels()) {
                all.push(end.is(Kind::External(v6), t));
            }
        }
        t.or(all)
    }

    /// A name that the DNS selector matches resolved to the end, if that is an address.
    pub fn named(&self, f: &Fqdn, end: &End, t: &mut Terms) -> TermId {
        let names = self.words.names.iter().zip(&end.names).filter(|(n, _)| f.matches(n));
        let named: Vec<TermId> = names.map(|(_, v)| t.flag(*v)).collect();
        t.or(named)
    }

    /// The end is an address outside the cluster in this prefix; never a pod (SEM-4.5).
    pub fn inside(&self, net: &IpNet, end: &End, t: &mut Terms) -> TermId {
        let bits = u32::from(net.prefix_len());
        let (kind, inside) = match net {
            IpNet::V4(n) => {
                (Kind::External(false), t.prefix(end.v4, u128::from(n.network().to_bits()), bits))
            }
            IpNet::V6(n) => (Kind::External(true), t.prefix(end.v6, n.network().to_bits(), bits)),
        };
        let mut kind = end.is(kind, t);
        if self.wrong(Fault::CidrsTakePods) {
            let pod = end.is(Kind::Pod, t);
            kind = t.or([kind, pod]);
        }
        t.and([kind, inside])
    }

    /// The ports take in the flow's port.
    pub fn ports(&self, ports: &Ports, flow: &FlowSymbols, t: &mut Terms) -> TermId {
        if self.wrong(Fault::PortsIgnored) {
            return t.constant(true);
        }
        let Ports::Of(terms) = ports else {
            if self.wrong(Fault::AllIsNotIcmp) {
                return t.between(flow.protocol, 0, 2);
            }
            return t.constant(true); // SEM-6.6
        };
        let mut all = Vec::new();
        for term in terms.iter() {
            all.push(match term {
                PortTerm::Range(l4, low, high) => {
                    let l4 = t.is(flow.protocol, l4_code(*l4));
                    let range = t.between(flow.number, u128::from(*low), u128::from(*high));
                    t.and([l4, range])
                }
                PortTerm::Named(l4, name) => {
                    // SEM-7.4: a port of the endpoint that receives the flow, if that is a pod.
                    let to = if self.wrong(Fault::NamedPortsOfTheSender) { &flow.from } else { &flow.to };
                    let known = self.words.ports.iter().zip(&to.ports);
                    let port = known.into_iter().find(|((p, n), _)| p == l4 && n == name).map(|(_, v)| *v);
                    let pod = to.is(Kind::Pod, t);
                    let l4 = t.is(flow.protocol, l4_code(*l4));
                    match port {
                        Some(v) => {
                            let same = t.same(v, flow.number);
                            t.and([pod, l4, same])
                        }
                        None => t.constant(false),
                    }
                }
                PortTerm::Icmp(v6, kind) => {
                    let icmp = t.is(flow.protocol, icmp_code(*v6));
                    let kind = match kind {
                        Some(n) => t.is(flow.number, u128::from(*n)),
                        None => t.constant(true),
                    };
                    t.and([icmp, kind])
                }
                PortTerm::Protocol(n) => {
                    let other = t.is(flow.protocol, OTHER_PROTOCOL);
                    let number = t.is(flow.number, u128::from(*n));
                    t.and([other, number])
                }
            });
        }
        t.or(all)
    }
}

/// Rules of one tier and order, by what they do; and those that give the answer the aspect asked for.
#[derive(Debug, Default)]
struct AtOrder {
    deny: Vec<TermId>,
    allow: Vec<TermId>,
    pass: Vec<TermId>,
    allow_so: Vec<TermId>,
    deny_so: Vec<TermId>,
}

/// If `a` then `yes` else `no`.
fn either(t: &mut Terms, a: TermId, yes: TermId, no: TermId) -> TermId {
    if yes == no {
        return yes;
    }
    let not_a = t.not(a);
    let (left, right) = (t.and([a, yes]), t.and([not_a, no]));
    t.or([left, right])
}
