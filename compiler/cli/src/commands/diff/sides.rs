//! What is compared: two folders or files, two revisions, or a revision and the files on disk.

use crate::args::DiffArgs;
use crate::exit::Failure;
use crate::git::{Commit, Repository};
use crate::input::{self, Gathered, tidy};
use crate::live;
use portcullis_cluster::Snapshot;
use std::path::{Path, PathBuf};

/// Both sides' texts, and what the sides are called.
pub(in crate::commands) struct Sides {
    pub(in crate::commands) base: Gathered,
    pub(in crate::commands) head: Gathered,
    pub(in crate::commands) base_name: String,
    pub(in crate::commands) head_name: String,
    /// Words by which a command that looks at one state finds the head side.
    pub(in crate::commands) head_at: Vec<String>,
}

const BOTH: &str = "name both: `portcullis diff old/ new/`, `portcullis diff main..topic -- k8s/`, or \
                    `portcullis diff main -- k8s/` for the files on disk";

/// Reads what the arguments mean.
pub(in crate::commands) fn read(
    args: &DiffArgs,
    live: Option<&Snapshot>,
    limit: u64,
) -> Result<Sides, Failure> {
    let is_option = |p: &&PathBuf| p.to_string_lossy().starts_with("--") && !p.exists();
    if let Some(option) = args.paths.iter().find(is_option) {
        let option = option.to_string_lossy();
        return Err(Failure::new(
            format!("{option} stands behind `--`, where only files and folders are expected"),
            format!("put options first: `portcullis diff {option} … main..topic -- k8s/`"),
        ));
    }
    let sides = match (args.sides.as_slice(), args.paths.as_slice()) {
        ([head], []) if live.is_some() => against(live, head, limit),
        ([one], paths) => one_argument(one, paths, limit)?,
        ([base, head], []) => two_arguments(base, head, limit)?,
        ([base, head], paths) => {
            let repository = Repository::find()?;
            let (base, head) = (repository.need(base)?, repository.need(head)?);
            revisions(&repository, &base, &head, paths, limit)?
        }
        _ => return Err(Failure::new("there is nothing to compare", BOTH)),
    };
    let empty = |g: &Gathered| g.texts.is_empty() && g.diagnostics.is_empty();
    if empty(&sides.base) && empty(&sides.head) {
        return Err(Failure::new(
            format!(
                "nothing to compare: neither {} nor {} holds a YAML or JSON file",
                sides.base_name, sides.head_name
            ),
            "name the folder with the policies; with revisions, name it behind `--`",
        ));
    }
    Ok(sides)
}

/// Files and what applying them to the live cluster would replace.
fn against(live: Option<&Snapshot>, head: &str, limit: u64) -> Sides {
    let name = tidy(Path::new(head));
    let head = input::gather(&[PathBuf::from(head)], limit);
    let base = live.map(|snapshot| live::replaced(snapshot, &head)).unwrap_or_default();
    Sides { base, head, base_name: live::NAME.to_owned(), head_at: vec![name.clone()], head_name: name }
}

fn one_argument(one: &str, paths: &[PathBuf], limit: u64) -> Result<Sides, Failure> {
    let on_disk = one == "-" || Path::new(one).exists();
    let range = one
        .split_once("...")
        .map(|(a, b)| (a, b, true))
        .or_else(|| one.split_once("..").map(|(a, b)| (a, b, false)));
    match range {
        Some((a, b, three)) if !on_disk => {
            let repository = Repository::find()?;
            // An end that is left out is where one stands.
            let named = |r: &str| repository.need(if r.is_empty() { "HEAD" } else { r });
            let (a, head) = (named(a)?, named(b)?);
            let base = if three { repository.merge_base(&a, &head)? } else { a };
            revisions(&repository, &base, &head, paths, limit)
        }
        _ if paths.is_empty() && on_disk => Err(Failure::new(format!("only one side is given: {one}"), BOTH)),
        _ => {
            let repository = Repository::find()?;
            let base = repository.need(one)?;
            if paths.is_empty() {
                return Err(Failure::new(format!("only one side is given: the revision `{one}`"), BOTH));
            }
            working_tree(&repository, &base, paths, limit)
        }
    }
}

