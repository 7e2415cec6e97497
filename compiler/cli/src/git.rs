//! Files of a git revision, by running the `git` program (docs/decisions/0002-git-by-process.md).
//!
//! Only plumbing commands, an argument vector and never a shell; what the user typed stands behind
//! `--end-of-options`. Nothing is ever written.

use crate::exit::Failure;
use crate::input::{Gathered, Text, decode, has_yaml_ending, too_large};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// The repository around the current folder.
#[derive(Debug)]
pub(crate) struct Repository {
    /// Parts of the current folder below the top of the repository.
    prefix: Vec<String>,
    /// The top of the working tree.
    top: PathBuf,
}

/// A commit that a revision names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its object id.
    id: String,
    /// How the user called it.
    pub(crate) name: String,
}

/// One entry of a tree.
struct Entry {
    mode: String,
    id: String,
    size: Option<u64>,
}

fn git<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut c = Command::new("git");
    // No pager, no prompt, no lock files; replies in English, since some are told apart.
    c.args(["--no-pager", "--literal-pathspecs"]).args(args).stdin(Stdio::null());
    c.env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
    c
}

/// Runs git; its standard output, or what it said on standard error.
fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Result<Vec<u8>, String>, Failure> {
    let out = git(args).output().map_err(|e| not_started(&e))?;
    Ok(if out.status.success() {
        Ok(out.stdout)
    } else {
        Err(String::from_utf8_lossy(&out.stderr).trim().to_owned())
    })
}

fn not_started(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        Failure::new(
            "git is not installed, and revisions are read by running it",
            "install git, or compare two folders: `portcullis diff old/ new/`",
        )
    } else {
        Failure::new(format!("git could not be run: {error}"), "compare two folders instead")
    }
}

fn said(what: &str, stderr: &str) -> Failure {
    let told = stderr.trim_start_matches("fatal: ").trim_start_matches("error: ");
    let help = if told.is_empty() {
        String::from("run git yourself to see why")
    } else {
        format!("git says: {told}")
    };
    Failure::new(what, help)
}

impl Repository {
    /// The repository around the current folder, or why there is none.
    pub(crate) fn find() -> Result<Self, Failure> {
        let out = run(["rev-parse", "--show-toplevel", "--show-prefix"])?.map_err(|e| {
            let way_out = "go into the repository, or compare two folders: `portcullis diff old/ new/`";
            if e.contains("not a git repository") {
                Failure::new(
                    "this folder is in no git repository, so there are no revisions to compare",
                    way_out,
                )
            } else {
                said("the git repository cannot be used", &e)
            }
        })?;
        let text = String::from_utf8_lossy(&out);
        let mut lines = text.lines();
        let top = PathBuf::from(lines.next().unwrap_or("."));
        let prefix =
            lines.next().unwrap_or("").split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        Ok(Self { prefix, top })
    }

    /// The commit a revision names; `None` if it names none.
    #[expect(clippy::unused_self, reason = "a revision means something in a repository only")]
    pub(crate) fn commit(&self, revision: &str) -> Result<Option<Commit>, Failure> {
        let wanted = format!("{revision}^{{commit}}");
        let out = run(["rev-parse", "--verify", "--quiet", "--end-of-options", wanted.as_str()])?;
        Ok(out.ok().map(|id| Commit {
            id: String::from_utf8_lossy(&id).trim().to_owned(),
            name: revision.to_owned(),
        }))
    }

    /// The commit a revision names.
    pub(crate) fn need(&self, revision: &str) -> Result<Commit, Failure> {
        self.commit(revision)?.ok_or_else(|| {
            Failure::new(
                format!("`{revision}` is no revision of this repository"),
                "fetch it first (`git fetch`; a shallow clone in CI needs its depth raised), or check its spelling",
            )
        })
    }

    /// Where two histories part.
    #[expect(clippy::unused_self, reason = "a revision means something in a repository only")]
    pub(crate) fn merge_base(&self, a: &Commit, b: &Commit) -> Result<Commit, Failure> {
        let out = run(["merge-base", "--end-of-options", &a.id, &b.id])?.map_err(|e| {
            if e.is_empty() {
                Failure::new(
                    format!("`{}` and `{}` have no common history here", a.name, b.name),
                    "fetch more of it (a shallow clone in CI needs its depth raised), or use A..B",
                )
            } else {
                said("the common history could not be found", &e)
            }
        })?;
        let id = String::from_utf8_lossy(&out).lines().next().unwrap_or_default().to_owned();
        let name = id.get(..12).unwrap_or(&id).to_owned();
        Ok(Commit { id, name })
    }

