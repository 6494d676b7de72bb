//! The clusters of a case: copied, so that they can give out addresses, asked one by one, and compared with what is recorded.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use causeway::control::files::{Folder, look};
use causeway::control::index::{Context, Settings};

use crate::answers::Answers;

/// Copies a case's clusters, lets each give out its addresses, and compares what `ask` finds.
pub fn compare(name: &str, clusters: &str, change: fn(&mut Settings), ask: fn(&mut Answers<'_>)) {
    let settings = |number| {
        let mut settings = settings(number);
        change(&mut settings);
        settings
    };
    let copy = tempfile::tempdir().unwrap();
    let opened = open(clusters, copy.path(), settings);
    let mut out = String::new();
    for (number, (folder, _)) in opened.iter().enumerate() {
        // Read again now that every cluster has given its addresses.
        let (report, snapshot) = look(folder, &settings(number)).unwrap();
        writeln!(out, "==== {}", folder.file_name().unwrap().display()).unwrap();
        for note in &report.notes {
            writeln!(out, "note: {}", note.message).unwrap();
        }
        let snapshot = &*snapshot.unwrap();
        let mut answers = Answers { out: &mut out, snapshot, context: Context::default() };
        answers.mirrored();
        ask(&mut answers);
    }
    assert_recorded(name, &out);
}

/// Copies of a case's clusters in `copy`, each of which has given out its addresses.
fn open(clusters: &str, copy: &Path, settings: impl Fn(usize) -> Settings) -> Vec<(PathBuf, Folder)> {
    let mut folders = subfolders(&root().join(clusters));
    folders.sort();
    let opened = folders.iter().enumerate().map(|(number, folder)| {
        let target = copy.join(folder.file_name().unwrap());
        copy_manifests(folder, &target);
        let open = Folder::open(&target, &settings(number)).unwrap();
        (target, open)
    });
    opened.collect()
}

fn assert_recorded(name: &str, answers: &str) {
    let answers = answers.replace(concat!("causeway-", env!("CARGO_PKG_VERSION")), "causeway-(version)");
    let mut insta = insta::Settings::clone_current();
    insta.set_snapshot_path(root().join("tests/manifests").join(name));
    insta.set_prepend_module_to_snapshot(false);
    insta.set_omit_expression(true);
    insta.bind(|| insta::assert_snapshot!("answers", answers));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn settings(number: usize) -> Settings {
    let net = |second: usize| format!("10.{}.0.0/16", second + number).parse().unwrap();
    Settings {
        pod_network: net(100),
        service_network: net(200),
        control_addr: "172.16.0.1".parse().unwrap(),
        trust_anchors_pem: "(anchors)\n".into(),
        ..Settings::default()
    }
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

fn copy_manifests(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}
