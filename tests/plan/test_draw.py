"""Every format of `mlmake graph`: what it says, that its syntax holds, and that no picture draws over itself."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import combinations, pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmake.plan import layout
from mlmake.plan.draw import FORMATS, Edge, Graph, Node, as_dot, as_mermaid, as_svg, as_text

SVG = "{http://www.w3.org/2000/svg}"
NASTY = [
    'x<y>&"z"',
    "fit[a=]]",
    "two\nlines",
    "1. list",
    "- item",
    "`md`",
    "a#35;b",
    "&lt;",
    "日本語",
    "style:a#b;",
    "\udc80",
]


def graph(*edges: str, nodes: Iterable[Node] = (), title: str = "train") -> Graph:
    """`graph("clean:table fit", "fit - report")`: data flows, and mere order."""
    found: list[Edge] = []
    for edge in edges:
        source, *order, target = edge.split()
        name, _, label = source.partition(":")
        found.append(Edge(source=name, target=target, label=label, is_order=bool(order)))
    ends = {end for edge in found for end in (edge.source, edge.target)} - {node.name for node in nodes}
    return Graph(title=title, nodes=(*nodes, *(Node(name=end) for end in ends)), edges=tuple(found))


def expanded(folds: int) -> Graph:
    """A pipeline with its matrix written out, and an edge that skips a layer for every fold."""
    edges = [f"clean[{i}]:table fit[{i}]" for i in range(folds)] + [f"ingest:x clean[{i}]" for i in range(folds)]
    edges += [f"ingest:y fit[{i}]" for i in range(folds)] + [f"fit[{i}]:model report" for i in range(folds)]
    return graph(*edges)


PIPELINE = graph(
    "data/x.csv ingest",
    "ingest:flights clean",
    "ingest:weather clean",
    "clean:table fit",
    "fit:model evaluate",
    "clean:table evaluate",
    "evaluate - score",
    "fit:model score",
    nodes=(Node(name="data/x.csv", is_data=True), Node(name="fit", note="5 steps: fold", state="stale")),
)


# --- the picture ----------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    source: str
    target: str
    points: list[layout.Point]
    """Along the whole edge, close together."""


class Picture(NamedTuple):
    boxes: list[tuple[str, layout.Box]]
    lines: list[Line]
    page: layout.Box
    root: ET.Element


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e[+-]?\d+)?", text)]


def points(way: str) -> list[layout.Point]:
    """What a browser draws for M, L and C."""
    drawn: list[layout.Point] = []
    for kind, rest in re.findall(r"([MLC])([^MLC]*)", way):
        flat = numbers(rest)
        corners = list(zip(flat[::2], flat[1::2], strict=True))
        assert len(corners) == (3 if kind == "C" else 1)
        last = drawn[-1:]
        for step in range(1, 21) if last else (20,):
            point = [*last, *corners]
            while len(point) > 1:
                t = step / 20
                point = [(x + (u - x) * t, y + (v - y) * t) for (x, y), (u, v) in pairwise(point)]
            drawn.append(point[0])
    return drawn


def box(shape: ET.Element) -> layout.Box:
    if shape.tag == f"{SVG}rect":
        x, y, width, height = (float(shape.attrib[key]) for key in ("x", "y", "width", "height"))
    else:
        x, y, width, fold, _, height, *_ = numbers(shape.attrib["d"])
        width, height = width + fold, height + fold
    return layout.Box(x=x, y=y, width=width, height=height)


def picture(svg: str) -> Picture:
    root = ET.fromstring(svg)
    nodes = [group for group in root.iter(f"{SVG}g") if "data-name" in group.attrib]
    shapes = [next(shape for shape in group if shape.get("class") == "shape") for group in nodes]
    lines = [
        Line(path.attrib["data-source"], path.attrib["data-target"], points(path.attrib["d"]))
        for path in root.iter(f"{SVG}path")
        if "data-source" in path.attrib
    ]
    x, y, width, height = numbers(root.attrib["viewBox"])
    boxes = [(group.attrib["data-name"], box(shape)) for group, shape in zip(nodes, shapes, strict=True)]
    return Picture(boxes, lines, layout.Box(x=x, y=y, width=width, height=height), root)


def within(outer: layout.Box, x: float, y: float, slack: float = 0.0) -> bool:
    return (
        outer.x - slack <= x <= outer.x + outer.width + slack and outer.y - slack <= y <= outer.y + outer.height + slack
    )


def check(drawn: Graph) -> Picture:
    """No two boxes overlap, edges end on their boxes and touch no other, and all is on the page."""
    seen = picture(as_svg(drawn))
    boxes = dict(seen.boxes)
    assert len(boxes) == len(drawn.nodes)
    assert len(seen.lines) == len({(edge.source, edge.target) for edge in drawn.edges})
    assert not any(one.touches(other) for one, other in combinations(boxes.values(), 2))
    for each in boxes.values():
        assert within(seen.page, each.x, each.y) and within(seen.page, each.x + each.width, each.y + each.height)
    for line in seen.lines:
        for name, end in ((line.source, line.points[0]), (line.target, line.points[-1])):
            assert within(boxes[name], *end, 0.1) and not within(boxes[name], *end, -0.1), f"{line} misses {name}"
        for x, y in line.points:
            assert within(seen.page, x, y)
            assert not any(within(each, x, y, -0.5) for each in boxes.values()), f"{line} crosses a box"
    return seen


SAMPLES = {
    "nothing": graph(),
    "untitled": replace(graph(), title=""),
    "one": graph(nodes=[Node(name="only", note="python steps/only.py", state="running")]),
    "pipeline": PIPELINE,
    "diamond": graph("a b", "a c", "b d", "c d", "a d"),
    "parts": graph("a b", "a c", "d e", "f g", nodes=[Node(name="lonely")]),
    "expanded": expanded(12),
    "chain": graph(*(f"s{i}:out s{i + 1}" for i in range(30))),
    "every step reads one file": graph(*(f"s{i} s{i + 1}" for i in range(30)), *(f"config s{i}" for i in range(30))),
    "complete": graph(*(f"n{i} n{j}" for i, j in combinations(range(9), 2))),
    "nasty": Graph(
        title='a <title> & "quotes" ]]> -- \x00',
        nodes=tuple(Node(name=name, note=name, state=name) for name in NASTY),
        edges=tuple(Edge(source=one, target=other, label=one) for one, other in pairwise(NASTY)),
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_svg_draws_over_nothing(name: str) -> None:
    check(SAMPLES[name])


@pytest.mark.parametrize("state", ["fresh", "stale", "maybe", "blocked", "restorable", "failed", "running", "a&b"])
def test_every_state_can_be_drawn(state: str) -> None:
    drawn = replace(PIPELINE, nodes=tuple(replace(node, state=state) for node in PIPELINE.nodes))
    texts = [text.text for text in check(drawn).root.iter(f"{SVG}text")]
    assert texts.count(state) == len(drawn.nodes) - 1
    assert as_mermaid(drawn).count(f":::{state}") == (0 if "&" in state else len(drawn.nodes))


def test_svg_dense() -> None:
    for seed in range(8):
        chance = random.Random(seed)
        pairs = [pair for pair in combinations(range(25), 2) if chance.random() < 0.15]
        check(graph(*(f"n{i}:out n{j}" for i, j in pairs)))


def test_svg_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no bends left, long edges go beside the drawing, still around every box."""
    monkeypatch.setattr(layout, "MOST_BENDS", 0)
    for name in ("pipeline", "every step reads one file", "complete", "expanded"):
        check(SAMPLES[name])