    /// The way from the current folder to the top of the repository; `None` at the top.
    pub(crate) fn way_up(&self) -> Option<String> {
        (!self.prefix.is_empty()).then(|| vec![".."; self.prefix.len()].join("/"))
    }

    /// A path as given, below the top of the repository; `None` if it leads out of it.
    pub(crate) fn inside(&self, path: &Path) -> Option<String> {
        let mut parts: Vec<String> = if path.is_absolute() { Vec::new() } else { self.prefix.clone() };
        let relative = if path.is_absolute() {
            match path.strip_prefix(&self.top) {
                Ok(p) => p.to_path_buf(),
                // The top is canonical; the path may not be.
                Err(_) => path.canonicalize().ok()?.strip_prefix(&self.top).ok()?.to_path_buf(),
            }
        } else {
            path.to_path_buf()
        };
        for part in relative.components() {
            match part {
                Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
                Component::ParentDir => {
                    parts.pop()?;
                }
                _ => {}
            }
        }
        Some(parts.join("/"))
    }

    /// Every YAML and JSON file of a commit at or below the paths; of the whole repository if none
    /// is given. Texts are called `REV:path`, with keys below the top of the repository.
    pub(crate) fn read(&self, commit: &Commit, paths: &[PathBuf], limit: u64) -> Result<Gathered, Failure> {
        let mut wanted = Vec::new();
        for p in paths {
            wanted.push(self.inside(p).ok_or_else(|| {
                Failure::new(
                    format!("{} is outside the repository", p.display()),
                    "give paths inside the repository that the revisions are of",
                )
            })?);
        }
        let entries = list(commit)?;
        let mut out = Gathered::default();
        let mut chosen: BTreeMap<String, (String, Option<u64>)> = BTreeMap::new();
        for (path, entry) in &entries {
            // A file that was named is read whatever its ending.
            let named = wanted.iter().any(|w| w == path);
            let below =
                wanted.is_empty() || named || wanted.iter().any(|w| w.is_empty() || is_below(path, w));
            let hidden = path.split('/').any(|p| p.starts_with('.')) && !named;
            if !below || hidden {
                continue;
            }
            match entry.mode.as_str() {
                "160000" => out.notes.push(format!("The submodule {path} of {} is not read.", commit.name)),
                "120000" => self.link(commit, path, entry, named, &entries, &mut chosen, &mut out)?,
                _ if named || has_yaml_ending(path) => {
                    chosen.insert(path.clone(), (entry.id.clone(), entry.size));
                }
                _ => {}
            }
        }
        chosen.retain(|path, (_, size)| {
            let fits = size.is_none_or(|s| s <= limit);
            if !fits {
                out.diagnostics.push(too_large(&format!("{}:{path}", commit.name), *size, limit));
            }
            fits
        });
        let ids: BTreeSet<&str> = chosen.values().map(|(id, _)| id.as_str()).collect();
        let blobs = blobs(&ids)?;
        for (path, (id, _)) in &chosen {
            let name = format!("{}:{path}", commit.name);
            let bytes = blobs.get(id.as_str()).cloned().unwrap_or_default();
            match decode(&name, bytes) {
                Ok(text) => out.texts.push(Text { name, key: path.clone(), content: text }),
                Err(finding) => out.diagnostics.push(*finding),
            }
        }
        Ok(out)
    }

