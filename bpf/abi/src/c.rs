//! The C header of the kernel's programs.

use crate::maps::{self, counter, drop};
use crate::record::Description;
use crate::{self as abi, Section, header, services, word};
use alloc::string::String;
use core::fmt::Write as _;

/// Every record.
pub const RECORDS: [Description; 25] = [
    maps::Meta::DESCRIPTION,
    maps::Active::DESCRIPTION,
    maps::AddressKey::DESCRIPTION,
    maps::AddressValue::DESCRIPTION,
    maps::PrefixKey::DESCRIPTION,
    maps::PrefixValue::DESCRIPTION,
    maps::EndpointKey::DESCRIPTION,
    maps::EndpointValue::DESCRIPTION,
    maps::FlowKey::DESCRIPTION,
    maps::FlowValue::DESCRIPTION,
    maps::FragmentKey::DESCRIPTION,
    maps::FragmentValue::DESCRIPTION,
    maps::DeniedValue::DESCRIPTION,
    maps::DropKey::DESCRIPTION,
    maps::Event::DESCRIPTION,
    services::ServiceKey::DESCRIPTION,
    services::Frontend::DESCRIPTION,
    services::Backend::DESCRIPTION,
    services::Range::DESCRIPTION,
    services::ServiceFlow::DESCRIPTION,
    services::ServiceClient::DESCRIPTION,
    services::ServiceChoice::DESCRIPTION,
    services::ServiceDevice::DESCRIPTION,
    services::SocketKey::DESCRIPTION,
    services::SocketPeer::DESCRIPTION,
];

