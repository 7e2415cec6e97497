//! An image in the words of the symbolic encoding, read from its bytes.

use crate::{VerifyError, same_cluster};
use fixedbitset::FixedBitSet;
use portcullis_abi::{COORDINATES, word};
use portcullis_ir::{Cluster, Direction, FlowPort};
use portcullis_sema::ports::flow_port;
use portcullis_sema::universe::{Group, NodeKind, Universe};
use portcullis_symbolic::{Identity, Says, Standing, Stretch, Table};
use portcullis_tables::{Image, ImageError, Word};
use rustc_hash::FxHashMap;
use std::hash::Hash;

/// Reads every class, row and stretch of an image. What an image made for some endpoints alone (`wanted`)
/// leaves out is left out; any other answer that cannot be read is one that the table does not give.
pub fn table(
    bytes: &[u8],
    cluster: &Cluster,
    universe: &Universe,
    wanted: Option<&FixedBitSet>,
) -> Result<Table, VerifyError> {
    let image = Image::parse(bytes)?;
    same_cluster(&image, universe)?;
    let mut subjects: Numbers<Result<usize, ImageError>> = Numbers::default();
    let mut peers: Numbers<Result<usize, ImageError>> = Numbers::default();
    let mut out = Table::default();
    for (id, node) in universe.iter() {
        let Some(standing) = standing(node, cluster) else { continue };
        let left_out = wanted.is_some_and(|w| !w.contains(id.index()));
        let mut subject = [None, None];
        if let NodeKind::Group(_) = node {
            subject = Direction::BOTH.map(|d| match image.subject(id.0, d) {
                Err(ImageError::NoSubject) if left_out => None,
                found => Some(subjects.of(found)),
            });
        }
        out.identities.push(Identity { standing, peer: peers.of(image.peer_class(id.0)), subject });
    }
    let mut rows: Numbers<usize> = Numbers::default();
    out.peers = peers.list.len();
    for subject in &subjects.list {
        let row =
            |peer: &Result<usize, ImageError>| image.row(subject.clone().ok()?, peer.clone().ok()?).ok();
        out.subjects.push(peers.list.iter().map(|p| row(p).map(|r| rows.of(r))).collect());
    }
    let atoms = atoms(&image);
    out.rows = rows.list.iter().map(|row| stretches(&image, *row, &atoms)).collect();
    Ok(out)
}

fn standing(node: &NodeKind, cluster: &Cluster) -> Option<Standing> {
    Some(match node {
        NodeKind::Group(g) => pods(g, cluster)?,
        NodeKind::Reserved(r) => Standing::Reserved(*r),
        NodeKind::Region(r) => Standing::Addresses(r.prefix),
        NodeKind::Name(n) => Standing::Names(n.selectors.clone()),
        NodeKind::Address(..) => return None, // one that a caller asked for
    })
}

fn pods(g: &Group, cluster: &Cluster) -> Option<Standing> {
    let (identity, ports) = g.on.first().copied().flatten()?;
    let ports = cluster.port_tables.get(ports.0).cloned().unwrap_or_default();
    Some(Standing::Pods(cluster.labels(identity)?.clone(), ports))
}

/// Runs of coordinates of one protocol with one atom: the first, the last, and the atom.
fn atoms(image: &Image<'_>) -> Vec<(u32, u32, Result<usize, ImageError>)> {
    let mut out: Vec<(u32, u32, Result<usize, ImageError>)> = Vec::new();
    for at in 0..COORDINATES {
        let atom = image.atom(at);
        match out.last_mut() {
            Some((_, last, same)) if *same == atom && one_protocol(*last, at) => *last = at,
            _ => out.push((at, at, atom)),
        }
    }
    out
}

fn one_protocol(a: u32, b: u32) -> bool {
    match (flow_port(a), flow_port(b)) {
        (FlowPort::L4(a, _), FlowPort::L4(b, _)) => a == b,
        (FlowPort::Icmp(a, _), FlowPort::Icmp(b, _)) => a == b,
        (FlowPort::Protocol(_), FlowPort::Protocol(_)) => true,
        _ => false,
    }
}

fn stretches(image: &Image<'_>, row: usize, atoms: &[(u32, u32, Result<usize, ImageError>)]) -> Vec<Stretch> {
    let mut out: Vec<Stretch> = Vec::new();
    let mut before: Option<u32> = None;
    for (low, high, atom) in atoms {
        let says = atom.clone().and_then(|atom| image.word(row, atom)).ok().and_then(says);
        match out.last_mut() {
            Some(last) if last.says == says && before.is_some_and(|b| one_protocol(b, *low)) => {
                last.high = flow_port(*high);
            }
            _ => out.push(Stretch { low: flow_port(*low), high: flow_port(*high), says }),
        }
        before = Some(*high);
    }
    out
}

/// What a verdict word says; `None` for one with a bit that no policy sets.
pub fn says(word: Word) -> Option<Says> {
    let known = word::ALLOW | word::REDIRECT | word::AUTHENTICATE | word::LOG;
    let bits = word.0 & ((1 << word::CAUSE_SHIFT) - 1);
    (bits & !known == 0).then(|| Says {
        passes: word.allows(),
        redirects: word.redirects(),
        authenticates: word.authenticates(),
        logs: word.logs(),
    })
}

/// Numbers in order of first use.
struct Numbers<T> {
    index: FxHashMap<T, usize>,
    list: Vec<T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { index: FxHashMap::default(), list: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    fn of(&mut self, value: T) -> usize {
        let next = self.list.len();
        let list = &mut self.list;
        *self.index.entry(value).or_insert_with_key(|value| {
            list.push(value.clone());
            next
        })
    }
}
