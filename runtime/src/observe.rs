//! `portcullis-agent observe` and `relay`: flows in a terminal, of one node or of many.

use clap::{Args, ValueEnum};
use portcullis_agent::control;
use portcullis_hubble::client;
use portcullis_hubble::pb::flow::{FlowFilter, IpVersion, TrafficDirection, Verdict};
use portcullis_hubble::pb::observer::GetFlowsRequest;
use portcullis_hubble::relay::{Peer, Relay};
use portcullis_hubble::server::{Listen, serve};
use portcullis_hubble::text::{self, Form};
use portcullis_hubble::{timestamp, tls};
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    #[default]
    Compact,
    Dict,
    Table,
    Jsonpb,
    Json,
}

impl From<Output> for Form {
    fn from(o: Output) -> Self {
        match o {
            Output::Compact => Self::Compact,
            Output::Dict => Self::Dict,
            Output::Table => Self::Table,
            Output::Jsonpb | Output::Json => Self::Json,
        }
    }
}

/// What a filter takes from the command line, for one of the two ends.
type Take = fn(&ObserveArgs, &mut FlowFilter);

/// How a client shows who it is, and whom it trusts, at addresses with TLS.
#[derive(Clone, Debug, Args)]
pub(crate) struct TlsArgs {
    /// Roots of servers' certificates (PEM)
    #[arg(long = "tls-ca-cert", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate to show (PEM)
    #[arg(id = "client_cert", long = "tls-client-cert", value_name = "FILE", requires = "client_key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(id = "client_key", long = "tls-client-key", value_name = "FILE", requires = "client_cert")]
    key: Option<PathBuf>,
    /// The name in the server's certificate, where it is not its address
    #[arg(long = "tls-server-name", value_name = "NAME")]
    server_name: Option<String>,
}

impl TlsArgs {
    fn client(&self) -> tls::Client {
        tls::Client {
            ca: self.ca.clone(),
            own: self.cert.clone().zip(self.key.clone()),
            server_name: self.server_name.clone(),
        }
    }
}

/// What `relay` is told.
#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// A node: NAME=ADDRESS, the address unix:///PATH, HOST:PORT or tls://HOST:PORT
    #[arg(long = "peer", value_name = "NAME=ADDRESS")]
    peers: Vec<String>,
    /// A file with a node a line
    #[arg(long, value_name = "FILE")]
    peers_file: Option<PathBuf>,
    /// Where to serve: unix:///PATH, a loopback address with a port, or, with --tls-cert, any address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4245")]
    listen: String,
    /// The relay's own certificate (PEM); clients must show one of --tls-client-ca
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_client_ca"])]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Roots of clients' certificates (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// What `observe` is told.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct ObserveArgs {
    /// Where the API is: unix:///PATH, HOST:PORT or, with TLS, tls://HOST:PORT; the agent's socket in the --state folder if
    /// not given
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
    /// The agent's state folder, where its sockets are
    #[arg(long, value_name = "DIR", default_value = "/run/portcullis")]
    state: PathBuf,
    /// The last so many flows; 20 if nothing says how many
    #[arg(long, value_name = "N", conflicts_with = "first")]
    last: Option<u64>,
    /// The first so many flows
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    first: Option<u64>,
    /// All flows that are kept
    #[arg(long, conflicts_with_all = ["first", "last"])]
    all: bool,
    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,
    /// Since then: a time (RFC 3339), or how long ago (90s, 5m, 2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How flows are written
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// FORWARDED, DROPPED or AUDIT
    #[arg(long, value_name = "VERDICT")]
    verdict: Vec<String>,
    /// To or from this pod: [NAMESPACE/]NAME, a prefix
    #[arg(long, value_name = "POD")]
    pod: Vec<String>,
    /// From this pod
    #[arg(long, value_name = "POD")]
    from_pod: Vec<String>,
    /// To this pod
    #[arg(long, value_name = "POD")]
    to_pod: Vec<String>,
    /// To or from this namespace
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// From this namespace
    #[arg(long, value_name = "NAMESPACE")]
    from_namespace: Vec<String>,
    /// To this namespace
    #[arg(long, value_name = "NAMESPACE")]
    to_namespace: Vec<String>,
    /// To or from this address or prefix
    #[arg(long, value_name = "IP")]
    ip: Vec<String>,
    /// From this address or prefix
    #[arg(long, value_name = "IP")]
    from_ip: Vec<String>,
    /// To this address or prefix
    #[arg(long, value_name = "IP")]
    to_ip: Vec<String>,
    /// To or from who has these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    label: Vec<String>,
    /// From who has these labels
    #[arg(long, value_name = "SELECTOR")]
    from_label: Vec<String>,
    /// To who has these labels
    #[arg(long, value_name = "SELECTOR")]
    to_label: Vec<String>,
    /// To or from this port
    #[arg(long, value_name = "PORT")]
    port: Vec<String>,
    /// From this port
    #[arg(long, value_name = "PORT")]
    from_port: Vec<String>,
    /// To this port
    #[arg(long, value_name = "PORT")]
    to_port: Vec<String>,
    /// tcp, udp, sctp, icmp
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Vec<String>,
    /// ingress or egress
    #[arg(long, value_name = "DIRECTION")]
    traffic_direction: Vec<String>,
    /// To or from this identity
    #[arg(long, value_name = "NUMBER")]
    identity: Vec<u32>,
    /// From this node; stars may stand for anything
    #[arg(long, value_name = "NODE")]
    node_name: Vec<String>,
    /// Only IPv4
    #[arg(long, short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// Only IPv6
    #[arg(long, short = '6')]
    ipv6: bool,
    /// Everything but what the filters say
    #[arg(long)]
    not: bool,
}

