"""The graph of what was made of what, from rows in memory."""

from __future__ import annotations

from collections.abc import Iterable

from mlmake.model.lineage import Activity, Version, Where
from mlmake.model.run import Item, Outcome
from mlmake.services.lineage import Level, Lineage

Things = dict[str, str]
"""Text -> content, or a store's version."""


def items(things: Things) -> tuple[Item, ...]:
    return tuple(Item(text, digest, 1) for text, digest in things.items())


def act(run: int, step: str, inputs: Things, outputs: Things, outcome: Outcome = Outcome.DONE) -> Activity:
    """A step run; the inputs go by numbers."""
    named = {f"in{number}": (item,) for number, item in enumerate(items(inputs))}
    return Activity(run=run, step=step, outcome=outcome, inputs=named, outputs=items(outputs))


def where(text: str) -> Where:
    store, mark, path = text.partition("://")
    key = text.rstrip("/") if mark else f"/here/{text.rstrip('/')}"
    told = (store, path) if mark else ("project", text)
    return Where(key=key, store=told[0], path=told[1], is_folder=text.endswith("/"), is_remote=bool(mark))


def graph(*activities: Activity) -> Lineage:
    return Lineage(activities, where)


def present(lineage: Lineage, text: str) -> Version:
    version = lineage.present(where(text).key)
    assert version is not None
    return version


def told(levels: Iterable[Level]) -> list[tuple[int, str, int]]:
    return [(level, each.step, each.run) for level, each in levels]


CHAIN = (
    act(1, "clean", {"raw": "r1"}, {"table": "t1"}),
    act(1, "fit", {"table": "t1"}, {"model": "m1"}),
    act(1, "report", {"model": "m1"}, {"page": "p1"}),
)


def test_a_chain_both_ways() -> None:
    lineage = graph(*CHAIN)
    assert told(lineage.up(present(lineage, "page"))) == [(1, "report", 1), (2, "fit", 1), (3, "clean", 1)]
    assert told(lineage.down(present(lineage, "raw"))) == [(1, "clean", 1), (2, "fit", 1), (3, "report", 1)]
    assert told(lineage.up(present(lineage, "raw"))) == []
    assert told(lineage.down(present(lineage, "page"))) == []


def test_depth() -> None:
    lineage = graph(*CHAIN)
    assert told(lineage.up(present(lineage, "page"), 2)) == [(1, "report", 1), (2, "fit", 1)]
    assert told(lineage.down(present(lineage, "raw"), 1)) == [(1, "clean", 1)]


def test_what_was_used_is_the_content_of_then() -> None:
    """`fit` read the first table; what stands in its place now is of a later run, and it has not read that."""
    lineage = graph(*CHAIN, act(2, "clean", {"raw": "r2"}, {"table": "t2"}))
    assert told(lineage.up(present(lineage, "model"))) == [(1, "fit", 1), (2, "clean", 1)]
    assert told(lineage.down(present(lineage, "table"))) == []
    assert [each.item.digest for each in lineage.versions("/here/table")] == ["t2", "t1"]


def test_a_rerun_with_equal_bytes_is_one_version() -> None:
    """Early cut-off: `fit` did not run again, and came from the run that was before it."""
    lineage = graph(*CHAIN, act(2, "clean", {"raw": "r2"}, {"table": "t1"}))
    (table,) = lineage.versions("/here/table")
    assert [each.run for each in table.made] == [1, 2]
    assert told(lineage.up(table)) == [(1, "clean", 2)]
    assert told(lineage.up(present(lineage, "model"))) == [(1, "fit", 1), (2, "clean", 1)]
    assert told(lineage.down(present(lineage, "raw"))) == [(1, "clean", 2), (2, "fit", 1), (3, "report", 1)]


def test_a_restored_step() -> None:
    """What it brought back is the present version again; who made it is the run that ran."""
    lineage = graph(
        *CHAIN,
        act(2, "clean", {"raw": "r2"}, {"table": "t2"}),
        act(3, "clean", {"raw": "r1"}, {"table": "t1"}, Outcome.RESTORED),
        act(3, "fit", {"table": "t1"}, {"model": "m3"}),
    )
    table = present(lineage, "table")
    assert table.item.digest == "t1"
    assert table.maker is CHAIN[0]
    assert told(lineage.up(present(lineage, "model"))) == [(1, "fit", 3), (2, "clean", 3)]


def test_what_only_came_out_of_a_shared_cache_has_a_maker() -> None:
    restored = act(1, "clean", {"raw": "r1"}, {"table": "t1"}, Outcome.RESTORED)
    assert present(graph(restored), "table").maker is restored


def test_fan_in_of_a_matrix() -> None:
    fits = [act(1, f"fit[k={k}]", {"table": "t"}, {f"scores-{k}": f"s{k}"}) for k in range(3)]
    every = {f"scores-{k}": f"s{k}" for k in range(3)}
    lineage = graph(act(1, "clean", {"raw": "r"}, {"table": "t"}), *fits, act(1, "report", every, {"page": "p"}))
    up = told(lineage.up(present(lineage, "page")))
    assert up == [(1, "report", 1), *((2, f"fit[k={k}]", 1) for k in range(3)), (3, "clean", 1)]
    down = told(lineage.down(present(lineage, "table")))
    assert down == [*((1, f"fit[k={k}]", 1) for k in range(3)), (2, "report", 1)]


