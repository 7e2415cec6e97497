//! Policy changes while packets flow: each packet is decided by one generation.

use crate::support::packets::{Ip, tcp, udp};
use crate::support::scene::{PASSES, Scene, Staged, reporting, side};
use crate::support::{DROP, LOOPBACK, PASS, small};
use portcullis_abi::maps::{Event, VERDICT_DROPPED, VERDICT_FORWARDED, counter};
use portcullis_agent::kernel::{Generation, Kernel, Program, Settings};
use portcullis_ir::{Direction, FlowPort, L4, PeerRef};
use portcullis_snapshot_tests::side::Side;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PORTS: std::ops::RangeInclusive<u16> = 1..=64;
const BATCH: u64 = 256;

/// Addresses of prefixes, and a pod.
const PEERS: [&str; 5] = ["192.0.2.1", "192.0.2.129", "192.0.2.200", "198.51.100.9", "db"];

/// Policies that let each prefix reach ports of one parity, the other parity in the other generation. One
/// has more prefixes, so that the identities of all have other numbers in each.
fn policies(odd: bool) -> String {
    let mut out = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n\
                   metadata: {name: web, namespace: shop}\nspec:\n  \
                   endpointSelector: {matchLabels: {app: web}}\n  ingress:\n"
        .to_owned();
    let more = if odd { ", 10.0.0.0/8, 10.9.0.0/16, 172.16.0.0/12, 100.64.0.0/10" } else { "" };
    let peers = [
        (format!("fromCIDR: [192.0.2.0/25{more}]"), false),
        ("fromCIDR: [192.0.2.128/26]".to_owned(), true),
        ("fromCIDR: [192.0.2.192/26]".to_owned(), false),
        ("fromCIDR: [198.51.100.0/24]".to_owned(), true),
        ("fromEndpoints: [{matchLabels: {app: db}}]".to_owned(), false),
    ];
    for (peer, other) in peers {
        let ports: Vec<String> = PORTS
            .filter(|p| (p % 2 == 1) == (odd != other))
            .flat_map(|p| ["TCP", "UDP"].map(|l4| format!("{{port: '{p}', protocol: {l4}}}")))
            .collect();
        // The API takes 40 ports in a list.
        let lists: Vec<String> = ports.chunks(40).map(|l| format!("{{ports: [{}]}}", l.join(", "))).collect();
        writeln!(out, "    - {peer}\n      toPorts: [{}]", lists.join(", ")).unwrap();
    }
    out
}

type Cell = (usize, L4, u16);

/// What the oracle says of each cell.
fn verdicts(side: &Side) -> BTreeMap<Cell, bool> {
    let oracle = side.oracle();
    let find = |name: &str| side.cluster.endpoints().find(|(_, e)| e.name == name).unwrap().0;
    let web = find("web");
    let mut out = BTreeMap::new();
    for (at, peer) in PEERS.iter().enumerate() {
        let peer = match peer.parse() {
            Ok(ip) => PeerRef::External { ip, names: Vec::new() },
            Err(_) => PeerRef::Endpoint(find(peer)),
        };
        for l4 in [L4::Tcp, L4::Udp] {
            for port in PORTS {
                let decision = oracle.decide(web, Direction::Ingress, &peer, FlowPort::L4(l4, port));
                out.insert((at, l4, port), decision.verdict == portcullis_ir::Verdict::Allowed);
            }
        }
    }
    out
}

/// Packets to run; `PORTCULLIS_PACKETS` says how many.
fn packets() -> u64 {
    std::env::var("PORTCULLIS_PACKETS").ok().map_or(100_000, |n| n.parse().expect("a number of packets"))
}

#[test]
fn every_packet_is_decided_by_one_generation_while_policy_flips() {
    let settings = Settings { report_again: Duration::ZERO, ..reporting() };
    let Some(s) = Scene::with(small(), &settings) else { return };
    let sides = [side(&policies(false)), side(&policies(true))];
    let expected = [verdicts(&sides[0]), verdicts(&sides[1])];
    let differ = expected[0].iter().filter(|(cell, v)| expected[1][*cell] != **v).count();
    assert_eq!(differ, expected[0].len(), "the generations differ in every cell");

    // Even generations have the first policies, odd ones the second.
    let first = Staged::new(&sides[0], 1000);
    let slot = s.machine.kernel.stage(Generation { image: &first.image, prefixes: &first.prefixes }).unwrap();
    s.machine.kernel.flip(slot).unwrap();
    s.events();
    let (done, flips, staged) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(1000));
    let folder = s.machine.pins.0.clone();
    let total = packets();
    let began = Instant::now();
    let sum = std::thread::scope(|scope| {
        scope.spawn(|| flip_until(&done, &flips, &staged, &folder, &sides));
        // Whatever fails in here must let the other thread end.
        let sum =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| flow(&s, total, &expected, &staged)));
        done.store(true, Ordering::Relaxed);
        sum
    });
    let sum = sum.unwrap_or_else(|e| std::panic::resume_unwind(e));
    let flips = flips.into_inner();
    println!(
        "{total} packets in {:.1} s, {flips} flips, {} generations, {} changes of generation seen, \
         {} passed, {} dropped, 0 mixed",
        began.elapsed().as_secs_f64(),
        staged.into_inner() - 999,
        sum.changes,
        sum.passed,
        sum.dropped
    );
    assert_eq!(s.count(counter::EVENTS_LOST), 0);
    assert!(sum.changes > 50 && flips > 50, "{} changes seen of {flips} flips", sum.changes);
    assert!(sum.passed > total / 10 && sum.dropped > total / 10);
}

