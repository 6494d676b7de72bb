//! Where do frames begin in a stream of bytes (RFC 9113, 4.1)?

/// The client's connection preface (RFC 9113, 3.4), in bytes.
pub const PREFACE: usize = 24;

/// Bytes of a frame's header.
const HEADER: usize = 9;

/// Follows a stream from frame to frame, however its bytes come.
#[derive(Debug)]
pub struct Boundaries {
    /// Bytes to pass before the next frame begins: of the preface, or of a payload.
    skip: usize,
    header: [u8; HEADER],
    /// How much of `header` has come.
    have: usize,
}

impl Boundaries {
    /// Of a stream whose first frame begins after so many bytes.
    pub fn after(preface: usize) -> Self {
        Self { skip: preface, header: [0; HEADER], have: 0 }
    }

    /// The next header that is whole within `bytes`, which then begin behind it; `None` where all have passed.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<[u8; HEADER]> {
        let passed = self.skip.min(bytes.len());
        self.skip -= passed;
        *bytes = &bytes[passed..];
        let taken = (HEADER - self.have).min(bytes.len());
        self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
        self.have += taken;
        *bytes = &bytes[taken..];
        if self.have < HEADER {
            return None;
        }
        self.have = 0;
        self.skip = payload(self.header);
        Some(self.header)
    }

    /// Whether what has passed ends with a whole frame.
    pub fn is_between(&self) -> bool {
        self.skip == 0 && self.have == 0
    }
}

/// Bytes of the payload that follows a header.
pub(super) fn payload([a, b, c, ..]: [u8; HEADER]) -> usize {
    u32::from_be_bytes([0, a, b, c]) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_are_found_however_their_bytes_come(
            payloads in proptest::collection::vec((any::<u8>(), 0_usize..40), 0..12), piece in 1_usize..50
        ) {
            let mut bytes = vec![b'P'; PREFACE];
            for (kind, length) in &payloads {
                bytes.extend([0, 0, *length as u8, *kind, 0, 0, 0, 0, 1]);
                bytes.extend(vec![0xee; *length]);
            }
            let (mut at, mut found) = (Boundaries::after(PREFACE), Vec::new());
            for mut piece in bytes.chunks(piece) {
                while let Some(header) = at.next(&mut piece) {
                    found.push((header[3], payload(header)));
                }
            }
            prop_assert_eq!(found, payloads);
            prop_assert!(at.is_between());
        }
    }
}
