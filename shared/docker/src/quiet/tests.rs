use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::facts::{Mount, State};

fn container(name: &str, state: State, volumes: &[&str], labels: &[(&str, &str)]) -> Container {
    let mount = |volume: &&str| Mount {
        volume: Some((*volume).to_owned()),
        destination: format!("/{volume}"),
        writable: true,
        ..Mount::default()
    };
    Container {
        id: format!("id-{name}"),
        name: name.to_owned(),
        state,
        started_at: "t1".to_owned(),
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        mounts: volumes.iter().map(mount).collect(),
        ..Container::default()
    }
}

fn running(name: &str, volumes: &[&str], labels: &[(&str, &str)]) -> Container {
    container(name, State::Running, volumes, labels)
}

/// Makes a service of the stack `shop`.
fn service(name: &str, depends_on: &str, volumes: &[&str]) -> Container {
    let labels = [
        ("com.docker.compose.project", "shop"),
        ("com.docker.compose.service", name),
        ("com.docker.compose.depends_on", depends_on),
    ];
    running(&format!("shop-{name}-1"), volumes, &labels)
}

fn covered(volume: &str, mode: Mode) -> Covered {
    Covered {
        volume: volume.to_owned(),
        mode,
    }
}

fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

fn steps(plan: &QuietPlan) -> Vec<(&str, Mode)> {
    plan.steps
        .iter()
        .map(|step| (step.name.as_str(), step.action))
        .collect()
}

#[test]
fn a_stack_stops_from_its_dependents_on() {
    let stack = [
        service("db", "", &["data"]),
        service("app", "db:service_healthy:true,cache:service_started:false", &[]),
        service("cache", "", &[]),
        service("proxy", "app:service_started:true", &[]),
        service("mail", "", &["spool"]),
    ];
    let stop = plan(&stack, &[covered("data", Mode::Stop)], &none()).unwrap();
    assert_eq!(
        steps(&stop),
        [
            ("shop-proxy-1", Mode::Stop),
            ("shop-app-1", Mode::Stop),
            ("shop-db-1", Mode::Stop)
        ]
    );
    // A frozen container comes back as it was, so its dependents need not stop.
    let pause = plan(&stack, &[covered("data", Mode::Pause)], &none()).unwrap();
    assert_eq!(steps(&pause), [("shop-db-1", Mode::Pause)]);
    let live = plan(&stack, &[covered("data", Mode::Live)], &none()).unwrap();
    assert!(live.is_empty());
}

#[test]
fn a_group_takes_the_strictest_mode_of_what_a_container_writes_to() {
    let containers = [
        running("both", &["a", "b"], &[]),
        running("one", &["b"], &[]),
        running("other", &["c"], &[]),
    ];
    let group = [covered("a", Mode::Stop), covered("b", Mode::Pause)];
    assert_eq!(
        steps(&plan(&containers, &group, &none()).unwrap()),
        [("both", Mode::Stop), ("one", Mode::Pause)]
    );
}

#[test]
fn only_what_runs_and_writes_is_touched() {
    let mut reader = running("reader", &["data"], &[]);
    reader.mounts[0].writable = false;
    let containers = [
        reader,
        container("ended", State::Stopped, &["data"], &[]),
        container("frozen", State::Paused, &["data"], &[]),
        container("looping", State::Restarting, &["data"], &[]),
    ];
    let plan = plan(&containers, &[covered("data", Mode::Stop)], &none()).unwrap();
    assert_eq!(steps(&plan), [("looping", Mode::Stop)]);
    assert_eq!(plan.warnings, ["container frozen is paused already, and is left so"]);
}

#[test]
fn a_dependent_stops_only_if_it_runs_by_what_runs() {
    let mut middle = service("middle", "db:service_started:true", &[]);
    middle.state = State::Stopped;
    let containers = [
        service("db", "", &["data"]),
        middle,
        service("far", "middle:service_started:true", &[]),
        service("writer", "middle:service_started:true", &["data"]),
    ];
    let plan = plan(&containers, &[covered("data", Mode::Stop)], &none()).unwrap();
    // The order follows dependencies that lead through the stopped container.
    assert_eq!(steps(&plan), [("shop-writer-1", Mode::Stop), ("shop-db-1", Mode::Stop)]);
}

