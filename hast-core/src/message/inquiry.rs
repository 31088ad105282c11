//! What one daemon of ours asks another outside of any handshake, for
//! `hastctl check`.

use super::MessageError;
use crate::frame;
use crate::nv::{Full, Text, pick};
use crate::units::Version;

/// Entry of ours, `docs/extensions.md`.
const INQUIRY: &str = "hg_inquiry";

/// How is this resource on your side? It has no `resource`, so base closes the connection and nothing else
/// happens there, whatever the resource is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inquiry<'a> {
    /// Name of the resource.
    pub resource: Text<'a>,
}

impl<'a> Inquiry<'a> {
    /// Reads the message; `None` if it is another one.
    pub fn decode(entries: &'a [u8]) -> Result<Option<Self>, MessageError> {
        let [inquiry, resource] = pick(entries, [INQUIRY, "resource"])?;
        if resource.is_present() {
            return Ok(None);
        }
        let resource = inquiry.optional()?;
        Ok(resource.map(|resource| Self { resource }))
    }

    /// Writes the message.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, Full> {
        frame::write(buffer, Version::V1, |w| {
            w.put(INQUIRY, self.resource);
        })
    }
}

/// Answer to an [`Inquiry`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InquiryReply<'a> {
    /// JSON.
    Told(Text<'a>),
    /// Why not; the same reasons as for step 1.
    Refused(Text<'a>),
}

impl<'a> InquiryReply<'a> {
    /// Reads the message.
    pub fn decode(entries: &'a [u8]) -> Result<Self, MessageError> {
        let [told, reason] = pick(entries, [INQUIRY, "errmsg"])?;
        match reason.optional()? {
            Some(reason) => Ok(Self::Refused(reason)),
            None => Ok(Self::Told(told.get()?)),
        }
    }

    /// Writes the message.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, Full> {
        frame::write(buffer, Version::MAX, |w| match self {
            Self::Told(json) => {
                w.put(INQUIRY, *json);
            }
            Self::Refused(reason) => {
                w.put("errmsg", *reason);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::HEADER;
    use crate::message::Opening;
    use crate::nv::{FieldError, Writer};

    /// Base takes it for a step without a resource, which it does not answer; and
    /// a step with one is no inquiry, whatever else it has.
    #[test]
    fn an_inquiry_is_no_step() {
        let inquiry = Inquiry {
            resource: "data".into(),
        };
        let mut buffer = [0; 256];
        let length = inquiry.encode(&mut buffer).unwrap();
        let entries = &buffer[HEADER..length];
        assert_eq!(Inquiry::decode(entries), Ok(Some(inquiry)));
        assert_eq!(
            Opening::decode(entries),
            Err(MessageError::Field(FieldError::Missing("resource")))
        );
        let mut buffer = [0; 256];
        let mut writer = Writer::new(&mut buffer, 0);
        writer.put("resource", "data").put(INQUIRY, "data");
        let length = writer.finish().unwrap();
        assert_eq!(Inquiry::decode(&buffer[..length]), Ok(None));

        for reply in [
            InquiryReply::Told("{}".into()),
            InquiryReply::Refused("No.".into()),
        ] {
            let mut buffer = [0; 256];
            let length = reply.encode(&mut buffer).unwrap();
            let entries = &buffer[HEADER..length];
            assert_eq!(InquiryReply::decode(entries), Ok(reply));
        }
    }
}
