//! Rows as an aligned table.

use std::io::Write;

/// Prints rows under their names, numbers of rows below. A closed pipe ends the printing in silence.
pub(super) fn print_table(names: &[String], rows: &[Vec<Option<String>>]) {
    let mut widths: Vec<usize> = names.iter().map(|name| name.chars().count()).collect();
    for row in rows {
        for (width, value) in widths.iter_mut().zip(row) {
            *width = (*width).max(value.as_ref().map_or(0, |value| value.chars().count()));
        }
    }
    let line = |values: Vec<&str>| {
        let cells: Vec<String> =
            values.iter().zip(&widths).map(|(value, &width)| format!(" {value:width$} ")).collect();
        cells.join("|").trim_end().to_owned()
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let mut out = std::io::stdout().lock();
    let mut print = |text: String| writeln!(out, "{text}").is_ok();
    if !print(line(names.iter().map(String::as_str).collect())) || !print(rule.join("+")) {
        return;
    }
    for row in rows {
        if !print(line(row.iter().map(|value| value.as_deref().unwrap_or("")).collect())) {
            return;
        }
    }
    print(format!("({} row{})", rows.len(), if rows.len() == 1 { "" } else { "s" }));
}
