//! The handshake from the greeting to the first request, free of I/O.
//!
//! Bytes go in through [`Negotiation::feed`] in any pieces, bytes for the
//! client come out of [`Negotiation::output`]. A client is bounded in the size
//! and the number of its options; whoever drives this bounds its time.

use super::Export;
use super::proto::{
    CAN_MULTI_CONN, FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES, GREETING_MAGIC, HAS_FLAGS,
    INFO_BLOCK_SIZE, INFO_EXPORT, INFO_NAME, MAX_PAYLOAD, OPT_ABORT, OPT_EXPORT_NAME, OPT_GO,
    OPT_INFO, OPT_LIST, OPT_STRUCTURED_REPLY, OPTION_MAGIC, OPTION_REPLY_MAGIC, READ_ONLY, REP_ACK,
    REP_ERR_INVALID, REP_ERR_UNKNOWN, REP_ERR_UNSUP, REP_INFO, REP_SERVER, SEND_DF, SEND_FLUSH,
    SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, take2, take4, take8,
};
use crate::gate::Access;

/// Longest option: a name of 4096 bytes (NBD's limit for strings) and a list of
/// information requests fit twice.
const MAX_OPTION: u32 = 8 << 10;

/// Most options of one handshake: real clients send up to six. Together with
/// the longest reply this bounds the output of a client that never reads.
const MAX_OPTIONS: u32 = 64;

/// Length of an option's header: magic, option, data length.
const OPTION_HEADER: usize = 16;

/// How far a handshake is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// Requests follow, once the output has been sent.
    Ready {
        /// READ replies are structured.
        structured: bool,
        /// Bytes that came behind the handshake: the first requests.
        leftover: Vec<u8>,
    },
    /// Close: the client said so or broke the protocol.
    Close,
}

/// One client's handshake.
#[derive(Debug)]
pub struct Negotiation {
    input: Vec<u8>,
    output: Vec<u8>,
    client_flags: Option<u16>,
    structured: bool,
    options: u32,
}

enum Step {
    NeedMore,
    Continue(usize),
    Ready(usize),
    Close,
}

impl Negotiation {
    /// Begins a handshake; the greeting is already in [`Self::output`].
    #[must_use]
    pub fn new() -> Self {
        let mut output = Vec::with_capacity(256);
        output.extend(GREETING_MAGIC.to_be_bytes());
        output.extend(OPTION_MAGIC.to_be_bytes());
        output.extend((FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES).to_be_bytes());
        Self {
            input: Vec::new(),
            output,
            client_flags: None,
            structured: false,
            options: 0,
        }
    }

    /// What the client is to get next.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// The first `count` bytes of the output have been sent.
    pub fn sent(&mut self, count: usize) {
        self.output.drain(..count);
    }

    /// Takes bytes from the client.
    pub fn feed(&mut self, bytes: &[u8], export: &Export<'_>) -> Progress {
        self.input.extend_from_slice(bytes);
        loop {
            match self.step(export) {
                Step::NeedMore => return Progress::More,
                Step::Continue(used) => {
                    self.input.drain(..used);
                }
                Step::Ready(used) => {
                    return Progress::Ready {
                        structured: self.structured,
                        leftover: self.input.split_off(used),
                    };
                }
                Step::Close => return Progress::Close,
            }
        }
    }

    fn step(&mut self, export: &Export<'_>) -> Step {
        let Some(client_flags) = self.client_flags else {
            let Some((flags, _)) = take4(&self.input) else {
                return Step::NeedMore;
            };
            let known = FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES;
            return match u16::try_from(flags) {
                Ok(flags) if flags & !known == 0 => {
                    self.client_flags = Some(flags);
                    Step::Continue(4)
                }
                _ => Step::Close,
            };
        };
        let Some((option, length)) = self.option_header() else {
            return if self.input.len() >= OPTION_HEADER {
                Step::Close
            } else {
                Step::NeedMore
            };
        };
        let end = OPTION_HEADER + length;
        if self.input.len() < end {
            return Step::NeedMore;
        }
        self.options += 1;
        if self.options > MAX_OPTIONS {
            return Step::Close;
        }
        let input = std::mem::take(&mut self.input);
        let data = &input[OPTION_HEADER..end];
        let step = self.answer(option, data, client_flags, export);
        self.input = input;
        match step {
            Answer::Continue => Step::Continue(end),
            Answer::Ready => Step::Ready(end),
            Answer::Close => Step::Close,
        }
    }

    /// The option and its data's length; `None` without a whole header or with
    /// one that cannot be trusted.
    fn option_header(&self) -> Option<(u32, usize)> {
        let (magic, rest) = take8(&self.input)?;
        let (option, rest) = take4(rest)?;
        let (length, _) = take4(rest)?;
        let sane = magic == OPTION_MAGIC && length <= MAX_OPTION;
        sane.then_some((option, usize::try_from(length).ok()?))
    }

