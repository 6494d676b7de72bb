//! What is wrong with the flags by themselves, whatever the target is.

use crate::control::manifest::{GatewayAddress, folder_of, names};

use super::{LinkArgs, Path};

/// A flag's name, whether its value is good, and the form of those that are.
type Form = (&'static str, fn(&str) -> bool, &'static str);

const ADDRESSES: Form =
    ("gateway-addresses", is_address, "IP addresses or host names, with commas between them");
const LABELS: Form = ("excluded-labels", is_exclusion, EXCLUSION_FORM);
const ANNOTATIONS: Form = ("excluded-annotations", is_exclusion, EXCLUSION_FORM);
const EXCLUSION_FORM: &str = "keys, or a DNS prefix with `/*` behind it, with commas between them";

/// Everything, each with the flag, its value and the form expected.
pub(super) fn problems(args: &LinkArgs) -> Vec<String> {
    let label = |flag| (flag, names::is_label as fn(&str) -> bool, names::LABEL_FORM);
    let name = |flag| (flag, names::is_subdomain as fn(&str) -> bool, names::SUBDOMAIN_FORM);
    let folder = ("api-server-address", is_folder as fn(&str) -> bool, "a file:// URL of a folder");
    let one = [
        (label("cluster-name"), Some(&args.cluster_name)),
        (label("gateway-name"), Some(&args.gateway_name)),
        (label("gateway-namespace"), Some(&args.gateway_namespace)),
        (name("service-account-name"), Some(&args.service_account_name)),
        (folder, args.api_server_address.as_ref()),
        (label("namespace"), Some(&args.namespace)),
        (label("control-namespace"), args.control_namespace.as_ref()),
        (name("cluster-domain"), args.cluster_domain.as_ref()),
        (name("trust-domain"), args.trust_domain.as_ref()),
    ];
    let one = one.into_iter().filter_map(|(form, value)| Some((form, value?.as_str())));
    let addresses = args.gateway_addresses.iter().flat_map(|text| text.split(',')).map(str::trim);
    let several = addresses.map(|text| (ADDRESSES, text));
    let several = several.chain(args.copying.excluded_labels.iter().map(|key| (LABELS, key.as_str())));
    let several =
        several.chain(args.copying.excluded_annotations.iter().map(|key| (ANNOTATIONS, key.as_str())));
    let wrong = one.chain(several).filter(|((_, is_good, _), value)| !is_good(value));
    wrong.map(|((flag, _, form), value)| format!("--{flag}: {value:?}; expected {form}")).collect()
}

fn is_address(text: &str) -> bool {
    GatewayAddress::parse(text).is_some()
}

fn is_folder(text: &str) -> bool {
    folder_of(text, Path::new("")).is_some()
}

fn is_exclusion(text: &str) -> bool {
    text.strip_suffix("/*").map_or_else(|| names::is_qualified_key(text), names::is_subdomain)
}
