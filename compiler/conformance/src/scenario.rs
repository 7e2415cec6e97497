//! The recorded form: `{"name", "category", "policies", "cluster", "flows", "rejected"}`.

use crate::engines::Address;
use portcullis_diag::FileId;
use portcullis_front::ast::{Body, Object};
use portcullis_ir::peer::Reserved;
use portcullis_ir::{Cluster, Direction, Flow, FlowPort, L4, Options, PeerRef, PolicySet, Verdict};
use portcullis_sema::universe::Input;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};

/// One recorded flow and the verdicts of its sides.
#[derive(Clone, Debug)]
pub struct Case {
    /// The flow.
    pub flow: Flow,
    /// The recorded verdict of each side that has one.
    pub expect: Vec<(Direction, Verdict)>,
    /// The flow as recorded.
    pub text: String,
}

/// One recorded scenario, lowered.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Its category.
    pub category: String,
    /// The policies in normal form.
    pub policies: PolicySet,
    /// The cluster.
    pub cluster: Cluster,
    /// The settings it was recorded under.
    pub options: Options,
    /// The flows.
    pub cases: Vec<Case>,
    /// The policies as recorded, for disagreements.
    pub source: String,
}

impl Scenario {
    /// As the class engine takes it.
    pub fn input(&self) -> Input<'_> {
        Input { policies: &self.policies, cluster: &self.cluster, options: &self.options }
    }

    /// Every address among its flows.
    pub fn addresses(&self) -> Vec<Address> {
        let ends = self.cases.iter().flat_map(|c| [&c.flow.from, &c.flow.to]);
        let all: BTreeSet<Address> = ends
            .filter_map(|end| match end {
                PeerRef::External { ip, names } => Some((*ip, names.clone())),
                PeerRef::Endpoint(_) | PeerRef::Reserved(_) => None,
            })
            .collect();
        all.into_iter().collect()
    }
}

/// Lines of a file, unpacked if it is gzip.
pub fn lines(path: &std::path::Path) -> std::io::Result<Box<dyn Iterator<Item = std::io::Result<String>>>> {
    let mut head = [0u8; 2];
    let mut file = std::fs::File::open(path)?;
    let got = file.read(&mut head)?;
    let file = std::fs::File::open(path)?;
    let reader: Box<dyn Read> = if got == 2 && head == [0x1f, 0x8b] {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    Ok(Box::new(Lines { reader: BufReader::new(reader), broken: false }))
}

/// Bytes that a line may have: the longest recorded one has a thousandth of it.
const LONGEST: u64 = 64 << 20;

/// Lines of bounded length; the first that cannot be read is the last.
struct Lines<R> {
    reader: BufReader<R>,
    broken: bool,
}

impl<R: Read> Iterator for Lines<R> {
    type Item = std::io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let mut line = Vec::new();
        let read = self.reader.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        let text = read.and_then(|_| {
            if line.last() != Some(&b'\n') && line.len() as u64 >= LONGEST {
                return Err(std::io::Error::other(format!("a line is longer than {} MiB", LONGEST >> 20)));
            }
            String::from_utf8(line).map_err(std::io::Error::other)
        });
        match text {
            Ok(text) if text.is_empty() => None,
            Ok(text) => Some(Ok(text)),
            Err(e) => {
                self.broken = true;
                Some(Err(e))
            }
        }
    }
}

