//! What a policy set costs as Cilium's policy maps.
//!
//! Cilium gives each endpoint a policy map: an entry for each identity, direction, protocol and port prefix
//! that a rule of the endpoint takes in. This module lists and counts those entries, by the endpoint and by
//! the rule, as `pkg/policy` of Cilium 1.21-dev makes them; `docs/policy-maps.md` says what it follows and
//! what it leaves out. No verdict here or elsewhere comes from them.
//!
//! [`key`] splits ports into prefixes; [`table`] decides which entries stand beside each other. Endpoints that
//! the same rules select have equal maps, which are made once, and a map's identities are bit sets.

pub mod key;
pub mod table;

use crate::side::{Evaluation, slot};
use crate::universe::{NodeId, NodeKind};
use fixedbitset::FixedBitSet;
use key::PortKey;
use portcullis_ir::cluster::NamedPort;
use portcullis_ir::intern::Interner;
use portcullis_ir::peer::{Entity, PeerTerm};
use portcullis_ir::{
    AuthMode, Direction, EnforcementMode, IdentityId, L4, Peers, PolicySet, PortTerm, Ports, Reserved, Rule,
    RuleId, Tier,
};
use smol_str::SmolStr;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use table::{Precedence, Step, Strength, Table, Whom, Wish};

/// Entries that a policy map holds unless `bpf-policy-map-max` says otherwise.
pub const LIMIT: usize = 16_384;
/// Entries that a policy map can be made to hold.
pub const MAXIMUM: usize = 65_536;
/// Identities that an entry for every identity is written for: 0 and the aggregates 11 to 14.
pub const WILDCARDS: [u8; 5] = [0, 11, 12, 13, 14];

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// A wildcard's number, one of [`WILDCARDS`].
    Any(u8),
    /// The identity of a node.
    Of(NodeId),
}

/// One entry of a policy map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its direction.
    pub direction: Direction,
    /// Its protocol and port prefix.
    pub key: PortKey,
    /// Its identity.
    pub identity: Identity,
    /// What it weighs.
    pub precedence: Precedence,
    /// Rules that ask for it; none for an implicit entry.
    pub rules: Vec<RuleId>,
}

impl Entry {
    /// `deny`, `redirect` or `allow`.
    pub fn verdict(&self) -> &'static str {
        match self.precedence.last() {
            Some(Step::Rule(_, _, Strength::Deny) | Step::DefaultDeny) => "deny",
            Some(Step::Rule(_, _, Strength::Redirect)) => "redirect",
            _ => "allow",
        }
    }
}

/// Endpoints with equal maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Their groups, in order.
    pub groups: Vec<NodeId>,
    /// How many pods they are; each has a copy of the map.
    pub endpoints: u64,
    /// Entries of one copy.
    pub entries: usize,
}

/// What one rule adds to a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The rule.
    pub rule: RuleId,
    /// Entries it asks for.
    pub entries: usize,
    /// Those of them that no other rule asks for.
    pub alone: usize,
}

/// What makes one direction of a map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Plan {
    direction: Direction,
    rules: Vec<RuleId>,
    /// Nothing turned default deny on.
    open: bool,
    /// The endpoint's own named ports, where a rule asks for one.
    names: Vec<NamedPort>,
}

/// Identities by the number that they have under a name.
type Numbers = BTreeMap<u16, FixedBitSet>;

/// The policy maps of side 0 of an evaluation.
#[derive(Debug)]
pub struct PolicyMaps<'e, 'a> {
    e: &'e Evaluation<'a>,
    /// Nodes that stand for an identity of their own: groups with equal labels share one, and the rest of a
    /// family's addresses is its reserved world.
    identities: FixedBitSet,
    /// The node that stands for a group's identity.
    stands_for: Vec<usize>,
    plans: Interner<Plan>,
    /// Of each group, by direction.
    plan_of: Vec<[u32; 2]>,
    sizes: RefCell<HashMap<u32, usize>>,
    named: RefCell<HashMap<(L4, SmolStr), Rc<Numbers>>>,
}

