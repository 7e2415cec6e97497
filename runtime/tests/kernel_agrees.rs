//! The programs, run by the kernel on packets made from flows, against verdicts by hand and the oracle's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stdout, reason = "how many verdicts were compared")]

mod support;

use portcullis_agent::kernel::Settings;
use portcullis_conformance::scenario;
use portcullis_ir::{Direction, Flow, PeerRef};
use portcullis_oracle::Oracle;
use portcullis_snapshot_tests::case::{Case, folders, root};
use std::path::PathBuf;
use support::{Machine, World, externals, small};

/// Settings under which an L7 rule allows at L4, as it does to the oracle (SEM-6.8): the tests ask about
/// L4 and there is no proxy here.
fn settings() -> Settings {
    Settings { fail_open: true, ..Settings::default() }
}

/// "Packet too big" passes whatever the policies say (SEM-7.5), and so do the errors about known flows.
fn always_passes(flow: &Flow) -> bool {
    matches!(flow.port, portcullis_ir::FlowPort::Icmp(true, 2))
}

#[test]
fn the_kernel_gives_every_verdict_written_by_hand() {
    let Some(machine) = Machine::new(small(), &settings()) else { return };
    let mut paths = folders(&root().join("snapshot-tests/cases")).unwrap();
    paths.extend(folders(&root().join("policies/examples")).unwrap());
    let (mut asked, mut left_out, mut generation) = (0, Vec::new(), 0);
    let mut wrong = Vec::new();
    for path in paths {
        let case = Case::read(&path).unwrap();
        for (name, side) in &case.sides {
            let flows: Vec<_> = case
                .flows
                .iter()
                .filter_map(|f| {
                    let (_, expect) = f.expect.iter().find(|(n, _)| n == name)?;
                    let from = f.from.on(&side.cluster).unwrap();
                    let to = f.to.on(&side.cluster).unwrap();
                    Some((Flow { from, to, port: f.port }, expect, &f.why))
                })
                .collect();
            let addresses = externals(flows.iter().flat_map(|(f, ..)| [&f.from, &f.to]));
            generation += 1;
            let mut world = World::new(&machine, side.input(), &addresses, generation);
            for (flow, expect, why) in &flows {
                for (direction, expected) in *expect {
                    match world.verdict(flow, *direction) {
                        Some(got) if got == *expected => asked += 1,
                        Some(got) => wrong.push(format!(
                            "{} {name}: {flow:?} {direction} is {expected} by hand ({why}), {got} in the kernel",
                            case.name
                        )),
                        None => left_out.push(format!("{}: {flow:?}", case.name)),
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong, {asked} right:\n{}", wrong.len(), wrong.join("\n"));
    assert!(left_out.is_empty(), "no packet can be made of\n{}", left_out.join("\n"));
    println!("{asked} verdicts by hand agree");
    assert!(asked > 250, "only {asked} were asked for");
}

/// Recorded scenarios: the whole file that `PORTCULLIS_VECTORS` names, else the sample in the repository.
fn scenarios() -> Vec<String> {
    let sample = root().join("compiler/conformance/data/verdicts-sample.jsonl.gz");
    let path = std::env::var_os("PORTCULLIS_VECTORS")
        .map(|v| PathBuf::from(v).join("verdicts.jsonl.gz"))
        .filter(|p| p.is_file())
        .unwrap_or(sample);
    scenario::lines(&path).unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_kernel_gives_recorded_verdicts_and_the_oracles() {
    let Some(machine) = Machine::new(small(), &settings()) else { return };
    let all = scenarios();
    // Every fifth scenario of the whole recording, all of the sample: more than 200 of either.
    let step = if all.len() > 1000 { 5 } else { 1 };
    let (mut asked, mut used) = (0, 0);
    let mut wrong = Vec::new();
    for (generation, line) in (1u64..).zip(all.iter().step_by(step)) {
        let s = scenario::read(line).unwrap();
        let mut world = World::new(&machine, s.input(), &s.addresses(), generation);
        let oracle = Oracle { policies: &s.policies, cluster: &s.cluster, options: &s.options };
        used += 1;
        for case in &s.cases {
            for (direction, expected) in &case.expect {
                if case.flow.from == case.flow.to || always_passes(&case.flow) {
                    continue;
                }
                let Some(got) = world.verdict(&case.flow, *direction) else { continue };
                asked += 1;
                let (subject, peer) = match direction {
                    Direction::Egress => (&case.flow.from, &case.flow.to),
                    Direction::Ingress => (&case.flow.to, &case.flow.from),
                };
                let PeerRef::Endpoint(subject) = subject else { panic!("a verdict of no pod") };
                let oracle = oracle.decide(*subject, *direction, peer, case.flow.port).verdict;
                if got != *expected || oracle != got {
                    wrong.push(format!(
                        "{}: {} {direction}: recorded {expected}, oracle {oracle}, kernel {got}",
                        s.name, case.text
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    println!("{used} scenarios, {asked} verdicts agree");
    assert!(used >= 200 && asked > 2000, "{used} scenarios, {asked} verdicts");
}
