//! The reader: the kernel's steps in safe Rust, every offset checked.
//!
//! A hostile image gives an error, never a panic and never a byte from outside: [`Image::parse`]
//! checks the header and that every section lies inside the block; each step of a look-up checks its
//! own index against its section.

use portcullis_abi::{self as abi, Section, header, word};
use portcullis_ir::Direction;

/// Why bytes are no image, or an image gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ImageError {
    /// Shorter than a header, or than the size that the header gives.
    #[error("the image is cut short: {have} of {need} bytes")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes there must be.
        need: usize,
    },
    /// Not an image at all.
    #[error("these bytes are no table image")]
    Magic,
    /// A layout of another version.
    #[error("the image has layout version {found}, and version {known} is known here: compile it again")]
    Version {
        /// The image's.
        found: u32,
        /// The reader's.
        known: u32,
    },
    /// A section that does not lie in the image, or at no multiple of the alignment.
    #[error("section {0:?} does not lie in the image")]
    Section(Section),
    /// An index that points outside its table: the image is damaged.
    #[error("an index of {0:?} points outside the table")]
    Index(Section),
    /// The image was made for other endpoints.
    #[error("the image has no policy for this endpoint")]
    NoSubject,
}

/// One answer of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u32);

impl Word {
    /// Let it through.
    pub const fn allows(self) -> bool {
        self.0 & word::ALLOW != 0
    }

    /// By way of a proxy.
    pub const fn redirects(self) -> bool {
        self.0 & word::REDIRECT != 0
    }

    /// After authentication.
    pub const fn authenticates(self) -> bool {
        self.0 & word::AUTHENTICATE != 0
    }

    /// To be logged.
    pub const fn logs(self) -> bool {
        self.0 & word::LOG != 0
    }

    /// A denial that is reported and let through.
    pub const fn audits(self) -> bool {
        self.0 & word::AUDIT != 0
    }

    /// Whether the packet goes on, for whatever reason.
    pub const fn passes(self) -> bool {
        self.0 & (word::ALLOW | word::AUDIT) != 0
    }

    /// The number of the cause.
    pub const fn cause(self) -> u32 {
        self.0 >> word::CAUSE_SHIFT
    }
}

/// An image whose header and sections are sound.
#[derive(Clone, Copy, Debug)]
pub struct Image<'b> {
    bytes: &'b [u8],
    sections: [&'b [u8]; abi::SECTIONS],
    pair_pages: usize,
    row_pages: usize,
}

