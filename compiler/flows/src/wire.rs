//! The fields of a flow that are looked at, as protobuf's JSON mapping writes them: names of the proto file or in
//! camel case, 64-bit numbers as texts, enum values by name or number, defaults left out, null for absent.

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A text that lies in the line unless it has escapes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// An enum value: its name, or its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Number(i64),
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an enum value")
            }
            fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Name::Text(Cow::Borrowed(v)))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Name::Text(Cow::Owned(v.to_owned())))
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Self::Value, E> {
                Ok(Name::Number(v))
            }
            fn visit_u64<E: Error>(self, v: u64) -> Result<Self::Value, E> {
                i64::try_from(v).map(Name::Number).map_err(E::custom)
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Name::Absent)
            }
        }
        d.deserialize_any(Of)
    }
}

/// A number, which may be written as a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Of;
        impl Visitor<'_> for Of {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_u64<E: Error>(self, v: u64) -> Result<Self::Value, E> {
                Ok(Number(v))
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Self::Value, E> {
                u64::try_from(v).map(Number).map_err(E::custom)
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole and in range, as checked"
            )]
            fn visit_f64<E: Error>(self, v: f64) -> Result<Self::Value, E> {
                // protobuf takes 80.0 for 80.
                if v.fract() == 0.0 && (0.0..1e15).contains(&v) {
                    return Ok(Number(v as u64));
                }
                Err(E::invalid_value(de::Unexpected::Float(v), &self))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
                v.parse().map(Number).map_err(E::custom)
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Number(0))
            }
        }
        d.deserialize_any(Of)
    }
}

/// One line: a flow with what stands beside it, or something else.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(crate) flow: Option<Flow<'a>>,
    #[serde(default, alias = "lostEvents")]
    pub(crate) lost_events: Option<Lost>,
    #[serde(borrow, default)]
    pub(crate) log: Option<Text<'a>>,
    #[serde(default, alias = "nodeStatus")]
    pub(crate) node_status: Option<de::IgnoredAny>,
    #[serde(default, alias = "agentEvent")]
    pub(crate) agent_event: Option<de::IgnoredAny>,
    #[serde(default, alias = "debugEvent")]
    pub(crate) debug_event: Option<de::IgnoredAny>,
    #[serde(borrow, default)]
    pub(crate) time: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Lost {
    #[serde(default, alias = "numEventsLost")]
    pub(crate) num_events_lost: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Flow<'a> {
    #[serde(borrow, default)]
    pub(crate) time: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) verdict: Name<'a>,
    #[serde(borrow, default, alias = "dropReasonDesc")]
    pub(crate) drop_reason_desc: Name<'a>,
    #[serde(default, alias = "dropReason")]
    pub(crate) drop_reason: Option<Number>,
    #[serde(borrow, default, rename = "IP", alias = "ip")]
    pub(crate) ip: Option<Ip<'a>>,
    #[serde(default)]
    pub(crate) l4: Option<L4>,
    #[serde(borrow, default)]
    pub(crate) source: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) destination: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "Type", alias = "type")]
    pub(crate) kind: Name<'a>,
    #[serde(borrow, default, alias = "sourceNames")]
    pub(crate) source_names: Option<Vec<Text<'a>>>,
    #[serde(borrow, default, alias = "destinationNames")]
    pub(crate) destination_names: Option<Vec<Text<'a>>>,
    #[serde(borrow, default)]
    pub(crate) l7: Option<L7<'a>>,
    #[serde(default)]
    pub(crate) reply: Option<bool>,
    #[serde(default, alias = "isReply")]
    pub(crate) is_reply: Option<bool>,
    #[serde(borrow, default, alias = "traceReason")]
    pub(crate) trace_reason: Name<'a>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Ip<'a> {
    #[serde(borrow, default)]
    pub(crate) source: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) destination: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct L4 {
    #[serde(default, rename = "TCP", alias = "tcp")]
    pub(crate) tcp: Option<Ports>,
    #[serde(default, rename = "UDP", alias = "udp")]
    pub(crate) udp: Option<Ports>,
    #[serde(default, rename = "SCTP", alias = "sctp")]
    pub(crate) sctp: Option<Ports>,
    #[serde(default, rename = "ICMPv4", alias = "icmpv4")]
    pub(crate) icmpv4: Option<Icmp>,
    #[serde(default, rename = "ICMPv6", alias = "icmpv6")]
    pub(crate) icmpv6: Option<Icmp>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Ports {
    #[serde(default, alias = "sourcePort")]
    pub(crate) source_port: Option<Number>,
    #[serde(default, alias = "destinationPort")]
    pub(crate) destination_port: Option<Number>,
    #[serde(default)]
    pub(crate) flags: Option<Flags>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Flags {
    #[serde(default, rename = "SYN", alias = "syn")]
    pub(crate) syn: Option<bool>,
    #[serde(default, rename = "ACK", alias = "ack")]
    pub(crate) ack: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Icmp {
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Endpoint<'a> {
    #[serde(default)]
    pub(crate) identity: Option<Number>,
    #[serde(borrow, default)]
    pub(crate) namespace: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) labels: Option<Vec<Text<'a>>>,
    #[serde(borrow, default, alias = "podName")]
    pub(crate) pod_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) workloads: Option<Vec<Workload<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Workload<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) kind: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct L7<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Name<'a>,
    #[serde(borrow, default)]
    pub(crate) http: Option<Http<'a>>,
    #[serde(borrow, default)]
    pub(crate) dns: Option<Dns<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Http<'a> {
    #[serde(borrow, default)]
    pub(crate) method: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) url: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) headers: Option<Vec<Header<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Header<'a> {
    #[serde(borrow, default)]
    pub(crate) key: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) value: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Dns<'a> {
    #[serde(borrow, default)]
    pub(crate) query: Option<Text<'a>>,
}
