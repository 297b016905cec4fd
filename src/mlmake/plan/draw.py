"""A graph of steps as text, Mermaid, Graphviz dot or SVG; pure functions, no other program needed.

Nodes stand in one order, by depth and then by name (`fold=2` before `fold=10`), so that a graph gives the same
bytes however it was listed. ValueError if it cannot be drawn: a cycle, a name given twice, an edge to nowhere.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise
from math import ceil
from zlib import crc32

from mlmake.plan import layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A step, a folded family of steps, or a source file; `name` is unique, the rest is shown beside it."""

    name: str
    label: str = ""
    note: str = ""
    state: str = ""
    is_data: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """`target` reads `label` of `source`, or merely comes after it."""

    source: str
    target: str
    label: str = ""
    is_order: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """What is drawn; the order of nodes and edges does not matter."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


_Look = tuple[str, str, str, str]  # fill and line on a light page, fill and line on a dark one
_PLAIN: _Look = ("#f6f8fa", "#8c959f", "#161b22", "#6e7681")
_LOOKS: Mapping[str, _Look] = {
    "fresh": ("#dafbe1", "#2da44e", "#12301d", "#3fb950"),
    "stale": ("#ffe8c7", "#bc4c00", "#3d2310", "#db6d28"),
    "maybe": ("#fff8c5", "#9a6700", "#2e2a10", "#bb8009"),
    "blocked": ("#e6e9ed", "#59636e", "#2a3038", "#8b949e"),
    "restorable": ("#ddf4ff", "#0969da", "#0f2a4a", "#4493f8"),
    "failed": ("#ffebe9", "#cf222e", "#3c1618", "#f85149"),
    "running": ("#f4e8ff", "#8250df", "#2a1a42", "#ab7df8"),
}


def _in_order(graph: Graph) -> Graph:
    named = sorted(graph.nodes, key=lambda node: _natural(node.name))
    nodes = [replace(node, label=node.label or node.name) for node in named]
    times = Counter(node.name for node in nodes)
    nowhere = {name for edge in graph.edges for name in (edge.source, edge.target)} - times.keys()
    if nowhere or len(times) < len(nodes):
        twice = sorted(name for name in times if times[name] > 1)
        raise ValueError(f"two nodes of one name: {twice}; edges to no node: {sorted(nowhere)}")
    layer = layout.layers(len(nodes), _links(nodes, graph.edges))
    nodes = [node for _, node in sorted(zip(layer, nodes, strict=True), key=lambda pair: pair[0])]
    links = zip(_links(nodes, graph.edges), graph.edges, strict=True)
    edges = sorted(set(links), key=lambda pair: (pair[0], pair[1].is_order, _natural(pair[1].label)))
    return Graph(title=graph.title, nodes=tuple(nodes), edges=tuple(edge for _, edge in edges))


def _merged(graph: Graph) -> Graph:
    """One edge for all between two nodes, since a picture has no room for more; dashed only if no data flows."""
    labels: dict[tuple[str, str], list[str]] = {}
    for edge in graph.edges:
        labels.setdefault((edge.source, edge.target), []).append(edge.label)
    data = {(edge.source, edge.target) for edge in graph.edges if not edge.is_order}
    merged = []
    for (source, target), words in labels.items():
        label, is_order = ", ".join(filter(None, words)), (source, target) not in data
        merged.append(Edge(source=source, target=target, label=label, is_order=is_order))
    return replace(graph, edges=tuple(merged))


def _links(nodes: Sequence[Node], edges: Sequence[Edge]) -> list[layout.Link]:
    place = {node.name: at for at, node in enumerate(nodes)}
    return [(place[edge.source], place[edge.target]) for edge in edges]


def _is_down(graph: Graph) -> bool:
    layer = layout.layers(len(graph.nodes), _links(graph.nodes, graph.edges))
    return layout.flows_down([_size(node) for node in graph.nodes], layer)


def _natural(text: str) -> tuple[str, str]:
    """Sorts `fold=2` before `fold=10`: each number is preceded by how many digits it has."""
    return re.sub(r"\d+", lambda number: f"{len(number[0].lstrip('0')):04}{number[0]}", text), text


def _one_line(text: str) -> str:
    """Control characters, line breaks and broken bytes of file names as escapes; XML and terminals refuse them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _small(node: Node) -> str:
    """The second line of a box: the state in words too, for those who cannot tell the colours apart."""
    return " · ".join(part for part in (node.state, node.note) if part)


