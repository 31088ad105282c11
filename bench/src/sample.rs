//! One measurement of a system by fio.

use crate::fio::{self, Done};
use crate::process::Used;
use crate::rows::Row;
use crate::systems::System;

pub(crate) struct Sample {
    pub(crate) fio: Done,
    pub(crate) used: Used,
}

impl Sample {
    /// Runs a row's pattern and looks what that takes of the daemons.
    pub(crate) fn take(system: &System, row: &Row, seconds: u32) -> Self {
        let run = || fio::run(&system.uri, row, seconds);
        let (fio, used) = Used::during(&system.daemons, run);
        Self { fio, used }
    }

    /// Requests per second; MB/s where a row is sequential.
    pub(crate) fn throughput(&self, row: &Row) -> f64 {
        if row.is_sequential() {
            self.fio.iops * f64::from(row.block) / 1e6
        } else {
            self.fio.iops
        }
    }

    /// Seconds of processor time per 100,000 requests; per GiB where a row is
    /// sequential.
    pub(crate) fn cost(&self, row: &Row) -> f64 {
        let units = if row.is_sequential() {
            self.fio.requests * f64::from(row.block) / f64::from(1 << 30)
        } else {
            self.fio.requests / 100_000.0
        };
        self.used.cpu / units
    }
}
