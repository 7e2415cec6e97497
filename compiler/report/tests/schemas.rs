//! Real outputs against the schemas that describe them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    dead_code,
    reason = "tests"
)]

mod common;

use jsonschema::{Registry, Validator};
use portcullis_diag::SourceMap;
use portcullis_report::{CheckReport, DiffReport, Format, ReachReport, Render, StepsReport, Style};
use serde_json::Value;
use std::path::Path;

const STYLE: Style = Style { colour: false, width: 80, verbose: false };

fn read(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Makes a schema refuse fields that it does not describe: for readers it leaves room to grow, for
/// us it is the whole truth.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("type").is_some_and(|t| t == "object") && map.contains_key("properties") {
                map.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn validator(name: &str) -> Validator {
    let mut common = read("../../docs/schema/common.v1.schema.json");
    let mut schema = read(&format!("../../docs/schema/{name}.v1.schema.json"));
    close(&mut common);
    close(&mut schema);
    let id = common["$id"].as_str().unwrap().to_owned();
    let registry = Registry::new().add(&id, common).unwrap().prepare().unwrap();
    jsonschema::options().with_registry(&registry).build(&schema).unwrap()
}

fn holds(validator: &Validator, text: &str) -> Value {
    assert!(text.ends_with('\n'));
    let value: Value = serde_json::from_str(text).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{}\n{text}", errors.join("\n"));
    value
}

fn full() -> (common::Files, DiffReport) {
    let (files, mut report) = common::diff();
    let all = common::diagnostics(&files);
    report.blocking = vec![all[0].clone(), all[3].clone()];
    report.diagnostics = vec![all[1].clone(), all[2].clone()];
    (files, report)
}

#[test]
fn a_check_document_is_what_its_schema_says() {
    let v = validator("check");
    let (files, report) = common::check();
    let text = report.render(&files.sources, Format::Json, &STYLE);
    holds(&v, &text);
    insta::assert_snapshot!("check_json", text);
    holds(&v, &CheckReport::default().render(&SourceMap::new(), Format::Json, &STYLE));
}

#[test]
fn a_diff_document_is_what_its_schema_says() {
    let v = validator("diff");
    let (files, report) = full();
    let text = report.render(&files.sources, Format::Json, &STYLE);
    let value = holds(&v, &text);
    assert_eq!(value["conclusive"], false);
    assert_eq!(value["findings"][1]["ports"]["ranges"][0]["first"], 8080);
    insta::assert_snapshot!("diff_json", text);
    holds(&v, &DiffReport::default().render(&SourceMap::new(), Format::Json, &STYLE));
}

#[test]
fn explain_and_reach_documents_are_what_their_schemas_say() {
    let (files, e) = common::explanation();
    holds(&validator("explain"), &e.render(&files.sources, Format::Json, &STYLE));
    // Every place is unknown in an empty map.
    holds(&validator("explain"), &e.render(&SourceMap::new(), Format::Json, &STYLE));
    let (files, r) = common::reach();
    holds(&validator("reach"), &r.render(&files.sources, Format::Json, &STYLE));
    holds(&validator("reach"), &ReachReport::default().render(&SourceMap::new(), Format::Json, &STYLE));
    let (files, s) = common::steps();
    holds(&validator("steps"), &s.render(&files.sources, Format::Json, &STYLE));
    holds(&validator("steps"), &StepsReport::default().render(&SourceMap::new(), Format::Json, &STYLE));
}

#[test]
fn a_schema_refuses_a_field_that_it_does_not_describe() {
    let v = validator("check");
    let mut value: Value =
        serde_json::from_str(&CheckReport::default().render(&SourceMap::new(), Format::Json, &STYLE))
            .unwrap();
    assert!(v.is_valid(&value));
    value["coverage"]["extra"] = Value::Null;
    assert!(!v.is_valid(&value));
}

#[test]
fn sarif_is_what_the_standard_says() {
    let schema = read("tests/data/sarif-2.1.0-subset.schema.json");
    let v = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let (files, report) = full();
    let text = report.render(&files.sources, Format::Sarif, &STYLE);
    let value = holds(&v, &text);
    insta::assert_snapshot!("diff_sarif", text);
    let run = &value["runs"][0];
    for r in run["results"].as_array().unwrap() {
        let rule = &run["tool"]["driver"]["rules"][r["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], r["ruleId"]);
    }
    let (files, report) = common::check();
    let text = report.render(&files.sources, Format::Sarif, &STYLE);
    holds(&v, &text);
    insta::assert_snapshot!("check_sarif", text);
    holds(&v, &CheckReport::default().render(&SourceMap::new(), Format::Sarif, &STYLE));
}

#[test]
fn a_fingerprint_does_not_move_with_its_line() {
    let prints = |sources: &SourceMap, report: &CheckReport| -> Vec<Value> {
        let value: Value = serde_json::from_str(&report.render(sources, Format::Sarif, &STYLE)).unwrap();
        value["runs"][0]["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["partialFingerprints"].clone())
            .collect()
    };
    let (files, mut report) = common::check();
    let before = prints(&files.sources, &report);
    for l in report.diagnostics.iter_mut().flat_map(|d| &mut d.labels) {
        l.span.start = 0;
    }
    assert_eq!(before, prints(&files.sources, &report));
}
