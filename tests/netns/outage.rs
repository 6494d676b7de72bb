//! The control plane goes away and comes back: what was known goes on, what changes is followed.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::mesh::{HTTP, Mesh, OPAQUE, dial, echo, request, serve_echo, serve_http};

/// How long each control plane stays away.
const AWAY: Duration = Duration::from_secs(30);

/// Past the age at which an unused destination is forgotten (contract 3.2).
const IDLE: Duration = Duration::from_secs(10);

/// A change of a folder is followed within this time of its being written: two seconds at most, and what other tests on
/// the same cores add. With pauses that grow it would be half a minute.
const FOLLOWED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_a_control_plane_is_away_and_changes_are_followed_after() {
    let Some(mut mesh) = Mesh::start().await else { return };
    let _requests = serve_http(mesh.pod("bb"), HTTP, "first");
    let _pieces = serve_echo(mesh.pod("bb"), OPAQUE);
    let sink = mesh.service("west", "sink-target").await;
    mesh.world.await_traffic().await.unwrap();

    for cluster in ["east", "west"] {
        // Both destinations are known, and used by nobody, when the control plane goes.
        assert_eq!(ask(&mesh, sink), "first");
        echo(&mut dial(mesh.pod("slow-cooker"), sink, OPAQUE), "known");
        mesh.world.kill_control(cluster);
        let gone = Instant::now();
        tokio::time::sleep(IDLE).await;
        assert_eq!(ask(&mesh, sink), "first", "a new connection to a known service, {cluster} away");
        echo(&mut dial(mesh.pod("slow-cooker"), sink, OPAQUE), "known");
        tokio::time::sleep(AWAY.saturating_sub(gone.elapsed())).await;
        mesh.world.restart_control(cluster).unwrap();
        mesh.service(cluster, if cluster == "west" { "sink-target" } else { "sink" }).await;
    }
    let report = mesh.world.report("slow-cooker").await.unwrap();
    let good = report.with(200);
    assert!(good > 500, "{report:?}");
    assert!(report.total() == good, "a request failed: {report:?}");

    follows_changes(&mesh, sink).await;
}

async fn follows_changes(mesh: &Mesh, sink: IpAddr) {
    // An endpoint: the port of the pods behind the service.
    let _second = serve_http(mesh.pod("bb"), 9003, "second");
    mesh.edit("east", "90-sink.yaml", "targetPort: 9001", "targetPort: 9003");
    within("the new endpoint", || ask(mesh, sink) == "second").await;

    // A policy: the open connection that it no longer permits is closed, and new ones are refused.
    let mut open = dial(mesh.pod("slow-cooker"), sink, OPAQUE);
    echo(&mut open, "permitted");
    open.set_read_timeout(Some(FOLLOWED)).unwrap();
    mesh.edit("east", "90-sink.yaml", "'slow-cooker.mc-demo", "'somebody-else.mc-demo");
    assert_eq!(open.read(&mut [0; 8]).unwrap(), 0, "the connection stays open");
    let mut refused = dial(mesh.pod("slow-cooker"), sink, OPAQUE);
    let _ = refused.write_all(b"refused");
    assert_eq!(refused.read(&mut [0; 8]).unwrap_or(0), 0, "a new connection is served");

    // A label: the service is no longer exported, so its mirror goes.
    mesh.edit("east", "90-sink.yaml", "exported: remote-discovery", "exported: 'false'");
    let began = Instant::now();
    while mesh.cluster_ip("west", "sink-target").await.is_some() {
        assert!(began.elapsed() < FOLLOWED, "the mirror stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One request on a new connection; the answer's body.
fn ask(mesh: &Mesh, sink: IpAddr) -> String {
    let answer = request(mesh.pod("slow-cooker"), sink, HTTP, "", "");
    answer.rsplit("\r\n\r\n").next().unwrap().to_owned()
}

async fn within(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < FOLLOWED, "{what} was not followed within {FOLLOWED:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
