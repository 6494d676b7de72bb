//! What a route does to requests that it lets in, how many of them, and what is told of it (contract 4.3 to 4.5).

use std::num::NonZeroU32;
use std::sync::Arc;

use causeway::model::ResourceRef;
use causeway::model::filter::{Failure, FailureKind, Filter, HeaderChange, PathChange, Ratio, Redirect};
use causeway::model::inbound::{InboundRoute, RateLimit, RateOverride};
use causeway::model::matching::{PathMatch, RequestMatch};
use http::{HeaderValue, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::callers::{Caller, Callers, Spoken, status};
use crate::client::{Client, Kind, empty};
use crate::every_kind;
use crate::log::Log;
use crate::metrics::page;
use crate::policies::{Speaks, by_path, everyone, identified, only_from, routed, routes_of, server};
use crate::raw::read_to_end;
use crate::sandbox::{identity, within};

fn web() -> Caller {
    Caller::Identified(identity("web"))
}

async fn client(callers: &mut Callers, caller: &Caller, kind: Kind) -> Client {
    let io = callers.connect(caller, Spoken::Http(kind)).await;
    Client::new(kind, io).await
}

/// A server that lets everyone in, with these filters for what lies below a path.
async fn filtering(path: &str, filters: Vec<Filter>) -> Callers {
    let mut callers = Callers::new("all-unauthenticated").await;
    let mut policy = server(Speaks::Detected, vec![everyone()]);
    let mut filtered = routes_of(&mut policy)[0].clone();
    filtered.rules[0].matches = vec![by_path(PathMatch::Prefix(path.into()))];
    filtered.rules[0].filters = filters;
    routes_of(&mut policy).push(filtered);
    callers.enforce(policy).await;
    callers
}

every_kind! {
    async fn headers_are_changed_for_the_application(kind: Kind) {
        let pair = |name: &str, value| (name.parse().unwrap(), HeaderValue::from_static(value));
        let change = HeaderChange {
            add: vec![pair("x-added", "by policy")],
            set: vec![pair("x-set", "by policy")],
            remove: vec!["x-removed".parse().unwrap()],
        };
        let mut callers = filtering("/changed", vec![Filter::RequestHeaders(change)]).await;
        let mut client = client(&mut callers, &web(), kind).await;
        for (path, set, removed) in [("/changed", "by policy", None), ("/other", "by client", Some("1"))] {
            let req = client.request(path).header("x-set", "by client").header("x-removed", "1");
            client.send(req.body(empty()).unwrap()).await.assert_answered();
            let seen = callers.pair.app.seen_once();
            assert_eq!((seen.header("x-set"), seen.header("x-removed")), (Some(set), removed));
            assert_eq!(seen.header("x-added").is_some(), path == "/changed");
        }
    }

    async fn a_redirect_is_answered_here(kind: Kind) {
        let to = Redirect {
            host: Some("elsewhere.example".parse().unwrap()),
            path: Some(PathChange::Prefix("/new".into())),
            status: Some(http::StatusCode::FOUND),
            ..Redirect::default()
        };
        let mut callers = filtering("/old", vec![Filter::Redirect(to)]).await;
        let mut client = client(&mut callers, &web(), kind).await;
        let answer = client.get("/old/x?y=z").await;
        match kind {
            Kind::Grpc => assert_eq!(status(kind, &answer), 404),
            Kind::Http1 | Kind::Http2 => {
                let location = answer.header("location").unwrap();
                assert_eq!((answer.status.as_u16(), location), (302, "http://elsewhere.example:8080/new/x?y=z"));
            }
        }
        assert_eq!(callers.pair.app.seen().len(), 0);
        let page = page(&callers.pair.bb).await;
        let counts = |line: &&str| line.starts_with("inbound_http_errors_total{error=\"unexpected\",") && line.ends_with(" 1");
        assert!(page.lines().any(|line| counts(&line)), "as the reference counts it: {page}");
        client.get("/other").await.assert_answered();
    }

    async fn injected_failures_and_unknown_filters_are_500(kind: Kind) {
        let failure = Failure {
            kind: FailureKind::Http(http::StatusCode::IM_A_TEAPOT),
            message: "as told".into(),
            ratio: Ratio::ALL,
        };
        for (filter, reason) in [(Filter::Failure(failure), "injected-failure"), (Filter::Unknown, "invalid-policy")] {
            let mut callers = filtering("/failing", vec![filter]).await;
            let mut client = client(&mut callers, &web(), kind).await;
            let answer = client.get("/failing").await;
            answer.assert_refused(kind, 500, "13");
            assert_eq!(answer.header("causeway-reason"), Some(reason));
            assert_eq!(callers.pair.app.seen().len(), 0);
        }
    }

    async fn who_comes_too_fast_is_429(kind: Kind) {
        let mut callers = Callers::new("all-unauthenticated").await;
        let rate = |rate| NonZeroU32::new(rate).unwrap();
        let limit = RateLimit {
            meta: Some(ResourceRef::object("policy.linkerd.io", "httplocalratelimitpolicy", "slow")),
            total: None,
            identity: Some(rate(2)),
            overrides: vec![RateOverride { rate: rate(6), clients: vec![identity("fast").parse().unwrap()] }],
        };
        let mut policy = server(Speaks::Detected, vec![everyone()]);
        policy.rate_limit = Some(Arc::new(limit));
        callers.enforce(policy).await;
        let mut passed = Vec::new();
        for caller in [web(), Caller::Identified(identity("fast")), Caller::Plain, Caller::Anonymous] {
            let mut client = client(&mut callers, &caller, kind).await;
            let mut answered = 0;
            for _ in 0..8 {
                let answer = client.get("/").await;
                match status(kind, &answer) {
                    429 => assert!(!answer.is_answered()),
                    _ => {
                        answer.assert_answered();
                        answered += 1;
                    }
                }
            }
            passed.push(answered);
        }
        // Those without an identity share; and a slow machine gives some time for more.
        let (without, seen) = (passed[2] + passed[3], callers.pair.app.seen().len());
        assert!((2..8).contains(&passed[0]) && (6..=8).contains(&passed[1]) && (2..8).contains(&without), "{passed:?}");
        assert_eq!(seen, passed.iter().sum::<usize>());
        let page = callers.metrics().await;
        let counted = |scope: &str| page.lines().any(|line| {
            line.starts_with("inbound_http_local_ratelimit_total{") && line.contains("ratelimit_name=\"slow\"")
                && line.contains(scope)
        });
        assert!(counted("ratelimit_scope=\"identity\"") && !counted("ratelimit_scope=\"total\""), "{page}");
    }

    async fn a_request_is_routed_then_let_in_then_filtered_then_counted(kind: Kind) {
        let mut callers = Callers::new("all-unauthenticated").await;
        let routes = vec![("/open", vec![everyone()]), ("/moved", vec![everyone()]), ("/closed", vec![])];
        let mut policy = routed(Speaks::Detected, routes, vec![]);
        let elsewhere = Redirect { host: Some("elsewhere.example".parse().unwrap()), ..Redirect::default() };
        routes_of(&mut policy)[1].rules[0].filters = vec![Filter::Redirect(elsewhere)];
        policy.rate_limit = Some(Arc::new(RateLimit { total: NonZeroU32::new(1), ..RateLimit::default() }));
        callers.enforce(policy).await;
        let mut client = client(&mut callers, &web(), kind).await;
        let moved = if kind == Kind::Grpc { 404 } else { 301 };
        let others = [("/nowhere", 404), ("/closed", 403), ("/moved", moved)];
        // None of them takes of the limit, and none is beyond it.
        for limited in [false, true] {
            for (path, wanted) in others {
                assert_eq!(status(kind, &client.get(path).await), wanted, "{path}, limited: {limited}");
            }
            let mut passed = 0;
            while status(kind, &client.get("/open").await) != 429 {
                passed += 1;
            }
            assert!(limited || passed > 0);
        }
    }

    async fn probes_are_let_in_by_their_route_and_network_alone(kind: Kind) {
        let mut callers = Callers::new("all-unauthenticated").await;
        let here = format!("{}/32", callers.from);
        let method = if kind == Kind::Grpc { Method::POST } else { Method::GET };
        let exact = RequestMatch { method: Some(method), ..by_path(PathMatch::Exact("/ready".into())) };
        for (net, wanted) in [(here.as_str(), 200), ("10.0.0.0/8", 403)] {
            let mut policy = server(Speaks::Detected, vec![identified(&[&identity("web")])]);
            let mut probe = InboundRoute {
                rules: vec![vec![exact.clone()].into()],
                ..InboundRoute::everything(ResourceRef::default_named("probe"), vec![only_from(everyone(), net, &[])])
            };
            probe.authorizations.extend(policy.authorizations.clone());
            routes_of(&mut policy).push(probe);
            callers.enforce(policy).await;
            assert_eq!(callers.ask(&Caller::Plain, Spoken::Http(kind), "/ready").await, wanted);
            for path in ["/ready/x", "/", "/Ready"] {
                assert_eq!(callers.ask(&Caller::Plain, Spoken::Http(kind), path).await, 403, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_s_line_names_each_authorization_and_what_failed() {
    let log = Log::listen();
    let mut callers = Callers::new("all-unauthenticated").await;
    let nobody = identified(&[&identity("nobody")]);
    callers
        .enforce(server(Speaks::Detected, vec![only_from(everyone(), "10.0.0.0/8", &[]), nobody.clone()]))
        .await;
    let from = callers.from.to_string();
    assert_eq!(callers.ask(&web(), Spoken::Http(Kind::Http1), "/x").await, 403);
    let line = log.line(&["request denied", &from, "reason=\"denied\""]).await;
    for part in [
        format!("{from} is in none of its networks (10.0.0.0/8)"),
        format!("{} is none of the identities that it lets in ({})", identity("web"), identity("nobody")),
        "default/localhost".to_owned(),
        "path=\"/x\"".to_owned(),
    ] {
        assert!(line.contains(&part), "{part}: {line}");
    }
    callers.enforce(server(Speaks::Opaque, vec![nobody])).await;
    assert_eq!(callers.ask(&Caller::Plain, Spoken::Opaque, "/").await, 0);
    let line = log.line(&["connection denied", &from]).await;
    assert!(line.contains("only a proxy can bring it") && line.contains("AuthorizationPolicy/bb"), "{line}");
}

#[tokio::test]
async fn what_an_audit_lets_in_is_told() {
    let log = Log::listen();
    let mut callers = Callers::new("all-unauthenticated").await;
    let mut audit = everyone();
    audit.meta = ResourceRef::default_named("audit");
    let from = callers.from.to_string();
    callers.enforce(server(Speaks::Detected, vec![identified(&[&identity("web")]), audit.clone()])).await;
    assert_eq!(callers.ask(&web(), Spoken::Http(Kind::Http2), "/").await, 200);
    assert!(!log.says("request allowed"), "an authorization of its own lets it in");
    assert_eq!(callers.ask(&Caller::Plain, Spoken::Http(Kind::Http2), "/").await, 200);
    let line = log.line(&["request allowed", &from]).await;
    assert!(line.contains("authz=\"audit\""), "{line}");
    callers.enforce(server(Speaks::Opaque, vec![audit])).await;
    assert_eq!(callers.ask(&Caller::Plain, Spoken::Opaque, "/").await, 200);
    log.line(&["connection allowed", &from, "authz=\"audit\""]).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_not_told_as_one_that_is_denied() {
    let log = Log::listen();
    let mut callers = Callers::new("all-unauthenticated").await;
    let mut policy = server(Speaks::Detected, vec![identified(&[&identity("nobody")])]);
    if let causeway::model::inbound::ServerProtocol::Detect { timeout, .. } = &mut policy.protocol {
        *timeout = std::time::Duration::from_millis(50);
    }
    callers.enforce(policy).await;
    // What cannot yet be told from HTTP, and nothing more.
    let mut io = callers.connect(&Caller::Plain, Spoken::Opaque).await;
    io.write_all(b"GE").await.unwrap();
    assert_eq!(read_to_end(&mut io).await, b"");
    let line = log.line(&["http-detect-timeout"]).await;
    assert!(line.contains(&callers.from.to_string()), "{line}");
    assert!(!log.says("denied"));
    let page = callers.metrics().await;
    let denied = |line: &str| line.starts_with("inbound_tcp_authz_deny_total{") && !line.ends_with(" 0");
    assert!(!page.lines().any(denied), "{page}");
    // One that says what it is, is denied for what it is.
    let mut io = callers.connect(&Caller::Plain, Spoken::Opaque).await;
    io.write_all(b"*1\r\n$4\r\nPING\r\n").await.unwrap();
    let _ = within("the end", io.read(&mut [0; 1])).await;
    log.line(&["connection denied"]).await;
}
