//! Every byte that changes a verdict is found: random bytes of an image are changed, all flows are
//! asked of the image before and after, and `verify` must see what brute force sees.
//!
//! `PORTCULLIS_MUTANTS=10000` for the full run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use portcullis_abi::{COORDINATES, Section, header};
use portcullis_bench::{Shape, generate};
use portcullis_diag::FileId;
use portcullis_front::ast::Object;
use portcullis_ir::{Cluster, Direction, Options, PolicySet, lower};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use portcullis_tables::{Image, build};
use portcullis_verify::verify;

struct World {
    cluster: Cluster,
    policies: PolicySet,
    options: Options,
}

fn world(policies: usize) -> World {
    let shape =
        Shape { namespaces: 3, apps_per_namespace: 4, replicas: 1, policies, external_prefixes: 6, seed: 3 };
    let generated = generate(&shape);
    let options = Options::default();
    let parse = |n: &str, t: &str| portcullis_front::parse(FileId(0), n, t).objects;
    let cluster: Vec<Object> = parse("cluster.yaml", &generated.cluster);
    let objects: Vec<Object> = generated.policies.iter().flat_map(|(n, t)| parse(n, t)).collect();
    let cluster = Cluster::build(&cluster, &options);
    let policies = lower::lower(&objects, &cluster, &options);
    World { cluster, policies, options }
}

/// The verdict of every endpoint, direction and identity at every coordinate of `at`.
fn verdicts(bytes: &[u8], endpoints: u32, identities: u32, at: &[u32]) -> Vec<Option<bool>> {
    let Ok(image) = Image::parse(bytes) else { return Vec::new() };
    let mut out = Vec::new();
    for endpoint in 0..endpoints {
        for d in Direction::BOTH {
            for identity in 0..identities {
                out.extend(at.iter().map(|c| {
                    image.lookup(endpoint, d, identity, *c).ok().map(portcullis_tables::Word::passes)
                }));
            }
        }
    }
    out
}

#[test]
fn every_mutant_that_changes_a_verdict_is_reported_with_a_flow_that_it_changes() {
    let wanted: usize = std::env::var("PORTCULLIS_MUTANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let w = world(40);
    let input = Input { policies: &w.policies, cluster: &w.cluster, options: &w.options };
    let e = Evaluation::new(&[input], &[]);
    let names = |c: &portcullis_tables::Cause| format!("{c:?}");
    let built = build(&e, None, &names).unwrap();
    let clean = verify(&built.bytes, input, &e.universe, None, &names).unwrap();
    assert_eq!(clean.differences, []);

    let image = Image::parse(&built.bytes).unwrap();
    let (endpoints, identities) =
        (u32::try_from(e.universe.groups).unwrap(), u32::try_from(e.universe.len()).unwrap());
    let starts = built.atoms.starts().to_vec();
    let before = verdicts(&built.bytes, endpoints, identities, &starts);
    let table: Vec<(usize, usize)> = (0..11)
        .map(|s| {
            let field = |at: usize| u32::from_le_bytes(built.bytes[at..at + 4].try_into().unwrap()) as usize;
            (field(header::SECTIONS + s * 8), field(header::SECTIONS + s * 8 + 4))
        })
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let (mut changed, mut tried) = (0, 0);
    let mut by_section = [0; 11];
    while changed < wanted && tried < wanted * 20 {
        tried += 1;
        let section = random(11);
        let (offset, len) = table[section];
        let at = offset + random(len);
        let mut bytes = built.bytes.clone();
        bytes[at] ^= u8::try_from(1 + random(255)).unwrap();
        // A changed port table shows at the coordinates of its page or directory entry.
        let mut asked = starts.clone();
        let cell = u32::try_from((at - offset) / 2).unwrap();
        if section == Section::PortDirectory as usize {
            asked.extend(cell * 64..(cell + 1) * 64);
        } else if section == Section::PortPages as usize {
            let place = cell % 64;
            asked.extend(
                (0..COORDINATES)
                    .filter(|c| c % 64 == place && image.atom(*c) != Image::parse(&bytes).unwrap().atom(*c))
                    .take(64),
            );
        }
        let differs = if asked.len() == starts.len() {
            verdicts(&bytes, endpoints, identities, &asked) != before
        } else {
            verdicts(&bytes, endpoints, identities, &asked)
                != verdicts(&built.bytes, endpoints, identities, &asked)
        };
        if !differs {
            continue;
        }
        changed += 1;
        by_section[section] += 1;
        let report = verify(&bytes, input, &e.universe, None, &names).unwrap();
        let first = report.differences.first().unwrap_or_else(|| panic!("byte {at} of section {section}"));
        assert!(first.changes_verdict(), "byte {at} of section {section}: {first:?}");
        let mutant = Image::parse(&bytes).unwrap();
        let answer = mutant.lookup(first.subject.0, first.direction, first.peer.0, first.coordinate);
        let honest = image.lookup(first.subject.0, first.direction, first.peer.0, first.coordinate);
        assert_ne!(
            answer.map(portcullis_tables::Word::passes).ok(),
            honest.map(portcullis_tables::Word::passes).ok(),
            "byte {at}"
        );
    }
    assert_eq!(changed, wanted, "of {tried} tried");
    assert!(by_section.iter().all(|n| *n > 0), "by section: {by_section:?}");
}
