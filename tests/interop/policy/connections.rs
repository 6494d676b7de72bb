//! Where connections go that are not HTTP, by the name that TLS asks for or by none, and what becomes of those that leave
//! the cluster (contract 3.3, 3.4, 3.11; controlplane 3.6).

use std::net::SocketAddr;

use causeway::model::filter::{Failure, FailureKind, Filter, Ratio};
use causeway::model::matching::HostMatch;
use causeway::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoute, HttpRoutes, HttpRule, OpaqueRefusal, OpaqueRoute,
    OutboundProtocol,
};
use causeway::model::{Endpoint, ResourceRef};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Case;
use super::app::{App, Reply};
use super::client::{Ask, Kind};
use super::world::Scene;
use crate::hello::client_hello;
use crate::stage::DEADLINE;

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for name in NAMES {
        let title = format!("connections::TLS for {}", name.unwrap_or("nobody"));
        all.push(Case::new(title, move |scene| by_name(scene, client_hello(*name))));
    }
    all.push(Case::new("connections::no TLS", |scene| by_name(scene, b"hello\n".to_vec())));
    for tls in [true, false] {
        let kind = if tls { "TLS" } else { "opaque" };
        for to in TO {
            let title = format!("connections::{kind} to {to:?}");
            all.push(Case::new(title, move |scene| to_one(scene, *to, tls)));
        }
        all.push(Case::new(format!("connections::{kind}, weights"), move |scene| weights(scene, tls)));
    }
    for denied in [true, false] {
        let verdict = if denied { "denied" } else { "allowed" };
        for kind in Kind::ALL {
            let title = format!("connections::egress {verdict}, {}", kind.name());
            all.push(Case::new(title, move |scene| egress(scene, Some(kind), denied)));
        }
        let title = format!("connections::egress {verdict}, no HTTP");
        all.push(Case::new(title, move |scene| egress(scene, None, denied)));
    }
    all
}

const NAMES: &[Option<&str>] = &[
    Some("shop.example"),
    Some("SHOP.example"),
    Some("shop.example."),
    Some("a.example"),
    Some("a.b.example"),
    Some("long.deep.example"),
    Some("example"),
    Some("closed.test"),
    Some("failing.test"),
    Some("other.test"),
    None,
];

/// A table of routes for names.
async fn by_name(scene: Scene, bytes: Vec<u8>) {
    let exact = |name: &str| HostMatch::Exact(name.into());
    // Last first.
    let under = |labels: &[&str]| HostMatch::Suffix(labels.iter().map(|label| (*label).into()).collect());
    let to = |name: &'static str, snis| {
        let backends = Distribution::FirstAvailable(vec![scene.backend(name, &[serve(&scene, name)])]);
        OpaqueRoute { snis, ..OpaqueRoute::new(ResourceRef::default_named(name), backends) }
    };
    let mut closed = to("closed", vec![exact("closed.test")]);
    closed.refusal = Some(OpaqueRefusal::Forbidden);
    let mut failing = to("failing", vec![exact("failing.test")]);
    failing.backends = Distribution::FirstAvailable(vec![nowhere()]);
    let routes = vec![
        to("under", vec![under(&["example"])]),
        to("deep", vec![under(&["example", "deep"])]),
        to("exact", vec![exact("shop.example")]),
        to("again", vec![exact("shop.example")]),
        closed,
        failing,
    ];
    scene.protocol(OutboundProtocol::Tls(routes));
    connect(&scene, &bytes).await;
}

/// What a route may lead to.
#[derive(Clone, Copy, Debug)]
enum To {
    One,
    Forbidden,
    Invalid,
    Failing,
    Nothing,
    NoEndpoints,
    Gone,
    SecondOfTwo,
    Given,
}

const TO: &[To] = &[
    To::One,
    To::Forbidden,
    To::Invalid,
    To::Failing,
    To::Nothing,
    To::NoEndpoints,
    To::Gone,
    To::SecondOfTwo,
    To::Given,
];

async fn to_one(scene: Scene, to: To, tls: bool) {
    let app = serve(&scene, "bb");
    let (_kept, gone) = scene.gone();
    let first = |backends| Distribution::FirstAvailable(backends);
    let backends = match to {
        To::One | To::Forbidden | To::Invalid => first(vec![scene.backend("bb", &[app])]),
        To::Failing => first(vec![nowhere()]),
        To::Nothing => Distribution::Empty,
        To::NoEndpoints => first(vec![scene.backend("bb", &[])]),
        To::Gone => first(vec![scene.backend("bb", &[gone])]),
        To::SecondOfTwo => first(vec![scene.backend("none", &[]), scene.backend("bb", &[app])]),
        To::Given => first(vec![given(app)]),
    };
    let mut route = OpaqueRoute::new(ResourceRef::default_named("route"), backends);
    route.refusal = match to {
        To::Forbidden => Some(OpaqueRefusal::Forbidden),
        To::Invalid => Some(OpaqueRefusal::Invalid),
        _ => None,
    };
    offer(&scene, route, tls);
    if matches!(to, To::SecondOfTwo) {
        // The reference's first connection waits for the first backend in vain.
        connect(&scene.aside(), &first_bytes(tls)).await;
    }
    connect(&scene, &first_bytes(tls)).await;
}

