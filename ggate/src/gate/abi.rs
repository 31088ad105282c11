//! The calls of the trait in the structures of the kernel, and its answers.
//!
//! Everything here is pure, so that it is tested on every system; `kernel`
//! adds the ioctls. Invariants, all from spec/geom-gate-kernel.md: structures
//! are zeroed first, texts always end with a NUL (3, 4.7), no unit below 0
//! reaches START, DONE or MODIFY (4.7), and MODIFY never has a read offset
//! that the kernel would refuse (4.5).

use super::{
    Access, Cancel, Command, Create, GateId, Modify, NewName, Outcome, Request, Seq, Started, Unit,
    info,
};
use crate::range::{ByteRange, Geometry};
use ggate_sys as sys;
use nix::errno::Errno;
use std::ffi::c_char;

/// The longest name that every kernel takes: one byte less than the field, for
/// the NUL that FreeBSD 13 and older need.
const MAX_NAME: usize = 254;

pub(super) fn create(create: &Create) -> nix::Result<sys::g_gate_ctl_create> {
    let mut ctl = sys::g_gate_ctl_create {
        gctl_version: sys::G_GATE_VERSION,
        gctl_mediasize: signed(create.geometry.media_size)?,
        gctl_sectorsize: create.geometry.sector_size,
        gctl_flags: match create.access {
            Access::ReadWrite => 0,
            Access::ReadOnly => sys::G_GATE_FLAG_READONLY,
            Access::WriteOnly => sys::G_GATE_FLAG_WRITEONLY,
        },
        gctl_maxcount: create.queue_limit,
        gctl_timeout: create.timeout,
        ..Default::default()
    };
    ctl.gctl_unit = match &create.name {
        NewName::NextFree => sys::G_GATE_UNIT_AUTO,
        NewName::Unit(unit) => number(*unit)?,
        NewName::Named(name) => {
            put_name(&mut ctl.gctl_name, name)?;
            sys::G_GATE_NAME_GIVEN
        }
    };
    put_text(&mut ctl.gctl_info, &info::escaped(&create.info));
    Ok(ctl)
}

pub(super) fn modify(unit: Unit, change: &Modify) -> nix::Result<sys::g_gate_ctl_modify> {
    let mut ctl = sys::g_gate_ctl_modify {
        gctl_version: sys::G_GATE_VERSION,
        gctl_unit: number(unit)?,
        ..Default::default()
    };
    match change {
        Modify::MediaSize(size) => {
            ctl.gctl_modify = sys::GG_MODIFY_MEDIASIZE;
            ctl.gctl_mediasize = signed(*size)?;
        }
        Modify::Info(text) => {
            ctl.gctl_modify = sys::GG_MODIFY_INFO;
            put_text(&mut ctl.gctl_info, &info::escaped(text));
        }
        Modify::ReadProvider {
            name,
            offset,
            size,
            gate,
        } => {
            check_read_offset(*offset, *size, *gate)?;
            ctl.gctl_modify = sys::GG_MODIFY_READPROV | sys::GG_MODIFY_READOFFSET;
            ctl.gctl_readoffset = signed(*offset)?;
            put_name(&mut ctl.gctl_readprov, name)?;
        }
        Modify::NoReadProvider => ctl.gctl_modify = sys::GG_MODIFY_READPROV,
    }
    Ok(ctl)
}

