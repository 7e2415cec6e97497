//! The first process of a kernel that `scripts/kernels.sh` boots: it mounts what the tests need, loads the
//! kernel's modules, runs the test programs that /checks names, says what became of each test, and powers off.
//!
//! A line of output is `ok NAME`, `FAIL NAME`, or after a failure `| ` and what the test said; the last
//! one is `done`.
#![allow(clippy::print_stdout, reason = "what it is for")]

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot, uname};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        println!("this is the first process of a kernel under test; run scripts/kernels.sh");
        return ExitCode::FAILURE;
    }
    if let Err(e) = prepare() {
        println!("FAIL prepare: {e}");
    } else if let Err(e) = run_all() {
        println!("FAIL run: {e}");
    }
    println!("done");
    let _ = reboot(RebootCommand::PowerOff);
    // Without power management: the kernel panics at the end of its first process, which ends the machine, too.
    ExitCode::FAILURE
}

fn prepare() -> Result<(), Box<dyn Error>> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run")] {
        fs::create_dir_all(at)?;
        mount(kind, at, kind, MountFlags::empty(), None).map_err(|e| format!("{kind} on {at}: {e}"))?;
    }
    mount("bpf", "/sys/fs/bpf", "bpf", MountFlags::empty(), None).map_err(|e| format!("bpf: {e}"))?;
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), None)
        .map_err(|e| format!("cgroup2: {e}"))?;
    for folder in ["/tmp", "/var"] {
        fs::create_dir_all(folder)?;
    }
    // Where `ip netns` keeps namespaces.
    symlink("/run", "/var/run")?;
    let uptime = fs::read_to_string("/proc/uptime")?;
    let uptime = uptime.split(' ').next().unwrap_or_default();
    println!("ok boot ({} in {uptime} s)", uname().release().to_string_lossy());
    let mut modules: Vec<_> =
        fs::read_dir("/modules")?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    modules.sort();
    for module in modules {
        finit_module(File::open(&module)?, c"", 0).map_err(|e| format!("{}: {e}", module.display()))?;
    }
    Ok(())
}

fn run_all() -> Result<(), Box<dyn Error>> {
    for line in fs::read_to_string("/checks")?.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(program)) = (words.next(), words.next()) {
            run(name, program, &words.collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Runs one test program, with a line for each of its tests.
fn run(name: &str, program: &str, filters: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut child = Command::new(program)
        .args(filters)
        // What times out under load is not what is tested here.
        .arg("--test-threads=1")
        // Tests that find something missing here fail, instead of doing nothing.
        .envs([("CI", "1"), ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{program}: {e}"))?;
    let (mut rest, mut passed, mut failed) = (Vec::new(), 0, 0);
    let mut begun = Instant::now();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line?;
            match line.strip_prefix("test ").and_then(|l| l.split_once(" ... ")) {
                Some((test, "ok")) => {
                    passed += 1;
                    println!("ok {name}::{test} ({:.1} s)", begun.elapsed().as_secs_f64());
                }
                Some((test, _)) => {
                    failed += 1;
                    println!("FAIL {name}::{test}");
                }
                None => rest.push(line),
            }
            begun = Instant::now();
        }
    }
    let status = child.wait()?;
    if passed == 0 || failed == 0 && !status.success() {
        println!("FAIL {name}: {passed} tests passed, and it ended with {status}");
        failed += 1;
    }
    if failed > 0 {
        for line in rest {
            println!("| {line}");
        }
    }
    Ok(())
}
