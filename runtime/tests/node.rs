//! An agent on a node with real pods: namespaces, sockets, policies that change, and everything that goes
//! wrong on a node.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use portcullis_abi::maps::EGRESS;
use portcullis_agent::kernel::{Kernel, Sizes};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use support::agent::{Agent, TRY};

/// `db` accepts TCP 5432 from `api`.
const DB: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: db-allow-api, namespace: lab}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: api}}]
    toPorts: [{ports: [{port: \"5432\", protocol: TCP}]}]
";

/// The same from `web` as well.
fn db_allows_web() -> String {
    DB.replace("[{matchLabels: {app: api}}]", "[{matchLabels: {app: api}}, {matchLabels: {app: web}}]")
}

/// Everybody may do everything with `db`, but by a rule.
const DB_OPEN: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: db-allow-api, namespace: lab}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress:
  - fromEntities: [all]
";

fn answers(stream: &mut TcpStream) -> bool {
    let _ = stream.set_read_timeout(Some(TRY));
    let mut buffer = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut buffer).is_ok()
}

#[test]
fn traffic_follows_the_policies_in_both_families() {
    let Some(mut agent) = Agent::new("traffic", &["web", "api", "db"]) else { return };
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let _servers = (agent.serve("db", 5432), agent.serve("db", 5433), agent.serve("api", 80));
    for at in [Agent::at, Agent::at6] {
        assert!(agent.reaches("api", at(&agent, "db", 5432)));
        assert!(!agent.reaches("api", at(&agent, "db", 5433)));
        assert!(!agent.reaches("web", at(&agent, "db", 5432)));
        assert!(!agent.udp("api", at(&agent, "db", 5432)), "the rule is of TCP");
        assert!(!agent.pings("api", at(&agent, "db", 0)), "and of no ICMP");
        assert!(agent.reaches("web", at(&agent, "api", 80)));
        assert!(agent.udp("web", at(&agent, "api", 80)));
        assert!(agent.pings("web", at(&agent, "api", 0)));
        assert!(agent.reaches("db", at(&agent, "api", 80)), "replies to db pass its default deny");
        assert!(agent.pings("db", at(&agent, "api", 0)));
    }
    // The node's own host reaches its pods (SEM-5.5).
    let node = agent.lab.node();
    assert!(agent.lab.tcp(&node, agent.at("db", 5433), TRY).is_ok());
    let drops = agent.status()["drops"].clone();
    let first = drops[0]["cause"].as_str().unwrap();
    assert!(first.contains("default deny by CiliumNetworkPolicy lab/db-allow-api at"), "{first}");
    assert!(first.contains("db.yaml:6:3"), "{first}");
}

#[test]
fn a_change_cuts_what_it_denies_and_nothing_else() {
    let Some(mut agent) = Agent::new("change", &["web", "api", "db"]) else { return };
    agent.policy("db.yaml", &db_allows_web());
    agent.start();
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    let to = agent.at("db", 5432);
    let mut web = agent.lab.tcp(&agent.lab.namespace("web"), to, TRY).unwrap();
    let mut api = agent.lab.tcp(&agent.lab.namespace("api"), to, TRY).unwrap();
    assert!(answers(&mut web) && answers(&mut api));
    agent.policy("db.yaml", DB);
    agent.generation(2);
    assert!(!answers(&mut web), "an established flow that is denied now is cut (SEM-7.2)");
    assert!(answers(&mut api));
    assert!(!agent.reaches("web", to));
}

#[test]
fn a_broken_policy_changes_nothing_and_is_said() {
    let Some(mut agent) = Agent::new("broken", &["web", "db"]) else { return };
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    agent.policy("db.yaml", &DB.replace("endpointSelector:", "endpointSelector: {"));
    let v = agent.wait("a problem", |v| v["healthy"] == false);
    assert_eq!(v["generation"], 1);
    let said = v["problems"][0].as_str().unwrap();
    assert!(said.contains("db.yaml") && said.contains("the policies on disk are not in use"), "{said}");
    assert!(!agent.reaches("web", agent.at("db", 5432)), "the last good generation stays");
    agent.policy("db.yaml", &db_allows_web());
    let v = agent.generation(2);
    assert_eq!(v["healthy"], true, "{v:#}");
    assert!(agent.reaches("web", agent.at("db", 5432)));
}

#[test]
fn one_can_go_back_until_the_files_change() {
    let Some(mut agent) = Agent::new("back", &["web", "db"]) else { return };
    agent.policy("db.yaml", &db_allows_web());
    agent.start();
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    agent.policy("db.yaml", DB);
    agent.generation(2);
    assert!(!agent.reaches("web", agent.at("db", 5432)));
    let said = agent.ask(&json!({"ask": "rollback"})).unwrap();
    assert_eq!(said["policiesOf"], 1, "{said}");
    let v = agent.generation(3);
    assert_eq!((v["backTo"].clone(), v["held"].clone()), (json!(1), json!(true)));
    assert!(agent.reaches("web", agent.at("db", 5432)));
    agent.ask(&json!({"ask": "refresh"})).unwrap();
    assert_eq!(agent.status()["generation"], 3, "nothing has changed on disk");
    agent.kill();
    agent.start();
    assert_eq!(agent.generation(3)["held"], true, "an agent's death does not undo it");
    assert!(agent.reaches("web", agent.at("db", 5432)));
    agent.policy("db.yaml", &format!("{DB}# touched\n"));
    let v = agent.wait("the files again", |v| v["held"] == false && v["generation"] != 3);
    assert_eq!(v["healthy"], true);
    assert!(!agent.reaches("web", agent.at("db", 5432)));
    let unknown = agent.ask(&json!({"ask": "rollback", "generation": 99})).unwrap();
    assert!(unknown["error"].as_str().unwrap().contains("generation 99 is not kept"), "{unknown}");
}

#[test]
fn traffic_keeps_its_policy_while_the_agent_is_dead_and_when_the_next_one_takes_over() {
    let Some(mut agent) = Agent::new("dead", &["web", "api", "db"]) else { return };
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    let to = agent.at("db", 5432);
    let mut open = agent.lab.tcp(&agent.lab.namespace("api"), to, TRY).unwrap();
    agent.kill();
    assert!(answers(&mut open));
    assert!(agent.reaches("api", to) && !agent.reaches("web", to), "no agent, no change");
    // A change that nobody saw.
    agent.policy("db.yaml", &db_allows_web());
    agent.start();
    agent.generation(2);
    assert!(answers(&mut open), "the next agent takes over without a gap");
    assert!(agent.reaches("web", to));
    // And without one, nothing is put into the kernel again.
    agent.kill();
    agent.start();
    assert_eq!(agent.generation(2)["healthy"], true);
    assert!(answers(&mut open));
}

#[test]
fn a_second_agent_refuses() {
    let Some(mut agent) = Agent::new("second", &["web"]) else { return };
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let config = agent.config();
    let second = agent.agent(&["run", "--config", &config.to_string_lossy()]).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another agent runs on this node"), "{said}");
    assert_eq!(agent.status()["generation"], 1, "the first one goes on");
}

#[test]
fn an_agent_killed_at_any_point_of_its_swaps_leaves_a_whole_generation() {
    let Some(mut agent) = Agent::new("killed", &["web", "api", "db"]) else { return };
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let _servers = (agent.serve("db", 5432), agent.serve("api", 80));
    let times: u64 = std::env::var("PORTCULLIS_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let mut seed = 1u64;
    for i in 0..times {
        let open = i % 2 == 0;
        agent.policy("db.yaml", if open { DB_OPEN } else { DB });
        // Somewhere between the file's change and a moment after the flip.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(seed >> 47));
        agent.kill();
        // Whichever generation it is: api always reaches db, and everybody reaches api.
        assert!(agent.reaches("api", agent.at("db", 5432)), "kill {i}");
        assert!(agent.reaches("web", agent.at("api", 80)), "kill {i}");
        agent.start();
        let v = agent.wait("the policy on disk", |v| {
            v["healthy"] == true
                && v["generation"].is_u64()
                && agent.reaches("web", agent.at("db", 5432)) == open
        });
        assert!(v["generation"].as_u64().unwrap() >= 1);
    }
    let verified = agent.agent(&["verify", "--config", &agent.config().to_string_lossy()]).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn an_interface_may_go_and_come_back_and_an_address_may_move() {
    let Some(mut agent) = Agent::new("moves", &["web", "api", "db"]) else { return };
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let servers = agent.serve("db", 5432);
    assert!(agent.reaches("api", agent.at("db", 5432)));
    let pods = agent.lab.pods().to_vec();
    drop(servers);
    assert!(flows_of(&agent, "db") > 0);
    agent.lab.remove_pod(&pods[2]).unwrap();
    let v = agent.wait("that it is gone", |v| v["endpoints"].as_array().unwrap().len() == 2);
    assert!(v["problems"][0].as_str().unwrap().contains("endpoint lab/db is not attached"), "{v}");
    assert_eq!(flows_of(&agent, "db"), 0, "whoever has its address next is in no flow of it");
    agent.lab.make_pod(&pods[2]).unwrap();
    agent.wait("that it is back", |v| v["endpoints"].as_array().unwrap().len() == 3 && v["healthy"] == true);
    let _servers = agent.serve("db", 5432);
    assert!(agent.reaches("api", agent.at("db", 5432)) && !agent.reaches("web", agent.at("db", 5432)));
    // The pods api and web change their labels: what had api's identity has web's from one moment on.
    agent.write_config(&|pod| {
        format!(
            "{{app: {}}}",
            match pod {
                "web" => "api",
                "api" => "web",
                other => other,
            }
        )
    });
    agent.wait("the new labels", |v| v["healthy"] == true && agent.reaches("web", agent.at("db", 5432)));
    assert!(!agent.reaches("api", agent.at("db", 5432)), "no stale identity");
}

#[test]
fn it_keeps_only_the_rights_that_it_needs() {
    let Some(mut agent) = Agent::new("rights", &["web"]) else { return };
    agent.start();
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid().unwrap())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
    };
    // DAC_READ_SEARCH, NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_ADMIN, PERFMON, BPF.
    let kept: u64 = [2, 12, 13, 19, 21, 38, 39].iter().map(|n| 1 << n).sum();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(set) & !kept, 0, "{set}");
    }
    assert_eq!(field("CapInh"), 0);
    assert_eq!(field("NoNewPrivs"), 1);
}

