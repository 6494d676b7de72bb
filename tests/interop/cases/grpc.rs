//! gRPC as it is on the wire: unary and streaming calls, statuses in trailers, and in headers.

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response, Version};

use super::{Case, cases};
use crate::frames;
use crate::stage::Road;

pub(super) fn cases() -> Vec<Case> {
    cases![
        unary,
        streaming_from_client,
        streaming_from_server,
        streaming_both_ways,
        failure_in_trailers,
        failure_in_headers,
        failure_after_messages,
        cancelled,
        no_status,
        stream_reset,
        connection_lost_before_the_answer,
        connection_lost_after_messages,
        nobody_listens,
    ]
}

/// A message with its five bytes of prefix.
const PING: &[u8] = b"\0\0\0\0\x04ping";
const PONG: &[u8] = b"\0\0\0\0\x04pong";

fn call() -> Request<()> {
    let req = Request::post("http://sink/echo.Echo/Talk").version(Version::HTTP_2);
    let req = req.header("content-type", "application/grpc").header("te", "trailers");
    req.header("grpc-timeout", "9S").header("x-data-bin", "AAE=").body(()).unwrap()
}

fn accepted() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn status(code: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    trailers.insert("x-last-bin", HeaderValue::from_static("AAE"));
    trailers
}

fn send(stream: &mut SendStream<Bytes>, message: &'static [u8], end: bool) {
    let _ = stream.send_data(Bytes::from_static(message), end);
}

/// The client sends so many messages; the application answers with others, and a status.
async fn exchange(road: Road, pings: usize, pongs: usize) {
    let _app = frames::serve(&road, move |road, mut req, mut respond| async move {
        road.seen.app(frames::request_lines(&req));
        road.seen.app(frames::read(req.body_mut()).await);
        let mut stream = respond.send_response(accepted(), false).unwrap();
        (0..pongs).for_each(|_| send(&mut stream, PONG, false));
        let _ = stream.send_trailers(status("0"));
    });
    let client = frames::connect(&road).await;
    let (answer, mut stream) = client.ready().await.unwrap().send_request(call(), false).unwrap();
    (0..pings).for_each(|n| send(&mut stream, PING, n + 1 == pings));
    frames::note(&road, answer).await;
}

async fn unary(road: Road) {
    exchange(road, 1, 1).await;
}

async fn streaming_from_client(road: Road) {
    exchange(road, 7, 1).await;
}

async fn streaming_from_server(road: Road) {
    exchange(road, 1, 7).await;
}

/// Each message is answered before the next is sent, and the application ends last.
async fn streaming_both_ways(road: Road) {
    let _app = frames::serve(&road, |road, mut req, mut respond| async move {
        road.seen.app(frames::request_lines(&req));
        let mut stream = respond.send_response(accepted(), false).unwrap();
        for _ in 0..3 {
            road.seen.app([frames::piece(req.body_mut(), PING.len()).await]);
            send(&mut stream, PONG, false);
        }
        road.seen.app(frames::read(req.body_mut()).await);
        let _ = stream.send_trailers(status("0"));
    });
    let client = frames::connect(&road).await;
    let (answer, mut stream) = client.ready().await.unwrap().send_request(call(), false).unwrap();
    let mut answer = answer.await.unwrap();
    road.seen.client(frames::response_lines(&answer));
    for _ in 0..3 {
        send(&mut stream, PING, false);
        road.seen.client([frames::piece(answer.body_mut(), PONG.len()).await]);
    }
    send(&mut stream, b"", true);
    road.seen.client(frames::read(answer.body_mut()).await);
}

/// The application reads a call of one message, and answers in some way.
async fn answered(road: Road, answer: fn(SendResponse<Bytes>)) {
    let _app = frames::serve(&road, move |road, mut req, respond| async move {
        road.seen.app(frames::request_lines(&req));
        road.seen.app(frames::read(req.body_mut()).await);
        answer(respond);
    });
    ask(&road).await;
}

async fn ask(road: &Road) {
    let client = frames::connect(road).await;
    let (answer, mut stream) = client.ready().await.unwrap().send_request(call(), false).unwrap();
    send(&mut stream, PING, true);
    frames::note(road, answer).await;
}

async fn failure_in_trailers(road: Road) {
    answered(road, |mut respond| {
        let mut stream = respond.send_response(accepted(), false).unwrap();
        let _ = stream.send_trailers(status("9"));
    })
    .await;
}

async fn failure_in_headers(road: Road) {
    answered(road, |mut respond| {
        let mut rsp = accepted();
        rsp.headers_mut().extend(status("5"));
        rsp.headers_mut().insert("grpc-message", HeaderValue::from_static("not%20here"));
        let _ = respond.send_response(rsp, true);
    })
    .await;
}

async fn failure_after_messages(road: Road) {
    answered(road, |mut respond| {
        let mut stream = respond.send_response(accepted(), false).unwrap();
        send(&mut stream, PONG, false);
        let _ = stream.send_trailers(status("13"));
    })
    .await;
}

async fn no_status(road: Road) {
    answered(road, |mut respond| {
        let mut stream = respond.send_response(accepted(), false).unwrap();
        send(&mut stream, PONG, true);
    })
    .await;
}

async fn stream_reset(road: Road) {
    answered(road, |mut respond| {
        let mut stream = respond.send_response(accepted(), false).unwrap();
        send(&mut stream, PONG, false);
        stream.send_reset(h2::Reason::INTERNAL_ERROR);
    })
    .await;
}

/// The client gives up while the application still speaks.
async fn cancelled(road: Road) {
    let mut app = frames::serve(&road, |road, mut req, mut respond| async move {
        road.seen.app(frames::request_lines(&req));
        let mut stream = respond.send_response(accepted(), false).unwrap();
        send(&mut stream, PONG, false);
        road.seen.app(frames::read(req.body_mut()).await);
        let reset = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
        road.seen.app([format!("answer reset: {:?}", reset.unwrap())]);
    });
    let client = frames::connect(&road).await;
    let (answer, mut stream) = client.ready().await.unwrap().send_request(call(), false).unwrap();
    send(&mut stream, PING, false);
    let mut answer = answer.await.unwrap();
    road.seen.client(frames::response_lines(&answer));
    road.seen.client([frames::piece(answer.body_mut(), PONG.len()).await]);
    stream.send_reset(h2::Reason::CANCEL);
    app.recv().await;
}

async fn connection_lost_before_the_answer(road: Road) {
    lose_connection(road, false).await;
}

async fn connection_lost_after_messages(road: Road) {
    lose_connection(road, true).await;
}

/// The application's whole connection ends, without a word of HTTP/2.
async fn lose_connection(road: Road, speaks: bool) {
    let own = road.clone();
    road.serve(move |io| {
        let road = own.clone();
        async move {
            let mut connection = h2::server::handshake(io).await.unwrap();
            let Some(Ok((req, mut respond))) = connection.accept().await else { return };
            road.seen.app(frames::request_lines(&req));
            if speaks {
                let mut stream = respond.send_response(accepted(), false).unwrap();
                send(&mut stream, PONG, false);
                let soon = std::time::Duration::from_millis(200);
                let _ = tokio::time::timeout(soon, connection.accept()).await;
                // Kept until here: it is not the stream that ends.
                drop((stream, req));
            }
        }
    });
    ask(&road).await;
}

async fn nobody_listens(road: Road) {
    ask(&road).await;
}
