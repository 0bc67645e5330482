"""Provenance says what ran, and digests follow the content alone."""

import hashlib
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest

from wprops import provenance
from wprops.errors import ConfigError
from wprops.provenance import collect, digest, file_digest, git_state


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "code.py").write_text("x = 1\n")
    return folder


def test_collect_is_plain_data_with_versions_and_extras():
    record = collect(catalogue="abc", inputs=[{"file": "a.root"}])
    assert json.loads(json.dumps(record)) == record
    assert record["packages"]["numpy"] == version("numpy")
    assert record["packages"]["wprops"] == version("wprops")
    assert record["catalogue"] == "abc"
    created = datetime.fromisoformat(record["created"])
    assert timedelta(0) <= datetime.now(UTC) - created < timedelta(minutes=1)


def test_packages_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package-here"))
    assert list(collect()["packages"]) == ["numpy"]


def test_extras_do_not_replace_what_is_collected():
    with pytest.raises(ConfigError, match="has its own platform, python"):
        collect(python="2", platform="Z80", luminosity=1.0)


def test_git_state_follows_the_tree(repository):
    file = repository / "code.py"
    assert git_state(file) is None  # not tracked yet
    git(repository, "add", "code.py")
    assert git_state(file) is None  # no commit yet
    git(repository, "commit", "--quiet", "-m", "one")
    commit = git(repository, "rev-parse", "HEAD")
    assert git_state(file) == {"commit": commit, "dirty": False}
    file.write_text("x = 2\n")
    assert git_state(file) == {"commit": commit, "dirty": True}


def test_an_installed_package_does_not_take_the_commit_around_it(repository):
    git(repository, "add", "code.py")
    git(repository, "commit", "--quiet", "-m", "one")
    installed = repository / "venv" / "module.py"
    installed.parent.mkdir()
    installed.write_text("")
    assert git_state(installed) is None


def test_no_git_no_commit(tmp_path, monkeypatch):
    assert git_state(tmp_path / "code.py") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git" not in collect()


def test_a_slow_git_is_not_waited_for(repository, monkeypatch, caplog):
    monkeypatch.setattr(provenance, "_GIT_TIMEOUT", 1e-6)
    assert git_state(repository / "code.py") is None
    assert "git takes too long" in caplog.text


def test_digest_is_that_of_the_canonical_json():
    expected = hashlib.sha256(b'{"a":[1,2.5,null],"b":"\\u00e9"}').hexdigest()
    assert digest({"b": "é", "a": (1, 2.5, None)}) == expected


@pytest.mark.parametrize("content", [float("nan"), {"a": object()}, {1, 2}])
def test_digest_refuses_what_is_not_plain(content):
    with pytest.raises((TypeError, ValueError), match="JSON"):
        digest(content)


def test_file_digest_follows_the_content(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    assert file_digest(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