/// The kernel's checks of a read offset, made before it makes them.
fn check_read_offset(offset: u64, size: u64, gate: Geometry) -> nix::Result<()> {
    let aligned = gate.sector_size != 0 && offset.is_multiple_of(u64::from(gate.sector_size));
    let end = ByteRange::new(offset, gate.media_size).end();
    match end {
        Some(end) if aligned && end <= size => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn destroy(gate: &GateId, force: bool) -> nix::Result<sys::g_gate_ctl_destroy> {
    let mut ctl = sys::g_gate_ctl_destroy {
        gctl_version: sys::G_GATE_VERSION,
        gctl_force: i32::from(force),
        ..Default::default()
    };
    ctl.gctl_unit = existing(gate, &mut ctl.gctl_name)?;
    Ok(ctl)
}

pub(super) fn cancel(gate: &GateId, which: Cancel) -> nix::Result<sys::g_gate_ctl_cancel> {
    let mut ctl = sys::g_gate_ctl_cancel {
        gctl_version: sys::G_GATE_VERSION,
        gctl_seq: match which {
            Cancel::All => 0,
            // To the kernel 0 means all of them.
            Cancel::One(Seq(0)) => return Err(Errno::EINVAL),
            Cancel::One(seq) => word(seq)?,
        },
        ..Default::default()
    };
    ctl.gctl_unit = existing(gate, &mut ctl.gctl_name)?;
    Ok(ctl)
}

/// START with `payload` as the buffer for a WRITE.
pub(super) fn start(unit: Unit, payload: &mut [u8]) -> nix::Result<sys::g_gate_ctl_io> {
    Ok(sys::g_gate_ctl_io {
        gctl_version: sys::G_GATE_VERSION,
        gctl_unit: number(unit)?,
        gctl_length: i64::try_from(payload.len()).map_err(|_| Errno::EINVAL)?,
        gctl_data: payload.as_mut_ptr().cast(),
        ..Default::default()
    })
}

/// What a START that succeeded says.
pub(super) fn started(ctl: &sys::g_gate_ctl_io) -> nix::Result<Started> {
    let length = ctl.gctl_length.cast_unsigned();
    match Errno::from_raw(ctl.gctl_error) {
        // The request is ours now. A range that makes no sense must reach the
        // serve loop all the same: it fails the request, an error here would
        // lose it.
        _ if ctl.gctl_error == 0 => Ok(Started::Request(Request {
            seq: Seq(u64::try_from(ctl.gctl_seq).map_err(|_| Errno::EINVAL)?),
            command: command(ctl.gctl_cmd),
            range: ByteRange::new(ctl.gctl_offset.cast_unsigned(), length),
        })),
        Errno::ENOMEM => {
            let needed = usize::try_from(length).map_err(|_| Errno::ENOMEM)?;
            Ok(Started::NeedBuffer(needed))
        }
        Errno::ECANCELED => Ok(Started::Canceled),
        error => Err(error),
    }
}

fn command(code: u32) -> Command {
    match code {
        sys::BIO_READ => Command::Read,
        sys::BIO_WRITE => Command::Write,
        sys::BIO_DELETE => Command::Delete,
        sys::BIO_FLUSH => Command::Flush,
        sys::BIO_SPEEDUP => Command::Speedup,
        other => Command::Other(other),
    }
}

/// DONE. Its `gctl_data` is null unless the kernel will copy from it, and then
/// as long as the request's range.
pub(super) fn done(
    unit: Unit,
    request: &Request,
    outcome: Outcome<'_>,
) -> nix::Result<sys::g_gate_ctl_io> {
    let mut ctl = sys::g_gate_ctl_io {
        gctl_version: sys::G_GATE_VERSION,
        gctl_unit: number(unit)?,
        gctl_seq: word(request.seq)?,
        ..Default::default()
    };
    match (outcome, request.command) {
        (Outcome::Data(data), Command::Read)
            if u64::try_from(data.len()) == Ok(request.range.length) =>
        {
            ctl.gctl_data = data.as_ptr().cast_mut().cast();
        }
        // The kernel copies as much as it asked for, whatever there is.
        (Outcome::Data(_), _) | (Outcome::Done, Command::Read) => fail(&mut ctl, Errno::EIO),
        (Outcome::Done, _) => {}
        (Outcome::Error(error), _) => fail(&mut ctl, error),
    }
    Ok(ctl)
}

fn fail(ctl: &mut sys::g_gate_ctl_io, error: Errno) {
    ctl.gctl_error = match error {
        // Its number is 0, which would be success.
        Errno::UnknownErrno => Errno::EIO as i32,
        error => error as i32,
    };
}

/// The unit that CREATE and CANCEL answered.
pub(super) fn unit(number: i32) -> nix::Result<Unit> {
    u32::try_from(number).map(Unit).map_err(|_| Errno::EINVAL)
}

/// Selects an existing gate: its unit, or "see the name".
fn existing(gate: &GateId, field: &mut [c_char]) -> nix::Result<i32> {
    match gate {
        GateId::Unit(unit) => number(*unit),
        GateId::Named(name) => {
            put_name(field, name)?;
            Ok(sys::G_GATE_NAME_GIVEN)
        }
    }
}

fn number(unit: Unit) -> nix::Result<i32> {
    i32::try_from(unit.0).map_err(|_| Errno::EINVAL)
}

fn signed(bytes: u64) -> nix::Result<i64> {
    i64::try_from(bytes).map_err(|_| Errno::EINVAL)
}

fn word(seq: Seq) -> nix::Result<usize> {
    usize::try_from(seq.0).map_err(|_| Errno::EINVAL)
}

fn put_name(field: &mut [c_char], name: &str) -> nix::Result<()> {
    if name.is_empty() || name.contains('\0') {
        return Err(Errno::EINVAL);
    }
    if name.len() > MAX_NAME {
        return Err(Errno::ENAMETOOLONG);
    }
    put_text(field, name);
    Ok(())
}

/// Copies as much of `text` as leaves room for a NUL into a zeroed field.
fn put_text(field: &mut [c_char], text: &str) {
    if let Some((_nul, room)) = field.split_last_mut() {
        for (to, &from) in room.iter_mut().zip(text.as_bytes()) {
            #[allow(
                clippy::cast_possible_wrap,
                reason = "the same bits, whether a char of C has a sign or not"
            )]
            {
                *to = from as c_char;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: Geometry = Geometry {
        media_size: 64 << 20,
        sector_size: 512,
    };

    fn new(name: NewName) -> Create {
        Create {
            geometry: GATE,
            access: Access::ReadWrite,
            queue_limit: 1024,
            timeout: 30,
            name,
            info: "127.0.0.1:3080 /dev/md0".into(),
        }
    }

    fn text(field: &[c_char]) -> String {
        field
            .iter()
            .take_while(|&&c| c != 0)
            .map(|&c| char::from(u8::try_from(i32::from(c)).unwrap()))
            .collect()
    }

    #[test]
    fn create_fills_the_structure() {
        let ctl = create(&new(NewName::NextFree)).unwrap();
        assert_eq!(ctl.gctl_version, 3);
        assert_eq!((ctl.gctl_mediasize, ctl.gctl_sectorsize), (64 << 20, 512));
        assert_eq!((ctl.gctl_maxcount, ctl.gctl_timeout), (1024, 30));
        assert_eq!((ctl.gctl_unit, ctl.gctl_flags), (-1, 0));
        assert_eq!(text(&ctl.gctl_name), "");
        assert_eq!(text(&ctl.gctl_info), "127.0.0.1:3080 /dev/md0");

        let ctl = create(&new(NewName::Named("hast/data".into()))).unwrap();
        assert_eq!(
            (ctl.gctl_unit, text(&ctl.gctl_name)),
            (-2, "hast/data".into())
        );
        let ctl = create(&new(NewName::Unit(Unit(7)))).unwrap();
        assert_eq!(ctl.gctl_unit, 7);
    }

    #[test]
    fn access_becomes_a_flag() {
        for (access, flags) in [(Access::ReadOnly, 1), (Access::WriteOnly, 2)] {
            let ctl = create(&Create {
                access,
                ..new(NewName::NextFree)
            });
            assert_eq!(ctl.unwrap().gctl_flags, flags);
        }
    }

    #[test]
    fn names_that_the_kernel_would_cut_or_miss_are_refused() {
        let named = |name: &str| create(&new(NewName::Named(name.into()))).map(|_| ());
        assert_eq!(named(""), Err(Errno::EINVAL));
        assert_eq!(named("a\0b"), Err(Errno::EINVAL));
        assert_eq!(named(&"x".repeat(255)), Err(Errno::ENAMETOOLONG));
        assert_eq!(named(&"x".repeat(254)), Ok(()));
    }

    #[test]
    fn every_text_ends_with_a_nul() {
        let ctl = create(&Create {
            info: "x".repeat(5000),
            ..new(NewName::Named("x".repeat(254)))
        })
        .unwrap();
        assert_eq!(ctl.gctl_name.last(), Some(&0));
        assert_eq!(text(&ctl.gctl_info).len(), 2047);
        assert_eq!(ctl.gctl_info.last(), Some(&0));
    }

    #[test]
    fn numbers_beyond_the_fields_are_refused() {
        let huge = Unit(1 << 31);
        assert!(create(&new(NewName::Unit(huge))).is_err());
        assert!(start(huge, &mut []).is_err());
        // As a number of C these are -1 and -2, which panics the kernel.
        for unit in [Unit(u32::MAX), Unit(u32::MAX - 1)] {
            assert!(start(unit, &mut []).is_err());
            assert!(modify(unit, &Modify::NoReadProvider).is_err());
            assert!(destroy(&GateId::Unit(unit), true).is_err());
            assert!(cancel(&GateId::Unit(unit), Cancel::All).is_err());
        }
        assert!(modify(Unit(0), &Modify::MediaSize(1 << 63)).is_err());
    }

    #[test]
    fn modify_sets_one_kind_of_bit() {
        let ctl = modify(Unit(3), &Modify::MediaSize(4096)).unwrap();
        assert_eq!(
            (ctl.gctl_unit, ctl.gctl_modify, ctl.gctl_mediasize),
            (3, 1, 4096)
        );
        let ctl = modify(Unit(3), &Modify::Info("a&b".into())).unwrap();
        assert_eq!(
            (ctl.gctl_modify, text(&ctl.gctl_info)),
            (2, "a&amp;b".into())
        );
        let ctl = modify(Unit(3), &Modify::NoReadProvider).unwrap();
        assert_eq!(
            (ctl.gctl_modify, text(&ctl.gctl_readprov)),
            (4, String::new())
        );
    }

    /// Given both bits, a kernel that refuses the offset returns with the
    /// topology lock held: GEOM stands still until the machine is reset.
    #[test]
    fn a_read_offset_that_the_kernel_would_refuse_never_reaches_it() {
        let with = |offset, size, gate| {
            let name = "md0".into();
            modify(
                Unit(0),
                &Modify::ReadProvider {
                    name,
                    offset,
                    size,
                    gate,
                },
            )
            .map(|ctl| {
                (
                    ctl.gctl_modify,
                    ctl.gctl_readoffset,
                    text(&ctl.gctl_readprov),
                )
            })
        };
        let end = (64 << 20) + 8192;
        assert_eq!(with(8192, end, GATE), Ok((12, 8192, "md0".into())));
        assert_eq!(with(8192, end - 1, GATE), Err(Errno::EINVAL));
        assert_eq!(with(8191, end, GATE), Err(Errno::EINVAL));
        assert_eq!(with(u64::MAX - 511, u64::MAX, GATE), Err(Errno::EINVAL));
        let no_sectors = Geometry {
            sector_size: 0,
            ..GATE
        };
        assert_eq!(with(0, end, no_sectors), Err(Errno::EINVAL));
        let nameless = Modify::ReadProvider {
            name: String::new(),
            offset: 0,
            size: end,
            gate: GATE,
        };
        assert!(modify(Unit(0), &nameless).is_err());
    }

    #[test]
    fn gates_are_found_by_unit_or_name() {
        let ctl = destroy(&GateId::Unit(Unit(5)), true).unwrap();
        assert_eq!((ctl.gctl_unit, ctl.gctl_force), (5, 1));
        let ctl = destroy(&GateId::Named("hast/data".into()), false).unwrap();
        assert_eq!((ctl.gctl_unit, ctl.gctl_force), (-2, 0));
        assert_eq!(text(&ctl.gctl_name), "hast/data");
        let ctl = cancel(&GateId::Named("hast/data".into()), Cancel::All).unwrap();
        assert_eq!((ctl.gctl_unit, ctl.gctl_seq), (-2, 0));
        assert_eq!(text(&ctl.gctl_name), "hast/data");
    }

    #[test]
    fn cancelling_one_request_never_cancels_all() {
        let one = |seq| cancel(&GateId::Unit(Unit(0)), Cancel::One(Seq(seq))).map(|c| c.gctl_seq);
        assert_eq!(one(7), Ok(7));
        assert_eq!(one(0), Err(Errno::EINVAL));
    }

    #[test]
    fn start_offers_the_whole_buffer() {
        let mut payload = [0; 4096];
        let ctl = start(Unit(2), &mut payload).unwrap();
        assert_eq!(
            (ctl.gctl_unit, ctl.gctl_length, ctl.gctl_error),
            (2, 4096, 0)
        );
        assert_eq!(ctl.gctl_data.cast_const(), payload.as_ptr().cast());
    }

    #[test]
    fn a_started_request_is_handed_out() {
        for (code, command) in [
            (1, Command::Read),
            (2, Command::Write),
            (3, Command::Delete),
            (5, Command::Flush),
            (10, Command::Speedup),
            (9, Command::Other(9)),
        ] {
            let ctl = sys::g_gate_ctl_io {
                gctl_seq: 7,
                gctl_cmd: code,
                gctl_offset: 4096,
                gctl_length: 512,
                ..Default::default()
            };
            assert_eq!(
                started(&ctl),
                Ok(Started::Request(Request {
                    seq: Seq(7),
                    command,
                    range: ByteRange::new(4096, 512),
                }))
            );
        }
    }

    #[test]
    fn a_request_with_a_range_that_makes_no_sense_is_not_lost() {
        let ctl = sys::g_gate_ctl_io {
            gctl_cmd: 1,
            gctl_offset: -512,
            gctl_length: 512,
            ..Default::default()
        };
        let Ok(Started::Request(request)) = started(&ctl) else {
            panic!("lost")
        };
        assert!(GATE.check(request.range).is_err());
    }

    #[test]
    fn other_answers_of_start() {
        let answer = |error| {
            started(&sys::g_gate_ctl_io {
                gctl_error: error as i32,
                gctl_cmd: 2,
                gctl_length: 1 << 20,
                ..Default::default()
            })
        };
        assert_eq!(answer(Errno::ENOMEM), Ok(Started::NeedBuffer(1 << 20)));
        assert_eq!(answer(Errno::ECANCELED), Ok(Started::Canceled));
        assert_eq!(answer(Errno::EIO), Err(Errno::EIO));
    }

    fn request(command: Command) -> Request {
        Request {
            seq: Seq(9),
            command,
            range: ByteRange::new(0, 512),
        }
    }

    #[test]
    fn done_passes_data_only_where_the_kernel_reads_it() {
        let data = [1; 512];
        let ctl = done(Unit(1), &request(Command::Read), Outcome::Data(&data)).unwrap();
        assert_eq!((ctl.gctl_unit, ctl.gctl_seq, ctl.gctl_error), (1, 9, 0));
        assert_eq!(ctl.gctl_data.cast_const(), data.as_ptr().cast());
        let ctl = done(Unit(1), &request(Command::Write), Outcome::Done).unwrap();
        assert_eq!(ctl.gctl_error, 0);
        assert!(ctl.gctl_data.is_null());
    }

    #[test]
    fn a_read_without_all_its_data_fails() {
        for outcome in [
            Outcome::Data(&[1; 511]),
            Outcome::Data(&[1; 513]),
            Outcome::Done,
        ] {
            let ctl = done(Unit(1), &request(Command::Read), outcome).unwrap();
            assert_eq!(ctl.gctl_error, Errno::EIO as i32);
            assert!(ctl.gctl_data.is_null());
        }
    }

    #[test]
    fn an_error_is_never_success() {
        let error = |error| {
            done(Unit(1), &request(Command::Write), Outcome::Error(error)).map(|ctl| ctl.gctl_error)
        };
        assert_eq!(error(Errno::ENOSPC), Ok(Errno::ENOSPC as i32));
        assert_eq!(error(Errno::UnknownErrno), Ok(Errno::EIO as i32));
    }

    #[test]
    fn an_answered_unit_is_a_number() {
        assert_eq!(unit(4), Ok(Unit(4)));
        assert_eq!(unit(-1), Err(Errno::EINVAL));
    }
}
