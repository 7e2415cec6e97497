//! The node's configuration file, for an agent without a cluster.

use crate::kernel::Sizes;
use ipnet::IpNet;
use portcullis_abi::maps::{LARGEST_SLOT, SMALLEST_SLOT};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What `node.yaml` says. Paths are taken from the folder of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The node's name. If absent, that of the environment (`PORTCULLIS_NODE`), else the host's.
    #[serde(default = "default_node")]
    pub node: String,
    /// Policy files and folders; followed for changes.
    #[serde(default)]
    pub policies: Vec<PathBuf>,
    /// Files and folders with namespaces, pods elsewhere, services and CIDR groups; followed too.
    #[serde(default)]
    pub cluster: Vec<PathBuf>,
    /// The API server that has policies, pods elsewhere and services as well; none if absent.
    #[serde(default)]
    pub kubernetes: Option<KubernetesConfig>,
    /// The pods of this node.
    #[serde(default)]
    pub endpoints: Vec<EndpointConfig>,
    /// Addresses of the node's own host beside those of its interfaces.
    #[serde(default)]
    pub host_addresses: Vec<IpAddr>,
    /// Addresses of reserved identities: `remote-node`, `kube-apiserver`, `health`, `ingress`.
    #[serde(default)]
    pub entities: BTreeMap<String, Vec<IpAddr>>,
    /// Where pods have their addresses. One in here that is nobody's is dropped, never taken for an
    /// address outside the cluster.
    #[serde(default)]
    pub pod_cidrs: Vec<IpNet>,
    /// Name of the cluster (SEM-3.8).
    #[serde(default = "default_cluster")]
    pub cluster_name: String,
    /// Let through what cannot be enforced here, instead of dropping it.
    #[serde(default)]
    pub fail_open: bool,
    /// Report the first packet of each flow that passes, not only of those that do not.
    #[serde(default)]
    pub report_allowed: bool,
    /// Where the bpf file system is, or is to be mounted.
    #[serde(default = "default_bpffs")]
    pub bpffs: PathBuf,
    /// Name of the agent's folder in it.
    #[serde(default = "default_pins")]
    pub pins: String,
    /// Folder of the control socket, the lock, and the generations that one can go back to.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// Address of the metrics page; there is none if absent. Loopback, unless it is meant to be seen.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// Namespaces whose policies are in audit: what they alone deny passes, and is reported.
    #[serde(default)]
    pub audit_namespaces: Vec<String>,
    /// Flows through Hubble's Observer API.
    #[serde(default)]
    pub hubble: HubbleConfig,
    /// Translation of services; none if absent.
    #[serde(default)]
    pub services: Option<ServicesConfig>,
    /// Sizes of the kernel's maps.
    #[serde(default)]
    pub sizes: SizesConfig,
    /// Changes of policy that wait for approval.
    #[serde(default)]
    pub guard: GuardConfig,
}

/// Changes of policy that wait for approval; none unless it says so.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GuardConfig {
    /// Hold a policy set that would deny flows that were seen lately. Passing flows are reported, then.
    pub hold_on_denied: bool,
    /// What is lately, in seconds.
    pub lately: u64,
    /// Hold every new policy set on nodes without this label: `KEY` or `KEY=VALUE`.
    pub canary: Option<String>,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self { hold_on_denied: false, lately: 3600, canary: None }
    }
}

/// The way to an API server. Without a file it is found as kubectl finds it, or by the pod's service account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// The kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it, instead of the current one.
    pub context: Option<String>,
    /// What is told to the cluster.
    pub status: StatusConfig,
}

/// What an agent tells the cluster of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StatusConfig {
    /// Whether it does: the object NodeStatus of this node, and events beside policies.
    pub enabled: bool,
    /// The label of nodes whose value is the node's group.
    pub group_label: Option<String>,
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self { enabled: true, group_label: None }
    }
}

/// Translation of services at the node's devices and at the sockets of its pods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServicesConfig {
    /// Devices to the outside; those with a default route if there is none.
    pub devices: Vec<String>,
    /// Addresses on which node ports and host ports answer; those of the devices if there is none.
    pub addresses: Vec<IpAddr>,
    /// The node's zone; that of its Node object if absent.
    pub zone: Option<String>,
    /// Choose by Maglev where a service does not say how, not by chance.
    pub maglev: bool,
    /// Translate at the sockets of this node's processes. Without it something else must do that.
    pub sockets: bool,
    /// The cgroup of those processes; the root of the first cgroup2 that is mounted if absent.
    pub cgroup: Option<PathBuf>,
}