def as_text(graph: Graph) -> str:
    """One line a node, after all it reads; what forks is indented until it meets again, as in `git log`."""
    graph = _in_order(graph)
    reads = _reads(graph)
    cells = []
    for lane, at in _lanes(graph):
        node = graph.nodes[at]
        name = f"{lane}{'○' if node.is_data else '●'} {node.label}"
        arrow = f"← {reads[at]}" if reads[at] else ""
        cells.append([_one_line(text) for text in (name, node.state, node.note, arrow)])
    widths = [max(map(_columns, column)) for column in zip(*cells, strict=True)]
    lines = [_one_line(graph.title)] if graph.title else []
    for line in cells:
        columns = zip(line, widths, strict=True)
        lines.append("  ".join(cell + " " * (width - _columns(cell)) for cell, width in columns if width))
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    wide = 0 if text.isascii() else sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _reads(graph: Graph) -> list[str]:
    """What each node reads; three or more steps of one family are counted, not listed."""
    families: dict[str, dict[str, list[str]]] = {node.name: {} for node in graph.nodes}
    for edge in graph.edges:
        before, after = "after " if edge.is_order else "", f".{edge.label}" if edge.label else ""
        family = f"{before}{edge.source.partition('[')[0]}{after}"
        families[edge.target].setdefault(family, []).append(f"{before}{edge.source}{after}")
    return [
        ", ".join(f"{of} \u00d7{len(each)}" if len(each) > 2 else ", ".join(each) for of, each in own.items())
        for own in families.values()
    ]


def _lanes(graph: Graph) -> Iterator[tuple[str, int]]:
    """Every node after all it reads, with the branch it is on: source files, then the tree of what needs what.

    A node stands below its immediate dominator, the nearest step that all its data passes through. So the end of
    a diamond stands beside its branches, not below one of them, and every node stands once.
    """
    links = _links(graph.nodes, graph.edges)
    before, _ = layout.neighbours(len(graph.nodes), links)
    files = {at for at, node in enumerate(graph.nodes) if node.is_data and not before[at]}
    above = _dominators([[source for source in sources if source not in files] for sources in before])
    below: list[list[int]] = [[] for _ in above]
    for at, parent in enumerate(above[:-1]):
        below[parent].append(at)
    joins = {target for source, target in links if source not in files and source != above[target]}
    for part in layout.components(len(graph.nodes), links):
        yield from (("", at) for at in part if at in files)
        roots = [at for at in part if at not in files and above[at] == len(before)]
        yield from _branches(roots, below, joins)


def _dominators(before: layout.Rows) -> list[int]:
    """The last node on all ways to each; a root above all stands last (Cooper, Harvey, Kennedy 2001)."""
    root = len(before)
    above, depth = [root] * (root + 1), [0] * (root + 1)
    for node, sources in enumerate(before):
        meet = sources[0] if sources else root
        for other in sources[1:]:
            while meet != other:
                meet, other = (above[meet], other) if depth[meet] >= depth[other] else (meet, above[other])
        above[node], depth[node] = meet, depth[meet] + 1
    return above


def _branches(roots: Sequence[int], below: layout.Rows, joins: Collection[int]) -> Iterator[tuple[str, int]]:
    """An only child and a join go on in their parent's lane; all others branch off."""
    stack = [(root, "", "", False) for root in reversed(roots)]
    while stack:
        node, stem, lane, goes_on = stack.pop()
        yield stem, node
        for place, child in enumerate(reversed(below[node])):
            more = goes_on or place > 0
            if len(below[node]) == 1 or child in joins:
                stack.append((child, lane, lane, more))
            else:
                stack.append((child, lane + ("├─" if more else "╰─"), lane + ("│ " if more else "  "), False))