fn two_arguments(base: &str, head: &str, limit: u64) -> Result<Sides, Failure> {
    let is_path = |s: &str| s == "-" || Path::new(s).exists();
    if is_path(base) && is_path(head) {
        if base == "-" && head == "-" {
            return Err(Failure::new(
                "both sides are standard input",
                "give one of them as a file or folder",
            ));
        }
        let read = |s: &str| input::gather(&[PathBuf::from(s)], limit);
        return Ok(Sides {
            base: read(base),
            head: read(head),
            base_name: name(base),
            head_name: name(head),
            head_at: vec![argument(head)],
        });
    }
    let neither = |s: &str| {
        Failure::new(
            format!("{s} does not exist"),
            "check the spelling, and the folder you are in; a side is a folder, a file or a git revision",
        )
    };
    let Ok(repository) = Repository::find() else {
        return Err(neither(if is_path(base) { head } else { base }));
    };
    let commit = |s: &str| repository.commit(s)?.ok_or_else(|| neither(s));
    match (is_path(base), is_path(head)) {
        (false, false) => revisions(&repository, &commit(base)?, &commit(head)?, &[], limit),
        // A revision and a path: the same path as it is in that revision.
        (false, true) => working_tree(&repository, &commit(base)?, &[PathBuf::from(head)], limit),
        (true, false) => {
            let head = commit(head)?;
            let path = PathBuf::from(base);
            let head_at = at_revision(&repository, &head, std::slice::from_ref(&path));
            let sides = working_tree(&repository, &head, std::slice::from_ref(&path), limit)?;
            Ok(Sides {
                base: sides.head,
                head: sides.base,
                base_name: sides.head_name,
                head_name: sides.base_name,
                head_at,
            })
        }
        (true, true) => Err(neither(base)),
    }
}

fn revisions(
    repository: &Repository,
    base: &Commit,
    head: &Commit,
    paths: &[PathBuf],
    limit: u64,
) -> Result<Sides, Failure> {
    let (old, new) = (repository.read(base, paths, limit)?, repository.read(head, paths, limit)?);
    for path in paths {
        let top = repository.inside(path).unwrap_or_default();
        // What could not be read is spoken of elsewhere.
        let broken = !(old.diagnostics.is_empty() && new.diagnostics.is_empty());
        if !broken && !old.texts.iter().chain(&new.texts).any(|t| is_at_or_below(&t.key, &top)) {
            return Err(Failure::new(
                format!(
                    "{} holds no YAML or JSON file, neither in {} nor in {}",
                    tidy(path),
                    base.name,
                    head.name
                ),
                "check the spelling; a path is taken from the folder you are in",
            ));
        }
    }
    Ok(Sides {
        base: old,
        head: new,
        base_name: base.name.clone(),
        head_name: head.name.clone(),
        head_at: at_revision(repository, head, paths),
    })
}

/// A revision against the files on disk.
fn working_tree(
    repository: &Repository,
    base: &Commit,
    paths: &[PathBuf],
    limit: u64,
) -> Result<Sides, Failure> {
    let old = repository.read(base, paths, limit)?;
    let mut new = Gathered::default();
    for path in paths {
        let mut found = input::gather(std::slice::from_ref(path), limit);
        // A path that is gone from the disk was removed, if the revision has it.
        let top = repository.inside(path).unwrap_or_default();
        if found.missing && old.texts.iter().any(|t| is_at_or_below(&t.key, &top)) {
            found = Gathered::default();
        }
        for text in &mut found.texts {
            // A file that was named has no part of a path as its key.
            let file = text.key.is_empty() || text.key == ".json";
            text.key = match (file, top.is_empty()) {
                (true, _) => top.clone(),
                (false, true) => text.key.clone(),
                (false, false) => format!("{top}/{}", text.key),
            };
        }
        new.extend(found);
    }
    let on_disk = paths.iter().map(|p| tidy(p)).collect::<Vec<_>>().join(", ");
    let head_at = paths.iter().map(|p| argument(&p.to_string_lossy())).collect();
    Ok(Sides { base: old, head: new, base_name: base.name.clone(), head_name: on_disk, head_at })
}

/// Whether a file is, or is inside, what a path below the top of the repository names.
fn is_at_or_below(key: &str, top: &str) -> bool {
    key == top || top.is_empty() || key.strip_prefix(top).is_some_and(|r| r.starts_with('/'))
}

/// The words that lead to the files of a revision; a comparison without paths is of the whole repository.
fn at_revision(repository: &Repository, commit: &Commit, paths: &[PathBuf]) -> Vec<String> {
    let mut out = vec![format!("--at={}", commit.name)];
    if paths.is_empty() {
        out.extend(repository.way_up());
    }
    out.extend(paths.iter().map(|p| argument(&p.to_string_lossy())));
    out
}

/// A path that no command takes for an option.
fn argument(path: &str) -> String {
    if path.starts_with('-') && path != "-" { format!("./{path}") } else { path.to_owned() }
}

fn name(side: &str) -> String {
    if side == "-" { "standard input".to_owned() } else { tidy(Path::new(side)) }
}