def test_svg_stands_alone() -> None:
    svg = as_svg(PIPELINE)
    root = ET.fromstring(svg)
    assert not re.search(r"<script|<image|@import|href|url\((?!#)", svg)
    assert svg.count("http") == 1, "only the name space"
    assert "prefers-color-scheme: dark" in svg
    title, desc = (root.find(f"{SVG}{tag}") for tag in ("title", "desc"))
    assert title is not None and desc is not None and root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"].split() == [title.attrib["id"], desc.attrib["id"]]
    assert title.text == "train" and desc.text and "clean reads ingest.flights, ingest.weather." in desc.text
    ids = [each.attrib["id"] for each in root.iter() if "id" in each.attrib]
    assert not set(ids) & {each.get("id") for each in ET.fromstring(as_svg(expanded(2))).iter()}


def test_svg_names_state_and_labels() -> None:
    root = ET.fromstring(as_svg(PIPELINE))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"fit", "stale · 5 steps: fold", "data/x.csv", "table", "flights, weather"} <= set(texts)
    assert sum("order" in path.get("class", "") for path in root.iter(f"{SVG}path")) == 1


def test_svg_labels_hide_nothing() -> None:
    seen = picture(as_svg(PIPELINE))
    labels = [text for text in seen.root.iter(f"{SVG}text") if text.get("class") == "label"]
    assert len(labels) >= 5
    for label in labels:
        x, y = float(label.attrib["x"]), float(label.attrib["y"]) - 4
        assert not any(within(each, x, y) for _, each in seen.boxes)


def test_svg_shortens_what_is_very_long() -> None:
    name = "data/" + "deep/" * 60 + "table.parquet"
    seen = check(graph(f"{name} fit"))
    assert dict(seen.boxes)[name].width < 420
    assert any(text.text and text.text.endswith("ep/table.parquet") for text in seen.root.iter(f"{SVG}text"))


