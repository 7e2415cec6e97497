//! One fact about one connection, or why a line is none.

use crate::wire::{Endpoint, Envelope, Flow, Name, Number, Text};
use portcullis_ir::{L4 as Transport, Reserved};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::net::IpAddr;

/// What became of a packet when it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It passed, on its way to a proxy or not.
    Forwarded,
    /// Policy dropped it.
    Dropped,
    /// Policy would have dropped it, and was in audit mode.
    Audited,
}

/// Why a piece of a recording is no fact about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Left {
    /// It is no JSON, or JSON of another shape.
    Unreadable,
    /// Longer than [`crate::read::LONGEST`].
    TooLong,
    /// JSON, but no flow.
    NoFlow,
    /// An event of an agent or a node, which is no flow.
    OtherEvent,
    /// A flow without addresses.
    NoAddress,
    /// A flow without a transport header that is known.
    NoTransport,
    /// A verdict that is not known.
    UnknownVerdict,
    /// Dropped, and not by policy: it says nothing about what policy lets through.
    OtherDrop,
    /// An ICMP error, which goes with the flow that it is about.
    IcmpError,
    /// A socket's call before its address was translated: the flow itself is recorded, too.
    SocketCall,
    /// An answer in an application's protocol, which goes with its request.
    L7Answer,
    /// More distinct flows than are kept apart.
    TooMany,
}

impl Left {
    /// In words, behind a number.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Unreadable => "not readable as JSON of a flow",
            Self::TooLong => "longer than 16 MiB",
            Self::NoFlow => "without a flow in it",
            Self::OtherEvent => "events that are no flows",
            Self::NoAddress => "without IP addresses",
            Self::NoTransport => "without a known transport header",
            Self::UnknownVerdict => "with a verdict that is not known",
            Self::OtherDrop => "dropped for other reasons than policy",
            Self::IcmpError => "ICMP errors about other flows",
            Self::SocketCall => "socket calls before translation",
            Self::L7Answer => "answers of applications",
            Self::TooMany => "beyond the number of distinct flows that are kept apart",
        }
    }

    /// Whether the recording is worse for it; the others are left out because another record says the same.
    pub const fn is_loss(self) -> bool {
        !matches!(self, Self::OtherEvent | Self::SocketCall | Self::L7Answer | Self::IcmpError)
    }
}

/// A pod, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pod<'a> {
    /// Its namespace.
    pub namespace: Cow<'a, str>,
    /// Its name; empty if it is not known.
    pub name: Cow<'a, str>,
    /// Kind and name of its workload; empty if they are not known.
    pub workload: (Cow<'a, str>, Cow<'a, str>),
    /// Its labels with their sources (`k8s:app=web`), in the order of the recording.
    pub labels: Vec<Cow<'a, str>>,
}

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End<'a> {
    /// A pod.
    Pod(Pod<'a>),
    /// A reserved identity other than the world.
    Reserved(Reserved),
    /// An address, and the DNS names that it was known by. Whether it is outside the cluster is for those to say who
    /// know the cluster.
    Address(IpAddr, Vec<Cow<'a, str>>),
}

/// What a flow carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// A transport and the destination's port.
    L4(Transport, u16),
    /// An ICMP message: IPv6 or not, and its type.
    Icmp(bool, u8),
}

/// What an application asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum L7<'a> {
    /// An HTTP request.
    Http {
        /// `GET`.
        method: Cow<'a, str>,
        /// The host of its URL; empty if it names none.
        host: Cow<'a, str>,
        /// The path with the query.
        path: Cow<'a, str>,
        /// Headers.
        headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    },
    /// A DNS query, in small letters and without the last dot.
    Dns(Cow<'a, str>),
}

/// One fact: somebody opened, or used, a connection, and this became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Who opened it.
    pub from: Told<'a>,
    /// Who was asked.
    pub to: Told<'a>,
    /// The opener's port; 0 for ICMP.
    pub source_port: u16,
    /// What it carries.
    pub port: Port,
    /// What an application asked, in a record of a proxy.
    pub l7: Option<L7<'a>>,
    /// What became of it.
    pub verdict: Verdict,
    /// When, in nanoseconds since 1970; `None` if it is not said.
    pub time: Option<i64>,
    /// Whether which end opened it was told by its ports, since nothing else says so.
    pub guessed: bool,
}

