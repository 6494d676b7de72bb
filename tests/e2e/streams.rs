//! Requests and answers that take their time, and connections beside each other.

use bytes::Bytes;
use causeway::model::endpoint::ProtocolHint;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;

use crate::client::{Kind, empty, full, pieces};
use crate::every_kind;
use crate::metrics::page;
use crate::pair::{BB, Pair};
use crate::policies::add;
use crate::raw::{exchange, read_until};
use crate::sandbox::within;

async fn next_piece(body: &mut Incoming) -> Bytes {
    loop {
        let frame = within("a piece", body.frame()).await.unwrap().unwrap();
        if let Ok(data) = frame.into_data() {
            return data;
        }
    }
}

every_kind! {
    async fn pieces_pass_as_they_come(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let (send, body) = pieces();
        send.send("zero".into()).await.unwrap();
        let req = client.request("/stream").method("POST").body(body).unwrap();
        let mut answer = within("the head", client.start(req)).await.unwrap().into_body();
        assert_eq!(next_piece(&mut answer).await, "zero");
        for piece in ["one", "two", "three"] {
            send.send(piece.into()).await.unwrap();
            assert_eq!(next_piece(&mut answer).await, piece);
        }
        drop(send);
        assert_eq!(within("the end", answer.collect()).await.unwrap().to_bytes(), "");
    }

    async fn latency_of_an_answer_ends_with_its_first_piece(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let (send, body) = pieces();
        send.send("first".into()).await.unwrap();
        let req = client.request("/stream").method("POST").body(body).unwrap();
        let mut answer = within("the head", client.start(req)).await.unwrap().into_body();
        assert_eq!(next_piece(&mut answer).await, "first");
        // It goes on, and has been measured.
        for (pod, direction) in [(&pair.web, "outbound"), (&pair.bb, "inbound")] {
            let page = page(pod).await;
            let of = |family: &str| {
                let target = format!("target_addr=\"{}\"", pair.app.addr);
                let line = |line: &&str| line.starts_with(&format!("{family}{{direction=\"{direction}\"")) && line.contains(&target);
                page.lines().filter(line).map(|line| line.rsplit(' ').next().unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(of("response_latency_ms_count"), ["1"], "{direction}");
            assert!(of("response_total").is_empty(), "{direction}");
        }
        drop(send);
        assert_eq!(within("the end", answer.collect()).await.unwrap().to_bytes(), "");
    }

    async fn many_requests_at_once_are_all_answered(kind: Kind) {
        let pair = Pair::new().await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..40 {
            let mut client = pair.client(kind).await;
            tasks.spawn(async move {
                let text = format!("request {n}");
                let req = client.request("/").method("POST").body(full(text.clone())).unwrap();
                assert_eq!(client.send(req).await.body, text);
            });
        }
        within("all answers", tasks.join_all()).await;
        assert_eq!(pair.app.seen().len(), 40);
    }

    async fn without_the_hint_http1_stays_http1(kind: Kind) {
        let pair = Pair::new().await;
        let mut endpoint = pair.bb.endpoint(pair.app.addr);
        endpoint.hint = ProtocolHint::Unknown;
        pair.world.script().endpoints(BB, &add(vec![endpoint]));
        let mut client = pair.client(kind).await;
        for _ in 0..5 {
            client.get("/").await.assert_answered();
        }
        for seen in pair.app.seen() {
            assert_eq!(seen.header("l5d-client-id"), Some(pair.web.id.as_str()));
        }
        assert_eq!(pair.app.connections(), 1);
    }

    async fn large_headers_pass(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let large = "x".repeat(30_000);
        let req = client.request("/").header("x-large", &large).body(empty()).unwrap();
        client.send(req).await.assert_answered();
        assert_eq!(pair.app.seen_once().header("x-large"), Some(large.as_str()));
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let pair = Pair::new().await;
    let mut io = pair.web.connect(pair.service).await;
    let head = "POST / HTTP/1.1\r\nhost: bb\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    io.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut io, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    io.write_all(b"body").await.unwrap();
    read_until(&mut io, "\r\n\r\nbody").await;
    assert_eq!(pair.app.seen_once().body, "body");
}

#[tokio::test]
async fn a_client_cannot_take_away_what_the_application_is_told_of_it() {
    let pair = Pair::new().await;
    for extra in ["", "upgrade: websocket\r\n"] {
        let upgrade = if extra.is_empty() { "" } else { "upgrade, " };
        let io = pair.web.connect(pair.service).await;
        let request =
            format!("GET / HTTP/1.1\r\nhost: bb\r\nconnection: {upgrade}close, l5d-client-id\r\n{extra}\r\n");
        exchange(io, &request).await;
        let seen = pair.app.seen_once();
        assert_eq!(seen.header("l5d-client-id"), Some(pair.web.id.as_str()));
        assert!(!seen.header("connection").unwrap_or("").contains("l5d"));
    }
}

#[tokio::test]
async fn targets_that_do_not_fit_their_method_are_400() {
    let pair = Pair::new().await;
    for line in ["CONNECT bb:80 HTTP/1.0", "CONNECT /x HTTP/1.1", "GET bb:80 HTTP/1.1"] {
        let io = pair.web.connect(pair.service).await;
        let answer = exchange(io, &format!("{line}\r\nhost: bb\r\n\r\n")).await;
        assert!(answer.contains(" 400 "), "{line}: {answer}");
    }
    assert_eq!(pair.app.seen().len(), 0);
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_not_made() {
    // Whatever else is offered: what came then would be nobody's to judge.
    for upgrade in ["upgrade: h2c", "upgrade: h2c, x", "upgrade: websocket\r\nupgrade: H2C"] {
        let pair = Pair::new().await;
        let io = pair.web.connect(pair.service).await;
        let request = format!(
            "GET / HTTP/1.1\r\nhost: bb\r\nconnection: close, upgrade, http2-settings\r\n\
             {upgrade}\r\nhttp2-settings: AAMAAABk\r\n\r\n"
        );
        assert!(exchange(io, &request).await.starts_with("HTTP/1.1 200"));
        let seen = pair.app.seen_once();
        assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None), "{upgrade}");
    }
}

#[tokio::test]
async fn a_request_that_is_given_up_is_given_up_at_the_application() {
    for kind in [Kind::Http2, Kind::Grpc] {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let req = client.request("/held").body(empty()).unwrap();
        tokio::select! {
            _ = client.start(req) => panic!("it is held"),
            () = pair.app.state.held.notified() => {}
        }
        drop(client);
        within("the application to notice", pair.app.state.abandoned.notified()).await;
    }
}
