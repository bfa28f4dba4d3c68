//! Renders invoices as PDF: A4 pages with embedded fonts, each line with its computation in words.
#![expect(
    clippy::float_arithmetic,
    reason = "coordinates on a page; amounts come as text"
)]

use std::sync::OnceLock;

use krilla::Document;
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point};
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, Stroke};
use krilla::surface::Surface;
use krilla::text::{Font, TextDirection};

const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const LEFT: f32 = 50.0;
const RIGHT: f32 = 545.0;
/// Lower edge of the table.
const BOTTOM: f32 = 780.0;
/// Upper edge of the table on pages after the first.
const TOP: f32 = 90.0;
/// Width of a row's computation.
const TEXT_WIDTH: f32 = 380.0;
/// Width of a row's description, left of the quantity.
const TITLE_WIDTH: f32 = 318.0;
/// Right edge of the quantities.
const QUANTITY: f32 = 385.0;
/// Right edge of the unit prices.
const UNIT_PRICE: f32 = 466.0;
/// Height of a line of notes.
const NOTE: f32 = 11.0;
const REGULAR: &[u8] = include_bytes!("../fonts/DejaVuSans.ttf");
const BOLD: &[u8] = include_bytes!("../fonts/DejaVuSans-Bold.ttf");
/// Fonts for Indian scripts, which the others lack.
const INDIAN: [&[u8]; 8] = [
    include_bytes!("../fonts/NotoSansDevanagari.ttf"),
    include_bytes!("../fonts/NotoSansBengali.ttf"),
    include_bytes!("../fonts/NotoSansGujarati.ttf"),
    include_bytes!("../fonts/NotoSansGurmukhi.ttf"),
    include_bytes!("../fonts/NotoSansKannada.ttf"),
    include_bytes!("../fonts/NotoSansMalayalam.ttf"),
    include_bytes!("../fonts/NotoSansTamil.ttf"),
    include_bytes!("../fonts/NotoSansTelugu.ttf"),
];

/// The content of an invoice, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet {
    /// Title, such as "Tax invoice".
    pub title: String,
    /// Invoice number.
    pub number: String,
    /// Sender, one line each, the name first.
    pub sender: Vec<String>,
    /// Recipient, one line each.
    pub recipient: Vec<String>,
    /// Facts such as the date: name and value.
    pub facts: Vec<(String, String)>,
    /// Invoice lines.
    pub rows: Vec<Row>,
    /// Totals: name and amount; the last one is set in bold.
    pub totals: Vec<(String, String)>,
    /// Notes below the totals.
    pub notes: Vec<String>,
}

/// A line of an invoice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Description.
    pub title: String,
    /// Computation in words.
    pub formula: String,
    /// Quantity.
    pub quantity: String,
    /// Price of one unit.
    pub unit_price: String,
    /// Amount.
    pub amount: String,
}

/// A font and its shaper.
struct Face {
    font: Font,
    shaper: rustybuzz::Face<'static>,
}

impl Face {
    fn read(bytes: &'static [u8]) -> Option<Self> {
        Some(Self {
            font: Font::new(bytes.into(), 0)?,
            shaper: rustybuzz::Face::from_slice(bytes, 0)?,
        })
    }

    fn has(&self, c: char) -> bool {
        self.shaper.glyph_index(c).is_some()
    }

    fn width(&self, text: &str, size: f32) -> f32 {
        let mut buffer = rustybuzz::UnicodeBuffer::new();
        buffer.push_str(text);
        buffer.guess_segment_properties();
        let shaped = rustybuzz::shape(&self.shaper, &[], buffer);
        let units = shaped.glyph_positions().iter().map(|it| it.x_advance);
        // Advances of glyphs fit 16 bits.
        let ems = units.map(|it| i16::try_from(it).map_or(0.0, f32::from));
        ems.sum::<f32>() * size / i16::try_from(self.shaper.units_per_em()).map_or(1.0, f32::from)
    }

