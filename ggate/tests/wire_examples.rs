//! The worked byte examples of the protocol's specification, encoded and
//! decoded. Each is known by its SHA-256, so a test can only pass with every
//! byte right.

#![allow(clippy::unwrap_used)] // helpers of tests

use ggate::errno::WireErrno;
use ggate::gate::{Access, Seq};
use ggate::range::Geometry;
use ggate::wire::{
    ClientInitial, Command, Direction, ExportPath, Reply, Request, ServerInitial, Token, Version,
};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

const MEDIA_SIZE: u64 = 64 << 20;

fn sha256(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(bytes) {
        write!(out, "{byte:02x}").unwrap();
    }
    out
}

/// The payload pattern P.
fn pattern() -> Vec<u8> {
    let bytes: Vec<u8> = (0..512_u32)
        .map(|i| u8::try_from((7 * i + 3) % 256).unwrap())
        .collect();
    assert_eq!(
        sha256(&bytes),
        "c9d8e3352f9f790d8b0be13cb1c18ed7963009888be04acc065ee5efbd934076"
    );
    bytes
}

fn initial(access: Access, direct: bool, direction: Direction) -> ClientInitial {
    ClientInitial {
        path: ExportPath::new("/dev/md0").unwrap(),
        access,
        direct,
        direction,
        token: Token(0x1a2b_3c4d),
    }
}

fn granted(media_size: u64, sector_size: u32) -> ServerInitial {
    ServerInitial {
        result: Ok(Geometry {
            media_size,
            sector_size,
        }),
    }
}

fn refused(number: u16) -> ServerInitial {
    ServerInitial {
        result: Err(WireErrno::new(number).unwrap()),
    }
}

fn request(command: Command, offset: u64, length: u32, seq: u64) -> Request {
    Request {
        command,
        offset,
        length,
        seq: Seq(seq),
    }
}

#[test]
fn version_packets() {
    let plain = Version::PLAIN.encode();
    assert_eq!(
        sha256(&plain),
        "25bcfbf64a4992d3398a08097f80bc99944c4d72b4037df298d8976e0fb79837"
    );
    assert_eq!(Version::decode(&plain), Ok(Version::PLAIN));

    let mut newer = plain;
    newer[17] = 1;
    assert_eq!(
        sha256(&newer),
        "6f294f2be40af25f59a9a30de85030a1e98aec524f1c844b99cbdf81fed9c9ac"
    );
    assert!(Version::decode(&newer).is_err());
}

#[test]
#[rustfmt::skip]
fn client_initial_packets() {
    use Access::{ReadOnly, ReadWrite, WriteOnly};
    use Direction::{Recv, Send};
    for (access, direct, direction, sum) in [
        (ReadWrite, false, Send, "177e16481717cf29bb17919feac570aeccbfbca56c666beb548a28d190040406"),
        (ReadWrite, false, Recv, "4df0a14eef37647beebf3e6ac512676c2e88f3df5fa71b2e0dbb64fc7405a7be"),
        (ReadOnly, false, Send, "cd6ab1ab09a390aac3c64fda149cd1d1eb5f0963efa40f5ee4bc4d08a4c4f2a1"),
        (ReadOnly, false, Recv, "a76d5f909f5330008f7aff2bb5d16c46055ee108306912e1736d8b5d5622b852"),
        (WriteOnly, false, Send, "9c6ef978713c2499c999f8bd4da3e98da468126cd70b689198e35b1e9206df1e"),
        (WriteOnly, false, Recv, "1950f55db625459fdd6a654e2266ef4ff6b014bb8d6e8ab816eeccbe499f3290"),
        (ReadWrite, true, Send, "70ba472838a662a6732caa5070f273f051d94877eaabbc20f3c285960d0d1c79"),
        (ReadWrite, true, Recv, "a754394753ad2a052b562a0acf1936dc27246e32a02042b3327b4796c0faabc5"),
    ] {
        let packet = initial(access, direct, direction);
        assert_eq!(sha256(&packet.encode()), sum, "{packet:?}");
        assert_eq!(ClientInitial::decode(&packet.encode()), Ok(packet));
    }
}

#[test]
#[rustfmt::skip]
fn server_initial_packets() {
    for (packet, sum) in [
        (granted(MEDIA_SIZE, 512), "5c4e6bc5c2d88d947c469e54d030f4eb94345ede8bad6d69825f0405a6a3d651"),
        (refused(1), "d77aa1d3979b6964aee2aac0ad482e5eb6285fbd869f915daf43a43b0a4bc3d3"),
        (refused(2), "d26b584a6b45e0cc09d3a413f3ebad564895ba733c134f16dc1b367ca4271def"),
        (granted(4 << 40, 4096), "41fc2d3bc275a6a17b63f42ac2bf2d45fd326eaf0779d71742c8cbc2505728ab"),
    ] {
        assert_eq!(sha256(&packet.encode()), sum, "{packet:?}");
        assert_eq!(ServerInitial::decode(&packet.encode()), packet);
    }
}

