//! The parser in the kernel and its twin in Rust, on packets made at random.

use crate::support::packets::{Ip, ethernet, icmp, sctp, tcp, udp};
use crate::support::scene::reporting;
use crate::support::{DROP, LOOPBACK, Machine, PASS, small};
use portcullis_abi::maps::{EndpointValue, Event, INGRESS, drop};
use portcullis_agent::kernel::{Program, Settings};
use portcullis_agent::packet::{ETHERTYPE_ARP, Fragments};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::cell::RefCell;
use std::time::Duration;

/// An address of few, so that pieces of a datagram find each other.
fn ends() -> impl Strategy<Value = (bool, u8, u8)> {
    (any::<bool>(), 0..3u8, 0..3u8)
}

fn extension() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let kind = prop_oneof![Just(0u8), Just(43), Just(44), Just(51), Just(60)];
    (kind, 0..3u8, vec(any::<u8>(), 6), any::<bool>()).prop_map(|(kind, words, bytes, quiet)| {
        let length = match kind {
            44 => 8,
            51 => (usize::from(words) + 2) * 4,
            _ => (usize::from(words) + 1) * 8,
        };
        let mut out = vec![words];
        out.extend(bytes);
        if quiet {
            out[1..].fill(0);
        }
        out.resize(length.max(8) - 1, 0);
        (kind, out)
    })
}

fn payload() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let ports = (any::<u16>(), any::<u16>());
    prop_oneof![
        3 => (ports, any::<u8>()).prop_map(|((a, b), flags)| (6, tcp(a, b, flags))),
        3 => ports.prop_map(|(a, b)| (17, udp(a, b))),
        1 => ports.prop_map(|(a, b)| (132, sctp(a, b))),
        2 => (any::<u8>(), 0..8u8, any::<u16>()).prop_map(|(a, b, c)| (1, icmp(a, b, c))),
        2 => (prop_oneof![Just(128u8), Just(129), Just(2), 130..=144u8, any::<u8>()], 0..8u8, any::<u16>())
            .prop_map(|(a, b, c)| (58, icmp(a, b, c))),
        1 => (any::<u8>(), vec(any::<u8>(), 0..40)),
    ]
}

/// A packet that could be, with few identifications and offsets.
fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let pieces = (prop_oneof![2 => Just(0u16), 1 => Just(8), 1 => Just(1480)], any::<bool>(), 0..3u32);
    let hops = prop_oneof![Just(1u8), Just(64), Just(255)];
    (ends(), payload(), pieces, any::<bool>(), hops, vec(extension(), 0..10), 0..=10usize).prop_map(
        |((v6, from, to), (protocol, payload), (offset, more, id), fragmented, hops, extensions, options)| {
            let address = |n: u8| {
                let text = if v6 { format!("2001:db8::{n}") } else { format!("198.18.0.{n}") };
                text.parse().unwrap()
            };
            let mut ip = Ip::new(address(from), address(to + 3), protocol);
            ip.hops = hops;
            if fragmented {
                (ip.offset, ip.more, ip.id) = (offset, more, id);
            }
            if v6 {
                ip.extensions = extensions;
            } else {
                ip.options = vec![1; options * 4];
            }
            ip.frame(&payload)
        },
    )
}

/// The same, cut, with bytes changed; and bytes of no meaning.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let mutated = (well_formed(), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut frame, changes, cut, cuts)| {
            for (at, byte) in changes {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            if cuts {
                frame.truncate(15 + cut.index(frame.len() - 14));
            }
            frame
        },
    );
    let kind = prop_oneof![Just(0x0800u16), Just(0x86dd), Just(0x8100), any::<u16>()];
    let noise = (kind, vec(any::<u8>(), 1..120)).prop_map(|(kind, bytes)| {
        let mut out = ethernet(kind);
        out.extend(bytes);
        out
    });
    prop_oneof![2 => well_formed(), 3 => mutated, 1 => noise]
}

/// There is no image and there are no flows, so whatever can be read is dropped for that, and the event
/// has all that was read of it.
#[test]
fn the_kernel_reads_packets_as_its_twin_does() {
    let lifetime = Duration::from_hours(1);
    let settings = Settings { report_again: Duration::ZERO, lifetime_fragments: lifetime, ..reporting() };
    let Some(machine) = Machine::new(small(), &settings) else { return };
    machine.kernel.set_endpoint(LOOPBACK, EndpointValue { number: 0, identity: 16 }).unwrap();
    let events = RefCell::new(machine.kernel.events().unwrap());
    let fragments = RefCell::new(Fragments::default());
    let counts = RefCell::new([0u32; 256]);
    let check = |frame: &[u8]| -> Result<(), TestCaseError> {
        let run = machine.programs.test_run(Program::ToEndpoint, frame, LOOPBACK, 1);
        // Newer kernels make no test run of a packet without an IP header.
        let header = 14 + if frame[12..14] == [0x86, 0xdd] { 40 } else { 20 };
        if run.is_err() && frame.len() < header {
            return Ok(());
        }
        let (code, _) = run.unwrap();
        let mut told: Vec<Event> = Vec::new();
        events.borrow_mut().drain(&mut |e| told.push(*e));
        let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
        let times = (0, u64::try_from(lifetime.as_nanos()).unwrap());
        let (packet, done) = fragments.borrow_mut().read(frame, 14, ethertype, INGRESS, times);
        if ethertype == ETHERTYPE_ARP || done.is_ok() && (packet.is_link_local() || packet.is_too_big()) {
            prop_assert_eq!(code, PASS);
            prop_assert!(told.is_empty());
            counts.borrow_mut()[0] += 1;
            return Ok(());
        }
        let reason = done.err().unwrap_or(drop::NO_POLICY);
        counts.borrow_mut()[usize::from(reason)] += 1;
        prop_assert_eq!(code, DROP);
        prop_assert_eq!(told.len(), 1);
        let e = told[0];
        prop_assert_eq!(e.reason, reason);
        prop_assert_eq!((e.source, e.destination), (packet.source, packet.destination));
        prop_assert_eq!((e.protocol, e.family), (packet.protocol, packet.family));
        prop_assert_eq!((e.source_port, e.destination_port), (packet.source_port, packet.destination_port));
        prop_assert_eq!((e.icmp_type, e.icmp_code), (packet.icmp_type, packet.icmp_code));
        prop_assert_eq!(e.tcp_flags, packet.tcp_flags);
        Ok(())
    };
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    // What was seen of earlier datagrams is part of the state, so there is nothing to make smaller.
    let config = Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&vec(frame(), 1..8), |frames| frames.iter().try_for_each(|f| check(f)))
        .unwrap();
    let counts = counts.into_inner();
    let seen: Vec<_> = (0..).zip(counts).filter(|(_, n)| *n > 0).collect();
    println!("packets by reason: {seen:?}");
    for reason in [
        0,
        drop::INVALID_PACKET,
        drop::TRUNCATED,
        drop::UNSUPPORTED_L3,
        drop::EXTENSION_HEADER,
        drop::NO_POLICY,
    ] {
        assert!(counts[usize::from(reason)] > 20, "too few of {reason}: {seen:?}");
    }
}
