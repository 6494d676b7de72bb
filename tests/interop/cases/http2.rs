//! HTTP/2 with prior knowledge: requests and answers.

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};

use super::Case;
use crate::frames;
use crate::stage::Road;

/// A method, a target, headers and a body.
type Asked = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);
/// A status, headers and a body.
type Answered = (u16, &'static [(&'static str, &'static str)], &'static [&'static str]);

pub(super) fn cases() -> Vec<Case> {
    let one = |(name, asked, answered): &(&str, Asked, Answered)| {
        let (asked, answered) = (*asked, *answered);
        Case::new(format!("http2::{name}"), move |road| exchange(road, asked, answered))
    };
    let mut all: Vec<Case> = REQUESTS.iter().chain(ANSWERS).map(one).collect();
    all.push(Case::new("http2::trailers both ways", trailers_both_ways));
    all.push(Case::new("http2::trailers after nothing", trailers_after_nothing));
    all.push(Case::new("http2::large headers", |road| large_headers(road, 1500)));
    all.push(Case::new("http2::headers beyond 16 KiB", |road| large_headers(road, 5000)));
    all.push(Case::new("http2::early hints", early_hints));
    all.push(Case::new("http2::many streams at once", many_streams));
    all.push(Case::new("http2::connect", connect));
    all
}

const OK: Answered = (200, &[("x-two", "2")], &["ok"]);
const URL: &str = "http://sink/";

#[rustfmt::skip]
const REQUESTS: &[(&str, Asked, Answered)] = &[
    ("get", ("GET", "http://sink/a?b=1", &[("x-one", "1")], &[]), OK),
    ("post", ("POST", URL, &[], &["hello", " world"]), OK),
    ("post with length", ("POST", URL, &[("content-length", "5")], &["hello"]), OK),
    ("post of nothing", ("POST", URL, &[], &[""]), OK),
    ("get with body", ("GET", URL, &[], &["hello"]), OK),
    ("less than the length", ("POST", URL, &[("content-length", "9")], &["hello"]), OK),
    ("more than the length", ("POST", URL, &[("content-length", "2")], &["hello"]), OK),
    ("head", ("HEAD", URL, &[], &[]), (200, &[("content-length", "1234")], &[])),
    ("a method of one's own", ("BREW", "http://sink/pot", &[], &[]), OK),
    ("options", ("OPTIONS", "http://sink/x", &[], &[]), OK),
    ("https", ("GET", "https://sink/", &[], &[]), OK),
    ("authority with port", ("GET", "http://sink:8080/", &[], &[]), OK),
    ("authority in capitals", ("GET", "http://Sink.Example.COM/", &[], &[]), OK),
    ("host and authority", ("GET", URL, &[("host", "sink")], &[]), OK),
    ("host and another authority", ("GET", URL, &[("host", "other")], &[]), OK),
    ("host alone", ("GET", "/nobody", &[("host", "sink")], &[]), OK),
    ("neither host nor authority", ("GET", "/nobody", &[], &[]), OK),
    ("percent signs", ("GET", "http://sink/a%2Fb/%2e%2E/c%00?d=%20&e=a+b", &[], &[]), OK),
    ("dots and slashes", ("GET", "http://sink/a/../b/./c//d;x=1", &[], &[]), OK),
    ("odd characters", ("GET", "http://sink/{a}|\"b\"~!$'()*,:@^[]?{a}|/?", &[], &[]), OK),
    ("an empty query", ("GET", "http://sink/a?", &[], &[]), OK),
    ("cookies", ("GET", URL, &[("cookie", "a=1; b=2"), ("cookie", "c=3")], &[]), OK),
    ("repeated headers", ("GET", URL, &[("x-a", "1"), ("x-b", "2"), ("x-a", "3"), ("x-a", "1")], &[]),
        (200, &[("x-a", "1"), ("x-a", "2"), ("set-cookie", "a=1"), ("set-cookie", "b=2")], &["ok"])),
    ("empty values", ("GET", URL, &[("x-empty", "")], &[]), (200, &[("x-empty", "")], &["ok"])),
    ("te", ("GET", URL, &[("te", "trailers")], &[]), OK),
    ("expect", ("POST", URL, &[("expect", "100-continue")], &["hello"]), OK),
    ("trailer announced", ("POST", URL, &[("trailer", "x-sum")], &["hello"]), (200, &[("trailer", "x-sum")], &["ok"])),
    ("mesh headers",
        ("GET", URL, &[("l5d-client-id", "somebody"), ("l5d-dst-override", "x:1"), ("l5d-dst-canonical", "y:1"),
            ("l5d-remote-ip", "1.2.3.4"), ("l5d-proxy-error", "e"), ("l5d-proxy-connection", "close")], &[]),
        (200, &[("l5d-proxy-error", "e"), ("l5d-client-id", "x"), ("l5d-server-id", "x")], &["ok"])),
    ("an answer that closes the mesh's connection", ("GET", URL, &[], &[]),
        (200, &[("l5d-proxy-connection", "close")], &["ok"])),
    ("an identity that is required", ("GET", URL, &[("l5d-require-id", "somebody.else")], &[]), OK),
];

#[rustfmt::skip]
const ANSWERS: &[(&str, Asked, Answered)] = &[
    ("204", ("GET", URL, &[], &[]), (204, &[], &[])),
    ("304 with length", ("GET", URL, &[], &[]), (304, &[("content-length", "1234")], &[])),
    ("an answer with length", ("GET", URL, &[], &[]), (200, &[("content-length", "2")], &["ok"])),
    ("an answer of nothing", ("GET", URL, &[], &[]), (200, &[], &[""])),
    ("less than the answer's length", ("GET", URL, &[], &[]), (200, &[("content-length", "9")], &["ok"])),
    ("a status beyond", ("GET", URL, &[], &[]), (999, &[], &["ok"])),
    ("a date", ("GET", URL, &[], &[]), (200, &[("date", "Thu, 01 Jan 1970 00:00:00 GMT")], &["ok"])),
    ("an error of the application", ("GET", URL, &[], &[]), (503, &[("retry-after", "1")], &["no"])),
];

pub(super) fn request((method, target, headers, _): Asked) -> Request<()> {
    let mut req = Request::builder().method(method).uri(target).version(Version::HTTP_2).body(()).unwrap();
    *req.headers_mut() = header_map(headers);
    req
}

fn header_map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    headers.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
        map.append(*name, HeaderValue::from_static(value));
        map
    })
}

