//! A stream of requests, and one of replies, in pieces: messages are taken
//! whole, payloads are bounded, and each request ends once.
#![no_main]

use hast_core::frame::{Decoder, Event, HEADER, NODE_LIMIT};
use hast_core::message::{
    ControlReply, ControlRequest, LONGEST, LONGEST_DATA, Reply, Request, RequestError,
};
use hast_core::outstanding::{Asked, Outstanding};
use hast_core::units::Version;
use libfuzzer_sys::fuzz_target;

/// Takes a stream apart; `message` tells how much payload follows, or `None`
/// to end the connection.
fn run(stream: &[u8], piece: usize, mut message: impl FnMut(&[u8]) -> Option<u32>) {
    let mut decoder = Decoder::new(NODE_LIMIT);
    for mut piece in stream.chunks(piece) {
        loop {
            let Ok((taken, event)) = decoder.next(piece) else {
                return;
            };
            piece = &piece[taken..];
            match event {
                None => break,
                Some(Event::Payload(bytes)) => assert!(!bytes.is_empty()),
                Some(Event::Message(entries)) => match message(entries) {
                    None => return,
                    Some(size) => {
                        assert!(size <= LONGEST_DATA);
                        decoder.expect_payload(size);
                    }
                },
            }
        }
        assert!(piece.is_empty());
    }
}

fn request(entries: &[u8]) -> Option<u32> {
    match Request::decode(entries) {
        Ok(request) => {
            let mut buffer = [0; LONGEST];
            let length = request.encode(Version::V2, &mut buffer).unwrap();
            assert_eq!(Request::decode(&buffer[HEADER..length]), Ok(request));
            Some(request.payload_size())
        }
        Err(RequestError::Refused(refusal)) => Some(refusal.drain),
        Err(RequestError::Fatal(_)) => None,
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, stream)) = input.split_first() else {
        return;
    };
    let piece = usize::from(*piece) + 1;
    run(stream, piece, request);

    let mut outstanding = Outstanding::new(4);
    let kinds = [
        Asked::Read { length: 512 },
        Asked::Write { memsync: true },
        Asked::Other,
    ];
    for asked in kinds {
        outstanding.insert((), asked).unwrap();
    }
    run(stream, piece, |entries| {
        let reply = Reply::decode(entries).ok()?;
        match outstanding.reply(&reply) {
            Err(error) if error.is_fatal() => None,
            _ => Some(reply.payload_size()),
        }
    });

    run(stream, piece, |entries| {
        if let Ok(Ok(request)) = ControlRequest::decode(entries) {
            let mut buffer = vec![0; entries.len() + 64];
            let length = request.encode(&mut buffer).unwrap();
            assert_eq!(
                ControlRequest::decode(&buffer[HEADER..length]),
                Ok(Ok(request))
            );
        }
        let _ = ControlReply::decode(entries);
        None
    });
});
