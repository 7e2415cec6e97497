//! Random sides, and z3 as a process.

use portcullis_diag::SourceMap;
use portcullis_snapshot_tests::generate::{self, Choices};
use portcullis_snapshot_tests::side::Side;
use portcullis_symbolic::{SatResult, Solver, SolverError, read_answer};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Bytes that are always the same for one seed.
pub(crate) fn bytes(seed: u64, n: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .collect()
}

/// A random cluster and policies.
pub(crate) fn side(bytes: &[u8]) -> Side {
    let world = generate::world(&mut Choices::new(bytes));
    Side::new(&mut SourceMap::new(), &[world.cluster_text()], &world.policy_texts())
}

/// z3 as a process.
pub(crate) struct Z3(PathBuf);

/// The z3 that `PORTCULLIS_Z3` names or that is on the path; says in one line that there is none.
pub(crate) fn z3(left_out: &str) -> Option<Z3> {
    let path = PathBuf::from(std::env::var_os("PORTCULLIS_Z3").unwrap_or_else(|| "z3".into()));
    let there = Command::new(&path).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        assert!(std::env::var_os("PORTCULLIS_Z3").is_none(), "PORTCULLIS_Z3 names no z3 that runs");
        eprintln!("left out, since there is no z3 (scripts/z3.sh fetches one): {left_out}");
    }
    there.then_some(Z3(path))
}

impl Solver for Z3 {
    fn check(&mut self, query: &str) -> Result<SatResult, SolverError> {
        let mut child = Command::new(&self.0)
            .args(["-in", "-T:120"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| SolverError(e.to_string()))?;
        child.stdin.take().unwrap().write_all(query.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        read_answer(&String::from_utf8_lossy(&out.stdout))
    }
}
