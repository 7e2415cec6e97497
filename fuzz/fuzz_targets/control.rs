//! Any bytes as a request on the agent's control socket: an answer or a reason, and never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_agent::control::{LONGEST, Request};

fuzz_target!(|data: &[u8]| {
    let read = Request::parse(data);
    if data.len() > LONGEST {
        assert!(read.is_err(), "a request that is too long was read");
    }
    if let Err(why) = &read {
        assert!(!why.is_empty() && why.len() < 2 * LONGEST + 200, "{} bytes of reason", why.len());
    }
    // Space around a request means nothing.
    if data.len() + 2 <= LONGEST {
        let spaced: Vec<u8> = [b" ", data, b" "].concat();
        assert_eq!(Request::parse(&spaced).ok(), read.ok());
    }
});
