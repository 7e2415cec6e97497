//! What a scalar is, by the rules of kubectl's YAML library (YAML 1.1 with Go's number syntax).

use crate::tree::Value;
use smol_str::SmolStr;
use std::borrow::Cow;

/// A resolved scalar, before it becomes a JSON value or a JSON key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    /// Null.
    Null,
    /// A boolean, and whether it was written as `true` or `false`.
    Bool { value: bool, plain: bool },
    /// An integer of 64 bits, signed or not.
    Int(i128),
    /// A float, finite or not.
    Float(f64),
    /// A string: the text as it stands.
    Str,
}

/// What a plain (unquoted, untagged) text is.
pub(super) fn plain(text: &str) -> Scalar {
    let Some(first) = text.as_bytes().first() else { return Scalar::Null };
    match first {
        b'0'..=b'9' | b'+' | b'-' => number(text),
        b'.' => dotted(text),
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => word(text),
        _ => Scalar::Str,
    }
}

fn word(text: &str) -> Scalar {
    let bool = |value, plain| Scalar::Bool { value, plain };
    match text {
        "true" | "True" | "TRUE" => bool(true, true),
        "false" | "False" | "FALSE" => bool(false, true),
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => bool(true, false),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => bool(false, false),
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        _ => Scalar::Str,
    }
}

fn dotted(text: &str) -> Scalar {
    match text {
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" => Scalar::Float(f64::INFINITY),
        _ => float(text),
    }
}

/// A text that starts with a digit or a sign.
fn number(text: &str) -> Scalar {
    match text {
        "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    // Most texts that start with a digit are numbers, IPs or versions: few hold an underscore.
    let text = if text.contains('_') { Cow::Owned(text.replace('_', "")) } else { Cow::Borrowed(text) };
    integer(&text).map_or_else(|| float(&text), Scalar::Int)
}

/// Go's `ParseInt(text, 0, 64)`, then `ParseUint`: a sign, a base prefix, digits.
fn integer(text: &str) -> Option<i128> {
    let (negative, signed, digits) = match text.as_bytes().first()? {
        b'-' => (true, true, text.get(1..)?),
        b'+' => (false, true, text.get(1..)?),
        _ => (false, false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // `from_str_radix` would take a second sign.
    if !digits.as_bytes().first()?.is_ascii_alphanumeric() {
        return None;
    }
    let size = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -size } else { size };
    let max = if signed { i128::from(i64::MAX) } else { i128::from(u64::MAX) };
    (i128::from(i64::MIN)..=max).contains(&value).then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, and within the range of a double.
fn float(text: &str) -> Scalar {
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(rest);
    let mut end = whole;
    if rest.as_bytes().get(whole) == Some(&b'.') {
        let fraction = digits(rest.get(whole + 1..).unwrap_or(""));
        if whole == 0 && fraction == 0 {
            return Scalar::Str;
        }
        end = whole + 1 + fraction;
    } else if whole == 0 {
        return Scalar::Str;
    }
    if let Some(b'e' | b'E') = rest.as_bytes().get(end) {
        let exponent = rest.get(end + 1..).unwrap_or("");
        let exponent_digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if exponent_digits.is_empty() {
            return Scalar::Str;
        }
        end = rest.len() - exponent_digits.len() + digits(exponent_digits);
    }
    if end != rest.len() {
        return Scalar::Str;
    }
    match text.parse::<f64>() {
        Ok(f) if f.is_finite() => Scalar::Float(f),
        _ => Scalar::Str,
    }
}

/// The JSON value of a scalar; `None` if JSON has none (infinities, not-a-number).
pub(super) fn value(scalar: Scalar, text: &str) -> Option<Value> {
    Some(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool { value, plain } => Value::Bool { value, plain },
        Scalar::Int(i) => Value::Int(i),
        Scalar::Float(f) => return json_float(f),
        Scalar::Str => Value::Str(SmolStr::new(text)),
    })
}

/// 2^63: every integral double below it is an i64, exactly.
const LIMIT: f64 = 9_223_372_036_854_775_808.0;

/// kubectl passes numbers through JSON, where `8080.0` and `8e3` are written, and then read again,
/// as integers.
pub(super) fn json_float(f: f64) -> Option<Value> {
    if !f.is_finite() {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "within the range of i64 and without a fraction")]
    let value = if f.fract() == 0.0 && (-LIMIT..LIMIT).contains(&f) {
        Value::Int(i128::from(f as i64))
    } else {
        Value::Float(f)
    };
    Some(value)
}

/// The JSON key kubectl makes of a scalar key; `None` where it gives up.
pub(super) fn key(scalar: Scalar, text: &str) -> Option<SmolStr> {
    Some(match scalar {
        Scalar::Str => SmolStr::new(text),
        Scalar::Bool { value: true, .. } => SmolStr::new_static("true"),
        Scalar::Bool { value: false, .. } => SmolStr::new_static("false"),
        Scalar::Int(i) => SmolStr::new(i64::try_from(i).ok()?.to_string()),
        Scalar::Float(f) => float_key(f),
        Scalar::Null => return None,
    })
}

/// Go's `FormatFloat(f, 'g', -1, 32)`, and YAML's words for what is not finite.
fn float_key(f: f64) -> SmolStr {
    #[expect(clippy::cast_possible_truncation, reason = "kubectl rounds keys to 32 bits")]
    let f = f as f32;
    if f.is_nan() {
        return SmolStr::new_static(".nan");
    }
    if f.is_infinite() {
        return SmolStr::new_static(if f > 0.0 { ".inf" } else { "-.inf" });
    }
    let scientific = format!("{f:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return SmolStr::new(scientific) };
    let Ok(exponent) = exponent.parse::<i32>() else { return SmolStr::new(scientific) };
    if (-4..6).contains(&exponent) {
        return SmolStr::new(format!("{f}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    SmolStr::new(format!("{digits}e{sign}{:02}", exponent.unsigned_abs()))
}
