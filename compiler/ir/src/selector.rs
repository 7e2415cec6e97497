//! Label selectors in one normal form (SEM-3).

use crate::label::LabelSet;
use portcullis_front::ast::Operator;
use smol_str::SmolStr;
use std::fmt;
use std::sync::Arc;

/// One condition on one label key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The key without its source.
    pub key: SmolStr,
    /// The source the label must have; `None` is any (SEM-3.1).
    pub source: Option<SmolStr>,
    /// What is asked of it.
    pub operator: Operator,
    /// Sorted, distinct; empty for `Exists` and `DoesNotExist`.
    pub values: Box<[SmolStr]>,
}

impl Requirement {
    /// A requirement with its values sorted.
    pub fn new(
        source: Option<&str>,
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = SmolStr>,
    ) -> Self {
        let mut values: Vec<SmolStr> = values.into_iter().collect();
        values.sort();
        values.dedup();
        Self { key: key.into(), source: source.map(Into::into), operator, values: values.into() }
    }

    /// Whether a label set meets this requirement. `NotIn` and `DoesNotExist` hold for a missing
    /// label (SEM-3.2).
    pub fn matches(&self, labels: &LabelSet) -> bool {
        let mut found =
            labels.with_key(&self.key).filter(|l| self.source.as_ref().is_none_or(|s| *s == l.source));
        match self.operator {
            Operator::Exists => found.next().is_some(),
            Operator::DoesNotExist => found.next().is_none(),
            Operator::In => found.any(|l| self.values.binary_search(&l.value).is_ok()),
            Operator::NotIn => !found.any(|l| self.values.binary_search(&l.value).is_ok()),
        }
    }
}

/// A conjunction of requirements; the empty selector matches every label set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Arc<[Requirement]>);

impl Selector {
    /// The conjunction of these requirements, sorted and without repeats.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut all: Vec<Requirement> = requirements.into_iter().collect();
        all.sort();
        all.dedup();
        Self(all.into())
    }

    /// Whether a label set meets every requirement.
    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.0.iter().all(|r| r.matches(labels))
    }

    /// The requirements in order of their keys.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// Whether a reserved label is asked for (SEM-3.6).
    pub fn is_reserved(&self) -> bool {
        self.0.iter().any(|r| r.source.as_deref() == Some(crate::label::SOURCE_RESERVED))
    }
}

impl fmt::Display for Selector {
    /// `app=web, tier in (a, b), !legacy`, the form kubectl prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("everything");
        }
        for (i, r) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            let key = match r.source.as_deref() {
                None | Some("k8s") => r.key.to_string(),
                Some(s) => format!("{s}:{}", r.key),
            };
            let values = r.values.join(", ");
            match (r.operator, r.values.len()) {
                (Operator::In, 1) if values.is_empty() => write!(f, "{key}")?,
                (Operator::In, 1) => write!(f, "{key}={values}")?,
                (Operator::In, _) => write!(f, "{key} in ({values})")?,
                (Operator::NotIn, 1) => write!(f, "{key}!={values}")?,
                (Operator::NotIn, _) => write!(f, "{key} notin ({values})")?,
                (Operator::Exists, _) => write!(f, "{key}")?,
                (Operator::DoesNotExist, _) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Label;

    #[test]
    fn negative_operators_match_a_missing_label() {
        let labels = LabelSet::new([Label::k8s("app", "web")]);
        let not_in = Requirement::new(None, "tier", Operator::NotIn, ["db".into()]);
        assert!(not_in.matches(&labels));
        assert!(Requirement::new(None, "tier", Operator::DoesNotExist, []).matches(&labels));
        assert!(!Requirement::new(Some("reserved"), "app", Operator::Exists, []).matches(&labels));
    }
}
