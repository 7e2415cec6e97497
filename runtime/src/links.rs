//! Network interfaces, by way of netlink: which there are, what they are called, and when that changes.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::thread;

/// The groups that tell of interfaces and of addresses (`RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`,
/// `RTMGRP_IPV6_IFADDR`).
const GROUPS: u32 = 1 | 0x10 | 0x100;
/// The groups that tell of neighbours and routes (`RTMGRP_NEIGH`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_ROUTE`).
const PATHS: u32 = 4 | 0x40 | 0x400;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The index of its other end, for one of a pair.
    pub peer: Option<u32>,
    /// Whether its packets have Ethernet headers.
    pub ethernet: bool,
    /// What it can be to a pod.
    pub kind: LinkKind,
}

/// What an interface can be to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// The host's end of a pair (veth, netkit), the other of which a pod may have.
    Pod,
    /// A bridge, whose ports they may be.
    Bridge,
    /// Anything else.
    Other,
}

/// Every interface of this network namespace, by name.
pub fn links() -> io::Result<BTreeMap<String, Link>> {
    let mut out = BTreeMap::new();
    dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
        if let RouteNetlinkMessage::NewLink(m) = message
            && let Some(link) = link(&m)
        {
            out.insert(link.name.clone(), link);
        }
    })?;
    Ok(out)
}

/// Every address of this network namespace.
pub fn addresses() -> io::Result<BTreeSet<IpAddr>> {
    let mut out = BTreeSet::new();
    dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
        if let RouteNetlinkMessage::NewAddress(m) = message {
            out.extend(m.attributes.iter().filter_map(|a| match a {
                AddressAttribute::Local(ip) | AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            }));
        }
    })?;
    out.retain(|ip| !ip.is_loopback());
    Ok(out)
}

/// Addresses of this network namespace by interface, without those that are only good on their link.
pub fn addresses_by_link() -> io::Result<BTreeMap<u32, BTreeSet<IpAddr>>> {
    let mut out: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
    dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
        if let RouteNetlinkMessage::NewAddress(m) = message {
            let local = |a: &AddressAttribute| match a {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            };
            let any = |a: &AddressAttribute| match a {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            };
            // Where both are given, the other is who is at the far end.
            let ip = m.attributes.iter().find_map(local).or_else(|| m.attributes.iter().find_map(any));
            let near = |ip: &IpAddr| match ip {
                IpAddr::V4(ip) => ip.is_link_local() || ip.is_loopback(),
                IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_loopback(),
            };
            if let Some(ip) = ip.filter(|ip| !near(ip)) {
                out.entry(m.header.index).or_default().insert(ip);
            }
        }
    })?;
    Ok(out)
}

/// Names of the interfaces that a default route of this network namespace leaves through.
pub fn default_routes() -> io::Result<BTreeSet<String>> {
    let mut out = BTreeSet::new();
    let text = std::fs::read_to_string("/proc/thread-self/net/route")?;
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [name, "00000000", _, _, _, _, _, "00000000", ..] = fields.as_slice() {
            out.insert((*name).to_owned());
        }
    }
    // Without IPv6 there is no such file.
    let text = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [to, "00", .., name] = fields.as_slice()
            && to.bytes().all(|b| b == b'0')
            && *name != "lo"
        {
            out.insert((*name).to_owned());
        }
    }
    Ok(out)
}

/// The index, on the host's side, of the interface whose other end is `interface` of a named namespace
/// (`ip netns`), or of one at a path.
pub fn host_side_of(namespace: &str, interface: &str) -> io::Result<u32> {
    let path = if namespace.contains('/') {
        Path::new(namespace).to_owned()
    } else {
        Path::new("/run/netns").join(namespace)
    };
    let file = File::open(path)?;
    let wanted = interface.to_owned();
    // A thread of its own: a namespace is entered by one thread, and left by its end.
    let inside = thread::spawn(move || {
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )?;
        links()
    });
    let inside = inside.join().map_err(|_| io::Error::other("a namespace could not be looked into"))??;
    let link = inside.get(&wanted).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {wanted} in it"))
    })?;
    link.peer.ok_or_else(|| io::Error::other(format!("{wanted} is not one end of a pair")))
}

