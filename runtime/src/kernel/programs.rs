//! The programs: loaded from the object in this binary, and attached to interfaces.

use super::devices::DEVICE_PROGRAMS;
use super::maps::{OF_PROGRAMS, path_of};
use super::{Kernel, KernelError, sys};
use crate::links::{FilterPlace, filter_at};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The object, compiled from bpf/policy.c by scripts/bpf.sh.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/policy.bpf.o");

/// Settings that are fixed when programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Let through what cannot be enforced here, instead of dropping it.
    pub fail_open: bool,
    /// Report the first packet of each flow that passes.
    pub report_allowed: bool,
    /// Lifetime of an unanswered TCP flow.
    pub lifetime_syn: Duration,
    /// Lifetime of an answered TCP flow.
    pub lifetime_tcp: Duration,
    /// Lifetime of a closed TCP flow.
    pub lifetime_closed: Duration,
    /// Lifetime of every other flow.
    pub lifetime_other: Duration,
    /// How long the pieces of a datagram belong together.
    pub lifetime_fragments: Duration,
    /// After how long a refused flow is reported again.
    pub report_again: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fail_open: false,
            report_allowed: false,
            lifetime_syn: Duration::from_mins(1),
            lifetime_tcp: Duration::from_secs(8000),
            lifetime_closed: Duration::from_secs(10),
            lifetime_other: Duration::from_mins(1),
            lifetime_fragments: Duration::from_secs(30),
            report_again: Duration::from_secs(5),
        }
    }
}

/// One program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// What a pod sends, on a device with Ethernet headers.
    FromEndpoint,
    /// What reaches a pod, on a device with Ethernet headers.
    ToEndpoint,
    /// What a pod sends, on a device without.
    FromEndpointL3,
    /// What reaches a pod, on a device without.
    ToEndpointL3,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::FromEndpoint, Self::ToEndpoint, Self::FromEndpointL3, Self::ToEndpointL3];

    /// Its name in the object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromEndpoint => "from_endpoint",
            Self::ToEndpoint => "to_endpoint",
            Self::FromEndpointL3 => "from_endpoint_l3",
            Self::ToEndpointL3 => "to_endpoint_l3",
        }
    }
}

/// Where on a host's interface a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Packets that the interface takes in: what the pod sends.
    FromPod,
    /// Packets that leave through the interface: what reaches the pod.
    ToPod,
}

impl Hook {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::FromPod, Self::ToPod];

    const fn attach_type(self) -> TcAttachType {
        match self {
            Self::FromPod => TcAttachType::Ingress,
            Self::ToPod => TcAttachType::Egress,
        }
    }

    const fn program(self, ethernet: bool) -> Program {
        match (self, ethernet) {
            (Self::FromPod, true) => Program::FromEndpoint,
            (Self::ToPod, true) => Program::ToEndpoint,
            (Self::FromPod, false) => Program::FromEndpointL3,
            (Self::ToPod, false) => Program::ToEndpointL3,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from",
            Self::ToPod => "to",
        }
    }
}

/// How a program came to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// By a link that is pinned and replaced in one step (kernel 6.6 and later).
    Link,
    /// By a filter of the clsact queueing discipline.
    Filter,
}

/// The loaded programs.
pub struct Programs {
    object: Ebpf,
    folder: PathBuf,
    only_filters: bool,
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs").field("folder", &self.folder).finish_non_exhaustive()
    }
}

pub(super) fn failed(what: &'static str, why: &dyn Display) -> KernelError {
    KernelError::Programs { what, why: why.to_string() }
}

/// An error with everything that caused it.
pub(super) fn chain(e: &dyn std::error::Error) -> String {
    let mut out = e.to_string();
    let mut next = e.source();
    while let Some(cause) = next {
        out.push_str(": ");
        out.push_str(&cause.to_string());
        next = cause.source();
    }
    out
}

impl Kernel {
    /// Loads the programs over these maps. Programs that are attached stay as they are.
    pub fn load(&self, settings: &Settings) -> Result<Programs, KernelError> {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let mask = self.sizes.slot - 1;
        let (fail_open, report_allowed) = (u32::from(settings.fail_open), u32::from(settings.report_allowed));
        let lifetimes = [
            ("lifetime_syn", nanos(settings.lifetime_syn)),
            ("lifetime_tcp", nanos(settings.lifetime_tcp)),
            ("lifetime_closed", nanos(settings.lifetime_closed)),
            ("lifetime_other", nanos(settings.lifetime_other)),
            ("lifetime_fragments", nanos(settings.lifetime_fragments)),
            ("report_again", nanos(settings.report_again)),
        ];
        let mut loader = EbpfLoader::new();
        loader.override_global("image_mask", &mask, true);
        loader.override_global("fail_open", &fail_open, true);
        loader.override_global("report_allowed", &report_allowed, true);
        for (name, value) in &lifetimes {
            loader.override_global(name, value, true);
        }
        for name in OF_PROGRAMS {
            loader.map_pin_path(name, path_of(&self.folder, self.sizes.slot, name));
        }
        let mut object = loader.load(OBJECT).map_err(|e| failed("read", &chain(&e)))?;
        for program in Program::ALL {
            load(classifier(&mut object, program)?)?;
        }
        Ok(Programs { object, folder: self.folder.join("links"), only_filters: false })
    }
}

