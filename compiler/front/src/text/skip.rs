//! Files that are no Kubernetes objects yet: templates and kustomize files.

use super::{Chunk, Outcome};
use crate::tree::{Node, Value};
use crate::{SkipReason, Skipped};
use portcullis_diag::codes::syntax as codes;
use portcullis_diag::{Diagnostic, Span};

/// What only a Helm template says.
const HELM: [&str; 7] = [".Values", ".Release", ".Chart", "include \"", "template \"", "tpl ", "- if "];

/// Fields that hold other people's texts as they are: alerts, dashboards, files in a ConfigMap, and
/// whole objects in a list. Braces there do not make a template of the document.
const FOREIGN: [&str; 4] = ["annotations", "data", "stringData", "items"];

/// Whether braces in a scalar under the keys `path` make a template of a readable document: unquoted
/// ones do, quoted ones if only Helm could have meant them.
pub(super) fn template_scalar<'a>(text: &str, quoted: bool, mut path: impl Iterator<Item = &'a str>) -> bool {
    let braces = |t: &str| t.split("{{").skip(1).any(|rest| !quoted || helm(rest));
    text.contains("{{") && braces(text) && !path.any(|key| FOREIGN.contains(&key))
}

/// Whether what follows `{{` is Helm's.
fn helm(rest: &str) -> bool {
    let inside = rest.split("}}").next().unwrap_or("");
    HELM.iter().any(|word| inside.contains(word))
}

/// Whether a text that could not be read is a template: it holds `{{` outside comments and quotes, or
/// a directive that only Helm knows. Each line is taken by itself, which is exact enough: a quote
/// that spans lines is rare where there are templates.
pub(super) fn template_text(text: &str) -> bool {
    text.contains("{{") && text.lines().any(template_line)
}

fn template_line(line: &str) -> bool {
    if !line.contains("{{") {
        return false;
    }
    let mut quote = None;
    let mut before = b' ';
    let mut braces_until = 0;
    for (at, byte) in line.bytes().enumerate() {
        match (quote, byte) {
            (None, b'#') if before == b' ' || before == b'\t' => return false,
            // A quote in the middle of a word is an apostrophe.
            (None, b'"' | b'\'') if !before.is_ascii_alphanumeric() => quote = Some(byte),
            (Some(open), _) if open == byte && before != b'\\' => quote = None,
            (None, b'{') if before == b'{' => return true,
            (Some(_), b'{') if before == b'{' && at >= braces_until => {
                let inside = line.get(at + 1..).unwrap_or("");
                let inside = inside.split("}}").next().unwrap_or("");
                if helm(inside) {
                    return true;
                }
                // Each directive is looked at once, however many braces it holds.
                braces_until = at + 1 + inside.len();
            }
            _ => {}
        }
        before = byte;
    }
    false
}

/// Leaves a template out.
pub(super) fn push_template(chunk: &Chunk<'_>, out: &mut Outcome) {
    let at = chunk.text.find("{{").unwrap_or(0);
    let rest = chunk.text.get(at..).unwrap_or("");
    let line = rest.lines().next().unwrap_or("");
    let end = line.find("}}").map_or(line.len(), |i| i + 2);
    out.skipped.push(Skipped {
        span: chunk.whole(),
        reason: SkipReason::Template,
        kind: kind_line(chunk.text),
    });
    out.diagnostics.push(
        Diagnostic::new(codes::TEMPLATE_SKIPPED, "the template was skipped", chunk.span(at..at + end))
            .label("filled in by Helm or another tool")
            .help("render it first: helm template … | portcullis check -"),
    );
}

/// The kind a template names, where it is no template itself.
fn kind_line(text: &str) -> String {
    let kind = text.lines().find_map(|line| line.strip_prefix("kind:")).map_or("", str::trim);
    if kind.contains("{{") { String::new() } else { kind.to_owned() }
}

/// Leaves a kustomize file out.
pub(super) fn push_kustomize(chunk: &Chunk<'_>, span: Span, kind: &str, out: &mut Outcome) {
    out.skipped.push(Skipped { span, reason: SkipReason::Kustomize, kind: kind.to_owned() });
    out.diagnostics.push(
        Diagnostic::new(codes::PATCH_SKIPPED, "the kustomize file was skipped", first_character(chunk, span))
            .label("takes effect only through kustomize")
            .help("build it first: kubectl kustomize … | portcullis check -"),
    );
}

/// A whole document underlined helps nobody.
fn first_character(chunk: &Chunk<'_>, span: Span) -> Span {
    let rest = (span.start as usize).checked_sub(chunk.base).and_then(|at| chunk.text.get(at..));
    let length = rest.and_then(|t| t.chars().next()).map_or(1, char::len_utf8);
    Span::new(span.file, span.start, span.end.min(span.start + u32::try_from(length).unwrap_or(1)))
}

/// Whether the file's name says kustomize.
pub(super) fn kustomize_name(name: &str) -> bool {
    let base = name.rsplit(['/', '\\', ':']).next().unwrap_or(name);
    matches!(base, "kustomization.yaml" | "kustomization.yml" | "Kustomization")
}

/// The kind of a kustomize file's root, if it is one: a kustomization or component, a patch with
/// `$patch`, or a list of JSON patch operations.
pub(super) fn kustomize_root(root: &Node) -> Option<String> {
    let text = |key: &str| root.get(key).and_then(Node::as_str).unwrap_or("");
    match &root.value {
        Value::Map(_) => {
            let kind = text("kind");
            let ours = matches!(kind, "Kustomization" | "Component")
                && text("apiVersion").starts_with("kustomize.config.k8s.io/");
            (ours || has_patch_key(root)).then(|| kind.to_owned())
        }
        Value::Seq(items) => {
            let operation = |item: &Node| item.get("op").is_some() && item.get("path").is_some();
            (!items.is_empty() && items.iter().all(operation)).then(String::new)
        }
        _ => None,
    }
}

/// Whether `$patch` occurs anywhere. Depth is bounded by the limit every tree keeps.
fn has_patch_key(node: &Node) -> bool {
    match &node.value {
        Value::Map(entries) => entries.iter().any(|e| e.key == "$patch" || has_patch_key(&e.value)),
        Value::Seq(items) => items.iter().any(has_patch_key),
        _ => false,
    }
}
