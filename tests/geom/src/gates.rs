//! `/dev/ggctl` of a system with this GEOM.

use crate::queue::Geom;
use ggate::gate::software::{Open, Software};
use ggate::gate::{
    Cancel, Command, Create, GateId, Ggctl, Modify, Outcome, Request, Started, Unit,
};
use ggate::range::{ByteRange, Geometry};
use nix::errno::Errno;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// How soon GEOM issues a request again for which a gate had no room.
const RETRY: Duration = Duration::from_millis(5);

/// The gates of a system.
pub struct Gates {
    software: Software,
    geom: Arc<Geom>,
    /// DONE of a READ runs completion code that posts an event, once for each.
    posting_completions: AtomicU32,
    before_taste: Mutex<Option<Hook>>,
    kernel: Mutex<Option<Kernel>>,
    starts: AtomicU32,
}

/// Which kernel's way to say that a signal ended the wait in START.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// FreeBSD 12 and 13: success, with ECANCELED in it, as if the gate were
    /// being destroyed.
    Old,
    /// FreeBSD 14 on: EINTR.
    New,
}

type Hook = Box<dyn FnOnce() + Send>;

/// The six calls, for one of the programs.
#[derive(Clone)]
pub struct Handout(pub Arc<Gates>);

impl Gates {
    /// With their sockets in `rundir`.
    pub fn new(geom: &Arc<Geom>, rundir: &Path) -> Arc<Self> {
        Arc::new(Self {
            software: Software::new(rundir).expect("a run directory"),
            geom: Arc::clone(geom),
            posting_completions: AtomicU32::new(0),
            before_taste: Mutex::default(),
            kernel: Mutex::default(),
            starts: AtomicU32::new(0),
        })
    }

    /// The next `count` completions of READs post an event from within DONE
    /// (kernel document 7.4, row 9).
    pub fn post_in_done(&self, count: u32) {
        self.posting_completions.store(count, Ordering::SeqCst);
    }

    /// From now on a signal comes in every other START.
    pub fn interrupt_starts(&self, kernel: Kernel) {
        *self.kernel.lock() = Some(kernel);
    }

    fn interrupted(&self) -> Option<Kernel> {
        let kernel = (*self.kernel.lock())?;
        let starts = self.starts.fetch_add(1, Ordering::SeqCst);
        starts.is_multiple_of(2).then_some(kernel)
    }

    /// Runs `hook` in the next CREATE, before the new provider is tasted.
    pub fn before_taste(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_taste.lock() = Some(Box::new(hook));
    }

    /// The calls, as a program holds them.
    pub fn handout(self: &Arc<Self>) -> Box<dyn Ggctl> {
        Box::new(Handout(Arc::clone(self)))
    }

    /// Whether there is such a gate.
    pub fn exists(&self, unit: Unit) -> bool {
        self.software.geometry(unit).is_some()
    }

    /// What the classes do with a new provider: the first and the last sector.
    fn taste(&self, unit: Unit) {
        let Some(geometry) = self.software.geometry(unit) else {
            return;
        };
        let sector = u64::from(geometry.sector_size);
        for offset in [0, geometry.media_size - sector] {
            if self.read(unit, ByteRange::new(offset, sector)) == Err(Errno::ENXIO) {
                return;
            }
        }
    }

    /// Reads as GEOM does.
    pub fn read(&self, unit: Unit, range: ByteRange) -> nix::Result<Vec<u8>> {
        self.ask(unit, Command::Read, range, &[])
    }

    /// Has a request carried out, and gives a READ's data back. ENOMEM is none
    /// of a consumer's business: GEOM asks again.
    pub fn ask(
        &self,
        unit: Unit,
        command: Command,
        range: ByteRange,
        data: &[u8],
    ) -> nix::Result<Vec<u8>> {
        let read = command == Command::Read;
        let open = Open { read, write: !read };
        let consumer = self.software.consumer(unit, open)?;
        let data = Arc::<[u8]>::from(data);
        loop {
            let (tell, result) = channel();
            let completion = Box::new(move |data: nix::Result<&[u8]>| {
                // Whoever asked waits for it.
                let _ = tell.send(data.map(<[u8]>::to_vec));
            });
            match consumer.submit(command, range, Arc::clone(&data), completion) {
                Ok(()) => match result.recv().expect("every request is completed") {
                    Err(Errno::ENOMEM) => {}
                    other => return other,
                },
                Err(Errno::ENOMEM) => {}
                Err(error) => return Err(error),
            }
            thread::sleep(RETRY);
        }
    }

    fn name(unit: Unit) -> String {
        format!("ggate{unit}")
    }

    /// Whether this completion is one that posts.
    fn posts(&self, request: &Request) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        request.command == Command::Read
            && self
                .posting_completions
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_ok()
    }
}

impl Ggctl for Handout {
    /// CREATE does not wait for the taste.
    fn create(&self, create: &Create) -> nix::Result<Unit> {
        let gates = &self.0;
        let unit = gates.software.create(create)?;
        if let Some(hook) = gates.before_taste.lock().take() {
            hook();
        }
        let taster = Arc::downgrade(gates);
        let taste = Arc::new(move || {
            if let Some(gates) = taster.upgrade() {
                gates.taste(unit);
            }
        });
        gates.geom.add(&Gates::name(unit), taste);
        Ok(unit)
    }

    fn modify(&self, unit: Unit, change: &Modify) -> nix::Result<()> {
        self.0.software.modify(unit, change)?;
        if let Modify::MediaSize(_) = change {
            self.0.geom.resized(&Gates::name(unit));
        }
        Ok(())
    }

    fn destroy(&self, gate: &GateId, force: bool) -> nix::Result<()> {
        self.0.software.destroy(gate, force)?;
        if let GateId::Unit(unit) = gate {
            self.0.geom.remove(&Gates::name(*unit));
        }
        Ok(())
    }

    fn cancel(&self, gate: &GateId, which: Cancel) -> nix::Result<Unit> {
        self.0.software.cancel(gate, which)
    }

    fn start(&self, unit: Unit, payload: &mut [u8]) -> nix::Result<Started> {
        self.start_after(unit, payload, &mut || ())
    }

    fn start_after(
        &self,
        unit: Unit,
        payload: &mut [u8],
        before_waiting: &mut dyn FnMut(),
    ) -> nix::Result<Started> {
        match self.0.interrupted() {
            None => self.0.software.start_after(unit, payload, before_waiting),
            Some(Kernel::New) => Err(Errno::EINTR),
            Some(Kernel::Old) => Ok(Started::Canceled),
        }
    }

    fn done(&self, unit: Unit, request: &Request, outcome: Outcome<'_>) -> nix::Result<()> {
        let posts = self.0.posts(request);
        self.0.software.done(unit, request, outcome)?;
        if posts {
            self.0.geom.barrier();
        }
        Ok(())
    }

    fn geometry(&self, unit: Unit) -> Option<Geometry> {
        self.0.software.geometry(unit)
    }
}
