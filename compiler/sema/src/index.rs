//! Selectors over label sets, each evaluated once through an index of labels.

use fixedbitset::FixedBitSet;
use portcullis_ir::{LabelSet, Operator, Requirement, Selector};
use smol_str::SmolStr;
use std::collections::HashMap;


/// Where each label occurs among a list of label sets.
#[derive(Debug, Default)]
pub struct LabelIndex {
    /// Sets by key, each with the label's source and value.
    postings: HashMap<SmolStr, Vec<(u32, SmolStr, SmolStr)>>,
    len: usize,
}

impl LabelIndex {
    /// Indexes label sets; their places in the list are the bits of the answers.
    pub fn new<'a>(sets: impl IntoIterator<Item = &'a LabelSet>) -> Self {
        let mut index = Self::default();
        for set in sets {
            let at = u32::try_from(index.len).unwrap_or(u32::MAX);
            for l in set {
                index.postings.entry(l.key.clone()).or_default().push((at, l.source.clone(), l.value.clone()));
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
        let by_value = matches!(r.operator, Operator::In | Operator::NotIn);
        for (at, source, value) in self.postings.get(&r.key).map_or(&[][..], Vec::as_slice) {
            let source_fits = r.source.as_ref().is_none_or(|s| s == source);
            if source_fits && (!by_value || r.values.binary_search(value).is_ok()) {
                found.insert(*at as usize);
            }
        }
        if matches!(r.operator, Operator::NotIn | Operator::DoesNotExist) {
            found.toggle_range(..);
        }
        found
    }
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
