//! How do requests to the control plane fare, and where do they go (contract 6.1, 6.2)?
//!
//! A [`Client`] counts for one service of the control plane for as long as the proxy runs; the connections and the
//! balancers below it come and go.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::balancers::{self, Balancing, State};
use super::labels::Labels;
use super::metric::Counter;
use super::page::Page;
use super::requests::{self, Requests};
use crate::model::Authority;
use crate::model::endpoint::EndpointTls;
use crate::model::peer::NoServerTls;

/// The services of the control plane, in the order of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Identity,
    Destination,
    Policy,
}

impl Service {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Identity, "identity"), (Self::Destination, "destination"), (Self::Policy, "policy")];
}

/// What is shown of the control plane's clients.
#[derive(Default)]
pub struct Controllers([OnceLock<Arc<Client>>; 3]);

/// The counts of one client.
#[derive(Debug)]
pub struct Client {
    /// `addr`, and whom it expects there.
    labels: Arc<str>,
    /// `addr` alone.
    addr: Arc<str>,
    pub requests: Arc<Requests>,
    pub resolutions: Arc<Resolutions>,
    /// How often a balancer was told its replicas.
    pub resets: Counter,
    balancers: Mutex<Vec<Weak<dyn Balancing>>>,
}

/// What DNS was asked for, and whether it had it.
#[derive(Debug, Default)]
pub struct Resolutions {
    pub replicas: Found,
    pub addresses: Found,
}

#[derive(Debug, Default)]
pub struct Found {
    ok: Counter,
    not_found: Counter,
}

impl Found {
    pub fn count(&self, ok: bool) {
        if ok { self.ok.incr() } else { self.not_found.incr() }
    }
}

impl Client {
    /// The client of the service at `addr`, where `tls` is expected; nothing is where it is loopback.
    pub fn new(addr: &Authority, tls: Option<&EndpointTls>) -> Self {
        let addr = Labels::new().with("addr", addr);
        let labels = addr.clone().client_tls(tls, NoServerTls::Loopback);
        Self {
            labels: labels.as_str().into(),
            addr: addr.as_str().into(),
            requests: Arc::default(),
            resolutions: Arc::default(),
            resets: Counter::default(),
            balancers: Mutex::default(),
        }
    }

    /// Shows a balancer for as long as it lives.
    pub fn balances<B: Balancing + 'static>(&self, balancer: &Arc<B>) {
        let mut all = self.balancers.lock();
        all.retain(|shown| shown.strong_count() > 0);
        all.push(Arc::downgrade(balancer) as Weak<dyn Balancing>);
    }

    /// What its balancers hold now, and what all of them were told.
    fn state(&self) -> State {
        let mut state = State::default();
        for balancer in self.balancers.lock().iter().filter_map(Weak::upgrade) {
            state.add(balancer.state());
        }
        State { resets: self.resets.value(), ..state }
    }
}

impl Controllers {
    /// Shows the client of a service. The first stays.
    pub fn show(&self, service: Service, client: Arc<Client>) {
        let _ = self.0[service as usize].set(client);
    }

    fn shown(&self) -> impl Iterator<Item = (&'static str, &Arc<Client>)> {
        let named = Service::ALL.iter().map(|(service, name)| (*name, self.0[*service as usize].get()));
        named.filter_map(|(name, client)| Some((name, client?)))
    }

    pub fn render_requests(&self, page: &mut Page) {
        let series: Vec<_> =
            self.shown().map(|(_, client)| (client.labels.clone(), client.requests.clone())).collect();
        requests::render(page, "control_", &series);
    }

