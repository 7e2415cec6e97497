//! One pod, `web`, behind the loopback interface, and others that it speaks with; what its policies let
//! through and why the rest is dropped.

use super::{DROP, LOOPBACK, Machine, PASS, packets, pod_address};
use portcullis_abi::maps::{AddressValue, EGRESS, EndpointValue, Event, FlowValue, INGRESS};
use portcullis_abi::{Section, header};
use portcullis_agent::kernel::{Events, Generation, Program, Settings, Sizes};
use portcullis_agent::numbers::Registry;
use portcullis_diag::SourceMap;
use portcullis_sema::side::Evaluation;
use portcullis_snapshot_tests::side::{Side, Source};
use portcullis_tables::staged::{Numbers, stage};
use portcullis_tables::{Image, build};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the programs made of a packet: it passed, or the `DROP_` code.
pub(crate) type Outcome = Result<(), u8>;
pub(crate) const PASSES: Outcome = Ok(());

/// `web` is the pod behind the interface; the policies say what the others may.
const CLUSTER: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
";
const PODS: [&str; 7] = ["web", "db", "all", "none", "ping", "out", "in"];

/// `db` one port of each transport, `all` everything, `ping` echo requests, each in both directions; `out`
/// is only reached, `in` only reaches, and `none` neither.
pub(crate) const POLICY: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: db}}]
      toPorts: [{ports: [{port: '80', protocol: TCP}, {port: '53', protocol: UDP}, {port: '5000', protocol: SCTP}]}]
    - fromEndpoints: [{matchLabels: {app: all}}, {matchLabels: {app: in}}]
    - fromEndpoints: [{matchLabels: {app: ping}}]
      icmps: [{fields: [{type: 8, family: IPv4}, {type: 128, family: IPv6}]}]
  egress:
    - toEndpoints: [{matchLabels: {app: db}}]
      toPorts: [{ports: [{port: '80', protocol: TCP}, {port: '53', protocol: UDP}, {port: '5000', protocol: SCTP}]}]
    - toEndpoints: [{matchLabels: {app: all}}, {matchLabels: {app: out}}]
    - toEndpoints: [{matchLabels: {app: ping}}]
      icmps: [{fields: [{type: 8, family: IPv4}, {type: 128, family: IPv6}]}]
";

/// Nobody may anything.
pub(crate) const NOTHING: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress: [{fromEndpoints: [{matchLabels: {app: nobody}}]}]
  egress: [{toEndpoints: [{matchLabels: {app: nobody}}]}]
";

/// The same at both ends of `web` as a test needs it: every flow is reported.
pub(crate) fn reporting() -> Settings {
    Settings { report_allowed: true, ..Settings::default() }
}

fn cluster() -> String {
    let pod = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n\
             spec: {{containers: [{{name: c, image: x}}]}}\n"
        )
    };
    PODS.iter().map(|name| pod(name)).fold(CLUSTER.to_owned(), |a, b| a + &b)
}

/// Policies of the cluster above, read.
pub(crate) fn side(policies: &str) -> Side {
    let side = Side::new(
        &mut SourceMap::new(),
        &[Source::new("c.yaml", cluster())],
        &[Source::new("p.yaml", policies)],
    );
    assert!(side.diagnostics.is_empty(), "{:?}", side.diagnostics);
    side
}

/// A generation as the kernel takes it.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    pub(crate) image: Vec<u8>,
    pub(crate) prefixes: Vec<(ipnet::IpNet, u32)>,
    /// Identity and endpoint number by name.
    pub(crate) pods: BTreeMap<String, (u32, u32)>,
}

impl Staged {
    pub(crate) fn new(side: &Side, generation: u64) -> Self {
        let evaluation = Evaluation::new(&[side.input()], &[]);
        let built = build(&evaluation, None, &|_| String::new()).unwrap();
        let universe = &evaluation.universe;
        let mut registry = Registry::new(10_000, BTreeMap::new());
        let assigned =
            registry.assign(universe, &side.cluster, |_, _| Ok::<_, super::NoNumbers>(())).unwrap();
        let groups = u32::try_from(universe.groups).unwrap();
        let numbers = Numbers {
            identities: assigned.of_node.clone(),
            identity_slots: assigned.slots,
            endpoints: (0..groups).map(Some).collect(),
            twins: Vec::new(),
        };
        let image = stage(&Image::parse(&built.bytes).unwrap(), &numbers, generation).unwrap();
        let pods = side.cluster.endpoints().map(|(id, e)| {
            let group = universe.group_of[0][id.0 as usize];
            (e.name.to_string(), (assigned.of_node[group as usize].unwrap(), group))
        });
        Self { image, prefixes: assigned.prefixes, pods: pods.collect() }
    }

    /// Changes verdict words in place.
    pub(crate) fn edit_words(&mut self, edit: impl Fn(u32) -> u32) {
        let field = |at: usize| u32::from_le_bytes(self.image[at..at + 4].try_into().unwrap()) as usize;
        let place = header::SECTIONS + Section::Words as usize * 8;
        let (offset, len) = (field(place), field(place + 4));
        for word in self.image[offset..offset + len].chunks_exact_mut(4) {
            let new = edit(u32::from_le_bytes((&*word).try_into().unwrap()));
            word.copy_from_slice(&new.to_le_bytes());
        }
    }
}

/// The pod, its policies, and what the programs said since the last look.
pub(crate) struct Scene {
    pub(crate) machine: Machine,
    events: RefCell<Events>,
    generation: Cell<u64>,
    pub(crate) pods: BTreeMap<String, (u32, u32)>,
}

