//! `prove` and `diff --symbolic`, as they are run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::process::Command;
use support::{Sandbox, examples, fake, policy, run_with_solver, z3};

const CLAIM: &str = "claims:\n  - name: only front reaches web\n    only: {from: [{namespace: shop, labels: {app: front}}, \
                     {entity: host}], to: {namespace: shop, labels: {app: web}}}\n";

fn shop() -> Sandbox {
    let s = Sandbox::new();
    s.write("p/a.yaml", policy("a", "web", "front")).write("claims.yaml", CLAIM);
    s
}

#[test]
fn the_claims_of_the_payments_example_hold_as_its_readme_says() {
    if z3("the claims of the payments example").is_none() {
        return;
    }
    let s = Sandbox::new();
    let folder = examples().join("payments");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (claims, base, head, cluster) =
        (path("claims.yaml"), path("base"), path("head"), path("cluster.yaml"));
    let run = s.run(&["prove", &claims, &base]).ends(1);
    run.says(&["REFUTED only web reaches the api on 8080", "5 claims: 4 proved, 1 refuted"]);
    let run = s.run(&["prove", &claims, &head]).ends(1);
    run.says(&[
        "REFUTED prometheus scrapes the api",
        "api-allow-web.yaml:11:3",
        "every pod that could exist",
    ]);
    let run = s.run(&["prove", &claims, &head, "--cluster", &cluster]).ends(1);
    run.says(&["the pod monitoring/prometheus", "the pods of the cluster"]);
}

#[test]
fn a_claim_that_holds_is_proved_and_its_query_can_be_asked_again() {
    let Some(z3) = z3("saved queries") else { return };
    let s = shop();
    s.run(&["prove", "claims.yaml", "p", "--save-queries", "q"]).ends(0).says(&["proved only front"]);
    let out = Command::new(z3).arg(s.path("q/001-only-front-reaches-web.smt2")).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("unsat"), "{out:?}");
}

#[test]
fn a_claim_about_nobody_is_not_passed_over() {
    if z3("empty claims").is_none() {
        return;
    }
    let s = shop();
    s.write("c.yaml", support::cluster(&["web", "front"]));
    s.write("claims.yaml", CLAIM.replace("app: web", "app: wbe"));
    s.run(&["prove", "claims.yaml", "p", "--cluster", "c.yaml"]).ends(1).says(&["empty", "check the labels"]);
}

#[test]
fn the_json_report_names_the_flow_and_the_lines() {
    if z3("the JSON of a refuted claim").is_none() {
        return;
    }
    let s = shop();
    s.write(
        "claims.yaml",
        "claims: [{name: closed, deny: {to: {namespace: shop, labels: {app: web}}, ports: [8080]}}]",
    );
    let run = s.run(&["prove", "claims.yaml", "p", "--format", "json", "--no-allow-localhost"]).ends(1);
    let v: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(v["schema"], "portcullis.dev/prove/v1");
    let claim = &v["claims"][0];
    assert_eq!((claim["state"].as_str(), claim["line"].as_u64()), (Some("refuted"), Some(1)));
    assert_eq!(claim["witness"]["verdict"], "allowed");
    assert_eq!(claim["witness"]["from"], "a pod with app=front in namespace shop");
    assert_eq!(claim["witness"]["sides"][1]["places"][0]["place"]["file"], "p/a.yaml");
}

#[test]
fn a_difference_that_no_sample_shows_is_found_without_a_cluster() {
    if z3("differences without a cluster").is_none() {
        return;
    }
    let s = Sandbox::new();
    let allow = |labels: &str| policy("a", "web", "front").replace("app: front", labels);
    s.write("base/a.yaml", allow("app: front")).write("head/a.yaml", allow("app: front"));
    let run = s.run(&["diff", "--symbolic", "base", "head"]).ends(0);
    run.says(&["no pod that could exist sees a difference"]);
    // Front pods that are also canaries lose their way: no selector asks for both labels.
    let deny = "  ingressDeny:\n    - fromEndpoints:\n        - matchLabels:\n            track: canary\n";
    s.write("head/a.yaml", allow("app: front") + deny);
    let run = s.run(&["diff", "--symbolic", "base", "head"]).ends(1);
    run.says(&[
        "becomes denied",
        "with app=front and track=canary in namespace shop",
        "head/a.yaml",
        "becomes allowed",
    ]);
}

