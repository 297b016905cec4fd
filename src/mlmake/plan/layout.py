"""Layered drawing of a directed acyclic graph: box sizes and edges in, places and paths out.

The plan is that of Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures"
(1981): put the boxes on layers, bend a long edge once on each layer it passes, order the layers so that few edges
cross, then choose coordinates, here as in Brandes and Köpf, "Fast and simple horizontal coordinate assignment"
(2001). Blocks are compacted over the graph of their neighbours, which avoids the flaws told in the erratum of
Brandes, Walter and Zink (2020). All of it draws downwards; a flow to the right is turned at the end.
"""

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from math import inf
from operator import add, sub

Link = tuple[int, int]
Point = tuple[float, float]
Size = tuple[float, float]
Trunk = tuple[int, bool]  # a node, and whether the edges leave it
Path = tuple[tuple[Point, ...], ...]
Rows = Sequence[Sequence[int]]

PAGE_WIDTH = 960.0  # what a README or a browser window shows without scrolling sideways
GAP, LAYER_GAP, PART_GAP = 24.0, 44.0, 40.0
MOST_EXTRA_GAP = 76.0  # between layers, for edges that go far sideways
SLIGHT = 16.0  # a sideways step that looks like a mistake
ARROW = 9.0  # an edge ends straight for this long, so that its arrowhead points the right way
MOST_BENDS = 100_000  # beyond this the longest edges run along the margin: time and memory stay linear
SWEEPS, SWEEP_WORK = 24, 400_000  # fewer sweeps where links are many: a huge drawing still comes in seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """Where something stands; x and y are its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def touches(self, other: "Box") -> bool:
        """Whether the two share more than an edge."""
        apart_x = max(self.x - other.x - other.width, other.x - self.x - self.width)
        return apart_x < 0 and max(self.y - other.y - other.height, other.y - self.y - self.height) < 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A drawing of `width` by `height`, one box per size and one path per edge, in the order they were given.

    A path is made of pieces, each a straight line of two points or a Bézier curve of four. Curves run in the free
    space between two layers and lines along the flow, so neither touches a box on its way.
    """

    width: float
    height: float
    boxes: tuple[Box, ...]
    paths: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grid:
    """The graph with a bend wherever an edge passes a layer; vertices below `real` are boxes, the rest bends.

    A route lists the bends of an edge, which all edges of its trunk share: those of one source, or of one target.
    Edges in `margin` go beside the drawing and have no bends.
    """

    real: int
    layer: list[int]
    above: list[list[int]]
    below: list[list[int]]
    routes: list[list[int]]
    margin: dict[int, Trunk]


def lay_out(sizes: Sequence[Size], edges: Sequence[Link], *, room: Size = (0.0, 0.0)) -> Layout:
    """Draws boxes of these (width, height) and the edges between them, given by index; ValueError on a cycle.

    `room` is the size of the largest label that shall fit between two layers.
    """
    layer = layers(len(sizes), edges)
    is_down = flows_down(sizes, layer)
    parts = components(len(sizes), edges)
    part_of = {node: at for at, part in enumerate(parts) for node in part}
    inside: list[list[int]] = [[] for _ in parts]
    for edge, (source, _) in enumerate(edges):
        inside[part_of[source]].append(edge)
    drawn = []
    for part, own in zip(parts, inside, strict=True):
        place = {node: at for at, node in enumerate(part)}
        links = [(place[edges[edge][0]], place[edges[edge][1]]) for edge in own]
        first = min(layer[node] for node in part)
        grid = _grid([layer[node] - first for node in part], links)
        turned = [sizes[node] if is_down else sizes[node][::-1] for node in part]
        drawn.append(_draw(grid, turned, links, LAYER_GAP + room[is_down]))
    return _packed(drawn, parts, inside, is_down=is_down)


def flows_down(sizes: Sequence[Size], layer: Sequence[int]) -> bool:
    """Whether to draw downwards: pages scroll down, so the flow turns right only where that is narrower."""
    rows: defaultdict[int, list[float]] = defaultdict(list)
    for (width, _), level in zip(sizes, layer, strict=True):
        rows[level].append(width)
    down = max((sum(row) + GAP * len(row) for row in rows.values()), default=0.0)
    return down <= max(PAGE_WIDTH, sum(max(row) + LAYER_GAP for row in rows.values()))


def layers(count: int, edges: Sequence[Link]) -> list[int]:
    """How deep each node stands: below all it reads, or just above its first reader if that shortens the edges."""
    before, after = neighbours(count, edges)
    order = _topological(before, after)
    layer = [0] * count
    for node in order:
        layer[node] = max((layer[source] + 1 for source in before[node]), default=0)
    for node in reversed(order):
        if len(after[node]) > len(before[node]):
            layer[node] = min(layer[target] for target in after[node]) - 1
    return layer


def components(count: int, edges: Sequence[Link]) -> list[list[int]]:
    """The connected parts, each in index order, largest first."""
    before, after = neighbours(count, edges)
    seen: set[int] = set()
    parts = []
    for start in range(count):
        part, stack = [], [start]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                part.append(node)
                stack += before[node] + after[node]
        if part:
            parts.append(sorted(part))
    return sorted(parts, key=lambda part: (-len(part), part[0]))


def neighbours(count: int, edges: Iterable[Link]) -> tuple[list[list[int]], list[list[int]]]:
    """What stands before and what after each node."""
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        after[source].append(target)
        before[target].append(source)
    return before, after


def _topological(before: Rows, after: Rows) -> list[int]:
    missing = [len(sources) for sources in before]
    ready = [node for node, count in enumerate(missing) if not count]
    for node in ready:
        for target in after[node]:
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    if len(ready) < len(before):
        raise ValueError("the graph has a cycle, so it cannot be drawn in layers")
    return ready


def _packed(drawn: Sequence[Layout], parts: Rows, inside: Rows, *, is_down: bool) -> Layout:
    """Parts stand side by side on shelves about as wide as a page."""
    shapes = [(part.width, part.height)[:: 1 if is_down else -1] for part in drawn]
    limit = max([PAGE_WIDTH, *(width for width, _ in shapes)])
    boxes: dict[int, Box] = {}
    paths: dict[int, Path] = {}
    left = top = shelf = widest = 0.0
    for part, nodes, edges, (width, height) in zip(drawn, parts, inside, shapes, strict=True):
        if left and left + width > limit:
            left, top, shelf = 0.0, top + shelf + PART_GAP, 0.0
        for node, box in zip(nodes, part.boxes, strict=True):
            x, y, w, h = (box.x, box.y, box.width, box.height) if is_down else (box.y, box.x, box.height, box.width)
            boxes[node] = Box(x=x + left, y=y + top, width=w, height=h)
        for edge, path in zip(edges, part.paths, strict=True):
            turned = [[point[:: 1 if is_down else -1] for point in piece] for piece in path]
            paths[edge] = tuple(tuple((x + left, y + top) for x, y in piece) for piece in turned)
        widest, shelf = max(widest, left + width), max(shelf, height)
        left += width + PART_GAP
    in_order = tuple(boxes[node] for node in sorted(boxes)), tuple(paths[edge] for edge in sorted(paths))
    return Layout(width=widest, height=top + shelf, boxes=in_order[0], paths=in_order[1])


def _grid(layer: list[int], edges: Sequence[Link]) -> _Grid:
    """Bends every edge, the short ones first, until there are too many bends."""
    readers, reads = Counter(edge[0] for edge in edges), Counter(edge[1] for edge in edges)
    trunks = [(t, False) if readers[s] < reads[t] else (s, True) for s, t in edges]
    bends: defaultdict[tuple[int, bool, int], int] = defaultdict(count(len(layer)).__next__)
    routes: list[list[int]] = [[] for _ in edges]
    links: dict[Link, None] = {}
    margin: dict[int, Trunk] = {}
    spent = 0
    for edge in sorted(range(len(edges)), key=lambda edge: layer[edges[edge][1]] - layer[edges[edge][0]]):
        source, target = edges[edge]
        spent += layer[target] - layer[source]
        if spent > MOST_BENDS and layer[target] > layer[source] + 1:
            margin[edge] = trunks[edge]
            continue
        routes[edge] = [bends[*trunks[edge], at] for at in range(layer[source] + 1, layer[target])]
        links |= dict.fromkeys(pairwise([source, *routes[edge], target]))
    level = [*layer, *(at for _, _, at in bends)]
    above, below = neighbours(len(level), links)
    return _Grid(real=len(layer), layer=level, above=above, below=below, routes=routes, margin=margin)


def _ordered(grid: _Grid) -> list[list[int]]:
    """Sweeps down and up, sorts each layer by where its neighbours stand, and keeps what crosses least."""
    rows = best = _first_rows(grid)
    fewest = _crossings(rows, grid)
    links = 1 + sum(map(len, grid.below))
    for turn in range(min(SWEEPS, 2 + SWEEP_WORK // links)):
        if not fewest:
            break
        rows = _swept(rows, grid, is_down=turn % 2 == 0)
        crossings = _crossings(rows, grid)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _first_rows(grid: _Grid) -> list[list[int]]:
    """Depth first, so that what belongs together starts together."""
    rows: list[list[int]] = [[] for _ in range(max(grid.layer) + 1)]
    seen: set[int] = set()
    stack = sorted(range(grid.real), key=lambda node: (grid.layer[node], node), reverse=True)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            rows[grid.layer[node]].append(node)
            stack += reversed(grid.below[node])
    return rows


def _places(rows: Rows) -> dict[int, int]:
    return {node: at for row in rows for at, node in enumerate(row)}


def _swept(rows: Rows, grid: _Grid, *, is_down: bool) -> list[list[int]]:
    place = _places(rows)
    swept = []
    for row in rows[:: 1 if is_down else -1]:
        centre = {}
        for node in row:
            if near := (grid.above if is_down else grid.below)[node]:
                centre[node] = sum(map(place.__getitem__, near)) / len(near)
        moved = iter(sorted(centre, key=centre.__getitem__))
        # What has no neighbour on that side keeps its slot; the others share theirs out anew.
        swept.append([next(moved) if node in centre else node for node in row])
        place.update((node, at) for at, node in enumerate(swept[-1]))
    return swept[:: 1 if is_down else -1]


def _crossings(rows: Rows, grid: _Grid) -> int:
    place = _places(rows)
    crossings = 0
    for row in rows:
        seen: list[int] = []
        for node in row:
            for end in sorted(place[other] for other in grid.below[node]):
                crossings += len(seen) - bisect_right(seen, end)
                insort(seen, end)
    return crossings


def _draw(grid: _Grid, sizes: list[Size], edges: Sequence[Link], gap: float) -> Layout:
    """One connected part, downwards."""
    half = [(width + GAP) / 2 for width, _ in sizes] + [GAP / 2] * (len(grid.layer) - grid.real)
    rows = _ordered(grid)
    centre = _centres(grid, rows, half)
    _straighten(grid, rows, half, centre)
    bands = _bands(grid, rows, sizes, centre, gap)
    boxes = []
    for node, (width, height) in enumerate(sizes):
        top, bottom = bands[grid.layer[node]]
        boxes.append(Box(x=centre[node] - width / 2, y=(top + bottom - height) / 2, width=width, height=height))
    edge_of_page = max(map(add, centre, half)) - GAP / 2
    lanes: dict[Trunk, float] = {}
    paths = []
    for edge, (source, target) in enumerate(edges):
        start, end = grid.layer[source], grid.layer[target]
        middle = [(centre[bend], *bands[grid.layer[bend]]) for bend in grid.routes[edge]]
        if edge in grid.margin:
            lane = lanes.setdefault(grid.margin[edge], edge_of_page + GAP * (len(lanes) + 1))
            middle = [(lane, bands[start + 1][0], bands[end - 1][1])]
        first = centre[source], boxes[source].y + boxes[source].height, bands[start][1]
        last = centre[target], bands[end][0] - ARROW, boxes[target].y
        paths.append(tuple(_pieces([first, *middle, last])))
    width = max([edge_of_page, *lanes.values()])
    return Layout(width=width, height=bands[-1][1], boxes=tuple(boxes), paths=tuple(paths))


def _bands(grid: _Grid, rows: Rows, sizes: list[Size], centre: list[float], gap: float) -> list[tuple[float, float]]:
    """Top and bottom of each layer; the more its edges move sideways, the more room they get below it."""
    bands: list[tuple[float, float]] = []
    top = 0.0
    for row in rows:
        bottom = top + max((sizes[node][1] for node in row if node < grid.real), default=0.0)
        bands.append((top, bottom))
        shift = max((abs(centre[node] - centre[other]) for node in row for other in grid.below[node]), default=0)
        top = bottom + gap + min(MOST_EXTRA_GAP, 0.08 * shift)
    return bands


def _pieces(stretches: Iterable[tuple[float, float, float]]) -> Iterator[tuple[Point, ...]]:
    """Lines down the stretches and curves between them; stretches of one line become one."""
    (x, start, end), *others = stretches
    for other, top, bottom in others:
        if abs(other - x) > 0.05:
            if start < end:
                yield (x, start), (x, end)
            yield (x, end), (x, (end + top) / 2), (other, (end + top) / 2), (other, top)
            x, start = other, top
        end = bottom
    yield (x, start), (x, end)


def _centres(grid: _Grid, rows: Rows, half: Sequence[float]) -> list[float]:
    """Four drawings that lean to each corner; every vertex takes the mean of its two middle places."""
    clashes = _clashes(grid, rows)
    leaning = []
    for lines, near in ((rows, grid.above), (rows[::-1], grid.below)):
        for sign in (1, -1):
            turned = [row[::sign] for row in lines]
            rooms = _rooms(turned, _blocks(turned, near, clashes, grid.real), half)
            leaning.append([sign * x for x in rooms])
    sides = [(min(map(sub, xs, half)), max(map(add, xs, half))) for xs in leaning]
    narrow = min(sides, key=lambda side: side[1] - side[0])
    shifts = [narrow[lean % 2] - side[lean % 2] for lean, side in enumerate(sides)]
    ranked = [sorted(map(add, xs, shifts)) for xs in zip(*leaning, strict=True)]
    centre = [(xs[1] + xs[2]) / 2 for xs in ranked]
    left = min(map(sub, centre, half)) + GAP / 2
    return [x - left for x in centre]


def _straighten(grid: _Grid, rows: Rows, half: Sequence[float], centre: list[float]) -> None:
    """Takes out slight kinks, which the mean of several drawings leaves, where a vertex has room to move."""
    for row in rows:
        for at, node in enumerate(row):
            low = centre[row[at - 1]] + half[row[at - 1]] if at else -GAP / 2
            high = centre[row[at + 1]] - half[row[at + 1]] if at + 1 < len(row) else inf
            near = [centre[other] for other in (*grid.above[node], *grid.below[node])]
            to = min(near, key=lambda x: abs(x - centre[node]), default=inf)
            if abs(to - centre[node]) < SLIGHT and low <= to - half[node] and to + half[node] <= high:
                centre[node] = to


def _clashes(grid: _Grid, rows: Rows) -> set[Link]:
    """Links that cross a line between two bends: they give way, so that long edges stay straight."""
    clashes = set()
    place = _places(rows)
    for upper, lower in pairwise(rows):
        first, begin = 0, 0
        for at, node in enumerate(lower):
            inner = [place[up] for up in grid.above[node] if node >= grid.real and up >= grid.real]
            if inner or at == len(lower) - 1:
                last = inner[0] if inner else len(upper) - 1
                for low in lower[begin : at + 1]:
                    crossing = (up for up in grid.above[low] if not first <= place[up] <= last)
                    clashes |= {(up, low) for up in crossing if up < grid.real or low < grid.real}
                first, begin = last, at + 1
    return clashes


def _blocks(rows: Rows, near: Rows, clashes: set[Link], real: int) -> list[int]:
    """The first vertex of each one's block: a column of vertices, each in line with its middle neighbour."""
    root = list(range(len(near)))
    place = _places(rows)
    for row in rows:
        taken = -1
        for node in row:
            ranked = sorted(near[node], key=place.__getitem__)
            middle = ranked[(len(ranked) - 1) // 2 : len(ranked) // 2 + 1] if ranked else []
            # Of two middles, a box lines up with the box and a bend with the bend.
            for other in sorted(middle, key=lambda other: (other < real) != (node < real)):
                if place[other] > taken and not {(node, other), (other, node)} & clashes:
                    root[node], taken = root[other], place[other]
                    break
    return root


def _rooms(rows: Rows, root: Sequence[int], half: Sequence[float]) -> list[float]:
    """Pushes every block as far left as its neighbours let it, then back right where there is room to spare."""
    rooms: dict[Link, float] = {}
    for row in rows:
        for left, right in pairwise(row):
            key = root[left], root[right]
            rooms[key] = max(rooms.get(key, 0.0), half[left] + half[right])
    before, after = neighbours(len(root), rooms)
    order = _topological(before, after)
    place = [0.0] * len(root)
    for block in order:
        place[block] = max((place[left] + rooms[left, block] for left in before[block]), default=0.0)
    for block in reversed(order):
        if after[block]:
            place[block] = min(place[right] - rooms[block, right] for right in after[block])
    return [place[block] for block in root]
