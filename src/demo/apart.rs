//! How does redirection tell a proxy's connections from its application's?

use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

use super::process::Program;
use crate::redirect::Rules;

/// What is of the proxy alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// Its user, as in a cluster (contract 1.1).
    ByUser,
    /// The mark of its connections: in a user namespace of one user there is no other.
    ByMark,
}

impl Apart {
    /// Whichever this machine has.
    #[must_use]
    pub fn here() -> Self {
        // Where there are no user namespaces every user is there.
        let map = std::fs::read_to_string("/proc/self/uid_map");
        if map.is_ok_and(|map| !maps(&map, PROXY_UID)) { Self::ByMark } else { Self::ByUser }
    }

    #[must_use]
    pub fn rules(self, rules: Rules) -> Rules {
        match self {
            Self::ByUser => Rules { proxy_uid: Some(PROXY_UID), ..rules },
            Self::ByMark => Rules { proxy_uid: None, proxy_mark: Some(PROXY_MARK), ..rules },
        }
    }

    /// What a proxy is told besides the injector's variables.
    #[must_use]
    pub fn env(self) -> Option<(String, String)> {
        let marks = self == Self::ByMark;
        marks.then(|| ("CAUSEWAY_MARK".to_owned(), PROXY_MARK.to_string()))
    }

    #[must_use]
    pub fn proxy(self, program: Program) -> Program {
        let program = program.env(self.env());
        if self == Self::ByUser { program.uid(PROXY_UID) } else { program }
    }

    /// Makes the proxy's user the owner of `path` and of what is in it.
    ///
    /// # Errors
    /// When there is no such file, or it is somebody else's.
    pub fn give(self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            for file in std::fs::read_dir(path)? {
                self.give(&file?.path())?;
            }
        }
        match self {
            Self::ByUser => chown(path, Some(PROXY_UID), Some(PROXY_UID)),
            Self::ByMark => Ok(()),
        }
    }
}

/// Whether a user is among these lines of "first inside, first outside, count".
fn maps(map: &str, uid: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map_while(|number| number.parse::<u64>().ok());
        let (first, count) = (numbers.next(), numbers.nth(1));
        first.zip(count).is_some_and(|(first, count)| (first..first + count).contains(&u64::from(uid)))
    })
}

/// The proxy's user (contract 1.1).
pub const PROXY_UID: u32 = 2102;
const PROXY_MARK: u32 = PROXY_UID;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_those_of_the_map() {
        assert!(maps("         0          0 4294967295\n", PROXY_UID));
        assert!(!maps("         0       1000          1\n", PROXY_UID));
        assert!(maps("0 1000 1\n1 100000 65536\n", PROXY_UID));
        assert!(!maps("", 0));
    }
}
