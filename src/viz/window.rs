//! How much has each counter grown between scrapes?

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::scrape::{Labels, Sample};

/// Which pod a scrape is of: the labels that scraping adds to every sample (controlplane 7.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub namespace: String,
    pub pod: String,
    pub deployment: String,
}

/// One page of one pod.
#[derive(Clone, Debug)]
pub struct Scrape {
    pub origin: Origin,
    pub at: Instant,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected scrapes of at least two moments")]
pub struct TooShort;

/// Several scrapes of several pods, compared.
#[derive(Clone, Debug)]
pub struct Window {
    length: Duration,
    pods: Vec<(Origin, Growth)>,
}

#[derive(Clone, Debug, Default)]
struct Growth {
    /// By family and labels: the last value seen and the increase since the pod's first scrape.
    series: BTreeMap<(String, Labels), (f64, f64)>,
    /// What the pod's last scrape says.
    last: Vec<Sample>,
}

impl Window {
    /// `scrapes` in any order. The window reaches from the earliest to the latest of them all.
    pub fn new(mut scrapes: Vec<Scrape>) -> Result<Self, TooShort> {
        scrapes.sort_by_key(|scrape| scrape.at);
        let length = match (scrapes.first(), scrapes.last()) {
            (Some(first), Some(last)) if last.at > first.at => last.at - first.at,
            _ => return Err(TooShort),
        };
        let mut pods: BTreeMap<Origin, Growth> = BTreeMap::new();
        for scrape in scrapes {
            match pods.get_mut(&scrape.origin) {
                Some(growth) => growth.grow(scrape.samples),
                None => {
                    pods.insert(scrape.origin, Growth::from_first(scrape.samples));
                }
            }
        }
        Ok(Self { length, pods: pods.into_iter().collect() })
    }

    pub fn length(&self) -> Duration {
        self.length
    }

    /// Events a second.
    pub fn rate(&self, events: u64) -> f64 {
        events as f64 / self.length.as_secs_f64()
    }

    /// The increase of each series of a counter family.
    pub fn increases<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a Origin, &'a Labels, f64)> {
        self.pods.iter().flat_map(move |(origin, growth)| {
            let series = growth.series.iter().filter(move |((name, _), _)| name == family);
            series.map(move |((_, labels), (_, increase))| (origin, labels, *increase))
        })
    }

    /// The latest value of each series of a gauge family.
    pub fn latest<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a Origin, &'a Labels, f64)> {
        self.pods.iter().flat_map(move |(origin, growth)| {
            let samples = growth.last.iter().filter(move |sample| sample.name == family);
            samples.map(move |sample| (origin, &sample.labels, sample.value))
        })
    }
}

impl Growth {
    fn from_first(samples: Vec<Sample>) -> Self {
        let baseline = samples.iter().map(|s| ((s.name.clone(), s.labels.clone()), (s.value, 0.0)));
        Self { series: baseline.collect(), last: samples }
    }

    /// A series that the first scrape lacks began at 0; one that shrinks began again at 0.
    fn grow(&mut self, samples: Vec<Sample>) {
        for sample in &samples {
            let key = (sample.name.clone(), sample.labels.clone());
            let (seen, increase) = self.series.entry(key).or_default();
            *increase += if sample.value >= *seen { sample.value - *seen } else { sample.value };
            *seen = sample.value;
        }
        self.last = samples;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viz::scrape::parse;

    fn scrapes(pod: &str, pages: &[(u64, &str)]) -> Vec<Scrape> {
        let start = Instant::now();
        let origin = Origin { namespace: "ns".into(), pod: pod.into(), deployment: "web".into() };
        let one = |(secs, page): &(u64, &str)| Scrape {
            origin: origin.clone(),
            at: start + Duration::from_secs(*secs),
            samples: parse(page).unwrap(),
        };
        pages.iter().map(one).collect()
    }

    fn increases(window: &Window) -> Vec<f64> {
        window.increases("x_total").map(|(_, _, increase)| increase).collect()
    }

    #[test]
    fn counters_grow_from_their_first_value_or_from_nothing() {
        let pages = [(60, "x_total{a=\"1\"} 107\nx_total{a=\"2\"} 5"), (0, "x_total{a=\"1\"} 100")];
        let window = Window::new(scrapes("p", &pages)).unwrap();
        assert_eq!(increases(&window), [7.0, 5.0]);
        assert_eq!(window.length(), Duration::from_secs(60));
        assert_eq!(window.rate(6), 0.1);
    }

    #[test]
    fn a_restarted_counter_loses_nothing() {
        let pages = [(0, "x_total 100"), (10, "x_total 110"), (20, "x_total 3"), (30, "x_total 4")];
        assert_eq!(increases(&Window::new(scrapes("p", &pages)).unwrap()), [14.0]);
    }

    #[test]
    fn pods_are_compared_each_with_itself() {
        let mut both = scrapes("p", &[(0, "x_total 1"), (10, "x_total 2")]);
        both.extend(scrapes("q", &[(0, "x_total 50"), (10, "x_total 55")]));
        both.extend(scrapes("once", &[(5, "x_total 1000")]));
        assert_eq!(increases(&Window::new(both).unwrap()).iter().sum::<f64>(), 6.0);
    }

    #[test]
    fn gauges_are_as_they_were_last() {
        let pages = [(0, "g{a=\"gone\"} 9\ng{a=\"1\"} 4"), (10, "g{a=\"1\"} 3")];
        let window = Window::new(scrapes("p", &pages)).unwrap();
        assert_eq!(window.latest("g").map(|(_, _, value)| value).collect::<Vec<_>>(), [3.0]);
    }

    #[test]
    fn one_moment_is_no_window() {
        assert_eq!(Window::new(Vec::new()).map(|_| ()), Err(TooShort));
        assert_eq!(Window::new(scrapes("p", &[(0, "x_total 1")])).map(|_| ()), Err(TooShort));
    }
}
