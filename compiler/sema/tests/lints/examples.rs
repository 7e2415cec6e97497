//! The worked examples raise what their READMEs tell of, and nothing else: a lint that speaks up
//! about ordinary policy is worse than none.

use portcullis_diag::codes::meaning::*;
use portcullis_diag::{Code, FileId, Severity};
use portcullis_front::ast::Object;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is found in each side of each example at warning or error level.
const EXPECTED: &[(&str, &[Code])] = &[
    ("baseline-deny-clusterwide/base", &[DNS_LEFT_OUT]),
    ("baseline-deny-clusterwide/head", &[DNS_LEFT_OUT]),
    ("cidr-of-pods/head", &[DNS_LEFT_OUT, CIDR_OVER_CLUSTER]),
    ("cross-namespace-peer/base", &[PEER_IN_OTHER_NAMESPACE]),
    ("default-deny-toggled/base", &[ALLOWS_WITHOUT_DEFAULT_DENY]),
    ("deny-only/head", &[DENY_ONLY]),
    ("dns-allowed/base", &[DNS_LEFT_OUT, FQDN_WITHOUT_DNS]),
    ("empty-ports-entry/head", &[ENTRY_WITHOUT_PORTS]),
    ("first-egress-cuts-dns/head", &[DNS_LEFT_OUT]),
    ("icmp-type-zero/head", &[ICMP_TYPE_ZERO]),
    ("label-renamed/head", &[SELECTS_NO_POD, PEER_MATCHES_NOBODY]),
    ("mistyped-field/base", &[DNS_LEFT_OUT]),
    ("mistyped-field/head", &[DNS_LEFT_OUT]),
    ("policy-types-trap/head", &[DNS_LEFT_OUT, POLICY_TYPES_TRAP]),
    ("services-match-nothing/head", &[TO_SERVICES_MATCHES_NOTHING]),
];

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    all.sort();
    all
}

fn read(file: &Path, objects: &mut Vec<Object>) {
    let text = std::fs::read_to_string(file).unwrap();
    let id = FileId(u32::try_from(objects.len()).unwrap());
    objects.extend(portcullis_front::parse(id, &file.to_string_lossy(), &text).objects);
}

#[test]
fn the_worked_examples_raise_what_they_are_about_and_nothing_else() {
    let root = format!("{}/../../policies/examples", env!("CARGO_MANIFEST_DIR"));
    let mut found: BTreeMap<String, Vec<Code>> = BTreeMap::new();
    for example in sorted(Path::new(&root)).into_iter().filter(|d| d.is_dir()) {
        for side in ["base", "head", "policies"] {
            let mut objects = Vec::new();
            if example.join(side).is_dir() {
                let mut files = sorted(&example.join(side));
                files.extend(sorted(&example).into_iter().filter(|f| {
                    let name = f.file_name().unwrap().to_string_lossy();
                    name == "cluster.yaml" || name == format!("cluster-{side}.yaml")
                }));
                for file in files {
                    read(&file, &mut objects);
                }
            }
            let refs: Vec<&Object> = objects.iter().collect();
            let mut codes: Vec<Code> =
                super::lint(&refs).iter().filter(|d| d.severity > Severity::Note).map(|d| d.code).collect();
            codes.sort();
            codes.dedup();
            if !codes.is_empty() {
                found.insert(format!("{}/{side}", example.file_name().unwrap().to_string_lossy()), codes);
            }
        }
    }
    let expected: BTreeMap<String, Vec<Code>> =
        EXPECTED.iter().map(|(name, codes)| ((*name).to_owned(), codes.to_vec())).collect();
    assert_eq!(found, expected);
}
