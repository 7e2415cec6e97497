//! Services at the node's devices: the maps that hold their images and flows, and the programs of
//! bpf/service_device.c.

use super::maps::{self, Map, OF_PROGRAMS, path_of, size};
use super::programs::{Attachment, Hook, chain, failed, load, put, remove_filters, unpin};
use super::slots::{address_bytes, inner};
use super::sys::{self, MapSpec, Mapped, map_type};
use super::{Kernel, KernelError};
use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use portcullis_abi::maps::{FlowKey, SLOTS};
use portcullis_abi::services::{
    HEADER_SIZE, MAGIC, SOCKET_FORWARD, ServiceChoice, ServiceClient, ServiceDevice, ServiceFlow, SocketKey,
    SocketPeer, header,
};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// The object, compiled from bpf/service_device.c by scripts/bpf.sh.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/service_device.bpf.o");

/// Names of its programs.
pub(super) const DEVICE_PROGRAMS: [&str; 4] =
    ["service_in", "service_out", "service_in_l3", "service_out_l3"];

/// Its maps beside those of the policy programs.
const MAPS: [&str; 4] = ["services", "service_flows", "service_clients", "service_devices"];

/// Devices.
const DEVICES: u32 = 256;

/// The maps of services.
#[derive(Debug)]
pub struct Services {
    images: Map,
    flows: Map,
    clients: Map,
    sockets: Map,
    devices: Map,
    slot: u32,
}

impl Kernel {
    /// Opens the maps of services, and makes those that are not there, with slots of so many bytes: a power of
    /// two. There is room for as many translated flows' entries, two or four each, as for tracked flows.
    pub fn open_services(&self, slot: u32) -> Result<Services, KernelError> {
        let folder = &self.folder;
        let made = folder.join(format!("services-{slot}"));
        fs::create_dir_all(&made).map_err(|source| KernelError::Folder { path: made, source })?;
        let spec = |name, map_type, key_size, value_size, max_entries, flags| MapSpec {
            name,
            map_type,
            key_size,
            value_size,
            max_entries,
            flags,
        };
        let outer = spec("services", map_type::ARRAY_OF_MAPS, 4, 4, SLOTS, 0);
        let lru = map_type::LRU_HASH;
        let flows = spec(
            "service_flows",
            lru,
            size::<{ FlowKey::SIZE }>(),
            size::<{ ServiceFlow::SIZE }>(),
            self.sizes.conntrack,
            0,
        );
        let clients = spec(
            "service_clients",
            lru,
            size::<{ ServiceClient::SIZE }>(),
            size::<{ ServiceChoice::SIZE }>(),
            (self.sizes.conntrack / 4).max(1024),
            0,
        );
        let devices =
            spec("service_devices", map_type::HASH, 4, size::<{ ServiceDevice::SIZE }>(), DEVICES, 0);
        let sockets = spec(
            "service_sockets",
            lru,
            size::<{ SocketKey::SIZE }>(),
            size::<{ SocketPeer::SIZE }>(),
            self.sizes.conntrack,
            0,
        );
        Ok(Services {
            images: maps::open(folder, slot, &outer, Some(&image_spec(slot)))?,
            flows: maps::open(folder, slot, &flows, None)?,
            clients: maps::open(folder, slot, &clients, None)?,
            sockets: maps::open(folder, slot, &sockets, None)?,
            devices: maps::open(folder, slot, &devices, None)?,
            slot,
        })
    }
}

fn image_spec(slot: u32) -> MapSpec<'static> {
    MapSpec { name: "service_image", ..maps::image_spec(slot) }
}

