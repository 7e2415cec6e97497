//! Runs the program in a folder of its own.
#![allow(unreachable_pub, reason = "a module of several test programs")]
#![allow(clippy::print_stderr, reason = "tests say what they leave out")]

pub mod record;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that goes away with its test.
pub struct Sandbox {
    pub root: PathBuf,
}

/// What a run left behind.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Sandbox {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("portcullis-cli-{}-{n}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Self { root }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, "")
    }

    pub fn run_with(&self, args: &[&str], stdin: &str) -> Run {
        let mut c = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        c.args(args).current_dir(&self.root).env_remove("NO_COLOR");
        c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = c.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        Run::of(&child.wait_with_output().unwrap())
    }

    #[allow(dead_code, reason = "not every test file needs a repository")]
    pub fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"])
            .args(args)
            .current_dir(&self.root)
            .output()
            .unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Run {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails unless the run ended with this code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Fails unless both outputs together hold every text, wherever lines were broken.
    #[track_caller]
    #[allow(dead_code, reason = "not every test file reads texts")]
    pub fn says(self, texts: &[&str]) -> Self {
        let all = format!("{}{}", self.out, self.err);
        let flat = all.split_whitespace().collect::<Vec<_>>().join(" ");
        for t in texts {
            assert!(flat.contains(t), "no `{t}` in\n{all}");
        }
        self
    }
}

/// A policy that lets `peer` reach `app` on 8080.
#[allow(dead_code, reason = "not every test file needs a policy")]
pub fn policy(name: &str, app: &str, peer: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n  \
         endpointSelector:\n    matchLabels:\n      app: {app}\n  ingress:\n    - fromEndpoints:\n        - matchLabels:\n            \
         app: {peer}\n      toPorts:\n        - ports:\n            - port: \"8080\"\n              protocol: TCP\n"
    )
}

/// Namespace shop with the deployments of these names.
#[allow(dead_code, reason = "not every test file needs a cluster")]
pub fn cluster(apps: &[&str]) -> String {
    let mut out = String::from("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n");
    for app in apps {
        let deployment = format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {app}\n  namespace: shop\nspec:\n  replicas: 2\n  \
             selector:\n    matchLabels:\n      app: {app}\n  template:\n    metadata:\n      labels:\n        app: {app}\n    \
             spec:\n      containers:\n        - name: c\n          image: i\n          ports:\n            - name: http\n              containerPort: 8080\n"
        );
        out.push_str(&deployment);
    }
    out
}

/// The folder of worked examples.
#[allow(dead_code, reason = "not every test file needs the examples")]
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/examples").canonicalize().unwrap()
}

/// The z3 that `PORTCULLIS_Z3` names or that is on the path; says in one line that there is none.
#[allow(dead_code, reason = "not every test file needs a solver")]
pub fn z3(left_out: &str) -> Option<String> {
    let path = std::env::var("PORTCULLIS_Z3").unwrap_or_else(|_| "z3".to_owned());
    let there = Command::new(&path).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        assert!(std::env::var_os("PORTCULLIS_Z3").is_none(), "PORTCULLIS_Z3 names no z3 that runs");
        eprintln!("left out, since there is no z3 (scripts/z3.sh fetches one): {left_out}");
    }
    there.then_some(path)
}

/// Runs with a solver of the test's own.
#[allow(dead_code, reason = "not every test file needs a solver")]
pub fn run_with_solver(folder: &Path, solver: &str, args: &[&str]) -> (i32, String) {
    let out: Output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(args)
        .current_dir(folder)
        .env("PORTCULLIS_Z3", solver)
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// A program in the place of z3.
#[allow(dead_code, reason = "not every test file needs a solver")]
pub fn fake(s: &Sandbox, script: &str) -> String {
    s.write("fake-z3", format!("#!/bin/sh\ncat >/dev/null\n{script}\n"));
    let path = s.path("fake-z3");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_string_lossy().into_owned()
}
