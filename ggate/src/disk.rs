//! Disk threads: requests against a medium, in parallel, overlapping ones in order.
