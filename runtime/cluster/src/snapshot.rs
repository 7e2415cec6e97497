//! What the cluster was at one moment.

use crate::kinds::Kind;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty if it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One object: which, and its text.
pub type Entry = (Key, Arc<str>);

/// Objects in order of kind, namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub(crate) objects: BTreeMap<Key, Arc<str>>,
}

impl FromIterator<Entry> for Snapshot {
    fn from_iter<T: IntoIterator<Item = Entry>>(all: T) -> Self {
        Self { objects: all.into_iter().collect() }
    }
}

impl Snapshot {
    /// The objects.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<str>)> {
        self.objects.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// A list as kubectl writes one, an object a line: a file for `--cluster`. Equal clusters give equal
    /// bytes.
    pub fn list(&self) -> String {
        let mut out = String::from("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[");
        for (at, text) in self.objects.values().enumerate() {
            let _ = write!(out, "{}\n{text}", if at == 0 { "" } else { "," });
        }
        out.push_str("\n]}\n");
        out
    }
}
