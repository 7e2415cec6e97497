//! How a run ends: exit codes, and failures that leave no report.

use portcullis_diag::{Code, Diagnostic};
use std::fmt::Write as _;
use std::process::ExitCode;

/// Exit codes. Stable: scripts and pipelines depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Nothing that `--fail-on` names.
    Clean,
    /// Something that `--fail-on` names.
    Findings,
    /// Bad usage, or input that could not be read.
    Usage,
    /// A proof that was not finished in time.
    Undecided,
    /// A defect of this program.
    Internal,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Clean => 0,
            Exit::Findings => 1,
            Exit::Usage => 2,
            Exit::Undecided => 3,
            Exit::Internal => 70,
        })
    }
}

/// Why a command has no report to give. Always exit code 2: what the user gave was at fault.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Problem {
    code: Option<Code>,
    message: String,
    help: Option<String>,
}

impl Failure {
    /// One clause, and the way out.
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        let problem = Problem { code: None, message: message.into(), help: Some(help.into()) };
        Self { problems: vec![problem] }
    }

    /// Several at once.
    pub(crate) fn all(list: Vec<Self>) -> Self {
        Self { problems: list.into_iter().flat_map(|f| f.problems).collect() }
    }

    /// Findings about the input that leave nothing to work on.
    pub(crate) fn of(diagnostics: Vec<Diagnostic>) -> Self {
        let problems = diagnostics
            .into_iter()
            .map(|d| Problem { code: Some(d.code), message: d.message, help: d.help })
            .collect();
        Self { problems }
    }

    /// The text for standard error.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for p in &self.problems {
            let code = p.code.map(|c| format!("[{c}]")).unwrap_or_default();
            let _ = writeln!(out, "error{code}: {}", p.message);
            for line in p.help.iter().flat_map(|h| h.lines()) {
                let _ = writeln!(out, "  help: {line}");
            }
        }
        out
    }
}
