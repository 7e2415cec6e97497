//! Traces of kube-proxy, as each of its modes leaves them, in namespaces of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use portcullis_agent::lab::Lab;
use portcullis_agent::preflight::{Findings, kube_proxy, refusal, takeover};
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// A namespace; `None` where there can be none.
fn namespace(name: &str) -> Option<Lab> {
    support::pins()?;
    Some(Lab::new(&format!("pct-pf-{name}"), &[]).unwrap())
}

/// Runs a line of commands in the namespace.
fn run(lab: &Lab, line: &str) -> Output {
    let done = lab.on_node(Path::new("sh"), &["-ec", line]).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    done
}

fn look(lab: &Lab) -> Findings {
    lab.inside(&lab.node(), || Ok(kube_proxy())).unwrap()
}

/// What is found after commands in a fresh namespace.
fn after(name: &str, line: &str) -> Option<Vec<String>> {
    let lab = namespace(name)?;
    run(&lab, line);
    let found = look(&lab);
    assert!(found.unread.is_empty(), "{found:?}");
    Some(found.found)
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let Some(found) = after("none", "true") else { return };
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn tables_of_the_nft_mode_are_found_in_each_family() {
    let add =
        "for f in ip ip6 inet; do nft add table $f kube-proxy; done; nft add chain ip kube-proxy services";
    let Some(found) = after("nft", add) else { return };
    assert_eq!(
        found,
        [
            "nft: table inet kube-proxy",
            "nft: table ip kube-proxy, chain services",
            "nft: table ip6 kube-proxy"
        ]
    );
}

#[test]
fn chains_of_iptables_nft_are_found() {
    for (tool, family) in [("iptables-nft", "ip"), ("ip6tables-nft", "ip6")] {
        for chain in ["KUBE-SERVICES", "KUBE-SVC-ABC", "KUBE-SEP-ABC", "KUBE-NODEPORTS", "KUBE-PROXY-CANARY"]
        {
            let line = format!("{tool} -t nat -N {chain}");
            let Some(found) = after("inft", &line) else { return };
            assert_eq!(found, [format!("nft: table {family} nat, chain {chain}")]);
        }
    }
}

#[test]
fn chains_of_iptables_legacy_are_found() {
    for (tool, family) in [("iptables-legacy", "ip"), ("ip6tables-legacy", "ip6")] {
        for chain in ["KUBE-SERVICES", "KUBE-SVC-ABC", "KUBE-SEP-ABC", "KUBE-NODEPORTS", "KUBE-PROXY-CANARY"]
        {
            let line = format!("{tool} -t nat -N OTHER; {tool} -t nat -N {chain}");
            let Some(found) = after("leg", &line) else { return };
            assert_eq!(found, [format!("{tool}: table {family} nat, chain {chain}")]);
        }
    }
}

#[test]
fn many_chains_with_rules_in_them_are_one_line() {
    let add = "iptables-legacy -t nat -N KUBE-SERVICES\n\
        iptables-legacy -t nat -A PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES\n\
        for i in $(seq 50); do iptables-legacy -t nat -N KUBE-SVC-$i\n\
        iptables-legacy -t nat -A KUBE-SERVICES -d 10.96.0.$i/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-$i; done";
    let Some(found) = after("many", add) else { return };
    assert_eq!(found, ["iptables-legacy: table ip nat, chain KUBE-SERVICES and 50 more"]);
}

#[test]
fn kubelets_own_chains_are_no_proof() {
    let add = "for t in iptables-legacy iptables-nft ip6tables-legacy ip6tables-nft; do\n\
        $t -t mangle -N KUBE-KUBELET-CANARY; $t -t mangle -N KUBE-IPTABLES-HINT; $t -t filter -N KUBE-FIREWALL; done";
    let Some(found) = after("kubelet", add) else { return };
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_device_of_the_ipvs_mode_is_found() {
    let Some(found) = after("ipvs", "ip link add kube-ipvs0 type veth peer name other") else { return };
    assert_eq!(found, ["the device kube-ipvs0"]);
}

#[test]
fn listeners_on_its_ports_are_found() {
    for (address, port) in [("::1", 10249), ("::", 10256), ("0.0.0.0", 10256), ("127.0.0.1", 10249)] {
        let Some(lab) = namespace("port") else { return };
        let _listener = lab.inside(&lab.node(), || TcpListener::bind((address, port))).unwrap();
        assert_eq!(look(&lab).found, [format!("a listener on TCP port {port}")], "{address}");
    }
}

#[test]
fn the_refusal_says_what_was_found_and_both_ways_out() {
    let findings = Findings { found: vec!["nft: table ip kube-proxy".to_owned()], unread: Vec::new() };
    let said = refusal(&findings);
    assert!(said.starts_with("connections through services would break"), "{said}");
    for part in ["found: nft: table ip kube-proxy", "kube-proxy --cleanup", "--takeover"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(takeover(&findings).contains("nft: table ip kube-proxy"));
}

#[test]
fn the_command_lists_every_check_and_its_exit_code_tells() {
    let Some(lab) = namespace("cmd") else { return };
    let program = Path::new(env!("CARGO_BIN_EXE_portcullis-agent"));
    let ask = |lab: &Lab, format: &str| {
        let mut command: Command = lab.on_node(program, &["preflight", "--format", format]);
        command.output().unwrap()
    };
    let before = ask(&lab, "json");
    let list: Value = serde_json::from_slice(&before.stdout).unwrap();
    let proxy = |list: &Value| {
        let all = list["checks"].as_array().unwrap();
        all.iter().find(|c| c["about"] == "kube-proxy").unwrap()["level"].as_str().unwrap().to_owned()
    };
    assert_eq!(proxy(&list), "ok");
    assert_eq!(before.status.code().map(i64::from), list["code"].as_i64());
    run(&lab, "nft add table ip kube-proxy; iptables-nft -t filter -N cali-FORWARD");
    let after = ask(&lab, "json");
    assert_eq!(after.status.code(), Some(2));
    let list: Value = serde_json::from_slice(&after.stdout).unwrap();
    assert_eq!(proxy(&list), "bad");
    let text = String::from_utf8(ask(&lab, "text").stdout).unwrap();
    for about in
        ["kernel", "BTF", "JIT", "TCX", "maps", "programs", "bpf file system", "cgroup2", "kube-proxy"]
    {
        assert!(text.contains(&format!("{about}: ")), "{text}");
    }
    assert!(text.contains("nft: table ip filter, 1 chains"), "{text}");
    assert!(text.contains("way out: stop kube-proxy"), "{text}");
}