def test_a_diamond_of_many_layers_is_walked_once() -> None:
    layers = 60
    steps = []
    for n in range(layers):
        below = {f"l{n}": "x", f"r{n}": "x"}
        steps += [act(1, f"{side}{n}", below, {f"{side}{n + 1}": "x"}) for side in "lr"]
    lineage = graph(*steps)
    assert len(told(lineage.up(present(lineage, f"l{layers}")))) == 2 * layers - 1
    assert len(told(lineage.down(present(lineage, "l0")))) == 2 * layers


def test_a_renamed_step_and_one_that_is_gone() -> None:
    """Places and contents count, not the names of steps."""
    lineage = graph(*CHAIN, act(2, "train", {"table": "t1"}, {"model": "m2"}))
    model = present(lineage, "model")
    assert model.maker and model.maker.step == "train"
    assert told(lineage.up(model)) == [(1, "train", 2), (2, "clean", 1)]
    assert told(lineage.down(present(lineage, "table"))) == [(1, "fit", 1), (1, "train", 2), (2, "report", 1)]


def test_what_others_put_in_the_place_of_an_output_has_no_maker() -> None:
    lineage = graph(*CHAIN, act(2, "fit", {"table": "edited"}, {"model": "m2"}))
    assert told(lineage.up(present(lineage, "model"))) == [(1, "fit", 2)]
    assert present(lineage, "table").made == []


def test_what_was_made_only_later_is_no_origin() -> None:
    lineage = graph(act(1, "fit", {"table": "t"}, {"model": "m"}), act(2, "clean", {"raw": "r"}, {"table": "t"}))
    assert told(lineage.up(present(lineage, "model"))) == [(1, "fit", 1)]


def test_remote_items_go_by_the_versions_of_their_store() -> None:
    lineage = graph(
        act(1, "clean", {"lake://raw": "etag a"}, {"lake://table": "etag b"}),
        act(1, "fit", {"lake://table": "etag b"}, {"model": "m"}),
        act(2, "clean", {"lake://raw": "etag c"}, {"lake://table": "etag d"}),
    )
    assert told(lineage.up(present(lineage, "model"))) == [(1, "fit", 1), (2, "clean", 1)]
    assert [each.item.digest for each in lineage.versions("lake://raw")] == ["etag c", "etag a"]


def test_a_part_of_a_folder_that_was_made() -> None:
    lineage = graph(
        act(1, "unpack", {"list": "l"}, {"parts/": "tree"}), act(1, "first", {"parts/aa": "a"}, {"page": "p"})
    )
    assert told(lineage.up(present(lineage, "page"))) == [(1, "first", 1), (2, "unpack", 1)]
    assert told(lineage.down(present(lineage, "parts/"))) == [(1, "first", 1)]
    (origin,) = lineage.origins(present(lineage, "parts/aa"))
    assert origin.version is present(lineage, "parts/")
    maker = lineage.maker(present(lineage, "parts/aa"))
    assert maker and maker.activity.step == "unpack"


def test_a_part_comes_from_the_folder_of_then() -> None:
    lineage = graph(
        act(1, "unpack", {}, {"parts/": "tree1"}),
        act(1, "first", {"parts/aa": "a"}, {"page": "p"}),
        act(2, "unpack", {}, {"parts/": "tree2"}),
    )
    assert told(lineage.up(present(lineage, "parts/aa"))) == [(1, "unpack", 1)]
    assert told(lineage.down(present(lineage, "parts/"))) == []


def test_a_folder_of_which_parts_were_made() -> None:
    lineage = graph(
        act(1, "a", {"raw": "r"}, {"all/a": "1"}),
        act(1, "b", {}, {"all/b": "2"}),
        act(1, "other", {}, {"all2/c": "3"}),
        act(1, "pack", {"all/": "tree"}, {"archive": "x"}),
    )
    assert told(lineage.up(present(lineage, "archive"))) == [(1, "pack", 1), (2, "a", 1), (2, "b", 1)]
    assert told(lineage.down(present(lineage, "all/b"))) == [(1, "pack", 1)]
    assert told(lineage.down(present(lineage, "all2/c"))) == []
    assert lineage.maker(present(lineage, "all/")) is None
    assert [each.activity.step for each in lineage.origins(present(lineage, "all/"))] == ["a", "b"]


def test_the_version_of_a_past_run() -> None:
    lineage = graph(*CHAIN, act(3, "clean", {"raw": "r2"}, {"table": "t2"}))
    version = lineage.present("/here/table", 2)
    assert version and version.item.digest == "t1"
    assert lineage.present("/here/table", 3) is present(lineage, "table")
    assert lineage.present("/here/table", 0) is None
    assert lineage.present("/here/nothing") is None
    assert lineage.present("/here/nothing", 2) is None


def test_a_step_that_reads_what_it_writes_ends() -> None:
    lineage = graph(*(act(run, "grow", {"log": str(run - 1)}, {"log": str(run)}) for run in range(1, 5)))
    assert told(lineage.up(present(lineage, "log"))) == [(5 - run, "grow", run) for run in range(4, 0, -1)]


def test_a_large_history_is_walked() -> None:
    """10,000 step runs in a chain: no recursion, and each is looked at once."""
    steps = [act(1, f"s{n}", {f"x{n}": "a"}, {f"x{n + 1}": "a"}) for n in range(10_000)]
    lineage = graph(*steps)
    assert len(told(lineage.up(present(lineage, "x10000")))) == 10_000
    assert len(told(lineage.down(present(lineage, "x0")))) == 10_000
