//! Merge keys, in kubectl's order: what stands later in the text wins, so a merge overrides the keys
//! written before it and is overridden by those after it. In a list of mappings the first wins.

use super::build::Fields;
use super::errors;
use crate::tree::{Entry, Node, Value};
use portcullis_diag::{Diagnostic, Span};

/// Merges `node` into `fields`; what is wrong with it goes to `findings`.
pub(super) fn merge(fields: &mut Fields, node: Node, key: Span, findings: &mut Vec<Diagnostic>) {
    match node.value {
        Value::Map(entries) => take(fields, entries, key, findings),
        Value::Seq(items) => {
            for item in items.into_iter().rev() {
                match item.value {
                    Value::Map(entries) => take(fields, entries, key, findings),
                    _ => findings.push(errors::bad_merge(item.span, item.value.type_name())),
                }
            }
        }
        _ => findings.push(errors::bad_merge(node.span, node.value.type_name())),
    }
}

fn take(fields: &mut Fields, entries: Vec<Entry>, merge: Span, findings: &mut Vec<Diagnostic>) {
    for entry in entries {
        let name = entry.key.clone();
        // Overriding what an earlier merge brought is what lists of mappings are for; overriding a
        // key that was written in this mapping is a surprise.
        if let Some(before) = fields.set(entry, true) {
            findings.push(errors::overridden_by_merge(&name, before, merge));
        }
    }
}
