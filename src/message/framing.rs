//! Where one HTTP/1 request ends and the next begins, judged strictly: what two readers could take for
//! different requests is refused, not repaired (RFC 9112, 2.2, 5.2, 6.1 and 11.2).

use memchr::{memchr, memchr2};

use crate::error::Reason;

/// Bytes of one request head at most, and of one trailer section.
pub const HEAD: usize = 64 * 1024;

/// Header lines of one head at most: the library's own limit, and the reference proxy's.
const LINES: usize = 100;

/// What a request head says of the bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub body: Length,
    /// Whether it asks to leave HTTP: once answered, the bytes behind the body may be something else.
    pub leaves: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Bytes(u64),
    Chunked,
}

/// The length of the head that `bytes` begin with, its blank line included; `None` while that has not
/// come. The first `scanned` bytes are known to hold no end.
pub fn head_length(bytes: &[u8], scanned: usize) -> Option<usize> {
    let blank = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    // An end may have begun among the last bytes looked at.
    let mut at = blank.max(scanned.saturating_sub(3));
    while let Some(found) = memchr(b'\n', bytes.get(at..)?) {
        at += found + 1;
        match bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Judges one whole head.
///
/// # Errors
/// [`Reason::BadRequest`] for what could be read in two ways, [`Reason::HeadTooLarge`] for too many lines.
pub fn judge(head: &[u8]) -> Result<Head, Reason> {
    let head = head.trim_ascii_start();
    let mut lines = Lines(head);
    let request = lines.next().ok_or(Reason::BadRequest)??;
    let mut fields = Fields::default();
    for (count, line) in lines.enumerate() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if count == LINES {
            return Err(Reason::HeadTooLarge);
        }
        fields.read(line)?;
    }
    let leaves = fields.upgrade || request.starts_with(b"CONNECT ");
    Ok(Head { body: fields.body(request.ends_with(b"HTTP/1.0"))?, leaves })
}

/// Lines that end in CR LF and hold neither CR, nor NUL, nor a line feed of their own.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        match line.split_last() {
            Some((b'\r', line)) if memchr2(b'\r', 0, line).is_none() => Some(Ok(line)),
            _ => Some(Err(Reason::BadRequest)),
        }
    }
}

/// What the header lines say of the body.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Fields {
    fn read(&mut self, line: &[u8]) -> Result<(), Reason> {
        if line[0] == b' ' || line[0] == b'\t' {
            // A folded line is read as part of the one before, or as one of its own.
            return Err(Reason::BadRequest);
        }
        // Most lines are told by their first letter to be none of these.
        if !b"cCtTuU".contains(&line[0]) {
            return Ok(());
        }
        let colon = memchr(b':', line).ok_or(Reason::BadRequest)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value).ok_or(Reason::BadRequest)?;
            if self.length.replace(length).is_some() {
                return Err(Reason::BadRequest);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") || self.chunked {
                return Err(Reason::BadRequest);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn body(&self, http10: bool) -> Result<Length, Reason> {
        match (self.length, self.chunked) {
            (None, true) if !http10 => Ok(Length::Chunked),
            (length, false) => Ok(Length::Bytes(length.unwrap_or(0))),
            _ => Err(Reason::BadRequest),
        }
    }
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Follows a chunked body to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunked {
    /// In a chunk's size, of which so many digits have come.
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the size: blanks or an extension, so many bytes of it.
    Extension {
        size: u64,
        seen: u16,
    },
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer line; so many bytes of trailers have come.
    Trailer(usize),
    TrailerLine(usize),
    TrailerLf(usize),
    EndLf,
    Ended,
}

/// Bytes behind one chunk's size at most.
const EXTENSION: u16 = 1024;

impl Chunked {
    pub const START: Self = Self::Size { size: 0, digits: 0 };

    /// Follows the body as far as `bytes` go, at most to its end. How many bytes belong to it.
    ///
    /// # Errors
    /// What came is not chunked coding, or more trailers than anybody needs.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Ended {
            if let Self::Data(left) = *self {
                let passed = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += passed;
                let left = left - passed as u64;
                *self = if left == 0 { Self::DataCr } else { Self::Data(left) };
                continue;
            }
            *self = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(self, byte: u8) -> Result<Self, Reason> {
        match (self, byte) {
            (Self::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 15 => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                Ok(Self::Size { size: size * 16 + digit, digits: digits + 1 })
            }
            (Self::Size { size, digits: 1.. } | Self::Extension { size, .. }, b'\r') => {
                Ok(Self::SizeLf(size))
            }
            (Self::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => Ok(Self::Extension { size, seen: 1 }),
            (Self::Extension { size, seen }, byte) if byte != b'\n' && byte != 0 && seen < EXTENSION => {
                Ok(Self::Extension { size, seen: seen + 1 })
            }
            (Self::SizeLf(0), b'\n') => Ok(Self::Trailer(0)),
            (Self::SizeLf(size), b'\n') => Ok(Self::Data(size)),
            (Self::DataCr, b'\r') => Ok(Self::DataLf),
            (Self::DataLf, b'\n') => Ok(Self::START),
            (Self::Trailer(_), b'\r') => Ok(Self::EndLf),
            (Self::EndLf, b'\n') => Ok(Self::Ended),
            (Self::TrailerLine(seen), b'\r') => Ok(Self::TrailerLf(seen)),
            (Self::TrailerLf(seen), b'\n') => Ok(Self::Trailer(seen)),
            (Self::Trailer(_), b' ' | b'\t') => Err(Reason::BadRequest),
            (Self::Trailer(seen) | Self::TrailerLine(seen), byte) if byte != b'\n' && byte != 0 => {
                if seen < HEAD { Ok(Self::TrailerLine(seen + 1)) } else { Err(Reason::HeadTooLarge) }
            }
            _ => Err(Reason::BadRequest),
        }
    }
}

#[cfg(test)]
mod tests;
