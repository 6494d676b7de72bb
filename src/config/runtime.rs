//! What this process may use: how many worker threads carry traffic (contract 1.1), and how much memory there is.

/// The limits that were set; what is available decides the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cores {
    pub min: usize,
    pub max: Option<usize>,
    /// Above 0, up to 1: the part of the available cores to use, if `max` is not set.
    pub max_ratio: Option<f64>,
}

impl Cores {
    /// Worker threads on a machine with `available` cores; at least 1, which asks for a runtime on the
    /// current thread.
    pub fn workers(&self, available: usize) -> usize {
        let by_ratio = || self.max_ratio.map(|ratio| (available as f64 * ratio).round() as usize);
        self.max.or_else(by_ratio).unwrap_or(1).max(self.min).min(available).max(1)
    }
}

/// Bytes that this process, with the others of its container, may use; `None` where there is no limit. Asked of both
/// versions of the kernel's control groups.
pub fn memory_limit() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
        // The first version writes a number where there is no limit.
        .filter(|limit| *limit < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_wins_over_the_maximum_and_the_machine_over_both() {
        let workers = |min, max, max_ratio, available| Cores { min, max, max_ratio }.workers(available);
        assert_eq!(workers(1, None, None, 8), 1);
        assert_eq!(workers(1, Some(4), None, 8), 4);
        assert_eq!(workers(1, Some(3), Some(0.5), 10), 3);
        assert_eq!(workers(1, None, Some(0.5), 10), 5);
        assert_eq!(workers(4, Some(2), None, 8), 4);
        assert_eq!(workers(1, Some(4), None, 2), 2);
        assert_eq!(workers(1, None, Some(0.01), 2), 1);
        assert_eq!(workers(1, None, None, 0), 1);
    }
}
