//! Which of a rule's backends gets a request, as their endpoints come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use causeway::model::filter::{Filter, HeaderChange};
use causeway::model::outbound::{Distribution, OutboundProtocol, RouteBackend};
use causeway::model::{Endpoint, OutboundPolicy};
use http::HeaderValue;
use tokio::net::TcpListener;

use super::hasty;
use crate::client::{Kind, empty};
use crate::every_kind;
use crate::pair::{BB, Pair};
use crate::policies::{add, balance, http_route, none, outbound};
use crate::sandbox::{fresh_ip, until};

pub const CC: &str = "cc.demo.svc.cluster.local:8080";

fn to(filters: Vec<Filter>, backend: &str) -> RouteBackend {
    RouteBackend { filters, backend: balance(backend) }
}

/// A policy of one rule, whose backends these are.
fn among(backends: &Distribution<RouteBackend>) -> OutboundPolicy {
    let route = || {
        let mut route = http_route(balance(BB));
        route.rules[0].backends = backends.clone();
        vec![route].into()
    };
    outbound(OutboundProtocol::Detect { http1: route(), http2: route(), opaque: vec![] })
}

/// A policy of the backend `cc`, which does this to its requests, and of `bb` where it has no endpoint.
fn either(of_cc: Vec<Filter>) -> OutboundPolicy {
    among(&Distribution::FirstAvailable(vec![to(of_cc, CC), to(vec![], BB)]))
}

/// An endpoint that takes connections, ends them and counts them.
pub async fn hangs_up(pair: &Pair) -> (Endpoint, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((fresh_ip(), 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tried = Arc::<AtomicUsize>::default();
    let count = tried.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (Endpoint { addr, inbound_port: Some(addr.port()), ..pair.bb.endpoint(pair.app.addr) }, tried)
}

every_kind! {
    async fn a_backend_without_a_ready_endpoint_is_passed_over(kind: Kind) {
        let [bb, cc] = [BB, CC].map(|name| to(vec![], name));
        let first = Distribution::FirstAvailable(vec![bb.clone(), cc.clone()]);
        let random = Distribution::RandomAvailable(vec![(bb, 1), (cc, 1)]);
        for backends in [first, random] {
            let pair = hasty().await;
            let script = pair.world.script();
            script.policy(pair.service, &among(&backends));
            let (some, none) = (add(vec![pair.bb.endpoint(pair.app.addr)]), none());
            for (bb, cc) in [(&none, &some), (&some, &none)] {
                script.endpoints(BB, bb);
                script.endpoints(CC, cc);
                until("twenty answers in a row", async || {
                    for _ in 0..20 {
                        if !pair.get(kind).await.is_answered() {
                            return false;
                        }
                    }
                    true
                })
                .await;
            }
        }
    }

    async fn a_request_whose_backend_loses_its_last_endpoint_goes_to_another(kind: Kind) {
        let changes = |name: &str| {
            let set = vec![(name.parse().unwrap(), HeaderValue::from_static("1"))];
            vec![Filter::RequestHeaders(HeaderChange { set, ..HeaderChange::default() })]
        };
        for filters in [vec![], changes("x-of-cc")] {
            let pair = hasty().await;
            let (of_cc, tried) = hangs_up(&pair).await;
            let script = pair.world.script();
            script.policy(pair.service, &either(filters));
            script.endpoints(CC, &add(vec![of_cc]));
            until("the one that hangs up is tried", async || {
                let mut client = pair.client(kind).await;
                let required = client.request("/").header("x-mine", "1").body(empty()).unwrap();
                client.send(required).await.assert_answered();
                tried.load(Ordering::Relaxed) > 0
            })
            .await;
            for seen in pair.app.seen() {
                assert_eq!((seen.header("x-mine"), seen.header("x-of-cc")), (Some("1"), None));
            }
        }
    }

    async fn a_request_that_waits_is_for_the_first_backend_that_has_an_endpoint(kind: Kind) {
        let pair = Pair::new().await;
        let script = pair.world.script();
        script.policy(pair.service, &either(vec![]));
        script.endpoints(BB, &none());
        script.endpoints(CC, &none());
        let mut client = pair.client(kind).await;
        let (answer, ()) = tokio::join!(client.get("/"), async {
            script.endpoints.until_opened(BB, 1).await;
            script.endpoints.until_opened(CC, 1).await;
            script.change(BB, &add(vec![pair.bb.endpoint(pair.app.addr)]));
        });
        answer.assert_answered();
    }
}
