//! The candidate's files with the additions in them: shown, or written.

use super::SuggestArgs;
use crate::exit::Failure;
use crate::input::tidy;
use crate::load::File;
use portcullis_diag::{FileId, SourceMap};
use portcullis_front::SkipReason;
use portcullis_suggest::{Created, Suggestion};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where the candidate's files are.
pub(super) struct Candidate {
    /// A folder or file of the disk; `None` for a revision.
    path: Option<PathBuf>,
    /// What names of files of a revision begin with.
    revision: String,
}

/// One file before and after.
#[derive(Debug)]
pub(super) struct Change {
    /// Its name.
    pub(super) path: String,
    /// The file in the source map; `None` for a new one.
    pub(super) of: Option<FileId>,
    /// What it held; `None` for a new one.
    pub(super) old: Option<String>,
    /// What it is to hold.
    pub(super) new: String,
}

impl Candidate {
    pub(super) fn of(args: &SuggestArgs) -> Result<Self, Failure> {
        let path = PathBuf::from(&args.candidate);
        let on_disk = args.paths.is_empty() && args.candidate != "-" && path.exists();
        if args.write && !on_disk {
            return Err(Failure::new(
                format!("--write needs files to write into, and --candidate {} is none", args.candidate),
                "check the revision out and name the folder, or take `--format patch`",
            ));
        }
        let revision = if on_disk { String::new() } else { format!("{}:", args.candidate) };
        Ok(Self { path: on_disk.then_some(path), revision })
    }

    /// A file's name as a path: without the revision that it is of.
    fn named<'n>(&self, name: &'n str) -> &'n str {
        name.strip_prefix(&self.revision).unwrap_or(name)
    }

    /// A suggestion as changes of files, in order of their names; new policies stand in files of their own, or in the one
    /// file that the candidate is.
    pub(super) fn changes(&self, found: &Suggestion, files: &[File], sources: &SourceMap) -> Vec<Change> {
        let mut out: BTreeMap<String, Change> = BTreeMap::new();
        for (id, text) in &found.edits {
            let Some(file) = sources.get(*id) else { continue };
            let change = Change {
                path: self.named(&file.name).to_owned(),
                of: Some(*id),
                old: Some(file.text.to_string()),
                new: text.clone(),
            };
            out.insert(file.name.clone(), change);
        }
        let known: BTreeSet<&str> =
            files.iter().filter_map(|f| sources.get(f.id)).map(|f| self.named(&f.name)).collect();
        for created in &found.created {
            if let Some((id, name, text)) = self.only_file(files, sources) {
                let change = out.entry(name.clone()).or_insert_with(|| Change {
                    path: name,
                    of: Some(id),
                    old: Some(text.clone()),
                    new: text,
                });
                change.new = appended(&change.new, &created.text);
                continue;
            }
            let folder = self.folder(created, sources);
            let path = (1..=u32::MAX)
                .map(|n| {
                    let number = if n == 1 { String::new() } else { format!("-{n}") };
                    format!("{folder}{}{number}.yaml", created.policy.name)
                })
                .find(|p| !known.contains(p.as_str()) && !out.contains_key(p) && !self.exists(p))
                .unwrap_or_default();
            out.insert(path.clone(), Change { path, of: None, old: None, new: created.text.clone() });
        }
        out.into_values().collect()
    }

    fn exists(&self, path: &str) -> bool {
        self.path.is_some() && Path::new(path).exists()
    }

    /// The candidate, if it is one file of YAML.
    fn only_file(&self, files: &[File], sources: &SourceMap) -> Option<(FileId, String, String)> {
        let path = self.path.as_ref().filter(|p| p.is_file())?;
        let [file] = files else { return None };
        let file_id = file.id;
        let file = sources.get(file_id)?;
        let yaml = path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("json"));
        let json = file.text.trim_start().starts_with(['{', '[']);
        (yaml && !json).then(|| (file_id, file.name.clone(), file.text.to_string()))
    }

    /// The folder of a new file, with a slash at its end unless it is the current one.
    fn folder(&self, created: &Created, sources: &SourceMap) -> String {
        let beside = created.beside.and_then(|f| sources.get(f)).map(|f| f.name.as_str());
        if let Some(name) = beside.filter(|n| *n != "-") {
            let name = self.named(name);
            return name.rfind('/').and_then(|n| name.get(..=n)).unwrap_or_default().to_owned();
        }
        match self.path.as_deref().filter(|p| p.is_dir()).map(tidy) {
            Some(folder) if folder != "." => format!("{}/", folder.trim_end_matches('/')),
            _ => String::new(),
        }
    }
}

