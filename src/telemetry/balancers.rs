//! What do balancers hold (contract 6.2)?
//!
//! Read from the balancers themselves at each scrape; one that is gone takes its series with it.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::labels::Labels;
use super::page::Page;
use crate::model::{Authority, ResourceRef};

/// Something whose state is shown.
pub trait Balancing: Send + Sync {
    fn state(&self) -> State;

    /// How much goes past local endpoints, where they come first.
    fn spill(&self, _: Use) -> Option<Spill> {
        None
    }
}

/// A balancer at the moment of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub ready: usize,
    pub members: usize,
    /// Updates since its beginning, by kind.
    pub resets: u64,
    pub additions: u64,
    pub removals: u64,
    pub spill: Option<Spill>,
}

/// Whether local endpoints have more than they can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spill {
    /// 1 while they do.
    pub spilling: u64,
    /// How often that has changed.
    pub changes: u64,
    /// What went elsewhere therefore.
    pub spilled: u64,
}

/// What a balancer is used for: each use has families of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Http,
    Tcp,
    /// By the server's name that TLS asks for.
    Tls,
}

impl Use {
    pub const ALL: [Self; 3] = [Self::Http, Self::Tcp, Self::Tls];
}

/// Something for each use, found by `used as usize`.
pub type ByUse<T> = [T; Use::ALL.len()];

/// Every balancer in use.
#[derive(Default)]
pub struct Balancers(ByUse<Mutex<Vec<Shown>>>);

struct Shown {
    labels: Arc<str>,
    balancer: Weak<dyn Balancing>,
}

impl Balancers {
    /// Shows a balancer for as long as it lives. To be called once for each use.
    pub fn show<B: Balancing + 'static>(
        &self,
        used: Use,
        parent: &ResourceRef,
        (backend, authority): (&ResourceRef, &Authority),
        balancer: &Arc<B>,
    ) {
        let labels = Labels::new().parent(parent).backend(backend);
        let labels = match used {
            Use::Http => labels,
            Use::Tcp | Use::Tls => labels.with("logical", authority).with("concrete", authority),
        };
        let balancer = Arc::downgrade(balancer) as Weak<dyn Balancing>;
        let mut all = self.0[used as usize].lock();
        all.retain(|shown| shown.balancer.strong_count() > 0);
        all.push(Shown { labels: labels.as_str().into(), balancer });
    }

    /// Two balancers with the same labels, as two addresses of one service have, are added up.
    fn states(&self, used: Use) -> Vec<(Arc<str>, State)> {
        let mut states = std::collections::BTreeMap::<Arc<str>, State>::new();
        for shown in self.0[used as usize].lock().iter() {
            if let Some(balancer) = shown.balancer.upgrade() {
                let state = State { spill: balancer.spill(used), ..balancer.state() };
                states.entry(shown.labels.clone()).or_default().add(state);
            }
        }
        states.into_iter().collect()
    }

    pub fn render(&self, page: &mut Page, used: Use) {
        let (prefix, local_first) = match used {
            Use::Http => ("outbound_http_balancer", "causeway_outbound_http_local_first"),
            Use::Tcp => ("outbound_tcp_balancer", "causeway_outbound_tcp_local_first"),
            Use::Tls => ("outbound_tls_balancer", "causeway_outbound_tls_local_first"),
        };
        let states = self.states(used);
        render(page, prefix, &states);
        render_spill(page, local_first, &states);
    }
}

/// The families of balancers whose names begin with `prefix`; nothing at all where there is none.
pub(super) fn render(page: &mut Page, prefix: &str, states: &[(Arc<str>, State)]) {
    if states.is_empty() {
        return;
    }
    let name = format!("{prefix}_endpoints");
    page.family(&name, "gauge", "Endpoints of a backend, by whether they are ready.");
    for (labels, state) in states {
        let pending = state.members.saturating_sub(state.ready);
        for (kind, count) in [("ready", state.ready), ("pending", pending)] {
            page.sample(&name, &format!("endpoint_state=\"{kind}\",{labels}"), count);
        }
    }
    let name = format!("{prefix}_p2c_endpoints");
    page.family(&name, "gauge", "Endpoints that a backend's balancer chooses from.");
    states.iter().for_each(|(labels, state)| page.sample(&name, labels, state.members));
    let name = format!("{prefix}_p2c_updates");
    page.family(&name, "counter", "Updates of a backend's endpoints.");
    for (labels, state) in states {
        let ops = [("Reset", state.resets), ("Add", state.additions), ("Remove", state.removals)];
        for (op, count) in ops {
            page.sample(&format!("{name}_total"), &format!("op=\"{op}\",{labels}"), count);
        }
    }
}

