use std::fs;

use tokio::time::timeout;

use crate::control::index::{Context, ObjectName};
use crate::control::testing::Guide;

use super::*;

const TARGET: &str = "bb-target.mc-demo.svc.cluster.local:8080";

fn endpoints(snapshot: &Snapshot) -> usize {
    snapshot.destination(TARGET, &Context::default()).map_or(0, |set| set.endpoints.len())
}

async fn until<T>(receiver: &mut watch::Receiver<Arc<T>>, holds: impl Fn(&T) -> bool) -> Arc<T> {
    let found = timeout(Duration::from_secs(10), receiver.wait_for(|value| holds(value))).await;
    found.expect("in time").expect("the folder is followed").clone()
}

#[tokio::test]
async fn a_mirror_follows_the_other_folder_and_its_addresses() {
    let guide = Guide::new();
    let west = guide.open("west");
    let mut snapshots = west.snapshots();
    assert_eq!(endpoints(&snapshots.borrow()), 0, "nobody has given addresses in east yet");
    let _east = guide.open("east");
    until(&mut snapshots, |snapshot| endpoints(snapshot) == 1).await;
    guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 3");
    until(&mut snapshots, |snapshot| endpoints(snapshot) == 3).await;
    guide.edit("east/02-bb.yaml", "    mirror.linkerd.io/exported: remote-discovery\n", "    a: b\n");
    until(&mut snapshots, |snapshot| snapshot.service("mc-demo", "bb-target").is_none()).await;
}

#[tokio::test]
async fn a_broken_document_is_reported_and_changes_nothing() {
    let guide = Guide::new();
    let east = guide.open("east");
    let (mut snapshots, mut reports) = (east.snapshots(), east.reports());
    let before = snapshots.borrow_and_update().clone();
    guide.edit("east/03-policy.yaml", "port: 8080", "port: [8080");
    let second = guide.path("east").join("09-more.yaml");
    fs::write(&second, "apiVersion: v1\nkind: Namespace\nmetadata: {name: new}\n").unwrap();
    let report = until(&mut reports, |report| !report.problems.is_empty()).await;
    assert!(report.problems[0].to_string().contains("03-policy.yaml:"), "{report:?}");
    assert!(Arc::ptr_eq(&before, &snapshots.borrow()), "the whole folder is as it was");
    guide.edit("east/03-policy.yaml", "port: [8080", "port: 8080");
    until(&mut reports, |report| report.problems.is_empty()).await;
    until(&mut snapshots, |snapshot| snapshot.has_service_account("new", "default")).await;
}

#[tokio::test]
async fn a_file_that_is_emptied_to_be_written_changes_nothing_until_it_is() {
    let guide = Guide::new();
    let east = guide.open("east");
    let (mut snapshots, mut reports) = (east.snapshots(), east.reports());
    let before = snapshots.borrow_and_update().clone();
    let path = guide.path("east").join("02-bb.yaml");
    let text = fs::read_to_string(&path).unwrap();
    for _ in 0..2 {
        fs::write(&path, "").unwrap();
        let report = until(&mut reports, |report| !report.problems.is_empty()).await;
        assert!(
            report.problems[0].to_string().contains("02-bb.yaml:1:1: the file has been emptied"),
            "{report:?}"
        );
    }
    assert!(Arc::ptr_eq(&before, &snapshots.borrow()), "the whole folder is as it was");
    fs::write(&path, text.replace("replicas: 1", "replicas: 2")).unwrap();
    until(&mut reports, |report| report.problems.is_empty()).await;
    let pods = before.pods().count();
    until(&mut snapshots, |snapshot| snapshot.pods().count() == pods + 1).await;
    fs::remove_file(&path).unwrap();
    until(&mut snapshots, |snapshot| snapshot.pods().count() == pods - 1).await;
}

