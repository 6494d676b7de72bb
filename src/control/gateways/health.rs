//! When does a gateway count as dead, and as alive again (controlplane 1.9)?
//!
//! It has to have been alive to die: mirrors start with a gateway that counts as alive, this starts with one
//! that is not known to be. So one that never answered is never reported.

/// What is known of one gateway by its probes.
#[derive(Clone, Debug)]
pub(super) struct Health {
    threshold: u32,
    /// In a row.
    failures: u32,
    alive: bool,
}

/// What one probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// `None`: it failed, and not often enough in a row to say anything.
    pub(super) answered: Option<bool>,
    /// Whether the gateway is now alive, if it was not, or dead, if it was alive.
    pub(super) changed: Option<bool>,
}

impl Health {
    pub(super) fn new(threshold: u32) -> Self {
        Self { threshold, failures: 0, alive: false }
    }

    pub(super) fn after(&mut self, success: bool) -> Seen {
        self.failures = if success { 0 } else { self.failures.saturating_add(1) };
        if !success && self.failures < self.threshold {
            return Seen { answered: None, changed: None };
        }
        let changed = (self.alive != success).then_some(success);
        self.alive = success;
        Seen { answered: Some(success), changed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` for what answers, `-` for what does not; says what changed with each.
    fn changes(threshold: u32, probes: &str) -> String {
        let mut health = Health::new(threshold);
        let seen = probes.chars().map(|probe| match health.after(probe == '+').changed {
            Some(true) => 'a',
            Some(false) => 'd',
            None => '.',
        });
        seen.collect()
    }

    #[test]
    fn a_gateway_dies_after_so_many_failures_in_a_row_and_lives_at_the_first_answer() {
        assert_eq!(changes(3, "+--+---+-"), "a.....da.");
        assert_eq!(changes(1, "+-+-"), "adad");
    }

    #[test]
    fn a_gateway_that_never_answered_is_never_reported_dead() {
        assert_eq!(changes(3, "--------+---"), "........a..d");
    }

    #[test]
    fn failures_count_from_the_threshold_on() {
        let mut health = Health::new(2);
        let answered: Vec<_> = [false, false, false, true].map(|ok| health.after(ok).answered).into();
        assert_eq!(answered, [None, Some(false), Some(false), Some(true)]);
    }
}
