//! How HTTP/2 streams and connections end, and large bodies on them.

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{Request, Response, Version};
use tokio::sync::Notify;

use std::sync::Arc;

use super::bodies::{large, whole};
use super::{Case, cases};
use crate::frames;
use crate::stage::{Road, SETTLED};

pub(super) fn cases() -> Vec<Case> {
    let all = cases![
        answered_before_the_body,
        refused_before_the_body,
        reset_before_the_answer,
        refused_stream,
        reset_after_a_piece,
        client_resets_its_request,
        client_resets_the_answer,
        application_goes_away,
        body_in_lockstep,
        nobody_listens,
        connection_lost_before_the_answer,
    ];
    let large = cases![upload, download].into_iter().map(Case::meshed);
    let carried = cases![carried_http1].into_iter().map(Case::inbound);
    all.into_iter().chain(large).chain(carried).collect()
}

fn post() -> Request<()> {
    Request::post("http://sink/").version(Version::HTTP_2).body(()).unwrap()
}

/// The application notes the head of a request and answers in some way; the client's body has not ended.
async fn unfinished(road: Road, answer: fn(&mut SendResponse<Bytes>)) {
    let mut app = frames::serve(&road, move |road, mut req, mut respond| async move {
        road.seen.app(frames::request_lines(&req));
        road.seen.app([frames::piece(req.body_mut(), 5).await]);
        answer(&mut respond);
        road.seen.app(frames::read(req.body_mut()).await);
    });
    let client = frames::connect(&road).await;
    let (answer, mut stream) = client.ready().await.unwrap().send_request(post(), false).unwrap();
    let _ = stream.send_data(Bytes::from_static(b"hello"), false);
    frames::note(&road, answer).await;
    let _ = stream.send_data(Bytes::from_static(b"world"), true);
    app.recv().await;
}

async fn answered_before_the_body(road: Road) {
    unfinished(road, |respond| {
        let _ = respond.send_response(Response::new(()), true);
    })
    .await;
}

/// As a server does that wants no more of a body: an answer, then a reset without error.
async fn refused_before_the_body(road: Road) {
    unfinished(road, |respond| {
        let refusal = Response::builder().status(413).body(()).unwrap();
        let _ = respond.send_response(refusal, true);
        respond.send_reset(Reason::NO_ERROR);
    })
    .await;
}

async fn reset_before_the_answer(road: Road) {
    unfinished(road, |respond| respond.send_reset(Reason::INTERNAL_ERROR)).await;
}

async fn refused_stream(road: Road) {
    unfinished(road, |respond| respond.send_reset(Reason::REFUSED_STREAM)).await;
}

async fn reset_after_a_piece(road: Road) {
    unfinished(road, |respond| {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let _ = stream.send_data(Bytes::from_static(b"half"), false);
        stream.send_reset(Reason::ENHANCE_YOUR_CALM);
    })
    .await;
}

async fn client_resets_its_request(road: Road) {
    let arrived = Arc::new(Notify::new());
    let told = arrived.clone();
    let mut app = frames::serve(&road, move |road, mut req, respond| {
        let told = told.clone();
        async move {
            road.seen.app(frames::request_lines(&req));
            road.seen.app([frames::piece(req.body_mut(), 5).await]);
            told.notify_one();
            road.seen.app(frames::read(req.body_mut()).await);
            drop(respond);
        }
    });
    let client = frames::connect(&road).await;
    let (_answer, mut stream) = client.ready().await.unwrap().send_request(post(), false).unwrap();
    let _ = stream.send_data(Bytes::from_static(b"hello"), false);
    arrived.notified().await;
    stream.send_reset(Reason::CANCEL);
    app.recv().await;
}

async fn client_resets_the_answer(road: Road) {
    let mut app = frames::serve(&road, |road, req, mut respond| async move {
        road.seen.app(frames::request_lines(&req));
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let _ = stream.send_data(Bytes::from_static(b"half"), false);
        let reset = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
        road.seen.app([format!("answer reset: {:?}", reset.unwrap())]);
    });
    let client = frames::connect(&road).await;
    let (answer, mut stream) = client.ready().await.unwrap().send_request(post(), true).unwrap();
    let mut answer = answer.await.unwrap();
    road.seen.client([frames::piece(answer.body_mut(), 4).await]);
    stream.send_reset(Reason::CANCEL);
    app.recv().await;
}