def as_mermaid(graph: Graph) -> str:
    """A Mermaid flowchart, as GitHub and GitLab show it in Markdown."""
    graph = _merged(_in_order(graph))
    lines = ["---", f"title: {json.dumps(_one_line(graph.title))}", "---"] if graph.title else []
    lines.append(f"flowchart {'TD' if _is_down(graph) else 'LR'}")
    for at, node in enumerate(graph.nodes):
        text = "<br/>".join(_mermaid(part) for part in (node.label, _small(node)) if part)
        shape = f'[/"{text}"/]' if node.is_data else f'("{text}")'
        lines.append(f"    n{at}{shape}" + (f":::{node.state}" if node.state in _LOOKS else ""))
    for (source, target), edge in zip(_links(graph.nodes, graph.edges), graph.edges, strict=True):
        label = f'|"{_mermaid(edge.label)}"|' if edge.label else ""
        lines.append(f"    n{source} {'-.->' if edge.is_order else '-->'}{label} n{target}")
    for state in sorted({node.state for node in graph.nodes} & _LOOKS.keys()):
        lines.append(f"    classDef {state} fill:{_LOOKS[state][0]},stroke:{_LOOKS[state][1]},color:#1f2328")
    return "".join(f"{line}\n" for line in lines)


def _mermaid(text: str) -> str:
    """Mermaid's `#35;` for all it may take for syntax: markup, Markdown lists, and colons.

    A colon, because Mermaid cuts the last `;` of a line that reads like `style…:…#…;`.
    """
    odd = r"[^\w \-/.,=+()·]|^[-+]|(?<=\d)\.(?= )"
    return re.sub(odd, lambda found: f"#{ord(found[0])};", _one_line(text))


def as_dot(graph: Graph) -> str:
    """A digraph for Graphviz."""
    graph = _merged(_in_order(graph))
    font, flow = 'fontname="Helvetica,Arial,sans-serif"', "TB" if _is_down(graph) else "LR"
    lines = [
        "digraph {",
        f"    graph [{font}, labelloc=t, rankdir={flow}, label={_dot(graph.title)}]",
        f'    node [{font}, shape=box, style="rounded,filled"]',
        f"    edge [{font}, fontsize=10]",
    ]
    for node in graph.nodes:
        fill, line, *_ = _LOOKS.get(node.state, _PLAIN)
        shape = ", shape=note, style=filled" if node.is_data else ""
        label = _dot(node.label, _small(node))
        lines.append(f'    {_dot(node.name)} [label={label}, fillcolor="{fill}", color="{line}"{shape}]')
    for edge in graph.edges:
        dashes = ", style=dashed" if edge.is_order else ""
        lines.append(f"    {_dot(edge.source)} -> {_dot(edge.target)} [label={_dot(edge.label)}{dashes}]")
    return "".join(f"{line}\n" for line in (*lines, "}"))


def _dot(*lines: str) -> str:
    """A quoted string. Graphviz reads `&lt;` in it as HTML does, so `&` is spelt out."""
    safe = (_one_line(line).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in lines if line)
    return '"' + "\\n".join(safe) + '"'


_PAD, _HEAD = 24.0, 30.0
_TEXT, _SMALL, _TINY = 14.0, 11.5, 11.0
_MOST_LABELS = 40  # with more edges than this, what flows is left to the tooltips
_STYLE = """
.mlmake-graph { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
.mlmake-graph text { fill: #1f2328; text-anchor: middle }
.mlmake-graph .title { font-weight: 600; text-anchor: start }
.mlmake-graph .small { fill: #59636e; font-size: 11.5px }
.mlmake-graph .label { fill: #59636e; font-size: 11px; paint-order: stroke; stroke: #fff; stroke-width: 4px }
.mlmake-graph .page { fill: #fff }
.mlmake-graph .shape, .mlmake-graph .edge { stroke-width: 1.5 }
.mlmake-graph .edge { fill: none; stroke: #818b98 }
.mlmake-graph .order { stroke-dasharray: 5 4 }
.mlmake-graph .tip { fill: #818b98 }
@media (prefers-color-scheme: dark) {
.mlmake-graph text { fill: #f0f6fc }
.mlmake-graph .small, .mlmake-graph .label { fill: #9198a1 }
.mlmake-graph .label { stroke: #0d1117 }
.mlmake-graph .page { fill: #0d1117 }
}"""


