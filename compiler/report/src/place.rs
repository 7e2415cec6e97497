//! Lines and columns of many spans, without counting the lines of a file again for each.

use crate::words::clean;
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

/// Bytes of a line that are shown; a file may be a single line of any length.
pub(crate) const LONG: usize = 400;

/// What is shown of a line: all of it, or a part of a long one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part<'s> {
    /// What is kept.
    pub(crate) text: &'s str,
    /// Bytes left off before it.
    pub(crate) before: usize,
    /// Whether something is left off behind it.
    pub(crate) more: bool,
}

impl<'s> Part<'s> {
    /// At most `most` bytes of a line, those around the byte `at` of it among them.
    pub(crate) fn of(line: &'s str, at: usize, most: usize) -> Self {
        if line.len() <= most {
            return Self { text: line, before: 0, more: false };
        }
        let at = at.min(line.len());
        let start = if at < most / 3 * 2 { 0 } else { line.floor_char_boundary(at - most / 3) };
        let end = line.floor_char_boundary(start.saturating_add(most));
        Self { text: line.get(start..end).unwrap_or(""), before: start, more: end < line.len() }
    }

    /// The part with a mark on each side where something is left off, fit to print.
    pub(crate) fn marked(&self) -> String {
        let mark = |on: bool| if on { "…" } else { "" };
        format!("{}{}{}", mark(self.before > 0), clean(self.text), mark(self.more))
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

    /// A line's part around the byte `at` of its file, and the characters that stand before `at` in
    /// what [`Part::marked`] says.
    pub(crate) fn part(&self, file: FileId, line: u32, at: u32, most: usize) -> Option<(Part<'s>, usize)> {
        let text = self.line(file, line)?;
        let (from, _) = self.window(file, line, line)?;
        let at = (at as usize).saturating_sub(from);
        let part = Part::of(text, at, most);
        let within = part.text.get(..at.saturating_sub(part.before)).unwrap_or("");
        Some((part, within.chars().count() + usize::from(part.before > 0)))
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

    /// Numbers of at most `most` lines of `around`, that of `key` among them, and how many lines follow
    /// the last of them. Where `key` is too far down, `beginning` lines are kept from the beginning.
    /// Without `around` in the same file, the lines of `key`.
    pub(crate) fn lines_around(&self, key: Span, around: Span, most: u32, beginning: u32) -> (Vec<u32>, u32) {
        let Some(place) = self.at(key) else { return (Vec::new(), 0) };
        let holds = around.file == key.file && around.start <= key.start && key.end <= around.end;
        let whole = Some(around).filter(|_| holds).and_then(|s| self.at(s)).unwrap_or(place);
        let first = whole.start.line;
        // A place that ends at the start of a line does not reach into it.
        let last =
            if whole.end.column == 1 && whole.end.line > first { whole.end.line - 1 } else { whole.end.line };
        let last = last.max(place.start.line);
        let fits = first.saturating_add(most.max(1) - 1);
        if last <= fits || place.start.line.saturating_add(1) < fits {
            let shown = last.min(fits);
            return ((first..=shown).collect(), last - shown);
        }
        let beginning = beginning.min(most.saturating_sub(1));
        let shown = last.min(place.start.line.saturating_add(most.max(1) - beginning - 1));
        let lines = (first..first.saturating_add(beginning)).chain(place.start.line..=shown);
        (lines.collect(), last - shown)
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
    fn lines_around_a_place_begin_with_the_entry_and_hold_the_place() {
        let mut map = SourceMap::new();
        let text = "12\n".repeat(20);
        let f = map.add("a.yaml", text.as_str());
        let places = Places::new(&map);
        let line = |n: u32| Span::new(f, (n - 1) * 3, (n - 1) * 3 + 2);
        let to = |a: u32, b: u32| Span::new(f, line(a).start, line(b).end);
        assert_eq!(places.lines_around(line(3), to(2, 5), 9, 4), (vec![2, 3, 4, 5], 0));
        assert_eq!(places.lines_around(line(3), to(2, 15), 4, 2), (vec![2, 3, 4, 5], 10));
        assert_eq!(places.lines_around(line(12), to(2, 15), 6, 3), (vec![2, 3, 4, 12, 13, 14], 1));
        assert_eq!(places.lines_around(line(7), Span::default(), 6, 3), (vec![7], 0));
        assert_eq!(places.lines_around(line(5), to(2, 6), 1, 3), (vec![5], 1));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = "é".repeat(10);
        assert_eq!(Part::of(&line, 4, 20), Part { text: &line, before: 0, more: false });
        assert_eq!(Part::of(&line, 4, 9).marked(), "éééé…");
        assert_eq!(Part::of(&line, 12, 9), Part { text: "éééé", before: 8, more: true });
        assert_eq!(Part::of(&line, 20, 9).marked(), "…éé");
        assert_eq!(Part::of(&line, 99, 9).marked(), "…éé");
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
