//! Services of the node: their image beside the policies of the same slot, and the programs at the devices to
//! the outside and at the sockets of its pods.

use crate::compile::Refused;
use crate::config::{Config, ServicesConfig};
use crate::kernel::{
    Attachment, DevicePrograms, Kernel, KernelError, Services, SocketPrograms, cgroup2, services_slot_size,
};
use crate::links::{addresses_by_link, default_routes, links};
use crate::node::pins;
use portcullis_abi::services::{LARGEST_SLOT, SMALLEST_SLOT};
use portcullis_services::image::set_generation;
use portcullis_services::{HealthCheck, NodeContext, Numbers, Settings, compile, resolve};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// See the module documentation.
#[derive(Debug)]
pub struct NodeServices {
    maps: Services,
    programs: DevicePrograms,
    sockets: SocketPrograms,
    numbers: Numbers,
    path: PathBuf,
    /// The next image, without a number.
    image: Vec<u8>,
    frontends: usize,
    health: Vec<HealthCheck>,
    /// Numbers of backends that are not in the next image any more.
    gone: BTreeSet<u32>,
    attached: BTreeMap<String, (u32, Attachment)>,
    /// The cgroup whose sockets are translated, and its number.
    cgroup: Option<(PathBuf, u64)>,
    fresh: bool,
}

/// The node's devices to the outside, and the addresses on which it answers.
struct Outside {
    devices: BTreeSet<String>,
    addresses: Vec<IpAddr>,
    by_link: BTreeMap<u32, BTreeSet<IpAddr>>,
}

impl Outside {
    fn look(config: &Config) -> io::Result<Self> {
        let wanted = config.services.clone().unwrap_or_default();
        let devices = if wanted.devices.is_empty() {
            default_routes()?
        } else {
            wanted.devices.iter().cloned().collect()
        };
        let by_link = addresses_by_link()?;
        let mut addresses = wanted.addresses;
        if addresses.is_empty() {
            let all = links()?;
            let of = |d: &String| all.get(d).and_then(|l| by_link.get(&l.index));
            let found: BTreeSet<IpAddr> = devices.iter().filter_map(of).flatten().copied().collect();
            addresses = found.into_iter().collect();
        }
        Ok(Self { devices, addresses, by_link })
    }

    /// The address that flows get which leave through a device: one of its own, else one of the node's.
    fn source(&self, ifindex: u32, v6: bool) -> Option<IpAddr> {
        let own = self.by_link.get(&ifindex).into_iter().flatten();
        own.chain(&self.addresses).find(|ip| ip.is_ipv6() == v6).copied()
    }
}

/// An address of each family; the function is asked for the later one with `true`.
fn by_family(of: impl Fn(bool) -> Option<IpAddr>) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let v4 = of(false).and_then(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None });
    let v6 = of(true).and_then(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None });
    (v4, v6)
}

impl NodeServices {
    /// Opens what an earlier agent left, or makes it.
    pub(super) fn open(kernel: &Kernel, config: &Config) -> Result<Self, KernelError> {
        let slot = services_slot_size(&pins(config)).unwrap_or(SMALLEST_SLOT * 4);
        let maps = kernel.open_services(slot)?;
        let programs = maps.load_devices(kernel)?;
        let sockets = maps.load_sockets(kernel)?;
        let path = config.state.join("service-numbers");
        let numbers = fs::read_to_string(&path).ok().and_then(|t| Numbers::from_text(&t)).unwrap_or_default();
        Ok(Self {
            maps,
            programs,
            sockets,
            numbers,
            path,
            image: Vec::new(),
            frontends: 0,
            health: Vec::new(),
            gone: BTreeSet::new(),
            attached: BTreeMap::new(),
            cgroup: None,
            fresh: true,
        })
    }

    /// Loads the programs again, over other maps of the policies.
    pub(super) fn reload(&mut self, kernel: &Kernel) -> Result<(), KernelError> {
        self.programs = self.maps.load_devices(kernel)?;
        self.sockets = self.maps.load_sockets(kernel)?;
        self.fresh = true;
        Ok(())
    }

    /// Makes the next image; whether it is another than that in the slot that decides.
    pub(super) fn prepare(
        &mut self,
        config: &Config,
        all: &portcullis_services::Services,
        slot: Option<u32>,
    ) -> Result<bool, Refused> {
        let outside = Outside::look(config).map_err(Refused::Interfaces)?;
        let wanted = config.services.clone().unwrap_or_default();
        let node = NodeContext {
            name: config.node.as_str().into(),
            zone: wanted.zone.as_deref().map(Into::into),
            addresses: outside.addresses,
        };
        let resolved = resolve(all, &node);
        let settings = Settings { maglev: wanted.maglev, ..Settings::default() };
        let made =
            compile(&resolved, &self.numbers, &settings).map_err(|e| Refused::Compile(e.to_string()))?;
        self.frontends = resolved.frontends.len();
        self.health = resolved.health_checks;
        self.image = made.image;
        self.gone.extend(made.gone.iter().map(|(_, number)| *number));
        if made.numbers != self.numbers {
            // Before anything is made with them: an agent that starts again must know them.
            let text = made.numbers.to_text();
            let beside = self.path.with_extension("new");
            fs::write(&beside, text).and_then(|()| fs::rename(&beside, &self.path)).map_err(|e| {
                Refused::Compile(format!("{} could not be written: {e}", self.path.display()))
            })?;
            self.numbers = made.numbers;
        }
        let live = slot.map(|s| self.maps.image(s)).transpose()?.flatten();
        let live = live.map(|mut l| {
            set_generation(&mut l, 0);
            l
        });
        Ok(live.as_ref() != Some(&self.image))
    }

