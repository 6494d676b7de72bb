//! What two readers could read in two ways is refused, and what is too large has a named answer.

use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use tokio::net::TcpStream;

use causeway::message::vet::{HEADER_LIST, PASSED_ON, list_size};

use crate::client::{HOST, Kind, empty};
use crate::every_kind;
use crate::pair::Pair;
use crate::raw::exchange;

/// What follows the request line of a `POST`.
const AMBIGUOUS: &[(&str, &str)] = &[
    ("both lengths", "host: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", "host: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc"),
    ("one length twice", "host: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc"),
    ("a signed length", "host: a\r\ncontent-length: +3\r\n\r\nabc"),
    (
        "a coding twice",
        "host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("an unknown coding", "host: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("a folded line", "host: a\r\nx: b\r\n c: d\r\n\r\n"),
    ("a NUL", "host: a\r\nx: b\0c\r\n\r\n"),
    ("a bare line feed", "host: a\r\nx: b\ny: c\r\n\r\n"),
    ("a bare carriage return", "host: a\r\nx: b\ry: c\r\n\r\n"),
    ("two hosts", "host: a\r\nhost: b\r\n\r\n"),
    ("one host twice", "host: a\r\nhost: a\r\n\r\n"),
    ("a host that is none", "host: a b\r\n\r\n"),
];

async fn assert_refused(pair: &Pair, what: &str, io: TcpStream, request: &str) {
    // A second request behind it must not be taken for one.
    let answer = exchange(io, &format!("{request}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{what}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
    assert!(pair.app.seen().is_empty(), "{what} arrived");
}

#[tokio::test]
async fn ambiguous_requests_of_the_application_get_400() {
    let pair = Pair::new().await;
    for (what, rest) in AMBIGUOUS {
        let io = pair.web.connect(pair.service).await;
        assert_refused(&pair, what, io, &format!("POST / HTTP/1.1\r\n{rest}")).await;
    }
    let absolute = "GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n";
    assert_refused(&pair, "a host beside another target", pair.web.connect(pair.service).await, absolute)
        .await;
    pair.get(Kind::Http1).await.assert_answered();
}

#[tokio::test]
async fn ambiguous_requests_of_others_get_400() {
    let pair = Pair::new().await;
    for (what, rest) in AMBIGUOUS {
        let io = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
        assert_refused(&pair, what, io, &format!("POST / HTTP/1.1\r\n{rest}")).await;
    }
    pair.unmeshed(Kind::Http1).await.get("/").await.assert_answered();
}

#[tokio::test]
async fn a_malformed_body_is_not_passed_on_as_whole() {
    let pair = Pair::new().await;
    let io = pair.web.connect(pair.service).await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n";
    let answer = exchange(io, request).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(pair.app.seen().is_empty());
    pair.get(Kind::Http1).await.assert_answered();
}

#[tokio::test]
async fn host_and_authority_of_http2_must_agree() {
    let pair = Pair::new().await;
    for kind in [Kind::Http2, Kind::Grpc] {
        for (host, refused) in [(HOST, false), ("other", true)] {
            let mut client = pair.client(kind).await;
            let req = client.request("/").header("host", host).body(empty()).unwrap();
            let answer = client.send(req).await;
            match refused {
                true => answer.assert_refused(kind, 400, "13"),
                false => answer.assert_answered(),
            }
            assert_eq!(answer.header("causeway-reason").is_some(), refused);
        }
    }
}

every_kind! {
    async fn a_request_may_have_headers_of_64_kib_and_no_more(kind: Kind) {
        let pair = Pair::new().await;
        // An empty body's length is written here, so that the library need not add it.
        let req = |client: &crate::client::Client, length: usize| {
            let req = client.request("/").header("content-length", "0").header("x-large", "v".repeat(length));
            req.body(empty()).unwrap()
        };
        let client = pair.client(kind).await;
        let small = req(&client, 0);
        let target = small.uri().authority().map_or(0, |a| a.as_str().len()) + small.uri().path().len();
        let pseudo = ":method:scheme:authority:pathhttp".len() + 4 * 32 + small.method().as_str().len();
        let fits = HEADER_LIST - pseudo - target - list_size(small.headers());
        for (length, arrives) in [(fits - 1, true), (fits, true), (fits + 1, false)] {
            let mut client = pair.client(kind).await;
            let req = req(&client, length);
            let answer = client.send(req).await;
            match arrives {
                true => answer.assert_answered(),
                false => answer.assert_refused(kind, 431, "8"),
            }
            let reason = (!arrives).then_some("head-too-large");
            assert_eq!(answer.header("causeway-reason"), reason);
            let seen = pair.app.seen();
            assert_eq!(seen.len(), usize::from(arrives));
            assert!(seen.iter().all(|seen| seen.header("x-large").unwrap().len() == length));
        }
    }

    async fn an_answer_may_have_headers_of_64_kib_and_no_more(kind: Kind) {
        let pair = Pair::new().await;
        let small = pair.client(kind).await.get("/large-head?0").await;
        small.assert_answered();
        let fits = HEADER_LIST - list_size(&small.headers);
        for (length, arrives) in [(fits - 1, true), (fits, true), (fits + 1, false)] {
            let answer = pair.client(kind).await.get(&format!("/large-head?{length}")).await;
            match arrives {
                true => assert_eq!(answer.header("x-large").unwrap().len(), length),
                false => answer.assert_refused(kind, 502, "13"),
            }
        }
    }
}

#[tokio::test]
async fn trailers_beyond_the_limit_are_never_cut() {
    for kind in [Kind::Http2, Kind::Grpc] {
        let pair = Pair::new().await;
        let small = pair.client(kind).await.get("/large-trailers?0").await;
        let fits = PASSED_ON - list_size(small.trailers.as_ref().unwrap());
        for (length, arrives) in [(fits - 1, true), (fits, true), (fits + 1, false), (fits + 60_000, false)] {
            let answer = pair.client(kind).await;
            let mut client = answer;
            let req = client.request(&format!("/large-trailers?{length}")).body(empty()).unwrap();
            match (client.try_send(req).await, arrives) {
                (Ok(answer), true) => assert_eq!(answer.trailer("x-large").unwrap().len(), length),
                (Ok(answer), false) => {
                    assert_eq!(kind, Kind::Grpc, "{answer:?}");
                    assert_eq!(answer.trailer("grpc-status"), Some("13"), "{:?}", answer.trailers);
                    assert_eq!(answer.trailer("causeway-reason"), Some("answer-too-large"));
                }
                (Err(error), arrives) => {
                    assert!(kind == Kind::Http2 && !arrives, "{kind:?} {length}: {error}")
                }
            }
        }
    }
}

#[tokio::test]
async fn a_request_with_trailers_beyond_the_limit_does_not_arrive() {
    for kind in [Kind::Http2, Kind::Grpc] {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-large", HeaderValue::try_from("v".repeat(PASSED_ON)).unwrap());
        let body = Full::new("body".into()).with_trailers(async move { Some(Ok(trailers)) });
        let req = client.request("/").method("POST").body(BodyExt::boxed(body)).unwrap();
        let answer = client.send(req).await;
        answer.assert_refused(kind, 431, "8");
        assert!(pair.app.seen().is_empty());
    }
}
