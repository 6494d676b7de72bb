//! `causeway link`: the documents that join a cluster to another one, as Linkerd's `link-gen` prints them.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use crate::control::files;
use crate::control::index::{Allocations, ObjectName};
use crate::control::link::{self, GatewayPlan, Plan, SERVICE_ACCOUNT};
use crate::control::manifest::{Selector, url_of};
use crate::control::yaml::Yaml;

use super::mirror::{Copying, selector_of};

mod flags;

/// Print two Secrets and a Link with which another cluster mirrors this one's Services.
///
/// DIR is the folder of the target cluster. What is printed belongs into the source cluster: into its
/// folder, or to `kubectl apply`. A Link leads one way only; for the other way, link the other folder too.
///
/// The credentials lead to the folder itself, as a file:// URL: whoever may read it needs no token. What the
/// target's control plane has written down beside its manifests (domains, its namespace) is taken from there.
///
/// Exit code 1, and nothing printed, where anything is wrong: also where a cluster could not read what would be
/// printed. 2 for a command line that cannot be parsed.
#[derive(clap::Args, Clone, Debug)]
pub struct LinkArgs {
    /// Folder of the target cluster.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// What the target is called in the source cluster: the Link's name, and the end of every mirror's.
    #[arg(long, value_name = "NAME")]
    pub cluster_name: String,
    /// Write the target's gateway into the Link; with --gateway=false it mirrors in the other modes alone.
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true",
          num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    pub gateway: bool,
    /// The gateway's Service.
    #[arg(long, value_name = "NAME", default_value = "linkerd-gateway")]
    pub gateway_name: String,
    #[arg(long, value_name = "NAMESPACE", default_value = "linkerd-multicluster")]
    pub gateway_namespace: String,
    /// Where the gateway is, addresses or host names with commas [default: as its load balancer says].
    #[arg(long, value_name = "HOST,...")]
    pub gateway_addresses: Option<String>,
    /// The gateway's port [default: the one named mc-gateway].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub gateway_port: Option<u16>,
    /// Services to mirror through the gateway.
    #[arg(short = 'l', long, default_value = "mirror.linkerd.io/exported=true", value_parser = selector_of)]
    pub selector: Selector,
    /// Services to mirror pod to pod.
    #[arg(long, value_name = "SELECTOR", default_value = "mirror.linkerd.io/exported=remote-discovery",
          value_parser = selector_of)]
    pub remote_discovery_selector: Selector,
    #[command(flatten)]
    pub copying: Copying,
    /// The account that the kubeconfig names as its user.
    #[arg(long, value_name = "NAME", default_value = SERVICE_ACCOUNT)]
    pub service_account_name: String,
    /// `server` of the kubeconfig, such as file://../east, seen from the source's folder [default: DIR].
    #[arg(long, value_name = "URL")]
    pub api_server_address: Option<String>,
    /// Namespace of the Link and of the mirror's credentials.
    #[arg(long, value_name = "NAMESPACE", default_value = "linkerd-multicluster")]
    pub namespace: String,
    /// Namespace of the target's control plane, and of the credentials for discovery
    /// [default: the target's, else linkerd].
    #[arg(long, value_name = "NAMESPACE")]
    pub control_namespace: Option<String>,
    /// DNS domain of the target [default: the target's, else cluster.local].
    #[arg(long, value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// Last part of the target's identities [default: the target's, else the cluster domain].
    #[arg(long, value_name = "DOMAIN")]
    pub trust_domain: Option<String>,
    /// Three documents of YAML, or one list of them in JSON.
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    pub output: Format,
}

/// How documents are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Yaml,
    Json,
}

/// Prints the documents.
pub fn run(args: &LinkArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let wrong = flags::problems(args);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    let reading = files::read(&args.folder, &args.namespace)
        .with_context(|| format!("{} cannot be read; expected a folder", args.folder.display()))?;
    let problems = &reading.assembled.problems;
    if !problems.is_empty() {
        let lines: String = problems.iter().map(|problem| format!("\n{problem}")).collect();
        bail!("the target's manifests have problems:{lines}");
    }
    let plan = args.plan(reading.allocations.as_ref())?;
    let documents = link::documents(&plan, &reading.assembled.documents)
        .map_err(|missing| anyhow::anyhow!("the target cannot be linked:\n{}", missing.join("\n")))?;
    match args.output {
        Format::Yaml => {
            for document in &documents {
                write!(out, "---\n{}", Yaml::from(document))?;
            }
        }
        // One text for readers of one: kubectl and causeway control take a list as they take its items.
        Format::Json => {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": documents });
            writeln!(out, "{list:#}")?;
        }
    }
    Ok(())
}

impl LinkArgs {
    fn plan(&self, told: Option<&Allocations>) -> anyhow::Result<Plan> {
        let folder = std::path::absolute(&self.folder)?;
        let folder = folder.canonicalize().unwrap_or(folder);
        let say = |flag: &Option<String>, told: Option<&String>, default: &str| {
            let told = told.filter(|text| !text.is_empty());
            flag.as_ref().or(told).map_or_else(|| default.to_owned(), Clone::clone)
        };
        let domain = say(&self.cluster_domain, told.map(|told| &told.cluster_domain), "cluster.local");
        Ok(Plan {
            cluster: self.cluster_name.clone(),
            server: self.api_server_address.clone().unwrap_or_else(|| url_of(Path::new(&folder))),
            service_account: self.service_account_name.clone(),
            trust_domain: say(&self.trust_domain, told.map(|told| &told.trust_domain), &domain),
            cluster_domain: domain,
            control_namespace: say(
                &self.control_namespace,
                told.map(|told| &told.control_namespace),
                "linkerd",
            ),
            mirror_namespace: self.namespace.clone(),
            remote_discovery_selector: self.remote_discovery_selector.clone(),
            federated_selector: self.copying.federated_service_selector.clone(),
            excluded_annotations: self.copying.excluded_annotations.clone(),
            excluded_labels: self.copying.excluded_labels.clone(),
            gateway: self.gateway.then(|| GatewayPlan {
                service: ObjectName::new(&self.gateway_namespace, &self.gateway_name),
                addresses: self.gateway_addresses.clone(),
                port: self.gateway_port,
                selector: self.selector.clone(),
            }),
        })
    }
}

#[cfg(test)]
mod tests;
