//! Which files there are: folders in sorted order, links followed once.

use portcullis_diag::codes::syntax;
use portcullis_diag::{Diagnostic, Severity};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A file to read.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is; `-` is standard input.
    pub(super) path: PathBuf,
    /// The name it is shown by.
    pub(super) name: String,
    /// Its name below the path that was asked for.
    pub(super) key: String,
}

/// Everything below the paths that were asked for.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) files: Vec<Found>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) notes: Vec<String>,
    pub(super) missing: bool,
    /// Canonical paths already taken: a file that two paths lead to is read once.
    seen: BTreeSet<PathBuf>,
    /// Special files that were passed over.
    special: Vec<String>,
}

pub(super) fn walk(paths: &[PathBuf]) -> Walk {
    let mut walk = Walk::default();
    for path in paths {
        walk.root(path);
    }
    if !walk.special.is_empty() {
        let names = walk.special.join(", ");
        walk.notes.push(format!("Not read, because they are neither files nor folders: {names}."));
    }
    walk
}

impl Walk {
    fn root(&mut self, path: &Path) {
        let name = tidy(path);
        if path == Path::new("-") {
            if self.seen.insert(path.to_path_buf()) {
                self.files.push(Found { path: path.to_path_buf(), name, key: String::new() });
            }
            return;
        }
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => self.folder(path, "", &mut Vec::new()),
            // A file that was named is read whatever its ending, and so is a pipe (`<(kubectl get …)`).
            Ok(_) => {
                // Two files are compared as one: only what the ending says of the format counts.
                let ending = path.extension().and_then(OsStr::to_str).unwrap_or("");
                let key = if ending == "json" { ".json" } else { "" };
                self.file(path, name, key.to_owned());
            }
            Err(error) => {
                self.missing |= error.kind() == io::ErrorKind::NotFound;
                self.diagnostics.push(unreadable(&name, &error));
            }
        }
    }

    /// `above` holds the canonical folders that this one is in, by way of links or not.
    fn folder(&mut self, path: &Path, key: &str, above: &mut Vec<PathBuf>) {
        let name = tidy(path);
        let canonical = match fs::canonicalize(path) {
            Ok(canonical) => canonical,
            Err(error) => return self.diagnostics.push(unreadable(&name, &error)),
        };
        if above.contains(&canonical) {
            let message = format!("{name} leads back into its own folder, and is not followed again");
            let help = "remove the link, or name the folders to read one by one";
            self.diagnostics.push(Diagnostic::without_place(syntax::SYMLINK_LOOP, message).help(help));
            return;
        }
        if !self.seen.insert(canonical.clone()) {
            return;
        }
        let mut entries: Vec<(String, PathBuf)> = Vec::new();
        match fs::read_dir(path) {
            Ok(list) => {
                for entry in list {
                    match entry {
                        Ok(e) => entries.push((e.file_name().to_string_lossy().into_owned(), e.path())),
                        Err(error) => self.diagnostics.push(unreadable(&name, &error)),
                    }
                }
            }
            Err(error) => self.diagnostics.push(unreadable(&name, &error)),
        }
        entries.sort();
        above.push(canonical);
        for (entry, path) in entries {
            if entry.starts_with('.') {
                continue;
            }
            let below = if key.is_empty() { entry.clone() } else { format!("{key}/{entry}") };
            let meta = fs::metadata(&path);
            if meta.as_ref().is_ok_and(fs::Metadata::is_dir) {
                self.folder(&path, &below, above);
                continue;
            }
            // A link to nowhere, or a pipe, only matters where it would have been read.
            if !has_yaml_ending(&entry) {
                continue;
            }
            match meta {
                Ok(meta) if meta.is_file() => self.file(&path, tidy(&path), below),
                Ok(_) => self.special.push(tidy(&path)),
                Err(error) => self.diagnostics.push(unreadable(&tidy(&path), &error)),
            }
        }
        above.pop();
    }

    fn file(&mut self, path: &Path, name: String, key: String) {
        let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if self.seen.insert(canonical) {
            self.files.push(Found { path: path.to_path_buf(), name, key });
        }
    }
}

/// Whether a file name ends like YAML or JSON.
pub fn has_yaml_ending(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(stem, ending)| if stem.is_empty() { "" } else { ending });
    ["yaml", "yml", "json"].iter().any(|e| ending.eq_ignore_ascii_case(e))
}

/// A path as it was given, without `./` at its start or between its parts, with `/` between them.
pub fn tidy(path: &Path) -> String {
    let mut out = String::new();
    for part in path.components() {
        let text = match part {
            Component::CurDir => continue,
            Component::RootDir | Component::Prefix(_) => {
                out.push_str(&part.as_os_str().to_string_lossy());
                continue;
            }
            Component::ParentDir => "..".into(),
            Component::Normal(name) => name.to_string_lossy(),
        };
        if !out.is_empty() && !out.ends_with('/') {
            out.push('/');
        }
        out.push_str(&text);
    }
    if out.is_empty() { ".".to_owned() } else { out }
}

/// A file or folder that the system does not give us.
pub(super) fn unreadable(name: &str, error: &io::Error) -> Diagnostic {
    let (message, help) = match error.kind() {
        io::ErrorKind::NotFound => {
            (format!("{name} does not exist"), "check the spelling, and the folder you are in".to_owned())
        }
        io::ErrorKind::PermissionDenied => (
            format!("{name} may not be read"),
            format!("give yourself the right to read it: `chmod u+r {name}`"),
        ),
        _ => (
            format!("{name} could not be read: {error}"),
            "leave it out of the paths, or repair it".to_owned(),
        ),
    };
    Diagnostic::without_place(syntax::UNREADABLE, message).severity(Severity::Error).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_given_without_dots() {
        assert_eq!(tidy(Path::new("./a/./b.yaml")), "a/b.yaml");
        assert_eq!(tidy(Path::new("../x")), "../x");
        assert_eq!(tidy(Path::new(".")), ".");
        assert_eq!(tidy(Path::new("/tmp/x/")), "/tmp/x");
    }

    #[test]
    fn only_yaml_and_json_are_read_from_folders() {
        assert!(has_yaml_ending("a.yaml") && has_yaml_ending("a.YML") && has_yaml_ending("a.b.json"));
        assert!(!has_yaml_ending(".yaml") && !has_yaml_ending("a.yaml.bak") && !has_yaml_ending("yaml"));
    }
}
