//! Whom does policy let in, and whom not? The table `viz authz -n NS deploy`, controlplane 7.6.

use std::collections::BTreeMap;

use super::scrape::Labels;
use super::table::{Align, Table};
use super::window::Window;
use super::{Traffic, inbound_traffic, rounded};

/// What one authorization let through to one route of one server; with an empty authorization, what was
/// refused there.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthzRow {
    pub route: String,
    /// With `default:` in front where no `Server` selects the port.
    pub server: String,
    /// Kind and name; empty where nothing authorized.
    pub authorization: String,
    pub denied: u64,
    /// Requests refused a second.
    pub unauthorized_rps: f64,
    pub traffic: Traffic,
    /// Requests a second.
    pub rps: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    route_kind: String,
    route: String,
    authz_kind: String,
    authz: String,
    server_kind: String,
    server: String,
}

/// The rows of a namespace, over all of its workloads, by server, route and authorization. Without any
/// traffic only authorizations that someone wrote are shown.
pub fn rows(window: &Window, namespace: &str) -> Vec<AuthzRow> {
    let mut groups: BTreeMap<Group, (Traffic, u64)> = BTreeMap::new();
    let traffic =
        inbound_traffic(window, |origin, labels| (origin.namespace == namespace).then(|| Group::of(labels)));
    groups.extend(traffic.into_iter().map(|(group, traffic)| (group, (traffic, 0))));
    for group in by_group(window, namespace, "inbound_http_authz_allow_total").into_keys() {
        groups.entry(group).or_default();
    }
    for (group, denied) in by_group(window, namespace, "inbound_http_authz_deny_total") {
        groups.entry(group).or_default().1 = rounded(denied);
    }
    let shown = groups.into_iter().filter(|(group, (traffic, denied))| {
        traffic.total() + denied > 0 || !["", "default"].contains(&group.authz_kind.as_str())
    });
    let mut rows: Vec<AuthzRow> =
        shown.map(|(group, (traffic, denied))| group.row(window, traffic, denied)).collect();
    rows.sort_by(|a, b| {
        (&a.server, &a.route, &a.authorization).cmp(&(&b.server, &b.route, &b.authorization))
    });
    rows
}

fn by_group(window: &Window, namespace: &str, family: &str) -> BTreeMap<Group, f64> {
    let mut groups: BTreeMap<Group, f64> = BTreeMap::new();
    for (origin, labels, increase) in window.increases(family) {
        if origin.namespace == namespace {
            *groups.entry(Group::of(labels)).or_default() += increase;
        }
    }
    groups
}

impl Group {
    fn of(labels: &Labels) -> Self {
        let get = |name| labels.get(name).to_string();
        Self {
            route_kind: get("route_kind"),
            route: get("route_name"),
            authz_kind: get("authz_kind"),
            authz: get("authz_name"),
            server_kind: get("srv_kind"),
            server: get("srv_name"),
        }
    }

    fn row(self, window: &Window, traffic: Traffic, denied: u64) -> AuthzRow {
        let authorization = match self.authz_kind.as_str() {
            "" => String::new(),
            kind => format!("{kind}/{}", self.authz),
        };
        let server = match self.server_kind.as_str() {
            "default" => format!("default:{}", self.server),
            _ => self.server,
        };
        AuthzRow {
            route: self.route,
            server,
            authorization,
            denied,
            unauthorized_rps: window.rate(denied),
            traffic,
            rps: window.rate(traffic.total()),
        }
    }
}

/// The table as the guide shows it.
pub fn print(rows: &[AuthzRow]) -> String {
    let columns = [
        ("ROUTE", Align::Left),
        ("SERVER", Align::Left),
        ("AUTHORIZATION", Align::Left),
        ("UNAUTHORIZED", Align::Right),
        ("SUCCESS", Align::Right),
        ("RPS", Align::Right),
        ("LATENCY_P50", Align::Right),
        ("LATENCY_P95", Align::Right),
        ("LATENCY_P99", Align::Right),
    ];
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    Table { columns: &columns, gap: "  ", gap_at_end: true }.print(&cells)
}

fn cells(row: &AuthzRow) -> Vec<String> {
    let mut cells = vec![row.route.clone(), row.server.clone(), row.authorization.clone()];
    if row.traffic.total() + row.denied == 0 {
        cells.extend(std::iter::repeat_n("-".to_string(), 6));
        return cells;
    }
    cells.extend([
        format!("{:.1}rps", row.unauthorized_rps),
        format!("{:.2}%", row.traffic.success_rate() * 100.0),
        format!("{:.1}rps", row.rps),
        format!("{}ms", row.traffic.p50_ms),
        format!("{}ms", row.traffic.p95_ms),
        format!("{}ms", row.traffic.p99_ms),
    ]);
    cells
}
