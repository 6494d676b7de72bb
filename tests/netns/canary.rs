//! What does somebody between the clusters see? Nothing of what the applications say.

use std::io::{Read as _, Write as _};

use crate::mesh::{self, HTTP, Mesh, OPAQUE, dial, request, serve_echo, serve_http};
use crate::wire::Capture;
use crate::world::{ALICE, BOB, World};

const IN_BODY: &str = "canary-in-a-body-5f1c";
const IN_HEADER: &str = "canary-in-a-header-9a7e";
const IN_STREAM: &str = "canary-in-a-stream-03d2";

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_reaches_the_far_application_and_is_never_on_the_wire() {
    let Some(mesh) = Mesh::start().await else { return };
    let requests = serve_http(mesh.pod("bb"), HTTP, "thanks");
    let pieces = serve_echo(mesh.pod("bb"), OPAQUE);
    let sink = mesh.service("west", "sink-target").await;
    let caller = mesh.pod("slow-cooker");
    let capture = Capture::start(mesh.world.network().router());

    let answer = request(caller, sink, HTTP, &format!("x-canary: {IN_HEADER}\r\n"), IN_BODY);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("thanks"), "{answer}");
    let mut stream = dial(caller, sink, OPAQUE);
    stream.write_all(IN_STREAM.as_bytes()).unwrap();
    let mut echo = vec![0; IN_STREAM.len()];
    stream.read_exact(&mut echo).unwrap();
    drop(stream);

    let request = requests.recv_timeout(mesh::DEADLINE).unwrap();
    assert!(request.contains(IN_HEADER) && request.contains(IN_BODY), "{request}");
    assert!(request.contains("l5d-client-id: slow-cooker.mc-demo."), "{request}");
    assert_eq!(pieces.recv_timeout(mesh::DEADLINE).unwrap(), IN_STREAM.as_bytes());
    assert_eq!(echo, IN_STREAM.as_bytes());

    // Traffic of the pods themselves never ends, so the capture is cut off, not waited for.
    let wire = capture.finish_within(std::time::Duration::from_secs(2));
    let bb = mesh.pod_ip("bb");
    assert!(wire.sent_to(bb, 4143) > 0, "nothing was sent to the proxy's port");
    assert_eq!(wire.sent_to(bb, HTTP) + wire.sent_to(bb, OPAQUE), 0, "something went past the proxies");
    for canary in [IN_BODY, IN_HEADER, IN_STREAM] {
        assert!(!wire.contain(canary), "{canary} was on the wire");
    }
}

/// The positive control: without a mesh the same capture holds every canary.
#[test]
fn without_a_mesh_the_same_canaries_are_on_the_wire() {
    let Some(world) = World::new() else { return };
    let requests = serve_http(&world.bob, HTTP, "thanks");
    let pieces = serve_echo(&world.bob, OPAQUE);
    let capture = Capture::start(world.network.router());
    request(&world.alice, BOB.into(), HTTP, &format!("x-canary: {IN_HEADER}\r\n"), IN_BODY);
    dial(&world.alice, BOB.into(), OPAQUE).write_all(IN_STREAM.as_bytes()).unwrap();
    requests.recv_timeout(mesh::DEADLINE).unwrap();
    pieces.recv_timeout(mesh::DEADLINE).unwrap();
    let wire = capture.finish();
    assert!(wire.sent_to(BOB, HTTP) > 0 && wire.sent_to(ALICE, 4143) == 0);
    for canary in [IN_BODY, IN_HEADER, IN_STREAM] {
        assert!(wire.contain(canary), "{canary} was not captured");
    }
}
