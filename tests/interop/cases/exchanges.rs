//! HTTP/1 requests and their answers, byte for byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;

use super::Case;
use crate::messages::Wire;
use crate::stage::Road;

/// What is asked, and what is answered.
pub(super) type Exchange = (&'static str, &'static str);

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(super) fn cases() -> Vec<Case> {
    let tables = [VERSIONS, BODIES, TRAILERS, TARGETS, HOSTS, HEADERS, CONNECTIONS, MESH_HEADERS, ANSWERS];
    let one = |(name, request, answer): &(&'static str, &'static str, &'static str)| {
        let exchange = [(*request, *answer)];
        Case::new(format!("exchanges::{name}"), move |road| exchanges(road, exchange.to_vec()))
    };
    let mut all: Vec<Case> = tables.into_iter().flatten().map(one).collect();
    all.push(Case::new("exchanges::pipelined", |road| exchanges(road, PIPELINED.to_vec())));
    all.push(Case::new("exchanges::large headers", |road| exchanges(road, large_headers())));
    all
}

#[rustfmt::skip]
const VERSIONS: &[(&str, &str, &str)] = &[
    ("1.1", "GET /a?b=1 HTTP/1.1\r\nhost: sink\r\nx-one: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-two: 2\r\n\r\nok"),
    ("1.0", "GET / HTTP/1.0\r\nhost: sink\r\n\r\n", OK),
    ("1.0 without host", "GET /old HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("1.0 kept alive", "GET / HTTP/1.0\r\nhost: sink\r\nconnection: keep-alive\r\n\r\n", OK),
    ("1.0 answered until the end", "GET / HTTP/1.0\r\nhost: sink\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nuntil the end"),
    ("1.0 answered in chunks", "GET / HTTP/1.0\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("1.0 post", "POST / HTTP/1.0\r\nhost: sink\r\ncontent-length: 5\r\n\r\nhello", OK),
    ("1.1 answered by 1.0", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nuntil the end"),
    ("1.1 answered by 1.0 with length", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("1.1 answered until the end", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end"),
    ("1.1 to be closed", "GET / HTTP/1.1\r\nhost: sink\r\nconnection: close\r\n\r\n", OK),
];

#[rustfmt::skip]
const BODIES: &[(&str, &str, &str)] = &[
    ("post", "POST / HTTP/1.1\r\nhost: sink\r\ncontent-length: 5\r\n\r\nhello", OK),
    ("post of nothing", "POST / HTTP/1.1\r\nhost: sink\r\ncontent-length: 0\r\n\r\n", OK),
    ("post without length", "POST / HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("get with body", "GET / HTTP/1.1\r\nhost: sink\r\ncontent-length: 5\r\n\r\nhello", OK),
    ("delete with body", "DELETE /x HTTP/1.1\r\nhost: sink\r\ncontent-length: 5\r\n\r\nhello", OK),
    ("chunked both ways",
        "POST / HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nwel\r\n4\r\ncome\r\n0\r\n\r\n"),
    ("chunked nothing", "POST / HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked get", "GET / HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", OK),
    ("head", "HEAD / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"),
    ("head without length", "HEAD / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 200 OK\r\nx: y\r\n\r\n"),
    ("head chunked", "HEAD / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
    ("head 1.0", "HEAD / HTTP/1.0\r\nhost: sink\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"),
    ("204", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"),
    ("204 with length", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"),
    ("205", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n"),
    ("304", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n"),
    ("304 with length", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\n\r\n"),
    ("equal lengths", "POST / HTTP/1.1\r\nhost: sink\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok"),
];

#[rustfmt::skip]
const TRAILERS: &[(&str, &str, &str)] = &[
    ("trailers asked for", "GET / HTTP/1.1\r\nhost: sink\r\nte: trailers\r\nconnection: te\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"),
    ("trailers asked for without connection", "GET / HTTP/1.1\r\nhost: sink\r\nte: trailers\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"),
    ("trailers not asked for", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"),
    ("trailers not announced", "GET / HTTP/1.1\r\nhost: sink\r\nte: trailers\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"),
    ("trailers of a request",
        "POST / HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n", OK),
    ("trailers of a request not announced",
        "POST / HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n", OK),
    ("te other than trailers", "GET / HTTP/1.1\r\nhost: sink\r\nte: gzip, trailers;q=0.5\r\n\r\n", OK),
];

#[rustfmt::skip]
const TARGETS: &[(&str, &str, &str)] = &[
    ("absolute form", "GET http://sink/abs?x=1 HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("absolute form without host", "GET http://sink/abs HTTP/1.1\r\n\r\n", OK),
    ("absolute form without path", "GET http://sink HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("absolute form with port", "GET http://sink:8080/abs HTTP/1.1\r\nhost: sink:8080\r\n\r\n", OK),
    ("absolute form of https", "GET https://sink/abs HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("absolute form 1.0", "GET http://sink/abs HTTP/1.0\r\nhost: sink\r\n\r\n", OK),
    ("absolute form with user", "GET http://me@sink/abs HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("options *", "OPTIONS * HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("options of a path", "OPTIONS /x HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("percent signs", "GET /a%2Fb/%2e%2E/c%00?d=%20&e=a+b HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("broken percent signs", "GET /%zz%4 HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("dots and slashes", "GET /a/../b/./c//d;x=1 HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("two slashes first", "GET //sink/a HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("odd characters", "GET /{a}|\"b\"~!$'()*,:@^`[]\\ HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("odd characters in a query", "GET /?{a}|\"b\"~!$'()*,:@^`[]\\?/ HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("bytes beyond ASCII", "GET /h\u{e9}?\u{e9} HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("a fragment", "GET /a#b HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("an empty query", "GET /a? HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("a method of one's own", "BREW /pot HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("a method in small letters", "get /pot HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("trace", "TRACE / HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
    ("an empty line first", "\r\nGET /empty-line HTTP/1.1\r\nhost: sink\r\n\r\n", OK),
];

#[rustfmt::skip]
const HOSTS: &[(&str, &str, &str)] = &[
    ("host missing", "GET /nobody HTTP/1.1\r\nx: y\r\n\r\n", OK),
    ("host empty", "GET /nobody HTTP/1.1\r\nhost:\r\nx: y\r\n\r\n", OK),
    ("host with port", "GET / HTTP/1.1\r\nhost: sink:8080\r\n\r\n", OK),
    ("host with default port", "GET / HTTP/1.1\r\nhost: sink:80\r\n\r\n", OK),
    ("host in capitals", "GET / HTTP/1.1\r\nHOST: Sink.Example.COM\r\n\r\n", OK),
    ("host with an address", "GET / HTTP/1.1\r\nhost: [::1]:8080\r\n\r\n", OK),
    ("host with underscore", "GET / HTTP/1.1\r\nhost: a_b.example\r\n\r\n", OK),
    ("host that is no authority", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", OK),
    ("host with spaces", "GET / HTTP/1.1\r\nhost:   sink  \r\n\r\n", OK),
];

#[rustfmt::skip]
const HEADERS: &[(&str, &str, &str)] = &[
    ("header case", "GET / HTTP/1.1\r\nHost: sink\r\nX-MiXeD: Value\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-MiXeD: Value\r\n\r\nok"),
    ("empty values", "GET / HTTP/1.1\r\nhost: sink\r\nx-empty:\r\nx-blank:   \r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-empty:\r\n\r\nok"),
    ("repeated headers", "GET / HTTP/1.1\r\nhost: sink\r\nx-a: 1\r\nx-b: 2\r\nx-a: 3\r\nx-a: 1\r\nx-a: 4, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 1\r\nx-a: 2\r\nset-cookie: a=1; path=/\r\nset-cookie: b=2\r\n\r\nok"),
    ("cookies", "GET / HTTP/1.1\r\nhost: sink\r\ncookie: a=1; b=2\r\ncookie: c=3\r\n\r\n", OK),
    ("bytes in values", "GET / HTTP/1.1\r\nhost: sink\r\nx-latin: caf\u{e9}\r\nx-tab: a\tb\r\nx-space:  a  b  \r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-latin: caf\u{e9}\r\n\r\nok"),
    ("signs in names", "GET / HTTP/1.1\r\nhost: sink\r\nx_a: 1\r\nx!#$%&'*+.^`|~: 2\r\n0: 3\r\n\r\n", OK),
    ("expect something else", "POST / HTTP/1.1\r\nhost: sink\r\nexpect: miracles\r\ncontent-length: 5\r\n\r\nhello", OK),
    ("dates", "GET / HTTP/1.1\r\nhost: sink\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nok"),
    ("server and via", "GET / HTTP/1.1\r\nhost: sink\r\nvia: 1.1 somebody\r\nx-forwarded-for: 1.2.3.4\r\nforwarded: for=1.2.3.4\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nserver: me\r\nvia: 1.1 somebody\r\n\r\nok"),
    ("encodings", "GET / HTTP/1.1\r\nhost: sink\r\naccept-encoding: gzip, br\r\nrange: bytes=0-1\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\ncontent-length: 2\r\ncontent-encoding: gzip\r\ncontent-range: bytes 0-1/9\r\n\r\nok"),
    ("max-forwards and credentials", "GET / HTTP/1.1\r\nhost: sink\r\nmax-forwards: 3\r\nproxy-authorization: Basic eA==\r\nauthorization: Basic eA==\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nproxy-authenticate: Basic\r\nwww-authenticate: Basic\r\n\r\n"),
];

#[rustfmt::skip]
const CONNECTIONS: &[(&str, &str, &str)] = &[
    ("headers of the connection",
        "GET / HTTP/1.1\r\nhost: sink\r\nconnection: x-foo, keep-alive\r\nx-foo: 1\r\nx-bar: 2\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-foo\r\nx-foo: 1\r\nx-bar: 2\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\r\nok"),
    ("connection twice", "GET / HTTP/1.1\r\nhost: sink\r\nconnection: x-foo\r\nconnection: x-bar\r\nx-foo: 1\r\nx-bar: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-foo\r\nconnection: x-bar\r\nx-foo: 1\r\nx-bar: 2\r\n\r\nok"),
    ("connection of odd names", "GET / HTTP/1.1\r\nhost: sink\r\nconnection: ,, X-Foo ,b c\r\nx-foo: 1\r\n\r\n", OK),
    ("connection names the end to end", "GET / HTTP/1.1\r\nhost: sink\r\nconnection: host, content-length, cookie\r\ncookie: a=1\r\n\r\n", OK),
    ("upgrade to h2c",
        "GET / HTTP/1.1\r\nhost: sink\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n", OK),
    ("upgrade 1.0", "GET / HTTP/1.0\r\nhost: sink\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", OK),
    ("upgrade not taken", "GET / HTTP/1.1\r\nhost: sink\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n", OK),
    ("upgrade without connection", "GET / HTTP/1.1\r\nhost: sink\r\nupgrade: websocket\r\n\r\n", OK),
    ("upgrade required", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n"),
];

#[rustfmt::skip]
const MESH_HEADERS: &[(&str, &str, &str)] = &[
    ("mesh headers of a request",
        "GET / HTTP/1.1\r\nhost: sink\r\nl5d-client-id: somebody\r\nl5d-dst-override: x:1\r\nl5d-dst-canonical: y:1\r\nl5d-remote-ip: 1.2.3.4\r\nl5d-server-id: z\r\nl5d-proxy-error: e\r\nl5d-proxy-connection: close\r\n\r\n", OK),
    ("a version of another request", "GET / HTTP/1.1\r\nhost: sink\r\nl5d-orig-proto: HTTP/1.0; absolute-form\r\n\r\n", OK),
    ("mesh headers of an answer", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nl5d-client-id: x\r\nl5d-server-id: x\r\nl5d-remote-ip: x\r\nl5d-proxy-error: e\r\nl5d-orig-proto: HTTP/1.0\r\n\r\nok"),
    ("an answer that closes the mesh's connection", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nl5d-proxy-connection: close\r\n\r\nok"),
    ("an identity that is required", "GET / HTTP/1.1\r\nhost: sink\r\nl5d-require-id: somebody.else\r\n\r\n", OK),
    ("traces", "GET / HTTP/1.1\r\nhost: sink\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nx-b3-traceid: 0af7651916cd43dd8448eb211c80319c\r\nx-b3-spanid: b7ad6b7169203331\r\nx-b3-sampled: 1\r\n\r\n", OK),
    ("retry and timeout headers", "GET / HTTP/1.1\r\nhost: sink\r\nl5d-retry-http: 5xx\r\nl5d-retry-limit: 2\r\nl5d-timeout: 9s\r\nl5d-response-timeout: 9s\r\n\r\n", OK),
];

#[rustfmt::skip]
const ANSWERS: &[(&str, &str, &str)] = &[
    ("early hints", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("processing", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("a status of one's own", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 299 Fine\r\ncontent-length: 2\r\n\r\nok"),
    ("a status beyond", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 999 Beyond\r\ncontent-length: 2\r\n\r\nok"),
    ("a reason of one's own", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 200 Very Well\r\ncontent-length: 2\r\n\r\nok"),
    ("no reason", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok"),
    ("an error of the application", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\nretry-after: 1\r\n\r\nno"),
    ("switching unasked", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
    ("another coding and chunked", "GET / HTTP/1.1\r\nhost: sink\r\nte: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\nconnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("folded headers", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-folded: a\r\n b\r\n\r\nok"),
    ("no HTTP", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n", "what do you want of me, and who are you?\r\n\r\n"),
    ("two lengths", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok!"),
    ("more than the length", "GET / HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n"),
];

const PIPELINED: &[Exchange] = &[
    ("GET /1 HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none"),
    (
        "POST /2 HTTP/1.1\r\nhost: sink\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    ),
    ("HEAD /3 HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
    (
        "GET /4 HTTP/1.1\r\nhost: sink\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n",
    ),
    ("GET /5 HTTP/1.1\r\nhost: sink\r\nconnection: close\r\n\r\n", OK),
];

/// Much, but within the limits of both.
fn large_headers() -> Vec<Exchange> {
    let value = "v".repeat(6000);
    let request = format!("GET / HTTP/1.1\r\nhost: sink\r\nx-large: {value}\r\nx-too: {value}\r\n\r\n");
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-large: {value}\r\nx-too: {value}\r\n\r\nok");
    vec![(String::leak(request), String::leak(answer))]
}

/// The client sends all requests in one piece; the application reads each and then answers it.
pub(super) async fn exchanges(road: Road, exchanges: Vec<Exchange>) {
    let answers = Arc::new(exchanges.iter().map(|(_, answer)| *answer).collect::<Vec<_>>());
    let next = Arc::new(AtomicUsize::new(0));
    let seen = road.seen.clone();
    road.serve(move |io| answer(io, seen.clone(), answers.clone(), next.clone()));
    let mut wire = Wire::new(road.dial().await);
    wire.send(latin(&exchanges.iter().map(|(request, _)| *request).collect::<String>())).await;
    for (request, _) in exchanges {
        let method = request.trim_start().split(' ').next().unwrap_or_default();
        if !ask(&road, &mut wire, method).await {
            return;
        }
    }
}

/// Reads an answer and those that announce it. False where none can follow it.
pub(super) async fn ask(road: &Road, wire: &mut Wire, method: &str) -> bool {
    loop {
        let message = match wire.message(Some(method)).await {
            Ok(message) => message,
            Err(how) => {
                road.seen.client([how]);
                return false;
            }
        };
        road.seen.client(message.lines());
        if message.head.closes() {
            road.seen.client([wire.end_soon().await]);
            return false;
        }
        if message.head.status() / 100 != 1 || message.head.status() == 101 {
            return true;
        }
    }
}

async fn answer(
    io: TcpStream,
    seen: crate::record::Seen,
    answers: Arc<Vec<&'static str>>,
    next: Arc<AtomicUsize>,
) {
    let mut wire = Wire::new(io);
    while let Ok(request) = wire.message(None).await {
        seen.app(request.lines());
        let answer = answers.get(next.fetch_add(1, Ordering::Relaxed));
        let answer = answer.unwrap_or(&"HTTP/1.1 500 Unexpected\r\ncontent-length: 0\r\n\r\n");
        // Bytes beyond ASCII are one each on the wire.
        wire.send(latin(answer)).await;
        if answer.contains("connection: close")
            || answer.starts_with("HTTP/1.0")
            || !answer.starts_with("HTTP")
        {
            return;
        }
    }
}

/// One byte a character.
pub(super) fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}
