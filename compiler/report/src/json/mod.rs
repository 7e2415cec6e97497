//! The versioned JSON of `docs/schema`. Field order is the order of the structs here.

pub(crate) mod check;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod parts;
pub(crate) mod reach;
pub(crate) mod steps;

use crate::place::Places;
use portcullis_diag::{SourceMap, Span};
use serde::Serialize;

/// Version of the schemas; it changes only when a field goes away or changes its meaning.
const VERSION: u32 = 1;

/// Who wrote a document.
#[derive(Serialize)]
struct Tool {
    name: &'static str,
    version: &'static str,
}

/// What every document begins with.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<T> {
    schema: String,
    schema_version: u32,
    tool: Tool,
    #[serde(flatten)]
    body: T,
}

/// A place as every document has it; null where it is not known.
pub fn span(sources: &SourceMap, span: Span) -> impl Serialize + use<'_> {
    parts::span(&Places::new(sources), span)
}

/// One document, with a line feed at its end: `portcullis.dev/REPORT/v1`, and the fields of the body, which
/// is a struct or a map.
pub fn document(report: &str, body: impl Serialize) -> String {
    let envelope = Envelope {
        schema: format!("portcullis.dev/{report}/v{VERSION}"),
        schema_version: VERSION,
        tool: Tool { name: "portcullis", version: env!("CARGO_PKG_VERSION") },
        body,
    };
    // Structs of texts, numbers and lists always have a JSON form.
    let mut text = serde_json::to_string_pretty(&envelope).unwrap_or_default();
    text.push('\n');
    text
}