/// What is told of an end: read once for all flows of a pod, since its text is always the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// The endpoint's JSON; empty if there is none.
    pub raw: Cow<'a, str>,
    /// Its address.
    pub ip: IpAddr,
    /// DNS names that the address was known by.
    pub names: Vec<Cow<'a, str>>,
}

impl<'a> Told<'a> {
    /// The end, if what is told can be read.
    pub fn end(&'a self) -> Option<End<'a>> {
        let endpoint = match &*self.raw {
            "" => None,
            raw => serde_json::from_str(raw).ok()?,
        };
        Some(end(endpoint, self.ip, &self.names))
    }
}

/// What a piece of a recording is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time: a box would be an allocation for each line")]
pub enum Said<'a> {
    /// A fact.
    Record(Record<'a>),
    /// So many events were lost.
    Lost(u64),
    /// Nothing that counts, and why.
    Left(Left),
}

/// Drop reasons that are policy's, by name and number.
const DENIALS: [(&str, u64); 3] = [("POLICY_DENIED", 133), ("POLICY_DENY", 181), ("AUTH_REQUIRED", 189)];

/// Reads one object.
pub fn read(text: &[u8]) -> Said<'_> {
    // Checked once and for all; JSON is UTF-8.
    let Ok(text) = std::str::from_utf8(text) else { return Said::Left(Left::Unreadable) };
    let text = text.strip_suffix(',').unwrap_or(text);
    match serde_json::from_str::<Envelope<'_>>(text) {
        Ok(mut e) => envelope(&mut e, text, 0),
        Err(_) => cri(text).map_or(Said::Left(Left::Unreadable), |inner| {
            match serde_json::from_str::<Envelope<'_>>(inner) {
                Ok(mut e) => envelope(&mut e, inner, 0),
                Err(_) => Said::Left(Left::Unreadable),
            }
        }),
    }
}

/// Reads the fields of an object and does nothing with them: the least that any reader of them costs. For
/// measurements.
#[doc(hidden)]
pub fn only_parse(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    serde_json::from_str::<Envelope<'_>>(text).is_ok_and(|e| e.flow.is_some())
}

/// What stands behind a container runtime's prefix: `2024-01-01T00:00:00.0Z stdout F {…}`. A partial line is no JSON.
fn cri(text: &str) -> Option<&str> {
    let mut rest = text;
    for part in 0..3 {
        let (head, tail) = rest.split_once(' ')?;
        let fits = match part {
            0 => head.starts_with(|c: char| c.is_ascii_digit()) && head.contains('T'),
            1 => head == "stdout" || head == "stderr",
            _ => head == "F" || head == "P",
        };
        if !fits {
            return None;
        }
        rest = tail;
    }
    Some(rest)
}

fn envelope<'a>(e: &mut Envelope<'a>, text: &'a str, depth: u8) -> Said<'a> {
    if let Some(flow) = &mut e.flow {
        return flow_of(flow, e.time.as_ref());
    }
    if let Some(lost) = &e.lost_events {
        return Said::Lost(lost.num_events_lost.unwrap_or_default().0);
    }
    if let Some(Text(log)) = &e.log {
        return wrapped(log, depth);
    }
    if e.node_status.is_some() || e.agent_event.is_some() || e.debug_event.is_some() {
        return Said::Left(Left::OtherEvent);
    }
    match serde_json::from_str::<Flow<'a>>(text) {
        Ok(mut flow) if flow.ip.is_some() || flow.verdict != Name::Absent => flow_of(&mut flow, None),
        Ok(_) => Said::Left(Left::NoFlow),
        Err(_) => Said::Left(Left::Unreadable),
    }
}

