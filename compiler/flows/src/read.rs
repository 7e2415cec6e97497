//! Files, compressed or not, taken apart into JSON objects.

use std::io::{self, BufRead, BufReader, Read};

/// Bytes of a line, or of an element of an array, that is read; longer ones are left out and counted.
pub const LONGEST: usize = 16 << 20;

/// A reader of what is behind gzip or zstd, or of the bytes as they are; found by the first bytes, whatever the file
/// is called. Several compressed parts behind one another, as rotation leaves them, are one.
///
/// # Errors
/// If the first bytes cannot be read, or the compression's header is broken.
pub fn open<'r>(from: impl Read + 'r) -> io::Result<Box<dyn BufRead + 'r>> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let head = from.fill_buf()?;
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(1 << 18, flate2::bufread::MultiGzDecoder::new(from)))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(BufReader::with_capacity(1 << 18, zstd::Decoder::with_buffer(from)?))
    } else {
        Box::new(BufReader::with_capacity(1 << 18, from))
    })
}

/// One piece of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'b> {
    /// A line, or an element of an array.
    Object(&'b [u8]),
    /// Something longer than [`LONGEST`], of so many bytes.
    TooLong(u64),
}

/// Hands out one piece after the other: lines, or the elements of arrays where the text begins with one, or objects
/// that stand over several lines.
///
/// # Errors
/// What reading gives; pieces before it were handed out.
pub fn pieces(mut from: impl BufRead, mut each: impl FnMut(Piece<'_>)) -> io::Result<()> {
    let mut first = [0u8; 1];
    let mut begun = Vec::new();
    // Blanks and a byte order mark before the text.
    loop {
        let head = from.fill_buf()?;
        let Some(b) = head.first().copied() else { return Ok(()) };
        if begun.is_empty() && b == 0xef {
            let mut bom = [0u8; 3];
            let n = read_up_to(&mut from, &mut bom)?;
            if bom != [0xef, 0xbb, 0xbf] {
                begun.extend_from_slice(bom.get(..n).unwrap_or_default());
                break;
            }
        } else if b.is_ascii_whitespace() {
            from.consume(1);
        } else {
            first[0] = b;
            break;
        }
    }
    if first == *b"[" {
        return elements(from, each);
    }
    lines(begun, from, &mut each)
}

fn read_up_to(from: &mut impl BufRead, to: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while let Some(rest) = to.get_mut(n..)
        && !rest.is_empty()
    {
        match from.read(rest)? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

fn lines(begun: Vec<u8>, mut from: impl BufRead, each: &mut impl FnMut(Piece<'_>)) -> io::Result<()> {
    let mut line = begun;
    let mut over = 0u64;
    // An object over several lines: what is open, and how far it was looked at.
    let mut open = Depth::default();
    loop {
        let chunk = match from.fill_buf() {
            Ok(chunk) => chunk,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if chunk.is_empty() {
            finish(&line, over, each);
            return Ok(());
        }
        let (end, whole) = match memchr::memchr(b'\n', chunk) {
            Some(at) => (at + 1, true),
            None => (chunk.len(), false),
        };
        let part = chunk.get(..end).unwrap_or_default();
        if over > 0 || line.len() + part.len() > LONGEST {
            over += part.len() as u64 + if over == 0 { line.len() as u64 } else { 0 };
            line.clear();
        } else if line.is_empty() && whole && !is_open(part) {
            // The usual case, without a copy.
            finish(part, 0, each);
            from.consume(end);
            continue;
        } else {
            line.extend_from_slice(part);
        }
        from.consume(end);
        if !whole {
            continue;
        }
        if over == 0 && (open.seen > 0 || is_open(&line)) && open.follows(&line) {
            continue;
        }
        finish(&line, over, each);
        line.clear();
        over = 0;
        open = Depth::default();
    }
}

/// Whether a line is the beginning of an object that ends on another, as pretty printers write it: a brace, and
/// nothing more. A line that was cut off is not, or it would take the next ones with it.
fn is_open(line: &[u8]) -> bool {
    line.trim_ascii() == b"{"
}

/// How deep a text is in braces, looked at from where it was left.
#[derive(Default)]
struct Depth {
    seen: usize,
    level: u32,
    text: bool,
    escaped: bool,
}

impl Depth {
    /// Whether the object that `text` begins with is not at its end.
    fn follows(&mut self, text: &[u8]) -> bool {
        for b in text.get(self.seen..).unwrap_or_default() {
            self.step(*b);
        }
        self.seen = text.len();
        self.level > 0
    }

    fn step(&mut self, b: u8) {
        if self.text {
            match b {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.text = false,
                _ => {}
            }
        } else {
            match b {
                b'"' => self.text = true,
                b'{' | b'[' => self.level += 1,
                b'}' | b']' => self.level = self.level.saturating_sub(1),
                _ => {}
            }
        }
    }
}

fn finish(line: &[u8], over: u64, each: &mut impl FnMut(Piece<'_>)) {
    if over > 0 {
        return each(Piece::TooLong(over));
    }
    let line = line.trim_ascii();
    if !line.is_empty() {
        each(Piece::Object(line));
    }
}

/// The elements of an array, one after the other; of arrays behind it, too.
fn elements(from: impl BufRead, mut each: impl FnMut(Piece<'_>)) -> io::Result<()> {
    let mut element = Vec::new();
    let mut over = 0u64;
    let mut depth = Depth::default();
    for b in from.bytes() {
        let b = b?;
        let before = depth.level;
        depth.step(b);
        match (before, depth.level) {
            // The array's own brackets, and what stands between elements.
            (0, _) => continue,
            (1, 0) => {
                finish(&element, over, &mut each);
                element.clear();
                over = 0;
                continue;
            }
            (1, 1) if b == b',' && !depth.text => {
                finish(&element, over, &mut each);
                element.clear();
                over = 0;
                continue;
            }
            _ => {}
        }
        if over > 0 || element.len() >= LONGEST {
            over += 1 + if over == 0 { element.len() as u64 } else { 0 };
            element.clear();
        } else {
            element.push(b);
        }
    }
    finish(&element, over, &mut each);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::io::Write as _;

    fn all(bytes: &[u8]) -> Vec<String> {
        let mut out = Vec::new();
        pieces(open(bytes).unwrap(), |p| {
            out.push(match p {
                Piece::Object(o) => String::from_utf8_lossy(o).into_owned(),
                Piece::TooLong(n) => format!("{n} bytes"),
            });
        })
        .unwrap();
        out
    }

    #[test]
    fn lines_arrays_and_pretty_objects_are_taken_apart() {
        assert_eq!(all(b"{\"a\":1}\n\n  {\"b\":2}\r\n{\"c\""), ["{\"a\":1}", "{\"b\":2}", "{\"c\""]);
        assert_eq!(
            all(b"\xef\xbb\xbf [ {\"a\":\"],{\"}, {\"b\":[1,2]}]\n[{}]"),
            ["{\"a\":\"],{\"}", "{\"b\":[1,2]}", "{}"]
        );
        assert_eq!(all(b"{\n  \"a\": {\n    \"b\": \"}\"\n  }\n}\n{\"c\":1}\n").len(), 2);
        assert!(all(b"").is_empty());
        assert!(all(b" \n\n").is_empty());
    }

    #[test]
    fn compressed_parts_are_read_by_their_first_bytes() {
        let gz = |text: &str| {
            let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            e.write_all(text.as_bytes()).unwrap();
            e.finish().unwrap()
        };
        assert_eq!(all(&[gz("{\"a\":1}\n"), gz("{\"b\":2}\n")].concat()), ["{\"a\":1}", "{\"b\":2}"]);
        let z = zstd::encode_all(&b"{\"a\":1}\n"[..], 1).unwrap();
        assert_eq!(all(&z), ["{\"a\":1}"]);
    }

    #[test]
    fn what_is_too_long_is_counted_and_what_follows_is_read() {
        let mut text = vec![b'x'; LONGEST + 10];
        text.extend_from_slice(b"\n{\"a\":1}\n");
        assert_eq!(all(&text), [format!("{} bytes", LONGEST + 11), "{\"a\":1}".to_owned()]);
        let mut array = b"[{\"x\":\"".to_vec();
        array.extend(vec![b'y'; LONGEST + 10]);
        array.extend_from_slice(b"\"},{\"a\":1}]");
        assert_eq!(all(&array).last().unwrap(), "{\"a\":1}");
    }
}
