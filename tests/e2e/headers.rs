//! Headers of the mesh and of others, as applications at both ends see them (contract 3.13).

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use causeway::model::outbound::{Distribution, HttpRoute, HttpRule, OutboundProtocol};
use causeway::model::{Endpoint, Profile, ResourceRef};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

use crate::application::App;
use crate::client::{Client, Kind, empty};
use crate::every_kind;
use crate::pair::{BB, PROFILED, Pair};
use crate::policies::{add, balance, detect, forward, outbound};
use crate::sandbox::{Sandbox, service_addr};

const QUIET: (&str, &str) = ("LINKERD2_PROXY_OUTBOUND_DISABLE_INFORMATIONAL_HEADERS", "true");

/// What applications send of traces, and of the mesh's own what is nobody's business on the way.
const PASSED: [(&str, &str); 10] = [
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
    ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"),
    ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
    ("x-b3-spanid", "e457b5a2e4d86bd1"),
    ("x-b3-parentspanid", "05e3ac9a4f6e3b90"),
    ("x-b3-sampled", "1"),
    ("l5d-dst-override", "elsewhere.demo.svc.cluster.local:80"),
    ("l5d-remote-ip", "192.0.2.1"),
    ("l5d-server-id", "nobody"),
];

/// An application that answers with headers of the mesh, as a proxy would.
async fn mesh_app(pair: &Pair) -> App {
    App::serve(pair.bb.listen().await, |io, _, _| async move {
        let answer = service_fn(|req: Request<Incoming>| async move {
            let rsp = Response::builder().header("x-app", "bb").header("l5d-proxy-error", "of a peer");
            let rsp = match req.headers().get("content-type") {
                Some(kind) => rsp.header("content-type", kind).header("grpc-status", "0"),
                None => rsp,
            };
            let rsp = rsp.header("l5d-proxy-connection", "close").body(Full::new(Bytes::new()));
            Ok::<_, Infallible>(rsp.unwrap())
        });
        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), answer).await;
    })
}

every_kind! {
    async fn what_tells_of_traces_and_what_the_mesh_does_not_use_passes_as_it_is(kind: Kind) {
        let pair = Pair::with(Sandbox::new().await, &[PROFILED], &[]).await;
        let script = pair.world.script();
        script.profile(pair.service, &Profile::default());
        // By a rule that says more than where requests go,
        let (ruled, profiled) = (service_addr(), service_addr());
        let mut rule = HttpRule::new(vec![], Distribution::FirstAvailable(vec![balance(BB)]));
        rule.terms.timeouts.request = Some(Duration::from_secs(9));
        let routes = || vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule.clone()])].into();
        script.policy(ruled, &outbound(OutboundProtocol::Detect { http1: routes(), http2: routes(), opaque: vec![] }));
        script.profile(ruled, &Profile::default());
        // and by a profile.
        let mut profile = Profile { name: Some("bb.demo.svc.cluster.local".parse().unwrap()), ..Profile::default() };
        let to = causeway::model::service_profile::Override { authority: BB.parse().unwrap(), weight: 1 };
        profile.service.overrides = vec![to];
        script.policy(profiled, &detect(balance(BB)));
        script.profile(profiled, &profile);
        for target in [pair.service, ruled, profiled] {
            let mut client = Client::new(kind, pair.web.connect(target).await).await;
            let req = PASSED.iter().fold(client.request("/"), |req, (name, value)| req.header(*name, *value));
            client.send(req.body(empty()).unwrap()).await.assert_answered();
            let seen = pair.app.seen_once();
            for (name, value) in PASSED {
                let values: Vec<_> = seen.headers.get_all(name).iter().collect();
                assert_eq!(values, [value], "{name} at {target}");
            }
        }
    }

    async fn a_peer_s_word_on_its_connection_counts_where_that_is_the_only_one(kind: Kind) {
        let pair = Pair::new().await;
        let app = mesh_app(&pair).await;
        let script = pair.world.script();
        script.endpoints(BB, &add(vec![pair.bb.endpoint(app.addr)]));
        let mut client = pair.client(kind).await;
        // Of several endpoints, it is that one's own matter.
        for _ in 0..3 {
            let answer = client.get("/").await;
            answer.assert_answered();
            let headers = ["l5d-proxy-error", "l5d-proxy-connection", "connection"].map(|name| answer.header(name));
            assert_eq!(headers, [None; 3]);
        }
        for (endpoint, closes) in [(pair.bb.endpoint(app.addr), true), (Endpoint::plain(app.addr), false)] {
            let target = service_addr();
            script.policy(target, &detect(forward(endpoint)));
            let mut client = Client::new(kind, pair.web.connect(target).await).await;
            let answer = client.get("/").await;
            answer.assert_answered();
            assert_eq!((answer.header("l5d-proxy-error"), answer.header("l5d-proxy-connection")), (None, None));
            let told = (closes && kind == Kind::Http1).then_some("close");
            assert_eq!(answer.header("connection"), told);
            match closes {
                true => client.closed().await,
                false => client.get("/").await.assert_answered(),
            }
        }
    }

    async fn who_made_an_answer_is_told_unless_the_environment_says_otherwise(kind: Kind) {
        for (env, told) in [(&[][..], true), (&[QUIET][..], false)] {
            let pair = Pair::with(Sandbox::new().await, env, &[]).await;
            let target = service_addr();
            let none = || Vec::new().into();
            let protocol = OutboundProtocol::Detect { http1: none(), http2: none(), opaque: vec![] };
            pair.world.script().policy(target, &outbound(protocol));
            let answer = Client::new(kind, pair.web.connect(target).await).await.get("/").await;
            answer.assert_refused(kind, 404, "5");
            assert_eq!(answer.header("l5d-proxy-error").is_some(), told, "{answer:?}");
            assert_eq!(answer.header("grpc-message").is_some(), told && kind == Kind::Grpc);
        }
    }
}
