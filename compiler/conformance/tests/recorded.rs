//! Recorded verdicts, and what the program says of files that hold none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use flate2::Compression;
use flate2::write::GzEncoder;
use portcullis_conformance::tally::Tally;
use portcullis_conformance::{engines, scenario};
use rayon::prelude::*;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/verdicts-sample.jsonl.gz")
}

fn judge(path: &Path) -> Tally {
    let lines: Vec<String> = scenario::lines(path).unwrap().map(Result::unwrap).collect();
    let tallies: Vec<Tally> = lines
        .par_iter()
        .map(|line| {
            let mut t = Tally::default();
            t.judge(&scenario::read(line).unwrap());
            t
        })
        .collect();
    let mut all = Tally::default();
    for t in tallies {
        all.merge(t);
    }
    all
}

/// Verdicts that each engine was asked for.
fn asked(t: &Tally) -> Vec<u64> {
    let of = |engine: usize| t.counts.iter().filter(|((e, _), _)| *e == engine).map(|(_, c)| c.total).sum();
    (0..engines::NAMES.len()).map(of).collect()
}

#[test]
fn every_engine_agrees_with_the_sample() {
    let t = judge(&sample());
    assert!(t.is_clean(), "{}", t.report());
    assert_eq!(t.scenarios, 308);
    assert!(asked(&t).iter().all(|n| *n == 11_846), "{:?}", asked(&t));
    let categories: std::collections::BTreeSet<&String> = t.counts.keys().map(|(_, c)| c).collect();
    assert_eq!(categories.len(), 14);
}

#[test]
fn every_engine_agrees_with_the_whole_recording() {
    let Some(folder) = std::env::var_os("PORTCULLIS_VECTORS") else {
        let _ = writeln!(
            std::io::stderr(),
            "left out: PORTCULLIS_VECTORS names no folder with the whole recording"
        );
        return;
    };
    let t = judge(&Path::new(&folder).join("verdicts.jsonl.gz"));
    assert!(t.is_clean(), "{}", t.report());
    assert!(asked(&t).iter().all(|n| *n == 61_499), "{:?}", asked(&t));
}

/// Runs the program on a file with these bytes: exit code and output.
fn run(name: &str, bytes: &[u8]) -> (Option<i32>, String) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_portcullis-conformance")).arg(&path).output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn an_empty_file_is_no_agreement() {
    let (code, text) = run("empty.jsonl", b"");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("empty.jsonl: holds no scenario"), "{text}");
}

#[test]
fn a_gzip_that_ends_early_is_named() {
    let whole = std::fs::read(sample()).unwrap();
    let (code, text) = run("cut.jsonl.gz", whole.get(..whole.len() / 2).unwrap());
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("unreadable:") && text.contains("cut.jsonl.gz"), "{text}");
}

#[test]
fn a_line_that_is_no_scenario_is_named_with_its_number() {
    for garbage in ["{", "[]", "\"text\"", "{}", "\u{0}\u{1}"] {
        let (code, text) = run("garbage.jsonl", format!("\n{garbage}\n").as_bytes());
        assert_eq!(code, Some(2), "{garbage}: {text}");
        assert!(text.contains("garbage.jsonl:2:"), "{garbage}: {text}");
    }
    let (code, text) = run("bytes.jsonl", &[0xff, 0xfe, b'\n']);
    assert_eq!(code, Some(2), "{text}");
}

#[test]
fn a_line_without_end_is_refused_and_not_read_into_memory() {
    // A few hundred kilobytes that unpack to 300 megabytes without a line feed.
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let block = vec![b' '; 1 << 20];
    for _ in 0..300 {
        packed.write_all(&block).unwrap();
    }
    let (code, text) = run("huge.jsonl.gz", &packed.finish().unwrap());
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("longer than"), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let out =
        Command::new(env!("CARGO_BIN_EXE_portcullis-conformance")).arg("/nowhere.jsonl").output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stdout).contains("/nowhere.jsonl"));
}