/// Runs it.
pub(crate) fn run(args: &ObserveArgs) -> Result<(), String> {
    let server = args
        .server
        .clone()
        .unwrap_or_else(|| format!("unix://{}", control::hubble_path(&args.state).display()));
    let request = request(args)?;
    let form = Form::from(args.output);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let follow = args.follow;
    if form == Form::Table {
        let _ = writeln!(out, "{}", text::heading());
    }
    let server = client::Server { address: server, tls: args.tls.client() };
    let ended = runtime.block_on(client::flows(&server, request, |r| {
        // A reader that has gone away is the end.
        writeln!(out, "{}", text::line(&r, form)).is_ok() && (!follow || out.flush().is_ok())
    }));
    let _ = out.flush();
    ended
}

/// Serves the flows of many nodes until it is stopped.
pub(crate) fn relay(args: &RelayArgs) -> Result<(), String> {
    let tls = args.tls.client();
    let mut all = args.peers.iter().map(|p| Peer::parse(p, &tls)).collect::<Result<Vec<_>, _>>()?;
    if let Some(file) = &args.peers_file {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        for line in lines {
            all.push(Peer::parse(line, &tls).map_err(|e| format!("{}: {e}", file.display()))?);
        }
    }
    if all.is_empty() {
        return Err("no node to ask: give --peer NAME=ADDRESS or --peers-file FILE".to_owned());
    }
    let relay = Relay::new(all);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let listen = &args.listen;
    let address = || listen.parse().map_err(|e| format!("{listen}: {e}"));
    let files = (&args.tls_cert, &args.tls_key, &args.tls_client_ca);
    let at = match (listen.strip_prefix("unix://"), files) {
        (Some(path), _) => Listen::unix(Path::new(path)),
        (None, (Some(cert), Some(key), Some(ca))) => {
            let files = tls::Files { cert: cert.clone(), key: key.clone(), ca: ca.clone() };
            Listen::tls(address()?, files)
        }
        _ => Listen::loopback(address()?),
    };
    let at = at.map_err(|e| format!("{listen}: {e}"))?;
    let served = runtime.map_err(|e| e.to_string())?.block_on(serve(relay.clone(), relay, at));
    served.map_err(|e| e.to_string())
}

fn request(a: &ObserveArgs) -> Result<GetFlowsRequest, String> {
    let since = a.since.as_deref().map(time).transpose()?;
    let until = a.until.as_deref().map(time).transpose()?;
    let number = match (a.first, a.last) {
        (Some(n), _) | (None, Some(n)) => n,
        _ if a.all || a.follow || since.is_some() || until.is_some() => 0,
        _ => 20,
    };
    let filters = filters(a)?;
    let (whitelist, blacklist) = if a.not { (Vec::new(), filters) } else { (filters, Vec::new()) };
    Ok(GetFlowsRequest {
        number,
        first: a.first.is_some(),
        follow: a.follow,
        since: since.map(timestamp),
        until: until.map(timestamp),
        whitelist,
        blacklist,
        ..GetFlowsRequest::default()
    })
}

/// Pods, and namespaces as the filters of pods write them.
fn both(pods: &[String], spaces: &[String]) -> Vec<String> {
    pods.iter().cloned().chain(spaces.iter().map(|n| format!("{n}/"))).collect()
}