/// Names and values of every constant that the programs use.
fn constants() -> impl Iterator<Item = (&'static str, u64)> {
    let n = |v: usize| v as u64;
    let section = |s: Section| (header::SECTIONS + s as usize * 8) as u64;
    [
        ("COORDINATE_UDP", u64::from(abi::COORDINATE_UDP)),
        ("COORDINATE_SCTP", u64::from(abi::COORDINATE_SCTP)),
        ("COORDINATE_ICMP", u64::from(abi::COORDINATE_ICMP)),
        ("COORDINATE_ICMP6", u64::from(abi::COORDINATE_ICMP6)),
        ("COORDINATE_PROTOCOL", u64::from(abi::COORDINATE_PROTOCOL)),
        ("PORT_PAGE", n(abi::PORT_PAGE)),
        ("PAIR_PAGE", n(abi::PAIR_PAGE)),
        ("ROW_PAGE", n(abi::ROW_PAGE)),
        ("IMAGE_IDENTITIES", n(header::IDENTITIES)),
        ("IMAGE_ENDPOINTS", n(header::ENDPOINTS)),
        ("IMAGE_PEER_CLASSES", n(header::PEER_CLASSES)),
        ("IMAGE_ATOMS", n(header::ATOMS)),
        ("IMAGE_GENERATION", n(header::GENERATION)),
        ("IMAGE_PEER_CLASS", section(Section::PeerClass)),
        ("IMAGE_SUBJECT_OF", section(Section::SubjectOf)),
        ("IMAGE_PORT_DIRECTORY", section(Section::PortDirectory)),
        ("IMAGE_PORT_PAGES", section(Section::PortPages)),
        ("IMAGE_SUBJECTS", section(Section::Subjects)),
        ("IMAGE_PAIR_DIRECTORY", section(Section::PairDirectory)),
        ("IMAGE_PAIR_PAGES", section(Section::PairPages)),
        ("IMAGE_LOCALS", section(Section::Locals)),
        ("IMAGE_ROW_DIRECTORY", section(Section::RowDirectory)),
        ("IMAGE_ROW_PAGES", section(Section::RowPages)),
        ("IMAGE_WORDS", section(Section::Words)),
        ("WORD_ALLOW", u64::from(word::ALLOW)),
        ("WORD_REDIRECT", u64::from(word::REDIRECT)),
        ("WORD_AUTHENTICATE", u64::from(word::AUTHENTICATE)),
        ("WORD_LOG", u64::from(word::LOG)),
        ("WORD_AUDIT", u64::from(word::AUDIT)),
        ("WORD_CAUSE_SHIFT", u64::from(word::CAUSE_SHIFT)),
        ("NO_SUBJECT", u64::from(abi::NO_SUBJECT)),
        ("NO_CLASS", u64::from(abi::NO_CLASS)),
        ("SLOTS", u64::from(maps::SLOTS)),
        ("SMALLEST_SLOT", u64::from(maps::SMALLEST_SLOT)),
        ("NO_IDENTITY", u64::from(maps::NO_IDENTITY)),
        ("INGRESS", u64::from(maps::INGRESS)),
        ("EGRESS", u64::from(maps::EGRESS)),
        ("FLOW_REPLIED", u64::from(maps::FLOW_REPLIED)),
        ("FLOW_CLOSED_FORWARD", u64::from(maps::FLOW_CLOSED_FORWARD)),
        ("FLOW_CLOSED_REPLY", u64::from(maps::FLOW_CLOSED_REPLY)),
        ("FLOW_RESET", u64::from(maps::FLOW_RESET)),
        ("VERDICT_FORWARDED", u64::from(maps::VERDICT_FORWARDED)),
        ("VERDICT_DROPPED", u64::from(maps::VERDICT_DROPPED)),
        ("VERDICT_AUDIT", u64::from(maps::VERDICT_AUDIT)),
        ("KIND_NEW", u64::from(maps::KIND_NEW)),
        ("KIND_ESTABLISHED", u64::from(maps::KIND_ESTABLISHED)),
        ("KIND_REPLY", u64::from(maps::KIND_REPLY)),
        ("KIND_RELATED", u64::from(maps::KIND_RELATED)),
        ("DROP_INVALID_SOURCE", u64::from(drop::INVALID_SOURCE)),
        ("DROP_POLICY", u64::from(drop::POLICY)),
        ("DROP_INVALID_PACKET", u64::from(drop::INVALID_PACKET)),
        ("DROP_TRUNCATED", u64::from(drop::TRUNCATED)),
        ("DROP_UNSUPPORTED_L3", u64::from(drop::UNSUPPORTED_L3)),
        ("DROP_CONNTRACK_FULL", u64::from(drop::CONNTRACK_FULL)),
        ("DROP_EXTENSION_HEADER", u64::from(drop::EXTENSION_HEADER)),
        ("DROP_NO_POLICY", u64::from(drop::NO_POLICY)),
        ("DROP_INVALID_IDENTITY", u64::from(drop::INVALID_IDENTITY)),
        ("DROP_NO_BACKEND", u64::from(drop::NO_BACKEND)),
        ("DROP_NO_MAPPING", u64::from(drop::NO_MAPPING)),
        ("DROP_UNMAPPABLE", u64::from(drop::UNMAPPABLE)),
        ("DROP_CLUSTER_IP", u64::from(drop::CLUSTER_IP)),
        ("DROP_SOURCE_RANGE", u64::from(drop::SOURCE_RANGE)),
        ("DROP_NO_PROXY", u64::from(drop::NO_PROXY)),
        ("DROP_VLAN", u64::from(drop::VLAN)),
        ("DROP_AUTHENTICATION", u64::from(drop::AUTHENTICATION)),
        ("COUNT_FORWARDED", u64::from(counter::FORWARDED_INGRESS)),
        ("COUNT_DROPPED", u64::from(counter::DROPPED_INGRESS)),
        ("COUNT_EVENTS_LOST", u64::from(counter::EVENTS_LOST)),
        ("COUNT_CONNTRACK_FAILED", u64::from(counter::CONNTRACK_FAILED)),
        ("COUNT_FRAGMENTS_UNKNOWN", u64::from(counter::FRAGMENTS_UNKNOWN)),
        ("COUNT_AUDITED", u64::from(counter::AUDITED)),
        ("COUNTERS", u64::from(counter::COUNT)),
    ]
    .into_iter()
    .chain(service_constants())
}

