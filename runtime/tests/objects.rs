//! The object in the repository is what its sources gave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::Path;

#[test]
fn the_committed_objects_are_of_the_committed_sources() {
    let bpf = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("bpf");
    let lock = std::fs::read_to_string(bpf.join("objects.lock")).unwrap();
    let mut checked = 0;
    for line in lock.lines().skip(1) {
        let (sum, file) = line.split_once("  ").unwrap();
        let mut found = String::new();
        for byte in Sha256::digest(std::fs::read(bpf.join(file)).unwrap()) {
            write!(found, "{byte:02x}").unwrap();
        }
        assert!(found == sum, "{file} has changed: run scripts/bpf.sh, and commit what it writes");
        checked += 1;
    }
    let count = |folder: &str, end: &str| {
        let files = std::fs::read_dir(bpf.join(folder)).unwrap();
        files.filter(|f| f.as_ref().unwrap().path().to_string_lossy().ends_with(end)).count()
    };
    assert_eq!(checked, count(".", ".c") + count("include", ".h"), "a source is not in objects.lock");
}
