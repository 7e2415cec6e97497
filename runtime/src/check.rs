//! Whether the live kernel has what was proved: the bytes of the deciding image and its prefixes, against
//! the image and the numbers that the agent kept when it put them there.

use crate::config::Config;
use crate::kernel::{self, Kernel, KernelError};
use crate::node::{Records, hex, live_generation, pins};
use portcullis_tables::Image;
use portcullis_tables::staged::stage;
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// All is as it was proved; a sentence that says what.
    Equal(String),
    /// It is not; a sentence for each difference.
    Different(Vec<String>),
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Files.
    #[error("{0}: {1}")]
    File(String, io::Error),
    /// Something that must be there is not.
    #[error("{0}")]
    Missing(String),
}

/// Compares. `file` is an image that somebody reviewed, beside the one that the agent kept.
pub fn check(config: &Config, file: Option<&Path>) -> Result<Found, CheckError> {
    let folder = pins(config);
    let Some(slot) = kernel::slot_size(&folder)? else {
        return Err(CheckError::Missing(format!(
            "nothing is pinned in {}: no agent ran here",
            folder.display()
        )));
    };
    let kernel = Kernel::open(&folder, config.sizes.kernel(slot))?;
    let missing = |what: &str| CheckError::Missing(what.to_owned());
    let active = kernel.active()?.ok_or_else(|| missing("no generation is in use"))?;
    let live = kernel.image(active)?.ok_or_else(|| missing("the slot in use is empty"))?;
    let generation = live_generation(&kernel)?.unwrap_or_default();
    let state = |e| CheckError::File(format!("the folder of generations in {}", config.state.display()), e);
    let records = Records::open(&config.state).map_err(state)?;
    let (record, proved) = records.read(generation).map_err(state)?.ok_or_else(|| {
        CheckError::Missing(format!("what generation {generation} was made of is not kept"))
    })?;
    let image = Image::parse(&proved).map_err(KernelError::from)?;
    let mut out = Vec::new();
    match stage(&image, &record.numbers(), generation) {
        Ok(expected) => compare(&expected, &live, &mut out),
        Err(e) => out.push(format!("the kept image cannot be staged: {e}")),
    }
    let mut prefixes = record.prefixes.clone();
    prefixes.sort();
    let there = kernel.prefixes(active)?;
    for (net, identity) in prefixes.iter().filter(|p| !there.contains(p)) {
        out.push(format!(
            "the prefix {net} (identity {identity}) is not in the kernel, or has another identity"
        ));
    }
    for (net, identity) in there.iter().filter(|p| !prefixes.contains(p)) {
        out.push(format!("the kernel has the prefix {net} (identity {identity}), which no policy names"));
    }
    if let Some(file) = file {
        let bytes = fs::read(file).map_err(|e| CheckError::File(file.display().to_string(), e))?;
        let reviewed = Image::parse(&bytes).map_err(KernelError::from)?;
        if reviewed.source() != image.source() {
            out.push(format!(
                "{} was made from other policies or another cluster ({}) than generation {generation} ({})",
                file.display(),
                hex(reviewed.source()),
                hex(image.source())
            ));
        }
    }
    if out.is_empty() {
        let mut said = format!(
            "generation {generation} in the kernel is the proved one: {} bytes and {} prefixes are equal",
            live.len(),
            there.len()
        );
        if let Some(file) = file {
            let _ = write!(said, ", and {} was made from the same policies and cluster", file.display());
        }
        return Ok(Found::Equal(said));
    }
    Ok(Found::Different(out))
}

fn compare(expected: &[u8], live: &[u8], out: &mut Vec<String>) {
    if expected.len() != live.len() {
        out.push(format!("the live image has {} bytes, and the proved one {}", live.len(), expected.len()));
    }
    let differing = expected.iter().zip(live).filter(|(a, b)| a != b).count();
    if differing > 0 {
        let at = expected.iter().zip(live).position(|(a, b)| a != b).unwrap_or_default();
        out.push(format!("{differing} bytes of the live image are not the proved ones, the first at {at}"));
    }
}
