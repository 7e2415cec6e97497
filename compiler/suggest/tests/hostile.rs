//! Items put into texts that nobody would write: nothing panics, and what comes out is what was meant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::{Fate, FileId, Span};
use portcullis_front::ast::{Body, Object};
use portcullis_suggest::edit::{add, find};
use portcullis_suggest::style::Style;
use portcullis_suggest::yaml::{Yaml, block_entries, flow, pretty};
use proptest::prelude::*;

const SEEDS: [&str; 5] = [
    "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a}\nspec:\n  endpointSelector: {}\n  ingress:\n  - fromEndpoints:\n    - matchLabels:\n        app: \"web\"\n    toPorts: [{ports: [{port: \"80\"}]}]\n",
    "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: a\n  annotations:\n    x: |+\n      text\n\nspecs:\n  - endpointSelector: &e {}\n    ingress: &i\n      - {}\n  - endpointSelector: *e\n    ingress: *i\n",
    "{\"apiVersion\": \"cilium.io/v2\", \"kind\": \"CiliumNetworkPolicy\", \"metadata\": {\"name\": \"a\"},\n  \"spec\": {\n    \"endpointSelector\": {}, \"ingress\": [\n      {}\n    ]}}",
    "apiVersion: v1\r\nkind: List\r\nitems:\r\n- apiVersion: networking.k8s.io/v1\r\n  kind: NetworkPolicy\r\n  metadata: {name: a}\r\n  spec:\r\n    podSelector: {}\r\n    ingress: []\r\n",
    "# c\n---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a}\nspec: {endpointSelector: {}, egress: [{toEntities: [world]}]} # d\n---\na: 1\n",
];

/// What is put in, and where: hostile on purpose.
const PIECES: [&str; 24] = [
    "\n", "  ", "- ", "# x\n", "[", "]", "{", "}", ",", ":", "&a ", "*a", "!!str ", "|\n", ">-\n", "\"", "'",
    "\t", "\r\n", "---\n", "é", "<<: ", "ingress:", "\u{feff}",
];

fn rules(o: &Object) -> Vec<Span> {
    match &o.body {
        Body::Cilium(p) => p.rules.iter().map(|r| r.span).collect(),
        // One without a spec has no place for a list.
        Body::Network(p) if p.span != o.span => vec![p.span],
        _ => Vec::new(),
    }
}

fn size(o: &Object) -> Vec<usize> {
    match &o.body {
        Body::Cilium(p) => p.rules.iter().map(|r| r.ingress.as_ref().map_or(0, |i| i.value.len())).collect(),
        Body::Network(p) => vec![p.ingress.as_ref().map_or(0, |i| i.value.len())],
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_texts_are_edited_right_or_not_at_all(
        seed in 0..SEEDS.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..PIECES.len(), 0usize..4), 0..5),
    ) {
        let mut text = SEEDS[seed].to_owned();
        for (at, piece, cut) in edits {
            let at = text.floor_char_boundary(at.index(text.len().max(1)));
            let end = text.floor_char_boundary((at + cut).min(text.len()));
            text.replace_range(at..end.max(at), PIECES[piece]);
        }
        let name = if seed == 2 { "a.json" } else { "a.yaml" };
        let before = portcullis_front::parse(FileId(0), name, &text);
        let item = Yaml::map([("fromEntities", Yaml::Seq(vec![Yaml::Text("host".into())]))]);
        // Policies that the cluster would not take are never added to.
        let accepted = |o: &Object| o.fate == Fate::Accepted;
        for (n, o) in before.objects.iter().enumerate().filter(|(_, o)| accepted(o)) {
            for (r, span) in rules(o).into_iter().enumerate() {
                let Some(target) = find(name, &text, span) else { continue };
                let Some(new_text) = add(name, &text, &target, "ingress", std::slice::from_ref(&item)) else { continue };
                let after = portcullis_front::parse(FileId(0), name, &new_text);
                prop_assert_eq!(after.objects.len(), before.objects.len());
                for (m, (old, new)) in before.objects.iter().zip(&after.objects).enumerate() {
                    let mut want = size(old);
                    // An alias of the whole mapping is the same place.
                    if m == n && want.len() == size(new).len() {
                        want[r] += 1;
                    }
                    let twins = rules(old).iter().filter(|s| **s == span).count();
                    prop_assert!(size(new) == want || twins > 1, "{text}\n{:?}\n{}", size(new), new_text);
                }
                // Nothing that was there is gone but an empty list.
                prop_assert!(new_text.len() + 8 > text.len());
            }
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same(
        texts in proptest::collection::vec("\\PC{0,12}|[a-z0-9:/.#&*!|>'\"% -]{0,8}|yes|0x1|1e3|~|null|-1|1_000|12:30|\\.inf", 1..6),
        dash in 0usize..5, step in 1usize..6, json in any::<bool>(), single in any::<bool>(),
    ) {
        let quote = if single { '\'' } else { '"' };
        let mut style = Style::default();
        (style.dash, style.step, style.quote) = (dash, step, quote);
        let style = if json { style.as_json(step) } else { style };
        let list: Vec<Yaml> = texts.iter().map(|t| Yaml::Text(t.clone())).collect();
        let map = Yaml::Map(texts.iter().enumerate().map(|(n, t)| (format!("{n}{t}"), Yaml::Text(t.clone()))).collect());
        let entries = vec![("list".to_owned(), Yaml::Seq(list)), ("items".to_owned(), Yaml::Seq(vec![map.clone(), map]))];
        let whole = Yaml::Map(entries.clone());
        let block = block_entries(&entries, 0, &style);
        for text in [block, flow(&whole, &style), pretty(&whole, 0, &style)] {
            let roots = portcullis_front::text::tree(FileId(0), "a.yaml", &text, 0..text.len()).roots;
            prop_assert!(roots.len() == 1 && whole.is(&roots[0]), "{text}\n{roots:#?}");
        }
    }
}
