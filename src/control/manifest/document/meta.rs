//! The head that every object has.

use std::sync::Arc;
use std::time::SystemTime;

use super::ObjectName;
use crate::control::manifest::labelled::Labels;
use crate::control::manifest::reader::Reader;
use crate::control::manifest::yaml::{Key, Node, Value};
use crate::control::manifest::{Place, names};

/// What `metadata` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub at: Place,
    pub name: ObjectName,
    pub labels: Arc<Labels>,
    pub annotations: Arc<Labels>,
    /// `None` sorts first.
    pub created: Option<SystemTime>,
    /// It is being deleted, and there until that is done.
    pub terminating: bool,
    pub uid: Option<String>,
    /// The API server's, or a hash of the content, so that it changes when the object does.
    pub resource_version: String,
    pub owners: Vec<Owner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub kind: String,
    pub name: String,
}

pub(super) fn read(reader: &mut Reader, node: &Node, kind: &str) -> Option<Meta> {
    let meta = reader.required_mapping(node, "metadata")?;
    let name = read_name(reader, meta, kind);
    let namespace = read_namespace(reader, meta, kind);
    let labels = Arc::new(read_labels(reader, meta, "labels"));
    let annotations = Arc::new(reader.text_map(meta, "annotations"));
    let created = read_created(reader, meta);
    let uid = reader.text(meta, "uid");
    let version = reader.text(meta, "resourceVersion");
    let owners = read_owners(reader, meta);
    Some(Meta {
        at: reader.place(node),
        name: ObjectName::new(&namespace, &name?),
        labels,
        annotations,
        created,
        terminating: meta.get("deletionTimestamp").is_some(),
        uid,
        resource_version: version.unwrap_or_else(|| crate::control::hash::version(&node.canonical())),
        owners,
    })
}

fn read_name(reader: &mut Reader, meta: &Node, kind: &str) -> Option<String> {
    let name = reader.required_text(meta, "name")?;
    let (good, form) = match kind {
        "Namespace" | "Service" => (names::is_label(&name), names::LABEL_FORM),
        _ => (names::is_subdomain(&name), names::SUBDOMAIN_FORM),
    };
    if !good {
        reader.problem(meta.get("name").unwrap_or(meta), format!("{name:?} is no name for a {kind}"), form);
    }
    Some(name)
}

/// Empty for what lies in none.
fn read_namespace(reader: &mut Reader, meta: &Node, kind: &str) -> String {
    if ["Namespace", "Node"].contains(&kind) {
        return String::new();
    }
    let namespace = reader.text(meta, "namespace").unwrap_or_else(|| "default".into());
    if !names::is_label(&namespace) {
        let at = meta.get("namespace").unwrap_or(meta);
        reader.problem(at, format!("{namespace:?} is no name for a namespace"), names::LABEL_FORM);
    }
    namespace
}

/// As the API server prints it. Who is older has precedence: a time that cannot be read is no detail.
fn read_created(reader: &mut Reader, meta: &Node) -> Option<SystemTime> {
    let text = reader.text(meta, "creationTimestamp")?;
    let created = humantime::parse_rfc3339(&text).ok();
    if created.is_none() {
        let at = meta.get("creationTimestamp").unwrap_or(meta);
        let expected = "a time in UTC such as 2026-01-31T23:59:59Z";
        reader.problem(at, format!("`creationTimestamp` is {text:?}"), expected);
    }
    created
}

/// Labels, with the form of keys and values checked.
pub(in crate::control::manifest) fn read_labels(reader: &mut Reader, parent: &Node, key: &str) -> Labels {
    let labels = reader.text_map(parent, key);
    let entries = match parent.get(key).map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    for (Key { text: name, .. }, at) in entries {
        let Some(value) = labels.get(name) else { continue };
        if !names::is_qualified_key(name) {
            reader.problem(at, format!("{name:?} is no key for a label"), names::KEY_FORM);
        }
        if !names::is_label_value(value) {
            reader.problem(at, format!("{value:?} is no value for the label {name}"), names::VALUE_FORM);
        }
    }
    labels
}

fn read_owners(reader: &mut Reader, meta: &Node) -> Vec<Owner> {
    let mut owners = Vec::new();
    for owner in reader.mappings(meta, "ownerReferences") {
        let (kind, name) = (reader.required_text(owner, "kind"), reader.required_text(owner, "name"));
        if let (Some(kind), Some(name)) = (kind, name) {
            owners.push(Owner { kind, name });
        }
    }
    owners
}
