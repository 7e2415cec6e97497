//! Times as recordings write them.

use std::cell::Cell;

/// `2026-11-24T10:00:00`, and that second since 1970.
type Second = ([u8; 19], i64);

thread_local! {
    /// The second that was read last: in a recording most lines are of the same one as the line before.
    static LAST: Cell<Second> = const { Cell::new(([0; 19], 0)) };
}

/// RFC 3339 as nanoseconds since 1970; `None` for what is no time, or one that does not fit.
pub(crate) fn nanos(text: &str) -> Option<i64> {
    plain(text).or_else(|| slow(text))
}

fn slow(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

/// The form that Go writes in UTC: the second, perhaps a fraction, `Z`. `None` for other forms.
fn plain(text: &str) -> Option<i64> {
    let (second, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let digits: &[u8] = match rest.strip_suffix(b"Z")? {
        [] => &[],
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    let mut fraction = 0i64;
    for n in 0..9 {
        let digit = digits.get(n).unwrap_or(&b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        fraction = fraction * 10 + i64::from(digit - b'0');
    }
    let last = LAST.get();
    if last.0 == *second {
        return last.1.checked_mul(1_000_000_000)?.checked_add(fraction);
    }
    // A second before 1970 or one that does not fit is for the library alone.
    let whole = slow(&format!("{}Z", std::str::from_utf8(second).ok()?))? / 1_000_000_000;
    if whole <= 0 {
        return None;
    }
    LAST.set((*second, whole));
    whole.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "Z",
            "2026-11-24T10:00:00",
            "2026-13-24T10:00:00Z",
            "2026-11-24T10:00:00.Z",
            "2026-11-24T10:00:00.1xZ",
        ] {
            assert_eq!(nanos(text), slow(text), "{text}");
            assert_eq!(nanos(text), None, "{text}");
        }
        // A leap second is the last one of its minute, as the library has it.
        assert_eq!(nanos("2016-12-31T23:59:60Z"), slow("2016-12-31T23:59:60Z"));
        assert_eq!(nanos("2016-12-31T23:59:60.5Z"), slow("2016-12-31T23:59:60.5Z"));
    }

    proptest! {
        #[test]
        fn it_is_what_the_library_says(
            second in -10_000_000_000i64..10_000_000_000,
            fraction in 0u32..1_000_000_000,
            places in 0usize..=9,
            form in 0u8..4,
        ) {
            let time = jiff::Timestamp::from_second(second).unwrap().to_string();
            let head = time.strip_suffix('Z').unwrap();
            let digits = format!("{fraction:09}");
            let fraction = if places == 0 { String::new() } else { format!(".{}", &digits[..places]) };
            let text = match form {
                0 => format!("{head}{fraction}Z"),
                1 => format!("{head}{fraction}+02:00"),
                2 => format!("{}{fraction}z", head.replace('T', "t")),
                _ => format!("{}{fraction}Z", head.replace('T', " ")),
            };
            prop_assert_eq!(nanos(&text), slow(&text));
            // And again, with the second remembered.
            prop_assert_eq!(nanos(&text), slow(&text));
        }
    }
}
