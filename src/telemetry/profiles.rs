//! What becomes of requests by the routes of service profiles (contract 6.1)?
//!
//! As the application sees them, `route_`, and as endpoints do, which a request may meet several times,
//! `route_actual_`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::labels::Labels;
use super::metric::Counter;
use super::page::Page;
use super::registry::{Budget, Family, Metric};
use super::requests::{self, Requests};
use crate::model::Authority;

/// All series about routes of profiles.
pub struct ProfileRoutes {
    asked: Family<Requests>,
    sent: Family<Requests>,
    retries: Family<Retryable>,
}

/// The counts of one route of a profile.
#[derive(Clone, Debug)]
pub struct ProfileRoute {
    /// Requests as they came, and what was answered in the end.
    pub asked: Arc<Requests>,
    /// Each time that one was sent.
    pub sent: Arc<Requests>,
    /// Of a route whose requests may be sent again.
    pub retries: Option<Arc<Retryable>>,
}

/// Responses that are failures of a kind to try again for.
#[derive(Debug, Default)]
pub struct Retryable {
    pub all: Counter,
    /// Those for which nothing was left of the budget.
    pub no_budget: Counter,
}

impl Metric for Retryable {
    fn activity(&self) -> u64 {
        self.all.value()
    }
}

impl ProfileRoutes {
    pub fn new(budget: &Budget) -> Self {
        Self {
            asked: budget.family("route_request_total"),
            sent: budget.family("route_actual_request_total"),
            retries: budget.family("route_retryable_total"),
        }
    }

    /// `labels` are the route's own: none of the default route.
    pub fn route(&self, dst: &Authority, labels: &BTreeMap<String, String>, retries: bool) -> ProfileRoute {
        let labels = Labels::new().outbound().chosen("dst", dst).rt(labels);
        ProfileRoute {
            asked: self.asked.get(&labels),
            sent: self.sent.get(&labels),
            retries: retries.then(|| self.retries.get(&labels)),
        }
    }

    /// Requests that arrive here for a Service, by the route of its profile. They are sent once. Callers name the port.
    pub fn inbound(&self, dst: &Authority, labels: &BTreeMap<String, String>) -> Arc<Requests> {
        self.asked.get(&Labels::new().inbound().unproven_value("dst", dst).rt(labels))
    }

    pub fn render(&self, page: &mut Page) {
        requests::render(page, "route_", &self.asked.scrape());
        self.render_retries(page);
        let sent = self.sent.scrape();
        if !sent.is_empty() {
            requests::render_requests(page, "route_actual_", &sent);
            requests::render_responses(page, "route_actual_", &sent);
        }
    }

    fn render_retries(&self, page: &mut Page) {
        let series = self.retries.scrape();
        if series.is_empty() {
            return;
        }
        let name = "route_retryable_total";
        page.family(name, "counter", "HTTP responses to try again for.");
        for (labels, one) in series {
            page.sample(name, &labels, one.all.value());
            page.sample(name, &format!("{labels},skipped=\"no_budget\""), one.no_budget.value());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::model::service_profile::{Condition, ResponseClass, StatusRange};

    #[test]
    fn routes_are_shown_by_target_and_name_and_judged_by_their_classes() {
        let routes = ProfileRoutes::new(&Budget::new(Duration::from_secs(600)));
        let dst = "bb.demo.svc.cluster.local:8080".parse().unwrap();
        let labels =
            [("route", "GET /a"), ("x-y", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let route = routes.route(&dst, &labels.into(), true);
        let condition = Condition::Is(StatusRange { min: 404, max: 404 });
        let classes: Arc<[_]> = [ResponseClass { condition, failure: true }].into();
        for status in [404, 200] {
            let status = StatusCode::from_u16(status).unwrap();
            let asked = route.asked.start(&HeaderMap::new()).judged_by(Some(&classes));
            drop(asked.response(status, &HeaderMap::new()));
        }
        route.retries.as_ref().unwrap().all.incr();
        routes
            .route(&dst, &BTreeMap::new(), false)
            .sent
            .start(&HeaderMap::new())
            .failed(requests::ResponseError::Timeout);
        let mut page = Page::default();
        routes.render(&mut page);
        let page = page.finish();
        let of = r#"direction="outbound",dst="bb.demo.svc.cluster.local:8080""#;
        let named = format!(r#"{of},rt_route="GET /a",rt_x_y="1""#);
        for line in [
            format!("route_request_total{{{named}}} 2"),
            format!("route_response_latency_ms_count{{{named},status_code=\"404\"}} 1"),
            format!(
                "route_response_total{{{named},status_code=\"404\",classification=\"failure\",grpc_status=\"\",error=\"\"}} 1"
            ),
            format!(
                "route_response_total{{{named},status_code=\"200\",classification=\"success\",grpc_status=\"\",error=\"\"}} 1"
            ),
            format!("route_retryable_total{{{named}}} 1"),
            format!("route_retryable_total{{{named},skipped=\"no_budget\"}} 0"),
            format!("route_actual_request_total{{{of}}} 1"),
            format!(
                "route_actual_response_total{{{of},classification=\"failure\",grpc_status=\"\",error=\"timeout\"}} 1"
            ),
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} not in\n{page}");
        }
        assert!(!page.contains("route_actual_response_latency_ms"));
    }
}
