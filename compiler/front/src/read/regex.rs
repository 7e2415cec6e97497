//! Whether Go would compile a regular expression.
//!
//! `regex-syntax` knows almost the same language as Go's RE2 syntax. The differences that occur in
//! policies are rewritten before it looks: a `{` that begins no repetition is a literal in Go, a
//! class has no nested classes or set operations, `\Q…\E` quotes. Stacked repetitions (`a**`), the
//! flags `x`, `u` and `R`, and repetitions over 1000 are errors in Go.

/// `Ok` if it compiles, else the reason.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let translated = translate(pattern)?;
    let mut parser = regex_syntax::ast::parse::Parser::new();
    match parser.parse(&translated) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.kind().to_string()),
    }
}

fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut repeated = false;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        let was_repeated = std::mem::take(&mut repeated);
        rest = match c {
            '\\' if after.starts_with('Q') => quoted(after, &mut out),
            '\\' => {
                let escaped = after.chars().next().map_or(0, char::len_utf8);
                out.push(c);
                out.push_str(after.get(..escaped).unwrap_or_default());
                after.get(escaped..).unwrap_or_default()
            }
            '[' => class(after, &mut out)?,
            '(' if after.starts_with('?') => {
                flags(after)?;
                out.push(c);
                after
            }
            '*' | '+' | '?' => {
                if was_repeated {
                    return Err("a repetition operator follows another".to_owned());
                }
                repeated = true;
                out.push(c);
                lazy(after, &mut out)
            }
            '{' => match repetition(after) {
                Some(_) if was_repeated => return Err("a repetition operator follows another".to_owned()),
                Some(length) => {
                    let body = after.get(..length).unwrap_or_default();
                    let over = |n: &str| !n.is_empty() && n.parse::<u32>().map_or(true, |n| n > 1000);
                    if body.trim_end_matches('}').split(',').any(over) {
                        return Err("a repetition count is over 1000".to_owned());
                    }
                    repeated = true;
                    out.push(c);
                    out.push_str(body);
                    lazy(after.get(length..).unwrap_or_default(), &mut out)
                }
                None => {
                    out.push_str("\\{");
                    after
                }
            },
            _ => {
                out.push(c);
                after
            }
        };
    }
    Ok(out)
}

/// A `?` right after a repetition belongs to it.
fn lazy<'p>(after: &'p str, out: &mut String) -> &'p str {
    match after.strip_prefix('?') {
        Some(rest) => {
            out.push('?');
            rest
        }
        None => after,
    }
}

/// The length of `n}`, `n,}` or `n,m}` at the start of `after`.
fn repetition(after: &str) -> Option<usize> {
    let end = after.find('}')?;
    let (least, most) = {
        let body = after.get(..end)?;
        body.split_once(',').map_or((body, ""), |(a, b)| (a, b))
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    (!least.is_empty() && digits(least) && digits(most)).then_some(end + 1)
}

/// Everything up to `\E`, as literals.
fn quoted<'p>(after: &'p str, out: &mut String) -> &'p str {
    let body = after.get(1..).unwrap_or_default();
    let (literal, rest) = body.split_once("\\E").unwrap_or((body, ""));
    out.push_str(&regex_syntax::escape(literal));
    rest
}

/// A character class after its `[`, with what only Rust takes for an operator escaped.
fn class<'p>(after: &'p str, out: &mut String) -> Result<&'p str, String> {
    out.push('[');
    let mut rest = after;
    if let Some(r) = rest.strip_prefix('^') {
        out.push('^');
        rest = r;
    }
    let mut first = true;
    while let Some(c) = rest.chars().next() {
        let next = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            ']' if !first => {
                out.push(']');
                return Ok(next);
            }
            '[' if next.starts_with(':') && next.contains(":]") => {
                let end = next.find(":]").map_or(0, |i| i + 2);
                out.push('[');
                out.push_str(next.get(..end).unwrap_or_default());
                next.get(end..).unwrap_or_default()
            }
            '\\' => {
                let escaped = next.chars().next().map_or(0, char::len_utf8);
                out.push(c);
                out.push_str(next.get(..escaped).unwrap_or_default());
                next.get(escaped..).unwrap_or_default()
            }
            '[' | ']' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                next
            }
            '-' if first || next.starts_with(']') => {
                out.push_str("\\-");
                next
            }
            _ => {
                out.push(c);
                next
            }
        };
        first = false;
    }
    Err("a class is missing its closing ]".to_owned())
}

/// Flags that Go does not have.
fn flags(after: &str) -> Result<(), String> {
    let group = after.get(1..).unwrap_or_default();
    let end = group.find([':', ')', '<', 'P', '=', '!']).unwrap_or(group.len());
    match group.get(..end).unwrap_or_default().chars().find(|c| !"imsU-".contains(*c)) {
        Some(c) => Err(format!("there is no flag `{c}`")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_go_compiles_is_taken() {
        for good in [
            "",
            "GET",
            "GET|POST",
            "/public/.*",
            "/users/{id}",
            "/a{2}",
            "/a{2,}",
            "[a-z]+",
            "[[a]",
            "[a&&b]",
            "[]a]",
            "[-a]",
            "\\Qa*(\\E",
            "(?i)get",
            "(?P<n>a)",
            "a*?",
            "^/v[0-9]+/[^/]*$",
            "\\d+",
            "[[:alpha:]]",
            "/}",
            "\\/",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for bad in ["/(", "[", "*a", "a**", "a+*", "(?=a)", "\\1", "a{1001}", "(?x)a", ")", "[z-a]"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
