//! Requests that arrive: from an application, through two proxies, at another.

use bytes::Bytes;
use http::Version;
use tokio::io::AsyncWriteExt;

use crate::callers::{Caller, Callers, Spoken};
use crate::client::{Client, HOST, Kind, empty, full, with_trailers};
use crate::every_kind;
use crate::pair::Pair;
use crate::raw::{exchange, read_until};
use crate::sandbox::identity;

every_kind! {
    async fn the_application_is_told_who_calls_and_nothing_of_the_mesh(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let req = client.request("/hello?a=1").header("l5d-client-id", "somebody.else");
        let answer = client.send(req.body(empty()).unwrap()).await;
        answer.assert_answered();
        assert_eq!(answer.header("l5d-orig-proto"), None);
        let seen = pair.app.seen_once();
        assert_eq!(seen.header("l5d-client-id"), Some(pair.web.id.as_str()));
        assert_eq!(seen.header("l5d-orig-proto"), None);
        assert_eq!(seen.uri.path_and_query().unwrap(), "/hello?a=1");
        assert_eq!(seen.peer.ip(), pair.bb.ip);
        match kind {
            Kind::Http1 => {
                assert_eq!((seen.version, seen.header("host")), (Version::HTTP_11, Some(HOST)));
                assert_eq!(seen.uri.authority(), None);
            }
            Kind::Http2 | Kind::Grpc => {
                assert_eq!(seen.version, Version::HTTP_2);
                assert_eq!(seen.uri.authority().unwrap(), HOST);
                let te = (kind == Kind::Grpc).then_some("trailers");
                assert_eq!(seen.header("te"), te);
            }
        }
    }

    async fn a_mebibyte_arrives_intact_each_way(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let sent: Bytes = (0..1 << 20).map(|n: u32| (n / 3) as u8).collect::<Vec<_>>().into();
        let req = client.request("/echo").method("POST").body(full(sent.clone())).unwrap();
        let answer = client.send(req).await;
        answer.assert_answered();
        assert!(answer.body == sent, "{} bytes came back", answer.body.len());
        assert!(pair.app.seen_once().body == sent);
    }
}

every_kind! {
    async fn head_is_answered_without_a_body(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let req = client.request("/").method("HEAD").body(empty()).unwrap();
        let answer = client.send(req).await;
        answer.assert_answered();
        assert_eq!((answer.body.len(), pair.app.seen_once().method.as_str()), (0, "HEAD"));
        client.get("/next").await.assert_answered();
    }

    async fn no_content_stays_without_content(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let answer = client.get("/204").await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
        assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, None));
        client.get("/next").await.assert_answered();
    }

    async fn a_body_of_unknown_length_arrives_whole(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let answer = client.get("/chunked").await;
        answer.assert_answered();
        assert_eq!(answer.body, "one two three");
        client.get("/next").await.assert_answered();
    }

    async fn requests_of_one_connection_share_one_to_the_application(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        for _ in 0..20 {
            client.get("/").await.assert_answered();
        }
        assert_eq!((pair.app.seen().len(), pair.app.connections()), (20, 1));
    }

    async fn a_failing_application_is_502_and_the_next_request_works(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let req = client.request("/broken").body(empty()).unwrap();
        match (kind, client.try_send(req).await) {
            (Kind::Http1, answer) => assert_eq!(answer.unwrap().status, 502),
            // The application's reset is passed on as what it was.
            (Kind::Http2 | Kind::Grpc, answer) => assert!(answer.is_err(), "{answer:?}"),
        }
        pair.client(kind).await.get("/next").await.assert_answered();
    }
}

#[tokio::test]
async fn trailers_of_http2_arrive_each_way() {
    for kind in [Kind::Http2, Kind::Grpc] {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let req = client.request("/").method("POST").body(with_trailers("body")).unwrap();
        let answer = client.send(req).await;
        answer.assert_answered();
        assert_eq!(answer.trailer("x-trailer"), Some("from the application"));
        assert_eq!(answer.trailer("grpc-status"), Some("0"));
        let seen = pair.app.seen_once();
        assert_eq!(seen.trailers.unwrap()["x-trailer"], "from the client");
        assert_eq!(seen.body, "body");
    }
}

