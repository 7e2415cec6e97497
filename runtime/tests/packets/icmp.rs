//! ICMP: questions and answers, and what is said about other packets.

use crate::support::packets::{Ip, SYN, icmp, tcp, udp};
use crate::support::scene::{Outcome, PASSES, Scene};
use portcullis_abi::maps::drop;

/// An error that quotes the beginning of a packet.
fn error(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, code, 0, 0, 0, 0, 0, 0];
    out.extend(quoted);
    out
}

/// Kinds of errors with a code that is not "too big", by family.
const ERRORS: [(bool, &[(u8, u8)]); 2] = [
    (false, &[(3, 0), (3, 1), (3, 3), (3, 13), (4, 0), (11, 0), (11, 1), (12, 0)]),
    (true, &[(1, 0), (1, 4), (3, 0), (4, 1)]),
];

fn ip(s: &Scene, from: &str, to: &str, v6: bool, protocol: u8) -> Ip {
    let protocol = if v6 && protocol == 1 { 58 } else { protocol };
    if v6 { s.v6(from, to, protocol) } else { s.v4(from, to, protocol) }
}

/// What becomes of an error from `from` to `to` that quotes a packet, cut behind `length` bytes.
fn told(s: &Scene, (from, to): (&str, &str), v6: bool, (kind, code): (u8, u8), quoted: &[u8]) -> Outcome {
    let frame = ip(s, from, to, v6, 1).frame(&error(kind, code, quoted));
    if from == "web" { s.sends(&frame) } else { s.gets(&frame) }
}

#[test]
fn an_echo_is_answered_by_identifier() {
    let Some(s) = Scene::new() else { return };
    for (v6, ask, answer) in [(false, 8, 0), (true, 128, 129)] {
        let send = |kind, id| s.sends(&ip(&s, "web", "ping", v6, 1).frame(&icmp(kind, 0, id)));
        let get = |from, kind, id| s.gets(&ip(&s, from, "web", v6, 1).frame(&icmp(kind, 0, id)));
        assert_eq!(get("ping", answer, 7), Err(drop::POLICY), "nobody asked");
        assert_eq!(send(ask, 7), PASSES);
        assert_eq!(get("ping", answer, 7), PASSES);
        assert_eq!(get("ping", answer, 8), Err(drop::POLICY), "another identifier");
        assert_eq!(get("db", answer, 7), Err(drop::POLICY), "another pod");
        assert_eq!(send(answer, 7), Err(drop::POLICY), "the asker does not answer");
        assert_eq!(get("ping", ask, 7), PASSES, "policy lets it ask too");
        assert_eq!(get("db", ask, 7), Err(drop::POLICY));
    }
}

#[test]
fn an_echo_request_is_no_reply_to_an_echo_request() {
    let Some(s) = Scene::new() else { return };
    for (v6, ask) in [(false, 8), (true, 128)] {
        assert_eq!(s.sends(&ip(&s, "web", "out", v6, 1).frame(&icmp(ask, 0, 7))), PASSES);
        assert_eq!(s.gets(&ip(&s, "out", "web", v6, 1).frame(&icmp(ask, 0, 7))), Err(drop::POLICY));
    }
}

#[test]
fn timestamps_and_their_kind_are_answered_too() {
    let Some(s) = Scene::new() else { return };
    // An identifier each: it is all that says which question an answer belongs to.
    for (id, ask, answer) in [(7, 13, 14), (8, 15, 16), (9, 17, 18)] {
        assert_eq!(s.gets(&s.v4("out", "web", 1).frame(&icmp(answer, 0, id))), Err(drop::POLICY));
        assert_eq!(s.sends(&s.v4("web", "out", 1).frame(&icmp(ask, 0, id))), PASSES);
        assert_eq!(s.gets(&s.v4("out", "web", 1).frame(&icmp(answer, 0, id))), PASSES);
    }
}

#[test]
fn icmp_of_the_other_family_is_a_protocol_like_others() {
    let Some(s) = Scene::new() else { return };
    assert_eq!(s.sends(&s.v4("web", "ping", 58).frame(&icmp(128, 0, 7))), Err(drop::POLICY));
    assert_eq!(s.sends(&s.v6("web", "ping", 1).frame(&icmp(8, 0, 7))), Err(drop::POLICY));
    assert_eq!(s.sends(&s.v4("web", "all", 58).frame(&icmp(128, 0, 7))), PASSES);
    assert_eq!(s.sends(&s.v6("web", "all", 1).frame(&[])), PASSES);
}