/// How often a program is given to the kernel that did not finish to look at it.
const LOADS: u32 = 5;

/// Loads a program.
pub(super) fn load(program: &mut SchedClassifier) -> Result<(), KernelError> {
    again(|| program.load())
}

/// Loads a program. The kernel gives up with EAGAIN where a signal comes while it verifies.
pub(super) fn again(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), KernelError> {
    for _ in 1..LOADS {
        match load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.raw_os_error() == Some(libc::EAGAIN) => {}
            done => return done.map_err(|e| failed("loaded", &chain(&e))),
        }
    }
    load().map_err(|e| failed("loaded", &chain(&e)))
}

fn classifier(object: &mut Ebpf, program: Program) -> Result<&mut SchedClassifier, KernelError> {
    object
        .program_mut(program.name())
        .ok_or_else(|| failed("found", &program.name()))?
        .try_into()
        .map_err(|e: ProgramError| failed("used", &e))
}

impl Programs {
    /// Runs a program on one packet, as if it were on the interface of that index: what it returns, and
    /// how long one of `repeat` runs took.
    pub fn test_run(
        &self,
        program: Program,
        packet: &[u8],
        ifindex: u32,
        repeat: u32,
    ) -> Result<(i32, Duration), KernelError> {
        let classifier: &SchedClassifier = self
            .object
            .program(program.name())
            .ok_or_else(|| failed("found", &program.name()))?
            .try_into()
            .map_err(|e: ProgramError| failed("used", &e))?;
        // `struct __sk_buff` up to `ifindex`, its eleventh number.
        let mut context = [0u8; 192];
        for (slot, byte) in context.iter_mut().skip(40).zip(ifindex.to_ne_bytes()) {
            *slot = byte;
        }
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.ctx_in = Some(&context);
        options.repeat = repeat;
        let done = classifier.test_run(options).map_err(|e| failed("run", &chain(&e)))?;
        Ok((done.return_value.cast_signed(), done.duration))
    }

    /// Attaches by filters from now on even where the kernel has links, as on a kernel before 6.6.
    pub fn use_only_filters(&mut self) {
        self.only_filters = true;
    }

    fn link_path(&self, ifindex: u32, hook: Hook) -> PathBuf {
        self.folder.join(format!("{ifindex}-{}", hook.name()))
    }

    /// Attaches to an interface, or puts these programs in the place of those that are attached, without
    /// a packet in between. `ethernet` says whether its packets have Ethernet headers.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        ethernet: bool,
    ) -> Result<Attachment, KernelError> {
        fs::create_dir_all(&self.folder)
            .map_err(|e| KernelError::Folder { path: self.folder.clone(), source: e })?;
        let mut how = Attachment::Link;
        for hook in Hook::BOTH {
            let path = self.link_path(ifindex, hook);
            let program = classifier(&mut self.object, hook.program(ethernet))?;
            if put(program, &path, interface, ifindex, hook, self.only_filters)? == Attachment::Filter {
                how = Attachment::Filter;
            }
        }
        Ok(how)
    }
}

/// Attaches one program to a hook, or puts it in the place of the one whose link is pinned at a path.
pub(super) fn put(
    program: &mut SchedClassifier,
    path: &Path,
    interface: &str,
    ifindex: u32,
    hook: Hook,
    only_filters: bool,
) -> Result<Attachment, KernelError> {
    if let Some(old) = pinned(path)?
        && let Ok(link) = SchedClassifierLink::try_from(old)
    {
        // Fails for the link of an interface that is gone, whose index another now has.
        match program.attach_to_link(link) {
            Ok(id) => {
                let link = program.take_link(id).map_err(|e| failed("attached", &chain(&e)))?;
                // The pin holds the link that was replaced into; this handle may go.
                drop(link);
                return Ok(Attachment::Link);
            }
            Err(_) => {
                let _ = fs::remove_file(path);
            }
        }
    }
    if only_filters {
        filter(program, interface, ifindex, hook)?;
        return Ok(Attachment::Filter);
    }
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    match program.attach_with_options(interface, hook.attach_type(), first) {
        Ok(id) => {
            let link = program.take_link(id).map_err(|e| failed("attached", &chain(&e)))?;
            let link = FdLink::try_from(link).map_err(|e| failed("attached", &chain(&e)))?;
            let pin = link.pin(path).map_err(|e| failed("pinned", &chain(&e)))?;
            // A pinned link lives on without its handle.
            drop(pin);
            Ok(Attachment::Link)
        }
        Err(e) if is_unsupported(&e) => {
            filter(program, interface, ifindex, hook)?;
            Ok(Attachment::Filter)
        }
        Err(e) => Err(failed("attached", &chain(&e))),
    }
}

