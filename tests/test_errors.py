"""What keeps a file from being read is told apart: another program, no permission, a filter."""

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from pinca_lib import errors


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BlockingIOError(11, "unable to lock file, errno = 11"), "open in another program"),
        (PermissionError(13, "Permission denied"), "permission denied; give yourself the right"),
        (OSError("required filter 'zstd' is not registered"), "filter that is not installed"),
        (OSError("truncated file: eof = 96"), "not a readable HDF5 file .*copy or download it"),
    ],
)
def test_each_cause_has_its_line(error, said):
    with pytest.raises(errors.InputError, match=rf"^town\.h5: .*{said}"):
        raise errors.unreadable(Path("folder", "town.h5"), error, "HDF5 file")


@pytest.mark.parametrize(("code", "said"), [(32, "open in another"), (5, "permission denied")])
def test_windows_is_asked_which_of_its_two_reasons_to_deny_access_it_has(monkeypatch, code, said):
    def rename(*paths):
        denied = PermissionError(errno.EACCES, "Access is denied")
        denied.winerror = code
        raise denied

    monkeypatch.setattr(errors, "os", SimpleNamespace(name="nt", replace=rename))
    denied = PermissionError(errno.EACCES, "Permission denied")
    assert said in str(errors.unreadable(Path("town.h5"), denied, "HDF5 file"))