#[test]
fn labels_and_namespaces_are_dependencies_too() {
    let mut vpn = running("vpn", &["keys"], &[]);
    vpn.id = "f".repeat(64);
    let mut client = running("client", &[], &[]);
    client.network_mode = format!("container:{}", vpn.id);
    let mut debugger = running("debugger", &[], &[]);
    debugger.pid_mode = "container:client".to_owned();
    let mut memory = running("a-memory", &[], &[]);
    memory.ipc_mode = "container:client".to_owned();
    let named = running("zz", &[], &[("holdfast.depends-on", "vpn, nobody")]);
    let plan = plan(
        &[vpn, client, debugger, memory, named],
        &[covered("keys", Mode::Stop)],
        &none(),
    )
    .unwrap();
    let names: Vec<_> = plan.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["a-memory", "debugger", "client", "zz", "vpn"]);
    assert_eq!(
        plan.warnings,
        ["container zz depends on nobody (holdfast.depends-on), which is no container and no service of its stack"]
    );
}

#[test]
fn services_of_other_stacks_do_not_count() {
    let mut other = service("app", "db:service_started:true", &[]);
    other
        .labels
        .insert("com.docker.compose.project".to_owned(), "other".to_owned());
    let plan = plan(
        &[service("db", "", &["data"]), other],
        &[covered("data", Mode::Stop)],
        &none(),
    )
    .unwrap();
    assert_eq!(steps(&plan), [("shop-db-1", Mode::Stop)]);
}

#[test]
fn a_cycle_is_broken_by_name() {
    let containers = [
        service("b", "a:x:y", &["data"]),
        service("a", "c:x:y", &["data"]),
        service("c", "b:x:y,base:x:y", &["data"]),
        service("base", "", &["data"]),
        service("top", "b:x:y", &["data"]),
    ];
    let plan = plan(&containers, &[covered("data", Mode::Stop)], &none()).unwrap();
    let names: Vec<_> = plan.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["shop-top-1", "shop-a-1", "shop-b-1", "shop-c-1", "shop-base-1"]);
}

#[test]
fn hooks_run_in_live_mode_too() {
    let containers = [
        running("one", &["data"], &[("holdfast.exec.before", "sync")]),
        running("two", &["data"], &[]),
    ];
    let plan = plan(&containers, &[covered("data", Mode::Live)], &none()).unwrap();
    assert_eq!(steps(&plan), [("one", Mode::Live)]);
    assert_eq!(plan.steps[0].hooks.before.as_deref(), Some("sync"));
}

#[test]
fn the_containers_own_time_to_stop_counts_if_no_label_does() {
    let mut own = running("own", &["data"], &[]);
    own.stop_timeout = Some(Duration::from_secs(90));
    let mut both = running("with-label", &["data"], &[("holdfast.stop-timeout", "5s")]);
    both.stop_timeout = Some(Duration::from_secs(90));
    let plan = plan(&[own, both], &[covered("data", Mode::Stop)], &none()).unwrap();
    let timeouts: Vec<_> = plan
        .steps
        .iter()
        .map(|step| step.stop_timeout.map(|time| time.as_secs()))
        .collect();
    assert_eq!(timeouts, [Some(90), Some(5)]);
}

#[test]
fn what_cannot_be_done_is_refused_with_all_reasons() {
    let mut removed = running("temporary", &["data"], &[]);
    removed.auto_remove = true;
    let own = running("holdfast", &["data"], &[]);
    let containers = [
        removed,
        own.clone(),
        running(
            "odd",
            &["data"],
            &[("holdfast.stop-timeout", "soon"), ("holdfast.postgres.port", "x")],
        ),
        running("elsewhere", &["other"], &[("holdfast.stop-timeout", "soon")]),
    ];
    let refusals = plan(&containers, &[covered("data", Mode::Stop)], &BTreeSet::from([own.id])).unwrap_err();
    let texts: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "container temporary is removed when it stops (--rm), so it cannot be stopped and started again",
            "container holdfast is Holdfast's own, so it cannot be stopped or paused while it works",
            r#"container odd: label holdfast.stop-timeout: "soon" must be a time with a unit, such as 30s or 5m, of at most a day"#,
        ]
    );
    // A temporary container stays if it is only frozen.
    assert!(plan(&containers[..1], &[covered("data", Mode::Pause)], &none()).is_ok());
}

