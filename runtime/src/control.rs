//! The control socket: one line of JSON asks, lines of JSON answer. It is a file that only its owner may
//! open, and the peer's credentials are checked besides.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Bytes that a request may have.
pub const LONGEST: usize = 4096;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields, tag = "ask")]
pub enum Request {
    /// What is attached, which generation is in use, what is wrong.
    Status {
        /// With counts that take a walk through maps.
        #[serde(default)]
        verbose: bool,
    },
    /// This node's pods.
    Endpoints,
    /// Events, until the client goes away.
    Trace {
        /// Only of this `namespace/name`.
        #[serde(default)]
        endpoint: Option<String>,
        /// Only what was dropped.
        #[serde(default)]
        dropped: bool,
    },
    /// An earlier generation's policies.
    Rollback {
        /// Which; the one before this if not given.
        #[serde(default)]
        generation: Option<u64>,
    },
    /// What is held may go on.
    Approve {
        /// Its digest, or how that begins; whatever is held if not given.
        #[serde(default)]
        policy_set: Option<String>,
    },
    /// A plugin has made a pod's interface; the answer comes once policy is attached there.
    Attach {
        /// The pod's namespace.
        namespace: String,
        /// Its name.
        pod: String,
        /// The interface, on the host's side.
        interface: String,
        /// Its addresses.
        addresses: Vec<std::net::IpAddr>,
        /// Its container.
        container: String,
    },
    /// A plugin has removed a pod's interface.
    Forget {
        /// The pod's namespace.
        namespace: String,
        /// Its name.
        pod: String,
        /// Its container.
        container: String,
    },
    /// Read everything again, now.
    Refresh,
    /// Rules of this node with how often they decided.
    Rules,
    /// What is counted, in Prometheus' text format, as one JSON string.
    Metrics,
}

impl Request {
    /// Reads one line.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        if line.len() > LONGEST {
            return Err(format!("a request has at most {LONGEST} bytes"));
        }
        serde_json::from_slice(line).map_err(|e| format!("not a request: {e}"))
    }
}

/// Where the socket is.
pub fn path(state: &Path) -> PathBuf {
    state.join("agent.sock")
}

/// Where Hubble's clients find the Observer API.
pub fn hubble_path(state: &Path) -> PathBuf {
    state.join("hubble.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_what_is_none_is_refused() {
        let parse = |t: &str| Request::parse(t.as_bytes());
        assert_eq!(parse(r#"{"ask":"status"}"#), Ok(Request::Status { verbose: false }));
        assert_eq!(
            parse(r#"{"ask":"rollback","generation":3}"#),
            Ok(Request::Rollback { generation: Some(3) })
        );
        assert_eq!(
            parse(r#"{"ask":"trace","dropped":true}"#),
            Ok(Request::Trace { endpoint: None, dropped: true })
        );
        for wrong in ["", "{", "[]", "null", r#"{"ask":"everything"}"#, r#"{"ask":"status","x":1}"#, "\u{0}"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(Request::parse(&vec![b' '; LONGEST + 1]).is_err());
    }
}
