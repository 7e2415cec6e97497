//! Writes `bpf/include/abi.h` to standard output.
#![allow(clippy::print_stdout, reason = "a tool")]

fn main() {
    print!("{}", portcullis_abi::c::header());
}
