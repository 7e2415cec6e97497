//! Bytes to texts, in parallel.

use super::walk::{Found, Walk, unreadable};
use super::{Gathered, Text};
use portcullis_diag::codes::syntax;
use portcullis_diag::{Diagnostic, Fate};
use rayon::prelude::*;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Reads every file that was found; a file that cannot be read becomes a diagnostic.
pub(super) fn read_all(walk: Walk, limit: u64) -> Gathered {
    let read: Vec<Result<Text, Box<Diagnostic>>> =
        walk.files.into_par_iter().map(|f| read_one(f, limit)).collect();
    let mut out = Gathered {
        diagnostics: walk.diagnostics,
        notes: walk.notes,
        missing: walk.missing,
        ..Gathered::default()
    };
    for one in read {
        match one {
            Ok(text) => out.texts.push(text),
            Err(finding) => out.diagnostics.push(*finding),
        }
    }
    out
}

fn read_one(found: Found, limit: u64) -> Result<Text, Box<Diagnostic>> {
    let name = if found.path == Path::new("-") { "-".to_owned() } else { found.name };
    let bytes = bytes(&found.path, limit).map_err(|e| Box::new(unreadable(&name, &e)))?;
    let bytes = match bytes {
        Bytes::All(bytes) => bytes,
        Bytes::TooMany(size) => return Err(Box::new(too_large(&name, size, limit))),
    };
    let text = decode(&name, bytes)?;
    Ok(Text { name, key: found.key, content: text })
}

enum Bytes {
    All(Vec<u8>),
    /// More than the limit; how many, where that is known.
    TooMany(Option<u64>),
}

/// A pipe does not say how long it is, so it is read up to the limit.
fn bytes(path: &Path, limit: u64) -> io::Result<Bytes> {
    let mut all = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit + 1).read_to_end(&mut all)?
    } else {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.is_file() && meta.len() > limit {
            return Ok(Bytes::TooMany(Some(meta.len())));
        }
        if meta.is_file() {
            all.reserve(usize::try_from(meta.len()).unwrap_or(0));
        }
        file.take(limit + 1).read_to_end(&mut all)?
    };
    Ok(if read as u64 > limit { Bytes::TooMany(None) } else { Bytes::All(all) })
}

/// Bytes as text, or why they are none.
pub fn decode(name: &str, bytes: Vec<u8>) -> Result<Arc<str>, Box<Diagnostic>> {
    let finding = |message: String, help: &str| {
        Box::new(Diagnostic::without_place(syntax::NOT_TEXT, message).help(help).fate(Fate::Unreadable))
    };
    let wide = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    if wide {
        return Err(finding(
            format!("{name} is UTF-16 text, not UTF-8"),
            "convert it: `iconv -f UTF-16 -t UTF-8 old.yaml > new.yaml`",
        ));
    }
    if let Some(at) = bytes.iter().take(8000).position(|b| *b == 0) {
        return Err(finding(
            format!("{name} is a binary file: byte {at} is zero"),
            "leave it out of the paths; only YAML and JSON can be read",
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
            Err(finding(
                format!("{name} is not UTF-8 text: line {line} has a byte that belongs to no character"),
                "convert it to UTF-8, or leave it out of the paths",
            ))
        }
    }
}

/// A file above the limit.
pub fn too_large(name: &str, size: Option<u64>, limit: u64) -> Diagnostic {
    let size = size.map_or_else(|| "more than that".to_owned(), human_size);
    let message = format!("{name} is {size}, and files above {} are not read", human_size(limit));
    let help = "split it or leave it out; a dump of the cluster belongs behind --cluster; --max-file-size moves the limit";
    Diagnostic::without_place(syntax::TOO_LARGE, message).help(help).fate(Fate::Unreadable)
}

/// `64 MiB`, `1.5 GiB`, `17 bytes`.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, one) in UNITS {
        if bytes >= one {
            let tenths = bytes.saturating_mul(10) / one;
            return match tenths % 10 {
                0 => format!("{} {unit}", tenths / 10),
                rest => format!("{}.{rest} {unit}", tenths / 10),
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(human_size(64 << 20), "64 MiB");
        assert_eq!(human_size(3 << 29), "1.5 GiB");
        assert_eq!(human_size(17), "17 bytes");
    }

    #[test]
    fn text_that_is_none_says_why() {
        assert!(decode("a", vec![0xff, 0xfe, b'a', 0]).unwrap_err().message.contains("UTF-16"));
        assert!(decode("a", b"ab\0".to_vec()).unwrap_err().message.contains("binary"));
        assert!(decode("a", b"ab\n\xc3(".to_vec()).unwrap_err().message.contains("line 2"));
    }
}
