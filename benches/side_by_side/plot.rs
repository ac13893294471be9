//! Plots for the documents, as SVG: medians, with their intervals as lines through them.

use ebmirror::model::{Code, Error, Result};
use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Circle, DrawingArea, IntoDrawingArea, IntoSegmentedCoord, LineSeries, PathElement, RGBColor,
    Rectangle, SVGBackend, SegmentValue, SeriesLabelPosition,
};
use plotters::style::{BLACK, Color, WHITE};

use super::statistics::Estimate;

const SIZE: (u32, u32) = (860, 460);
const FONT: &str = "sans-serif";
/// Okabe and Ito's: people of all kinds of sight tell them apart.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// A file to be.
pub struct Plot {
    /// Without its suffix.
    pub name: &'static str,
    pub svg: String,
}

/// What is compared: its name, and a value for each label of the x axis.
pub type Named = (String, Vec<Option<Estimate>>);

/// How it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The labels are steps of one quantity.
    Lines,
    /// They are different things.
    Bars,
}

/// Draws a plot. Values that are missing are left out.
pub fn draw(
    name: &'static str,
    style: Style,
    title: &str,
    axes: [&str; 2],
    labels: &[String],
    series: &[Named],
) -> Result<Plot> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let drawn = fill(&area, style, title, axes, labels, series);
    drop(area);
    match drawn {
        Ok(()) => Ok(Plot { name, svg }),
        Err(error) => Err(Error::new(Code::Failed, format!("draw {name}.svg: {error}"))),
    }
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn fill(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    style: Style,
    title: &str,
    axes: [&str; 2],
    labels: &[String],
    series: &[Named],
) -> Drawn {
    area.fill(&WHITE)?;
    let all = || series.iter().flat_map(|(_, values)| values.iter().flatten());
    // Bars stand everywhere: the names are written above them.
    let room = if style == Style::Bars { 1.5 } else { 1.15 };
    let top = all().map(|value| value.high).fold(1.0, f64::max) * room;
    let bottom = all().map(|value| value.low).fold(0.0, f64::min) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d((0..labels.len().saturating_sub(1)).into_segmented(), bottom..top)?
        // The segments are for the labels; what is drawn needs places between them.
        .set_secondary_coord(0.0..labels.len() as f64, bottom..top);
    let label = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(place) => labels.get(*place).cloned().unwrap_or_default(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc(axes[0])
        .y_desc(axes[1])
        .x_labels(labels.len())
        .x_label_formatter(&label)
        .y_label_formatter(&|value| format!("{value:.0}"))
        .label_style((FONT, 13))
        .draw()?;
    let measured = |(_, values): &&Named| values.iter().any(Option::is_some);
    for (number, (name, values)) in series.iter().filter(measured).enumerate() {
        let color = COLORS[number % COLORS.len()];
        let width = 0.8 / series.iter().filter(measured).count() as f64;
        let shift = match style {
            Style::Lines => 0.5,
            Style::Bars => 0.1 + (number as f64 + 0.5) * width,
        };
        let at = |place: usize| place as f64 + shift;
        let found = || values.iter().enumerate().filter_map(|(place, value)| Some((at(place), (*value)?)));
        let legend = move |(x, y): (i32, i32)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled());
        match style {
            Style::Lines => {
                let points = found().map(|(x, value)| (x, value.median));
                chart.draw_secondary_series(LineSeries::new(points, color.stroke_width(2)))?.label(name).legend(legend);
                chart.draw_secondary_series(
                    found().map(|(x, value)| Circle::new((x, value.median), 3, color.filled())),
                )?;
            }
            Style::Bars => {
                let half = width * 0.45;
                let bar = |(x, value): (f64, Estimate)| {
                    Rectangle::new([(x - half, 0.0), (x + half, value.median)], color.filled())
                };
                chart.draw_secondary_series(found().map(bar))?.label(name).legend(legend);
            }
        }
        let interval = |(x, value): (f64, Estimate)| PathElement::new([(x, value.low), (x, value.high)], BLACK);
        chart.draw_secondary_series(found().map(interval))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()?;
    area.present()?;
    Ok(())
}
