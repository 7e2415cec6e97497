//! Folders with policies, a cluster and verdicts.

use crate::flows::{self, Flow};
use crate::side::{Side, Source};
use portcullis_conformance::engines::{self, Address, NAMES};
use portcullis_diag::SourceMap;
use portcullis_ir::{Direction, PeerRef};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One folder: its name is its claim.
#[derive(Debug)]
pub struct Case {
    /// Where it is.
    pub path: PathBuf,
    /// `topic/claim`.
    pub name: String,
    /// Its sides with their names in `flows.yaml`: `expect`, or `base` and `head`.
    pub sides: Vec<(String, Side)>,
    /// Its verdicts.
    pub flows: Vec<Flow>,
    /// Every text, for spans.
    pub sources: SourceMap,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Folders under `top` that hold a `flows.yaml`, sorted.
pub fn folders(top: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(top)? {
        let path = entry?.path();
        if path.join("flows.yaml").is_file() {
            all.push(path);
        } else if path.is_dir() {
            all.extend(folders(&path)?);
        }
    }
    all.sort();
    Ok(all)
}

/// Files of a folder, sorted by name.
fn texts(folder: &Path) -> io::Result<Vec<Source>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    let part = folder.file_name().unwrap_or_default().to_string_lossy();
    paths
        .iter()
        .map(|p| {
            let name = format!("{part}/{}", p.file_name().unwrap_or_default().to_string_lossy());
            Ok(Source::new(&name, fs::read_to_string(p)?))
        })
        .collect()
}

impl Case {
    /// Reads a folder.
    pub fn read(path: &Path) -> Result<Self, String> {
        let fail = |e: io::Error| format!("{}: {e}", path.display());
        let cluster = match fs::read_to_string(path.join("cluster.yaml")) {
            Ok(text) => vec![Source::new("cluster.yaml", text)],
            Err(_) => Vec::new(),
        };
        let mut sources = SourceMap::new();
        let mut sides = Vec::new();
        for (folder, name) in [("policies", "expect"), ("base", "base"), ("head", "head")] {
            let folder = path.join(folder);
            if folder.is_dir() {
                let own = texts(&folder).map_err(fail)?;
                sides.push((name.to_owned(), Side::new(&mut sources, &cluster, &own)));
            }
        }
        let text = fs::read_to_string(path.join("flows.yaml")).map_err(fail)?;
        let flows = flows::read(&text).map_err(|e| format!("{}/flows.yaml: {e}", path.display()))?;
        let mut parts: Vec<_> = path.iter().rev().take(2).map(|p| p.to_string_lossy()).collect();
        parts.reverse();
        Ok(Self { path: path.to_owned(), name: parts.join("/"), sides, flows, sources })
    }

    /// The side of that name.
    pub fn side(&self, name: &str) -> Option<&Side> {
        self.sides.iter().find(|(n, _)| n == name).map(|(_, s)| s)
    }

    /// Verdicts that an engine gives otherwise, or that cannot be asked for; and how many were asked.
    pub fn mismatches(&self) -> (usize, Vec<String>) {
        let mut out = Vec::new();
        let mut asked = 0;
        for (name, side) in &self.sides {
            let mut addresses: Vec<Address> = Vec::new();
            for end in self.flows.iter().flat_map(|f| [&f.from, &f.to]) {
                if let flows::End::Address(ip, names) = end {
                    addresses.push((*ip, names.clone()));
                }
            }
            addresses.sort();
            addresses.dedup();
            engines::with_all(side.input(), &addresses, |all| {
                for f in &self.flows {
                    let Some((_, expect)) = f.expect.iter().find(|(n, _)| n == name) else { continue };
                    let ends = (f.from.on(&side.cluster), f.to.on(&side.cluster));
                    let (from, to) = match ends {
                        (Ok(from), Ok(to)) => (from, to),
                        (Err(e), _) | (_, Err(e)) => {
                            out.push(format!("{}/flows.yaml: {name}: {e}", self.path.display()));
                            continue;
                        }
                    };
                    for (direction, expected) in expect {
                        let (subject, peer) = match direction {
                            Direction::Egress => (&from, &to),
                            Direction::Ingress => (&to, &from),
                        };
                        let PeerRef::Endpoint(subject) = subject else {
                            out.push(format!(
                                "{}/flows.yaml: {name}: {direction} of no pod",
                                self.path.display()
                            ));
                            continue;
                        };
                        for (engine, engine_name) in all.iter().zip(NAMES) {
                            asked += 1;
                            if !engine.speaks_of(*subject, peer) {
                                continue;
                            }
                            let got = engine.verdict(*subject, *direction, peer, f.port);
                            if got != Some(*expected) {
                                out.push(format!(
                                    "{}/flows.yaml: {:?} -> {:?} on {}: {name} {direction} is {expected} by hand \
                                     ({}), {got:?} by {engine_name}",
                                    self.path.display(),
                                    f.from,
                                    f.to,
                                    f.port,
                                    f.why
                                ));
                            }
                        }
                    }
                }
            });
        }
        (asked, out)
    }
}
