//! Flows under way: what belongs to one, for how long, and what a change of policy does to it.

use crate::support::packets::{ACK, FIN, RST, SYN, SYN_ACK, sctp, tcp, udp};
use crate::support::scene::{NOTHING, PASSES, Scene, reporting};
use crate::support::{Machine, small};
use portcullis_abi::maps::{
    FLOW_CLOSED_FORWARD, FLOW_CLOSED_REPLY, FLOW_REPLIED, FLOW_RESET, KIND_NEW, counter, drop,
};
use portcullis_agent::kernel::Settings;
use std::time::Duration;

const NANOS: u64 = 1_000_000_000;

/// Which of the default lifetimes a flow has, seen from the time of its first packet.
fn lifetime(s: &Scene, began: u64) -> &'static str {
    match (s.flow().expires - began) / NANOS {
        0..30 => "closed",
        30..300 => "syn",
        7000.. => "tcp",
        _ => "none of them",
    }
}

fn began(s: &Scene) -> u64 {
    s.events().last().unwrap().time
}

#[test]
fn replies_pass_where_policy_would_not_let_them_begin() {
    let Some(s) = Scene::new() else { return };
    for v6 in [false, true] {
        for (protocol, there, back) in [
            (6, tcp(1000, 22, SYN), tcp(22, 1000, SYN_ACK)),
            (17, udp(1000, 22), udp(22, 1000)),
            (132, sctp(1000, 22), sctp(22, 1000)),
            (47, vec![0; 16], vec![0; 16]),
        ] {
            let ip = |from, to| if v6 { s.v6(from, to, protocol) } else { s.v4(from, to, protocol) };
            let what = (protocol, v6);
            assert_eq!(s.gets(&ip("out", "web").frame(&back)), Err(drop::POLICY), "{what:?}");
            assert_eq!(s.sends(&ip("web", "out").frame(&there)), PASSES, "{what:?}");
            assert_eq!(s.gets(&ip("out", "web").frame(&back)), PASSES, "{what:?}");

            assert_eq!(s.sends(&ip("web", "in").frame(&back)), Err(drop::POLICY), "{what:?}");
            assert_eq!(s.gets(&ip("in", "web").frame(&there)), PASSES, "{what:?}");
            assert_eq!(s.sends(&ip("web", "in").frame(&back)), PASSES, "{what:?}");
        }
    }
}

#[test]
fn a_reply_has_the_ports_ends_and_protocol_of_its_flow() {
    let Some(s) = Scene::new() else { return };
    assert_eq!(s.sends(&s.udp("web", "out", (1000, 22))), PASSES);
    assert_eq!(s.gets(&s.udp("out", "web", (22, 1001))), Err(drop::POLICY));
    assert_eq!(s.gets(&s.udp("out", "web", (23, 1000))), Err(drop::POLICY));
    assert_eq!(s.gets(&s.udp("out", "web", (1000, 22))), Err(drop::POLICY));
    assert_eq!(s.gets(&s.udp("none", "web", (22, 1000))), Err(drop::POLICY));
    assert_eq!(s.gets(&s.tcp("out", "web", (22, 1000), ACK)), Err(drop::POLICY));
    assert_eq!(s.gets(&s.udp("out", "web", (22, 1000))), PASSES);
}

#[test]
fn a_flow_of_one_direction_says_nothing_of_the_other() {
    let Some(s) = Scene::new() else { return };
    // What came in from `in` lets replies out and nothing in from elsewhere.
    assert_eq!(s.gets(&s.udp("in", "web", (1000, 22))), PASSES);
    assert_eq!(s.sends(&s.udp("web", "in", (1000, 22))), Err(drop::POLICY));
    assert_eq!(s.sends(&s.udp("web", "in", (22, 1000))), PASSES);
}

#[test]
fn a_syn_that_goes_the_way_of_replies_answers_nothing() {
    let Some(s) = Scene::new() else { return };
    assert_eq!(s.sends(&s.tcp("web", "out", (1000, 22), SYN)), PASSES);
    for flags in [SYN, SYN | RST, SYN | FIN, SYN | 8] {
        assert_eq!(s.gets(&s.tcp("out", "web", (22, 1000), flags)), Err(drop::POLICY), "{flags}");
    }
    assert_eq!(s.flow().flags, 0, "what was dropped changed the flow");
    for flags in [SYN_ACK, ACK, RST | ACK, RST, FIN | ACK, 0] {
        assert_eq!(s.gets(&s.tcp("out", "web", (22, 1000), flags)), PASSES, "{flags}");
    }
}

#[test]
fn what_is_dropped_is_not_tracked() {
    let Some(s) = Scene::new() else { return };
    assert_eq!(s.sends(&s.udp("web", "none", (1000, 22))), Err(drop::POLICY));
    assert_eq!(s.sends(&s.tcp("db", "all", (1000, 22), SYN)), Err(drop::INVALID_SOURCE));
    assert!(s.machine.kernel.flows().unwrap().is_empty());
    assert_eq!(s.gets(&s.udp("none", "web", (22, 1000))), Err(drop::POLICY));
}

