//! What is wrong with the flags by themselves, whatever the target is.

use crate::cli::flags::{ACCOUNT, CLUSTER, DOMAIN, Form, NAMESPACE, SERVICE};
use crate::control::manifest::{GatewayAddress, folder_of};

use super::{LinkArgs, Path};

const FOLDER: Form =
    Form { holds: is_folder, expected: "a file:// URL of a folder", such_as: "file://../east" };
const ADDRESSES: Form = Form {
    holds: is_address,
    expected: "IP addresses or host names, with commas between them",
    such_as: "10.0.0.9,gateway.example",
};

/// Everything, each with the flag, its value and the form expected.
pub(super) fn problems(args: &LinkArgs) -> Vec<String> {
    let one = [
        ("cluster-name", CLUSTER, Some(&args.cluster_name)),
        ("gateway-name", SERVICE, Some(&args.gateway_name)),
        ("gateway-namespace", NAMESPACE, Some(&args.gateway_namespace)),
        ("service-account-name", ACCOUNT, Some(&args.service_account_name)),
        ("api-server-address", FOLDER, args.api_server_address.as_ref()),
        ("namespace", NAMESPACE, Some(&args.namespace)),
        ("control-namespace", NAMESPACE, args.control_namespace.as_ref()),
        ("cluster-domain", DOMAIN, args.cluster_domain.as_ref()),
        ("trust-domain", DOMAIN, args.trust_domain.as_ref()),
    ];
    let one = one.into_iter().filter_map(|(flag, form, value)| form.fault(flag, value?));
    let addresses = args.gateway_addresses.iter().flat_map(|text| text.split(',')).map(str::trim);
    let addresses = addresses.filter_map(|text| ADDRESSES.fault("gateway-addresses", text));
    one.chain(addresses).chain(args.copying.faults()).collect()
}

fn is_address(text: &str) -> bool {
    GatewayAddress::parse(text).is_some()
}

fn is_folder(text: &str) -> bool {
    folder_of(text, Path::new("")).is_some()
}