    fn answer(&mut self, option: u32, data: &[u8], flags: u16, export: &Export<'_>) -> Answer {
        match option {
            OPT_EXPORT_NAME => return self.export_name(data, flags, export),
            OPT_ABORT => {
                self.reply(option, REP_ACK, &[]);
                return Answer::Close;
            }
            OPT_INFO | OPT_GO => return self.info(option, data, export),
            OPT_LIST if data.is_empty() => {
                let mut entry = Vec::with_capacity(4 + export.name.len());
                entry.extend(u32_len(export.name).to_be_bytes());
                entry.extend(export.name.as_bytes());
                self.reply(option, REP_SERVER, &entry);
                self.reply(option, REP_ACK, &[]);
            }
            OPT_STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                self.reply(option, REP_ACK, &[]);
            }
            OPT_LIST | OPT_STRUCTURED_REPLY => self.reply(option, REP_ERR_INVALID, &[]),
            _ => self.reply(option, REP_ERR_UNSUP, &[]),
        }
        Answer::Continue
    }

    fn export_name(&mut self, name: &[u8], flags: u16, export: &Export<'_>) -> Answer {
        if !names(name, export) {
            return Answer::Close;
        }
        self.output.extend(export.geometry.media_size.to_be_bytes());
        self.output.extend(self.export_flags(export).to_be_bytes());
        if flags & FLAG_NO_ZEROES == 0 {
            self.output.extend([0; 124]);
        }
        Answer::Ready
    }

    fn info(&mut self, option: u32, data: &[u8], export: &Export<'_>) -> Answer {
        let Some((name, wanted)) = parse_info(data) else {
            self.reply(option, REP_ERR_INVALID, &[]);
            return Answer::Continue;
        };
        if !names(name, export) {
            self.reply(option, REP_ERR_UNKNOWN, &[]);
            return Answer::Continue;
        }
        let mut info = Vec::with_capacity(16 + export.name.len());
        info.extend(INFO_EXPORT.to_be_bytes());
        info.extend(export.geometry.media_size.to_be_bytes());
        info.extend(self.export_flags(export).to_be_bytes());
        self.reply(option, REP_INFO, &info);

        // Sent even unasked: a client that does not know our sector size would
        // have its requests refused.
        let sector = export.geometry.sector_size;
        info.clear();
        info.extend(INFO_BLOCK_SIZE.to_be_bytes());
        info.extend(sector.to_be_bytes());
        info.extend(sector.max(4096).to_be_bytes());
        info.extend(MAX_PAYLOAD.max(sector).to_be_bytes());
        self.reply(option, REP_INFO, &info);

        if wanted
            .chunks_exact(2)
            .any(|request| request == INFO_NAME.to_be_bytes())
        {
            info.clear();
            info.extend(INFO_NAME.to_be_bytes());
            info.extend(export.name.as_bytes());
            self.reply(option, REP_INFO, &info);
        }
        self.reply(option, REP_ACK, &[]);
        if option == OPT_GO {
            Answer::Ready
        } else {
            Answer::Continue
        }
    }

    fn export_flags(&self, export: &Export<'_>) -> u16 {
        let writing = match export.access {
            Access::ReadOnly => READ_ONLY,
            Access::ReadWrite | Access::WriteOnly => {
                SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES
            }
        };
        let chunks = if self.structured { SEND_DF } else { 0 };
        HAS_FLAGS | CAN_MULTI_CONN | writing | chunks
    }

    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) {
        self.output.extend(OPTION_REPLY_MAGIC.to_be_bytes());
        self.output.extend(option.to_be_bytes());
        self.output.extend(kind.to_be_bytes());
        self.output.extend(u32_len(data).to_be_bytes());
        self.output.extend(data);
    }
}

impl Default for Negotiation {
    fn default() -> Self {
        Self::new()
    }
}

enum Answer {
    Continue,
    Ready,
    Close,
}

/// Length of something of ours that is far below 4 GiB.
fn u32_len(bytes: impl AsRef<[u8]>) -> u32 {
    u32::try_from(bytes.as_ref().len()).expect("names and replies are short")
}

fn names(name: &[u8], export: &Export<'_>) -> bool {
    name.is_empty() || name == export.name.as_bytes()
}