#[tokio::test]
async fn a_broken_or_vanished_linked_folder_keeps_its_last_good_content() {
    let guide = Guide::new();
    let east = guide.open("east");
    let west = guide.open("west");
    let (mut snapshots, mut reports) = (west.snapshots(), west.reports());
    assert_eq!(endpoints(&snapshots.borrow_and_update()), 1);
    drop(east);
    guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: {");
    let report = until(&mut reports, |report| !report.linked.is_empty()).await;
    assert!(report.problems.is_empty() && report.linked[0].to_string().contains("02-bb.yaml"), "{report:?}");
    fs::rename(guide.path("east"), guide.path("gone")).unwrap();
    let nowhere = |report: &Report| report.linked.iter().any(|p| p.message.contains("points nowhere"));
    until(&mut reports, nowhere).await;
    assert_eq!(endpoints(&snapshots.borrow()), 1);
    guide.edit("west/03-slow-cooker.yaml", "replicas: 1", "replicas: 2");
    let changed = until(&mut snapshots, |snapshot| snapshot.pods().count() == 3).await;
    assert_eq!(endpoints(&changed), 1, "own changes go on, the mirror stays");
}

#[test]
fn addresses_are_the_same_after_a_restart() {
    let guide = Guide::new();
    let ips = |folder: &Folder| {
        let snapshot = folder.snapshots().borrow().clone();
        let pods: Vec<_> = snapshot.pods().map(|pod| pod.ip).collect();
        (pods, snapshot.service("mc-demo", "bb").unwrap().cluster_ip)
    };
    let first = ips(&guide.open("east"));
    let (_, snapshot) = look(&guide.path("east"), &Guide::settings("east")).unwrap();
    assert_eq!(first.1, snapshot.unwrap().service("mc-demo", "bb").unwrap().cluster_ip);
    // An address that only memory can explain comes back too.
    let store = guide.path("east").join(ALLOCATIONS);
    let (bb, other) = (first.1.unwrap().to_string(), "10.43.200.200");
    fs::write(&store, fs::read_to_string(&store).unwrap().replace(&bb, other)).unwrap();
    assert_eq!(ips(&guide.open("east")).1, Some(other.parse().unwrap()));
    // And without memory the names alone decide.
    fs::remove_file(&store).unwrap();
    assert_eq!(ips(&guide.open("east")), first);
}

async fn until_file(path: &Path, text: &str) {
    let found = async {
        while fs::read_to_string(path).ok().as_deref() != Some(text) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), found)
        .await
        .unwrap_or_else(|_| panic!("{} is not {text}", path.display()));
}

#[tokio::test]
async fn addresses_that_are_lost_or_overwritten_are_written_again() {
    let guide = Guide::new();
    let east = guide.open("east");
    let store = guide.path("east").join(ALLOCATIONS);
    let text = fs::read_to_string(&store).unwrap();
    fs::remove_file(&store).unwrap();
    until_file(&store, &text).await;
    fs::write(&store, "{}").unwrap();
    until_file(&store, &text).await;
    // Where that cannot be it is said, and done as soon as it can.
    let hindrance = guide.path("east").join(format!("{ALLOCATIONS}.new"));
    fs::create_dir(&hindrance).unwrap();
    fs::remove_file(&store).unwrap();
    let mut reports = east.reports();
    let told = |report: &Report| report.all_problems().any(|p| p.message.contains("cannot be remembered"));
    let report = until(&mut reports, told).await;
    assert!(report.problems.is_empty() && report.notes.is_empty(), "told once, and no hindrance: {report:?}");
    fs::remove_dir(&hindrance).unwrap();
    until_file(&store, &text).await;
    until(&mut reports, |report| !told(report)).await;
}

#[tokio::test]
async fn a_folder_that_is_swapped_for_a_new_release_gets_the_addresses_and_stays_ours() {
    let guide = Guide::new();
    let (live, next) = (guide.path("live"), guide.path("next"));
    std::os::unix::fs::symlink("east", &live).unwrap();
    let east = Folder::open(&live, &Guide::settings("east")).unwrap();
    let text = fs::read_to_string(guide.path("east").join(ALLOCATIONS)).unwrap();
    fs::create_dir(guide.path("release")).unwrap();
    for entry in fs::read_dir(guide.path("east")).unwrap().map(Result::unwrap) {
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            fs::copy(entry.path(), guide.path("release").join(entry.file_name())).unwrap();
        }
    }
    std::os::unix::fs::symlink("release", &next).unwrap();
    fs::rename(next, live).unwrap();
    until_file(&guide.path("release").join(ALLOCATIONS), &text).await;
    assert!(matches!(Lock::take(&guide.path("release")), Err(Unusable::Taken { .. })));
    drop(east);
    Lock::take(&guide.path("release")).unwrap();
}

#[test]
fn a_folder_that_is_wrong_from_the_start_is_refused_with_everything_found() {
    let guide = Guide::new();
    guide.edit("east/03-policy.yaml", "    name: bb\n", "    name: no\n");
    guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: many");
    let Err(Unusable::Problems(report)) = Folder::open(&guide.path("east"), &Guide::settings("east")) else {
        panic!("it must not start");
    };
    assert_eq!(report.problems.len(), 2, "{report:?}");
    assert!(!guide.path("east").join(ALLOCATIONS).exists());
    let missing = Folder::open(&guide.path("none"), &Guide::settings("east"));
    assert!(matches!(missing, Err(Unusable::Folder { .. })));
    let told = format!("{:#}", anyhow::Error::from(missing.unwrap_err()));
    assert_eq!(told.matches("os error").count(), 1, "{told}");
}

