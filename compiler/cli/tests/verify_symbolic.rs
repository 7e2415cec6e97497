//! `verify --symbolic`, as it is run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use portcullis_abi::{Section, word};
use portcullis_tables::Image;
use std::fs;
use std::process::Command;
use support::{Sandbox, cluster, examples, fake, policy, run_with_solver, z3};

const COMPILE: [&str; 6] = ["compile", "p", "--cluster", "c.yaml", "-o", "policy.img"];
const VERIFY: [&str; 6] = ["verify", "policy.img", "p", "--cluster", "c.yaml", "--symbolic"];

/// An image of a policy that lets `front` reach `web` on 8080.
fn compiled() -> Sandbox {
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front")).write("c.yaml", cluster(&["web", "front"]));
    s.run(&COMPILE).ends(0);
    s
}

#[test]
fn an_image_is_proved_for_every_pod_and_its_queries_can_be_asked_again() {
    let Some(z3) = z3("a proof of an image") else { return };
    let s = compiled();
    let run = s.run(&[&VERIFY[..], &["--save-queries", "q"]].concat()).ends(0);
    run.says(&["proved by z3, ingress", "proved by z3, egress"]);
    let out = Command::new(z3).arg(s.path("q/001-ingress-of-the-image-policy-img.smt2")).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("unsat"), "{out:?}");
}

#[test]
fn a_pod_that_two_selectors_meet_and_no_known_pod_does_needs_a_new_image() {
    if z3("pods without a class").is_none() {
        return;
    }
    let s = compiled();
    // Each label is on some pod, both together on none.
    let canary = policy("b", "web", "front").replace("app: web", "track: canary");
    s.write("p/b.yaml", canary);
    s.write("c.yaml", cluster(&["web", "front"]) + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: c, namespace: shop, labels: {track: canary}}\n");
    s.run(&COMPILE).ends(0);
    s.run(&VERIFY).ends(0).says(&[
        "proved by z3, ingress",
        "need a new image",
        "a pod with app=web and track=canary in namespace shop (ingress)",
    ]);
}

#[test]
fn a_pod_whose_port_has_another_number_needs_a_new_image_where_a_rule_names_it() {
    if z3("named ports of pods without a class").is_none() {
        return;
    }
    let s = compiled();
    s.write("p/a.yaml", policy("a", "web", "front").replace("\"8080\"", "http"));
    s.run(&COMPILE).ends(0);
    s.run(&VERIFY).ends(0).says(&[
        "proved by z3, ingress",
        "a pod with app=web in namespace shop, without a port http (ingress)",
    ]);
}

#[test]
fn a_flipped_verdict_is_found_and_replayed() {
    if z3("a flipped verdict").is_none() {
        return;
    }
    let s = compiled();
    let whole = fs::read(s.path("policy.img")).unwrap();
    let words = Image::parse(&whole).unwrap().section(Section::Words);
    let start = words.as_ptr() as usize - whole.as_ptr() as usize;
    for at in (start..start + words.len()).step_by(4) {
        let mut mutant = whole.clone();
        mutant[at] ^= u8::try_from(word::ALLOW).unwrap();
        s.write("policy.img", &mutant);
        let run = s.run(&VERIFY).ends(1);
        run.says(&["found by z3: the image does not answer as the policies do", "as for shop/", "policies"]);
    }
}

#[test]
fn a_solver_that_gives_up_leaves_the_image_unproved_and_a_lie_is_a_defect_or_an_error() {
    let s = compiled();
    let slow = fake(&s, "exec sleep 20");
    let (code, said) = run_with_solver(&s.root, &slow, &[&VERIFY[..], &["--timeout", "1"]].concat());
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("proved equal") && said.contains("undecided, ingress"), "{said}");
    assert!(said.contains("undecided: whether other pods need a new image"), "{said}");
    let (code, said) = run_with_solver(&s.root, &fake(&s, "echo sat; echo '((|protocol| #b000))'"), &VERIFY);
    assert!(code == 2 && said.contains("no answer to the query"), "{said}");
}

#[test]
fn without_z3_the_comparison_alone_is_not_passed_off_as_the_proof() {
    let s = compiled();
    let (code, said) = run_with_solver(&s.root, "/nowhere/z3", &VERIFY);
    assert!(code == 2 && said.contains("which is no file"), "{said}");
}

#[test]
fn every_example_is_proved() {
    if z3("proofs of the examples' images").is_none() {
        return;
    }
    let s = Sandbox::new();
    let (mut proved, mut refused) = (0, 0);
    for topic in fs::read_dir(examples()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        let cluster = topic.join("cluster.yaml").to_string_lossy().into_owned();
        for side in ["base", "head", "policies"].map(|n| topic.join(n)).iter().filter(|p| p.is_dir()) {
            let side = side.to_string_lossy().into_owned();
            let compiled = s.run(&["compile", &side, "--cluster", &cluster, "-o", "policy.img"]);
            // Some examples are about policies that are refused.
            if compiled.code == 2 {
                refused += 1;
                continue;
            }
            let verify = ["verify", "policy.img", &side, "--cluster", &cluster, "--symbolic"];
            s.run(&verify).ends(0).says(&["proved by z3, ingress", "proved by z3, egress"]);
            proved += 1;
        }
    }
    assert!(proved > 60 && refused < 10, "{proved} proved, {refused} refused");
}
