//! Random policies, and how a concrete question is put to the encoding.
#![allow(dead_code, reason = "each test uses a part")]

use portcullis_conformance::formula::assign_side;
use portcullis_diag::SourceMap;
use portcullis_ir::{Direction, FlowPort, PeerRef, PolicySet, Verdict};
use portcullis_snapshot_tests::generate::{self, Choices, World};
use portcullis_snapshot_tests::side::Side;
pub(crate) use portcullis_snapshot_tests::tables::questions;
use portcullis_symbolic::encode::Fault;
use portcullis_symbolic::{Pods, SatResult, Solver, SolverError, Space, read_answer};
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

pub(crate) fn world(bytes: &[u8]) -> World {
    generate::world(&mut Choices::new(bytes))
}

/// Policies over a cluster that may be another world's.
pub(crate) fn side(cluster: &World, policies: &World) -> Side {
    Side::new(&mut SourceMap::new(), &[cluster.cluster_text()], &policies.policy_texts())
}

/// Every question on which the encoding and the oracle disagree, and how many were asked.
pub(crate) fn disagreements(side: &Side, fault: Option<Fault>) -> (Vec<String>, usize) {
    let mut space = Space::new(&[&side.policies], [], Pods::Of(&side.cluster), &side.options);
    if let Some(fault) = fault {
        space = space.with_fault(fault);
    }
    let terms = Direction::BOTH.map(|d| (d, space.side(&side.policies, d)));
    let (mut out, mut asked) = (Vec::new(), 0);
    for (subject, direction, peer, port) in questions(side) {
        let Some(a) = assign_side(&space, subject, direction, &peer, port) else { continue };
        let term = terms.iter().find(|(d, _)| *d == direction).unwrap().1;
        let says = space.terms.holds(term, &a);
        let truth = side.oracle().decide(subject, direction, &peer, port).verdict == Verdict::Allowed;
        asked += 1;
        if says != truth {
            out.push(format!("{direction} of {subject:?} with {peer:?} on {port}: the encoding says {says}"));
        }
    }
    (out, asked)
}

/// Whether the oracle lets any flow of the list pass under one set and not under the other.
pub(crate) fn passes(
    side: &Side,
    policies: &PolicySet,
    from: &PeerRef,
    to: &PeerRef,
    port: FlowPort,
) -> bool {
    let oracle = portcullis_oracle::Oracle { policies, cluster: &side.cluster, options: &side.options };
    let flow = portcullis_ir::Flow { from: from.clone(), to: to.clone(), port };
    oracle.judge(&flow).verdict() == Verdict::Allowed
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
