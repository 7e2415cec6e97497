//! Traces of a kube-proxy in this network namespace.

use super::netfilter::{self, Chain};
use crate::links::links;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;

/// What shows that kube-proxy translates services here, and what could not be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// One line for each place, for people.
    pub found: Vec<String>,
    /// Where nobody could look, and why: there may be more.
    pub unread: Vec<String>,
}

impl Findings {
    /// Nothing was found, and everything was looked at.
    pub fn clear(&self) -> bool {
        self.found.is_empty() && self.unread.is_empty()
    }
}

/// The device of kube-proxy's ipvs mode.
const DEVICE: &str = "kube-ipvs0";
/// Metrics and health of kube-proxy.
const PORTS: [u16; 2] = [10249, 10256];
/// Its table in nft mode.
const TABLE: &str = "kube-proxy";
/// The state of a listening socket, in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// Looks for kube-proxy in this network namespace. KUBE-KUBELET-CANARY and KUBE-IPTABLES-HINT are kubelet's
/// and show nothing.
pub fn kube_proxy() -> Findings {
    let mut out = Findings::default();
    chains(&mut out, "nft's tables", netfilter::nft());
    chains(&mut out, "the tables of iptables-legacy", netfilter::legacy());
    match links() {
        Ok(all) if all.contains_key(DEVICE) => out.found.push(format!("the device {DEVICE}")),
        Ok(_) => {}
        Err(e) => out.unread.push(format!("interfaces: {e}")),
    }
    for port in PORTS {
        for file in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
            match fs::read_to_string(file) {
                Ok(text) if listens(&text, port) => {
                    let found = format!("a listener on TCP port {port}");
                    if !out.found.contains(&found) {
                        out.found.push(found);
                    }
                }
                Ok(_) => {}
                // Without IPv6 there is no such file.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => out.unread.push(format!("{file}: {e}")),
            }
        }
    }
    out
}

fn chains(out: &mut Findings, place: &str, all: io::Result<impl IntoIterator<Item = Chain>>) {
    let all = match all {
        Ok(all) => all,
        // A kernel without them: nobody can have written any.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::ENOPROTOOPT)) => return,
        Err(e) => return out.unread.push(format!("{place}: {e}")),
    };
    let mut tables: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for chain in all {
        if is_proof(&chain) {
            tables.entry((chain.by, chain.family, chain.table)).or_default().push(chain.name);
        }
    }
    for ((by, family, table), mut names) in tables {
        names.retain(|n| !n.is_empty());
        let mut line = format!("{by}: table {family} {table}");
        if let Some(first) = names.first() {
            let _ = write!(line, ", chain {first}");
        }
        if names.len() > 1 {
            let _ = write!(line, " and {} more", names.len() - 1);
        }
        out.found.push(line);
    }
}

fn is_proof(chain: &Chain) -> bool {
    if chain.by == "nft" && chain.table == TABLE {
        return true;
    }
    ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-CANARY"].contains(&chain.name.as_str())
        || ["KUBE-SVC-", "KUBE-SEP-"].iter().any(|p| chain.name.starts_with(p))
}

fn listens(table: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some(LISTENS)
    })
}

/// Why service translation does not start beside kube-proxy, for people.
pub fn refusal(findings: &Findings) -> String {
    let mut out = String::from(
        "connections through services would break if this agent took them over now: kube-proxy translates \
         them on this node, and two translations that do not know of each other send packets of one \
         connection to two backends\n",
    );
    for line in &findings.found {
        let _ = writeln!(out, "  found: {line}");
    }
    for line in &findings.unread {
        let _ = writeln!(out, "  could not be looked at: {line}");
    }
    out.push_str(
        "  way out: stop kube-proxy, remove its rules with `kube-proxy --cleanup`, and start the agent again; \
         or start it with --takeover",
    );
    out
}

/// What is said when service translation starts beside kube-proxy all the same.
pub fn takeover(findings: &Findings) -> String {
    let mut out = String::from(
        "services are taken over beside kube-proxy: connections that it translated may break, and new ones \
         may, until its rules are gone (`kube-proxy --cleanup`)",
    );
    for line in findings.found.iter().chain(&findings.unread) {
        let _ = write!(out, "; {line}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_socket_of_the_port_counts() {
        let head = "  sl  local_address rem_address   st\n";
        let line = |address: &str, state: &str| format!("{head}   0: {address} 00000000:0000 {state} 0\n");
        assert!(listens(&line("0100007F:2809", "0A"), 10249));
        assert!(!listens(&line("0100007F:2809", "01"), 10249));
        assert!(!listens(&line("0100007F:2810", "0A"), 10249));
        assert!(listens(&line("00000000000000000000000000000000:2810", "0A"), 10256));
        assert!(!listens(head, 10249));
    }
}
