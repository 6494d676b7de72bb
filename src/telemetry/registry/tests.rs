use super::*;

const RETAIN: Duration = Duration::from_secs(600);

fn labels(name: impl std::fmt::Display) -> Labels {
    Labels::new().with("name", name)
}

fn family() -> Family<Counter> {
    Budget::new(RETAIN).family("x_total")
}

fn printed(family: &Family<Counter>) -> Vec<String> {
    let line = |(labels, one): (Arc<str>, Arc<Counter>)| format!("{labels} {}", one.value());
    family.scrape().into_iter().map(line).collect()
}

#[test]
fn equal_labels_share_a_series_and_print_in_order() {
    let family = family();
    family.get(&labels("b")).add(2);
    family.get(&labels("a")).incr();
    family.get(&labels("b")).incr();
    let mut page = Page::default();
    page.counters("x_total", "Xs.", &family);
    assert_eq!(
        page.finish(),
        "# HELP x_total Xs.\n# TYPE x_total counter\nx_total{name=\"a\"} 1\nx_total{name=\"b\"} 3\n# EOF\n"
    );
}

#[test]
fn a_family_without_series_prints_nothing() {
    let mut page = Page::default();
    page.counters("x_total", "Xs.", &family());
    assert_eq!(page.finish(), "# EOF\n");
}

#[tokio::test(start_paused = true)]
async fn idle_series_go_and_held_or_busy_ones_stay() {
    let budget = Budget::new(RETAIN);
    let family = budget.family::<Counter>("x_total");
    let held = family.get(&labels("held"));
    family.get(&labels("idle")).incr();
    family.get(&labels("fetched")).incr();
    assert_eq!((family.scrape().len(), budget.used()), (3, 3));
    tokio::time::advance(RETAIN / 2).await;
    family.get(&labels("fetched"));
    tokio::time::advance(RETAIN / 2).await;
    assert_eq!(printed(&family), [r#"name="fetched" 1"#, r#"name="held" 0"#]);
    drop(held);
    tokio::time::advance(RETAIN).await;
    assert!(family.scrape().is_empty());
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_count_made_since_the_last_scrape_is_seen_once_more() {
    let family = family();
    let counter = family.get(&labels("late"));
    family.scrape();
    tokio::time::advance(RETAIN * 2).await;
    counter.incr();
    drop(counter);
    assert_eq!(family.scrape().len(), 1);
}

#[test]
fn names_that_nobody_vouches_for_share_one_series_once_there_are_many() {
    let budget = Budget::new(RETAIN);
    let family = budget.family::<Counter>("x_total");
    let named = |sni: &dyn std::fmt::Display| labels("web").unproven_value("sni", sni).with("z", 1);
    for n in 0..100_000 {
        family.get(&named(&n)).incr();
    }
    let absorbed = 100_000 - MOST_UNPROVEN;
    assert_eq!(family.scrape().len(), MOST_UNPROVEN + 1);
    let other = printed(&family).into_iter().find(|line| line.contains("other"));
    assert_eq!(other, Some(format!(r#"name="web",sni="other",z="1" {absorbed}"#)));
    // What is vouched for still has room, and what was known is still known.
    family.get(&labels("api")).incr();
    family.get(&named(&0)).incr();
    assert!(printed(&family).contains(&r#"name="api" 1"#.into()));
    assert!(printed(&family).contains(&r#"name="web",sni="0",z="1" 2"#.into()));
    let mut page = Page::default();
    budget.render(&mut page);
    let line = format!("causeway_metrics_absorbed_total{{family=\"x_total\"}} {absorbed}\n");
    assert!(page.finish().contains(&line));
}

#[test]
fn a_full_family_counts_the_rest_as_other_and_loses_nothing() {
    let family = family();
    let many = |n: usize| labels("web").chosen("client_id", n);
    let held: Vec<_> = (0..MOST_IN_FAMILY * 3).map(|n| family.get(&many(n))).collect();
    held.iter().for_each(|counter| counter.incr());
    let series = family.scrape();
    assert_eq!(series.len(), MOST_IN_FAMILY + 1);
    assert_eq!(series.iter().map(|(_, one)| one.value()).sum::<u64>(), held.len() as u64);
}

#[test]
fn all_families_together_keep_to_the_budget_of_all() {
    let budget = Budget::new(RETAIN);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let families = names.map(|name| budget.family::<Counter>(name));
    for n in 0..MOST_IN_FAMILY {
        families.iter().for_each(|family| family.get(&labels("web").chosen("port", n)).incr());
    }
    assert_eq!(budget.used(), MOST_SERIES + families.len());
    let counted = families.iter().flat_map(Family::scrape).map(|(_, one)| one.value()).sum::<u64>();
    assert_eq!(counted, (MOST_IN_FAMILY * families.len()) as u64);
}

#[tokio::test(start_paused = true)]
async fn a_full_family_makes_room_of_what_is_idle_without_being_scraped() {
    let family = family();
    let named = |n: usize| Labels::new().unproven_value("sni", n);
    let held = family.get(&named(0));
    for n in 1..=MOST_UNPROVEN {
        family.get(&named(n)).incr();
    }
    tokio::time::advance(RETAIN).await;
    // The first look only learns what has moved.
    family.get(&named(MOST_UNPROVEN + 1));
    tokio::time::advance(RETAIN).await;
    family.get(&named(MOST_UNPROVEN + 2)).incr();
    let now = printed(&family);
    assert!(now.contains(&r#"sni="0" 0"#.into()), "held: {now:?}");
    assert!(now.contains(&format!(r#"sni="{}" 1"#, MOST_UNPROVEN + 2)), "{now:?}");
    assert!(now.len() <= 3, "{now:?}");
    drop(held);
}
