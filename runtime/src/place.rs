//! Where in an object something stands: the line of a file, or the field of what an API server had.

use portcullis_diag::{SourceMap, Span};
use std::fmt::Write as _;
use std::path::Path;

/// `FILE:LINE:COLUMN`, or the fields that lead there in a text that is one line of JSON: nobody has that line.
pub fn place(sources: &SourceMap, span: Span) -> String {
    let located = sources.locate(span);
    let is_json = |name: &str| Path::new(name).extension().is_some_and(|e| e == "json");
    let Some(file) = sources.get(span.file).filter(|f| is_json(&f.name)) else { return located };
    let text: &str = &file.text;
    if text.trim_end().contains('\n') {
        return located;
    }
    match path(text, span.start as usize) {
        Some(path) if !path.is_empty() => path,
        _ => located,
    }
}

/// The fields that lead to an offset of a JSON text: `spec.ingress[0].fromEndpoints`. None where the text is no JSON up
/// to there.
fn path(text: &str, offset: usize) -> Option<String> {
    /// An object with its present key, or a list with its present index.
    enum At {
        Field(String),
        Item(usize),
    }
    let mut stack: Vec<At> = Vec::new();
    let mut awaits_key = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if at > offset {
            break;
        }
        match c {
            '{' => {
                stack.push(At::Field(String::new()));
                awaits_key = true;
            }
            '[' => {
                stack.push(At::Item(0));
                awaits_key = false;
            }
            '}' | ']' => {
                stack.pop()?;
            }
            ',' => match stack.last_mut()? {
                At::Field(_) => awaits_key = true,
                At::Item(n) => *n += 1,
            },
            '"' => {
                let mut word = String::new();
                loop {
                    match chars.next()?.1 {
                        '"' => break,
                        '\\' => word.push(chars.next()?.1),
                        other => word.push(other),
                    }
                }
                if std::mem::take(&mut awaits_key)
                    && let At::Field(key) = stack.last_mut()?
                {
                    *key = word;
                }
            }
            _ => {}
        }
    }
    let mut out = String::new();
    for at in &stack {
        match at {
            At::Field(key) if key.is_empty() => {}
            At::Field(key) if out.is_empty() => out.push_str(key),
            At::Field(key) => {
                out.push('.');
                out.push_str(key);
            }
            At::Item(n) => {
                let _ = write!(out, "[{n}]");
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_diag::FileId;

    const TEXT: &str =
        r#"{"kind":"X","spec":{"ingress":[{"a":"},\"["},{"from":[{"m":{"app":"web"}}]}],"egress":[]}}"#;

    fn at(needle: &str) -> String {
        path(TEXT, TEXT.find(needle).unwrap()).unwrap()
    }

    #[test]
    fn fields_and_indices_lead_to_a_place() {
        assert_eq!(at("\"X\""), "kind");
        assert_eq!(at("\"web\""), "spec.ingress[1].from[0].m.app");
        assert_eq!(at("\"egress\""), "spec.egress");
        assert_eq!(at("[]"), "spec.egress[0]");
        assert_eq!(path("", 0), Some(String::new()));
        assert_eq!(path("}}", 1), None);
        assert_eq!(path("{\"a", 9), None);
    }

    #[test]
    fn files_have_lines_and_objects_have_fields() {
        let mut sources = SourceMap::new();
        let one = sources.add("NetworkPolicy n/p.json", TEXT);
        let file = sources.add("p.yaml", "kind: X\nspec: {}\n");
        let start = |t: &str, n: &str| u32::try_from(t.find(n).unwrap()).unwrap();
        let span = |file: FileId, start| Span { file, start, end: start + 1 };
        assert_eq!(place(&sources, span(one, start(TEXT, "\"web\""))), "spec.ingress[1].from[0].m.app");
        assert_eq!(place(&sources, span(file, 8)), "p.yaml:2:1");
    }
}
