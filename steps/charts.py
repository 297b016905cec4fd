"""The figures of the report, as SVG that is the same in every run."""

import base64
import calendar
import html
import io
import itertools
from collections.abc import Iterable, Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

INK, SOFT, LINE = "#1f2933", "#65717e", "#cbd2d9"
COLORS = ("#a3adb8", "#4c86c6", "#e08a2c", "#2f8f6b", "#8b5fbf", "#c8517a")

mpl.rcParams.update(
    {
        "svg.hashsalt": "flights",  # fixes the ids inside the SVG
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": SOFT,
        "axes.edgecolor": LINE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
    }
)


def image(figure: Figure, alt: str) -> str:
    """The figure as an `<img>` that holds its own data."""
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", dpi=200, metadata={"Date": None})
    data = base64.b64encode(svg.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/svg+xml;base64,{data}">'


def palette(names: Iterable[str]) -> dict[str, str]:
    """A color for each model, the same in every figure; the first is the baseline's grey."""
    return dict(zip(names, itertools.cycle(COLORS), strict=False))


def errors(scores: Mapping[str, Mapping[str, float]], colors: Mapping[str, str]) -> Figure:
    """Both errors of each model as bars; shorter is better."""
    figure = Figure(figsize=(9, 0.9 + 0.42 * len(scores)))
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"mae": "Mean absolute error, minutes", "rmse": "Root mean squared error, minutes"}
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        widths = [values[key] for values in scores.values()]
        bars = axes.barh(list(scores), widths, height=0.62, color=[colors[name] for name in scores])
        axes.bar_label(bars, fmt="%.1f", padding=4, color=INK)
        axes.set(title=title, xticks=[])
        axes.margins(x=0.12)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0)
    panels[0].invert_yaxis()
    return figure


def accuracy(predictions: pd.DataFrame, best: str, colors: Mapping[str, str]) -> Figure:
    """Every flight of the best model, and what became of the predictions of each model on average."""
    figure = Figure(figsize=(9, 4.1))
    single, tenths = figure.subplots(1, 2, width_ratios=(1.12, 1))
    for axes in (single, tenths):
        axes.axline((0, 0), slope=1, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))

    edges = (np.arange(-25, 101, 2.5), np.arange(-70, 181, 5))
    *_, shades = single.hist2d(
        predictions[best], predictions["arr_delay"], edges, norm=LogNorm(), cmap="Blues", rasterized=True
    )
    figure.colorbar(shades, ax=single, label="flights", pad=0.02).outline.set_visible(False)
    single.set(title=f"Each flight: {best}", xlabel="predicted, minutes late", ylabel="actual, minutes late")

    for name in predictions.columns.intersection(colors).drop("baseline"):
        tenth = pd.qcut(predictions[name], 10, labels=False, duplicates="drop")
        means = predictions.groupby(tenth)[[name, "arr_delay"]].mean()
        tenths.plot(means[name], means["arr_delay"], "o-", color=colors[name], markersize=4, label=name)
    tenths.set(title="Tenths of the flights, by prediction", xlabel="predicted, mean", ylabel="actual, mean")
    tenths.legend(loc="upper left")
    return figure


def days(predictions: pd.DataFrame, best: str, colors: Mapping[str, str]) -> Figure:
    """Mean delay of every held-out day, as it was and as it was predicted."""
    daily = predictions.groupby(["month", "day"], as_index=False)[["arr_delay", best]].mean()
    figure = Figure(figsize=(9, 3))
    axes = figure.subplots()
    axes.axhline(0, color=LINE, linewidth=1)
    axes.fill_between(daily.index, daily["arr_delay"], daily[best], color=colors[best], alpha=0.15, linewidth=0)
    axes.plot(daily["arr_delay"], color=INK, linewidth=1.6, label="actual")
    axes.plot(daily[best], color=colors[best], linewidth=1.6, label=f"predicted by {best}")
    weeks = daily[daily["day"].isin((1, 8, 15, 22))]
    axes.set_xticks(weeks.index, [f"{row.day} {calendar.month_abbr[row.month]}" for row in weeks.itertuples()])
    axes.set(ylabel="mean minutes late")
    axes.margins(x=0.01)
    axes.legend(loc="upper left", ncols=2)
    return figure


def month_by_hour(flights: pd.DataFrame) -> Figure:
    """Mean delay by month and scheduled hour, over the whole year."""
    table = flights.pivot_table(values="arr_delay", index="month", columns="hour", aggfunc="mean")
    most = table.abs().max().max()
    figure = Figure(figsize=(9, 4))
    axes = figure.subplots()
    axes.pcolormesh(table, vmin=-most, vmax=most, cmap="RdBu_r", edgecolors="white", linewidth=1)
    for (row, column), minutes in np.ndenumerate(table.round()):
        if np.isfinite(minutes):
            place = {"x": column + 0.5, "y": row + 0.5, "ha": "center", "va": "center"}
            axes.text(**place, s=f"{int(minutes)}", fontsize=8, color="white" if minutes > 0.6 * most else INK)
    axes.set_xticks(np.arange(table.shape[1]) + 0.5, [f"{hour}h" for hour in table.columns])
    axes.set_yticks(np.arange(table.shape[0]) + 0.5, [calendar.month_abbr[month] for month in table.index])
    axes.set(xlabel="scheduled hour of departure")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
