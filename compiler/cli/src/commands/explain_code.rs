//! `explain-code`: the page of a diagnostic, from the binary itself.

use crate::args::{ExplainCodeArgs, FormatName, Global};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::resolve::nearest;
use portcullis_diag::code::{Code, registry};
use std::fmt::Write as _;

/// Pages of `docs/diagnostics` by their code, put here by the build script.
static PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Runs the command.
pub(crate) fn run(args: &ExplainCodeArgs, global: &Global) -> Result<Exit, Failure> {
    output::check_format(global, "explain-code", &[FormatName::Terminal, FormatName::Markdown])?;
    let Some(asked) = &args.code else {
        output::text(&list(), global)?;
        return Ok(Exit::Clean);
    };
    let Some(code) = Code::parse(asked) else {
        let slugs = registry().map(|i| i.slug);
        let near = nearest(asked, slugs, 3);
        let help = if near.is_empty() {
            "see them all: `portcullis explain-code --list`".to_owned()
        } else {
            format!("did you mean {}?", near.join(", "))
        };
        return Err(Failure::new(format!("there is no diagnostic `{asked}`"), help));
    };
    output::text(&page(code), global)?;
    Ok(Exit::Clean)
}

/// The page of a code; a code without one has its line of the registry.
fn page(code: Code) -> String {
    let name = code.to_string();
    if let Some((_, text)) = PAGES.iter().find(|(c, _)| *c == name) {
        return (*text).to_owned();
    }
    code.info().map(|i| format!("# {code} {}\n{}.\n", i.slug, i.title)).unwrap_or_default()
}

fn list() -> String {
    let width = registry().map(|i| i.slug.len()).max().unwrap_or(0);
    let mut out = String::new();
    for i in registry() {
        let severity = i.severity.to_string();
        let _ = writeln!(out, "{}  {severity:<7}  {:<width$}  {}", i.code, i.slug, i.title);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_belongs_to_a_code() {
        for (code, text) in PAGES {
            assert!(Code::parse(code).is_some(), "{code} is not in the registry");
            assert!(text.starts_with(&format!("# {code} ")), "{code} has another title");
        }
    }
}
