//! Comments for a pull request: short first, the rest folded, within the host's limit.

pub(crate) mod check;
pub(crate) mod diff;

use crate::model::{ClusterSource, Coverage};
use crate::place::{LONG, Places};
use crate::say;
use crate::words::{clean, count_of, one_line};
use portcullis_diag::{Diagnostic, Severity, Span};
use std::fmt::Write as _;

/// GitHub takes comments of at most 65,536 characters; a little is left for what is put around.
const LIMIT: usize = 65_000;
/// Lines of an excerpt, and how many of them are kept from the beginning of a long one.
const LINES: u32 = 12;
const BEGINNING: u32 = 4;
/// Rows of a table, and objects in a warning.
const ROWS: usize = 10;

/// Text in which nothing is markup: names, messages.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in one_line(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '|' | '~' | '#' | '!' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // A name must not call somebody.
            '@' => out.push_str("&#64;"),
            _ => out.push(c),
        }
    }
    out
}

/// A code span, also inside a table.
fn code(text: &str) -> String {
    let text = one_line(text).replace('|', "\\|");
    let fence = "`".repeat(longest_run(&text) + 1);
    if text.starts_with('`') || text.ends_with('`') {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}

/// A fenced block that its content cannot close.
fn fenced(language: &str, content: &str) -> String {
    let fence = "`".repeat(longest_run(content).max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", clean(content).trim_end())
}

/// A terminal's page as a block: what it underlines stays underlined.
pub(crate) fn as_it_is(page: &str) -> String {
    fenced("text", page)
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A place and the lines around it.
fn excerpt(places: &Places<'_>, span: Span, around: Span) -> String {
    let Some(place) = places.at(span) else { return String::new() };
    let (numbers, left) = places.lines_around(span, around, LINES, BEGINNING);
    let mut lines = Vec::new();
    let mut before = None;
    for n in numbers {
        if before.is_some_and(|b| b + 1 < n) {
            lines.push("# …".to_owned());
        }
        before = Some(n);
        let at = if n == place.start.line { span.start } else { 0 };
        lines.extend(places.part(span.file, n, at, LONG).map(|(part, _)| part.marked()));
    }
    if left > 0 {
        lines.push("# …".to_owned());
    }
    format!("{}\n\n{}", code(&place.to_string()), fenced("yaml", &lines.join("\n")))
}

/// A part that is folded until it is asked for.
fn folded(title: &str, body: &str) -> String {
    format!("<details>\n<summary>{}</summary>\n\n{}\n\n</details>\n\n", html(title), body.trim_end())
}

/// Text inside an HTML tag, where Markdown's backslashes do not count.
fn html(text: &str) -> String {
    one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('@', "&#64;")
}

/// A warning box with its reasons.
fn alert(places: &Places<'_>, headline: &str, blocking: &[Diagnostic]) -> String {
    let mut out = format!("> [!CAUTION]\n> **{}**\n>\n", text(headline));
    for d in blocking.iter().take(ROWS) {
        let _ = writeln!(out, "> - {}", line(places, d));
    }
    if blocking.len() > ROWS {
        let _ = writeln!(out, "> - and {} more", blocking.len() - ROWS);
    }
    out.push('\n');
    out
}

/// A finding on one line.
fn line(places: &Places<'_>, d: &Diagnostic) -> String {
    let object = d.object.as_ref().map_or(String::new(), |o| format!("{}: ", say::object(o)));
    let at = d.span().and_then(|s| places.locate(s)).map_or(String::new(), |at| format!(" — {}", code(&at)));
    format!("`{}` {}{at}", d.code, text(&format!("{object}{}", d.message)))
}

/// A finding with its lines and its way out.
fn detail(places: &Places<'_>, d: &Diagnostic) -> String {
    let mark = match d.severity {
        Severity::Error => "❌ error",
        Severity::Warning => "⚠️ warning",
        Severity::Note => "ℹ️ note",
    };
    let slug = d.code.info().map_or("", |i| i.slug);
    let object = d.object.as_ref().map_or(String::new(), |o| format!("{}: ", say::object(o)));
    let mut out = format!("**{mark}** `{}` {slug}: {}\n\n", d.code, text(&format!("{object}{}", d.message)));
    if let Some(span) = d.span() {
        out.push_str(&excerpt(places, span, span));
        out.push('\n');
    }
    for l in d.labels.iter().skip(1) {
        if let Some(at) = places.locate(l.span) {
            let _ = writeln!(out, "See also {} {}\n", code(&at), text(&l.text));
        }
    }
    if let Some(help) = &d.help {
        let _ = writeln!(out, "**Help:** {}\n", text(help));
    }
    out
}

/// What was looked at.
fn coverage(c: &Coverage) -> String {
    let mut out = String::new();
    for (i, sentence) in say::coverage(c).iter().enumerate() {
        if i == 1 && c.cluster == ClusterSource::None {
            let _ = writeln!(out, "> [!NOTE]\n> {}\n", text(sentence));
        } else {
            let _ = writeln!(out, "<sub>{}</sub><br>", html(sentence));
        }
    }
    out
}

/// Head, as many of the blocks as fit, and tail.
fn assemble(head: &str, blocks: &[String], tail: &str) -> String {
    let size = |s: &str| s.chars().count();
    let mut room = LIMIT.saturating_sub(size(head) + size(tail) + 200);
    let mut out = head.to_owned();
    let mut left_out = 0;
    for block in blocks {
        let length = size(block);
        if left_out == 0 && length <= room {
            out.push_str(block);
            room -= length;
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        let _ = writeln!(
            out,
            "{} left out, since a comment may not be longer; run `portcullis` on your machine to see everything.\n",
            count_of(left_out, "part")
        );
    }
    out.push_str(tail);
    if size(&out) > LIMIT {
        // Only names without end can make the head alone this long.
        out = out.chars().take(LIMIT).collect();
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_names_is_escaped() {
        assert_eq!(text("a|b `c` <d> @e\n# f"), "a\\|b \\`c\\` &lt;d&gt; &#64;e \\# f");
        assert_eq!(code("a`b|c"), "``a`b\\|c``");
        assert_eq!(fenced("yaml", "x: ```\n"), "````yaml\nx: ```\n````\n");
    }

    #[test]
    fn a_comment_keeps_to_the_limit_and_says_what_is_left_out() {
        let blocks = vec!["x".repeat(30_000); 4];
        let out = assemble("head\n", &blocks, "tail\n");
        assert!(out.chars().count() <= LIMIT);
        assert!(out.contains("2 parts left out"));
        assert!(out.ends_with("tail\n"));
        assert!(assemble(&"é".repeat(100_000), &[], "").chars().count() <= LIMIT + 1);
    }
}
