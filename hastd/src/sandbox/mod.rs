//! Giving privileges up. Facts: spec/hast-behaviour.md section 10.
//!
//! Whoever talks to the network, or reads what somebody else sent, does so as
//! a user who owns nothing, in a directory in which there is nothing. What a
//! process needs it has opened before.
//!
//! | | FreeBSD | Linux |
//! |---|---|---|
//! | user | `hast`, which must exist | `hast`, else `nobody` |
//! | root | a jail without addresses in the user's home, else chroot(2) | chroot(2) into a directory that is no more, where that can be done |
//! | then | Capsicum: descriptors do what they may ([`limit_component`] and so on) and nothing new is opened | no program gives privileges back (`PR_SET_NO_NEW_PRIVS`) |
//!
//! A process that is not root has nothing to give up ([`user`]).

#[cfg(target_os = "freebsd")]
mod freebsd;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "freebsd")]
use freebsd as system;
#[cfg(target_os = "linux")]
use linux as system;

use crate::ipc::Sandbox;
use crate::log;
use ggate::gate::Ggctl;
use nix::errno::Errno;
use nix::unistd::{self, Gid, Uid, User};
use std::fmt;
use std::os::fd::BorrowedFd;

/// Name of the user, as in base.
const USER: &str = "hast";

/// Why privileges could not be given up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// There is nobody to become.
    #[error(
        "there is no user {0}: on FreeBSD, pw useradd {0} -u 845 -d /var/empty -s /usr/sbin/nologin"
    )]
    NoUser(&'static str),
    /// A system call failed.
    #[error("cannot {step}: {}", .errno.desc())]
    Call {
        /// What it was to do.
        step: &'static str,
        /// Why it did not.
        errno: Errno,
    },
    /// All calls succeeded, and yet.
    #[error("the system kept privileges that were given up; user and group are {0}")]
    Kept(String),
}

/// What was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dropped {
    root: Root,
    capabilities: bool,
}

/// Where the file system ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Root {
    #[cfg_attr(not(target_os = "freebsd"), allow(dead_code, reason = "FreeBSD's"))]
    Jail,
    Chroot,
    #[cfg_attr(target_os = "freebsd", allow(dead_code, reason = "Linux's"))]
    Unchanged,
}

/// In base's words.
impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.capabilities {
            f.write_str("capsicum+")?;
        }
        f.write_str(match self.root {
            Root::Jail => "jail+",
            Root::Chroot => "chroot+",
            Root::Unchanged => "",
        })?;
        f.write_str("setgid+setuid")
    }
}

/// Who to become; nobody if this process is not root. `Err` on FreeBSD without
/// the user `hast`: what needs it ends with status 78.
pub fn user() -> Result<Option<Sandbox>, SandboxError> {
    if !unistd::geteuid().is_root() {
        return Ok(None);
    }
    let find = |name| {
        User::from_name(name).map_err(|errno| SandboxError::Call {
            step: "look the user up",
            errno,
        })
    };
    let user = match find(USER)? {
        None if cfg!(target_os = "linux") => find("nobody")?,
        user => user,
    };
    let user = user.ok_or(SandboxError::NoUser(USER))?;
    Ok(Some(Sandbox {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        home: user.dir,
    }))
}

/// Becomes `who`, for good. `title` is the host name of the jail. To be called
/// when all descriptors are open; threads that run already are in it, too,
/// but for Linux's `no_new_privs`, which they keep from starting programs anyway.
pub fn drop_privileges(who: &Sandbox, title: &str) -> Result<Dropped, SandboxError> {
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    let call = |step| move |errno| SandboxError::Call { step, errno };
    let root = system::change_root(&who.home, title)?;
    unistd::setgroups(&[gid]).map_err(call("give the groups up"))?;
    unistd::setresgid(gid, gid, gid).map_err(call("change the group"))?;
    unistd::setresuid(uid, uid, uid).map_err(call("change the user"))?;
    let capabilities = system::restrict();
    verify(uid, gid)?;
    let dropped = Dropped { root, capabilities };
    log::debug!(1, "Privileges successfully dropped using {dropped}.");
    Ok(dropped)
}

/// Trusts nothing: asks the system who this process is.
fn verify(uid: Uid, gid: Gid) -> Result<(), SandboxError> {
    let users = unistd::getresuid();
    let groups = unistd::getresgid();
    let all = match (users, groups, unistd::getgroups()) {
        (Ok(u), Ok(g), Ok(more)) => {
            [u.real, u.effective, u.saved] == [uid; 3]
                && [g.real, g.effective, g.saved] == [gid; 3]
                && more.iter().all(|group| *group == gid)
        }
        _ => false,
    };
    if all && unistd::setuid(Uid::from_raw(0)) == Err(Errno::EPERM) {
        return Ok(());
    }
    Err(SandboxError::Kept(format!("{users:?}, {groups:?}")))
}

/// Leaves of a component's descriptors what serving it takes.
pub fn limit_component<'fd>(
    mut descriptors: impl Iterator<Item = BorrowedFd<'fd>>,
) -> Result<(), SandboxError> {
    descriptors.try_for_each(system::limit_component)
}

/// Leaves of a gate's descriptors what serving and ending it takes. A gate in
/// software has none that could do more.
pub fn limit_gate(gate: &dyn Ggctl) -> Result<(), SandboxError> {
    gate.files().map_or(Ok(()), system::limit_gate)
}

/// Leaves of a connected socket what talking takes.
pub fn limit_socket(socket: BorrowedFd<'_>) -> Result<(), SandboxError> {
    system::limit_socket(socket)
}

#[cfg(test)]
mod tests;