impl Scene {
    /// The policies above. `None` where nothing can be run, which `pins` says.
    pub(crate) fn new() -> Option<Self> {
        Self::with(super::small(), &reporting())
    }

    pub(crate) fn with(sizes: Sizes, settings: &Settings) -> Option<Self> {
        let machine = Machine::new(sizes, settings)?;
        let events = RefCell::new(machine.kernel.events().unwrap());
        let mut scene = Self { machine, events, generation: Cell::new(0), pods: BTreeMap::new() };
        scene.pods = scene.flip(POLICY).pods;
        scene.bind();
        Some(scene)
    }

    /// Addresses and the interface.
    fn bind(&self) {
        let kernel = &self.machine.kernel;
        for name in PODS {
            let (identity, group) = self.pods[name];
            for v6 in [false, true] {
                let value = AddressValue { identity, endpoint: group + 1 };
                kernel.set_address(self.address(name, v6), value).unwrap();
            }
        }
        let (identity, number) = self.pods["web"];
        kernel.set_endpoint(LOOPBACK, EndpointValue { number, identity }).unwrap();
    }

    /// Other policies, from now on.
    pub(crate) fn flip(&self, policies: &str) -> Staged {
        self.flip_with(policies, |_| {})
    }

    /// The same after a change of what was compiled.
    pub(crate) fn flip_with(&self, policies: &str, edit: impl FnOnce(&mut Staged)) -> Staged {
        self.generation.set(self.generation.get() + 1);
        let mut staged = Staged::new(&side(policies), self.generation.get());
        edit(&mut staged);
        let kernel = &self.machine.kernel;
        let slot = kernel.stage(Generation { image: &staged.image, prefixes: &staged.prefixes }).unwrap();
        kernel.flip(slot).unwrap();
        staged
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    pub(crate) fn address(&self, name: &str, v6: bool) -> IpAddr {
        pod_address(self.pods[name].1, v6)
    }

    /// An IPv4 header between two pods.
    pub(crate) fn v4(&self, from: &str, to: &str, protocol: u8) -> packets::Ip {
        packets::Ip::new(self.address(from, false), self.address(to, false), protocol)
    }

    /// An IPv6 header between two pods.
    pub(crate) fn v6(&self, from: &str, to: &str, protocol: u8) -> packets::Ip {
        packets::Ip::new(self.address(from, true), self.address(to, true), protocol)
    }

    /// A TCP segment over IPv4.
    pub(crate) fn tcp(&self, from: &str, to: &str, (source, destination): (u16, u16), flags: u8) -> Vec<u8> {
        self.v4(from, to, 6).frame(&packets::tcp(source, destination, flags))
    }

    /// A UDP datagram over IPv4.
    pub(crate) fn udp(&self, from: &str, to: &str, (source, destination): (u16, u16)) -> Vec<u8> {
        self.v4(from, to, 17).frame(&packets::udp(source, destination))
    }

    /// What becomes of a frame that the pod sends.
    pub(crate) fn sends(&self, frame: &[u8]) -> Outcome {
        self.run(Program::FromEndpoint, frame)
    }

    /// What becomes of a frame that comes to the pod.
    pub(crate) fn gets(&self, frame: &[u8]) -> Outcome {
        self.run(Program::ToEndpoint, frame)
    }

    pub(crate) fn run(&self, program: Program, frame: &[u8]) -> Outcome {
        self.run_on(program, frame, LOOPBACK)
    }

    /// Runs a program, and finds the one place where a drop was counted.
    pub(crate) fn run_on(&self, program: Program, frame: &[u8], ifindex: u32) -> Outcome {
        let direction = match program {
            Program::FromEndpoint | Program::FromEndpointL3 => EGRESS,
            Program::ToEndpoint | Program::ToEndpointL3 => INGRESS,
        };
        let before = self.drops();
        let code = self.machine.programs.test_run(program, frame, ifindex, 1).unwrap().0;
        let more: Vec<_> = self
            .drops()
            .into_iter()
            .map(|(key, n)| (key, n - before.get(&key).copied().unwrap_or(0)))
            .filter(|(_, n)| *n > 0)
            .collect();
        match (code, more.as_slice()) {
            (PASS, []) => PASSES,
            (DROP, [((_, _, reason, at), 1)]) => {
                assert_eq!(*at, direction, "the direction of a drop");
                Err(*reason)
            }
            other => panic!("the program returned and counted {other:?}"),
        }
    }

    /// Drops by generation, cause, reason and direction.
    pub(crate) fn drops(&self) -> BTreeMap<(u64, u32, u8, u8), u64> {
        let all = self.machine.kernel.drops().unwrap();
        all.into_iter().map(|(k, n)| ((k.generation, k.cause, k.reason, k.direction), n)).collect()
    }

    /// A counter of `portcullis_abi::maps::counter`.
    pub(crate) fn count(&self, which: u32) -> u64 {
        self.machine.kernel.counters().unwrap()[which as usize]
    }

    /// Events since the last call.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut out = Vec::new();
        self.events.borrow_mut().drain(&mut |e| out.push(*e));
        out
    }

    /// The only tracked flow.
    pub(crate) fn flow(&self) -> FlowValue {
        let flows = self.machine.kernel.flows().unwrap();
        assert_eq!(flows.len(), 1, "{flows:?}");
        flows[0].1
    }
}
