//! Which of a controller's replicas is asked, as names lead elsewhere and replicas end.

use super::*;
use crate::controller::resolve;

async fn two(ca: &TestCa) -> Vec<Server> {
    let start = || Server::start("127.0.0.1:0", Some(ca.store(CONTROL)));
    vec![start().await, start().await]
}

async fn watch(controller: &Controller) -> Answer {
    let req = Request::get(WATCH).body(Body::empty()).unwrap();
    let rsp = timeout(LIMIT, controller.clone().call(req)).await.expect("an answer in time");
    rsp.unwrap().into_body()
}

/// Whether a watch goes on.
async fn says(stream: &mut Answer) -> bool {
    let frame = timeout(LIMIT, stream.frame()).await.expect("a word or an end in time");
    frame.is_some_and(|frame| frame.is_ok())
}

/// What a fake controller has been asked by now.
fn requests(server: &mut Server) -> usize {
    std::iter::from_fn(|| server.seen.try_recv().ok()).filter(|seen| matches!(seen, Seen::Request(_))).count()
}

#[tokio::test]
async fn requests_are_spread_over_the_replicas_and_all_go_to_the_one_that_is_left() {
    let ca = TestCa::new("root");
    let mut servers = two(&ca).await;
    let addrs: Vec<_> = servers.iter().map(|server| server.addr).collect();
    let (controller, _) = named(&addrs, &ca.store(WEB));
    let mut watches = futures_util::future::join_all((0..40).map(|_| watch(&controller))).await;
    for stream in &mut watches {
        assert!(says(stream).await);
    }
    let seen: Vec<_> = servers.iter_mut().map(requests).collect();
    assert_eq!(seen.iter().sum::<usize>(), 40);
    assert!(seen.iter().all(|count| *count >= 10), "{seen:?}");

    // Half of the watches end; those who held them ask again, and are answered by the other replica.
    servers.remove(0);
    let until = Instant::now() + SOON;
    let ended = futures_util::future::join_all(watches.iter_mut().map(async |stream| {
        while let Ok(goes_on) = tokio::time::timeout_at(until, says(stream)).await {
            if !goes_on {
                *stream = watch(&controller).await;
                return usize::from(says(stream).await);
            }
        }
        0
    }));
    let ended: usize = ended.await.iter().sum();
    assert_eq!(ended, seen[0]);
    assert_eq!(requests(&mut servers[0]), ended);
    assert!(until.elapsed() < Duration::from_secs(5), "{:?}", until.elapsed());
}

#[tokio::test]
async fn a_replica_that_is_gone_from_dns_finishes_its_watches_and_gets_no_more() {
    let ca = TestCa::new("root");
    let mut old = Server::start("127.0.0.1:0", Some(ca.store(CONTROL))).await;
    let mut new = Server::start("127.0.0.1:0", Some(ca.store(CONTROL))).await;
    let (controller, names) = named(&[old.addr], &ca.store(WEB));
    let mut running = watch(&controller).await;
    assert!(says(&mut running).await);
    names.set(HOST.parse().unwrap(), &[new.addr]);
    timeout(LIMIT, async {
        while controller.0.addrs() != [new.addr] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("asked again when the answer no longer holds");
    assert_eq!(requests(&mut old), 1);
    for _ in 0..10 {
        ask(&controller).await.unwrap();
        assert!(says(&mut running).await, "the watch of before goes on");
    }
    assert_eq!((requests(&mut old), requests(&mut new)), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_resolved_again_when_its_answer_no_longer_holds_and_kept_when_it_cannot_be() {
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let (controller, names) = named(&[at(1), at(2)], &TestCa::new("root").store(WEB));
    let passes = |seconds| tokio::time::sleep(Duration::from_secs_f32(seconds));
    controller.0.addrs();
    passes(0.1).await;
    assert_eq!(controller.0.addrs(), [at(1), at(2)]);
    names.set(HOST.parse().unwrap(), &[at(2), at(3)]);
    passes(4.8).await;
    assert_eq!(controller.0.addrs(), [at(1), at(2)], "five seconds at least");
    passes(0.2).await;
    assert_eq!(controller.0.addrs(), [at(2), at(3)]);
    names.set(HOST.parse().unwrap(), &[]);
    passes(600.0).await;
    assert_eq!(controller.0.addrs(), [at(2), at(3)]);
    names.set(HOST.parse().unwrap(), &[at(4)]);
    passes(1.0).await;
    assert_eq!(controller.0.addrs(), [at(4)]);
}

#[tokio::test]
async fn service_records_lead_to_every_replica_at_its_own_port() {
    let ca = TestCa::new("root");
    let mut servers = two(&ca).await;
    let records = servers.iter().map(|server| resolve::tests::replica(HOST, server.addr)).collect();
    let dns = resolve::tests::server(HOST, records, 30).await;
    // Nothing listens at the configured port.
    let controller = Controller::new(config(HOST, 1), dns, ca.store(WEB)).unwrap();
    let asked = (0..20).map(|_| async { ask(&controller).await.unwrap() });
    drop(futures_util::future::join_all(asked).await);
    let seen: Vec<_> = servers.iter_mut().map(requests).collect();
    assert_eq!(seen.iter().sum::<usize>(), 20);
    assert!(seen.iter().all(|count| *count >= 5), "{seen:?}");
}
