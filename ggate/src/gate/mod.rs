//! The gate: six calls, in the kernel or in software.
//!
//! [`Ggctl`] has the semantics of `/dev/ggctl` as `spec/geom-gate-kernel.md`
//! section 4 states them. `kernel`, on FreeBSD, makes the calls as ioctls;
//! [`software`] answers them itself and serves each provider on an NBD socket.
//! Everything above (the serve loop in [`serve`] and the programs) knows only
//! the trait.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

use crate::range::{ByteRange, Geometry};
use list::{GateInfo, ListError};
use nix::errno::Errno;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

#[cfg(any(test, target_os = "freebsd"))]
mod abi;
pub mod handle;
pub mod info;
#[cfg(target_os = "freebsd")]
pub mod kernel;
pub mod list;
pub mod role;
pub mod serve;
pub mod software;

/// Number of a gate, 0 to `kern.geom.gate.maxunits` - 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Unit(pub u32);

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The gate's number for a request: from 1, one more for each queued request,
/// kept through CANCEL and a second START.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Seq(pub u64);

/// The largest queue limit; larger ones are clamped.
pub const MAX_QUEUE_LIMIT: u32 = 4096;

/// Access that consumers of a provider get.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Access {
    /// Both.
    #[default]
    ReadWrite,
    /// WRITE, DELETE and FLUSH fail with EPERM.
    ReadOnly,
    /// Opening for reading fails with EPERM.
    WriteOnly,
}

impl Access {
    /// As the GEOM tree and `list` write it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::WriteOnly => "write-only",
        }
    }

    /// The reverse of [`Access::text`].
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::ReadWrite, Self::ReadOnly, Self::WriteOnly]
            .into_iter()
            .find(|access| access.text() == text)
    }
}

/// What to create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Create {
    /// Sizes; the media size must be a positive multiple of the sector size,
    /// the sector size a power of two.
    pub geometry: Geometry,
    /// Access for consumers.
    pub access: Access,
    /// How many requests may wait or be outstanding, 0 = unlimited. Clamped to
    /// [`MAX_QUEUE_LIMIT`].
    pub queue_limit: u32,
    /// Check interval for requests older than 5 seconds, in seconds; 0 = none.
    pub timeout: u32,
    /// Unit or name.
    pub name: NewName,
    /// Free text for `list`; made XML-safe and cut to 2047 bytes by the gate.
    pub info: String,
}

/// How a new gate is to be called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NewName {
    /// `ggateN` with the lowest free N.
    NextFree,
    /// `ggateN` with this N; EEXIST when taken.
    Unit(Unit),
    /// This name, for example `hast/data`; at most 254 bytes.
    Named(String),
}

/// An existing gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GateId {
    /// By number.
    Unit(Unit),
    /// By provider name.
    Named(String),
}

/// What MODIFY changes. As in the kernel, a media size excludes the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Modify {
    /// New media size in bytes.
    MediaSize(u64),
    /// New info text.
    Info(String),
    /// Provider that serves reads directly. EINVAL unless the gate's medium,
    /// from `offset` on, lies inside of it: a kernel that finds out by itself
    /// freezes GEOM (spec/geom-gate-kernel.md 4.5). Hence the sizes, which
    /// whoever serves the gate from that provider knows.
    ReadProvider {
        /// Provider name, without `/dev/`.
        name: String,
        /// Where the medium begins on it, in bytes; a multiple of the gate's
        /// sector size.
        offset: u64,
        /// Media size of that provider in bytes.
        size: u64,
        /// The gate's own sizes.
        gate: Geometry,
    },
    /// Reads come to user level again.
    NoReadProvider,
}

/// Which requests CANCEL returns to the waiting queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancel {
    /// All that are outstanding.
    All,
    /// Only this one.
    One(Seq),
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Read the range.
    Read,
    /// Write the payload to the range.
    Write,
    /// The range's content is no longer needed.
    Delete,
    /// Everything acknowledged so far must reach stable storage. The range is
    /// the media size and 0.
    Flush,
    /// A hint that an upper layer is short of a resource (FreeBSD 14 on).
    Speedup,
    /// Something later kernels invented; answer EOPNOTSUPP.
    Other(u32),
}

/// A request as START hands it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The gate's number for it.
    pub seq: Seq,
    /// What to do.
    pub command: Command,
    /// Where.
    pub range: ByteRange,
}

/// What START returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Started {
    /// A request was taken; a WRITE's payload is at the front of the buffer.
    Request(Request),
    /// A WRITE of this many bytes is first in the queue and stays there: come
    /// again with a buffer that is large enough.
    NeedBuffer(usize),
    /// The gate is being destroyed, or (FreeBSD 13 and older) a signal came.
    Canceled,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// WRITE, DELETE, FLUSH: done.
    Done,
    /// READ: these bytes, exactly as many as were asked for.
    Data(&'a [u8]),
    /// Failed. EAGAIN hands the request back to the queue, ENOMEM makes GEOM
    /// retry it; neither must come from a peer by accident.
    Error(Errno),
}

