//! The yardstick: `parse_only PATH…` iterates the YAML events of every file under the paths with
//! the library that Portcullis reads with, on one thread, and does nothing with them.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a measuring tool")]

use std::path::{Path, PathBuf};

fn files(path: &Path, out: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).expect("a readable folder");
        for entry in entries {
            files(&entry.expect("a readable entry").path(), out);
        }
    } else {
        out.push(path.to_owned());
    }
}

fn main() {
    let mut all = Vec::new();
    for path in std::env::args_os().skip(1) {
        files(Path::new(&path), &mut all);
    }
    let (mut events, mut bytes) = (0usize, 0usize);
    for path in &all {
        let text = std::fs::read_to_string(path).expect("a readable file");
        bytes += text.len();
        events += granit_parser::Parser::new_from_str(&text).flatten().count();
    }
    println!("{} files, {bytes} bytes, {events} events", all.len());
}
