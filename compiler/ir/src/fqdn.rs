//! DNS name selectors (SEM-2.10).

use smol_str::SmolStr;
use std::fmt;

/// A `matchName` or `matchPattern`, lower-cased, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fqdn {
    /// Exactly this name.
    Name(SmolStr),
    /// `*` stands for `[-a-zA-Z0-9_]*` inside one label; a leading `**.` for one or more whole
    /// labels; a pattern of only `*` for every name.
    Pattern(SmolStr),
}

impl Fqdn {
    /// Whether a name (any case, with or without a trailing dot) is selected.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match self {
            Self::Name(n) => *n == name,
            Self::Pattern(p) if p == "*" => true,
            Self::Pattern(p) => match p.strip_prefix("**.") {
                Some(rest) => {
                    // One or more whole labels, then the rest of the pattern.
                    name.match_indices('.').any(|(i, _)| {
                        let (head, tail) = (name.get(..i).unwrap_or(""), name.get(i + 1..).unwrap_or(""));
                        head.split('.').all(|l| !l.is_empty() && l.bytes().all(is_label_byte))
                            && glob(rest.as_bytes(), tail.as_bytes())
                    })
                }
                None => glob(p.as_bytes(), name.as_bytes()),
            },
        }
    }

    /// The text as written in the policy.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(s) | Self::Pattern(s) => s,
        }
    }
}

impl fmt::Display for Fqdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_label_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

/// Matches `*` against any run of label characters, with one step of memory per star (linear in
/// practice, quadratic at worst; names are at most 255 characters).
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                star = Some((p + 1, t));
                p += 1;
            }
            (Some(a), Some(b)) if a == b => {
                p += 1;
                t += 1;
            }
            (None, None) => return true,
            _ => match star {
                Some((after, at)) if text.get(at).copied().is_some_and(is_label_byte) => {
                    star = Some((after, at + 1));
                    p = after;
                    t = at + 1;
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn m(pattern: &str, name: &str) -> bool {
        Fqdn::Pattern(pattern.into()).matches(name)
    }

    #[test]
    fn a_star_stays_inside_one_label() {
        assert!(m("*.example.com", "api.example.com"));
        assert!(m("*.example.com", ".example.com"));
        assert!(!m("*.example.com", "a.b.example.com"));
        assert!(!m("*.example.com", "example.com"));
        assert!(m("api*.example.com", "api-7.example.com"));
    }

    #[test]
    fn a_leading_double_star_takes_one_or_more_labels() {
        assert!(m("**.example.com", "a.example.com"));
        assert!(m("**.example.com", "a.b.example.com."));
        assert!(!m("**.example.com", "example.com"));
    }

    #[test]
    fn a_lone_star_takes_every_name() {
        assert!(m("*", "a.b.c"));
    }
}
