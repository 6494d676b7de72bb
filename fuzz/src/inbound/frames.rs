//! HTTP/2 that a mutation can reach: the input gives frames without their lengths.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An empty SETTINGS frame, as every client begins.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Frames as the wire has them: kind, flags, stream and length take a byte each in the input.
pub(super) fn wire(mut input: &[u8]) -> Vec<u8> {
    let mut wire = [PREFACE, &SETTINGS].concat();
    while let [kind, flags, stream, length, rest @ ..] = input {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        wire.extend([0, 0, payload.len() as u8, *kind, *flags, 0, 0, 0, *stream]);
        wire.extend(payload);
        input = rest;
    }
    wire
}