#[test]
fn errors_about_what_the_pod_sent_pass_from_anybody() {
    let Some(s) = Scene::new() else { return };
    for (v6, kinds) in ERRORS {
        let sent = ip(&s, "web", "out", v6, 6);
        let header = if v6 { 40 } else { 20 };
        assert_eq!(s.sends(&sent.frame(&tcp(1000, 22, SYN))), PASSES);
        let quoted = sent.packet(&tcp(1000, 22, SYN));
        for kind in kinds {
            for length in [header + 8, header + 12, quoted.len()] {
                assert_eq!(
                    told(&s, ("none", "web"), v6, *kind, &quoted[..length]),
                    PASSES,
                    "{kind:?} {length}"
                );
            }
            for length in [0, header - 1, header, header + 7] {
                let got = told(&s, ("none", "web"), v6, *kind, &quoted[..length]);
                assert_eq!(got, Err(drop::POLICY), "{kind:?} {length}");
            }
        }
        // A router whose address no policy knows.
        let mut router = ip(&s, "none", "web", v6, 1);
        router.source = if v6 { "2001:db8:ffff::1" } else { "203.0.113.1" }.parse().unwrap();
        let (kind, code) = kinds[0];
        assert_eq!(s.gets(&router.frame(&error(kind, code, &quoted))), PASSES);
    }
}

#[test]
fn the_pod_reports_errors_about_what_came_to_it() {
    let Some(s) = Scene::new() else { return };
    for (v6, kinds) in ERRORS {
        let came = ip(&s, "in", "web", v6, 17);
        assert_eq!(told(&s, ("web", "in"), v6, kinds[0], &came.packet(&udp(1000, 22))), Err(drop::POLICY));
        assert_eq!(s.gets(&came.frame(&udp(1000, 22))), PASSES);
        for kind in kinds {
            assert_eq!(told(&s, ("web", "in"), v6, *kind, &came.packet(&udp(1000, 22))), PASSES, "{kind:?}");
        }
    }
}

#[test]
fn errors_about_replies_pass_in_both_directions() {
    let Some(s) = Scene::new() else { return };
    for (v6, kinds) in ERRORS {
        assert_eq!(s.gets(&ip(&s, "in", "web", v6, 17).frame(&udp(1000, 22))), PASSES);
        let reply = ip(&s, "web", "in", v6, 17).packet(&udp(22, 1000));
        assert_eq!(told(&s, ("none", "web"), v6, kinds[0], &reply), PASSES, "about the pod's reply");
        assert_eq!(s.sends(&ip(&s, "web", "out", v6, 17).frame(&udp(1000, 22))), PASSES);
        let reply = ip(&s, "out", "web", v6, 17).packet(&udp(22, 1000));
        assert_eq!(told(&s, ("web", "out"), v6, kinds[0], &reply), PASSES, "about a reply to the pod");
    }
}

#[test]
fn errors_about_a_ping_pass() {
    let Some(s) = Scene::new() else { return };
    for (v6, ask) in [(false, 8), (true, 128)] {
        let sent = ip(&s, "web", "ping", v6, 1);
        let kind = ERRORS[usize::from(v6)].1[0];
        assert_eq!(told(&s, ("none", "web"), v6, kind, &sent.packet(&icmp(ask, 0, 7))), Err(drop::POLICY));
        assert_eq!(s.sends(&sent.frame(&icmp(ask, 0, 7))), PASSES);
        assert_eq!(told(&s, ("none", "web"), v6, kind, &sent.packet(&icmp(ask, 0, 7))), PASSES);
        assert_eq!(told(&s, ("none", "web"), v6, kind, &sent.packet(&icmp(ask, 0, 8))), Err(drop::POLICY));
    }
}

#[test]
fn errors_about_no_flow_ask_policy() {
    let Some(s) = Scene::new() else { return };
    for (v6, kinds) in ERRORS {
        assert_eq!(s.sends(&ip(&s, "web", "out", v6, 6).frame(&tcp(1000, 22, SYN))), PASSES);
        let cases = [
            ("another port", ip(&s, "web", "out", v6, 6).packet(&tcp(1000, 23, SYN))),
            ("another source port", ip(&s, "web", "out", v6, 6).packet(&tcp(1001, 22, SYN))),
            ("another peer", ip(&s, "web", "db", v6, 6).packet(&tcp(1000, 22, SYN))),
            ("another protocol", ip(&s, "web", "out", v6, 17).packet(&udp(1000, 22))),
            ("the flow the wrong way", ip(&s, "out", "web", v6, 6).packet(&tcp(22, 1000, SYN))),
            ("an error", ip(&s, "web", "out", v6, 1).packet(&error(kinds[0].0, 0, &[0; 8]))),
            ("nonsense", vec![0xff; 64]),
        ];
        for kind in kinds {
            for (what, quoted) in &cases {
                assert_eq!(told(&s, ("db", "web"), v6, *kind, quoted), Err(drop::POLICY), "{what} {kind:?}");
                assert_eq!(told(&s, ("all", "web"), v6, *kind, quoted), PASSES, "{what} {kind:?}");
            }
        }
    }
}

