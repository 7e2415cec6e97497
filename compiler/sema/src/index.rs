//! Selectors over label sets, each evaluated once through an index of labels.

use fixedbitset::FixedBitSet;
use portcullis_ir::{LabelSet, Operator, Requirement, Selector};
use smol_str::SmolStr;
use std::collections::HashMap;

/// Where each label occurs among a list of label sets.
#[derive(Debug, Default)]
pub struct LabelIndex {
    keys: HashMap<SmolStr, Postings>,
    len: usize,
}

/// Sets that have one key, each with the label's source; by value, since a key such as `app` is on
/// every pod and a value on few.
#[derive(Debug, Default)]
struct Postings {
    by_value: HashMap<SmolStr, Vec<(u32, SmolStr)>>,
}

impl LabelIndex {
    /// Indexes label sets; their places in the list are the bits of the answers.
    pub fn new<'a>(sets: impl IntoIterator<Item = &'a LabelSet>) -> Self {
        let mut index = Self::default();
        for set in sets {
            let at = u32::try_from(index.len).unwrap_or(u32::MAX);
            for l in set {
                let postings = entry(&mut index.keys, &l.key);
                entry(&mut postings.by_value, &l.value).push((at, l.source.clone()));
            }
            index.len += 1;
        }
        index
    }

    /// How many label sets are indexed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no label set is indexed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The label sets a selector matches.
    pub fn select(&self, selector: &Selector) -> FixedBitSet {
        let mut out = FixedBitSet::with_capacity(self.len);
        out.insert_range(..);
        for r in selector.requirements() {
            out.intersect_with(&self.require(r));
        }
        out
    }

    fn require(&self, r: &Requirement) -> FixedBitSet {
        let mut found = FixedBitSet::with_capacity(self.len);
        let mut insert = |list: &[(u32, SmolStr)]| {
            for (at, source) in list {
                if r.source.as_ref().is_none_or(|s| s == source) {
                    found.insert(*at as usize);
                }
            }
        };
        if let Some(postings) = self.keys.get(&r.key) {
            if matches!(r.operator, Operator::In | Operator::NotIn) {
                r.values.iter().filter_map(|v| postings.by_value.get(v)).for_each(|l| insert(l));
            } else {
                #[expect(clippy::iter_over_hash_type, reason = "a union does not depend on the order")]
                for list in postings.by_value.values() {
                    insert(list);
                }
            }
        }
        if matches!(r.operator, Operator::NotIn | Operator::DoesNotExist) {
            found.toggle_range(..);
        }
        found
    }
}

/// The entry of a key, made only where it is new: most labels repeat.
fn entry<'m, V: Default>(map: &'m mut HashMap<SmolStr, V>, key: &SmolStr) -> &'m mut V {
    if !map.contains_key(key) {
        map.insert(key.clone(), V::default());
    }
    map.entry(key.clone()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_ir::Label;

    #[test]
    fn the_index_and_the_selector_agree() {
        let sets = [
            LabelSet::new([Label::k8s("app", "web")]),
            LabelSet::new([Label::k8s("app", "db"), Label::k8s("tier", "back")]),
            LabelSet::new([Label::reserved("host")]),
        ];
        let index = LabelIndex::new(&sets);
        for (op, values) in [
            (Operator::In, vec!["web".into()]),
            (Operator::NotIn, vec!["web".into()]),
            (Operator::Exists, vec![]),
            (Operator::DoesNotExist, vec![]),
        ] {
            for source in [None, Some("k8s"), Some("reserved")] {
                let s = Selector::new([Requirement::new(source, "app", op, values.clone())]);
                let bits = index.select(&s);
                for (i, set) in sets.iter().enumerate() {
                    assert_eq!(bits.contains(i), s.matches(set), "{s} on {set:?}");
                }
            }
        }
    }
}
