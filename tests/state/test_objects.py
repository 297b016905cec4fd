"""Contents by their digest: what is put in comes out again, in every way of linking, and damage is found on use."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from mlmake.model.caching import Link
from mlmake.model.events import Noticed
from mlmake.state.database import empty
from mlmake.state.digests import Digests
from mlmake.state.objects import FILES, FOLDERS, Member, Objects, parsed
from projects import Built, Folder, kill, until

LINKS = pytest.mark.parametrize("link", list(Link), ids=lambda link: link.value)
TEXT = b"a content\n"


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(str(tmp_path / "cache"))


def digest(content: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(content)


def put(tmp_path: Path, content: bytes = TEXT, name: str = "given") -> str:
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def look(path: Path) -> str:
    """The digest of a file or folder as every build takes it."""
    found = Digests(empty()).of(str(path))
    assert found is not None
    return found.digest


def in_cache(folder: Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Files.


@LINKS
def test_a_file_goes_in_and_comes_out(tmp_path: Path, objects: Objects, link: Link) -> None:
    path, key = put(tmp_path), digest(TEXT)
    objects.keep(path, key, link)
    assert objects.kind_of(key) == FILES
    assert objects.has(key)
    objects.bring(key, str(tmp_path / "out"), link)
    assert (tmp_path / "out").read_bytes() == TEXT
    assert objects.is_sound(key, FILES)
    assert os.stat(objects.path(key)).st_mode & 0o222 == 0, "an object is read-only"


def test_a_copy_is_a_file_of_its_own(tmp_path: Path, objects: Objects) -> None:
    path, key = put(tmp_path), digest(TEXT)
    objects.keep(path, key, Link.COPY)
    objects.bring(key, str(tmp_path / "out"), Link.COPY)
    Path(path).write_bytes(b"other")
    (tmp_path / "out").write_bytes(b"another")
    assert objects.is_sound(key, FILES)


def test_large_files_are_copied_whole(tmp_path: Path, objects: Objects) -> None:
    content = os.urandom(1 << 20)
    objects.keep(put(tmp_path, content), digest(content), Link.COPY)
    objects.bring(digest(content), str(tmp_path / "out"), Link.COPY)
    assert (tmp_path / "out").read_bytes() == content


def test_a_hardlink_is_the_object_itself(tmp_path: Path, objects: Objects) -> None:
    path, key = put(tmp_path), digest(TEXT)
    objects.keep(path, key, Link.HARDLINK)
    objects.bring(key, str(tmp_path / "out"), Link.HARDLINK)
    assert os.path.samefile(path, objects.path(key))
    assert os.path.samefile(tmp_path / "out", objects.path(key))
    assert os.stat(path).st_mode & 0o222 == 0, "who writes to it must mean it"


def test_a_symlink_leads_to_the_object(tmp_path: Path, objects: Objects) -> None:
    key = digest(TEXT)
    objects.keep(put(tmp_path), key, Link.SYMLINK)
    objects.bring(key, str(tmp_path / "out"), Link.SYMLINK)
    assert os.readlink(tmp_path / "out") == objects.path(key)


@pytest.mark.parametrize("link", [Link.HARDLINK, Link.SYMLINK], ids=lambda link: link.value)
def test_a_file_that_others_own_too_is_copied(tmp_path: Path, objects: Objects, link: Link) -> None:
    """A step may give out its input under a second name: that one must not become read-only, nor the object."""
    mine = Path(put(tmp_path, name="mine"))
    os.symlink(mine, tmp_path / "soft")
    objects.keep(str(tmp_path / "soft"), digest(TEXT), link)
    assert not os.path.islink(objects.path(digest(TEXT)))
    objects.remove(digest(TEXT), FILES)
    os.link(mine, tmp_path / "hard")
    objects.keep(str(tmp_path / "hard"), digest(TEXT), link)
    assert not os.path.samefile(mine, objects.path(digest(TEXT)))
    mine.write_bytes(b"still mine")
    assert objects.is_sound(digest(TEXT), FILES)


@LINKS
@pytest.mark.parametrize("is_executable", [True, False])
def test_executable_bits(tmp_path: Path, objects: Objects, link: Link, is_executable: bool) -> None:
    path = put(tmp_path)
    os.chmod(path, 0o755 if is_executable else 0o644)
    objects.keep(path, digest(TEXT), link)
    objects.bring(digest(TEXT), str(tmp_path / "out"), link)
    assert os.access(tmp_path / "out", os.X_OK) is is_executable
    objects.bring_file(digest(TEXT), str(tmp_path / "other"), link, not is_executable)
    assert os.access(tmp_path / "other", os.X_OK) is not is_executable
    assert bool(os.stat(objects.path(digest(TEXT))).st_mode & 0o100) is is_executable


def test_a_file_that_changed_since_it_was_hashed_is_not_kept(tmp_path: Path, objects: Objects) -> None:
    with pytest.raises(OSError, match="it changed while"):
        objects.keep(put(tmp_path), digest(b"what it was"), Link.COPY)
    assert in_cache(Path(objects.folder)) == []


def test_what_is_kept_is_kept_once(tmp_path: Path, objects: Objects) -> None:
    objects.keep(put(tmp_path), digest(TEXT), Link.COPY)
    before = os.stat(objects.path(digest(TEXT)))
    objects.keep(put(tmp_path, name="again"), digest(TEXT), Link.COPY)
    assert os.stat(objects.path(digest(TEXT))).st_ino == before.st_ino
    assert [kind for _, kind, _ in objects.all()] == [FILES]


# Damage.


@pytest.mark.parametrize(
    "damage", [b"a cintent\n", b"a con", b"", b"a content\n\n"], ids=["flip", "cut", "gone", "more"]
)
def test_damage_is_found_and_set_aside(tmp_path: Path, objects: Objects, damage: bytes) -> None:
    key = digest(TEXT)
    objects.keep(put(tmp_path), key, Link.COPY)
    spoil(objects.path(key), damage)
    assert objects.unsound(key) == [(key, FILES)]
    place = objects.set_aside(key, FILES)
    assert Path(place).read_bytes() == damage
    assert not objects.has(key)
    assert objects.damaged() == [place]


def test_damage_in_a_folder_is_found(tmp_path: Path, objects: Objects) -> None:
    listing = keep_folder(objects, {"a": b"one", "b/c": b"two"})
    assert objects.unsound(listing) == []
    spoil(objects.path(digest(b"two")), b"2wo")
    assert objects.unsound(listing) == [(digest(b"two"), FILES)]
    spoil(objects.path(listing, FOLDERS), b"nonsense")
    assert objects.unsound(listing) == [(listing, FOLDERS)]
    assert objects.members(listing) is None
    with pytest.raises(OSError, match="listing"):
        objects.bring(listing, str(tmp_path / "out"), Link.COPY)


def test_a_folder_is_there_only_with_all_its_files(objects: Objects) -> None:
    listing = keep_folder(objects, {"a": b"one", "b/c": b"two"})
    assert objects.has(listing)
    objects.remove(digest(b"two"), FILES)
    assert not objects.has(listing)


@pytest.mark.parametrize(
    "listing",
    [
        b"a\0-12",
        b"a",
        b"/etc/passwd\0-" + b"0" * 32 + b"\0",
        b"../x\0-" + b"0" * 32 + b"\0",
        b"a\0-" + b"0" * 31 + b"\0",
    ],
)
def test_a_listing_that_leads_elsewhere_is_none(listing: bytes) -> None:
    with pytest.raises(ValueError, match=r"listing|cut"):
        list(parsed(listing))


def test_members() -> None:
    key = "0" * 32
    assert list(parsed(f"b/\0a\0x{key}\0b/c\0-{key}\0".encode())) == [
        Member("b/"),
        Member("a", key, True),
        Member("b/c", key, False),
    ]


# What was begun.


def test_what_was_begun_is_no_object_and_is_told(tmp_path: Path, objects: Objects) -> None:
    key = digest(TEXT)
    objects.keep(put(tmp_path), key, Link.COPY)
    begun = f"{objects.path(key)}.123-abcd"
    Path(begun).write_bytes(b"half")
    assert [found for found, _, _ in objects.all()] == [key]
    assert objects.leftovers() == [begun]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a tiny disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_no_half_object(tmp_path: Path, tiny: Path) -> None:
    objects = Objects(str(tiny / "cache"))
    content = os.urandom(1 << 20)
    with pytest.raises(OSError, match="No space"):
        objects.keep(put(tmp_path, content), digest(content), Link.COPY)
    assert in_cache(tiny) == [], "and the room is free again"


def test_a_build_stands_where_the_cache_is_full(project: Folder, tiny: Path) -> None:
    project.steps(COPIER.format(size=1_000_000))
    (project.root / ".mlmake").mkdir()
    os.symlink(tiny, project.root / ".mlmake" / "cache")
    built = project.build()
    assert built.done == ["s"]
    assert (project.root / "build" / "x").stat().st_size == 1_000_000
    (told,) = noticed(built)
    assert told.startswith("what s wrote cannot be kept in the cache: No space left on device")
    assert project.build().summary.fresh == 1
    (project.root / "build" / "x").unlink()
    assert project.build().done == ["s"], "it is not kept, so it runs"


# As a build uses them.

COPIER = """
    [s]
    command = "head -c {size} /dev/zero > {{outputs.x}}"
    outputs = {{ x = "build/x" }}