    pub fn render_resolutions(&self, page: &mut Page) {
        let name = "control_dns_resolutions";
        page.family(name, "counter", "DNS look-ups of the control plane's names.");
        for (client, counts) in self.shown() {
            let Resolutions { replicas, addresses } = &*counts.resolutions;
            for (record_type, found) in [("A/AAAA", addresses), ("SRV", replicas)] {
                for (result, count) in [("ok", &found.ok), ("not_found", &found.not_found)] {
                    let labels = Labels::new().with("client", client).with("record_type", record_type);
                    let labels = labels.with("result", result);
                    page.sample(&format!("{name}_total"), labels.as_str(), count.value());
                }
            }
        }
    }

    pub fn render_balancers(&self, page: &mut Page) {
        for (name, client) in self.shown() {
            let states = [(client.addr.clone(), client.state())];
            balancers::render(page, &format!("control_{name}_balancer"), &states);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(State);

    impl Balancing for Fixed {
        fn state(&self) -> State {
            self.0
        }
    }

    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|l| l == *line), "{line}\nnot in\n{text}");
        }
    }

    #[test]
    fn clients_are_shown_as_a_scrape_shows_them() {
        let controllers = Controllers::default();
        let name = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local";
        let tls = EndpointTls { id: name.parse().unwrap(), server_name: name.parse().unwrap() };
        let identity = Arc::new(Client::new(&"10.77.0.2:8080".parse().unwrap(), Some(&tls)));
        let policy = Arc::new(Client::new(&"127.0.0.1:8090".parse().unwrap(), None));
        controllers.show(Service::Policy, policy);
        controllers.show(Service::Identity, identity.clone());
        let _ = identity.requests.start(&http::HeaderMap::new());
        identity.resolutions.replicas.count(false);
        identity.resolutions.addresses.count(true);
        let mut page = Page::default();
        controllers.render_requests(&mut page);
        controllers.render_resolutions(&mut page);
        let text = page.finish();
        assert_lines(
            &text,
            &[
                &format!(r#"control_request_total{{addr="10.77.0.2:8080",tls="true",server_id="{name}"}} 1"#),
                r#"control_request_total{addr="127.0.0.1:8090",tls="no_identity",no_tls_reason="loopback"} 0"#,
                r#"control_dns_resolutions_total{client="identity",record_type="A/AAAA",result="ok"} 1"#,
                r#"control_dns_resolutions_total{client="identity",record_type="SRV",result="not_found"} 1"#,
                r#"control_dns_resolutions_total{client="policy",record_type="SRV",result="ok"} 0"#,
            ],
        );
    }

    #[test]
    fn what_balancers_held_goes_with_them_and_what_they_were_told_stays() {
        let controllers = Controllers::default();
        let client = Arc::new(Client::new(&"dst.linkerd.svc:8086".parse().unwrap(), None));
        controllers.show(Service::Destination, client.clone());
        let page = || {
            let mut page = Page::default();
            controllers.render_balancers(&mut page);
            page.finish()
        };
        let balancer = Arc::new(Fixed(State { ready: 1, members: 3, ..State::default() }));
        client.balances(&balancer);
        client.resets.incr();
        assert_lines(
            &page(),
            &[
                r#"control_destination_balancer_endpoints{endpoint_state="ready",addr="dst.linkerd.svc:8086"} 1"#,
                r#"control_destination_balancer_endpoints{endpoint_state="pending",addr="dst.linkerd.svc:8086"} 2"#,
                r#"control_destination_balancer_p2c_endpoints{addr="dst.linkerd.svc:8086"} 3"#,
                r#"control_destination_balancer_p2c_updates_total{op="Reset",addr="dst.linkerd.svc:8086"} 1"#,
                r#"control_destination_balancer_p2c_updates_total{op="Add",addr="dst.linkerd.svc:8086"} 0"#,
            ],
        );
        drop(balancer);
        assert_lines(
            &page(),
            &[
                r#"control_destination_balancer_p2c_endpoints{addr="dst.linkerd.svc:8086"} 0"#,
                r#"control_destination_balancer_p2c_updates_total{op="Reset",addr="dst.linkerd.svc:8086"} 1"#,
            ],
        );
    }
}
