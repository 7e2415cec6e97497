//! What the kernel offers, and where its file systems are.

use super::Check;
use crate::kernel::sys;
use aya::maps::MapType;
use aya::programs::{ProgramType, SchedClassifier, TcAttachType};
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};
use std::fs;
use std::path::{Path, PathBuf};

/// The oldest kernel that the programs were tried on.
const OLDEST: (u32, u32) = (6, 1);

pub(super) fn checks() -> Vec<Check> {
    vec![version(), types(), jit(), links(), maps(), helpers()]
}

fn version() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.trim().parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let release = release.trim().to_owned();
    if found >= OLDEST {
        return Check::good("kernel", release);
    }
    let says = "the programs may not load: they were tried on 6.1 and later";
    Check::note("kernel", says, vec![release], "use a kernel of 6.1 or later")
}

fn types() -> Check {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Check::good("BTF", "the kernel describes its types");
    }
    let says = "the kernel does not describe its types; other tools show less of the programs";
    let cause = vec!["there is no /sys/kernel/btf/vmlinux".to_owned()];
    Check::note("BTF", says, cause, "use a kernel with CONFIG_DEBUG_INFO_BTF")
}

fn jit() -> Check {
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable") {
        Ok(text) if text.trim() != "0" => Check::good("JIT", "programs are compiled"),
        Ok(_) => Check::note(
            "JIT",
            "every packet costs several times as much: programs are interpreted",
            vec!["net.core.bpf_jit_enable is 0".to_owned()],
            "`sysctl net.core.bpf_jit_enable=1`",
        ),
        Err(e) => Check::note(
            "JIT",
            "whether programs are compiled is not known",
            vec![format!("/proc/sys/net/core/bpf_jit_enable: {e}")],
            "",
        ),
    }
}

fn links() -> Check {
    match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
        Ok(_) => Check::good("TCX", "programs are attached by links and replaced in one step"),
        Err(e) => Check::note(
            "TCX",
            "programs are attached as filters of clsact: others can put theirs before them",
            vec![e.to_string()],
            "use a kernel of 6.6 or later",
        ),
    }
}

fn maps() -> Check {
    let wanted = [
        ("array", MapType::Array),
        ("hash", MapType::Hash),
        ("LRU hash", MapType::LruHash),
        ("prefix trie", MapType::LpmTrie),
        ("array of maps", MapType::ArrayOfMaps),
        ("array by processor", MapType::PerCpuArray),
        ("LRU hash by processor", MapType::LruPerCpuHash),
        ("ring buffer", MapType::RingBuf),
    ];
    let missing = wanted.iter().filter_map(|(name, kind)| match is_map_supported(*kind) {
        Ok(true) => None,
        Ok(false) => Some(format!("no map of the kind {name}")),
        Err(e) => Some(format!("{name}: {e}")),
    });
    all_there("maps", missing.collect(), "every kind that is used is there")
}

fn helpers() -> Check {
    let mut missing = Vec::new();
    let address = ProgramType::CgroupSockAddr;
    for (name, kind) in [("classifier", ProgramType::SchedClassifier), ("cgroup_sock_addr", address)] {
        match is_program_supported(kind) {
            Ok(true) => {}
            Ok(false) => missing.push(format!("no programs of the kind {name}")),
            Err(e) => missing.push(format!("{name}: {e}")),
        }
    }
    let wanted = [
        ("skb_load_bytes", BpfHelper::BPF_FUNC_skb_load_bytes),
        ("skb_store_bytes", BpfHelper::BPF_FUNC_skb_store_bytes),
        ("l3_csum_replace", BpfHelper::BPF_FUNC_l3_csum_replace),
        ("l4_csum_replace", BpfHelper::BPF_FUNC_l4_csum_replace),
        ("redirect", BpfHelper::BPF_FUNC_redirect),
        ("skb_change_tail", BpfHelper::BPF_FUNC_skb_change_tail),
        ("loop", BpfHelper::BPF_FUNC_loop),
        ("ktime_get_coarse_ns", BpfHelper::BPF_FUNC_ktime_get_coarse_ns),
        ("ringbuf_reserve", BpfHelper::BPF_FUNC_ringbuf_reserve),
    ];
    for (name, helper) in wanted {
        match is_helper_supported(ProgramType::SchedClassifier, helper) {
            Ok(true) => {}
            Ok(false) => missing.push(format!("no helper bpf_{name}")),
            Err(e) => missing.push(format!("bpf_{name}: {e}")),
        }
    }
    all_there("programs", missing, "every kind and helper that is used is there")
}

fn all_there(about: &'static str, missing: Vec<String>, good: &str) -> Check {
    if missing.is_empty() {
        return Check::good(about, good);
    }
    let way_out = "run it as root with CAP_BPF and CAP_NET_ADMIN, or use a kernel of 6.1 or later";
    Check::bad(about, "nothing can be enforced: the programs do not load here", missing, way_out)
}

/// The file systems, and where cgroup2 is.
pub(super) fn mounts(given: Option<&Path>) -> (Vec<Check>, Option<PathBuf>) {
    let bpf = Path::new("/sys/fs/bpf");
    let bpffs = match sys::is_bpffs(bpf) {
        Ok(true) => Check::good("bpf file system", "mounted at /sys/fs/bpf"),
        _ => Check::note(
            "bpf file system",
            "the agent mounts one, which goes away with its mount namespace: policy would end with the \
             container",
            vec!["/sys/fs/bpf is none".to_owned()],
            "`mount -t bpf bpf /sys/fs/bpf` on the node, and give it to the agent's container",
        ),
    };
    let found = given.map(Path::to_owned).or_else(crate::kernel::cgroup2);
    let about = "cgroup2";
    let group = match &found {
        Some(path) if path.join("cgroup.controllers").exists() => {
            Check::good(about, format!("mounted at {}", path.display()))
        }
        Some(path) => Check::bad(
            about,
            "services are not translated where pods open connections",
            vec![format!("{} is no cgroup2", path.display())],
            "name the mount with --cgroup",
        ),
        None => Check::bad(
            about,
            "services are not translated where pods open connections",
            vec!["cgroup2 is not mounted".to_owned()],
            "`mount -t cgroup2 none /sys/fs/cgroup` on the node, and give it to the agent's container",
        ),
    };
    (vec![bpffs, group], found.filter(|p| p.exists()))
}
