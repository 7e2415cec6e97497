//! Lines and columns of many spans, without counting the lines of a file again for each.

use portcullis_diag::{FileId, Position, SourceMap, Span};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Where a span stands, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'s> {
    /// The file's name.
    pub(crate) file: &'s str,
    /// Its first character.
    pub(crate) start: Position,
    /// One past its last character.
    pub(crate) end: Position,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.start.line, self.start.column)
    }
}

/// A source map with an index of lines for each file that was asked about.
pub(crate) struct Places<'s> {
    sources: &'s SourceMap,
    lines: RefCell<BTreeMap<FileId, Rc<[usize]>>>,
}

impl<'s> Places<'s> {
    pub(crate) fn new(sources: &'s SourceMap) -> Self {
        Self { sources, lines: RefCell::default() }
    }

    /// The name and the text of a span's file, if the span fits it.
    pub(crate) fn file(&self, span: Span) -> Option<(&'s str, &'s str)> {
        let file = self.sources.get(span.file)?;
        file.text.get(span.start as usize..span.end as usize)?;
        Some((&file.name, &file.text))
    }

    /// Where a span stands; `None` if it is no place of this map.
    pub(crate) fn at(&self, span: Span) -> Option<Place<'s>> {
        let (name, text) = self.file(span)?;
        let starts = self.line_starts(span.file, text);
        let position = |at: u32| {
            let at = at as usize;
            let line = starts.partition_point(|s| *s <= at).max(1);
            let from = starts.get(line - 1).copied().unwrap_or(0);
            let column = text.get(from..at).map_or(0, |t| t.chars().count()) + 1;
            Position { line: small(line), column: small(column) }
        };
        Some(Place { file: name, start: position(span.start), end: position(span.end) })
    }

    /// A line's text without its end, counted from 1.
    pub(crate) fn line(&self, file: FileId, line: u32) -> Option<&'s str> {
        let text: &'s str = &self.sources.get(file)?.text;
        let starts = self.line_starts(file, text);
        let from = *starts.get((line as usize).checked_sub(1)?)?;
        let to = starts.get(line as usize).copied().unwrap_or(text.len());
        Some(text.get(from..to)?.trim_end_matches(['\n', '\r']))
    }

    /// Whole lines, and the byte at which they begin; lines that do not exist are left off.
    pub(crate) fn window(&self, file: FileId, first: u32, last: u32) -> Option<(usize, &'s str)> {
        let text: &'s str = &self.sources.get(file)?.text;
        let starts = self.line_starts(file, text);
        let from = *starts.get(first.checked_sub(1)? as usize)?;
        let to = starts.get(last as usize).copied().unwrap_or(text.len());
        Some((from, text.get(from..to)?))
    }

    /// `file:line:column`, or the file alone, or nothing, as far as it is known.
    pub(crate) fn locate(&self, span: Span) -> Option<String> {
        match self.at(span) {
            Some(place) => Some(place.to_string()),
            None => self.sources.get(span.file).map(|f| f.name.clone()),
        }
    }

    fn line_starts(&self, file: FileId, text: &str) -> Rc<[usize]> {
        let mut lines = self.lines.borrow_mut();
        let entry = lines.entry(file).or_insert_with(|| {
            let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
            std::iter::once(0).chain(ends).collect()
        });
        Rc::clone(entry)
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_agree_with_the_source_map() {
        let mut map = SourceMap::new();
        let f = map.add("a.yaml", "é: 1\nbé: 2\n\nlast");
        let places = Places::new(&map);
        for (start, end) in [(0, 2), (6, 9), (9, 10), (12, 13), (13, 17), (17, 17)] {
            let span = Span::new(f, start, end);
            let place = places.at(span).unwrap();
            assert_eq!((place.start, place.end), (map.position(span), map.end_position(span)));
        }
        assert_eq!(places.line(f, 2), Some("bé: 2"));
        assert_eq!(places.line(f, 4), Some("last"));
        assert_eq!(places.line(f, 5), None);
    }

    #[test]
    fn a_span_outside_its_file_has_no_place() {
        let mut map = SourceMap::new();
        assert_eq!(Places::new(&map).at(Span::default()), None);
        let f = map.add("a.yaml", "é");
        let places = Places::new(&map);
        assert_eq!(places.at(Span::new(f, 1, 2)), None);
        assert_eq!(places.at(Span::new(f, 5, 9)), None);
        assert_eq!(places.locate(Span::new(f, 5, 9)).as_deref(), Some("a.yaml"));
    }
}
