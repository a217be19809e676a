"""Where the back-end API's address and key come from."""

import math
from pathlib import Path

import pytest

from cornelius import ConfigurationError, Dudley
from cornelius.settings import DEFAULT_URL, TIMEOUT_SECONDS, Settings

from .support import Log, ScriptedServer


def test_settings_are_the_api_of_2009_when_nothing_is_said() -> None:
    """Port 8004 of this machine, no key."""
    assert Settings(url=DEFAULT_URL, key=None, timeout_seconds=TIMEOUT_SECONDS) == Settings.read(environ={})


def test_settings_come_from_the_environment_when_the_caller_is_silent(tmp_path: Path) -> None:
    """The key may come from a file, as container secrets do."""
    file = tmp_path / "key"
    file.write_text("k-file\n", encoding="ascii")
    environ = {"ROOTS_BACKEND_API_URL": "https://roots.example/api", "ROOTS_BACKEND_API_KEY_FILE": str(file)}
    settings = Settings.read(environ=environ)
    assert ("https://roots.example/api", "k-file") == (settings.url, settings.key)
    assert {"Authorization": "Bearer k-file"} == settings.headers


def test_settings_are_the_callers_when_both_speak() -> None:
    """What is written in the program counts."""
    environ = {"ROOTS_BACKEND_API_URL": "http://a", "ROOTS_BACKEND_API_KEY": "a"}
    settings = Settings.read(url="http://b", key="b", timeout_seconds=1, environ=environ)
    assert ("http://b", "b", 1) == (settings.url, settings.key, settings.timeout_seconds)


@pytest.mark.parametrize("url", ["localhost:8004", "ftp://a", "http://", "http://a:x", "http://[", "http://a:0"])
def test_settings_are_refused_when_the_address_is_none(url: str) -> None:
    """At once, and not as a back-end API that never answers."""
    with pytest.raises(ConfigurationError, match="no http or https URL"):
        Dudley().configure(url=url)


@pytest.mark.parametrize("key", ["a b", "a\nX: y", "ä", "a\0"])
def test_settings_are_refused_without_showing_the_key_when_it_is_none(key: str) -> None:
    """I10: a key never ends a header, and is in no message."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.read(key=key, environ={})
    assert key not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_settings_are_refused_when_there_is_no_time(seconds: float) -> None:
    """A call needs some."""
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        Settings.read(timeout_seconds=seconds, environ={})


@pytest.mark.parametrize(
    "environ",
    [
        {"ROOTS_BACKEND_API_KEY": "a", "ROOTS_BACKEND_API_KEY_FILE": "/b"},
        {"ROOTS_BACKEND_API_KEY_FILE": "/does/not/exist"},
    ],
)
def test_settings_are_refused_when_the_key_is_not_clear(environ: dict[str, str]) -> None:
    """Two keys, or none where one was promised."""
    with pytest.raises(ConfigurationError, match=r"key|KEY"):
        Settings.read(environ=environ)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        ("key".encode("utf-16"), "is not in UTF-8"),
        (b"two\nkeys", "printable ASCII"),
    ],
)
def test_settings_are_refused_when_the_file_has_no_key(tmp_path: Path, content: bytes, complaint: str) -> None:
    """Without its key a call would go out as nobody's."""
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=complaint):
        Settings.read(environ={"ROOTS_BACKEND_API_KEY_FILE": str(file)})


@pytest.mark.parametrize("content", [b"k-file", b"k-file\r\n", b"\xef\xbb\xbfk-file\n"])
def test_key_is_what_the_file_says_when_another_system_wrote_it(tmp_path: Path, content: bytes) -> None:
    """A byte order mark and the line's end are none of it."""
    file = tmp_path / "key"
    file.write_bytes(content)
    assert "k-file" == Settings.read(environ={"ROOTS_BACKEND_API_KEY_FILE": str(file)}).key


def test_settings_show_no_key_when_they_are_printed() -> None:
    """I10."""
    assert "secret" not in repr(Settings(key="secret"))


def test_default_client_is_another_when_it_is_configured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is read by the first call, not by the import; `configure` counts from the next call on."""
    first, second = Log(), Log()
    with ScriptedServer([first.publish]) as one, ScriptedServer([second.publish]) as other:
        dudley = Dudley()
        monkeypatch.setenv("ROOTS_BACKEND_API_URL", one.url)
        dudley.update("tasks", "1")
        dudley.configure(url=other.url)
        dudley.update("tasks", "2")
        dudley.close()
    assert (["1"], ["2"]) == (first.messages, second.messages)
