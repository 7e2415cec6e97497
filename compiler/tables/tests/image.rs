//! Images from shuffled input are equal, and hostile ones give an answer or an error, never a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use portcullis_abi as abi;
use portcullis_bench::{Shape, generate};
use portcullis_diag::FileId;
use portcullis_front::ast::Object;
use portcullis_ir::{Cluster, Direction, FlowPort, L4, Options, lower};
use portcullis_sema::ports;
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use portcullis_tables::{Image, build};
use proptest::prelude::*;
use std::sync::OnceLock;

fn objects() -> (Vec<Object>, Vec<Object>) {
    let shape = Shape {
        namespaces: 3,
        apps_per_namespace: 4,
        replicas: 2,
        policies: 40,
        external_prefixes: 6,
        seed: 5,
    };
    let generated = generate(&shape);
    let parse = |n: &str, t: &str| portcullis_front::parse(FileId(0), n, t).objects;
    let cluster = parse("cluster.yaml", &generated.cluster);
    (cluster, generated.policies.iter().flat_map(|(n, t)| parse(n, t)).collect())
}

fn image_of(cluster: &[Object], policies: &[Object]) -> Vec<u8> {
    let options = Options::default();
    let cluster = Cluster::build(cluster, &options);
    let policies = lower::lower(policies, &cluster, &options);
    let input = Input { policies: &policies, cluster: &cluster, options: &options };
    build(&Evaluation::new(&[input], &[]), None, &|c| format!("{c:?}")).unwrap().bytes
}

fn sample() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let (cluster, policies) = objects();
        image_of(&cluster, &policies)
    })
}

/// Asks everything a reader can be asked, within and beyond the tables.
fn ask(bytes: &[u8]) {
    let Ok(image) = Image::parse(bytes) else { return };
    for endpoint in [0, 1, 11, 12, 1 << 16, u32::MAX] {
        for d in Direction::BOTH {
            for identity in [0, 5, 30, 1 << 16, u32::MAX] {
                for coordinate in [0, 80, 0x1_0035, abi::COORDINATES - 1, abi::COORDINATES, u32::MAX] {
                    if let Ok(word) = image.lookup(endpoint, d, identity, coordinate) {
                        let _ = image.cause(word.cause());
                    }
                }
            }
        }
    }
    let _ = (image.causes(), image.source(), image.row(usize::MAX / 4, usize::MAX / 4));
    let _ = image.word(usize::MAX / 4, usize::MAX / 4);
}

#[test]
fn the_order_of_objects_leaves_the_bytes_as_they_are() {
    let (mut cluster, mut policies) = objects();
    let image = image_of(&cluster, &policies);
    let mut state = 7usize;
    for _ in 0..5 {
        for list in [&mut cluster, &mut policies] {
            for i in (1..list.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                list.swap(i, (state >> 33) % (i + 1));
            }
        }
        assert!(image_of(&cluster, &policies) == image, "other bytes");
    }
}

#[test]
fn coordinates_are_those_of_the_programs() {
    assert_eq!(ports::END, abi::COORDINATES);
    for (port, at) in [
        (FlowPort::L4(L4::Tcp, 0), 0),
        (FlowPort::L4(L4::Udp, 0), abi::COORDINATE_UDP),
        (FlowPort::L4(L4::Sctp, 0), abi::COORDINATE_SCTP),
        (FlowPort::Icmp(false, 0), abi::COORDINATE_ICMP),
        (FlowPort::Icmp(true, 0), abi::COORDINATE_ICMP6),
        (FlowPort::Protocol(0), abi::COORDINATE_PROTOCOL),
    ] {
        assert_eq!(ports::coordinate(port), at, "{port}");
    }
}

#[test]
fn the_documented_offsets_are_the_constants() {
    let page = include_str!("../../../docs/table-image.md");
    let row = |offset: usize, name: &str| {
        let found = page.lines().any(|l| {
            let mut cells = l.split('|').map(str::trim).skip(1);
            cells.next() == Some(&offset.to_string()) && cells.nth(1) == Some(name)
        });
        assert!(found, "docs/table-image.md has no row with {offset} and {name}");
    };
    for (offset, name) in [
        (abi::header::MAGIC, "magic"),
        (abi::header::VERSION, "version"),
        (abi::header::SIZE, "size"),
        (abi::header::IDENTITIES, "identities"),
        (abi::header::ENDPOINTS, "endpoints"),
        (abi::header::PEER_CLASSES, "peer classes"),
        (abi::header::SUBJECT_CLASSES, "subject classes"),
        (abi::header::ATOMS, "atoms"),
        (abi::header::ROWS, "rows"),
        (abi::header::WORDS, "words"),
        (abi::header::RESERVED, "reserved"),
        (abi::header::GENERATION, "generation"),
        (abi::header::SOURCE, "source"),
    ] {
        row(offset, name);
    }
    let sections = [
        "peer class",
        "subject of",
        "port directory",
        "port pages",
        "subjects",
        "pair directory",
        "pair pages",
        "locals",
        "row directory",
        "row pages",
        "words",
        "causes",
    ];
    for (i, name) in sections.into_iter().enumerate() {
        row(abi::header::SECTIONS + i * 8, &format!("section {name}"));
    }
    assert_eq!(sections.len(), abi::SECTIONS);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn changed_bytes_give_an_answer_or_an_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)
    ) {
        let mut bytes = sample().to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        ask(&bytes);
    }

    #[test]
    fn wild_counts_offsets_and_lengths_give_an_answer_or_an_error(
        changes in prop::collection::vec((3usize..abi::HEADER_SIZE / 4, any::<u32>(), 0u32..32), 1..6)
    ) {
        let mut bytes = sample().to_vec();
        for (field, value, shift) in changes {
            bytes[field * 4..field * 4 + 4].copy_from_slice(&(value >> shift).to_le_bytes());
        }
        ask(&bytes);
    }

    #[test]
    fn what_is_cut_short_is_refused(at in any::<prop::sample::Index>()) {
        let bytes = sample();
        prop_assert!(Image::parse(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn random_bytes_give_an_answer_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..1000)) {
        ask(&bytes);
        if bytes.len() >= abi::HEADER_SIZE {
            bytes[..8].copy_from_slice(&abi::MAGIC);
            bytes[8..12].copy_from_slice(&abi::VERSION.to_le_bytes());
            ask(&bytes);
        }
    }
}