/// A text with one document more, its lines ended as those of the text.
fn appended(text: &str, document: &str) -> String {
    let end = if text.find('\n').is_some_and(|n| text.get(..n).is_some_and(|t| t.ends_with('\r'))) {
        "\r\n"
    } else {
        "\n"
    };
    let mut out = text.to_owned();
    if !out.is_empty() && !out.ends_with('\n') {
        out.push_str(end);
    }
    if !text.trim().is_empty() {
        out.push_str("---");
        out.push_str(end);
    }
    out.push_str(&document.replace('\n', end));
    out
}

/// Folders whose kustomization lists its files: a new file has to be listed, too.
pub(super) fn to_be_listed(changes: &[Change], files: &[File], sources: &SourceMap) -> Vec<String> {
    let folder = |name: &str| name.rfind('/').and_then(|n| name.get(..n)).unwrap_or("").to_owned();
    let new: BTreeMap<String, &str> =
        changes.iter().filter(|c| c.of.is_none()).map(|c| (folder(&c.path), c.path.as_str())).collect();
    let kustomize =
        files.iter().filter(|f| f.parsed.skipped.iter().any(|s| s.reason == SkipReason::Kustomize));
    kustomize
        .filter_map(|f| sources.get(f.id))
        .filter_map(|f| Some((f.name.as_str(), *new.get(&folder(&f.name))?)))
        .map(|(list, file)| format!("{list} has to list {file} among its resources."))
        .collect()
}

/// Writes every file: all of them beside their places first, then each into its place.
pub(super) fn write(changes: &[Change]) -> Result<(), Failure> {
    let failed = |path: &str, e: &std::io::Error| {
        Failure::new(
            format!("{path} could not be written: {e}"),
            "no file of which this is not said was left half written",
        )
    };
    let mut ready: Vec<(PathBuf, PathBuf, &str)> = Vec::new();
    let outcome = changes.iter().try_for_each(|change| {
        let path = Path::new(&change.path);
        // A link stays one.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let aside = place.with_file_name(format!(
            ".{}.portcullis-{}",
            place.file_name().unwrap_or_default().to_string_lossy(),
            std::process::id()
        ));
        // Somebody may have written to it since it was read.
        if let (Some(old), Ok(now)) = (&change.old, fs::read(&place))
            && now != old.as_bytes()
        {
            return Err(Failure::new(
                format!("{} was changed while it was looked at", change.path),
                "run the command again; nothing was written",
            ));
        }
        ready.push((aside.clone(), place.clone(), &change.path));
        let fill = || -> std::io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&aside)?;
            file.write_all(change.new.as_bytes())?;
            if let Ok(meta) = fs::metadata(&place) {
                file.set_permissions(meta.permissions())?;
            }
            file.sync_all()
        };
        fill().map_err(|e| failed(&change.path, &e))
    });
    let outcome = outcome.and_then(|()| {
        ready
            .iter()
            .try_for_each(|(aside, place, path)| fs::rename(aside, place).map_err(|e| failed(path, &e)))
    });
    if outcome.is_err() {
        for (aside, _, _) in &ready {
            let _ = fs::remove_file(aside);
        }
    }
    outcome
}
