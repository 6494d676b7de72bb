//! Which latency did a share of the requests stay below?
//!
//! As Prometheus estimates it from cumulative buckets: linear within the bucket that holds the rank, the
//! highest finite bound beyond that.

/// Cumulative counts by upper bound.
#[derive(Clone, Debug, Default)]
pub struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// Adds `count` to the bucket with bound `le`. A bound that is no number is left out.
    pub fn add(&mut self, le: &str, count: f64) {
        let Ok(bound) = le.parse::<f64>() else { return };
        if bound.is_nan() {
            return;
        }
        match self.0.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
            Ok(at) => self.0[at].1 += count,
            Err(at) => self.0.insert(at, (bound, count)),
        }
    }

    /// NaN without observations or without the bucket `+Inf`.
    pub fn quantile(&self, q: f64) -> f64 {
        let monotonic = self.0.iter().scan(0.0_f64, |highest, (bound, count)| {
            *highest = highest.max(*count);
            Some((*bound, *highest))
        });
        let buckets: Vec<(f64, f64)> = monotonic.collect();
        let Some((&(last_bound, total), finite)) = buckets.split_last() else { return f64::NAN };
        if last_bound != f64::INFINITY || total == 0.0 || finite.is_empty() {
            return f64::NAN;
        }
        let rank = q * total;
        let at = finite.partition_point(|(_, count)| *count < rank);
        let Some(&(end, count)) = finite.get(at) else { return finite[finite.len() - 1].0 };
        let (start, before) = if at == 0 { (0.0, 0.0) } else { finite[at - 1] };
        start + (end - start) * ((rank - before) / (count - before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(&str, f64)]) -> Buckets {
        let mut buckets = Buckets::default();
        counts.iter().for_each(|(le, count)| buckets.add(le, *count));
        buckets
    }

    #[test]
    fn ranks_fall_linearly_within_a_bucket() {
        let buckets = buckets(&[("+Inf", 100.0), ("10", 60.0), ("20", 100.0)]);
        assert_eq!(buckets.quantile(0.5), 10.0 * 50.0 / 60.0);
        assert_eq!(buckets.quantile(0.8), 15.0);
        assert_eq!(buckets.quantile(1.0), 20.0);
    }

    #[test]
    fn beyond_the_last_bound_there_is_only_the_last_bound() {
        assert_eq!(buckets(&[("10", 1.0), ("20", 1.0), ("+Inf", 100.0)]).quantile(0.99), 20.0);
    }

    #[test]
    fn without_observations_there_is_no_number() {
        for counts in [&[][..], &[("10", 0.0), ("+Inf", 0.0)], &[("10", 5.0)], &[("+Inf", 5.0)]] {
            assert!(buckets(counts).quantile(0.5).is_nan(), "{counts:?}");
        }
    }

    #[test]
    fn equal_bounds_add_up_and_dents_are_levelled() {
        let buckets = buckets(&[("1", 3.0), ("1", 1.0), ("2", 3.0), ("+Inf", 4.0)]);
        assert_eq!(buckets.quantile(1.0), 1.0);
    }
}
