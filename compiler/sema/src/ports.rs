//! One line of coordinates for everything a packet can carry, and sets of intervals on it.
//!
//! TCP, UDP and SCTP ports take 65,536 coordinates each, ICMP and ICMPv6 types 256 each, other IP
//! protocols 256. All traffic is one interval; a rule's ports are a few.

use portcullis_ir::{FlowPort, L4};
use std::fmt::Write as _;

/// First coordinate of each stretch, and one past the last.
const UDP: u32 = 0x1_0000;
const SCTP: u32 = 0x2_0000;
const ICMP: u32 = 0x3_0000;
const ICMP6: u32 = ICMP + 0x100;
const PROTOCOL: u32 = ICMP6 + 0x100;
/// One past the last coordinate.
pub const END: u32 = PROTOCOL + 0x100;

/// The coordinate of what a flow carries.
pub fn coordinate(port: FlowPort) -> u32 {
    match port {
        FlowPort::L4(L4::Tcp, n) => u32::from(n),
        FlowPort::L4(L4::Udp, n) => UDP + u32::from(n),
        FlowPort::L4(L4::Sctp, n) => SCTP + u32::from(n),
        FlowPort::Icmp(false, t) => ICMP + u32::from(t),
        FlowPort::Icmp(true, t) => ICMP6 + u32::from(t),
        FlowPort::Protocol(n) => PROTOCOL + u32::from(n),
    }
}

/// What a coordinate stands for.
pub fn flow_port(at: u32) -> FlowPort {
    let low = |base: u32| u16::try_from(at.saturating_sub(base)).unwrap_or(u16::MAX);
    let byte = |base: u32| u8::try_from(at.saturating_sub(base)).unwrap_or(u8::MAX);
    match at {
        0..UDP => FlowPort::L4(L4::Tcp, low(0)),
        UDP..SCTP => FlowPort::L4(L4::Udp, low(UDP)),
        SCTP..ICMP => FlowPort::L4(L4::Sctp, low(SCTP)),
        ICMP..ICMP6 => FlowPort::Icmp(false, byte(ICMP)),
        ICMP6..PROTOCOL => FlowPort::Icmp(true, byte(ICMP6)),
        _ => FlowPort::Protocol(byte(PROTOCOL)),
    }
}

/// The half-open interval of ports `low..=high` of a protocol.
pub fn range(l4: L4, low: u16, high: u16) -> (u32, u32) {
    (coordinate(FlowPort::L4(l4, low)), coordinate(FlowPort::L4(l4, high)) + 1)
}

/// The half-open interval of one ICMP type, or of a whole family.
pub fn icmp(v6: bool, icmp_type: Option<u8>) -> (u32, u32) {
    let base = if v6 { ICMP6 } else { ICMP };
    icmp_type.map_or((base, base + 0x100), |t| {
        let at = base + u32::from(t);
        (at, at + 1)
    })
}

/// The half-open interval of another IP protocol.
pub fn protocol(number: u8) -> (u32, u32) {
    let at = coordinate(FlowPort::Protocol(number));
    (at, at + 1)
}

/// A set of coordinates: half-open intervals, sorted, neither touching nor overlapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet(Vec<(u32, u32)>);

impl PortSet {
    /// All traffic.
    pub fn all() -> Self {
        Self(vec![(0, END)])
    }

    /// The union of intervals in any order.
    pub fn new(intervals: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut all: Vec<_> = intervals.into_iter().filter(|(a, b)| a < b).collect();
        all.sort_unstable();
        let mut out: Vec<(u32, u32)> = Vec::with_capacity(all.len());
        for (start, end) in all {
            match out.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => out.push((start, end)),
            }
        }
        Self(out)
    }

    /// Adds an interval that starts at or after the end of the last one.
    pub fn push(&mut self, start: u32, end: u32) {
        match self.0.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ if start < end => self.0.push((start, end)),
            _ => {}
        }
    }

    /// The intervals in order.
    pub fn intervals(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a coordinate is in the set.
    pub fn contains(&self, at: u32) -> bool {
        let i = self.0.partition_point(|(_, end)| *end <= at);
        self.0.get(i).is_some_and(|(start, _)| *start <= at)
    }

    /// What is in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let mut out = Self::default();
        let (mut i, mut j) = (0, 0);
        while let (Some(a), Some(b)) = (self.0.get(i), other.0.get(j)) {
            let (start, end) = (a.0.max(b.0), a.1.min(b.1));
            if start < end {
                out.push(start, end);
            }
            if a.1 <= b.1 {
                i += 1;
            } else {
                j += 1;
            }
        }
        out
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.intersect(&other.complement())
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied())
    }

    /// Everything that is not in the set.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut out = Self::default();
        let mut at = 0;
        for (start, end) in &self.0 {
            out.push(at, *start);
            at = *end;
        }
        out.push(at, END);
        out
    }

    /// A flow that is in the set, the plainest there is: a well-known TCP port before others.
    pub fn example(&self) -> Option<FlowPort> {
        const PREFERRED: [FlowPort; 6] = [
            FlowPort::L4(L4::Tcp, 443),
            FlowPort::L4(L4::Tcp, 80),
            FlowPort::L4(L4::Tcp, 8080),
            FlowPort::L4(L4::Udp, 53),
            FlowPort::Icmp(false, 8),
            FlowPort::Icmp(true, 128),
        ];
        PREFERRED.into_iter().find(|p| self.contains(coordinate(*p))).or_else(|| {
            // Port 0 is no port a flow has.
            let first = self.0.first()?;
            Some(flow_port(if first.1 > first.0 + 1 { first.0 + 1 } else { first.0 }))
        })
    }
}

