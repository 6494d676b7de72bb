//! Which Kubernetes object, or which built-in default, a piece of policy came from.

use std::sync::Arc;

/// The origin of a policy, route, backend or authorization, as metrics name it (contract 6.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceRef {
    /// Something built in: label kind `default`, group empty.
    Default { name: Arc<str> },
    /// An object of the cluster.
    Resource {
        group: Arc<str>,
        kind: Arc<str>,
        name: Arc<str>,
        namespace: Arc<str>,
        section: Arc<str>,
        /// 0 where the reference names no port.
        port: u16,
    },
}

impl ResourceRef {
    pub fn default_named(name: &str) -> Self {
        Self::Default { name: name.into() }
    }

    /// An object named by group, kind and name alone, as inbound policy names them.
    pub fn object(group: &str, kind: &str, name: &str) -> Self {
        let empty: Arc<str> = "".into();
        Self::Resource {
            group: group.into(),
            kind: kind.into(),
            name: name.into(),
            namespace: empty.clone(),
            section: empty,
            port: 0,
        }
    }

    /// Whether what this lets in is to be logged (contract 4.3).
    pub fn is_audit(&self) -> bool {
        matches!(self, Self::Default { name } if &**name == "audit")
    }

    /// Whether nobody made it: it is there where nothing is.
    pub fn is_default(&self) -> bool {
        matches!(self, Self::Default { .. })
    }

    pub fn group(&self) -> &str {
        match self {
            Self::Default { .. } => "",
            Self::Resource { group, .. } => group,
        }
    }

    pub fn kind(&self) -> &str {
        match self {
            Self::Default { .. } => "default",
            Self::Resource { kind, .. } => kind,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Default { name } | Self::Resource { name, .. } => name,
        }
    }

    pub fn namespace(&self) -> &str {
        match self {
            Self::Default { .. } => "",
            Self::Resource { namespace, .. } => namespace,
        }
    }

    pub fn section(&self) -> &str {
        match self {
            Self::Default { .. } => "",
            Self::Resource { section, .. } => section,
        }
    }

    /// 0 where the reference names no port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Default { .. } => 0,
            Self::Resource { port, .. } => *port,
        }
    }
}