impl<'e, 'a> PolicyMaps<'e, 'a> {
    /// Finds out which endpoints have equal maps.
    pub fn new(e: &'e Evaluation<'a>) -> Self {
        let mut identities = FixedBitSet::with_capacity(e.universe.len());
        let mut first: HashMap<IdentityId, usize> = HashMap::new();
        let mut stands_for = Vec::with_capacity(e.universe.groups);
        for (id, node) in e.universe.iter() {
            let counts = match node {
                NodeKind::Group(g) => {
                    let own = g.on.first().copied().flatten().map(|(identity, _)| identity);
                    let at = own.map(|i| *first.entry(i).or_insert(id.index()));
                    stands_for.push(at.unwrap_or(id.index()));
                    at == Some(id.index())
                }
                NodeKind::Reserved(_) | NodeKind::Name(_) => true,
                NodeKind::Region(r) => r.prefix.prefix_len() > 0,
                NodeKind::Address(..) => false,
            };
            identities.set(id.index(), counts);
        }
        let mut out = Self {
            e,
            identities,
            stands_for,
            plans: Interner::default(),
            plan_of: Vec::with_capacity(e.universe.groups),
            sizes: RefCell::default(),
            named: RefCell::default(),
        };
        for (id, _) in e.universe.groups() {
            let plans = Direction::BOTH.map(|d| out.plan(d, id));
            out.plan_of.push(plans.map(|p| out.plans.intern(p)));
        }
        out
    }

    fn plan(&self, d: Direction, group: NodeId) -> Plan {
        let side = self.e.sides.first();
        let rules = side.and_then(|s| s.rules_of.get(slot(d))?.get(group.index()));
        let never = side.is_some_and(|s| s.input.options.enforcement == EnforcementMode::Never);
        let rules = if never { Vec::new() } else { rules.cloned().unwrap_or_default() };
        let class = self.e.class(0, d, group).and_then(|c| self.e.classes.get(c));
        let asks = |r: &RuleId| {
            self.rule(*r).is_some_and(
                |r| matches!(&r.ports, Ports::Of(t) if t.iter().any(|t| matches!(t, PortTerm::Named(..)))),
            )
        };
        let named = d == Direction::Ingress && rules.iter().any(asks);
        Plan {
            direction: d,
            open: class.is_none_or(|c| c.fallback == crate::row::Fallback::Open),
            names: if named { self.e.named_ports(0, group).to_vec() } else { Vec::new() },
            rules,
        }
    }