/// Families of our own, there only where the setting is.
fn render_spill(page: &mut Page, prefix: &str, states: &[(Arc<str>, State)]) {
    let spills = || states.iter().filter_map(|(labels, state)| Some((labels, state.spill?)));
    if spills().next().is_none() {
        return;
    }
    let name = format!("{prefix}_spilling");
    page.family(&name, "gauge", "Whether local endpoints have more than they can take.");
    spills().for_each(|(labels, spill)| page.sample(&name, labels, spill.spilling));
    for (what, help, value) in [
        ("changes", "Times that spilling began or ended.", (|spill| spill.changes) as fn(Spill) -> u64),
        ("spilled", "What went elsewhere because local endpoints had enough.", |spill| spill.spilled),
    ] {
        let name = format!("{prefix}_{what}");
        page.family(&name, "counter", help);
        spills().for_each(|(labels, spill)| page.sample(&format!("{name}_total"), labels, value(spill)));
    }
}

impl State {
    pub(super) fn add(&mut self, other: Self) {
        self.ready += other.ready;
        self.members += other.members;
        self.resets += other.resets;
        self.additions += other.additions;
        self.removals += other.removals;
        if let Some(other) = other.spill {
            let spill = self.spill.get_or_insert_default();
            spill.spilling |= other.spilling;
            spill.changes += other.changes;
            spill.spilled += other.spilled;
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

    #[test]
    fn what_spills_is_shown_where_local_endpoints_come_first() {
        let mut page = Page::default();
        let spill = |spilling, spilled| {
            let spill = Some(Spill { spilling, changes: 1, spilled });
            State { spill, ..State::default() }
        };
        let mut both = spill(0, 2);
        both.add(spill(1, 3));
        render_spill(&mut page, "x", &[("a=\"1\"".into(), both), ("a=\"2\"".into(), State::default())]);
        let text = page.finish();
        for line in ["x_spilling{a=\"1\"} 1", "x_changes_total{a=\"1\"} 2", "x_spilled_total{a=\"1\"} 5"] {
            assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
        }
        assert!(!text.contains("a=\"2\""), "{text}");
    }

    fn page(balancers: &Balancers, used: Use) -> String {
        let mut page = Page::default();
        balancers.render(&mut page, used);
        page.finish()
    }

    #[test]
    fn balancers_are_shown_while_they_live_and_added_up() {
        let balancers = Balancers::default();
        let meta = ResourceRef::default_named("web");
        let authority: Authority = "web.lab:80".parse().unwrap();
        let state = State { ready: 1, members: 3, resets: 1, additions: 2, ..State::default() };
        let both = [Arc::new(Fixed(state)), Arc::new(Fixed(state))];
        both.iter().for_each(|one| balancers.show(Use::Tcp, &meta, (&meta, &authority), one));
        let text = page(&balancers, Use::Tcp);
        let labels = r#"parent_group="",parent_kind="default",parent_namespace="",parent_name="web",parent_port="",parent_section_name="",backend_group="",backend_kind="default",backend_namespace="",backend_name="web",backend_port="",backend_section_name="",logical="web.lab:80",concrete="web.lab:80""#;
        for line in [
            format!("outbound_tcp_balancer_endpoints{{endpoint_state=\"ready\",{labels}}} 2"),
            format!("outbound_tcp_balancer_endpoints{{endpoint_state=\"pending\",{labels}}} 4"),
            format!("outbound_tcp_balancer_p2c_endpoints{{{labels}}} 6"),
            format!("outbound_tcp_balancer_p2c_updates_total{{op=\"Add\",{labels}}} 4"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
        }
        assert_eq!(page(&balancers, Use::Http), "# EOF\n");
        drop(both);
        assert_eq!(page(&balancers, Use::Tcp), "# EOF\n");
    }
}
