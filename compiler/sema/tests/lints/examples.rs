//! The worked examples raise what their READMEs tell of, and nothing else.

use portcullis_diag::{FileId, Severity};
use portcullis_front::ast::Object;
use std::path::Path;

fn read(folder: &Path, objects: &mut Vec<(std::rc::Rc<str>, Object)>) {
    let mut files: Vec<_> = if folder.is_dir() {
        std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect()
    } else if folder.exists() {
        vec![folder.to_owned()]
    } else {
        return;
    };
    files.sort();
    for file in files {
        let text: std::rc::Rc<str> = std::fs::read_to_string(&file).unwrap().into();
        let id = FileId(u32::try_from(objects.len()).unwrap());
        let parsed = portcullis_front::parse(id, &file.to_string_lossy(), &text);
        objects.extend(parsed.objects.into_iter().map(|o| (text.clone(), o)));
    }
}

#[test]
fn print_all() {
    let root = std::env::var("LINT_DIR")
        .unwrap_or(format!("{}/../../policies/examples", env!("CARGO_MANIFEST_DIR")));
    let mut dirs: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|d| d.unwrap().path()).filter(|d| d.is_dir()).collect();
    dirs.sort();
    for dir in dirs {
        for side in ["base", "head", "policies"] {
            if !dir.join(side).exists() {
                continue;
            }
            let mut objects = Vec::new();
            read(&dir.join(side), &mut objects);
            read(&dir.join("cluster.yaml"), &mut objects);
            let refs: Vec<&Object> = objects.iter().map(|(_, o)| o).collect();
            let found = super::lint(&refs);
            if found.is_empty() {
                continue;
            }
            println!("== {} {side}", dir.file_name().unwrap().to_string_lossy());
            let mut count = std::collections::BTreeMap::new();
            for d in found {
                let n = count.entry(d.code).or_insert(0);
                *n += 1;
                if *n > 4 {
                    continue;
                }
                let s = d.span().unwrap();
                let text = &objects.iter().find(|(_, o)| o.span.file == s.file).unwrap().0;
                println!(
                    "  {} {} [{}] {} @ {:?}",
                    d.severity,
                    d.code,
                    d.object.as_ref().unwrap(),
                    d.message,
                    &text[s.start as usize..(s.end as usize).min(s.start as usize + 40)]
                );
                if d.severity > Severity::Note {
                    println!("       help: {}", d.help.unwrap_or_default());
                }
            }
            println!("  {count:?}");
        }
    }
}
