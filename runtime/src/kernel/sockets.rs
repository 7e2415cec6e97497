//! Services at sockets: the programs of bpf/service_socket.c, attached to a cgroup.

use super::devices::Services;
use super::maps::{OF_PROGRAMS, path_of};
use super::programs::{again, chain, failed, unpin};
use super::sys;
use super::{Kernel, KernelError};
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{CgroupAttachMode, CgroupSock, CgroupSockAddr, ProgramError, ProgramFd};
use aya::{Ebpf, EbpfLoader};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The object, compiled from bpf/service_socket.c by scripts/bpf.sh.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/service_socket.bpf.o");

/// Its programs for calls with an address.
const CALLS: [&str; 8] = [
    "service_connect4",
    "service_connect6",
    "service_sendmsg4",
    "service_sendmsg6",
    "service_recvmsg4",
    "service_recvmsg6",
    "service_getpeername4",
    "service_getpeername6",
];

/// Its programs for sockets that were bound.
const BOUND: [&str; 2] = ["service_post_bind4", "service_post_bind6"];

/// Its maps beside those of the policy programs.
const MAPS: [&str; 4] = ["services", "service_clients", "service_devices", "service_sockets"];

/// How the pins of its links begin.
const PIN: &str = "sockets-";

/// The loaded programs.
pub struct SocketPrograms {
    object: Ebpf,
    folder: PathBuf,
}

impl std::fmt::Debug for SocketPrograms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketPrograms").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The first mount of cgroup2.
pub fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        // Blanks in a path are written as `\040`.
        (kind == "cgroup2").then(|| PathBuf::from(at.replace("\\040", " ")))
    })
}

/// The cookie of this thread's network namespace (`SO_NETNS_COOKIE`).
fn namespace_cookie() -> io::Result<u64> {
    const NETNS_COOKIE: i32 = 71;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut cookie = [0; 8];
    sys::socket_option(&socket, libc::SOL_SOCKET, NETNS_COOKIE, &mut cookie)?;
    Ok(u64::from_ne_bytes(cookie))
}

/// What every kind of program here is asked for.
trait Attach {
    fn program(&self) -> Result<&ProgramFd, ProgramError>;
    fn link(&mut self, cgroup: &File) -> Result<FdLink, KernelError>;
}

fn attached(e: &dyn std::error::Error) -> KernelError {
    failed("attached", &chain(e))
}

impl Attach for CgroupSockAddr {
    fn program(&self) -> Result<&ProgramFd, ProgramError> {
        self.fd()
    }

    fn link(&mut self, cgroup: &File) -> Result<FdLink, KernelError> {
        // By a link, which never takes the place of another's: the mode is for kernels without them.
        let id = self.attach(cgroup, CgroupAttachMode::Single).map_err(|e| attached(&e))?;
        let link = self.take_link(id).map_err(|e| attached(&e))?;
        link.try_into().map_err(|e: LinkError| attached(&e))
    }
}

impl Attach for CgroupSock {
    fn program(&self) -> Result<&ProgramFd, ProgramError> {
        self.fd()
    }

    fn link(&mut self, cgroup: &File) -> Result<FdLink, KernelError> {
        let id = self.attach(cgroup, CgroupAttachMode::Single).map_err(|e| attached(&e))?;
        let link = self.take_link(id).map_err(|e| attached(&e))?;
        link.try_into().map_err(|e: LinkError| attached(&e))
    }
}

fn program<'o, P>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut P, KernelError>
where
    &'o mut P: TryFrom<&'o mut aya::programs::Program, Error = ProgramError>,
{
    object
        .program_mut(name)
        .ok_or_else(|| failed("found", &name))?
        .try_into()
        .map_err(|e: ProgramError| failed("used", &e))
}

impl Services {
    /// Loads the programs of sockets. Those that are attached stay as they are. The network namespace of
    /// this thread is the node's: nobody binds there to a port that a service has.
    pub fn load_sockets(&self, kernel: &Kernel) -> Result<SocketPrograms, KernelError> {
        let mut loader = EbpfLoader::new();
        let (slot, policy_slot) = (self.slot_size(), kernel.slot_size());
        let mask = slot - 1;
        // Kernels before 5.14 do not say; nothing is guarded there.
        let netns = namespace_cookie().unwrap_or_default();
        loader.override_global("services_mask", &mask, true);
        loader.override_global("node_netns", &netns, true);
        for name in OF_PROGRAMS {
            loader.map_pin_path(name, path_of(kernel.folder(), policy_slot, name));
        }
        for name in MAPS {
            loader.map_pin_path(name, path_of(kernel.folder(), slot, name));
        }
        let mut object = loader.load(OBJECT).map_err(|e| failed("read", &chain(&e)))?;
        for name in CALLS {
            let call: &mut CgroupSockAddr = program(&mut object, name)?;
            again(|| call.load())?;
        }
        for name in BOUND {
            let bound: &mut CgroupSock = program(&mut object, name)?;
            again(|| bound.load())?;
        }
        Ok(SocketPrograms { object, folder: kernel.folder().join("links") })
    }
}

impl SocketPrograms {
    /// Attaches to a cgroup, or puts these programs in the place of those that are attached there, without a
    /// call in between; detaches from every other. Says by which number the cgroup is known.
    pub fn attach(&mut self, cgroup: &Path) -> Result<u64, KernelError> {
        let folder = |source| KernelError::Folder { path: cgroup.to_owned(), source };
        let group = File::open(cgroup).map_err(folder)?;
        let number = group.metadata().map_err(folder)?.ino();
        fs::create_dir_all(&self.folder)
            .map_err(|source| KernelError::Folder { path: self.folder.clone(), source })?;
        for name in CALLS {
            let call: &mut CgroupSockAddr = program(&mut self.object, name)?;
            put(call, &self.folder.join(format!("{PIN}{number}-{name}")), &group)?;
        }
        for name in BOUND {
            let bound: &mut CgroupSock = program(&mut self.object, name)?;
            put(bound, &self.folder.join(format!("{PIN}{number}-{name}")), &group)?;
        }
        detach_sockets(&self.folder, Some(number))?;
        Ok(number)
    }

    /// Detaches from every cgroup.
    pub fn detach(&mut self) -> Result<(), KernelError> {
        detach_sockets(&self.folder, None)
    }
}

/// Detaches from every cgroup except one.
fn detach_sockets(folder: &Path, keep: Option<u64>) -> Result<(), KernelError> {
    let keep = keep.map(|n| format!("{PIN}{n}-"));
    let failed = |source| KernelError::Folder { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PIN) && !keep.as_ref().is_some_and(|k| name.starts_with(k)) {
            unpin(&entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn put(program: &mut impl Attach, path: &Path, group: &File) -> Result<(), KernelError> {
    if let Ok(link) = sys::pinned(path) {
        let fd = program.program().map_err(|e| attached(&e))?;
        match sys::update_link(&link, &fd.as_fd()) {
            Ok(()) => return Ok(()),
            // The cgroup is gone, and another has its number.
            Err(e) if e.raw_os_error() == Some(libc::ENOLINK) => {
                fs::remove_file(path).map_err(|e| failed("detached", &e))?;
            }
            Err(e) => return Err(failed("replaced", &e)),
        }
    }
    let link = program.link(group)?;
    // A pinned link lives on without its handle.
    drop(link.pin(path).map_err(|e| failed("pinned", &chain(&e)))?);
    Ok(())
}
