"""Public files that cannot be distributed: tests that need them may be skipped."""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def needs_data(folder):
    """Skip a test without this folder of `DATA`."""
    return pytest.mark.skipif(
        not (DATA / folder).is_dir(), reason=f"needs the files of {DATA / folder}"
    )
