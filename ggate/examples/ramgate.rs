//! Serves memory as a software gate: `ramgate RUNDIR MEGABYTES`.
//!
//! Then, for example:
//! `nbdinfo 'nbd+unix:///?socket=RUNDIR/ggate0'`

use ggate::gate::software::Software;
use ggate::gate::{Access, Command, Create, Ggctl, NewName, Outcome, Request, Started};
use ggate::range::Geometry;
use nix::errno::Errno;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(rundir), Some(megabytes)) = (args.next(), args.next()) else {
        return Err("usage: ramgate RUNDIR MEGABYTES".into());
    };
    let media_size = megabytes.parse::<u64>()? << 20;
    let mut medium = vec![0; usize::try_from(media_size)?];
    let gates = Software::new(rundir)?;
    let unit = gates.create(&Create {
        geometry: Geometry {
            media_size,
            sector_size: 512,
        },
        access: Access::ReadWrite,
        queue_limit: 1024,
        timeout: 0,
        name: NewName::NextFree,
        info: "memory".into(),
    })?;
    println!("ggate{unit}");
    let mut payload = vec![0; 128 << 10];
    loop {
        match gates.start(unit, &mut payload)? {
            Started::Request(request) => {
                let outcome = perform(&mut medium, &request, &payload);
                gates.done(unit, &request, outcome)?;
            }
            Started::NeedBuffer(length) => payload.resize(length, 0),
            Started::Canceled => return Ok(()),
        }
    }
}

fn perform<'a>(medium: &'a mut [u8], request: &Request, payload: &[u8]) -> Outcome<'a> {
    let bounds = (
        usize::try_from(request.range.offset),
        usize::try_from(request.range.length),
    );
    let (Ok(offset), Ok(length)) = bounds else {
        return Outcome::Error(Errno::EINVAL);
    };
    let range = offset..offset + length;
    match request.command {
        Command::Read => return Outcome::Data(&medium[range]),
        Command::Write => medium[range].copy_from_slice(&payload[..length]),
        Command::Delete => medium[range].fill(0),
        Command::Flush | Command::Speedup => {}
        Command::Other(_) => return Outcome::Error(Errno::EOPNOTSUPP),
    }
    Outcome::Done
}