    fn set(&self) -> Option<&'a PolicySet> {
        self.e.sides.first().map(|s| s.input.policies)
    }

    fn rule(&self, id: RuleId) -> Option<&'a Rule> {
        self.set().and_then(|s| s.rule(id))
    }

    /// How many entries an endpoint's map has.
    pub fn size(&self, group: NodeId) -> usize {
        let plans = self.plan_of.get(group.index()).copied().unwrap_or_default();
        plans.into_iter().map(|p| self.size_of(p)).sum()
    }

    fn size_of(&self, plan: u32) -> usize {
        if let Some(found) = self.sizes.borrow().get(&plan) {
            return *found;
        }
        let made = self.plans.get(plan).map_or(0, |p| count(&table::written(&self.wishes(p))));
        self.sizes.borrow_mut().insert(plan, made);
        made
    }

    /// Endpoints by their maps, those of `wanted` only: the largest map first, then in order of the endpoints.
    pub fn maps(&self, wanted: Option<&FixedBitSet>) -> Vec<Map> {
        let mut by_plans: HashMap<[u32; 2], usize> = HashMap::new();
        let mut out: Vec<Map> = Vec::new();
        for (id, group) in self.e.universe.groups() {
            if wanted.is_some_and(|w| !w.contains(id.index())) {
                continue;
            }
            let plans = self.plan_of.get(id.index()).copied().unwrap_or_default();
            let at = *by_plans.entry(plans).or_insert_with(|| {
                out.push(Map { groups: Vec::new(), endpoints: 0, entries: self.size(id) });
                out.len() - 1
            });
            if let Some(map) = out.get_mut(at) {
                map.groups.push(id);
                map.endpoints += u64::from(group.pods);
            }
        }
        out.sort_by_key(|m| std::cmp::Reverse(m.entries));
        out
    }

    /// Hands out each entry of an endpoint's map: ingress first, in order of keys, then of identities.
    pub fn each_entry<E>(
        &self,
        group: NodeId,
        mut take: impl FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        for plan in self.plan_of.get(group.index()).into_iter().flatten().filter_map(|p| self.plans.get(*p)) {
            let wishes = self.wishes(plan);
            let askers = by_place(&wishes);
            for (key, levels) in table::written(&wishes) {
                let mut here: Vec<(Identity, &Precedence)> = levels
                    .iter()
                    .flat_map(|(precedence, whom)| identities(whom).map(move |i| (i, precedence)))
                    .collect();
                here.sort_unstable();
                for (identity, precedence) in here {
                    let rules = askers.get(&(key, precedence)).into_iter().flatten();
                    take(Entry {
                        direction: plan.direction,
                        key,
                        identity,
                        precedence: precedence.clone(),
                        rules: rules
                            .filter(|(_, w)| asks_for(w, identity))
                            .filter_map(|(rule, _)| *rule)
                            .collect(),
                    })?;
                }
            }
        }
        Ok(())
    }

    /// What each rule adds to an endpoint's map; most entries first, then in order of the rules.
    pub fn shares(&self, group: NodeId) -> Vec<Share> {
        let mut out: BTreeMap<RuleId, Share> = BTreeMap::new();
        for plan in self.plan_of.get(group.index()).into_iter().flatten().filter_map(|p| self.plans.get(*p)) {
            let wishes = self.wishes(plan);
            let table = table::written(&wishes);
            for ((key, precedence), askers) in by_place(&wishes) {
                let Some(whom) = table.get(&key).and_then(|l| l.get(precedence)) else { continue };
                for (rule, wanted) in &askers {
                    let others = askers.iter().filter(|(other, _)| *other != rule).map(|(_, w)| w);
                    let Some(rule) = *rule else { continue };
                    let mut own = both(whom, wanted);
                    let share = out.entry(rule).or_insert(Share { rule, entries: 0, alone: 0 });
                    share.entries += entries_of(&own);
                    for other in others {
                        own.any &= !other.any;
                        own.ids.difference_with(&other.ids);
                    }
                    share.alone += entries_of(&own);
                }
            }
        }
        let mut all: Vec<Share> = out.into_values().filter(|s| s.entries > 0).collect();
        all.sort_by_key(|s| (std::cmp::Reverse(s.entries), s.rule));
        all
    }

    /// What the rules of one direction, and the implicit ones, would write.
    fn wishes(&self, plan: &Plan) -> Vec<Wish> {
        let mut out = Vec::new();
        let rules: Vec<(RuleId, &Rule)> =
            plan.rules.iter().filter_map(|id| self.rule(*id).map(|r| (*id, r))).collect();
        let broad = self.wildcards(&rules);
        for (id, rule) in &rules {
            self.wish(plan, *id, rule, &broad, &mut out);
        }
        let nobody = FixedBitSet::with_capacity(self.e.universe.len());
        let mut implicit = |step, any, ids| {
            let whom = Rc::new(Whom { any, ids });
            out.push(Wish { rule: None, key: PortKey::ANY, precedence: vec![step], whom });
        };
        implicit(if plan.open { Step::Open } else { Step::DefaultDeny }, true, nobody.clone());
        let localhost = self.e.sides.first().is_some_and(|s| s.input.options.allow_localhost);
        if let Some(host) = self.e.universe.reserved(Reserved::Host)
            && plan.direction == Direction::Ingress
            && localhost
        {
            let mut ids = nobody;
            ids.insert(host.index());
            implicit(Step::Localhost, false, ids);
        }
        table::resolve_passes(out)
    }

    /// Of the rules about every identity, the one that decides first at each port term.
    fn wildcards<'r>(&self, rules: &[(RuleId, &'r Rule)]) -> HashMap<(Tier, &'r PortTerm), Kind> {
        let mut out: HashMap<(Tier, &PortTerm), Kind> = HashMap::new();
        for (_, rule) in rules.iter().filter(|(_, r)| self.is_about_all(r)) {
            let Ports::Of(terms) = &rule.ports else { continue };
            for term in terms.iter() {
                let own = kind(rule);
                let slot = out.entry((rule.tier, term)).or_insert_with(|| own.clone());
                if own < *slot {
                    *slot = own;
                }
            }
        }
        out
    }

    fn wish(
        &self,
        plan: &Plan,
        id: RuleId,
        rule: &Rule,
        broad: &HashMap<(Tier, &PortTerm), Kind>,
        out: &mut Vec<Wish>,
    ) {
        let meaning = self.e.sides.first().and_then(|s| s.meaning_of.get(id.0 as usize).copied());
        let Some(peers) =
            meaning.and_then(|m| self.e.meanings.get(m)).and_then(|m| self.e.peer_sets.get(m.peers))
        else {
            return;
        };
        let any = self.is_about_all(rule);
        let mut listed = peers.clone();
        listed.intersect_with(&self.identities);
        let none = FixedBitSet::with_capacity(self.e.universe.len());
        let whom = Rc::new(if any { Whom { any, ids: none } } else { Whom { any, ids: listed.clone() } });
        let own = kind(rule);
        let mut add = |key, whom: &Rc<Whom>| {
            out.push(Wish { rule: Some(id), key, precedence: vec![own.step], whom: Rc::clone(whom) });
        };
        let Ports::Of(terms) = &rule.ports else { return add(PortKey::ANY, &whom) };
        for term in terms.iter() {
            // An entry for every identity at the same ports says the same already.
            if !any && starts_above_zero(term) && broad.get(&(rule.tier, term)) == Some(&own) {
                continue;
            }
            match (term, plan.direction) {
                (PortTerm::Named(l4, name), Direction::Ingress) => {
                    for (_, _, number) in plan.names.iter().filter(|(n, p, _)| n == name && p == l4) {
                        add(key::single(*l4, *number), &whom);
                    }
                }
                // SEM-7.4: a name is looked up at each peer, so there is no entry for every identity.
                (PortTerm::Named(l4, name), Direction::Egress) => {
                    for (number, who) in self.numbers(*l4, name).iter() {
                        let mut ids = who.clone();
                        ids.intersect_with(&listed);
                        add(key::single(*l4, *number), &Rc::new(Whom { any: false, ids }));
                    }
                }
                _ => key::keys(term).into_iter().for_each(|k| add(k, &whom)),
            }
        }
    }

    /// Whether a rule is written for every identity at once rather than for each.
    fn is_about_all(&self, rule: &Rule) -> bool {
        let Some(set) = self.set() else { return false };
        match &rule.peers {
            Peers::All => true,
            Peers::Of(ids) => ids.iter().filter_map(|t| set.peers.get(*t)).any(|t| match t {
                PeerTerm::Entity(e) => *e == Entity::All,
                PeerTerm::Labels(s) => set.selectors.get(*s).is_some_and(|s| s.requirements().is_empty()),
                _ => false,
            }),
        }
    }

    /// The identities that have a named port, by its number.
    fn numbers(&self, l4: L4, name: &SmolStr) -> Rc<Numbers> {
        let asked = (l4, name.clone());
        if let Some(found) = self.named.borrow().get(&asked) {
            return Rc::clone(found);
        }
        let mut made = Numbers::new();
        for (id, _) in self.e.universe.groups() {
            let own = self.e.named_ports(0, id).iter().filter(|(n, p, _)| n == name && *p == l4);
            for (_, _, number) in own {
                let at = self.stands_for.get(id.index()).copied().unwrap_or(id.index());
                made.entry(*number)
                    .or_insert_with(|| FixedBitSet::with_capacity(self.e.universe.len()))
                    .insert(at);
            }
        }
        let made = Rc::new(made);
        self.named.borrow_mut().insert(asked, Rc::clone(&made));
        made
    }
}

