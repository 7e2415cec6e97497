//! What the tests of the programs share: a place to pin, packets, and policies put into the kernel.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

pub(crate) mod agent;
pub(crate) mod cgroup;
pub(crate) mod packets;
pub(crate) mod scene;
pub(crate) mod teller;

use portcullis_abi::maps::{AddressValue, EndpointValue};
use portcullis_agent::kernel::{self, Generation, Kernel, Program, Programs, Settings, Sizes};
use portcullis_agent::numbers::Registry;
use portcullis_ir::{Cluster, Direction, Flow, FlowPort, PeerRef, Reserved, Verdict};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use portcullis_tables::staged::{Numbers, stage};
use portcullis_tables::{Image, build};
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Index of the loopback interface, on which test runs take place.
pub(crate) const LOOPBACK: u32 = 1;
/// What programs return for a packet that passes, and for one that does not.
pub(crate) const PASS: i32 = -1;
pub(crate) const DROP: i32 = 2;

/// A folder for pins that goes away with the test.
pub(crate) struct Pins(pub(crate) PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A folder for pins, or why there is none here: then the test says so and does nothing. In CI that is a
/// failure.
pub(crate) fn pins() -> Option<Pins> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let root = Path::new("/sys/fs/bpf");
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = root.join(format!("portcullis-test-{}-{n}", std::process::id()));
    match kernel::prepare(root, &folder) {
        Ok(()) => Some(Pins(folder)),
        Err(e) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "the tests of the kernel's programs must run in CI: {e}"
            );
            eprintln!("not run, since it needs root and a bpf file system: {e}");
            None
        }
    }
}

/// Small maps, so that many tests fit beside each other.
pub(crate) fn small() -> Sizes {
    Sizes { slot: 1 << 18, addresses: 4096, prefixes: 4096, endpoints: 64, conntrack: 1024, events: 1 << 16 }
}

/// Maps and programs in a folder of their own.
pub(crate) struct Machine {
    pub(crate) kernel: Kernel,
    pub(crate) programs: Programs,
    pub(crate) pins: Pins,
}

impl Machine {
    pub(crate) fn new(sizes: Sizes, settings: &Settings) -> Option<Self> {
        let pins = pins()?;
        let kernel = Kernel::open(&pins.0, sizes).unwrap();
        let programs = kernel.load(settings).unwrap();
        Some(Self { kernel, programs, pins })
    }

    /// What becomes of a packet that a pod sends or that reaches it.
    pub(crate) fn run(&self, direction: Direction, packet: &[u8]) -> i32 {
        let program = match direction {
            Direction::Egress => Program::FromEndpoint,
            Direction::Ingress => Program::ToEndpoint,
        };
        self.programs.test_run(program, packet, LOOPBACK, 1).unwrap().0
    }

    pub(crate) fn forget_flows(&self) {
        for (key, _) in self.kernel.flows().unwrap() {
            self.kernel.remove_flow(&key).unwrap();
        }
    }
}

/// Policies of one cluster in a machine's kernel.
pub(crate) struct World<'w> {
    pub(crate) machine: &'w Machine,
    pub(crate) evaluation: Evaluation<'w>,
    cluster: &'w Cluster,
    numbers: Vec<Option<u32>>,
    next_port: u16,
}

/// The addresses that the test gives an endpoint.
pub(crate) fn pod_address(endpoint: u32, v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf00d, 0, 0, 0, 0, u16::try_from(endpoint).unwrap() + 1))
    } else {
        IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + endpoint))
    }
}

/// The address that the test gives a reserved identity.
pub(crate) fn reserved_address(r: Reserved, v6: bool) -> IpAddr {
    let n = r as u16;
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xbeef, 0, 0, 0, 0, n))
    } else {
        IpAddr::V4(Ipv4Addr::new(198, 19, 255, u8::try_from(n).unwrap()))
    }
}

fn address(end: &PeerRef, v6: bool) -> IpAddr {
    match end {
        PeerRef::Endpoint(id) => pod_address(id.0, v6),
        PeerRef::Reserved(r) => reserved_address(*r, v6),
        PeerRef::External { ip, .. } => *ip,
    }
}