/// GOAWAY after each answer: the client's connection is another matter.
async fn application_goes_away(road: Road) {
    let own = road.clone();
    road.serve(move |io| {
        let road = own.clone();
        async move {
            let mut connection = h2::server::handshake(io).await.unwrap();
            if let Some(Ok((req, mut respond))) = connection.accept().await {
                road.seen.app(frames::request_lines(&req));
                let _ = respond.send_response(Response::new(()), true);
                connection.graceful_shutdown();
                while connection.accept().await.is_some() {}
            }
        }
    });
    let mut client = frames::connect(&road).await;
    for _ in 0..2 {
        frames::ask(&road, &mut client, post(), &[], None).await;
        tokio::time::sleep(SETTLED).await;
    }
}

async fn body_in_lockstep(road: Road) {
    let _app = frames::serve(&road, |road, mut req, mut respond| async move {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        for _ in 0..3 {
            road.seen.app([frames::piece(req.body_mut(), 5).await]);
            let _ = stream.send_data(Bytes::from_static(b"pong"), false);
        }
        road.seen.app(frames::read(req.body_mut()).await);
        let _ = stream.send_data(Bytes::new(), true);
    });
    let client = frames::connect(&road).await;
    let (answer, mut stream) = client.ready().await.unwrap().send_request(post(), false).unwrap();
    let mut answer = answer.await.unwrap();
    for _ in 0..3 {
        let _ = stream.send_data(Bytes::from_static(b"ping!"), false);
        road.seen.client([frames::piece(answer.body_mut(), 4).await]);
    }
    let _ = stream.send_data(Bytes::new(), true);
    road.seen.client(frames::read(answer.body_mut()).await);
}

async fn nobody_listens(road: Road) {
    let mut client = frames::connect(&road).await;
    frames::ask(&road, &mut client, post(), &[], None).await;
}

async fn connection_lost_before_the_answer(road: Road) {
    let own = road.clone();
    road.serve(move |io| {
        let road = own.clone();
        async move {
            let mut connection = h2::server::handshake(io).await.unwrap();
            if let Some(Ok((req, _respond))) = connection.accept().await {
                road.seen.app(frames::request_lines(&req));
            }
        }
    });
    let mut client = frames::connect(&road).await;
    frames::ask(&road, &mut client, post(), &[], None).await;
}

/// Any HTTP/2 client may say that its request was HTTP/1 once.
async fn carried_http1(road: Road) {
    let own = road.clone();
    road.serve(move |io| {
        let road = own.clone();
        async move {
            let mut wire = crate::messages::Wire::new(io);
            match wire.message(None).await {
                Ok(request) => road.seen.app(request.lines()),
                Err(how) => road.seen.app([how]),
            }
            wire.send("HTTP/1.1 200 OK\r\nconnection: x\r\nx: y\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    let mut client = frames::connect(&road).await;
    let mut req = post();
    req.headers_mut().insert("l5d-orig-proto", http::HeaderValue::from_static("HTTP/1.1; absolute-form"));
    frames::ask(&road, &mut client, req, &["hello"], None).await;
}

async fn upload(road: Road) {
    let _app = frames::serve(&road, |road, mut req, mut respond| async move {
        let body = frames::read(req.body_mut()).await;
        assert_eq!(body, [format!("body: {}", whole())]);
        road.seen.app(body);
        let _ = respond.send_response(Response::new(()), true);
    });
    let client = frames::connect(&road).await;
    let (answer, mut stream) = client.ready().await.unwrap().send_request(post(), false).unwrap();
    frames::write(&mut stream, Bytes::from_static(large()), true).await.unwrap();
    frames::note(&road, answer).await;
}

async fn download(road: Road) {
    let _app = frames::serve(&road, |_, _, mut respond| async move {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        frames::write(&mut stream, Bytes::from_static(large()), true).await.unwrap();
    });
    let client = frames::connect(&road).await;
    let (answer, _) = client.ready().await.unwrap().send_request(post(), true).unwrap();
    let mut answer = answer.await.unwrap();
    let body = frames::read(answer.body_mut()).await;
    assert_eq!(body, [format!("body: {}", whole())]);
    road.seen.client(body);
}