#[test]
fn a_solver_that_takes_too_long_leaves_the_claim_undecided() {
    let s = shop();
    let solver = fake(&s, "exec sleep 20");
    let (code, said) = run_with_solver(&s.root, &solver, &["prove", "claims.yaml", "p", "--timeout", "1"]);
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("undecided  only front reaches web") && said.contains("0 proved, 1 undecided"),
        "{said}"
    );
    let (code, said) = run_with_solver(&s.root, &fake(&s, "echo unknown"), &["diff", "--symbolic", "p", "p"]);
    assert_eq!(code, 3, "{said}");
}

#[test]
fn a_solver_that_lies_or_fails_is_not_believed() {
    let s = shop();
    for script in ["echo sat; echo '((|from kind| #x0))'", "echo '(error \"no\")'", "exit 1"] {
        let (code, said) = run_with_solver(&s.root, &fake(&s, script), &["prove", "claims.yaml", "p"]);
        assert_eq!(code, 2, "{script}: {said}");
        assert!(said.contains("z3 gave no answer"), "{script}: {said}");
    }
}

#[test]
fn without_z3_the_way_to_it_is_said() {
    let s = shop();
    let (code, said) = run_with_solver(&s.root, "/nowhere/z3", &["prove", "claims.yaml", "p"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("PORTCULLIS_Z3 names /nowhere/z3") && said.contains("help: install z3"), "{said}");
}

#[test]
fn a_claims_file_that_cannot_be_read_is_an_error_with_its_place() {
    let s = shop();
    s.write("claims.yaml", "claims:\n  - name: x\n    denny: {to: {entity: world}}\n");
    s.run(&["prove", "claims.yaml", "p"]).ends(2).says(&["claims.yaml:3:5: there is no `denny` here"]);
    s.run(&["prove", "nowhere.yaml", "p"]).ends(2).says(&["nowhere.yaml does not exist"]);
}

#[test]
fn nothing_is_proved_while_an_object_is_left_out() {
    let s = shop();
    s.write("p/b.yaml", policy("b", "web", "front").replace("endpointSelector", "endpointSelektor"));
    let (code, said) = run_with_solver(&s.root, &fake(&s, "echo unsat"), &["prove", "claims.yaml", "p"]);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("nothing is proved while objects are left out") && said.contains("p/b.yaml:"),
        "{said}"
    );
}

const TEMPLATE: &str =
    "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: {{ .Values.name }}\nspec: {}\n";

#[test]
fn nothing_is_proved_while_a_policy_is_a_template() {
    let s = shop();
    s.write("p/chart.yaml", TEMPLATE).write("q/a.yaml", policy("a", "web", "front"));
    for args in [
        &["prove", "claims.yaml", "p"][..],
        &["diff", "--symbolic", "p", "q"],
        &["diff", "--symbolic", "q", "p"],
    ] {
        s.run(args).ends(2).says(&["p/chart.yaml:1:1", "render it first"]);
    }
    let compile = s.run(&["compile", "p", "-o", "policy.img"]).ends(2);
    compile.says(&["no image was written", "p/chart.yaml"]);
}

#[test]
fn a_template_that_both_sides_have_is_named_in_the_symbolic_diff() {
    if z3("a template on both sides").is_none() {
        return;
    }
    let s = shop();
    s.write("p/chart.yaml", TEMPLATE);
    s.run(&["diff", "--symbolic", "p", "p"])
        .ends(0)
        .says(&["1 template that holds a policy is skipped on both sides"]);
}
