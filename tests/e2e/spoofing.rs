//! What clients say of themselves in the mesh's own headers changes nothing of who they are, what they may and where
//! their requests go.

use causeway::model::ServerPolicy;
use http_body_util::{BodyExt, Full};

use crate::application::Seen;
use crate::callers::{Caller, Callers, Spoken, status};
use crate::client::{Client, Kind, empty};
use crate::policies::{Speaks, everyone, identified, routed};
use crate::sandbox::identity;

const KINDS: [Kind; 3] = [Kind::Http1, Kind::Http2, Kind::Grpc];

fn spoofed() -> Vec<(&'static str, String)> {
    let (boss, name) = (identity("boss"), "cc.demo.svc.cluster.local:80");
    let mut all = vec![
        ("l5d-dst-override", name.to_owned()),
        ("l5d-dst-canonical", name.to_owned()),
        ("l5d_dst_override", name.to_owned()),
        ("forwarded", format!("by={};for={boss};host={name};proto=https", identity("bb"))),
        ("l5d-orig-proto", "HTTP/1.1".to_owned()),
        ("l5d-orig-proto", "HTTP/1.1; absolute-form".to_owned()),
        ("l5d-orig-proto", "HTTP/9".to_owned()),
    ];
    let twins = [
        "l5d-client-id",
        "l5d_client_id",
        "l5d-client_id",
        "l5d_client-id",
        "L5D-CLIENT-ID",
        "L5d_Client_Id",
    ];
    all.extend(twins.map(|twin| (twin, boss.clone())));
    all
}

/// `/admin` is for the boss alone, the rest for everyone.
fn policy() -> ServerPolicy {
    routed(
        Speaks::Detected,
        vec![("/", vec![everyone()]), ("/admin", vec![identified(&[&identity("boss")])])],
        vec![],
    )
}

/// The headers that name the client, with `_` for `-` too.
fn said_of_the_client(seen: &Seen) -> Vec<(&str, &str)> {
    let names = seen.headers.iter().filter(|(name, _)| name.as_str().replace('_', "-") == "l5d-client-id");
    names.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}

/// The host that was asked for.
fn host(seen: &Seen) -> Option<&str> {
    seen.uri.host().or_else(|| Some(seen.header("host")?.split(':').next().unwrap()))
}

#[tokio::test]
async fn what_clients_say_of_themselves_changes_nothing() {
    let mut callers = Callers::new("all-unauthenticated").await;
    callers.enforce(policy()).await;
    let web = identity("web");
    for kind in KINDS {
        for caller in [Caller::Identified(web.clone()), Caller::Anonymous, Caller::Plain] {
            for (name, value) in spoofed() {
                let case = format!("{kind:?} {caller:?} {name}: {value}");
                let io = callers.connect(&caller, Spoken::Http(kind)).await;
                let mut client = Client::new(kind, io).await;
                callers.pair.app.seen();
                let req = client.request("/open").header(name, &value);
                let answer = client.send(req.body(empty()).unwrap()).await;
                assert!(answer.is_answered(), "{case}: {answer:?}");
                let seen = callers.pair.app.seen_once();
                assert_eq!((seen.uri.path(), seen.peer.ip()), ("/open", callers.pair.bb.ip), "{case}");
                let proven =
                    matches!(caller, Caller::Identified(_)).then_some(("l5d-client-id", web.as_str()));
                assert_eq!(said_of_the_client(&seen), Vec::from_iter(proven), "{case}");
                // By the target's own host, whatever else was named.
                let host = host(&seen);
                // HTTP/2 has no `Host`, and what claims to have been HTTP/1 gets none here: nor another one.
                let hostless = name == "l5d-orig-proto" && kind != Kind::Http1 && host.is_none();
                assert!(hostless || host == Some("bb.demo.svc.cluster.local"), "{case}: {host:?}");

                let req = client.request("/admin").header(name, &value).body(empty()).unwrap();
                let answer = client.send(req).await;
                let refused =
                    if answer.status == 200 { status(kind, &answer) } else { answer.status.as_u16() };
                assert_eq!(refused, 403, "{case}");
                assert_eq!(callers.pair.app.seen().len(), 0, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn nor_does_it_through_a_proxy_of_its_own() {
    let callers = Callers::new("all-unauthenticated").await;
    for kind in KINDS {
        for (name, value) in spoofed() {
            // Between proxies this one is theirs, and an application's own is replaced: see `requests`.
            if name == "l5d-orig-proto" {
                continue;
            }
            let mut client = callers.pair.client(kind).await;
            let req = client.request("/").header(name, &value).body(empty()).unwrap();
            let answer = client.send(req).await;
            assert!(answer.is_answered(), "{kind:?} {name}: {answer:?}");
            let seen = callers.pair.app.seen_once();
            assert_eq!(seen.header("l5d-client-id"), Some(identity("web").as_str()), "{kind:?} {name}");
            let twins = seen
                .headers
                .keys()
                .filter(|name| name.as_str().contains('_') && name.as_str().ends_with("id"));
            assert_eq!(twins.count(), 0, "{kind:?} {name}: {seen:?}");
            assert_eq!(seen.peer.ip(), callers.pair.bb.ip);
        }
    }
}

#[tokio::test]
async fn what_trailers_say_of_the_client_does_not_arrive() {
    let mut callers = Callers::new("all-unauthenticated").await;
    for kind in [Kind::Http2, Kind::Grpc] {
        for caller in [Caller::Identified(identity("web")), Caller::Plain] {
            let io = callers.connect(&caller, Spoken::Http(kind)).await;
            let mut client = Client::new(kind, io).await;
            let mut trailers = http::HeaderMap::new();
            for name in ["l5d-client-id", "l5d_client_id", "l5d-client_id", "x-trailer"] {
                trailers.insert(name, identity("boss").parse().unwrap());
            }
            let body = Full::new("body".into()).with_trailers(async move { Some(Ok(trailers)) });
            let req = client.request("/").method("POST").body(BodyExt::boxed(body)).unwrap();
            client.send(req).await.assert_answered();
            let seen = callers.pair.app.seen_once();
            let arrived = seen.trailers.unwrap();
            assert_eq!(arrived.keys().collect::<Vec<_>>(), ["x-trailer"], "{kind:?} {caller:?}");
            assert_eq!(seen.body, "body");
        }
    }
}