    /// Wraps `text` into lines no wider than `width`, between words, or within a word that is too long.
    fn wrapped(&self, text: &str, (size, width): (f32, f32)) -> Vec<String> {
        let mut lines = vec![String::new()];
        let mut fits = |word: &str, glue: &str| {
            let Some(last) = lines.last_mut() else {
                return;
            };
            let glue = if last.is_empty() { "" } else { glue };
            let longer = format!("{last}{glue}{word}");
            if last.is_empty() || self.width(&longer, size) <= width {
                *last = longer;
            } else {
                lines.push(word.to_owned());
            }
        };
        for word in text.split_whitespace() {
            if self.width(word, size) <= width {
                fits(word, " ");
                continue;
            }
            for (place, c) in word.char_indices() {
                fits(
                    c.encode_utf8(&mut [0; 4]),
                    if place == 0 { " " } else { "" },
                );
            }
        }
        lines
    }
}

/// The faces used on invoices.
struct Faces {
    regular: Face,
    bold: Face,
    indian: Vec<Face>,
}

impl Faces {
    fn get() -> Option<&'static Self> {
        static FACES: OnceLock<Option<Faces>> = OnceLock::new();
        FACES
            .get_or_init(|| {
                Some(Self {
                    regular: Face::read(REGULAR)?,
                    bold: Face::read(BOLD)?,
                    indian: INDIAN.into_iter().map(Face::read).collect::<Option<_>>()?,
                })
            })
            .as_ref()
    }

    /// Splits `text` into runs of one face: `face`, or for characters it lacks, the first Indian face that has them.
    fn stretches<'a, 't>(&'a self, face: &'a Face, text: &'t str) -> Vec<(&'a Face, &'t str)> {
        let mut stretches: Vec<(&Face, &str)> = Vec::new();
        let mut begun = 0;
        let mut current = face;
        for (place, c) in text.char_indices() {
            // Whitespace and joiners belong to the run before them.
            if c.is_whitespace() || matches!(c, '\u{200c}' | '\u{200d}') {
                continue;
            }
            let lacking = !face.has(c);
            let other = self.indian.iter().find(|it| lacking && it.has(c));
            let next = other.unwrap_or(face);
            if !std::ptr::eq(next, current) {
                let before = text.get(begun..place).filter(|it| !it.is_empty());
                stretches.extend(before.map(|it| (current, it)));
                (begun, current) = (place, next);
            }
        }
        stretches.extend(text.get(begun..).map(|rest| (current, rest)));
        stretches
    }

    fn width(&self, face: &Face, text: &str, size: f32) -> f32 {
        let stretches = self.stretches(face, text);
        stretches
            .iter()
            .map(|(face, it)| face.width(it, size))
            .sum()
    }
}

/// A row placed on a page, with its description and computation wrapped.
#[derive(Debug, Clone, PartialEq)]
struct Set<'a> {
    y: f32,
    row: &'a Row,
    title: Vec<String>,
    formula: Vec<String>,
}

impl Set<'_> {
    /// The position after the description.
    fn title_end(&self) -> f32 {
        self.title.iter().fold(self.y - 1.0, |y, _| y + 11.0)
    }

    fn end(&self) -> f32 {
        let y = self.title_end() + 8.0;
        self.formula.iter().fold(y, |y, _| y + 10.0)
    }
}

/// The notes of a sheet, wrapped.
fn notes(sheet: &Sheet, regular: &Face) -> Vec<String> {
    let notes = sheet.notes.iter();
    notes
        .flat_map(|note| regular.wrapped(note, (8.0, RIGHT - LEFT)))
        .collect()
}

