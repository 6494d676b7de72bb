//! What becomes of a linked cluster's folder: it is seen on the page of the other control plane, and no request fails.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use causeway::demo::node;
use causeway::viz::{control::Linked, scrape};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::mesh::{DEADLINE, HTTP, Mesh, OPAQUE, dial, echo, request, serve_echo, serve_http};

/// Staleness shows within this time.
const SHOWN: Duration = Duration::from_secs(5);

/// The guide's Link calls east so.
const EAST: &str = "target";

type Ruin = fn(&Path);

fn move_away(folder: &Path) {
    fs::rename(folder, folder.with_extension("gone")).unwrap();
}

const RUINS: [(&str, Ruin); 5] = [
    ("vanished", move_away),
    ("unreadable", |folder| {
        move_away(folder);
        // Not even root reads a link that leads to itself.
        std::os::unix::fs::symlink(folder, folder).unwrap();
    }),
    ("an empty mount point", |folder| {
        move_away(folder);
        fs::create_dir(folder).unwrap();
    }),
    ("nonsense", |folder| {
        copy(folder, &folder.with_extension("gone"));
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                fs::write(path, [0xff, 0, b'{', b'-', b'\n', b'[']).unwrap();
            }
        }
    }),
    ("half written", |folder| {
        copy(folder, &folder.with_extension("gone"));
        let path = folder.join("02-bb.yaml");
        let text = fs::read(&path).unwrap();
        fs::write(path, &text[..text.len() / 2]).unwrap();
    }),
];

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn mend(folder: &Path) {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(folder).unwrap(),
        Ok(_) => fs::remove_file(folder).unwrap(),
        Err(_) => {}
    }
    fs::rename(folder.with_extension("gone"), folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_whatever_becomes_of_a_linked_folder_and_its_staleness_shows() {
    let Some(mut mesh) = Mesh::start().await else { return };
    let _requests = serve_http(mesh.pod("bb"), HTTP, "good");
    let _pieces = serve_echo(mesh.pod("bb"), OPAQUE);
    let sink = mesh.service("west", "sink-target").await;
    mesh.world.await_traffic().await.unwrap();
    let mut open = dial(mesh.pod("slow-cooker"), sink, OPAQUE);
    let enough = AtomicBool::new(false);
    let asked = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask_until(&enough, &mesh, sink));
            let ruined =
                AssertUnwindSafe(|| Handle::current().block_on(ruin_and_mend(&mesh, sink, &mut open)));
            let ruined = std::panic::catch_unwind(ruined);
            enough.store(true, Relaxed);
            ruined.unwrap();
            asking.join().unwrap()
        })
    });
    println!("{asked} requests on connections of their own, none failed");
    assert!(asked > 100, "{asked}");
    let report = mesh.world.report("slow-cooker").await.unwrap();
    println!("{report:?}");
    let good = report.with(200);
    assert!(good > 30 && report.total() == good, "a request failed: {report:?}");
}

async fn ruin_and_mend(mesh: &Mesh, sink: IpAddr, open: &mut TcpStream) {
    let east = mesh.world.manifests("east");
    for (what, ruin) in RUINS {
        assert!(!stale(mesh, EAST).await, "before it is {what}");
        ruin(&east);
        let began = Instant::now();
        await_stale(mesh, true, what).await;
        println!("{what}: stale after {:?}", began.elapsed());
        assert!(!stale(mesh, "west").await, "{what}: the own cluster is well");
        echo(open, what);
        assert!(request(mesh.pod("slow-cooker"), sink, HTTP, "", "").ends_with("good"), "{what}");
        mend(&east);
        await_stale(mesh, false, what).await;
    }
}

/// Requests one after the other, each on a connection of its own; how many.
fn ask_until(enough: &AtomicBool, mesh: &Mesh, sink: IpAddr) -> usize {
    let mut asked = 0;
    while !enough.load(Relaxed) {
        let answer = request(mesh.pod("slow-cooker"), sink, HTTP, "", "");
        assert!(answer.ends_with("good"), "{answer}");
        asked += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    asked
}

async fn linked(mesh: &Mesh) -> Linked {
    let west = mesh.world.clusters().iter().find(|cluster| cluster.name() == "west").unwrap();
    let admin = SocketAddr::from((west.plan.control, 9999));
    let page = node::fetch(mesh.world.network().router(), admin, "/metrics", DEADLINE).await.unwrap();
    Linked::read(&scrape::parse(std::str::from_utf8(&page).unwrap()).unwrap())
}

async fn stale(mesh: &Mesh, cluster: &str) -> bool {
    linked(mesh).await.clusters[cluster].stale
}

async fn await_stale(mesh: &Mesh, wanted: bool, what: &str) {
    let began = Instant::now();
    while stale(mesh, EAST).await != wanted {
        assert!(began.elapsed() < SHOWN, "{what}: {:?}", linked(mesh).await.clusters);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