/// Stages one generation after the other; for a while it goes back and forth between the last two.
fn flip_until(
    done: &AtomicBool,
    flips: &AtomicU64,
    staged: &AtomicU64,
    folder: &std::path::Path,
    sides: &[Side; 2],
) {
    // As a second process would have them.
    let kernel = Kernel::open(folder, small()).unwrap();
    let mut images = sides.each_ref().map(|side| Staged::new(side, 0));
    let mut generation = staged.load(Ordering::Relaxed);
    while !done.load(Ordering::Relaxed) {
        generation += 1;
        let next = &mut images[usize::from(generation % 2 == 1)];
        let at = portcullis_abi::header::GENERATION;
        next.image[at..at + 8].copy_from_slice(&generation.to_le_bytes());
        let before = kernel.active().unwrap().unwrap();
        let slot = kernel.stage(Generation { image: &next.image, prefixes: &next.prefixes }).unwrap();
        staged.store(generation, Ordering::Release);
        let since = Instant::now();
        let mut round = 0u64;
        while since.elapsed() < Duration::from_millis(100) {
            round += 1;
            kernel.flip(if round.is_multiple_of(2) { slot } else { before }).unwrap();
            flips.fetch_add(1, Ordering::Relaxed);
            // Less than a packet takes, and more: flips fall everywhere into the programs' work.
            for _ in 0..round * 37 % 4000 {
                std::hint::spin_loop();
            }
        }
        kernel.flip(slot).unwrap();
    }
}

#[derive(Default)]
struct Sum {
    passed: u64,
    dropped: u64,
    changes: u64,
}

/// Runs packets, each of a flow of its own, and compares what each returned and told.
fn flow(s: &Scene, total: u64, expected: &[BTreeMap<Cell, bool>; 2], staged: &AtomicU64) -> Sum {
    let ends: Vec<Ip> = PEERS
        .iter()
        .map(|peer| {
            let mut ip = s.v4("db", "web", 6);
            ip.source = peer.parse::<IpAddr>().unwrap_or(ip.source);
            ip
        })
        .collect();
    let mut events = s.machine.kernel.events().unwrap();
    let (mut sum, mut last, mut n) = (Sum::default(), 0, 0);
    while n < total {
        let mut sent = Vec::new();
        for _ in 0..BATCH.min(total - n) {
            let at = usize::try_from(n % PEERS.len() as u64).unwrap();
            let port = *PORTS.start() + u16::try_from(n / 5 % 64).unwrap();
            let source = u16::try_from(1 + n / 320 % 65_535).unwrap();
            let l4 = if n / 320 / 65_535 % 2 == 0 { L4::Udp } else { L4::Tcp };
            let mut ip = ends[at].clone();
            let frame = if l4 == L4::Udp {
                ip.protocol = 17;
                ip.frame(&udp(source, port))
            } else {
                // ACK: what a connection sends after its first packet is decided as well.
                ip.frame(&tcp(source, port, 16))
            };
            let code = s.machine.programs.test_run(Program::ToEndpoint, &frame, LOOPBACK, 1).unwrap().0;
            sent.push((code, (at, l4, port), source));
            n += 1;
        }
        let mut told: Vec<Event> = Vec::new();
        events.drain(&mut |e| told.push(*e));
        assert_eq!(told.len(), sent.len(), "each packet is told of, before {n}");
        for ((code, cell, source), e) in sent.iter().zip(&told) {
            assert_eq!((e.source_port, e.destination_port), (*source, cell.2), "the packet's own event");
            let newest = staged.load(Ordering::Acquire);
            assert!((1000..=newest + 1).contains(&e.generation), "{} of {newest}", e.generation);
            let allowed = expected[usize::from(e.generation % 2 == 1)][cell];
            let outcome = if allowed { (PASS, VERDICT_FORWARDED) } else { (DROP, VERDICT_DROPPED) };
            assert_eq!((*code, e.verdict), outcome, "mixed: {cell:?} in generation {}", e.generation);
            sum.changes += u64::from(last != 0 && last != e.generation);
            last = e.generation;
            if allowed { sum.passed += 1 } else { sum.dropped += 1 }
        }
    }
    sum
}

#[test]
fn a_flip_decides_the_very_next_packet() {
    let Some(s) = Scene::new() else { return };
    for round in 0..20 {
        s.flip(&policies(round % 2 == 1));
        let mut ip = s.v4("db", "web", 17);
        ip.source = "192.0.2.1".parse().unwrap();
        let got = s.gets(&ip.frame(&udp(1000 + round, 7)));
        assert_eq!(got == PASSES, round % 2 == 1, "{round}");
    }
}
