//! Cells to bytes.

use crate::atoms::Atoms;
use crate::cause::Cause;
use crate::classes::Classes;
use crate::pages::{Full, Pages};
use crate::source;
use fixedbitset::FixedBitSet;
use portcullis_abi::{self as abi, Section, header, word};
use portcullis_ir::Verdict;
use portcullis_ir::intern::Interner;
use portcullis_sema::cells::Cells;
use portcullis_sema::row::{Cell, Fallback, Row, Why};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::NodeId;

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
    let cells = Cells::new(e);
    let classes = Classes::new(&cells, wanted);
    let rows_of_parts = classes.subjects.iter().flat_map(|s| s.parts.iter().map(|p| &*p.row));
    let atoms = Atoms::new(rows_of_parts);
    let mut b = Builder {
        e,
        atoms: &atoms,
        causes: Interner::default(),
        words: Interner::default(),
        rows: Interner::default(),
    };
    let mut pair_pages = Pages::new(abi::PAIR_PAGE);
    let mut pair_directory: Vec<u16> = Vec::new();
    let mut directories: Interner<Vec<u16>> = Interner::default();
    let mut locals: Vec<u16> = Vec::new();
    let mut local_lists: Interner<Vec<u16>> = Interner::default();
    let mut subjects: Vec<u32> = Vec::new();
    let per_directory = classes.peers.len().div_ceil(abi::PAIR_PAGE);
    let mut locals_at: Vec<usize> = Vec::new();
    for subject in &classes.subjects {
        let mut own: Vec<u16> = Vec::with_capacity(subject.parts.len());
        let mut local_of = vec![0u16; classes.peers.len()];
        for part in &subject.parts {
            let row = b.row(subject.direction, subject.example, &part.row)?;
            let local = own.iter().position(|r| *r == row).unwrap_or_else(|| {
                own.push(row);
                own.len() - 1
            });
            let local = index("rows of one subject", local)?;
            if local == 0 {
                continue;
            }
            for (at, peer) in classes.peers.iter().enumerate() {
                if part.peers.contains(peer.index())
                    && let Some(slot) = local_of.get_mut(at)
                {
                    *slot = local;
                }
            }
        }
        let directory = pair_pages.store(&local_of).map_err(|Full| too_many("pages of pairs"))?;
        let before = directories.len();
        let at = directories.intern(directory.clone()) as usize;
        if at == before {
            pair_directory.extend(directory);
        }
        let before = local_lists.len();
        let list = local_lists.intern(own.clone()) as usize;
        if list == before {
            locals_at.push(locals.len());
            locals.extend(own);
        }
        subjects.push(to_u32(at * per_directory));
        subjects.push(to_u32(locals_at.get(list).copied().unwrap_or_default()));
    }
    let mut row_pages = Pages::new(abi::ROW_PAGE);
    let mut row_directory: Vec<u16> = Vec::new();
    for row in b.rows.iter() {
        row_directory.extend(row_pages.store(row).map_err(|Full| too_many("pages of rows"))?);
    }
    let mut port_pages = Pages::new(abi::PORT_PAGE);
    let port_directory =
        port_pages.store(&atom_of_each(&atoms)?).map_err(|Full| too_many("pages of ports"))?;
    let peer_class: Vec<u16> =
        classes.peer_class.iter().map(|c| index("peer classes", *c)).collect::<Result<_, _>>()?;
    let subject_of: Vec<u16> = classes
        .subject_of
        .iter()
        .flatten()
        .map(|s| s.map_or(Ok(abi::NO_SUBJECT), |s| index("subject classes", s)))
        .collect::<Result<_, _>>()?;
    let causes: String = b.causes.iter().map(|c| name(c).replace('\n', " ") + "\n").collect();
    let mut image = Writer::default();
    image.section(Section::PeerClass, &words16(&peer_class));
    image.section(Section::SubjectOf, &words16(&subject_of));
    image.section(Section::PortDirectory, &words16(&port_directory));
    image.section(Section::PortPages, &words16(port_pages.data()));
    image.section(Section::Subjects, &words32(&subjects));
    image.section(Section::PairDirectory, &words16(&pair_directory));
    image.section(Section::PairPages, &words16(pair_pages.data()));
    image.section(Section::Locals, &words16(&locals));
    image.section(Section::RowDirectory, &words16(&row_directory));
    image.section(Section::RowPages, &words16(row_pages.data()));
    image.section(Section::Words, &words32(&b.words.iter().copied().collect::<Vec<_>>()));
    image.section(Section::Causes, causes.as_bytes());
    let counts = [
        (header::IDENTITIES, e.universe.len()),
        (header::ENDPOINTS, e.universe.groups),
        (header::PEER_CLASSES, classes.peers.len()),
        (header::SUBJECT_CLASSES, classes.subjects.len()),
        (header::ATOMS, atoms.len()),
        (header::ROWS, b.rows.len()),
        (header::WORDS, b.words.len()),
    ];
    let bytes = image.finish(&counts, &source::digest(e), 0);
    let causes = b.causes;
    Ok(Built { bytes, causes, classes, atoms })
}

