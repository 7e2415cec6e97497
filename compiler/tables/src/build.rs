//! Cells to bytes.

use crate::atoms::Atoms;
use crate::audit::Audit;
use crate::cause::Cause;
use crate::classes::Classes;
use crate::memo::{Known, Lines, Memo, Pairs};
use crate::pages::{Cut, Full, Pages, set};
use crate::rows::Places;
use crate::source;
use crate::writer::{Writer, to_u32, words16, words32};
use fixedbitset::FixedBitSet;
use portcullis_abi::{self as abi, Section, header, word};
use portcullis_ir::intern::Interner;
use portcullis_ir::{PolicySet, RuleId};
use portcullis_sema::cells::Cells;
use portcullis_sema::side::Evaluation;
use rustc_hash::FxHashMap;

/// Why no image was made. Each names the table that outgrew what its indices can name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A table needs more entries than a 16-bit index can name.
    #[error("the image needs {needed} {table}, and can name {limit}")]
    TooMany {
        /// Which table.
        table: &'static str,
        /// How many entries it needs (at least).
        needed: usize,
        /// How many there can be.
        limit: usize,
    },
}

/// An image and what it was made of.
#[derive(Clone, Debug)]
pub struct Built {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Causes by number.
    pub causes: Interner<Cause>,
    /// The classes.
    pub classes: Classes,
    /// The port atoms.
    pub atoms: Atoms,
}

/// Compiles side 0 of an evaluation. `wanted` endpoint groups only, all if not given; `name` says a
/// cause in one line, for the section that people read.
pub fn build(
    e: &Evaluation<'_>,
    wanted: Option<&FixedBitSet>,
    name: &dyn Fn(&Cause) -> String,
) -> Result<Built, BuildError> {
    build_with_audit(e, wanted, &Audit::default(), name)
}

/// The same with policies in audit: the words of what they alone deny say so.
pub fn build_with_audit(
    e: &Evaluation<'_>,
    wanted: Option<&FixedBitSet>,
    audit: &Audit,
    name: &dyn Fn(&Cause) -> String,
) -> Result<Built, BuildError> {
    assemble(e, wanted, audit, name, &mut Memo::default())
}

/// The same with what earlier images left; the memo's ids must be of this evaluation's tables.
pub(crate) fn assemble(
    e: &Evaluation<'_>,
    wanted: Option<&FixedBitSet>,
    audit: &Audit,
    name: &dyn Fn(&Cause) -> String,
    memo: &mut Memo,
) -> Result<Built, BuildError> {
    let Some(side) = e.sides.first() else { return Err(too_many("sides")) };
    let cells = Cells::new(e);
    let places = Places::new(side.input.policies, &mut memo.policies);
    let classes = Classes::new(&cells, wanted, &places, memo);
    let mut distinct = FixedBitSet::with_capacity(memo.rows.len());
    classes.subjects.iter().flat_map(|s| &s.known.rows).for_each(|r| distinct.insert(*r as usize));
    let rows_in_use = distinct.ones().filter_map(|r| memo.rows.get(u32::try_from(r).ok()?));
    let atoms = Atoms::new(rows_in_use.flat_map(|row| row.iter().map(|(start, _)| *start)));
    let mut pairs = std::mem::take(&mut memo.pairs);
    if pairs.peer_class != classes.peer_class {
        pairs = Pairs { peer_class: classes.peer_class.clone(), ..Pairs::default() };
        classes.subjects.iter().for_each(|s| s.known.array.set(None));
    }
    let mut n = Numbers {
        places: &places,
        policies: side.input.policies,
        audit,
        memo,
        words: Interner::default(),
        word_of: Vec::new(),
        causes: Interner::default(),
        cause_of: FxHashMap::default(),
        rows: Vec::new(),
        row_of: Vec::new(),
    };
    let mut is_first = FixedBitSet::with_capacity(e.universe.len());
    classes.peers.iter().for_each(|p| is_first.insert(p.index()));
    let mut pair_pages = Pages::default();
    let mut locals: Vec<u16> = Vec::new();
    let mut local_lists: Interner<Vec<u16>> = Interner::default();
    let mut subjects: Vec<u32> = Vec::new();
    let per_directory = classes.peers.len().div_ceil(abi::PAIR_PAGE);
    let mut locals_at: Vec<usize> = Vec::new();
    for subject in &classes.subjects {
        let known = &subject.known;
        let own = known.rows.iter().map(|r| n.row(*r)).collect::<Result<Vec<_>, _>>()?;
        let array = known.array.get().map_or_else(
            || {
                let array = pair_array(known, &classes, &is_first, n.memo)?;
                let array = pairs.cut.array(&array);
                known.array.set(Some(array));
                Ok(array)
            },
            Ok,
        )?;
        let at = pair_pages.array(&pairs.cut, array, |v| v).map_err(|Full| too_many("pages of pairs"))?;
        let before = local_lists.len();
        let list = local_lists.intern(own.clone()) as usize;
        if list == before {
            locals_at.push(locals.len());
            locals.extend(own);
        }
        subjects.push(to_u32(at * per_directory));
        subjects.push(to_u32(locals_at.get(list).copied().unwrap_or_default()));
    }
    let Numbers { words, word_of, causes, rows, .. } = n;
    memo.pairs = pairs;
    let row_pages = row_pages(&rows, &word_of, &atoms, memo)?;
    let (port_directory, port_pages) = ports(&atoms, memo)?;
    let peer_class: Vec<u16> =
        classes.peer_class.iter().map(|c| index("peer classes", *c)).collect::<Result<_, _>>()?;
    let subject_of: Vec<u16> = classes
        .subject_of
        .iter()
        .flatten()
        .map(|s| s.map_or(Ok(abi::NO_SUBJECT), |s| index("subject classes", s)))
        .collect::<Result<_, _>>()?;
    let lines: String = causes.iter().map(|c| name(c).replace('\n', " ") + "\n").collect();
    let mut image = Writer::default();
    image.section(Section::PeerClass, &words16(&peer_class));
    image.section(Section::SubjectOf, &words16(&subject_of));
    image.section(Section::PortDirectory, &words16(&port_directory));
    image.section(Section::PortPages, &words16(&port_pages));
    image.section(Section::Subjects, &words32(&subjects));
    image.section(Section::PairDirectory, &words16(pair_pages.directory()));
    image.section(Section::PairPages, &words16(pair_pages.data()));
    image.section(Section::Locals, &words16(&locals));
    image.section(Section::RowDirectory, &words16(row_pages.directory()));
    image.section(Section::RowPages, &words16(row_pages.data()));
    image.section(Section::Words, &words32(&words.iter().copied().collect::<Vec<_>>()));
    image.section(Section::Causes, lines.as_bytes());
    let counts = [
        (header::IDENTITIES, e.universe.len()),
        (header::ENDPOINTS, e.universe.groups),
        (header::PEER_CLASSES, classes.peers.len()),
        (header::SUBJECT_CLASSES, classes.subjects.len()),
        (header::ATOMS, atoms.len()),
        (header::ROWS, rows.len()),
        (header::WORDS, words.len()),
    ];
    let bytes = image.finish(&counts, &source::digest(e, audit, memo), 0);
    Ok(Built { bytes, causes, classes, atoms })
}

