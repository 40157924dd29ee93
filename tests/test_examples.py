"""The examples run as their first lines say; those that need keras are in test_keras_export.py."""

import subprocess
import sys

from support import ROOT


def test_the_example_for_people_s_own_tests_passes() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_equivalence.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout or ".." in done.stdout
