//! What the node looks like, as JSON for programs and as text for people.

use crate::events::reason;
use crate::kernel::{Attachment, KernelError};
use crate::node::{Node, live_generation, policy_set};
use portcullis_abi::maps::{DropKey, INGRESS, counter, drop};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The status as JSON.
pub fn status(node: &Node, verbose: bool) -> Result<Value, KernelError> {
    let kernel = node.kernel();
    let count = kernel.counters()?;
    let at = |n: u32| count.get(n as usize).copied().unwrap_or_default();
    let took = node.took();
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let current = node.current();
    let mut out = json!({
        "schema": "portcullis.dev/status/v1",
        "node": node.config().node,
        "healthy": node.problems().is_empty(),
        "problems": node.problems(),
        "generation": live_generation(kernel)?,
        "since": current.map(|r| r.since),
        "source": current.map(|r| r.source.clone()),
        "policies": current.map(|r| r.policies),
        "backTo": current.and_then(|r| r.back.as_ref().map(|b| b.to)),
        "held": node.is_held(),
        "policySet": current.map(|r| policy_set(&r.policy_texts())),
        "givenPolicySet": node.given(),
        "waits": node.held(),
        "unenforced": current.map(|r| r.unenforced.clone()).unwrap_or_default(),
        "endpoints": endpoints(node),
        "packets": {
            "forwarded": {"ingress": at(counter::FORWARDED_INGRESS), "egress": at(counter::FORWARDED_EGRESS)},
            "dropped": {"ingress": at(counter::DROPPED_INGRESS), "egress": at(counter::DROPPED_EGRESS)},
            "audited": at(counter::AUDITED),
            "eventsLost": at(counter::EVENTS_LOST),
            "notTracked": at(counter::CONNTRACK_FAILED),
            "fragmentsWithoutFirst": at(counter::FRAGMENTS_UNKNOWN),
        },
        "drops": drops(node)?,
        "services": services(node),
        "lastChangeMicroseconds": {
            "compile": micros(took.compile), "stage": micros(took.stage), "flip": micros(took.flip),
        },
        "pins": kernel.folder().display().to_string(),
        "slotBytes": kernel.slot_size(),
    });
    if verbose {
        let image = kernel.active()?.map(|slot| kernel.image(slot)).transpose()?.flatten();
        let maps: BTreeMap<&str, Value> = kernel
            .room()
            .into_iter()
            .map(|(name, room)| {
                let used = match name {
                    "addresses" => kernel.addresses().map(|a| a.len()),
                    _ => kernel.flows().map(|f| f.len()),
                };
                (name, json!({"used": used.ok(), "room": room}))
            })
            .collect();
        if let Some(all) = out.as_object_mut() {
            all.insert("maps".into(), json!(maps));
            all.insert("imageBytes".into(), json!(image.map(|i| i.len())));
        }
    }
    Ok(out)
}

/// Services as JSON: how many addresses and ports, and where they are translated.
fn services(node: &Node) -> Value {
    let Some(services) = node.services() else { return Value::Null };
    let how = |h| match h {
        Attachment::Link => "tcx link",
        Attachment::Filter => "clsact filter",
    };
    let devices: Vec<Value> =
        services.devices().map(|(name, h)| json!({"name": name, "attachedBy": how(h)})).collect();
    let checks: Vec<Value> = services
        .health_checks()
        .iter()
        .map(|c| json!({"service": format!("{}/{}", c.namespace, c.name), "port": c.port, "localEndpoints": c.local_endpoints}))
        .collect();
    json!({
        "frontends": services.frontends(),
        "devices": devices,
        "healthChecks": checks,
        // From outside; at sockets the cluster's addresses come with them.
        "features": ["NodePort", "LoadBalancer", "externalIPs", "hostPort"],
        "sockets": services.cgroup().map(|path| json!({"cgroup": path, "features": ["ClusterIP", "NodePort", "LoadBalancer", "externalIPs", "hostPort"]})),
    })
}

