//! Latency over time as a drawing: p50 and p99 on a logarithmic scale, errors as bars below, the event between two lines.

use std::fmt::Write as _;

use load_generator::outcome::Slice;

use super::Report;
use crate::verdict::{AFTER, DURING, seconds};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 940.0;
const TOP: f64 = 56.0;
/// Where latencies end and errors begin.
const BOTTOM: f64 = 320.0;
const ERRORS_TOP: f64 = 340.0;
const ERRORS_BOTTOM: f64 = 390.0;
/// Most labels on the axis of time.
const TICKS_MAX: u64 = 12;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#333}.t{font-size:15px;font-weight:600}\
.g{stroke:#e3e3e3}.a{stroke:#888}.e{stroke:#c77;stroke-dasharray:5 4}.l{fill:none;stroke-width:1.6}\
.p50{stroke:#4a7ab5}.p99{stroke:#d0802a}.un{stroke:#4d9a57}.err{fill:#c33}.during{fill:#fbeeee}";

/// From what is measured to where it is drawn.
struct Scale {
    end_ms: f64,
    /// Powers of ten that the latencies lie between.
    low: i32,
    high: i32,
}

impl Scale {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn of(slices: &[Slice]) -> Self {
        let values = || slices.iter().flat_map(|slice| [slice.p50_ms, slice.p99_ms]).flatten().filter(|ms| *ms > 0.0);
        let low = values().fold(f64::INFINITY, f64::min).log10().floor();
        let high = values().fold(0.0, f64::max).log10().ceil();
        let (low, high) = if low.is_finite() && high.is_finite() { (low as i32, high as i32) } else { (0, 3) };
        let end_ms = slices.last().map_or(1_000, |slice| slice.begin_ms + super::SLICE.as_millis() as u64);
        Self { end_ms: end_ms as f64, low, high: high.max(low + 1) }
    }

    fn x(&self, ms: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * ms / self.end_ms
    }

    fn y(&self, ms: f64) -> f64 {
        let share = (ms.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        BOTTOM - (BOTTOM - TOP) * share.clamp(0.0, 1.0)
    }
}

pub fn chart(report: &Report) -> String {
    let scale = Scale::of(&report.slices);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">\
         <style>{STYLE}</style><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"t\" x=\"{LEFT}\" y=\"22\">Drill {}: latency over time, {} requests a second</text>\n",
        report.drill, report.size.rate
    );
    event(&mut svg, report, &scale);
    axes(&mut svg, &scale);
    line(&mut svg, "p50", &report.slices, &scale, |slice| slice.p50_ms);
    line(&mut svg, "p99", &report.slices, &scale, |slice| slice.p99_ms);
    line(&mut svg, "un", &report.slices, &scale, |slice| slice.unharmed_p99_ms);
    errors(&mut svg, &report.slices, &scale);
    legend(&mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn event(svg: &mut String, report: &Report, scale: &Scale) {
    let at = |name| report.marks.iter().find(|phase| phase.name == name).map(|phase| seconds(phase.begin_us) * 1_000.0);
    let (Some(begin), Some(end)) = (at(DURING), at(AFTER)) else { return };
    let (begin, end) = (scale.x(begin), scale.x(end));
    let (width, height) = (end - begin, ERRORS_BOTTOM - TOP);
    let _ =
        writeln!(svg, "<rect class=\"during\" x=\"{begin:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>");
    for (x, name) in [(begin, "event begins"), (end, "healed")] {
        let _ = writeln!(
            svg,
            "<line class=\"e\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{ERRORS_BOTTOM}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{name}</text>",
            x + 4.0,
            TOP + 14.0
        );
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn axes(svg: &mut String, scale: &Scale) {
    for power in scale.low..=scale.high {
        let value = 10_f64.powi(power);
        let y = scale.y(value);
        let _ = writeln!(
            svg,
            "<line class=\"g\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value} ms</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    let end_s = (scale.end_ms / 1_000.0).floor() as u64;
    let step = end_s.div_ceil(TICKS_MAX).max(1);
    for second in (0..=end_s).step_by(usize::try_from(step).unwrap_or(1)) {
        let x = scale.x(second as f64 * 1_000.0);
        let _ =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{second}</text>", ERRORS_BOTTOM + 16.0);
    }
    let _ = writeln!(
        svg,
        "<line class=\"a\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{ERRORS_BOTTOM}\" y2=\"{ERRORS_BOTTOM}\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">seconds since the load began (a request counts when it was due)</text>",
        f64::midpoint(LEFT, RIGHT),
        ERRORS_BOTTOM + 36.0
    );
}

/// Broken where there is nothing to show.
#[allow(clippy::cast_precision_loss)]
fn line(svg: &mut String, class: &str, slices: &[Slice], scale: &Scale, of: fn(&Slice) -> Option<f64>) {
    let middle_ms = super::SLICE.as_millis() as f64 / 2.0;
    for shown in slices.split(|slice| of(slice).is_none()).filter(|shown| !shown.is_empty()) {
        let points =
            shown.iter().filter_map(|slice| Some((scale.x(slice.begin_ms as f64 + middle_ms), scale.y(of(slice)?))));
        let points: Vec<_> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(svg, "<polyline class=\"l {class}\" points=\"{}\"/>", points.join(" "));
    }
}

#[allow(clippy::cast_precision_loss)]
fn errors(svg: &mut String, slices: &[Slice], scale: &Scale) {
    let most = slices.iter().map(|slice| slice.errors).max().unwrap_or(0);
    let label = format!("errors, at most {most} in {} ms", super::SLICE.as_millis());
    let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\">{label}</text>", LEFT + 4.0, ERRORS_TOP - 4.0);
    let width = scale.x(super::SLICE.as_millis() as f64) - scale.x(0.0) - 0.5;
    for slice in slices.iter().filter(|slice| slice.errors > 0) {
        let height = ((ERRORS_BOTTOM - ERRORS_TOP) * slice.errors as f64 / most as f64).max(2.0);
        let (x, y) = (scale.x(slice.begin_ms as f64), ERRORS_BOTTOM - height);
        let _ = writeln!(
            svg,
            "<rect class=\"err\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }
}

fn legend(svg: &mut String) {
    let names = [("p50", "p50 of all"), ("p99", "p99 of all"), ("un", "p99 of customers without errors")];
    let mut x = LEFT;
    for (class, name) in names {
        let _ = writeln!(
            svg,
            "<line class=\"l {class}\" x1=\"{x}\" x2=\"{}\" y1=\"40\" y2=\"40\"/><text x=\"{}\" y=\"44\">{name}</text>",
            x + 24.0,
            x + 30.0
        );
        x += 130.0;
    }
}
