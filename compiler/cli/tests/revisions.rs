//! Comparing git revisions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use support::{Sandbox, cluster, policy};

/// main: web lets front in. topic: web lets back in. main moves on in another file.
fn repository() -> Sandbox {
    let s = Sandbox::new();
    s.git(&["init", "-q", "-b", "main"]);
    s.write("k8s/web.yaml", policy("web", "web", "front"))
        .write("k8s/cluster.yaml", cluster(&["web", "front", "back"]));
    s.write("docs/broken.yaml", "kind: [\n").write("notes.txt", "x");
    s.git(&["add", "."]);
    s.git(&["commit", "-qm", "one"]);
    s.git(&["checkout", "-q", "-b", "topic"]);
    s.write("k8s/web.yaml", policy("web", "web", "back"));
    s.git(&["commit", "-qam", "two"]);
    s.git(&["checkout", "-q", "main"]);
    s.write("k8s/front.yaml", policy("front", "front", "web"));
    s.git(&["add", "."]);
    s.git(&["commit", "-qm", "three"]);
    s
}

#[test]
fn a_range_compares_two_revisions() {
    let s = repository();
    let run = s.run(&["diff", "main..topic", "--", "k8s"]).ends(1);
    run.says(&["topic:k8s/web.yaml", "shop/front", "main", "removed"]);
}

#[test]
fn three_dots_compare_with_the_common_ancestor() {
    let s = repository();
    let run = s.run(&["diff", "main...topic", "--", "k8s"]).ends(1).says(&["topic:k8s/web.yaml"]);
    assert!(!run.out.contains("removed"), "{}", run.out);
}

#[test]
fn paths_are_taken_from_the_folder_one_is_in() {
    let s = repository();
    let mut sub = Sandbox::new();
    let own = std::mem::replace(&mut sub.root, s.path("k8s"));
    sub.run(&["diff", "main", "topic", "--", "."]).ends(1).says(&["topic:k8s/web.yaml"]);
    sub.run(&["diff", "main", "topic", "--", "../../out"]).ends(2).says(&["outside the repository"]);
    sub.root = own;
}

#[test]
fn one_revision_is_compared_with_the_files_on_disk() {
    let s = repository();
    s.run(&["diff", "main", "--", "k8s"]).ends(0);
    s.write("k8s/web.yaml", policy("web", "web", "back"));
    s.run(&["diff", "main", "--", "k8s"]).ends(1).says(&["k8s/web.yaml"]);
    s.run(&["diff", "main", "--", "k8s/web.yaml"]).ends(1);
    fs::remove_file(s.path("k8s/front.yaml")).unwrap();
    s.run(&["diff", "main", "--", "k8s/front.yaml"]).ends(0).says(&["removed"]);
    s.run(&["diff", "main"]).ends(2).says(&["only one side is given: the revision `main`"]);
}

#[test]
fn whole_repositories_can_be_compared_and_broken_files_count() {
    let s = repository();
    s.run(&["diff", "main..topic"]).ends(2).says(&["topic:docs/broken.yaml"]);
}

#[test]
fn what_is_no_revision_is_said_so_and_never_obeyed_as_an_option() {
    let s = repository();
    s.run(&["diff", "main..nope", "--", "k8s"]).ends(2).says(&["`nope` is no revision", "git fetch"]);
    s.run(&["diff", "nope", "topic"]).ends(2).says(&["nope does not exist"]);
    s.run(&["diff", "--output=x..main", "--", "k8s"]).ends(2);
    s.run(&["diff", "--", "--exec=touch hacked"]).ends(2);
    s.run(&["diff", "main..--upload-pack=touch hacked", "--", "k8s"]).ends(2).says(&["is no revision"]);
    assert!(!s.path("hacked").exists());
}

#[test]
fn outside_a_repository_the_way_out_is_folders() {
    let s = Sandbox::new();
    s.run(&["diff", "main..topic"]).ends(2).says(&["in no git repository", "compare two folders"]);
}

#[test]
fn without_git_folders_still_compare() {
    let s = Sandbox::new();
    s.write("a/a.yaml", policy("a", "web", "front")).write("b/a.yaml", policy("a", "web", "front"));
    let run = |args: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(args)
            .current_dir(&s.root)
            .env("PATH", "/nonexistent")
            .output()
            .unwrap()
    };
    assert_eq!(run(&["diff", "a", "b"]).status.code(), Some(0));
    let refused = run(&["diff", "main..topic"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("git is not installed"));
}

#[test]
fn links_and_odd_names_in_a_tree_are_read_or_named() {
    use std::os::unix::fs::symlink;
    let s = repository();
    s.write("k8s/ümläut name.yaml", policy("odd", "back", "front"))
        .write("shared/x.yaml", policy("x", "back", "web"));
    symlink("../shared/x.yaml", s.path("k8s/linked.yaml")).unwrap();
    symlink("../shared", s.path("k8s/folder")).unwrap();
    s.git(&["add", "."]);
    s.git(&["commit", "-qm", "links"]);
    let run = s.run(&["diff", "main~1..main", "--", "k8s"]).ends(1);
    run.says(&["ümläut name.yaml", "shop/x", "symbolic link k8s/folder of main"]);
}

#[test]
fn a_question_can_be_asked_of_a_revision() {
    let s = repository();
    let ask = |at: &str| {
        let at = format!("--at={at}");
        s.run(&["explain", "--from", "shop/front", "--to", "shop/web", "--port", "8080", &at, "k8s"])
    };
    ask("main").ends(0).says(&["ALLOWED: shop/front", "main:k8s/web.yaml"]);
    ask("topic").ends(0).says(&["DENIED: shop/front", "topic:k8s/web.yaml"]);
    ask("nothing").ends(2).says(&["no revision"]);
    s.run(&["reach", "--at", "topic", "--to", "shop/web", "k8s"]).ends(0).says(&["shop/back"]);
    s.run(&["reach", "--at", "topic", "nowhere"]).ends(2).says(&["nowhere holds no YAML"]);
    // What a comparison of revisions says under `why:` asks the newer one.
    let run = s.run(&["diff", "main..topic", "--", "k8s"]);
    run.says(&["--port 8080/TCP --at=topic k8s"]);
}

#[test]
fn paths_of_a_range_exist_in_one_of_its_ends() {
    let s = repository();
    s.run(&["diff", "main..topic", "--", "k8s/front.yaml"]).ends(0);
    s.run(&["diff", "main..topic", "--", "k8s", "k9s"])
        .ends(2)
        .says(&["k9s holds no YAML or JSON file, neither in main nor in topic"]);
}

#[test]
fn an_option_behind_two_dashes_is_no_path() {
    let s = repository();
    let run = s.run(&["diff", "main..topic", "--", "k8s", "--cluster", "k8s"]).ends(2);
    run.says(&["--cluster stands behind `--`", "put options first"]);
}