def as_svg(graph: Graph) -> str:
    """A self-contained picture for light and dark pages; `data-` attributes tell which node or edge is which."""
    ordered = _in_order(graph)
    graph = _merged(ordered)
    labels = [_shortened(edge.label) for edge in graph.edges] if len(graph.edges) <= _MOST_LABELS else []
    room = max((_width(label, _TINY) + 24 for label in labels if label), default=0.0), 8.0 if any(labels) else 0.0
    picture = layout.lay_out([_size(node) for node in graph.nodes], _links(graph.nodes, graph.edges), room=room)
    key = f"mlmake-{crc32(repr(graph).encode()):08x}"  # several pictures may stand in one page
    lines = _svg_head(ordered, picture, key)
    lines += [_svg_edge(edge, path, key) for edge, path in zip(graph.edges, picture.paths, strict=True)]
    lines += [_svg_node(node, box) for node, box in zip(graph.nodes, picture.boxes, strict=True)]
    lines += _svg_labels(labels, picture)
    return "".join(f"{line}\n" for line in (*lines, "</svg>"))


def _svg_head(graph: Graph, picture: layout.Layout, key: str) -> list[str]:
    top = -_PAD - (_HEAD if graph.title else 0.0)
    width = max(picture.width, _width(graph.title, 1.1 * _TEXT)) + 2 * _PAD
    height = picture.height + _PAD - top
    told = f"{len(graph.nodes)} nodes, {len(graph.edges)} edges."
    if len(graph.edges) <= _MOST_LABELS:
        reads = zip(graph.nodes, _reads(graph), strict=True)
        told = " ".join([told, *(f"{node.name} reads {words}." for node, words in reads if words)])
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="mlmake-graph" role="img" width="{width:g}" '
        f'height="{height:g}" viewBox="{-_PAD:g} {top:g} {width:g} {height:g}" aria-labelledby="{key}t {key}d">',
        f'<title id="{key}t">{_xml(graph.title or "graph")}</title>',
        f'<desc id="{key}d">{_xml(told)}</desc>',
        f"<style>{_STYLE}{_svg_looks(graph)}</style>",
        f'<marker id="{key}" viewBox="0 0 9 8" refX="8.5" refY="4" markerWidth="9" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0 9 4 0 8 2 4Z"/></marker>',
        f'<rect class="page" rx="8" x="{-_PAD:g}" y="{top:g}" width="{width:g}" height="{height:g}"/>',
        f'<text class="title" x="0" y="{-_HEAD:g}">{_xml(graph.title)}</text>',
    ]


def _xml(text: str) -> str:
    return escape(_one_line(text))


def _svg_looks(graph: Graph) -> str:
    """Colours of the states that occur, the dark ones after the light ones."""
    states = sorted({node.state for node in graph.nodes} & _LOOKS.keys())
    looks = [("node", _PLAIN), *((f"node.{state}", _LOOKS[state]) for state in states)]
    rule = "\n.mlmake-graph .{} .shape {{ fill: {}; stroke: {} }}"
    light = "".join(rule.format(name, *look[:2]) for name, look in looks)
    dark = "".join(rule.format(name, *look[2:]) for name, look in looks)
    return f"{light}\n@media (prefers-color-scheme: dark) {{{dark}\n}}\n"


