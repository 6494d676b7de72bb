use http::{HeaderValue, Request};

use super::*;

fn prefix(p: &str) -> RequestMatch {
    path(PathMatch::Prefix(p.into()))
}

fn path(path: PathMatch) -> RequestMatch {
    RequestMatch { path: Some(path), ..RequestMatch::default() }
}

fn regex(text: &str) -> ValueMatch {
    ValueMatch::Regex(Pattern::new(text).unwrap())
}

fn header(name: &'static str, value: ValueMatch) -> RequestMatch {
    let header = HeaderMatch { name: HeaderName::from_static(name), value };
    RequestMatch { headers: vec![header], ..RequestMatch::default() }
}

fn query(name: &str, value: ValueMatch) -> RequestMatch {
    RequestMatch { query: vec![QueryMatch { name: name.into(), value }], ..RequestMatch::default() }
}

/// The rank of a GET of this target, with these headers.
fn rank(wanted: &RequestMatch, uri: &str, headers: &[(&str, &[u8])]) -> Option<Rank> {
    let mut req = Request::get(uri);
    for (name, value) in headers {
        req = req.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    wanted.rank(&Head::of(&req.body(()).unwrap()))
}

fn takes(wanted: &RequestMatch, uri: &str) -> bool {
    rank(wanted, uri, &[]).is_some()
}

#[test]
fn prefixes_match_whole_segments() {
    for (wanted, uri, taken) in [
        ("/", "/any/thing", true),
        ("/", "*", true),
        ("/a", "/a/b", true),
        ("/a/", "/a", true),
        ("/a", "/a//", true),
        ("/a", "/ab", false),
        ("/a/b", "/a", false),
    ] {
        assert_eq!(takes(&prefix(wanted), uri), taken, "{wanted} {uri}");
    }
}

#[test]
fn longer_paths_then_headers_then_query_then_methods_rank_higher() {
    let exact = path(PathMatch::Exact("/live".into()));
    let everything = RequestMatch::default();
    let get = RequestMatch { method: Some(Method::GET), ..RequestMatch::default() };
    let (of, at) = (|value: &str| ValueMatch::Exact(value.into()), "http://a/live?q=1");
    let (by_query, by_header) = (query("q", of("1")), header("x", of("1")));
    let two = RequestMatch { headers: vec![by_header.headers[0].clone(); 2], ..RequestMatch::default() };
    let ranks = [&everything, &get, &by_query, &by_header, &two, &prefix("/live"), &exact]
        .map(|wanted| rank(wanted, at, &[("x", b"1")]).unwrap());
    assert!(ranks[..6].is_sorted_by(|less, more| less < more), "{ranks:?}");
    // Length alone: how it was matched does not count.
    assert_eq!(ranks[5], ranks[6]);
    // What says nothing of paths is as good as the prefix that takes them all.
    assert_eq!(rank(&prefix("/"), at, &[]), Some(ranks[0]));
    let req = Request::get(at).body(()).unwrap();
    assert_eq!(best(&[], &Head::of(&req)), Some((ranks[0], None)));
    let of_all = [everything, exact.clone(), get];
    assert_eq!(best(&of_all, &Head::of(&req)), Some((ranks[6], Some(&exact))));
    assert_eq!(best(&[query("q", of("2"))], &Head::of(&req)), None);
}

#[test]
fn patterns_take_the_whole_value_and_not_what_is_put_around_them() {
    let wanted = path(PathMatch::Regex(Pattern::new("/a|/a/b+").unwrap()));
    for (uri, taken) in [("/a", true), ("/a/bbb", true), ("/a/", false), ("/x/a", false), ("/a/b/a", false)] {
        assert_eq!(takes(&wanted, uri), taken, "{uri}");
    }
    for invalid in ["(", "a)|(?:b", "\\w{1000}{1000}", &"a".repeat(4097), "(?x) # a comment"] {
        assert_eq!(Pattern::new(invalid), Err(InvalidPattern), "{invalid}");
    }
    assert_eq!(Pattern::new("a"), Pattern::new("a"));
    assert_ne!(Pattern::new("a"), Pattern::new("b"));
    assert_eq!(format!("{:?} {}", Pattern::new("a").unwrap(), Pattern::new("a").unwrap().as_str()), "/a/ a");
}

#[test]
fn of_several_values_one_must_match_exactly() {
    let gold = header("x-tier", ValueMatch::Exact(b"gold".to_vec()));
    let any = header("x-tier", regex("g.*"));
    for (values, taken) in [
        (&[("x-tier", &b"gold"[..])][..], true),
        (&[("x-tier", b"silver"), ("x-tier", b"gold")], true),
        (&[("x-tier", b"Gold")], false),
        (&[("x-tier", b"gold, silver")], false),
        (&[("x-other", b"gold")], false),
        (&[], false),
    ] {
        assert_eq!(rank(&gold, "/", values).is_some(), taken, "{values:?}");
    }
    assert!(rank(&any, "/", &[("x-tier", b"silver"), ("x-tier", b"green")]).is_some());
    assert!(rank(&any, "/", &[("x-tier", b"a green one")]).is_none());
    let role = query("role", ValueMatch::Exact(b"a b".to_vec()));
    for (uri, taken) in
        [("/?role=a+b", true), ("/?x=1&r%6fle=a%20b", true), ("/?role=a", false), ("/", false)]
    {
        assert_eq!(takes(&role, uri), taken, "{uri}");
    }
    assert!(
        takes(&query("n", regex("[0-9]+")), "/?n=x&n=12") && !takes(&query("n", regex("[0-9]+")), "/?n=12x")
    );
}

#[test]
fn values_can_be_read_one_by_one_and_in_pieces() {
    let (tier, gold) =
        (HeaderName::from_static("x-tier"), header("x-tier", ValueMatch::Exact(b"gold".to_vec())));
    let req =
        Request::get("/?r=1&r=2").header("x-tier", "silver , gold").header("x-tier", "tin").body(()).unwrap();
    let read = |values| Head { values, ..Head::of(&req) };
    assert!(gold.rank(&read(Values::All)).is_none());
    assert!(gold.rank(&read(Values::Pieces)).is_some());
    assert!(gold.rank(&read(Values::OnlyHeader(&tier, b"gold"))).is_some());
    assert!(gold.rank(&read(Values::OnlyHeader(&tier, b"tin"))).is_none());
    let other = HeaderName::from_static("x-other");
    assert!(gold.rank(&read(Values::OnlyHeader(&other, b"gold"))).is_none());
    let two = query("r", ValueMatch::Exact(b"2".to_vec()));
    assert!(two.rank(&read(Values::All)).is_some());
    assert!(two.rank(&read(Values::OnlyQuery("r", "2"))).is_some());
    assert!(two.rank(&read(Values::OnlyQuery("r", "1"))).is_none());
    assert!(two.rank(&read(Values::OnlyQuery("x", "1"))).is_some());
}

#[test]
fn what_a_pattern_cannot_judge_is_told_apart() {
    let long = "x".repeat(16 * 1024 + 1);
    let by_path = path(PathMatch::Regex(Pattern::new("/a").unwrap()));
    let judged = |wanted: &RequestMatch, uri: &str, value: &[u8]| {
        let value = HeaderValue::from_bytes(value).unwrap();
        let req = Request::get(uri).header("x", value).body(()).unwrap();
        wanted.can_judge(&Head::of(&req))
    };
    let fits = format!("/{}", &long[2..]);
    assert!(judged(&by_path, "/b", b"") && judged(&by_path, &fits, b""));
    assert!(!judged(&by_path, &format!("/{long}"), b"") && !judged(&by_path, &format!("{fits}x"), b""));
    assert!(judged(&by_path, "/b", &[0xff]), "nothing asks about that");
    let by_header = header("x", regex(".*"));
    assert!(judged(&by_header, "/", b"1") && !judged(&by_header, "/", &[0xff]));
    assert!(!judged(&by_header, "/", long.as_bytes()));
    let by_query = query("q", regex(".*"));
    assert!(judged(&by_query, "/?q=1", b"") && !judged(&by_query, &format!("/?q={long}"), b""));
    assert!(judged(&by_query, &format!("/?p={long}"), b""));
    let exact = header("x", ValueMatch::Exact(b"1".to_vec()));
    assert!(judged(&exact, "/", long.as_bytes()));
    assert!(rank(&by_header, "/", &[("x", long.as_bytes())]).is_none());
}

#[test]
fn calls_are_told_by_service_and_method() {
    let rpc = |service: &str, method: &str| {
        let named = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        path(PathMatch::Rpc { service: named(service), method: named(method) })
    };
    for (service, method, uri, taken) in [
        ("", "", "/a.B/C", true),
        ("", "", "/a.B", false),
        ("", "", "/", false),
        ("", "", "*", false),
        ("a.B", "", "/a.B/C", true),
        ("a.B", "", "/a.B.c/C", false),
        ("a.B", "", "/a.B", false),
        ("a.B", "C", "/a.B/C", true),
        ("a.B", "C", "/a.B/D", false),
        ("a.B", "C", "/a.B/C/d", true),
        ("", "C", "/a.B/C", true),
        ("", "C", "/a.B/Cc", false),
    ] {
        assert_eq!(takes(&rpc(service, method), uri), taken, "{service}/{method} {uri}");
    }
    let ranked = |service, method| rank(&rpc(service, method), "/a/bcd", &[]).unwrap();
    assert!(ranked("a", "bcd") > ranked("a", ""));
    assert!(ranked("a", "") > ranked("", "bcd"), "the service counts first");
    assert!(ranked("", "bcd") > ranked("", ""));
    assert_eq!(ranked("", ""), Rank::LOWEST);
}

#[test]
fn hosts_match_in_any_case_and_suffixes_need_a_label_more() {
    let exact = HostMatch::Exact("bb.example".into());
    let suffix = HostMatch::Suffix(vec!["example".into(), "b".into()]);
    assert_eq!(exact.rank("BB.example."), Some(HostRank::Exact(10)));
    assert_eq!(HostMatch::Exact("bb.example.".into()).rank("bb.example"), Some(HostRank::Exact(10)));
    assert_eq!(exact.rank("bb.example.org"), None);
    assert_eq!(suffix.rank("a.B.example"), Some(HostRank::Suffix(10)));
    assert_eq!(suffix.rank("x.a.b.example."), Some(HostRank::Suffix(10)));
    for other in ["b.example", "ab.example", ".b.example", "example", "a.b.example.org", ""] {
        assert_eq!(suffix.rank(other), None, "{other}");
    }
    assert_eq!(
        HostMatch::Suffix(vec!["".into(), "example".into()]).rank("a.example."),
        Some(HostRank::Suffix(8))
    );
    assert!(HostRank::Exact(1) > HostRank::Suffix(100) && HostRank::Suffix(2) > HostRank::Suffix(1));
}

#[test]
fn the_host_is_the_targets_else_the_headers() {
    for (uri, host, read) in [
        ("http://bb:80/", Some("other"), Some("bb")),
        ("/", Some("bb"), Some("bb")),
        ("/", Some("bb:8080"), Some("bb")),
        ("/", Some("[::1]:80"), Some("[::1]")),
        ("/", Some("[::1"), None),
        ("/", None, None),
    ] {
        let mut req = Request::get(uri);
        if let Some(host) = host {
            req = req.header("host", host);
        }
        assert_eq!(Head::of(&req.body(()).unwrap()).host(), read, "{uri} {host:?}");
    }
}
