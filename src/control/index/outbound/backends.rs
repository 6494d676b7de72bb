//! Backends of routes: Services and what is outside, or a failure where there is none (controlplane 3.9).

use http::StatusCode;

use crate::control::index::ObjectName;
use crate::control::index::profile::service_ref;
use crate::control::manifest::route::{BackendRef, Leads, TargetKind};
use crate::model::filter::{Failure, FailureKind, Filter, Ratio};
use crate::model::outbound::{Backend, BackendKind, Load, RouteBackend};
use crate::model::{Authority, ResourceRef};

use super::forward;
use super::traffic::{Speaks, Traffic};

/// A code that gRPC does not have, as Linkerd sends it.
const NO_CODE: u16 = 500;

impl Traffic<'_> {
    /// The parent, as policies name it.
    pub(super) fn meta(&self) -> ResourceRef {
        target_ref(self.kind, self.parent, self.port)
    }

    /// Where requests were going.
    pub(super) fn default_backend(&self, load: Load) -> Backend {
        let kind = match self.outside {
            Some(outside) => forward(outside.addr),
            None => self.balance(self.parent, self.port, load),
        };
        Backend { meta: self.meta(), kind }
    }

    pub(super) fn request_backend(&self, to: &BackendRef, speaks: Speaks) -> RouteBackend {
        match self.resolve(to, self.annotated.load) {
            Ok(backend) => RouteBackend { filters: to.filters.clone(), backend },
            Err((meta, message)) => {
                let kind = match speaks {
                    Speaks::Http => FailureKind::Http(StatusCode::INTERNAL_SERVER_ERROR),
                    Speaks::Grpc => FailureKind::Grpc(NO_CODE),
                };
                let failure = Filter::Failure(Failure { kind, message, ratio: Ratio::ALL });
                RouteBackend { filters: vec![failure], backend: Backend { meta, kind: BackendKind::Fail } }
            }
        }
    }

    pub(super) fn connection_backend(&self, to: &BackendRef) -> Backend {
        let lost = |(meta, _)| Backend { meta, kind: BackendKind::Fail };
        self.resolve(to, Load::default()).unwrap_or_else(lost)
    }

    /// Or what fails there, and why.
    fn resolve(&self, to: &BackendRef, load: Load) -> Result<Backend, (ResourceRef, String)> {
        let (kind, name, namespace, port) = match &to.leads {
            Leads::To { kind, name, namespace, port } => (*kind, name, namespace, *port),
            Leads::Nowhere { group, kind } => {
                let message = format!("unsupported backend type {group} {kind}");
                return Err((ResourceRef::default_named("invalid"), message));
            }
        };
        let name = ObjectName::new(namespace.as_deref().unwrap_or(&self.parent.namespace), name);
        let meta = target_ref(kind, &name, port.unwrap_or(self.port));
        match kind {
            TargetKind::Service if self.world.services.contains_key(&name) => {
                Ok(Backend { meta, kind: self.balance(&name, port.unwrap_or(self.port), load) })
            }
            TargetKind::Service => Err((meta, format!("Service not found {}", name.name))),
            TargetKind::EgressNetwork => match self.outside {
                _ if !self.world.policies.egress_networks.contains_key(&name) => {
                    Err((meta, format!("EgressNetwork not found {}", name.name)))
                }
                None => Err((meta, "an EgressNetwork is a backend of its own routes alone".into())),
                Some(_) if name != *self.parent => {
                    Err((meta, "the EgressNetwork is not the one that the route is for".into()))
                }
                Some(outside) => Ok(Backend { meta, kind: forward(outside.addr) }),
            },
        }
    }

    /// A name that is none of DNS has been refused where it was read.
    fn balance(&self, ObjectName { namespace, name }: &ObjectName, port: u16, load: Load) -> BackendKind {
        let host = format!("{name}.{namespace}.svc.{}", self.world.settings.cluster_domain).parse();
        host.map_or(BackendKind::Fail, |host| BackendKind::Balance {
            authority: Authority::named(host, port),
            load,
        })
    }
}

fn target_ref(kind: TargetKind, name: &ObjectName, port: u16) -> ResourceRef {
    match kind {
        TargetKind::Service => service_ref(name, port),
        TargetKind::EgressNetwork => ResourceRef::Resource {
            group: kind.group().into(),
            kind: kind.name().into(),
            name: name.name.clone(),
            namespace: name.namespace.clone(),
            section: "".into(),
            port,
        },
    }
}