#[test]
fn hidden_and_other_files_are_ignored() {
    let guide = Guide::new();
    for name in [".hidden.yaml", "notes.txt", "02-bb.yaml~"] {
        fs::write(guide.path("east").join(name), "not: [yaml").unwrap();
    }
    let (report, snapshot) = look(&guide.path("east"), &Guide::settings("east")).unwrap();
    assert_eq!((report.problems.len(), report.files, report.documents), (0, 3, 6));
    assert!(snapshot.is_some());
}

#[tokio::test]
async fn a_link_that_leads_nowhere_or_in_a_circle_is_a_file_that_cannot_be_read() {
    let guide = Guide::new();
    let east = guide.open("east");
    let (mut snapshots, mut reports) = (east.snapshots(), east.reports());
    let before = snapshots.borrow_and_update().clone();
    let path = guide.path("east").join("02-bb.yaml");
    let kept = guide.path("kept.yaml");
    fs::rename(&path, &kept).unwrap();
    for target in ["../away.yaml", "02-bb.yaml"] {
        let new = guide.path("east").join(".new");
        std::os::unix::fs::symlink(target, &new).unwrap();
        fs::rename(&new, &path).unwrap();
        let found = |report: &Report| report.problems.iter().any(|p| p.message.contains(target));
        let report = until(&mut reports, found).await;
        let told = report.problems[0].to_string();
        assert!(report.problems.len() == 1 && told.contains("east/02-bb.yaml:1:1: "), "{told}");
        assert_eq!(report.files, 3, "the other files are read");
        assert!(Arc::ptr_eq(&before, &snapshots.borrow()), "the last good state stays");
    }
    // Other files are judged as ever.
    guide.edit("east/03-policy.yaml", "port: 8080", "port: [8080");
    let wrong = |report: &Report| report.problems.iter().any(|p| p.to_string().contains("03-policy.yaml"));
    until(&mut reports, wrong).await;
    guide.edit("east/03-policy.yaml", "port: [8080", "port: 8080");
    fs::remove_file(&path).unwrap();
    fs::rename(&kept, &path).unwrap();
    until(&mut reports, |report| report.problems.is_empty()).await;
    // One that leads nowhere and is deleted is deleted.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("../away.yaml", &path).unwrap();
    until(&mut reports, |report| !report.problems.is_empty()).await;
    fs::remove_file(&path).unwrap();
    until(&mut snapshots, |snapshot| snapshot.service("mc-demo", "bb").is_none()).await;
}

#[tokio::test]
async fn a_mounted_volume_that_is_swapped_is_followed() {
    let guide = Guide::new();
    let folder = guide.path("east");
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
    let files = ["01-namespace.yaml", "02-bb.yaml", "03-policy.yaml"];
    for version in ["..one", "..two"] {
        fs::create_dir(folder.join(version)).unwrap();
        for file in files {
            fs::copy(folder.join(file), folder.join(version).join(file)).unwrap();
        }
    }
    fs::remove_file(folder.join("..two/03-policy.yaml")).unwrap();
    guide.edit("east/..two/02-bb.yaml", "replicas: 1", "replicas: 3");
    link("..one", "..data");
    for file in files {
        fs::remove_file(folder.join(file)).unwrap();
        link(&format!("..data/{file}"), file);
    }
    // As an editor's lock.
    link("root@host.1234", ".#02-bb.yaml");
    let east = guide.open("east");
    let (mut snapshots, mut reports) = (east.snapshots(), east.reports());
    assert_eq!((snapshots.borrow().pods().count(), reports.borrow().problems.len()), (1, 0));
    link("..two", "..data_tmp");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    fs::remove_file(folder.join("03-policy.yaml")).unwrap();
    until(&mut snapshots, |snapshot| snapshot.pods().count() == 3).await;
    until(&mut reports, |report| (report.problems.len(), report.files) == (0, 2)).await;
}

/// What becomes of a folder.
type Ruin = fn(&Path);

const RUINS: [(&str, Ruin); 7] = [
    ("addresses that are nonsense", |folder| fs::write(folder.join(ALLOCATIONS), "{").unwrap()),
    ("addresses from a pipe that nobody writes", |folder| {
        let file = folder.join(ALLOCATIONS);
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }),
    ("vanished", |folder| fs::rename(folder, folder.with_extension("gone")).unwrap()),
    ("no folder any more", |folder| {
        fs::rename(folder, folder.with_extension("gone")).unwrap();
        fs::write(folder, "not a folder").unwrap();
    }),
    ("an empty mount point", |folder| {
        fs::rename(folder, folder.with_extension("gone")).unwrap();
        fs::create_dir(folder).unwrap();
    }),
    ("nonsense", |folder| fs::write(folder.join("02-bb.yaml"), [0xff, 0, b'{', b'-']).unwrap()),
    ("unreadable", |folder| {
        // Root may read everything: a link that leads to itself it cannot.
        let file = folder.join("02-bb.yaml");
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("02-bb.yaml", file).unwrap();
    }),
];

