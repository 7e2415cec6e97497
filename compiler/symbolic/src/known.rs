//! Which pods that could exist are, to every rule, like a pod that is known.
//!
//! As a subject a pod is known to a rule by whether the rule selects it, and by its own named ports where
//! an ingress rule that selects it asks for a port by name (SEM-7.4). As a peer it is known by the peer
//! selectors that it meets, and by its named ports where an egress rule that takes it in asks for one. Two
//! pods alike in this are one to the policies, whatever else their labels say; so a pod that is like a known
//! one has that one's class, and needs no new table.

use crate::encode::Encoder;
use crate::symbols::{End, Kind, NO_PORT, Vocabulary};
use crate::table::{Identity, Standing, Table};
use crate::term::{TermId, Terms};
use ipnet::IpNet;
use portcullis_ir::cluster::NamedPort;
use portcullis_ir::label::SOURCE_RESERVED;
use portcullis_ir::peer::entity_has_pods;
use portcullis_ir::{
    Direction, LabelSet, PeerTerm, Peers, PolicySet, PortTerm, Ports, Reserved, Rule, Subject,
};
use std::collections::{BTreeMap, BTreeSet};

/// What part a pod takes in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Its own policy is asked, in this direction.
    Subject(Direction),
    /// It is the other end.
    Peer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] =
        [Self::Subject(Direction::Ingress), Self::Subject(Direction::Egress), Self::Peer];
}

/// What the rules can tell of a pod in a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Likeness {
    /// Selectors that are asked in this role, and whether it meets them.
    selectors: Vec<(u32, bool)>,
    /// Named ports that are asked for, by their places in the vocabulary, and their numbers.
    ports: Vec<(usize, u128)>,
}

/// Tells pods by what rules can tell of them.
#[derive(Debug)]
pub struct Knowing<'a> {
    set: &'a PolicySet,
    /// By role: the selectors that are asked.
    asked: [Vec<u32>; 3],
    /// Rules that ask for a port by name.
    naming: Vec<&'a Rule>,
}

impl<'a> Knowing<'a> {
    /// Sees which selectors a policy set asks of pods.
    pub fn new(set: &'a PolicySet) -> Self {
        let asked = Role::ALL.map(|role| {
            let ids: BTreeSet<u32> = match role {
                Role::Subject(d) => {
                    let rules = set.rules.iter().filter(|r| r.direction == d).map(|r| r.subject);
                    let enforced = set.enforcements.iter().filter(|e| e.direction == d).map(|e| e.subject);
                    let pods = |s| match s {
                        Subject::Endpoints(id) => Some(id),
                        Subject::Host(_) => None, // SEM-2.1
                    };
                    rules.chain(enforced).filter_map(pods).collect()
                }
                Role::Peer => {
                    let labels = |p: &PeerTerm| match p {
                        PeerTerm::Labels(id) => Some(*id),
                        _ => None,
                    };
                    set.peers.iter().filter_map(labels).collect()
                }
            };
            ids.into_iter().collect()
        });
        let by_name = |r: &&Rule| match &r.ports {
            Ports::All => false,
            Ports::Of(terms) => terms.iter().any(|t| matches!(t, PortTerm::Named(..))),
        };
        Self { set, asked, naming: set.rules.iter().filter(by_name).collect() }
    }

    /// The selectors that are asked of a pod in a role.
    pub fn selectors(&self, role: Role) -> &[u32] {
        let at = Role::ALL.iter().position(|r| *r == role);
        at.and_then(|at| self.asked.get(at)).map_or(&[], Vec::as_slice)
    }

    /// What the rules can tell of a pod; `None` for one with reserved labels, which is no pod here, or with
    /// two numbers for a port that is asked for.
    pub fn likeness(
        &self,
        words: &Vocabulary,
        role: Role,
        labels: &LabelSet,
        ports: &[NamedPort],
    ) -> Option<Likeness> {
        if labels.iter().any(|l| l.source == SOURCE_RESERVED) {
            return None;
        }
        let meets = |id: u32| self.set.selectors.get(id).is_some_and(|s| s.matches(labels));
        let selectors: Vec<(u32, bool)> = self.selectors(role).iter().map(|id| (*id, meets(*id))).collect();
        let mut numbers = Vec::new();
        for (at, (l4, name)) in words.ports.iter().enumerate() {
            if !self.naming.iter().any(|r| names(&r.ports, *l4, name) && self.concerns(r, role, &meets)) {
                continue;
            }
            let mut found = ports.iter().filter(|(n, p, _)| n == name && p == l4).map(|p| p.2);
            let first = found.next();
            if found.any(|n| Some(n) != first) {
                return None;
            }
            numbers.push((at, first.map_or(NO_PORT, u128::from)));
        }
        Some(Likeness { selectors, ports: numbers })
    }

    /// Whether a rule looks at the named ports of a pod that meets these selectors.
    fn concerns(&self, r: &Rule, role: Role, meets: &dyn Fn(u32) -> bool) -> bool {
        match role {
            Role::Subject(Direction::Egress) => false,
            Role::Subject(Direction::Ingress) => {
                r.direction == Direction::Ingress && matches!(r.subject, Subject::Endpoints(id) if meets(id))
            }
            Role::Peer => {
                let takes_in = |term: &PeerTerm| match term {
                    PeerTerm::Labels(id) => meets(*id),
                    PeerTerm::Entity(e) => entity_has_pods(*e),
                    PeerTerm::Cidr { .. } | PeerTerm::Fqdn(_) | PeerTerm::Nodes(_) => false,
                };
                r.direction == Direction::Egress
                    && match &r.peers {
                        Peers::All => true,
                        Peers::Of(ids) => ids.iter().filter_map(|id| self.set.peers.get(*id)).any(takes_in),
                    }
            }
        }
    }

