//! Destinations: what clients of `Get` are told, and when.

use std::collections::BTreeSet;

use super::*;

#[tokio::test]
async fn endpoints_follow_the_folder() {
    let world = World::of("east").await;
    let mut stream = world.endpoints(BB).await.unwrap();
    let first = added(&mut stream).await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].tls.as_ref().unwrap().id.to_string(), BB_ID);
    assert_eq!((first[0].addr.port(), first[0].inbound_port), (8080, Some(4143)));
    assert_eq!(first[0].labels["service"], "bb");

    world.guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 3");
    assert_eq!(added(&mut stream).await.len(), 2, "only what is new");
    world.guide.edit("east/02-bb.yaml", "replicas: 3", "replicas: 1");
    assert_eq!(removed(&mut stream).await.len(), 2);
}

#[tokio::test]
async fn a_set_that_moves_is_added_before_it_is_removed() {
    let world = World::of("east").await;
    let mut stream = world.endpoints(BB).await.unwrap();
    let before = added(&mut stream).await[0].addr;
    world.guide.edit("east/02-bb.yaml", "targetPort: 8080", "targetPort: 9090");
    let after = added(&mut stream).await[0].addr;
    assert_eq!((after.ip(), after.port()), (before.ip(), 9090));
    assert_eq!(removed(&mut stream).await, [before]);
}

#[tokio::test]
async fn an_empty_set_is_silent_until_it_is_not() {
    let world = World::of("east").await;
    world.guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 0");
    let mut snapshots = world.folder.snapshots();
    in_time(snapshots.wait_for(|s| s.pods().count() == 0)).await.unwrap();
    let mut stream = world.endpoints(BB).await.unwrap();
    world.guide.edit("east/02-bb.yaml", "replicas: 0", "replicas: 1");
    assert_eq!(added(&mut stream).await.len(), 1);
}

#[tokio::test]
async fn a_deleted_service_loses_its_endpoints_and_may_come_back() {
    let world = World::of("east").await;
    let mut stream = world.endpoints(BB).await.unwrap();
    let addr = added(&mut stream).await[0].addr;
    let text = world.guide.read("east/02-bb.yaml");
    let (deployment, _) = text.split_once("---").unwrap();
    world.guide.write("east/02-bb.yaml", deployment);
    assert_eq!(removed(&mut stream).await, [addr]);
    world.guide.write("east/02-bb.yaml", &text);
    assert_eq!(added(&mut stream).await[0].addr, addr);
}

const GATEWAY: &str = "spec:
  gatewayAddress: 10.0.0.9
  gatewayPort: '4143'
  gatewayIdentity: gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local
  selector: {matchLabels: {mirror.linkerd.io/exported: 'true'}}
";

#[tokio::test]
async fn a_label_switches_a_mirror_between_flat_and_gateway_without_a_gap() {
    let world = World::of("west").await;
    let _east = world.guide.open("east");
    world.guide.edit("west/02-link.yaml", "spec:\n", GATEWAY);
    let mut stream = world.endpoints("bb-target.mc-demo.svc.cluster.local:8080").await.unwrap();
    let pod = added(&mut stream).await.remove(0);
    let (flat, gateway) = ("exported: remote-discovery", "exported: 'true'");
    let cluster_ip = || world.folder.snapshots().borrow().service("mc-demo", "bb-target").unwrap().cluster_ip;
    let before = cluster_ip();
    for _ in 0..2 {
        world.guide.edit("east/02-bb.yaml", flat, gateway);
        let through = added(&mut stream).await.remove(0);
        assert_eq!(through.addr, "10.0.0.9:4143".parse().unwrap());
        assert_eq!(through.authority_override.unwrap().to_string(), BB);
        assert_eq!((through.inbound_port, through.labels["target_cluster"].as_str()), (None, "target"));
        assert!(through.tls.unwrap().id.to_string().starts_with("gateway."));
        assert_eq!(removed(&mut stream).await, [pod.addr]);
        assert_eq!(cluster_ip(), before);
        world.guide.edit("east/02-bb.yaml", gateway, flat);
        assert_eq!(added(&mut stream).await, std::slice::from_ref(&pod));
        assert_eq!(removed(&mut stream).await, [through.addr]);
    }
}