    /// Puts the image into a slot that does not decide, beside its policies.
    pub(super) fn stage(&mut self, kernel: &Kernel, slot: u32, generation: u64) -> Result<(), KernelError> {
        if self.image.len() > self.maps.slot_size() as usize {
            self.grow(kernel)?;
        }
        let mut image = self.image.clone();
        set_generation(&mut image, generation);
        self.maps.fill(slot, &image)
    }

    /// Larger slots, in which what decides now is, too; and programs over them in the place of the others.
    fn grow(&mut self, kernel: &Kernel) -> Result<(), KernelError> {
        let need = self.image.len();
        let larger = u32::try_from(need.next_power_of_two()).unwrap_or(u32::MAX);
        if larger > LARGEST_SLOT {
            return Err(KernelError::TooLarge { need, slot: LARGEST_SLOT });
        }
        let maps = kernel.open_services(larger)?;
        if let Some(slot) = kernel.active()?
            && let Some(live) = self.maps.image(slot)?
        {
            maps.fill(slot, &live)?;
        }
        self.programs = maps.load_devices(kernel)?;
        self.sockets = maps.load_sockets(kernel)?;
        self.maps = maps;
        if let Some((path, _)) = &self.cgroup {
            self.sockets.attach(path)?;
        }
        for (name, (index, _)) in &self.attached {
            let ethernet = links().ok().and_then(|l| l.get(name).map(|l| l.ethernet)).unwrap_or(true);
            self.programs.attach(name, *index, ethernet)?;
        }
        Ok(())
    }

    /// What comes after a flip, and after a change of interfaces: programs at sockets and devices, and nothing
    /// left of backends that are gone.
    pub(super) fn settle(
        &mut self,
        kernel: &Kernel,
        config: &Config,
        problems: &mut Vec<String>,
    ) -> Result<(), Refused> {
        if !self.gone.is_empty() {
            self.maps.forget(&self.gone)?;
            self.gone.clear();
        }
        let wanted = config.services.clone().unwrap_or_default();
        if let Err(e) = self.attach_sockets(&wanted) {
            problems.push(format!("services are not translated at sockets: {e}"));
        }
        self.attach(kernel, config, problems)
    }

    /// Attaches to the cgroup of the node's processes, or detaches.
    fn attach_sockets(&mut self, wanted: &ServicesConfig) -> Result<(), KernelError> {
        if !wanted.sockets {
            self.cgroup = None;
            return self.sockets.detach();
        }
        let missing = || KernelError::Folder {
            path: "/proc/self/mounts".into(),
            source: io::Error::other(
                "cgroup2 is not mounted; `portcullis-agent preflight` says more, and `sockets: false` leaves them to others",
            ),
        };
        let path = wanted.cgroup.clone().or_else(cgroup2).ok_or_else(missing)?;
        let number = fs::metadata(&path).map(|m| m.ino()).ok();
        let known = self.cgroup.as_ref().is_some_and(|(p, n)| *p == path && Some(*n) == number);
        if !known || self.fresh {
            self.cgroup = None;
            let number = self.sockets.attach(&path)?;
            self.cgroup = Some((path, number));
        }
        Ok(())
    }

    /// Attaches to the devices to the outside, and detaches from those that are not any more.
    fn attach(
        &mut self,
        kernel: &Kernel,
        config: &Config,
        problems: &mut Vec<String>,
    ) -> Result<(), Refused> {
        let outside = Outside::look(config).map_err(Refused::Interfaces)?;
        let all = links().map_err(Refused::Interfaces)?;
        let (v4, v6) = by_family(|v6| outside.addresses.iter().find(|ip| ip.is_ipv6() == v6).copied());
        self.maps.set_node(v4, v6)?;
        let mut attached = BTreeMap::new();
        for name in &outside.devices {
            let Some(link) = all.get(name) else {
                problems.push(format!("services are not translated at {name}: there is no such device"));
                continue;
            };
            if kernel.endpoints()?.contains_key(&link.index) {
                problems.push(format!("services are not translated at {name}: it is a pod's"));
                continue;
            }
            let (v4, v6) = by_family(|v6| outside.source(link.index, v6));
            self.maps.set_device(link.index, v4, v6)?;
            let known = self.attached.get(name).filter(|(index, _)| *index == link.index && !self.fresh);
            let how = match known {
                Some((_, how)) => *how,
                None => self.programs.attach(name, link.index, link.ethernet)?,
            };
            attached.insert(name.clone(), (link.index, how));
        }
        let gone: Vec<u32> = self
            .attached
            .values()
            .map(|(index, _)| *index)
            .filter(|i| attached.values().all(|(index, _)| index != i))
            .collect();
        for index in gone {
            self.programs.detach(index)?;
            self.maps.remove_device(index)?;
        }
        if attached.is_empty() {
            problems.push(
                "services are not translated from outside: there is no device to the outside".to_owned(),
            );
        }
        self.attached = attached;
        self.fresh = false;
        Ok(())
    }

    /// The cgroup whose sockets are translated.
    pub fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_ref().map(|(path, _)| path.as_path())
    }

    /// Devices, and how the programs are attached there.
    pub fn devices(&self) -> impl Iterator<Item = (&str, Attachment)> {
        self.attached.iter().map(|(name, (_, how))| (name.as_str(), *how))
    }

    /// Addresses and ports that the node answers for.
    pub fn frontends(&self) -> usize {
        self.frontends
    }

    /// Ports on which load balancers ask for endpoints of this node.
    pub fn health_checks(&self) -> &[HealthCheck] {
        &self.health
    }
}
