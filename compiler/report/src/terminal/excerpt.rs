//! A few lines of the user's YAML with a place underlined.

use super::{Ink, Page};
use crate::words::{clean, count};
use portcullis_diag::Span;

/// How many lines of a long place are shown, as a rule, and when more is asked for.
pub(crate) const FEW: u32 = 3;
/// The same where what a proxy is told stands further down.
pub(crate) const FEW_L7: u32 = 10;
const MOST_VERBOSE: u32 = 40;

impl Page<'_> {
    /// The first `few` lines of `span`, the very first one underlined, with `label` beside the line; the file's name
    /// alone, or nothing, where there is no such place.
    pub(crate) fn excerpt(&mut self, indent: usize, span: Span, label: &str, ink: Ink, few: u32) {
        let Some(place) = self.places.at(span) else {
            if let Some(name) = self.places.locate(span).filter(|n| !n.is_empty()) {
                self.prose(indent, Ink::Dim, &format!("in {name}"));
            }
            return;
        };
        let first = place.start.line;
        // A place that ends at the start of a line does not reach into it.
        let last =
            if place.end.column == 1 && place.end.line > first { place.end.line - 1 } else { place.end.line };
        let most = if self.verbose { MOST_VERBOSE } else { few.max(1) };
        let shown = last.min(first.saturating_add(most - 1));
        let gutter = shown.to_string().len();
        let pad = format!("{:indent$}", "");
        let room = self.width.saturating_sub(indent + gutter + 3).max(20);
        let dim = |p: super::Paint, t: &str| p.ink(Ink::Dim, t);
        let paint = self.paint;
        let head = clean(&place.to_string()).into_owned();
        self.raw(&format!("{pad}{:gutter$} {}{head}{}", "", dim(paint, "╭─["), dim(paint, "]")));
        for n in first..=shown {
            let line = clean(self.places.line(span.file, n).unwrap_or("")).replace('\t', " ");
            let number = dim(paint, &format!("{n:gutter$} │"));
            self.raw(&format!("{pad}{number} {}", shorten(&line, room)));
            if n == first {
                let from = place.start.column as usize - 1;
                let to = if place.end.line == first {
                    place.end.column as usize - 1
                } else {
                    line.trim_end().chars().count()
                };
                let from = from.min(room.saturating_sub(1));
                let length = to.min(room).saturating_sub(from).max(1);
                let rule = paint.ink(ink, &"─".repeat(length));
                let bar = dim(paint, &format!("{:gutter$} ·", ""));
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
        let left = last - shown;
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
