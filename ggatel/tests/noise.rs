//! Anything but the protocol on the sockets of a provider in software: another
//! client goes on, and list and destroy work.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use testkit::nbd::{self, Client};
use testkit::noise::Noise;
use testkit::process::{Running, Sandbox, wait_for};

fn serve(sandbox: &Sandbox) -> (Running, Client) {
    let image = sandbox.write("image", vec![0; 1 << 20]);
    let image = image.to_str().unwrap().to_owned();
    let running = sandbox.spawn("ggatel", ["create", "-v", &image]);
    running.wait_for_line("ggate0");
    let mut witness = Client::connect(&sandbox.run_dir().join("ggate0")).unwrap();
    assert_eq!(witness.write(0, &[7; 512]).unwrap(), 0);
    (running, witness)
}

fn still_serves(witness: &mut Client) {
    assert_eq!(witness.read(0, 512).unwrap(), Ok(vec![7; 512]));
}

fn send_and_leave(mut stream: UnixStream, bytes: &[u8], noise: &mut Noise) {
    let _ = stream.write_all(bytes);
    if noise.below(2) == 0 {
        // It may have closed the connection already.
        let _ = stream.shutdown(Shutdown::Write);
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn noise_at_every_stage_of_nbd() {
    let sandbox = Sandbox::new();
    let (_running, mut witness) = serve(&sandbox);
    let socket = sandbox.run_dir().join("ggate0");
    for seed in 0..80 {
        let noise = &mut Noise::new(seed);
        let mut stream = nbd::dial(&socket).unwrap();
        let go = nbd::option(7, &[0; 6]);
        let bytes = match seed % 4 {
            0 => {
                let length = noise.below(3000);
                noise.bytes(length)
            }
            1 => {
                nbd::greet(&mut stream).unwrap();
                noise.spoil(&go)
            }
            2 => {
                nbd::greet(&mut stream).unwrap();
                let length = noise.below(3000);
                [go, noise.bytes(length)].concat()
            }
            _ => {
                nbd::greet(&mut stream).unwrap();
                let mut bytes = go;
                for cookie in 0..20 {
                    let command = u16::try_from(noise.below(8)).unwrap();
                    // Not where the witness looks.
                    let offset = 512 * (1 + noise.below(3000) as u64);
                    let length = 512 * u32::try_from(noise.below(64)).unwrap();
                    bytes.extend(nbd::request(command, 0, cookie, offset, length));
                    if command == nbd::WRITE {
                        bytes.extend(noise.bytes(length as usize));
                    }
                }
                bytes.truncate(noise.below(bytes.len()));
                bytes
            }
        };
        send_and_leave(stream, &bytes, noise);
        still_serves(&mut witness);
    }
}

#[test]
fn noise_on_the_control_socket() {
    let sandbox = Sandbox::new();
    let (running, mut witness) = serve(&sandbox);
    let control = sandbox.run_dir().join(".units/0.ctl");
    for seed in 0..40 {
        let noise = &mut Noise::new(100 + seed);
        let bytes = match seed % 3 {
            0 => noise.bytes(1000),
            1 => noise.spoil(b"state\n"),
            _ => [&noise.bytes(20)[..], b"\n"].concat(),
        };
        send_and_leave(UnixStream::connect(&control).unwrap(), &bytes, noise);
        still_serves(&mut witness);
    }
    drop(witness);
    wait_for("the provider to be free", || {
        let destroyed = sandbox.run("ggatel", ["destroy", "-u", "0"]);
        (destroyed.code() == 0).then_some(())
    });
    running.finish().expect_code(0);
}

#[test]
fn records_of_noise_hide_no_provider_and_can_be_destroyed() {
    let sandbox = Sandbox::new();
    let (_running, mut witness) = serve(&sandbox);
    let units = sandbox.run_dir().join(".units");
    let record = std::fs::read(units.join("0")).unwrap();
    for unit in 1..20 {
        let mut noise = Noise::new(200 + unit);
        let text = match unit % 2 {
            0 => noise.bytes(20_000),
            // Not the whole record: that would be a second gate.
            _ => record[..noise.below(record.len())].to_vec(),
        };
        std::fs::write(units.join(unit.to_string()), text).unwrap();
    }
    let listed = sandbox.run("ggatel", ["list"]).expect_code(0);
    assert_eq!(listed.stdout, "ggate0\n");
    for unit in 1..20 {
        let unit = unit.to_string();
        sandbox
            .run("ggatel", ["destroy", "-u", &unit])
            .expect_code(0);
        assert!(!units.join(unit).exists());
    }
    still_serves(&mut witness);
}

#[test]
fn absurd_numbers_are_told_with_their_option() {
    let sandbox = Sandbox::new();
    for (option, value) in [("-u", "abc"), ("-s", "3"), ("-t", "1y"), ("-u", "-2")] {
        let arguments = ["create", option, value, "image"];
        let refused = sandbox.run("ggatel", arguments).expect_code(1);
        let told = format!("{option} {value}: ");
        assert!(refused.stderr.contains(&told), "{refused:?}");
    }
}
