//! `slow_ggated PORT EXPORTS`: ggated(8) with slow media, on a port of
//! 127.0.0.1, until it is killed.

use ggate::media::{self, Media, MediaError, OpenOptions};
use ggate::net::TcpOptions;
use ggate::wire::ExportPath;
use ggated::Server;
use ggated::opener::Opener;
use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

/// Opens files, and makes them slow.
struct Files;

impl Opener for Files {
    fn open(&self, path: &ExportPath, options: OpenOptions) -> Result<Arc<dyn Media>, MediaError> {
        let medium = media::open(path.as_path(), options)?;
        Ok(slow::slow(Arc::new(medium)))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(port), Some(exports)) = (args.next(), args.next()) else {
        return Err("usage: slow_ggated PORT EXPORTS".into());
    };
    let tcp = TcpOptions {
        no_delay: true,
        send_buffer: None,
        receive_buffer: None,
    };
    let server = Server::new(Path::new(&exports), tcp, Box::new(Files))?;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    listener.set_nonblocking(true)?;
    // Nobody writes there: it runs until it is killed.
    let (stop, _running) = std::io::pipe()?;
    ggated::accept_until(&Arc::new(server), &[listener], &stop);
    Ok(())
}
