//! What a flow carries: `8080`, `53/UDP`, `http`, `8/ICMP`.

use crate::exit::Failure;
use portcullis_ir::port::L4;
use smol_str::SmolStr;

/// A destination port as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// A number.
    Number(L4, u16),
    /// A name, to be looked up on the destination; any protocol where none was given.
    Name(Option<L4>, SmolStr),
    /// An ICMP type; true is IPv6.
    Icmp(bool, u8),
}

/// Reads `--port` and `--protocol`.
pub(crate) fn parse(port: &str, protocol: Option<&str>) -> Result<Port, Failure> {
    const FORMS: &str =
        "write 8080, 8080/TCP, 53/UDP, a port's name, or an ICMP type as 8/ICMP or 128/ICMPv6";
    let (number, behind) = match port.split_once('/') {
        Some((n, p)) => (n.trim(), Some(p.trim())),
        None => (port.trim(), None),
    };
    if let (Some(a), Some(b)) = (behind, protocol)
        && !a.eq_ignore_ascii_case(b)
    {
        return Err(Failure::new(format!("--port says {a}, --protocol says {b}"), "give the protocol once"));
    }
    let wanted = behind.or(protocol).map(str::to_ascii_uppercase);
    let l4 = match wanted.as_deref() {
        None => None,
        Some("TCP") => Some(L4::Tcp),
        Some("UDP") => Some(L4::Udp),
        Some("SCTP") => Some(L4::Sctp),
        Some(icmp @ ("ICMP" | "ICMPV4" | "ICMPV6")) => {
            let v6 = icmp == "ICMPV6";
            return number.parse().map(|t| Port::Icmp(v6, t)).map_err(|_| {
                Failure::new(
                    format!("`{number}` is no ICMP type"),
                    "ICMP types are numbers from 0 to 255; an echo request is 8/ICMP or 128/ICMPv6",
                )
            });
        }
        Some(other) => return Err(Failure::new(format!("there is no protocol `{other}` here"), FORMS)),
    };
    if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() {
        return match number.parse::<u16>() {
            Ok(0) | Err(_) => {
                Err(Failure::new(format!("`{number}` is no port"), "ports are numbers from 1 to 65535"))
            }
            Ok(n) => Ok(Port::Number(l4.unwrap_or(L4::Tcp), n)),
        };
    }
    let is_name = number.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && number.bytes().any(|b| b.is_ascii_alphabetic());
    if !is_name || number.len() > 15 {
        return Err(Failure::new(format!("`{port}` is no port"), FORMS));
    }
    Ok(Port::Name(l4, number.to_ascii_lowercase().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_every_form() {
        assert_eq!(parse("8080", None).unwrap(), Port::Number(L4::Tcp, 8080));
        assert_eq!(parse("53/udp", None).unwrap(), Port::Number(L4::Udp, 53));
        assert_eq!(parse("53", Some("UDP")).unwrap(), Port::Number(L4::Udp, 53));
        assert_eq!(parse("http", None).unwrap(), Port::Name(None, "http".into()));
        assert_eq!(parse("8/ICMP", None).unwrap(), Port::Icmp(false, 8));
        for wrong in ["0", "70000", "80/GRE", "", "80-90", "53/UDP/x"] {
            assert!(parse(wrong, None).is_err(), "{wrong}");
        }
        assert!(parse("53/UDP", Some("tcp")).is_err());
    }
}