/// Distributes the rows over pages; returns them with the position of the totals on the last page.
fn pages<'a>(sheet: &'a Sheet, regular: &Face) -> (Vec<Vec<Set<'a>>>, f32) {
    let heads = sheet.recipient.len().max(sheet.facts.len());
    let mut y = (0..heads).fold(165.0, |y, _| y + 13.0);
    let mut pages = vec![Vec::new()];
    for row in &sheet.rows {
        let mut set = Set {
            y,
            row,
            title: regular.wrapped(&row.title, (9.0, TITLE_WIDTH)),
            formula: regular.wrapped(&row.formula, (7.5, TEXT_WIDTH)),
        };
        if BOTTOM < set.end() {
            pages.push(Vec::new());
            set.y = TOP;
        }
        y = set.end();
        if let Some(page) = pages.last_mut() {
            page.push(set);
        }
    }
    let sums = sheet.totals.iter().fold(12.0, |height, _| height + 15.0);
    let notes = notes(sheet, regular);
    let below = notes.iter().fold(sums + 10.0, |height, _| height + NOTE);
    if BOTTOM < y + below {
        pages.push(Vec::new());
        y = TOP;
    }
    (pages, y)
}

/// Renders the invoice as a PDF; `None` if a font or page can't be built, which is a bug.
pub fn render(sheet: &Sheet) -> Option<Vec<u8>> {
    let faces = Faces::get()?;
    let (pages, totals_y) = pages(sheet, &faces.regular);
    let count = pages.len();
    let mut document = Document::new();
    document.set_metadata(
        Metadata::new()
            .title(format!("{} {}", sheet.title, sheet.number))
            .language("en".to_owned()),
    );
    for (rows, number) in pages.iter().zip(1..) {
        let mut page = document.start_page_with(PageSettings::from_wh(WIDTH, HEIGHT)?);
        draw_page(
            page.surface(),
            ((number, count), rows, totals_y),
            sheet,
            faces,
        );
        page.finish();
    }
    document.finish().ok()
}