/// Reads one line. An error names what is wrong with it.
pub fn read(line: &str) -> Result<Scenario, String> {
    let v: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let text = |key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |key: &str| v.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let name = text("name");
    if list("flows").is_empty() {
        return Err("no scenario: it has no flows".to_owned());
    }
    let objects = |key: &str| -> Result<Vec<Object>, String> {
        let mut all = Vec::new();
        for o in list(key) {
            let parsed = portcullis_front::parse(FileId(0), "scenario.json", &o.to_string());
            if let Some(bad) =
                parsed.diagnostics.iter().find(|d| d.severity == portcullis_diag::Severity::Error)
            {
                return Err(format!("{name}: {}: {} in {o}", bad.code, bad.message));
            }
            all.extend(parsed.objects);
        }
        Ok(all)
    };
    let options = Options::default();
    let cluster_objects = objects("cluster")?;
    let policy_objects = objects("policies")?;
    if policy_objects.len() != list("policies").len() {
        return Err(format!("{name}: a policy was not read"));
    }
    let cluster = Cluster::build(
        cluster_objects.iter().chain(policy_objects.iter().filter(|o| matches!(o.body, Body::CidrGroup(_)))),
        &options,
    );
    let policies = portcullis_ir::lower::lower(&policy_objects, &cluster, &options);
    let broken = portcullis_ir::verify::verify(&policies);
    if !broken.is_empty() {
        return Err(format!("{name}: the normal form is broken: {}", broken.join("; ")));
    }
    let cases = list("flows").iter().map(|f| case(f, &cluster)).collect::<Result<_, _>>()?;
    let source = list("policies").iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Ok(Scenario { name, category: text("category"), policies, cluster, options, cases, source })
}

fn case(f: &Value, cluster: &Cluster) -> Result<Case, String> {
    let port = port(f)?;
    let flow = Flow { from: peer(f.get("from"), cluster)?, to: peer(f.get("to"), cluster)?, port };
    let side = |key: &str, direction| {
        let verdict = match f.get("expect").and_then(|e| e.get(key)).and_then(Value::as_str) {
            Some("allowed") => Verdict::Allowed,
            Some("denied") => Verdict::Denied,
            Some(other) => return Err(format!("unknown verdict {other}")),
            None => return Ok(None),
        };
        Ok(Some((direction, verdict)))
    };
    let expect = [side("egress", Direction::Egress)?, side("ingress", Direction::Ingress)?];
    Ok(Case { flow, expect: expect.into_iter().flatten().collect(), text: f.to_string() })
}

fn port(f: &Value) -> Result<FlowPort, String> {
    let number = |key: &str| f.get(key).and_then(Value::as_u64);
    let l4 = |p: L4| -> Result<FlowPort, String> {
        let n = number("port").ok_or("a flow without a port")?;
        Ok(FlowPort::L4(p, u16::try_from(n).map_err(|e| e.to_string())?))
    };
    let icmp = |v6: bool| -> Result<FlowPort, String> {
        let n = number("icmpType").ok_or("a flow without an ICMP type")?;
        Ok(FlowPort::Icmp(v6, u8::try_from(n).map_err(|e| e.to_string())?))
    };
    match f.get("protocol").and_then(Value::as_str) {
        Some("TCP") => l4(L4::Tcp),
        Some("UDP") => l4(L4::Udp),
        Some("SCTP") => l4(L4::Sctp),
        Some("ICMP") => icmp(false),
        Some("ICMPv6") => icmp(true),
        other => Err(format!("unknown protocol {other:?}")),
    }
}

fn peer(v: Option<&Value>, cluster: &Cluster) -> Result<PeerRef, String> {
    let text = |key: &str| v.and_then(|v| v.get(key)).and_then(Value::as_str);
    if let Some(pod) = text("pod") {
        let (ns, name) = pod.split_once('/').ok_or_else(|| format!("pod {pod} has no namespace"))?;
        return cluster
            .endpoints()
            .find(|(_, e)| e.namespace == ns && e.name == name)
            .map(|(id, _)| PeerRef::Endpoint(id))
            .ok_or_else(|| format!("pod {pod} is not in the cluster"));
    }
    if let Some(ip) = text("ip") {
        let names = text("fqdn").map(Into::into).into_iter().collect();
        return Ok(PeerRef::External { ip: ip.parse().map_err(|e| format!("{ip}: {e}"))?, names });
    }
    let entity = text("entity").ok_or("a peer that is neither pod nor address nor entity")?;
    Reserved::parse(entity).map(PeerRef::Reserved).ok_or_else(|| format!("unknown entity {entity}"))
}
