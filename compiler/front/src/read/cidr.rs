//! Address ranges: `…CIDR`, `…CIDRSet`, `ipBlock`, and the ranges of CiliumCIDRGroup (SEM-2.9).

use super::fields::{Dialect, Reader, inert, refused};
use super::{names, selector};
use crate::ast::{CidrRule, CidrSource, Spanned, Text};
use crate::tree::Node;
use ipnet::IpNet;
use portcullis_diag::codes::schema;
use portcullis_diag::{Diagnostic, Fate};
use std::net::IpAddr;

/// Why a text is no CIDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An address without a prefix length.
    NoPrefix,
    /// No address range at all.
    Malformed,
    /// Leading zeros, which the API server's lenient parser takes and Cilium's does not.
    LeadingZeros,
}

/// Parses a range as Go's `netip.ParsePrefix` does; host bits are masked off.
pub(super) fn parse(text: &str) -> Result<IpNet, Fault> {
    let Some((address, length)) = text.rsplit_once('/') else {
        return Err(if text.parse::<IpAddr>().is_ok() { Fault::NoPrefix } else { Fault::Malformed });
    };
    if let Some(net) = net(address, length) {
        return Ok(net);
    }
    let bare: Vec<&str> = address.split('.').map(without_zeros).collect();
    let lenient = if address.contains(':') { address.to_owned() } else { bare.join(".") };
    match net(&lenient, without_zeros(length)) {
        Some(_) => Err(Fault::LeadingZeros),
        None => Err(Fault::Malformed),
    }
}

fn without_zeros(number: &str) -> &str {
    let trimmed = number.trim_start_matches('0');
    if trimmed.is_empty() && !number.is_empty() { "0" } else { trimmed }
}

fn net(address: &str, length: &str) -> Option<IpNet> {
    let canonical = !length.is_empty()
        && length.bytes().all(|b| b.is_ascii_digit())
        && (length == "0" || !length.starts_with('0'));
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = if canonical { length.parse().ok()? } else { return None };
    IpNet::new(address, length).ok().map(|n| n.trunc())
}

