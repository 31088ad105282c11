use super::*;
use crate::config::{Resource, Settings};
use hast_core::decision::OnImpossible;
use hast_core::payload::{Checksum, Compression};
use hast_core::primary::Replication;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A machine, the time, and what it wanted since it was asked last.
struct Bench {
    machine: Machine<u32>,
    now: Instant,
    out: Vec<Effect<u32>>,
}

impl Bench {
    /// In role init, and it is known that there is no orphan.
    fn new() -> Self {
        let mut bench = Self::after_start();
        bench.machine.left = Left::Nothing;
        bench
    }

    fn after_start() -> Self {
        Self {
            machine: Machine::new(TIMEOUT, Left::Nothing),
            now: Instant::now(),
            out: Vec::new(),
        }
    }

    fn with(role: Role) -> Self {
        let mut bench = Self::new();
        bench.role(role, 0);
        bench.event(Event::Ready);
        bench.wanted();
        bench
    }

    fn order(&mut self, order: Order<u32>) {
        self.machine.order(order, self.now, &mut self.out);
    }

    fn change(&mut self, role: Role, ticket: u32, if_closed: bool, wait: bool) {
        self.order(Order::Role(Change {
            role,
            if_closed,
            wait,
            ticket: Some(ticket),
        }));
    }

    fn role(&mut self, role: Role, ticket: u32) {
        self.change(role, ticket, false, false);
    }

    fn event(&mut self, event: Event) {
        self.machine.event(event, self.now, &mut self.out);
    }

    fn exit(&mut self, code: i32) {
        self.event(Event::Exited(Exit::Code(code), String::new()));
    }

    /// To when something is due.
    fn wait(&mut self) -> Duration {
        let due = self.machine.due().expect("something is due");
        let pause = due.saturating_duration_since(self.now);
        self.now = due;
        self.event(Event::Tick);
        pause
    }

    /// What it wanted, in words.
    fn wanted(&mut self) -> Vec<String> {
        self.out.drain(..).map(word).collect()
    }
}

fn word(effect: Effect<u32>) -> String {
    match effect {
        Effect::Start(task) => format!("start {task:?}"),
        Effect::Stop { if_closed: false } => "stop".into(),
        Effect::Stop { if_closed: true } => "stop if closed".into(),
        Effect::Kill => "kill".into(),
        Effect::Answer(ticket, Ok(role)) => format!("{ticket}: was {role}"),
        Effect::Answer(ticket, Err(refusal)) => format!("{ticket}: error {}", refusal.code.0),
        Effect::Changed { from, to } => format!("{from} to {to}"),
        Effect::Demoted => "demoted".into(),
        Effect::Pause(pause) => format!("pause {}", pause.as_secs()),
        Effect::Replace(_) => "replace".into(),
        Effect::Reconfigure { reconnect, .. } => format!("reconfigure {reconnect}"),
        Effect::Forget => "forget".into(),
    }
}

/// spec/hast-behaviour.md section 2, each role to each.
#[test]
fn a_role_is_changed_when_the_old_worker_is_gone() {
    let starts = |role| match role {
        Role::Init => None,
        Role::Primary => Some("start Primary".to_owned()),
        Role::Secondary => Some("start Secondary".to_owned()),
    };
    for from in Role::ALL {
        for to in Role::ALL {
            let mut bench = Bench::with(from);
            bench.role(to, 7);
            let mut expected = Vec::new();
            if from != to {
                if from != Role::Init {
                    assert_eq!(bench.wanted(), ["stop"], "{from} to {to}");
                    assert_eq!(bench.machine.role(), from);
                    assert_eq!(bench.machine.final_role(), to);
                    bench.exit(0);
                }
                expected.extend(starts(to));
                expected.push(format!("{from} to {to}"));
            }
            expected.push(format!("7: was {from}"));
            assert_eq!(bench.wanted(), expected, "{from} to {to}");
            assert_eq!(bench.machine.role(), to);
        }
    }
}

