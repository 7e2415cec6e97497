//! Makes Rust of the protos, without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["flow/flow.proto", "relay/relay.proto", "observer/observer.proto", "peer/peer.proto"];
    let set = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().compile_fds(set)?;
    Ok(())
}