/// How often each of three backends is connected to, by quarters.
async fn weights(scene: Scene, tls: bool) {
    const ASKED: usize = 320;
    let names = ["three", "one", "none"];
    let quiet = names.map(|_| scene.aside());
    let backends = names.iter().zip(&quiet).zip([3, 1, 0]).map(|((name, quiet), weight)| {
        let app = serve(quiet, name);
        (scene.backend(name, &[app]), weight)
    });
    let backends = Distribution::RandomAvailable(backends.collect());
    offer(&scene, OpaqueRoute::new(ResourceRef::default_named("route"), backends), tls);
    let counts = || quiet.each_ref().map(|seen| seen.seen.text().lines().count());
    // Until its endpoints are known, connections that are for a backend go to another.
    while matches!(counts(), [0, ..] | [_, 0, _]) {
        connect(&scene.aside(), &first_bytes(tls)).await;
    }
    let before = counts();
    for _ in 0..ASKED {
        connect(&scene.aside(), &first_bytes(tls)).await;
    }
    for ((asked, before), name) in counts().into_iter().zip(before).zip(names) {
        let asked = asked - before;
        // A standard deviation is a tenth of a quarter.
        scene.seen.app([format!("{name}: about {} in 4", (asked * 4 + ASKED / 2) / ASKED)]);
    }
}

/// As the control plane tells of an EgressNetwork without routes.
async fn egress(scene: Scene, speaks: Option<Kind>, denied: bool) {
    let app = match speaks {
        Some(_) => App::start(&scene, "bb", &[Reply::Good]),
        None => serve(&scene, "bb"),
    };
    let meta = ResourceRef::default_named(if denied { "http-egress-deny" } else { "http-egress-allow" });
    let backends = Distribution::FirstAvailable(vec![given(app)]);
    let http = |kind| {
        let mut rule = HttpRule::new(vec![], backends.clone());
        let failure = Failure { kind, message: "traffic not allowed".into(), ratio: Ratio::ALL };
        rule.filters.extend(denied.then_some(Filter::Failure(failure)));
        HttpRoutes::from(vec![HttpRoute::new(meta.clone(), vec![rule])])
    };
    let forbidden = http(FailureKind::Http(http::StatusCode::FORBIDDEN));
    let mut opaque = OpaqueRoute::new(meta.clone(), backends.clone());
    opaque.refusal = denied.then_some(OpaqueRefusal::Forbidden);
    scene.protocol(match speaks {
        Some(Kind::Grpc) => OutboundProtocol::Grpc(http(FailureKind::Grpc(7))),
        _ => OutboundProtocol::Detect { http1: forbidden.clone(), http2: forbidden, opaque: vec![opaque] },
    });
    match speaks {
        Some(kind) => Ask { watched: true, ..Ask::get("/") }.of(&scene, kind).await,
        None => connect(&scene, &client_hello(Some("outside.example"))).await,
    }
}

fn offer(scene: &Scene, route: OpaqueRoute, tls: bool) {
    let routes = vec![route];
    scene.protocol(if tls { OutboundProtocol::Tls(routes) } else { OutboundProtocol::Opaque(routes) });
}

fn nowhere() -> Backend {
    Backend { meta: ResourceRef::default_named("nowhere"), kind: BackendKind::Fail }
}

fn given(addr: SocketAddr) -> Backend {
    let kind = BackendKind::Forward(Box::new(Endpoint::plain(addr)));
    Backend { meta: ResourceRef::default_named("given"), kind }
}

fn first_bytes(tls: bool) -> Vec<u8> {
    if tls { client_hello(Some("any.example")) } else { b"hello\n".to_vec() }
}

/// An application that answers its first bytes with its name, and ends.
fn serve(scene: &Scene, name: &'static str) -> SocketAddr {
    let (scene, listener) = (scene.clone(), scene.listen());
    let addr = listener.local_addr().unwrap();
    // Ends with the test's runtime.
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            let scene = scene.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                let Ok(length @ 1..) = io.read(&mut bytes).await else { return };
                scene.seen.app([format!("{name}: {length} bytes")]);
                let _ = io.write_all(name.as_bytes()).await;
                let _ = io.shutdown().await;
                let _ = io.read(&mut bytes).await;
            });
        }
    });
    addr
}

/// Sends these bytes, and notes what comes until the end. Whether that is a reset is chance.
async fn connect(scene: &Scene, bytes: &[u8]) {
    let mut io = scene.dial().await;
    let _ = io.write_all(bytes).await;
    let mut came = Vec::new();
    let ended = timeout(DEADLINE, io.read_to_end(&mut came)).await.is_ok();
    let end = if ended { "the connection ends" } else { "the connection stays" };
    scene.seen.client([format!("{:?}, {end}", String::from_utf8_lossy(&came))]);
}