/// K20: base waits for the worker without limit, and everybody for base.
#[test]
fn a_worker_that_does_not_end_is_killed_and_its_provider_destroyed() {
    let mut bench = Bench::with(Role::Primary);
    bench.role(Role::Init, 1);
    assert_eq!(bench.wanted(), ["stop"]);
    assert_eq!(bench.wait(), TIMEOUT + GRACE);
    assert_eq!(bench.wanted(), ["kill"]);
    assert_eq!(bench.machine.due(), None);
    bench.event(Event::Exited(Exit::Signal(9), String::new()));
    assert_eq!(bench.wanted(), ["start Clean"]);
    bench.exit(0);
    assert_eq!(bench.wanted(), ["primary to init", "1: was primary"]);
    // Once is enough.
    bench.role(Role::Init, 2);
    assert_eq!(bench.wanted(), ["2: was init"]);
}

#[test]
fn an_orphan_of_an_earlier_daemon_is_destroyed_once() {
    let mut bench = Bench::after_start();
    bench.role(Role::Init, 1);
    assert_eq!(bench.wanted(), ["start Clean"]);
    assert_eq!(bench.wait(), CLEANING);
    assert_eq!(bench.wanted(), ["kill"]);
    bench.event(Event::Exited(Exit::Signal(9), String::new()));
    assert_eq!(bench.wanted(), ["1: was init"]);
    // It was not destroyed: another try.
    bench.role(Role::Init, 2);
    assert_eq!(bench.wanted(), ["start Clean"]);
    bench.exit(0);
    bench.role(Role::Init, 3);
    assert_eq!(bench.wanted(), ["2: was init", "3: was init"]);
}

#[test]
fn a_secondary_s_worker_destroys_an_orphan_itself_once_it_is_ready() {
    for (ready, expected) in [(true, "secondary to init"), (false, "start Clean")] {
        let mut bench = Bench::after_start();
        bench.role(Role::Secondary, 1);
        if ready {
            bench.event(Event::Ready);
        }
        bench.role(Role::Init, 2);
        bench.wanted();
        bench.machine.event(
            Event::Exited(Exit::Code(0), String::new()),
            bench.now,
            &mut bench.out,
        );
        assert_eq!(bench.wanted()[0], expected);
    }
}

#[test]
fn a_change_can_wait_for_the_worker_to_be_ready() {
    let mut bench = Bench::new();
    bench.change(Role::Primary, 1, false, true);
    assert_eq!(bench.wanted(), ["start Primary", "init to primary"]);
    bench.change(Role::Primary, 2, false, true);
    bench.role(Role::Primary, 3);
    assert_eq!(bench.wanted(), ["3: was primary"]);
    bench.event(Event::Ready);
    assert_eq!(bench.wanted(), ["1: was init", "2: was primary"]);
    bench.change(Role::Primary, 4, false, true);
    assert_eq!(bench.wanted(), ["4: was primary"]);
}

#[test]
fn who_waits_is_told_that_the_worker_has_failed() {
    let mut bench = Bench::new();
    bench.change(Role::Primary, 1, false, true);
    bench.wanted();
    bench.exit(66);
    assert_eq!(bench.wanted(), ["1: error 66", "demoted"]);
    bench.change(Role::Secondary, 2, false, true);
    bench.wanted();
    bench.event(Event::Exited(Exit::Signal(11), String::new()));
    assert_eq!(bench.wanted(), ["2: error 5", "pause 1"]);
    bench.change(Role::Secondary, 3, false, true);
    bench.role(Role::Init, 4);
    bench.wanted();
    bench.exit(0);
    assert_eq!(bench.wanted()[0], "3: error 85", "another role was ordered");
}

#[test]
fn a_provider_in_use_stays_if_that_was_wanted() {
    let mut bench = Bench::with(Role::Primary);
    bench.change(Role::Secondary, 1, true, false);
    assert_eq!(bench.wanted(), ["stop if closed"]);
    bench.event(Event::InUse);
    assert_eq!(bench.wanted(), ["1: error 16"]);
    assert_eq!(bench.machine.role(), Role::Primary);
    assert_eq!(bench.machine.final_role(), Role::Primary);
    // Nobody answers: it is not killed.
    bench.change(Role::Secondary, 2, true, false);
    assert_eq!(bench.wait(), TIMEOUT + GRACE);
    assert_eq!(bench.wanted(), ["stop if closed", "2: error 60"]);
    // And then it does end.
    bench.exit(0);
    assert_eq!(bench.wanted(), ["demoted"]);
    // Nobody has a secondary's.
    let mut bench = Bench::with(Role::Secondary);
    bench.change(Role::Init, 3, true, false);
    assert_eq!(bench.wanted(), ["stop"]);
}

