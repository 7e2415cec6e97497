//! A plugin that stands behind another in a CNI configuration list (specification 1.1): it tells the agent of a new pod's
//! interface and addresses, and returns once policy is attached there, before the pod's first packet.

use crate::control;
use crate::links;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Versions of the specification whose results are handed on as they are.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// How long a pod waits for its policy where the configuration does not say.
const WAIT: u64 = 30;

/// What the plugin says, and with which code it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// For standard output.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

/// Why there is no result, as the specification numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    code: u32,
    message: String,
}

fn failure(code: u32, message: impl Into<String>) -> Failure {
    Failure { code, message: message.into() }
}

const UNSUPPORTED: u32 = 1;
const ENVIRONMENT: u32 = 4;
const UNDECODABLE: u32 = 6;
const INVALID: u32 = 7;
const AGAIN: u32 = 11;
const UNAVAILABLE: u32 = 50;

/// What the plugin is asked for.
struct Call {
    config: Value,
    environment: BTreeMap<String, String>,
}

/// Does what the environment and standard input ask for.
pub fn run(environment: BTreeMap<String, String>, input: &str) -> Said {
    let command = environment.get("CNI_COMMAND").cloned().unwrap_or_default();
    let config: Value = if command == "VERSION" && input.trim().is_empty() {
        json!({})
    } else {
        match serde_json::from_str(input) {
            Ok(config) => config,
            Err(e) => {
                return refuse("1.0.0", &failure(UNDECODABLE, format!("the configuration is no JSON: {e}")));
            }
        }
    };
    let version = config.get("cniVersion").and_then(Value::as_str).unwrap_or("1.0.0").to_owned();
    let call = Call { config, environment };
    let done = match command.as_str() {
        "VERSION" => Ok(Some(json!({"cniVersion": version, "supportedVersions": VERSIONS}))),
        _ if !VERSIONS.contains(&version.as_str()) => Err(failure(
            UNSUPPORTED,
            format!("version {version} of CNI is not known; there are {}", VERSIONS.join(", ")),
        )),
        "ADD" => call.add().map(Some),
        "CHECK" => call.check().map(|()| None),
        "DEL" => {
            call.delete();
            Ok(None)
        }
        "STATUS" => call.status().map(|()| None),
        "GC" => Ok(None),
        other => Err(failure(ENVIRONMENT, format!("CNI_COMMAND is {other:?}"))),
    };
    match done {
        Ok(result) => Said { text: result.map(|r| r.to_string()).unwrap_or_default(), code: 0 },
        Err(why) => refuse(&version, &why),
    }
}

fn refuse(version: &str, why: &Failure) -> Said {
    let said = json!({"cniVersion": version, "code": why.code, "msg": why.message});
    Said { text: said.to_string(), code: 1 }
}

impl Call {
    fn add(&self) -> Result<Value, Failure> {
        let before = self.result_before()?;
        match self.attach(&before) {
            Err(why) if !self.fails_open() => Err(why),
            // Somebody wants pods without policy rather than none.
            _ => Ok(before),
        }
    }