#[tokio::test]
async fn whatever_becomes_of_a_linked_folder_is_seen_in_time_and_changes_nothing() {
    for (what, ruin) in RUINS {
        let guide = Guide::new();
        let east = guide.open("east");
        let west = guide.open("west");
        let mut snapshots = west.snapshots();
        until(&mut snapshots, |snapshot| endpoints(snapshot) == 1).await;
        let mut freshness = west.freshness();
        let fresh = freshness.borrow().clone();
        let now = Instant::now();
        assert!(!fresh.linked["target"].stale(now) && !fresh.own.unwrap().stale(now), "{what}: {fresh:?}");
        // One that goes on would mend its addresses.
        drop(east);
        ruin(&guide.path("east"));
        let stale = |fresh: &Freshness| {
            fresh.linked["target"].problems > 0 && fresh.linked["target"].stale(Instant::now())
        };
        let found = timeout(Duration::from_secs(5), freshness.wait_for(stale)).await;
        let found = found.unwrap_or_else(|_| panic!("{what}: not seen")).unwrap().clone();
        assert!(!found.own.unwrap().stale(Instant::now()), "{what}: the own cluster is well");
        assert_eq!(endpoints(&snapshots.borrow_and_update()), 1, "{what}");
        guide.edit("west/03-slow-cooker.yaml", "replicas: 1", "replicas: 2");
        let changed = until(&mut snapshots, |snapshot| snapshot.pods().count() == 3).await;
        assert_eq!(endpoints(&changed), 1, "{what}: own changes go on, the mirror stays");
    }
}

#[tokio::test]
async fn a_control_plane_that_no_longer_marks_its_folder_is_found_silent() {
    let guide = Guide::new();
    let east = guide.open("east");
    let west = guide.open("west");
    let mut freshness = west.freshness();
    let alive = |fresh: &Freshness| fresh.linked["target"].control.is_some();
    timeout(Duration::from_secs(5), freshness.wait_for(alive)).await.unwrap().unwrap();
    drop(east);
    let silent = |fresh: &Freshness| fresh.linked["target"].stale(Instant::now());
    let found = timeout(Duration::from_secs(20), freshness.wait_for(silent)).await.unwrap().unwrap().clone();
    assert_eq!(found.linked["target"].problems, 0, "its manifests are well");
    assert_eq!(endpoints(&west.snapshots().borrow()), 1);
    let _east = guide.open("east");
    let lives = |fresh: &Freshness| !fresh.linked["target"].stale(Instant::now());
    timeout(Duration::from_secs(10), freshness.wait_for(lives)).await.unwrap().unwrap();
}

#[tokio::test]
async fn news_of_gateways_change_what_is_in_force() {
    let guide = Guide::new();
    let gateway = "targetClusterName: target\n  gatewayAddress: gate.example\n  gatewayPort: '4143'\n  \
                   selector: {matchLabels: {mirror.linkerd.io/exported: 'true'}}\n";
    guide.edit("west/02-link.yaml", "targetClusterName: target", gateway);
    guide.edit("east/02-bb.yaml", "exported: remote-discovery", "exported: 'true'");
    let _east = guide.open("east");
    let west = guide.open("west");
    let mut snapshots = west.snapshots();
    let link = ObjectName::new("linkerd-multicluster", "target");
    assert_eq!(snapshots.borrow().gateways()[&link].target_cluster, "target");
    assert_eq!(endpoints(&snapshots.borrow()), 0);
    let resolved = [("gate.example".to_owned(), ["10.9.0.1".parse().unwrap()].into())].into();
    let alive = Gateways { resolved, ..Gateways::default() };
    west.news().tell(alive.clone());
    until(&mut snapshots, |snapshot| endpoints(snapshot) == 1).await;
    west.news().tell(Gateways { dead: [link].into(), ..alive });
    until(&mut snapshots, |snapshot| endpoints(snapshot) == 0).await;
}

#[test]
fn manifests_as_deep_as_they_may_be_end_nobody() {
    let guide = Guide::new();
    let deep = |depth: usize| format!("{}x\n", "- ".repeat(depth));
    fs::write(guide.path("east").join("deep.yaml"), deep(63)).unwrap();
    let (report, snapshot) = look(&guide.path("east"), &Guide::settings("east")).unwrap();
    let message = &report.problems[0].message;
    assert!(snapshot.is_none() && message.contains("a list"), "it is read, and is no manifest: {message}");
    fs::write(guide.path("east").join("deep.yaml"), deep(5_000)).unwrap();
    let (report, _) = look(&guide.path("east"), &Guide::settings("east")).unwrap();
    assert!(report.problems[0].to_string().contains("deep.yaml"), "{:?}", report.problems);
}
