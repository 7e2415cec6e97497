//! The vocabulary: what the policies can tell apart, and one end of a flow in those words.
//!
//! A label is one of the values that a selector mentions, any other value, or absent. What no
//! selector mentions cannot change a verdict, so nothing is lost by leaving it out.

use crate::term::{TermId, Terms, VarId};
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::label::{NAMESPACE_LABELS, POD_NAMESPACE, SOURCE_K8S, SOURCE_RESERVED};
use portcullis_ir::{Direction, L4, PeerTerm, PolicySet, PortTerm, Ports, Requirement, Reserved};
use smol_str::{SmolStr, format_smolstr};
use std::collections::{BTreeMap, BTreeSet};

/// A label's code where the pod does not have it.
pub const ABSENT: u128 = 0;
/// A label's code where it has a value that nothing mentions.
pub const OTHER: u128 = 1;
/// The code of the first value that is mentioned.
const FIRST: u128 = 2;
/// A named port's number where the pod has no port of that name; one above the highest number.
pub const NO_PORT: u128 = 1 << 16;

/// Reserved identities that are an end of a flow; addresses outside the cluster are ends of their
/// own, so the identities that stand for them are not among these.
pub const RESERVED: [Reserved; 7] = [
    Reserved::Host,
    Reserved::Unmanaged,
    Reserved::Health,
    Reserved::Init,
    Reserved::RemoteNode,
    Reserved::KubeApiserver,
    Reserved::Ingress,
];

/// What kind of end it is, as its `kind` variable says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pod.
    Pod,
    /// One of [`RESERVED`].
    Reserved(Reserved),
    /// An IPv4 or (true) IPv6 address outside the cluster.
    External(bool),
}

impl Kind {
    /// Every kind in order of its code.
    pub fn all() -> impl Iterator<Item = Self> {
        let external = [Self::External(false), Self::External(true)];
        std::iter::once(Self::Pod).chain(RESERVED.map(Self::Reserved)).chain(external)
    }

    /// Its code.
    pub fn code(self) -> u128 {
        Self::all().zip(0..).find(|(k, _)| *k == self).map_or(0, |(_, n)| n)
    }

    /// The kind of a code.
    pub fn of(code: u128) -> Option<Self> {
        Self::all().zip(0..).find(|(_, n)| *n == code).map(|(k, _)| k)
    }
}

/// A protocol's code in the `protocol` variable.
pub const fn l4_code(l4: L4) -> u128 {
    match l4 {
        L4::Tcp => 0,
        L4::Udp => 1,
        L4::Sctp => 2,
    }
}

/// The code of ICMP; true is IPv6.
pub const fn icmp_code(v6: bool) -> u128 {
    if v6 { 4 } else { 3 }
}

/// The code of every other IP protocol; its number is in the `number` variable.
pub const OTHER_PROTOCOL: u128 = 5;

/// One label key of one source, and the values that are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSymbol {
    /// The source.
    pub source: SmolStr,
    /// The key without its source.
    pub key: SmolStr,
    /// The values that are mentioned, sorted.
    pub values: Vec<SmolStr>,
}

impl LabelSymbol {
    /// The code of a value.
    pub fn code(&self, value: &str) -> u128 {
        self.values.binary_search_by(|v| v.as_str().cmp(value)).map_or(OTHER, |i| i as u128 + FIRST)
    }

    /// The mentioned value of a code.
    pub fn value(&self, code: u128) -> Option<&SmolStr> {
        code.checked_sub(FIRST).and_then(|i| usize::try_from(i).ok()).and_then(|i| self.values.get(i))
    }

    /// The highest code.
    pub fn top(&self) -> u128 {
        self.values.len() as u128 + OTHER
    }

    /// A value that is not mentioned.
    pub fn other(&self) -> SmolStr {
        let mut value = SmolStr::new_static("other");
        while self.values.contains(&value) {
            value = format_smolstr!("{value}-x");
        }
        value
    }

    fn width(&self) -> u32 {
        u128::BITS - self.top().leading_zeros()
    }
}

