//! What outbound routes do to requests and answers, and which of them is taken (contract 3.3, 3.4, 3.11).

use causeway::model::ResourceRef;
use causeway::model::filter::{Filter, HeaderChange, PathChange, Ratio, Redirect};
use causeway::model::matching::{HostMatch, PathMatch};
use causeway::model::outbound::{
    Distribution, HttpRoute, HttpRoutes, HttpRule, OpaqueRefusal, OpaqueRoute, OutboundProtocol, RouteBackend,
};
use causeway::model::{Endpoint, OutboundPolicy};
use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::application::App;
use crate::client::{Kind, empty};
use crate::every_kind;
use crate::fickle::{Fickle, Reply, failure, spoken};
use crate::hello::client_hello;
use crate::metrics::{count, page};
use crate::pair::{BB, Pair};
use crate::policies::{add, balance, by_path, forward, opaque_route, outbound};
use crate::raw::read_to_end;
use crate::sandbox::{until, within};

fn to_bb() -> HttpRule {
    HttpRule::new(vec![], Distribution::FirstAvailable(vec![balance(BB)]))
}

fn route(name: &str, rules: Vec<HttpRule>) -> HttpRoute {
    HttpRoute::new(ResourceRef::object("gateway.networking.k8s.io", "HTTPRoute", name), rules)
}

fn set(name: &str, value: &'static str) -> HeaderChange {
    let set = vec![(name.parse().unwrap(), HeaderValue::from_static(value))];
    HeaderChange { set, ..HeaderChange::default() }
}

fn policy(pair: &Pair, kind: Kind, routes: Vec<HttpRoute>) {
    pair.world.script().policy(pair.service, &outbound(spoken(kind, routes.into())));
}

/// The pair, with a policy of one route with one rule.
async fn ruled(kind: Kind, change: impl FnOnce(&mut HttpRule)) -> Pair {
    let pair = Pair::new().await;
    let mut rule = to_bb();
    change(&mut rule);
    policy(&pair, kind, vec![route("bb", vec![rule])]);
    pair
}

fn backends(rule: &mut HttpRule) -> &mut Vec<RouteBackend> {
    match &mut rule.backends {
        Distribution::FirstAvailable(all) => all,
        _ => panic!("the first that is available"),
    }
}

