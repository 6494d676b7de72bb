//! Namespaces joined by the router.

use crate::world::{ALICE, BOB, World, arrival, connect, listen};

use causeway::demo::network::NODE;

#[test]
fn pods_reach_each_other_with_their_own_addresses() {
    let Some(world) = World::new() else { return };
    let listener = listen(&world.bob, 8080);
    let arrival = arrival(&listener, connect(&world.alice, BOB, 8080));
    assert_eq!(arrival.from.ip(), ALICE);
}

#[test]
fn the_node_reaches_a_pod() {
    let Some(world) = World::new() else { return };
    let listener = listen(&world.bob, 4191);
    let arrival = arrival(&listener, connect(world.network.router(), BOB, 4191));
    assert_eq!(arrival.from.ip(), NODE);
}

#[test]
fn a_covered_file_is_covered_for_its_namespace_alone() {
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (below, above) = (folder.path().join("below"), folder.path().join("above"));
    std::fs::write(&below, "the machine's").unwrap();
    std::fs::write(&above, "the pod's").unwrap();
    world.alice.cover(below.clone(), above).unwrap();
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let path = below.clone();
    assert_eq!(world.alice.run(move || read(&path)).unwrap(), "the pod's");
    let path = below.clone();
    assert_eq!(world.bob.run(move || read(&path)).unwrap(), "the machine's");
    assert_eq!(read(&below), "the machine's");
}