/// Generates containers with random states, mounts and dependencies. Their names say nothing of the order.
fn engines() -> impl Strategy<Value = (Vec<Container>, Vec<Covered>)> {
    let state = prop::sample::select(vec![
        State::Running,
        State::Running,
        State::Restarting,
        State::Paused,
        State::Stopped,
    ]);
    let mode = prop::sample::select(vec![Mode::Live, Mode::Pause, Mode::Stop]);
    let one = (
        state,
        prop::collection::vec(0..4_usize, 0..3),
        prop::collection::vec(0..12_usize, 0..4),
        0..12_usize,
        any::<u8>(),
    );
    (
        prop::collection::vec(one, 1..12),
        prop::collection::vec((0..4_usize, mode), 1..4),
    )
        .prop_map(|(many, covers)| {
            let count = many.len();
            let name = |at: usize| format!("c{}-{at}", (at * 7 + 3) % 12);
            let containers = many
                .into_iter()
                .enumerate()
                .map(|(at, (state, volumes, depends, space, how))| {
                    let depends: Vec<_> = depends.iter().map(|other| name(other % count)).collect();
                    let volumes: Vec<_> = volumes.iter().map(|volume| format!("v{volume}")).collect();
                    let volumes: Vec<_> = volumes.iter().map(String::as_str).collect();
                    let mut made = container(
                        &name(at),
                        state,
                        &volumes,
                        &[("holdfast.depends-on", &depends.join(","))],
                    );
                    if how % 4 == 0 {
                        made.network_mode = format!("container:id-{}", name(space % count));
                    }
                    made
                });
            let covers = covers
                .into_iter()
                .map(|(volume, mode)| covered(&format!("v{volume}"), mode))
                .collect();
            (containers.collect(), covers)
        })
}

/// Works out the direct dependencies again, in another way than the code under test.
fn dependencies(containers: &[Container]) -> BTreeMap<&str, BTreeSet<&str>> {
    let by_id: BTreeMap<_, _> = containers
        .iter()
        .map(|one| (one.id.as_str(), one.name.as_str()))
        .collect();
    containers
        .iter()
        .map(|one| {
            let named = one.labels["holdfast.depends-on"]
                .split(',')
                .filter(|name| !name.is_empty());
            let shared = one.network_mode.strip_prefix("container:").map(|id| by_id[id]);
            (
                one.name.as_str(),
                named.chain(shared).filter(|name| *name != one.name).collect(),
            )
        })
        .collect()
}

fn leads(from: &str, to: &str, dependencies: &BTreeMap<&str, BTreeSet<&str>>) -> bool {
    let mut seen = BTreeSet::new();
    let mut left = vec![from];
    while let Some(at) = left.pop() {
        for next in &dependencies[at] {
            if *next == to {
                return true;
            }
            if seen.insert(*next) {
                left.push(next);
            }
        }
    }
    false
}

/// Returns the containers as they are after the plan.
fn after(containers: &[Container], plan: &QuietPlan) -> Vec<Container> {
    let mut containers = containers.to_vec();
    for container in &mut containers {
        if let Some(step) = plan.steps.iter().find(|step| step.id == container.id) {
            container.state = if step.action == Mode::Pause {
                State::Paused
            } else {
                State::Stopped
            };
        }
    }
    containers
}

proptest! {
    #[test]
    fn every_plan_is_sound((containers, covers) in engines()) {
        let plan = plan(&containers, &covers, &none()).unwrap();
        let dependencies = dependencies(&containers);
        let position: BTreeMap<_, _> = plan.steps.iter().enumerate().map(|(at, step)| (step.name.as_str(), at)).collect();
        prop_assert_eq!(position.len(), plan.steps.len(), "nothing twice");

        // Each container stops before those that it depends on, unless these depend on it as well.
        for (first, at) in &position {
            for (then, later) in &position {
                if leads(first, then, &dependencies) && !leads(then, first, &dependencies) {
                    prop_assert!(at < later, "{} before {}", first, then);
                }
            }
        }
        let stops = |name: &str| plan.steps.iter().any(|step| step.name == name && step.action == Mode::Stop);
        for container in &containers {
            let mode = strictest(container, &covers).unwrap_or_default();
            let depends = dependencies[container.name.as_str()].iter().any(|on| stops(on));
            let planned = plan.steps.iter().find(|step| step.name == container.name).map(|step| step.action);
            let expected = match (container.runs(), mode) {
                (false, _) => None,
                (true, _) if depends => Some(Mode::Stop),
                (true, Mode::Live) => None,
                (true, mode) => Some(mode),
            };
            prop_assert_eq!(planned, expected, "{}", &container.name);
        }

        // A second plan is empty, and the order in which the engine lists containers does not matter.
        prop_assert!(super::plan(&after(&containers, &plan), &covers, &none()).unwrap().is_empty());
        let mut turned = containers.clone();
        turned.reverse();
        prop_assert_eq!(&super::plan(&turned, &covers, &none()).unwrap().steps, &plan.steps);
    }
}

#[test]
fn a_large_engine_is_planned_at_once() {
    let name = |at: usize| format!("c{at}");
    let many: Vec<_> = (0..500)
        .map(|at| {
            running(
                &name(at),
                &["data"],
                &[("holdfast.depends-on", if at == 0 { "" } else { "c0" })],
            )
        })
        .collect();
    let plan = plan(&many, &[covered("data", Mode::Stop)], &none()).unwrap();
    assert_eq!(plan.steps.len(), 500);
    assert_eq!(plan.steps[499].name, "c0");
}
