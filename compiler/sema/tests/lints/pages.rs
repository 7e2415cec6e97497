//! The examples of `docs/diagnostics/` are executed: each raises its code, and its fix does not.
use portcullis_diag::code::registry;
use portcullis_diag::codes::{meaning, schema, syntax};
use portcullis_diag::{Code, CodeInfo, Diagnostic, FileId, Severity};
use portcullis_front::SkipReason;
use portcullis_front::ast::Object;
use portcullis_services::NodeContext;

/// What reading and linting one block finds.
fn findings(name: &str, text: &str) -> Vec<Diagnostic> {
    let parsed = portcullis_front::parse(FileId(0), name, text);
    let mut all = parsed.diagnostics;
    // The parser lists kinds that say nothing about policy; reports make a note of each.
    all.extend(
        parsed
            .skipped
            .iter()
            .filter(|s| s.reason == SkipReason::OtherKind)
            .map(|s| Diagnostic::new(syntax::UNKNOWN_KIND_SKIPPED, s.kind.clone(), s.span)),
    );
    let objects: Vec<&Object> = parsed.objects.iter().collect();
    all.extend(super::lint(&objects));
    let services = portcullis_services::Services::of(objects);
    all.extend(portcullis_services::resolve(&services, &NodeContext::default()).diagnostics);
    all
}

/// The blocks of a page, each with the file name its language stands for.
fn blocks(page: &str) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let name = match line {
            "```yaml" => "page.yaml",
            "```json" => "page.json",
            _ => continue,
        };
        let body: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
        out.push((name, body.join("\n") + "\n"));
    }
    out
}

/// Codes whose finding is about files and folders, or about several files at once: the command line
/// raises them while it gathers its input, and no single block can.
fn needs_files(info: &CodeInfo) -> bool {
    [
        "not-text",
        "unreadable",
        "too-large",
        "too-deep",
        "too-many-nodes",
        "symlink-loop",
        "patch-skipped",
        "duplicate-object",
    ]
    .contains(&info.slug)
}

/// A dropped field is told of twice: that it is dropped, by the reader, and what is left, by a lint.
fn goes_with(code: Code, other: Code) -> bool {
    [meaning::DENY_FIELD_DROPPED, meaning::L7_RULES_DROPPED].contains(&code) && other == schema::UNKNOWN_FIELD
}

fn fault(info: &CodeInfo) -> Option<String> {
    let path = format!("{}/../../docs/diagnostics/{}.md", env!("CARGO_MANIFEST_DIR"), info.code);
    let Ok(page) = std::fs::read_to_string(&path) else { return Some("has no page".to_owned()) };
    if !page.starts_with(&format!("# {} {}\n", info.code, info.slug)) {
        return Some("its page has another title".to_owned());
    }
    if needs_files(info) {
        return None;
    }
    let blocks = blocks(&page);
    let [(name, example), (fixed_name, fix), ..] = blocks.as_slice() else {
        return Some(format!("its page has {} blocks", blocks.len()));
    };
    let show = |all: &[Diagnostic]| {
        let lines: Vec<String> =
            all.iter().map(|d| format!("\n      {} {} {}", d.severity, d.code, d.message)).collect();
        lines.concat()
    };
    let raised = findings(name, example);
    if !raised.iter().any(|d| d.code == info.code && d.severity == info.severity) {
        return Some(format!("the example does not raise it as {}:{}", info.severity, show(&raised)));
    }
    if raised
        .iter()
        .any(|d| d.code != info.code && d.severity > Severity::Note && !goes_with(info.code, d.code))
    {
        return Some(format!("the example raises others:{}", show(&raised)));
    }
    let left = findings(fixed_name, fix);
    let clean = left.iter().all(|d| d.code != info.code && d.severity == Severity::Note);
    (!clean).then(|| format!("the fix still raises:{}", show(&left)))
}

#[test]
fn every_page_raises_its_code_and_its_fix_does_not() {
    let faults: Vec<String> = registry()
        .filter_map(|info| fault(info).map(|f| format!("{} {}: {f}", info.code, info.slug)))
        .collect();
    assert!(faults.is_empty(), "{} pages fail:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_page_is_about_a_code() {
    let folder = format!("{}/../../docs/diagnostics", env!("CARGO_MANIFEST_DIR"));
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(code) = name.strip_suffix(".md").filter(|n| n.starts_with("PC")) else { continue };
        assert!(Code::parse(code).is_some(), "{name} is about no code of the registry");
    }
}