    fn attach(&self, before: &Value) -> Result<(), Failure> {
        let (namespace, pod) = self.pod()?;
        let addresses = addresses(before, self.variable("CNI_IFNAME").unwrap_or_default());
        if addresses.is_empty() {
            return Err(failure(INVALID, "the plugin before this one gave the pod no address"));
        }
        let request = json!({"ask": "attach", "namespace": namespace, "pod": pod, "interface": self.interface(before)?,
            "addresses": addresses, "container": self.variable("CNI_CONTAINERID").unwrap_or_default()});
        let said = self.ask(&request, self.wait())?;
        match said.get("attached").and_then(Value::as_bool) {
            Some(true) => Ok(()),
            _ => Err(failure(AGAIN, format!("no policy was attached for {namespace}/{pod}: {said}"))),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        let before = self.result_before()?;
        let (namespace, pod) = self.pod()?;
        let interface = self.interface(&before)?;
        let said = self.ask(&json!({"ask": "endpoints"}), Duration::from_secs(5))?;
        let name = format!("{namespace}/{pod}");
        let all = said.get("endpoints").and_then(Value::as_array).into_iter().flatten();
        let is =
            |e: &&Value| e.get("name") == Some(&json!(name)) && e.get("interface") == Some(&json!(interface));
        if all.filter(is).count() == 0 {
            return Err(failure(AGAIN, format!("no policy is attached for {name} at {interface}")));
        }
        Ok(())
    }

    /// An agent that is not there has nothing to forget: a pod can always be removed.
    fn delete(&self) {
        if let Ok((namespace, pod)) = self.pod() {
            let container = self.variable("CNI_CONTAINERID").unwrap_or_default();
            let request =
                json!({"ask": "forget", "namespace": namespace, "pod": pod, "container": container});
            let _ = self.ask(&request, Duration::from_secs(5));
        }
    }

    fn status(&self) -> Result<(), Failure> {
        let asked = self.ask(&json!({"ask": "endpoints"}), Duration::from_secs(5));
        asked.map(drop).map_err(|why| failure(UNAVAILABLE, why.message))
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    fn result_before(&self) -> Result<Value, Failure> {
        self.config.get("prevResult").filter(|r| r.is_object()).cloned().ok_or_else(|| {
            failure(INVALID, "there is no prevResult: this plugin stands behind one that makes interfaces")
        })
    }

    /// Namespace and name, as container runtimes tell them.
    fn pod(&self) -> Result<(String, String), Failure> {
        let args = self.variable("CNI_ARGS").unwrap_or_default();
        let of = |wanted: &str| {
            let mut all = args.split(';').filter_map(|a| a.split_once('='));
            all.find(|(k, _)| *k == wanted).map(|(_, v)| v.to_owned()).filter(|v| !v.is_empty())
        };
        match (of("K8S_POD_NAMESPACE"), of("K8S_POD_NAME")) {
            (Some(namespace), Some(name)) => Ok((namespace, name)),
            _ => Err(failure(ENVIRONMENT, "CNI_ARGS has no K8S_POD_NAMESPACE and K8S_POD_NAME")),
        }
    }

    /// The pod's interface on the host's side: the other end of the one in its namespace.
    fn interface(&self, before: &Value) -> Result<String, Failure> {
        let inside = self.variable("CNI_IFNAME").unwrap_or("eth0");
        let links =
            links::links().map_err(|e| failure(AGAIN, format!("interfaces cannot be listed: {e}")))?;
        let netns = self.variable("CNI_NETNS").ok_or_else(|| failure(ENVIRONMENT, "CNI_NETNS is not set"))?;
        if let Ok(index) = links::host_side_of(netns, inside)
            && let Some(link) = links.values().find(|l| l.index == index)
        {
            return Ok(link.name.clone());
        }
        let outside = host_interfaces(before);
        let mut known =
            outside.iter().filter(|n| links.get(**n).is_some_and(|l| l.kind == links::LinkKind::Pod));
        match (known.next(), known.next()) {
            (Some(one), None) => Ok((*one).to_owned()),
            _ => Err(failure(
                INVALID,
                format!("{inside} of {netns} is not one end of a pair whose other end is on the host"),
            )),
        }
    }

    fn fails_open(&self) -> bool {
        self.config.get("failOpen").and_then(Value::as_bool) == Some(true)
    }

    fn wait(&self) -> Duration {
        Duration::from_secs(self.config.get("wait").and_then(Value::as_u64).unwrap_or(WAIT).clamp(1, 600))
    }

    fn ask(&self, request: &Value, wait: Duration) -> Result<Value, Failure> {
        let state = self.config.get("state").and_then(Value::as_str).unwrap_or("/run/portcullis");
        ask(&control::path(&PathBuf::from(state)), request, wait).map_err(|why| failure(AGAIN, why))
    }
}

fn ask(path: &Path, request: &Value, wait: Duration) -> Result<Value, String> {
    let away = |e| format!("the agent does not answer at {}: {e}", path.display());
    let mut stream = UnixStream::connect(path).map_err(away)?;
    stream.set_read_timeout(Some(wait)).map_err(away)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(away)?;
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line) {
        Ok(0) => return Err("the agent went away".to_owned()),
        Ok(_) => {}
        Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            return Err(format!("no policy was attached within {} s", wait.as_secs()));
        }
        Err(e) => return Err(away(e)),
    }
    let said: Value =
        serde_json::from_str(&line).map_err(|e| format!("the agent said what is no JSON: {e}"))?;
    match said.get("error").and_then(Value::as_str) {
        Some(why) => Err(why.to_owned()),
        None => Ok(said),
    }
}

