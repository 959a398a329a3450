//! Writes lines to standard error from a thread of its own. A caller that logs never waits: a line that finds no room, because
//! what reads the log has stalled, is dropped and counted. A closed standard error ends nothing.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait to be written, in number and in bytes.
const LINES_MAX: usize = 16 * 1024;
const BYTES_MAX: usize = 1024 * 1024;
/// Written with one system call at most.
const WRITE_MAX_BYTES: usize = 64 * 1024;
/// How long the end of a process waits for lines to be written.
const FLUSH_MAX: Duration = Duration::from_secs(1);
const FLUSH_POLL: Duration = Duration::from_millis(5);

enum Message {
    Line(Vec<u8>),
    /// Everything before it has been written once this is answered.
    Flush(SyncSender<()>),
}

#[derive(Clone)]
pub struct Lossy {
    queue: SyncSender<Message>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Lossy {
    /// Its own copy of standard error: the lock of `std`'s would be held by whatever else writes there.
    pub fn stderr() -> std::io::Result<Self> {
        Ok(Self::into(File::from(std::io::stderr().as_fd().try_clone_to_owned()?)))
    }

    fn into(output: impl Write + Send + 'static) -> Self {
        let (queue, lines) = sync_channel(LINES_MAX);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&waiting_bytes);
        // It ends with the process, or when nothing can log any more.
        thread::spawn(move || write_all(output, &lines, &written));
        Self { queue, waiting_bytes }
    }

    /// Never waits.
    pub fn line(&self, line: Vec<u8>) {
        let length = line.len();
        let has_room = self.waiting_bytes.fetch_add(length, Ordering::Relaxed) + length <= BYTES_MAX;
        if !has_room || self.queue.try_send(Message::Line(line)).is_err() {
            self.waiting_bytes.fetch_sub(length, Ordering::Relaxed);
            metrics::counter!("log_lines_dropped_total").increment(1);
        }
    }

    /// Waits until what was logged is written, for [`FLUSH_MAX`] at most.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let (done, is_done) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            thread::sleep(FLUSH_POLL);
        }
        // Late or closed: what is not written by now cannot be.
        let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// One event of a text log is one write.
impl Write for Lossy {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.line(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn write_all(mut output: impl Write, queue: &Receiver<Message>, waiting_bytes: &AtomicUsize) {
    let mut batch = Vec::new();
    while let Ok(first) = queue.recv() {
        let mut flushed = None;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => batch.extend_from_slice(&line),
                Message::Flush(done) => flushed = Some(done),
            }
            let is_full = batch.len() >= WRITE_MAX_BYTES || flushed.is_some();
            next = if is_full { None } else { queue.try_recv().ok() };
        }
        if output.write_all(&batch).is_err() {
            // The log cannot tell; a metric can.
            let lines = batch.iter().filter(|byte| **byte == b'\n').count();
            metrics::counter!("log_lines_dropped_total").increment(lines as u64);
        }
        waiting_bytes.fetch_sub(batch.len(), Ordering::Relaxed);
        batch.clear();
        if let Some(done) = flushed {
            let _ = done.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    /// Writes nothing until it is let.
    struct Stalled(std::sync::mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().expect("sound").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_holds_up_nothing_and_gets_what_was_kept() {
        let (release, stalled) = channel();
        let written = Arc::default();
        let log = Lossy::into(Stalled(stalled, Arc::clone(&written)));
        let line = vec![b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<_>>();
        // Four times what there is room for; with a writer that waits, this never ends.
        for _ in 0..4 * BYTES_MAX / line.len() {
            log.line(line.clone());
        }
        assert!(log.waiting_bytes.load(Ordering::Relaxed) <= BYTES_MAX);
        drop(release);
        log.flush();
        let kept = written.lock().expect("sound").len();
        assert!((BYTES_MAX / 2..=2 * BYTES_MAX).contains(&kept) && kept % line.len() == 0, "{kept}");
        log.line(b"after\n".to_vec());
        log.flush();
        assert!(written.lock().expect("sound").ends_with(b"after\n"), "what comes later is written again");
    }

    #[test]
    fn a_closed_output_ends_nothing() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let log = Lossy::into(Closed);
        for _ in 0..3 {
            log.line(b"line\n".to_vec());
            log.flush();
        }
        assert_eq!(log.waiting_bytes.load(Ordering::Relaxed), 0);
    }
}
