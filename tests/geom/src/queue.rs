//! The event queue and the providers.

use ggate::gate::Access;
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// What tasting a provider does. Comes back when its reads are answered.
pub(crate) type Taste = Arc<dyn Fn() + Send + Sync>;

/// One GEOM. Its event thread lives as long as the test program.
pub struct Geom {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Event>,
    /// An event counts as queued until its function has returned.
    running: bool,
    /// How many times the queue was seen empty.
    idle: u64,
    providers: BTreeMap<String, Provider>,
    nodes: BTreeSet<String>,
    waiting: Vec<String>,
    waited: BTreeSet<String>,
}

struct Provider {
    taste: Taste,
    writers: u32,
    readers: u32,
}

enum Event {
    /// A new provider, or one that lost its last writer.
    Taste(String),
    /// A first writer, a dump of the tree, a size that changed: what others
    /// wait for, and what takes no time itself.
    Other,
}

/// A provider that is open; dropping it closes it.
pub struct Opened {
    geom: Arc<Geom>,
    name: String,
    access: Access,
}

impl Geom {
    /// An empty one.
    pub fn start() -> Arc<Self> {
        let geom = Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let events = Arc::clone(&geom);
        thread::Builder::new()
            .name("g_event".into())
            .spawn(move || events.run_events())
            .expect("a thread");
        geom
    }

    fn run_events(&self) {
        let mut state = self.state.lock();
        loop {
            let Some(event) = state.queue.pop_front() else {
                state.running = false;
                state.idle += 1;
                self.changed.notify_all();
                self.changed.wait(&mut state);
                continue;
            };
            state.running = true;
            self.changed.notify_all();
            let Event::Taste(name) = event else { continue };
            let taste = state.providers.get(&name).map(|p| Arc::clone(&p.taste));
            let Some(taste) = taste else { continue };
            // The classes drop the topology lock around their reads.
            parking_lot::MutexGuard::unlocked(&mut state, || taste());
            if state.providers.contains_key(&name) {
                state.nodes.insert(name);
            }
            self.changed.notify_all();
        }
    }

    fn post(&self, state: &mut State, event: Event) {
        state.queue.push_back(event);
        self.changed.notify_all();
    }

    /// What a thread that posted does on its way back to user level; not to be
    /// interrupted by anything.
    fn wait_idle(&self) {
        let me = thread::current().name().unwrap_or("?").to_owned();
        let mut state = self.state.lock();
        let seen = state.idle;
        state.waiting.push(me.clone());
        self.changed.notify_all();
        while (state.running || !state.queue.is_empty()) && state.idle == seen {
            self.changed.wait(&mut state);
        }
        let position = state.waiting.iter().position(|name| *name == me);
        state.waiting.swap_remove(position.expect("pushed above"));
        state.waited.insert(me);
    }

    /// A new provider; nobody waits for its taste.
    pub(crate) fn add(&self, name: &str, taste: Taste) {
        let mut state = self.state.lock();
        let provider = Provider {
            taste,
            writers: 0,
            readers: 0,
        };
        state.providers.insert(name.into(), provider);
        self.post(&mut state, Event::Taste(name.into()));
    }

    /// mdconfig: a disk that answers at once; waits for its taste.
    pub fn add_disk(&self, name: &str) {
        self.add(name, Arc::new(|| {}));
        self.wait_idle();
    }

    /// The provider is gone, its node too.
    pub(crate) fn remove(&self, name: &str) {
        let mut state = self.state.lock();
        state.providers.remove(name);
        state.nodes.remove(name);
    }

    /// A resize: posts, and waits.
    pub(crate) fn resized(&self, name: &str) {
        self.post(&mut self.state.lock(), Event::Taste(name.into()));
        self.wait_idle();
    }

    /// Reading `kern.geom.confxml`, asking GEOM for anything, and a completion
    /// that posts an event.
    pub fn barrier(&self) {
        self.post(&mut self.state.lock(), Event::Other);
        self.wait_idle();
    }

    /// open(2). The first writer waits.
    pub fn open(self: &Arc<Self>, name: &str, access: Access) -> nix::Result<Opened> {
        let mut opened = None;
        self.open_then(name, access, |it| opened = Some(it))?;
        Ok(opened.expect("it was installed"))
    }

    /// open(2), with `install` called when the descriptor is there, which is
    /// before the first writer waits.
    pub fn open_then(
        self: &Arc<Self>,
        name: &str,
        access: Access,
        install: impl FnOnce(Opened),
    ) -> nix::Result<()> {
        let mut state = self.state.lock();
        let provider = state.providers.get_mut(name).ok_or(Errno::ENXIO)?;
        let first = access != Access::ReadOnly && provider.writers == 0;
        provider.writers += u32::from(access != Access::ReadOnly);
        provider.readers += u32::from(access != Access::WriteOnly);
        if first {
            self.post(&mut state, Event::Other);
        }
        drop(state);
        install(Opened {
            geom: Arc::clone(self),
            name: name.into(),
            access,
        });
        if first {
            self.wait_idle();
        }
        Ok(())
    }

    /// Whether there is a device node of that name, within `limit`.
    pub fn has_node(&self, name: &str, limit: Duration) -> bool {
        self.becomes(limit, |state| state.nodes.contains(name))
    }