/// Addresses that a result gives the interface of that name, or no interface in particular.
fn addresses(result: &Value, inside: &str) -> Vec<IpAddr> {
    let interfaces = result.get("interfaces").and_then(Value::as_array);
    let is_inside = |ip: &&Value| {
        let at = ip.get("interface").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let interface = at.and_then(|at| interfaces?.get(at));
        interface.is_none_or(|i| inside.is_empty() || i.get("name").and_then(Value::as_str) == Some(inside))
    };
    let all = result.get("ips").and_then(Value::as_array).into_iter().flatten().filter(is_inside);
    all.filter_map(|ip| ip.get("address")?.as_str()?.split('/').next()?.parse().ok()).collect()
}

/// Names of a result's interfaces that are in no sandbox.
fn host_interfaces(result: &Value) -> Vec<&str> {
    let all = result.get("interfaces").and_then(Value::as_array).into_iter().flatten();
    let on_host = |i: &&Value| i.get("sandbox").and_then(Value::as_str).is_none_or(str::is_empty);
    all.filter(on_host).filter_map(|i| i.get("name")?.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn it_says_which_versions_it_knows() {
        let said = run(with(&[("CNI_COMMAND", "VERSION")]), "{\"cniVersion\": \"1.0.0\"}");
        let v: Value = serde_json::from_str(&said.text).unwrap();
        assert_eq!((said.code, v["cniVersion"].as_str()), (0, Some("1.0.0")));
        assert!(v["supportedVersions"].as_array().unwrap().contains(&json!("1.0.0")));
        assert_eq!(run(with(&[("CNI_COMMAND", "VERSION")]), "").code, 0);
    }

    #[test]
    fn what_cannot_be_done_is_said_with_the_specifications_numbers() {
        let code = |command: &str, input: &str| {
            let said = run(
                with(&[("CNI_COMMAND", command), ("CNI_ARGS", "K8S_POD_NAME=a;K8S_POD_NAMESPACE=b")]),
                input,
            );
            assert_eq!(said.code, 1, "{command} {input}");
            serde_json::from_str::<Value>(&said.text).unwrap()["code"].as_u64().unwrap()
        };
        assert_eq!(code("ADD", "{"), 6);
        assert_eq!(code("ADD", "{\"cniVersion\": \"9.0.0\"}"), 1);
        assert_eq!(code("ADD", "{\"cniVersion\": \"1.0.0\"}"), 7);
        assert_eq!(code("ADD", "{\"prevResult\": {\"ips\": []}}"), 7);
        assert_eq!(code("", "{}"), 4);
        assert_eq!(code("STATUS", "{\"state\": \"/nonexistent\"}"), 50);
        let gone = run(
            with(&[("CNI_COMMAND", "DEL"), ("CNI_ARGS", "K8S_POD_NAME=a;K8S_POD_NAMESPACE=b")]),
            "{\"state\": \"/nonexistent\"}",
        );
        assert_eq!((gone.code, gone.text.as_str()), (0, ""), "a pod can be removed without an agent");
    }

    #[test]
    fn addresses_are_those_of_the_pods_interface() {
        let result = json!({"interfaces": [{"name": "cni0"}, {"name": "veth1", "sandbox": ""}, {"name": "eth0", "sandbox": "/x"}],
            "ips": [{"address": "10.0.0.1/24", "interface": 2}, {"address": "10.0.0.9/24", "interface": 0}, {"address": "fd00::1/64"}]});
        let ips: Vec<String> = addresses(&result, "eth0").iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.0.0.1", "fd00::1"]);
        assert_eq!(host_interfaces(&result), ["cni0", "veth1"]);
    }
}