/// A namespace's own name stands on its pods twice; both are one label here.
pub fn canonical(source: &str, key: &str) -> SmolStr {
    let of_namespace = key.strip_prefix(NAMESPACE_LABELS).and_then(|k| k.strip_prefix('.'));
    if source == SOURCE_K8S && of_namespace == Some("kubernetes.io/metadata.name") {
        POD_NAMESPACE.into()
    } else {
        key.into()
    }
}

/// Everything that is told apart.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Labels in order of key and source.
    pub labels: Vec<LabelSymbol>,
    /// One name for each DNS name selector, which stands for all names that it selects.
    pub names: Vec<SmolStr>,
    /// Which of the names stands for each DNS name selector.
    pub stand_ins: BTreeMap<Fqdn, SmolStr>,
    /// Named ports that rules speak of.
    pub ports: Vec<(L4, SmolStr)>,
    /// First addresses of the prefixes that rules speak of, for readable examples.
    pub nets: BTreeSet<ipnet::IpNet>,
    /// Port numbers that rules speak of, likewise.
    pub numbers: BTreeSet<(u128, u16)>,
}

impl Vocabulary {
    /// What the policy sets, further requirements and further DNS selectors tell apart.
    pub fn new<'a>(
        sets: &[&'a PolicySet],
        more: impl IntoIterator<Item = &'a Requirement>,
        more_names: impl IntoIterator<Item = &'a Fqdn>,
    ) -> Self {
        let mut all: Vec<&Requirement> = sets
            .iter()
            .flat_map(|s| s.selectors.iter())
            .flat_map(portcullis_ir::Selector::requirements)
            .collect();
        all.extend(more);
        let mut fqdns: BTreeSet<&Fqdn> = more_names.into_iter().collect();
        let mut out = Self { labels: labels(&all), ..Self::default() };
        let mut ports: BTreeSet<(L4, SmolStr)> = BTreeSet::new();
        for set in sets {
            for term in set.peers.iter() {
                match term {
                    PeerTerm::Fqdn(f) => {
                        fqdns.insert(f);
                    }
                    PeerTerm::Cidr { net, except } => {
                        out.nets.insert(*net);
                        out.nets.extend(except.iter().copied());
                    }
                    PeerTerm::Labels(_) | PeerTerm::Entity(_) | PeerTerm::Nodes(_) => {}
                }
            }
            for rule in &set.rules {
                let Ports::Of(terms) = &rule.ports else { continue };
                for t in terms.iter() {
                    match t {
                        PortTerm::Range(l4, low, high) => {
                            out.numbers.extend([(l4_code(*l4), *low), (l4_code(*l4), *high)]);
                        }
                        PortTerm::Named(l4, name) => {
                            ports.insert((*l4, name.clone()));
                        }
                        PortTerm::Icmp(..) | PortTerm::Protocol(_) => {}
                    }
                }
            }
        }
        out.ports = ports.into_iter().collect();
        out.stand_ins = instances(&fqdns);
        out.names = out.stand_ins.values().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        out
    }

    /// The labels of a key that a requirement of that source looks at.
    pub fn labels_of<'a>(
        &'a self,
        source: Option<&'a str>,
        key: &'a str,
    ) -> impl Iterator<Item = (usize, &'a LabelSymbol)> {
        self.labels
            .iter()
            .enumerate()
            .filter(move |(_, l)| source.is_none_or(|s| s == l.source) && canonical(&l.source, key) == l.key)
    }
}

fn labels(all: &[&Requirement]) -> Vec<LabelSymbol> {
    let mut found: BTreeMap<(SmolStr, SmolStr), BTreeSet<SmolStr>> = BTreeMap::new();
    let namespace = (SmolStr::new_static(POD_NAMESPACE), SmolStr::new_static(SOURCE_K8S));
    found.insert(namespace, BTreeSet::new());
    let asked = || all.iter().filter(|r| r.source.as_deref() != Some(SOURCE_RESERVED));
    for r in asked() {
        let source = r.source.clone().unwrap_or(SmolStr::new_static(SOURCE_K8S));
        found.entry((canonical(&source, &r.key), source)).or_default();
    }
    for r in asked() {
        for ((key, source), values) in &mut found {
            if r.source.as_ref().is_none_or(|s| s == source) && canonical(source, &r.key) == *key {
                values.extend(r.values.iter().cloned());
            }
        }
    }
    found
        .into_iter()
        .map(|((key, source), values)| LabelSymbol { source, key, values: values.into_iter().collect() })
        .collect()
}