fn service_constants() -> impl Iterator<Item = (&'static str, u64)> {
    use services::{backend, frontend, header, kind};
    let n = |v: usize| v as u64;
    [
        ("SERVICES_VERSION", u64::from(services::VERSION)),
        ("SERVICES_HEADER_SIZE", n(services::HEADER_SIZE)),
        ("SERVICES_SMALLEST_SLOT", u64::from(services::SMALLEST_SLOT)),
        ("SERVICES_ALIGN", n(services::ALIGN)),
        ("SERVICES_GENERATION", n(header::GENERATION)),
        ("SERVICES_BUCKETS", n(header::BUCKETS)),
        ("SERVICES_SLOTS", n(header::SLOTS)),
        ("SERVICES_BACKENDS", n(header::BACKENDS)),
        ("SERVICES_IDS", n(header::IDS)),
        ("SERVICES_SEEDS_AT", n(header::SEEDS_AT)),
        ("SERVICES_FRONTENDS_AT", n(header::FRONTENDS_AT)),
        ("SERVICES_LIST_AT", n(header::LIST_AT)),
        ("SERVICES_BACKENDS_AT", n(header::BACKENDS_AT)),
        ("SERVICES_BY_ID_AT", n(header::BY_ID_AT)),
        ("SERVICES_RANGES_AT", n(header::RANGES_AT)),
        ("SERVICE_KIND_CLUSTER_IP", u64::from(kind::CLUSTER_IP)),
        ("SERVICE_KIND_NODE_PORT", u64::from(kind::NODE_PORT)),
        ("SERVICE_KIND_LOAD_BALANCER", u64::from(kind::LOAD_BALANCER)),
        ("SERVICE_KIND_EXTERNAL_IP", u64::from(kind::EXTERNAL_IP)),
        ("SERVICE_KIND_HOST_PORT", u64::from(kind::HOST_PORT)),
        ("SOCKET_FORWARD", u64::from(services::SOCKET_FORWARD)),
        ("SOCKET_BACK", u64::from(services::SOCKET_BACK)),
        ("SERVICE_FLOW_SOURCE", u64::from(services::SERVICE_FLOW_SOURCE)),
        ("FRONTEND_AFFINITY", u64::from(frontend::AFFINITY)),
        ("FRONTEND_EXTERNAL_LOCAL", u64::from(frontend::EXTERNAL_LOCAL)),
        ("FRONTEND_INTERNAL_LOCAL", u64::from(frontend::INTERNAL_LOCAL)),
        ("FRONTEND_SOURCE_RANGES", u64::from(frontend::SOURCE_RANGES)),
        ("FRONTEND_MAGLEV_INSIDE", u64::from(frontend::MAGLEV_INSIDE)),
        ("FRONTEND_OUTSIDE_DENIED", u64::from(frontend::OUTSIDE_DENIED)),
        ("FRONTEND_MAGLEV_OUTSIDE", u64::from(frontend::MAGLEV_OUTSIDE)),
        ("FRONTEND_INSIDE_DROP", u64::from(frontend::INSIDE_DROP)),
        ("FRONTEND_OUTSIDE_DROP", u64::from(frontend::OUTSIDE_DROP)),
        ("BACKEND_LOCAL", u64::from(backend::LOCAL)),
        ("BACKEND_TERMINATING", u64::from(backend::TERMINATING)),
        ("BACKEND_NODE", u64::from(backend::NODE)),
    ]
    .into_iter()
}

/// The text of `bpf/include/abi.h`.
pub fn header() -> String {
    let mut out = String::from(
        "/* SPDX-License-Identifier: Apache-2.0 */\n\
         /* Written by `cargo run -p portcullis-abi --example header`: change bpf/abi, not this file. */\n\
         #pragma once\n\n#include \"kernel.h\"\n\n",
    );
    for (name, value) in constants() {
        let _ = writeln!(out, "#define {name} {value}");
    }
    for record in RECORDS {
        out.push('\n');
        comment(&mut out, "", record.doc);
        let _ = writeln!(out, "struct {} {{", record.name);
        for field in record.fields {
            comment(&mut out, "\t", field.doc);
            let _ = writeln!(out, "\t{} {}{};", field.c.0, field.name, field.c.1);
        }
        out.push_str("};\n");
        let _ = writeln!(
            out,
            "_Static_assert(sizeof(struct {}) == {}, \"size of {}\");",
            record.name, record.size, record.name
        );
        for field in record.fields {
            let _ = writeln!(
                out,
                "_Static_assert(__builtin_offsetof(struct {}, {}) == {}, \"{}\");",
                record.name, field.name, field.offset, field.name
            );
        }
    }
    out
}

fn comment(out: &mut String, indent: &str, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(out, "{indent}/*{line} */");
    }
}
