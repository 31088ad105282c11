//! The gate in the kernel: the six calls as ioctls, and the GEOM tree.
//!
//! What goes into a call and comes out of it is decided in `abi`; here are the
//! calls. Facts: spec/geom-gate-kernel.md sections 2 and 4.

use super::list::{self, GateInfo, ListError};
use super::{Cancel, Create, Files, GateId, Ggctl, Modify, Outcome, Request, Started, Unit, abi};
use ggate_sys::ioctl;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::stat::Mode;
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};

/// The control device, mode 0600.
const GGCTL: &str = "/dev/ggctl";

/// Whoever holds its lock may create, destroy, or find a gate by name.
const LOCK_FILE: &str = "/var/run/ggate.lock";

/// The calls that are made while a gate is served, and to end it.
pub const SERVING: [libc::c_ulong; 5] = [
    ggate_sys::G_GATE_CMD_MODIFY_NUMBER,
    ggate_sys::G_GATE_CMD_DESTROY_NUMBER,
    ggate_sys::G_GATE_CMD_CANCEL_NUMBER,
    ggate_sys::G_GATE_CMD_START_NUMBER,
    ggate_sys::G_GATE_CMD_DONE_NUMBER,
];

/// `/dev/ggctl`. The descriptor belongs to no unit; closing it ends no gate.
#[derive(Debug)]
pub struct Kernel {
    ctl: OwnedFd,
    /// Its lock keeps other processes out, the mutex other threads.
    lock_file: OwnedFd,
    threads: Mutex<()>,
}

impl Kernel {
    /// Opens the control device. ENOENT without the kernel module, EACCES for
    /// who is not root.
    pub fn open() -> nix::Result<Self> {
        let ctl = open(GGCTL, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        let lock_file = open(
            LOCK_FILE,
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
            Mode::S_IRUSR | Mode::S_IWUSR,
        )?;
        Ok(Self {
            ctl,
            lock_file,
            threads: Mutex::new(()),
        })
    }

    /// Makes `call` while nobody else of ours is in this section: the kernel
    /// may panic when a gate is looked up by name while another one is being
    /// made, or when one is destroyed twice at a time (4.7).
    fn alone<T>(&self, call: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
        let _alone = self.threads.lock();
        // The lock belongs to the open file that both descriptors share, and
        // is given up when its guard, which owns the duplicate, is dropped.
        let mut duplicate = self.lock_file.try_clone().map_err(errno_of)?;
        let _locked = loop {
            match Flock::lock(duplicate, FlockArg::LockExclusive) {
                Ok(locked) => break locked,
                Err((unlocked, Errno::EINTR)) => duplicate = unlocked,
                Err((_, error)) => return Err(error),
            }
        };
        call()
    }
}

fn errno_of(error: io::Error) -> Errno {
    Errno::try_from(error).unwrap_or(Errno::EIO)
}

#[allow(unsafe_code, reason = "the ioctls")]
impl Ggctl for Kernel {
    fn create(&self, create: &Create) -> nix::Result<Unit> {
        let mut ctl = abi::create(create)?;
        self.alone(|| {
            // SAFETY: the structure is plain data and the kernel's own.
            unsafe { ioctl::create(self.ctl.as_raw_fd(), &raw mut ctl) }
        })?;
        abi::unit(ctl.gctl_unit)
    }

    fn modify(&self, unit: Unit, change: &Modify) -> nix::Result<()> {
        let mut ctl = abi::modify(unit, change)?;
        // SAFETY: the structure is plain data and the kernel's own.
        unsafe { ioctl::modify(self.ctl.as_raw_fd(), &raw mut ctl) }?;
        Ok(())
    }

    fn destroy(&self, gate: &GateId, force: bool) -> nix::Result<()> {
        let mut ctl = abi::destroy(gate, force)?;
        self.alone(|| {
            // SAFETY: the structure is plain data and the kernel's own.
            unsafe { ioctl::destroy(self.ctl.as_raw_fd(), &raw mut ctl) }
        })?;
        Ok(())
    }

