//! Puts the pages of `docs/diagnostics` into the binary, for `portcullis explain-code`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    let pages =
        PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../docs/diagnostics").canonicalize()?;
    let mut files: Vec<PathBuf> =
        fs::read_dir(&pages)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "md"));
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let Some(code) = file.file_stem().and_then(|s| s.to_str()).filter(|s| s.starts_with("PC")) else {
            continue;
        };
        writeln!(table, "    ({code:?}, include_str!({:?})),", file.display().to_string())?;
    }
    table.push_str("]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("pages.rs"), table)?;
    // Cargo's output protocol; a build script has no other way to talk.
    let mut out = std::io::stdout();
    std::io::Write::write_all(&mut out, format!("cargo::rerun-if-changed={}\n", pages.display()).as_bytes())?;
    Ok(())
}
