"""Two states of an environment in words."""

from __future__ import annotations

from mlmake.environments.base import Resolved
from mlmake.model.reason import Cause, Reason
from mlmake.plan.packages import changes, worded

OLD = Resolved("cpython 3.11.7", (("joblib", "1.3"), ("numpy", "2.0"), ("scikit-learn", "1.4")))
NEW = Resolved("cpython 3.11.7", (("joblib", "1.3"), ("scikit-learn", "1.5"), ("scipy", "1.11 0123456789ab")))
TEXTS = {each.digest: each.text for each in (OLD, NEW)}


def changed(old: str, new: str, subject: str = "environment ml") -> Reason:
    return Reason(cause=Cause.CHANGED, subject=subject, old=old, new=new)


def test_every_change_is_told() -> None:
    assert list(changes(OLD.value, NEW.value, TEXTS.get)) == [
        "numpy 2.0 is gone",
        "scikit-learn 1.4 -> 1.5",
        "scipy 1.11 0123456789ab is new",
    ]


def test_another_interpreter() -> None:
    newer = Resolved("cpython 3.12.1", OLD.packages)
    reason = worded(changed(OLD.value, newer.value), {**TEXTS, newer.digest: newer.text}.get)
    assert str(reason) == "environment ml: cpython 3.11.7 -> 3.12.1"
    assert reason.as_json()["cause"] == "software"


def test_a_reason_names_the_first_and_counts_the_rest() -> None:
    many = Resolved("cpython 3.11.7", tuple((f"p{n}", "2") for n in range(9)))
    reason = worded(changed(Resolved("cpython 3.11.7", ()).value, many.value), {**TEXTS, many.digest: many.text}.get)
    assert str(reason).startswith("environment ml changed: "), "what was in the first is not known"
    few = Resolved("cpython 3.11.7", tuple((f"p{n}", "1") for n in range(9)))
    texts = {each.digest: each.text for each in (many, few)}
    shown = "environment ml: p0 1 -> 2, p1 1 -> 2, p2 1 -> 2 and 6 more"
    assert str(worded(changed(few.value, many.value), texts.get)) == shown


def test_what_is_not_known_stays_as_it_is() -> None:
    reason = changed(OLD.value, NEW.value)
    assert worded(reason, lambda _: None) is reason
    system = changed("cpython 3.11.7", "cpython 3.12.1", "environment system")
    assert worded(system, TEXTS.get) is system
    assert str(system) == "environment system changed: cpython 3.11.7 -> cpython 3.12.1"


def test_other_facts_are_none_of_its_business() -> None:
    reason = changed(OLD.value, NEW.value, "param x")
    assert worded(reason, TEXTS.get) is reason
    gone = Reason(cause=Cause.REMOVED, subject="environment ml", old=OLD.value)
    assert worded(gone, TEXTS.get) is gone
