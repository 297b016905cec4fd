"""The lock of a submission, by which its worker is found."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from mlmake.home import Home
from mlmake.services.submitted.place import Place


def test_who_works_can_be_read_at_every_moment(tmp_path: Path) -> None:
    place = Place(Home(str(tmp_path)), "x")
    os.makedirs(place.folder)
    handle = place.take()
    assert handle is not None
    assert place.take() is None
    place.sign(handle, 12345, 2)
    is_over = threading.Event()

    def sign() -> None:
        while not is_over.is_set():
            place.sign(handle, 12345, 10)
            place.sign(handle, 12345, 2)

    signing = threading.Thread(target=sign)
    signing.start()
    found = {place.signed() for _ in range(1000)}
    is_over.set()
    signing.join()
    os.close(handle)
    assert found <= {(12345, 2), (12345, 10)}
