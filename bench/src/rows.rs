//! What is measured.

/// Size of the exported file in bytes: far more than a processor's caches.
pub(crate) const FILE_SIZE: u64 = 512 << 20;

/// A pattern of requests.
pub(crate) struct Row {
    /// What it is called in the table and on the command line.
    pub(crate) name: &'static str,
    /// As fio's `rw`.
    pub(crate) pattern: &'static str,
    /// Bytes per request.
    pub(crate) block: u32,
    /// Requests in flight.
    pub(crate) depth: u32,
}

impl Row {
    /// Whether throughput is told in bytes rather than requests.
    pub(crate) fn is_sequential(&self) -> bool {
        !self.pattern.starts_with("rand")
    }
}

const fn row(name: &'static str, pattern: &'static str, block: u32, depth: u32) -> Row {
    Row {
        name,
        pattern,
        block,
        depth,
    }
}

/// All of them, in the order of the table.
pub(crate) const ROWS: [Row; 8] = [
    row("read-4k-1", "randread", 4 << 10, 1),
    row("write-4k-1", "randwrite", 4 << 10, 1),
    row("read-4k-32", "randread", 4 << 10, 32),
    row("write-4k-32", "randwrite", 4 << 10, 32),
    row("read-128k-8", "read", 128 << 10, 8),
    row("write-128k-8", "write", 128 << 10, 8),
    row("read-1m-8", "read", 1 << 20, 8),
    row("write-1m-8", "write", 1 << 20, 8),
];