/// This node's pods as JSON.
pub fn endpoints(node: &Node) -> Value {
    let one = |p: &crate::node::Present| {
        json!({
            "name": p.name,
            "interface": p.link.name,
            "ifindex": p.link.index,
            "number": p.number,
            "identity": p.identity,
            "addresses": p.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "attachedBy": match p.how { Attachment::Link => "tcx link", Attachment::Filter => "clsact filter" },
        })
    };
    node.present().map(one).collect::<Vec<_>>().into()
}

/// Drops by cause, the most frequent first.
fn drops(node: &Node) -> Result<Value, KernelError> {
    let mut all: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for (key, n) in node.kernel().drops()? {
        let side = if key.direction == INGRESS { "ingress" } else { "egress" };
        *all.entry((cause(node, &key), side)).or_default() += n;
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(all
        .into_iter()
        .map(|((cause, side), n)| json!({"cause": cause, "direction": side, "packets": n}))
        .collect::<Vec<_>>()
        .into())
}

/// What a count of drops is about.
fn cause(node: &Node, key: &DropKey) -> String {
    if key.reason != drop::POLICY {
        return reason(key.reason).to_owned();
    }
    let known = match node.current() {
        Some(r) if r.generation == key.generation => r.causes.get(key.cause as usize).cloned(),
        _ => node
            .records()
            .read(key.generation)
            .ok()
            .flatten()
            .and_then(|(r, _)| r.causes.get(key.cause as usize).cloned()),
    };
    known.unwrap_or_else(|| format!("policy of generation {}", key.generation))
}

/// The status for people: what is wrong first.
pub fn text(v: &Value, verbose: bool) -> String {
    let mut out = String::new();
    let list = |at: &str| v.get(at).and_then(Value::as_array).cloned().unwrap_or_default();
    let said = |v: Option<&Value>| match v {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Null) | None => "–".to_owned(),
        Some(other) => other.to_string(),
    };
    let at = |path: &str| said(v.pointer(path));
    for problem in list("problems") {
        let _ = writeln!(out, "problem: {}", said(Some(&problem)));
    }
    let generation = match v.get("generation") {
        Some(Value::Null) | None => "no generation in the kernel".to_owned(),
        Some(n) => format!("generation {n}, {} policies, since {}", at("/policies"), time(v.get("since"))),
    };
    let back = match v.get("backTo") {
        Some(Value::Null) | None => String::new(),
        Some(n) => format!(" (the policies of generation {n} again, until the files change)"),
    };
    let _ = writeln!(out, "{}: {generation}{back}", at("/node"));
    if let Some(waits) = v.get("waits").filter(|w| !w.is_null()) {
        text_of_held(&mut out, waits, verbose);
    }
    for unenforced in list("unenforced") {
        let part = |i: usize| said(unenforced.get(i));
        let _ = writeln!(out, "not enforced as written: {}\n  {}", part(0), part(1));
    }
    let endpoints = list("endpoints");
    let _ = writeln!(out, "{} endpoints", endpoints.len());
    for e in &endpoints {
        let part = |key: &str| said(e.get(key));
        let ips: Vec<String> = e
            .get("addresses")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|a| said(Some(a)))
            .collect();
        let _ = writeln!(
            out,
            "  {:<28} {:<14} {:<10} {}",
            part("name"),
            part("interface"),
            part("attachedBy"),
            ips.join(" ")
        );
    }
    let _ = writeln!(
        out,
        "passed {} in, {} out; dropped {} in, {} out",
        at("/packets/forwarded/ingress"),
        at("/packets/forwarded/egress"),
        at("/packets/dropped/ingress"),
        at("/packets/dropped/egress")
    );
    if let Some(services) = v.get("services").filter(|s| !s.is_null()) {
        let devices = services.get("devices").and_then(Value::as_array).cloned().unwrap_or_default();
        let names: Vec<String> = devices.iter().map(|d| said(d.get("name"))).collect();
        let features = services.get("features").and_then(Value::as_array).cloned().unwrap_or_default();
        let features: Vec<String> = features.iter().map(|f| said(Some(f))).collect();
        let _ = writeln!(
            out,
            "services: {} addresses and ports, from outside ({}) at {}",
            at("/services/frontends"),
            features.join(", "),
            if names.is_empty() { "no device".to_owned() } else { names.join(", ") }
        );
        let _ = match services.get("sockets").and_then(|s| s.get("cgroup")).and_then(Value::as_str) {
            Some(cgroup) => {
                writeln!(out, "          for this node's processes at their sockets, all below {cgroup}")
            }
            None => {
                writeln!(out, "          not for this node's own processes: nothing is translated at sockets")
            }
        };
    }
    let drops = list("drops");
    let shown = if verbose { drops.len() } else { 5 };
    for d in drops.iter().take(shown) {
        let _ = writeln!(
            out,
            "  {:>8} {:<7} {}",
            said(d.get("packets")),
            said(d.get("direction")),
            said(d.get("cause"))
        );
    }
    if drops.len() > shown {
        let _ = writeln!(out, "  and {} causes more: --verbose", drops.len() - shown);
    }
    if verbose {
        let _ = writeln!(out, "image     {} bytes of {}", at("/imageBytes"), at("/slotBytes"));
        let _ = writeln!(out, "source    {}", at("/source"));
        let _ = writeln!(out, "pins      {}", at("/pins"));
        for map in ["addresses", "conntrack"] {
            let used = at(&format!("/maps/{map}/used"));
            let _ = writeln!(out, "{map:<9} {used} of {}", at(&format!("/maps/{map}/room")));
        }
        for (what, key) in [
            ("audited", "audited"),
            ("events lost", "eventsLost"),
            ("flows not tracked", "notTracked"),
            ("fragments without a first", "fragmentsWithoutFirst"),
        ] {
            let _ = writeln!(out, "{what}: {}", at(&format!("/packets/{key}")));
        }
        let part = |key: &str| at(&format!("/lastChangeMicroseconds/{key}"));
        let _ = writeln!(
            out,
            "last change: compiled and proved in {} µs, staged in {} µs, flipped in {} µs",
            part("compile"),
            part("stage"),
            part("flip")
        );
    }
    out
}

