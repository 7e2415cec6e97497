//! Lints: what a valid policy means that its author may not have meant. One file a lint.
//!
//! [`view`] lines up once what the lints look at: every entry beside its rules in normal form,
//! every selector beside what it matches, and the groups of pods that the same rules select. A
//! lint walks one of these lists; none compares pods with pods.

mod allow_shadowed;
mod allows_without_default_deny;
mod apiserver_left_out;
mod backends;
mod cidr_group_missing;
mod cidr_over_cluster;
mod cidr_over_services;
mod conflicts;
mod cover;
mod default_deny_without_section;
mod deny_covers_nothing;
mod deny_field_dropped;
mod deny_only;
mod deny_to_services;
mod dns_left_out;
mod empty_deny_entry;
mod empty_entry_beside_others;
mod empty_fqdn_list;
mod empty_peer_list;
mod entry_without_ports;
mod fqdn_without_dns;
mod host_policy;
mod icmp_type_zero;
mod l7_filters_nothing;
mod l7_rules_dropped;
mod matcher;
mod namespace_missing;
mod namespace_overwritten;
mod node_port_open;
mod not_an_identity_label;
mod peer_in_other_namespace;
mod peer_matches_nobody;
mod policy_map_full;
mod policy_types_trap;
mod probes_cut;
mod ranges;
mod rule_adds_nothing;
mod selects_no_pod;
mod service_port;
mod service_unreachable;
mod signatures;
mod sites;
mod split;
mod to_services;
mod unknown_port_name;
mod view;
mod words;

use crate::side::Evaluation;
use portcullis_diag::Diagnostic;
use portcullis_front::ast::Object;
use portcullis_ir::{Cluster, Options, PolicySet};
use view::View;

/// Everything a lint may look at. Objects are those of the reviewed files, accepted ones only.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The policies as written.
    pub objects: &'a [&'a Object],
    /// The policies in normal form.
    pub policies: &'a PolicySet,
    /// The cluster; may be empty.
    pub cluster: &'a Cluster,
    /// Its settings.
    pub options: &'a Options,
    /// The policies evaluated over the cluster (one side, index 0).
    pub evaluation: &'a Evaluation<'a>,
    /// Pods are known: lints about what selects nothing may speak.
    pub has_cluster: bool,
    /// Services are known: lints about services that do not exist may speak.
    pub has_services: bool,
}

/// One lint.
type Check = fn(&View<'_>, &mut Vec<Diagnostic>);

/// Every lint, in order of its code.
const CHECKS: &[Check] = &[
    to_services::check,
    deny_to_services::check,
    deny_field_dropped::check,
    l7_rules_dropped::check,
    selects_no_pod::check,
    peer_matches_nobody::check,
    peer_in_other_namespace::check,
    deny_covers_nothing::check,
    allow_shadowed::check,
    rule_adds_nothing::check,
    dns_left_out::check,
    apiserver_left_out::check,
    probes_cut::check,
    cidr_over_cluster::check,
    cidr_over_services::check,
    icmp_type_zero::check,
    default_deny_without_section::check,
    empty_deny_entry::check,
    namespace_overwritten::check,
    entry_without_ports::check,
    empty_peer_list::check,
    empty_entry_beside_others::check,
    policy_types_trap::check,
    allows_without_default_deny::check,
    host_policy::check,
    not_an_identity_label::check,
    conflicts::check,
    unknown_port_name::check,
    cidr_group_missing::check,
    namespace_missing::check,
    fqdn_without_dns::check,
    deny_only::check,
    empty_fqdn_list::check,
    l7_filters_nothing::check,
    service_port::check,
    service_unreachable::check,
    node_port_open::check,
    policy_map_full::check,
];

/// Runs every lint; findings in order of file and place.
pub fn run(context: &Context<'_>) -> Vec<Diagnostic> {
    let view = View::new(*context);
    let mut out = Vec::new();
    for check in CHECKS {
        check(&view, &mut out);
    }
    out.sort_by(|a, b| {
        let place = |d: &Diagnostic| d.span().map(|s| (s.file, s.start, s.end));
        (place(a), a.code, &a.message).cmp(&(place(b), b.code, &b.message))
    });
    out.dedup();
    out
}
