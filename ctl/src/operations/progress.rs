//! How far an operation has come: one line that is rewritten on a terminal, JSON lines elsewhere. Always on stderr:
//! stdout is for the result.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use control_api::OperationView;

const BAR_WIDTH: usize = 24;
const MEGABYTE: f64 = 1_000_000.0;

pub struct Shown {
    on_terminal: bool,
    began: Instant,
    first: OperationView,
    last: Option<OperationView>,
}

impl Shown {
    pub fn new(for_people: bool, first: OperationView) -> Self {
        let on_terminal = for_people && std::io::stderr().is_terminal();
        Self { on_terminal, began: Instant::now(), first, last: None }
    }

    pub fn update(&mut self, view: &OperationView) {
        if self.on_terminal {
            eprint!("\r\x1b[K{}", line(&self.first, view, self.began.elapsed()));
            let _ = std::io::stderr().flush();
        } else if self.last.as_ref() != Some(view) {
            eprintln!("{}", json(view));
        }
        self.last = Some(view.clone());
    }

    /// Leaves the line to the next output.
    pub fn end(&self) {
        if self.on_terminal && self.last.is_some() {
            eprintln!();
        }
    }
}

fn json(view: &OperationView) -> String {
    let mut progress = serde_json::to_value(&view.progress).expect("plain data");
    progress["id"] = view.id.to_string().into();
    progress["state"] = view.state.as_str().into();
    progress["steps"] = view.steps.into();
    if let Some(error) = &view.last_error {
        progress["lastError"] = error.as_str().into();
    }
    progress.to_string()
}

/// Of the whole: by wallets where they were counted, else by steps.
fn fraction(view: &OperationView) -> f64 {
    let part = |done: u64, all: u64| if all == 0 { 0.0 } else { (done as f64 / all as f64).min(1.0) };
    let steps = part(view.progress.steps_done, view.steps);
    view.wallets_planned.map_or(steps, |planned| part(view.progress.wallets, planned).max(steps))
}

fn line(first: &OperationView, view: &OperationView, elapsed: Duration) -> String {
    let done = fraction(view);
    let filled = (done * BAR_WIDTH as f64) as usize;
    let seconds = elapsed.as_secs_f64().max(0.001);
    let wallets = view.progress.wallets.saturating_sub(first.progress.wallets) as f64 / seconds;
    let megabytes = view.progress.bytes.saturating_sub(first.progress.bytes) as f64 / seconds / MEGABYTE;
    let gained = done - fraction(first);
    let left = if gained > 0.0 { clock(seconds * (1.0 - done) / gained) } else { "--:--".to_owned() };
    let cutover = view.progress.longest_cutover_micros as f64 / 1_000.0;
    let mut text = format!(
        "{} {} [{}{}] {:3.0} %  {} wallets  {wallets:.0}/s  {megabytes:.1} MB/s  ETA {left}  longest cutover {cutover:.1} ms",
        view.id,
        view.state.as_str(),
        "#".repeat(filled),
        "-".repeat(BAR_WIDTH - filled),
        done * 100.0,
        view.progress.wallets,
    );
    if let Some(error) = &view.last_error {
        text.push_str(&format!("  ! {error}"));
    }
    text
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.min(359_999.0) as u64;
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::operations::tests::view;

    #[test]
    fn the_line_shows_rates_and_what_is_left() {
        let (mut first, mut now) = (view(), view());
        (first.progress.wallets, first.progress.bytes, first.progress.steps_done) = (0, 0, 0);
        now.progress.wallets = 500;
        let golden = "op-3 running [############------------]  50 %  500 wallets  50/s  0.2 MB/s  ETA 00:10  \
                      longest cutover 4.2 ms";
        assert_eq!(line(&first, &now, Duration::from_secs(10)), golden);
        now.last_error = Some("the database of cell-1 does not answer".into());
        assert!(line(&first, &now, Duration::ZERO).ends_with("! the database of cell-1 does not answer"));
        let json: serde_json::Value = serde_json::from_str(&json(&now)).expect("JSON");
        assert_eq!((json["id"].as_str(), json["wallets"].as_u64()), (Some("op-3"), Some(500)));
    }
}
