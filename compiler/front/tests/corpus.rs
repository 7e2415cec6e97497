//! Reads every file of a folder of real policies, the one that `PORTCULLIS_CORPUS` names. What such a
//! folder holds is data of others, so it is not part of this repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::codes::schema;
use portcullis_diag::{Severity, SourceMap};
use std::path::{Path, PathBuf};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
            found.push(path);
        }
    }
}

#[test]
fn a_folder_of_real_policies_is_read_without_a_panic_or_a_place_outside_its_file() {
    let Ok(folder) = std::env::var("PORTCULLIS_CORPUS") else {
        println!("PORTCULLIS_CORPUS is not set: no folder of real policies is read");
        return;
    };
    let mut found = Vec::new();
    files(Path::new(&folder), &mut found);
    assert!(!found.is_empty(), "no YAML or JSON under {folder}");
    let mut map = SourceMap::new();
    let (mut objects, mut skipped) = (0, 0);
    for path in &found {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        let id = map.add(name.clone(), text.as_str());
        let parsed = portcullis_front::parse(id, &name, &text);
        objects += parsed.objects.len();
        skipped += parsed.skipped.len();
        for finding in &parsed.diagnostics {
            for label in &finding.labels {
                assert!(
                    text.get(label.span.start as usize..label.span.end as usize).is_some(),
                    "{name}: {finding:?}"
                );
            }
            if finding.severity > Severity::Note {
                let place = finding.span().map(|s| map.locate(s)).unwrap_or_default();
                println!("{place}: {} {:?} {}", finding.code, finding.fate, finding.message);
            }
            if finding.code == schema::UNKNOWN_FIELD {
                println!("    {:?}", finding.help);
            }
        }
        assert!(
            parsed.documents == 0
                || !(parsed.objects.is_empty() && parsed.skipped.is_empty() && parsed.diagnostics.is_empty()),
            "{name} vanished without a word"
        );
    }
    println!("{} files: {objects} objects, {skipped} documents left out", found.len());
}