impl Default for ServicesConfig {
    fn default() -> Self {
        Self {
            devices: Vec::new(),
            addresses: Vec::new(),
            zone: None,
            maglev: false,
            sockets: true,
            cgroup: None,
        }
    }
}

/// Flows through Hubble's Observer API. It is on unless it is switched off.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HubbleConfig {
    /// Whether flows are kept and served.
    pub enabled: bool,
    /// Flows that are kept in memory.
    pub flows: usize,
    /// An address to serve on beside the Unix socket: a loopback address, or, with `tls`, any.
    pub listen: Option<SocketAddr>,
    /// Certificates for `listen`. Without it there is no TLS.
    pub tls: Option<TlsConfig>,
}

/// PEM files: who this node is, and who may ask it. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConfig {
    /// The node's certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Roots of the certificates that clients must show.
    pub client_ca: PathBuf,
    /// The name in the node's certificate, as peers are told it; `NODE.CLUSTER.hubble-grpc.cilium.io` if absent.
    #[serde(default)]
    pub server_name: Option<String>,
}

impl Default for HubbleConfig {
    fn default() -> Self {
        Self { enabled: true, flows: 65_536, listen: None, tls: None }
    }
}

/// One pod of this node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointConfig {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its interface on the host's side. This or `netns`.
    #[serde(default)]
    pub interface: Option<String>,
    /// Its network namespace, by the name that `ip netns` shows, or by a path.
    #[serde(default)]
    pub netns: Option<String>,
    /// Its interface inside `netns`.
    #[serde(default = "default_inside")]
    pub netns_interface: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its service account.
    #[serde(default = "default_account")]
    pub service_account: String,
    /// Its named ports.
    #[serde(default)]
    pub ports: Vec<PortConfig>,
}

/// A named port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortConfig {
    /// Its name.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(default = "default_protocol")]
    pub protocol: String,
}

/// Sizes of the kernel's maps, in elements where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SizesConfig {
    /// Bytes of an image slot to begin with, a power of two; larger images get larger slots.
    pub image: u32,
    /// Exact addresses: pods of the whole cluster, nodes.
    pub addresses: u32,
    /// Prefixes that the policies name.
    pub prefixes: u32,
    /// Pods of this node.
    pub endpoints: u32,
    /// Flows under way.
    pub conntrack: u32,
}

impl Default for SizesConfig {
    fn default() -> Self {
        Self { image: 1 << 19, addresses: 65_536, prefixes: 65_536, endpoints: 4096, conntrack: 262_144 }
    }
}

impl SizesConfig {
    /// The sizes of maps with image slots of so many bytes.
    pub fn kernel(&self, slot: u32) -> Sizes {
        let Self { image: _, addresses, prefixes, endpoints, conntrack } = *self;
        Sizes { slot, addresses, prefixes, endpoints, conntrack, ..Sizes::default() }
    }
}

impl EndpointConfig {
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn default_node() -> String {
    if let Some(name) = std::env::var("PORTCULLIS_NODE").ok().filter(|n| !n.is_empty()) {
        return name;
    }
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "node".to_owned(), |t| t.trim().to_owned())
}

fn default_cluster() -> String {
    "default".to_owned()
}

fn default_bpffs() -> PathBuf {
    "/sys/fs/bpf".into()
}

fn default_pins() -> String {
    "portcullis".to_owned()
}

fn default_state() -> PathBuf {
    "/run/portcullis".into()
}

fn default_inside() -> String {
    "eth0".to_owned()
}

fn default_account() -> String {
    "default".to_owned()
}

fn default_protocol() -> String {
    "TCP".to_owned()
}

/// Entities whose addresses a configuration may give.
const ENTITIES: [&str; 4] = ["remote-node", "kube-apiserver", "health", "ingress"];