/// Draws one page with its rows; the last page also has the totals.
fn draw_page(
    surface: Surface<'_>,
    ((number, count), rows, totals_y): ((usize, usize), &[Set<'_>], f32),
    sheet: &Sheet,
    faces: &Faces,
) {
    let mut pen = Pen { surface, faces };
    if number == 1 {
        pen.head(sheet);
    } else {
        pen.left((LEFT, 50.0), 9.0, &sheet.number);
    }
    if let Some(first) = rows.first() {
        pen.strong((LEFT, first.y - 8.0), 8.5, "Description");
        pen.right((QUANTITY, first.y - 8.0), 8.5, "Quantity");
        pen.right((UNIT_PRICE, first.y - 8.0), 8.5, "Unit price");
        pen.right((RIGHT, first.y - 8.0), 8.5, "Amount");
        pen.rule(first.y - 3.0);
    }
    for set in rows {
        pen.row(set);
    }
    if number == count {
        pen.totals(sheet, totals_y);
    }
    let footer = format!("{}   Page {number} of {count}", sheet.number);
    pen.right((RIGHT, 815.0), 7.5, &footer);
    pen.surface.finish();
}

/// Draws on a page.
struct Pen<'a, 's> {
    surface: Surface<'s>,
    faces: &'a Faces,
}

impl Pen<'_, '_> {
    fn text(&mut self, face: &Face, (mut x, y): (f32, f32), size: f32, text: &str) {
        for (face, stretch) in self.faces.stretches(face, text) {
            let (at, font) = (Point::from_xy(x, y), face.font.clone());
            let direction = TextDirection::Auto;
            self.surface
                .draw_text(at, font, size, stretch, false, direction);
            x += face.width(stretch, size);
        }
    }

    fn left(&mut self, at: (f32, f32), size: f32, text: &str) {
        self.text(&self.faces.regular, at, size, text);
    }

    fn strong(&mut self, at: (f32, f32), size: f32, text: &str) {
        self.text(&self.faces.bold, at, size, text);
    }

    fn right(&mut self, (x, y): (f32, f32), size: f32, text: &str) {
        let regular = &self.faces.regular;
        let width = self.faces.width(regular, text, size);
        self.text(regular, (x - width, y), size, text);
    }

    fn grey(&mut self, on: bool) {
        let level = if on { 95 } else { 0 };
        self.surface.set_fill(Some(Fill {
            paint: rgb::Color::new(level, level, level).into(),
            ..Fill::default()
        }));
    }

    fn rule(&mut self, y: f32) {
        let mut path = PathBuilder::new();
        path.move_to(LEFT, y);
        path.line_to(RIGHT, y);
        if let Some(path) = path.finish() {
            self.surface.set_stroke(Some(Stroke {
                width: 0.6,
                opacity: NormalizedF32::ONE,
                ..Stroke::default()
            }));
            self.surface.draw_path(&path);
            self.surface.set_stroke(None);
        }
    }

    fn head(&mut self, sheet: &Sheet) {
        self.strong((LEFT, 70.0), 22.0, &sheet.title);
        self.left((LEFT, 88.0), 10.0, &sheet.number);
        let mut y = 62.0;
        for (line, place) in sheet.sender.iter().zip(0..) {
            let size = if place == 0 { 10.0 } else { 8.5 };
            self.right((RIGHT, y), size, line);
            y += 13.0;
        }
        let mut y = 130.0;
        for line in &sheet.recipient {
            self.left((LEFT, y), 9.5, line);
            y += 13.0;
        }
        let mut y = 130.0;
        for (name, value) in &sheet.facts {
            self.grey(true);
            self.left((320.0, y), 8.5, name);
            self.grey(false);
            self.right((RIGHT, y), 8.5, value);
            y += 13.0;
        }
    }

    fn row(&mut self, set: &Set<'_>) {
        let mut y = set.y + 10.0;
        for line in &set.title {
            self.left((LEFT, y), 9.0, line);
            y += 11.0;
        }
        let y = set.y + 10.0;
        self.right((QUANTITY, y), 9.0, &set.row.quantity);
        self.right((UNIT_PRICE, y), 9.0, &set.row.unit_price);
        self.right((RIGHT, y), 9.0, &set.row.amount);
        self.grey(true);
        let mut y = set.title_end() + 11.0;
        for line in &set.formula {
            self.left((LEFT, y), 7.5, line);
            y += 10.0;
        }
        self.grey(false);
    }

    fn totals(&mut self, sheet: &Sheet, y: f32) {
        let last = sheet.totals.len();
        let mut y = y + 8.0;
        self.rule(y);
        y += 14.0;
        for ((name, sum), place) in sheet.totals.iter().zip(1..) {
            if place == last {
                let width = self.faces.width(&self.faces.bold, sum, 10.5);
                self.strong((350.0, y), 10.5, name);
                self.strong((RIGHT - width, y), 10.5, sum);
            } else {
                self.left((350.0, y), 9.0, name);
                self.right((RIGHT, y), 9.0, sum);
            }
            y += 15.0;
        }
        y += 10.0;
        for line in notes(sheet, &self.faces.regular) {
            self.left((LEFT, y), 8.0, &line);
            y += NOTE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(rows: usize) -> Sheet {
        Sheet {
            title: "Tax invoice".to_owned(),
            number: "IN-26-00000042".to_owned(),
            recipient: vec!["Łukasz Żółć GmbH".to_owned(), "Köln".to_owned()],
            rows: vec![
                Row {
                    title: "Support plan Business, 15 to 30 April 2026, 16 of 30 days".to_owned(),
                    formula: "6% of usage, at least 1500.00 on usage of 40000.00 = 2400.00; 2400.00 × 16/30 days = 1280.00".to_owned(),
                    quantity: "1".to_owned(),
                    unit_price: "₹99.00".to_owned(),
                    amount: "₹12,34,567.50".to_owned(),
                };
                rows
            ],
            totals: vec![("Total".to_owned(), "€5.00".to_owned())],
            ..Sheet::default()
        }
    }

    #[test]
    fn every_row_stands_on_one_page_and_none_runs_off_it() {
        let regular = &Faces::get().unwrap().regular;
        for rows in [0, 1, 12, 13, 14, 15, 100] {
            let sheet = sheet(rows);
            let (pages, totals_y) = pages(&sheet, regular);
            assert_eq!(pages.iter().map(Vec::len).sum::<usize>(), rows);
            for set in pages.iter().flatten() {
                assert!(TOP <= set.y && set.end() <= BOTTOM, "{rows}: {}", set.y);
            }
            assert!(totals_y + 27.0 <= BOTTOM, "{rows} rows");
            let pdf = render(&sheet).unwrap();
            assert!(pdf.starts_with(b"%PDF-"), "{rows} rows");
        }
        assert!(1 < pages(&sheet(100), regular).0.len());
    }

    #[test]
    fn what_is_drawn_says_what_the_invoice_says() {
        let sheet = Sheet {
            sender: vec!["Perdiem India Pvt. Ltd.".to_owned()],
            recipient: vec!["Łukasz Żółć GmbH".to_owned(), "कमल".to_owned()],
            facts: vec![("Due".to_owned(), "31 May 2026".to_owned())],
            notes: vec!["Rupees five only".to_owned()],
            ..sheet(40)
        };
        let pages = pdf_extract::extract_text_from_mem_by_pages(&render(&sheet).unwrap()).unwrap();
        let [first, last] = pages.as_slice() else {
            panic!("{} pages", pages.len());
        };
        for said in [
            "Tax invoice",
            "IN-26-00000042",
            "Perdiem India Pvt. Ltd.",
            "Łukasz Żółć GmbH",
            "कमल",
            "31 May 2026",
            "Support plan Business, 15 to 30 April 2026, 16 of 30 days",
            "Quantity",
            "Unit price",
            "₹99.00",
            "2400.00 × 16/30 days = 1280.00",
            "₹12,34,567.50",
            "Page 1 of 2",
        ] {
            assert!(first.contains(said), "{said}: {first}");
        }
        assert!(last.contains("Total") && last.contains("€5.00"), "{last}");
        assert!(last.contains("Rupees five only"), "{last}");
        assert!(!first.contains("€5.00"), "the totals are on the last page");
        let rows = pages.iter().map(|it| it.matches("₹12,34,567.50").count());
        assert_eq!(rows.sum::<usize>(), 40);
    }

    #[test]
    fn the_fonts_have_every_sign_that_sums_and_formulas_use() {
        let faces = Faces::get().unwrap();
        for sign in "₹€£¥$×≤0123456789.,-%".chars() {
            assert!(faces.regular.has(sign), "{sign}");
            assert!(faces.bold.has(sign), "{sign}");
        }
    }

    #[test]
    fn names_in_the_scripts_of_india_are_set_in_a_face_that_has_them() {
        let faces = Faces::get().unwrap();
        for name in [
            "अशोक ट्रेडर्स",
            "কলকাতা",
            "ગુજરાત",
            "ਪੰਜਾਬ",
            "ಬೆಂಗಳೂರು",
            "കൊച്ചി",
            "சென்னை",
            "హైదరాబాద్",
        ] {
            let text = format!("{name} Pvt. Ltd.");
            let stretches = faces.stretches(&faces.regular, &text);
            let [(own, first), (other, rest)] = stretches.as_slice() else {
                panic!("{name}: {} stretches", stretches.len());
            };
            assert_eq!((first.trim_end(), *rest), (name, "Pvt. Ltd."));
            let regular: &Face = &faces.regular;
            assert!(std::ptr::eq(*other, regular));
            assert!(first.chars().all(|c| own.has(c)), "{name}");
        }
        // Joined letters form one glyph.
        let hindi = &faces.indian[0];
        assert!(hindi.width("क्ष", 10.0) < hindi.width("क", 10.0) + hindi.width("ष", 10.0));
    }

    #[test]
    fn a_text_is_cut_between_words_and_a_long_word_within() {
        let regular = &Faces::get().unwrap().regular;
        for text in ["a few words that need two lines or three", &"x".repeat(300)] {
            let lines = regular.wrapped(text, (9.0, 100.0));
            assert!(1 < lines.len());
            for line in &lines {
                assert!(regular.width(line, 9.0) <= 100.0, "{line}");
            }
            let glue = if text.contains(' ') { " " } else { "" };
            assert_eq!(lines.join(glue), text);
        }
    }
}