"""
ODD = """
    [s]
    script = "odd.py"
    outputs = { d = "build/d/" }
"""
SCRIPT = r"""
import os, sys
top = sys.argv[2]
os.chdir(top)
for name in ("a b", "ü", "new\nline", "-dash", "'quote\"", "x" * 200, os.fsdecode(b"\xff"), "sub/deep/file", "same"):
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    with open(name, "w", errors="surrogateescape") as file:
        file.write("same" if name == "same" else name)
with open("run", "w") as file:
    file.write("same")
os.chmod("run", 0o755)
os.makedirs("empty/inside")
open("nothing", "w").close()
os.symlink("same", "link")
os.symlink("sub", "folder-link")
os.symlink("nowhere", "dangling")
"""


@LINKS
def test_folders_with_odd_names_come_back(project: Folder, link: Link) -> None:
    project.write({"odd.py": SCRIPT})
    project.steps(f"[cache]\nlink = '{link.value}'\n{ODD}")
    made = project.build()
    assert made.done == ["s"]
    assert noticed(made) == []
    place = project.root / "build" / "d"
    before = look(place)
    project.cli("clean", "s")
    assert not place.exists()
    built = project.build()
    assert (built.done, built.summary.restored) == ([], 1)
    assert look(place) == before
    assert (place / "empty" / "inside").is_dir()
    assert os.access(place / "run", os.X_OK)
    assert not os.access(place / "same", os.X_OK)
    assert (place / "link").read_text() == "same"
    assert (place / "folder-link" / "deep" / "file").read_text() == "sub/deep/file"
    assert project.build().summary.fresh == 1


@LINKS
def test_an_empty_file_is_no_empty_folder(project: Folder, link: Link) -> None:
    """They have one digest."""
    project.steps(f"""
        [cache]
        link = "{link.value}"
        [s]
        command = "touch {{outputs.f}}"
        outputs = {{ f = "build/f", d = "build/d/" }}
    """)
    project.build()
    project.cli("clean", "--all")
    assert project.build().summary.restored == 1
    assert (project.root / "build" / "d").is_dir()
    assert (project.root / "build" / "f").is_file()
    assert project.build().summary.fresh == 1


WRITER = """
    [cache]
    link = "{link}"
    [s]
    command = "echo {{params.word}} > {{outputs.x}}"
    params = ["word"]
    outputs = {{ x = "build/x" }}