#[test]
fn what_cannot_be_enforced_here_fails_closed_and_says_so() {
    let l7 = DB.replace(
        "toPorts: [{ports: [{port: \"5432\", protocol: TCP}]}]",
        "toPorts: [{ports: [{port: \"5432\", protocol: TCP}], rules: {http: [{method: GET}]}}]",
    );
    for (name, configured, args) in
        [("l7", "", &[][..]), ("l7open", "failOpen: true\n", &[]), ("l7flag", "", &["--fail-open"])]
    {
        let open = name != "l7";
        let Some(mut agent) = Agent::new(name, &["api", "db"]) else { return };
        agent.configure(configured);
        agent.policy("db.yaml", &l7);
        agent.start_with(args);
        let v = agent.generation(1);
        let said = v["unenforced"][0].to_string();
        assert!(said.contains("db.yaml:8:15") && said.contains("no proxy on this node"), "{said}");
        let _servers = agent.serve("db", 5432);
        assert_eq!(agent.reaches("api", agent.at("db", 5432)), open);
        if !open {
            let cause = agent.status()["drops"][0]["cause"].to_string();
            assert!(cause.contains("no proxy"), "{cause}");
        }
    }
}

#[test]
fn a_strange_address_among_the_pods_is_dropped_and_one_outside_is_the_worlds() {
    let Some(mut agent) = Agent::new("strange", &["web", "db"]) else { return };
    agent.configure("podCidrs: [10.77.0.0/16]\n");
    agent.policy("db.yaml", &DB_OPEN.replace("[all]", "[world]"));
    agent.start();
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    let node = agent.lab.node();
    // A second address of web that nobody has told the agent of.
    let ip = |args: &str| {
        let all: Vec<&str> = args.split(' ').collect();
        assert!(std::process::Command::new("ip").args(all).status().unwrap().success(), "{args}");
    };
    let host = portcullis_agent::lab::Lab::interface("web");
    for address in ["10.77.0.99", "192.0.2.99"] {
        ip(&format!("-n {} addr add {address}/32 dev lo", agent.lab.namespace("web")));
        ip(&format!("-n {node} route add {address}/32 dev {host}"));
    }
    // It may not send from either: they are not web's own.
    let from = |address: &str| {
        let out = std::process::Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", agent.lab.namespace("web")))
            .args(["ping", "-c", "1", "-W", "1", "-I", address, &agent.at("db", 0).ip().to_string()])
            .output();
        out.unwrap().status.success()
    };
    assert!(!from("10.77.0.99") && !from("192.0.2.99"));
    let causes = agent.status()["drops"].to_string();
    assert!(causes.contains("the source is not an address of the pod"), "{causes}");
}

