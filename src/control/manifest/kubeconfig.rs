//! Where another cluster is, according to its credentials.

use std::path::{Path, PathBuf};

use super::yaml::{self, Node, Value};

/// The `server` of a kubeconfig's current context. Tokens and certificates are not kept.
pub(super) fn server(text: &str) -> Result<String, String> {
    let config = yaml::parse(text).map_err(|broken| format!("it is not YAML: {}", broken.message))?;
    let current = text_of(&config, "current-context").ok_or("it has no `current-context`")?;
    let context =
        named(&config, "contexts", current).ok_or_else(|| format!("it has no context {current:?}"))?;
    let cluster = context
        .get("context")
        .and_then(|context| text_of(context, "cluster"))
        .ok_or_else(|| format!("its context {current:?} names no cluster"))?;
    let server = named(&config, "clusters", cluster)
        .and_then(|entry| entry.get("cluster"))
        .and_then(|entry| text_of(entry, "server"));
    server.map(str::to_owned).ok_or_else(|| format!("its cluster {cluster:?} has no `server`"))
}

/// The folder that a `file://` URL means; relative ones (`file://../east`) start at `base`.
pub fn folder_of(url: &str, base: &Path) -> Option<PathBuf> {
    let path = url.strip_prefix("file://")?;
    let path = percent_decoded(path)?;
    if path.is_empty() {
        return None;
    }
    Some(base.join(path))
}

/// The `file://` URL that means `folder`.
pub fn url_of(folder: &Path) -> String {
    let mut url = String::from("file://");
    for byte in folder.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => url.push(char::from(*byte)),
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        decoded.push((high * 16 + low) as u8);
    }
    String::from_utf8(decoded).ok()
}

fn named<'n>(config: &'n Node, list: &str, name: &str) -> Option<&'n Node> {
    let Value::List(entries) = &config.get(list)?.value else { return None };
    entries.iter().find(|entry| text_of(entry, "name") == Some(name))
}

fn text_of<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    match &node.get(key)?.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "current-context: east\ncontexts:\n- name: east\n  context: {cluster: e, user: u}\n\
                          clusters:\n- name: e\n  cluster: {server: 'file://../east'}\n";

    #[test]
    fn the_current_context_leads_to_the_server() {
        assert_eq!(server(CONFIG).unwrap(), "file://../east");
        assert!(server(&CONFIG.replace("current-context: east", "a: b")).is_err());
        assert!(server(&CONFIG.replace("name: e\n", "name: other\n")).is_err());
        assert!(server("[").is_err());
    }

    #[test]
    fn relative_urls_start_at_the_folder() {
        let base = Path::new("/m/west");
        assert_eq!(folder_of("file://../east", base), Some("/m/west/../east".into()));
        assert_eq!(folder_of("file:///m/my%20east", base), Some("/m/my east".into()));
        for folder in ["/m/my east", "/m/100%/ö", "../east"] {
            assert_eq!(folder_of(&url_of(Path::new(folder)), Path::new("")), Some(folder.into()));
        }
        for bad in ["https://10.0.0.1:6443", "file://", "file://%zz", "../east"] {
            assert_eq!(folder_of(bad, base), None, "{bad}");
        }
    }
}
