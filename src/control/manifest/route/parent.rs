//! What a route is for: Servers on the inbound side, Services and EgressNetworks on the outbound one.

use crate::control::manifest::document::ObjectName;
use crate::control::manifest::policy;
use crate::control::manifest::reader::Reader;
use crate::control::manifest::workload::At;
use crate::control::manifest::yaml::Node;

/// One that traffic is sent to. Routes conflict where they name the same in the same way (controlplane 3.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parent {
    pub kind: TargetKind,
    pub name: ObjectName,
    /// `None`: each of its ports.
    pub port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetKind {
    Service,
    EgressNetwork,
}

impl TargetKind {
    /// In any case; a group that is not given is that of Services.
    pub(super) fn of(group: Option<&str>, kind: &str) -> Option<Self> {
        let group = group.unwrap_or_default();
        let core = group.is_empty() || group.eq_ignore_ascii_case("core");
        if core && kind.eq_ignore_ascii_case("Service") {
            return Some(Self::Service);
        }
        let ours = group.eq_ignore_ascii_case(policy::GROUP);
        (ours && kind.eq_ignore_ascii_case("EgressNetwork")).then_some(Self::EgressNetwork)
    }

    /// As policies name it.
    pub fn group(self) -> &'static str {
        match self {
            Self::Service => "core",
            Self::EgressNetwork => policy::GROUP,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EgressNetwork => "EgressNetwork",
        }
    }
}

/// Services and EgressNetworks, of any namespace.
pub(super) fn targets(reader: &mut Reader, spec: &Node, own: &str) -> Vec<At<Parent>> {
    let mut targets = Vec::new();
    for parent in reader.mappings(spec, "parentRefs") {
        let (group, kind) = (reader.text(parent, "group"), reader.text(parent, "kind"));
        let Some(kind) = TargetKind::of(group.as_deref(), kind.as_deref().unwrap_or_default()) else {
            continue;
        };
        let (name, port) = (reader.required_text(parent, "name"), reader.port(parent, "port"));
        if kind == TargetKind::EgressNetwork && parent.get("port").is_none() {
            reader.problem(parent, "a parent EgressNetwork has no port", "`port: …` here");
        }
        if parent.get("sectionName").is_some() {
            reader.note(parent, "a parent is named by `port`; its `sectionName` is not used");
        }
        let namespace = reader.text(parent, "namespace").unwrap_or_else(|| own.to_owned());
        let at = reader.place(parent);
        targets.extend(
            name.map(|name| At {
                value: Parent { kind, name: ObjectName::new(&namespace, &name), port },
                at,
            }),
        );
    }
    targets
}

/// Servers of the route's own namespace; `None` where none is named at all.
pub(super) fn servers(reader: &mut Reader, spec: &Node, own: &str) -> Option<Vec<String>> {
    let parents = reader.mappings(spec, "parentRefs");
    let of_servers: Vec<&Node> = parents.into_iter().filter(|parent| is_server(reader, parent)).collect();
    if of_servers.is_empty() {
        return None;
    }
    let mut servers = Vec::new();
    for parent in of_servers {
        servers.extend(read_server(reader, parent, own));
    }
    // One wrong parent keeps the whole route from counting (controlplane 3.5).
    if servers.iter().any(Option::is_none) {
        servers.clear();
    }
    Some(servers.into_iter().flatten().collect())
}

fn is_server(reader: &mut Reader, parent: &Node) -> bool {
    let group = reader.text(parent, "group");
    let kind = reader.text(parent, "kind");
    group.as_deref() == Some(policy::GROUP) && kind.as_deref() == Some("Server")
}

/// `Some(None)` for a parent that routes cannot have.
fn read_server(reader: &mut Reader, parent: &Node, own: &str) -> Option<Option<String>> {
    let name = reader.required_text(parent, "name")?;
    let other = reader.text(parent, "namespace").is_some_and(|namespace| namespace != own);
    let wrong = [
        (other, "in another namespace"),
        (parent.get("port").is_some(), "by port"),
        (parent.get("sectionName").is_some(), "by section"),
    ];
    let Some((_, how)) = wrong.into_iter().find(|(is, _)| *is) else { return Some(Some(name)) };
    reader.note(parent, format!("a route with a parent Server {how} is not used"));
    Some(None)
}
