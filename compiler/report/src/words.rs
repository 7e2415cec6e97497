//! Numbers and nouns, and text from the user made fit to print.

use std::borrow::Cow;

/// `12,345`.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `1 flow`, `1,200 policies`; the last word of `noun` is the one that is counted.
pub(crate) fn count(n: u64, noun: &str) -> String {
    format!("{} {}", number(n), plural(n, noun))
}

/// [`count`] for the length of a list.
pub(crate) fn count_of(n: usize, noun: &str) -> String {
    count(n as u64, noun)
}

/// The noun as it goes with `n`.
pub(crate) fn plural(n: u64, noun: &str) -> Cow<'_, str> {
    if n == 1 {
        return Cow::Borrowed(noun);
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => Cow::Owned(format!("{stem}ies")),
        _ => Cow::Owned(format!("{noun}s")),
    }
}

/// `one` for a single thing, `many` for any other number.
pub(crate) fn agree<'a>(n: u64, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn join(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

/// The first `most` parts, and how many were left off: `a, b +3 more`.
pub(crate) fn cut(parts: &[String], most: usize) -> String {
    let shown: Vec<&str> = parts.iter().take(most).map(String::as_str).collect();
    let left = parts.len().saturating_sub(most);
    if left == 0 { shown.join(", ") } else { format!("{} +{} more", shown.join(", "), number(left as u64)) }
}

/// Text with every control and direction-changing character replaced by a harmless one of the same
/// length in UTF-8, so that a file cannot steer the terminal or show its lines in another order,
/// and byte offsets stay true. Line feeds and tabs stay.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .map(|c| match (harmless(c), c.len_utf8()) {
                (true, _) => c,
                (false, 1) => '?',
                (false, 2) => '\u{b7}',
                (false, _) => '\u{fffd}',
            })
            .collect(),
    )
}

fn harmless(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        _ => !c.is_control(),
    }
}

/// [`clean`] text on one line.
pub(crate) fn one_line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lines of at most `width` characters where words allow it; never empty.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split(' ') {
            let length = word.chars().count();
            // `+3 more` stays together.
            let glued = word == "more" && ends_in_count(&line);
            if used > 0 && used + 1 + length > width.max(20) && !glued {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
        lines.push(line);
    }
    lines
}

fn ends_in_count(line: &str) -> bool {
    let last = line.rsplit(' ').next().unwrap_or("");
    last.strip_prefix('+').is_some_and(|n| n.ends_with(|c: char| c.is_ascii_digit()))
}

/// A short stable name for what `parts` say: FNV-1a over them, in hexadecimal.
pub(crate) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        // A byte that no UTF-8 text holds ends each part.
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators_and_nouns_agree() {
        assert_eq!(count(1, "flow"), "1 flow");
        assert_eq!(count(0, "flow"), "0 flows");
        assert_eq!(count(1_234_567, "policy"), "1,234,567 policies");
        assert_eq!(count(999, "key"), "999 keys");
    }

    #[test]
    fn lists_are_cut_with_a_count() {
        let parts: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(join(&parts), "a, b and c");
        assert_eq!(cut(&parts, 2), "a, b +1 more");
        assert_eq!(cut(&parts, 3), "a, b, c");
    }

    #[test]
    fn control_characters_are_replaced_at_their_length() {
        let dirty = "a\u{1b}[31m\u{202e}\u{85}é\n";
        let safe = clean(dirty);
        assert_eq!(safe.len(), dirty.len());
        assert_eq!(safe, "a?[31m\u{fffd}\u{b7}é\n");
    }

    #[test]
    fn wrapping_keeps_long_words_and_empty_texts() {
        assert_eq!(wrap("", 30), [""]);
        assert_eq!(wrap("one two three, four +2 more", 20), ["one two three, four", "+2 more"]);
        assert_eq!(wrap("one two three four +2 more", 21), ["one two three four +2 more"]);
        assert_eq!(wrap("one two three four five", 20), ["one two three four", "five"]);
    }
}