impl std::fmt::Display for PortSet {
    /// `every port`, `TCP 8080, 9090-9099`, `every port except TCP 8080`, `ICMP type 8`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no port");
        }
        let plain = listing(self);
        let inverse = self.complement();
        if inverse.is_empty() {
            return f.write_str("every port");
        }
        let all = self.0.iter().map(|(a, b)| b - a).sum::<u32>();
        let except = listing(&inverse);
        if all > END / 2 && except.len() < plain.len() {
            write!(f, "every port except {except}")
        } else {
            f.write_str(&plain)
        }
    }
}

fn listing(set: &PortSet) -> String {
    let mut parts: Vec<String> = Vec::new();
    let stretches = [(0, UDP), (UDP, SCTP), (SCTP, ICMP), (ICMP, ICMP6), (ICMP6, PROTOCOL), (PROTOCOL, END)];
    let within: Vec<PortSet> = stretches.iter().map(|s| set.intersect(&PortSet(vec![*s]))).collect();
    let names = ["TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "other protocols"];
    let [tcp, udp, sctp, ..] = within.as_slice() else { return String::new() };
    // The same ports of all three are written once, as `ANY` is.
    let shift = |s: &PortSet, by: u32| PortSet(s.0.iter().map(|(a, b)| (a - by, b - by)).collect());
    let any = !tcp.is_empty() && *tcp == shift(udp, UDP) && *tcp == shift(sctp, SCTP);
    for (i, (part, name)) in within.iter().zip(names).enumerate() {
        if part.is_empty() || (any && (i == 1 || i == 2)) {
            continue;
        }
        let name = if any && i == 0 { "TCP/UDP/SCTP" } else { name };
        let (base, end) = stretches.get(i).copied().unwrap_or_default();
        let mut text = String::new();
        let whole = part.0 == [(base, end)];
        match i {
            3.. if whole => text.push_str(name),
            5 => {
                let _ = write!(text, "IP protocol ");
                list(&mut text, part, base);
            }
            3 | 4 => {
                let _ = write!(text, "{name} type ");
                list(&mut text, part, base);
            }
            _ if whole => {
                let _ = write!(text, "{name} (every port)");
            }
            _ => {
                let _ = write!(text, "{name} ");
                list(&mut text, part, base);
            }
        }
        parts.push(text);
    }
    parts.join(", ")
}

fn list(text: &mut String, part: &PortSet, base: u32) {
    for (i, (start, end)) in part.0.iter().enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        let (low, high) = (start - base, end - 1 - base);
        let _ = if low == high { write!(text, "{low}") } else { write!(text, "{low}-{high}") };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_print_as_people_write_them() {
        let web = PortSet::new([range(L4::Tcp, 8080, 8080), range(L4::Tcp, 9090, 9099)]);
        assert_eq!(web.to_string(), "TCP 8080, 9090-9099");
        assert_eq!(PortSet::all().to_string(), "every port");
        assert_eq!(
            PortSet::new([range(L4::Tcp, 8080, 8080)]).complement().to_string(),
            "every port except TCP 8080"
        );
        let any = PortSet::new(L4::ALL.map(|p| range(p, 53, 53)));
        assert_eq!(any.to_string(), "TCP/UDP/SCTP 53");
        assert_eq!(PortSet::new([icmp(false, Some(8))]).to_string(), "ICMP type 8");
        assert_eq!(PortSet::new([range(L4::Udp, 0, 65535)]).to_string(), "UDP (every port)");
    }

    #[test]
    fn coordinates_go_both_ways() {
        for p in [FlowPort::L4(L4::Sctp, 7), FlowPort::Icmp(true, 128), FlowPort::Protocol(47)] {
            assert_eq!(flow_port(coordinate(p)), p);
        }
    }

    #[test]
    fn minus_takes_away() {
        let a = PortSet::new([range(L4::Tcp, 1, 100)]);
        let b = PortSet::new([range(L4::Tcp, 50, 60)]);
        assert_eq!(a.minus(&b).to_string(), "TCP 1-49, 61-100");
    }
}