/// What waits for approval, and what it would deny.
fn text_of_held(out: &mut String, waits: &Value, verbose: bool) {
    let said = |key: &str| waits.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |key: &str| waits.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let digest = said("policySet");
    let _ = writeln!(out, "held since {}: the policy set {digest}", time(waits.get("since")));
    let _ = writeln!(out, "  {}", said("why"));
    let shown = if verbose { usize::MAX } else { 10 };
    for (key, head) in [("changes", ""), ("denied", "DENIED ")] {
        let all = list(key);
        for one in all.iter().take(shown).filter_map(Value::as_str) {
            let _ = writeln!(out, "  {head}{one}");
        }
        let more =
            if key == "denied" { waits.get("moreDenied").and_then(Value::as_u64).unwrap_or(0) } else { 0 };
        let more = all.len().saturating_sub(shown) as u64 + more;
        if more > 0 {
            let _ = writeln!(out, "  and {more} more");
        }
    }
    let _ = writeln!(
        out,
        "  the policies before it stay in use; to let it in: portcullis-agent approve {digest}"
    );
}

/// A time as `2026-11-25 03:04:05 UTC`.
pub fn time(v: Option<&Value>) -> String {
    let Some(seconds) = v.and_then(Value::as_u64) else { return "–".to_owned() };
    let at = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    at.map_or_else(|| "–".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A time as `2026-11-25T03:04:05Z`.
pub fn rfc3339(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    at.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!(time(Some(&json!(0))), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(Some(&json!(951_827_696))), "2000-02-29 12:34:56 UTC");
        assert_eq!(time(Some(&json!(1_795_575_845))), "2026-11-25 03:04:05 UTC");
        assert_eq!(time(None), "–");
    }

    #[test]
    fn problems_come_first() {
        let v = json!({"node": "n", "generation": null, "problems": ["no policy is in use"]});
        assert!(
            text(&v, false).starts_with("problem: no policy is in use\nn: no generation in the kernel\n")
        );
    }
}
