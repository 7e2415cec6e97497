//! `portcullis-conformance FILE.jsonl[.gz]…`: agreement with recorded verdicts, by engine and
//! category. Exit status 1 on any disagreement, 2 if a file or line cannot be read.

use portcullis_conformance::{scenario, tally::Tally};
use rayon::prelude::*;
use std::io::Write as _;
use std::process::ExitCode;

/// Scenarios judged between two reads: bounds the memory whatever the size of the file.
const BATCH: usize = 512;

fn main() -> ExitCode {
    let paths: Vec<_> = std::env::args_os().skip(1).collect();
    let mut out = std::io::stdout();
    if paths.is_empty() {
        let _ = writeln!(std::io::stderr(), "usage: portcullis-conformance FILE.jsonl[.gz]…");
        return ExitCode::from(2);
    }
    let mut all = Tally::default();
    for path in &paths {
        let path = std::path::Path::new(path);
        match scenario::lines(path) {
            Ok(lines) => {
                let before = (all.scenarios, all.unreadable.len());
                run(path, lines, &mut all);
                if before == (all.scenarios, all.unreadable.len()) {
                    all.unreadable.push(format!("{}: holds no scenario", path.display()));
                }
            }
            Err(e) => all.unreadable.push(format!("{}: {e}", path.display())),
        }
    }
    let _ = write!(out, "{}", all.report());
    if !all.unreadable.is_empty() {
        ExitCode::from(2)
    } else if all.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

fn run(path: &std::path::Path, lines: impl Iterator<Item = std::io::Result<String>>, all: &mut Tally) {
    let mut numbered = (1usize..).zip(lines).peekable();
    while numbered.peek().is_some() {
        let batch: Vec<_> = numbered.by_ref().take(BATCH).collect();
        let tallies: Vec<Tally> = batch
            .into_par_iter()
            .map(|(number, line)| {
                let mut t = Tally::default();
                let parsed = line.map_err(|e| e.to_string());
                match parsed {
                    Ok(line) if line.trim().is_empty() => {}
                    Ok(line) => match scenario::read(&line) {
                        Ok(s) => t.judge(&s),
                        Err(e) => t.unreadable.push(format!("{}:{number}: {e}", path.display())),
                    },
                    Err(e) => t.unreadable.push(format!("{}:{number}: {e}", path.display())),
                }
                t
            })
            .collect();
        for t in tallies {
            all.merge(t);
        }
    }
}
