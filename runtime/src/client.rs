//! The commands that ask a running agent.

use crate::say;
use portcullis_agent::{control, status};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Asks, and hands on each line of the answer until `each` says that it is enough.
fn ask(state: &Path, request: &Value, mut each: impl FnMut(Value) -> bool) -> Result<(), String> {
    let path = control::path(state);
    let mut stream = UnixStream::connect(&path).map_err(|e| {
        format!(
            "no agent answers at {}: {e}; is one running, and is this its --state folder?",
            path.display()
        )
    })?;
    stream
        .write_all(format!("{request}\n").as_bytes())
        .map_err(|e| format!("the agent does not listen: {e}"))?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(|e| format!("the agent went away: {e}"))?;
        let v: Value =
            serde_json::from_str(&line).map_err(|e| format!("the agent said what is no JSON: {e}"))?;
        if let Some(e) = v.get("error").and_then(Value::as_str) {
            return Err(e.to_owned());
        }
        if !each(v) {
            return Ok(());
        }
    }
    Ok(())
}

/// One answer.
pub(crate) fn one(state: &Path, request: &Value) -> Result<Value, String> {
    let mut out = None;
    ask(state, request, |v| {
        out = Some(v);
        false
    })?;
    out.ok_or_else(|| "the agent said nothing".to_owned())
}

fn print(v: &Value, json: bool, text: impl FnOnce(&Value) -> String) {
    if json { say(&format!("{v:#}")) } else { say(text(v).trim_end()) }
}

pub(crate) fn status(state: &Path, json: bool, verbose: bool) -> Result<(), String> {
    let v = one(state, &json!({"ask": "status", "verbose": verbose}))?;
    print(&v, json, |v| status::text(v, verbose));
    Ok(())
}

pub(crate) fn endpoints(state: &Path, json: bool) -> Result<(), String> {
    let v = one(state, &json!({"ask": "endpoints"}))?;
    print(&v, json, |v| {
        let list = v.get("endpoints").and_then(Value::as_array).cloned().unwrap_or_default();
        if list.is_empty() {
            return "no endpoint is attached".to_owned();
        }
        let part = |e: &Value, key: &str| {
            e.get(key).map_or(String::new(), |v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
        };
        let mut out = String::new();
        for e in &list {
            let (name, interface) = (part(e, "name"), part(e, "interface"));
            let (identity, by) = (part(e, "identity"), part(e, "attachedBy"));
            let _ = writeln!(out, "{name:<28} {interface:<14} identity {identity:<6} {by}");
        }
        out
    });
    Ok(())
}

pub(crate) fn trace(
    state: &Path,
    json: bool,
    endpoint: Option<&str>,
    dropped: bool,
    number: Option<u64>,
) -> Result<(), String> {
    let mut left = number;
    let mut request = json!({"ask": "trace", "dropped": dropped});
    if let (Some(map), Some(endpoint)) = (request.as_object_mut(), endpoint) {
        map.insert("endpoint".into(), endpoint.into());
    }
    ask(state, &request, |v| {
        if let Some(n) = v.get("missed") {
            say(&format!("… {n} events were missed: this terminal is too slow"));
            return true;
        }
        if json {
            say(&v.to_string());
        } else {
            say(v.get("line").and_then(Value::as_str).unwrap_or_default());
        }
        left = left.map(|n| n.saturating_sub(1));
        left != Some(0)
    })
}

pub(crate) fn roll_back(state: &Path, json: bool, generation: Option<u64>) -> Result<(), String> {
    let v = one(state, &json!({"ask": "rollback", "generation": generation}))?;
    print(&v, json, |v| {
        let n = |key: &str| v.get(key).map_or_else(|| "–".to_owned(), ToString::to_string);
        format!(
            "generation {} is in use, with the policies of generation {}, until the policy files change",
            n("generation"),
            n("policiesOf")
        )
    });
    Ok(())
}

pub(crate) fn approve(state: &Path, json: bool, policy_set: Option<&str>) -> Result<(), String> {
    let v = one(state, &json!({"ask": "approve", "policySet": policy_set}))?;
    print(&v, json, |v| {
        let approved = v.get("approved").and_then(Value::as_str).unwrap_or_default();
        let generation = v.get("generation").map_or_else(|| "–".to_owned(), ToString::to_string);
        format!("the policy set {approved} may go on; generation {generation} is in use")
    });
    Ok(())
}

pub(crate) fn refresh(state: &Path, json: bool) -> Result<(), String> {
    let v = one(state, &json!({"ask": "refresh"}))?;
    print(&v, json, |v| {
        let generation = v.get("generation").map_or_else(|| "–".to_owned(), ToString::to_string);
        let mut out = String::new();
        for p in v.get("problems").and_then(Value::as_array).into_iter().flatten() {
            out.push_str("problem: ");
            out.push_str(p.as_str().unwrap_or_default());
            out.push('\n');
        }
        out + &format!("generation {generation} is in use")
    });
    Ok(())
}

pub(crate) fn rules(state: &Path, json: bool, never_hit: bool) -> Result<(), String> {
    let mut v = one(state, &json!({"ask": "rules"}))?;
    let hits = |r: &Value| r.get("hits").and_then(Value::as_u64).unwrap_or_default();
    if let Some(list) = v.get_mut("rules").and_then(Value::as_array_mut).filter(|_| never_hit) {
        list.retain(|r| hits(r) == 0);
    }
    print(&v, json, |v| {
        let mut out = format!("since {}\n", status::time(v.get("since")));
        if v.get("reportAllowed") != Some(&Value::Bool(true)) {
            out.push_str("only denials are counted: set reportAllowed to count what is allowed, too\n");
        }
        for r in v.get("rules").and_then(Value::as_array).into_iter().flatten() {
            let last = r.get("lastHit").filter(|l| !l.is_null());
            let last = last.map_or_else(|| "never".to_owned(), |l| status::time(Some(l)));
            let rule = r.get("rule").and_then(Value::as_str).unwrap_or_default();
            let _ = writeln!(out, "{:>10}  {last:<24} {rule}", hits(r));
        }
        out
    });
    Ok(())
}
