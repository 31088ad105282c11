//! What a request asks for, and whether it may.
//!
//! Every header a client sends passes [`judge`] before anything else is done
//! with its numbers.

use super::Export;
use super::proto::{
    CMD_DISC, CMD_FLAG_DF, CMD_FLAG_FUA, CMD_FLAG_NO_HOLE, CMD_FLUSH, CMD_READ, CMD_TRIM,
    CMD_WRITE, CMD_WRITE_ZEROES, MAX_PAYLOAD, NbdError, RequestHeader,
};
use crate::gate::Access;
use crate::range::{ByteRange, RangeError};

/// What is to be done with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Hand it to the gate. `fua`: answer only after a FLUSH that follows it.
    Read(ByteRange),
    /// As above, with the payload that follows the header.
    Write {
        /// Where.
        range: ByteRange,
        /// Durable before the answer.
        fua: bool,
    },
    /// Hand a FLUSH to the gate.
    Flush,
    /// Hand a DELETE to the gate.
    Trim {
        /// Where.
        range: ByteRange,
        /// Durable before the answer.
        fua: bool,
    },
    /// Hand WRITEs of zeros to the gate.
    Zeroes {
        /// Where.
        range: ByteRange,
        /// Durable before the answer.
        fua: bool,
    },
    /// Answer success at once: an empty range.
    Nothing,
    /// Answer this error; a WRITE's payload is still to be skipped.
    Refuse(NbdError),
    /// Close the connection: the client said so, or the stream cannot be
    /// followed any more.
    Disconnect,
}

/// Judges a request header by what the export allows.
#[must_use]
pub fn judge(header: &RequestHeader, export: &Export<'_>) -> Verdict {
    let (allowed, writes) = match header.command {
        CMD_READ => (CMD_FLAG_FUA | CMD_FLAG_DF, false),
        CMD_WRITE | CMD_TRIM | CMD_FLUSH => (CMD_FLAG_FUA, true),
        CMD_WRITE_ZEROES => (CMD_FLAG_FUA | CMD_FLAG_NO_HOLE, true),
        CMD_DISC => return Verdict::Disconnect,
        _ => return Verdict::Refuse(NbdError::Inval),
    };
    // A payload beyond what we announced is not worth reading to its end.
    if header.command == CMD_WRITE && header.length > MAX_PAYLOAD {
        return Verdict::Disconnect;
    }
    if header.flags & !allowed != 0 {
        return Verdict::Refuse(NbdError::Inval);
    }
    let forbidden = if writes {
        Access::ReadOnly
    } else {
        Access::WriteOnly
    };
    if export.access == forbidden {
        return Verdict::Refuse(NbdError::Perm);
    }
    if header.command == CMD_FLUSH {
        return Verdict::Flush;
    }
    let range = ByteRange::new(header.offset, u64::from(header.length));
    if let Err(error) = export.geometry.check(range) {
        let grows = matches!(header.command, CMD_WRITE | CMD_WRITE_ZEROES);
        return Verdict::Refuse(match error {
            RangeError::BeyondEnd if grows => NbdError::NoSpc,
            RangeError::BeyondEnd | RangeError::Misaligned => NbdError::Inval,
        });
    }
    if range.length == 0 {
        return Verdict::Nothing;
    }
    let fua = header.flags & CMD_FLAG_FUA != 0;
    match header.command {
        CMD_READ if header.length > MAX_PAYLOAD => Verdict::Refuse(NbdError::Inval),
        CMD_READ => Verdict::Read(range),
        CMD_WRITE => Verdict::Write { range, fua },
        CMD_TRIM => Verdict::Trim { range, fua },
        _ => Verdict::Zeroes { range, fua },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::Geometry;
    use proptest::prelude::*;

    const MEDIA: u64 = 1 << 30;

    fn export(access: Access) -> Export<'static> {
        Export {
            name: "ggate0",
            geometry: Geometry {
                media_size: MEDIA,
                sector_size: 512,
            },
            access,
        }
    }

    fn ask(command: u16, flags: u16, offset: u64, length: u32, access: Access) -> Verdict {
        let header = RequestHeader {
            flags,
            command,
            cookie: 1,
            offset,
            length,
        };
        judge(&header, &export(access))
    }

    #[test]
    fn writes_beyond_the_end_are_enospc_and_other_requests_einval() {
        for (command, error) in [
            (CMD_WRITE, NbdError::NoSpc),
            (CMD_WRITE_ZEROES, NbdError::NoSpc),
            (CMD_READ, NbdError::Inval),
            (CMD_TRIM, NbdError::Inval),
        ] {
            for offset in [MEDIA, MEDIA - 512, u64::MAX - 511] {
                let verdict = ask(command, 0, offset, 1024, Access::ReadWrite);
                assert_eq!(verdict, Verdict::Refuse(error), "{command} {offset}");
            }
        }
    }

    #[test]
    fn half_sectors_are_einval() {
        for command in [CMD_READ, CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES] {
            assert_eq!(
                ask(command, 0, 256, 512, Access::ReadWrite),
                Verdict::Refuse(NbdError::Inval)
            );
        }
    }

    #[test]
    fn a_read_only_export_refuses_what_the_kernel_refuses() {
        for command in [CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES, CMD_FLUSH] {
            assert_eq!(
                ask(command, 0, 0, 512, Access::ReadOnly),
                Verdict::Refuse(NbdError::Perm)
            );
        }
        assert_eq!(
            ask(CMD_READ, 0, 0, 512, Access::ReadOnly),
            Verdict::Read(ByteRange::new(0, 512))
        );
        assert_eq!(
            ask(CMD_READ, 0, 0, 512, Access::WriteOnly),
            Verdict::Refuse(NbdError::Perm)
        );
    }

    #[test]
    fn a_payload_beyond_the_announced_maximum_ends_the_connection() {
        let verdict = ask(CMD_WRITE, 0, 0, MAX_PAYLOAD + 512, Access::ReadWrite);
        assert_eq!(verdict, Verdict::Disconnect);
        let verdict = ask(CMD_READ, 0, 0, MAX_PAYLOAD + 512, Access::ReadWrite);
        assert_eq!(verdict, Verdict::Refuse(NbdError::Inval));
        let verdict = ask(CMD_WRITE_ZEROES, 0, 0, MAX_PAYLOAD + 512, Access::ReadWrite);
        assert!(matches!(verdict, Verdict::Zeroes { .. }));
    }

    #[test]
    fn unknown_commands_and_flags_are_einval() {
        assert_eq!(
            ask(5, 0, 0, 512, Access::ReadWrite),
            Verdict::Refuse(NbdError::Inval)
        );
        assert_eq!(
            ask(CMD_WRITE_ZEROES, 1 << 4, 0, 512, Access::ReadWrite),
            Verdict::Refuse(NbdError::Inval)
        );
    }

    proptest! {
        #[test]
        fn whatever_is_handed_to_the_gate_lies_on_the_medium(
            command in 0u16..9, flags in 0u16..32, offset: u64, length: u32,
        ) {
            match ask(command, flags, offset, length, Access::ReadWrite) {
                Verdict::Read(range)
                | Verdict::Write { range, .. }
                | Verdict::Trim { range, .. }
                | Verdict::Zeroes { range, .. } => {
                    prop_assert!(range.length > 0);
                    prop_assert_eq!(export(Access::ReadWrite).geometry.check(range), Ok(()));
                }
                _ => {}
            }
        }
    }
}
