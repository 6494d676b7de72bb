//! The contract's own rules (controlplane 5.5), as the init container installs them: with Debian's iptables.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::process::Command;
use std::sync::mpsc;

use causeway::demo::apart::Apart;
use causeway::demo::namespace::Namespace;
use causeway::redirect::{self, Rules};

use crate::mesh::{DEADLINE, HTTP, Mesh, OPAQUE, dial, request, serve_echo, serve_http};

/// Each variant's programs for IPv4 and for IPv6.
const VARIANTS: [[&str; 2]; 2] = [["iptables-nft", "ip6tables-nft"], ["iptables-legacy", "ip6tables-legacy"]];

/// One of the variants, and it works on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Iptables([&'static str; 2]);

/// Every variant that can be used here, which is said loudly of those that cannot.
pub(crate) fn variants(namespace: &Namespace) -> Vec<Iptables> {
    VARIANTS.into_iter().map(Iptables).filter(|variant| variant.works(namespace)).collect()
}

impl Iptables {
    fn works(self, namespace: &Namespace) -> bool {
        let refusal = self.0.into_iter().find_map(|program| run(namespace, program, "-L").err());
        let Some(refusal) = refusal else { return true };
        eprintln!("SKIPPED, nothing was tested: {refusal}");
        // A kernel without the old tables is no fault of the machine's; one without iptables is.
        let missing = refusal.contains("No such file");
        assert!(!missing || std::env::var_os("CAUSEWAY_REQUIRE_NETNS").is_none(), "{refusal}");
        false
    }

    /// Installs `rules` in a namespace that has none. Without root there is no user 2102 whom a rule could name: instead
    /// of the contract's rule for that user there is one for the mark.
    pub(crate) fn install(self, namespace: &Namespace, rules: &Rules) {
        let rules = &if rules.proxy_uid == Rules::default().proxy_uid {
            Apart::here().rules(rules.clone())
        } else {
            rules.clone()
        };
        for (program, ipv6) in self.0.into_iter().zip([false, true]) {
            if !ipv6 || rules.ipv6 {
                inbound(rules, ipv6).iter().chain(&outbound(rules)).for_each(|line| {
                    run(namespace, program, line).unwrap();
                });
            }
        }
    }

    /// Takes away everything.
    pub(crate) fn remove(self, namespace: &Namespace) {
        for program in self.0 {
            for line in ["-F", "-X"] {
                run(namespace, program, line).unwrap();
            }
        }
    }
}

fn inbound(rules: &Rules, ipv6: bool) -> Vec<String> {
    let mut lines = vec!["-N PROXY_INIT_REDIRECT".to_owned()];
    lines.extend(ignored("PROXY_INIT_REDIRECT", &rules.inbound_ignored));
    let subnets = rules.ignored_subnets.iter().filter(|net| net.addr().is_ipv6() == ipv6);
    lines.extend(subnets.map(|net| format!("-A PROXY_INIT_REDIRECT -p all -j RETURN -s {net}")));
    let port = rules.inbound_port;
    if rules.inbound_redirected.is_empty() {
        lines.push(format!("-A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-port {port}"));
    }
    lines.extend(chunks(&rules.inbound_redirected).map(|ports| {
        format!(
            "-A PROXY_INIT_REDIRECT -p tcp --match multiport --dports {ports} -j REDIRECT --to-port {port}"
        )
    }));
    lines.push("-A PREROUTING -j PROXY_INIT_REDIRECT".to_owned());
    lines
}

