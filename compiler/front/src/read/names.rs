//! The grammar of names: labels, domain names, service names. Pure predicates, no diagnostics.

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 bytes: a DNS-1123 label.
pub(super) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_part(text)
}

/// Dot-separated DNS-1123 parts, at most 253 bytes. As the API server has it, a part of a
/// subdomain may be longer than 63.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

fn is_dns_part(text: &str) -> bool {
    framed(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), |b| b == b'-')
}

/// A label key: an optional DNS prefix and `/`, then a name of at most 63 bytes.
pub(super) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        None => is_label_name(text),
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_name(name),
    }
}

/// A label value: empty, or like the name of a key.
pub(super) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_name(text)
}

/// The shape of a label value without its length.
pub(super) fn is_label_value_shape(text: &str) -> bool {
    text.is_empty() || framed(text, |b| b.is_ascii_alphanumeric(), |b| matches!(b, b'-' | b'_' | b'.'))
}

fn is_label_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && is_label_value_shape(text)
}

/// A selector key of Cilium's kinds. `source:key` becomes `source.key` before it is checked as a
/// label key, and a key without a source counts as `any.key` (SEM-3.1).
pub(super) fn is_cilium_key(text: &str) -> bool {
    let (source, key) = text.split_once(':').unwrap_or(("any", text));
    !key.is_empty() && is_label_key(&format!("{source}.{key}"))
}

/// An IANA service name in any case: letters, digits and single inner hyphens, at least one
/// letter, at most 15 bytes (SEM-2.6).
pub(super) fn is_service_name(text: &str) -> bool {
    text.len() <= 15
        && framed(text, |b| b.is_ascii_alphanumeric(), |b| b == b'-')
        && !text.contains("--")
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Dot-separated parts of `inner` characters; one trailing dot is allowed, an empty part is not.
pub(super) fn is_domain(text: &str, star: bool) -> bool {
    let body = text.strip_suffix('.').unwrap_or(text);
    body.split('.').all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') || (star && b == b'*'))
    })
}

/// At least two dot-separated parts that begin and end with a letter or digit, an optional `*.`
/// before them and an optional dot after them: a domain name of ClusterNetworkPolicy.
pub(super) fn is_dotted_domain(text: &str) -> bool {
    let body = text.strip_prefix("*.").unwrap_or(text);
    let body = body.strip_suffix('.').unwrap_or(body);
    body.contains('.')
        && body.split('.').all(|p| framed(p, |b| b.is_ascii_alphanumeric(), |b| matches!(b, b'-' | b'_')))
}

/// Non-empty, `edge` at both ends, `edge` or `inner` between.
fn framed(text: &str, edge: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            edge(*first) && edge(*last) && bytes.iter().all(|b| edge(*b) || inner(*b))
        }
        _ => false,
    }
}

/// Go's `strconv.ParseUint(text, 0, 16)`: base prefixes, a leading zero for octal, and underscores
/// where Go's literals allow them (SEM-2.6).
pub(super) fn go_port(text: &str) -> Option<u16> {
    let lower = text.to_ascii_lowercase();
    let (digits, base, prefixed) = match lower.as_bytes() {
        [b'0', b'x', _, ..] => (lower.get(2..)?, 16, true),
        [b'0', b'o', _, ..] => (lower.get(2..)?, 8, true),
        [b'0', b'b', _, ..] => (lower.get(2..)?, 2, true),
        [b'0', _, ..] => (lower.get(1..)?, 8, true),
        _ => (lower.as_str(), 10, false),
    };
    // An underscore stands after a digit or the base prefix, and before a digit.
    let mut after_digit = prefixed;
    let mut value: u32 = 0;
    for c in digits.chars() {
        if c == '_' {
            if !after_digit {
                return None;
            }
            after_digit = false;
        } else {
            value = value.checked_mul(base)?.checked_add(c.to_digit(base)?)?;
            if value > u32::from(u16::MAX) {
                return None;
            }
            after_digit = true;
        }
    }
    if digits.is_empty() || !after_digit { None } else { u16::try_from(value).ok() }
}

/// The nearest of `known` to `text`, if it is near enough to be meant: case is ignored, and up to a
/// third of the letters may be wrong, swapped, missing or too many.
pub(super) fn nearest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let wanted = text.to_ascii_lowercase();
    known
        .iter()
        .map(|k| (distance(&wanted, &k.to_ascii_lowercase()), *k))
        .filter(|(d, k)| *d <= (k.len() / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// How many letters are wrong, missing, too many, or swapped with their neighbour.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |r: &[usize], k: usize| r.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut cost =
                (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_parse_as_go_literals() {
        for (text, port) in [
            ("80", Some(80)),
            ("0", Some(0)),
            ("00", Some(0)),
            ("0120", Some(80)),
            ("0x5_0", Some(80)),
            ("0b_1", Some(1)),
            ("0o_17", Some(15)),
            ("1_000", Some(1000)),
            ("0_1", Some(1)),
            ("65535", Some(65535)),
            ("65536", None),
            ("08", None),
            ("1__0", None),
            ("_1", None),
            ("1_", None),
            ("-1", None),
            ("", None),
            ("0x", None),
            (" 80", None),
            ("+80", None),
        ] {
            assert_eq!(go_port(text), port, "{text}");
        }
    }

    #[test]
    fn service_names_follow_iana() {
        for good in ["http", "HTTP", "a-b", "0x50", "abcdefghijklmno", "8a"] {
            assert!(is_service_name(good), "{good}");
        }
        for bad in ["", "80", "a_b", "a--b", "-a", "a-", "abcdefghijklmnop", "80-90"] {
            assert!(!is_service_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_near_name_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("toEndpoint", &["toEndpoints", "toEntities"]), Some("toEndpoints"));
        assert_eq!(nearest("egres", &["ingress", "egress"]), Some("egress"));
        assert_eq!(nearest("colour", &["ingress", "egress"]), None);
        assert_eq!(distance("wrold", "world"), 1);
    }

    #[test]
    fn cilium_keys_count_their_source() {
        for good in ["app", "k8s:app", "foo:app", "k8s:app.kubernetes.io/name", "reserved:host", "k8s.app"] {
            assert!(is_cilium_key(good), "{good}");
        }
        for bad in ["", "a b", "k8s:", "a/b/c", &"x".repeat(63)] {
            assert!(!is_cilium_key(bad), "{bad}");
        }
    }

    #[test]
    fn domains_may_end_in_one_dot() {
        assert!(is_domain("a.com.", false) && is_domain("_a.com", false) && is_domain("**.a.com", true));
        assert!(
            !is_domain("", false)
                && !is_domain("a..b", false)
                && !is_domain("*.a", false)
                && !is_domain(".a", false)
        );
    }
}