#[test]
fn the_live_kernel_is_compared_with_what_was_proved() {
    let Some(mut agent) = Agent::new("verify", &["web", "db"]) else { return };
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let config = agent.config();
    let verify = || agent.agent(&["verify", "--config", &config.to_string_lossy()]).output().unwrap();
    let out = verify();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && said.contains("generation 1 in the kernel is the proved one"), "{said}");
    // Somebody changes a class behind the agent's back.
    let text = std::fs::read_to_string(&config).unwrap();
    let kernel = kernel_of(&text);
    kernel.set_class(kernel.active().unwrap().unwrap(), 2, 40).unwrap();
    let out = verify();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("bytes of the live image are not the proved ones"), "{said}");
}

#[test]
fn a_full_map_of_addresses_is_said_and_leaves_nobody_a_stranger_with_rights() {
    let Some(mut agent) = Agent::new("full", &["web", "api", "db"]) else { return };
    agent.configure("podCidrs: [10.77.0.0/24, \"fd77::/64\"]\nsizes: {addresses: 6}\n");
    // The world may do everything: an address that is taken for the world's would get through.
    agent.policy("db.yaml", &DB_OPEN.replace("[all]", "[world]"));
    agent.start();
    let v = agent.wait("a problem", |v| v["healthy"] == false && v["generation"] == 1);
    assert!(v["problems"].to_string().contains("the map of addresses is full"), "{v}");
    let _servers = agent.serve("db", 5432);
    assert!(!agent.reaches("api", agent.at("db", 5432)) && !agent.reaches("web", agent.at("db", 5432)));
    assert!(!agent.reaches("api", agent.at6("db", 5432)) && !agent.reaches("web", agent.at6("db", 5432)));
}