impl<'w> World<'w> {
    /// Compiles, stages, flips, and binds every address that flows may ask for.
    pub(crate) fn new(
        machine: &'w Machine,
        input: Input<'w>,
        addresses: &[(IpAddr, Vec<SmolStr>)],
        generation: u64,
    ) -> Self {
        let kernel = &machine.kernel;
        let evaluation = Evaluation::new(&[input], addresses);
        let built = build(&evaluation, None, &|_| String::new()).unwrap();
        let image = Image::parse(&built.bytes).unwrap();
        let universe = &evaluation.universe;
        let mut registry = Registry::new(10_000, BTreeMap::new());
        let assigned = registry.assign(universe, input.cluster, |_, _| Ok::<_, NoNumbers>(())).unwrap();
        let groups = u32::try_from(universe.groups).unwrap();
        let numbers = Numbers {
            identities: assigned.of_node.clone(),
            identity_slots: assigned.slots,
            endpoints: (0..groups).map(Some).collect(),
            twins: Vec::new(),
        };
        let staged = stage(&image, &numbers, generation).unwrap();
        let slot = kernel.stage(Generation { image: &staged, prefixes: &assigned.prefixes }).unwrap();
        kernel.flip(slot).unwrap();
        for ip in kernel.addresses().unwrap().into_keys() {
            kernel.remove_address(ip).unwrap();
        }
        for (id, _) in input.cluster.endpoints() {
            let group = universe.group_of[0][id.0 as usize];
            let identity = assigned.of_node[group as usize].unwrap();
            for v6 in [false, true] {
                let value = AddressValue { identity, endpoint: group + 1 };
                kernel.set_address(pod_address(id.0, v6), value).unwrap();
            }
        }
        for r in Reserved::ALL {
            for v6 in [false, true] {
                let value = AddressValue { identity: r as u32, endpoint: 0 };
                kernel.set_address(reserved_address(r, v6), value).unwrap();
            }
        }
        Self { machine, evaluation, cluster: input.cluster, numbers: assigned.of_node, next_port: 20_000 }
    }

    /// What the kernel says of one side of a flow: `None` where the flow cannot be made a packet of.
    pub(crate) fn verdict(&mut self, flow: &Flow, direction: Direction) -> Option<Verdict> {
        let (subject, peer) = match direction {
            Direction::Egress => (&flow.from, &flow.to),
            Direction::Ingress => (&flow.to, &flow.from),
        };
        let PeerRef::Endpoint(subject) = subject else { return None };
        let external = [&flow.from, &flow.to].into_iter().find_map(|e| match e {
            PeerRef::External { ip, .. } => Some(ip.is_ipv6()),
            _ => None,
        });
        let v6 = match flow.port {
            FlowPort::Icmp(v6, _) => v6,
            _ => external.unwrap_or(false),
        };
        if external.is_some_and(|e| e != v6) {
            return None;
        }
        // A pod to itself never meets its own interface; what it would be told there is of no use.
        let universe = &self.evaluation.universe;
        let group = universe.group_of[0][subject.0 as usize];
        let kernel = &self.machine.kernel;
        let own = EndpointValue { number: group, identity: self.numbers[group as usize].unwrap() };
        kernel.set_endpoint(LOOPBACK, own).unwrap();
        // An address with names is its own identity, however the prefixes see it.
        let mut bound = None;
        if let PeerRef::External { ip, names } = peer
            && !names.is_empty()
        {
            let node = universe.find(0, peer)?;
            let identity = self.numbers[node.index()].unwrap();
            kernel.set_address(*ip, AddressValue { identity, endpoint: 0 }).unwrap();
            bound = Some(*ip);
        }
        self.next_port = self.next_port.wrapping_add(1).max(20_000);
        let (source, destination) = (address(&flow.from, v6), address(&flow.to, v6));
        let packet = packets::first(source, destination, flow.port, self.next_port);
        let done = self.machine.run(direction, &packet);
        self.machine.forget_flows();
        if let Some(ip) = bound {
            kernel.remove_address(ip).unwrap();
        }
        match done {
            PASS => Some(Verdict::Allowed),
            DROP => Some(Verdict::Denied),
            other => panic!("the program returned {other}"),
        }
    }
}

/// An error that does not happen.
#[derive(Debug)]
pub(crate) struct NoNumbers;

impl From<portcullis_agent::numbers::OutOfNumbers> for NoNumbers {
    fn from(_: portcullis_agent::numbers::OutOfNumbers) -> Self {
        Self
    }
}

/// Distinct addresses outside a cluster among ends of flows.
pub(crate) fn externals<'f>(ends: impl Iterator<Item = &'f PeerRef>) -> Vec<(IpAddr, Vec<SmolStr>)> {
    let all: BTreeSet<_> = ends
        .filter_map(|e| match e {
            PeerRef::External { ip, names } => Some((*ip, names.clone())),
            _ => None,
        })
        .collect();
    all.into_iter().collect()
}
