//! A decision by the image, beside the same policies as a policy map in Cilium's layout, each less the look-up
//! of the peer's address that both begin with. Both must give the same verdicts before they are timed.

use crate::median;
use crate::world::{Pins, Slice, World};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use portcullis_abi::maps::AddressValue;
use portcullis_agent::kernel::{Generation, Kernel, Sizes, address_bytes};
use portcullis_bench::Shape;
use portcullis_ir::Direction;
use portcullis_sema::NodeId;
use portcullis_sema::policymap::key::PortKey;
use portcullis_sema::policymap::{Entry, Identity, PolicyMaps};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::NodeKind;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/bench.bpf.o");
/// `QUESTIONS` and `ASKED` of bpf/bench.c.
const QUESTIONS: u32 = 4096;
const ASKED: u32 = 16;
const REPEAT: u32 = 10_000;
const ROUNDS: usize = 21;
const PROGRAMS: [&str; 3] = ["bare_address", "decision", "lpm_two"];

struct Random(u64);

impl Random {
    /// Below `n`, by SplitMix64.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }

    fn of<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}

/// A trie's element: prefix length, identity, direction, protocol and port; rank and whether it allows.
type Element = (Key<[u8; 8]>, [u8; 8]);

/// One endpoint's policy map, as the trie's elements and as entries.
struct PolicyMap {
    entries: Vec<Entry>,
    elements: Vec<Element>,
}

