use super::*;
use crate::buffer::Pool;
use crate::range::Geometry;
use std::sync::mpsc::{self, Receiver};

const SIZE: usize = 64 << 10;
const SECTOR: usize = 512;
const PATIENCE: Duration = Duration::from_secs(20);

/// A medium in memory that can be held, and that notes what it does.
#[derive(Default)]
struct Memory {
    bytes: Mutex<Vec<u8>>,
    log: Mutex<Vec<(Op, u64)>>,
    held: Mutex<bool>,
    released: Condvar,
}

impl Memory {
    fn new() -> Arc<Self> {
        let memory = Self::default();
        *memory.bytes.lock() = vec![0; SIZE];
        Arc::new(memory)
    }

    fn hold(&self, held: bool) {
        *self.held.lock() = held;
        self.released.notify_all();
    }

    fn enter(&self, op: Op, offset: u64) {
        self.log.lock().push((op, offset));
        let mut held = self.held.lock();
        while *held {
            self.released.wait(&mut held);
        }
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl Media for Memory {
    fn geometry(&self) -> Geometry {
        Geometry {
            media_size: SIZE as u64,
            sector_size: 512,
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> nix::Result<()> {
        self.enter(Op::Read, offset);
        buf.copy_from_slice(&self.bytes.lock()[at(offset)..][..buf.len()]);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> nix::Result<()> {
        self.enter(Op::Write, offset);
        // In pieces, so that overlapping writes at the same time would mix.
        for (index, sector) in buf.chunks(SECTOR).enumerate() {
            let start = at(offset) + index * SECTOR;
            self.bytes.lock()[start..][..sector.len()].copy_from_slice(sector);
            thread::yield_now();
        }
        Ok(())
    }

    fn flush(&self) -> nix::Result<()> {
        self.enter(Op::Flush, 0);
        Ok(())
    }

    fn delete(&self, range: ByteRange) -> nix::Result<()> {
        self.enter(Op::Delete, range.offset);
        Err(Errno::EOPNOTSUPP)
    }
}

type Done = (Job<usize>, nix::Result<()>);

fn disk(media: &Arc<Memory>) -> (Disk<usize>, Receiver<Done>) {
    let (sender, receiver) = mpsc::channel();
    let media: Arc<dyn Media> = Arc::clone(media) as _;
    let sender = Mutex::new(sender);
    let disk = Disk::new(media, move |job, result| {
        // The receiver may be gone when a test ends.
        let _ = sender.lock().send((job, result));
    });
    (disk, receiver)
}

fn job(pool: &Pool, tag: usize, op: Op, sector: usize, sectors: usize) -> Job<usize> {
    let length = sectors * SECTOR;
    let mut data = match op {
        Op::Read | Op::Write => pool.get(length),
        Op::Flush | Op::Delete => pool.get(0),
    };
    data.fill(u8::try_from(tag % 251).unwrap());
    Job {
        tag,
        op,
        range: ByteRange::new((sector * SECTOR) as u64, length as u64),
        data,
    }
}

#[test]
fn overlapping_writes_end_as_if_they_had_run_one_by_one() {
    let (media, pool) = (Memory::new(), Pool::new(64 << 20));
    let (disk, done) = disk(&media);
    let mut expected = vec![0; SIZE];
    let jobs = 2000;
    let mut seed = 7_usize;
    for tag in 0..jobs {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (sector, sectors) = ((seed >> 33) % 100, (seed >> 40) % 28 + 1);
        let write = job(&pool, tag, Op::Write, sector, sectors);
        expected[sector * SECTOR..][..sectors * SECTOR].copy_from_slice(&write.data);
        disk.submit(write);
    }
    for _ in 0..jobs {
        assert_eq!(done.recv_timeout(PATIENCE).unwrap().1, Ok(()));
    }
    assert_eq!(*media.bytes.lock(), expected);
}

#[test]
fn a_flush_begins_when_the_writes_before_it_have_ended_and_holds_up_nobody() {
    let (media, pool) = (Memory::new(), Pool::new(1 << 20));
    let (disk, done) = disk(&media);
    media.hold(true);
    disk.submit(job(&pool, 0, Op::Write, 0, 1));
    disk.submit(job(&pool, 1, Op::Flush, 0, 0));
    disk.submit(job(&pool, 2, Op::Write, 8, 1));
    // The second write runs beside the first; the flush has not begun.
    let deadline = Instant::now() + PATIENCE;
    while media.log.lock().len() < 2 {
        assert!(Instant::now() < deadline, "the later write did not begin");
        thread::yield_now();
    }
    let begun: Vec<Op> = media.log.lock().iter().map(|entry| entry.0).collect();
    assert_eq!(begun, [Op::Write, Op::Write]);
    media.hold(false);
    let mut tags: Vec<usize> = (0..3)
        .map(|_| done.recv_timeout(PATIENCE).unwrap().0.tag)
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, [0, 1, 2]);
}

#[test]
fn a_read_sees_the_overlapping_write_before_it() {
    let (media, pool) = (Memory::new(), Pool::new(1 << 20));
    let (disk, done) = disk(&media);
    for tag in 1..200 {
        disk.submit(job(&pool, tag, Op::Write, 4, 8));
        disk.submit(job(&pool, 0, Op::Read, 6, 2));
        for _ in 0..2 {
            let (job, result) = done.recv_timeout(PATIENCE).unwrap();
            assert_eq!(result, Ok(()));
            let expected = u8::try_from(tag).unwrap();
            assert!(job.op == Op::Write || job.data.iter().all(|b| *b == expected));
        }
    }
}

#[test]
fn a_fast_medium_is_served_on_the_calling_thread() {
    let (media, pool) = (Memory::new(), Pool::new(1 << 20));
    let (disk, done) = disk(&media);
    let deadline = Instant::now() + PATIENCE;
    // The first requests are measured on a disk thread.
    while disk.submit(job(&pool, 0, Op::Read, 0, 1)) != Submitted::Executed {
        assert!(Instant::now() < deadline, "never ran on the calling thread");
        assert_eq!(done.recv_timeout(PATIENCE).unwrap().1, Ok(()));
    }
    assert!(done.try_recv().is_ok());
}

#[test]
fn independent_requests_use_many_threads_of_a_slow_medium_but_not_more_than_allowed() {
    let (media, pool) = (Memory::new(), Pool::new(1 << 20));
    let (disk, done) = disk(&media);
    media.hold(true);
    for tag in 0..2 * MAX_THREADS {
        disk.submit(job(&pool, tag, Op::Read, tag, 1));
    }
    let deadline = Instant::now() + PATIENCE;
    while media.log.lock().len() < MAX_THREADS {
        assert!(Instant::now() < deadline, "{:?}", disk.load());
        thread::yield_now();
    }
    assert_eq!(disk.load().threads, MAX_THREADS);
    assert_eq!(disk.load().ready, MAX_THREADS);
    media.hold(false);
    for _ in 0..2 * MAX_THREADS {
        assert_eq!(done.recv_timeout(PATIENCE).unwrap().1, Ok(()));
    }
}

#[test]
fn closing_discards_what_has_not_begun_and_waits_for_the_rest() {
    let (media, pool) = (Memory::new(), Pool::new(1 << 20));
    let (disk, done) = disk(&media);
    media.hold(true);
    disk.submit(job(&pool, 1, Op::Write, 0, 2));
    for tag in 2..10 {
        disk.submit(job(&pool, tag, Op::Write, 1, 2));
    }
    let deadline = Instant::now() + PATIENCE;
    while media.log.lock().is_empty() {
        assert!(Instant::now() < deadline, "the first write did not begin");
        thread::yield_now();
    }
    assert!(!disk.close(Duration::from_millis(1)), "it still runs");
    assert_eq!(
        disk.submit(job(&pool, 10, Op::Read, 0, 1)),
        Submitted::Dropped
    );
    media.hold(false);
    assert!(disk.close(PATIENCE));
    assert_eq!(media.log.lock().len(), 1);
    assert_eq!(done.try_iter().count(), 1);
    assert_eq!(pool.used(), 0);
}

#[test]
fn errors_come_back_with_the_job() {
    let (media, pool) = (Memory::new(), Pool::new(1 << 20));
    let (disk, done) = disk(&media);
    disk.submit(job(&pool, 3, Op::Delete, 0, 1));
    let (job_done, result) = done.recv_timeout(PATIENCE).unwrap();
    assert_eq!((job_done.tag, result), (3, Err(Errno::EOPNOTSUPP)));
    let mut odd = job(&pool, 4, Op::Write, 0, 2);
    odd.data.truncate(SECTOR);
    disk.submit(odd);
    assert_eq!(done.recv_timeout(PATIENCE).unwrap().1, Err(Errno::EINVAL));
}

/// The kernel may hold a thread in DONE until a taste has ended, which reads
/// the very sectors that were just written.
#[test]
fn a_held_completion_holds_up_neither_overlapping_requests_nor_the_others() {
    let media = Memory::new();
    let (done, completions) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let disk = Disk::new(
        Arc::clone(&media) as Arc<dyn Media>,
        move |job: Job<usize>, result| {
            if job.op == Op::Write {
                released.lock().recv().unwrap();
            }
            done.send((job.tag, result)).unwrap();
        },
    );
    let pool = Pool::new(1 << 20);
    // More writes than the processors have threads, all held; whoever submits
    // one may be who is held.
    let writes = 8;
    thread::scope(|scope| {
        for tag in 0..writes {
            let write = job(&pool, tag, Op::Write, tag, 1);
            scope.spawn(|| disk.submit(write));
        }
        let deadline = Instant::now() + PATIENCE;
        while media.log.lock().len() < writes {
            assert!(Instant::now() < deadline, "held up");
            thread::yield_now();
        }
        for tag in 0..writes {
            disk.submit(job(&pool, writes + tag, Op::Read, tag, 1));
        }
        let mut read: Vec<usize> = (0..writes)
            .map(|_| completions.recv_timeout(PATIENCE).expect("held up").0)
            .collect();
        read.sort_unstable();
        assert_eq!(read, (writes..2 * writes).collect::<Vec<_>>());
        for _ in 0..writes {
            release.send(()).unwrap();
            completions.recv_timeout(PATIENCE).unwrap().1.unwrap();
        }
    });
}

/// A thread that ran out of work took the wake-up of one that was just being
/// started, which then counted itself below zero and died. Takes more disks
/// than processors, so that threads that start have to wait for one.
#[test]
fn threads_that_start_while_others_run_out_of_work_are_not_lost() {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..60).for_each(starts_and_ends));
        }
    });
}

fn starts_and_ends(round: u64) {
    let (media, pool) = (Memory::new(), Pool::new(4 << 20));
    let (disk, done) = disk(&media);
    for tag in 0..8 {
        disk.submit(job(&pool, tag, Op::Write, tag * 8, 8));
        let pause = Duration::from_nanos(round * 997 % 40_000);
        let begin = Instant::now();
        while begin.elapsed() < pause {
            std::hint::spin_loop();
        }
    }
    for _ in 0..8 {
        assert_eq!(done.recv_timeout(PATIENCE).unwrap().1, Ok(()));
    }
    let deadline = Instant::now() + PATIENCE;
    let wait_until = |what: &mut dyn FnMut() -> bool| {
        while !what() {
            assert!(Instant::now() < deadline, "{:?}", disk.load());
            thread::yield_now();
        }
    };
    wait_until(&mut || disk.load().running == 0 && disk.0.state.lock().coming == 0);
    // Every thread that is counted is there to take a job.
    media.log.lock().clear();
    media.hold(true);
    let threads = disk.load().threads;
    for tag in 0..threads {
        disk.submit(job(&pool, tag, Op::Flush, 0, 0));
    }
    wait_until(&mut || media.log.lock().len() == threads);
    media.hold(false);
}