#[test]
#[rustfmt::skip]
fn requests() {
    use Command::{Flush, Read, Write};
    for (request, sum) in [
        (request(Read, 0, 512, 1), "ad378793307ee04173e18d284309ff96a85db85f2ef7f52752a5ecaad02bdbeb"),
        (request(Read, 67_108_352, 512, 2), "daca53a2aa40faa478296f9cb66fd406b8a2a0782f530289cf25150e4133f42c"),
        (request(Read, 0x0123_4567_8000, 131_072, 0x1122_3344_5566_7788), "6206a7434bb3058b14b68f821395edb94a8d9b72a14b8f604eeeb78215d1685d"),
        (request(Write, 4096, 512, 3), "2d43f319e4b1bfa7d3d637d988e6f51d88f86c93f643f964f40a99be5b727916"),
        (request(Flush, MEDIA_SIZE, 0, 4), "839bfd83c33d4494a9bb87431c84aee6d17b58b85b40f47cf6c98484e44eaff4"),
        (request(Write, MEDIA_SIZE, 0, 4), "fe8e404425efb3df5dcc979dec7032632345cf856749a6f3bbedc2287569a8c3"),
        (request(Read, MEDIA_SIZE, 0, 4), "3a389b0a7f03e9845808b2030815f2068ffe56f341b2c8451a6d6bad8aecbbc4"),
    ] {
        assert_eq!(sha256(&request.encode()), sum, "{request:?}");
        assert_eq!(Request::decode(&request.encode()), request);
        assert_eq!(request.reply(None).encode(), request.encode());
    }
}

#[test]
fn payloads() {
    let p = pattern();
    let read = [
        &request(Command::Read, 0, 512, 1).reply(None).encode()[..],
        &p,
    ]
    .concat();
    assert_eq!(
        sha256(&read),
        "86055c0ef8369e5dc645fa4342f6475061ab1d6baeb4c07cbf57c53ffb66e962"
    );
    let write = [&request(Command::Write, 4096, 512, 3).encode()[..], &p].concat();
    assert_eq!(
        sha256(&write),
        "7d2197476b9922bbe217af6c51edb529f57956e2e4baf89c57dc3261d85e0dcb"
    );
}

#[test]
#[rustfmt::skip]
fn error_replies() {
    use Command::{Flush, Other, Read, Write};
    for (request, error, sum) in [
        (request(Read, 8192, 1024, 5), 5, "fe8b644856a984a446efb6c91214fd90ffc08dc90716cd93a520e6ece63076cc"),
        (request(Write, 8192, 512, 6), 28, "7672bc291686e738754d4a310a2fbc039b5bae6122a4dde3fe6d2b082d96aca7"),
        (request(Write, 0, 512, 7), 9, "6f8199a1b90e478ecbd701710ac05ae5ce01ba13265b79bffb32b38339c7e248"),
        (request(Flush, MEDIA_SIZE, 0, 8), 5, "23da00759df01fe57c136d9eba253e0928dd0cc66c0b6b9154ed7fe201305c9f"),
        (request(Other(2), 0, 0, 9), 45, "af0157a848facfca7d89bb3a6bd675470cfe1a7598fbdf6851a12b51581916b9"),
        (request(Read, 0, 512, 10), 35, "a7eadb080f2d03bc974341609beb517d8ab1a888b39a96ec99e5c6f550c98cb5"),
    ] {
        let reply = request.reply(WireErrno::new(error));
        assert_eq!(sha256(&reply.encode()), sum, "{reply:?}");
        assert_eq!(Reply::decode(&reply.encode()), reply);
        assert_eq!(reply.payload_len(), 0);
    }
}

#[test]
#[rustfmt::skip]
fn a_whole_session() {
    let p = pattern();
    let requests = [
        request(Command::Read, 0, 512, 1),
        request(Command::Write, 4096, 512, 2),
        request(Command::Flush, MEDIA_SIZE, 0, 3),
        request(Command::Read, 4096, 512, 4),
    ];
    let version = Version::PLAIN.encode();
    let answer = granted(MEDIA_SIZE, 512).encode();
    let ask = |direction| initial(Access::ReadWrite, false, direction).encode();

    let mut to_server = [&version[..], &ask(Direction::Recv)].concat();
    for request in requests {
        to_server.extend(request.encode());
        if request.payload_len() != 0 {
            to_server.extend(&p);
        }
    }
    let mut to_client = [&version[..], &answer].concat();
    for (request, payload) in requests.iter().zip([&[0; 512][..], &[], &[], &p]) {
        to_client.extend(request.reply(None).encode());
        to_client.extend(payload);
    }

    for (stream, sum) in [
        ([&version[..], &ask(Direction::Send)].concat(), "e1bfe4e5d44f109da207ab15ecc8e76332f6ffbe9e6b16ce12a9a9f86bad50ba"),
        (to_client, "5fe422e474e459137360063e77281e1755dec3bb14f3721c73d1a9308489245f"),
        (to_server, "f85fa7cdadaa4aca7d47ec5ef34199b153ae4a53e30e996ee2daccf0398b5815"),
        ([&version[..], &answer].concat(), "1709781081851ab9a0b65ac52e91cf5c9f475b2a225c1cec239c74f8dd828b63"),
    ] {
        assert_eq!(sha256(&stream), sum, "{} bytes", stream.len());
    }
}
