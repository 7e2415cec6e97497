//! Domain names and patterns: `toFQDNs` and `rules.dns` (SEM-2.10).

use super::fields::{Reader, refused};
use super::names;
use crate::ast::{FqdnSelector, Spanned, Text};
use crate::tree::Node;
use portcullis_diag::codes::schema;
use smol_str::SmolStr;

/// Reads a list of names and patterns.
pub(super) fn list(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<Spanned<Vec<FqdnSelector>>> {
    let items = r.list(node, what)?;
    let selectors = items.iter().filter_map(|n| selector(r, n, what)).collect();
    Some(Spanned::new(selectors, node.span))
}

fn selector(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<FqdnSelector> {
    let map = r.strict(node, what, &["matchName", "matchPattern"])?;
    match (map.entry("matchName"), map.entry("matchPattern")) {
        (None, None) => {
            let finding =
                refused(schema::DOMAIN_NAME_CHOICE, node.span, format!("this `{what}` entry names nothing"))
                    .label("no matchName, no matchPattern")
                    .help("write `matchPattern: \"*\"` for every name");
            r.report(finding);
        }
        (Some(a), Some(b)) => {
            let (first, second) = if a.key_span.start < b.key_span.start { (a, b) } else { (b, a) };
            let why = "`matchName` and `matchPattern` stand in one entry";
            let finding = refused(schema::DOMAIN_NAME_CHOICE, second.key_span, why)
                .label("one of them is too many")
                .also(first.key_span, "the other one")
                .help("make two entries of it");
            r.report(finding);
        }
        _ => {}
    }
    let match_name = map.get("matchName").and_then(|n| name(r, n, "matchName", false));
    let match_pattern = map.get("matchPattern").and_then(|n| name(r, n, "matchPattern", true));
    Some(FqdnSelector { span: node.span, match_name, match_pattern })
}

/// Lower-cased and without a trailing dot, as the engine compares names.
fn name(r: &mut Reader<'_>, node: &Node, what: &str, pattern: bool) -> Option<Text> {
    let text = r.text(node, what)?;
    let finding = if text.value.len() > 255 {
        refused(schema::TOO_LONG, text.span, format!("`{what}` is longer than 255 bytes"))
            .label("too long for a domain name")
    } else if names::is_domain(&text.value, pattern) {
        let lower = text.value.to_ascii_lowercase();
        let bare = lower.strip_suffix('.').unwrap_or(&lower);
        return Some(Spanned::new(SmolStr::new(bare), text.span));
    } else {
        let finding =
            refused(schema::BAD_DOMAIN_NAME, text.span, format!("`{}` is no domain name", text.value));
        let star = !pattern && names::is_domain(&text.value, true);
        let help = if star {
            "use `matchPattern` for names with `*`"
        } else {
            "use letters, digits, `-`, `_` and single dots"
        };
        finding.label("has characters a name cannot have").help(help)
    };
    r.report(finding);
    None
}
