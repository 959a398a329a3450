//! Rules with all their times divided, for a drill that cannot wait for hours: windows in brackets, and how long a
//! condition has to hold. Numbers that are compared stay as they are, and so do names: `…rate1h` is then of less than an
//! hour. Times of a second and less would see nothing of what is scraped every second.

/// Shortest window: a rate needs two values.
const WINDOW_MIN_S: u64 = 5;
const HOLD_MIN_S: u64 = 1;

pub fn faster(rules: &str, factor: u32) -> String {
    if factor <= 1 {
        return rules.to_owned();
    }
    let line = |line: &str| match line.trim().strip_prefix("for: ").and_then(seconds) {
        Some(hold) => {
            let indent = &line[..line.len() - line.trim_start().len()];
            format!("{indent}for: {}s\n", (hold / u64::from(factor)).max(HOLD_MIN_S))
        }
        None => windows(line, factor) + "\n",
    };
    rules.lines().map(line).collect()
}

fn windows(line: &str, factor: u32) -> String {
    let mut parts = line.split('[');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push('[');
        match part.split_once(']').and_then(|(window, rest)| Some((seconds(window)?, rest))) {
            Some((window, rest)) => {
                out.push_str(&format!("{}s]{rest}", (window / u64::from(factor)).max(WINDOW_MIN_S)));
            }
            None => out.push_str(part),
        }
    }
    out
}

/// `90s`, `5m`, `6h`, `3d`.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_divided_and_nothing_else_is() {
        let rules = "  - alert: A\n    expr: |\n      rate(x[1h]) > 14.4 * 0.001 and y{a=~\"[x]\"}[5m]\n    for: 2m\n";
        let expected =
            "  - alert: A\n    expr: |\n      rate(x[60s]) > 14.4 * 0.001 and y{a=~\"[x]\"}[5s]\n    for: 2s\n";
        assert_eq!(faster(rules, 60), expected);
        assert_eq!(faster(rules, 1), rules);
    }
}