#[test]
fn what_nobody_serves_may_be_in_use() {
    let mut bench = Bench::with(Role::Primary);
    bench.event(Event::Exited(Exit::Signal(11), String::new()));
    bench.wanted();
    bench.change(Role::Init, 1, true, false);
    assert_eq!(bench.wanted(), ["1: error 16"]);
    bench.role(Role::Init, 2);
    assert_eq!(bench.wanted(), ["start Clean"]);
    let mut bench = Bench::after_start();
    bench.change(Role::Init, 3, true, false);
    assert_eq!(bench.wanted(), ["3: was init"]);
}

/// Its sandbox is empty.
#[test]
fn the_files_of_a_gate_in_software_are_removed_for_the_worker() {
    let mut bench = Bench::with(Role::Primary);
    bench.machine.trace = Left::Files;
    bench.change(Role::Init, 1, true, false);
    bench.exit(0);
    assert_eq!(bench.wanted(), ["stop if closed", "start Clean"]);
    bench.exit(0);
    assert_eq!(bench.wanted(), ["primary to init", "1: was primary"]);

    let mut bench = Bench::with(Role::Primary);
    bench.machine.trace = Left::Files;
    bench.role(Role::Secondary, 2);
    bench.exit(0);
    assert_eq!(bench.wanted(), ["stop", "start Clean"]);
    bench.exit(0);
    assert_eq!(
        bench.wanted(),
        ["start Secondary", "primary to secondary", "2: was primary"]
    );

    let mut bench = Bench::with(Role::Primary);
    bench.machine.trace = Left::Files;
    bench.event(Event::End);
    bench.exit(0);
    assert_eq!(bench.wanted(), ["stop", "start Clean"]);
    bench.exit(0);
    assert_eq!(bench.wanted(), [""; 0]);
}

#[test]
fn orders_are_carried_out_one_after_the_other() {
    let mut bench = Bench::with(Role::Primary);
    bench.role(Role::Secondary, 1);
    bench.role(Role::Init, 2);
    bench.role(Role::Primary, 3);
    assert_eq!(bench.wanted(), ["stop"]);
    bench.exit(0);
    assert_eq!(
        bench.wanted(),
        [
            "start Secondary",
            "primary to secondary",
            "1: was primary",
            "stop"
        ]
    );
    bench.exit(0);
    assert_eq!(
        bench.wanted(),
        [
            "secondary to init",
            "2: was secondary",
            "start Primary",
            "init to primary",
            "3: was init"
        ]
    );
}

#[test]
fn one_resource_does_not_collect_orders_for_ever() {
    let mut bench = Bench::with(Role::Primary);
    for ticket in 0..1000 {
        bench.role(Role::Init, ticket);
    }
    let refused = bench
        .wanted()
        .into_iter()
        .filter(|w| w.ends_with("error 16"));
    assert_eq!(refused.count(), 1000 - 1 - MOST_ORDERS);
    assert_eq!(bench.machine.orders.len(), MOST_ORDERS);
    // A reload is not refused.
    bench.order(Order::Remove);
    assert_eq!(bench.machine.orders.len(), MOST_ORDERS + 1);
}

/// spec/hast-behaviour.md section 1.1.
#[test]
fn what_follows_when_a_worker_ends_by_itself() {
    let (signal, code) = (Exit::Signal(11), Exit::Code);
    for (role, exit, expected) in [
        (Role::Primary, signal, "pause 1"),
        (Role::Primary, code(75), "pause 1"),
        (Role::Primary, code(0), "demoted"),
        (Role::Primary, code(66), "demoted"),
        (Role::Primary, code(71), "demoted"),
        (Role::Primary, code(72), "demoted"),
        (Role::Primary, code(78), "demoted"),
        (Role::Secondary, signal, "pause 1"),
        (Role::Secondary, code(75), "pause 1"),
        (Role::Secondary, code(66), "pause 1"),
        (Role::Secondary, code(0), "pause 1"),
    ] {
        let mut bench = Bench::with(role);
        bench.event(Event::Exited(exit, String::new()));
        assert_eq!(bench.wanted(), [expected], "{role} {exit:?}");
        if expected == "demoted" {
            assert_eq!(bench.machine.role(), Role::Init);
            assert_eq!(bench.machine.due(), None);
        } else {
            assert_eq!(bench.machine.role(), role);
            assert_eq!(bench.wait(), FIRST_PAUSE);
            assert!(bench.wanted()[0].starts_with("start"));
        }
    }
}