/// For each selector the name it takes in that the fewest others do: where it has a star, a
/// character that no selector has, and for a leading `**.` more labels than any selector names. An
/// address may have several names, so these are enough to match any set of selectors that can be
/// matched (docs/proofs.md).
fn instances(fqdns: &BTreeSet<&Fqdn>) -> BTreeMap<Fqdn, SmolStr> {
    let used: BTreeSet<char> = fqdns.iter().flat_map(|f| f.as_str().chars()).collect();
    let fresh = ('a'..='z').rev().chain('0'..='9').find(|c| !used.contains(c)).unwrap_or('z');
    let label = fresh.to_string();
    let most = fqdns.iter().map(|f| f.as_str().split('.').count()).max().unwrap_or(0);
    let deep = vec![label.as_str(); most + 1].join(".");
    let instance = |f: &Fqdn| match f {
        Fqdn::Name(n) => n.clone(),
        Fqdn::Pattern(p) if p == "*" => deep.as_str().into(),
        Fqdn::Pattern(p) => match p.strip_prefix("**.") {
            Some(rest) => format_smolstr!("{deep}.{}", rest.replace('*', &label)),
            None => p.replace('*', &label).into(),
        },
    };
    fqdns.iter().map(|f| ((*f).clone(), instance(f))).collect()
}

/// One end of a flow.
#[derive(Clone, Debug)]
pub struct End {
    /// Its [`Kind`].
    pub kind: VarId,
    /// Codes of [`Vocabulary::labels`], where it is a pod.
    pub labels: Vec<VarId>,
    /// Where it is an IPv4 address.
    pub v4: VarId,
    /// Where it is an IPv6 address.
    pub v6: VarId,
    /// Which of [`Vocabulary::names`] resolved to it, where it is an address.
    pub names: Vec<VarId>,
    /// The numbers of [`Vocabulary::ports`], where it is a pod.
    pub ports: Vec<VarId>,
}

impl End {
    fn new(name: &str, words: &Vocabulary, terms: &mut Terms) -> Self {
        Self {
            kind: terms.var(&format!("{name} kind"), 4),
            labels: words
                .labels
                .iter()
                .map(|l| terms.var(&format!("{name} {}:{}", l.source, l.key), l.width()))
                .collect(),
            v4: terms.var(&format!("{name} IPv4"), 32),
            v6: terms.var(&format!("{name} IPv6"), 128),
            names: words.names.iter().map(|n| terms.var(&format!("{name} is {n}"), 0)).collect(),
            ports: words
                .ports
                .iter()
                .map(|(l4, n)| terms.var(&format!("{name} port {n}/{}", l4.name()), 17))
                .collect(),
        }
    }

    /// It is of that kind.
    pub fn is(&self, kind: Kind, terms: &mut Terms) -> TermId {
        terms.is(self.kind, kind.code())
    }
}

/// A flow between two ends.
#[derive(Clone, Debug)]
pub struct FlowSymbols {
    /// Who sends.
    pub from: End,
    /// Who receives.
    pub to: End,
    /// The protocol: [`l4_code`], [`icmp_code`] or [`OTHER_PROTOCOL`].
    pub protocol: VarId,
    /// The port, the ICMP type or the protocol's number; as wide as a named port.
    pub number: VarId,
}

impl FlowSymbols {
    /// Variables for a flow.
    pub fn new(words: &Vocabulary, terms: &mut Terms) -> Self {
        Self {
            from: End::new("from", words, terms),
            to: End::new("to", words, terms),
            protocol: terms.var("protocol", 3),
            number: terms.var("number", 17),
        }
    }

    /// The end whose policy is asked, and the other one.
    pub const fn subject_and_peer(&self, direction: Direction) -> (&End, &End) {
        match direction {
            Direction::Egress => (&self.from, &self.to),
            Direction::Ingress => (&self.to, &self.from),
        }
    }

    /// Both ends.
    pub fn ends(&self) -> [&End; 2] {
        [&self.from, &self.to]
    }
}