/// The six calls of `/dev/ggctl`, callable from any thread.
pub trait Ggctl: Send + Sync {
    /// Makes a gate. EINVAL for sizes or names that make no sense, EEXIST for
    /// a unit or name that is taken, ENFILE when all units are.
    fn create(&self, create: &Create) -> nix::Result<Unit>;

    /// Changes a gate. ENXIO when there is none.
    fn modify(&self, unit: Unit, change: &Modify) -> nix::Result<()>;

    /// Ends a gate: EBUSY while it is open, unless `force`; ENXIO when there
    /// is none. Waiting and outstanding requests fail with ENXIO.
    fn destroy(&self, gate: &GateId, force: bool) -> nix::Result<()>;

    /// Returns outstanding requests to the front of the waiting queue, in
    /// their order, and tells the unit. Wakes nobody who sleeps in START.
    fn cancel(&self, gate: &GateId, which: Cancel) -> nix::Result<Unit>;

    /// Waits for a request and takes it. `payload` receives the data of a
    /// WRITE. ENXIO when there is no such gate, EINTR (FreeBSD 14 on) when a
    /// signal came.
    fn start(&self, unit: Unit, payload: &mut [u8]) -> nix::Result<Started>;

    /// [`Ggctl::start`] for callers who put off what they can do together with
    /// the next request: `before_waiting` is called before there may be a wait,
    /// perhaps more than once, and must not wait itself. The kernel does not
    /// tell when it will make us wait.
    fn start_after(
        &self,
        unit: Unit,
        payload: &mut [u8],
        before_waiting: &mut dyn FnMut(),
    ) -> nix::Result<Started> {
        before_waiting();
        self.start(unit, payload)
    }

    /// Completes a request that START handed out. Silently nothing when it is
    /// no longer outstanding; ENOENT when there is no such gate. The result of
    /// a READ must be as long as the request's range, else it fails with EIO.
    fn done(&self, unit: Unit, request: &Request, outcome: Outcome<'_>) -> nix::Result<()>;

    /// [`Ggctl::done`] for several requests, in this order.
    fn done_all(
        &self,
        unit: Unit,
        done: &mut dyn Iterator<Item = (Request, Outcome<'_>)>,
    ) -> nix::Result<()> {
        for (request, outcome) in done {
            self.done(unit, &request, outcome)?;
        }
        Ok(())
    }

    /// How many requests that are done may wait for one another, to be given to
    /// [`Ggctl::done_all`] together: one where DONE may hold the thread that
    /// calls it, as the kernel's may.
    fn done_at_once(&self) -> usize {
        1
    }

    /// The open files behind it, if it is the kernel's.
    fn files(&self) -> Option<Files<'_>> {
        None
    }

    /// The sizes of a gate, where they can be had at once.
    fn geometry(&self, unit: Unit) -> Option<Geometry> {
        let _ = unit;
        None
    }
}

/// The open files behind the kernel's gate, for who limits what can be done
/// with them.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// `/dev/ggctl`.
    pub control: BorrowedFd<'a>,
    /// Locked while a gate is looked up by name.
    pub lock: BorrowedFd<'a>,
}

/// The gate of this machine: the kernel's on FreeBSD, unless `GGATE_RUNDIR`
/// asks for the one in software, which is all there is elsewhere.
pub fn open() -> io::Result<Box<dyn Ggctl>> {
    #[cfg(target_os = "freebsd")]
    if !software::is_chosen() {
        return Ok(Box::new(kernel::Kernel::open()?));
    }
    Ok(Box::new(software::Software::open()?))
}

/// Loads the kernel's gate if it is wanted and not there.
pub fn load() -> io::Result<()> {
    #[cfg(target_os = "freebsd")]
    if !software::is_chosen() {
        crate::daemon::load_module(c"geom_gate", c"g_gate")?;
    }
    Ok(())
}

/// [`open`] for who is about to create a gate.
pub fn load_and_open() -> io::Result<Box<dyn Ggctl>> {
    load()?;
    open()
}

/// Waits until GEOM's event queue has been empty; where there is none, for
/// nothing. Takes as long as the slowest taste: only for a process or thread
/// that may hang.
pub fn wait_until_quiet() {
    #[cfg(target_os = "freebsd")]
    kernel::wait_until_quiet();
}

/// The gates of this machine, or only the one called `ggateN`, of the same
/// kind as [`open`]'s. Nobody whom a gate waits for may ask the kernel.
pub fn list(unit: Option<Unit>) -> Result<Vec<GateInfo>, ListError> {
    #[cfg(target_os = "freebsd")]
    if !software::is_chosen() {
        return kernel::list(unit);
    }
    let mut gates = software::Software::open()
        .and_then(|software| software.list())
        .map_err(|error| ListError::RunDirectory(error.kind()))?;
    if let Some(unit) = unit {
        list::retain_unit(&mut gates, unit);
    }
    Ok(gates)
}
