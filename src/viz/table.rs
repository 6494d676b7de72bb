//! How does a table look on a terminal?
//!
//! Columns as wide as their widest cell, counted in characters.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A layout that rows are put into.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    pub columns: &'a [(&'a str, Align)],
    /// Between two columns.
    pub gap: &'a str,
    /// Whether the gap also follows the last column.
    pub gap_at_end: bool,
}

impl Table<'_> {
    /// Header and rows, a line each. Rows have a cell for every column, whose text may be anybody's.
    pub fn print(&self, rows: &[Vec<String>]) -> String {
        let header: Vec<String> = self.columns.iter().map(|(name, _)| name.to_string()).collect();
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
        let lines = || std::iter::once(&header).chain(&rows);
        let width = |column: usize| lines().filter_map(|line| Some(line.get(column)?.chars().count())).max();
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for line in lines() {
            let cells = line.iter().zip(self.columns).zip(&widths);
            let cells: Vec<String> = cells
                .map(|((cell, (_, align)), width)| match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                })
                .collect();
            text.push_str(&cells.join(self.gap));
            text.push_str(if self.gap_at_end { self.gap } else { "" });
            text.push('\n');
        }
        text
    }
}

/// Text from elsewhere, fit for a terminal.
pub fn printable(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_says_moves_no_cursor() {
        let table = Table { columns: &[("NAME", Align::Left)], gap: " ", gap_at_end: false };
        let printed = table.print(&[vec!["ea\u{1b}[2Jst\n".to_owned()]]);
        assert_eq!(printed.lines().nth(1), Some("ea\\u{1b}[2Jst\\n"));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let columns = [("NAME", Align::Left), ("N", Align::Right)];
        let rows = [vec!["ä".to_string(), "100".to_string()], vec!["longer".to_string(), "1".to_string()]];
        let table = Table { columns: &columns, gap: "  ", gap_at_end: true };
        assert_eq!(table.print(&rows), "NAME      N  \nä       100  \nlonger    1  \n");
        let table = Table { gap: "   ", gap_at_end: false, ..table };
        assert_eq!(table.print(&[]), "NAME   N\n");
    }
}
