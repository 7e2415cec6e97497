//! `portcullis-cni`: stands behind another plugin in a CNI configuration list, and lets a pod begin once its policy is attached.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut input = String::new();
    // What cannot be read is no JSON, and that is said.
    let _ = std::io::stdin().read_to_string(&mut input);
    let said = portcullis_agent::cni::run(std::env::vars().collect(), &input);
    let _ = std::io::stdout().write_all(said.text.as_bytes());
    ExitCode::from(said.code)
}
