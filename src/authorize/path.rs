//! What else an application may take a path for: percent signs decoded, once or twice; overlong forms of letters taken
//! for the letters; backslashes for slashes; the rest after `?`, `#` or NUL cut off once they are decoded; parameters
//! (`;…`) cut from segments; dot segments walked; doubled and last slashes dropped.

/// Paths that are looked at for one, and bytes of all together.
const MOST: usize = 32;
const ROOM: usize = 256 * 1024;

/// Each is taken of every form that those before it led to.
const STEPS: [fn(&str) -> String; 8] =
    [decode, decode, slashes, cut, without_parameters, walk, walk_merged, without_last_slashes];

/// The other readings of `path`: none for a path that everyone reads alike. `None` if there are too many.
pub(super) fn readings(path: &str) -> Option<Vec<String>> {
    if is_plain(path) {
        return Some(Vec::new());
    }
    let mut forms = vec![path.to_owned()];
    let mut room = ROOM.checked_sub(path.len())?;
    for step in STEPS {
        for at in 0..forms.len() {
            let form = step(&forms[at]);
            if forms.contains(&form) {
                continue;
            }
            if forms.len() == MOST {
                return None;
            }
            room = room.checked_sub(form.len())?;
            forms.push(form);
        }
    }
    forms.remove(0);
    Some(forms)
}

fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let after_slash = std::mem::replace(&mut before, byte) == b'/';
        !(matches!(byte, b'%' | b'\\' | b';') || after_slash && matches!(byte, b'/' | b'.'))
    })
}

/// Decodes once; what is no escape stays.
fn decode(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = if byte == b'%' { after.first_chunk::<2>().and_then(escaped) } else { None };
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|error| lenient(error.as_bytes()))
}

fn escaped(digits: &[u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

/// Reads UTF-8 as those do who do not mind more bytes than a character needs: `c0 af` is `/`. Other bytes become a mark
/// that no route names.
fn lenient(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    while let Some((&first, after)) = bytes.split_first() {
        let (more, bits) = match first {
            0x00..=0x7f => (0, first),
            0xc0..=0xdf => (1, first & 0x1f),
            0xe0..=0xef => (2, first & 0x0f),
            0xf0..=0xf7 => (3, first & 0x07),
            _ => (usize::MAX, 0),
        };
        let continued = after.get(..more).filter(|rest| rest.iter().all(|byte| byte & 0xc0 == 0x80));
        let code = continued
            .map(|rest| rest.iter().fold(u32::from(bits), |code, byte| code << 6 | u32::from(byte & 0x3f)));
        let read = code.and_then(char::from_u32);
        text.push(read.unwrap_or(char::REPLACEMENT_CHARACTER));
        bytes = if read.is_some() { &after[more..] } else { after };
    }
    text
}

fn slashes(path: &str) -> String {
    path.replace('\\', "/")
}

/// As those have it who decode first and look for the end of the path then.
fn cut(path: &str) -> String {
    path.split(['?', '#', '\0']).next().unwrap_or(path).to_owned()
}

/// Cuts `;…` from each segment, as servers with path parameters do before they look for dots.
fn without_parameters(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').map(|s| s.split(';').next().unwrap_or(s)).collect();
    segments.join("/")
}

/// Removes `.` and `..` as RFC 3986 5.2.4 has it.
fn walk(path: &str) -> String {
    walked(path, false)
}

/// The same, and empty segments before they can shield others from `..`.
fn walk_merged(path: &str) -> String {
    walked(path, true)
}

fn walked(path: &str, merge: bool) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            "" if merge || is_last => {}
            segment => kept.push(segment),
        }
        ends_in_slash = matches!(segment, "." | ".." | "");
    }
    let shut = if ends_in_slash && !kept.is_empty() { "/" } else { "" };
    format!("/{}{shut}", kept.join("/"))
}

/// `/admin%2f` is `/admin` to many who would tell `/admin/` from it.
fn without_last_slashes(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        rest => rest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_have_one_reading() {
        for path in ["/", "/a/b", "/a.b/c", "", "*", "/a/b/", "/caf\u{e9}"] {
            assert!(is_plain(path));
            assert_eq!(readings(path), Some(Vec::new()), "{path}");
        }
        assert_eq!(readings("/.well-known/x"), Some(Vec::new()));
    }

    #[test]
    fn escapes_dots_and_slashes_give_others() {
        for (path, reading) in [
            ("/%61dmin", "/admin"),
            ("/%2561dmin", "/admin"),
            ("/%c1%a1dmin", "/admin"),
            ("/%e0%81%a1dmin", "/admin"),
            ("/%f0%80%81%a1dmin", "/admin"),
            ("/x%c0%afadmin", "/x/admin"),
            ("/x/%c0%ae%c0%ae/admin", "/admin"),
            ("/a/../admin", "/admin"),
            ("/a/%2e%2E/admin", "/admin"),
            ("/a/..%2fadmin", "/admin"),
            ("/./admin/.", "/admin/"),
            ("//admin", "/admin"),
            ("/a//../admin", "/admin"),
            ("/a//../admin", "/a/admin"),
            ("///./", "///"),
            ("//x/..", "//"),
            ("/a/..\\admin", "/admin"),
            ("/../../admin/", "/admin/"),
            ("/public/..;/admin", "/admin"),
            ("/public/..%3bx/admin", "/admin"),
            ("/admin;x=1", "/admin"),
            ("/admin%2f", "/admin/"),
            ("/admin%2f", "/admin"),
            ("/admin%3fx", "/admin"),
            ("/admin%23x", "/admin"),
            ("/admin%00.png", "/admin"),
            ("/%ff", "/\u{fffd}"),
            ("/%ff%c0x%e0%80", "/\u{fffd}\u{fffd}x\u{fffd}\u{fffd}"),
            ("/%ed%a0%80", "/\u{fffd}\u{fffd}\u{fffd}"),
            ("/%c3%a9", "/\u{e9}"),
            ("/%25", "/%"),
        ] {
            let all = readings(path).unwrap();
            assert!(all.iter().any(|seen| seen == reading), "{path}: {all:?}");
            assert!(!all.iter().any(|seen| seen == path), "{path} itself is no other reading: {all:?}");
        }
        assert_eq!(readings("/admin%"), Some(Vec::new()));
        assert_eq!(readings("/admin%4"), Some(Vec::new()));
        assert_eq!(readings("/%zz%6"), Some(Vec::new()));
        assert_eq!(readings("/%61;b"), Some(vec!["/a;b".into(), "/%61".into(), "/a".into()]));
    }

    #[test]
    fn more_than_can_be_looked_at_is_none() {
        let long = "/".repeat(ROOM / 2);
        assert_eq!(readings(&format!("/a{long}")).map(|all| all.len()), Some(2));
        assert_eq!(readings(&format!("/a{long}{long}")), None);
        assert!(readings(&format!("/%61/{}", "x".repeat(100_000))).is_some());
        assert!(readings(&format!("/%61;y//{}", "x".repeat(100_000))).is_none());
        assert_eq!(readings("/%2561%5c..//%253f;x/..%2f//./"), None);
    }
}