/// The name and the information requests of `OPT_INFO` and `OPT_GO`.
fn parse_info(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = take4(data)?;
    let (name, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let (count, wanted) = take2(rest)?;
    (wanted.len() == 2 * usize::from(count)).then_some((name, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::Geometry;
    use proptest::prelude::*;

    const EXPORT: Export<'static> = Export {
        name: "hast/data",
        geometry: Geometry {
            media_size: 1 << 20,
            sector_size: 512,
        },
        access: Access::ReadWrite,
    };

    fn option(option: u32, data: &[u8]) -> Vec<u8> {
        let mut out = OPTION_MAGIC.to_be_bytes().to_vec();
        out.extend(option.to_be_bytes());
        out.extend(u32_len(data).to_be_bytes());
        out.extend(data);
        out
    }

    fn info_data(name: &str, wanted: &[u16]) -> Vec<u8> {
        let mut out = u32_len(name).to_be_bytes().to_vec();
        out.extend(name.as_bytes());
        out.extend(u16::try_from(wanted.len()).unwrap().to_be_bytes());
        out.extend(wanted.iter().flat_map(|w| w.to_be_bytes()));
        out
    }

    /// A negotiation past greeting and flags.
    fn begun() -> Negotiation {
        let mut n = Negotiation::new();
        assert_eq!(n.output().len(), 18);
        n.sent(18);
        assert_eq!(n.feed(&[0, 0, 0, 3], &EXPORT), Progress::More);
        n
    }

    /// The kinds of the replies in the output.
    fn kinds(mut out: &[u8]) -> Vec<u32> {
        let mut kinds = vec![];
        while !out.is_empty() {
            let (magic, rest) = take8(out).unwrap();
            assert_eq!(magic, OPTION_REPLY_MAGIC);
            let (_, rest) = take4(rest).unwrap();
            let (kind, rest) = take4(rest).unwrap();
            let (length, rest) = take4(rest).unwrap();
            kinds.push(kind);
            out = &rest[usize::try_from(length).unwrap()..];
        }
        kinds
    }

    #[test]
    fn go_describes_the_export_and_leaves_the_first_request_alone() {
        let mut n = begun();
        let mut bytes = option(OPT_STRUCTURED_REPLY, &[]);
        bytes.extend(option(OPT_GO, &info_data("hast/data", &[INFO_NAME])));
        bytes.extend(b"request");
        assert_eq!(
            n.feed(&bytes, &EXPORT),
            Progress::Ready {
                structured: true,
                leftover: b"request".to_vec()
            }
        );
        assert_eq!(
            kinds(n.output()),
            [REP_ACK, REP_INFO, REP_INFO, REP_INFO, REP_ACK]
        );
    }

    #[test]
    fn export_name_gives_134_bytes_or_10() {
        for (flags, length) in [(1, 134), (3, 10)] {
            let mut n = Negotiation::new();
            n.sent(18);
            n.feed(&[0, 0, 0, flags], &EXPORT);
            let progress = n.feed(&option(OPT_EXPORT_NAME, b""), &EXPORT);
            assert!(matches!(progress, Progress::Ready { .. }));
            assert_eq!(n.output().len(), length);
        }
    }

    #[test]
    fn a_foreign_name_is_unknown_and_the_client_may_ask_again() {
        let mut n = begun();
        let wrong = option(OPT_GO, &info_data("other", &[]));
        assert_eq!(n.feed(&wrong, &EXPORT), Progress::More);
        assert_eq!(kinds(n.output()), [REP_ERR_UNKNOWN]);
        let right = option(OPT_GO, &info_data("", &[]));
        assert!(matches!(n.feed(&right, &EXPORT), Progress::Ready { .. }));
        let mut n = begun();
        let wrong = option(OPT_EXPORT_NAME, b"other");
        assert_eq!(n.feed(&wrong, &EXPORT), Progress::Close);
    }

    #[test]
    fn unknown_options_are_unsupported_and_bad_data_invalid() {
        let mut n = begun();
        n.feed(&option(5, &[]), &EXPORT);
        n.feed(&option(OPT_LIST, b"x"), &EXPORT);
        n.feed(&option(OPT_INFO, &[0, 0, 0, 9, 0, 0]), &EXPORT);
        n.feed(&option(OPT_LIST, &[]), &EXPORT);
        assert_eq!(
            kinds(n.output()),
            [
                REP_ERR_UNSUP,
                REP_ERR_INVALID,
                REP_ERR_INVALID,
                REP_SERVER,
                REP_ACK
            ]
        );
    }

    #[test]
    fn hostile_openings_are_closed() {
        let mut n = Negotiation::new();
        assert_eq!(n.feed(&[0, 0, 0, 8], &EXPORT), Progress::Close);
        assert_eq!(begun().feed(&[0; OPTION_HEADER], &EXPORT), Progress::Close);
        let mut huge = option(OPT_GO, &[]);
        huge[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(begun().feed(&huge, &EXPORT), Progress::Close);
        let flood = option(OPT_LIST, &[]).repeat(65);
        assert_eq!(begun().feed(&flood, &EXPORT), Progress::Close);
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_answer(cut in 0usize..70) {
            let mut bytes = vec![0, 0, 0, 3];
            bytes.extend(option(OPT_STRUCTURED_REPLY, &[]));
            bytes.extend(option(OPT_GO, &info_data("hast/data", &[INFO_EXPORT])));
            bytes.extend(b"rest");
            let mut whole = Negotiation::new();
            let expected = whole.feed(&bytes, &EXPORT);
            let mut split = Negotiation::new();
            let cut = cut.min(bytes.len() - 5);
            prop_assert_eq!(split.feed(&bytes[..cut], &EXPORT), Progress::More);
            prop_assert_eq!(split.feed(&bytes[cut..], &EXPORT), expected);
            prop_assert_eq!(split.output(), whole.output());
        }

        #[test]
        fn noise_never_panics_nor_bloats(noise in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut n = begun();
            n.feed(&noise, &EXPORT);
            prop_assert!(n.output().len() < 64 << 10);
        }
    }
}
