//! What is said of a decision.

use http::Request;

use super::*;
use crate::authorize::condition::Failed;
use crate::authorize::explain::{Explanation, Verdict};
use crate::model::matching::QueryMatch;

/// What is said of the only authorization of a connection's policy.
fn failed(authentication: Authentication, peer: &Peer) -> Option<(&'static str, String)> {
    let policy = of(ServerProtocol::Opaque, vec![authz("a", "10.0.0.0/8", authentication)]);
    let explained = explain::tcp(&policy, CLIENT, peer);
    let [tried] = explained.tried[..] else { panic!("one was tried: {explained:?}") };
    assert_eq!(explained.is_allowed(), tried.failed.is_none());
    tried.failed.map(|failed| (failed.name(), failed.to_string()))
}

#[test]
fn the_first_condition_that_fails_is_named() {
    let opaque = Peer::Plaintext(NoTls::PortSkipped);
    let elsewhere = Peer::Passthrough("api.example".parse().unwrap());
    let suffix = IdentityMatch::Suffix(vec!["ns".into(), "td".into()]);
    let wanted = || {
        let never = IdentityMatch::Never("a\nb".into());
        Authentication::Identities(vec![suffix.clone(), IdentityMatch::Suffix(Vec::new()), never])
    };
    for (authentication, peer, name, said) in [
        (only("boss.ns"), &PLAIN, "no-tls", "has its pod a proxy?"),
        (Authentication::TlsUnauthenticated, &PLAIN, "no-tls", "the client came in plaintext"),
        (only("boss.ns"), &opaque, "no-tls", "opaque port"),
        (only("boss.ns"), &elsewhere, "tls-for-another-name", "the client's TLS is for api.example"),
        (only("boss.ns"), &Peer::Anonymous, "no-certificate", "presented no certificate"),
        (
            only("boss.ns"),
            &identified("web.ns"),
            "identity",
            "web.ns is none of the identities that it lets in (boss.ns)",
        ),
        (wanted(), &identified("spiffe://td/web"), "identity", "(*.ns.td, *, a\\nb)"),
    ] {
        let (named, text) = failed(authentication, peer).unwrap();
        assert!(named == name && text.contains(said), "{named}: {text}");
    }
    assert_eq!(failed(Authentication::TlsUnauthenticated, &Peer::Anonymous), None);
    let policy = net_in_and_except();
    let said = |ip: &str| explain::tcp(&policy, ip.parse().unwrap(), &PLAIN).to_string();
    assert_eq!(
        said("11.0.0.1"),
        "no authorization of the server lets the client in: [default/net: 11.0.0.1 is in none of its networks (10.0.0.0/8)]"
    );
    assert_eq!(
        said("::ffff:10.9.0.1"),
        "no authorization of the server lets the client in: [default/net: 10.9.0.1 is in 10.0.0.0/8, but in 10.9.0.0/16 \
         too, which is excepted]"
    );
    assert_eq!(said("10.1.0.1"), "default/net lets the client in: [default/net: lets it in]");
}

fn explained<'p>(policy: &'p ServerPolicy, peer: &'p Peer, req: http::request::Builder) -> Explanation<'p> {
    let req = req.body(()).unwrap();
    explain::http(policy, CLIENT, peer, &Head::of(&req))
}

#[test]
fn requests_are_explained_as_they_were_read() {
    let policy = guarded();
    let at = |path: &str| explained(&policy, &PLAIN, Request::get(path));
    let plain = at("/admin");
    assert_eq!(plain.read_as, None);
    assert_eq!(plain.tried.len(), 1);
    assert!(matches!(plain.tried[0].failed, Some(Failed::Plaintext(NoTls::NoTlsFromRemote))));
    assert_eq!(at("/%61dmin").read_as.as_deref(), Some("\"/admin\""));
    assert_eq!(
        at("/").tried.iter().map(|tried| (tried.authz.name(), tried.failed)).collect::<Vec<_>>(),
        [("everyone", None)]
    );
    assert_eq!(
        at("/").to_string(),
        "default/everyone lets the client in, on default/open: [default/everyone: lets it in]"
    );
    assert!(at("/x/..//%61dmin").to_string().starts_with(
        "no authorization of default/admin lets the client in; it may be read as \"/admin\": [default/boss: it wants mutual TLS"
    ));
    assert!(at("/%2561%5c..//%253f;x/..%2f//./").to_string().contains("more ways than are judged"));

    let by_role = guarding(with_role(ValueMatch::Exact(b"admin".to_vec())));
    let read = |values: &[&str]| explained(&by_role, &PLAIN, roles(values)).read_as;
    assert_eq!(read(&["user, admin"]).as_deref(), Some("headers by what stands between commas"));
    assert_eq!(read(&["user", "admin"]), None, "as it came");
    let guest = policy_for_all(vec![vec![with_role(ValueMatch::Exact(b"guest".to_vec()))]]);
    let two = explained(&guest, &PLAIN, roles(&["guest", "ro\tot"]));
    assert_eq!(two.read_as.as_deref(), Some("x-role: \"ro\\tot\""));
    assert_eq!(two.verdict, Verdict::NoRoute { routes: vec![&name("all")] });
    let query = QueryMatch { name: "r".into(), value: ValueMatch::Exact(b"1".to_vec()) };
    let queried = policy_for_all(vec![vec![RequestMatch { query: vec![query], ..RequestMatch::default() }]]);
    assert_eq!(explained(&queried, &PLAIN, Request::get("/?r=1&r=2")).read_as.as_deref(), Some("?r=\"2\""));
}

#[test]
fn what_no_authorization_was_asked_about_is_explained_too() {
    let open = |protocol| of(protocol, vec![everyone()]);
    let opaque = open(ServerProtocol::Opaque);
    assert_eq!(
        explained(&opaque, &PLAIN, Request::get("/")).to_string(),
        "the policy of the port is not for HTTP"
    );
    let http = open(ServerProtocol::Http1(vec![route("a\"b", vec![under("/a")], Vec::new())]));
    let explained_tcp = explain::tcp(&http, CLIENT, &PLAIN);
    assert_eq!((explained_tcp.verdict.clone(), explained_tcp.tried.len()), (Verdict::HttpAlone, 0));
    assert_eq!(explained_tcp.to_string(), "the port is for HTTP alone");
    assert_eq!(
        explained(&http, &PLAIN, Request::get("/b")).to_string(),
        "no route takes the request (default/a\\\"b)"
    );
    assert_eq!(
        explained(&http, &PLAIN, Request::get("/a")).to_string(),
        "no authorization of default/a\\\"b lets the client in: there is none"
    );
}

#[test]
fn a_long_list_is_told_in_part() {
    let many = |count: usize| {
        let all = (0..count).map(|n| authz(&format!("n{n}"), "11.0.0.0/8", Authentication::Unauthenticated));
        of(ServerProtocol::Opaque, all.collect())
    };
    let said = |count| explain::tcp(&many(count), CLIENT, &PLAIN).to_string();
    assert!(
        said(8).ends_with("[default/n7: 10.1.0.7 is in none of its networks (11.0.0.0/8)]"),
        "{}",
        said(8)
    );
    assert!(said(10).ends_with(" and 2 more") && !said(10).contains("n8"), "{}", said(10));
}
