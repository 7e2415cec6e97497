//! Generations that were put into the kernel, kept on disk: what their numbers and causes stand for, the
//! image that was proved, and the policies it came from.

use crate::compile::{Candidate, Unenforced};
use crate::inputs::NamedText;
use ipnet::IpNet;
use portcullis_tables::staged::Numbers;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

/// Generations that are kept.
const KEPT: usize = 8;

/// That one went back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Back {
    /// The generation whose policies count.
    pub to: u64,
    /// The policy files as they were when one went back: they count again once they are others.
    pub files: Vec<(String, String)>,
}

/// One generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its number.
    pub generation: u64,
    /// When it was put into use, in seconds since 1970.
    pub since: u64,
    /// The digest of what it was made from, in hexadecimal.
    pub source: String,
    /// Policies that take part.
    pub policies: usize,
    /// Set where it has the policies of an earlier generation again.
    pub back: Option<Back>,
    /// What identities are.
    pub names: BTreeMap<u32, String>,
    /// What causes stand for, by number.
    pub causes: Vec<String>,
    /// Rules that cannot be enforced here, and why.
    pub unenforced: Vec<(String, String)>,
    /// Policy files by name.
    pub texts: Vec<(String, String)>,
    /// By identity of the image: its number.
    pub identities: Vec<Option<u32>>,
    /// Identity numbers are below this.
    pub identity_slots: u32,
    /// By endpoint number: which of the image's endpoints it is.
    pub endpoints: Vec<Option<u32>>,
    /// Prefixes and their identities.
    pub prefixes: Vec<(IpNet, u32)>,
    /// Numbers that came after it was staged, and the identity of the image whose class they have.
    #[serde(default)]
    pub twins: Vec<(u32, u32)>,
}

impl Record {
    /// The record of a candidate.
    pub fn new(c: &Candidate, generation: u64, since: u64, source: &[u8], back: Option<Back>) -> Self {
        let say = |u: &Unenforced| (u.rule.clone(), u.why.to_owned());
        Self {
            generation,
            since,
            source: hex(source),
            policies: c.policies,
            back,
            names: c.names.clone(),
            causes: c.causes.clone(),
            unenforced: c.unenforced.iter().map(say).collect(),
            texts: c.texts.iter().map(|(n, t)| (n.clone(), t.to_string())).collect(),
            identities: c.numbers.identities.clone(),
            identity_slots: c.numbers.identity_slots,
            endpoints: c.numbers.endpoints.clone(),
            prefixes: c.prefixes.clone(),
            twins: Vec::new(),
        }
    }

    /// The numbers that the image was staged under.
    pub fn numbers(&self) -> Numbers {
        Numbers {
            identities: self.identities.clone(),
            identity_slots: self.identity_slots,
            endpoints: self.endpoints.clone(),
            twins: self.twins.clone(),
        }
    }

    /// Its policy files.
    pub fn policy_texts(&self) -> Vec<NamedText> {
        self.texts.iter().map(|(n, t)| (n.clone(), Arc::from(t.as_str()))).collect()
    }

    /// What an identity's number stands for.
    pub fn name(&self, identity: u32) -> Option<&str> {
        self.names.get(&identity).map(String::as_str)
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        let _ = write!(out, "{b:02x}");
    }
    out
}

/// The records of a state folder.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// Those below a state folder, which is made if it is not there.
    pub fn open(state: &Path) -> io::Result<Self> {
        let folder = state.join("generations");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    /// Writes a record and its proved image, before the generation is put into use.
    pub fn keep(&self, record: &Record, image: &[u8]) -> io::Result<()> {
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
        write(&self.folder.join(format!("{}.img", record.generation)), image)?;
        write(&self.folder.join(format!("{}.json", record.generation)), &text)?;
        let all = self.generations()?;
        for old in all.iter().take(all.len().saturating_sub(KEPT)) {
            for end in ["json", "img"] {
                let _ = fs::remove_file(self.folder.join(format!("{old}.{end}")));
            }
        }
        Ok(())
    }

    /// Writes the record of a generation whose image is kept once more.
    pub fn keep_again(&self, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
        write(&self.folder.join(format!("{}.json", record.generation)), &text)
    }

    /// Numbers of the generations that are kept, in order.
    pub fn generations(&self) -> io::Result<Vec<u64>> {
        let mut out = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            out.extend(
                name.to_str().and_then(|n| n.strip_suffix(".json")).and_then(|n| n.parse::<u64>().ok()),
            );
        }
        out.sort_unstable();
        Ok(out)
    }

    /// One record and its image; `None` if it is not kept.
    pub fn read(&self, generation: u64) -> io::Result<Option<(Record, Vec<u8>)>> {
        let path = |end: &str| self.folder.join(format!("{generation}.{end}"));
        let (text, image) = match (fs::read(path("json")), fs::read(path("img"))) {
            (Ok(text), Ok(image)) => (text, image),
            (Err(e), _) | (_, Err(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            (Err(e), _) | (_, Err(e)) => return Err(e),
        };
        let record = serde_json::from_slice(&text).map_err(io::Error::other)?;
        Ok(Some((record, image)))
    }
}

/// Whole or not there, and for its owner alone.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("part");
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