    fn cancel(&self, gate: &GateId, which: Cancel) -> nix::Result<Unit> {
        let mut ctl = abi::cancel(gate, which)?;
        // SAFETY: the structure is plain data and the kernel's own.
        let mut call = || unsafe { ioctl::cancel(self.ctl.as_raw_fd(), &raw mut ctl) };
        match gate {
            GateId::Unit(_) => call(),
            GateId::Named(_) => self.alone(call),
        }?;
        abi::unit(ctl.gctl_unit)
    }

    fn start(&self, unit: Unit, payload: &mut [u8]) -> nix::Result<Started> {
        let mut ctl = abi::start(unit, payload)?;
        // SAFETY: gctl_data and gctl_length are `payload`, which outlives the
        // call and is borrowed for writing.
        unsafe { ioctl::start(self.ctl.as_raw_fd(), &raw mut ctl) }?;
        abi::started(&ctl)
    }

    fn done(&self, unit: Unit, request: &Request, outcome: Outcome<'_>) -> nix::Result<()> {
        let mut ctl = abi::done(unit, request, outcome)?;
        // SAFETY: gctl_data is null, or the outcome's data: only read from, and
        // as long as the range of the request, which START handed out.
        unsafe { ioctl::done(self.ctl.as_raw_fd(), &raw mut ctl) }?;
        Ok(())
    }

    fn files(&self) -> Option<Files<'_>> {
        Some(Files {
            control: self.ctl.as_fd(),
            lock: self.lock_file.as_fd(),
        })
    }
}

/// The gates in the kernel, or only the one called `ggateN`. Waits while a
/// taste waits for a gate, so nobody whom a gate waits for may ask (7.4).
pub fn list(unit: Option<Unit>) -> Result<Vec<GateInfo>, ListError> {
    let tree = confxml().map_err(ListError::Sysctl)?;
    let mut gates = list::parse_confxml(&tree)?;
    if let Some(unit) = unit {
        list::retain_unit(&mut gates, unit);
    }
    Ok(gates)
}

/// Waits until every event that GEOM had queued has been handled and its queue
/// was empty: asks for the size of the tree alone, which takes no lock that
/// others need (7.6).
pub(super) fn wait_until_quiet() {
    // Only the waiting matters.
    let _ = sysctl_confxml(None);
}

/// Up to here a sysctl does not take the lock that all large ones share and
/// that would be held while a taste hangs (7.6).
const SMALL_TREE: usize = 16 << 10;

/// More than any tree: a disk takes about 2 KiB.
const LARGEST_TREE: usize = 256 << 20;

fn confxml() -> nix::Result<String> {
    let mut tree = vec![0; SMALL_TREE];
    loop {
        match sysctl_confxml(Some(&mut tree)) {
            Ok(length) => {
                tree.truncate(length);
                while tree.pop_if(|last| *last == 0).is_some() {}
                return Ok(String::from_utf8_lossy(&tree).into_owned());
            }
            Err(Errno::ENOMEM) if tree.len() < LARGEST_TREE => {
                // It may grow until the next call.
                let now = sysctl_confxml(None)?;
                let room = (now + now / 4).max(2 * tree.len()).min(LARGEST_TREE);
                tree.resize(room, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads the tree into `buffer`, or asks for its size.
#[allow(unsafe_code, reason = "nix has no sysctl")]
fn sysctl_confxml(buffer: Option<&mut [u8]>) -> nix::Result<usize> {
    let (data, mut length) = match buffer {
        Some(buffer) => (buffer.as_mut_ptr(), buffer.len()),
        None => (std::ptr::null_mut(), 0),
    };
    // SAFETY: the name ends with a NUL, `data` has room for `length` bytes or
    // is null, and nothing is set.
    let result = unsafe {
        libc::sysctlbyname(
            c"kern.geom.confxml".as_ptr(),
            data.cast(),
            &raw mut length,
            std::ptr::null(),
            0,
        )
    };
    Errno::result(result).map(|_| length)
}