"""


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_an_object_that_was_written_through_is_noticed(project: Folder, link: str) -> None:
    """The file in its place is the object, so an edit of it is an edit of the object."""
    for word in ("one", "two"):
        project.steps(WRITER.format(link=link), word=word)
        project.build()
    spoil(str(project.root / "build" / "x"), b"edited\n")
    assert project.states() == {"s": "restorable"}, "nobody has read the object yet"
    built = project.build()
    assert built.done == ["s"]
    (told,) = noticed(built)
    assert told.startswith("s cannot be restored and runs: damaged in the cache, and set aside there: ")
    assert project.read("build/x") == "two\n"
    project.steps(WRITER.format(link=link), word="one")
    assert project.build().summary.restored == 1, "the other object is as it was"
    assert len(os.listdir(project.root / ".mlmake" / "cache" / "damaged")) == 1


@pytest.mark.parametrize("damage", [b"onf\n", b"on", b""], ids=["flip", "cut", "empty"])
@LINKS
def test_a_damaged_object_is_found_on_use_and_the_step_runs(project: Folder, damage: bytes, link: Link) -> None:
    for word in ("one", "two"):
        project.steps(WRITER.format(link=link.value), word=word)
        project.build()
    spoil(Objects(project.home.cache).path(digest(b"one\n")), damage)
    project.steps(WRITER.format(link=link.value), word="one")
    built = project.build()
    assert built.done == ["s"]
    assert "set aside" in noticed(built)[0]
    assert project.read("build/x") == "one\n"
    project.cli("clean", "--all")
    assert project.build().summary.restored == 1, "what the step wrote was kept again"
    assert project.read("build/x") == "one\n"


@LINKS
def test_a_kill_while_keeping_leaves_nothing_half_written(project: Folder, link: Link) -> None:
    project.steps(f"[cache]\nlink = '{link.value}'\n{COPIER.format(size=400_000_000)}")
    build = project.start()
    cache = project.root / ".mlmake" / "cache"
    until(lambda: in_cache(cache) or build.poll() is not None, "the first bytes in the cache")
    kill(build.pid)
    build.wait()
    objects = Objects(str(cache))
    assert all(objects.is_sound(found, kind) for found, kind, _ in objects.all())
    assert project.build().summary.failed == 0
    assert project.cli("cache", "verify").returncode == 0
    assert project.cli("cache", "gc").returncode == 0
    assert objects.leftovers() == []


def noticed(built: Built) -> list[str]:
    return [event.text for event in built.of(Noticed)]


def keep_folder(objects: Objects, files: dict[str, bytes]) -> str:
    """Keep a folder's listing with its files; its digest."""
    lines = []
    for name, content in files.items():
        objects.keep_text(content, digest(content), FILES)
        lines.append(f"{name}\0-{digest(content)}\0")
    listing = "".join(lines).encode()
    objects.keep_text(listing, digest(listing))
    return digest(listing)


def spoil(path: str, content: bytes) -> None:
    """Write over an object in place, as a bad disk or a careless script would."""
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.truncate(0)
        file.write(content)
