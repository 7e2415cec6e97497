//! The form of an image that a kernel reads: the same tables, its identities and endpoints under the
//! numbers that an agent gave them.
//!
//! An image numbers what it knows from 0, so that equal policies give equal bytes; an agent's numbers
//! outlive the image, since addresses and interfaces are bound to them. So the two sections that are
//! indexed by such numbers are written anew, with room for what comes later; all others are copied.
//! Causes stay with the agent. The layout is that of any image, and [`Image`] reads it.

use crate::image::{Image, ImageError};
use crate::writer::Writer;
use portcullis_abi::{self as abi, Section, header};

/// The numbers an agent gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The number of each identity of the image, in the image's order; `None` leaves it out.
    pub identities: Vec<Option<u32>>,
    /// Numbers are below this.
    pub identity_slots: u32,
    /// By endpoint number: which of the image's endpoints it is; `None` for a number that is free.
    pub endpoints: Vec<Option<u32>>,
    /// More numbers, each with the identity of the image whose class it has.
    pub twins: Vec<(u32, u32)>,
}

/// Why there is no such form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The image is damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Numbers that do not fit the image or each other.
    #[error("identity number {0} is given twice or has no slot")]
    Number(u32),
}

/// The bytes that go into a slot.
pub fn stage(image: &Image<'_>, numbers: &Numbers, generation: u64) -> Result<Vec<u8>, StageError> {
    let mut classes = vec![abi::NO_CLASS; numbers.identity_slots as usize];
    let own = (0u32..).zip(&numbers.identities).filter_map(|(identity, n)| Some((identity, (*n)?)));
    for (identity, number) in own.chain(numbers.twins.iter().map(|(number, identity)| (*identity, *number))) {
        let class = u16::try_from(image.peer_class(identity)?).unwrap_or(abi::NO_CLASS);
        match classes.get_mut(number as usize) {
            Some(slot) if *slot == abi::NO_CLASS => *slot = class,
            _ => return Err(StageError::Number(number)),
        }
    }
    let mut subjects = Vec::with_capacity(numbers.endpoints.len() * 4);
    for endpoint in &numbers.endpoints {
        for direction in portcullis_ir::Direction::BOTH {
            let subject = match endpoint {
                Some(e) => match image.subject(*e, direction) {
                    Ok(subject) => u16::try_from(subject).unwrap_or(abi::NO_SUBJECT),
                    Err(ImageError::NoSubject) => abi::NO_SUBJECT,
                    Err(e) => return Err(e.into()),
                },
                None => abi::NO_SUBJECT,
            };
            subjects.extend_from_slice(&subject.to_le_bytes());
        }
    }
    let mut out = Writer::default();
    for section in COPIED {
        out.section(section, image.section(section));
    }
    out.section(Section::SubjectOf, &subjects);
    out.section(Section::PeerClass, &classes.iter().flat_map(|c| c.to_le_bytes()).collect::<Vec<u8>>());
    // Where an image has no causes, that section is empty and lies at the end.
    out.section(Section::Causes, &[]);
    let counts = [
        (header::IDENTITIES, numbers.identity_slots as usize),
        (header::ENDPOINTS, numbers.endpoints.len()),
        (header::PEER_CLASSES, image.count(header::PEER_CLASSES)),
        (header::SUBJECT_CLASSES, image.count(header::SUBJECT_CLASSES)),
        (header::ATOMS, image.count(header::ATOMS)),
        (header::ROWS, image.count(header::ROWS)),
        (header::WORDS, image.count(header::WORDS)),
    ];
    let source = image.source().first_chunk().copied().unwrap_or([0; 32]);
    Ok(out.finish(&counts, &source, generation))
}

