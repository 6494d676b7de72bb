//! Bodies too long to write down: their length and checksum, and the bytes themselves where they are few.

use aws_lc_rs::digest::{Context, SHA256};

/// Bodies up to this length are shown.
const SHOWN: usize = 64;

pub(crate) struct Tally {
    length: u64,
    start: Vec<u8>,
    digest: Context,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { length: 0, start: Vec::new(), digest: Context::new(&SHA256) }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let room = (SHOWN + 1).saturating_sub(self.start.len()).min(bytes.len());
        self.start.extend_from_slice(&bytes[..room]);
        self.length += bytes.len() as u64;
        self.digest.update(bytes);
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// `5 bytes "hello"`, or `104857600 bytes, sha256 …`.
    pub(crate) fn describe(self) -> String {
        if self.start.len() <= SHOWN {
            return format!("{} bytes \"{}\"", self.length, self.start.escape_ascii());
        }
        let sum: String =
            self.digest.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} bytes, sha256 {sum}…", self.length)
    }
}

/// Bytes that differ from place to place, so that a missing or doubled piece shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()
    };
    let block: Vec<u8> = (0..(1 << 20) / 4).flat_map(|_| next()).collect();
    let mut bytes = Vec::with_capacity(length + block.len());
    for number in 0_u64.. {
        if bytes.len() >= length {
            break;
        }
        bytes.extend(number.to_be_bytes());
        bytes.extend_from_slice(&block);
    }
    bytes.truncate(length);
    bytes
}