#[test]
fn a_flow_counts_its_packets_and_its_replies() {
    let Some(s) = Scene::new() else { return };
    for _ in 0..3 {
        assert_eq!(s.sends(&s.udp("web", "out", (1000, 22))), PASSES);
    }
    for _ in 0..2 {
        assert_eq!(s.gets(&s.udp("out", "web", (22, 1000))), PASSES);
    }
    let flow = s.flow();
    assert_eq!((flow.packets, flow.replies, flow.flags), (3, 2, FLOW_REPLIED));
    assert_eq!(s.count(counter::FORWARDED_EGRESS), 3);
    assert_eq!(s.count(counter::FORWARDED_INGRESS), 2);
    let events = s.events();
    assert_eq!(events.len(), 1, "only the first packet of a flow is reported: {events:?}");
    assert_eq!(events[0].kind, KIND_NEW);
}

#[test]
fn a_connection_lives_longer_once_answered_and_shortly_once_closed_by_both() {
    let Some(s) = Scene::new() else { return };
    let (there, back) = (|f| s.tcp("web", "out", (1000, 22), f), |f| s.tcp("out", "web", (22, 1000), f));
    assert_eq!(s.sends(&there(SYN)), PASSES);
    let start = began(&s);
    assert_eq!(lifetime(&s, start), "syn");
    assert_eq!(s.gets(&back(SYN_ACK)), PASSES);
    assert_eq!(lifetime(&s, start), "tcp");
    assert_eq!(s.sends(&there(FIN | ACK)), PASSES);
    assert_eq!(lifetime(&s, start), "tcp", "the other side may still send");
    assert_eq!(s.flow().flags, FLOW_REPLIED | FLOW_CLOSED_FORWARD);
    assert_eq!(s.gets(&back(ACK)), PASSES);
    assert_eq!(s.gets(&back(FIN | ACK)), PASSES);
    assert_eq!(lifetime(&s, start), "closed");
    assert_eq!(s.flow().flags, FLOW_REPLIED | FLOW_CLOSED_FORWARD | FLOW_CLOSED_REPLY);
    assert_eq!(s.sends(&there(ACK)), PASSES, "the last acknowledgement");
    assert_eq!(lifetime(&s, start), "closed");
}

#[test]
fn a_reset_of_either_side_ends_a_connection_soon() {
    for from_peer in [false, true] {
        let Some(s) = Scene::new() else { return };
        assert_eq!(s.sends(&s.tcp("web", "out", (1000, 22), SYN)), PASSES);
        let start = began(&s);
        assert_eq!(s.gets(&s.tcp("out", "web", (22, 1000), SYN_ACK)), PASSES);
        let reset = if from_peer {
            s.gets(&s.tcp("out", "web", (22, 1000), RST))
        } else {
            s.sends(&s.tcp("web", "out", (1000, 22), RST | ACK))
        };
        assert_eq!(reset, PASSES);
        assert_eq!(s.flow().flags, FLOW_REPLIED | FLOW_RESET);
        assert_eq!(lifetime(&s, start), "closed");
    }
}

#[test]
fn a_first_packet_that_closes_or_resets_is_tracked_as_such() {
    for (flags, expected, lives) in
        [(FIN | ACK, FLOW_CLOSED_FORWARD, "syn"), (RST, FLOW_RESET, "closed"), (ACK, 0, "syn")]
    {
        let Some(s) = Scene::new() else { return };
        assert_eq!(s.sends(&s.tcp("web", "out", (1000, 22), flags)), PASSES);
        assert_eq!(s.flow().flags, expected);
        let start = began(&s);
        assert_eq!(lifetime(&s, start), lives);
    }
}

#[test]
fn ports_that_are_used_again_begin_a_new_flow() {
    let Some(s) = Scene::new() else { return };
    let (there, back) = (|f| s.tcp("web", "out", (1000, 22), f), |f| s.tcp("out", "web", (22, 1000), f));
    for ends in [vec![(false, FIN | ACK), (true, FIN | ACK)], vec![(true, RST)], vec![(false, RST)]] {
        assert_eq!(s.sends(&there(SYN)), PASSES);
        assert_eq!(s.gets(&back(SYN_ACK)), PASSES);
        for (reply, flags) in ends {
            assert_eq!(if reply { s.gets(&back(flags)) } else { s.sends(&there(flags)) }, PASSES);
        }
        s.events();
        assert_eq!(s.sends(&there(SYN)), PASSES);
        let flow = s.flow();
        assert_eq!((flow.flags, flow.packets, flow.replies), (0, 1, 0));
        let events = s.events();
        assert_eq!(events.len(), 1, "a new flow is reported");
        assert_eq!(lifetime(&s, events[0].time), "syn");
        assert_eq!(s.gets(&back(RST)), PASSES);
        s.events();
    }
    // A SYN that is sent again belongs to the flow that it opened.
    assert_eq!(s.sends(&there(SYN)), PASSES);
    assert_eq!(s.sends(&there(SYN)), PASSES);
    assert_eq!(s.flow().packets, 2);
    assert_eq!(s.events().len(), 1);
}