/// The maps of an agent with that configuration.
fn kernel_of(text: &str) -> Kernel {
    let parsed = portcullis_agent::config::Config::parse(text).unwrap();
    Kernel::open(&parsed.bpffs.join(&parsed.pins), Sizes::default()).unwrap()
}

/// Flows that an endpoint itself tracks.
fn flows_of(agent: &Agent, pod: &str) -> usize {
    let own = portcullis_agent::kernel::address_bytes(agent.at(pod, 0).ip());
    let flows = kernel_of(&std::fs::read_to_string(agent.config()).unwrap()).flows().unwrap();
    flows
        .iter()
        .filter(|(k, _)| if k.direction == EGRESS { k.source == own } else { k.destination == own })
        .count()
}

#[test]
fn an_image_that_outgrows_its_slot_gets_a_larger_one_under_traffic() {
    let Some(mut agent) = Agent::new("grows", &["web", "api", "db"]) else { return };
    agent.configure("sizes: {image: 65536}\n");
    agent.policy("db.yaml", DB);
    agent.start();
    assert_eq!(agent.generation(1)["slotBytes"], 65_536);
    let _servers = agent.serve("db", 5432);
    let mut open = agent.lab.tcp(&agent.lab.namespace("api"), agent.at("db", 5432), TRY).unwrap();
    assert!(answers(&mut open));
    // A thousand ports, no two in one page of the port table.
    let mut wide = DB.to_owned();
    for part in 0..25u32 {
        let ports: Vec<String> =
            (0..40).map(|n| format!("{{port: \"{}\", protocol: TCP}}", (part * 40 + n) * 64 + 64)).collect();
        wide += "  - fromEndpoints: [{matchLabels: {app: web}}]\n    toPorts: [{ports: [";
        wide += &ports.join(", ");
        wide += "]}]\n";
    }
    agent.policy("db.yaml", &wide);
    let v = agent.generation(2);
    assert!(v["slotBytes"].as_u64().unwrap() > 65_536, "{v}");
    assert_eq!(v["healthy"], true, "{v}");
    assert!(answers(&mut open), "the flow goes on through the programs that took over");
    assert!(agent.reaches("api", agent.at("db", 5432)) && !agent.reaches("web", agent.at("db", 5432)));
    agent.kill();
    agent.start();
    assert_eq!(agent.generation(2)["slotBytes"], v["slotBytes"], "the next agent finds the larger one");
}

#[test]
fn metrics_are_served_where_they_are_asked_for_and_nothing_else_is() {
    let Some(mut agent) = Agent::new("metrics", &["web", "db"]) else { return };
    agent.configure("metrics: 127.0.0.1:9964\n");
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let node = agent.lab.node();
    let up = ["-n", &node, "link", "set", "lo", "up"];
    assert!(std::process::Command::new("ip").args(up).status().unwrap().success());
    assert!(!agent.reaches("web", agent.at("db", 5432)));
    let get = |path: &str| {
        let mut stream = agent.lab.tcp(&node, "127.0.0.1:9964".parse().unwrap(), TRY).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let page = get("/metrics");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("\nportcullis_generation 1\n"), "{page}");
    assert!(page.contains("portcullis_drops_total{direction=\"ingress\",cause=\"default deny by"), "{page}");
    assert!(get("/").starts_with("HTTP/1.1 404"));
}

#[test]
fn detach_leaves_nothing_behind() {
    let Some(mut agent) = Agent::new("detach", &["web", "db"]) else { return };
    agent.policy("db.yaml", DB);
    agent.start();
    agent.generation(1);
    let _servers = agent.serve("db", 5432);
    let config = agent.config();
    let out = detach(&agent);
    assert!(String::from_utf8_lossy(&out.stderr).contains("another agent runs"), "not under a running agent");
    assert!(!agent.reaches("web", agent.at("db", 5432)));
    agent.kill();
    let out = detach(&agent);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(agent.reaches("web", agent.at("db", 5432)), "nothing is enforced any more");
    let parsed = portcullis_agent::config::Config::parse(&std::fs::read_to_string(&config).unwrap()).unwrap();
    assert!(!parsed.bpffs.join(&parsed.pins).exists());
}

fn detach(agent: &Agent) -> std::process::Output {
    agent.agent(&["detach", "--config", &agent.config().to_string_lossy()]).output().unwrap()
}
