"""The policy follows its file, whatever becomes of the file."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.testkit.deadlines import wait_until

from roots.auth import policy_watch
from roots.auth.policy_file import MAX_FILE_BYTES, PolicyError, parse_toml, read_text
from roots.auth.policy_watch import PolicyWatch


def parse(text: str, folder: Path) -> str:
    """Return the `name` of a policy, with the contents of the key file that it names."""
    document = parse_toml(text)
    if "name" not in document:
        raise PolicyError("it has no name", "name", 1)
    key = document.get("a", [{}])[0].get("key_file")
    return str(document["name"]) + ("" if key is None else (folder / key).read_text())


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return metrics of the test's own."""
    return CollectorRegistry()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a policy file named `first`."""
    path = tmp_path / "policy.toml"
    path.write_text("name = 'first'")
    return path


@pytest.fixture
def watch(file: Path, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[PolicyWatch[str]]:
    """Yield what watches the file and looks often."""
    monkeypatch.setattr(policy_watch, "LOOK_INTERVAL_SECONDS", 0.02)
    watching = PolicyWatch(file, parse, name="the file", service="test", registry=registry)
    watching.start()
    yield watching
    watching.stop()


def test_policy_changes_when_the_file_does(watch: PolicyWatch[str], file: Path, registry: CollectorRegistry) -> None:
    """Written in place, replaced, or behind a link: what counts is what is in it, once for each change."""
    heard: list[str] = []
    watch.on_change(heard.append)
    file.write_text("name = 'written'")
    wait_until(lambda: watch.current == "written")
    other = file.with_name("other")
    other.write_text("name = 'replaced'")
    other.replace(file)
    wait_until(lambda: watch.current == "replaced")
    link = file.with_name("link")
    file.with_name("target").write_text("name = 'linked'")
    link.symlink_to("target")
    link.replace(file)
    wait_until(lambda: heard == ["written", "replaced", "linked"])
    assert 3 == registry.get_sample_value("roots_test_policy_reads_total", {"result": "applied"})
    assert "from the file" == watch.check().detail


def test_policy_changes_when_a_key_file_does(watch: PolicyWatch[str], file: Path) -> None:
    """A key that is replaced counts, though the policy that names it is the same."""
    key = file.with_name("key")
    key.write_text("1")
    file.write_text("name = 'n'\na = [{ key_file = 'key' }]")
    wait_until(lambda: watch.current == "n1")
    key.write_text("2")
    wait_until(lambda: watch.current == "n2")


@pytest.mark.parametrize(
    ("content", "line"), [(b"a = 1\n\xff = 1", 2), (b"#\n" * (MAX_FILE_BYTES // 2) + b"a = 1", MAX_FILE_BYTES // 2 + 1)]
)
def test_line_is_named_when_the_file_is_no_text_or_too_long(tmp_path: Path, content: bytes, line: int) -> None:
    """Every mistake has its line, also one that is found before there are tables."""
    file = tmp_path / "policy.toml"
    file.write_bytes(content)
    with pytest.raises(PolicyError) as caught:
        read_text(file)
    assert line == caught.value.line


@pytest.mark.parametrize("wrong", ["", "name =", "\xff", f"name = '{'x' * (1 << 20)}'", None])
def test_policy_is_kept_when_the_file_is_wrong(
    watch: PolicyWatch[str], file: Path, registry: CollectorRegistry, wrong: str | None
) -> None:
    """Emptied, broken, of another encoding, too large, or gone: the policy before stays, and it is told why."""
    if wrong is None:
        file.unlink()
    else:
        file.write_bytes(wrong.encode("latin-1"))
    wait_until(lambda: registry.get_sample_value("roots_test_policy_file_invalid") == 1)
    assert "first" == watch.current
    check = watch.check()
    assert check.is_ok
    assert 1 == int(watch.is_refused)
    assert "the policy before is kept, since the file is wrong: " in check.detail
    file.write_text("name = 'mended'")
    wait_until(lambda: watch.current == "mended")
    assert 0 == int(watch.is_refused)
    assert 0 == registry.get_sample_value("roots_test_policy_file_invalid")


def test_policy_waits_when_the_file_is_still_being_written(file: Path, registry: CollectorRegistry) -> None:
    """A file that is different at each look is not finished: half a policy withdraws nothing, though it may be read."""
    watching = PolicyWatch(file, parse, name="the file", service="test", registry=registry)
    for text in ("name = 'half'", "name = 'half'\nmore = 1"):
        file.write_text(text)
        watching.look()
        assert "first" == watching.current
    watching.look()
    assert "half" == watching.current


def test_watching_goes_on_when_a_listener_fails(watch: PolicyWatch[str], file: Path) -> None:
    """A fault of ours in what follows a change is logged, and does not end the watching."""

    def fail(policy: str) -> None:
        if policy == "bad":
            raise RuntimeError

    watch.on_change(fail)
    file.write_text("name = 'bad'")
    wait_until(lambda: watch.current == "bad")
    file.write_text("name = 'good'")
    wait_until(lambda: watch.current == "good")


class SetAtTimeout(threading.Event):
    """Is set just after its first wait has timed out, as by a signal at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.has_timed_out = False

    def wait(self, timeout: float | None = None) -> bool:
        """Return as the event does, but for the first time."""
        if self.has_timed_out:
            return super().wait(timeout)
        self.has_timed_out = True
        self.set()
        return False


def test_hangup_is_obeyed_when_it_comes_as_the_pause_ends(
    file: Path, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hangup between the end of the wait and the look is kept for the next look."""
    monkeypatch.setattr(policy_watch, "LOOK_INTERVAL_SECONDS", 0.02)
    watching = PolicyWatch(file, parse, name="the file", service="test", registry=registry)
    watching._wake = SetAtTimeout()
    received: list[str] = []
    watching.on_change(received.append)
    watching.start()
    try:
        wait_until(lambda: received == ["first"])
    finally:
        watching.stop()


def test_watch_refuses_to_begin_when_the_file_is_wrong(tmp_path: Path, registry: CollectorRegistry) -> None:
    """At the start there is no policy before it."""
    with pytest.raises(PolicyError, match="No such file"):
        PolicyWatch(tmp_path / "none", parse, name="it", service="test", registry=registry)