#[test]
fn a_crash_loop_slows_down() {
    let mut bench = Bench::with(Role::Primary);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        bench.event(Event::Exited(Exit::Signal(11), String::new()));
        pauses.push(bench.wait().as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    // One that lived for a while is another story.
    bench.now += LIFE;
    bench.exit(75);
    assert_eq!(bench.wait(), FIRST_PAUSE);
    // So is one that could not be started at all.
    bench.event(Event::NotStarted);
    assert_eq!(bench.wait(), 2 * FIRST_PAUSE);
    // Asking for the role ends the pause.
    bench.exit(75);
    bench.wanted();
    bench.role(Role::Primary, 1);
    assert_eq!(bench.wanted(), ["start Primary", "1: was primary"]);
}

#[test]
fn a_reload_restarts_removes_and_reconfigures_in_order() {
    let config = || Box::new(config());
    let mut bench = Bench::with(Role::Secondary);
    bench.order(Order::Role(Change::to(Role::Init)));
    bench.order(Order::Replace(config()));
    bench.order(Order::Role(Change::to(Role::Secondary)));
    bench.role(Role::Primary, 1);
    assert_eq!(bench.wanted(), ["stop"]);
    assert_eq!(bench.machine.final_role(), Role::Primary);
    bench.exit(0);
    assert_eq!(
        bench.wanted(),
        [
            "secondary to init",
            "replace",
            "start Secondary",
            "init to secondary",
            "stop"
        ]
    );
    bench.exit(0);
    bench.wanted();
    let reconnect = true;
    bench.order(Order::Reconfigure {
        config: config(),
        reconnect,
    });
    assert_eq!(bench.wanted(), ["reconfigure true"]);
    bench.order(Order::Role(Change::to(Role::Init)));
    bench.order(Order::Remove);
    assert_eq!(bench.wanted(), ["stop"]);
    bench.exit(0);
    assert_eq!(bench.wanted(), ["primary to init", "forget"]);
}

#[test]
fn at_the_end_all_is_stopped_and_nothing_begins() {
    let mut bench = Bench::with(Role::Primary);
    bench.role(Role::Secondary, 1);
    bench.role(Role::Primary, 2);
    bench.wanted();
    bench.event(Event::End);
    assert_eq!(bench.wanted(), ["1: error 85", "2: error 85"]);
    bench.role(Role::Init, 3);
    assert_eq!(bench.wanted(), ["3: error 85"]);
    bench.exit(0);
    assert_eq!(bench.wanted(), [""; 0]);
    assert!(bench.machine.due().is_none());

    let mut bench = Bench::with(Role::Secondary);
    bench.event(Event::End);
    assert_eq!(bench.wanted(), ["stop"]);
    assert_eq!(bench.wait(), TIMEOUT + GRACE);
    assert_eq!(bench.wanted(), ["kill"]);

    // One that was asked politely is asked again.
    let mut bench = Bench::with(Role::Primary);
    bench.change(Role::Init, 1, true, false);
    bench.wanted();
    bench.event(Event::End);
    assert_eq!(bench.wanted(), ["stop"]);
    bench.exit(0);
    assert_eq!(bench.wanted(), ["primary to init", "1: was primary"]);

    let mut bench = Bench::with(Role::Secondary);
    bench.exit(75);
    bench.event(Event::End);
    assert_eq!(bench.machine.due(), None, "none is started again");
}

/// A resource without another node.
pub(in crate::daemon) fn config() -> Resource {
    Resource {
        name: "data".into(),
        provider: "data".into(),
        local: "/dev/data".into(),
        remote: None,
        source: None,
        exec: None,
        settings: Settings {
            replication: Replication::Memsync,
            checksum: Checksum::None,
            compression: Compression::Hole,
            timeout: Duration::from_secs(20),
            metaflush: true,
        },
        on_impossible: OnImpossible::Stop,
        memory: 1 << 20,
    }
}