/// A line that a log shipper wrapped as a text: read on its own, since it has escapes.
fn wrapped(log: &str, depth: u8) -> Said<'static> {
    let inner = log.trim();
    if depth > 1 {
        return Said::Left(Left::NoFlow);
    }
    let inner = if inner.starts_with('{') { Some(inner) } else { cri(inner) };
    let Some(inner) = inner else { return Said::Left(Left::NoFlow) };
    match serde_json::from_str::<Envelope<'_>>(inner) {
        Ok(mut e) => match envelope(&mut e, inner, depth + 1) {
            Said::Record(r) => Said::Record(r.owned()),
            Said::Lost(n) => Said::Lost(n),
            Said::Left(l) => Said::Left(l),
        },
        Err(_) => Said::Left(Left::Unreadable),
    }
}

fn name_is(name: &Name<'_>, text: &str, number: i64) -> bool {
    match name {
        Name::Text(t) => t == text,
        Name::Number(n) => *n == number,
        Name::Absent => number == 0,
    }
}

fn flow_of<'a>(f: &mut Flow<'a>, beside: Option<&Text<'a>>) -> Said<'a> {
    let left = |why| Said::Left(why);
    if name_is(&f.kind, "SOCK", 3) && f.kind != Name::Absent {
        return left(Left::SocketCall);
    }
    let Some((source, destination)) = f.ip.as_ref().and_then(|ip| {
        let one = |t: &Option<Text<'_>>| t.as_ref()?.0.parse::<IpAddr>().ok();
        Some((one(&ip.source)?, one(&ip.destination)?))
    }) else {
        return left(Left::NoAddress);
    };
    let verdict = match verdict(f) {
        Ok(v) => v,
        Err(why) => return left(why),
    };
    let Some(head) = transport(f) else { return left(Left::NoTransport) };
    let time = f.time.as_ref().or(beside).and_then(|t| crate::time::nanos(&t.0));
    let told = |raw: Option<&'a RawValue>, ip, names: Option<Vec<Text<'a>>>| Told {
        raw: Cow::Borrowed(raw.map_or("", RawValue::get)),
        ip,
        names: names.unwrap_or_default().into_iter().map(|n| lower(n.0)).collect(),
    };
    let (source_end, destination_end) = (
        told(f.source, source, f.source_names.take()),
        told(f.destination, destination, f.destination_names.take()),
    );
    let (is_reply, guessed) = reply(f, head, verdict);
    let l7 = match f.l7.take() {
        None => None,
        // A sample stands for a request.
        Some(l7) if name_is(&l7.kind, "RESPONSE", 2) && l7.kind != Name::Absent => {
            return left(Left::L7Answer);
        }
        Some(l7) => l7_of(l7),
    };
    let (port, source_port) = match (head, is_reply) {
        (Head::Ports(l4, from, to, _), false) => (Port::L4(l4, to), from),
        (Head::Ports(l4, from, to, _), true) => (Port::L4(l4, from), to),
        (Head::Icmp(v6, kind), reply) => match (v6, kind, reply) {
            // Asked before it was answered.
            (false, 0, _) => (Port::Icmp(false, 8), 0),
            (true, 129, _) => (Port::Icmp(true, 128), 0),
            (false, 3 | 4 | 5 | 11 | 12, _) | (true, 1..=4, _) => return left(Left::IcmpError),
            _ => (Port::Icmp(v6, kind), 0),
        },
    };
    let swap = is_reply || matches!(head, Head::Icmp(false, 0) | Head::Icmp(true, 129));
    let (from, to) = if swap { (destination_end, source_end) } else { (source_end, destination_end) };
    Said::Record(Record { from, to, source_port, port, l7, verdict, time, guessed })
}

