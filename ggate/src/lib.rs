//! GEOM Gate as a library: the gate itself in the kernel or in software, media
//! to serve, and the protocol between `ggatec` and `ggated`.

pub mod admin;
pub mod boot;
pub mod buffer;
pub mod cli;
pub mod crowd;
pub mod daemon;
pub mod disk;
pub mod errno;
pub mod gate;
pub mod log;
pub mod media;
pub mod nbd;
pub mod net;
pub mod opener;
pub mod provider;
pub mod range;
pub mod textfile;
pub mod traffic;
pub mod wire;