/// A place among the filters of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterPlace {
    /// The interface.
    pub index: u32,
    /// The hook: [`FilterPlace::TAKES_IN`] or [`FilterPlace::LEAVES`].
    pub parent: (u16, u16),
    /// Lower ones come first.
    pub priority: u16,
    /// Which of those with one priority.
    pub handle: (u16, u16),
}

impl FilterPlace {
    /// Filters of what an interface takes in, in the queueing discipline clsact.
    pub const TAKES_IN: (u16, u16) = (0xffff, 0xfff2);
    /// Filters of what leaves through it.
    pub const LEAVES: (u16, u16) = (0xffff, 0xfff3);
}

/// The name of the bpf filter at a place; `None` where there is none.
pub fn filter_at(place: FilterPlace) -> io::Result<Option<String>> {
    let handle = |(major, minor)| TcHandle { major, minor };
    let mut request = TcMessage::default();
    request.header.index = i32::try_from(place.index).map_err(io::Error::other)?;
    request.header.parent = handle(place.parent);
    let mut out = None;
    dump(RouteNetlinkMessage::GetTrafficFilter(request), |message| {
        if let RouteNetlinkMessage::NewTrafficFilter(m) = message
            && m.header.handle == handle(place.handle)
            && m.header.info >> 16 == u32::from(place.priority)
        {
            let options = m.attributes.iter().filter_map(|a| match a {
                TcAttribute::Options(options) => Some(options),
                _ => None,
            });
            out = options.flatten().find_map(|o| match o {
                TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.clone()),
                _ => None,
            });
        }
    })?;
    Ok(out)
}

/// Tells of changes of interfaces and addresses, or of neighbours and routes.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

impl Monitor {
    /// Listens from now on.
    pub fn new() -> io::Result<Self> {
        Self::of(GROUPS)
    }

    /// The same for neighbours and routes.
    pub fn of_paths() -> io::Result<Self> {
        Self::of(PATHS)
    }

    fn of(groups: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, groups))?;
        Ok(Self { socket })
    }

    /// Waits for a change. That there were more than the socket could hold is a change, too.
    pub fn wait(&self) -> io::Result<()> {
        match self.socket.recv_from_full() {
            Ok(_) => Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

fn link(m: &LinkMessage) -> Option<Link> {
    let mut name = None;
    let mut peer = None;
    let mut kind = LinkKind::Other;
    for a in &m.attributes {
        match a {
            LinkAttribute::LinkInfo(all) => {
                for info in all {
                    match info {
                        LinkInfo::Kind(InfoKind::Veth | InfoKind::Netkit) => kind = LinkKind::Pod,
                        LinkInfo::Kind(InfoKind::Bridge) => kind = LinkKind::Bridge,
                        _ => {}
                    }
                }
            }
            LinkAttribute::IfName(n) => name = Some(n.clone()),
            LinkAttribute::Link(n) if *n != m.header.index => peer = Some(*n),
            _ => {}
        }
    }
    let ethernet = matches!(m.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback);
    Some(Link { index: m.header.index, name: name?, peer, ethernet, kind })
}

fn dump(what: RouteNetlinkMessage, each: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
    dump_with(what, false, each)
}

/// The same, but for messages of forms that the library does not know: there are many kinds of routes.
pub(crate) fn dump_what_can_be_read(
    what: RouteNetlinkMessage,
    each: impl FnMut(RouteNetlinkMessage),
) -> io::Result<()> {
    dump_with(what, true, each)
}

fn dump_with(
    what: RouteNetlinkMessage,
    skip: bool,
    mut each: impl FnMut(RouteNetlinkMessage),
) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(what));
    request.header.flags = NLM_F_DUMP | NLM_F_REQUEST;
    request.header.sequence_number = 1;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let length = rest.first_chunk().map_or(0, |b| u32::from_ne_bytes(*b) as usize);
            if length == 0 {
                return Err(io::Error::other("an empty netlink message"));
            }
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map(|m| m.payload) {
                Ok(NetlinkPayload::Done(_)) => return Ok(()),
                Ok(NetlinkPayload::Error(e)) => return Err(e.to_io()),
                Ok(NetlinkPayload::InnerMessage(m)) => each(m),
                Ok(_) => {}
                Err(_) if skip => {}
                Err(e) => return Err(io::Error::other(e)),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
    }
}