fn outbound(rules: &Rules) -> Vec<String> {
    let mut lines = vec!["-N PROXY_INIT_OUTPUT".to_owned()];
    let uid = rules.proxy_uid.map(|uid| format!("--uid-owner {uid}"));
    let gid = rules.proxy_gid.map(|gid| format!("--gid-owner {gid}"));
    let owners = uid.into_iter().chain(gid);
    lines.extend(owners.map(|owner| format!("-A PROXY_INIT_OUTPUT -m owner {owner} -j RETURN")));
    lines
        .extend(rules.proxy_mark.map(|mark| format!("-A PROXY_INIT_OUTPUT -m mark --mark {mark} -j RETURN")));
    lines.push("-A PROXY_INIT_OUTPUT -o lo -j RETURN".to_owned());
    lines.extend(ignored("PROXY_INIT_OUTPUT", &rules.outbound_ignored));
    lines.push(format!("-A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-port {}", rules.outbound_port));
    lines.push("-A OUTPUT -j PROXY_INIT_OUTPUT".to_owned());
    lines
}

fn ignored(chain: &str, ports: &[RangeInclusive<u16>]) -> impl Iterator<Item = String> {
    chunks(ports).map(move |ports| format!("-A {chain} -p tcp --match multiport --dports {ports} -j RETURN"))
}

/// Lists of ports as `multiport` takes them: fifteen at most, where a range counts two.
fn chunks(ports: &[RangeInclusive<u16>]) -> impl Iterator<Item = String> {
    let said = |ports: &RangeInclusive<u16>| match (ports.start(), ports.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}:{last}"),
    };
    ports
        .chunks(7)
        .map(|some| some.iter().map(said).collect::<Vec<_>>().join(","))
        .collect::<Vec<_>>()
        .into_iter()
}

/// Changes, or lists, the nat table. What was refused, and why.
fn run(namespace: &Namespace, program: &'static str, line: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(["--wait", "10", "-t", "nat"]).args(line.split(' '));
    // The lock that a machine's programs share is root's, and nobody else changes this namespace.
    let lock = tempfile::NamedTempFile::new().unwrap();
    command.env("XTABLES_LOCKFILE", lock.path());
    let said = format!("{program} -t nat {line}");
    let output = namespace.run(move || command.output()).unwrap();
    let output = output.map_err(|e| format!("{said}: {e} (Debian's package iptables has it)"))?;
    let refused = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{said}: {refused}")) }
}

/// HTTP and bytes between two pods whose connections these rules redirect.
fn carry_traffic(mesh: &Mesh, sink: IpAddr, requests: &mpsc::Receiver<String>, how: &str) {
    let caller = mesh.pod("slow-cooker");
    let answer = request(caller, sink, HTTP, "", "by whose rules?");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("thanks"), "{how}: {answer}");
    let seen = requests.recv_timeout(DEADLINE).unwrap();
    assert!(seen.contains("l5d-client-id: slow-cooker.mc-demo."), "{how}: {seen}");
    let mut stream = dial(caller, sink, OPAQUE);
    stream.write_all(b"bytes").unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"bytes", "{how}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mesh_works_under_the_contracts_own_rules() {
    let Some(mesh) = Mesh::start().await else { return };
    let sink = mesh.service("west", "sink-target").await;
    everywhere(&mesh, sink);
}

/// Under our own rules, and under those of each variant of iptables.
pub(crate) fn everywhere(mesh: &Mesh, sink: IpAddr) {
    let pods = ["bb", "slow-cooker"].map(|name| mesh.pod(name));
    let requests = serve_http(pods[0], HTTP, "thanks");
    let _pieces = serve_echo(pods[0], OPAQUE);
    carry_traffic(mesh, sink, &requests, "our own rules");
    for pod in pods {
        pod.run(redirect::remove).unwrap().unwrap();
    }
    for variant in variants(pods[0]) {
        for pod in pods {
            variant.install(pod, &Rules { ipv6: sink.is_ipv6(), ..Rules::default() });
        }
        carry_traffic(mesh, sink, &requests, &format!("{variant:?}"));
        for pod in pods {
            variant.remove(pod);
        }
    }
    // The control: without rules nobody takes the connection to the service's address.
    let (caller, to) = (pods[1], std::net::SocketAddr::new(sink, HTTP));
    let refused =
        caller.run(move || std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_secs(1)));
    assert!(refused.unwrap().is_err(), "something other than the rules redirects");
}