impl Programs {
    /// Detaches from an interface, which may be gone.
    pub fn detach(&mut self, ifindex: u32, exists: bool) -> Result<(), KernelError> {
        for hook in Hook::BOTH {
            let path = self.link_path(ifindex, hook);
            if path.exists() {
                unpin(&path).map_err(|e| failed("detached", &e))?;
            } else if exists {
                remove_filters(ifindex);
            }
        }
        Ok(())
    }
}

/// Detaches every program of a folder of pins, and removes the folder: on how many interfaces there was one.
pub fn detach_all(folder: &Path) -> Result<usize, KernelError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KernelError::Folder { path, source }
    };
    let mut interfaces = Vec::new();
    for map in ["endpoints", "service_devices"] {
        let path = folder.join("maps").join(map);
        if path.exists() {
            // Number 0 is no interface.
            interfaces.extend(super::maps::interfaces(&path)?.into_iter().filter(|i| *i != 0));
        }
    }
    let links = folder.join("links");
    if links.exists() {
        for entry in fs::read_dir(&links).map_err(failed(&links))? {
            unpin(&entry.map_err(failed(&links))?.path()).map_err(failed(&links))?;
        }
        fs::remove_dir_all(&links).map_err(failed(&links))?;
    }
    for ifindex in &interfaces {
        remove_filters(*ifindex);
    }
    fs::remove_dir_all(folder).map_err(failed(folder))?;
    Ok(interfaces.len())
}

/// Detaches a pinned link and removes the pin. A link whose interface is gone is detached already.
pub(super) fn unpin(path: &Path) -> std::io::Result<()> {
    if let Ok(fd) = sys::pinned(path) {
        let _ = sys::detach_link(&fd);
    }
    fs::remove_file(path)
}

/// Filters of clsact by the names of the programs; there may be none.
pub(super) fn remove_filters(ifindex: u32) {
    let Ok(links) = crate::links::links() else { return };
    let Some(link) = links.into_values().find(|l| l.index == ifindex) else { return };
    for program in Program::ALL.map(Program::name).into_iter().chain(DEVICE_PROGRAMS) {
        for hook in Hook::BOTH {
            let _ = tc::qdisc_detach_program(&link.name, hook.attach_type(), program);
        }
    }
}

/// The link that is pinned at a path, without taking the pin away.
fn pinned(path: &Path) -> Result<Option<FdLink>, KernelError> {
    if !path.exists() {
        return Ok(None);
    }
    let link = PinnedLink::from_pin(path).map_err(|e: LinkError| failed("found", &chain(&e)))?;
    Ok(Some(FdLink::from(link)))
}

/// The filter's place among those of clsact, so that it is found again and replaced.
const PRIORITY: u16 = 1;
const HANDLE_MINOR: u16 = 1;
const HANDLE: tc::TcHandle = tc::TcHandle::new(0, HANDLE_MINOR);

fn filter(
    program: &mut SchedClassifier,
    interface: &str,
    ifindex: u32,
    hook: Hook,
) -> Result<(), KernelError> {
    match tc::qdisc_add_clsact(interface) {
        Ok(()) => {}
        // It is there, for the other hook or for somebody else.
        Err(TcError::NetlinkError(e)) if e.raw_os_error() == Some(libc::EEXIST) => {}
        Err(e) => return Err(failed("attached", &chain(&e))),
    }
    // The kernel puts one program of a filter in the place of another in one step, but takes a new filter at
    // a place that has one for a mistake. A filter that is not ours stays, and the attempt fails.
    let id = if is_ours(ifindex, hook)? {
        SchedClassifierLink::attached(interface, hook.attach_type(), PRIORITY, HANDLE, None)
            .map_err(ProgramError::from)
            .and_then(|old| program.attach_to_link(old))
    } else {
        let options = NlOptions { priority: PRIORITY, handle: HANDLE, ..NlOptions::default() };
        program.attach_with_options(interface, hook.attach_type(), TcAttachOptions::Netlink(options))
    };
    let id = id.map_err(|e| failed("attached", &chain(&e)))?;
    let link = program.take_link(id).map_err(|e| failed("attached", &chain(&e)))?;
    // Dropping the handle would take the filter away.
    std::mem::forget(link);
    Ok(())
}

/// Whether the filter at our place is one of our programs.
fn is_ours(ifindex: u32, hook: Hook) -> Result<bool, KernelError> {
    let place = FilterPlace {
        index: ifindex,
        parent: match hook {
            Hook::FromPod => FilterPlace::TAKES_IN,
            Hook::ToPod => FilterPlace::LEAVES,
        },
        priority: PRIORITY,
        handle: (0, HANDLE_MINOR),
    };
    let name = filter_at(place).map_err(|e| failed("found", &e))?;
    Ok(name.is_some_and(|name| {
        Program::ALL.iter().any(|p| p.name() == name) || DEVICE_PROGRAMS.contains(&name.as_str())
    }))
}

/// The kernel has no TCX.
fn is_unsupported(e: &ProgramError) -> bool {
    let ProgramError::SyscallError(e) = e else { return false };
    matches!(e.io_error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}
