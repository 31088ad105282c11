//! ggatel's command lines against base's.

use testkit::cases::{self, Refused};

#[test]
fn command_lines_end_as_base_s_do() {
    let refused = [Refused {
        line: "ggatel destroy -u abc",
        why: "base destroys unit 0",
    }];
    cases::run("ggatel", &refused, |sandbox| {
        sandbox.write("x.img", [0; 4096]);
    });
}
