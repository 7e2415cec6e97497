//! A node with services, and packets as the tests read them.

use crate::service_image::{Front, image};
use crate::support::packets::{Ip, checksum, tcp, udp};
use crate::support::{LOOPBACK, Machine, small};
use portcullis_abi::services::SMALLEST_SLOT;
use portcullis_agent::kernel::{DeviceHook, DevicePrograms, Services, Settings};
use std::net::{IpAddr, SocketAddr};

/// What programs return for a packet that goes on, is dropped, or is sent back.
pub(crate) const ON: i32 = -1;
pub(crate) const DROP: i32 = 2;
pub(crate) const BACK: i32 = 7;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;

pub(crate) struct Scene {
    pub(crate) machine: Machine,
    pub(crate) services: Services,
    programs: DevicePrograms,
}

/// What a packet says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) protocol: u8,
    /// The transport's header and what follows.
    pub(crate) l4: Vec<u8>,
}

/// Addresses of the test in both families: the last number tells who.
pub(crate) fn who(v6: bool, number: u8, port: u16) -> SocketAddr {
    let ip: IpAddr =
        if v6 { format!("2001:db8::{number:x}").parse().unwrap() } else { [192, 0, 2, number].into() };
    SocketAddr::new(ip, port)
}

/// A frame from one to another, with whole checksums.
pub(crate) fn frame(from: SocketAddr, to: SocketAddr, protocol: u8, flags: u8) -> Vec<u8> {
    let mut l4 = match protocol {
        TCP => tcp(from.port(), to.port(), flags),
        UDP => udp(from.port(), to.port()),
        _ => crate::support::packets::sctp(from.port(), to.port()),
    };
    if protocol != SCTP {
        let sum = transport_sum(from.ip(), to.ip(), protocol, &l4);
        let place = if protocol == TCP { 16 } else { 6 };
        l4[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    }
    Ip::new(from.ip(), to.ip(), protocol).frame(&l4)
}

/// The checksum of a transport's bytes: 0 where it is right already.
pub(crate) fn transport_sum(from: IpAddr, to: IpAddr, protocol: u8, l4: &[u8]) -> u16 {
    let mut all = Vec::new();
    for ip in [from, to] {
        match ip {
            IpAddr::V4(ip) => all.extend(ip.octets()),
            IpAddr::V6(ip) => all.extend(ip.octets()),
        }
    }
    all.extend(u32::try_from(l4.len()).unwrap().to_be_bytes());
    all.extend([0, 0, 0, protocol]);
    all.extend(l4);
    checksum(&all, 0)
}

/// Reads a frame, and holds every checksum in it to be right.
pub(crate) fn read(frame: &[u8]) -> Seen {
    let out = read_packet(&frame[14..]);
    let sum = match out.protocol {
        SCTP => 0,
        1 => checksum(&out.l4, 0),
        _ => transport_sum(out.from.ip(), out.to.ip(), out.protocol, &out.l4),
    };
    assert_eq!(sum, 0, "the checksum of {out:?}");
    out
}

/// The same without an Ethernet header, or of what an error quotes.
pub(crate) fn read_packet(packet: &[u8]) -> Seen {
    let v6 = packet[0] >> 4 == 6;
    let header = if v6 { 40 } else { 20 };
    let ip = |place: usize| -> IpAddr {
        if v6 {
            <[u8; 16]>::try_from(&packet[place..place + 16]).unwrap().into()
        } else {
            <[u8; 4]>::try_from(&packet[place..place + 4]).unwrap().into()
        }
    };
    if !v6 {
        assert_eq!(checksum(&packet[..20], 0), 0, "the checksum of an IPv4 header");
    }
    let (from, to, protocol) = if v6 { (ip(8), ip(24), packet[6]) } else { (ip(12), ip(16), packet[9]) };
    let l4 = packet[header..].to_vec();
    let port = |place: usize| match protocol {
        1 | 58 => 0,
        _ => u16::from_be_bytes([l4[place], l4[place + 1]]),
    };
    Seen { from: SocketAddr::new(from, port(0)), to: SocketAddr::new(to, port(2)), protocol, l4 }
}

impl Scene {
    /// A node whose addresses end with 1 (192.0.2.1, `2001:db8::1`). `None` where nothing can be run.
    pub(crate) fn new(fronts: &[Front]) -> Option<Self> {
        let machine = Machine::new(small(), &Settings::default())?;
        let services = machine.kernel.open_services(SMALLEST_SLOT * 2).unwrap();
        let programs = services.load_devices(&machine.kernel).unwrap();
        let own = |v6| who(v6, 1, 0).ip();
        let (IpAddr::V4(v4), IpAddr::V6(v6)) = (own(false), own(true)) else { panic!() };
        services.set_device(LOOPBACK, Some(v4), Some(v6)).unwrap();
        let out = Self { machine, services, programs };
        out.set(fronts);
        Some(out)
    }

    /// Other services, in the slot that decides.
    pub(crate) fn set(&self, fronts: &[Front]) {
        self.services.fill(0, &image(fronts, 1)).unwrap();
    }

    pub(crate) fn run(&self, hook: DeviceHook, frame: &[u8]) -> (i32, Vec<u8>) {
        self.programs.test_run(hook, true, frame, LOOPBACK).unwrap()
    }

    /// What becomes of a frame that comes in and goes on.
    pub(crate) fn comes(&self, frame: &[u8]) -> Seen {
        let (code, after) = self.run(DeviceHook::In, frame);
        assert_eq!(code, ON);
        read(&after)
    }

    /// What becomes of a frame that leaves.
    pub(crate) fn leaves(&self, frame: &[u8]) -> Seen {
        let (code, after) = self.run(DeviceHook::Out, frame);
        assert_eq!(code, ON);
        read(&after)
    }

    /// The answer to a frame that comes in and is refused.
    pub(crate) fn refused(&self, frame: &[u8]) -> Seen {
        let (code, after) = self.run(DeviceHook::In, frame);
        assert_eq!(code, BACK);
        assert_eq!(after[..12], [&frame[6..12], &frame[..6]].concat(), "Ethernet's addresses");
        read(&after)
    }

    /// The reason for which a frame that comes in is dropped.
    pub(crate) fn dropped(&self, hook: DeviceHook, frame: &[u8]) -> u8 {
        let count = || {
            let all = self.machine.kernel.drops().unwrap();
            all.into_iter().map(|(k, n)| (k.reason, n)).collect::<std::collections::BTreeMap<_, _>>()
        };
        let before = count();
        let (code, _) = self.run(hook, frame);
        assert_eq!(code, DROP);
        let more: Vec<u8> =
            count().into_iter().filter(|(k, n)| before.get(k) != Some(n)).map(|(k, _)| k).collect();
        assert_eq!(more.len(), 1, "{more:?}");
        more[0]
    }
}
