//! HAST as a library: configuration, control protocol, the daemon and its
//! workers. The programs are in `src/bin`.
//!
//! | module | what |
//! |---|---|
//! | [`check`] | what can be found out before serving |
//! | [`component`] | the file or disk below a resource |
//! | [`config`] | hast.conf(5) and what is only ours, beside it |
//! | `control` | what hastctl and hastd say to one another |
//! | [`ctl`] | hastctl |
//! | [`daemon`] | hastd's parent process |
//! | [`ipc`] | what the daemon and its workers say to one another |
//! | [`log`] | messages for people |
//! | [`sandbox`] | giving privileges up |
//! | [`status`] | what a worker tells about itself |
//! | [`worker`] | one process per active resource |

pub mod check;
pub mod component;
pub mod config;
mod control;
pub mod ctl;
pub mod daemon;
mod inbox;
pub mod ipc;
pub mod log;
pub mod sandbox;
mod socket;
pub mod status;
pub mod worker;