#[test]
fn replies_to_a_flow_whose_time_is_over_are_asked_about() {
    let settings = Settings { lifetime_syn: Duration::ZERO, lifetime_other: Duration::ZERO, ..reporting() };
    let Some(s) = Scene::with(small(), &settings) else { return };
    assert_eq!(s.sends(&s.udp("web", "out", (1000, 22))), PASSES);
    assert_eq!(s.sends(&s.tcp("web", "out", (1000, 22), SYN)), PASSES);
    std::thread::sleep(Duration::from_millis(40));
    assert_eq!(s.gets(&s.udp("out", "web", (22, 1000))), Err(drop::POLICY));
    assert_eq!(s.gets(&s.tcp("out", "web", (22, 1000), SYN_ACK)), Err(drop::POLICY));
    s.events();
    assert_eq!(s.sends(&s.udp("web", "out", (1000, 22))), PASSES);
    assert_eq!(s.events().len(), 1, "a flow that begins again is reported");
}

#[test]
fn a_closed_connection_is_over_after_its_time() {
    let settings = Settings { lifetime_closed: Duration::ZERO, ..reporting() };
    let Some(s) = Scene::with(small(), &settings) else { return };
    assert_eq!(s.sends(&s.tcp("web", "out", (1000, 22), SYN)), PASSES);
    assert_eq!(s.gets(&s.tcp("out", "web", (22, 1000), SYN_ACK)), PASSES);
    assert_eq!(s.sends(&s.tcp("web", "out", (1000, 22), RST)), PASSES);
    std::thread::sleep(Duration::from_millis(40));
    assert_eq!(s.gets(&s.tcp("out", "web", (22, 1000), ACK)), Err(drop::POLICY));
}

#[test]
fn after_a_flip_that_denies_replies_pass_and_the_flow_is_cut() {
    let Some(s) = Scene::new() else { return };
    for v6 in [false, true] {
        let ip = |from, to| if v6 { s.v6(from, to, 6) } else { s.v4(from, to, 6) };
        let out = |f| ip("web", "out").frame(&tcp(1000, 22, f));
        let out_reply = |f| ip("out", "web").frame(&tcp(22, 1000, f));
        let into = |f| ip("in", "web").frame(&tcp(1000, 22, f));
        let into_reply = |f| ip("web", "in").frame(&tcp(22, 1000, f));
        s.flip(crate::support::scene::POLICY);
        for (frame, egress) in
            [(out(SYN), true), (out_reply(SYN_ACK), false), (into(SYN), false), (into_reply(SYN_ACK), true)]
        {
            assert_eq!(if egress { s.sends(&frame) } else { s.gets(&frame) }, PASSES);
        }
        s.flip(NOTHING);
        assert_eq!(s.gets(&out_reply(ACK)), PASSES);
        assert_eq!(s.sends(&into_reply(ACK)), PASSES);
        assert_eq!(s.sends(&out(ACK)), Err(drop::POLICY));
        assert_eq!(s.gets(&into(ACK)), Err(drop::POLICY));
        assert_eq!(s.sends(&out(SYN)), Err(drop::POLICY));
        s.flip(crate::support::scene::POLICY);
        assert_eq!(s.sends(&out(ACK)), PASSES, "allowed again, it goes on");
    }
}

#[test]
fn a_pod_reaches_itself_and_only_with_what_left_it() {
    let Some(s) = Scene::new() else { return };
    s.flip(NOTHING);
    for ip in [s.v4("web", "web", 6), s.v6("web", "web", 6)] {
        let frame = ip.frame(&tcp(1000, 80, SYN));
        assert_eq!(s.gets(&frame), Err(drop::POLICY), "nothing left it");
        assert_eq!(s.sends(&frame), PASSES);
        assert_eq!(s.gets(&frame), PASSES);
        assert_eq!(s.gets(&ip.frame(&tcp(1000, 81, SYN))), Err(drop::POLICY));
        let reply = ip.frame(&tcp(80, 1000, SYN_ACK));
        assert_eq!(s.sends(&reply), PASSES);
        assert_eq!(s.gets(&reply), PASSES);
    }
}

#[test]
fn a_full_table_makes_room_for_new_flows() {
    let Some(s) = Scene::new() else { return };
    let most = small().conntrack as usize;
    let run = |machine: &Machine, out: bool, frame: &[u8]| {
        let direction =
            if out { portcullis_ir::Direction::Egress } else { portcullis_ir::Direction::Ingress };
        machine.run(direction, frame)
    };
    for port in 1000..5000 {
        assert_eq!(run(&s.machine, true, &s.udp("web", "out", (port, 22))), -1, "{port}");
        assert_eq!(run(&s.machine, false, &s.udp("out", "web", (22, port))), -1, "{port}: it is tracked");
    }
    let flows = s.machine.kernel.flows().unwrap().len();
    assert!(flows > most / 4 && flows <= most, "{flows} flows of at most {most}");
    assert_eq!(s.count(counter::CONNTRACK_FAILED), 0);
}