/// Reads one range and says what is wrong with it.
pub(super) fn cidr(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<Spanned<IpNet>> {
    let text = r.text(node, what)?;
    let fault = match parse(&text.value) {
        Ok(net) => return Some(Spanned::new(net, text.span)),
        Err(fault) => fault,
    };
    let finding = finding(&text, fault, r.dialect());
    r.report(finding);
    None
}

fn finding(text: &Text, fault: Fault, dialect: Dialect) -> Diagnostic {
    let value = &text.value;
    match fault {
        Fault::NoPrefix => {
            let bits = if value.contains(':') { 128 } else { 32 };
            refused(schema::BAD_CIDR, text.span, format!("`{value}` has no prefix length"))
                .label("an address, not a range")
                .help(format!("write `{value}/{bits}` for this one address"))
        }
        Fault::Malformed => refused(schema::BAD_CIDR, text.span, format!("`{value}` is no address range"))
            .label("not a CIDR")
            .help("write an address and a prefix length, such as 10.0.0.0/8 or 2001:db8::/32"),
        Fault::LeadingZeros => {
            let why = format!("`{value}` has leading zeros");
            let finding = if dialect == Dialect::ClusterPolicy {
                refused(schema::BAD_CIDR, text.span, why)
            } else {
                inert(schema::BAD_CIDR, text.span, why)
            };
            finding.label("could be meant as octal").help("write the numbers without leading zeros")
        }
    }
}

/// Reads a list of ranges.
pub(super) fn list(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<Spanned<Vec<Spanned<IpNet>>>> {
    let items = r.list(node, what)?;
    let nets = items.iter().filter_map(|item| cidr(r, item, what)).collect();
    Some(Spanned::new(nets, node.span))
}

/// Reads a `…CIDRSet` of Cilium's kinds.
pub(super) fn set(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<Spanned<Vec<CidrRule>>> {
    let items = r.list(node, what)?;
    let rules = items.iter().filter_map(|item| set_entry(r, item, what)).collect();
    Some(Spanned::new(rules, node.span))
}

fn set_entry(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<CidrRule> {
    const SOURCES: &[&str] = &["cidr", "cidrGroupRef", "cidrGroupSelector"];
    let map = r.strict(node, what, &["cidr", "cidrGroupRef", "cidrGroupSelector", "except"])?;
    let given = map.given(SOURCES);
    let except = except(r, map.get("except"));
    let source = match given.as_slice() {
        [("cidr", e)] => cidr(r, &e.value, "cidr").map(CidrSource::Cidr),
        [("cidrGroupRef", e)] => group_ref(r, &e.value).map(CidrSource::GroupRef),
        [(_, e)] => selector::read(r, &e.value, "cidrGroupSelector").map(CidrSource::GroupSelector),
        [] => {
            let finding =
                refused(schema::CIDR_SOURCE, map.span, format!("this `{what}` entry names no addresses"))
                    .label("`cidr`, `cidrGroupRef` or `cidrGroupSelector` is missing");
            r.report(finding);
            None
        }
        [(first, _), (second, e), ..] => {
            let finding = refused(
                schema::CIDR_SOURCE,
                e.key_span,
                format!("`{first}` and `{second}` stand in one entry"),
            )
            .label("one of them is too many")
            .help("make two entries of it");
            r.report(finding);
            None
        }
    };
    if let Some(CidrSource::Cidr(range)) = &source {
        for hole in &except {
            contained(r, range, hole, Fate::Inert);
        }
    }
    Some(CidrRule { span: node.span, source: source?, except })
}

fn group_ref(r: &mut Reader<'_>, node: &Node) -> Option<Text> {
    let text = r.text(node, "cidrGroupRef")?;
    if names::is_dns_subdomain(&text.value) {
        return Some(text);
    }
    let finding =
        refused(schema::BAD_NAME, text.span, format!("`{}` cannot be the name of a CIDR group", text.value))
            .label("not a lower-case DNS name");
    r.report(finding);
    None
}

fn except(r: &mut Reader<'_>, node: Option<&Node>) -> Vec<Spanned<IpNet>> {
    let items = node.and_then(|n| r.list(n, "except")).unwrap_or_default();
    items.iter().filter_map(|item| cidr(r, item, "except")).collect()
}

/// Reports an exception that is not inside its range: for Kubernetes' kind, not strictly inside.
fn contained(r: &mut Reader<'_>, range: &Spanned<IpNet>, hole: &Spanned<IpNet>, fate: Fate) {
    let strict = fate == Fate::Refused;
    if range.value.contains(&hole.value) && !(strict && range.value == hole.value) {
        return;
    }
    let equal = range.value == hole.value;
    let (why, help) = if equal {
        (
            format!("the exception {} takes all of the range", hole.value),
            "remove the peer, or make the exception smaller",
        )
    } else {
        (
            format!("the exception {} is not inside {}", hole.value, range.value),
            "an exception lies inside the range above it",
        )
    };
    let finding = if strict {
        refused(schema::EXCEPT_OUTSIDE, hole.span, why)
    } else {
        inert(schema::EXCEPT_OUTSIDE, hole.span, why)
    };
    r.report(finding.label("the exception").also(range.span, "the range").help(help));
}

/// Reads a NetworkPolicy's `ipBlock`.
pub(super) fn ip_block(r: &mut Reader<'_>, node: &Node) -> Option<CidrRule> {
    let map = r.strict(node, "ipBlock", &["cidr", "except"])?;
    let except = except(r, map.get("except"));
    let Some(range) = map.get("cidr") else {
        r.missing(map.span, "cidr", "ipBlock");
        return None;
    };
    let range = cidr(r, range, "cidr")?;
    for hole in &except {
        contained(r, &range, hole, Fate::Refused);
    }
    Some(CidrRule { span: node.span, source: CidrSource::Cidr(range), except })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_parse_as_go_parses_them() {
        for good in ["10.0.0.1/8", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104", "2001:db8::/32"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "10.0.0.0/33",
            "300.0.0.0/8",
            "",
            "10.0.0.0/-1",
            "10.0.0/8",
            " 10.0.0.0/8",
            "fe80::1%eth0/64",
            "10.0.0.0/",
            "a",
            "10.0.0.0/+8",
        ] {
            assert_eq!(parse(bad), Err(Fault::Malformed), "{bad}");
        }
        assert_eq!(parse("10.0.0.1"), Err(Fault::NoPrefix));
        assert_eq!(parse("010.0.0.0/8"), Err(Fault::LeadingZeros));
        assert_eq!(parse("10.0.0.0/08"), Err(Fault::LeadingZeros));
    }

    #[test]
    fn host_bits_are_masked_off() {
        assert_eq!(parse("10.1.2.3/8").unwrap().to_string(), "10.0.0.0/8");
    }
}