def test_svg_chain_is_straight() -> None:
    seen = check(graph(*(f"s{i} s{i + 1}" for i in range(20))))
    assert len({round(each.x + each.width / 2, 1) for _, each in seen.boxes}) == 1
    assert all(len(line.points) == 21 for line in seen.lines), "one straight stroke"


def test_svg_flows_right_where_that_is_narrower() -> None:
    assert check(expanded(3)).page.width < 960
    wide = check(expanded(30))
    assert wide.page.width < wide.page.height
    singles = check(graph(nodes=[Node(name=f"step {i}") for i in range(200)]))
    assert singles.page.width < 1100


def test_layout_uncrosses() -> None:
    drawn = layout.lay_out([(80.0, 36.0)] * 6, [(0, 5), (1, 4), (2, 3), (0, 4)])
    order = [box.x for box in drawn.boxes]
    for (a, b), (c, d) in combinations([(0, 5), (1, 4), (2, 3), (0, 4)], 2):
        assert (order[a] - order[c]) * (order[b] - order[d]) >= 0


# --- text -----------------------------------------------------------------------------------------------------------


def test_text() -> None:
    assert as_text(PIPELINE).splitlines() == [
        "train",
        "○ data/x.csv",
        "● ingest                            ← data/x.csv",
        "● clean                             ← ingest.flights, ingest.weather",
        "├─● fit       stale  5 steps: fold  ← clean.table",
        "● evaluate                          ← clean.table, fit.model",
        "● score                             ← fit.model, after evaluate",
    ]


def test_text_branches() -> None:
    drawn = graph("a b1", "b1 b2", "b2 b3", "a c", "c d", "c e", "a z", "b3 z", title="")
    lanes = [line.partition("←")[0].rstrip() for line in as_text(drawn).splitlines()]
    assert lanes == ["● a", "├─● b1", "│ ● b2", "│ ● b3", "├─● c", "│ ├─● d", "│ ╰─● e", "● z"]


def test_text_counts_a_family() -> None:
    lines = as_text(expanded(12)).splitlines()
    assert lines[-1].endswith("← fit.model \u00d712")
    assert [line.split()[1] for line in lines if "● clean" in line] == [f"clean[{fold}]" for fold in range(12)]
    assert as_text(expanded(2)).splitlines()[-1].endswith("← fit[0].model, fit[1].model")


def test_text_columns_line_up_for_wide_characters() -> None:
    lines = as_text(graph(nodes=[Node(name="日本", note="n"), Node(name="abcd", note="n")], title="")).splitlines()
    assert sorted(lines) == ["● abcd  n", "● 日本  n"]


# --- mermaid and dot ------------------------------------------------------------------------------------------------


def decoded(text: str) -> str:
    return re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text)