/// Sections whose indices are the image's own.
const COPIED: [Section; 9] = [
    Section::PortDirectory,
    Section::PortPages,
    Section::Subjects,
    Section::PairDirectory,
    Section::PairPages,
    Section::Locals,
    Section::RowDirectory,
    Section::RowPages,
    Section::Words,
];

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_ir::Direction;

    /// Two endpoints with different subjects, three identities in two classes, one atom.
    fn image() -> Vec<u8> {
        let le = |v: &[u16]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let le32 = |v: &[u32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let mut w = Writer::default();
        w.section(Section::PeerClass, &le(&[0, 1, 1]));
        w.section(Section::SubjectOf, &le(&[0, 1, 1, 0]));
        w.section(Section::PortDirectory, &le(&vec![0; abi::PORT_DIRECTORY]));
        w.section(Section::PortPages, &le(&[0; abi::PORT_PAGE]));
        w.section(Section::Subjects, &le32(&[0, 0, 1, 2]));
        w.section(Section::PairDirectory, &le(&[0, 1]));
        let mut pairs = [0u16; 2 * abi::PAIR_PAGE];
        pairs[1] = 1;
        pairs[abi::PAIR_PAGE] = 1;
        w.section(Section::PairPages, &le(&pairs));
        w.section(Section::Locals, &le(&[0, 1, 0, 1]));
        w.section(Section::RowDirectory, &le(&[0, 1]));
        let mut rows = [0u16; 2 * abi::ROW_PAGE];
        rows[abi::ROW_PAGE] = 1;
        w.section(Section::RowPages, &le(&rows));
        w.section(Section::Words, &le32(&[0, 1]));
        w.section(Section::Causes, b"one\n");
        let counts = [
            (header::IDENTITIES, 3),
            (header::ENDPOINTS, 2),
            (header::PEER_CLASSES, 2),
            (header::SUBJECT_CLASSES, 2),
            (header::ATOMS, 1),
            (header::ROWS, 2),
            (header::WORDS, 2),
        ];
        w.finish(&counts, &[7; 32], 0)
    }

    #[test]
    fn every_answer_is_the_images_under_the_agents_numbers() {
        let bytes = image();
        let plain = Image::parse(&bytes).unwrap();
        let numbers = Numbers {
            identities: vec![Some(5), Some(2), Some(9)],
            identity_slots: 16,
            endpoints: vec![None, Some(1), Some(0)],
            twins: vec![(7, 1)],
        };
        let staged = stage(&plain, &numbers, 42).unwrap();
        let staged = Image::parse(&staged).unwrap();
        assert_eq!(staged.section(Section::Causes), b"");
        assert_eq!(staged.source(), plain.source());
        for (number, endpoint) in [(1u32, 1u32), (2, 0)] {
            for (identity, mine) in [(0, 5u32), (1, 2), (2, 9), (1, 7)] {
                for d in Direction::BOTH {
                    let expected = plain.lookup(endpoint, d, identity, 80);
                    assert_eq!(staged.lookup(number, d, mine, 80), expected);
                }
            }
        }
    }

    #[test]
    fn a_number_that_nobody_has_gets_no_answer() {
        let bytes = image();
        let numbers = Numbers {
            identities: vec![Some(1), None, Some(2)],
            identity_slots: 4,
            endpoints: vec![None, Some(0)],
            ..Numbers::default()
        };
        let staged = stage(&Image::parse(&bytes).unwrap(), &numbers, 1).unwrap();
        let staged = Image::parse(&staged).unwrap();
        assert!(staged.lookup(1, Direction::Ingress, 3, 80).is_err());
        assert!(staged.lookup(1, Direction::Ingress, 4, 80).is_err());
        assert_eq!(staged.lookup(0, Direction::Ingress, 1, 80), Err(ImageError::NoSubject));
    }

    #[test]
    fn a_number_given_twice_is_refused() {
        let bytes = image();
        let numbers =
            Numbers { identities: vec![Some(1), Some(1), None], identity_slots: 4, ..Numbers::default() };
        assert_eq!(stage(&Image::parse(&bytes).unwrap(), &numbers, 1), Err(StageError::Number(1)));
    }
}