fn verdict(f: &Flow<'_>) -> Result<Verdict, Left> {
    let known = |text: &str, number: i64| name_is(&f.verdict, text, number) && f.verdict != Name::Absent;
    if known("FORWARDED", 1) || known("REDIRECTED", 5) || known("TRACED", 6) {
        return Ok(Verdict::Forwarded);
    }
    if known("TRANSLATED", 7) {
        return Err(Left::SocketCall);
    }
    if known("AUDIT", 4) {
        return Ok(Verdict::Audited);
    }
    if known("DROPPED", 2) {
        let mut denials = DENIALS.iter();
        let by_policy = match &f.drop_reason_desc {
            Name::Text(t) => denials.any(|(name, _)| t == name),
            Name::Number(n) => denials.any(|(_, number)| i64::try_from(*number) == Ok(*n)),
            // A proxy's denial has no reason; nor have old recordings.
            Name::Absent => {
                f.l7.is_some()
                    || f.drop_reason.is_none_or(|Number(n)| n == 0 || denials.any(|(_, number)| *number == n))
            }
        };
        return if by_policy { Ok(Verdict::Dropped) } else { Err(Left::OtherDrop) };
    }
    if known("ERROR", 3) {
        return Err(Left::OtherDrop);
    }
    Err(Left::UnknownVerdict)
}

#[derive(Clone, Copy)]
enum Head {
    /// Ports of source and destination, and SYN and ACK.
    Ports(Transport, u16, u16, Option<(bool, bool)>),
    Icmp(bool, u8),
}

fn transport(f: &Flow<'_>) -> Option<Head> {
    let l4 = f.l4.as_ref()?;
    let port = |n: Option<Number>| u16::try_from(n.unwrap_or_default().0).ok();
    for (of, p) in [(Transport::Tcp, &l4.tcp), (Transport::Udp, &l4.udp), (Transport::Sctp, &l4.sctp)] {
        if let Some(p) = p {
            let flags = p.flags.as_ref().map(|f| (f.syn == Some(true), f.ack == Some(true)));
            return Some(Head::Ports(of, port(p.source_port)?, port(p.destination_port)?, flags));
        }
    }
    for (v6, i) in [(false, &l4.icmpv4), (true, &l4.icmpv6)] {
        if let Some(i) = i {
            return Some(Head::Icmp(v6, u8::try_from(i.kind.unwrap_or_default().0).ok()?));
        }
    }
    None
}

/// Where the kernel takes a client's port from.
const EPHEMERAL: u16 = 32_768;

/// Whether a record is of an answer, and whether only its ports say so.
fn reply(f: &Flow<'_>, head: Head, verdict: Verdict) -> (bool, bool) {
    if let Some(is) = f.is_reply {
        return (is, false);
    }
    if name_is(&f.trace_reason, "REPLY", 3) && f.trace_reason != Name::Absent {
        return (true, false);
    }
    if f.trace_reason != Name::Absent
        && (name_is(&f.trace_reason, "NEW", 1) || name_is(&f.trace_reason, "ESTABLISHED", 2))
    {
        return (false, false);
    }
    // The old mark says "no" for whatever is not known.
    if f.reply == Some(true) {
        return (true, false);
    }
    // Policy refuses what opens a connection; answers pass it.
    if verdict != Verdict::Forwarded {
        return (false, false);
    }
    match head {
        Head::Ports(Transport::Tcp, _, _, Some((true, ack))) => (ack, false),
        Head::Ports(_, from, to, _) => (from < EPHEMERAL && to >= EPHEMERAL, true),
        Head::Icmp(..) => (false, false),
    }
}