    /// An end is a pod of this likeness.
    fn is_like(&self, l: &Likeness, end: &End, e: &Encoder<'_>, t: &mut Terms) -> TermId {
        let mut all = vec![end.is(Kind::Pod, t)];
        for (id, meets) in &l.selectors {
            let Some(s) = self.set.selectors.get(*id) else { continue };
            let met = e.selector(s, end, t);
            all.push(if *meets { met } else { t.not(met) });
        }
        for (at, number) in &l.ports {
            all.extend(end.ports.get(*at).map(|v| t.is(*v, *number)));
        }
        t.and(all)
    }

    /// An end meets exactly those selectors of any role that a pod with these labels meets.
    pub(crate) fn meets_the_same(
        &self,
        labels: &LabelSet,
        end: &End,
        e: &Encoder<'_>,
        t: &mut Terms,
    ) -> TermId {
        let ids: BTreeSet<u32> = self.asked.iter().flatten().copied().collect();
        let mut all = Vec::new();
        for s in ids.into_iter().filter_map(|id| self.set.selectors.get(id)) {
            let met = e.selector(s, end, t);
            all.push(if s.matches(labels) { met } else { t.not(met) });
        }
        t.and(all)
    }
}

fn names(ports: &Ports, l4: portcullis_ir::L4, name: &str) -> bool {
    match ports {
        Ports::All => false,
        Ports::Of(terms) => terms.iter().any(|t| matches!(t, PortTerm::Named(p, n) if *p == l4 && n == name)),
    }
}

/// By class of a table: an end is one of those that the class was made for.
pub(crate) type Classes = BTreeMap<usize, TermId>;

/// Writes which ends each class of a table is for.
pub(crate) struct Places<'p> {
    pub(crate) table: &'p Table,
    pub(crate) knowing: &'p Knowing<'p>,
}

impl Places<'_> {
    /// The classes of one role, each with the ends that are in it. An end may be in several: then all of
    /// them have to answer right.
    pub(crate) fn of(&self, role: Role, end: &End, e: &Encoder<'_>, t: &mut Terms) -> Classes {
        let mut like: BTreeSet<(Likeness, usize)> = BTreeSet::new();
        let mut all: BTreeMap<usize, Vec<TermId>> = BTreeMap::new();
        for i in &self.table.identities {
            let Some(class) = class(i, role) else { continue };
            if let Standing::Pods(labels, ports) = &i.standing {
                // Most identities are like another.
                let Some(likeness) = self.knowing.likeness(e.words, role, labels, ports) else { continue };
                if like.insert((likeness.clone(), class)) {
                    let is = self.knowing.is_like(&likeness, end, e, t);
                    all.entry(class).or_default().push(is);
                }
            } else if role == Role::Peer {
                all.entry(class).or_default().push(self.stands(&i.standing, end, e, t));
            }
        }
        all.into_iter().map(|(class, ends)| (class, t.or(ends))).collect()
    }

    fn stands(&self, who: &Standing, end: &End, e: &Encoder<'_>, t: &mut Terms) -> TermId {
        match who {
            Standing::Pods(..) => t.constant(false),
            Standing::Reserved(r) => match r {
                // An address of which no policy speaks.
                Reserved::WorldIpv4 => self.addresses(&whole(false), end, e, t),
                Reserved::WorldIpv6 => self.addresses(&whole(true), end, e, t),
                Reserved::World => t.constant(false), // no end of a flow
                r => end.is(Kind::Reserved(*r), t),
            },
            Standing::Addresses(net) => self.addresses(net, end, e, t),
            Standing::Names(selectors) => {
                let mut all = vec![end.is(Kind::External(false), t)];
                all.push(self.beyond(&whole(false), end, e, t));
                for f in e.words.stand_ins.keys() {
                    let meets = e.named(f, end, t);
                    all.push(if selectors.contains(f) { meets } else { t.not(meets) });
                }
                t.and(all)
            }
        }
    }

    /// An address without a name in a prefix and in none of the longer ones.
    fn addresses(&self, net: &IpNet, end: &End, e: &Encoder<'_>, t: &mut Terms) -> TermId {
        let mut all = vec![e.inside(net, end, t), self.beyond(net, end, e, t)];
        for v in &end.names {
            let named = t.flag(*v);
            all.push(t.not(named));
        }
        t.and(all)
    }

    /// An end is in no prefix of the table that is inside this one.
    fn beyond(&self, net: &IpNet, end: &End, e: &Encoder<'_>, t: &mut Terms) -> TermId {
        let longer = self.table.identities.iter().filter_map(|i| match &i.standing {
            Standing::Addresses(n) if n != net && net.contains(n) => Some(*n),
            _ => None,
        });
        let mut all = Vec::new();
        for n in longer {
            let inside = e.inside(&n, end, t);
            all.push(t.not(inside));
        }
        t.and(all)
    }
}

fn class(i: &Identity, role: Role) -> Option<usize> {
    match role {
        Role::Peer => Some(i.peer),
        Role::Subject(Direction::Ingress) => i.subject[0],
        Role::Subject(Direction::Egress) => i.subject[1],
    }
}

fn whole(v6: bool) -> IpNet {
    if v6 { IpNet::V6(ipnet::Ipv6Net::default()) } else { IpNet::V4(ipnet::Ipv4Net::default()) }
}
