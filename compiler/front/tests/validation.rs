//! Hand-made objects, most of them wrong in one way, with what a real API server and Cilium's own
//! engine make of each. `compiler/conformance/data/validation.jsonl` holds one per line: the object,
//! whom it fails at, and whether the API server would drop a field of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::codes::schema;
use portcullis_diag::{Fate, FileId};
use portcullis_front::Parsed;
use serde_json::Value;

/// Where this project disagrees with the recorded answers on purpose: (case, why). None so far.
const DISAGREEMENTS: &[(&str, &str)] = &[];

struct Case {
    name: String,
    object: Value,
    expect: Fate,
    unknown_field: bool,
}

/// The fate of an object that reading gives, and whether a field of it is unknown.
fn judge(object: &Value) -> (Fate, bool, Parsed) {
    let parsed = portcullis_front::parse(FileId(0), "case.json", &object.to_string());
    let fate = parsed.diagnostics.iter().map(|d| d.fate).max().unwrap_or_default();
    let unknown = parsed.diagnostics.iter().any(|d| d.code == schema::UNKNOWN_FIELD);
    if let Some(object) = parsed.objects.first() {
        assert_eq!(object.fate, fate, "the object carries the worst fate of its findings");
    }
    (fate, unknown, parsed)
}

fn check(cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases.iter().filter(|c| !DISAGREEMENTS.iter().any(|(name, _)| *name == c.name)) {
        let (fate, unknown, parsed) = judge(&case.object);
        // A refused object's unknown fields are not on record: the server stops at the refusal.
        let unknown_agrees = unknown == case.unknown_field || (fate == Fate::Refused && unknown);
        if fate != case.expect || !unknown_agrees {
            let findings: Vec<String> =
                parsed.diagnostics.iter().map(|d| format!("{} {}", d.code, d.message)).collect();
            wrong.push(format!(
                "{}: expected {:?} (unknown field: {}), got {fate:?}: {findings:?}",
                case.name, case.expect, case.unknown_field
            ));
        }
        if fate == Fate::Accepted {
            assert_eq!(parsed.objects.len(), 1, "{} gives an object", case.name);
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_recorded_object_meets_its_recorded_fate() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/data/validation.jsonl");
    let cases: Vec<Case> = lines(&std::fs::read_to_string(path).unwrap())
        .into_iter()
        .map(|line| Case {
            name: line["case"].as_str().unwrap().to_owned(),
            object: line["object"].clone(),
            expect: match line["expect"].as_str().unwrap() {
                "refused" => Fate::Refused,
                "inert" => Fate::Inert,
                "accepted" => Fate::Accepted,
                other => panic!("unknown expectation {other}"),
            },
            unknown_field: line["unknown_field"].as_bool().unwrap(),
        })
        .collect();
    assert_eq!(cases.len(), 358);
    check(&cases);
}

/// Runs over the original recording, in the folder that `PORTCULLIS_VECTORS` names. Its
/// ClusterNetworkPolicy objects were never put to an API server and are left to the test above.
#[test]
fn the_original_recording_is_met_where_it_is_at_hand() {
    let Ok(folder) = std::env::var("PORTCULLIS_VECTORS") else {
        println!("PORTCULLIS_VECTORS is not set: the original recording is not checked");
        return;
    };
    let text = std::fs::read_to_string(format!("{folder}/validation.jsonl")).unwrap();
    let cases: Vec<Case> = lines(&text)
        .into_iter()
        .filter(|line| line["object"]["kind"] != "ClusterNetworkPolicy")
        .map(|line| Case {
            name: line["case"].as_str().unwrap().to_owned(),
            object: line["object"].clone(),
            expect: match (line["api_server_accepts"].as_bool(), line["accepted"].as_bool()) {
                (Some(false), _) => Fate::Refused,
                (_, Some(false)) => Fate::Inert,
                _ => Fate::Accepted,
            },
            unknown_field: line["strict_reason"].as_str().is_some_and(|s| s.contains("unknown field")),
        })
        .collect();
    check(&cases);
}

#[test]
fn an_inert_object_is_said_to_do_nothing() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/data/validation.jsonl");
    for line in lines(&std::fs::read_to_string(path).unwrap()).iter().filter(|l| l["expect"] == "inert") {
        let (_, _, parsed) = judge(&line["object"]);
        let loud = parsed.diagnostics.iter().filter(|d| d.fate == Fate::Inert);
        assert!(loud.clone().count() > 0, "{}", line["case"]);
        for finding in loud {
            assert!(finding.message.contains("lie in the cluster and do nothing"), "{}", finding.message);
            assert!(finding.object.is_some() && finding.span().is_some());
        }
    }
}
