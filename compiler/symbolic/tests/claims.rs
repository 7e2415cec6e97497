//! Claims about random policies: z3's answer against every flow at a boundary, each judged by the oracle
//! and held to the claim by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stderr, missing_docs, reason = "tests")]

mod support;

use portcullis_ir::peer::{Entity, entity_has_external, entity_has_pods, entity_has_reserved};
use portcullis_ir::{
    Cluster, Direction, Flow, FlowPort, L4, Label, Operator, PeerRef, PortTerm, Ports, Requirement,
};
use portcullis_snapshot_tests::generate::Choices;
use portcullis_symbolic::world::left_out;
use portcullis_symbolic::{Answer, Claim, Flows, Form, Pattern, Pods, Space, replay};
use support::{bytes, passes, questions, side, world, z3};

fn pattern(c: &mut Choices<'_>, cluster: &Cluster) -> Pattern {
    match c.below(4) {
        0 | 1 => {
            let all: Vec<&Label> = cluster.identities.iter().flat_map(|l| l.iter()).collect();
            let label = all[(c.below(256) * 256 + c.below(256)) % all.len()];
            let operator = if c.one_in(4) { Operator::NotIn } else { Operator::In };
            Pattern::Pods(vec![Requirement::new(
                Some(&label.source),
                &label.key,
                operator,
                [label.value.clone()],
            )])
        }
        2 => Pattern::Entity([Entity::World, Entity::Cluster, Entity::Host, Entity::All][c.below(4)]),
        _ => Pattern::Cidr("10.0.0.0/8".parse().unwrap(), vec!["10.1.0.0/16".parse().unwrap()]),
    }
}

fn flows(c: &mut Choices<'_>, cluster: &Cluster) -> Flows {
    let end = |c: &mut Choices<'_>| Some(c.many(1, 2, |c| pattern(c, cluster)));
    let (from, to) = (end(c), end(c));
    let ports = match c.below(3) {
        0 => Ports::All,
        1 => Ports::of([PortTerm::Range(L4::Tcp, 80, 9000)]),
        _ => Ports::of([PortTerm::Range(L4::Udp, 0, 65535), PortTerm::Icmp(false, Some(8))]),
    };
    Flows { from, to: if c.one_in(4) { None } else { to }, ports }
}

fn fits(p: &Pattern, who: &PeerRef, cluster: &Cluster) -> bool {
    match (p, who) {
        (Pattern::Pods(all), PeerRef::Endpoint(id)) => {
            let labels = cluster.labels(cluster.endpoint(*id).unwrap().identity).unwrap();
            all.iter().all(|r| r.matches(labels))
        }
        (Pattern::Entity(e), PeerRef::Endpoint(_)) => entity_has_pods(*e),
        (Pattern::Entity(e), PeerRef::Reserved(r)) => entity_has_reserved(*e, *r),
        (Pattern::Entity(e), PeerRef::External { ip, .. }) => entity_has_external(*e, ip.is_ipv6()),
        (Pattern::Cidr(net, except), PeerRef::External { ip, .. }) => {
            net.contains(ip) && !except.iter().any(|x| x.contains(ip))
        }
        (Pattern::Name(f), PeerRef::External { names, .. }) => names.iter().any(|n| f.matches(n)),
        _ => false,
    }
}

/// Whether a flow is from, to and on the ports of a description.
fn held(f: &Flows, flow: &Flow, cluster: &Cluster) -> [bool; 3] {
    let end = |all: &Option<Vec<Pattern>>, who| match all {
        None => true,
        Some(all) => all.iter().any(|p| fits(p, who, cluster)),
    };
    let port = match (&f.ports, flow.port) {
        (Ports::All, _) => true,
        (Ports::Of(terms), FlowPort::L4(l4, n)) => terms
            .iter()
            .any(|t| matches!(t, PortTerm::Range(p, low, high) if *p == l4 && (*low..=*high).contains(&n))),
        (Ports::Of(terms), FlowPort::Icmp(v6, n)) => terms.contains(&PortTerm::Icmp(v6, Some(n))),
        (Ports::Of(_), FlowPort::Protocol(_)) => false,
    };
    [end(&f.from, &flow.from), end(&f.to, &flow.to), port]
}

fn refutes(claim: &Claim, flow: &Flow, passes: bool, cluster: &Cluster) -> bool {
    let [from, to, port] = held(&claim.flows, flow, cluster);
    if claim.except.iter().any(|x| held(x, flow, cluster) == [true; 3]) {
        return false;
    }
    match claim.form {
        Form::Deny => from && to && port && passes,
        Form::Allow => from && to && port && !passes,
        Form::Only => !from && to && port && passes,
    }
}

#[test]
fn a_claim_is_refuted_exactly_where_a_flow_refutes_it() {
    let Some(mut z3) = z3("random claims") else { return };
    let (mut refuted, mut proved) = (0, 0);
    for seed in 0..16 {
        let world = world(&bytes(seed, 300));
        let side = side(&world, &world);
        let cluster = &side.cluster;
        let all: Vec<(Flow, bool)> = questions(&side)
            .into_iter()
            .map(|(subject, direction, peer, port)| {
                let me = PeerRef::Endpoint(subject);
                let (from, to) = if direction == Direction::Egress { (me, peer) } else { (peer, me) };
                Flow { from, to, port }
            })
            .filter(|f| match &f.from {
                // A single pod does not claim anything of itself; a packet is of its addresses' family.
                PeerRef::Endpoint(_) => f.from != f.to,
                _ => true,
            })
            .filter(|f| {
                [&f.from, &f.to].into_iter().all(|e| match (e, f.port) {
                    (PeerRef::External { ip, .. }, FlowPort::Icmp(v6, _)) => ip.is_ipv6() == v6,
                    _ => true,
                })
            })
            .map(|f| {
                let passes = passes(&side, &side.policies, &f.from, &f.to, f.port);
                (f, passes)
            })
            .collect();
        let seeds = bytes(seed + 500, 200);
        let mut c = Choices::new(&seeds);
        for form in [Form::Deny, Form::Allow, Form::Only] {
            let claim = Claim {
                name: format!("{} {seed}", form.name()),
                form,
                flows: flows(&mut c, cluster),
                except: c.many(0, 1, |c| flows(c, cluster)),
            };
            let pods = Pods::Of(cluster);
            let mut space = Space::new(&[&side.policies], [&claim], pods, &side.options);
            let (goal, _) = space.claim(&claim, &side.policies);
            // Pods without a shape are left out, which `prove` says.
            let left_out = left_out(&space.words, cluster);
            let out = |e: &PeerRef| matches!(e, PeerRef::Endpoint(id) if left_out.contains(id));
            let by_hand = all
                .iter()
                .filter(|(f, _)| !out(&f.from) && !out(&f.to))
                .find(|(f, passes)| refutes(&claim, f, *passes, cluster));
            match space.ask(&mut z3, &claim.name, goal).unwrap() {
                Answer::Found(witness) => {
                    let flow = replay(&witness, pods).flow;
                    let passes = passes(&side, &side.policies, &flow.from, &flow.to, flow.port);
                    assert!(
                        refutes(&claim, &flow, passes, cluster),
                        "{claim:#?}\nis not refuted by {witness:?}"
                    );
                    refuted += 1;
                }
                Answer::None => {
                    assert!(by_hand.is_none(), "{claim:#?}\nis refuted by {by_hand:?}");
                    proved += 1;
                }
                Answer::Undecided(why) => panic!("{}: {why}", claim.name),
            }
        }
    }
    assert!(refuted > 8 && proved > 8, "{refuted} refuted, {proved} proved: the seeds show too little");
}