def _svg_node(node: Node, box: layout.Box) -> str:
    """A rounded box, or for a file a sheet with a folded corner."""
    x, y, w, h, small = box.x, box.y, box.width, box.height, _small(node)
    shape = f'<rect class="shape" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="8"/>'
    if node.is_data:
        shape = f'<path class="shape" d="M{x:g} {y:g}h{w - 11:g}l11 11v{h - 11:g}h{-w:g}zm{w - 11:g} 0v11h11"/>'
    texts = "".join(
        f'<text class="{kind}" x="{x + w / 2:g}" y="{y + base:g}">{_xml(_shortened(text))}</text>'
        for kind, base, text in (("name", 22.5, node.label), ("small", 40, small))
        if text
    )
    told = f"<title>{_xml(node.name)}{small and ': '}{_xml(small)}</title>"
    state = f" {node.state}" if node.state in _LOOKS else ""
    return f'<g class="node{state}" data-name="{_xml(node.name)}">{told}{shape}{texts}</g>'


def _svg_edge(edge: Edge, path: layout.Path, key: str) -> str:
    source, target, label = _xml(edge.source), _xml(edge.target), _xml(edge.label)
    way = "M{:g} {:g}".format(*path[0][0])
    for piece in path:
        way += "LC"[len(piece) > 2] + " ".join(f"{x:g} {y:g}" for x, y in piece[1:])
    told = f"<title>{source} → {target}{label and ': '}{label}</title>"
    return (
        f'<path class="edge{" order" if edge.is_order else ""}" data-source="{source}" data-target="{target}" '
        f'd="{way}" marker-end="url(#{key})">{told}</path>'
    )


def _svg_labels(labels: Sequence[str], picture: layout.Layout) -> Iterator[str]:
    """A label stands near the middle of its edge where it hides nothing; without such a place it is left out."""
    steps = sorted(range(1, 24), key=lambda step: abs(step - 12))
    ways = [[_along(piece, step / 24) for step in steps for piece in path[::-1]] for path in picture.paths if labels]
    taken = list(picture.boxes)
    for own, label in enumerate(labels):
        others = [_around(point, 0, 0) for at, way in enumerate(ways) if at != own for point in way]
        spots = (_around(point, _width(label, _TINY) + 4, 16) for point in ways[own] if label)
        spot = next((spot for spot in spots if not any(map(spot.touches, (*taken, *others)))), None)
        if spot:
            taken.append(spot)
            x, y = spot.x + spot.width / 2, spot.y + 12
            yield f'<text class="label" x="{x:g}" y="{y:g}">{_xml(label)}</text>'


def _along(piece: Sequence[layout.Point], share: float) -> layout.Point:
    """A point of a line or curve (de Casteljau)."""
    while len(piece) > 1:
        piece = tuple((x + (u - x) * share, y + (v - y) * share) for (x, y), (u, v) in pairwise(piece))
    return piece[0]


def _around(point: layout.Point, width: float, height: float) -> layout.Box:
    return layout.Box(x=point[0] - width / 2, y=point[1] - height / 2, width=width, height=height)


def _size(node: Node) -> layout.Size:
    small = _small(node)
    width = max(_width(_shortened(node.label), _TEXT), _width(_shortened(small), _SMALL), 44.0)
    return 2.0 * ceil(width / 2 + 15), 52.0 if small else 36.0


def _shortened(text: str) -> str:
    return text if len(text) <= 44 else f"{text[:26]}…{text[-17:]}"


def _width(text: str, size: float) -> float:
    """About how wide a text is in a common sans serif font, by the class of its characters."""
    narrow = sum(c in "fijlrtI|.,:;'!()[]{}/-\\ " for c in text)
    wide = sum(c in "mwMW@%" or unicodedata.east_asian_width(c) in "WF" for c in text)
    capital = sum(map(str.isupper, text))
    return size * (0.6 * len(text) - 0.22 * narrow + 0.4 * wide + 0.12 * capital)


FORMATS: Mapping[str, Callable[[Graph], str]] = {"text": as_text, "mermaid": as_mermaid, "dot": as_dot, "svg": as_svg}