/// The numbers that one image gives to what the memo holds, in order of first use.
struct Numbers<'n> {
    places: &'n Places,
    policies: &'n PolicySet,
    audit: &'n Audit,
    memo: &'n Memo,
    words: Interner<u32>,
    /// By word of the memo.
    word_of: Vec<Option<u16>>,
    causes: Interner<Cause>,
    cause_of: FxHashMap<u32, u32>,
    /// Rows of the memo, in order of first use.
    rows: Vec<u32>,
    row_of: Vec<Option<u16>>,
}

impl Numbers<'_> {
    /// The number of a row, and numbers for its words.
    fn row(&mut self, placed: u32) -> Result<u16, BuildError> {
        if let Some(Some(known)) = self.row_of.get(placed as usize) {
            return Ok(*known);
        }
        let memo = self.memo;
        for (_, word) in memo.rows.get(placed).into_iter().flatten() {
            self.word(*word)?;
        }
        let number = index("rows", self.rows.len())?;
        self.rows.push(placed);
        set(&mut self.row_of, placed, number);
        Ok(number)
    }

    fn word(&mut self, handle: u32) -> Result<(), BuildError> {
        if let Some(Some(_)) = self.word_of.get(handle as usize) {
            return Ok(());
        }
        let Some(placed) = self.memo.words.get(handle).copied() else { return Ok(()) };
        let number = self.cause(placed.cause)?;
        let rules = |ids: &[RuleId]| ids.iter().filter_map(|id| self.policies.rule(*id)).collect::<Vec<_>>();
        let (logs, audited) = match self.causes.get(number) {
            Some(Cause::Rules(ids)) => {
                let rules = rules(ids);
                let audited = self.audit.covers_all(self.policies, rules.iter().map(|r| r.policy));
                (rules.iter().any(|r| r.log.is_some()), audited)
            }
            Some(Cause::DefaultDeny(ids)) => {
                let behind = ids.iter().filter_map(|id| self.policies.enforcement(*id)).map(|e| e.policy);
                (false, self.audit.covers_all(self.policies, behind))
            }
            Some(Cause::NotEnforced | Cause::Localhost) | None => (false, false),
        };
        let mut flags = placed.flags;
        if logs {
            flags |= word::LOG;
        }
        if audited && flags & word::ALLOW == 0 {
            flags |= word::AUDIT;
        }
        let bits = number << word::CAUSE_SHIFT | flags;
        let at = index("verdict words", self.words.intern(bits) as usize)?;
        set(&mut self.word_of, handle, at);
        Ok(())
    }

    fn cause(&mut self, placed: u32) -> Result<u32, BuildError> {
        if let Some(known) = self.cause_of.get(&placed) {
            return Ok(*known);
        }
        let cause = self.memo.causes.get(placed).map_or(Cause::NotEnforced, |c| self.places.cause(c));
        let number = self.causes.intern(cause);
        if number >= 1 << (32 - word::CAUSE_SHIFT) {
            return Err(BuildError::TooMany { table: "causes", needed: number as usize + 1, limit: 1 << 24 });
        }
        self.cause_of.insert(placed, number);
        Ok(number)
    }
}