/// Why a configuration cannot be used, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file.
    #[error("{file} could not be read: {source}")]
    Unreadable {
        /// Its name.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its text.
    #[error("{file}: {what}")]
    Wrong {
        /// Its name.
        file: String,
        /// What is wrong, with the place where the reader knows it.
        what: String,
    },
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { file: file.clone(), source })?;
        let mut config = Self::parse(&text).map_err(|what| ConfigError::Wrong { file, what })?;
        let base = path.parent().unwrap_or(Path::new("."));
        for p in config.policies.iter_mut().chain(&mut config.cluster) {
            *p = base.join(&*p);
        }
        config.state = base.join(&config.state);
        if let Some(file) = config.kubernetes.as_mut().and_then(|k| k.kubeconfig.as_mut()) {
            *file = base.join(&*file);
        }
        if let Some(t) = &mut config.hubble.tls {
            for file in [&mut t.cert, &mut t.key, &mut t.client_ca] {
                *file = base.join(&*file);
            }
        }
        if let Some(cgroup) = config.services.as_mut().and_then(|s| s.cgroup.as_mut()) {
            *cgroup = base.join(&*cgroup);
        }
        Ok(config)
    }

    /// Reads a text. An error says what is wrong with it and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.policies.is_empty() && self.kubernetes.is_none() {
            return Err(
                "`policies` names no file or folder; name the folder that holds the policies".to_owned()
            );
        }
        if self.pins.is_empty() || self.pins.contains('/') || self.pins.contains('.') {
            return Err("`pins` is the name of one folder, without slashes and dots".to_owned());
        }
        let image = self.sizes.image;
        if !image.is_power_of_two() || !(SMALLEST_SLOT..=LARGEST_SLOT).contains(&image) {
            return Err(format!(
                "`sizes.image` is {image}; it must be a power of two from {SMALLEST_SLOT} to {LARGEST_SLOT}"
            ));
        }
        if !(1..=1 << 24).contains(&self.hubble.flows) {
            return Err(format!("`hubble.flows` is {}; it must be from 1 to {}", self.hubble.flows, 1 << 24));
        }
        if let Some(at) = self.hubble.listen.filter(|at| !at.ip().is_loopback() && self.hubble.tls.is_none())
        {
            return Err(format!(
                "`hubble.listen` is {at}, which others reach, too; make it a loopback address, or give `hubble.tls`"
            ));
        }
        if self.hubble.tls.is_some() && self.hubble.listen.is_none() {
            return Err("`hubble.tls` is for an address; give `hubble.listen`".to_owned());
        }
        if let Some(label) = self.guard.canary.as_ref().filter(|l| l.is_empty() || l.starts_with('=')) {
            return Err(format!("`guard.canary` is {label:?}; write KEY or KEY=VALUE of a node's label"));
        }
        let mut names = BTreeSet::new();
        let mut addresses: BTreeMap<IpAddr, String> = BTreeMap::new();
        for e in &self.endpoints {
            let name = e.full_name();
            if e.interface.is_some() == e.netns.is_some() {
                return Err(format!("endpoint {name}: give it either `interface` or `netns`"));
            }
            if e.addresses.is_empty() {
                return Err(format!("endpoint {name} has no address, so that nothing could reach it"));
            }
            for p in &e.ports {
                if !["TCP", "UDP", "SCTP"].contains(&p.protocol.as_str()) {
                    return Err(format!(
                        "endpoint {name}: port {} is of {}; write TCP, UDP or SCTP",
                        p.name, p.protocol
                    ));
                }
            }
            for ip in &e.addresses {
                if let Some(other) = addresses.insert(*ip, name.clone()) {
                    return Err(format!("{other} and {name} both have the address {ip}"));
                }
            }
            if !names.insert(name.clone()) {
                return Err(format!("endpoint {name} is given twice"));
            }
        }
        if let Some(unknown) = self.entities.keys().find(|k| !ENTITIES.contains(&k.as_str())) {
            return Err(format!("`entities` has {unknown}; it may have {}", ENTITIES.join(", ")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str =
        "policies: [p]\nendpoints:\n- {name: a, namespace: n, interface: v0, addresses: [10.0.0.1]}\n";

    #[test]
    fn what_is_not_given_has_a_default() {
        let c = Config::parse(SMALL).unwrap();
        assert_eq!(c.bpffs, Path::new("/sys/fs/bpf"));
        assert_eq!(c.sizes.conntrack, 262_144);
        assert!(!c.fail_open);
        assert_eq!(c.endpoints[0].service_account, "default");
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let e = Config::parse("policies: [p]\nendpoint: []\n").unwrap_err();
        assert!(e.contains("endpoint") && e.contains("line 2"), "{e}");
        let e = Config::parse(&SMALL.replace("interface: v0, ", "")).unwrap_err();
        assert!(e.contains("n/a"), "{e}");
        let e = Config::parse(&format!(
            "{SMALL}- {{name: b, namespace: n, interface: v1, addresses: [10.0.0.1]}}\n"
        ))
        .unwrap_err();
        assert!(e.contains("n/a and n/b"), "{e}");
        assert!(Config::parse("policies: []").is_err());
        assert!(Config::parse("").is_err());
    }
}
