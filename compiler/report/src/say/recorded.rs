//! What a recording says, in words.

use crate::model::{DiffReport, Recording, Tally, Traffic};
use crate::words::{agree, count, join, number, one_line};
use portcullis_sema::diff::FindingKind;

/// What recorded flows come to; the denied ones first. One clause for each kind, at least one.
pub(super) fn headline(r: &Recording) -> Vec<(Option<FindingKind>, String)> {
    let mut out = Vec::new();
    for (kind, word, tally) in [
        (FindingKind::Denied, "newly denied", r.denied),
        (FindingKind::Allowed, "newly allowed", r.allowed),
        (FindingKind::L7, "still allowed, by other L7 rules", r.l7),
    ] {
        if tally.flows > 0 {
            out.push((Some(kind), format!("{word}: {}", tally_text(tally))));
        }
    }
    if out.is_empty() {
        out.push((None, format!("no recorded flow changes ({} looked at)", flows(r))));
    }
    out
}

fn tally_text(t: Tally) -> String {
    format!("{}, {}", count(t.flows, "flow"), count(t.pairs, "workload pair"))
}

fn flows(r: &Recording) -> String {
    let connections = count(r.flows, "connection");
    if r.requests == 0 { connections } else { format!("{connections} and {}", count(r.requests, "request")) }
}

/// Pairs that are named of each finding.
const PAIRS: usize = 5;

/// What of the finding of that place was recorded; empty without a recording.
pub(crate) fn seen(report: &DiffReport, at: usize) -> Vec<String> {
    if report.recording.is_none() {
        return Vec::new();
    }
    match report.traffic.get(at) {
        Some(Some(t)) => traffic(t),
        _ => vec!["never seen in the recording".to_owned()],
    }
}

fn traffic(t: &Traffic) -> Vec<String> {
    let mut parts = Vec::new();
    if t.flows > 0 {
        parts.push(count(t.flows, "connection"));
    }
    if t.requests_denied > 0 {
        parts.push(format!("{} that will be refused", count(t.requests_denied, "request")));
    }
    if t.requests_allowed > 0 {
        parts.push(format!("{} that were refused and will pass", count(t.requests_allowed, "request")));
    }
    if parts.is_empty() {
        parts.push(format!("{} of it", count(t.records, "record")));
    }
    let mut first = format!("seen: {}", join(&parts));
    match (t.first, t.last) {
        (Some(a), Some(b)) if time(a) == time(b) => first = format!("{first}, at {}", time(a)),
        (Some(a), Some(b)) => first = format!("{first}, from {} to {}", time(a), time(b)),
        _ => {}
    }
    let mut out = vec![first];
    for (from, to, port, n) in t.pairs.iter().take(PAIRS) {
        out.push(format!("  {from} → {to} {port}: {}", number(*n)));
    }
    if t.pairs.len() > PAIRS {
        out.push(format!("  and {} more pairs", number((t.pairs.len() - PAIRS) as u64)));
    }
    if !t.example.is_empty() {
        out.push(format!("for example {}", one_line(&t.example)));
    }
    if !t.request.is_empty() {
        out.push(format!("for example {}", one_line(&t.request)));
    }
    out
}

/// Seconds of UTC.
pub(crate) fn time(nanos: i64) -> String {
    let at = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What of a recording is left out because it says the same as others, or, with `loss`, because it could not be used.
fn list(r: &Recording, loss: bool) -> (u64, String) {
    let of: Vec<_> = r.left.iter().filter(|(_, _, l)| *l == loss).collect();
    let words: Vec<String> = of.iter().map(|(why, n, _)| format!("{} {why}", number(*n))).collect();
    (of.iter().map(|(_, n, _)| n).sum(), join(&words))
}

/// What of a recording was not looked at, and why: nothing that is asked of it is the whole truth without.
pub fn losses(r: &Recording) -> Vec<String> {
    let mut out = Vec::new();
    if r.lost > 0 {
        let lost = count(r.lost, "event");
        out.push(format!("the recorder lost {lost}: what they were about was not looked at"));
    }
    let (n, words) = list(r, true);
    if n > 0 {
        let are = agree(n, "line says", "lines say");
        out.push(format!("{} {are} nothing that could be used: {words}", number(n)));
    }
    for (why, n) in &r.unplaced {
        let are = agree(*n, "flow was", "flows were");
        out.push(format!("{} {are} not judged: {why}", number(*n)));
    }
    out
}

/// What was recorded as a whole: each text, and whether it is a warning.
pub(crate) fn recording(r: &Recording) -> Vec<(bool, String)> {
    let mut out = vec![(
        false,
        format!("recording: {}, {}, {}", count(r.pieces, "line"), count(r.records, "record"), flows(r)),
    )];
    let warn = |out: &mut Vec<(bool, String)>, n: u64, text: String| {
        if n > 0 {
            out.push((true, text));
        }
    };
    out.extend(losses(r).into_iter().map(|text| (true, text)));
    let then = |t: Tally, what: &str| {
        format!("{} {what}: the base is not what was in force, or labels were others", tally_text(t))
    };
    warn(
        &mut out,
        r.dropped_then.flows,
        then(
            r.dropped_then,
            &format!(
                "{} refused when recorded, and the base allows them",
                agree(r.dropped_then.flows, "was", "were")
            ),
        ),
    );
    warn(
        &mut out,
        r.passed_then.flows,
        then(r.passed_then, "passed when recorded, and the base denies them"),
    );
    if r.audited > 0 {
        out.push((false, format!("{} passed in audit mode only", count(r.audited, "flow"))));
    }
    let (n, words) = list(r, false);
    if n > 0 {
        out.push((false, format!("left out, since other records say the same: {words}")));
    }
    if r.denied.flows > 0 {
        let text = "`portcullis suggest` with the same recording and sides writes what to add so that these flows keep passing";
        out.push((false, text.to_owned()));
    }
    out.extend(r.notes.iter().map(|n| (false, n.clone())));
    out
}