/// One filter, or two where something may be at either end.
fn filters(a: &ObserveArgs) -> Result<Vec<FlowFilter>, String> {
    let verdict = |v: &String| {
        let upper = v.to_ascii_uppercase();
        let name = if upper == "AUDITED" { "AUDIT" } else { &upper };
        Verdict::from_str_name(name).map(i32::from).ok_or_else(|| format!("{v} is no verdict"))
    };
    let direction = |v: &String| {
        let known = TrafficDirection::from_str_name(&v.to_ascii_uppercase());
        known.map(i32::from).ok_or_else(|| format!("{v} is no direction: ingress or egress"))
    };
    let version = match (a.ipv4, a.ipv6) {
        (true, _) => vec![i32::from(IpVersion::IPv4)],
        (_, true) => vec![i32::from(IpVersion::IPv6)],
        _ => Vec::new(),
    };
    let base = FlowFilter {
        source_pod: both(&a.from_pod, &a.from_namespace),
        destination_pod: both(&a.to_pod, &a.to_namespace),
        source_ip: a.from_ip.clone(),
        destination_ip: a.to_ip.clone(),
        source_label: a.from_label.clone(),
        destination_label: a.to_label.clone(),
        source_port: a.from_port.clone(),
        destination_port: a.to_port.clone(),
        protocol: a.protocol.clone(),
        node_name: a.node_name.clone(),
        ip_version: version,
        verdict: a.verdict.iter().map(verdict).collect::<Result<_, _>>()?,
        traffic_direction: a.traffic_direction.iter().map(direction).collect::<Result<_, _>>()?,
        ..FlowFilter::default()
    };
    let mut all = vec![base];
    // Each of these may be at either end, so every one doubles what there is.
    let either: [(bool, Take, Take); 5] = [
        (
            !a.pod.is_empty() || !a.namespace.is_empty(),
            |a, f| f.source_pod.extend(both(&a.pod, &a.namespace)),
            |a, f| f.destination_pod.extend(both(&a.pod, &a.namespace)),
        ),
        (
            !a.ip.is_empty(),
            |a, f| f.source_ip.extend(a.ip.iter().cloned()),
            |a, f| f.destination_ip.extend(a.ip.iter().cloned()),
        ),
        (
            !a.label.is_empty(),
            |a, f| f.source_label.extend(a.label.iter().cloned()),
            |a, f| f.destination_label.extend(a.label.iter().cloned()),
        ),
        (
            !a.port.is_empty(),
            |a, f| f.source_port.extend(a.port.iter().cloned()),
            |a, f| f.destination_port.extend(a.port.iter().cloned()),
        ),
        (
            !a.identity.is_empty(),
            |a, f| f.source_identity.extend(&a.identity),
            |a, f| f.destination_identity.extend(&a.identity),
        ),
    ];
    for (is_set, source, destination) in either {
        if is_set {
            let mut other = all.clone();
            for f in &mut all {
                source(a, f);
            }
            for f in &mut other {
                destination(a, f);
            }
            all.extend(other);
        }
    }
    all.retain(|f| *f != FlowFilter::default());
    Ok(all)
}

/// A time, or how long ago, in nanoseconds since 1970.
fn time(text: &str) -> Result<i64, String> {
    let wrong =
        || format!("{text} is neither a time (2026-01-31T08:00:00Z) nor how long ago (90s, 5m, 2h, 1d)");
    let at = if let Ok(at) = text.parse::<jiff::Timestamp>() {
        at
    } else {
        let last = text.chars().last().ok_or_else(wrong)?;
        let n: i64 = text.trim_end_matches(last).parse().map_err(|_| wrong())?;
        let seconds = match last {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let ago = jiff::SignedDuration::from_secs(n.saturating_mul(seconds));
        jiff::Timestamp::now().checked_sub(ago).map_err(|_| wrong())?
    };
    i64::try_from(at.as_nanosecond()).map_err(|_| wrong())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: ObserveArgs,
    }

    #[test]
    fn what_may_be_at_either_end_makes_two_filters() {
        let a = Only::parse_from(["x", "--pod", "a/b", "--verdict", "dropped", "--to-port", "80"]).args;
        let r = request(&a).unwrap();
        assert_eq!((r.number, r.whitelist.len()), (20, 2));
        assert!(r.whitelist.iter().all(|f| f.verdict == [2] && f.destination_port == ["80"]));
        let a = Only::parse_from(["x", "--follow"]).args;
        assert_eq!(request(&a).unwrap().whitelist.len(), 0);
    }

    #[test]
    fn times_are_absolute_or_ago() {
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(1_000_000_000));
        assert!(time("5m").unwrap() > 0 && time("soon").is_err() && time("").is_err());
    }
}
