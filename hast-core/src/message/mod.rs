//! Every message of the protocol as a typed value.
//! Facts: spec/hast-wire.md sections 4 to 10.
//!
//! | from | to | on | message |
//! |---|---|---|---|
//! | primary | secondary | A | [`Step1Request`], then every [`Request`] |
//! | secondary | primary | A | [`Step1Reply`], then one [`Step2Reply`] |
//! | primary | secondary | B | [`Step2Request`] |
//! | secondary | primary | B | every [`Reply`] |
//! | hastd | hastd | one of its own | [`Inquiry`], then [`InquiryReply`] |
//! | hastctl | hastd | control | [`ControlRequest`] |
//! | hastd | hastctl | control | [`ControlReply`] |
//!
//! Decoding takes the entries of one message, as
//! [`Decoder`](crate::frame::Decoder) hands them out, and encoding writes a
//! whole message with its header. Entries of ours are listed in
//! `docs/extensions.md`; base ignores them, and what they mean when they are
//! absent is what base means.

mod control;
mod handshake;
mod inquiry;
mod reply;
mod request;

pub use control::{
    Command, ControlCode, ControlReply, ControlRequest, Names, ResourceReply, Statistics,
    StatusReply, Wishes, WorkerStatus,
};
pub use handshake::{
    BASE_LONGEST, Extensions, Map, Node, Opening, SPLIT_BRAIN, Step1Reply, Step1Request,
    Step2Reply, Step2Request,
};
pub use inquiry::{Inquiry, InquiryReply};
pub use reply::Reply;
pub use request::{Limits, Reason, Refusal, Request, RequestError};

use crate::nv::{FieldError, Malformed};
use crate::payload::PayloadError;
use core::fmt;

/// A buffer of this many bytes holds every [`Request`] and every [`Reply`].
pub const LONGEST: usize = 256;

/// Longest data of one request accepted from anybody, in bytes. Base sends up
/// to 1 MiB; the rest is for `kern.maxphys` set higher. Bounds what one
/// request may occupy and what is skipped after a refused one.
pub const LONGEST_DATA: u32 = 4 << 20;

/// Why a message means nothing; the connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum MessageError {
    /// The entries are no entries.
    Malformed(Malformed),
    /// An entry is missing or of the wrong type.
    Field(FieldError),
    /// An entry has a value it cannot have.
    Value(&'static str),
    /// The payload cannot be what the message needs.
    Payload(PayloadError),
}

impl From<Malformed> for MessageError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<FieldError> for MessageError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<PayloadError> for MessageError {
    fn from(error: PayloadError) -> Self {
        Self::Payload(error)
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "message {error}"),
            Self::Field(error) => write!(f, "message {error}"),
            Self::Value(name) => write!(f, "message has an impossible value in \"{name}\""),
            Self::Payload(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MessageError {}