/// What an entry says beyond whom and which ports it is about. Lower decides first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    step: Step,
    authentication: Option<String>,
    listener: Option<SmolStr>,
}

fn kind(rule: &Rule) -> Kind {
    let (tier, order, action) = rule.precedence();
    Kind {
        step: Step::Rule(tier, order, table::strength(action, rule.redirects())),
        authentication: rule.authentication.map(|a: AuthMode| format!("{a:?}")),
        listener: rule.l7.as_ref().and_then(|l| l.listener.clone()),
    }
}

/// Cilium folds entries into the wildcard's only where the port is not 0, which stands for every port.
fn starts_above_zero(term: &PortTerm) -> bool {
    match term {
        PortTerm::Range(_, low, _) => *low > 0,
        PortTerm::Named(..) => true,
        PortTerm::Icmp(_, of) => of.is_some_and(|t| t > 0),
        PortTerm::Protocol(_) => false,
    }
}

/// Who asks for entries, by key and precedence: each rule once.
type ByPlace<'w> = BTreeMap<(PortKey, &'w Precedence), BTreeMap<Option<RuleId>, Whom>>;

fn by_place(wishes: &[Wish]) -> ByPlace<'_> {
    let mut out = ByPlace::new();
    for w in wishes {
        out.entry((w.key, &w.precedence)).or_default().entry(w.rule).or_default().add(&w.whom);
    }
    out
}

fn asks_for(whom: &Whom, identity: Identity) -> bool {
    match identity {
        Identity::Any(_) => whom.any,
        Identity::Of(id) => whom.ids.contains(id.index()),
    }
}

fn both(a: &Whom, b: &Whom) -> Whom {
    let mut ids = a.ids.clone();
    ids.intersect_with(&b.ids);
    Whom { any: a.any && b.any, ids }
}

fn entries_of(whom: &Whom) -> usize {
    whom.ids.count_ones(..) + if whom.any { WILDCARDS.len() } else { 0 }
}

fn count(table: &Table) -> usize {
    table.values().flat_map(BTreeMap::values).map(entries_of).sum()
}

fn identities(whom: &Whom) -> impl Iterator<Item = Identity> {
    let any = WILDCARDS.into_iter().filter(|_| whom.any).map(Identity::Any);
    any.chain(whom.ids.ones().map(|n| Identity::Of(NodeId(u32::try_from(n).unwrap_or(u32::MAX)))))
}