struct Builder<'b, 'a> {
    e: &'b Evaluation<'a>,
    atoms: &'b Atoms,
    causes: Interner<Cause>,
    words: Interner<u32>,
    rows: Interner<Vec<u16>>,
}

impl Builder<'_, '_> {
    /// The row of one part of one subject: the word of each atom.
    fn row(&mut self, d: portcullis_ir::Direction, subject: NodeId, row: &Row) -> Result<u16, BuildError> {
        let mut out = Vec::with_capacity(self.atoms.len());
        let starts = self.atoms.starts();
        for (start, end, cell) in row.stretches() {
            let word = self.word(d, subject, cell)?;
            let from = starts.partition_point(|s| *s < start);
            let to = starts.partition_point(|s| *s < end);
            out.extend(std::iter::repeat_n(word, to.saturating_sub(from)));
        }
        index("rows", self.rows.intern(out) as usize)
    }

    fn word(&mut self, d: portcullis_ir::Direction, subject: NodeId, cell: &Cell) -> Result<u16, BuildError> {
        let cause = match &cell.why {
            Why::Rules(meanings) => Cause::Rules(self.e.rules_with(0, d, subject, meanings)),
            Why::Fallback(Fallback::Open) => Cause::NotEnforced,
            Why::Fallback(Fallback::Localhost) => Cause::Localhost,
            Why::Fallback(Fallback::DefaultDeny) => {
                Cause::DefaultDeny(self.e.default_deny(0, d, subject).to_vec())
            }
        };
        let authenticates = match &cell.why {
            Why::Rules(meanings) => {
                meanings.iter().filter_map(|m| self.e.meanings.get(*m)).any(|m| m.authenticates)
            }
            Why::Fallback(_) => false,
        };
        let number = self.causes.intern(cause);
        if number >= 1 << (32 - word::CAUSE_SHIFT) {
            return Err(BuildError::TooMany { table: "causes", needed: number as usize + 1, limit: 1 << 24 });
        }
        let mut bits = number << word::CAUSE_SHIFT;
        if cell.verdict == Verdict::Allowed {
            bits |= word::ALLOW;
            if cell.l7.is_some() {
                bits |= word::REDIRECT;
            }
            if authenticates {
                bits |= word::AUTHENTICATE;
            }
        }
        index("verdict words", self.words.intern(bits) as usize)
    }
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

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn words16(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn words32(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Sections behind a header that is filled in last.
pub(crate) struct Writer {
    bytes: Vec<u8>,
    table: [(u32, u32); abi::SECTIONS],
}

impl Default for Writer {
    fn default() -> Self {
        Self { bytes: vec![0; abi::HEADER_SIZE], table: [(0, 0); abi::SECTIONS] }
    }
}

impl Writer {
    pub(crate) fn section(&mut self, section: Section, data: &[u8]) {
        if let Some(slot) = self.table.get_mut(section as usize) {
            *slot = (to_u32(self.bytes.len()), to_u32(data.len()));
        }
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(abi::ALIGN), 0);
    }

    pub(crate) fn finish(mut self, counts: &[(usize, usize)], source: &[u8; 32], generation: u64) -> Vec<u8> {
        let size = to_u32(self.bytes.len());
        self.put(header::MAGIC, &abi::MAGIC);
        self.put(header::VERSION, &abi::VERSION.to_le_bytes());
        self.put(header::SIZE, &size.to_le_bytes());
        for (at, n) in counts {
            self.put(*at, &to_u32(*n).to_le_bytes());
        }
        self.put(header::GENERATION, &generation.to_le_bytes());
        self.put(header::SOURCE, source);
        for (i, (offset, len)) in self.table.into_iter().enumerate() {
            self.put(header::SECTIONS + i * 8, &offset.to_le_bytes());
            self.put(header::SECTIONS + i * 8 + 4, &len.to_le_bytes());
        }
        self.bytes
    }

    fn put(&mut self, at: usize, data: &[u8]) {
        if let Some(slot) = self.bytes.get_mut(at..at + data.len()) {
            slot.copy_from_slice(data);
        }
    }
}