def shown(name: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def check_mermaid(drawn: Graph) -> list[str]:
    """The labels, if every line is one that Mermaid takes."""
    lines = as_mermaid(drawn).splitlines()
    if drawn.title:
        assert lines[0] == lines[2] == "---" and lines[1].startswith('title: "')
        lines = lines[3:]
    assert lines[0] in ("flowchart TD", "flowchart LR")
    safe = r"(?:[^\W]|[ \-/.,=+()·]|#\d+;)*"
    node = re.compile(rf'    n\d+(?:\("({safe})(?:<br/>{safe})?"\)|\[/"({safe})(?:<br/>{safe})?"/\])(?::::\w+)?')
    edge = re.compile(rf'    n\d+ (?:-->|-\.->)(?:\|"{safe}"\|)? n\d+')
    style = re.compile(r"    classDef \w+ fill:#\w{6},stroke:#\w{6},color:#\w{6}")
    found = [node.fullmatch(line) for line in lines]
    assert sum(bool(edge.fullmatch(line)) for line in lines) == len({(e.source, e.target) for e in drawn.edges})
    rest = [line for line, match in zip(lines[1:], found[1:], strict=True) if not match and not edge.fullmatch(line)]
    assert all(style.fullmatch(line) for line in rest), rest
    return [decoded(match[1] or match[2]) for match in found if match]


def test_mermaid() -> None:
    assert as_mermaid(graph("fit[a=1]:model report", nodes=[Node(name="report", state="stale")])) == (
        '---\ntitle: "train"\n---\nflowchart TD\n    n0("fit#91;a=1#93;")\n    n1("report<br/>stale"):::stale\n'
        '    n0 -->|"model"| n1\n    classDef stale fill:#ffe8c7,stroke:#bc4c00,color:#1f2328\n'
    )


def test_mermaid_keeps_every_name() -> None:
    assert sorted(check_mermaid(SAMPLES["nasty"])) == sorted(map(shown, NASTY))
    assert re.search(r"n\d+ -\.-> n\d+", as_mermaid(PIPELINE))


def test_dot() -> None:
    lines = as_dot(PIPELINE).splitlines()
    assert '    "ingest" -> "clean" [label="flights, weather"]' in lines
    assert '    "evaluate" -> "score" [label="", style=dashed]' in lines
    assert any('label="fit\\nstale · 5 steps: fold"' in line for line in lines)


@pytest.mark.skipif(not shutil.which("dot"), reason="needs Graphviz")
@pytest.mark.parametrize("name", SAMPLES)
def test_dot_is_understood(name: str) -> None:
    drawn = SAMPLES[name]
    run = subprocess.run(["dot", "-Tsvg"], input=as_dot(drawn).encode(), capture_output=True, check=True)
    assert not run.stderr
    groups = list(ET.fromstring(run.stdout).iter(f"{SVG}g"))
    kinds = [group.get("class") for group in groups]
    assert kinds.count("node") == len(drawn.nodes)
    assert kinds.count("edge") == len({(edge.source, edge.target) for edge in drawn.edges})
    first = [next(group.iter(f"{SVG}text")).text for group in groups if group.get("class") == "node"]
    assert sorted(filter(None, first)) == sorted(shown(node.name) for node in drawn.nodes)


# --- all ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", FORMATS.values(), ids=FORMATS)
def test_refuses_what_is_no_graph(draw: Callable[[Graph], str]) -> None:
    for edges in (["a a"], ["a b", "b a"], ["start a", "a b", "b c", "c a", "c end"]):
        with pytest.raises(ValueError, match="cycle"):
            draw(graph(*edges))
    with pytest.raises(ValueError, match="'twice'"):
        draw(graph(nodes=[Node(name="twice"), Node(name="twice")]))
    with pytest.raises(ValueError, match="'nowhere'"):
        draw(replace(graph("a b"), edges=(Edge(source="a", target="nowhere"),)))


@pytest.mark.parametrize("draw", FORMATS.values(), ids=FORMATS)
def test_large(draw: Callable[[Graph], str]) -> None:
    """Chains need no recursion, and a hub costs no bend for every step on every layer."""
    long = [f"s{i} s{i + 1}" for i in range(2000)]
    started = time.monotonic()
    for drawn in (
        graph(*long),
        graph(*long, *(f"config s{i}" for i in range(2000)), *(f"s{i} report" for i in range(2000))),
        expanded(200),
        graph(nodes=[Node(name=str(i)) for i in range(500)]),
    ):
        assert draw(drawn)
    assert time.monotonic() - started < 30, "seconds on any machine, not minutes"


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    text = st.text(alphabet="ab[]{}()=\"'<>&|#;:`-.\n\t\x00é日\ud800 ", min_size=1, max_size=9)
    names = draw(st.lists(text, unique=True, max_size=12))
    bits = draw(st.lists(st.integers(0, 7), min_size=len(names) ** 2, max_size=len(names) ** 2))
    pairs = [pair for pair, bit in zip(combinations(names, 2), bits, strict=False) if bit < 2]
    state = st.sampled_from(["", "fresh", "stale", "odd"])
    return Graph(
        title=draw(st.sampled_from(["", "train", 'a "b" <c>\n'])),
        nodes=tuple(Node(name=n, note=draw(text), state=draw(state), is_data=draw(st.booleans())) for n in names),
        edges=tuple(Edge(source=a, target=b, label=draw(text), is_order=draw(st.booleans())) for a, b in pairs),
    )


@settings(max_examples=30, deadline=None)
@given(drawn=graphs(), seed=st.integers(0, 9))
def test_any_graph(drawn: Graph, seed: int) -> None:
    check(drawn)
    assert sorted(check_mermaid(drawn)) == sorted(shown(node.name) for node in drawn.nodes)
    assert len(as_text(drawn).split("\n")) == len(drawn.nodes) + bool(drawn.title) + 1
    shuffle = random.Random(seed).sample
    mixed = replace(
        drawn, nodes=tuple(shuffle(drawn.nodes, len(drawn.nodes))), edges=tuple(shuffle(drawn.edges, len(drawn.edges)))
    )
    assert all(draw(mixed) == draw(drawn) for draw in FORMATS.values())


@settings(max_examples=60, deadline=None)
@given(pairs=st.sets(st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(lambda pair: pair[0] < pair[1])))
def test_text_lists_each_node_after_all_it_reads(pairs: set[tuple[int, int]]) -> None:
    drawn = graph(*(f"n{i} n{j}" for i, j in pairs), title="")
    listed = [line.split("●")[1].split()[0] for line in as_text(drawn).splitlines()]
    assert sorted(listed) == sorted(node.name for node in drawn.nodes)
    assert all(listed.index(edge.source) < listed.index(edge.target) for edge in drawn.edges)
