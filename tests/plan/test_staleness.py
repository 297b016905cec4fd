"""Staleness as a pure function: a record, facts and outputs in; reasons and a state out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmake.model.reason import Cause, Reason, State, Verdict
from mlmake.model.run import Item, Record
from mlmake.plan.staleness import differences, verdict
from mlmake.state.fingerprint import EDITED, Fingerprint

FACTS = {"kind": "command 1", "args": "[]", "input a": "d1", "param x": "1"}
STALE = (Reason(cause=Cause.NEVER_RAN),)
GONE = (Reason(cause=Cause.INPUT_MISSING, subject="a", new="a.txt"),)


def record(facts: Mapping[str, str] = FACTS, **outputs: str) -> Record:
    items = tuple(Item(text, digest, 1) for text, digest in outputs.items())
    return Record(step="p.s", run=1, facts=facts, inputs={}, outputs=items, finished=1.0, seconds=1.0)


def fingerprint(
    facts: Mapping[str, str] = FACTS, *, missing: tuple[Reason, ...] = (), waiting: tuple[str, ...] = ()
) -> Fingerprint:
    pending = ("p.above",) if waiting else ()
    return Fingerprint(facts=facts, inputs={}, paths={}, missing=missing, pending=pending, code={}, waiting=waiting)


def reasons(old: Mapping[str, str], new: Mapping[str, str], *waiting: str) -> list[Reason]:
    return list(differences(record(old), fingerprint(new, waiting=waiting), {}))


# Differences.


def test_a_step_without_a_record_never_ran() -> None:
    assert list(differences(None, fingerprint(), {})) == [Reason(cause=Cause.NEVER_RAN)]
    assert list(differences(None, fingerprint(waiting=("a",)), {"x": "d"})) == [Reason(cause=Cause.NEVER_RAN)]


def test_equal_facts_and_outputs_are_no_difference() -> None:
    assert list(differences(record(x="d", y="e"), fingerprint(dict(FACTS)), {"x": "d", "y": "e"})) == []


ASKED = {"kind": "command 1", "python": "3.11"}
MADE = {**ASKED, "environment ml": "cpython 3.11.7"}


def unbuilt(old: Mapping[str, str], new: Mapping[str, str]) -> list[Reason]:
    now = replace(fingerprint(new), unbuilt=("environment ml",))
    return list(differences(record(old), now, {}))


def test_a_record_that_asked_for_the_same_stands_for_what_is_not_built() -> None:
    assert unbuilt(MADE, ASKED) == []


def test_another_wish_is_told_before_it_is_built() -> None:
    assert unbuilt(MADE, {**ASKED, "python": "3.12"}) == [
        Reason(cause=Cause.CHANGED, subject="python", old="3.11", new="3.12")
    ]


def test_a_record_of_another_environment_says_nothing_of_one_that_is_not_built() -> None:
    system = {"kind": "command 1", "environment system": "cpython 3.11.7"}
    assert [str(each) for each in unbuilt(system, ASKED)] == [
        "python is new",
        "environment ml is not built yet",
        "environment system is gone",
    ]


def test_the_order_of_facts_is_no_difference() -> None:
    assert reasons(FACTS, dict(reversed(FACTS.items()))) == []


def test_a_changed_fact() -> None:
    assert reasons(FACTS, {**FACTS, "param x": "2"}) == [
        Reason(cause=Cause.CHANGED, subject="param x", old="1", new="2")
    ]


def test_a_new_fact() -> None:
    assert reasons(FACTS, {**FACTS, "param y": "2"}) == [Reason(cause=Cause.ADDED, subject="param y", new="2")]


def test_a_fact_that_is_gone() -> None:
    assert reasons({**FACTS, "param y": "2"}, FACTS) == [Reason(cause=Cause.REMOVED, subject="param y", old="2")]


def test_facts_that_are_gone_come_in_a_fixed_order() -> None:
    gone = {f"code {letter}": "d" for letter in "qwertzuiop"}
    assert [reason.subject for reason in reasons(gone, {})] == sorted(gone)


def test_a_fact_that_was_edited_while_it_was_read() -> None:
    assert reasons({**FACTS, "input a": EDITED}, FACTS) == [Reason(cause=Cause.EDITED, subject="input a", new="d1")]


def test_an_empty_value_is_a_value() -> None:
    assert reasons({"version": ""}, {"version": "1"}) == [
        Reason(cause=Cause.CHANGED, subject="version", old="", new="1")
    ]
    assert reasons({"version": ""}, {"version": ""}) == []


def test_inputs_that_are_not_known_yet_are_no_difference() -> None:
    known = {name: value for name, value in FACTS.items() if name != "input a"}
    assert reasons(FACTS, known, "a") == []
    assert reasons({**FACTS, "input a": EDITED}, known, "a") == []


def test_other_facts_differ_although_inputs_are_not_known_yet() -> None:
    known = {name: value for name, value in FACTS.items() if name != "input a"}
    assert [str(reason) for reason in reasons(FACTS, {**known, "param x": "2"}, "a")] == ["param x changed: 1 -> 2"]
    assert [str(reason) for reason in reasons({**FACTS, "code s.py": "d"}, known, "a")] == ["code s.py is gone"]


def test_an_input_that_was_declared_since_is_new_whatever_it_will_hold() -> None:
    assert reasons(FACTS, FACTS, "b") == [Reason(cause=Cause.ADDED, subject="input b")]


def test_an_input_that_is_declared_no_more_is_gone_although_others_are_not_known() -> None:
    old = {**FACTS, "input b": "d2"}
    known = {name: value for name, value in FACTS.items() if name != "input a"}
    assert reasons(old, known, "a") == [Reason(cause=Cause.REMOVED, subject="input b", old="d2")]


def test_an_output_that_is_missing() -> None:
    found = list(differences(record(x="d", y="e"), fingerprint(), {"x": "d", "y": None}))
    assert found == [Reason(cause=Cause.OUTPUT_MISSING, subject="y")]


def test_an_output_that_is_not_what_the_run_wrote() -> None:
    found = list(differences(record(x="d", y="e"), fingerprint(), {"x": "other", "y": "e"}))
    assert found == [Reason(cause=Cause.OUTPUT_CHANGED, subject="x", old="d", new="other")]


def test_an_output_that_is_declared_no_more_is_told_as_a_fact_only() -> None:
    old = record({**FACTS, "output x": "x"}, x="d")
    assert list(differences(old, fingerprint(), {})) == [Reason(cause=Cause.REMOVED, subject="output x", old="x")]


def test_all_differences_are_told() -> None:
    found = differences(
        record({"a": "1", "b": "1", "c": "1", "d": EDITED}, x="d", y="e"),
        fingerprint({"b": "2", "c": "1", "d": "1", "e": "1"}),
        {"x": None, "y": "f"},
    )
    assert [(reason.cause, reason.subject) for reason in found] == [
        (Cause.CHANGED, "b"),
        (Cause.EDITED, "d"),
        (Cause.ADDED, "e"),
        (Cause.REMOVED, "a"),
        (Cause.OUTPUT_MISSING, "x"),
        (Cause.OUTPUT_CHANGED, "y"),
    ]


MAPS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"))


@given(old=MAPS, new=MAPS, wrote=MAPS, stands=st.dictionaries(st.sampled_from("abc"), st.sampled_from("12")))
def test_no_reason_means_equal(
    old: dict[str, str], new: dict[str, str], wrote: dict[str, str], stands: dict[str, str]
) -> None:
    found = list(differences(record(old, **wrote), fingerprint(new), {text: stands.get(text) for text in wrote}))
    assert (not found) == (old == new and all(stands.get(text) == digest for text, digest in wrote.items()))
    assert {r.subject for r in found if r.cause is Cause.CHANGED} == {k for k in old.keys() & new if old[k] != new[k]}


# Verdicts.


def judge(
    own: tuple[Reason, ...] = (),
    upstream: Mapping[str, State] | None = None,
    after: Mapping[str, State] | None = None,
    missing: tuple[Reason, ...] = (),
) -> Verdict:
    return verdict(own, fingerprint(missing=missing), upstream or {}, after or {})


def waits(*steps: str, cause: Cause = Cause.UPSTREAM) -> tuple[Reason, ...]:
    return tuple(Reason(cause=cause, subject=step) for step in steps)


def test_a_step_without_reasons_is_fresh() -> None:
    assert judge() == Verdict(state=State.FRESH)
    assert judge(upstream={"a": State.FRESH}, after={"b": State.FRESH}) == Verdict(state=State.FRESH)


def test_a_step_with_reasons_is_stale() -> None:
    assert judge(STALE) == Verdict(state=State.STALE, reasons=STALE)


@pytest.mark.parametrize("state", [State.STALE, State.MAYBE, State.RESTORABLE])
def test_a_step_whose_own_facts_are_equal_waits_for_those_before_it(state: State) -> None:
    assert judge(upstream={"a": State.FRESH, "b": state}) == Verdict(state=State.MAYBE, reasons=waits("b"))


@pytest.mark.parametrize("state", [State.STALE, State.MAYBE, State.RESTORABLE])
def test_a_stale_step_is_stale_whatever_comes_before_it(state: State) -> None:
    assert judge(STALE, {"a": state}, {"b": state}) == Verdict(state=State.STALE, reasons=STALE)


@pytest.mark.parametrize("state", [State.STALE, State.MAYBE, State.RESTORABLE, State.BLOCKED])
def test_order_alone_makes_no_step_stale(state: State) -> None:
    assert judge(after={"a": state}) == Verdict(state=State.FRESH)


def test_a_step_whose_input_is_missing_is_blocked() -> None:
    assert judge(missing=GONE) == Verdict(state=State.BLOCKED, reasons=GONE)
    assert judge(STALE, {"a": State.STALE}, {"b": State.BLOCKED}, GONE) == Verdict(state=State.BLOCKED, reasons=GONE)


def test_a_step_that_reads_from_a_blocked_one_is_blocked() -> None:
    expected = Verdict(state=State.BLOCKED, reasons=waits("b", cause=Cause.UPSTREAM_BLOCKED))
    assert judge(upstream={"a": State.STALE, "b": State.BLOCKED}) == expected
    assert judge(STALE, {"a": State.STALE, "b": State.BLOCKED}) == expected


def test_a_step_that_would_run_after_a_blocked_one_is_blocked() -> None:
    expected = Verdict(state=State.BLOCKED, reasons=waits("b", cause=Cause.UPSTREAM_BLOCKED))
    assert judge(STALE, after={"a": State.STALE, "b": State.BLOCKED}) == expected
    # One that may run must not slip past the blocked one either.
    assert judge(upstream={"a": State.STALE}, after={"b": State.BLOCKED}) == expected


def test_every_reason_has_a_sentence_and_a_table() -> None:
    for cause in Cause:
        reason = Reason(cause=cause, subject="param x", old="1", new="2")
        assert "{" not in str(reason)
        assert reason.as_json() == {
            "cause": cause.name.lower(),
            "subject": "param x",
            "old": "1",
            "new": "2",
            "text": str(reason),
        }
