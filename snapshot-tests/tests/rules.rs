//! Claims about the sources: rules that are cited exist, and crates depend on each other one way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_snapshot_tests::case::root;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Numbers of the form `SEM-1.2` in a text.
fn cited(text: &str) -> BTreeSet<String> {
    text.split("SEM-")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number = rest.get(..end)?.trim_end_matches('.');
            number.contains('.').then(|| number.to_owned())
        })
        .collect()
}

fn files(folder: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') || ["target", "corpus", "artifacts"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            files(&path, out);
        } else if ["rs", "md", "yaml"].iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
            out.push(path);
        }
    }
}

#[test]
fn every_rule_that_is_cited_is_in_the_specification() {
    let root = root();
    let spec = std::fs::read_to_string(root.join("docs/semantics.md")).unwrap();
    let headings: Vec<&str> = spec.lines().filter(|l| l.starts_with("### SEM-")).collect();
    let known = cited(&headings.join("\n"));
    assert!(known.len() > 60, "{known:?}");
    let mut all = Vec::new();
    for folder in ["compiler", "docs", "snapshot-tests", "policies", "fuzz"] {
        files(&root.join(folder), &mut all);
    }
    let mut unknown = Vec::new();
    for path in all {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        unknown.extend(cited(&text).difference(&known).map(|n| format!("{}: SEM-{n}", path.display())));
    }
    // In this file the first number above is an example.
    unknown.retain(|u| !u.ends_with("tests/rules.rs: SEM-1.2"));
    assert!(unknown.is_empty(), "cited, but not in docs/semantics.md:\n{}", unknown.join("\n"));
}

#[test]
fn every_section_of_the_specification_has_a_case_written_by_hand() {
    let root = root();
    let mut all = Vec::new();
    files(&root.join("snapshot-tests/cases"), &mut all);
    files(&root.join("policies/examples"), &mut all);
    let cited: BTreeSet<String> = all
        .iter()
        .filter(|p| p.ends_with("flows.yaml"))
        .flat_map(|p| cited(&std::fs::read_to_string(p).unwrap()))
        .collect();
    for section in 1..=8 {
        assert!(cited.iter().any(|n| n.starts_with(&format!("{section}."))), "section {section}");
    }
    // Rules that say which of two things wins are each tried.
    for rule in
        ["5.1", "5.2", "5.3", "5.4", "5.5", "5.6", "6.1", "6.2", "6.3", "6.4", "6.5", "6.6", "6.7", "6.8"]
    {
        assert!(cited.contains(rule), "SEM-{rule}");
    }
}

/// Crates of the workspace and what each needs to be built, tests apart.
fn needs() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let v: Value = serde_json::from_slice(&out.stdout).unwrap();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    v["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            let deps = p["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"] != "dev");
            (text(&p["name"]), deps.map(|d| text(&d["name"])).collect())
        })
        .collect()
}

#[test]
fn crates_depend_on_each_other_in_the_direction_of_the_pipeline() {
    let needs = needs();
    let own = |name: &str| -> BTreeSet<String> {
        let all = needs.get(&format!("portcullis-{name}")).unwrap_or_else(|| panic!("no crate {name}"));
        all.iter().filter_map(|d| d.strip_prefix("portcullis-")).map(str::to_owned).collect()
    };
    let allowed: [(&str, &[&str]); 12] = [
        ("diag", &[]),
        ("front", &["diag"]),
        ("ir", &["diag", "front"]),
        ("oracle", &["diag", "ir"]),
        ("sema", &["diag", "front", "ir"]),
        ("suggest", &["diag", "front", "ir", "sema"]),
        ("tables", &["abi", "diag", "front", "ir", "sema"]),
        ("services", &["abi", "diag", "front"]),
        ("flows", &["ir"]),
        ("verify", &["abi", "ir", "oracle", "sema", "symbolic", "tables"]),
        // The second, independent way: it shares the normal form with the others and nothing else.
        ("symbolic", &["ir"]),
        ("report", &["diag", "front", "ir", "sema"]),
    ];
    for (name, may) in allowed {
        let beyond: Vec<String> = own(name).into_iter().filter(|d| !may.contains(&d.as_str())).collect();
        assert!(beyond.is_empty(), "portcullis-{name} must not need {beyond:?}");
    }
}

#[test]
fn only_one_crate_knows_each_outside_vocabulary() {
    let needs = needs();
    for (what, who) in [
        ("granit-parser", &["portcullis-front"][..]),
        ("jsonc-parser", &["portcullis-front"]),
        ("regex-syntax", &["portcullis-front"]),
        ("miette", &["portcullis-report"]),
        ("clap", &["portcullis-cli", "portcullis-bench", "portcullis-agent"]),
        ("aya", &["portcullis-agent"]),
        ("kube", &["portcullis-cluster"]),
        ("tonic", &["portcullis-hubble"]),
        ("petgraph", &["portcullis-sema"]),
    ] {
        let users: Vec<&String> = needs.iter().filter(|(_, d)| d.contains(what)).map(|(n, _)| n).collect();
        assert!(users.iter().all(|u| who.contains(&u.as_str())), "{what} is used by {users:?}");
    }
}

#[test]
fn no_crate_of_the_compiler_but_the_command_line_touches_the_machine() {
    let mut all = Vec::new();
    for name in [
        "diag", "front", "ir", "oracle", "sema", "suggest", "tables", "services", "verify", "symbolic",
        "report",
    ] {
        files(&root().join("compiler").join(name).join("src"), &mut all);
    }
    let mut found = Vec::new();
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for what in ["std::fs", "std::env", "std::net::Tcp", "std::process", "std::time", "std::io"] {
            if code.lines().any(|l| l.contains(what) && !l.trim_start().starts_with("//")) {
                found.push(format!("{}: {what}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
