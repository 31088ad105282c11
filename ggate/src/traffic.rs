//! What a program that serves a gate has done so far, for who asks with
//! SIGINFO.

use crate::gate::{Command, Request};
use std::fmt;
use std::time::Instant;

/// Requests and bytes since the begin. The caller has a lock around it.
#[derive(Clone, Debug)]
pub struct Traffic {
    reads: u64,
    read_bytes: u64,
    writes: u64,
    written_bytes: u64,
    others: u64,
    errors: u64,
    /// When it was last reported, and the bytes read and written until then.
    reported: (Instant, u64, u64),
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            reads: 0,
            read_bytes: 0,
            writes: 0,
            written_bytes: 0,
            others: 0,
            errors: 0,
            reported: (Instant::now(), 0, 0),
        }
    }
}

impl Traffic {
    /// A request was answered.
    pub fn count(&mut self, request: &Request, succeeded: bool) {
        let (requests, bytes) = match request.command {
            Command::Read => (&mut self.reads, Some(&mut self.read_bytes)),
            Command::Write => (&mut self.writes, Some(&mut self.written_bytes)),
            _ => (&mut self.others, None),
        };
        *requests += 1;
        match bytes {
            Some(bytes) if succeeded => *bytes += request.range.length,
            _ => {}
        }
        self.errors += u64::from(!succeeded);
    }

    /// All of it, with rates since the last report.
    pub fn report(&mut self) -> String {
        self.report_at(Instant::now())
    }

    fn report_at(&mut self, now: Instant) -> String {
        let (then, read, written) = self.reported;
        let millis = now.saturating_duration_since(then).as_millis().max(1);
        let rate = |bytes: u64| u128::from(bytes) * 1000 / 1024 / millis;
        let reading = rate(self.read_bytes - read);
        let writing = rate(self.written_bytes - written);
        self.reported = (now, self.read_bytes, self.written_bytes);
        format!("{self}; now {reading} KiB/s read, {writing} KiB/s written")
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} reads ({} MiB), {} writes ({} MiB), {} others, {} errors",
            self.reads,
            self.read_bytes >> 20,
            self.writes,
            self.written_bytes >> 20,
            self.others,
            self.errors,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Seq;
    use crate::range::ByteRange;
    use std::time::Duration;

    #[test]
    fn it_counts_and_tells_rates_since_the_last_report() {
        let mut traffic = Traffic::default();
        let begin = traffic.reported.0;
        let request = |command, length| Request {
            seq: Seq(1),
            command,
            range: ByteRange::new(0, length),
        };
        traffic.count(&request(Command::Read, 3 << 20), true);
        traffic.count(&request(Command::Write, 1 << 20), true);
        traffic.count(&request(Command::Write, 1 << 20), false);
        traffic.count(&request(Command::Flush, 0), true);
        assert_eq!(
            traffic.report_at(begin + Duration::from_secs(2)),
            "1 reads (3 MiB), 2 writes (1 MiB), 1 others, 1 errors; \
             now 1536 KiB/s read, 512 KiB/s written"
        );
        assert_eq!(
            traffic.report_at(begin + Duration::from_secs(2)),
            "1 reads (3 MiB), 2 writes (1 MiB), 1 others, 1 errors; \
             now 0 KiB/s read, 0 KiB/s written"
        );
    }
}