every_kind! {
    async fn headers_are_changed_by_the_rule_then_by_the_backend(kind: Kind) {
        let pair = ruled(kind, |rule| {
            let mut change = set("x-rule", "by rule");
            change.add.push(("x-both".parse().unwrap(), HeaderValue::from_static("rule")));
            change.remove.push("x-gone".parse().unwrap());
            rule.filters = vec![Filter::RequestHeaders(change)];
            backends(rule)[0].filters = vec![Filter::RequestHeaders(set("x-both", "backend"))];
        }).await;
        let mut client = pair.client(kind).await;
        let req = client.request("/").header("x-rule", "by client").header("x-gone", "1");
        client.send(req.body(empty()).unwrap()).await.assert_answered();
        let seen = pair.app.seen_once();
        assert_eq!((seen.header("x-rule"), seen.header("x-gone")), (Some("by rule"), None));
        assert_eq!(seen.headers.get_all("x-both").iter().collect::<Vec<_>>(), ["backend"]);
    }

    async fn answers_headers_are_changed_by_the_backend_then_by_the_rule(kind: Kind) {
        // Only HTTP routes can say so.
        if kind == Kind::Grpc {
            return;
        }
        let pair = ruled(kind, |rule| {
            backends(rule)[0].filters = vec![Filter::ResponseHeaders(set("x-both", "backend"))];
            let mut change = set("x-rule", "by rule");
            change.add.push(("x-both".parse().unwrap(), HeaderValue::from_static("rule")));
            rule.filters = vec![Filter::ResponseHeaders(change)];
        }).await;
        let answer = pair.get(kind).await;
        answer.assert_answered();
        assert_eq!(answer.header("x-rule"), Some("by rule"));
        assert_eq!(answer.headers.get_all("x-both").iter().collect::<Vec<_>>(), ["backend", "rule"]);
        assert_eq!(pair.app.seen_once().header("x-rule"), None);
    }

    async fn a_redirect_is_answered_without_an_endpoint(kind: Kind) {
        if kind == Kind::Grpc {
            return;
        }
        let to = Redirect {
            host: Some("elsewhere.example".parse().unwrap()),
            path: Some(PathChange::Prefix("/new".into())),
            ..Redirect::default()
        };
        let pair = ruled(kind, |rule| {
            rule.matches = vec![by_path(PathMatch::Prefix("/old".into()))];
            rule.filters = vec![Filter::Redirect(to)];
        }).await;
        let mut client = pair.client(kind).await;
        let answer = client.get("/old/x?y=z").await;
        let location = answer.header("location").unwrap();
        assert_eq!((answer.status.as_u16(), location), (301, "http://elsewhere.example:8080/new/x?y=z"));
        assert_eq!(pair.app.seen().len(), 0);
        let counted = "outbound_http_errors_total{error=\"unexpected\"} 1";
        assert!(page(&pair.web).await.lines().any(|line| line == counted), "as the reference counts it");
        // Back to where it came from: as if there were none.
        let here = Redirect { host: Some("bb.demo.svc.cluster.local".parse().unwrap()), ..Redirect::default() };
        let pair = ruled(kind, |rule| rule.filters = vec![Filter::Redirect(here)]).await;
        pair.get(kind).await.assert_answered();
    }

    async fn failures_are_injected_as_often_as_policy_says(kind: Kind) {
        let all = ruled(kind, |rule| rule.filters = vec![failure(kind, Ratio::ALL)]).await;
        let mut client = all.client(kind).await;
        let answer = client.get("/").await;
        answer.assert_refused(kind, 418, "11");
        assert_eq!((answer.header("l5d-proxy-error"), answer.header("causeway-reason")), (Some("as told"), Some("injected-failure")));
        client.get("/").await.assert_refused(kind, 418, "11");
        assert_eq!(all.app.seen().len(), 0, "and the connection stays");
        let (family, status) = match kind {
            Kind::Grpc => ("outbound_grpc_route_request_statuses_total{", "grpc_status=\"OUT_OF_RANGE\",error=\"\"} 2"),
            _ => ("outbound_http_route_request_statuses_total{", "http_status=\"418\",error=\"\"} 2"),
        };
        until("its count", async || {
            page(&all.web).await.lines().any(|line| line.starts_with(family) && line.ends_with(status))
        }).await;
        let half = ruled(kind, |rule| {
            backends(rule)[0].filters = vec![failure(kind, Ratio::new(1, 2).unwrap())];
        }).await;
        let mut client = half.client(kind).await;
        let mut answered = 0;
        for _ in 0..60 {
            answered += usize::from(client.get("/").await.is_answered());
        }
        // Fewer than 8 of 60 come once in 10^9.
        assert!((8..=52).contains(&answered), "{answered}");
        assert_eq!(half.app.seen().len(), answered);
    }

    async fn a_filter_of_a_kind_that_is_not_known_fails_closed(kind: Kind) {
        for on_backend in [false, true] {
            let pair = ruled(kind, |rule| match on_backend {
                true => backends(rule)[0].filters = vec![Filter::Unknown],
                false => rule.filters = vec![Filter::Unknown],
            }).await;
            let answer = pair.get(kind).await;
            answer.assert_refused(kind, 500, "13");
            assert_eq!(answer.header("causeway-reason"), Some("invalid-policy"));
            assert_eq!(pair.app.seen().len(), 0);
        }
    }

    async fn hosts_rank_before_paths_and_exact_ones_before_suffixes(kind: Kind) {
        let pair = Pair::new().await;
        let named = |name: &'static str, hosts: Vec<HostMatch>, path: Option<PathMatch>| {
            let mut rule = to_bb();
            rule.matches = path.map(by_path).into_iter().collect();
            if kind == Kind::Grpc {
                rule.matches = vec![];
            }
            rule.filters = vec![Filter::RequestHeaders(set("x-route", name))];
            HttpRoute { hosts, ..route(name, vec![rule]) }
        };
        let suffix = |labels: &[&str]| HostMatch::Suffix(labels.iter().map(ToString::to_string).collect());
        let exact = |host: &str| HostMatch::Exact(host.into());
        policy(&pair, kind, vec![
            named("any", vec![], Some(PathMatch::Exact("/exact".into()))),
            named("suffix", vec![suffix(&["local"]), exact("unrelated.example")], None),
            named("longer", vec![suffix(&["local", "cluster"])], None),
            named("first", vec![exact("BB.demo.svc.cluster.local.")], None),
            named("second", vec![exact("bb.demo.svc.cluster.local")], None),
        ]);
        let mut client = pair.client(kind).await;
        for (host, wanted) in [
            ("bb.demo.svc.cluster.local:8080", "first"),
            ("cc.demo.svc.cluster.local", "longer"),
            ("cluster.local", "suffix"),
            ("bb.example", "any"),
        ] {
            let uri = format!("http://{host}/exact");
            let req = match kind {
                Kind::Http1 => http::Request::get("/exact").header("host", host),
                Kind::Http2 => http::Request::get(uri),
                Kind::Grpc => http::Request::post(uri).header("content-type", "application/grpc"),
            };
            client.send(req.body(empty()).unwrap()).await.assert_answered();
            assert_eq!(pair.app.seen_once().header("x-route"), Some(wanted), "{host}");
        }
    }

    async fn what_a_backend_s_filters_do_is_done_to_its_requests_alone(kind: Kind) {
        let pair = Pair::new().await;
        let marked = |name: &'static str, weight| {
            let filters = vec![Filter::RequestHeaders(set("x-backend", name))];
            (RouteBackend { filters, backend: balance(BB) }, weight)
        };
        let mut rule = to_bb();
        rule.backends = Distribution::RandomAvailable(vec![marked("a", 9), marked("b", 1)]);
        policy(&pair, kind, vec![route("bb", vec![rule])]);
        let mut client = pair.client(kind).await;
        for _ in 0..200 {
            client.get("/").await.assert_answered();
        }
        let seen = pair.app.seen();
        let of = |name| seen.iter().filter(|seen| seen.header("x-backend") == Some(name)).count();
        assert_eq!(of("a") + of("b"), 200);
        // 20 expected, with a deviation of 4.2.
        assert!((1..46).contains(&of("b")), "{}", of("b"));
        // One set of endpoints, however it is filtered.
        assert_eq!(pair.world.script().endpoints.opened(BB), 1);
    }

    async fn a_rule_of_one_route_says_nothing_of_another_s_requests(kind: Kind) {
        let fickle = Fickle::new(&[Reply::Echo]).await;
        let (mut failing, plain) = (to_bb(), to_bb());
        failing.filters = vec![failure(kind, Ratio::ALL)];
        failing.matches = match kind {
            Kind::Grpc => vec![by_path(PathMatch::Rpc { service: Some("bb.Failing".into()), method: None })],
            _ => vec![by_path(PathMatch::Prefix("/bb.Failing".into()))],
        };
        if kind == Kind::Grpc {
            failing.matches[0].method = Some(http::Method::POST);
        }
        fickle.routes(kind, HttpRoutes::from(vec![route("failing", vec![failing]), route("plain", vec![plain])]));
        let mut client = fickle.pair.client(kind).await;
        client.get("/bb.Failing/Get").await.assert_refused(kind, 418, "11");
        client.get("/bb.Other/Get").await.assert_answered();
        assert_eq!(fickle.sent().len(), 1);
    }
}

