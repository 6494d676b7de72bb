//! Requests that an application may read otherwise than they came.

use http::{HeaderValue, Request};

use super::*;
use crate::model::matching::{Pattern, QueryMatch};

#[test]
fn a_narrow_route_cannot_be_walked_around() {
    let (policy, admin) = (guarded(), name("admin"));
    for path in [
        "/%61dmin",
        "/%2561dmin",
        "/%c1%a1dmin",
        "/x/../admin",
        "/./admin",
        "/x/%2e%2e/admin",
        "/x/..%2Fadmin/y",
        "//admin",
        "/x//../../admin",
        "/.\\admin",
        "/admin%2f",
        "/admin;x",
        "/admin%3b",
        "/admin%00",
        "/x/..;/admin",
    ] {
        assert_eq!(get(&policy, &PLAIN, path), denied(&admin), "{path}");
        assert!(get(&policy, &identified("boss.ns"), path).is_ok(), "{path}");
    }
    assert_eq!(get(&policy, &PLAIN, "/admin/../x"), denied(&admin));
    assert_eq!(get(&policy, &PLAIN, "/caf%C3%A9//menu"), Ok(("open", "everyone")));
    let exact = guarding(by_path(PathMatch::Exact("/admin".into())));
    for path in ["/admin%2f", "/admin;x", "/%61dmin", "//admin", "/a/../admin/"] {
        assert_eq!(get(&exact, &PLAIN, path), denied(&admin), "{path}");
    }
    let regex = guarding(by_path(PathMatch::Regex(Pattern::new("/adm[a-z]+").unwrap())));
    for path in ["/%61dmin", "//admin", "/admin;x"] {
        assert_eq!(get(&regex, &PLAIN, path), denied(&admin), "{path}");
    }
    assert_eq!(
        get(&regex, &PLAIN, "/admin/"),
        Ok(("open", "everyone")),
        "an expression is for the whole path"
    );
}

#[test]
fn what_is_more_than_can_be_judged_is_refused() {
    let (policy, open) = (guarded(), name("open"));
    let unjudged = Err(Refusal::Unjudged { route: &open });
    assert_eq!(get(&policy, &PLAIN, "/%2561%5c..//%253f;x/..%2f//./"), unjudged);
    assert_eq!(get(&policy, &PLAIN, &format!("/{}", "%61".repeat(16 * 1024))), Ok(("open", "everyone")));
    let regex = guarding(by_path(PathMatch::Regex(Pattern::new("/admin.*").unwrap())));
    assert_eq!(get(&regex, &PLAIN, &format!("/admin{}", "x".repeat(32 * 1024))), unjudged);
    assert!(get(&regex, &PLAIN, &format!("/x{}", "x".repeat(8 * 1024))).is_ok());
    let by_role = guarding(with_role(ValueMatch::Exact(b"admin".to_vec())));
    let many: Vec<String> = (0..64).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(ask(&by_role, &PLAIN, roles(&many[1..])), Ok(("open", "everyone")), "64 readings");
    assert_eq!(ask(&by_role, &PLAIN, roles(&many)), unjudged);
    // Where no route looks at paths, there is nothing to walk around.
    let all = policy_for_all(vec![under("/")]);
    assert!(get(&all, &PLAIN, "/%2561%5c..//%253f;x/..%2f//./").is_ok());
    assert!(get(&all, &PLAIN, &format!("/%61{}", "x".repeat(48 * 1024))).is_ok());
}

#[test]
fn each_value_of_a_header_is_judged() {
    let admin = name("admin");
    let policy = guarding(with_role(ValueMatch::Exact(b"admin".to_vec())));
    for values in
        [&["admin"][..], &["user", "admin"], &["admin", "user"], &["user, admin"], &["user,admin,x"]]
    {
        assert_eq!(ask(&policy, &PLAIN, roles(values)), denied(&admin), "{values:?}");
        assert!(ask(&policy, &identified("boss.ns"), roles(values)).is_ok(), "{values:?}");
    }
    for values in [&[][..], &["user"], &["admins", "user"], &["user, admins"]] {
        assert_eq!(ask(&policy, &PLAIN, roles(values)), Ok(("open", "everyone")), "{values:?}");
    }
    // The other way round: what one value opens, another one beside it does not pass through.
    let open = route("open", vec![vec![with_role(ValueMatch::Exact(b"guest".to_vec()))]], vec![everyone()]);
    let rest = route("admin", vec![Vec::new()], vec![boss()]);
    let policy = of(ServerProtocol::Http1(vec![open, rest]), Vec::new());
    assert_eq!(ask(&policy, &PLAIN, roles(&["guest"])), Ok(("open", "everyone")));
    assert_eq!(ask(&policy, &PLAIN, roles(&["guest", "guest"])), Ok(("open", "everyone")));
    assert_eq!(ask(&policy, &PLAIN, roles(&["guest", "root"])), denied(&admin));
    assert_eq!(ask(&policy, &PLAIN, roles(&["guest, root"])), denied(&admin));
    let many: Vec<String> = (0..70).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["guest"]).collect();
    let open = name("open");
    assert_eq!(ask(&policy, &PLAIN, roles(&many)), Err(Refusal::Unjudged { route: &open }));
    assert_eq!(ask(&policy, &PLAIN, roles(&many[..10])), denied(&admin));
}

#[test]
fn values_that_a_pattern_cannot_read_are_refused() {
    let policy = guarding(with_role(ValueMatch::Regex(Pattern::new("adm.*").unwrap())));
    let (admin, open) = (name("admin"), name("open"));
    assert_eq!(ask(&policy, &PLAIN, roles(&["admin"])), denied(&admin));
    assert_eq!(ask(&policy, &PLAIN, roles(&["user"])), Ok(("open", "everyone")));
    let bytes = Request::get("/").header("x-role", HeaderValue::from_bytes(b"adm\xff").unwrap());
    assert_eq!(ask(&policy, &PLAIN, bytes), Err(Refusal::Unjudged { route: &open }));
    assert_eq!(ask(&policy, &PLAIN, roles(&[&"u".repeat(20_000)])), Err(Refusal::Unjudged { route: &open }));
}

#[test]
fn each_value_of_a_query_parameter_is_judged() {
    let query = QueryMatch { name: "role".into(), value: ValueMatch::Exact(b"admin".to_vec()) };
    let policy = guarding(RequestMatch { query: vec![query.clone()], ..RequestMatch::default() });
    let admin = name("admin");
    for uri in ["/?role=admin", "/?role=user&role=admin", "/?role=%61dmin&x", "/?r%6Fle=admin"] {
        assert_eq!(get(&policy, &PLAIN, uri), denied(&admin), "{uri}");
    }
    assert_eq!(get(&policy, &PLAIN, "/?role=user&role=guest"), Ok(("open", "everyone")));
    let open = route(
        "open",
        vec![vec![RequestMatch { query: vec![query], ..RequestMatch::default() }]],
        vec![everyone()],
    );
    let rest = route("admin", vec![Vec::new()], vec![boss()]);
    let policy = of(ServerProtocol::Grpc(vec![open, rest]), Vec::new());
    assert_eq!(get(&policy, &PLAIN, "/?role=admin&role=admin"), Ok(("open", "everyone")));
    assert_eq!(get(&policy, &PLAIN, "/?role=admin&role=root"), denied(&admin));
}