impl Services {
    /// Puts an image into a slot, as a new map: beside the policies of the same slot, before the flip.
    pub fn fill(&self, slot: u32, image: &[u8]) -> Result<(), KernelError> {
        if image.len() > self.slot as usize {
            return Err(KernelError::TooLarge { need: image.len(), slot: self.slot });
        }
        let wrong = |what| KernelError::map("service_image", "filled", io::Error::other(what));
        if !image.starts_with(&MAGIC) {
            return Err(wrong("these bytes are no service image"));
        }
        let io = |what| move |e| KernelError::map("service_image", what, e);
        let map = sys::create(&image_spec(self.slot), None).map_err(io("made"))?;
        Mapped::new(&map, self.slot as usize).and_then(|mut m| m.fill(image)).map_err(io("filled"))?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&map);
        let fd = u32::try_from(fd).map_err(|_| wrong("a descriptor that is none"))?;
        self.images.set(&slot.to_ne_bytes(), &fd.to_ne_bytes())
    }

    /// Bytes that an image may have.
    pub fn slot_size(&self) -> u32 {
        self.slot
    }

    /// The image in a slot, as far as its header says it goes.
    pub fn image(&self, slot: u32) -> Result<Option<Vec<u8>>, KernelError> {
        let Some(map) = inner(&self.images, slot)? else { return Ok(None) };
        let io = |e| KernelError::map("service_image", "read", e);
        let mapped = Mapped::new(&map, self.slot as usize).map_err(io)?;
        let head = mapped.copy(HEADER_SIZE);
        let size = head.get(header::SIZE..).and_then(|r| r.first_chunk()).map(|b| u32::from_le_bytes(*b));
        Ok(Some(mapped.copy(size.unwrap_or_default() as usize)))
    }

    /// Every translated flow.
    pub fn flows(&self) -> Result<Vec<(FlowKey, ServiceFlow)>, KernelError> {
        let read =
            |(k, v): (Vec<u8>, Vec<u8>)| Some((FlowKey::from_bytes(&k)?, ServiceFlow::from_bytes(&v)?));
        Ok(self.flows.entries()?.into_iter().filter_map(read).collect())
    }

    /// Forgets a translated flow; whether it was there.
    pub fn remove_flow(&self, key: &FlowKey) -> Result<bool, KernelError> {
        self.flows.remove(&key.to_bytes())
    }

    /// Forgets what was said to backends that are gone, by their numbers: datagrams' flows and sockets, and
    /// clients that keep their backend. Connections end as their backend does. How much was forgotten.
    pub fn forget(&self, gone: &BTreeSet<u32>) -> Result<usize, KernelError> {
        const UDP: u8 = 17;
        let mut forgotten = 0;
        for (key, flow) in self.flows()? {
            if key.protocol == UDP && gone.contains(&flow.backend) && self.remove_flow(&key)? {
                forgotten += 1;
            }
        }
        for (key, peer) in self.sockets.entries()? {
            let forward = SocketKey::from_bytes(&key).is_some_and(|k| k.way == SOCKET_FORWARD);
            let backend = SocketPeer::from_bytes(&peer).map(|p| p.backend);
            // The way back stays: what a backend said before it went may still be under way.
            if forward && backend.is_some_and(|b| gone.contains(&b)) && self.sockets.remove(&key)? {
                forgotten += 1;
            }
        }
        for (key, choice) in self.clients.entries()? {
            let backend = ServiceChoice::from_bytes(&choice).map(|c| c.backend);
            if backend.is_some_and(|b| gone.contains(&b)) && self.clients.remove(&key)? {
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// Says which addresses of the node's the flows get that leave through an interface.
    pub fn set_device(
        &self,
        ifindex: u32,
        v4: Option<Ipv4Addr>,
        v6: Option<Ipv6Addr>,
    ) -> Result<(), KernelError> {
        let bytes = |ip: Option<IpAddr>| ip.map(address_bytes).unwrap_or_default();
        let value = ServiceDevice { v4: bytes(v4.map(IpAddr::V4)), v6: bytes(v6.map(IpAddr::V6)) };
        self.devices.set(&ifindex.to_ne_bytes(), &value.to_bytes())
    }

    /// Says where node ports answer, for who would bind to one.
    pub fn set_node(&self, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Result<(), KernelError> {
        self.set_device(0, v4, v6)
    }

    /// Forgets an interface; whether it was there.
    pub fn remove_device(&self, ifindex: u32) -> Result<bool, KernelError> {
        self.devices.remove(&ifindex.to_ne_bytes())
    }
}

/// Where a program of services runs, seen from the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceHook {
    /// What a device takes in.
    In,
    /// What leaves through it.
    Out,
}

impl DeviceHook {
    const BOTH: [Self; 2] = [Self::In, Self::Out];

    const fn hook(self) -> Hook {
        match self {
            Self::In => Hook::FromPod,
            Self::Out => Hook::ToPod,
        }
    }

    const fn program(self, ethernet: bool) -> &'static str {
        match (self, ethernet) {
            (Self::In, true) => "service_in",
            (Self::Out, true) => "service_out",
            (Self::In, false) => "service_in_l3",
            (Self::Out, false) => "service_out_l3",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// Bytes of the service image slots that are pinned in a folder; `None` if there are none. The largest counts.
pub fn services_slot_size(folder: &std::path::Path) -> Option<u32> {
    let entries = fs::read_dir(folder).ok()?;
    let size = |e: io::Result<fs::DirEntry>| {
        e.ok()?.file_name().to_str()?.strip_prefix("services-")?.parse::<u32>().ok()
    };
    entries.filter_map(size).max()
}

/// The loaded programs.
pub struct DevicePrograms {
    object: Ebpf,
    folder: PathBuf,
}

impl std::fmt::Debug for DevicePrograms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevicePrograms").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn classifier<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut SchedClassifier, KernelError> {
    object
        .program_mut(name)
        .ok_or_else(|| failed("found", &name))?
        .try_into()
        .map_err(|e: ProgramError| failed("used", &e))
}

impl Services {
    /// Loads the programs of devices. Those that are attached stay as they are.
    pub fn load_devices(&self, kernel: &Kernel) -> Result<DevicePrograms, KernelError> {
        let mut loader = EbpfLoader::new();
        let mask = self.slot - 1;
        loader.override_global("services_mask", &mask, true);
        for name in OF_PROGRAMS {
            loader.map_pin_path(name, path_of(&kernel.folder, kernel.sizes.slot, name));
        }
        for name in MAPS {
            loader.map_pin_path(name, path_of(&kernel.folder, self.slot, name));
        }
        let mut object = loader.load(OBJECT).map_err(|e| failed("read", &chain(&e)))?;
        for name in DEVICE_PROGRAMS {
            load(classifier(&mut object, name)?)?;
        }
        Ok(DevicePrograms { object, folder: kernel.folder.join("links") })
    }
}

impl DevicePrograms {
    fn path(&self, ifindex: u32, hook: DeviceHook) -> PathBuf {
        self.folder.join(format!("service-{ifindex}-{}", hook.name()))
    }

    /// Attaches to a device, or puts these programs in the place of those that are attached, without a packet
    /// in between.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        ethernet: bool,
    ) -> Result<Attachment, KernelError> {
        fs::create_dir_all(&self.folder)
            .map_err(|source| KernelError::Folder { path: self.folder.clone(), source })?;
        let mut how = Attachment::Link;
        for hook in DeviceHook::BOTH {
            let path = self.path(ifindex, hook);
            let program = classifier(&mut self.object, hook.program(ethernet))?;
            if put(program, &path, interface, ifindex, hook.hook(), false)? == Attachment::Filter {
                how = Attachment::Filter;
            }
        }
        Ok(how)
    }

    /// Detaches from a device, which may be gone.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        for hook in DeviceHook::BOTH {
            let path = self.path(ifindex, hook);
            if path.exists() {
                unpin(&path).map_err(|e| failed("detached", &e))?;
            } else {
                remove_filters(ifindex);
            }
        }
        Ok(())
    }

    /// Runs a program on one packet, as if it were on the interface of that index: what it returns, and the
    /// packet afterwards.
    pub fn test_run(
        &self,
        hook: DeviceHook,
        ethernet: bool,
        packet: &[u8],
        ifindex: u32,
    ) -> Result<(i32, Vec<u8>), KernelError> {
        let name = hook.program(ethernet);
        let classifier: &SchedClassifier = self
            .object
            .program(name)
            .ok_or_else(|| failed("found", &name))?
            .try_into()
            .map_err(|e: ProgramError| failed("used", &e))?;
        // `struct __sk_buff` up to `ifindex`, its eleventh number.
        let mut context = [0u8; 192];
        for (slot, byte) in context.iter_mut().skip(40).zip(ifindex.to_ne_bytes()) {
            *slot = byte;
        }
        let mut after = vec![0; 4096];
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut after);
        options.ctx_in = Some(&context);
        options.repeat = 1;
        let done = classifier.test_run(options).map_err(|e| failed("run", &chain(&e)))?;
        let length = done.data_size_out as usize;
        after.truncate(length);
        Ok((done.return_value.cast_signed(), after))
    }
}
