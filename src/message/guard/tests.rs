use futures_util::FutureExt as _;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

fn guarded() -> (DuplexStream, Guard<DuplexStream>, Verdict) {
    let (far, near) = duplex(256 * 1024);
    let verdict = Verdict::default();
    (far, Guard::new(near, verdict.clone()), verdict)
}

/// What the reader gets of `sent`, read by `read` bytes at a time, if each piece of it comes alone.
async fn passed(sent: &[u8], piece: usize, read: usize) -> (Vec<u8>, Option<Reason>) {
    let (mut far, mut near, verdict) = guarded();
    let sender = async {
        for piece in sent.chunks(piece) {
            far.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(far);
    };
    let reader = async {
        let mut got = Vec::new();
        let mut buf = vec![0; read];
        while let Ok(n @ 1..) = near.read(&mut buf).await {
            got.extend_from_slice(&buf[..n]);
        }
        got
    };
    let ((), got) = tokio::join!(sender, reader);
    (got, verdict.refused())
}

const THREE: &[u8] = b"POST /1 HTTP/1.1\r\ncontent-length: 5\r\n\r\nhelloPOST /2 HTTP/1.1\r\n\
    transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: u\r\n\r\n\r\nGET /3 HTTP/1.1\r\n\r\n";

#[tokio::test]
async fn well_framed_requests_pass_however_they_were_split() {
    let expected = String::from_utf8_lossy(THREE).replace("\r\n\r\n\r\nGET", "\r\n\r\nGET");
    for piece in [1, 2, 3, 7, 64, 1024] {
        for read in [1, 5, 1024] {
            let (got, refused) = passed(THREE, piece, read).await;
            assert_eq!(refused, None, "{piece} {read}");
            assert_eq!(
                String::from_utf8_lossy(&got).replace("\r\n\r\n\r\nGET", "\r\n\r\nGET"),
                expected,
                "{piece} {read}"
            );
        }
    }
}

#[tokio::test]
async fn one_read_gives_one_request_at_most() {
    let (mut far, mut near, _) = guarded();
    far.write_all(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n").await.unwrap();
    let mut buf = [0; 1024];
    for path in ["/1", "/2"] {
        let n = near.read(&mut buf).await.unwrap();
        assert_eq!(buf[..n], *format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
    }
}

#[tokio::test]
async fn in_place_of_a_refused_request_comes_a_harmless_one_and_then_the_end() {
    for piece in [1, 1024] {
        let sent = b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nx: y\n\r\nGET /3 HTTP/1.1\r\n\r\n";
        let (got, refused) = passed(sent, piece, 1024).await;
        assert_eq!(got, [b"GET /1 HTTP/1.1\r\n\r\n", HARMLESS].concat());
        assert_eq!(refused, Some(Reason::BadRequest));
    }
}

#[tokio::test]
async fn an_endless_head_is_refused_at_the_limit() {
    let head = |length: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(length - 18));
    let fits = head(framing::HEAD);
    for (sent, expected) in [
        (fits.clone(), None),
        (head(framing::HEAD + 1), Some(Reason::HeadTooLarge)),
        ("x".repeat(framing::HEAD + 1), Some(Reason::HeadTooLarge)),
    ] {
        for piece in [1000, sent.len()] {
            let (got, refused) = passed(sent.as_bytes(), piece, 8192).await;
            assert_eq!(refused, expected, "{} by {piece}", sent.len());
            assert!(expected.is_some() || got == sent.as_bytes());
        }
    }
}

/// Whose next bytes are always there, and how many were taken.
#[derive(Debug)]
struct Endless(usize);

impl AsyncRead for Endless {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0 += buf.remaining();
        buf.initialize_unfilled().fill(b'a');
        buf.set_filled(buf.capacity());
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn who_sends_without_end_behind_a_refused_request_is_not_read_for_ever() {
    let mut guard = Guard::new(Endless(0), Verdict::default());
    let mut buf = vec![0; 1024];
    assert_eq!(guard.read(&mut buf).await.unwrap(), HARMLESS.len());
    let before = guard.io.0;
    for _ in 0..3 {
        assert!(guard.read(&mut buf).now_or_never().is_none(), "nothing passes, and there is no end");
    }
    assert_eq!(guard.io.0 - before, FORGOTTEN);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_is_refused_in_time() {
    let (mut far, mut near, verdict) = guarded();
    let began = Instant::now();
    let trickle = async {
        loop {
            far.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut buf = [0; 1024];
    let n = tokio::select! { _ = trickle => 0, n = near.read(&mut buf) => n.unwrap() };
    assert_eq!(&buf[..n], HARMLESS);
    assert_eq!(verdict.refused(), Some(Reason::HeadTimeout));
    assert_eq!(began.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_connection_between_requests_may_be_silent_for_long() {
    let (mut far, mut near, verdict) = guarded();
    let later = async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    };
    let mut buf = [0; 1024];
    let ((), n) = tokio::join!(later, near.read(&mut buf));
    assert_eq!(&buf[..n.unwrap()], b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(verdict.refused(), None);
}

#[tokio::test]
async fn a_malformed_body_is_an_error() {
    let (mut far, mut near, verdict) = guarded();
    far.write_all(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let mut buf = [0; 1024];
    assert!(near.read(&mut buf).await.unwrap() > 0);
    far.write_all(b"1\nx").await.unwrap();
    assert_eq!(near.read(&mut buf).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(verdict.refused(), Some(Reason::BadRequest));
}

/// What the reader gets behind a request to leave HTTP, once this has been answered.
async fn behind(request: &str, leaves: bool) -> (Vec<u8>, Option<Reason>) {
    let (mut far, mut near, verdict) = guarded();
    far.write_all(request.as_bytes()).await.unwrap();
    far.write_all(b"\x81\x05 not HTTP\n\n").await.unwrap();
    let mut buf = [0; 1024];
    let n = near.read(&mut buf).await.unwrap();
    assert_eq!(buf[..n], *request.as_bytes());
    drop(far);
    let mut got = Vec::new();
    let answer = async {
        tokio::task::yield_now().await;
        verdict.answered(leaves);
    };
    let (read, ()) = tokio::join!(near.read_to_end(&mut got), answer);
    read.unwrap();
    (got, verdict.refused())
}

#[tokio::test]
async fn the_answer_decides_what_is_behind_a_request_to_leave_http() {
    for request in
        ["GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n"]
    {
        assert_eq!(behind(request, true).await, (b"\x81\x05 not HTTP\n\n".to_vec(), None));
        assert_eq!(behind(request, false).await, (HARMLESS.to_vec(), Some(Reason::BadRequest)));
    }
}

proptest! {
    /// Whatever is sent, how it was split changes nothing.
    #[test]
    fn splits_change_nothing(
        parts in proptest::collection::vec(prop_oneof![
            Just("GET / HTTP/1.1\r\n"), Just("\r\n"), Just("\n"), Just("content-length: 3\r\n"),
            Just("transfer-encoding: chunked\r\n"), Just("abc"), Just("3\r\n"), Just("0\r\n"), Just(" "),
        ], 0..12),
        piece in 1usize..9,
    ) {
        let sent = parts.concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (split, whole) = runtime.block_on(async {
            (passed(sent.as_bytes(), piece, 1024).await, passed(sent.as_bytes(), 4096, 1024).await)
        });
        prop_assert_eq!(split.1, whole.1);
    }
}