    /// A symbolic link in a tree: the file it leads to, under the link's name.
    #[expect(clippy::too_many_arguments, reason = "the state of one loop, split off for its length")]
    #[expect(clippy::unused_self, reason = "part of reading")]
    fn link(
        &self,
        commit: &Commit,
        path: &str,
        entry: &Entry,
        named: bool,
        entries: &BTreeMap<String, Entry>,
        chosen: &mut BTreeMap<String, (String, Option<u64>)>,
        out: &mut Gathered,
    ) -> Result<(), Failure> {
        let ids = BTreeSet::from([entry.id.as_str()]);
        let target = blobs(&ids)?.remove(entry.id.as_str()).unwrap_or_default();
        let target = String::from_utf8_lossy(&target).into_owned();
        let mut parts: Vec<&str> = path.split('/').collect();
        parts.pop();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                name => parts.push(name),
            }
        }
        let target_path = parts.join("/");
        match entries.get(&target_path) {
            Some(file) if file.mode.starts_with("100") && (named || has_yaml_ending(path)) => {
                // A file that is read under its own name is not read twice.
                if !has_yaml_ending(&target_path) || !chosen.contains_key(&target_path) {
                    chosen.insert(path.to_owned(), (file.id.clone(), file.size));
                }
            }
            _ if !has_yaml_ending(path) && !entries.keys().any(|p| is_below(p, &target_path)) => {}
            _ => {
                let name = &commit.name;
                out.notes.push(format!(
                    "The symbolic link {path} of {name} leads to {target} and is not followed."
                ));
            }
        }
        Ok(())
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Every file of a commit by its path.
fn list(commit: &Commit) -> Result<BTreeMap<String, Entry>, Failure> {
    let args = ["ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", &commit.id];
    let out =
        run(args)?.map_err(|e| said(&format!("the files of `{}` cannot be listed", commit.name), &e))?;
    let mut entries = BTreeMap::new();
    for record in out.split(|b| *b == 0).filter(|r| !r.is_empty()) {
        let record = String::from_utf8_lossy(record);
        // `<mode> <type> <id> <size>\t<path>`, the size padded or `-`.
        let Some((head, path)) = record.split_once('\t') else { continue };
        let mut parts = head.split_ascii_whitespace();
        let (Some(mode), Some(_), Some(id)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let size = parts.next().and_then(|s| s.parse().ok());
        entries.insert(path.to_owned(), Entry { mode: mode.to_owned(), id: id.to_owned(), size });
    }
    Ok(entries)
}

/// The contents of blobs by id.
fn blobs<'a>(ids: &BTreeSet<&'a str>) -> Result<BTreeMap<&'a str, Vec<u8>>, Failure> {
    let mut out = BTreeMap::new();
    if ids.is_empty() {
        return Ok(out);
    }
    let broken =
        |e: &io::Error| Failure::new(format!("git stopped while files were read: {e}"), "run it again");
    let mut child = git(["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| not_started(&e))?;
    let mut asked = String::new();
    for id in ids {
        asked.push_str(id);
        asked.push('\n');
    }
    // Written from another thread: both pipes are small, and git answers while it is asked.
    let input = child.stdin.take();
    let writer = thread::spawn(move || input.map_or(Ok(()), |mut i| i.write_all(asked.as_bytes())));
    let mut replies =
        BufReader::new(child.stdout.take().ok_or_else(|| broken(&io::Error::other("no output")))?);
    for id in ids {
        let mut head = String::new();
        replies.read_line(&mut head).map_err(|e| broken(&e))?;
        // `<id> blob <size>`, or `<id> missing` in a partial clone that cannot fetch.
        let Some(size) = head.split_ascii_whitespace().nth(2).and_then(|s| s.parse::<u64>().ok()) else {
            return Err(said(&format!("git does not have the file {id}"), head.trim()));
        };
        let mut bytes = Vec::new();
        (&mut replies).take(size).read_to_end(&mut bytes).map_err(|e| broken(&e))?;
        if bytes.len() as u64 != size {
            return Err(broken(&io::Error::other("its answer is too short")));
        }
        replies.read_exact(&mut [0]).map_err(|e| broken(&e))?;
        out.insert(*id, bytes);
    }
    drop(replies);
    // All answers are there; how git ends no longer matters.
    let _ = writer.join();
    let _ = child.wait();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_from_the_current_folder() {
        let r = Repository { prefix: vec!["deploy".into()], top: "/repo".into() };
        assert_eq!(r.inside(Path::new("./k8s/")).as_deref(), Some("deploy/k8s"));
        assert_eq!(r.inside(Path::new("../infra")).as_deref(), Some("infra"));
        assert_eq!(r.inside(Path::new("/repo/x")).as_deref(), Some("x"));
        assert_eq!(r.inside(Path::new("..")).as_deref(), Some(""));
        assert_eq!(r.inside(Path::new("../..")), None);
    }
}