/// One request, which the application reads whole before it answers.
async fn exchange(road: Road, asked: Asked, answered: Answered) {
    let _app = frames::serve(&road, move |road, mut req, respond| async move {
        road.seen.app(frames::request_lines(&req));
        road.seen.app(frames::read(req.body_mut()).await);
        answer(respond, answered, None);
    });
    let mut client = frames::connect(&road).await;
    frames::ask(&road, &mut client, request(asked), asked.3, None).await;
}

fn answer(mut respond: SendResponse<Bytes>, (status, headers, body): Answered, trailers: Option<HeaderMap>) {
    let mut rsp = Response::new(());
    *rsp.status_mut() = StatusCode::from_u16(status).unwrap();
    *rsp.headers_mut() = header_map(headers);
    let Ok(mut stream) = respond.send_response(rsp, body.is_empty() && trailers.is_none()) else { return };
    for (number, piece) in body.iter().enumerate() {
        let last = number + 1 == body.len() && trailers.is_none();
        let _ = stream.send_data(Bytes::from_static(piece.as_bytes()), last);
    }
    if let Some(trailers) = trailers {
        let _ = stream.send_trailers(trailers);
    }
}

const SUMS: &[(&str, &str)] = &[("x-sum", "1"), ("x-sum", "2"), ("x-empty", "")];

async fn trailers_both_ways(road: Road) {
    trailers(road, &["hello"]).await;
}

async fn trailers_after_nothing(road: Road) {
    trailers(road, &[]).await;
}

async fn trailers(road: Road, body: &'static [&'static str]) {
    let _app = frames::serve(&road, move |road, mut req: Request<RecvStream>, respond| async move {
        road.seen.app(frames::request_lines(&req));
        road.seen.app(frames::read(req.body_mut()).await);
        answer(respond, (200, &[], body), Some(header_map(SUMS)));
    });
    let mut client = frames::connect(&road).await;
    frames::ask(&road, &mut client, request(("POST", URL, &[], &[])), body, Some(header_map(SUMS))).await;
}

async fn large_headers(road: Road, length: usize) {
    let add = move |headers: &mut HeaderMap| {
        for name in ["x-a", "x-b", "x-c", "x-d"] {
            headers.insert(name, HeaderValue::from_str(&name[2..].repeat(length)).unwrap());
        }
    };
    let _app = frames::serve(&road, move |road, req, mut respond| async move {
        road.seen.app(frames::request_lines(&req));
        let mut rsp = Response::new(());
        add(rsp.headers_mut());
        let _ = respond.send_response(rsp, true);
    });
    let mut client = frames::connect(&road).await;
    let mut req = request(("GET", URL, &[], &[]));
    add(req.headers_mut());
    frames::ask(&road, &mut client, req, &[], None).await;
}

async fn early_hints(road: Road) {
    let _app = frames::serve(&road, |road, req, mut respond| async move {
        road.seen.app(frames::request_lines(&req));
        respond
            .send_informational(Response::builder().status(103).header("link", "</x>").body(()).unwrap())
            .unwrap();
        answer(respond, OK, None);
    });
    let mut client = frames::connect(&road).await;
    frames::ask(&road, &mut client, request(("GET", URL, &[], &[])), &[], None).await;
}

/// Answers come back to those who asked.
async fn many_streams(road: Road) {
    let _app = frames::serve(&road, |_, req, mut respond| async move {
        let path = Bytes::from(req.uri().path().to_owned());
        if let Ok(mut stream) = respond.send_response(Response::new(()), false) {
            let _ = stream.send_data(path, true);
        }
    });
    let client = frames::connect(&road).await;
    let mut asked = Vec::new();
    for number in 0..90 {
        let req = Request::get(format!("http://sink/{number}")).version(Version::HTTP_2).body(()).unwrap();
        let answer = client.clone().ready().await.unwrap().send_request(req, true).unwrap().0;
        asked.push((number, answer));
    }
    let mut right = 0;
    for (number, answer) in asked {
        let mut rsp = answer.await.unwrap();
        let path = format!("/{number}");
        let said = format!("body: {} bytes \"{path}\"", path.len());
        right += usize::from(frames::read(rsp.body_mut()).await == [said]);
    }
    road.seen.client([format!("{right} right answers")]);
}

/// The stream stays open both ways, as a tunnel's does.
async fn connect(road: Road) {
    let _app = frames::serve(&road, |road, req, mut respond| async move {
        road.seen.app(frames::request_lines(&req));
        let open = respond.send_response(Response::new(()), false);
        std::future::pending::<()>().await;
        drop((req, open));
    });
    let client = frames::connect(&road).await;
    let asked = request(("CONNECT", "sink:8080", &[], &[]));
    let (answer, _open) = client.ready().await.unwrap().send_request(asked, false).unwrap();
    frames::note(&road, answer).await;
}