impl PolicyMap {
    fn new(maps: &PolicyMaps<'_, '_>, group: NodeId, numbers: &[Option<u32>]) -> Self {
        let mut entries = Vec::new();
        maps.each_entry(group, |e| {
            entries.push(e);
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
        let mut ranks: BTreeMap<_, u32> = entries.iter().map(|e: &Entry| (e.precedence.clone(), 0)).collect();
        (0..).zip(ranks.values_mut()).for_each(|(n, rank)| *rank = n);
        let element = |e: &Entry| {
            let identity = match e.identity {
                Identity::Any(n) => u32::from(n),
                Identity::Of(id) => numbers[id.index()]?,
            };
            let mut key = [0; 8];
            key[..4].copy_from_slice(&identity.to_ne_bytes());
            key[4] = u8::from(e.direction == Direction::Egress);
            key[5] = e.key.protocol;
            key[6..].copy_from_slice(&e.key.port.to_be_bytes());
            let bits = if e.key.protocol == 0 { 40 } else { 48 + u32::from(e.key.bits) };
            let mut value = [0; 8];
            value[..4].copy_from_slice(&ranks[&e.precedence].to_ne_bytes());
            value[4] = u8::from(e.verdict() != "deny");
            Some((Key::new(bits, key), value))
        };
        let elements = entries.iter().filter_map(element).collect();
        Self { entries, elements }
    }
}

/// Where peers are: pods, and prefixes outside the cluster.
struct Peers {
    all: Vec<IpAddr>,
    of_node: BTreeMap<NodeId, IpAddr>,
}

impl Peers {
    /// Gives every pod an address and binds it.
    fn new(world: &World, e: &Evaluation<'_>, numbers: &[Option<u32>], kernel: &Kernel) -> Self {
        let mut out = Self { all: Vec::new(), of_node: BTreeMap::new() };
        let ids: Vec<NodeId> = e.universe.groups().map(|(id, _)| id).collect();
        for (endpoint, _) in world.cluster().endpoints() {
            let group = e.universe.group_of[0][endpoint.0 as usize] as usize;
            let ip = IpAddr::V4(Ipv4Addr::from(0x0a60_0000 + endpoint.0));
            kernel.set_address(ip, AddressValue { identity: numbers[group].unwrap(), endpoint: 0 }).unwrap();
            out.all.push(ip);
            out.of_node.insert(ids[group], ip);
        }
        let pods = out.all.len();
        for (id, node) in e.universe.iter() {
            // What has no prefix of its own is the world, of which a policy map has other numbers.
            if let NodeKind::Region(r) = node
                && r.prefix.prefix_len() > 0
            {
                out.of_node.insert(id, r.example);
            }
        }
        // One peer in four is outside.
        let outside: Vec<IpAddr> =
            out.of_node.iter().filter(|(id, _)| id.index() >= ids.len()).map(|(_, ip)| *ip).collect();
        out.all.extend(outside.iter().cycle().take(pods / 3).copied());
        out
    }
}

/// Questions about one endpoint: half of them about whom and what its policies name.
fn questions(endpoint: u32, map: &PolicyMap, peers: &Peers, random: &mut Random) -> Vec<[u8; 32]> {
    let make = |_| {
        let named = random.of(&map.entries);
        let own = match named.identity {
            Identity::Of(id) => peers.of_node.get(&id),
            Identity::Any(_) => None,
        };
        let ip = own.filter(|_| random.below(2) == 0).unwrap_or_else(|| random.of(&peers.all));
        let egress =
            if random.below(2) == 0 { named.direction == Direction::Egress } else { random.below(2) == 0 };
        let any = u16::try_from(random.below(65_535) + 1).unwrap();
        let (protocol, port) = match named.key {
            PortKey { protocol, port, bits } if protocol != 0 && random.below(2) == 0 => match protocol {
                6 | 17 | 132 => (protocol, port | any.checked_shr(bits.into()).unwrap_or(0)),
                1 | 58 => (protocol, port),
                _ => (protocol, 0),
            },
            _ => (6, any),
        };
        let mut out = [0; 32];
        out[..16].copy_from_slice(&address_bytes(*ip));
        out[16..20].copy_from_slice(&endpoint.to_ne_bytes());
        out[20..22].copy_from_slice(&port.to_ne_bytes());
        out[22] = protocol;
        out[23] = u8::from(egress);
        out[24] = if protocol == 58 { 6 } else { 4 };
        out
    };
    (0..QUESTIONS).map(make).collect()
}

/// The programs over the pinned maps, with questions and a policy map.
struct Bench(Ebpf);

impl Bench {
    fn load(
        pins: &Pins,
        kernel: &Kernel,
        slot: u32,
        keep: bool,
        in_turn: bool,
        questions: &[[u8; 32]],
        policy_map: &PolicyMap,
    ) -> Self {
        let (mask, keep, in_turn) = (kernel.slot_size() - 1, u32::from(keep), u32::from(in_turn));
        let maps = pins.maps();
        let mut loader = EbpfLoader::new();
        for (name, value) in
            [("image_mask", &mask), ("bare_slot", &slot), ("keep", &keep), ("in_turn", &in_turn)]
        {
            loader.override_global(name, value, true);
        }
        for (name, path) in &maps {
            loader.map_pin_path(name, path);
        }
        let mut object = loader.load(OBJECT).unwrap();
        for name in PROGRAMS {
            let program: &mut SchedClassifier = object.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
        }
        let mut asked: Array<&mut MapData, [u8; 32]> =
            object.map_mut("questions").unwrap().try_into().unwrap();
        (0..).zip(questions).for_each(|(n, q)| asked.set(n, *q, 0).unwrap());
        let mut trie: LpmTrie<&mut MapData, [u8; 8], [u8; 8]> =
            object.map_mut("policy_map").unwrap().try_into().unwrap();
        for (key, value) in &policy_map.elements {
            trie.insert(key, value, 0).unwrap();
        }
        Self(object)
    }

    /// Nanoseconds of one question.
    fn time(&self, program: &str, repeat: u32) -> f64 {
        let program: &SchedClassifier = self.0.program(program).unwrap().try_into().unwrap();
        let packet = [0u8; 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packet);
        options.repeat = repeat;
        program.test_run(options).unwrap().duration.as_nanos() as f64 / f64::from(ASKED)
    }

    /// The answers to all questions.
    fn answers(&self, program: &str) -> Vec<u32> {
        self.time(program, QUESTIONS / ASKED);
        let kept: Array<&MapData, u32> = self.0.map("answers").unwrap().try_into().unwrap();
        (0..QUESTIONS).map(|n| kept.get(&n, 0).unwrap()).collect()
    }
}

pub(crate) fn run() {
    println!("policies | image B | entries | allowed | | bare | decision | policy map | ratio");
    for policies in [10, 100, 1_000, 10_000] {
        let world = World::generated(&Shape::policies(policies));
        let e = Evaluation::new(&[world.input()], &[]);
        let groups = u32::try_from(e.universe.groups).unwrap();
        // 50 pods on one node, each of another label set.
        let slice: Vec<u32> = (0..groups).step_by((groups as usize / 50).max(1)).take(50).collect();
        let node = Slice::new(&world, &e, &slice);
        let image = node.staged();
        let sizes = Sizes {
            slot: u32::try_from(image.len().next_power_of_two().max(1 << 16)).unwrap(),
            ..Sizes::default()
        };
        let pins = Pins::new();
        let kernel = pins.kernel(sizes);
        let slot = kernel.stage(Generation { image: &image, prefixes: &node.assigned.prefixes }).unwrap();
        kernel.flip(slot).unwrap();
        let numbers = &node.assigned.of_node;
        let peers = Peers::new(&world, &e, numbers, &kernel);
        let maps = PolicyMaps::new(&e);
        let ids: Vec<NodeId> = e.universe.groups().map(|(id, _)| id).collect();
        let mut by_size: Vec<(usize, u32, NodeId)> =
            (0u32..).zip(&slice).map(|(n, g)| (maps.size(ids[*g as usize]), n, ids[*g as usize])).collect();
        by_size.sort_unstable();
        for (_, endpoint, group) in [by_size[by_size.len() / 2], by_size[by_size.len() - 1]] {
            let map = PolicyMap::new(&maps, group, numbers);
            let asked = questions(endpoint, &map, &peers, &mut Random(1));
            let check = Bench::load(&pins, &kernel, slot, true, true, &asked, &map);
            let (ours, theirs) = (check.answers("decision"), check.answers("lpm_two"));
            let differ = ours.iter().zip(&theirs).filter(|(o, t)| *o & 1 != **t).count();
            let allowed = ours.iter().filter(|w| *w & 1 == 1).count();
            if differ > 0 {
                println!("{differ} of {QUESTIONS} answers differ: the figures below compare two things");
            }
            for in_turn in [true, false] {
                let bench = Bench::load(&pins, &kernel, slot, false, in_turn, &asked, &map);
                let mut rounds = vec![Vec::new(); 4];
                for _ in 0..ROUNDS {
                    let [bare, decision, lpm] = PROGRAMS.map(|p| bench.time(p, REPEAT));
                    let (d, l) = (decision - bare, lpm - bare);
                    [bare, d, l, d / l].iter().zip(&mut rounds).for_each(|(v, to)| to.push(*v));
                }
                let [bare, decision, lpm, ratio] = [0, 1, 2, 3].map(|n| median(rounds[n].clone()));
                println!(
                    "{policies:>6} | {:>7} | {:>6} | {:>3.0} % | {} | {bare:>6.1} | {decision:>6.1} | {lpm:>7.1} | {ratio:.3}",
                    image.len(),
                    map.entries.len(),
                    allowed as f64 * 100.0 / f64::from(QUESTIONS),
                    if in_turn { "in turn   " } else { "overlapped" },
                );
            }
        }
    }
}
