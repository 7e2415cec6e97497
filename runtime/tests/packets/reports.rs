//! What is told of packets: events, counts of drops, and what happens when nobody listens.

use crate::support::packets::{SYN, icmp, udp};
use crate::support::scene::{NOTHING, PASSES, POLICY, Scene, reporting};
use crate::support::{LOOPBACK, small};
use portcullis_abi::maps::{EGRESS, INGRESS, KIND_NEW, VERDICT_DROPPED, VERDICT_FORWARDED, counter, drop};
use portcullis_abi::word;
use portcullis_agent::kernel::{Settings, address_bytes};
use std::time::Duration;

#[test]
fn an_event_says_who_what_where_and_why() {
    let Some(s) = Scene::new() else { return };
    let frame = s.tcp("web", "db", (1000, 80), SYN | 0x40);
    assert_eq!(s.sends(&frame), PASSES);
    let refused = s.v6("none", "web", 17).frame(&udp(1001, 53));
    assert_eq!(s.gets(&refused), Err(drop::POLICY));
    let ping = s.v6("ping", "web", 58).frame(&icmp(128, 3, 9));
    assert_eq!(s.gets(&ping), PASSES);
    let [passed, dropped, asked] = s.events().try_into().unwrap();

    assert_eq!(passed.source, address_bytes(s.address("web", false)));
    assert_eq!(passed.destination, address_bytes(s.address("db", false)));
    assert_eq!((passed.source_port, passed.destination_port), (1000, 80));
    assert_eq!((passed.protocol, passed.family, passed.tcp_flags), (6, 4, SYN | 0x40));
    assert_eq!((passed.direction, passed.verdict, passed.reason), (EGRESS, VERDICT_FORWARDED, 0));
    assert_eq!(passed.kind, KIND_NEW);
    assert_eq!(passed.length as usize, frame.len());
    let (identity, endpoint) = s.pods["web"];
    assert_eq!((passed.identity, passed.endpoint, passed.ifindex), (identity, endpoint, LOOPBACK));
    assert_eq!(passed.peer, s.pods["db"].0);
    assert_eq!(passed.generation, s.generation());
    assert!(passed.word & word::ALLOW != 0);

    assert_eq!(dropped.source, address_bytes(s.address("none", true)));
    assert_eq!((dropped.source_port, dropped.destination_port), (1001, 53));
    assert_eq!((dropped.protocol, dropped.family, dropped.tcp_flags), (17, 6, 0));
    assert_eq!(
        (dropped.direction, dropped.verdict, dropped.reason),
        (INGRESS, VERDICT_DROPPED, drop::POLICY)
    );
    assert_eq!((dropped.peer, dropped.generation), (s.pods["none"].0, s.generation()));
    assert_eq!(dropped.word & word::ALLOW, 0);
    assert!(dropped.time >= passed.time && passed.time > 0);

    assert_eq!((asked.protocol, asked.icmp_type, asked.icmp_code), (58, 128, 3));
    assert_eq!((asked.source_port, asked.destination_port), (9, 0));
}

#[test]
fn what_passes_is_not_reported_unless_asked_for() {
    let Some(s) = Scene::with(small(), &Settings::default()) else { return };
    assert_eq!(s.sends(&s.udp("web", "all", (1000, 53))), PASSES);
    assert!(s.events().is_empty());
    assert_eq!(s.sends(&s.udp("web", "none", (1000, 53))), Err(drop::POLICY));
    assert_eq!(s.events().len(), 1);
}

#[test]
fn a_refused_flow_is_reported_once_in_a_generation() {
    let settings = Settings { report_again: Duration::from_hours(1), ..reporting() };
    let Some(s) = Scene::with(small(), &settings) else { return };
    let frame = s.udp("web", "none", (1000, 53));
    for _ in 0..5 {
        assert_eq!(s.sends(&frame), Err(drop::POLICY));
    }
    assert_eq!(s.events().len(), 1);
    // Another flow, another reason.
    assert_eq!(s.sends(&s.udp("web", "none", (1000, 54))), Err(drop::POLICY));
    assert_eq!(s.events().len(), 1);
    s.flip(NOTHING);
    for _ in 0..5 {
        assert_eq!(s.sends(&frame), Err(drop::POLICY));
    }
    let events = s.events();
    assert_eq!(events.iter().map(|e| e.generation).collect::<Vec<_>>(), [s.generation()]);
    assert_eq!(s.count(counter::DROPPED_EGRESS), 11, "every packet is counted");
}

#[test]
fn a_refused_flow_is_reported_again_after_a_while() {
    let settings = Settings { report_again: Duration::from_millis(20), ..reporting() };
    let Some(s) = Scene::with(small(), &settings) else { return };
    let frame = s.udp("web", "none", (1000, 53));
    assert_eq!(s.sends(&frame), Err(drop::POLICY));
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(s.sends(&frame), Err(drop::POLICY));
    assert_eq!(s.events().len(), 2);
}

#[test]
fn drops_are_counted_by_generation_cause_reason_and_direction() {
    let Some(s) = Scene::new() else { return };
    let first = s.generation();
    for _ in 0..3 {
        assert_eq!(s.sends(&s.udp("web", "none", (1000, 53))), Err(drop::POLICY));
    }
    assert_eq!(s.gets(&s.udp("none", "web", (1000, 53))), Err(drop::POLICY));
    assert_eq!(s.gets(&s.tcp("none", "web", (1, 1), SYN)[..40]), Err(drop::TRUNCATED));
    s.flip(&format!("{POLICY}  egressDeny: [{{toEndpoints: [{{matchLabels: {{app: db}}}}]}}]\n"));
    assert_eq!(s.sends(&s.udp("web", "db", (1000, 53))), Err(drop::POLICY));
    assert_eq!(s.sends(&s.udp("web", "none", (1000, 53))), Err(drop::POLICY));
    let drops = s.drops();
    let sum = |generation, reason, direction| {
        let of = |(g, _, r, d): &(u64, u32, u8, u8)| (*g, *r, *d) == (generation, reason, direction);
        drops.iter().filter(|(k, _)| of(k)).map(|(_, n)| *n).sum::<u64>()
    };
    assert_eq!(sum(first, drop::POLICY, EGRESS), 3);
    assert_eq!(sum(first, drop::POLICY, INGRESS), 1);
    assert_eq!(sum(0, drop::TRUNCATED, INGRESS), 1);
    assert_eq!(sum(s.generation(), drop::POLICY, EGRESS), 2);
    let causes: Vec<_> = drops.keys().filter(|k| k.0 == s.generation()).map(|k| k.1).collect();
    assert_eq!(causes.len(), 2, "a rule and the default are two causes: {causes:?}");
}

#[test]
fn events_that_find_no_room_are_counted_and_change_no_verdict() {
    let settings = Settings { report_again: Duration::ZERO, ..reporting() };
    let Some(s) = Scene::with(small(), &settings) else { return };
    s.events();
    let run = |frame: &[u8]| s.machine.run(portcullis_ir::Direction::Egress, frame);
    for port in 1000..2000 {
        assert_eq!(run(&s.udp("web", "all", (port, 53))), -1);
        assert_eq!(run(&s.udp("web", "none", (port, 53))), 2);
    }
    let lost = s.count(counter::EVENTS_LOST);
    let seen = s.events().len() as u64;
    assert!(lost > 0 && seen > 500, "{seen} seen, {lost} lost");
    assert_eq!(seen + lost, 2000);
    assert_eq!(run(&s.udp("web", "none", (1, 53))), 2);
    assert_eq!(s.events().len(), 1, "there is room again");
}
