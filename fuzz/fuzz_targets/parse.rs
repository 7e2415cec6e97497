//! Any bytes, read as YAML and as JSON: nothing may panic, overflow the stack or point outside the text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_diag::{FileId, Span};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    for name in ["f.yaml", "f.json"] {
        let parsed = portcullis_front::parse(FileId(0), name, &text);
        let labels = parsed.diagnostics.iter().flat_map(|d| d.labels.iter().map(|l| l.span));
        for span in labels.chain(parsed.skipped.iter().map(|s| s.span)) {
            assert!(within(&text, span), "{span:?} is no place in the text");
        }
        let named = parsed.objects.len() + parsed.diagnostics.len() + parsed.skipped.len();
        assert!(parsed.documents == 0 || named > 0, "a document was dropped in silence");
        for chunk in portcullis_front::text::split(name, &text) {
            for root in portcullis_front::text::tree(FileId(0), name, &text, chunk).roots {
                check(&text, &root);
            }
        }
    }
});

fn within(text: &str, span: Span) -> bool {
    text.get(span.start as usize..span.end as usize).is_some()
}

/// Every node and key has a place, and no key occurs twice.
fn check(text: &str, node: &portcullis_front::tree::Node) {
    assert!(within(text, node.span), "{:?} is no place in the text", node.span);
    for item in node.as_seq().unwrap_or_default() {
        check(text, item);
    }
    let entries = node.as_map().unwrap_or_default();
    let mut keys: Vec<_> = entries.iter().map(|e| &e.key).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|w| w[0] != w[1]), "a key occurs twice");
    for entry in entries {
        assert!(within(text, entry.key_span), "{:?} is no place in the text", entry.key_span);
        check(text, &entry.value);
    }
}
