//! Limits on how many may wait, for an endpoint and for an answer (contract 1.3, 4.6).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use crate::client::{Client, Kind};
use crate::every_kind;
use crate::pair::{BB, Pair};
use crate::policies::{add, none};
use crate::sandbox::{Sandbox, within};

/// While one request waits for its answer another is refused, and after it none is.
async fn waits_alone(pair: &Pair, kind: Kind) {
    let (mut first, mut second) = (pair.client(kind).await, pair.client(kind).await);
    let (held, ()) = tokio::join!(first.get("/held"), async {
        within("the first request", pair.app.state.held.notified()).await;
        second.get("/").await.assert_refused(kind, 503, "14");
        pair.app.state.release.notify_one();
    });
    held.assert_answered();
    pair.get(kind).await.assert_answered();
}

every_kind! {
    async fn no_more_outbound_requests_wait_for_answers_than_allowed(kind: Kind) {
        let limit = [("LINKERD2_PROXY_OUTBOUND_MAX_IN_FLIGHT", "1")];
        let pair = Pair::with(Sandbox::new().await, &limit, &[]).await;
        waits_alone(&pair, kind).await;
    }

    async fn no_more_inbound_requests_wait_for_answers_than_allowed(kind: Kind) {
        let limit = [("LINKERD2_PROXY_INBOUND_MAX_IN_FLIGHT", "1")];
        let pair = Pair::with(Sandbox::new().await, &[], &limit).await;
        waits_alone(&pair, kind).await;
    }

    async fn no_more_requests_wait_for_an_endpoint_than_the_queue_holds(kind: Kind) {
        let limit = [("LINKERD2_PROXY_OUTBOUND_HTTP_QUEUE_CAPACITY", "1")];
        let pair = Pair::with(Sandbox::new().await, &limit, &[]).await;
        pair.world.script().endpoints(BB, &none());
        let (mut first, mut second) = (pair.client(kind).await, pair.client(kind).await);
        let (waited, ()) = tokio::join!(first.get("/"), async {
            pair.world.script().endpoints.until_opened(BB, 1).await;
            let asked = Instant::now();
            second.get("/").await.assert_refused(kind, 503, "14");
            assert!(asked.elapsed() < Duration::from_secs(2), "refused without a wait");
            pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(pair.app.addr)]));
        });
        waited.assert_answered();
    }

    async fn all_who_wait_for_an_endpoint_fail_together(kind: Kind) {
        let failfast = [("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT", "2s")];
        let pair = Pair::with(Sandbox::new().await, &failfast, &[]).await;
        pair.world.script().endpoints(BB, &none());
        let (mut first, mut second) = (pair.client(kind).await, pair.client(kind).await);
        let (first, later) = tokio::join!(first.get("/"), async {
            pair.world.script().endpoints.until_opened(BB, 1).await;
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            let asked = Instant::now();
            second.get("/").await.assert_refused(kind, 504, "4");
            asked.elapsed()
        });
        first.assert_refused(kind, 504, "4");
        assert!(later < Duration::from_millis(1_700), "{later:?}: the backend has had its two seconds");
    }

    async fn no_more_requests_wait_for_the_application_than_the_queue_holds(kind: Kind) {
        let limit = [
            ("LINKERD2_PROXY_INBOUND_HTTP_QUEUE_CAPACITY", "1"),
            ("LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", "2s"),
        ];
        let pair = Pair::with(Sandbox::new().await, &[], &limit).await;
        // An application whose port takes no connection: its queue is full.
        let full = FullPort::new(pair.bb.ip).await;
        pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(full.addr)]));
        let (mut first, mut second) = (pair.client(kind).await, pair.client(kind).await);
        let ask = async |client: &mut Client| {
            let answer = client.get("/").await;
            (answer, Instant::now())
        };
        // Whichever is there first waits.
        let mut answers: [_; 2] = tokio::join!(ask(&mut first), ask(&mut second)).into();
        answers.sort_by_key(|(_, when)| *when);
        let [refused, waited] = answers;
        refused.0.assert_refused(kind, 503, "14");
        waited.0.assert_refused(kind, 504, "4");
        // The one that waits began up to two seconds earlier where the machine is busy.
        assert!(waited.1 - refused.1 > Duration::from_millis(50), "refused without a wait");
    }

    async fn an_application_that_takes_no_connection_in_time_is_504(kind: Kind) {
        let pair = Pair::new().await;
        let full = FullPort::new(pair.bb.ip).await;
        pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(full.addr)]));
        let answer = pair.get(kind).await;
        answer.assert_refused(kind, 504, "4");
        assert_eq!(answer.header("causeway-reason"), Some("connect-timeout"));
    }
}

/// A port whose backlog is full, so that a connection to it is neither made nor refused.
struct FullPort {
    addr: SocketAddr,
    _listener: Socket,
    _queued: Vec<tokio::net::TcpStream>,
}

impl FullPort {
    async fn new(ip: IpAddr) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::new(ip, 0).into()).unwrap();
        listener.listen(0).unwrap();
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        let soon = Duration::from_millis(200);
        while let Ok(io) = tokio::time::timeout(soon, tokio::net::TcpStream::connect(addr)).await {
            queued.push(io.unwrap());
        }
        Self { addr, _listener: listener, _queued: queued }
    }
}
