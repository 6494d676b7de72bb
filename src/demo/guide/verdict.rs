//! Did the guide's promise hold? Judged by what the two load generators saw themselves.

use crate::demo::image::slow_cooker::Report;

/// What the load generators counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// `slow-cooker`, which the policy lets in.
    pub(super) admitted: Report,
    /// `slow-cooker-evil`, which it does not.
    pub(super) refused: Report,
}

impl Verdict {
    /// What is not as promised; empty if all is well.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let (good, all) = (self.admitted.with(200), self.admitted.total());
        if good < FEWEST {
            problems.push(format!("slow-cooker: {good} successes, expected at least {FEWEST}"));
        }
        // 99.9 %, in whole numbers.
        if good * 1000 < all * 999 {
            problems.push(format!(
                "slow-cooker: {good} of {all} requests succeeded: {}",
                spelled(&self.admitted)
            ));
        }
        let (denied, all) = (self.refused.with(403), self.refused.total());
        if denied < FEWEST {
            problems.push(format!("slow-cooker-evil: {denied} refusals, expected at least {FEWEST}"));
        }
        if denied != all {
            problems.push(format!(
                "slow-cooker-evil: {denied} of {all} requests got 403: {}",
                spelled(&self.refused)
            ));
        }
        problems
    }

    /// One line for people.
    pub(super) fn summary(&self) -> String {
        format!(
            "slow-cooker: {} of {} requests succeeded; slow-cooker-evil: {} of {} got 403",
            self.admitted.with(200),
            self.admitted.total(),
            self.refused.with(403),
            self.refused.total(),
        )
    }
}

fn spelled(report: &Report) -> String {
    let statuses = report.statuses.iter().map(|(status, count)| format!("{status}: {count}"));
    let all: Vec<_> = statuses.chain([format!("no answer: {}", report.failed)]).collect();
    all.join(", ")
}

/// Fewer requests than this prove nothing.
const FEWEST: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ok: u64, denied: u64, failed: u64) -> Report {
        Report { statuses: [(200, ok), (403, denied)].into(), failed }
    }

    fn problems(admitted: Report, refused: Report) -> Vec<String> {
        Verdict { admitted, refused }.problems()
    }

    #[test]
    fn the_guides_outcome_is_accepted() {
        assert_eq!(problems(report(50, 0, 0), report(0, 50, 0)), Vec::<String>::new());
        assert_eq!(problems(report(999, 0, 1), report(0, 50, 0)), Vec::<String>::new());
    }

    #[test]
    fn too_few_or_failing_requests_are_not() {
        assert_eq!(problems(report(49, 0, 0), report(0, 50, 0)).len(), 1);
        assert_eq!(problems(report(998, 0, 2), report(0, 50, 0)).len(), 1);
        assert_eq!(problems(report(998, 2, 0), report(0, 50, 0)).len(), 1);
        assert_eq!(problems(report(50, 0, 0), report(0, 49, 0)).len(), 1);
        assert_eq!(problems(Report::default(), Report::default()).len(), 2);
    }

    #[test]
    fn a_single_request_that_slipped_through_is_not() {
        let problems = problems(report(100, 0, 0), report(1, 100, 0));
        assert_eq!(
            problems,
            ["slow-cooker-evil: 100 of 101 requests got 403: 200: 1, 403: 100, no answer: 0"]
        );
        assert_eq!(Verdict { admitted: report(100, 0, 0), refused: report(0, 100, 1) }.problems().len(), 1);
    }
}
