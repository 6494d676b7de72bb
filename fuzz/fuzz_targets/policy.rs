//! What a controller sends becomes a policy or is refused; nobody is let in whom it does not name; and written again it
//! reads as the same.
#![no_main]

use causeway::api::inbound;
use causeway::authorize;
use causeway::model::inbound::InboundRoute;
use causeway::model::matching::Head;
use causeway::model::peer::NoTls;
use causeway::model::{Peer, ServerPolicy};
use http::Request;
use linkerd2_proxy_api::inbound::proxy_protocol::Kind;
use linkerd2_proxy_api::inbound::{self as pb, authn};
use prost::Message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(sent) = pb::Server::decode(bytes) else { return };
    let Ok(read) = inbound::server(sent.clone()) else { return };
    let written = inbound::encode_server(&read);
    let again = inbound::server(written.clone());
    assert_eq!(again.map(|again| inbound::encode_server(&again)), Ok(written));
    let routes = routes(&sent);
    every_condition_is_there(&sent, &routes, &read);
    let own = routes.iter().flat_map(|(own, _)| own.iter());
    if !sent.authorizations.iter().chain(own).any(is_for_everybody) {
        strangers_stay_outside(&read);
    }
});

/// The authorizations of a route, and the matches of each of its rules.
type Route = (Vec<pb::Authz>, Vec<usize>);

fn routes(sent: &pb::Server) -> Vec<Route> {
    let http = |routes: &[pb::HttpRoute]| {
        let matches = |r: &pb::HttpRoute| r.rules.iter().map(|rule| rule.matches.len()).collect();
        routes.iter().map(|r| (r.authorizations.clone(), matches(r))).collect()
    };
    match sent.protocol.as_ref().and_then(|protocol| protocol.kind.as_ref()) {
        Some(Kind::Detect(detect)) => http(&detect.http_routes),
        Some(Kind::Http1(http1)) => http(&http1.routes),
        Some(Kind::Http2(http2)) => http(&http2.routes),
        Some(Kind::Grpc(grpc)) => {
            let matches = |r: &pb::GrpcRoute| r.rules.iter().map(|rule| rule.matches.len()).collect();
            grpc.routes.iter().map(|r| (r.authorizations.clone(), matches(r))).collect()
        }
        Some(Kind::Opaque(_) | Kind::Tls(_)) | None => Vec::new(),
    }
}

/// A condition less would let more in.
fn every_condition_is_there(sent: &pb::Server, routes: &[Route], read: &ServerPolicy) {
    assert_eq!(read.authorizations.len(), sent.authorizations.len() + 1);
    assert_eq!(read.authorizations.last(), Some(&inbound::localhost()));
    for (sent, read) in sent.authorizations.iter().zip(&read.authorizations) {
        let excepted = |network: &pb::Network| network.except.len();
        assert!(sent.networks.iter().map(excepted).eq(read.networks.iter().map(|net| net.except.len())));
    }
    let Some(read_routes) = read.protocol.routes() else { return };
    assert_eq!(read_routes.len(), routes.len().max(1));
    for ((own, matches), InboundRoute { rules, authorizations, .. }) in routes.iter().zip(read_routes) {
        assert_eq!(authorizations.len(), own.len() + read.authorizations.len());
        assert!(matches.iter().copied().eq(rules.iter().map(|rule| rule.matches.len())));
    }
}

fn is_for_everybody(authorization: &pb::Authz) -> bool {
    let permit = authorization.authentication.as_ref().and_then(|authn| authn.permit.as_ref());
    matches!(permit, Some(authn::Permit::Unauthenticated(_)))
}

fn strangers_stay_outside(policy: &ServerPolicy) {
    let (stranger, plain) = ([192, 0, 2, 1].into(), Peer::Plaintext(NoTls::NoTlsFromRemote));
    assert!(authorize::tcp(policy, stranger, &plain).is_err());
    for method in ["GET", "POST"] {
        let req = Request::builder().method(method).uri("/s/m").body(()).expect("a request");
        assert!(authorize::http(policy, stranger, &plain, &Head::of(&req)).is_err());
    }
}
