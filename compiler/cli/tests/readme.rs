//! The README shows what the program prints, to the letter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_readme_shows_the_real_report() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("a README");
    let command = readme
        .lines()
        .find(|l| l.starts_with("cargo run --release -- diff "))
        .and_then(|l| l.split_once(" -- "))
        .map(|(_, args)| args)
        .expect("the README's command");
    let shown = readme
        .split_once("<!-- report -->\n```text\n")
        .and_then(|(_, rest)| rest.split_once("```\n<!-- /report -->"))
        .map(|(block, _)| block)
        .expect("the README's report");
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(command.split_whitespace())
        .current_dir(&root)
        .output()
        .expect("the program runs");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "flows become denied");
    assert_eq!(shown, printed, "the README's report is not what the program prints");
}
