//! Replies to one client that go out in one system call.

use crate::nbd::conn::{Conn, Sent};
use crate::nbd::proto::ReplyHead;
use std::io::IoSlice;
use std::sync::Arc;

/// Replies per system call: a common depth of queues, and a few KiB of stack.
pub(super) const MAX_ANSWERS: usize = 32;

/// What was completed for one client and not sent yet.
pub(super) struct Answers<'a> {
    conn: Option<Arc<Conn>>,
    heads: [ReplyHead; MAX_ANSWERS],
    data: [&'a [u8]; MAX_ANSWERS],
    count: usize,
    /// READ bytes that are no longer outstanding.
    read: usize,
}

/// What became of the replies.
pub(super) struct Delivered {
    pub(super) conn: Arc<Conn>,
    pub(super) sent: Sent,
    /// Whether the connection was parked and may be read again.
    pub(super) unparked: bool,
}

impl<'a> Answers<'a> {
    pub(super) const fn new() -> Self {
        Self {
            conn: None,
            heads: [ReplyHead::EMPTY; MAX_ANSWERS],
            data: [&[]; MAX_ANSWERS],
            count: 0,
            read: 0,
        }
    }

    /// Whether another reply to this client can join; if not, deliver first.
    pub(super) fn takes(&self, conn: &Arc<Conn>) -> bool {
        self.count < MAX_ANSWERS && self.conn.as_ref().is_none_or(|own| Arc::ptr_eq(own, conn))
    }

    /// Adds a reply to a request that counted `read` bytes as outstanding.
    pub(super) fn push(&mut self, conn: Arc<Conn>, head: ReplyHead, data: &'a [u8], read: usize) {
        self.conn = Some(conn);
        self.heads[self.count] = head;
        self.data[self.count] = data;
        self.count += 1;
        self.read += read;
    }

    /// Sends what is there.
    pub(super) fn deliver(&mut self) -> Option<Delivered> {
        let conn = self.conn.take()?;
        let mut parts = [IoSlice::new(&[]); 2 * MAX_ANSWERS];
        let replies = self.heads.iter().zip(&self.data).take(self.count);
        for (pair, (head, data)) in parts.chunks_exact_mut(2).zip(replies) {
            pair[0] = IoSlice::new(head.bytes());
            pair[1] = IoSlice::new(data);
        }
        let sent = conn.send(&mut parts[..2 * self.count]);
        let unparked = conn.finished(self.count, self.read);
        (self.count, self.read) = (0, 0);
        Some(Delivered {
            conn,
            sent,
            unparked,
        })
    }
}
