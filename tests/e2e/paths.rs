//! Paths and values that may be read in more than one way: policy judges them all, and bytes pass as they came.

use causeway::model::inbound::InboundRoute;
use causeway::model::matching::{HeaderMatch, PathMatch, Pattern, RequestMatch, ValueMatch};
use causeway::model::{ResourceRef, ServerPolicy};

use crate::callers::{Caller, Callers, Spoken, status};
use crate::client::{Client, Kind, empty};
use crate::policies::{Speaks, by_path, everyone, identified, routes_of, server};
use crate::sandbox::identity;

const KINDS: [Kind; 3] = [Kind::Http1, Kind::Http2, Kind::Grpc];

/// What `matched` takes is for `web`, everything else for everyone.
fn guarding(matched: RequestMatch) -> ServerPolicy {
    let mut policy = server(Speaks::Detected, vec![]);
    let open = InboundRoute::everything(ResourceRef::default_named("open"), vec![everyone()]);
    let admin = ResourceRef::object("policy.linkerd.io", "HTTPRoute", "admin");
    let admin = InboundRoute {
        rules: vec![vec![matched].into()],
        ..InboundRoute::everything(admin, vec![identified(&[&identity("web")])])
    };
    *routes_of(&mut policy) = vec![open, admin];
    policy
}

fn disguises() -> Vec<String> {
    let mut all: Vec<String> = [
        "//admin",
        "/./admin",
        "/a/../admin",
        "/%61dmin",
        "/%2561dmin",
        "/admin%2f",
        "/admin;x",
        "/admin%3bx",
        "/admin/",
        "/x/..;/admin",
        "/x/..%2fadmin",
        "/x/..%5cadmin",
        "/%c1%a1dmin",
        "/x/%c0%ae%c0%ae/admin",
        "/x%c0%af..%c0%afadmin",
        "/%e0%81%a1dmin",
        "/admin%00",
        "/admin%3f",
    ]
    .map(str::to_owned)
    .into();
    // 32 KiB, in disguise and not.
    all.push(format!("/admin/{}", "x".repeat(32 * 1024)));
    all.push(format!("/{}/../admin", "x".repeat(32 * 1024)));
    all.push(format!("/{}admin", "./".repeat(16 * 1024)));
    all
}

#[tokio::test]
async fn a_path_in_disguise_is_for_those_alone_whom_the_plain_one_is_for() {
    let mut callers = Callers::new("all-unauthenticated").await;
    callers.enforce(guarding(by_path(PathMatch::Prefix("/admin".into())))).await;
    for kind in KINDS {
        for path in disguises() {
            let shown = &path[..path.len().min(40)];
            callers.pair.app.seen();
            assert_eq!(callers.ask(&Caller::Plain, Spoken::Http(kind), &path).await, 403, "{kind:?} {shown}");
            assert_eq!(callers.pair.app.seen().len(), 0, "{kind:?} {shown}");
            let web = Caller::Identified(identity("web"));
            assert_eq!(callers.ask(&web, Spoken::Http(kind), &path).await, 200, "{kind:?} {shown}");
            assert_eq!(callers.pair.app.seen_once().uri.path(), path, "as it came: {kind:?} {shown}");
        }
        for path in ["/", "/x", "/adm", "/administration", "/caf%C3%A9//menu", "/a/./b"] {
            assert_eq!(callers.ask(&Caller::Plain, Spoken::Http(kind), path).await, 200, "{kind:?} {path}");
            assert_eq!(callers.pair.app.seen().last().unwrap().uri.path(), path);
        }
    }
}

#[tokio::test]
async fn an_exact_path_and_an_expression_are_not_walked_around_either() {
    let mut callers = Callers::new("all-unauthenticated").await;
    let expression = PathMatch::Regex(Pattern::new("/adm[a-z]{2}").unwrap());
    for matched in [PathMatch::Exact("/admin".into()), expression] {
        callers.enforce(guarding(by_path(matched.clone()))).await;
        let disguises = disguises();
        let of_this_path =
            disguises.iter().filter(|path| **path != "/admin/" && !path.starts_with("/admin/x"));
        for path in of_this_path {
            let shown = &path[..path.len().min(40)];
            let status = callers.ask(&Caller::Plain, Spoken::Http(Kind::Http2), path).await;
            assert_eq!(status, 403, "{matched:?} {shown}");
        }
        assert_eq!(callers.ask(&Caller::Plain, Spoken::Http(Kind::Http2), "/admin2").await, 200);
    }
}

#[tokio::test]
async fn each_value_of_a_header_is_judged() {
    let mut callers = Callers::new("all-unauthenticated").await;
    let role = HeaderMatch { name: "x-role".parse().unwrap(), value: ValueMatch::Exact(b"admin".to_vec()) };
    callers.enforce(guarding(RequestMatch { headers: vec![role], ..RequestMatch::default() })).await;
    for kind in KINDS {
        for (values, wanted) in [
            (&["admin"][..], 403),
            (&["user", "admin"], 403),
            (&["admin", "user"], 403),
            (&["user, admin"], 403),
            (&["user"], 200),
            (&["user", "guest"], 200),
            (&[], 200),
        ] {
            let io = callers.connect(&Caller::Plain, Spoken::Http(kind)).await;
            let mut client = Client::new(kind, io).await;
            let req = values.iter().fold(client.request("/"), |req, value| req.header("x-role", *value));
            let answer = client.send(req.body(empty()).unwrap()).await;
            assert_eq!(status(kind, &answer), wanted, "{kind:?} {values:?}");
        }
    }
    let seen = callers.pair.app.seen();
    assert_eq!(seen.len(), 9);
    assert!(seen.iter().all(|seen| seen.headers.get_all("x-role").iter().all(|value| value != "admin")));
}
