//! Reading everything that is known of the clusters, and which folder leads to which.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::CheckArgs;
use super::live::Told;
use crate::control::ca::folder;
use crate::control::check::{Cluster, Facts, Finding, ISSUER, MANIFESTS, Trust};
use crate::control::files::{self, Reading};
use crate::control::index::Settings;
use crate::control::manifest::folder_of;

/// The clusters that are asked about, then those that they lead to.
pub(super) fn clusters(args: &CheckArgs, told: &[Told], findings: &mut Vec<Finding>) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    let own = |told: &Told, folder: &Path| absolute(&told.folder) == absolute(folder);
    for (index, folder) in args.folders.iter().enumerate() {
        let told = told.iter().find(|told| own(told, folder));
        let certs = args.certs.get(index).or_else(|| args.certs.first().filter(|_| args.certs.len() == 1));
        let name = args.cluster_name.get(index).map(String::as_str);
        clusters.extend(asked(args, folder, told, certs.map(PathBuf::as_path), name, findings));
    }
    for told in told {
        if !args.folders.iter().any(|folder| own(told, folder)) {
            clusters.extend(asked(args, &told.folder, Some(told), None, None, findings));
        }
    }
    follow(&mut clusters, &args.settings());
    clusters
}

fn asked(
    args: &CheckArgs,
    path: &Path,
    told: Option<&Told>,
    certs: Option<&Path>,
    name: Option<&str>,
    findings: &mut Vec<Finding>,
) -> Option<Cluster> {
    let settings = told.map_or_else(|| args.settings(), |told| told.settings(args.settings()));
    let reading = files::read(path, &settings.mirror_namespace).and_then(|reading| {
        let snapshot = files::look(path, &settings)?.1;
        Ok((reading, snapshot))
    });
    let (reading, snapshot) = match reading {
        Ok(read) => read,
        Err(error) => {
            let found = format!("the folder cannot be read: {error}");
            let remedy = "name a folder with manifests".into();
            findings.push(Finding { remedy, ..MANIFESTS.finding(found, path.display()) });
            return None;
        }
    };
    if reading.files == 0 {
        let remedy = "put *.yaml, *.yml or *.json files there; subfolders are not read".into();
        findings
            .push(Finding { remedy, ..MANIFESTS.finding("the folder holds no manifests", path.display()) });
    }
    let name = name.map(str::to_owned).or_else(|| told.map(|told| told.name.clone()));
    let name = name.unwrap_or_else(|| name_of(path));
    let trust = told.map(|told| told.trust.clone()).or_else(|| trust(certs?, &name, findings));
    let mut cluster = unasked(path, reading, settings);
    let facts = told.map(|told| told.facts.clone()).unwrap_or(cluster.facts);
    let ran = cluster.ran || told.is_some();
    cluster = Cluster { name, asked: true, ran, facts, snapshot, trust, ..cluster };
    Some(cluster)
}

/// What lies in the folder for this cluster, and what `causeway control` says where it does not start with it.
fn trust(certs: &Path, name: &str, findings: &mut Vec<Finding>) -> Option<Trust> {
    match folder::certificates(certs, name) {
        Ok(found) => {
            let trust =
                Trust::from_pem(&found.anchors, &found.issuer, certs.join(name).display().to_string());
            let refused = found.open(SystemTime::now()).err();
            // Keys need not be where the check is: then this says nothing of the control plane's own.
            let refused = refused.filter(|error| !error.is_absence());
            Some(Trust { refused: refused.map(|error| error.to_string()), ..trust })
        }
        Err(error) => {
            let remedy = "make them: causeway certs create, or name the cluster: --cluster-name".into();
            findings.push(Finding { remedy, ..ISSUER.finding(error.to_string(), certs.display()) });
            None
        }
    }
}

fn unasked(path: &Path, reading: Reading, settings: Settings) -> Cluster {
    let ran = reading.allocations.is_some() || reading.unknown.is_some();
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let facts = reading.allocations.map_or_else(Facts::default, |told| Facts {
        control_namespace: text(&told.control_namespace),
        cluster_domain: text(&told.cluster_domain),
        trust_domain: text(&told.trust_domain),
        pod_network: told.pod_network.parse().ok(),
    });
    Cluster {
        name: name_of(path),
        folder: path.to_owned(),
        asked: false,
        assembled: reading.assembled,
        settings,
        files: reading.files,
        ran,
        unknown: reading.unknown,
        facts,
        snapshot: None,
        targets: BTreeMap::new(),
        trust: None,
    }
}

/// Reads what credentials lead to; clusters that are only led to are not followed further.
fn follow(clusters: &mut Vec<Cluster>, settings: &Settings) {
    let mut folders: Vec<PathBuf> = clusters.iter().map(|cluster| absolute(&cluster.folder)).collect();
    for index in 0..clusters.len() {
        let secrets = clusters[index].assembled.documents.secrets.values();
        let urls: Vec<String> = secrets
            .filter_map(|(_, secret)| secret.remote.as_ref())
            .map(|remote| remote.value.clone())
            .collect();
        for url in urls {
            let Some(path) = folder_of(&url, &clusters[index].folder) else { continue };
            let folder = absolute(&path);
            let known = folders.iter().position(|known| *known == folder);
            let target = known.map_or_else(
                || {
                    let reading = files::read(&path, &settings.mirror_namespace);
                    let reading = reading.map_err(|error| format!("{}: {error}", path.display()))?;
                    folders.push(folder);
                    clusters.push(unasked(&path, reading, settings.clone()));
                    Ok(clusters.len() - 1)
                },
                Ok,
            );
            clusters[index].targets.insert(url, target);
        }
    }
}

/// One spelling for one folder.
fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn name_of(path: &Path) -> String {
    let path = absolute(path);
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
