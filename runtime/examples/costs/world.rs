//! Policies and a cluster, and what becomes of them in a kernel.

use portcullis_agent::kernel::{self, Kernel, Sizes};
use portcullis_agent::numbers::{Assigned, OutOfNumbers, Registry};
use portcullis_bench::{Shape, generate};
use portcullis_diag::FileId;
use portcullis_ir::cluster::Facts;
use portcullis_ir::{Cluster, Options, PolicySet, lower};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use portcullis_tables::staged::{Numbers, stage};
use portcullis_tables::{Image, build};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Policies over a cluster.
pub(crate) struct World {
    cluster: Cluster,
    policies: PolicySet,
    options: Options,
}

impl World {
    pub(crate) fn new(cluster: &str, policies: &[(String, String)]) -> Self {
        let options = Options::default();
        let mut facts = Facts::default();
        portcullis_front::parse_in_batches(FileId(0), "cluster.yaml", cluster, &mut |part| {
            part.objects.iter().for_each(|o| facts.add(o));
        });
        let objects: Vec<_> =
            policies.iter().flat_map(|(n, t)| portcullis_front::parse(FileId(0), n, t).objects).collect();
        let cluster = Cluster::from_facts(&[&facts], &options);
        let policies = lower::lower(&objects, &cluster, &options);
        Self { cluster, policies, options }
    }

    /// As `portcullis-bench generate` makes them.
    pub(crate) fn generated(shape: &Shape) -> Self {
        let made = generate(shape);
        Self::new(&made.cluster, &made.policies)
    }

    pub(crate) fn input(&self) -> Input<'_> {
        Input { policies: &self.policies, cluster: &self.cluster, options: &self.options }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

/// A node's slice: its image and numbers.
pub(crate) struct Slice {
    image: Vec<u8>,
    numbers: Numbers,
    pub(crate) assigned: Assigned,
}

impl Slice {
    /// The slice of some groups. They are the node's endpoints, numbered in this order.
    pub(crate) fn new(world: &World, e: &Evaluation<'_>, groups: &[u32]) -> Self {
        let mut wanted = fixedbitset::FixedBitSet::with_capacity(e.universe.groups);
        wanted.extend(groups.iter().map(|g| *g as usize));
        let image = build(e, Some(&wanted), &|_| String::new()).unwrap().bytes;
        let mut registry = Registry::new(60_000, BTreeMap::new());
        let assigned =
            registry.assign(&e.universe, world.cluster(), |_, _| Ok::<_, OutOfNumbers>(())).unwrap();
        let numbers = Numbers {
            identities: assigned.of_node.clone(),
            identity_slots: assigned.slots,
            endpoints: groups.iter().copied().map(Some).collect(),
            twins: Vec::new(),
        };
        Self { image, numbers, assigned }
    }

    /// The bytes for a slot.
    pub(crate) fn staged(&self) -> Vec<u8> {
        stage(&Image::parse(&self.image).unwrap(), &self.numbers, 1).unwrap()
    }

    /// The same with room for so many more identities that it has about so many bytes.
    pub(crate) fn staged_with(&self, bytes: usize) -> Vec<u8> {
        let room = bytes.saturating_sub(self.staged().len() + 64) / 2;
        let mut numbers = self.numbers.clone();
        numbers.identity_slots += u32::try_from(room).unwrap();
        stage(&Image::parse(&self.image).unwrap(), &numbers, 1).unwrap()
    }
}

/// A folder for pins that goes away.
pub(crate) struct Pins(PathBuf);

impl Pins {
    pub(crate) fn new() -> Self {
        let root = Path::new("/sys/fs/bpf");
        let folder = root.join(format!("portcullis-costs-{}", std::process::id()));
        kernel::prepare(root, &folder).unwrap();
        Self(folder)
    }

    pub(crate) fn kernel(&self, sizes: Sizes) -> Kernel {
        Kernel::open(&self.0, sizes).unwrap()
    }

    /// Every pinned map, by name.
    pub(crate) fn maps(&self) -> Vec<(String, PathBuf)> {
        let inside = |folder: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect()
        };
        let files = inside(&self.0).into_iter().flat_map(|folder| inside(&folder));
        files.map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), p)).collect()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
