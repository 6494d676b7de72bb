//! Who is let in by what: every way to prove oneself against every way to be let in, in every protocol, under every
//! default policy (contract 4.3, 4.4).

use std::time::Duration;

use causeway::api::inbound::encode_server;
use causeway::model::WorkloadId;
use causeway::model::inbound::{Authentication, Authorization, IdentityMatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::callers::{Caller, Callers, Spoken};
use crate::client::{Client, Kind, pieces};
use crate::policies::{Speaks, authorization, everyone, identified, only_from, routed, server};
use crate::raw::read_until;
use crate::sandbox::{identity, until, within};

const URI: &str = "spiffe://cluster.local/ns/demo/sa/web";

fn ids(matches: Vec<IdentityMatch>) -> Authorization {
    authorization(Authentication::Identities(matches))
}

fn suffix(text: &str) -> Authorization {
    let labels = text.split('.').filter(|label| !label.is_empty()).map(str::to_owned);
    ids(vec![IdentityMatch::Suffix(labels.collect())])
}

/// An identity as policy derives it from an account.
fn account(name: &str, namespace: &str) -> Authorization {
    let id = WorkloadId::service_account(name, namespace, "linkerd", "cluster.local").unwrap();
    ids(vec![IdentityMatch::Exact(id)])
}

/// Names of what lets in, and whom: web, other, a name that differs in a dot, a URI, TLS without a certificate, plaintext.
type Case = (&'static str, Vec<Authorization>, [bool; 6]);

fn cases(from: &str) -> Vec<Case> {
    const NOBODY: [bool; 6] = [false; 6];
    const EVERYONE: [bool; 6] = [true; 6];
    let web = || identified(&[&identity("web")]);
    let only = |at: usize| std::array::from_fn(|n| n == at);
    let named = [true, true, true, false, false, false];
    let accounts = "serviceaccount.identity.linkerd.cluster.local";
    let here = format!("{from}/32");
    vec![
        ("nothing", vec![], NOBODY),
        ("everyone", vec![everyone()], EVERYONE),
        (
            "TLS",
            vec![authorization(Authentication::TlsUnauthenticated)],
            [true, true, true, true, true, false],
        ),
        ("the right identity", vec![web()], only(0)),
        ("another one", vec![identified(&[&identity("nobody")])], NOBODY),
        ("one of several", vec![identified(&[&identity("nobody"), &identity("other")])], only(1)),
        ("the second authorization", vec![identified(&[&identity("nobody")]), web()], only(0)),
        ("any name", vec![suffix("")], named),
        ("the account", vec![account("web", "demo")], only(0)),
        ("the account of another namespace", vec![account("web", "prod")], NOBODY),
        (
            "the namespace",
            vec![suffix(&format!("demo.{accounts}"))],
            [true, true, false, false, false, false],
        ),
        ("another namespace", vec![suffix(&format!("prod.{accounts}"))], NOBODY),
        ("part of a label", vec![suffix(&format!("emo.{accounts}"))], NOBODY),
        ("a suffix that is the whole name", vec![suffix(&identity("web"))], NOBODY),
        ("a URI", vec![identified(&[URI])], only(3)),
        ("a text that is no identity", vec![ids(vec![IdentityMatch::Never("web.".into())])], NOBODY),
        ("the network", vec![only_from(everyone(), "127.0.0.0/8", &[])], EVERYONE),
        (
            "the network but this",
            vec![only_from(everyone(), "127.0.0.0/8", std::slice::from_ref(&here))],
            NOBODY,
        ),
        ("another network", vec![only_from(everyone(), "10.0.0.0/8", &[])], NOBODY),
        ("network and identity", vec![only_from(web(), &here, &[])], only(0)),
        ("the identity from elsewhere", vec![only_from(web(), "10.0.0.0/8", &[])], NOBODY),
    ]
}

/// Every case in one protocol; what `bb` says of each is what it does.
async fn every_case(callers: &mut Callers, spoken: Spoken, speaks: Speaks) {
    let who = [
        Caller::Identified(identity("web")),
        Caller::Identified(identity("other")),
        Caller::Identified("webxdemo.serviceaccount.identity.linkerd.cluster.local".into()),
        Caller::Identified(URI.into()),
        Caller::Anonymous,
        Caller::Plain,
    ];
    for (case, authorizations, lets_in) in cases(&callers.from.to_string()) {
        callers.enforce(server(speaks, authorizations)).await;
        for (caller, let_in) in who.iter().zip(lets_in) {
            // On a port that is not examined, TLS is the application's.
            if matches!((caller, speaks), (Caller::Anonymous, Speaks::Opaque)) {
                continue;
            }
            callers.pair.app.seen();
            let status = callers.ask(caller, spoken, "/service/method").await;
            let wanted = match (let_in, spoken) {
                (true, _) => 200,
                (false, Spoken::Http(_)) => 403,
                (false, Spoken::Opaque) => 0,
            };
            assert_eq!(status, wanted, "{case}: {caller:?} in {spoken:?} at {speaks:?}");
            assert_eq!(callers.pair.app.seen().len(), usize::from(let_in), "{case}: {caller:?}");
            let said = callers.explain(caller, spoken, "/service/method").await;
            let said = &said[if spoken == Spoken::Opaque { "connection" } else { "request" }];
            assert_eq!(said["allowed"], let_in, "{case}: {caller:?}: {said:#}");
        }
    }
}

async fn under_default(default: &str, turn: usize) {
    let mut callers = Callers::new(default).await;
    let ports = [
        (Spoken::Http(Kind::Http1), [Speaks::Detected, Speaks::Http1]),
        (Spoken::Http(Kind::Http2), [Speaks::Http2, Speaks::Detected]),
        (Spoken::Http(Kind::Grpc), [Speaks::Detected, Speaks::Grpc]),
        (Spoken::Opaque, [Speaks::Opaque, Speaks::Tls]),
    ];
    for (spoken, speaks) in ports {
        every_case(&mut callers, spoken, speaks[turn % 2]).await;
    }
}

#[tokio::test]
async fn under_all_unauthenticated_each_is_let_in_by_what_names_it() {
    under_default("all-unauthenticated", 0).await;
}

#[tokio::test]
async fn under_all_authenticated_each_is_let_in_by_what_names_it() {
    under_default("all-authenticated", 1).await;
}

#[tokio::test]
async fn under_cluster_unauthenticated_each_is_let_in_by_what_names_it() {
    under_default("cluster-unauthenticated", 0).await;
}

#[tokio::test]
async fn under_cluster_authenticated_each_is_let_in_by_what_names_it() {
    under_default("cluster-authenticated", 1).await;
}

#[tokio::test]
async fn under_audit_each_is_let_in_by_what_names_it() {
    under_default("audit", 0).await;
}

#[tokio::test]
async fn under_deny_each_is_let_in_by_what_names_it() {
    under_default("deny", 1).await;
}

#[tokio::test]
async fn until_the_controller_speaks_the_default_holds_in_every_protocol() {
    let web = Caller::Identified(identity("web"));
    for (default, meshed, plain) in [
        ("all-unauthenticated", true, true),
        ("all-authenticated", true, false),
        ("cluster-unauthenticated", true, true),
        ("cluster-authenticated", true, false),
        ("audit", true, true),
        ("deny", false, false),
    ] {
        let mut callers = Callers::new(default).await;
        for kind in [Kind::Http1, Kind::Http2, Kind::Grpc] {
            let http = Spoken::Http(kind);
            let (no_route, denied) = if default == "deny" { (404, 0) } else { (403, 403) };
            let wanted = (if meshed { 200 } else { no_route }, if plain { 200 } else { denied });
            let asked = (callers.ask(&web, http, "/").await, callers.ask(&Caller::Plain, http, "/").await);
            assert_eq!(asked, wanted, "{default} {kind:?}");
        }
        let status = callers.ask(&web, Spoken::Opaque, "/").await;
        assert_eq!(status, if meshed { 200 } else { 0 }, "{default}, opaque");
    }
}

#[tokio::test]
async fn a_route_may_let_in_where_its_server_does_not() {
    let mut callers = Callers::new("all-unauthenticated").await;
    for (kind, speaks) in
        [(Kind::Http1, Speaks::Http1), (Kind::Http2, Speaks::Http2), (Kind::Grpc, Speaks::Detected)]
    {
        let policy = routed(speaks, vec![("/", vec![]), ("/public", vec![everyone()])], vec![]);
        callers.enforce(policy).await;
        for caller in [Caller::Identified(identity("web")), Caller::Anonymous, Caller::Plain] {
            for (path, status) in [("/public/x", 200), ("/", 403), ("/publics/x", 403), ("/public/../x", 403)]
            {
                assert_eq!(
                    callers.ask(&caller, Spoken::Http(kind), path).await,
                    status,
                    "{caller:?} {kind:?} {path}"
                );
            }
        }
        let opaque = callers.ask(&Caller::Identified(identity("web")), Spoken::Opaque, "/public/x").await;
        assert_eq!(opaque, 0, "a route is for requests alone");
    }
}

/// How long a change may take.
const SOON: Duration = Duration::from_secs(1);

/// A policy that comes, admits, is tightened, and is gone: whom it lets in, and whether `web` is one of them.
fn changes() -> [(Vec<Authorization>, bool); 4] {
    [
        (vec![], false),
        (vec![identified(&[&identity("web")])], true),
        (vec![identified(&[&identity("x")])], false),
        (vec![everyone()], true),
    ]
}

#[tokio::test]
async fn a_change_takes_effect_within_a_second_and_leaves_running_requests_alone() {
    for kind in [Kind::Http1, Kind::Http2, Kind::Grpc] {
        let mut callers = Callers::new("all-unauthenticated").await;
        let web = Caller::Identified(identity("web"));
        let io = callers.connect(&web, Spoken::Http(kind)).await;
        let mut client = Client::new(kind, io).await;
        let (tx, body) = pieces();
        tx.send("first".into()).await.unwrap();
        let req = client.request("/stream").method("POST").body(body).unwrap();
        let mut running = within("an answer", client.start(req)).await.unwrap().into_body();
        assert_eq!(piece(&mut running).await, "first");
        if kind == Kind::Http1 {
            // Its connection is taken.
            let io = callers.connect(&web, Spoken::Http(kind)).await;
            client = Client::new(kind, io).await;
        }
        for (authorizations, lets_in) in changes() {
            let wanted = if lets_in { 200 } else { 403 };
            callers.pair.admit(&server(Speaks::Detected, authorizations));
            let since = Instant::now();
            until("the change", async || crate::callers::status(kind, &client.get("/").await) == wanted)
                .await;
            assert!(since.elapsed() < SOON, "{kind:?}: {:?}", since.elapsed());
            tx.send("still here".into()).await.unwrap();
            assert_eq!(piece(&mut running).await, "still here");
        }
    }
}

async fn piece(body: &mut hyper::body::Incoming) -> bytes::Bytes {
    let frame = within("a piece", http_body_util::BodyExt::frame(body)).await;
    frame.unwrap().unwrap().into_data().unwrap()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: bb\r\n\r\n";

#[tokio::test]
async fn an_opaque_connection_ends_within_a_second_of_the_change() {
    let mut callers = Callers::new("all-unauthenticated").await;
    let denied = server(Speaks::Opaque, vec![identified(&[&identity("x")])]);
    for (caller, refused) in [
        (Caller::Identified(identity("web")), encode_server(&denied)),
        (Caller::Plain, encode_server(&denied)),
        // One that cannot be understood.
        (Caller::Identified(identity("web")), linkerd2_proxy_api::inbound::Server::default()),
    ] {
        callers.enforce(server(Speaks::Opaque, vec![everyone()])).await;
        let mut io = callers.connect(&caller, Spoken::Opaque).await;
        io.write_all(GET).await.unwrap();
        read_until(&mut io, "\r\n\r\n").await;
        let since = Instant::now();
        let port = callers.pair.bb.port(callers.pair.app.addr);
        callers.pair.world.script().ports.set(&port, refused);
        let end = within("the end", io.read(&mut [0; 1])).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
        assert_eq!(callers.ask(&caller, Spoken::Opaque, "/").await, 0, "nor is another let in");
    }
    let page = callers.metrics().await;
    let ended = |line: &str| line.starts_with("inbound_tcp_authz_terminate_total{");
    let ended = page.lines().filter(|line| ended(line)).map(|line| line.rsplit(' ').next().unwrap());
    assert_eq!(ended.map(|count| count.parse::<u32>().unwrap()).sum::<u32>(), 3, "{page}");
}

#[tokio::test]
async fn opaque_connections_are_let_in_as_soon_as_policy_says_so() {
    let mut callers = Callers::new("all-unauthenticated").await;
    let web = Caller::Identified(identity("web"));
    for (authorizations, lets_in) in changes() {
        callers.pair.admit(&server(Speaks::Opaque, authorizations));
        let since = Instant::now();
        let wanted = if lets_in { 200 } else { 0 };
        while callers.ask(&web, Spoken::Opaque, "/").await != wanted {
            assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
        }
    }
}