impl<'b> Image<'b> {
    /// Checks the header and every section's place.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, ImageError> {
        if bytes.len() < abi::HEADER_SIZE {
            return Err(ImageError::Short { have: bytes.len(), need: abi::HEADER_SIZE });
        }
        if !bytes.starts_with(&abi::MAGIC) {
            return Err(ImageError::Magic);
        }
        let field = |at: usize| u32_at(bytes, at).unwrap_or_default();
        let found = field(header::VERSION);
        if found != abi::VERSION {
            return Err(ImageError::Version { found, known: abi::VERSION });
        }
        let need = field(header::SIZE) as usize;
        let Some(bytes) = bytes.get(..need) else {
            return Err(ImageError::Short { have: bytes.len(), need });
        };
        let mut sections: [&[u8]; abi::SECTIONS] = [&[]; abi::SECTIONS];
        for (i, (slot, which)) in sections.iter_mut().zip(Section::ALL).enumerate() {
            let offset = field(header::SECTIONS + i * 8) as usize;
            let len = field(header::SECTIONS + i * 8 + 4) as usize;
            let end = offset.checked_add(len).ok_or(ImageError::Section(which))?;
            if offset < abi::HEADER_SIZE || !offset.is_multiple_of(abi::ALIGN) {
                return Err(ImageError::Section(which));
            }
            *slot = bytes.get(offset..end).ok_or(ImageError::Section(which))?;
        }
        let pages = |classes: usize, page: usize| classes.div_ceil(page);
        Ok(Self {
            bytes,
            sections,
            pair_pages: pages(field(header::PEER_CLASSES) as usize, abi::PAIR_PAGE),
            row_pages: pages(field(header::ATOMS) as usize, abi::ROW_PAGE),
        })
    }

    /// The answer for one endpoint about one identity: a fixed number of array reads, in the order of
    /// the kernel's program.
    pub fn lookup(
        &self,
        endpoint: u32,
        d: Direction,
        identity: u32,
        coordinate: u32,
    ) -> Result<Word, ImageError> {
        let subject = self.subject(endpoint, d)?;
        let class = self.peer_class(identity)?;
        let atom = self.atom(coordinate)?;
        let row = self.row(subject, class)?;
        self.word(row, atom)
    }

    /// The subject class of an endpoint in a direction.
    pub fn subject(&self, endpoint: u32, d: Direction) -> Result<usize, ImageError> {
        let side = usize::from(d == Direction::Egress);
        let subject = self.u16(Section::SubjectOf, endpoint as usize * 2 + side)?;
        if subject == usize::from(abi::NO_SUBJECT) {
            return Err(ImageError::NoSubject);
        }
        Ok(subject)
    }

    /// The peer class of an identity.
    pub fn peer_class(&self, identity: u32) -> Result<usize, ImageError> {
        self.u16(Section::PeerClass, identity as usize)
    }

    /// The port atom of a coordinate.
    pub fn atom(&self, coordinate: u32) -> Result<usize, ImageError> {
        let coordinate = coordinate as usize;
        let page = self.u16(Section::PortDirectory, coordinate / abi::PORT_PAGE)?;
        self.u16(Section::PortPages, page * abi::PORT_PAGE + coordinate % abi::PORT_PAGE)
    }

    /// The row of a subject class about a peer class.
    pub fn row(&self, subject: usize, class: usize) -> Result<usize, ImageError> {
        let directory = self.u32(Section::Subjects, subject * 2)?;
        let locals = self.u32(Section::Subjects, subject * 2 + 1)?;
        if class / abi::PAIR_PAGE >= self.pair_pages {
            return Err(ImageError::Index(Section::PeerClass));
        }
        let page = self.u16(Section::PairDirectory, directory.saturating_add(class / abi::PAIR_PAGE))?;
        let local = self.u16(Section::PairPages, page * abi::PAIR_PAGE + class % abi::PAIR_PAGE)?;
        self.u16(Section::Locals, locals.saturating_add(local))
    }

    /// The verdict word of a row at a port atom.
    pub fn word(&self, row: usize, atom: usize) -> Result<Word, ImageError> {
        if atom / abi::ROW_PAGE >= self.row_pages {
            return Err(ImageError::Index(Section::PortPages));
        }
        let page = self.u16(
            Section::RowDirectory,
            row.saturating_mul(self.row_pages).saturating_add(atom / abi::ROW_PAGE),
        )?;
        let at = self.u16(Section::RowPages, page * abi::ROW_PAGE + atom % abi::ROW_PAGE)?;
        let word = u32_at(self.section(Section::Words), at * 4).ok_or(ImageError::Index(Section::Words))?;
        Ok(Word(word))
    }

    /// One of the header's counts: an offset of [`portcullis_abi::header`].
    pub fn count(&self, at: usize) -> usize {
        u32_at(self.bytes, at).unwrap_or_default() as usize
    }

    /// The lines of the causes, by number; none if the section is no text.
    pub fn causes(&self) -> Vec<&'b str> {
        std::str::from_utf8(self.section(Section::Causes)).map(|t| t.lines().collect()).unwrap_or_default()
    }

    /// The cause's line.
    pub fn cause(&self, number: u32) -> Option<&'b str> {
        std::str::from_utf8(self.section(Section::Causes)).ok()?.lines().nth(number as usize)
    }

    /// The digest of what the image was made from.
    pub fn source(&self) -> &'b [u8] {
        self.bytes.get(header::SOURCE..header::SOURCE + 32).unwrap_or(&[])
    }

    /// Bytes of a section.
    pub fn section(&self, section: Section) -> &'b [u8] {
        self.sections.get(section as usize).copied().unwrap_or(&[])
    }

    fn u16(&self, section: Section, at: usize) -> Result<usize, ImageError> {
        let data = self.section(section);
        data.get(at.saturating_mul(2)..)
            .and_then(|rest| rest.first_chunk::<2>())
            .map(|b| usize::from(u16::from_le_bytes(*b)))
            .ok_or(ImageError::Index(section))
    }

    fn u32(&self, section: Section, at: usize) -> Result<usize, ImageError> {
        u32_at(self.section(section), at.saturating_mul(4))
            .map(|v| v as usize)
            .ok_or(ImageError::Index(section))
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|b| u32::from_le_bytes(*b))
}
