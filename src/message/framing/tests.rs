use proptest::prelude::*;

use super::*;

fn refused(head: &str) -> Reason {
    judge(head.as_bytes()).expect_err(head)
}

fn body(head: &str) -> Length {
    judge(head.as_bytes()).unwrap_or_else(|reason| panic!("{head:?}: {reason:?}")).body
}

#[test]
fn a_head_says_what_follows_it() {
    assert_eq!(body("GET / HTTP/1.1\r\nhost: a\r\n\r\n"), Length::Bytes(0));
    assert_eq!(body("\r\n\r\nPOST / HTTP/1.1\r\nContent-Length:  5 \r\n\r\n"), Length::Bytes(5));
    assert_eq!(body("POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n"), Length::Chunked);
    let leaves = |head: &str| judge(head.as_bytes()).unwrap().leaves;
    assert!(leaves("GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n"));
    assert!(leaves("CONNECT a:1 HTTP/1.1\r\n\r\n"));
    assert!(!leaves("GET / HTTP/1.1\r\n\r\n"));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for lines in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 5\r\n",
        "content-length: +5\r\n",
        "content-length: -5\r\n",
        "content-length: 0x5\r\n",
        "content-length:\r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding:\r\n",
        "x: a\r\n folded\r\n",
        "x: a\r\n\tfolded\r\n",
        "x: a\0b\r\n",
        "x: a\rb\r\n",
        "x: a\n",
        "x: a\ncontent-length: 5\r\n",
        "transfer-encoding\r\n",
    ] {
        assert_eq!(
            refused(&format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n")),
            Reason::BadRequest,
            "{lines:?}"
        );
    }
    assert_eq!(refused("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"), Reason::BadRequest);
    assert_eq!(refused("GET / HTTP/1.1\nhost: a\n\n"), Reason::BadRequest);
}

#[test]
fn a_hundred_lines_are_enough() {
    let head = |lines: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(lines));
    assert!(judge(head(100).as_bytes()).is_ok());
    assert_eq!(refused(&head(101)), Reason::HeadTooLarge);
}

#[test]
fn the_end_of_a_head_is_found_however_its_lines_end() {
    for head in ["GET / HTTP/1.1\r\na: b\r\n\r\n", "GET / HTTP/1.1\na: b\n\n", "\r\nGET / HTTP/1.1\r\n\n"] {
        let more = format!("{head}GET /next");
        assert_eq!(head_length(more.as_bytes(), 0), Some(head.len()), "{head:?}");
        for scanned in 0..head.len() {
            assert_eq!(head_length(&head.as_bytes()[..scanned], 0), None, "{head:?} to {scanned}");
            assert_eq!(head_length(more.as_bytes(), scanned), Some(head.len()), "{head:?} from {scanned}");
        }
    }
}

/// Follows `bytes` in pieces; the bytes that belong to the body, and whether it ended.
fn follow(bytes: &[u8], piece: usize) -> Result<(usize, bool), Reason> {
    let mut chunked = Chunked::START;
    let mut length = 0;
    for piece in bytes.chunks(piece) {
        let passed = chunked.follow(piece)?;
        length += passed;
        if passed < piece.len() {
            break;
        }
    }
    Ok((length, chunked == Chunked::Ended))
}

#[test]
fn a_chunked_body_ends_behind_its_trailers() {
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "a;x=y\r\n0123456789\r\n00\r\na: b\r\nc: d\r\n\r\n",
        "1 \r\nx\r\n0\r\n\r\n",
    ] {
        let more = format!("{body}GET");
        assert_eq!(follow(more.as_bytes(), 1024), Ok((body.len(), true)), "{body:?}");
    }
}

#[test]
fn what_is_not_chunked_coding_is_refused() {
    for body in [
        "\r\n",
        "5\nhello\r\n",
        "5\r\nhello0\r\n",
        "g\r\n",
        "-1\r\n",
        "0x5\r\n",
        "5;a\nb\r\n",
        "0\r\n a\r\n",
        "0\r\na\n\r\n",
        "1234567890abcdef0\r\n",
        "0\r\na: \0\r\n",
    ] {
        assert_eq!(follow(body.as_bytes(), 1024), Err(Reason::BadRequest), "{body:?}");
    }
    let endless = format!("0\r\n{}", "a: b\r\n".repeat(HEAD));
    assert_eq!(follow(endless.as_bytes(), 1024), Err(Reason::HeadTooLarge));
}

proptest! {
    #[test]
    fn how_a_body_was_split_changes_nothing(
        bytes in proptest::collection::vec(prop_oneof![Just(b'0'), Just(b'1'), Just(b'\r'), Just(b'\n'), Just(b';'), any::<u8>()], 0..40),
        piece in 1usize..8,
    ) {
        prop_assert_eq!(follow(&bytes, piece).is_ok(), follow(&bytes, 64).is_ok());
        if let (Ok(split), Ok(whole)) = (follow(&bytes, piece), follow(&bytes, 64)) {
            prop_assert_eq!(split, whole);
        }
    }
}
