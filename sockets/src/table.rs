//! Tables for people, and the same as JSON.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// In columns, with a heading.
    Table,
    /// As one JSON object a line.
    Json,
}

/// What is in a place of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Nothing is known: a dash, or null.
    Unknown,
    /// A text, which may be a peer's.
    Text(String),
    /// The first for people, who have little room; the other for programs.
    Short(String, String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// In milliseconds.
    Time(Duration),
    /// Bytes, for people in kB, MB and so on.
    Bytes(u64),
    /// Bytes a second, alike.
    Rate(u64),
    /// Parts of a million, told in percent.
    Share(u32),
}

impl Cell {
    /// A text.
    pub fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    /// What there may be.
    pub fn maybe<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Unknown, cell)
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Short(..))
    }

    fn plain(&self) -> String {
        match self {
            Self::Unknown => "-".into(),
            Self::Text(text) | Self::Short(text, _) => escape(text),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => if *flag { "yes" } else { "no" }.into(),
            Self::Time(time) => format!("{} ms", Millis(*time)),
            Self::Bytes(bytes) => amount(*bytes),
            Self::Rate(bytes) => amount(*bytes) + "/s",
            Self::Share(parts) => format!("{}.{} %", parts / 10_000, parts / 1000 % 10),
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Unknown => "null".into(),
            Self::Text(text) | Self::Short(_, text) => json_string(text),
            Self::Number(number) | Self::Bytes(number) | Self::Rate(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Time(time) => Millis(*time).to_string(),
            Self::Share(parts) => format!("{}.{:04}", parts / 10_000, parts % 10_000),
        }
    }
}

/// A column: what is above it, and its name in JSON. What has no heading is for programs only.
pub type Column = (&'static str, &'static str);

/// Rows of as many cells as there are columns.
#[derive(Debug)]
pub struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// One without rows.
    #[must_use]
    pub const fn new(columns: &'static [Column]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All of it. A table that is empty has no heading, either.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Json => self.rows.iter().map(|row| object(self.columns, row) + "\n").collect(),
            Format::Table if self.is_empty() => String::new(),
            Format::Table => self.lines(),
        }
    }

    fn lines(&self) -> String {
        let shown = |index: &usize| !self.columns[*index].0.is_empty();
        let shown: Vec<usize> = (0..self.columns.len()).filter(shown).collect();
        let heading = shown.iter().map(|index| self.columns[*index].0.to_owned()).collect();
        let mut lines: Vec<Vec<String>> = vec![heading];
        lines.extend(self.rows.iter().map(|row| shown.iter().map(|index| row[*index].plain()).collect()));
        let width = |place: usize| lines.iter().map(|line: &Vec<String>| line[place].chars().count()).max();
        let widths: Vec<usize> = (0..shown.len()).map(|place| width(place).unwrap_or(0)).collect();
        let left: Vec<bool> =
            shown.iter().map(|index| self.rows.iter().any(|row| row[*index].is_text())).collect();
        let mut text = String::new();
        for line in &lines {
            let mut row = String::new();
            for ((cell, width), left) in line.iter().zip(&widths).zip(&left) {
                let gap = " ".repeat(width - cell.chars().count());
                let (before, after) = if *left { ("", &*gap) } else { (&*gap, "") };
                row.extend([before, cell, after, "  "]);
            }
            text.extend([row.trim_end(), "\n"]);
        }
        text
    }
}

/// One JSON object, without the end of its line.
#[must_use]
pub fn object(columns: &[Column], row: &[Cell]) -> String {
    let fields = columns.iter().zip(row).map(|((_, name), cell)| format!("\"{name}\":{}", cell.json()));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// A duration in milliseconds, to the microsecond.
#[derive(Debug, Clone, Copy)]
pub struct Millis(pub Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_millis(), self.0.subsec_micros() % 1000)
    }
}

/// `text` with its control characters escaped: a terminal would obey them.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control()
            || matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// A JSON string, in ASCII only, so that nothing in it steers a terminal.
fn json_string(text: &str) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        if character.is_ascii() && !character.is_ascii_control() && !matches!(character, '"' | '\\') {
            json.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(json, "\\u{unit:04x}");
        }
    }
    json.push('"');
    json
}

/// Bytes in the unit that gives one to three digits before the point.
fn amount(bytes: u64) -> String {
    let mut unit = 1_u128;
    for name in ["B", "kB", "MB", "GB", "TB"] {
        let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
        if unit == 1 && bytes < 1000 {
            return format!("{bytes} {name}");
        } else if unit > 1 && (tenths < 10_000 || name == "TB") {
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        unit *= 1000;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        const COLUMNS: &[Column] = &[("NAME", "name"), ("SENT", "sent"), ("", "hidden"), ("X", "x")];
        let mut table = Table::new(COLUMNS);
        assert_eq!(table.render(Format::Table), "");
        let row =
            |name: &str, sent| vec![Cell::text(name), Cell::Bytes(sent), Cell::Number(7), Cell::Unknown];
        table.push(row("a\n", 5));
        table.push(row("a longer name", 1_200_000));
        let expected = "\
            NAME             SENT  X\n\
            a\\n               5 B  -\n\
            a longer name  1.2 MB  -\n";
        assert_eq!(table.render(Format::Table), expected);
        let expected = "\
            {\"name\":\"a\\u000a\",\"sent\":5,\"hidden\":7,\"x\":null}\n\
            {\"name\":\"a longer name\",\"sent\":1200000,\"hidden\":7,\"x\":null}\n";
        assert_eq!(table.render(Format::Json), expected);
        assert_eq!((table.len(), table.is_empty()), (2, false));
    }

    #[test]
    fn values_are_rounded_for_people_only() {
        let both = |cell: Cell| (cell.plain(), cell.json());
        let pair = |plain: &str, json: &str| (plain.to_owned(), json.to_owned());
        assert_eq!(both(Cell::Time(Duration::from_micros(1_002_003))), pair("1002.003 ms", "1002.003"));
        assert_eq!(both(Cell::Share(104_999)), pair("10.4 %", "10.4999"));
        assert_eq!(both(Cell::Rate(1500)), pair("1.5 kB/s", "1500"));
        assert_eq!(both(Cell::Flag(true)), pair("yes", "true"));
        assert_eq!(both(Cell::Short("a".into(), "abc".into())), pair("a", "\"abc\""));
        let amounts = [0, 999, 1000, 999_949, 999_950, 1_000_000, u64::MAX].map(amount);
        assert_eq!(amounts, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.0 MB", "18446744.1 TB"]);
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(escape("a\x1b[2J\u{9b}b\nc\u{202e}"), "a\\u{1b}[2J\\u{9b}b\\nc\\u{202e}");
        assert_eq!(escape("é '日'"), "é '日'");
        assert_eq!(json_string("a\"\\\u{202e}\u{1f600}"), r#""a\u0022\u005c\u202e\ud83d\ude00""#);
    }
}
