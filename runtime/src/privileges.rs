//! What the agent may do: of root's rights it keeps those that its work takes.

use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// Programs and maps; interfaces and filters; raw sockets, which listing filters of other systems takes; namespaces of pods
/// and the bpf file system, also through /proc; files that root has no right to by their mode, to read.
const KEPT: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH);

/// Names of the rights that are kept, as containers ask for them.
pub fn kept() -> impl Iterator<Item = &'static str> {
    KEPT.iter_names().map(|(name, _)| name)
}

/// Gives up every other right of root, for this process and all that it starts. Threads that run already
/// keep theirs: call it before there are any.
pub fn drop_others() -> io::Result<()> {
    keep(KEPT)
}

/// Gives up every right of root, likewise.
pub fn drop_all() -> io::Result<()> {
    keep(CapabilitySet::empty())
}

fn keep(kept: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    if held.permitted.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter().filter(|c| !kept.contains(*c)) {
            match remove_capability_from_bounding_set(capability) {
                // A kernel that does not know it does not give it either.
                Ok(()) | Err(io::Errno::INVAL) => {}
                Err(e) => return Err(e),
            }
        }
    }
    let left = held.permitted & kept;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: left, permitted: left, inheritable: none })?;
    set_no_new_privs(true)
}
