//! Diagnostic codes: `PCnnnn`, never reused, each with one line in the registry and one page in
//! `docs/diagnostics/`.

use crate::diagnostic::Severity;
use std::fmt;

/// A diagnostic code. 00xx syntax, 01xx schema and validation, 02xx resolution, 03xx meaning
/// (lints), 04xx tables, 05xx runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PC{:04}", self.0)
    }
}

/// What the registry knows of a code.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The code.
    pub code: Code,
    /// Short name in kebab case, e.g. `unknown-field`; unique.
    pub slug: &'static str,
    /// One line in sentence case, for lists and SARIF rule descriptions.
    pub title: &'static str,
    /// The severity it is raised with unless the caller says otherwise.
    pub severity: Severity,
}

impl Code {
    /// The registry entry of this code.
    pub fn info(self) -> Option<&'static CodeInfo> {
        registry().find(|i| i.code == self)
    }

    /// Parses `PC0101`, `pc0101`, `0101` or a slug.
    pub fn parse(text: &str) -> Option<Self> {
        let t = text.trim();
        if let Some(i) = registry().find(|i| i.slug.eq_ignore_ascii_case(t)) {
            return Some(i.code);
        }
        let digits = t.strip_prefix("PC").or_else(|| t.strip_prefix("pc")).unwrap_or(t);
        let code = Self(digits.parse().ok()?);
        code.info().map(|i| i.code)
    }
}

/// Every code there is, in order of its number.
pub fn registry() -> impl Iterator<Item = &'static CodeInfo> {
    crate::codes::ALL.iter().flat_map(|group| group.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_unique_and_so_are_slugs() {
        let all: Vec<_> = registry().collect();
        assert!(all.windows(2).all(|w| w[0].code < w[1].code), "codes out of order");
        let mut slugs: Vec<_> = all.iter().map(|i| i.slug).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), all.len());
    }
}