/// A policy that leads servers below `example` to the first, two others to the second, and one to nobody.
fn by_server_name([one, two]: [&App; 2]) -> OutboundPolicy {
    let to = |app: &App, snis: Vec<HostMatch>| OpaqueRoute {
        snis,
        ..opaque_route(forward(Endpoint::plain(app.addr)))
    };
    let exact = |name: &str| HostMatch::Exact(name.into());
    let mut forbidden = to(one, vec![exact("forbidden.example")]);
    forbidden.refusal = Some(OpaqueRefusal::Forbidden);
    outbound(OutboundProtocol::Tls(vec![
        to(one, vec![HostMatch::Suffix(vec!["example".into()])]),
        to(two, vec![exact("two.example"), exact("other.test")]),
        forbidden,
    ]))
}

/// Who answers a connection that begins so, and what it was sent. `None` if it is ended.
async fn who_answers(pair: &Pair, bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut io = pair.web.connect(pair.service).await;
    io.write_all(bytes).await.unwrap();
    let mut answer = vec![0; 3 + bytes.len()];
    let read = within("an answer or the end", io.read_exact(&mut answer)).await;
    read.ok().map(|_| (answer[..3].to_vec(), answer[3..].to_vec()))
}

#[tokio::test]
async fn connections_are_routed_by_the_server_that_tls_asks_for() {
    let pair = Pair::new().await;
    let (one, two) = (App::greeting(&pair.bb, b"one").await, App::greeting(&pair.bb, b"two").await);
    pair.world.script().policy(pair.service, &by_server_name([&one, &two]));
    for (name, app) in
        [("one.example", "one"), ("two.example", "two"), ("OTHER.test", "two"), ("a.b.example", "one")]
    {
        let hello = client_hello(Some(name));
        assert_eq!(who_answers(&pair, &hello).await, Some((app.into(), hello)), "{name}");
    }
    for bytes in [
        client_hello(Some("example")), // the suffix needs a label more
        client_hello(Some("forbidden.example")),
        client_hello(Some("elsewhere.test")),
        client_hello(None),
        b"GET / HTTP/1.1\r\nhost: one.example\r\n\r\n".to_vec(),
    ] {
        assert_eq!(who_answers(&pair, &bytes).await, None, "{bytes:?}");
    }
    until("their counts", async || {
        let page = page(&pair.web).await;
        count(&page, "outbound_tls_route_open_total", &[]) == 5
            && count(&page, "outbound_tls_route_close_total", &["error=\"forbidden\""]) == 1
            && count(&page, "causeway_faults_total", &["no-server-name"]) == 2
    })
    .await;
}

#[tokio::test]
async fn a_route_of_tls_without_names_takes_every_connection() {
    let pair = Pair::new().await;
    let one = App::greeting(&pair.bb, b"one").await;
    pair.world.script().endpoints(BB, &add(vec![Endpoint::plain(one.addr)]));
    let routes = vec![opaque_route(balance(BB))];
    pair.world.script().policy(pair.service, &outbound(OutboundProtocol::Tls(routes)));
    let mut io = pair.web.connect(pair.service).await;
    io.write_all(&client_hello(Some("any.name"))).await.unwrap();
    io.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut io).await[..3], *b"one");
    let page = page(&pair.web).await;
    assert!(page.contains("outbound_tls_balancer_endpoints{endpoint_state=\"ready\","), "{page}");
    assert!(!page.contains("outbound_tcp_balancer_"), "{page}");
}
