//! The demo, as somebody runs it who wants to see what this is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::process::Command;

#[test]
fn the_demo_shows_what_became_denied_and_by_which_line() {
    if support::pins().is_none() {
        return;
    }
    let out = Command::new(env!("CARGO_BIN_EXE_portcullis-agent")).arg("demo").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let said = format!("{text}\n{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}");
    for needed in ["db → api:8080            times out   ← became denied", "2 of 5 flows became denied"] {
        assert!(text.contains(needed), "{said}");
    }
    // Both ways to look at it name the default deny, its policy and its line.
    let deny = "default deny by CiliumNetworkPolicy payments/api-allow-web at api-allow-web.yaml:11:3";
    let lines: Vec<&str> = text.lines().filter(|l| l.contains(deny)).collect();
    assert!(lines.len() >= 3, "{said}");
    assert!(lines.last().is_some_and(|l| l.contains("Policy denied DROPPED (TCP Flags: SYN;")), "{said}");
    let left = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains("pc-demo"), "it cleans up after itself");
}
