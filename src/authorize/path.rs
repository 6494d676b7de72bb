//! What else an application may take a path for: percent signs decoded, dot segments walked, doubled
//! slashes merged, parameters (`;…`) cut from segments.

/// The other readings of `path`; none for a path that everyone reads alike.
pub(super) fn readings(path: &str) -> Vec<String> {
    let plain = !path.contains(['%', '\\', ';']) && !path.contains("/.") && !path.contains("//");
    if plain {
        return Vec::new();
    }
    let decoded = decode(path).replace('\\', "/");
    let mut readings = Vec::with_capacity(3);
    for form in [without_parameters(&decoded), decoded] {
        for reading in [walk(&form, false), walk(&form, true), form] {
            if reading != path && !readings.contains(&reading) {
                readings.push(reading);
            }
        }
    }
    readings
}

/// Cuts `;…` from each segment, as servers with path parameters do before they look for dots.
fn without_parameters(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').map(|s| s.split(';').next().unwrap_or(s)).collect();
    segments.join("/")
}

/// Decodes once; what is no escape stays. Bytes that are not UTF-8 become a mark that no route names.
fn decode(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = if byte == b'%' { after.first_chunk::<2>().and_then(escaped) } else { None };
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped(digits: &[u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

/// Removes `.` and `..` as RFC 3986 5.2.4 has it and, if told to, empty segments before they can shield
/// others from `..`.
fn walk(path: &str, merge: bool) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        ends_in_slash = matches!(segment, "." | ".." | "");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            "" if merge => {}
            segment => kept.push(segment),
        }
    }
    // An empty last segment that was kept already yields the slash.
    let shut = ends_in_slash && kept.last().is_some_and(|last| !last.is_empty());
    format!("/{}{}", kept.join("/"), if shut { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_have_one_reading() {
        for path in ["/", "/a/b", "/a.b/c", "", "*", "/a/b/"] {
            assert_eq!(readings(path), Vec::<String>::new(), "{path}");
        }
    }

    #[test]
    fn escapes_dots_and_slashes_give_others() {
        for (path, reading) in [
            ("/%61dmin", "/admin"),
            ("/a/../admin", "/admin"),
            ("/a/%2e%2E/admin", "/admin"),
            ("/a/..%2fadmin", "/admin"),
            ("/./admin/.", "/admin/"),
            ("//admin", "/admin"),
            ("/a//../admin", "/admin"),
            ("/a//../admin", "/a/admin"),
            ("/a/..\\admin", "/admin"),
            ("/../../admin/", "/admin/"),
            ("/public/..;/admin", "/admin"),
            ("/public/..%3bx/admin", "/admin"),
            ("/admin;x=1", "/admin"),
            ("/admin%", "/admin%"),
            ("/%ff", "/\u{fffd}"),
        ] {
            let all = readings(path);
            assert!(path == reading || all.iter().any(|seen| seen == reading), "{path}: {all:?}");
        }
    }
}