fn end<'a>(e: Option<Endpoint<'a>>, ip: IpAddr, names: &[Cow<'a, str>]) -> End<'a> {
    let names = || names.to_vec();
    let Some(e) = e else { return End::Address(ip, names()) };
    let labels = e.labels.unwrap_or_default();
    let mut reserved = None;
    for label in &labels {
        // An address outside is judged by itself, and not by the identity that it had.
        if let Some(name) = label.0.strip_prefix("reserved:") {
            match Reserved::parse(name) {
                None | Some(Reserved::World | Reserved::WorldIpv4 | Reserved::WorldIpv6) => {
                    return End::Address(ip, names());
                }
                Some(r) => reserved = Some(reserved.map_or(r, |known: Reserved| known.min(r))),
            }
        } else if label.0.starts_with("cidr:")
            || label.0.starts_with("cidrgroup:")
            || label.0.starts_with("fqdn:")
        {
            return End::Address(ip, names());
        }
    }
    if let Some(r) = reserved {
        return End::Reserved(r);
    }
    let namespace = e.namespace.unwrap_or_default().0;
    let name = e.pod_name.unwrap_or_default().0;
    if labels.is_empty() && name.is_empty() {
        // By its number, where it is one of the reserved ones.
        return match e.identity.map(|n| n.0) {
            Some(1) => End::Reserved(Reserved::Host),
            Some(4) => End::Reserved(Reserved::Health),
            Some(6) => End::Reserved(Reserved::RemoteNode),
            Some(7) => End::Reserved(Reserved::KubeApiserver),
            Some(8) => End::Reserved(Reserved::Ingress),
            _ => End::Address(ip, names()),
        };
    }
    let workload = e.workloads.unwrap_or_default().into_iter().next().unwrap_or_default();
    let (kind, of) = (workload.kind.unwrap_or_default().0, workload.name.unwrap_or_default().0);
    let labels = labels.into_iter().map(|l| l.0).collect();
    End::Pod(Pod { namespace, name, workload: (kind, of), labels })
}

fn lower(name: Cow<'_, str>) -> Cow<'_, str> {
    let is_plain = !name.ends_with('.') && !name.bytes().any(|b| b.is_ascii_uppercase());
    if is_plain { name } else { Cow::Owned(name.trim_end_matches('.').to_ascii_lowercase()) }
}

fn l7_of(l7: crate::wire::L7<'_>) -> Option<L7<'_>> {
    if let Some(dns) = l7.dns {
        return Some(L7::Dns(lower(dns.query.unwrap_or_default().0)));
    }
    let http = l7.http?;
    let (host, path) = split_url(http.url.unwrap_or_default().0);
    let headers = http.headers.unwrap_or_default();
    let header = |h: crate::wire::Header<'_>| {
        (h.key.unwrap_or_default().0.into_owned(), h.value.unwrap_or_default().0.into_owned())
    };
    let headers = headers.into_iter().map(header).map(|(k, v)| (Cow::Owned(k), Cow::Owned(v))).collect();
    Some(L7::Http { method: http.method.unwrap_or_default().0, host, path, headers })
}

/// Host and path of `http://web.shop:80/items?q=1`.
fn split_url(url: Cow<'_, str>) -> (Cow<'_, str>, Cow<'_, str>) {
    let Some(at) = url.find("://") else { return (Cow::Borrowed(""), url) };
    let rest = url.get(at + 3..).unwrap_or_default();
    let (host, path) = match rest.find('/') {
        Some(slash) => (rest.get(..slash).unwrap_or_default(), rest.get(slash..).unwrap_or_default()),
        None => (rest, "/"),
    };
    (Cow::Owned(host.to_owned()), Cow::Owned(path.to_owned()))
}

fn keep(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

impl End<'_> {
    /// The same without the line that it was read from.
    pub fn owned(self) -> End<'static> {
        match self {
            End::Pod(p) => End::Pod(Pod {
                namespace: keep(p.namespace),
                name: keep(p.name),
                workload: (keep(p.workload.0), keep(p.workload.1)),
                labels: p.labels.into_iter().map(keep).collect(),
            }),
            End::Reserved(r) => End::Reserved(r),
            End::Address(ip, names) => End::Address(ip, names.into_iter().map(keep).collect()),
        }
    }
}

impl Told<'_> {
    fn owned(self) -> Told<'static> {
        Told { raw: keep(self.raw), ip: self.ip, names: self.names.into_iter().map(keep).collect() }
    }
}

impl L7<'_> {
    /// The same without the line that it was read from.
    pub fn owned(self) -> L7<'static> {
        match self {
            L7::Http { method, host, path, headers } => L7::Http {
                method: keep(method),
                host: keep(host),
                path: keep(path),
                headers: headers.into_iter().map(|(k, v)| (keep(k), keep(v))).collect(),
            },
            L7::Dns(name) => L7::Dns(keep(name)),
        }
    }
}

impl Record<'_> {
    fn owned(self) -> Record<'static> {
        Record {
            from: self.from.owned(),
            to: self.to.owned(),
            source_port: self.source_port,
            port: self.port,
            l7: self.l7.map(L7::owned),
            verdict: self.verdict,
            time: self.time,
            guessed: self.guessed,
        }
    }
}
