//! Texts to objects: all sides of a run share one source map, and equal files are parsed once.

use crate::Text;
use portcullis_diag::{FileId, SourceMap};
use portcullis_front::Parsed;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// One parsed file of a side.
#[derive(Clone, Debug)]
pub struct File {
    /// Its place in the source map.
    pub id: FileId,
    /// What it holds. Shared where base and head have the same file.
    pub parsed: Arc<Parsed>,
}

/// Parses every list of texts. Of two texts with one key and content, in different lists, the first
/// is parsed and stands for both: so give head before base, and unchanged files go by their new name.
pub fn load(lists: Vec<Vec<Text>>, sources: &mut SourceMap) -> Vec<Vec<File>> {
    let mut known: HashMap<(String, Arc<str>), FileId> = HashMap::new();
    let mut ids: Vec<Vec<FileId>> = Vec::with_capacity(lists.len());
    let mut fresh: Vec<FileId> = Vec::new();
    for list in lists {
        // Two files of one list are two files, however equal.
        let mut own = Vec::with_capacity(list.len());
        let mut added = Vec::new();
        for t in list {
            let shared = known.get(&(t.key.clone(), Arc::clone(&t.content))).copied();
            own.push(shared.unwrap_or_else(|| {
                let id = sources.add(t.name, Arc::clone(&t.content));
                fresh.push(id);
                added.push(((t.key, t.content), id));
                id
            }));
        }
        for (key, id) in added {
            known.entry(key).or_insert(id);
        }
        ids.push(own);
    }
    drop(known);
    let parsed: HashMap<FileId, Arc<Parsed>> = fresh
        .into_par_iter()
        .filter_map(|id| {
            let file = sources.get(id)?;
            Some((id, Arc::new(portcullis_front::parse(id, &file.name, &file.text))))
        })
        .collect();
    ids.into_iter()
        .map(|list| {
            list.into_iter()
                .map(|id| File { id, parsed: parsed.get(&id).cloned().unwrap_or_default() })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, key: &str, text: &str) -> Text {
        Text { name: name.into(), key: key.into(), content: text.into() }
    }

    #[test]
    fn an_unchanged_file_is_parsed_once_and_two_copies_on_one_side_stay_two() {
        let mut sources = SourceMap::new();
        let head = vec![text("head/a.yaml", "a.yaml", "a: 1"), text("head/b.yaml", "b.yaml", "a: 1")];
        let base = vec![text("base/a.yaml", "a.yaml", "a: 1"), text("base/b.yaml", "b.yaml", "a: 2")];
        let sides = load(vec![head, base], &mut sources);
        assert_eq!(sides[0][0].id, sides[1][0].id);
        assert_ne!(sides[0][0].id, sides[0][1].id);
        assert_ne!(sides[0][1].id, sides[1][1].id);
        assert_eq!(sources.len(), 3);
    }
}
