//! A few lines of the user's YAML with a place underlined.

use super::{Ink, Page};
use crate::place::LONG;
use crate::say::Evidence;
use crate::words::{clean, count};

/// How many lines of a long entry are shown, as a rule.
pub(crate) const FEW: u32 = 9;
/// The same where what a proxy is told stands further down.
pub(crate) const FEW_L7: u32 = 14;
const MOST_VERBOSE: u32 = 60;
/// Lines kept from the beginning of an entry whose line that counts is further down.
const BEGINNING: u32 = 4;

impl Page<'_> {
    /// A place with its reason. Lines that this page shows already are not shown again.
    pub(crate) fn evidence(&mut self, indent: usize, e: &Evidence, ink: Ink, few: u32) {
        if self.shown.contains(&(e.span, e.around)) {
            let at = self.places.locate(e.span).unwrap_or_default();
            self.prose(indent, Ink::Plain, &format!("{} ({at}, shown above)", e.lead));
            return;
        }
        self.prose(indent, Ink::Plain, &e.lead);
        self.excerpt(indent + 2, e, ink, few);
        self.shown.insert((e.span, e.around));
    }

    /// At most `few` lines around a place, the first line of the place itself underlined, with its label
    /// beside; the file's name alone, or nothing, where there is no such place.
    fn excerpt(&mut self, indent: usize, e: &Evidence, ink: Ink, few: u32) {
        let Some(place) = self.places.at(e.span) else {
            if let Some(name) = self.places.locate(e.span).filter(|n| !n.is_empty()) {
                self.prose(indent, Ink::Dim, &format!("in {name}"));
            }
            return;
        };
        let most = if self.verbose { MOST_VERBOSE } else { few.max(1) };
        let (lines, left) = self.places.lines_around(e.span, e.around, most, BEGINNING);
        let gutter = lines.last().copied().unwrap_or(place.start.line).to_string().len();
        let pad = format!("{:indent$}", "");
        let room = self.width.saturating_sub(indent + gutter + 3).max(20);
        let dim = |p: super::Paint, t: &str| p.ink(Ink::Dim, t);
        let paint = self.paint;
        let head = clean(&place.to_string()).into_owned();
        self.raw(&format!("{pad}{:gutter$} {}{head}{}", "", dim(paint, "╭─["), dim(paint, "]")));
        let mut before = None;
        for n in lines {
            if before.is_some_and(|b| b + 1 < n) {
                self.raw(&format!("{pad}{}", dim(paint, &format!("{:gutter$} ┆", ""))));
            }
            before = Some(n);
            let at = if n == place.start.line { e.span.start } else { 0 };
            let part = self.places.part(e.span.file, n, at, room.max(LONG / 2));
            let (line, from) = part.map_or((String::new(), 0), |(p, from)| (p.marked(), from));
            // What is underlined has to be seen.
            let (line, from) = match line.char_indices().nth(from.saturating_sub(room / 2)) {
                Some((start, _)) if from + 1 >= room => {
                    (format!("…{}", line.get(start..).unwrap_or("")), room / 2 + 1)
                }
                _ => (line, from),
            };
            let line = line.replace('\t', " ");
            let number = dim(paint, &format!("{n:gutter$} │"));
            self.raw(&format!("{pad}{number} {}", shorten(&line, room)));
            if n == place.start.line {
                let to = if place.end.line == n {
                    from + (place.end.column - place.start.column) as usize
                } else {
                    line.trim_end().chars().count()
                };
                let from = from.min(room.saturating_sub(1));
                let length = to.min(room).saturating_sub(from).max(1);
                let rule = paint.ink(ink, &"─".repeat(length));
                let bar = dim(paint, &format!("{:gutter$} ·", ""));
                let label = &e.label;
                let beside = from + length + 1 + label.chars().count() <= room;
                if label.is_empty() || !beside {
                    self.raw(&format!("{pad}{bar} {:from$}{rule}", ""));
                }
                if !label.is_empty() {
                    let label = paint.ink(ink, &clean(label));
                    if beside {
                        self.raw(&format!("{pad}{bar} {:from$}{rule} {label}", ""));
                    } else {
                        self.raw(&format!("{pad}{bar} {label}"));
                    }
                }
            }
        }
        let tail = if left > 0 {
            format!("╰─ {}", count(u64::from(left), "more line"))
        } else {
            "╰─".to_owned()
        };
        self.raw(&format!("{pad}{:gutter$} {}", "", dim(paint, &tail)));
    }
}

/// A line of at most `room` characters.
fn shorten(line: &str, room: usize) -> String {
    if line.chars().count() <= room {
        return line.to_owned();
    }
    line.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}