#[tokio::test]
async fn members_join_and_leave_a_federated_service_and_its_end_ends_the_stream() {
    let world = World::of("west").await;
    let _east = world.guide.open("east");
    let (flat, member) = ("exported: remote-discovery", "federated: member");
    world.guide.edit("east/02-bb.yaml", flat, member);
    let mut snapshots = world.folder.snapshots();
    in_time(snapshots.wait_for(|s| s.service("mc-demo", "bb-federated").is_some())).await.unwrap();
    let mut stream = world.endpoints("bb-federated.mc-demo.svc.cluster.local:8080").await.unwrap();
    let theirs = added(&mut stream).await;
    assert_eq!((theirs.len(), theirs[0].labels["service"].as_str()), (1, "bb"));

    world.guide.write("west/06-bb.yaml", &world.guide.read("east/02-bb.yaml"));
    let ours = added(&mut stream).await;
    assert_eq!(ours.len(), 1);
    assert_ne!(ours[0].addr, theirs[0].addr);
    world.guide.edit("west/06-bb.yaml", member, flat);
    assert_eq!(removed(&mut stream).await, [ours[0].addr]);

    world.guide.edit("east/02-bb.yaml", member, flat);
    assert!(in_time(stream.message()).await.unwrap().is_none(), "ended without an error");
}

#[tokio::test]
async fn a_mirror_gives_the_other_cluster_s_pods() {
    let world = World::of("west").await;
    let east = world.guide.open("east");
    let mut stream = world.endpoints("bb-target.mc-demo.svc.cluster.local:8080").await.unwrap();
    let endpoint = added(&mut stream).await.remove(0);
    let theirs = east.snapshots().borrow().pods().next().unwrap().ip;
    assert_eq!(Some(endpoint.addr.ip()), theirs);
    assert_eq!(endpoint.tls.unwrap().id.to_string(), BB_ID);
    assert_eq!(endpoint.labels["service"], "bb");
}

#[tokio::test]
async fn a_linked_folder_that_never_answers_holds_up_no_other_cluster() {
    let guide = Guide::new();
    std::fs::create_dir(guide.path("north")).unwrap();
    guide.write("north/01-namespace.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: mc-demo}\n");
    let link = guide.read("west/02-link.yaml").replace("target\n", "north\n").replace("../east", "../north");
    guide.write("west/04-north.yaml", &link);
    let _east = guide.open("east");
    let world = World::in_guide(guide, "west").await;
    let mut stream = world.endpoints("bb-target.mc-demo.svc.cluster.local:8080").await.unwrap();
    assert_eq!(added(&mut stream).await.len(), 1);
    // A pipe that nobody writes is no manifest, and is not waited for.
    let pipe = world.guide.path("north/02-pipe.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    world.guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 2");
    assert_eq!(added(&mut stream).await.len(), 1);
    let Some(dead) = DeadMount::over(world.guide.path("north")) else { return };
    let mut freshness = world.folder.freshness();
    let of_north = |is: bool| {
        move |fresh: &Freshness| {
            let stale = |name| fresh.linked[name].stale(tokio::time::Instant::now());
            stale("north") == is && !stale("target")
        }
    };
    in_time(freshness.wait_for(of_north(true))).await.unwrap();
    world.guide.edit("east/02-bb.yaml", "replicas: 2", "replicas: 3");
    assert_eq!(added(&mut stream).await.len(), 1, "the other linked cluster is followed");
    world.guide.edit("west/03-slow-cooker.yaml", "replicas: 1", "replicas: 2");
    let mut snapshots = world.folder.snapshots();
    in_time(snapshots.wait_for(|snapshot| snapshot.pods().count() == 3)).await.unwrap();
    let problems = world.folder.reports().borrow().linked.iter().map(ToString::to_string).collect::<String>();
    assert!(problems.contains("north: it does not answer"), "{problems}");
    drop(dead);
    in_time(freshness.wait_for(of_north(false))).await.unwrap();
}

#[tokio::test]
async fn new_pods_of_a_linked_cluster_take_the_place_of_the_old_ones_without_a_gap() {
    let world = World::of("west").await;
    let _east = world.guide.open("east");
    let mut stream = world.endpoints("bb-target.mc-demo.svc.cluster.local:8080").await.unwrap();
    let mut there: BTreeSet<SocketAddr> = added(&mut stream).await.iter().map(|one| one.addr).collect();
    for round in 1..=4 {
        let before = there.clone();
        let image = |version: u32| format!("bb:v0.0.{version}");
        world.guide.edit("east/02-bb.yaml", &image(5 + round), &image(6 + round));
        while !there.is_disjoint(&before) {
            match api::destination::update(next(&mut stream).await) {
                Some(EndpointUpdate::Add { endpoints, .. }) => {
                    there.extend(endpoints.iter().map(|one| one.addr))
                }
                Some(EndpointUpdate::Remove(gone)) => there.retain(|addr| !gone.contains(addr)),
                other => panic!("{other:?}"),
            }
            assert!(!there.is_empty(), "after change {round}");
        }
    }
}