    /// Whether a taste, or something behind it, is under way within `limit`.
    pub fn is_busy(&self, limit: Duration) -> bool {
        self.becomes(limit, |state| state.running)
    }

    /// Whether the queue is empty within `limit`. Unlike [`Geom::barrier`] this
    /// only looks.
    pub fn is_quiet(&self, limit: Duration) -> bool {
        self.becomes(limit, |state| !state.running && state.queue.is_empty())
    }

    fn becomes(&self, limit: Duration, mut condition: impl FnMut(&State) -> bool) -> bool {
        let mut state = self.state.lock();
        let until = std::time::Instant::now() + limit;
        while !condition(&state) {
            if self.changed.wait_until(&mut state, until).timed_out() {
                return condition(&state);
            }
        }
        true
    }

    /// The threads that wait for the queue now, by name.
    pub fn waiting(&self) -> Vec<String> {
        self.state.lock().waiting.clone()
    }

    /// The threads that ever waited, or do, by name.
    pub fn waited(&self) -> BTreeSet<String> {
        let state = self.state.lock();
        state.waited.iter().chain(&state.waiting).cloned().collect()
    }
}

impl Drop for Opened {
    /// close(2). The last writer has the provider tasted again, and waits.
    fn drop(&mut self) {
        let mut state = self.geom.state.lock();
        let writes = self.access != Access::ReadOnly;
        let Some(provider) = state.providers.get_mut(&self.name) else {
            return;
        };
        provider.readers -= u32::from(self.access != Access::WriteOnly);
        provider.writers -= u32::from(writes);
        if writes && provider.writers == 0 {
            self.geom.post(&mut state, Event::Taste(self.name.clone()));
            drop(state);
            self.geom.wait_idle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    const SOON: Duration = Duration::from_secs(10);
    const HANGS: Duration = Duration::from_millis(200);

    type Call = Box<dyn FnOnce(&Arc<Geom>) + Send>;

    /// A provider whose taste hangs until the result is dropped.
    fn hanging(geom: &Geom, name: &str) -> Sender<()> {
        let (release, released) = channel();
        let released = Mutex::new(released);
        geom.add(
            name,
            Arc::new(move || {
                // Dropping the sender is the word.
                let _ = released.lock().recv();
            }),
        );
        assert!(geom.is_busy(SOON));
        release
    }

    #[test]
    fn a_node_appears_by_a_taste_and_events_come_one_after_another() {
        let geom = Geom::start();
        let taste = hanging(&geom, "ggate0");
        geom.add("md1", Arc::new(|| {}));
        assert!(!geom.has_node("md1", HANGS));
        assert!(!geom.has_node("ggate0", Duration::ZERO));
        drop(taste);
        assert!(geom.has_node("ggate0", SOON));
        assert!(geom.has_node("md1", SOON));
        assert!(geom.is_quiet(SOON));
    }

    /// Kernel document 7.4, row by row: who waits while a taste hangs.
    #[test]
    fn who_waits_and_who_does_not() {
        let geom = Geom::start();
        geom.add_disk("md0");
        geom.add_disk("md1");
        let writer = geom.open("md1", Access::ReadWrite).unwrap();
        let taste = hanging(&geom, "ggate0");
        // Rows 2 and 4: a reader, a second writer; and their closes.
        drop(geom.open("md0", Access::ReadOnly).unwrap());
        drop(geom.open("md1", Access::WriteOnly).unwrap());
        assert_eq!(geom.waiting(), Vec::<String>::new());
        // Rows 1, 3 and 5: the first writer, the last close, the tree.
        let calls: [(&str, Call); 3] = [
            (
                "open",
                Box::new(|geom| drop(geom.open("md0", Access::ReadWrite))),
            ),
            ("close", Box::new(move |_| drop(writer))),
            ("list", Box::new(|geom| geom.barrier())),
        ];
        let threads = calls.map(|(name, call)| {
            let geom = Arc::clone(&geom);
            let thread = thread::Builder::new().name(name.into());
            thread.spawn(move || call(&geom)).unwrap()
        });
        let all = |state: &State| state.waiting.len() == 3;
        assert!(geom.becomes(SOON, all));
        assert!(threads.iter().all(|thread| !thread.is_finished()));
        drop(taste);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(geom.waited().contains("close"));
        assert!(geom.is_quiet(SOON));
    }

    #[test]
    fn a_descriptor_is_there_while_its_opener_waits() {
        let geom = Geom::start();
        geom.add_disk("md0");
        let taste = hanging(&geom, "ggate0");
        let (found, find) = channel();
        let opener = {
            let geom = Arc::clone(&geom);
            thread::spawn(move || {
                geom.open_then("md0", Access::ReadWrite, |it| found.send(it).unwrap())
            })
        };
        let descriptor = find.recv_timeout(SOON).unwrap();
        assert!(!opener.is_finished());
        drop(taste);
        opener.join().unwrap().unwrap();
        drop(descriptor);
    }

    #[test]
    fn a_provider_that_is_not_there_is_enxio() {
        let geom = Geom::start();
        let missing = geom.open("md0", Access::ReadWrite).map(drop);
        assert_eq!(missing, Err(Errno::ENXIO));
    }
}