#[tokio::test]
async fn a_chunked_request_arrives_whole() {
    let pair = Pair::new().await;
    let mut io = pair.web.connect(pair.service).await;
    let request = "POST /up HTTP/1.1\r\nhost: bb\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    io.write_all(request.as_bytes()).await.unwrap();
    let answer = read_until(&mut io, "abcdefg").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let seen = pair.app.seen_once();
    assert_eq!((seen.version, &seen.body[..]), (Version::HTTP_11, &b"abcdefg"[..]));
}

#[tokio::test]
async fn http10_is_answered_and_closed() {
    let pair = Pair::new().await;
    let io = pair.web.connect(pair.service).await;
    let answer = exchange(io, "GET /old HTTP/1.0\r\nx-a: 1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    let seen = pair.app.seen_once();
    assert_eq!((seen.version, seen.uri.path(), seen.header("x-a")), (Version::HTTP_10, "/old", Some("1")));
}

#[tokio::test]
async fn http1_that_came_over_http2_is_http1_again_whoever_sends_it() {
    let mut callers = Callers::new("all-unauthenticated").await;
    for caller in [Caller::Identified(identity("web")), Caller::Anonymous, Caller::Plain] {
        for (said, version, is_absolute) in [
            ("HTTP/1.1", Version::HTTP_11, false),
            ("HTTP/1.0", Version::HTTP_10, false),
            ("HTTP/1.1; absolute-form", Version::HTTP_11, true),
        ] {
            let io = callers.connect(&caller, Spoken::Http(Kind::Http2)).await;
            let mut client = Client::new(Kind::Http2, io).await;
            let req = client.request("/x").header("host", HOST).header("l5d-orig-proto", said);
            let answer = client.send(req.body(empty()).unwrap()).await;
            answer.assert_answered();
            assert_eq!(answer.header("l5d-orig-proto"), said.get(..8), "{caller:?} {said}");
            let seen = callers.pair.app.seen_once();
            assert_eq!((seen.version, seen.header("host")), (version, Some(HOST)), "{caller:?} {said}");
            assert_eq!(seen.header("l5d-orig-proto"), None, "{caller:?} {said}");
            assert_eq!(seen.uri.authority().is_some(), is_absolute, "{caller:?} {said}");
        }
    }
}

#[tokio::test]
async fn an_absolute_target_stays_absolute() {
    let pair = Pair::new().await;
    let io = pair.web.connect(pair.service).await;
    let request =
        "GET http://elsewhere.example/a HTTP/1.1\r\nhost: elsewhere.example\r\nconnection: close\r\n\r\n";
    let answer = exchange(io, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(pair.app.seen_once().uri, "http://elsewhere.example/a");
}

#[tokio::test]
async fn connection_headers_end_at_the_hop() {
    let pair = Pair::new().await;
    let io = pair.web.connect(pair.service).await;
    let request = "GET / HTTP/1.1\r\nhost: bb\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\nx-kept: 1\r\n\r\n";
    exchange(io, request).await;
    let seen = pair.app.seen_once();
    let headers = ["x-hop", "keep-alive", "x-kept"].map(|name| seen.header(name));
    assert_eq!(headers, [None, None, Some("1")]);
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways() {
    let pair = Pair::new().await;
    let mut io = pair.web.connect(pair.service).await;
    let request = "GET /upgrade HTTP/1.1\r\nhost: bb\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    io.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut io, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.to_ascii_lowercase().contains("upgrade: websocket"), "{head}");
    for text in ["first", "second"] {
        io.write_all(text.as_bytes()).await.unwrap();
        read_until(&mut io, text).await;
    }
    let seen = pair.app.seen_once();
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(seen.header("l5d-client-id"), Some(pair.web.id.as_str()));
    // Other requests are still carried over HTTP/2 beside it.
    pair.client(Kind::Http1).await.get("/next").await.assert_answered();
}
