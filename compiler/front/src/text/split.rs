//! Cutting a file into documents.
//!
//! kubectl cuts at every line that starts with `---`, before any YAML is looked at, and refuses a
//! separator with anything but a comment after it. So do we.

use std::ops::Range;

/// Cuts a file into chunks that can be read apart, as kubectl cuts it: a chunk is one document with
/// the `---` line before it. Together the chunks cover the text; blank ones are left out.
pub fn split(_name: &str, text: &str) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find("\n---")) {
        let line = at + found + 1;
        push(text, start..line, &mut chunks);
        start = line;
        at = line + 3;
    }
    push(text, start..text.len(), &mut chunks);
    chunks
}

fn push(text: &str, range: Range<usize>, chunks: &mut Vec<Range<usize>>) {
    // Only white space: not worth a task. A chunk of comments costs little in `tree`.
    if !text.get(range.clone()).is_none_or(|t| t.trim().is_empty()) {
        chunks.push(range);
    }
}

/// A chunk taken apart.
pub(super) struct Body<'a> {
    /// The document after the `---` line and a byte-order mark.
    pub(super) text: &'a str,
    /// Where it starts in the chunk.
    pub(super) offset: usize,
    /// The `---` line with its line break; empty if there is none.
    pub(super) marker_line: &'a str,
    /// What follows `---` on its line and should not, as a range of `marker_line`.
    pub(super) after_marker: Option<Range<usize>>,
}

/// Takes the `---` line and a byte-order mark off a chunk.
pub(super) fn body(chunk: &str) -> Body<'_> {
    let text = chunk.strip_prefix('\u{feff}').unwrap_or(chunk);
    let bom = chunk.len() - text.len();
    if !text.starts_with("---") {
        return Body { text, offset: bom, marker_line: "", after_marker: None };
    }
    let end = text.find('\n').map_or(text.len(), |i| i + 1);
    let (line, rest) = text.split_at(end);
    let after = line.get(3..).unwrap_or("");
    let word = after.trim();
    let start = 3 + (after.len() - after.trim_start().len());
    let wrong = !word.is_empty() && !word.starts_with('#');
    let after_marker = wrong.then(|| start..start + word.len());
    Body { text: rest, offset: bom + end, marker_line: line, after_marker }
}

/// Whether a text holds nothing but white space and comments.
pub(super) fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim_start();
        line.is_empty() || line.starts_with('#')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        split("a.yaml", text).into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn a_file_is_cut_before_every_line_that_starts_with_three_dashes() {
        assert_eq!(pieces("a: 1\n---\nb: 2\n--- # c\nc: 3\n"), ["a: 1\n", "---\nb: 2\n", "--- # c\nc: 3\n"]);
        assert_eq!(pieces("---\r\na: 1\r\n---\r\nb: 1"), ["---\r\na: 1\r\n", "---\r\nb: 1"]);
        assert_eq!(pieces("a: |\n  ---\n  x\n"), ["a: |\n  ---\n  x\n"]);
        assert_eq!(pieces("\n\n"), Vec::<&str>::new());
        assert_eq!(pieces("---\n---\n---"), ["---\n", "---\n", "---"]);
    }

    #[test]
    fn the_marker_line_and_a_byte_order_mark_come_off() {
        let b = body("\u{feff}--- # x\na: 1");
        assert_eq!((b.text, b.offset, b.after_marker), ("a: 1", 11, None));
        let b = body("--- {a: 1}\n");
        assert_eq!(b.after_marker, Some(4..10));
        assert_eq!(body("----\n").after_marker, Some(3..4));
        assert_eq!(body("---").offset, 3);
    }
}
