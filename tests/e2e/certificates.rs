//! Whom a certificate lets in, whatever it looks like: refused or accepted as contract 2.2 says, and the application sees
//! nothing of the refused.

use std::time::{Duration, SystemTime};

use causeway::model::endpoint::EndpointTls;
use causeway::tls::testing::{Issued, San, TestCa};
use causeway::tls::{self, CredentialStore};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;

use crate::log::Log;
use crate::metrics::page;
use crate::pair::Pair;
use crate::policies::{Speaks, identified, server};
use crate::sandbox::{identity, within};

const DAY: Duration = Duration::from_secs(86_400);

/// What becomes of a client with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is not even told who else could come.
    NoHandshake,
    /// It is in the mesh, and not who is authorized.
    Denied,
    /// The application is told that it is `web`.
    Web,
}

struct Case {
    what: &'static str,
    issued: Issued,
    outcome: Outcome,
    /// What the operator reads of a refused one.
    why: &'static str,
}

fn cases(ca: &TestCa) -> Vec<Case> {
    use Outcome::*;
    let (web, now) = (identity("web"), SystemTime::now());
    let (nul, dotted, capital) = (format!("{web}\0.evil.example"), format!("{web}."), web.to_uppercase());
    let wildcard = web.replacen("web.", "*.", 1);
    let (api, uri) = (identity("api"), format!("spiffe://{web}"));
    let leaf = |names: &[San<'_>]| ca.leaf(names);
    let dns = |name| leaf(&[San::Dns(name)]);
    let case = |what, issued, outcome, why| Case { what, issued, outcome, why };
    let (is_another, is_nobody) =
        ("none of the identities", "presented no certificate, or one that names nobody");
    vec![
        case("as it should be", dns(&web), Web, ""),
        case(
            "expired",
            ca.leaf_between(&[San::Dns(&web)], now - 2 * DAY, now - DAY),
            NoHandshake,
            "certificate expired",
        ),
        case(
            "not yet valid",
            ca.leaf_between(&[San::Dns(&web)], now + DAY, now + 2 * DAY),
            NoHandshake,
            "certificate not valid yet",
        ),
        case(
            "another anchor of the same name",
            TestCa::new("sandbox").leaf(&[San::Dns(&web)]),
            NoHandshake,
            "not trusted: BadSignature",
        ),
        case(
            "another anchor of another name",
            TestCa::new("other").leaf(&[San::Dns(&web)]),
            NoHandshake,
            "not trusted: UnknownIssuer",
        ),
        case("another name", dns(&api), Denied, is_another),
        case("the common name alone", ca.common_name_leaf(&web), Denied, is_nobody),
        case("a NUL in the name", dns(&nul), Denied, is_nobody),
        case("a wildcard", dns(&wildcard), Denied, is_nobody),
        case("capital letters", dns(&capital), Web, ""),
        case("a trailing dot", dns(&dotted), Denied, is_nobody),
        case("a URI that holds the name", leaf(&[San::Uri(&uri)]), Denied, is_another),
        case("a DNS entry that holds a URI, then the name", leaf(&[San::Dns(&uri), San::Dns(&web)]), Web, ""),
        case("two names, the first is authorized", leaf(&[San::Dns(&web), San::Dns(&api)]), Web, ""),
        case(
            "two names, the second is authorized",
            leaf(&[San::Dns(&api), San::Dns(&web)]),
            Denied,
            is_another,
        ),
        case("15 more intermediates of the issuer's name", ca.leaf_among(&[San::Dns(&web)], 15), Web, ""),
        case(
            "100 intermediates of the issuer's name",
            ca.leaf_among(&[San::Dns(&web)], 99),
            NoHandshake,
            "TooMany(100)",
        ),
        case(
            "1,000 intermediates",
            ca.leaf_among(&[San::Dns(&web)], 999),
            NoHandshake,
            "HandshakePayloadTooLarge",
        ),
    ]
}

/// The status that a client with this certificate gets, if any.
async fn ask(pair: &Pair, issued: Issued) -> Option<u16> {
    let store = CredentialStore::new(identity("web").parse().unwrap(), pair.world.ca.anchors());
    store.force(std::iter::once(issued.leaf).chain(issued.intermediates).collect(), &issued.key);
    let expect = EndpointTls { id: pair.bb.id.parse().unwrap(), server_name: pair.bb.id.parse().unwrap() };
    let io = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
    let io = tls::client::connect(&store, io, &expect, tls::Offer::Nothing).await.ok()?.stream;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.ok()?;
    tokio::spawn(driver);
    let req = http::Request::get("/").header("host", "bb").body(Empty::<bytes::Bytes>::new()).unwrap();
    within("an answer or the end", sender.send_request(req)).await.ok().map(|rsp| rsp.status().as_u16())
}

/// How often the pod has counted this.
async fn counted(pair: &Pair, line: &str) -> u64 {
    let page = page(&pair.bb).await;
    let line = page.lines().find_map(|found| found.strip_prefix(line));
    line.map_or(0, |count| count.trim().parse().unwrap())
}

#[tokio::test]
async fn each_certificate_is_refused_or_accepted_as_the_contract_says() {
    let log = Log::listen();
    let pair = Pair::new().await;
    pair.admit(&server(Speaks::Detected, vec![identified(&[&identity("web")])]));
    // Policy reaches the pod first.
    crate::sandbox::until("others are denied", async || {
        ask(&pair, pair.world.ca.leaf(&[San::Dns(&identity("api"))])).await == Some(403)
    })
    .await;
    let _ = pair.app.seen();
    let refused = r#"causeway_faults_total{direction="inbound",reason="handshake-failed"}"#;
    for Case { what, issued, outcome, why } in cases(&pair.world.ca) {
        let (before, connections) = (counted(&pair, refused).await, pair.app.connections());
        let status = ask(&pair, issued).await;
        let seen = pair.app.seen();
        let found = match status {
            None => Outcome::NoHandshake,
            Some(403) => Outcome::Denied,
            Some(200) => Outcome::Web,
            other => panic!("{what}: {other:?}"),
        };
        assert_eq!(found, outcome, "{what}");
        let failed = u64::from(outcome == Outcome::NoHandshake);
        crate::sandbox::until(what, async || counted(&pair, refused).await == before + failed).await;
        let reason = if failed == 1 { "handshake-failed" } else { "denied" };
        let told = || log.last().contains(why) && log.last().contains(reason);
        crate::sandbox::until(what, async || outcome == Outcome::Web || told()).await;
        if outcome == Outcome::Web {
            assert_eq!(seen.len(), 1, "{what}");
            assert_eq!(seen[0].header("l5d-client-id"), Some(identity("web").as_str()), "{what}");
        } else {
            assert_eq!((seen.len(), pair.app.connections()), (0, connections), "{what}: nothing is seen");
        }
    }
}