#[test]
fn an_error_goes_to_nobody_but_the_sender_of_what_it_quotes() {
    let Some(s) = Scene::new() else { return };
    for (v6, kinds) in ERRORS {
        let sent = ip(&s, "web", "out", v6, 6);
        assert_eq!(s.sends(&sent.frame(&tcp(1000, 22, SYN))), PASSES);
        let quoted = sent.packet(&tcp(1000, 22, SYN));
        assert_eq!(told(&s, ("none", "db"), v6, kinds[0], &quoted), Err(drop::POLICY));
        // The pod may not use its own flow to tell strangers things.
        assert_eq!(told(&s, ("web", "none"), v6, kinds[0], &quoted), Err(drop::POLICY));
        let reply = ip(&s, "out", "web", v6, 6).packet(&tcp(22, 1000, SYN));
        assert_eq!(told(&s, ("web", "none"), v6, kinds[0], &reply), Err(drop::POLICY));
    }
}

#[test]
fn an_error_that_quotes_a_later_piece_asks_policy() {
    let Some(s) = Scene::new() else { return };
    for (v6, kinds) in ERRORS {
        let mut sent = ip(&s, "web", "out", v6, 17);
        assert_eq!(s.sends(&sent.frame(&udp(1000, 22))), PASSES);
        sent.more = true;
        assert_eq!(told(&s, ("none", "web"), v6, kinds[0], &sent.packet(&udp(1000, 22))), PASSES);
        sent.offset = 1480;
        let got = told(&s, ("none", "web"), v6, kinds[0], &sent.packet(&udp(1000, 22)));
        assert_eq!(got, Err(drop::POLICY));
    }
}

#[test]
fn an_error_about_options_and_extension_headers_is_followed_behind_them() {
    let Some(s) = Scene::new() else { return };
    let mut sent = s.v4("web", "out", 17);
    sent.options = vec![1; 12];
    assert_eq!(s.sends(&sent.frame(&udp(1000, 22))), PASSES);
    assert_eq!(told(&s, ("none", "web"), false, (3, 3), &sent.packet(&udp(1000, 22))), PASSES);
    let mut sent = s.v6("web", "out", 17);
    sent.extensions = vec![(0, vec![0; 7]), (60, vec![0; 7])];
    assert_eq!(s.sends(&sent.frame(&udp(1000, 22))), PASSES);
    assert_eq!(told(&s, ("none", "web"), true, (1, 4), &sent.packet(&udp(1000, 22))), PASSES);
}

#[test]
fn what_is_no_error_is_not_looked_into() {
    let Some(s) = Scene::new() else { return };
    for (v6, kinds) in [(false, [5u8, 9, 10, 30]), (true, [0, 5, 100, 127])] {
        let sent = ip(&s, "web", "out", v6, 6);
        assert_eq!(s.sends(&sent.frame(&tcp(1000, 22, SYN))), PASSES);
        for kind in kinds {
            let got = told(&s, ("none", "web"), v6, (kind, 0), &sent.packet(&tcp(1000, 22, SYN)));
            assert_eq!(got, Err(drop::POLICY), "{kind}");
        }
    }
}

#[test]
fn packet_too_big_passes_whatever_it_quotes() {
    let Some(s) = Scene::new() else { return };
    s.flip(crate::support::scene::NOTHING);
    for (v6, kind) in [(false, (3, 4)), (true, (2, 0))] {
        assert_eq!(told(&s, ("none", "web"), v6, kind, &[]), PASSES);
        assert_eq!(told(&s, ("web", "none"), v6, kind, &[]), PASSES);
    }
    assert_eq!(told(&s, ("none", "web"), false, (2, 0), &[]), Err(drop::POLICY));
    assert_eq!(told(&s, ("none", "web"), true, (3, 4), &[]), Err(drop::POLICY));
    assert!(s.machine.kernel.flows().unwrap().is_empty(), "it begins no flow");
}

#[test]
fn packet_too_big_in_later_pieces_or_from_a_forged_source_does_not_pass() {
    let Some(s) = Scene::new() else { return };
    for (v6, kind) in [(false, (3, 4)), (true, (2, 0))] {
        let mut forged = ip(&s, "none", "all", v6, 1);
        assert_eq!(s.sends(&forged.frame(&error(kind.0, kind.1, &[]))), Err(drop::INVALID_SOURCE));
        forged.offset = 8;
        assert_eq!(s.gets(&forged.frame(&error(kind.0, kind.1, &[]))), Err(drop::POLICY));
    }
}
