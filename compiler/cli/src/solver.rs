//! z3 as a process: found, fed, timed, killed.

use crate::exit::Failure;
use clap::Args;
use portcullis_symbolic::{SatResult, Solver, SolverError, read_answer};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs, thread};

/// Names the z3 program.
const VARIABLE: &str = "PORTCULLIS_Z3";
const HELP: &str =
    "install z3 (`apt install z3`, `pip install z3-solver`), or name its program in PORTCULLIS_Z3";

/// Settings of commands that prove.
#[derive(Debug, Default, Args)]
pub(crate) struct SolverArgs {
    /// Seconds for each question to z3; what takes longer is undecided
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) timeout: u32,
    /// Write each question to a file of this folder, as SMT-LIB2 that `z3 FILE` answers again
    #[arg(long, value_name = "DIR")]
    pub(crate) save_queries: Option<PathBuf>,
}

/// A z3 program, run once a question.
pub(crate) struct Z3 {
    path: PathBuf,
    seconds: u32,
    save: Option<PathBuf>,
    asked: usize,
}

impl Z3 {
    /// The z3 that `PORTCULLIS_Z3` names, or the first one on the path.
    pub(crate) fn find(args: &SolverArgs) -> Result<Self, Failure> {
        let path = match env::var_os(VARIABLE).filter(|v| !v.is_empty()) {
            Some(named) => {
                let path = PathBuf::from(named);
                if !path.is_file() {
                    return Err(Failure::new(
                        format!("{VARIABLE} names {}, which is no file", path.display()),
                        HELP,
                    ));
                }
                path
            }
            None => on_path("z3").ok_or_else(|| {
                Failure::new("nothing can be proved without z3, and it is not on the path", HELP)
            })?,
        };
        if let Some(folder) = &args.save_queries {
            fs::create_dir_all(folder).map_err(|e| unwritten(folder, &e))?;
        }
        Ok(Self { path, seconds: args.timeout, save: args.save_queries.clone(), asked: 0 })
    }

    fn save(&self, query: &str) -> Result<(), SolverError> {
        let Some(folder) = &self.save else { return Ok(()) };
        let title = query.lines().next().unwrap_or_default();
        let mut slug: String = title
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        while slug.contains("--") {
            slug = slug.replace("--", "-");
        }
        slug.truncate(60);
        let file = folder.join(format!("{:03}-{}.smt2", self.asked, slug.trim_matches('-')));
        fs::write(&file, query)
            .map_err(|e| SolverError(format!("{} could not be written: {e}", file.display())))
    }
}

impl Solver for Z3 {
    fn check(&mut self, query: &str) -> Result<SatResult, SolverError> {
        self.asked += 1;
        self.save(query)?;
        let said = |what: &str, e: &dyn std::fmt::Display| {
            SolverError(format!("{} {what}: {e}", self.path.display()))
        };
        let mut child = Command::new(&self.path)
            .arg("-in")
            .arg(format!("-T:{}", self.seconds))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| said("could not be started", &e))?;
        let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(SolverError("the solver has no standard input and output".to_owned()));
        };
        let text = query.to_owned();
        let (done, answer) = mpsc::channel();
        // A solver that stops reading, or that never stops writing, must not hold this thread.
        let feed = thread::spawn(move || {
            let _ = stdin.write_all(text.as_bytes());
        });
        thread::spawn(move || {
            let mut printed = String::new();
            let read = stdout.read_to_string(&mut printed).map(|_| printed);
            let _ = done.send(read);
        });
        // z3 keeps its own time; two seconds later it is stopped by force.
        let limit = Duration::from_secs(u64::from(self.seconds) + 2);
        let Ok(printed) = answer.recv_timeout(limit) else {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(SatResult::Unknown("the time was up".to_owned()));
        };
        let _ = child.wait();
        let _ = feed.join();
        read_answer(&printed.map_err(|e| said("could not be read", &e))?)
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.is_file())
}

fn unwritten(folder: &Path, e: &std::io::Error) -> Failure {
    Failure::new(
        format!("{} could not be made: {e}", folder.display()),
        "give --save-queries a folder that may be written",
    )
}

/// A solver that could not be asked.
pub(crate) fn failed(e: &SolverError) -> Failure {
    Failure::new(
        format!("z3 gave no answer: {e}"),
        "check that PORTCULLIS_Z3, or the z3 on the path, is z3 4.8 or newer",
    )
}
