//! Is it HTTP, and which? (contract 3.3)
//!
//! Linkerd's proxy judges one single read. Here an undecided beginning is waited on instead, so that a
//! request line in two segments is seen as what it is; a beginning that cannot become HTTP is decided at
//! once, however short, so that no other protocol waits for a byte that never comes.

/// How many bytes are looked at, at most (contract 8).
pub const LIMIT: usize = 1024;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    Http1,
    Http2,
    NotHttp,
    /// The start of an HTTP/1 request line or of the HTTP/2 preface, and fewer than [`LIMIT`] bytes.
    NeedMore,
}

/// Judges the first bytes of a connection.
pub fn detect(bytes: &[u8]) -> Progress {
    match judge(&bytes[..bytes.len().min(LIMIT)]) {
        Progress::NeedMore if bytes.len() >= LIMIT => settle(bytes),
        decided => decided,
    }
}

/// Judges bytes after which no more will come, or none soon enough. Never [`Progress::NeedMore`]: as
/// the contract has it, the start of a request line is HTTP/1 from its 14th byte on.
pub fn settle(bytes: &[u8]) -> Progress {
    match judge(&bytes[..bytes.len().min(LIMIT)]) {
        Progress::NeedMore if bytes.len() < SHORTEST || PREFACE.starts_with(bytes) => Progress::NotHttp,
        Progress::NeedMore => Progress::Http1,
        decided => decided,
    }
}

fn judge(bytes: &[u8]) -> Progress {
    if bytes.starts_with(PREFACE) {
        return Progress::Http2;
    }
    if PREFACE.starts_with(bytes) {
        return Progress::NeedMore;
    }
    if method_is_too_long(bytes) {
        return Progress::NotHttp;
    }
    // No room for headers: the parser gives up where the first one starts, which is all it need read.
    match httparse::Request::new(&mut []).parse(bytes) {
        Ok(httparse::Status::Partial) => Progress::NeedMore,
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => Progress::Http1,
        Err(_) => Progress::NotHttp,
    }
}

fn method_is_too_long(bytes: &[u8]) -> bool {
    let line = bytes.iter().position(|byte| !b"\r\n".contains(byte)).map_or(&[][..], |at| &bytes[at..]);
    line.len() > LONGEST_METHOD && !line[..=LONGEST_METHOD].contains(&b' ')
}

/// Enough of the HTTP/2 preface to know it by (contract 3.3).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// `GET / HTTP/1.1`, without its line end; fewer bytes are never taken for HTTP (contract 3.3).
const SHORTEST: usize = 14;

/// Twice the longest registered method (`UPDATEREDIRECTREF`, 17 bytes), rounded down.
const LONGEST_METHOD: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_first_segments_are_told_apart() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\nhost: web\r\n\r\n"[..], Progress::Http1),
            (b"GET / HTTP/1.0\r\n\r\n", Progress::Http1),
            (b"\r\nPOST /a?b HTTP/1.1\r\nhost: web\r\n", Progress::Http1),
            (b"CONNECT web:443 HTTP/1.1\r\nhost: web\r\n", Progress::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Progress::Http2),
            (b"PING\r\n", Progress::NotHttp),
            (b"EHLO mail.example.com\r\n", Progress::NotHttp),
            (b"SSH-2.0-OpenSSH_9.6 Debian\r\n", Progress::NotHttp),
            (b"set key 0 0 5\r\nvalue\r\n", Progress::NotHttp),
            (b"*1\r\n$4\r\nPING\r\n", Progress::NotHttp),
            (b"GET / HTTP/3.0\r\n\r\n", Progress::NotHttp),
            (b"GET / HTTP/1.1\r\n\0", Progress::NotHttp),
            (b"\0\0\0\x17user", Progress::NotHttp),
            (b"\x16\x03\x01", Progress::NotHttp),
        ] {
            assert_eq!(detect(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
            assert_eq!(settle(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn the_start_of_a_request_line_or_preface_is_waited_on() {
        for bytes in [&b""[..], b"G", b"GET", b"GET /", b"GET / HTTP/1.", b"PRI * HTTP/2.", b"PRI *"] {
            assert_eq!(detect(bytes), Progress::NeedMore, "{:?}", String::from_utf8_lossy(bytes));
            assert_eq!(settle(bytes), Progress::NotHttp, "{:?}", String::from_utf8_lossy(bytes));
        }
        let started = b"GET /a/long/path";
        assert_eq!((detect(started), settle(started)), (Progress::NeedMore, Progress::Http1));
    }

    #[test]
    fn a_target_longer_than_the_limit_is_http_and_a_longer_method_is_not() {
        let mut request = b"GET /".to_vec();
        request.resize(LIMIT, b'a');
        assert_eq!(detect(&request[..LIMIT - 1]), Progress::NeedMore);
        assert_eq!(detect(&request), Progress::Http1);
        assert_eq!(detect(&[b'A'; LONGEST_METHOD]), Progress::NeedMore);
        assert_eq!(detect(&[b'A'; LONGEST_METHOD + 1]), Progress::NotHttp);
    }

    fn first_bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..64),
            "[A-Z]{1,40} [!-~]{0,20}( HTTP/[12]\\.[01x])?(\r\n|\n|\0)?[ -~]{0,20}"
                .prop_map(String::into_bytes),
            "(\r\n){0,3}(PRI|GET) [*/] HTTP/[12]\\.[01](\r\n\r\nSM)?.{0,8}".prop_map(String::into_bytes),
            (900_usize..1100).prop_map(|n| [b"GET /", vec![b'a'; n].as_slice(), b" HTTP/1.1\r\nh"].concat()),
        ]
    }

    proptest! {
        #[test]
        fn the_answer_is_the_same_however_the_bytes_are_split(bytes in first_bytes()) {
            let whole = detect(&bytes);
            let first = (0..=bytes.len()).map(|n| detect(&bytes[..n])).find(|seen| *seen != Progress::NeedMore);
            prop_assert_eq!(first.unwrap_or(Progress::NeedMore), whole);
            prop_assert_ne!(settle(&bytes), Progress::NeedMore);
        }

        #[test]
        fn what_follows_the_limit_is_not_looked_at(bytes in first_bytes(), more: Vec<u8>) {
            let mut long = bytes;
            long.resize(LIMIT, b'a');
            let decided = detect(&long);
            long.extend(more);
            prop_assert_eq!(detect(&long), decided);
        }
    }
}
