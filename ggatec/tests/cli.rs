//! ggatec's command lines against base's.

use testkit::cases::{self, Refused};

#[test]
fn command_lines_end_as_base_s_do() {
    let refused = [
        Refused {
            line: "ggatec create -p 99999999999999999999999 h p",
            why: "no port number",
        },
        Refused {
            line: "ggatec create -v -p 0 127.0.0.1 /x",
            why: "0 is no port to connect to",
        },
    ];
    cases::run("ggatec", &refused, |_| {});
}