/// The row of each peer class, among a subject's own.
fn pair_array(
    known: &Known,
    classes: &Classes,
    is_first: &FixedBitSet,
    memo: &Memo,
) -> Result<Vec<u16>, BuildError> {
    let mut out = vec![0u16; classes.peers.len()];
    for (part, row) in known.parts.iter().zip(&known.row_of) {
        if *row == 0 {
            continue;
        }
        let local = index("rows of one subject", *row)?;
        let members = memo.members.get(*part).into_iter().flatten().map(|n| *n as usize);
        for first in members.filter(|n| is_first.contains(*n)) {
            let class = classes.peer_class.get(first).copied().unwrap_or_default();
            if let Some(slot) = out.get_mut(class) {
                *slot = local;
            }
        }
    }
    Ok(out)
}

/// The row table: the word of each atom in each row.
fn row_pages(
    rows: &[u32],
    word_of: &[Option<u16>],
    atoms: &Atoms,
    memo: &mut Memo,
) -> Result<Pages, BuildError> {
    let Memo { lines, rows: placed, .. } = memo;
    let starts = atoms.starts();
    if lines.starts != starts {
        *lines = Lines { starts: starts.to_vec(), ..Lines::default() };
    }
    let mut out = Pages::default();
    let mut array = Vec::with_capacity(starts.len());
    for row in rows {
        let handle = lines.of_row.get(row).copied().unwrap_or_else(|| {
            array.clear();
            let mut stretches = placed.get(*row).into_iter().flatten().peekable();
            while let Some((_, word)) = stretches.next() {
                let end = stretches.peek().map_or(starts.len(), |(to, _)| starts.partition_point(|s| s < to));
                // 0 is what fills up the last page.
                array.resize(end, *word + 1);
            }
            let handle = lines.cut.array(&array);
            lines.of_row.insert(*row, handle);
            handle
        });
        let word = |w: u32| {
            let at = w.checked_sub(1).and_then(|w| word_of.get(w as usize).copied());
            at.flatten().unwrap_or_default()
        };
        out.array(&lines.cut, handle, word).map_err(|Full| too_many("pages of rows"))?;
    }
    Ok(out)
}

/// The directory and the pages of the port table.
fn ports(atoms: &Atoms, memo: &mut Memo) -> Result<(Vec<u16>, Vec<u16>), BuildError> {
    if let Some((starts, directory, pages)) = &memo.ports
        && starts == atoms.starts()
    {
        return Ok((directory.clone(), pages.clone()));
    }
    let mut cut = Cut::new(abi::PORT_PAGE);
    let array = cut.array(&atom_of_each(atoms)?);
    let mut pages = Pages::default();
    pages.array(&cut, array, |v| v).map_err(|Full| too_many("pages of ports"))?;
    let (directory, data) = (pages.directory().to_vec(), pages.data().to_vec());
    memo.ports = Some((atoms.starts().to_vec(), directory.clone(), data.clone()));
    Ok((directory, data))
}

fn atom_of_each(atoms: &Atoms) -> Result<Vec<u16>, BuildError> {
    let ends = atoms.starts().iter().skip(1).copied().chain(std::iter::once(abi::COORDINATES));
    let mut out = Vec::with_capacity(abi::COORDINATES as usize);
    for (at, (start, end)) in atoms.starts().iter().zip(ends).enumerate() {
        let at = index("port atoms", at)?;
        out.extend(std::iter::repeat_n(at, (end - start) as usize));
    }
    Ok(out)
}

fn index(table: &'static str, at: usize) -> Result<u16, BuildError> {
    // The last value is kept for `NO_SUBJECT`.
    match u16::try_from(at) {
        Ok(at) if at < u16::MAX => Ok(at),
        _ => Err(BuildError::TooMany { table, needed: at + 1, limit: usize::from(u16::MAX) }),
    }
}

fn too_many(table: &'static str) -> BuildError {
    BuildError::TooMany { table, needed: 1 << 16, limit: usize::from(u16::MAX) }
}
