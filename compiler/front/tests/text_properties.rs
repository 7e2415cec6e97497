//! What holds for the reader on any text.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use portcullis_diag::{Fate, FileId, Span};
use portcullis_front::text::{Outcome, split, tree};
use portcullis_front::tree::{Node, Value};
use proptest::prelude::*;

fn read(name: &str, text: &str) -> Vec<Outcome> {
    split(name, text).into_iter().map(|c| tree(FileId(0), name, text, c)).collect()
}

fn within(text: &str, span: Span) -> bool {
    text.get(span.start as usize..span.end as usize).is_some()
}

fn check(text: &str, node: &Node) {
    assert!(within(text, node.span), "{:?}", node.span);
    match &node.value {
        Value::Seq(items) => items.iter().for_each(|n| check(text, n)),
        Value::Map(entries) => {
            for (i, entry) in entries.iter().enumerate() {
                assert!(within(text, entry.key_span));
                assert!(entries[..i].iter().all(|e| e.key != entry.key), "{} twice", entry.key);
                check(text, &entry.value);
            }
        }
        Value::Float(f) => assert!(f.is_finite()),
        _ => {}
    }
}

fn holds(text: &str) {
    for name in ["a.yaml", "a.json"] {
        let chunks = split(name, text);
        assert!(chunks.windows(2).all(|w| w[0].end <= w[1].start), "chunks overlap");
        for out in read(name, text) {
            for label in out.diagnostics.iter().flat_map(|d| &d.labels) {
                assert!(within(text, label.span), "{:?}", label.span);
            }
            let unreadable = out.diagnostics.iter().any(|d| d.fate == Fate::Unreadable);
            let kept = out.roots.len() + out.skipped.len();
            assert!(out.documents >= kept);
            assert!(out.documents == kept || unreadable, "a document was dropped in silence");
            out.roots.iter().for_each(|root| check(text, root));
        }
    }
}

/// Texts of the pieces that matter to YAML: far more of them are valid, or nearly so.
fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", "80", "yes", "~", ": ", ":", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}", ", ", "'",
        "\"", "#", " # ", "|\n", ">-\n", "&x ", "*x", "<<: ", "? ", "!!str ", "! ", "---\n", "\n---\n",
        "...\n", "\t", "\r\n", "é", "\u{feff}", "\\u", "{{", "}}", ".inf", "0x1f", "%", "@", "null", "true",
        "\\ud83d", "1e3",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|v| v.concat())
}

/// A tree and its JSON text.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        "[ -~é😀\n\t\"\\\\]{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map("[a-z/.~\"é ]{0,8}", inner, 0..6)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

fn back(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool { value, .. } => (*value).into(),
        Value::Int(i) => i64::try_from(*i).map_or_else(|_| u64::try_from(*i).unwrap().into(), Into::into),
        Value::Float(f) => (*f).into(),
        Value::Str(s) => s.as_str().into(),
        Value::Seq(items) => items.iter().map(back).collect(),
        Value::Map(entries) => entries.iter().map(|e| (e.key.to_string(), back(&e.value))).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_without_panic_and_with_places_in_it(text in any::<String>()) {
        holds(&text);
    }

    #[test]
    fn any_near_yaml_is_read_without_panic_and_with_places_in_it(text in yamlish()) {
        holds(&text);
    }

    #[test]
    fn json_means_the_same_read_as_json_and_as_yaml(value in json()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let roots = |name: &str, text: &str| -> Vec<_> {
            read(name, text).iter().flat_map(|o| o.roots.iter().map(back)).collect()
        };
        let expected: Vec<_> = Some(value).into_iter().filter(|v| !v.is_null()).collect();
        prop_assert_eq!(&roots("a.json", &text), &expected);
        // A comment in front keeps it from being tried as JSON.
        prop_assert_eq!(&roots("a.yaml", &format!("# yaml\n{text}\n")), &expected);
    }

    #[test]
    fn the_place_of_a_scalar_is_its_text(keys in prop::collection::btree_set("[a-z]{3,8}", 1..20), crlf in any::<bool>()) {
        let end = if crlf { "\r\n" } else { "\n" };
        let lines: Vec<String> = keys.iter().map(|k| format!("k{k}: é-{k}{end}")).collect();
        let text = lines.concat();
        let out = read("a.yaml", &text);
        for entry in out[0].roots[0].as_map().unwrap() {
            let at = |s: Span| &text[s.start as usize..s.end as usize];
            prop_assert_eq!(at(entry.key_span), entry.key.as_str());
            prop_assert_eq!(Some(at(entry.value.span)), entry.value.as_str());
        }
    }
}
